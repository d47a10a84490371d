"""A nested map in Daft: a list becomes a row for each of its items, and these one row again."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hypernodes.engines.daft.cells import Cell, Cells, Skip
from hypernodes.engines.daft.node_udf import BINARY, UDF, struct_of
from hypernodes.errors import add_note
from hypernodes.identity.values import combine
from hypernodes.map_over import as_list, make_items
from hypernodes.nested import PipelineNode
from hypernodes.plan import Step


class Explode(UDF):
    """The lists of a nested map as a list of rows: one for each item, or one that says why not.

    Args:
        step: the nested pipeline's step.
        note: what an error is told to have been in.
        names: for each column the outer name of the input; "" for one that only has to be there.
        native: which columns are Daft's own.
        shared: inputs that all rows share, by outer name.
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
        shared: dict[str, Any],
    ) -> None:
        super().__init__(cells, chain, order, remote)
        assert isinstance(step.node, PipelineNode)
        node = step.node
        self.name = step.id
        self.note = note
        self.names = tuple(names)
        self.native = tuple(native)
        self.shared = shared
        self.mapped = {name: node.inner_inputs[name] for name in node.mapped}
        self.map_mode = node.map_mode

    def __str__(self) -> str:
        return f"the items of {self.name!r}"

    def run(self, items: Any, columns: Sequence[list[Any]]) -> Any:
        offsets, places = [0], []
        made: dict[str, list[Any]] = {name: [] for name in self.mapped.values()}
        rows = zip(*columns, strict=True) if columns else itertools.repeat((), len(items))
        for item, row in zip(items.to_pylist(), rows, strict=True):
            for place, cells in self._items(item, row):
                places.append(place)
                for name, cell in cells.items():
                    made[name].append(cell)
            offsets.append(len(places))
        arrays = [pa.array(column, type=BINARY) for column in made.values()]
        names = ["place", *made]
        struct = pa.StructArray.from_arrays([pa.array(places, type=pa.int64()), *arrays], names)
        return pa.LargeListArray.from_arrays(pa.array(offsets, type=pa.int64()), struct)

    def _items(self, item: int, row: Sequence[Any]) -> list[tuple[int, dict[str, Cell]]]:
        def alone(place: int, cell: Cell) -> list[tuple[int, dict[str, Cell]]]:
            return [(place, dict.fromkeys(self.mapped.values(), cell))]

        if self.cells.query.is_off(item):
            return alone(-2, self.cells.skip(Skip("off")))
        try:
            values = dict(self.shared)
            for name, native, cell in zip(self.names, self.native, row, strict=True):
                values[name] = cell if native else self.cells.load(cell)
            lists = {inner: as_list(name, values[name]) for name, inner in self.mapped.items()}
            every = make_items(lists, self.map_mode)
            if not every:
                return alone(-1, self.cells.skip(Skip("empty")))
            return [
                (place, {name: self.cells.cell(value) for name, value in each.items()})
                for place, each in enumerate(every)
            ]
        except Skip as skip:
            return alone(-2, self.cells.skip(skip))
        except BaseException as error:
            add_note(error, self.note)
            return alone(-2, self.fail(item, error))


class Regroup(UDF):
    """The rows of a nested map's items as one row again, in order.

    Args:
        step: the nested pipeline's step.
        note: what an error is told to have been in.
        outputs: for each output the field of the items' values.
        told: the field of each column that callbacks are told of; None where there are none.
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
        outputs: Sequence[str],
        told: Mapping[str, str] | None,
    ) -> None:
        super().__init__(cells, chain, order, remote)
        assert isinstance(step.node, PipelineNode)
        self.name = step.id
        self.inner = step.node.pipeline.name
        self.note = note
        self.outputs = tuple(outputs)
        self.told = told

    def __str__(self) -> str:
        return f"the results of {self.name!r}"

    def run(self, items: Any, columns: Sequence[list[Any]]) -> Any:
        made: list[list[Cell]] = [[] for _ in self.outputs]
        told: list[Cell] = []
        for item, gathered in zip(items.to_pylist(), columns[0], strict=True):
            rows = sorted(gathered, key=lambda row: row["place"])
            for column, cell in zip(made, self._lists(item, rows), strict=True):
                column.append(cell)
            if self.told is not None:
                marks = [{name: row[field] for name, field in self.told.items()} for row in rows]
                place = rows[0]["place"]
                told.append(pickle.dumps(None if place == -2 else [] if place == -1 else marks))
        if self.told is not None:
            made.append(told)
        return struct_of(made)

    def _lists(self, item: int, rows: Sequence[Mapping[str, Any]]) -> list[Cell]:
        """The cell of each output."""
        if rows[0]["place"] == -1:
            rows = []
        skips: list[tuple[int, int, Skip]] = []
        cells = []
        for name in self.outputs:
            values, signatures = [], []
            for row in rows:
                try:
                    values.append(self.cells.load(row[name]))
                    signatures.append(self.cells.read(row[name])[1])
                except Skip as skip:
                    skips.append((row["place"], skip.order, skip))
                    break
            if skips:
                continue
            known = [signature for signature in signatures if signature]
            signature = combine("map", *known) if len(known) == len(rows) else None
            cells.append(self._cell(item, values, signature))
        if not skips:
            return cells
        place, _, first = min(skips, key=lambda each: each[:2])
        if first.kind == "failed" and place >= 0:
            item_note = f"in item {place} of a map of pipeline {self.inner!r}"
            for note in (item_note, self.note, *self.chain):
                add_note(first.error, note)
        return [self.cells.skip(first)] * len(self.outputs)

    def _cell(self, item: int, values: list[Any], signature: Any) -> Cell:
        try:
            return self.cells.cell(values, signature)
        except Exception as error:
            add_note(error, self.note)
            return self.fail(item, error)
