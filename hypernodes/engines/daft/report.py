"""What callbacks hear of a Daft run, made of the records that nodes leave in their rows.

Nodes run inside Daft, a batch at a time, and on Ray elsewhere. Callbacks hear of a row, with its
true times, once its batch has come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypernodes.callbacks import CallbackContext, Kind
from hypernodes.dispatch import ItemScope, MapScope, NodeScope, PipelineScope, Scope
from hypernodes.engines.daft.cells import Cell, Cells, CellValues, Failed, Skip
from hypernodes.engines.daft.columns import Block, Part
from hypernodes.engines.daft.nested_map import unpack_rows
from hypernodes.engines.daft.records import unpack
from hypernodes.errors import Cancelled
from hypernodes.identity.values import combine
from hypernodes.labels import run_label
from hypernodes.node import Node
from hypernodes.run.execution import Execution
from hypernodes.run.fast_path import note_item

Sources = dict[str, CallbackContext]
"""For each column the scope that made it."""


class Replay:
    """Replays one row to callbacks.

    Args:
        cells: reads cells.
        row: the row's cells by column.
        now: when the last node that was replayed ended, in seconds since the epoch; 0 for none.
    """

    def __init__(self, cells: Cells, row: Mapping[str, Cell], now: float = 0.0) -> None:
        self._cells = cells
        self._row = row
        self.now = now

    def steps(
        self, block: Block, execution: Execution, around: Scope, sources: Sources
    ) -> Failed | None:
        """Replay a block's steps.

        Args:
            block: the block.
            execution: what its nodes are run by, inside the scope.
            around: the scope.
            sources: the scopes that made the columns so far; those of this block are added.

        Returns:
            The first failure in the nodes' order, if there is one.
        """
        failed: Failed | None = None
        for part in block.parts:
            if part.inside is None:
                failure = self._node(part, execution, around, sources)
            else:
                failure = self._nested(part, part.inside, execution.within(around), sources)
            if failure is not None and (failed is None or failure.order < failed.order):
                failed = failure
        return failed

    def item(
        self,
        block: Block,
        execution: Execution,
        index: int,
        sources: Sources,
        cancelled: bool = False,
        inputs: Mapping[str, Any] | None = None,
    ) -> Failed | None:
        """Replay an item of a map.

        Args:
            block: the mapped pipeline's block.
            execution: what its nodes are run by, inside the map's scope.
            index: the item's place in the map.
            sources: the scopes that made the columns so far; those of this item are added.
            cancelled: whether it was cancelled, since another item had failed.
            inputs: the item's own inputs, where they are known.

        Returns:
            The first failure in the nodes' order, if there is one.
        """
        assert execution.ctx is not None
        name = f"{execution.ctx.name}[{index}]"
        ids = block.plan.node_ids
        ctx = CallbackContext(
            "map_item", name, execution.ctx, execution.settings.scope_info, index, None, ids
        )
        ctx.item_inputs = inputs or {}
        scope = ItemScope(execution.settings.hooks, ctx, execution.scope)
        failed = self.steps(block, execution, scope, sources)
        if failed is not None:
            note_item(failed.error, index, execution.settings.pipeline, inputs)
            scope.fail(failed.error)
        elif cancelled:
            scope.fail(Cancelled("called off, since another item has failed"))
        elif scope.started:
            scope.end({}, self.now - ctx.started_at)
        else:  # no node has run: all of it came from the cache
            made = [
                self._cells.read(self._row[block.columns[slot]])[1] or b""
                for slot in block.plan.returns.values()
            ]
            scope.cached(combine("item", *made).hex())
        return failed

    def _node(
        self, part: Part, execution: Execution, around: Scope, sources: Sources
    ) -> Failed | None:
        step = part.step
        assert part.record is not None
        record = unpack(self._row[part.record])
        if not isinstance(step.node, Node):  # a nested pipeline, which its own engine reported
            failed = self._failed(part.made.values())
            if failed is None:
                around.start(self.now or None)
            return failed
        if record is None:
            return None
        inputs_from = _inputs_from(part, sources) if sources else None
        ctx = CallbackContext(
            "node", step.id, around.ctx, execution.settings.scope_info, None, inputs_from
        )
        inputs = CellValues(self._cells.load, self._row, part.read, part.shared)
        if (run_name := step.node.options.task_run_name) is not None:
            ctx.label = run_label(step.id, run_name, inputs)
        for column in part.made.values():
            sources[column] = ctx
        hooks = execution.settings.hooks
        if record.outcome == "cached":
            NodeScope(hooks, ctx, around, {}).cached(record.signature or "")
            return None
        if record.scope_id is not None:
            ctx.identify(record.scope_id)
        scope = NodeScope(hooks, ctx, around, inputs)
        scope.catch_up(record)
        if record.outcome == "done":
            scope.end(CellValues(self._cells.load, self._row, part.made, {}), record.duration)
            self.now = max(self.now, record.started_at + record.duration)
            return None
        failed = self._failed(part.made.values())
        assert failed is not None
        scope.fail(failed.error)
        return failed

    def _nested(
        self, part: Part, inner: Block, outer: Execution, sources: Sources
    ) -> Failed | None:
        step, own, made = part.step, inner.execution, part.made.values()
        rows = None
        if part.record is not None:  # a nested map
            rows = unpack_rows(self._row[part.record])
            if rows is None:
                return self._failed(made)
        execution = self._cells.query.execution(
            own.settings.pipeline,
            own.settings.engine,
            own.settings.cache,
            hooks=own.settings.hooks,
            ctx=outer.ctx,
            scope=outer.scope,
        )
        kind: Kind = "pipeline" if rows is None else "map"
        ids = inner.plan.node_ids if rows is None else ()
        inputs_from = _inputs_from(part, sources)
        ctx = execution.context(kind, step.id, inputs_from=inputs_from, node_ids=ids)
        scope: PipelineScope | MapScope
        if rows is None:
            scope = PipelineScope(execution.settings.hooks, ctx, outer.scope, {})
        else:
            scope = MapScope(execution.settings.hooks, ctx, outer.scope, len(rows))
        if outer.scope is None or outer.scope.started:
            scope.start(self.now or None)
        if rows is None:
            failed = self.steps(inner, execution, scope, sources)
        else:
            failed = self._items(inner, execution.within(scope), rows, sources)
        if failed is not None:
            scope.fail(failed.error)
        else:
            scope.end({}, self.now - ctx.started_at if scope.started else 0.0)
        sources.update(dict.fromkeys(made, ctx))
        return failed

    def _items(
        self, inner: Block, execution: Execution, rows: list[dict[str, Cell]], sources: Sources
    ) -> Failed | None:
        failed: Failed | None = None
        for index, cells in enumerate(rows):
            replay = Replay(self._cells, {**self._row, **cells}, self.now)
            failure = replay.item(inner, execution, index, dict(sources))
            failed = failed or failure
            self.now = max(self.now, replay.now)
        return failed

    def _failed(self, columns: Iterable[str]) -> Failed | None:
        for name in columns:
            try:
                self._cells.load(self._row[name])
            except Skip as skip:
                return skip if isinstance(skip, Failed) else None
        return None


def _inputs_from(part: Part, sources: Sources) -> Sources:
    return {name: sources[column] for name, column in part.read.items() if column in sources}
