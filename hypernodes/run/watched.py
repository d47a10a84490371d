"""The short line of a node that callbacks watch and for which no cache is asked.

It does what `node_run` does without anything unusual, in the thread that runs the plan, and takes
half the time: there is no task, no coroutine and no cache to ask. Nested pipelines, retries,
limits and other threads are left to that, step by step. A law holds the one against the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from time import perf_counter, time
from typing import Any, Protocol

from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import NodeScope
from hypernodes.event_loops import block_on, is_awaited
from hypernodes.node import Node
from hypernodes.node_record import NodeCall, NodeRecord
from hypernodes.plan import Plan, Step
from hypernodes.run.fast_path import note_node
from hypernodes.run.interrupts import interruptible
from hypernodes.run.node_contexts import brought_back
from hypernodes.run.pickling import own_error
from hypernodes.run.state import RunState
from hypernodes.run.tasks import call_within, worker
from hypernodes.run.workers import Place


class Walking(Place, Protocol):
    """What runs a plan: see `execution.Execution`."""

    def step(self, state: RunState, step: Step) -> Awaitable[None]: ...


CREATED, STARTED, CALLED, RETURNED, ENDED = range(5)
"""How far a node's run is."""


def short_lines(place: Place, plan: Plan) -> Sequence[ShortLine | None] | None:
    """The short line of each step of a run; None for a step that has none.

    Args:
        place: where the plan is run.
        plan: the plan.

    Returns:
        None where no step of the run is to take it.
    """
    settings = place.settings
    hooks = settings.hooks
    if not hooks.callbacks or place.scope is None:
        return None
    if settings.run_cache is not None or settings.session.changes is not None:
        return None
    if "short lines" not in plan.memo:
        is_cached = any(map(_has_cache_inside, plan.steps))
        plan.memo["short lines"] = None if is_cached else [_short_line(each) for each in plan.steps]
    lines: Sequence[ShortLine | None] | None = plan.memo["short lines"]
    return lines


def _has_cache_inside(step: Step) -> bool:
    node = step.node
    if isinstance(node, Node):
        return False
    own = node.pipeline.cache
    return (own is not None and own is not False) or any(
        map(_has_cache_inside, step.inner_plan.steps)
    )


def _short_line(step: Step) -> ShortLine | None:
    node = step.node
    if not isinstance(node, Node):
        return None
    options = node.options
    if options.retries or options.max_concurrent is not None or options.task_run_name is not None:
        return None
    return ShortLine(step, node)


async def walk(execution: Walking, state: RunState, lines: Sequence[ShortLine | None]) -> None:
    """Run all steps of a state's plan in its order.

    Args:
        execution: runs the steps that have no short line.
        state: the values of this run or item.
        lines: see `short_lines`.
    """
    for step, line in zip(state.plan.steps, lines, strict=True):
        if line is None or not line.run(execution, state):
            await execution.step(state, step)


class ShortLine:
    """How a step's node runs; see `node_run.NodeRun`.

    Args:
        step: the node's step.
        node: the node.
    """

    __slots__ = (
        "_call", "_inputs", "_named", "_node", "_outputs", "_positional", "_single", "_step",
    )  # fmt: skip

    def __init__(self, step: Step, node: Node[..., Any]) -> None:
        self._step = step
        self._node = node
        self._call = node.call
        self._inputs = step.inputs
        self._positional = step.positional
        self._named = step.named
        self._outputs = step.outputs
        self._single = step.outputs[0] if len(node.outputs) == 1 else None

    def run(self, place: Place, state: RunState) -> bool:
        """Run the node: it reads its inputs from the state, and writes its outputs there.

        Args:
            place: where it runs.
            state: the values of this run or item.

        Returns:
            Whether it ran: it does not where another thread is to call it.
        """
        settings, scope, slots, sources = place.settings, place.scope, state.slots, state.sources
        assert scope is not None
        hooks, name = settings.hooks, self._step.id
        hears_start, shows_inputs, hears_end, shows_outputs = hooks.hears_nodes
        made_by: dict[str, CallbackContext] | None = None
        for each, slot in self._inputs:
            if (source := sources[slot]) is not None:
                if made_by is None:
                    made_by = {}
                made_by[each] = source
        ctx = CallbackContext("node", name, place.ctx, settings.scope_info, None, made_by)
        phase, since, begun = CREATED, 0.0, 0.0
        contexts: Sequence[AbstractContextManager[Any]] = ()
        try:
            if not place.workers.calls_here(self._node):
                return False
            if hooks.enters:
                contexts = hooks.node_contexts(ctx)
            if not scope.started:
                scope.start()
            ctx.started_at = since = time()
            phase = STARTED
            if hears_start:
                inputs = {n: slots[slot] for n, slot in self._inputs} if shows_inputs else {}
                hooks.fire("on_node_start", name, inputs, ctx)
                since = time()
            args = [slots[slot] for slot in self._positional]
            kwargs = {n: slots[slot] for n, slot in self._named} if self._named else {}
            begun = perf_counter()
            phase = CALLED
            if contexts:
                call = NodeCall(self._node, args, kwargs, since)
                value = interruptible(partial(call_within, contexts, call, self._call))
            else:
                value = interruptible(partial(self._call, *args, **kwargs))
                if is_awaited(value):
                    value = interruptible(partial(block_on, value, of_node=True))
            duration = perf_counter() - begun
            phase = RETURNED
            back = brought_back(contexts) if contexts else ()
            ctx.record = NodeRecord(since, duration, "done", None, (), worker(), back)
            made: dict[str, Any] = {}
            if self._single is not None:
                output, slot = self._single
                slots[slot], sources[slot] = value, ctx
                if shows_outputs:
                    made = {output: value}
            else:
                made = dict(zip(self._node.outputs, self._node.unpack(value), strict=True))
                for output, slot in self._outputs:
                    slots[slot], sources[slot] = made[output], ctx
            ctx.ended_at = ctx.started_at + duration
            phase = ENDED
            if hears_end:
                hooks.fire("on_node_end", name, made if shows_outputs else {}, duration, ctx)
            return True
        except BaseException as error:
            own = self._failed(place, state, ctx, contexts, phase, since, begun, error)
            if own is error:
                raise
        raise own

    def _failed(
        self,
        place: Place,
        state: RunState,
        ctx: CallbackContext,
        contexts: Sequence[AbstractContextManager[Any]],
        phase: int,
        since: float,
        begun: float,
        error: BaseException,
    ) -> BaseException:
        """Tell of a failure; returns the error to be raised.

        Args:
            place, state: where it ran.
            ctx: its scope.
            contexts: what was entered around the call.
            phase: how far it was.
            since: when the call began, in seconds since the epoch.
            begun: the same on the clock of `perf_counter`.
            error: what was raised.
        """
        settings = place.settings
        inputs = {name: state.slots[slot] for name, slot in self._inputs}
        scope = NodeScope(settings.hooks, ctx, place.scope, inputs)
        scope.started = phase >= STARTED
        if phase == CALLED:
            duration, back = perf_counter() - begun, brought_back(contexts)
            record = NodeRecord(since, duration, "failed", error, (), worker(), back)
            scope.catch_up(record)
            error = own_error(error, since, ("state", id(state)))
        note_node(error, self._step, settings.pipeline.name)
        if phase != ENDED:
            for _, slot in self._outputs:
                state.sources[slot] = ctx
            scope.fail(error)
        return error
