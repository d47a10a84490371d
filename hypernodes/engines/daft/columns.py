"""What a pipeline's plan is as columns of a frame: a block for each level of nesting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypernodes.nested import PipelineNode
from hypernodes.node import Node
from hypernodes.plan import Plan, Step
from hypernodes.run.execution import Execution

ITEM = "item"
"""The column with the number of each row's item."""


@dataclass
class Part:
    """A step as columns.

    Attributes:
        step: the step.
        told: the column with what callbacks are told of it.
        inside: the nested pipeline that is part of the frame.
        read: the column of each input that differs from row to row.
        shared: the values of the others.
        made: the column of each output.
    """

    step: Step
    told: str | None
    inside: Block | None
    read: dict[str, str]
    shared: dict[str, Any]
    made: dict[str, str]

    @classmethod
    def of(cls, block: Block, step: Step, told: str | None, inside: Block | None = None) -> Part:
        """A step of a block, whose columns are there."""
        columns = block.columns
        return cls(
            step,
            told,
            inside,
            {name: columns[slot] for name, slot in step.inputs if slot in columns},
            {name: block.shared[slot] for name, slot in step.inputs if slot in block.shared},
            {name: columns[slot] for name, slot in step.outputs},
        )


@dataclass
class Block:
    """One plan at one level of nesting.

    Attributes:
        execution: what its nodes share, in the process that called the engine.
        plan: the plan.
        path: names of the nested pipelines that it is inside of.
        columns: the column of each slot whose value differs from row to row.
        shared: the values of the others.
        chain: notes for an error, from the nested pipelines around.
        gate: a column that says whether a row is one; None where every row is.
        gated: columns that say so too.
        parts: its steps.
    """

    execution: Execution
    plan: Plan
    path: tuple[str, ...]
    columns: dict[int, str]
    shared: dict[int, Any]
    chain: tuple[str, ...] = ()
    gate: str | None = None
    gated: set[str] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)


def survey(execution: Execution, plan: Plan) -> Iterator[tuple[Execution, Step]]:
    """Every step of a plan and of those nested in it, with the execution that it is part of."""
    for step in plan.steps:
        yield execution, step
        if is_inline(step, execution.settings.engine):
            assert isinstance(step.node, PipelineNode)
            inner = step.node.plan(name for name, _ in step.outputs)
            yield from survey(execution.inside(step.node), inner)


def is_inline(step: Step, engine: Any) -> bool:
    """Whether a step is a nested pipeline that becomes part of the frame."""
    if isinstance(step.node, Node):
        return False
    own = step.node.pipeline.engine
    return own is None or isinstance(own, type(engine))
