"""The short walk: a plan whose nodes are only called, with no cache, callbacks or executors.

    slots = template, inputs in their places
    for each step: read slots, call, write slots

Nothing else stands on this path. It never catches an error to try again another way: an error
that passes gets a note that says where it was, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from hypernodes.errors import add_note
from hypernodes.executors import AWAITED, block_on
from hypernodes.graph import Plan, Step
from hypernodes.node import Node
from hypernodes.pipeline import Pipeline, PipelineNode

ONE, MANY, OTHER = 0, 1, 2

Slots = list[Any]
Instruction = tuple[int, Callable[..., Any], Any, int]


def is_plain(pipeline: Pipeline, plan: Plan) -> bool:
    """Whether no pipeline nested in the plan has an engine, cache or callbacks of its own."""
    return all(
        isinstance(step.node, Node)
        or (
            step.node.pipeline.engine is None
            and (step.node.pipeline.cache is None or step.node.pipeline.cache is False)
            and not step.node.pipeline.callbacks
            and is_plain(step.node.pipeline, _inner_plan(step))
        )
        for step in plan.steps
    )


def compile_plan(pipeline: Pipeline, plan: Plan) -> Callable[[Slots], None]:
    """Turn a plan into a function that fills the slots which hold its inputs."""
    code = tuple(_instruction(step) for step in plan.steps)

    def walk(slots: Slots) -> None:
        place = 0
        try:
            for place, (how, func, argument, out) in enumerate(code):  # noqa: B007
                if how == ONE:
                    value = func(slots[argument])
                elif how == MANY:
                    value = func(*argument(slots))
                else:
                    func(slots)
                    continue
                if type(value) in AWAITED:
                    value = block_on(value)
                slots[out] = value
        except BaseException as error:
            note_node(error, plan.steps[place], pipeline)
            raise

    return walk


def note_node(error: BaseException, step: Step, pipeline: Pipeline) -> None:
    """Note on an error which node it came out of."""
    nested = isinstance(step.node, PipelineNode)
    what = "nested pipeline" if nested else "node"
    add_note(
        error,
        f"in {what} {step.id!r} of pipeline {pipeline.name!r}",
        node=None if nested else step.id,
    )


def note_item(error: BaseException, index: int, pipeline: Pipeline) -> None:
    """Note on an error which item of a map it came out of."""
    add_note(error, f"in item {index} of a map of pipeline {pipeline.name!r}")


def _instruction(step: Step) -> Instruction:
    if isinstance(step.node, PipelineNode):
        return (OTHER, _nested(step, step.node), None, 0)
    func = step.node.func
    sources = [slot for _, slot in step.inputs]
    out = step.outputs[0][1]
    if len(step.outputs) == 1 and not step.keywords:
        if len(sources) == 1:
            return (ONE, func, sources[0], out)
        if len(sources) > 1:
            return (MANY, func, itemgetter(*sources), out)
    return (OTHER, _general(step, step.node), None, 0)


def _general(step: Step, node: Node[..., Any]) -> Callable[[Slots], None]:
    outs = [slot for _, slot in step.outputs]

    def call(slots: Slots) -> None:
        args, kwargs = step.arguments(slots)
        result = node.func(*args, **kwargs)
        if type(result) in AWAITED:
            result = block_on(result)
        for out, value in zip(outs, node.unpack(result), strict=True):
            slots[out] = value

    return call


def _inner_plan(step: Step) -> Plan:
    assert isinstance(step.node, PipelineNode)
    return step.node.plan(name for name, _ in step.outputs)


def _nested(step: Step, node: PipelineNode) -> Callable[[Slots], None]:
    plan = _inner_plan(step)
    walk = compile_plan(node.pipeline, plan)
    inner = [plan.returns[node.inner_outputs[name]] for name, _ in step.outputs]
    outer = [slot for _, slot in step.outputs]
    fed = [(slot, plan.accepts[node.inner_inputs[name]]) for name, slot in step.inputs]

    def run(slots: Slots) -> None:
        own = plan.template.copy()
        for source, target in fed:
            own[target] = slots[source]
        walk(own)
        for source, target in zip(inner, outer, strict=True):
            slots[target] = own[source]

    def run_map(slots: Slots) -> None:
        items, shared = node.items({name: slots[slot] for name, slot in step.inputs})
        base = fill(plan, plan.template, shared)
        rows = [
            [own[source] for source in inner]
            for own in walk_items(node.pipeline, plan, walk, base, items)
        ]
        for place, target in enumerate(outer):
            slots[target] = [row[place] for row in rows]

    return run_map if node.mapped else run


def fill(plan: Plan, slots: Slots, values: Mapping[str, Any]) -> Slots:
    """A copy of the slots with values in their places.

    Raises:
        KeyError: a name that the plan does not take.
    """
    slots = slots.copy()
    accepts = plan.accepts
    for name, value in values.items():
        slots[accepts[name]] = value
    return slots


def walk_items(
    pipeline: Pipeline,
    plan: Plan,
    walk: Callable[[Slots], None],
    base: Slots,
    items: list[dict[str, Any]],
) -> Iterable[Slots]:
    """Walk for each item, over slots that hold what the items share."""
    accepts = plan.accepts
    index = 0
    try:
        for index, item in enumerate(items):  # noqa: B007
            slots = base.copy()
            for name, value in item.items():
                slots[accepts[name]] = value
            walk(slots)
            yield slots
    except BaseException as error:
        note_item(error, index, pipeline)
        raise
