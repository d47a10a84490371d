"""The run of one node, written once for every engine:

    identify -> look up -> (wait for another run's) -> call -> check -> store -> report

`NodeRun.run` is that line. It is a coroutine so that all can share it: a sequential run drives it
to its end at once, a concurrent one leaves it suspended while an executor works, Daft drives it for
each row. What differs is `Workers`: where the function is called, and what may be waited for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from hypernodes.cache.lazy_value import LAZY, CachedValue
from hypernodes.cache.node_cache import NodeCache, RunCache
from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import NodeScope
from hypernodes.errors import as_raised, failing_node
from hypernodes.identity.values import Digest, Unidentifiable
from hypernodes.labels import run_label
from hypernodes.node import Node
from hypernodes.plan import Plan, Step
from hypernodes.run.fast_path import note_node
from hypernodes.run.interrupts import interruptible
from hypernodes.run.lookahead import is_needless, make_skipped, note_result
from hypernodes.run.pickling import own_error
from hypernodes.run.resolve import Resolved
from hypernodes.run.single_flight import InFlight, latest
from hypernodes.run.state import UNKNOWN, RunState
from hypernodes.run.tasks import NodeTask
from hypernodes.run.workers import SEQUENTIAL, Place


class NodeRun:
    """How a step's node runs. It knows the step alone, so that all runs of a plan share it.

    Args:
        step: the node's step.
        node: the node.
    """

    __slots__ = (
        "_inputs",
        "_is_limited",
        "_is_single",
        "_node",
        "_outputs",
        "_reads",
        "_step",
    )

    def __init__(self, step: Step, node: Node[..., Any]) -> None:
        self._step = step
        self._node = node
        self._inputs = step.inputs
        self._is_limited = node.options.max_concurrent is not None
        self._is_single = len(node.outputs) == 1
        self._reads = step.reads
        self._outputs = tuple([slot for _, slot in step.outputs])

    async def run(self, state: RunState, place: Place, again: bool = False) -> None:
        """Run the node: it reads its inputs from the state, and writes its outputs there.

        Args:
            state: the values of this run or item.
            place: where it runs.
            again: compute what was in the cache, and is needed but cannot be loaded.
        """
        settings = place.settings
        try:
            keys, node_cache = None, None
            if settings.run_cache is not None and settings.is_cached(self._node):
                keys, node_cache = await self._identify(state, settings, settings.run_cache)
            if keys is None or node_cache is None or again:
                await self._call(state, place, keys, node_cache, again)
                return
            before = latest()
            if self._look_up(state, place, keys, node_cache):
                return
            if self._skip(state, place, keys, node_cache):
                return
            for last in (False, True):
                in_flight, is_ours = InFlight.acquire(keys[0], place.workers.scheduler)
                if is_ours:
                    break
                # Another run is computing it. Where it must not be waited for, both compute it.
                is_done = await place.workers.wait(in_flight)
                if is_done and self._look_up(state, place, keys, node_cache):
                    return
                # It has failed, or has another cache: one of those that waited is waited for.
                if last or not is_done:
                    await self._call(state, place, keys, node_cache)
                    return
            try:
                # One that was computing it may have finished between the look-up and here.
                if latest() is before or not self._look_up(state, place, keys, node_cache):
                    await self._call(state, place, keys, node_cache)
            finally:
                in_flight.finish()
        except BaseException as error:
            raised = as_raised(error)
            if failing_node(raised) is None:  # else it is that of an input, or noted already
                note_node(raised, self._step, settings.pipeline.name)
            raise

    # -- Identify, look up -----------------------------------------------------------------------

    async def _identify(
        self, state: RunState, settings: Resolved, run_cache: RunCache
    ) -> tuple[Sequence[Digest] | None, NodeCache | None]:
        """The keys of the outputs; None where something of the run cannot be identified."""
        signatures, slots, changes = state.signatures, state.slots, settings.session.changes
        assert changes is not None
        what = "its code"
        try:
            node_cache = run_cache.of(self._step)
            digests = [signatures[slot] or UNKNOWN for slot in self._reads]
            if changes.values or not all(digests):  # else nothing is left to find out
                for at, (name, slot) in enumerate(self._inputs):
                    what = f"its input {name!r}"
                    if signatures[slot] is None and type(slots[slot]) in LAZY:
                        await state.value(slot)
                    if signatures[slot] in changes.wrong:
                        signatures[slot] = None
                    digests[at] = state.sign(slot)
                    if by := changes.by(slots[slot]):
                        raise Unidentifiable(f"node {by!r} has changed it in place")
        except Unidentifiable as error:
            if not error.is_reported:
                settings.session.warn(f"node {self._step.id!r} is not cached: {what}: {error}")
            return None, None
        if state.ahead is not None:
            return state.ahead.keys(node_cache, self._step, digests), node_cache
        return node_cache.keys(digests), node_cache

    def _look_up(
        self, state: RunState, place: Place, keys: Sequence[Digest], node_cache: NodeCache
    ) -> bool:
        """Whether the outputs are in the cache; if so they are loaded when they are needed.

        What the caller has asked for is loaded at once: it will be needed whatever happens.
        """
        settings, slots = place.settings, state.slots
        found = node_cache.find(keys, settings.session.warn)
        if found is None:
            return False
        asked_for = state.plan.returned if state.outer is None else ()
        for slot, key, loader, identity in zip(self._outputs, keys, *found, strict=True):
            state.signatures[slot] = identity
            if slot in asked_for:
                try:
                    slots[slot] = loader()
                    continue
                except Exception:  # broken, or gone by now: a lazy value sees to that
                    pass
            slots[slot] = self._in_cache(state, place, slot, key, loader)
        if place.scope is not None:
            place.scope.spare()
        if settings.hooks.callbacks:
            ctx = self._context(state, place)
            NodeScope(settings.hooks, ctx, place.scope, {}).cached(keys[0].hex())
        return True

    def _skip(
        self, state: RunState, place: Place, keys: Sequence[Digest], node_cache: NodeCache
    ) -> bool:
        """Whether nobody needs the outputs of a miss; if so they are made when somebody does."""
        is_asked_for = state.outer is None and self._outputs[0] in state.plan.returned
        if is_asked_for or not is_needless(place.settings, state, self._step):
            return False
        identities = node_cache.identities(keys, 0.0)
        for slot, key, identity in zip(self._outputs, keys, identities, strict=True):
            state.slots[slot] = self._in_cache(state, place, slot, key)
            state.signatures[slot] = identity
        state.skipped = {self._step.index, *(state.skipped or ())}
        if place.scope is not None:
            place.scope.spare()
        return True

    def _in_cache(
        self,
        state: RunState,
        place: Place,
        slot: int,
        key: Digest,
        loader: Callable[[], Any] | None = None,
    ) -> CachedValue:
        settings = place.settings
        compute = partial(self._recompute, state, place, slot)
        return CachedValue(settings.cache, key.hex(), settings.session.warn, compute, loader)

    async def _recompute(self, state: RunState, place: Place, slot: int) -> Any:
        """Run the node for a value that was in the cache, or needless, and is needed after all.

        Where another thread needs it, which runs items of a nested map, or the run has ended by
        then (a worker process packs its results), it is run right there.
        """
        scheduler = place.workers.scheduler
        if scheduler is not None and not scheduler.is_here:
            place = place.with_workers(SEQUENTIAL)
        await make_skipped(state, self._step)
        await self.run(state, place, again=True)
        return state.slots[slot]

    # -- Call, check, store, report --------------------------------------------------------------

    async def _call(
        self,
        state: RunState,
        place: Place,
        keys: Sequence[Digest] | None,
        node_cache: NodeCache | None,
        again: bool = False,
    ) -> None:
        step, node, slots, settings = self._step, self._node, state.slots, place.settings
        for slot in self._reads:
            if type(slots[slot]) in LAZY:
                await state.value(slot)
                if not state.signatures[slot]:
                    keys = None  # what was foreseen has failed
        args = [slots[slot] for slot in step.positional]
        kwargs = {name: slots[slot] for name, slot in step.named} if step.named else {}
        scope = None
        contexts: Sequence[AbstractContextManager[Any]] = ()
        hooks = settings.hooks
        if hooks.callbacks:
            ctx = self._context(state, place)
            if again:  # another run of the same node in the same scope
                ctx.identify(uuid.uuid4())
            inputs = {}
            if hooks.shows_inputs:
                inputs = {name: slots[slot] for name, slot in self._inputs}
            scope = NodeScope(hooks, ctx, None if again else place.scope, inputs)
            if hooks.enters:
                contexts = hooks.node_contexts(ctx)
        changes, workers = settings.session.changes, place.workers
        watching = None if changes is None else changes.begin(settings.run_cache, state, step)
        task = NodeTask(node, args, kwargs, contexts, scope)
        try:
            try:
                limit = settings.session.limits.of(node) if self._is_limited else None
                if limit is not None:
                    value, record = await workers.call_within(limit, task)
                elif workers.in_place:
                    value, record = interruptible(task.run)
                else:
                    value, record = await workers.call(task)
            except BaseException:
                if changes is not None:
                    changes.leave(step, watching)
                raise
            if changes is not None and watching is not None:
                done = record.duration, record.worker
                if changes.end(settings.run_cache, state, step, watching, *done):
                    keys = None  # made from something that was changed in place
            if scope is not None:
                scope.catch_up(record)
            if record.error is not None:
                raise own_error(record.error, record.started_at, ("state", id(state)))
            values = (value,) if self._is_single else node.unpack(value)
        except BaseException as error:
            note_node(error, step, settings.pipeline.name)
            if scope is not None:
                scope.fail(error)
            raise
        for slot, each in zip(self._outputs, values, strict=True):
            slots[slot] = each
        if keys is not None and node_cache is not None:
            self._store(state, settings, keys, node_cache, values, record.duration)
        if state.ahead is not None:
            note_result(state, step)
        if scope is not None:
            outputs = dict(zip(node.outputs, values, strict=True)) if hooks.shows_outputs else {}
            scope.end(outputs, record.duration)

    def _store(
        self,
        state: RunState,
        settings: Resolved,
        keys: Sequence[Digest],
        node_cache: NodeCache,
        values: Sequence[Any],
        duration: float,
    ) -> None:
        signatures, session = state.signatures, settings.session
        if not node_cache.stays_same(session.warn):
            state.ahead = None
            return
        inputs = [signatures[slot] or b"" for slot in self._reads]
        identities = node_cache.save(keys, values, duration, inputs, session.warn)
        for slot, identity in zip(self._outputs, identities, strict=True):
            signatures[slot] = identity
        if session.changes is not None and session.changes.running:
            session.changes.note_stored(settings.cache, keys, identities, state, self._step)

    def _context(self, state: RunState, place: Place) -> CallbackContext:
        """The scope of one run of the node, which its outputs come from."""
        sources = state.sources
        inputs_from = {}
        for name, slot in self._inputs:
            source = sources[slot]
            if source is not None:
                inputs_from[name] = source
        info = place.settings.scope_info
        ctx = CallbackContext("node", self._step.id, place.ctx, info, None, inputs_from)
        if (run_name := self._node.options.task_run_name) is not None:
            slots = state.slots
            known = {n: slots[slot] for n, slot in self._inputs if type(slots[slot]) not in LAZY}
            ctx.label = run_label(self._step.id, run_name, known)
        for slot in self._outputs:
            sources[slot] = ctx
        return ctx


def node_runs(plan: Plan) -> Sequence[NodeRun | None]:
    """How each step's node of a plan runs; None for a nested pipeline. Made once."""
    known: Sequence[NodeRun | None] | None = plan.memo.get("node runs")
    if known is None:
        known = plan.memo["node runs"] = [
            NodeRun(step, step.node) if isinstance(step.node, Node) else None for step in plan.steps
        ]
    return known
