"""The rows of a computed frame as results: loaded, reported, and with their errors."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypernodes.engines.daft.cells import Cell, Cells, Failed, RowOf, Skip, unloadable
from hypernodes.engines.daft.columns import ITEM, Block
from hypernodes.engines.daft.report import Replay, replay_items
from hypernodes.engines.daft.typed_columns import CellValue
from hypernodes.errors import failing_node
from hypernodes.results import FailedItem
from hypernodes.run.fast_path import note_item
from hypernodes.run.state import RunState
from hypernodes.run.workers import drive


class Batch(Mapping[str, list[Any]]):
    """A batch of a frame's rows: for each column its cells, or the values of one of Daft's types.

    Args:
        names: the columns.
        read: reads one; this happens when somebody asks for it.
    """

    def __init__(self, names: Collection[str], read: Callable[[str], list[Any]]) -> None:
        self._names = names
        self._read = read
        self._columns: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        column = self._columns.get(name)
        if column is None:
            if name not in self._names:
                raise KeyError(name)
            column = self._columns[name] = self._read(name)
        return column

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass
class Collector:
    """Takes the results of a frame's rows, a batch at a time.

    Attributes:
        cells: reads cells.
        block: the pipeline as columns.
        is_map: whether it is a map, with a row for each item.
        stops: whether the first error ends the map; else it gives a `FailedItem`.
        reports: whether callbacks listen.
        shared: the inputs that all items share, by name.
        item_inputs: gives an item's own inputs, by its number.
        input_columns: the columns of the user's frame with them, in place of `item_inputs`.
        typed: the typed columns, once the frame is built; see `typed_columns`.
        found: the result of each item so far.
        errors: for items that failed what is to be raised.
    """

    cells: Cells
    block: Block
    is_map: bool
    stops: bool
    reports: bool
    shared: Mapping[str, object]
    item_inputs: Callable[[int], Mapping[str, Any]]
    input_columns: Mapping[str, str]
    typed: Collection[str] = ()
    found: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, BaseException] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns, returns = self.block.columns, self.block.plan.returns
        self._load: Callable[[Cell], object]
        self._load = self.cells.load if self.cells.signed else pickle.loads
        self._outputs = {name: columns[slot] for name, slot in returns.items()}

    def take(self, batch: Batch) -> None:
        """Take the results of a batch of rows."""
        try:
            loaded = [self._loaded(batch, column) for column in self._outputs.values()]
        except Exception:  # `Skip`, or a value that cannot be unpickled
            self._take_each(batch)
            return
        results = _dicts(tuple(self._outputs))(zip(*loaded, strict=True))
        self.found.update(zip(batch[ITEM], results, strict=True))
        if self.reports and self.is_map:
            items = batch[ITEM]
            replay_items(
                self.cells,
                self.block,
                self.block.execution,
                items,
                batch,
                {},
                inputs=lambda place: self._inputs(items[place], batch, place),
            )
        elif self.reports:
            self._report(0, RowOf(batch, 0), ())

    def _loaded(self, batch: Batch, name: str) -> list[Any]:
        """The values of an output's column.

        Raises:
            Skip: one of them is missing.
        """
        column = batch[name]
        if name not in self.typed:
            load = self._load  # no `map`: it would end where a value raises StopIteration
            return [load(cell) for cell in column]
        if CellValue not in set(map(type, column)):
            return column
        return [self._value(each) for each in column]

    def _value(self, given: Any) -> Any:
        """A value of a typed column."""
        return self._load(given.cell) if type(given) is CellValue else given

    def _take_each(self, batch: Batch) -> None:
        """The same, where some rows have no results."""
        for place, item in enumerate(batch[ITEM]):
            skips: list[Skip] = []
            values: dict[str, object] = {}
            for name, column in self._outputs.items():
                cell = batch[column][place]
                try:
                    values[name] = (self._value if column in self.typed else self._load)(cell)
                except Skip as skip:
                    skips.append(skip)
                except Exception as error:
                    cell = self.cells.pickled(getattr(cell, "cell", cell))
                    skips.append(Failed(0, unloadable(f"output {name!r}", cell, error)))
            if any(skip.kind == "lost" for skip in skips):
                try:
                    self.found[item] = self._run_again(item, self._inputs(item, batch, place))
                    continue
                except Exception as error:
                    skips = [Failed(0, error)]
            elif self.reports:
                row = RowOf(batch, place)
                self._report(item, row, skips, self._inputs(item, batch, place))
            if not skips:
                self.found[item] = values
                continue
            failures = [skip for skip in skips if isinstance(skip, Failed)]
            if failures:  # else it was cancelled
                first = min(failures, key=lambda failure: failure.order)
                self._fail(item, first.error, batch, place)

    def _fail(self, item: int, error: BaseException, batch: Batch, place: int) -> None:
        if self.is_map:
            pipeline = self.block.execution.settings.pipeline.name
            note_item(error, item, pipeline, self._inputs(item, batch, place))
        if self.stops or not isinstance(error, Exception):
            self.errors[item] = error
        else:
            inputs = dict(self._inputs(item, batch, place))
            self.found[item] = FailedItem(item, failing_node(error), error, inputs)

    def _report(
        self,
        item: int,
        row: RowOf,
        skips: Sequence[Skip],
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        execution = self.block.execution
        if self.is_map:
            cancelled = any(skip.kind == "cancelled" for skip in skips)
            Replay(self.cells, row).item(self.block, execution, item, {}, cancelled, inputs)
        else:
            assert execution.scope is not None
            started_at = execution.scope.ctx.started_at
            Replay(self.cells, row, started_at).steps(self.block, execution, execution.scope, {})

    def _inputs(self, item: int, batch: Batch, place: int) -> Mapping[str, Any]:
        if self.input_columns:
            known = {n: each for n, each in self.input_columns.items() if each in batch}
            return {name: batch[column][place] for name, column in known.items()}
        return self.item_inputs(item)

    def _run_again(self, item: int, inputs: Mapping[str, Any]) -> dict[str, object]:
        """Run an item here, since the cache has lost an entry that it had a moment ago."""
        plan, execution = self.block.plan, self.block.execution
        execution.settings.session.warn(
            f"results of pipeline {execution.settings.pipeline.name!r} are computed again, one "
            "item at a time in the process that called it: the cache has lost entries that it had "
            "a moment ago",
            "lost",
        )
        base = RunState(plan).give(self.shared)
        if self.is_map:
            row = drive(execution.item(base, item, inputs, True))
            return dict(zip(plan.returns, row.values, strict=True))
        for step in plan.steps:
            drive(execution.step(base, step))
        return {name: drive(base.value(slot)) for name, slot in plan.returns.items()}


@functools.lru_cache(maxsize=64)
def _dicts(names: tuple[str, ...]) -> Callable[[Iterable[Any]], list[dict[str, Any]]]:
    """A function that makes dicts of rows.

    Its text has a dict display with the names in it, which is three times as fast as
    `dict(zip(names, row))`; every row of every map goes through it.
    """
    values = [f"v{place}" for place in range(len(names))]
    pairs = ", ".join(f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    made: Callable[[Iterable[Any]], list[dict[str, Any]]] = eval(
        f"lambda rows: [{{{pairs}}} for ({', '.join(values)},) in rows]"
    )
    return made
