"""A nested map in Daft: a list becomes a row for each of its items, and these one row again."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from daft import Series

from hypernodes.engines.daft.cells import Cell, Cells, Failed, Skip
from hypernodes.engines.daft.udf import BINARY, Columns, ColumnUDF, Row, struct_of
from hypernodes.errors import add_note
from hypernodes.identity.values import Digest, combine
from hypernodes.map_over import as_list, make_items
from hypernodes.node import Node
from hypernodes.plan import Step

# Daft explodes an empty list to a row of nulls. So a map without items has one row, in which each
# cell says why it has no value, and these in place of the item's place:
EMPTY = -1
"""The nested map has no items."""
SKIPPED = -2
"""The nested map does not run: an input of it failed, or the outer item was cancelled."""

InnerRow = tuple[int, dict[str, Cell]]
"""An item's place in a nested map, and the cell of each of its inputs."""


class Explode(ColumnUDF):
    """The lists of a nested map as a list of rows: one for each item, or one that says why not.

    Args:
        step: the nested pipeline's step.
        note: a note for an error, which says where it was raised.
        names: for each column the outer name of the input; "" for one that is only looked at: it
            raises `Skip` where the row is no item.
        native: which columns are of Daft's own types.
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
        shared: Mapping[str, object],
    ) -> None:
        super().__init__(cells, chain, order, remote)
        assert not isinstance(step.node, Node)
        node = step.node
        self.name = step.id
        self.note = note
        self.names = tuple(names)
        self.native = tuple(native)
        self.shared = dict(shared)
        self.mapped = {name: node.inner_inputs[name] for name in node.mapped}
        self.map_mode = node.map_mode

    def __str__(self) -> str:
        return f"the items of {self.name!r}"

    def run(self, items: Series, columns: Columns) -> pa.Array:
        offsets, places = [0], []
        made: dict[str, list[Cell]] = {name: [] for name in self.mapped.values()}
        rows: Iterator[Row]
        rows = zip(*columns, strict=True) if columns else itertools.repeat((), len(items))
        for item, row in zip(items.to_pylist(), rows, strict=True):
            for place, cells in self._items(item, row):
                places.append(place)
                for name, cell in cells.items():
                    made[name].append(cell)
            offsets.append(len(places))
        # Arrow's list of structs is one array for each field, and where each list ends.
        arrays = [pa.array(column, type=BINARY) for column in made.values()]
        names = ["place", *[f"f{at}" for at in range(len(arrays))]]
        struct = pa.StructArray.from_arrays([pa.array(places, type=pa.int64()), *arrays], names)
        return pa.LargeListArray.from_arrays(pa.array(offsets, type=pa.int64()), struct)

    def _items(self, item: int, row: Row) -> list[InnerRow]:
        if self.cells.query.is_cancelled(item):
            return self._no_items(SKIPPED, self.cells.dump_skip(Skip("cancelled")))
        try:
            values = dict(self.shared)
            for name, native, cell in zip(self.names, self.native, row, strict=True):
                values[name] = cell if native else self.cells.load(cell)
            lists = {inner: as_list(name, values[name]) for name, inner in self.mapped.items()}
            every = make_items(lists, self.map_mode)
            if not every:
                return self._no_items(EMPTY, self.cells.dump_skip(Skip("empty")))
            return [
                (place, {name: self.cells.dump(value) for name, value in each.items()})
                for place, each in enumerate(every)
            ]
        except Skip as skip:
            return self._no_items(SKIPPED, self.cells.dump_skip(skip))
        except BaseException as error:
            add_note(error, self.note)
            return self._no_items(SKIPPED, self.fail(item, error))

    def _no_items(self, why: int, cell: Cell) -> list[InnerRow]:
        return [(why, dict.fromkeys(self.mapped.values(), cell))]


def pack_rows(rows: Sequence[Mapping[str, Any]], fields: Mapping[str, str]) -> bytes:
    """What callbacks hear of a nested map: for each item its cells by column.

    Args:
        rows: the items' rows, in order.
        fields: for each column the field of a row.
    """
    place = rows[0]["place"]
    if place == SKIPPED:
        return pickle.dumps(None)
    cells = [{name: row[field] for name, field in fields.items()} for row in rows]
    return pickle.dumps([] if place == EMPTY else cells)


def unpack_rows(data: bytes) -> list[dict[str, Cell]] | None:
    """The cells of each item of a nested map; None where the map did not run."""
    rows: list[dict[str, Cell]] | None = pickle.loads(data)
    return rows


class Regroup(ColumnUDF):
    """The rows of a nested map's items as one row again, in order.

    Args:
        step: the nested pipeline's step.
        note: a note for an error, which says where it was raised.
        outputs: for each output the field of the items' values.
        records: for each column that callbacks hear of, the field of the items' cells; None where
            nobody listens.
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
        records: Mapping[str, str] | None,
    ) -> None:
        super().__init__(cells, chain, order, remote)
        assert not isinstance(step.node, Node)
        self.name = step.id
        self.inner = step.node.pipeline.name
        self.note = note
        self.outputs = tuple(outputs)
        self.records = records

    def __str__(self) -> str:
        return f"the results of {self.name!r}"

    def run(self, items: Series, columns: Columns) -> pa.Array:
        made: list[list[Cell]] = [[] for _ in self.outputs]
        records: list[bytes] = []
        for item, grouped in zip(items.to_pylist(), columns[0], strict=True):
            # On Ray and between partitions the rows come in any order.
            rows = sorted(grouped, key=lambda row: row["place"])
            for column, cell in zip(made, self._lists(item, rows), strict=True):
                column.append(cell)
            if self.records is not None:
                records.append(pack_rows(rows, self.records))
        return struct_of(made if self.records is None else [*made, records])

    def _lists(self, item: int, rows: Sequence[Mapping[str, Any]]) -> list[Cell]:
        """The cell of each output."""
        if rows[0]["place"] == EMPTY:
            rows = []
        skips: list[tuple[int, int, Skip]] = []
        cells = []
        for name in self.outputs:
            values: list[object] = []
            signatures: list[Digest | None] = []
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
        if isinstance(first, Failed) and place >= 0:
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
