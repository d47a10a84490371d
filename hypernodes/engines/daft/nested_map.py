"""A nested map in Daft: its items as rows of their own, within a batch of the rows around them."""

from __future__ import annotations

import itertools
import os
import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from hypernodes.engines.daft.cells import Cell, Cells, Failed, Skip
from hypernodes.engines.daft.stage import Stage, joined
from hypernodes.engines.daft.udf import Columns, ColumnUDF, Row
from hypernodes.errors import WorkerLostError, add_note
from hypernodes.identity.values import Digest, combine
from hypernodes.map_over import as_list, make_items
from hypernodes.node import Node
from hypernodes.plan import Step

CHUNK = 4096
"""At most so many items are run at a time: what is between two nodes is in memory for these."""
SPREAD = 16
"""Chunks for several threads have at least so many items."""


class NestedMap(ColumnUDF):
    """Runs a nested pipeline for each item of each row's lists.

    A batch of rows is flattened to one row an item, in lists of references: what the items of a
    row share is not copied. So a node is called for the items of many rows at a time, and order
    and number of the rows around stay as they are.

    Args:
        step: the nested pipeline's step.
        note: a note for an error, which says where it was raised.
        names: the outer names of those mapped inputs that are columns; these are read first, and
            then what the stage reads of the rows around.
        native: which of these are of Daft's own types.
        shared: mapped inputs that all rows share, by outer name.
        stage: the nodes; its inputs are the mapped ones, by their inner names' order, and the rest.
        outputs: the column of each output.
        records: the columns that callbacks hear of; None where nobody listens.
        is_spread: whether a row's items may run on several threads.
    """

    def __init__(
        self,
        cells: Cells,
        chain: Sequence[str],
        order: int,
        remote: bool,
        *,
        step: Step,
        note: str,
        names: Sequence[str],
        native: Sequence[bool],
        shared: Mapping[str, object],
        stage: Stage,
        outputs: Sequence[str],
        records: Sequence[str] | None,
        is_spread: bool,
    ) -> None:
        super().__init__(cells, chain, order, remote)
        assert not isinstance(step.node, Node)
        node = step.node
        self.name = step.id
        self.inner = node.pipeline.name
        self.note = note
        self.names = tuple(names)
        self.native = tuple(native)
        self.shared = dict(shared)
        self.mapped = {name: node.inner_inputs[name] for name in node.mapped}
        self.map_mode = node.map_mode
        self.stage = stage
        self.instances = stage.instances
        self.outputs = tuple(outputs)
        self.records = None if records is None else tuple(records)
        self.is_spread = is_spread

    def __str__(self) -> str:
        return f"nested pipeline {self.name!r}"

    def with_cells(self, cells: Cells) -> NestedMap:
        made = super().with_cells(cells)
        made.stage = self.stage.with_cells(cells)
        return made

    def losing(self, error: WorkerLostError) -> NestedMap:
        made = self.with_cells(self.cells)
        made.stage = self.stage.losing(error)
        return made

    def run(self, items: Sequence[int], columns: Columns) -> list[list[Cell]]:
        lists, around = columns[: len(self.names)], columns[len(self.names) :]
        rows: Iterator[Row]
        rows = zip(*lists, strict=True) if lists else itertools.repeat((), len(items))
        mapped: list[list[Cell]] = [[] for _ in self.mapped]
        sizes: list[int] = []
        skipped: dict[int, Cell] = {}
        for place, (item, row) in enumerate(zip(items, rows, strict=True)):
            made, skip = self._items(item, row)
            if skip is not None:
                skipped[place] = skip
            for column, cells in zip(mapped, made, strict=True):
                column += cells
            sizes.append(len(made[0]))
        given = [*mapped, *[_repeated(column, sizes) for column in around]]
        ran = self._run(_repeated(items, sizes), given, len(items))
        found = dict(zip(self.stage.outputs, ran, strict=True))
        outputs: list[list[Cell]] = [[] for _ in self.outputs]
        records: list[bytes] = []
        start = 0
        for place, (item, size) in enumerate(zip(items, sizes, strict=True)):
            own = {name: cells[start : start + size] for name, cells in found.items()}
            start += size
            skip = skipped.get(place)
            lists_made = [skip] * len(self.outputs) if skip else self._lists(item, own, size)
            for column, cell in zip(outputs, lists_made, strict=True):
                column.append(cell)
            if self.records is not None:
                heard = None if skip else (size, {name: own[name] for name in self.records})
                records.append(pickle.dumps(heard, protocol=5))
        return outputs if self.records is None else [*outputs, records]

    # -- From lists to items ---------------------------------------------------------------------

    def _items(self, item: int, row: Row) -> tuple[list[list[Cell]], Cell | None]:
        """The cells of a row's items for each mapped input; or why there are none."""
        none: list[list[Cell]] = [[] for _ in self.mapped]
        if self.cells.query.is_cancelled(item):
            return none, self.cells.dump_skip(Skip("cancelled"))
        try:
            values = dict(self.shared)
            for name, native, cell in zip(self.names, self.native, row, strict=True):
                values[name] = cell if native else self.cells.load(cell)
            lists = {inner: as_list(name, values[name]) for name, inner in self.mapped.items()}
            every = make_items(lists, self.map_mode)
            return [list(map(self.cells.dump, each)) for each in every.columns.values()], None
        except Skip as skip:
            return none, self.cells.dump_skip(skip)
        except BaseException as error:
            add_note(error, self.note)
            return none, self.fail(item, error)

    # -- The items -------------------------------------------------------------------------------

    def _run(self, items: Sequence[int], columns: Columns, rows: int) -> Sequence[list[Cell]]:
        count, cpus = len(items), os.cpu_count() or 1
        # Many rows are batches of several threads already.
        spreads = self.is_spread and rows < 2 * cpus and count > SPREAD and not _spreading.active
        size = min(CHUNK, max(SPREAD, -(-count // (2 * cpus)))) if spreads else CHUNK
        chunks = [
            (items[at : at + size], [column[at : at + size] for column in columns])
            for at in range(0, count, size)
        ]
        if not spreads:
            parts = [self.stage.steps(*chunk) for chunk in chunks]
        else:
            futures = [_spreading.threads().submit(self._apart, *chunk) for chunk in chunks]
            parts = [future.result() for future in futures]
        return joined(parts, len(self.stage.outputs))

    def _apart(self, items: Sequence[int], columns: Columns) -> list[list[Cell]]:
        _spreading.active = True
        return self.cells.query.call(self.stage.steps, items, columns)

    # -- From items to lists ---------------------------------------------------------------------

    def _lists(self, item: int, found: Mapping[str, Sequence[Cell]], size: int) -> list[Cell]:
        """The cell of each output of a row."""
        if not self.cells.signed:
            with suppress(Exception):  # `Skip`, say
                made = [list(map(pickle.loads, found[name])) for name in self.outputs]
                return [self.cells.dump(values) for values in made]
        failures: list[tuple[int, int, Skip]] = []
        cells = []
        for name in self.outputs:
            values: list[object] = []
            signatures: list[Digest | None] = []
            for place, cell in enumerate(found[name]):
                try:
                    values.append(self.cells.load(cell))
                except Skip as skip:
                    failures.append((place, skip.order, skip))
                    break
                if self.cells.signed:
                    signatures.append(self.cells.read(cell)[1])
            if failures:
                continue
            known = [signature for signature in signatures if signature]
            is_known = self.cells.signed and len(known) == size
            cells.append(self._cell(item, values, combine("map", *known) if is_known else None))
        if not failures:
            return cells
        place, _, first = min(failures, key=lambda each: each[:2])
        if isinstance(first, Failed):
            item_note = f"in item {place} of a map of pipeline {self.inner!r}"
            for note in (item_note, self.note, *self.chain):
                add_note(first.error, note)
        return [self.cells.dump_skip(first)] * len(self.outputs)

    def _cell(self, item: int, values: list[object], signature: Digest | None) -> Cell:
        try:
            return self.cells.dump(values, signature)
        except Exception as error:
            add_note(error, self.note)
            return self.fail(item, error)


class _Spreading(threading.local):
    """The threads that nested maps spread their items over, the same for all of them."""

    active = False
    """Whether the current thread is one of them: it must not wait for another one."""

    def threads(self) -> ThreadPoolExecutor:
        with _lock:
            pid = os.getpid()
            if pid not in _threads:  # a forked child has none of its parent's threads
                _threads[pid] = ThreadPoolExecutor(os.cpu_count(), "hypernodes-items")
            return _threads[pid]


_spreading = _Spreading()
_threads: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _repeated(values: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    return [value for value, size in zip(values, sizes, strict=True) for _ in range(size)]


def unpack_items(data: bytes) -> tuple[int, dict[str, list[Cell]]] | None:
    """What callbacks hear of a nested map: how many items it has, and their cells by column.

    Args:
        data: the record of its run.

    Returns:
        None where the map did not run.
    """
    packed: tuple[int, dict[str, list[Cell]]] | None = pickle.loads(data)
    return packed
