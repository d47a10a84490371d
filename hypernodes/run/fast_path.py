"""The compiled plan: for runs that only call nodes, with no cache, callbacks or executors.

The plan is written out as a Python function, one call a line, whose parameters are the inputs:

    def run(*, x, y=default):
        doubled = double(x)
        total = add(doubled, y)
        return {"doubled": doubled, "total": total}

The only other work is to check whether a result has to be awaited. Errors are never retried on
another path: they pass through, with a note that says which node raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from threading import get_ident
from time import time
from typing import Any

from hypernodes.errors import add_note, failing_node, in_short
from hypernodes.event_loops import AWAITED, block_on, running_loop
from hypernodes.map_over import Items
from hypernodes.node import Node
from hypernodes.plan import NestedNode, PipelineLike, Plan, Step
from hypernodes.results import FailedItem
from hypernodes.run.pickling import own_error, settle

CompiledPlan = Callable[..., dict[str, Any]]
Loop = Callable[..., None]


def is_plain(plan: Plan) -> bool:
    """Whether no nested pipeline has an engine, cache or callbacks of its own."""
    return all(
        isinstance(step.node, Node)
        or (
            step.node.pipeline.engine is None
            and (step.node.pipeline.cache is None or step.node.pipeline.cache is False)
            and not step.node.pipeline.callbacks
            and is_plain(step.inner_plan)
        )
        for step in plan.steps
    )


def compiled(pipeline: PipelineLike, plan: Plan) -> CompiledPlan | None:
    """The compiled plan, made once: see `compile_plan`; None if it is not plain."""
    memo = plan.memo
    if "compiled" not in memo:
        memo["compiled"] = compile_plan(pipeline, plan) if is_plain(plan) else None
    run: CompiledPlan | None = memo["compiled"]
    return run


def compiled_async(pipeline: PipelineLike, plan: Plan) -> CompiledPlan | None:
    """The same as an async function; None if a node is not: it would block the loop; see there."""
    memo = plan.memo
    if "compiled async" not in memo:
        fits = all(isinstance(step.node, Node) and step.node.is_async for step in plan.steps)
        memo["compiled async"] = compile_plan(pipeline, plan, awaited=True) if fits else None
    run: CompiledPlan | None = memo["compiled async"]
    return run


def compiled_loop(pipeline: PipelineLike, plan: Plan, mapped: Collection[str]) -> Loop | None:
    """The compiled plan with a loop over many items; None if it is not plain: see `is_plain`.

    Args:
        pipeline: what the plan is of.
        plan: the plan.
        mapped: names of the inputs that differ from item to item.

    Returns:
        A function of the items (tuples of values in the order of `mapped`; bare values if that is
        one name), of a list for each wanted output, to which it appends, and, by keyword, of the
        inputs that the items share.
    """
    memo, key = plan.memo, f"loop over {', '.join(mapped)}"
    if key not in memo:
        fits = is_plain(plan)
        memo[key] = compile_plan(pipeline, plan, mapped=mapped) if fits else None
    loop: Loop | None = memo[key]
    return loop


def compile_plan(
    pipeline: PipelineLike, plan: Plan, awaited: bool = False, mapped: Collection[str] | None = None
) -> Any:
    """Turn a plan into a function of its inputs that returns the outputs asked for.

    Args:
        pipeline: what the plan is of.
        plan: the plan.
        awaited: make it an async function.
        mapped: make it a loop over items that have values for these inputs.
    """
    # Our own names begin with _hn: an input may be called `type`.
    names: dict[str, Any] = {
        "_hn_type": type,
        "_hn_awaited": AWAITED,
        "_hn_block_on": block_on,
        "_hn_BaseException": BaseException,
        "_hn_time": time,
    }
    slots = {slot: f"_hn_s{slot}" for slot in range(len(plan.template))}
    parameters = []
    for name, slot in plan.accepts.items():
        if slot in plan.given.values():
            slots[slot] = name
        if mapped is not None and name in mapped:
            continue
        if name in plan.required:
            parameters.append(name)
        else:
            names[f"_hn_d{slot}"] = plan.template[slot]
            parameters.append(f"{name}=_hn_d{slot}")
    for slot in plan.given.values():
        if slot not in plan.accepts.values():  # bound
            names[slots[slot]] = plan.template[slot]
    shared = f"{'*, ' * bool(parameters)}{', '.join(parameters)}"
    body = [line for step in plan.steps for line in _lines(step, slots, names, awaited)]
    made = {name: slots[slot] for name, slot in plan.returns.items()}
    if mapped is not None:
        places = range(len(made))
        lists = ", ".join(f"_hn_l{place}" for place in places)
        head = f"def run(_hn_items, {lists}{', ' * bool(shared)}{shared}):"
        body = [
            f"  for {', '.join(mapped) or '_hn_item'} in _hn_items:",
            *(f" {line}" for line in body),
            *(
                f"   _hn_l{place}.append({value})"
                for place, value in zip(places, made.values(), strict=True)
            ),
        ]
    else:
        head = f"{'async ' * awaited}def run({shared}):"
        outputs = ", ".join(f"{name!r}: {value}" for name, value in made.items())
        body.append(f"  return {{{outputs}}}")
    # `_hn_at` is the running step: one handler serves them all.
    lines = [
        head,
        " _hn_at, _hn_since = 0, _hn_time()",
        " try:",
        *body,
        " except _hn_BaseException as _hn_error:",
        "  _hn_note(_hn_error, _hn_at, _hn_since)",
        "  raise",
    ]
    name = pipeline.name  # the plan must not hold the pipeline, and so its engine
    names["_hn_note"] = lambda error, at, since: _note_own(error, since, plan.steps[at], name)
    exec(compile("\n".join(lines), f"<pipeline {name!r}>", "exec"), names)
    return names["run"]


def _lines(step: Step, slots: Mapping[int, str], names: dict[str, Any], awaited: bool) -> list[str]:
    """The lines that run one step."""
    func = f"_hn_f{step.index}"
    lines = [f"  _hn_at = {step.index}"]
    targets = [slots[slot] for _, slot in step.outputs]
    if not isinstance(step.node, Node):
        names[func] = _nested(step, step.node)
        values = ", ".join(f"{name!r}: {slots[slot]}" for name, slot in step.inputs)
        return [*lines, f"  {', '.join(targets)}, = {func}({{{values}}})"]
    names[func] = step.node.call
    arguments = ", ".join(
        f"{name}={slots[slot]}" if name in step.keywords else slots[slot]
        for name, slot in step.inputs
    )
    result = targets[0]
    lines += [
        f"  {result} = {func}({arguments})",
        f"  {result} = await {result}"
        if awaited
        else f"  if _hn_type({result}) in _hn_awaited: {result} = _hn_block_on({result})",
    ]
    if len(targets) > 1:
        names[f"{func}_unpack"] = step.node.unpack
        lines.append(f"  {', '.join(targets)} = {func}_unpack({result})")
    return lines


def _note_own(error: BaseException, since: float, step: Step, pipeline: str) -> None:
    own = own_error(error, since, _doing())
    note_node(own, step, pipeline)
    if own is not error:
        context = own.__context__
        try:
            raise own
        finally:
            own.__context__ = context  # not the one that it is a copy of


def _doing() -> tuple[str, int]:
    """The asyncio task that is running, or else the thread."""
    task = None if running_loop() is None else asyncio.current_task()
    return ("thread", get_ident()) if task is None else ("task", id(task))


def note_node(error: BaseException, step: Step, pipeline: str) -> None:
    """Note on an error which node raised it: see `errors.add_note`.

    Args:
        error: the error.
        step: the node's step.
        pipeline: the pipeline's name.
    """
    nested = not isinstance(step.node, Node)
    what = "nested pipeline" if nested else "node"
    add_note(
        error,
        f"in {what} {step.id!r} of pipeline {pipeline!r}",
        node=None if nested else step.id,
    )


def note_item(
    error: BaseException,
    index: int,
    pipeline: str,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Note on an error which item of a map raised it: see `errors.add_note`.

    Args:
        error: the error.
        index: the item's index.
        pipeline: the name of what is mapped.
        values: the item's own inputs, where they are known.
    """
    shown = f" ({in_short(values)})" if values else ""
    add_note(error, f"in item {index}{shown} of a map of pipeline {pipeline!r}")


def _nested(step: Step, node: NestedNode) -> Callable[[dict[str, Any]], Sequence[Any]]:
    """A nested pipeline as a function from values by outer name to outputs in order."""
    plan, inner_name = step.inner_plan, node.inner_inputs
    wanted = [node.inner_outputs[name] for name, _ in step.outputs]
    if node.mapped:
        loop = compile_plan(node.pipeline, plan, mapped=[inner_name[name] for name in node.mapped])

        def run_map(values: dict[str, Any]) -> Sequence[Any]:
            items, shared = node.items(values)
            goes_on = node.error_handling == "continue"
            made = loop_over(node.pipeline, plan, loop, items, shared, goes_on)
            return [made[name] for name in wanted]

        return run_map
    run_inner = compile_plan(node.pipeline, plan)

    def run(values: dict[str, Any]) -> Sequence[Any]:
        results = run_inner(**{inner_name[name]: value for name, value in values.items()})
        return [results[name] for name in wanted]

    return run


def loop_over(
    pipeline: PipelineLike,
    plan: Plan,
    loop: Loop,
    items: Items,
    shared: Mapping[str, Any],
    goes_on: bool = False,
) -> dict[str, list[Any]]:
    """Run a compiled loop over items.

    Args:
        pipeline: what is mapped.
        plan: its plan.
        loop: the loop; see `compiled_loop`.
        items: the values that differ.
        shared: the inputs that all items share.
        goes_on: whether a failed item does not end the loop.

    Returns:
        For each output, by name, a value for each item; a `FailedItem` for one that failed.
    """
    made: dict[str, list[Any]] = {name: [] for name in plan.returns}
    rows = iter(items.rows())  # where an item has failed, it goes on with the next one
    while True:
        try:
            loop(rows, *made.values(), **shared)
            return made
        except BaseException as error:
            index = min(map(len, made.values()))
            values = items[index] if index < len(items) else None
            note_item(error, index, pipeline.name, values)
            if not goes_on or values is None or not isinstance(error, Exception):
                raise
            failed = FailedItem(index, failing_node(error), settle(error), values)
            for each in made.values():
                each[index:] = [failed]


def run_each(
    pipeline: PipelineLike,
    run: CompiledPlan,
    items: Iterable[dict[str, Any]],
    shared: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Run a compiled plan for one item after the other, as they are asked for; see `loop_over`."""
    for index, item in enumerate(items):
        try:
            result = run(**shared, **item)
        except BaseException as error:
            note_item(error, index, pipeline.name, item)
            raise
        yield result
