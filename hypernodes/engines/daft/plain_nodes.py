"""`PlainNodes`: nodes that only call their functions, compiled to one loop over rows.

Where callbacks listen there is one for each node: of those that ran before another one failed the
outputs are wanted too.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypernodes.engines.daft.cells import Cell, Skip
from hypernodes.engines.daft.compiled_calls import CompiledCalls, Failure
from hypernodes.engines.daft.node_udf import NodeUDF
from hypernodes.engines.daft.records import NO_RECORD, Records, pack
from hypernodes.engines.daft.typed_columns import ANY, CellValue
from hypernodes.engines.daft.udf import Call, Columns, ColumnUDF
from hypernodes.errors import WorkerLostError
from hypernodes.node_record import NodeRecord


class PlainNodes(ColumnUDF):
    """Nodes without cache, one after the other for each row.

    Args:
        calls: the nodes with the columns that they read and make.
        inputs: the columns that it reads.
        outputs: the columns that it makes.
        kinds: the exact type of values of those outputs that are typed columns, or `ANY` for those
            that stay values; others have cells.
    """

    def __init__(
        self,
        calls: Sequence[Call[NodeUDF]],
        inputs: Sequence[str],
        outputs: Sequence[str],
        kinds: Mapping[str, object],
    ) -> None:
        first = calls[0].udf
        super().__init__(first.cells, (), first.order, first.remote)
        self.calls = list(calls)
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.kinds = dict(kinds)
        # Then there is one node, whose record is the last column.
        self.records = first.hooks is not None

    def __str__(self) -> str:
        return " and ".join(str(call.udf) for call in self.calls)

    def losing(self, error: WorkerLostError) -> PlainNodes:
        made = self.with_cells(self.cells)
        made.calls, made.memo = [call.losing(error) for call in self.calls], {}
        return made

    @property
    def values_made(self) -> Sequence[str]:
        """The columns of what the nodes make: all but the record."""
        return self.outputs[:-1] if self.records else self.outputs

    def run(self, items: Sequence[int], columns: Columns) -> Sequence[Sequence[Cell]]:
        query = self.cells.query
        rows: Iterator[Sequence[Any]]
        rows = zip(*columns, strict=True) if columns else itertools.repeat((), len(items))
        made: list[list[Any]] = [[] for _ in self.values_made]
        records = Records() if self.records else None
        while query.failed_at is None and len(made[0]) < len(items):
            self._go(items, rows, made, records)
        # After a failure each row is looked at: those of lower items still have to run.
        for item, row in zip(items[len(made[0]) :], rows, strict=True):
            if query.is_cancelled(item):
                self._put(made, self.cells.dump_skip(Skip("cancelled")), records, NO_RECORD)
            else:
                self._go(items, iter([row]), made, records)
        return [*made] if records is None else [*made, records]

    def reading(self, names: Collection[str]) -> PlainNodes:
        """The same, where some inputs are values of one of Daft's types.

        Args:
            names: these inputs.
        """
        made = self.with_cells(self.cells)
        made.calls, made.memo = [], {}
        for call in self.calls:
            given = zip(call.reads, call.udf.native, strict=True)
            native = [name in names or own for name, own in given]
            made.calls.append(replace(call, udf=call.udf.reading(native)))
        return made

    def giving(self, names: Collection[str]) -> PlainNodes:
        """The same, where some outputs stay values, with a `CellValue` where there is none.

        Args:
            names: these outputs.
        """
        made = self.with_cells(self.cells)
        made.kinds, made.memo = {**self.kinds, **dict.fromkeys(names, ANY)}, {}
        return made

    def _go(
        self,
        items: Sequence[int],
        rows: Iterable[Sequence[Any]],
        made: list[list[Any]],
        records: Records | None,
    ) -> None:
        """Run rows to the end, or until one fails."""
        loop = self.memo.get("loop")
        if loop is None:
            end = -1 if self.records else None
            calls = [(call.udf, call.reads, call.makes[:end]) for call in self.calls]
            outputs = self.values_made
            loop = CompiledCalls(calls, self.inputs, outputs, self.kinds, self.records).loop()
            self.memo["loop"] = loop
        appends = [column.append for column in made]
        if records is not None:
            appends += [records.starts.append, records.durations.append]
        failure: Failure | None = loop(rows, self.cells.query, *appends)
        if failure is None:
            return
        at, error, started_at, duration = failure
        if isinstance(error, Skip):
            self._put(made, self.cells.dump_skip(error), records, NO_RECORD)
        else:
            udf = self.calls[at].udf
            cell = udf.with_cells(self.cells).failed(items[len(made[0])], error)[0]
            record = pack(NodeRecord(started_at, duration, "failed"))
            self._put(made, cell, records, record)

    def _put(
        self, made: list[list[Any]], cell: Cell, records: Records | None, record: bytes
    ) -> None:
        for name, column in zip(self.values_made, made, strict=True):
            column.append(CellValue(cell) if name in self.kinds else cell)
        if records is not None:
            records.add(record)
