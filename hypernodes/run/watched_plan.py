"""The compiled plan for runs that callbacks watch, and in which no cache is asked.

A plan is written out as a Python function, as in `fast_path`, with what callbacks hear of its
nodes. In a plan of two nodes in a row:

    async def walk(execution, state):
        ctx = made_by_0 = CallbackContext("node", "double", ...)
        hooks.fire("on_node_start", "double", {"x": slots[0]}, ctx)
        slots[1] = interruptible(partial(call_0, slots))
        hooks.fire("on_node_end", "double", {"doubled": slots[1]}, duration, ctx)
        ctx = made_by_1 = CallbackContext("node", "add", ..., {"doubled": made_by_0})
        ...

It serves what `node_run` does without anything unusual, in the thread that runs the plan. Nested
pipelines, retries, limits and other threads are left to that, step by step. A law holds the one
against the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter, time
from typing import Any, Protocol

from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import NodeScope
from hypernodes.event_loops import block_on, is_awaited
from hypernodes.node import Node
from hypernodes.node_record import NodeRecord
from hypernodes.plan import Plan, Step
from hypernodes.run.fast_path import note_node
from hypernodes.run.interrupts import interruptible
from hypernodes.run.pickling import own_error
from hypernodes.run.state import RunState
from hypernodes.run.tasks import worker
from hypernodes.run.workers import Place

CREATED, STARTED, CALLED, RETURNED, ENDED = range(5)
"""How far a node's run is."""


class Walking(Place, Protocol):
    """What runs a plan: see `execution.Execution`."""

    def step(self, state: RunState, step: Step) -> Awaitable[None]: ...


Walk = Callable[[Walking, RunState], Awaitable[None]]


def watched(execution: Walking, plan: Plan) -> Walk | None:
    """The compiled plan of a run that is watched; None where another way has to be taken.

    Args:
        execution: what runs it.
        plan: the plan.
    """
    settings = execution.settings
    hooks = settings.hooks
    if not hooks.callbacks or hooks.enters or execution.scope is None:
        return None
    if settings.run_cache is not None or settings.session.changes is not None:
        return None
    memo, key = plan.memo, f"watched {hooks.hears_nodes}"
    if key not in memo:
        is_cached = any(map(_has_cache_inside, plan.steps))
        memo[key] = None if is_cached else _compile(plan, *hooks.hears_nodes)
    walk: Walk | None = memo[key]
    return walk


def _has_cache_inside(step: Step) -> bool:
    node = step.node
    if isinstance(node, Node):
        return False
    own = node.pipeline.cache
    return (own is not None and own is not False) or any(
        map(_has_cache_inside, step.inner_plan.steps)
    )


def _is_plain(step: Step) -> bool:
    node = step.node
    if not isinstance(node, Node):
        return False
    options = node.options
    return not options.retries and options.max_concurrent is None and options.task_run_name is None


_PLAIN = """\
  _hn_at, _hn_phase = {index}, 0
  _hn_ctx = _hn_c{index} = _hn_context("node", {id!r}, _hn_around, _hn_info, None, {sources})
{more_sources}
  if not _hn_calls_here(_hn_n{index}):
   _hn_ctx = None
   await _hn_execution.step(_hn_state, _hn_steps[{index}])
  else:
   if not _hn_scope.started: _hn_scope.start()
   _hn_since = _hn_ctx.started_at = _hn_time()
   _hn_phase = 1
{start}
   _hn_begun = _hn_clock()
   _hn_phase = 2
   _hn_result = _hn_interruptible(_hn_partial(_hn_call{index}, _hn_slots))
   _hn_seconds = _hn_clock() - _hn_begun
   _hn_phase = 3
   _hn_ctx.record = _hn_record(_hn_since, _hn_seconds, "done", None, (), _hn_worker())
   {targets} = {result}
   _hn_ctx.ended_at = _hn_ctx.started_at + _hn_seconds
   _hn_phase = 4
{end}
   {made_by} = _hn_ctx
"""


def _compile(plan: Plan, hears_start: bool, inputs: bool, hears_end: bool, outputs: bool) -> Walk:
    """Write the plan out.

    Args:
        plan: the plan.
        hears_start, hears_end: whether a callback hears of nodes' starts and ends.
        inputs, outputs: whether it looks at what they read and make.
    """
    names: dict[str, Any] = {
        "_hn_context": CallbackContext,
        "_hn_record": NodeRecord,
        "_hn_time": time,
        "_hn_clock": perf_counter,
        "_hn_interruptible": interruptible,
        "_hn_partial": partial,
        "_hn_worker": worker,
        "_hn_failed": _failed,
        "_hn_steps": plan.steps,
    }
    plain = {step.index for step in plan.steps if _is_plain(step)}
    made_by = {slot: step.index for step in plan.steps for _, slot in step.outputs}
    lines = []
    for step in plan.steps:
        if step.index not in plain:
            lines += ["  _hn_ctx = None", f"  await _hn_execution.step(_hn_state, {_step(step)})"]
            continue
        assert isinstance(step.node, Node)
        at, slots = step.index, {name: f"_hn_slots[{slot}]" for name, slot in step.outputs}
        names[f"_hn_n{at}"] = step.node
        names[f"_hn_call{at}"] = _call_of(step, step.node)
        known: dict[str, str] = {}
        unknown: dict[str, str] = {}
        for name, slot in step.inputs:
            maker = made_by.get(slot)
            (known if maker in plain else unknown)[name] = (
                f"_hn_c{maker}" if maker in plain else f"_hn_sources[{slot}]"
            )
        more = [
            f"  if {source} is not None: _hn_ctx.inputs_from = "
            f"{{**_hn_ctx.inputs_from, {name!r}: {source}}}"
            for name, source in unknown.items()
        ]
        reads = {name: f"_hn_slots[{slot}]" for name, slot in step.inputs} if inputs else {}
        start = [
            f'   _hn_fire("on_node_start", {step.id!r}, {_dict(reads)}, _hn_ctx)',
            "   _hn_since = _hn_time()",
        ]
        end = (
            f'   _hn_fire("on_node_end", {step.id!r}, {_dict(slots if outputs else {})}, '
            "_hn_seconds, _hn_ctx)"
        )
        result = "_hn_result"
        if len(slots) > 1:
            names[f"_hn_unpack{at}"] = step.node.unpack
            result = f"_hn_unpack{at}(_hn_result)"
        lines.append(
            _PLAIN.format(
                index=at,
                id=step.id,
                sources=_dict(known) if known else None,
                more_sources="\n".join(more),
                start="\n".join(start) if hears_start else "",
                targets=", ".join(slots.values()),
                result=result,
                end=end if hears_end else "",
                made_by=" = ".join(f"_hn_sources[{slot}]" for _, slot in step.outputs),
            )
        )
    text = "\n".join([
        "async def walk(_hn_execution, _hn_state):",
        " _hn_settings = _hn_execution.settings",
        " _hn_fire, _hn_info = _hn_settings.hooks.fire, _hn_settings.scope_info",
        " _hn_around, _hn_scope = _hn_execution.ctx, _hn_execution.scope",
        " _hn_slots, _hn_sources = _hn_state.slots, _hn_state.sources",
        " _hn_calls_here = _hn_execution.workers.calls_here",
        " _hn_ctx = None",
        " _hn_since = _hn_begun = 0.0",
        " try:",
        *lines,
        "  return",
        " except BaseException as _hn_error:",
        "  if _hn_ctx is None: raise",
        "  _hn_own = _hn_failed(_hn_execution, _hn_state, _hn_steps[_hn_at], _hn_ctx, _hn_phase,"
        " _hn_since, _hn_begun, _hn_error)",
        "  if _hn_own is _hn_error: raise",
        " raise _hn_own",
    ])  # fmt: skip
    exec(compile(text, "<watched plan>", "exec"), names)
    walk: Walk = names["walk"]
    return walk


def _step(step: Step) -> str:
    return f"_hn_steps[{step.index}]"


def _dict(values: Mapping[str, str]) -> str:
    """The text of a dict, of the texts of its values."""
    return f"{{{', '.join(f'{name!r}: {value}' for name, value in values.items())}}}"


def _call_of(step: Step, node: Node[..., Any]) -> Callable[[list[Any]], Any]:
    """The call of a step's function, with the slots that it reads."""
    arguments = ", ".join(
        f"{name}=_hn_slots[{slot}]" if name in step.keywords else f"_hn_slots[{slot}]"
        for name, slot in step.inputs
    )
    text = (
        "def call(_hn_slots):\n"
        f" result = _hn_call({arguments})\n"
        " return _hn_block_on(result) if _hn_is_awaited(result) else result"
    )
    names: dict[str, Any] = {
        "_hn_call": node.call,
        "_hn_block_on": block_on,
        "_hn_is_awaited": is_awaited,
    }
    exec(compile(text, "<watched plan>", "exec"), names)
    call: Callable[[list[Any]], Any] = names["call"]
    return call


def _failed(
    execution: Walking,
    state: RunState,
    step: Step,
    ctx: CallbackContext,
    phase: int,
    since: float,
    begun: float,
    error: BaseException,
) -> BaseException:
    """Tell of a node that failed; returns its error; see `NodeRun`.

    Args:
        execution: what runs it.
        state: the run's values.
        step: the node's step.
        ctx: its scope.
        phase: how far it was.
        since: when the call began, in seconds since the epoch.
        begun: the same on the clock of `perf_counter`.
        error: what it raised.
    """
    settings = execution.settings
    inputs = {name: state.slots[slot] for name, slot in step.inputs}
    scope = NodeScope(settings.hooks, ctx, execution.scope, inputs)
    scope.started = phase >= STARTED
    if phase == CALLED:
        record = NodeRecord(since, perf_counter() - begun, "failed", error, (), worker())
        scope.catch_up(record)
        error = own_error(error, since, ("state", id(state)))
    note_node(error, step, settings.pipeline.name)
    if phase != ENDED:
        scope.fail(error)
    return error
