"""How a pipeline runs: its steps, nested pipelines, maps and their items, each in its scope.

One node's run is `node_run`; here is what is around it. An `Execution` is one pipeline at
one place of a run: what the pipeline runs with (`Resolved`), who calls its functions (`Workers`),
and the scope that its nodes are part of.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from hypernodes.cache.lazy_value import LAZY, CachedList, CachedValue
from hypernodes.callbacks import CallbackContext, Kind
from hypernodes.dispatch import (
    ItemScope,
    MapScope,
    PipelineScope,
    RecordingHooks,
    Scope,
    ScopeEvent,
)
from hypernodes.errors import as_raised, failing_node
from hypernodes.identity.values import Unidentifiable, combine
from hypernodes.map_over import Items
from hypernodes.node import Node
from hypernodes.plan import NestedNode, PipelineLike, Plan, Step
from hypernodes.results import FailedItem
from hypernodes.run.fast_path import note_item, note_node
from hypernodes.run.limits import Limits
from hypernodes.run.lookahead import Outer, note_result
from hypernodes.run.map_io import AllRows, Rows, Source
from hypernodes.run.node_run import node_runs
from hypernodes.run.pickling import settle
from hypernodes.run.process_map import SendableMapJob
from hypernodes.run.resolve import Resolved, Session
from hypernodes.run.state import UNKNOWN, RunState
from hypernodes.run.tasks import Row
from hypernodes.run.watched import short_lines, walk
from hypernodes.run.workers import SEQUENTIAL, Workers


class Execution:
    """One pipeline at one place of a run. It never changes.

    Args:
        settings: what the pipeline runs with.
        workers: how functions are called.
        ctx: the scope that its nodes are part of, as callbacks see it.
        scope: the same, as it is started and ended; None if no callback hears of it.
    """

    __slots__ = ("ctx", "scope", "settings", "workers")

    def __init__(
        self,
        settings: Resolved,
        workers: Workers,
        ctx: CallbackContext | None = None,
        scope: Scope | None = None,
    ) -> None:
        self.settings = settings
        self.workers = workers
        self.ctx = ctx
        self.scope = scope

    @classmethod
    def begin(
        cls, pipeline: PipelineLike, engine: Any, workers: Workers, caller: CallbackContext | None
    ) -> Execution:
        """The execution of an engine's call.

        Args:
            pipeline: what the engine was called with.
            engine: the engine.
            workers: how it calls functions.
            caller: the scope of the run that called the engine, if one did.
        """
        return cls(Resolved.outermost(pipeline, engine, caller), workers, caller)

    def __reduce__(self) -> Any:
        """In another process: on its own workers, and callbacks are stand-ins."""
        settings = self.settings
        hooks = settings.hooks
        return Execution.arrived, (
            settings.pipeline, settings.engine, settings.cache, hooks.callbacks, self.ctx,
            hooks.listening,
        )  # fmt: skip

    @classmethod
    def arrived(
        cls,
        pipeline: PipelineLike,
        engine: Any,
        cache: Any,
        callbacks: Any,
        ctx: CallbackContext,
        listening: Any,
    ) -> Execution:
        """An execution that was sent from another process.

        Args:
            pipeline: the pipeline.
            engine: its engine.
            cache: its cache, or None.
            callbacks: stand-ins for its callbacks.
            ctx: the scope that its nodes are part of.
            listening: stand-ins for the ambient callbacks.
        """
        hooks = RecordingHooks(callbacks, [], listening)
        return cls(Resolved(pipeline, engine, cache, hooks, Session()), SEQUENTIAL, ctx)

    def recording(self, events: list[ScopeEvent]) -> Execution:
        """The same, recording the calls of hooks in place of making them."""
        own = self.settings
        hooks = RecordingHooks(own.hooks.callbacks, events, own.hooks.listening)
        settings = Resolved(own.pipeline, own.engine, own.cache, hooks, own.session)
        return Execution(settings, self.workers, self.ctx)

    def state(
        self, wanted: tuple[str, ...], values: Mapping[str, Any], signatures: Mapping[str, Any]
    ) -> RunState:
        """A state that has some inputs.

        Args:
            wanted: the outputs to compute.
            values: the inputs' values, by name.
            signatures: what identifies those of which it is known.
        """
        state = RunState(self.settings.pipeline.plan(wanted)).give(values)
        for name, signature in signatures.items():
            state.signatures[state.plan.given[name]] = signature
        return state

    def cached_value(self, key: str, again: Callable[[], Awaitable[Any]]) -> CachedValue:
        """A result that another process has found in this cache.

        Args:
            key: the entry's key.
            again: computes it, if the entry is gone by then.
        """
        return CachedValue(self.settings.cache, key, self.settings.session.warn, again)

    def inside(self, node: NestedNode) -> Execution:
        """The execution of a nested pipeline, with what it inherits."""
        engine = node.pipeline.engine
        workers = self.workers if engine is None else self.workers.of(engine)
        return Execution(self.settings.inside(node), workers, self.ctx, self.scope)

    def within(self, scope: Scope | None) -> Execution:
        """The same, inside a scope; None for what tells nobody where it is."""
        ctx = None if scope is None else scope.ctx
        return Execution(self.settings, self.workers, ctx, scope)

    def with_workers(self, workers: Workers) -> Execution:
        """The same on other workers."""
        if workers is self.workers:
            return self
        return Execution(self.settings, workers, self.ctx, self.scope)

    def context(
        self,
        kind: Kind,
        name: str,
        index: int | None = None,
        inputs_from: Mapping[str, CallbackContext] | None = None,
        node_ids: Sequence[str] = (),
    ) -> CallbackContext:
        """A scope inside the execution's own, as callbacks see it: see `CallbackContext`.

        Args:
            kind: what it is of.
            name: the pipeline's name, or the item's.
            index: the item's place in its map.
            inputs_from: the scope that made each input.
            node_ids: the nodes that are to run in it.
        """
        info = self.settings.scope_info
        return CallbackContext(kind, name, self.ctx, info, index, inputs_from, node_ids)

    # -- Pipelines and maps ----------------------------------------------------------------------

    async def run(
        self,
        state: RunState,
        name: str,
        inputs: Mapping[str, Any],
        inputs_from: Mapping[str, CallbackContext] | None = None,
        load: bool = True,
    ) -> CallbackContext:
        """Run the pipeline for one item; its results are in the state afterwards.

        Args:
            state: has the inputs.
            name: the scope's name.
            inputs: the inputs, as callbacks see them.
            inputs_from: the scopes that made them, for a nested pipeline.
            load: load results that are in the cache; else they are loaded when they are read.

        Returns:
            The run's scope.
        """
        ctx = self.context("pipeline", name, inputs_from=inputs_from, node_ids=state.plan.node_ids)
        scope = PipelineScope(self.settings.hooks, ctx, self.scope, inputs)
        if self.scope is None or self.scope.started:
            scope.start()
        with scope:
            await self.within(scope)._walk(state, load)
        scope.end(state.plan.result(state.slots) if load else {})
        return ctx

    async def map(
        self,
        base: RunState,
        name: str,
        items: Sequence[Mapping[str, Any]],
        shared: Mapping[str, Any],
        error_handling: str = "raise",
        inputs_from: Mapping[str, CallbackContext] | None = None,
        load: bool = True,
    ) -> tuple[list[Any], CallbackContext]:
        """Run the pipeline for many items, each over a copy of the state `base`.

        Args:
            base: has the inputs that the items share.
            name: the scope's name.
            items: the values of each item's own inputs.
            shared: the values of the others, by name.
            error_handling: "raise" or "continue".
            inputs_from: the scopes that made the inputs, for a nested pipeline.
            load: see `run`.

        Returns:
            A `Row` (or a `FailedItem`) for each item, and the map's scope.
        """
        rows = AllRows(len(items))
        source = Source(items, items[0] if items else (), len(items))
        ctx = await self.stream(base, name, source, shared, rows, error_handling, inputs_from, load)
        return rows.rows, ctx

    async def stream(
        self,
        base: RunState,
        name: str,
        source: Source,
        shared: Mapping[str, Any],
        rows: Rows,
        error_handling: str = "raise",
        inputs_from: Mapping[str, CallbackContext] | None = None,
        load: bool = True,
    ) -> CallbackContext:
        """The same for items that come, and rows that go, one by one.

        Args:
            base, name, shared, error_handling, inputs_from, load: see `map`.
            source: where items come from.
            rows: where results go.

        Returns:
            The map's scope.
        """
        ctx = self.context("map", name, inputs_from=inputs_from)
        scope = MapScope(self.settings.hooks, ctx, self.scope, source.total)
        if self.scope is None or self.scope.started:
            scope.start()
        job = SendableMapJob(self.within(scope), base, shared, error_handling, load)
        with scope:
            if self.settings.cache is not None:
                await self._sign_shared(base, source.names)
            await self.workers.stream(job, source, ctx.map_depth - 1, rows)
        scope.end({})
        return ctx

    async def _sign_shared(self, base: RunState, own: Collection[str]) -> None:
        """Identify what the items share, once for all of them; `own` are the names of the rest."""
        for name, slot in base.plan.given.items():
            if name not in own:
                try:
                    await base.signature(slot)
                except Unidentifiable:
                    continue

    async def item(self, base: RunState, index: int, values: Mapping[str, Any], load: bool) -> Row:
        """Run one item of the map whose scope this execution is in.

        Args:
            base: has the inputs that the items share.
            index: the item's place in the map.
            values: its own inputs.
            load: see `run`.
        """
        state = base.copy().give(values)
        scope = self._item_scope(base, index, values)
        try:
            await self.within(scope)._walk(state, load)
        except BaseException as error:
            scope.fail(error)
            note_item(error, index, self.settings.pipeline.name, values)
            raise
        if not scope.is_cached:
            scope.end({})
        else:
            made = [state.signatures[slot] or UNKNOWN for slot in state.plan.returns.values()]
            scope.cached(combine("item", *made).hex())
        slots = state.plan.returns.values()
        return Row(
            [state.slots[slot] for slot in slots], [state.signatures[slot] for slot in slots]
        )

    def fail_item(
        self, base: RunState, index: int, values: Mapping[str, Any], error: BaseException
    ) -> None:
        """Report an item that was lost with its worker: see `item`.

        Args:
            base, index, values: as `item` takes them.
            error: says so.
        """
        self._item_scope(base, index, values).fail(error)

    def _item_scope(self, base: RunState, index: int, values: Mapping[str, Any]) -> ItemScope:
        assert self.ctx is not None  # the map's
        name = f"{self.ctx.name}[{index}]"
        ctx = self.context("map_item", name, index, node_ids=base.plan.node_ids)
        ctx.item_inputs = values
        return ItemScope(self.settings.hooks, ctx, self.scope)

    async def _walk(self, state: RunState, load: bool) -> None:
        await self.workers.steps(self, state)
        state.ahead = None  # it leads back to the state: the garbage collector need not find that
        if load:
            for slot in state.plan.returns.values():
                if type(state.slots[slot]) in LAZY:
                    await state.value(slot)

    def step(self, state: RunState, step: Step) -> Coroutine[Any, Any, None]:
        """Run one step.

        Args:
            state: the step reads its inputs from it, and writes its outputs there.
            step: the step.
        """
        run = node_runs(state.plan)[step.index]
        return self._nested(step, state) if run is None else run.run(state, self)

    async def one_by_one(self, state: RunState) -> None:
        """Run all steps of the state's plan in its order."""
        if (lines := short_lines(self, state.plan)) is not None:
            await walk(self, state, lines)
            return
        for step, run in zip(state.plan.steps, node_runs(state.plan), strict=True):
            await (self._nested(step, state) if run is None else run.run(state, self))

    # -- A nested pipeline -----------------------------------------------------------------------

    async def _nested(self, step: Step, state: RunState) -> None:
        node = step.node
        assert not isinstance(node, Node)
        try:
            if self.settings.hands_over(node):
                await self._hand_over(step, node, state)
            else:
                await self._run_inside(step, node, state)
        except BaseException as error:
            note_node(error, step, self.settings.pipeline.name)
            raise

    async def _run_inside(self, step: Step, node: NestedNode, state: RunState) -> None:
        inside = self.inside(node)
        plan = step.inner_plan
        sources = state.inputs_from(step)
        inner = RunState(plan)
        inner.outer = Outer(self.settings, state, step, plan)
        state.pass_sources(step, inner)
        for name, slot in step.inputs:
            if name in node.mapped:
                continue
            target = plan.accepts[node.inner_inputs[name]]
            if inside.settings.cache is not None:
                await _try_to_sign(state, slot)
            inner.slots[target] = state.slots[slot]
            inner.signatures[target] = state.signatures[slot]
        if node.mapped:
            try:
                items = await _nested_items(step, node, state)
            except BaseException as error:
                fail_map(inside, step.id, sources, error)
                raise
            rows, ctx = await self._nested_map(step, node, items, inside, inner, sources)
            _collect(step, node, plan, items, rows, state, self.settings)
        else:
            ctx = await inside.run(inner, step.id, {}, sources, load=False)
            for name, slot in step.outputs:
                source = plan.returns[node.inner_outputs[name]]
                state.slots[slot] = inner.slots[source]
                state.signatures[slot] = inner.signatures[source]
        for _, slot in step.outputs:
            state.sources[slot] = ctx
        note_result(state, step)

    async def _nested_map(
        self,
        step: Step,
        node: NestedNode,
        items: Items,
        inside: Execution,
        base: RunState,
        sources: Mapping[str, CallbackContext],
    ) -> tuple[list[Any], CallbackContext]:
        mapped = {node.inner_inputs[name] for name in node.mapped}
        shared = {
            # What has a cache of its own loads what it needs, when it does.
            name: base.slots[slot] if inside.settings.cache is not None else await base.value(slot)
            for name, slot in base.plan.given.items()
            if name not in mapped
        }
        return await inside.map(
            base, step.id, items, shared, node.error_handling, inputs_from=sources, load=False
        )

    async def _hand_over(self, step: Step, node: NestedNode, state: RunState) -> None:
        """A nested pipeline whose engine is of another kind: it is called like by a user."""
        if self.scope is not None:
            self.scope.start()
        values = {name: await state.value(slot) for name, slot in step.inputs}
        wanted = [node.inner_outputs[name] for name, _ in step.outputs]
        if self.ctx is not None:
            self.ctx.set(Limits, self.settings.session.limits)
        changes, run_cache = self.settings.session.changes, self.settings.run_cache
        watching = None if changes is None else changes.begin(run_cache, state, step)
        begun = time.perf_counter()
        try:
            results = await self.workers.apart(lambda: run_foreign(node, values, wanted, self.ctx))
        except BaseException:
            if changes is not None:
                changes.leave(step, watching)
            raise
        if changes is not None and watching is not None:
            changes.end(run_cache, state, step, watching, time.perf_counter() - begun, None)
        for (_, slot), name in zip(step.outputs, wanted, strict=True):
            state.slots[slot] = results[name]


async def _try_to_sign(state: RunState, slot: int) -> None:
    try:
        await state.signature(slot)
    except Unidentifiable:
        state.signatures[slot] = UNKNOWN


def fail_map(
    inside: Execution,
    name: str,
    inputs_from: Mapping[str, CallbackContext],
    error: BaseException,
) -> None:
    """Report a nested map that has no items: what it was to map over is no list, say.

    Args:
        inside: the execution that the map would have had.
        name: the scope's name.
        inputs_from: the scopes that made its inputs.
        error: says so.
    """
    ctx = inside.context("map", name, inputs_from=inputs_from)
    MapScope(inside.settings.hooks, ctx, inside.scope, None).fail(error)


async def _nested_items(step: Step, node: NestedNode, state: RunState) -> Items:
    lists = {name: await state.value(slot) for name, slot in step.inputs if name in node.mapped}
    return node.items(lists)[0]


def _collect(
    step: Step,
    node: NestedNode,
    plan: Plan,
    items: Items,
    rows: list[Any],
    state: RunState,
    settings: Resolved,
) -> None:
    """Put the lists of the items' outputs into the state of the pipeline around a map."""
    if any(type(row) is dict for row in rows):  # from the compiled plan: without signatures
        for name, slot in step.outputs:
            inner_name = node.inner_outputs[name]
            place = tuple(plan.returns).index(inner_name)
            state.slots[slot] = [
                row[inner_name] if type(row) is dict else _part(row, place) for row in rows
            ]
        return
    places = {name: place for place, name in enumerate(plan.returns)}
    changes = settings.session.changes
    for name, slot in step.outputs:
        place = places[node.inner_outputs[name]]
        parts = [_part(row, place) for row in rows]
        deferred = any(type(part) in LAZY for part in parts)
        failed = partial(_lost_item, step, node, items, settings.pipeline.name)
        state.slots[slot] = CachedList(parts, failed) if deferred else parts
        known = [row.signatures[place] for row in rows if isinstance(row, Row)]
        made = [signature for signature in known if signature]
        is_whole = len(made) == len(rows)
        state.signatures[slot] = changes.join("map", made) if changes and is_whole else None


def _lost_item(
    step: Step, node: NestedNode, items: Items, pipeline: str, index: int, error: Exception
) -> FailedItem:
    """What stands for an item that is no longer in the cache, and fails by now.

    Args:
        step, node: the nested map.
        items: its items.
        pipeline: what the pipeline around it is called.
        index: the item's place.
        error: why it fails.

    Raises:
        Exception: its error, where the map does not go on.
    """
    raised, values = as_raised(error), items[index]
    note_item(raised, index, node.pipeline.name, values)
    if node.error_handling == "continue":
        return FailedItem(index, failing_node(raised), settle(raised), values)
    note_node(raised, step, pipeline)
    raise error


def run_foreign(
    node: NestedNode,
    values: Mapping[str, Any],
    wanted: list[str],
    ctx: CallbackContext | None,
) -> dict[str, Any]:
    """Run a nested pipeline on its own engine, which is of another kind.

    Args:
        node: the nested pipeline.
        values: its inputs, by outer name.
        wanted: the outputs to compute, by inner name.
        ctx: the scope that it is part of.

    Returns:
        The outputs by inner name: a list of the items' each, if it is a map.
    """
    engine: Any = node.pipeline.engine
    if not node.mapped:
        inputs = {node.inner_inputs[name]: value for name, value in values.items()}
        result: dict[str, Any] = engine.run(node.pipeline, inputs, wanted, _ctx=ctx)
        return result
    items, shared = node.items(values)
    how: Any = {} if node.error_handling == "raise" else {"error_handling": node.error_handling}
    rows = engine.map(node.pipeline, items, shared, wanted, _ctx=ctx, **how)
    return {
        name: [row if isinstance(row, FailedItem) else row[name] for row in rows] for name in wanted
    }


def _part(row: Row | FailedItem, place: int) -> Any:
    """An item's part of a list: its output, or why there is none."""
    return row if isinstance(row, FailedItem) else row.values[place]
