"""`Stage`: functions that Daft calls as one: what is between them never becomes a column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any, cast

import pyarrow as pa
from daft import DataType, Series

from hypernodes.engines.daft.cells import Cell, Cells, Failed, Skip
from hypernodes.engines.daft.node_udf import NodeUDF
from hypernodes.engines.daft.options import DaftOptions
from hypernodes.engines.daft.plain_nodes import PlainNodes
from hypernodes.engines.daft.typed_columns import KINDS, CellValue, fields_of, values_of
from hypernodes.engines.daft.udf import BINARY, Call, Columns, ColumnUDF, cells_array, struct_of
from hypernodes.errors import WorkerLostError, add_note


class ListCells(list[Cell]):
    """Cells of lists, with the lists themselves if the next node may as well read these."""

    values: list[list[Any]] | None = None


class Stage(ColumnUDF):
    """Calls functions one after the other for a batch of rows.

    Args:
        cells: makes and reads cells.
        remote: it is called in another process.
        calls: the functions, each after those that it reads from.
        inputs: the columns that it is given.
        outputs: the columns that it gives back; inputs may be among them.
        pipeline: the name of the pipeline that the rows are items of.
        typed: those columns, if any, that are typed columns where they come into it.
        kinds: the exact type of values of outputs that could be typed columns.
        goes_on: whether of a row that fails those outputs are wanted that do not depend on it.

    Attributes:
        kinds: of the outputs that are typed columns.
    """

    def __init__(
        self,
        cells: Cells,
        remote: bool,
        calls: Sequence[Call[ColumnUDF]],
        inputs: Sequence[str],
        outputs: Sequence[str],
        pipeline: str,
        typed: Collection[str] = (),
        kinds: Mapping[str, object] = MappingProxyType({}),
        goes_on: bool = False,
    ) -> None:
        super().__init__(cells, (), calls[0].udf.order, remote)
        self.name = ", ".join(call.name for call in calls)
        bounds = [call.udf.instances for call in calls if call.udf.instances is not None]
        self.instances = min(bounds, default=None)
        self.calls = compile_plain(calls, outputs, kinds, goes_on)
        self.kinds = {
            name: kind
            for call in self.calls
            if isinstance(call.udf, PlainNodes)
            for name, kind in call.udf.kinds.items()
        }
        self.typed = [name for name in inputs if name in typed]
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.pipeline = pipeline
        last_read = {name: at for at, call in enumerate(self.calls) for name in call.reads}
        self._dropped = [
            [
                name
                for name in {*call.reads, *call.makes}.difference(outputs)
                if last_read.get(name, -1) <= at
            ]
            for at, call in enumerate(self.calls)
        ]

    def __str__(self) -> str:
        names = [repr(name) for name in self.name.split(", ")]
        return f"node{'s' * (len(names) > 1)} {', '.join(names)}"

    def pack(self) -> bytes:
        for call in self.calls:
            call.udf.pack()  # an error names the node
        return super().pack()

    def with_cells(self, cells: Cells) -> Stage:
        made = super().with_cells(cells)
        made.calls = [replace(call, udf=call.udf.with_cells(cells)) for call in self.calls]
        return made

    def losing(self, error: WorkerLostError) -> Stage:
        made = self.with_cells(self.cells)
        made.calls = [call.losing(error) for call in self.calls]
        return made

    def __call__(self, *series: Series) -> Series:
        query, cells = self.cells.query, self.cells
        items, *given = series
        columns: list[list[Any]] = []
        natively = []
        for name in self.inputs:
            if name not in self.typed:
                columns.append(given.pop(0).to_pylist())
                continue
            values, has_cells = values_of(given.pop(0), given.pop(0))
            if not has_cells and self.reads_values:
                natively.append(name)
            else:
                values = [v if type(v) is bytes else self.cells.dump(v) for v in values]
            columns.append(values)
        if not query.is_collected:
            # Daft is asked for a lazy frame's rows again and again, and for some of them: what
            # failed is forgotten with the batch.
            cells = Cells(query.of_batch(), cells.caches)
        stage = self.reading(frozenset(natively))
        stage = stage if cells is self.cells else stage.with_cells(cells)
        made = query.call(stage.run, items.to_pylist(), columns)
        if not self.kinds:
            return Series.from_arrow(struct_of(made))
        return Series.from_arrow(pa.StructArray.from_arrays(*self._fields(made)))

    @property
    def reads_values(self) -> bool:
        """Whether what it calls takes values in place of cells."""
        return all(isinstance(call.udf, PlainNodes) for call in self.calls)

    def reading(self, names: frozenset[str]) -> Stage:
        """The same, where some inputs are values in place of cells.

        Args:
            names: these inputs.
        """
        if not names:
            return self
        made: Stage | None = self.memo.get(str(sorted(names)))
        if made is None:
            made = self.with_cells(self.cells)
            made.calls = [
                replace(call, udf=cast("PlainNodes", call.udf).reading(names))
                for call in self.calls
            ]
            self.memo[str(sorted(names))] = made
        return made

    @property
    def plain_outputs(self) -> frozenset[str]:
        """Those outputs that can stay values: nothing that it calls reads them as cells."""
        if self.cells.signed or self.cells.query.remote:
            return frozenset()
        read = {name for call in self.calls for name in call.reads}
        made = [call for call in self.calls if isinstance(call.udf, PlainNodes)]
        names = [name for call in made for name in cast("PlainNodes", call.udf).values_made]
        return frozenset(names).intersection(self.outputs) - read

    def giving(self, names: Collection[str]) -> Stage:
        """The same, where some outputs are values in place of cells; see `PlainNodes.giving`.

        Args:
            names: these outputs, of `plain_outputs`.
        """
        made = self.with_cells(self.cells)
        made.calls = []
        for call in self.calls:
            own = [name for name in call.makes if name in names]
            udf = cast("PlainNodes", call.udf).giving(own) if own else call.udf
            made.calls.append(replace(call, udf=udf))
        made.memo = {}
        return made

    @property
    def dtype(self) -> DataType:
        """The type of the column that it makes: its one output, or a struct of all."""
        binary = DataType.binary()
        if len(self.outputs) == 1 and not self.kinds:
            return binary
        fields = {}
        for at, name in enumerate(self.outputs):
            fields[str(at)] = KINDS[self.kinds[name]] if name in self.kinds else binary
            if name in self.kinds:
                fields[f"{at}:cell"] = binary
        made: DataType = DataType.struct(fields)
        return made

    def _fields(self, columns: Sequence[list[Any]]) -> tuple[list[pa.Array], list[str]]:
        """The fields of the struct that it makes, and their names; see `dtype`."""
        arrays, names = [], []
        for at, (name, column) in enumerate(zip(self.outputs, columns, strict=True)):
            names.append(str(at))
            if name not in self.kinds:
                arrays.append(cells_array(column))
                continue
            array, cells = fields_of(column, self.kinds[name], self.cells.dump)
            nothing = pa.nulls(len(array), BINARY)
            arrays += [array, nothing if cells is None else cells_array(cells)]
            names.append(f"{at}:cell")
        return arrays, names

    def run(self, items: Sequence[int], columns: Columns) -> list[list[Cell]]:
        made = self.steps(items, columns)
        query = self.cells.query
        if query.failed_at is not None and not query.is_collected:
            place = items.index(query.failed_at)
            cell = self._failure(place, query.failed_at, made)
            rest = len(items) - place
            for at, name in enumerate(self.outputs):
                last: Any = CellValue(cell) if name in self.kinds else cell
                made[at] = [*made[at][:place], *[last] * rest]
        return made

    def steps(self, items: Sequence[int], columns: Columns) -> list[list[Any]]:
        """Call the functions.

        Args:
            items: the number of each row's item.
            columns: the columns that it is given.

        Returns:
            The columns of the outputs.
        """
        values: dict[str, Any] = dict(zip(self.inputs, columns, strict=True))
        for at, (call, dropped) in enumerate(zip(self.calls, self._dropped, strict=True)):
            udf, read = self._given(at, call, values)
            size = call.options.batch_size or len(items)
            parts = [
                udf.run(
                    items[start : start + size], [column[start : start + size] for column in read]
                )
                for start in range(0, len(items), max(1, size))
            ]
            made = joined(parts, len(call.makes))
            values.update(zip(call.makes, made, strict=True))
            for name in dropped:
                del values[name]
        return [values[name] for name in self.outputs]

    def _given(
        self, at: int, call: Call[ColumnUDF], values: Mapping[str, Any]
    ) -> tuple[ColumnUDF, list[Any]]:
        """A function as it is called, and its columns: lists that are at hand are not loaded."""
        columns = [values[name] for name in call.reads]
        at_hand = {
            name: column.values
            for name, column in zip(call.reads, columns, strict=True)
            if isinstance(column, ListCells) and column.values is not None
        }
        if not at_hand or not isinstance(call.udf, PlainNodes):
            return call.udf, columns
        key = f"{at} reads {sorted(at_hand)}"
        if key not in self.memo:
            self.memo[key] = call.udf.reading(at_hand)
        return self.memo[key].with_cells(self.cells), [
            at_hand.get(name, column) for name, column in zip(call.reads, columns, strict=True)
        ]

    def _failure(self, place: int, item: int, made: Sequence[Sequence[Any]]) -> Cell:
        """The cell of a batch's first failure.

        It stands for all rows from there on: whichever of them Daft asks for, its error is raised.
        """
        failures = []
        for column in made:
            cell = column[place]
            if type(cell) is CellValue:
                cell = cell.cell
            elif type(cell) is not bytes:
                continue
            try:
                self.cells.load(cell)
            except Failed as failed:
                failures.append(failed)
            except Skip:
                continue
        first = min(failures, key=lambda failed: failed.order)
        add_note(first.error, f"in item {item} of a map of pipeline {self.pipeline!r}")
        return self.cells.dump_skip(first)


def joined(parts: Sequence[Sequence[Sequence[Cell]]], count: int) -> Sequence[Sequence[Cell]]:
    """The columns of several batches as those of one.

    Args:
        parts: the columns of each batch.
        count: how many columns there are.
    """
    if len(parts) == 1:
        return parts[0]
    return [[cell for part in parts for cell in part[at]] for at in range(count)]


def served(calls: Sequence[Call[ColumnUDF]], outputs: Collection[str]) -> list[frozenset[str]]:
    """For each function those outputs that depend on it.

    Args:
        calls: the functions, each after those that it reads from.
        outputs: the columns that are wanted in the end.
    """
    serves: dict[str, frozenset[str]] = {name: frozenset([name]) for name in outputs}
    made = []
    for call in reversed(calls):
        ends = frozenset().union(*[serves.get(name, frozenset()) for name in call.makes])
        made.append(ends)
        for name in call.reads:
            serves[name] = serves.get(name, frozenset()) | ends
    return made[::-1]


def compile_plain(
    calls: Sequence[Call[ColumnUDF]],
    outputs: Sequence[str],
    kinds: Mapping[str, object],
    goes_on: bool,
) -> list[Call[ColumnUDF]]:
    """Compile nodes in a row that only call their functions to one loop.

    A row that fails ends the loop, for all that it makes.

    Args:
        calls: the functions, each after those that it reads from.
        outputs: the columns that are wanted in the end.
        kinds: the exact type of values of outputs that could be typed columns.
        goes_on: whether of a row that fails those outputs are wanted that do not depend on it.
    """
    made: list[Call[ColumnUDF]] = []
    place = 0
    ends = served(calls, outputs) if goes_on else [frozenset[str]()] * len(calls)
    known = zip(map(_kind, calls), ends, calls, strict=True)
    for (kind, _), group in groupby(known, itemgetter(0, 1)):
        every = [call for *_, call in group]
        place += len(every)
        if kind is None:
            made += every
            continue
        nodes = [cast("Call[NodeUDF]", call) for call in every]
        own = {name for call in nodes for name in call.makes}
        read = {name for call in calls[place:] for name in call.reads}
        later = read.union(outputs)
        inputs = list(dict.fromkeys(n for call in nodes for n in call.reads if n not in own))
        kept = [name for call in nodes for name in call.makes if name in later]
        name = ", ".join(call.name for call in nodes)
        typed = {n: kinds[n] for n in kept if n in kinds and n not in read}
        udf = PlainNodes(nodes, inputs, kept, typed)
        made.append(Call(udf, name, tuple(inputs), tuple(kept), DaftOptions()))
    return made


def _kind(call: Call[ColumnUDF]) -> int | None:
    """The same for nodes that may become one loop; None for those that cannot be compiled."""
    udf = call.udf
    if not isinstance(udf, NodeUDF) or not udf.only_calls:
        return None
    return udf.order if udf.only_records else -1
