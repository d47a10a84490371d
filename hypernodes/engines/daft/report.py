"""What callbacks are told of a Daft run: made of the marks that the nodes leave in their rows.

Nodes run inside Daft, a batch at a time, and on Ray elsewhere. Each leaves a mark when it ran and
for how long; callbacks are told of a row with these times once its batch has come out.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping

from hypernodes.callbacks import CallbackContext, Kind
from hypernodes.dispatch import ItemScope, MapScope, NodeScope, PipelineScope, Scope
from hypernodes.engines.daft.cells import Cell, Cells, CellValues, Skip, unpack_mark
from hypernodes.engines.daft.columns import Block, Part
from hypernodes.errors import Cancelled
from hypernodes.identity.values import combine
from hypernodes.node import Node
from hypernodes.run.execution import Execution
from hypernodes.run.fast_path import note_item

Sources = dict[str, CallbackContext]
"""For each column the scope that made it."""


class Replay:
    """Tells callbacks of one row.

    Args:
        cells: reads cells.
        row: the row's cells by column.
        now: when what came before ended, in seconds since the epoch; 0 where nothing did.
    """

    def __init__(self, cells: Cells, row: Mapping[str, Cell], now: float = 0.0) -> None:
        self._cells = cells
        self._row = row
        self.now = now

    def tell(
        self, block: Block, execution: Execution, around: Scope, sources: Sources
    ) -> Skip | None:
        """Tell of a block's steps, which are part of an execution, inside a scope.

        Returns:
            What failed, the first one in order, if anything did.
        """
        failed: Skip | None = None
        for part in block.parts:
            if part.inside is None:
                skip = self._node(part, execution, around, sources)
            else:
                skip = self._nested(part, part.inside, execution.within(around), sources)
            if skip is not None and (failed is None or skip.order < failed.order):
                failed = skip
        return failed

    def item(
        self,
        block: Block,
        execution: Execution,
        index: int,
        sources: Sources,
        called_off: bool = False,
    ) -> Skip | None:
        """Tell of an item of the map whose scope the execution is in."""
        assert execution.ctx is not None
        name = f"{execution.ctx.name}[{index}]"
        ids = block.plan.node_ids
        ctx = CallbackContext("map_item", name, execution.ctx, execution.around, index, None, ids)
        scope = ItemScope(execution.hooks, ctx, execution.scope)
        failed = self.tell(block, execution, scope, sources)
        if failed is not None:
            note_item(failed.error, index, execution.pipeline)
            scope.fail(failed.error)
        elif called_off:
            scope.fail(Cancelled("called off, since another item has failed"))
        elif scope.started:
            scope.end({}, self.now - ctx.started_at)
        else:
            made = [
                self._cells.read(self._row[block.columns[slot]])[1] or b""
                for slot in block.plan.returns.values()
            ]
            scope.cached(combine("item", *made).hex())
        return failed

    def _node(
        self, part: Part, execution: Execution, around: Scope, sources: Sources
    ) -> Skip | None:
        step = part.step
        mark = unpack_mark(self._row[part.told or ""])
        if not isinstance(step.node, Node):  # its own engine has told of it
            failed = self._failed(part.made.values())
            if failed is None:
                around.start(self.now or None)
            return failed
        if mark is None:
            return None
        from_ = _from(part.read, sources) if sources else None
        ctx = CallbackContext("node", step.id, around.ctx, execution.around, None, from_)
        for column in part.made.values():
            sources[column] = ctx
        if isinstance(mark, str):
            NodeScope(execution.hooks, ctx, around, {}).cached(mark)
            return None
        started_at, duration, seen, retries = mark
        if seen is not None:
            ctx.identify(seen[0])
            ctx.brought_back = seen[1]
        inputs = CellValues(self._cells.load, self._row, part.read, part.shared)
        if duration is not None:
            outputs = CellValues(self._cells.load, self._row, part.made, {})
            NodeScope.report(
                execution.hooks, ctx, around, inputs, outputs, started_at, duration, retries
            )
            self.now = max(self.now, started_at + duration)
            return None
        scope = NodeScope(execution.hooks, ctx, around, inputs)
        scope.start(started_at)
        for retry in retries:
            scope.retry(retry)
        failed = self._failed(part.made.values())
        assert failed is not None
        scope.fail(failed.error)
        return failed

    def _nested(self, part: Part, inner: Block, outer: Execution, sources: Sources) -> Skip | None:
        step, own, made = part.step, inner.execution, part.made.values()
        rows = None if part.told is None else pickle.loads(self._row[part.told])
        if part.told is not None and rows is None:
            return self._failed(made)
        execution = Execution(
            own.pipeline, own.engine, own.workers, own.cache, own.hooks, outer.session,
            outer.ctx, outer.scope,
        )  # fmt: skip
        kind: Kind = "pipeline" if rows is None else "map"
        ids = inner.plan.node_ids if rows is None else ()
        from_ = _from(part.read, sources)
        ctx = execution._context(kind, step.id, inputs_from=from_, node_ids=ids)
        scope: PipelineScope | MapScope
        if rows is None:
            scope = PipelineScope(execution.hooks, ctx, outer.scope, {})
        else:
            scope = MapScope(execution.hooks, ctx, outer.scope, len(rows))
        if outer.scope is None or outer.scope.started:
            scope.start(self.now or None)
        if rows is None:
            failed = self.tell(inner, execution, scope, sources)
        else:
            failed = self._rows(inner, execution.within(scope), rows, sources)
        if failed is not None:
            scope.fail(failed.error)
        else:
            scope.end({}, self.now - ctx.started_at if scope.started else 0.0)
        sources.update(dict.fromkeys(made, ctx))
        return failed

    def _rows(
        self, inner: Block, execution: Execution, rows: list[dict[str, Cell]], sources: Sources
    ) -> Skip | None:
        failed: Skip | None = None
        for index, cells in enumerate(rows):
            teller = Replay(self._cells, {**self._row, **cells}, self.now)
            skip = teller.item(inner, execution, index, dict(sources))
            failed = failed or skip
            self.now = max(self.now, teller.now)
        return failed

    def _failed(self, columns: Iterable[str]) -> Skip | None:
        for name in columns:
            try:
                self._cells.load(self._row[name])
            except Skip as skip:
                return skip if skip.kind == "failed" else None
        return None


def _from(read: Mapping[str, str], sources: Sources) -> Sources:
    return {name: sources[column] for name, column in read.items() if column in sources}
