"""What callbacks hear of a Daft run, made of the records that nodes leave in their rows.

Nodes run inside Daft, a batch at a time, and on Ray elsewhere. Callbacks hear of a row, with its
true times, once its batch has come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hypernodes.callbacks import CallbackContext, Kind
from hypernodes.dispatch import ItemScope, MapScope, NodeScope, PipelineScope, Scope
from hypernodes.engines.daft.cells import Cell, Cells, CellValues, Failed, RowOf, Skip
from hypernodes.engines.daft.columns import Block, Part
from hypernodes.engines.daft.item_scopes import DoneItems, DoneValues, NodeContext
from hypernodes.engines.daft.nested_map import ListedValues, take_items
from hypernodes.engines.daft.records import NO_RECORD, Records, unpack
from hypernodes.engines.daft.scopes import identify
from hypernodes.errors import Cancelled
from hypernodes.identity.values import combine
from hypernodes.labels import run_label
from hypernodes.node import Node
from hypernodes.run.execution import Execution, fail_map
from hypernodes.run.fast_path import note_item

EMPTY: Mapping[str, object] = MappingProxyType({})

Sources = dict[str, CallbackContext]
"""For each column the scope that made it."""


class Replay:
    """Replays one row to callbacks.

    Args:
        cells: reads cells.
        row: the row.
        now: when the last node that was replayed ended, in seconds since the epoch; 0 for none.

    Attributes:
        lacks: whether there was a node that did not run, and no failure before it.
    """

    def __init__(self, cells: Cells, row: RowOf, now: float = 0.0) -> None:
        self._cells = cells
        self._row = row
        self.now = now
        self.lacks = False
        self._identifies = cells.query.has_contexts

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
        if self._identifies:
            identify(ctx)
        scope = ItemScope(execution.settings.hooks, ctx, execution.scope)
        failed = self.steps(block, execution, scope, sources)
        if failed is not None:
            note_item(failed.error, index, execution.settings.pipeline.name, inputs)
            scope.fail(failed.error)
        elif cancelled or (self.lacks and scope.started):
            scope.fail(Cancelled("called off, since another item has failed"))
        elif self.lacks:
            return None  # it was never begun
        elif not scope.is_cached:
            scope.end({}, self.now - ctx.started_at if scope.started else 0.0)
        else:
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
            self.lacks = True
            return None
        inputs_from = _inputs_from(part, sources) if sources else None
        ctx = CallbackContext(
            "node", step.id, around.ctx, execution.settings.scope_info, None, inputs_from
        )
        inputs = CellValues(self._cells, self._row, part.read, part.shared)
        if (run_name := step.node.options.task_run_name) is not None:
            ctx.label = run_label(step.id, run_name, inputs)
        for column in part.made.values():
            sources[column] = ctx
        if self._identifies:
            identify(ctx)
        hooks = execution.settings.hooks
        if record.outcome == "cached":
            around.spare()
            NodeScope(hooks, ctx, around, {}).cached(record.signature or "")
            return None
        scope = NodeScope(hooks, ctx, around, inputs)
        scope.catch_up(record)
        if record.outcome == "done":
            scope.end(CellValues(self._cells, self._row, part.made, {}), record.duration)
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
            rows = take_items(self._cells.query, self._row[part.record])
            if rows is None:
                failed = self._failed(made)
                self.lacks = self.lacks or failed is None
                if failed is not None and self._failed(part.read.values()) is None:
                    inside, made_by = own.within(outer.scope), _inputs_from(part, sources)
                    fail_map(inside, step.id, made_by, failed.error)
                return failed
        elif not self._has_begun(inner):
            self.lacks = True
            return None
        execution = Execution(own.settings, own.workers, outer.ctx, outer.scope)
        kind: Kind = "pipeline" if rows is None else "map"
        ids = inner.plan.node_ids if rows is None else ()
        inputs_from = _inputs_from(part, sources)
        ctx = execution.context(kind, step.id, inputs_from=inputs_from, node_ids=ids)
        if self._identifies:
            identify(ctx)
        scope: PipelineScope | MapScope
        if rows is None:
            scope = PipelineScope(execution.settings.hooks, ctx, outer.scope, {})
        else:
            scope = MapScope(execution.settings.hooks, ctx, outer.scope, rows.size)
        if outer.scope is None or outer.scope.started:
            scope.start(self.now or None)
        if rows is None:
            failed = self.steps(inner, execution, scope, sources)
        else:
            assert not isinstance(step.node, Node)
            execution = execution.within(scope)
            columns = {**rows.columns}
            for (name, _), outer_name in zip(step.outputs, made, strict=True):
                column = inner.columns[inner.plan.returns[step.node.inner_outputs[name]]]
                if column not in columns:
                    columns[column] = ListedValues(
                        self._cells, self._row[outer_name], rows.start, rows.size
                    )
            # An item of a list has been made by what made the list.
            of_items = {
                inner.mapped[step.node.inner_inputs[name]]: inputs_from[name]
                for name in step.node.mapped
                if name in inputs_from
            }
            failed, self.now = replay_items(
                self._cells, inner, execution, range(rows.size), columns, {**sources, **of_items},
                self._row, self.now, start=rows.start,
            )  # fmt: skip
            if step.node.error_handling == "continue":
                failed = self._failed(made)
        if failed is not None:
            scope.fail(failed.error)
        else:
            scope.end({}, self.now - ctx.started_at if scope.started else 0.0)
        sources.update(dict.fromkeys(made, ctx))
        return failed

    def _has_begun(self, block: Block) -> bool:
        """Whether something of a nested pipeline has run, or come from the cache."""
        return any(map(self._has_run, block.parts))

    def _has_run(self, part: Part) -> bool:
        if part.record is None:
            assert part.inside is not None
            return self._has_begun(part.inside)
        if part.inside is not None:
            return self._row[part.record] != NO_RECORD
        if isinstance(part.step.node, Node):
            return unpack(self._row[part.record]) is not None
        try:  # a nested pipeline with an engine of another kind leaves no record
            for name in part.made.values():
                self._cells.load(self._row[name])
        except Skip:
            return False
        return True

    def _failed(self, columns: Iterable[str]) -> Failed | None:
        for name in columns:
            try:
                self._cells.load(self._row[name])
            except Skip as skip:
                return skip if isinstance(skip, Failed) else None
        return None


def _inputs_from(part: Part, sources: Sources) -> Sources:
    return {name: sources[column] for name, column in part.read.items() if column in sources}


def replay_items(
    cells: Cells,
    block: Block,
    execution: Execution,
    indexes: Sequence[int],
    columns: Mapping[str, Sequence[Cell]],
    sources: Sources,
    around: RowOf | None = None,
    now: float = 0.0,
    inputs: Callable[[int], Mapping[str, Any]] | None = None,
    start: int = 0,
) -> tuple[Failed | None, float]:
    """Replay items of a map.

    Args:
        cells: reads cells.
        block: the mapped pipeline's block.
        execution: what its nodes are run by, inside the map's scope.
        indexes: the items' places in the map.
        columns: the items' cells.
        sources: the scopes that made the columns so far.
        around: of a nested map, the row that these are items of.
        now: of a nested map, when the last node before it ended; 0 for none.
        inputs: gives an item's own inputs by its place in them; those of a nested map are in
            columns.
        start: the place of the first item in the columns.

    Returns:
        The first failure in the items' order, if there is one, and when the last node ended.
    """
    failed: Failed | None = None
    if inputs is None:

        def inputs(place: int) -> Mapping[str, Any]:
            return CellValues(cells, RowOf(columns, place, around), block.mapped, EMPTY)

    def unusual(place: int, now: float) -> float:
        nonlocal failed
        replay = Replay(cells, RowOf(columns, place, around), now)
        index, own = indexes[place - start], inputs(place)
        failure = replay.item(block, execution, index, dict(sources), inputs=own)
        failed = failed or failure
        return max(now, replay.now)

    keeps_time = around is not None
    if block.is_plain and not cells.query.has_contexts:
        plain = _PlainItems(
            cells, block, execution, indexes, columns, sources, inputs, around, start
        )
        now = plain.replay(now, keeps_time, unusual)
    else:
        for place in range(start, start + len(indexes)):
            now = unusual(place, now if keeps_time else 0.0)
    return failed, now


class _PlainItems:
    """Replays items of which every node ran, without anything unusual: nearly all are.

    It gives callbacks what `Replay` does. What is the same for all items is looked up once.
    """

    def __init__(
        self,
        cells: Cells,
        block: Block,
        execution: Execution,
        indexes: Sequence[int],
        columns: Mapping[str, Sequence[Cell]],
        sources: Sources,
        inputs: Callable[[int], Mapping[str, Any]],
        around: RowOf | None,
        start: int,
    ) -> None:
        assert execution.scope is not None
        assert execution.ctx is not None
        self._hooks = execution.settings.hooks
        self._scope, self._parts = execution.scope, block.parts
        times = [Records.of(columns[part.record or ""]) for part in block.parts]
        nodes = []
        made: dict[str, CallbackContext | int] = dict(sources)
        for at, part in enumerate(block.parts):
            nodes.append([(name, made[of]) for name, of in part.read.items() if of in made])
            made.update(dict.fromkeys(part.made.values(), at))
        self._items = DoneItems(
            execution.ctx,
            execution.settings.scope_info,
            block.plan.node_ids,
            nodes,
            indexes,
            start,
            times,
            inputs,
            cells,
            lambda place: RowOf(columns, place, around),
            self._hooks.lock,
        )

    def replay(self, now: float, keeps_time: bool, unusual: Callable[[int, float], float]) -> float:
        """Replay items.

        Args:
            now: when the last node before them ended.
            keeps_time: whether each of them goes on where the one before has ended.
            unusual: replays an item of which there is more to say, by its place in the columns
                and the time now; returns the time then.

        Returns:
            When the last node ended.
        """
        # Local names, one lock for all items, and no calls of our own: with a callback, nested maps
        # spend their time here.
        items, scope, hooks = self._items, self._scope, self._hooks
        item_starts = hooks.methods("on_map_item_start")
        item_ends = hooks.methods("on_map_item_end")
        starts, ends = hooks.methods("on_node_start"), hooks.methods("on_node_end")
        guarded, new = hooks.guarded, object.__new__
        start, stop = items.start, items.start + len(items.indexes)
        heard = [
            (
                at,
                part.step.id,
                items.values(part.read, part.shared),
                items.values(part.made, EMPTY),
                times.durations,
                times.ends,
            )
            for at, (part, times) in enumerate(zip(self._parts, items.times, strict=True))
            if starts or ends
        ]
        began, of_nodes = items.times[0].starts, [each.ends for each in items.times]
        usual = began[start:stop]
        unusual_places = {
            place for each in items.times for place in each.unusual if start <= place < stop
        }
        has_items = bool(item_starts or item_ends)
        needs_time = has_items or bool(unusual_places)
        if unusual_places:
            usual = [began[place] for place in range(start, stop) if place not in unusual_places]
        first = min(usual, default=None)
        if first is not None:
            scope.backdate(first)
        with hooks.lock:
            for place in range(start, stop) if heard or needs_time else ():
                if needs_time and not keeps_time:
                    now = 0.0
                if place in unusual_places:
                    now = unusual(place, now)
                    continue
                if not scope.started:
                    scope.start(first)
                around = items.scope(place) if has_items else None
                for call in item_starts:
                    guarded(call, items.indexes[place - start], around)
                before = None
                for at, name, read, made, durations, ended in heard:
                    ctx = new(NodeContext)  # two calls less than `NodeContext(...)`
                    ctx.items, ctx.place, ctx.at, ctx.before = items, place, at, before
                    before = ctx
                    for call in starts:
                        guarded(call, name, DoneValues(read, place), ctx)
                    ctx.ended_at = ended[place]
                    for call in ends:  # `guarded`, in place
                        values = new(DoneValues)
                        values.of, values.place = made, place
                        try:
                            call(name, values, durations[place], ctx)
                        except Exception:
                            hooks.blame(call)
                if not needs_time:
                    continue
                for ended in of_nodes:
                    if ended[place] > now:
                        now = ended[place]
                if around is not None:
                    around.ended_at = now
                    for call in item_ends:
                        guarded(call, items.indexes[place - start], now - began[place], around)
        if first is not None and not scope.started:
            scope.start(first)
        if needs_time or start == stop:
            return now
        return max(now, *[max(each[start:stop]) for each in of_nodes])
