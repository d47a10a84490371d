"""A pipeline's plan as columns of a frame: a block for each level of nesting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from hypernodes.engines.daft.scopes import Level
from hypernodes.node import Node
from hypernodes.plan import Plan, Step
from hypernodes.run.execution import Execution
from hypernodes.run.resolve import is_same_kind

ITEM = "hypernodes:item"
"""The column with the number of each row's item."""


def free_name(name: str, taken: Collection[str]) -> str:
    """A name for a column of ours that nobody has.

    Daft's optimizer moves renamings past functions. A column of ours with the name that one of the
    user's gets at the end would then be taken for it.

    Args:
        name: what it would best be called.
        taken: other columns' names, those of the finished frame too.
    """
    full, at = name, 1
    while full in taken:
        at += 1
        full = f"{name}:{at}"
    return full


@dataclass
class Part:
    """A step as columns.

    Attributes:
        step: the step.
        record: the column with the records of its runs; None where nobody listens.
        inside: the nested pipeline that is part of the frame.
        read: the column of each input that differs from row to row.
        shared: the values of the others.
        made: the column of each output.
    """

    step: Step
    record: str | None
    inside: Block | None
    read: dict[str, str]
    shared: dict[str, object]
    made: dict[str, str]

    @classmethod
    def of(
        cls, block: Block, step: Step, record: str | None = None, inside: Block | None = None
    ) -> Part:
        """A step whose columns are in a block already.

        Args:
            block: the block.
            step: the step.
            record: the column with the records of its runs.
            inside: the block of a nested pipeline.
        """
        columns = block.columns
        return cls(
            step,
            record,
            inside,
            {name: columns[slot] for name, slot in step.inputs if slot in columns},
            block.shared_inputs(step),
            {name: columns[slot] for name, slot in step.outputs},
        )


@dataclass
class Block:
    """One plan at one level of nesting.

    Attributes:
        execution: what its nodes share, in the process that called the engine.
        plan: the plan.
        path: names of the nested pipelines around it.
        columns: the column of each slot whose value differs from row to row.
        shared: the values of the others.
        chain: notes for an error, from the nested pipelines around.
        parts: its steps.
        is_map: whether it is part of a nested map, or is one.
        mapped: of a nested map, the column of each input that differs from item to item.
        levels: the scopes around its nodes, inside the outermost one.
    """

    execution: Execution
    plan: Plan
    path: tuple[str, ...]
    columns: dict[int, str]
    shared: dict[int, object]
    chain: tuple[str, ...] = ()
    parts: list[Part] = field(default_factory=list)
    is_map: bool = False
    mapped: Mapping[str, str] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()

    @cached_property
    def is_plain(self) -> bool:
        """Whether it is nothing but nodes, without names for their runs; known once it is built."""
        return bool(self.parts) and all(
            isinstance(part.step.node, Node) and part.step.node.options.task_run_name is None
            for part in self.parts
        )

    def shared_inputs(self, step: Step) -> dict[str, object]:
        """The values of a step's inputs that do not differ from row to row."""
        return {name: self.shared[slot] for name, slot in step.inputs if slot in self.shared}

    @property
    def prefix(self) -> str:
        """What the names of its columns begin with."""
        return "".join(f"{name}/" for name in self.path)


class BatchSizes:
    """How many rows the functions of a frame are handed at a time.

    Args:
        usual: where nothing is known of their values.
        of_small: where all values are small.
        small: columns of small values; numbers that nodes make are added.
    """

    def __init__(self, usual: int, of_small: int, small: Iterable[str]) -> None:
        self._usual, self._of_small, self._small = usual, of_small, set(small)

    def of(
        self,
        read: Iterable[str],
        made: Iterable[str] = (),
        kinds: Mapping[str, object] = MappingProxyType({}),
    ) -> int:
        """How many rows a function is handed at a time.

        Args:
            read: the columns that it reads.
            made: the columns that it makes.
            kinds: of these the exact types of their values, as far as they are known.
        """
        numbers = {name for name in made if kinds.get(name) in (int, float)}
        is_small = self._small.issuperset(read) and numbers.issuperset(made)
        self._small |= numbers
        return self._of_small if is_small else self._usual


def all_steps(execution: Execution, plan: Plan) -> Iterator[tuple[Execution, Step]]:
    """Every step of a plan and of the plans nested in it, each with its execution.

    Args:
        execution: what the plan's steps are run by.
        plan: the plan.
    """
    for step in plan.steps:
        yield execution, step
        if is_inline(step, execution.settings.engine):
            assert not isinstance(step.node, Node)
            yield from all_steps(execution.inside(step.node), step.inner_plan)


def is_inline(step: Step, engine: object) -> bool:
    """Whether a step is a nested pipeline that becomes part of the frame.

    Args:
        step: the step.
        engine: the engine of the pipeline around it.
    """
    if isinstance(step.node, Node):
        return False
    return is_same_kind(engine, step.node.pipeline.engine)
