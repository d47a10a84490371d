"""The long walk: how nodes, nested pipelines and items run with a cache and callbacks.

The run of one node is told once, in `Execution._node`, in the order in which it happens:

    signature -> cache -> (another run's flight) -> call -> store -> report

It is told as a coroutine, so that engines share it: a sequential one drives it to its end at
once, a concurrent one leaves it suspended while an executor works. What differs between them is
`Workers`: how a function is called, and in which order steps and items go.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from hypernodes.cache.lazy_value import LAZY, CachedList, CachedValue
from hypernodes.cache.node_cache import Codes, RunCache, Warnings, joined
from hypernodes.callbacks import AMBIENT_CALLBACKS, CallbackContext, Kind, ScopeInfo
from hypernodes.dispatch import (
    Event,
    Hooks,
    ItemScope,
    MapScope,
    NodeScope,
    PipelineScope,
    RecordingHooks,
    Scope,
)
from hypernodes.identity.values import Digest, Unidentifiable, combine
from hypernodes.node import Node
from hypernodes.plan import NestedNode, PipelineLike, Plan, Step
from hypernodes.run.changed_inputs import Changes, Check, Watch, changes_inputs
from hypernodes.run.fast_path import note_item, note_node
from hypernodes.run.interrupts import interruptible
from hypernodes.run.lookahead import Outer, is_needless, make_skipped, note_result
from hypernodes.run.map_io import AllRows, Rows, Source
from hypernodes.run.map_run import MapJob
from hypernodes.run.single_flight import InFlight, latest
from hypernodes.run.state import UNKNOWN, RunState
from hypernodes.run.tasks import NodeTask, Outcome, Row
from hypernodes.run.workers import SEQUENTIAL, Workers


class Session:
    """What one call of an engine, with all that is nested in it, shares."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.warn = Warnings()
        self._codes = Codes()
        self._keepings: dict[int, RunCache] = {}
        # None in runs that have no cache: there is nothing that a changed value could spoil.
        self.changes: Changes | None = None

    def keeping(self, cache: Any) -> RunCache:
        """A cache as the session's nodes use it."""
        known = self._keepings.get(id(cache))
        if known is None:
            known = self._keepings[id(cache)] = RunCache(cache, self._codes, self.warn)
            self.changes = self.changes or Changes(self.lock, self.warn)
        return known


class Execution:
    """One pipeline's part of a run: what its nodes share. It never changes.

    Attributes:
        pipeline: the pipeline.
        engine: the engine that runs it.
        workers: how that engine calls functions.
        cache: where results are kept, or None.
        keeping: how they are, or None.
        hooks: who is told.
        ctx: the scope that the nodes are part of, as callbacks see it.
        scope: the same, as it is started and ended.
        session: what the whole run shares.
        around: what the scopes that are made here share.
    """

    __slots__ = (
        "around", "cache", "ctx", "engine", "hooks", "keeping", "pipeline", "scope", "session",
        "workers",
    )  # fmt: skip

    def __init__(
        self,
        pipeline: PipelineLike,
        engine: Any,
        workers: Workers,
        cache: Any,
        hooks: Hooks,
        session: Session,
        ctx: CallbackContext | None,
        scope: Scope | None,
    ) -> None:
        self.pipeline = pipeline
        self.engine = engine
        self.workers = workers
        self.cache = cache
        self.keeping = None if cache is None else session.keeping(cache)
        self.hooks = hooks
        self.session = session
        self.ctx = ctx
        self.scope = scope
        self.around = ScopeInfo(
            "" if pipeline is None else pipeline.id, pipeline, engine, cache, hooks.callbacks
        )

    # -- Beginning -------------------------------------------------------------------------------

    @classmethod
    def begin(
        cls, pipeline: PipelineLike, engine: Any, workers: Workers, outer: CallbackContext | None
    ) -> Execution:
        """The execution of an engine's call; `outer` is the scope that called it, if any."""
        listening = AMBIENT_CALLBACKS.get()
        callbacks = pipeline.callbacks
        if callbacks is None:
            callbacks = outer.callbacks if outer else listening
        cache = pipeline.cache
        if cache is None:
            cache = outer.cache if outer else None
        session = Session()
        hooks = Hooks(callbacks, session.lock, listening)
        used = None if cache is False else cache
        return cls(pipeline, engine, workers, used, hooks, session, outer, None)

    def __reduce__(self) -> Any:
        """In another process: on its own workers, and callbacks are stand-ins."""
        return Execution.arrived, (
            self.pipeline, self.engine, self.cache, self.hooks.callbacks, self.ctx,
            self.hooks.listening,
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
        """An execution that was sent from another process."""
        hooks = RecordingHooks(callbacks, [], listening)
        return cls(pipeline, engine, SEQUENTIAL, cache, hooks, Session(), ctx, None)

    def _copy(self) -> Execution:
        copy = object.__new__(Execution)
        copy.pipeline, copy.engine, copy.workers = self.pipeline, self.engine, self.workers
        copy.cache, copy.keeping, copy.hooks = self.cache, self.keeping, self.hooks
        copy.session, copy.ctx, copy.scope = self.session, self.ctx, self.scope
        copy.around = self.around
        return copy

    def recording(self, events: list[Event]) -> Execution:
        """The same, writing down what callbacks would be told."""
        copy = self._copy()
        copy.hooks = RecordingHooks(self.hooks.callbacks, events, self.hooks.listening)
        copy.scope = None
        return copy

    def frame(
        self, wanted: tuple[str, ...], values: Mapping[str, Any], signatures: Mapping[str, Any]
    ) -> RunState:
        """A frame with some inputs and what identifies them."""
        frame = RunState(self.pipeline.plan(wanted)).give(values)
        for name, signature in signatures.items():
            frame.signatures[frame.plan.given[name]] = signature
        return frame

    def stored(self, key: str, again: Callable[[], Awaitable[Any]]) -> CachedValue:
        """A result that another process has found in this cache."""
        return CachedValue(self.cache, key, self.session.warn, again)

    def inside(self, node: NestedNode) -> Execution:
        """The execution of a nested pipeline, with what it inherits."""
        inner = node.pipeline
        own = inner.callbacks
        cache = self.cache if inner.cache is None else inner.cache
        return Execution(
            inner,
            self.engine if inner.engine is None else inner.engine,
            self.workers if inner.engine is None else self.workers.of(inner.engine),
            None if cache is False else cache,
            self.hooks if own is None else self.hooks.nested(own),
            self.session,
            self.ctx,
            self.scope,
        )

    def within(self, scope: Scope | None) -> Execution:
        """The same, inside a scope; None for what tells nobody where it is."""
        copy = self._copy()
        copy.ctx = None if scope is None else scope.ctx
        copy.scope = scope
        return copy

    def with_workers(self, workers: Workers) -> Execution:
        """The same on other workers."""
        if workers is self.workers:
            return self
        copy = self._copy()
        copy.workers = workers
        return copy

    def _context(
        self,
        kind: Kind,
        name: str,
        index: int | None = None,
        inputs_from: Mapping[str, CallbackContext] | None = None,
        node_ids: Sequence[str] = (),
    ) -> CallbackContext:
        return CallbackContext(kind, name, self.ctx, self.around, index, inputs_from, node_ids)

    # -- Pipelines and maps ----------------------------------------------------------------------

    async def run(
        self,
        frame: RunState,
        name: str,
        inputs: Mapping[str, Any],
        inputs_from: Mapping[str, CallbackContext] | None = None,
        load: bool = True,
    ) -> CallbackContext:
        """Run the pipeline for one item; its results are in the frame afterwards."""
        ctx = self._context("pipeline", name, inputs_from=inputs_from, node_ids=frame.plan.node_ids)
        scope = PipelineScope(self.hooks, ctx, self.scope, inputs)
        if self.scope is None or self.scope.started:
            scope.start()
        with scope.unwinding():
            await self.within(scope)._walk(frame, load)
        scope.end(frame.plan.result(frame.slots) if load else {})
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
        """Run the pipeline for many items, each over a copy of the frame `base`.

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
        """The same for items and rows that need not be lists."""
        ctx = self._context("map", name, inputs_from=inputs_from)
        scope = MapScope(self.hooks, ctx, self.scope, source.total)
        if self.scope is None or self.scope.started:
            scope.start()
        job = MapJob(self.within(scope), base, shared, error_handling, load)
        with scope.unwinding():
            if self.cache is not None:
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
        """Run one item of the map whose scope this execution is in."""
        frame = base.copy().give(values)
        assert self.ctx is not None  # the map's
        name = f"{self.ctx.name}[{index}]"
        ctx = self._context("map_item", name, index, node_ids=frame.plan.node_ids)
        scope = ItemScope(self.hooks, ctx, self.scope)
        try:
            await self.within(scope)._walk(frame, load)
        except BaseException as error:
            scope.fail(error)
            note_item(error, index, self.pipeline)
            raise
        if scope.started:
            scope.end({})
        else:
            made = [frame.signatures[slot] or UNKNOWN for slot in frame.plan.returns.values()]
            scope.cached(combine("item", *made).hex())
        slots = frame.plan.returns.values()
        return Row(
            [frame.slots[slot] for slot in slots], [frame.signatures[slot] for slot in slots]
        )

    async def _walk(self, frame: RunState, load: bool) -> None:
        await self.workers.steps(self, frame)
        frame.ahead = None  # it leads back to the frame: the garbage collector need not find that
        if load:
            slots = frame.slots
            for slot in frame.plan.returns.values():
                if type(slots[slot]) in LAZY:
                    await frame.value(slot)

    def step_here(self, frame: RunState, step: Step) -> bool:
        """Run a step at once, where it is a node to be called in this thread.

        Returns:
            Whether it was; else nothing has been done, and `step` is to be awaited.
        """
        node = step.node
        if not isinstance(node, Node) or not self.workers.calls_here(node):
            return False
        try:
            return self._node_here(step, node, frame)
        except BaseException as error:
            note_node(error, step, self.pipeline)
            raise

    async def step(self, frame: RunState, step: Step) -> None:
        """Run one step: it reads its inputs from the frame, and writes its outputs there."""
        try:
            if isinstance(step.node, Node):
                await self._node(step, step.node, frame)
            else:
                await self._nested(step, step.node, frame)
        except BaseException as error:
            note_node(error, step, self.pipeline)
            raise

    # -- One node --------------------------------------------------------------------------------

    def _node_here(self, step: Step, node: Node[..., Any], frame: RunState) -> bool:
        """The same as `_node` where nothing has to be waited for; says whether that was so."""
        keys = None
        if self.is_cached(node):
            if frame.waits_to_sign(step):
                return False
            keys = self._keys(step, frame)
        if keys is None:
            if frame.waits(step):
                return False
            self._call_here(step, node, frame, None)
            return True
        before = latest()
        if self._find(step, frame, keys) or self._skip(step, frame, keys):
            return True
        if frame.waits(step):
            return False
        flight, is_ours = InFlight.take(keys[0], self.workers.scheduler)
        if not is_ours:
            return False
        try:  # another one may have landed since
            if latest() is before or not self._find(step, frame, keys):
                self._call_here(step, node, frame, keys)
        finally:
            flight.land()
        return True

    async def _node(
        self, step: Step, node: Node[..., Any], frame: RunState, again: bool = False
    ) -> None:
        keys = None
        if self.is_cached(node):
            for slot in step.reads:
                if frame.signatures[slot] is None:
                    await frame.value(slot)
            keys = self._keys(step, frame)
        if keys is None or again:
            await self._call(step, node, frame, keys, again)
            return
        before = latest()
        if self._find(step, frame, keys) or self._skip(step, frame, keys):
            return
        flight, is_ours = InFlight.take(keys[0], self.workers.scheduler)
        if is_ours:
            try:  # another one may have landed since
                if latest() is before or not self._find(step, frame, keys):
                    await self._call(step, node, frame, keys)
            finally:
                flight.land()
        elif not (await self.workers.wait(flight) and self._find(step, frame, keys)):
            await self._call(step, node, frame, keys)

    def is_cached(self, node: Node[..., Any]) -> bool:
        """Whether a node's results are kept."""
        if self.keeping is None or node.options.cache is False:
            return False
        return not changes_inputs(node)

    def _keys(self, step: Step, frame: RunState) -> Sequence[Digest] | None:
        """What identifies each output; None where the node is not to be cached."""
        assert self.keeping is not None
        what = "its code"
        signatures, changes = frame.signatures, self.session.changes
        assert changes is not None
        try:
            kept = self.keeping.of(step)
            digests = []
            for name, slot in step.inputs:
                known = signatures[slot]
                if not known:
                    what = f"its input {name!r}"
                    known = frame.sign(slot)
                if changes.values and (by := changes.by(frame.slots[slot])):
                    what = f"its input {name!r}"
                    raise Unidentifiable(f"node {by!r} has changed it in place")
                digests.append(known)
        except Unidentifiable as error:
            self.session.warn(f"node {step.id!r} is not cached: {what}: {error}")
            return None
        ahead = frame.ahead
        return kept.keys(digests) if ahead is None else ahead.keys(kept, step, digests)

    def _find(self, step: Step, frame: RunState, keys: Sequence[Digest]) -> bool:
        """Whether the outputs are in the cache; if so the frame knows where, and it is told."""
        assert self.keeping is not None
        found = self.keeping.of(step).find(keys)
        if found is None:
            return False
        outputs = zip(step.outputs, keys, *found, strict=True)
        for (_, slot), key, loader, identity in outputs:
            compute = partial(self._recompute, step, frame, slot)
            frame.slots[slot] = CachedValue(
                self.cache, key.hex(), self.session.warn, compute, loader
            )
            frame.signatures[slot] = identity
        if self.hooks.callbacks:
            scope = NodeScope(self.hooks, self._node_context(step, frame), self.scope, {})
            scope.cached(keys[0].hex())
        return True

    def _skip(self, step: Step, frame: RunState, keys: Sequence[Digest]) -> bool:
        """Whether nobody needs the outputs of a miss; if so they are made when somebody does."""
        is_asked_for = frame.outer is None and step.outputs[0][1] in frame.plan.returned
        if is_asked_for or not is_needless(self, frame, step):
            return False
        assert self.keeping is not None
        identities = self.keeping.of(step).identities(keys, 0.0)
        for (_, slot), key, identity in zip(step.outputs, keys, identities, strict=True):
            compute = partial(self._recompute, step, frame, slot)
            frame.slots[slot] = CachedValue(self.cache, key.hex(), self.session.warn, compute)
            frame.signatures[slot] = identity
        frame.skipped = {step.index, *(frame.skipped or ())}
        return True

    async def _recompute(self, step: Step, frame: RunState, slot: int) -> Any:
        """Run a node whose result was in the cache, or needless, and is to be there after all."""
        assert isinstance(step.node, Node)
        await make_skipped(frame, step)
        await self._node(step, step.node, frame, again=True)
        return frame.slots[slot]

    def _call_here(
        self, step: Step, node: Node[..., Any], frame: RunState, keys: Sequence[Digest] | None
    ) -> None:
        call = self._prepare(step, node, frame, self.scope)
        changes = self.session.changes
        watching = None if changes is None else changes.begin(frame, step)
        try:
            outcome = interruptible(call.run)
        except BaseException as error:
            if changes is not None:
                changes.leave(step, watching)
            self._failed(step, call, error)
            raise
        self._settle(step, node, frame, keys, call, outcome, watching)

    async def _call(
        self,
        step: Step,
        node: Node[..., Any],
        frame: RunState,
        keys: Sequence[Digest] | None,
        again: bool = False,
    ) -> None:
        for slot in step.reads:
            await frame.value(slot)
        call = self._prepare(step, node, frame, None if again else self.scope)
        changes = self.session.changes
        watching = None if changes is None else changes.begin(frame, step)
        try:
            outcome = await self.workers.call(call)
        except BaseException as error:
            if changes is not None:
                changes.leave(step, watching)
            self._failed(step, call, error)
            raise
        self._settle(step, node, frame, keys, call, outcome, watching)

    def _prepare(
        self, step: Step, node: Node[..., Any], frame: RunState, around: Scope | None
    ) -> NodeTask:
        """The call of a node, with its scope where somebody is told of it."""
        args, kwargs = step.arguments(frame.slots)
        if not self.hooks.callbacks:
            return NodeTask(node, args, kwargs, (), None)
        slots = frame.slots
        ctx = self._node_context(step, frame)
        inputs = {name: slots[slot] for name, slot in step.inputs}
        scope = NodeScope(self.hooks, ctx, around, inputs)
        return NodeTask(node, args, kwargs, self.hooks.node_contexts(ctx), scope)

    def _settle(
        self,
        step: Step,
        node: Node[..., Any],
        frame: RunState,
        keys: Sequence[Digest] | None,
        call: NodeTask,
        outcome: Outcome,
        watching: Check | Watch | None,
    ) -> None:
        """Put what came of a call in its places: the frame, the cache, and who is told."""
        scope, changes = call.scope, self.session.changes
        if changes is not None and watching is not None:
            done = outcome.duration, outcome.worker
            if changes.end(self, frame, step, watching, *done):
                keys = None
        try:
            if scope is not None:
                scope.ctx.brought_back = outcome.brought_back
                scope.ctx.worker = outcome.worker
                if not scope.started:  # it has not been told: it was elsewhere
                    scope.start(outcome.started_at)
                    for retry in outcome.retries:
                        scope.retry(retry)
            if outcome.error is not None:
                if scope is not None:
                    scope.ctx.ended_at = outcome.started_at + outcome.duration
                raise outcome.error
            values = node.unpack(outcome.value)
        except BaseException as error:
            self._failed(step, call, error)
            raise
        for (_, slot), value in zip(step.outputs, values, strict=True):
            frame.slots[slot] = value
        kept = None if keys is None or self.keeping is None else self.keeping.of(step)
        if kept is not None and not kept.stays_same():
            kept = frame.ahead = None
        if kept is not None and keys is not None:
            signatures = frame.signatures
            identities = kept.keep(
                keys,
                values,
                outcome.duration,
                [signatures[slot] or b"" for slot in step.reads],
            )
            for (_, slot), identity in zip(step.outputs, identities, strict=True):
                signatures[slot] = identity
            if changes is not None and changes.running:
                changes.note_stored(self.cache, keys, frame, step, watching)
        if frame.ahead is not None:
            note_result(frame, step)
        if scope is not None:
            scope.end(dict(zip(node.outputs, values, strict=True)), outcome.duration)

    def _failed(self, step: Step, call: NodeTask, error: BaseException) -> None:
        note_node(error, step, self.pipeline)
        if call.scope is not None:
            call.scope.fail(error)

    def _node_context(self, step: Step, frame: RunState) -> CallbackContext:
        """The scope of a node's run, which its outputs come from."""
        sources = frame.sources
        ctx = self._context("node", step.id, inputs_from=frame.inputs_from(step))
        for _, slot in step.outputs:
            sources[slot] = ctx
        return ctx

    # -- A nested pipeline -----------------------------------------------------------------------

    async def _nested(self, step: Step, node: NestedNode, frame: RunState) -> None:
        engine = node.pipeline.engine
        if engine is not None and not isinstance(engine, type(self.engine)):
            await self._foreign(step, node, frame)
            return
        inside = self.inside(node)
        plan = node.plan(name for name, _ in step.outputs)
        sources = frame.inputs_from(step)
        inner = RunState(plan)
        inner.outer = Outer(self, frame, step, plan)
        for name, slot in step.inputs:
            if name in node.mapped:
                continue
            target = plan.accepts[node.inner_inputs[name]]
            if inside.cache is not None:
                await self._try_to_sign(frame, slot)
            inner.slots[target] = frame.slots[slot]
            inner.signatures[target] = frame.signatures[slot]
            inner.sources[target] = frame.sources[slot]
        if node.mapped:
            rows, ctx = await self._nested_map(step, node, frame, inside, inner, sources)
            self._collect(step, node, plan, rows, frame)
        else:
            ctx = await inside.run(inner, step.id, {}, sources, load=False)
            for name, slot in step.outputs:
                source = plan.returns[node.inner_outputs[name]]
                frame.slots[slot] = inner.slots[source]
                frame.signatures[slot] = inner.signatures[source]
        for _, slot in step.outputs:
            frame.sources[slot] = ctx
        note_result(frame, step)

    async def _try_to_sign(self, frame: RunState, slot: int) -> None:
        try:
            await frame.signature(slot)
        except Unidentifiable:
            frame.signatures[slot] = UNKNOWN

    async def _nested_map(
        self,
        step: Step,
        node: NestedNode,
        frame: RunState,
        inside: Execution,
        base: RunState,
        sources: Mapping[str, CallbackContext],
    ) -> tuple[list[Any], CallbackContext]:
        lists = {name: await frame.value(slot) for name, slot in step.inputs if name in node.mapped}
        for name, slot in step.inputs:
            if name in node.mapped:
                base.sources[base.plan.accepts[node.inner_inputs[name]]] = frame.sources[slot]
        items, _ = node.items(lists)
        mapped = {node.inner_inputs[name] for name in node.mapped}
        shared = {
            # What has a cache of its own loads what it needs, when it does.
            name: base.slots[slot] if inside.cache is not None else await base.value(slot)
            for name, slot in base.plan.given.items()
            if name not in mapped
        }
        return await inside.map(base, step.id, items, shared, inputs_from=sources, load=False)

    def _collect(
        self, step: Step, node: NestedNode, plan: Plan, rows: list[Any], frame: RunState
    ) -> None:
        if any(type(row) is dict for row in rows):  # from the short walk: without signatures
            for name, slot in step.outputs:
                inner_name = node.inner_outputs[name]
                place = tuple(plan.returns).index(inner_name)
                frame.slots[slot] = [
                    row[inner_name] if type(row) is dict else row.values[place] for row in rows
                ]
            return
        places = {name: place for place, name in enumerate(plan.returns)}
        for name, slot in step.outputs:
            place = places[node.inner_outputs[name]]
            parts = [row.values[place] for row in rows]
            deferred = any(type(part) in LAZY for part in parts)
            frame.slots[slot] = CachedList(parts) if deferred else parts
            known = [row.signatures[place] for row in rows]
            made = [signature for signature in known if signature]
            frame.signatures[slot] = joined("map", made) if len(made) == len(rows) else None

    async def _foreign(self, step: Step, node: NestedNode, frame: RunState) -> None:
        """A nested pipeline whose engine is of another kind: it is called like by a user."""
        if self.scope is not None:
            self.scope.start()
        values = {name: await frame.value(slot) for name, slot in step.inputs}
        wanted = [node.inner_outputs[name] for name, _ in step.outputs]
        results = await self.workers.apart(lambda: run_foreign(node, values, wanted, self.ctx))
        for (_, slot), name in zip(step.outputs, wanted, strict=True):
            frame.slots[slot] = results[name]


def run_foreign(
    node: NestedNode,
    values: Mapping[str, Any],
    wanted: list[str],
    ctx: CallbackContext | None,
) -> dict[str, Any]:
    """Run a nested pipeline on its own engine; a mapped one gives a list for each output."""
    engine: Any = node.pipeline.engine
    if not node.mapped:
        inputs = {node.inner_inputs[name]: value for name, value in values.items()}
        result: dict[str, Any] = engine.run(node.pipeline, inputs, wanted, _ctx=ctx)
        return result
    items, shared = node.items(values)
    rows = engine.map(node.pipeline, items, shared, wanted, _ctx=ctx)
    return {name: [row[name] for row in rows] for name in wanted}
