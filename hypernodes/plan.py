"""`Plan`: what an engine walks, steps that read and write numbered slots.

`Graph.plan` compiles one for each choice of outputs. A step's node may be a whole pipeline, so the
Protocols here say what is needed of one: `NestedNode` and `PipelineLike`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, Protocol

from hypernodes.map_over import Items, MapMode
from hypernodes.node import Node
from hypernodes.types import (
    ErrorHandling,
    GraphNode,
    Input,
    Inputs,
    Output,
    OutputName,
    Outputs,
    RunsPipelines,
)


@dataclass(eq=False, slots=True)
class Step:
    """One node's turn in a plan. It never changes.

    Attributes:
        index: its place in the plan.
        id: the node's id in the graph.
        node: the function's node, or the nested pipeline.
        inputs: parameter names and the slots that they are read from.
        outputs: names that are made and the slots that they are written to; all of a
            function's outputs, and those of a nested pipeline's that are read.
        upstream: places of the steps that have to be done before.
        memo: what higher floors have made from it, by name.
        reads: the slots that its inputs are read from.
        positional: of these, the slots of what a function is given by position.
        named: parameter names and slots of what it is given by name.
    """

    index: int
    id: str
    node: Node[..., Any] | NestedNode
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    upstream: tuple[int, ...]
    memo: dict[str, Any] = field(default_factory=dict)
    reads: tuple[int, ...] = field(init=False)
    positional: tuple[int, ...] = field(init=False)
    named: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        self.reads = self.positional = tuple([slot for _, slot in self.inputs])
        if isinstance(self.node, Node) and (by_name := self.node.keywords):
            self.positional = tuple([slot for name, slot in self.inputs if name not in by_name])
            self.named = tuple([each for each in self.inputs if each[0] in by_name])

    @property
    def keywords(self) -> frozenset[str]:
        """Inputs that have to be passed by keyword."""
        assert isinstance(self.node, Node)
        return self.node.keywords

    @property
    def inner_plan(self) -> Plan:
        """The nested pipeline's own plan, for those of its outputs that are read."""
        assert not isinstance(self.node, Node)
        return self.node.plan(name for name, _ in self.outputs)


@dataclass(frozen=True, eq=False)
class Plan:
    """What an engine walks: steps in topological order over a list of slots.

    Attributes:
        steps: the steps, each after all of its upstream.
        template: the slots before a run: defaults and bound values in their places, and one
            slot more at the end for inputs that these outputs do not need.
        accepts: the slot of each input that may be given.
        required: inputs that have to be given.
        given: the slot of each input that is read, bound ones included.
        returns: the slot of each output that was asked for.
        memo: what the run floor has made from it, by name.
    """

    steps: tuple[Step, ...]
    template: list[Any]
    accepts: Mapping[str, int]
    required: frozenset[str]
    given: Mapping[str, int]
    returns: Mapping[str, int]
    memo: dict[str, Any] = field(default_factory=dict)

    def sources(self, step: Step) -> Mapping[str, str]:
        """For each of a step's inputs that another one makes: that one's id."""
        return self._sources[step.index]

    @cached_property
    def _sources(self) -> list[Mapping[str, str]]:
        made_by = {slot: step.id for step in self.steps for _, slot in step.outputs}
        return [
            {name: made_by[slot] for name, slot in step.inputs if slot in made_by}
            for step in self.steps
        ]

    @cached_property
    def returned(self) -> frozenset[int]:
        """The slots of the outputs that were asked for."""
        return frozenset(self.returns.values())

    @cached_property
    def node_ids(self) -> tuple[str, ...]:
        """The ids of the nodes that are walked, in order."""
        return tuple(step.id for step in self.steps)

    @cached_property
    def result(self) -> Callable[[Sequence[Any]], Outputs]:
        """Turns filled slots into the dict of outputs that a run returns."""
        names = tuple(self.returns)
        if len(names) == 1:
            (name,), (slot,) = names, self.returns.values()
            return lambda slots: {name: slots[slot]}
        read = itemgetter(*self.returns.values())
        return lambda slots: dict(zip(names, read(slots), strict=True))


class PipelineLike(Protocol):
    """A pipeline, as what is below `hypernodes.pipeline` sees it: what it is made of and asks for.

    `hypernodes.Pipeline` is one; see there for what each of these is.
    """

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def engine(self) -> RunsPipelines | None: ...
    @property
    def cache(self) -> Any: ...
    @property
    def callbacks(self) -> tuple[Any, ...] | None: ...
    @property
    def nodes(self) -> tuple[Node[..., Any] | NestedNode, ...]: ...
    @property
    def node_ids(self) -> tuple[str, ...]: ...
    @property
    def bound(self) -> Inputs: ...
    @property
    def inputs(self) -> Mapping[str, Input]: ...
    @property
    def outputs(self) -> Mapping[str, Output]: ...
    def __cache_key__(self) -> object: ...
    def node(self, node_id: str) -> Any: ...
    def plan(self, output_name: OutputName = None) -> Plan: ...
    def check_inputs(self, plan: Plan, names: Iterable[str]) -> None: ...
    def check_items(self, plan: Plan, items: Sequence[Inputs], inputs: Inputs) -> Items: ...


class NestedNode(GraphNode, Protocol):
    """A pipeline as a node; `hypernodes.PipelineNode` is one."""

    @property
    def pipeline(self) -> PipelineLike: ...
    @property
    def mapped(self) -> tuple[str, ...]: ...
    @property
    def map_mode(self) -> MapMode: ...
    @property
    def error_handling(self) -> ErrorHandling: ...
    @property
    def inner_inputs(self) -> Mapping[str, str]: ...
    @property
    def inner_outputs(self) -> Mapping[str, str]: ...
    def plan(self, outer_outputs: Iterable[str]) -> Plan: ...
    def items(self, values: Inputs) -> tuple[Items, dict[str, Any]]: ...
