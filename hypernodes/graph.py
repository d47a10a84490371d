"""The graph of a pipeline: built and validated once, compiled to a plan for a choice of outputs.

    nodes ──Graph(nodes)──> Graph: who makes what, in topological order
    Graph ──plan(...)────> Plan: steps that read and write numbered slots

An engine only ever walks a `Plan`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from inspect import ismethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from hypernodes.annotations import fits, fits_map
from hypernodes.errors import (
    CycleError,
    DuplicateOutputError,
    GraphError,
    InputError,
    MissingInputError,
    OutputNameError,
    UnknownInputError,
    did_you_mean,
    listing,
)
from hypernodes.identity.values import sign
from hypernodes.map_over import Items, plurals
from hypernodes.node import Node
from hypernodes.plan import NestedNode, Plan, Step
from hypernodes.types import EMPTY, GraphNode, Input, Inputs, Output, normal_name

if TYPE_CHECKING:
    import networkx as nx


N = TypeVar("N", bound="Node[..., Any] | NestedNode")


class Graph(Generic[N]):
    """Nodes wired by name.

    Args:
        nodes: at least one; in the order in which the user gave them.
        strict_types: refuse an edge whose types cannot fit.

    Raises:
        CycleError, DuplicateOutputError, GraphError: see `hypernodes.errors`.

    Attributes:
        nodes: the nodes by id: their name, or `name:output` where two share a name.
        producer: the id of the node that makes an output.
        order: the ids in topological order.
        inputs: what has to come from outside.
    """

    def __init__(self, nodes: Sequence[N], strict_types: bool = False) -> None:
        if not nodes:
            raise GraphError("a pipeline needs at least one node")
        self.nodes = _by_id(nodes)
        self.producer = _producers(self.nodes)
        self.order = self._topological_order()
        self.inputs = _outer_inputs(
            {node_id: each.inputs for node_id, each in self.nodes.items()}, self.producer
        )
        if strict_types:
            self._check_types()

    @cached_property
    def outputs(self) -> Mapping[str, Output]:
        """Everything that is made, by name."""
        return MappingProxyType(
            {
                name: Output(name, output_type)
                for each in self.nodes.values()
                for name, output_type in zip(each.outputs, each.output_types, strict=True)
            }
        )

    @cached_property
    def structure(self) -> str:
        """A digest of names and wires: the same in every process. 8 hexadecimal digits."""
        shape = [
            (node_id, *each.inputs, "->", *each.outputs, getattr(each, "structure", ""))
            for node_id, each in self.nodes.items()
        ]
        return hashlib.sha256(repr(shape).encode()).hexdigest()[:8]

    @cached_property
    def digraph(self) -> nx.DiGraph:
        """The same as a `networkx.DiGraph` of ids.

        A node's `node` is the node; an edge's `names` are the outputs that it carries. Importing
        networkx takes half a second and running a pipeline does not need it, so it is made at
        first use.
        """
        import networkx as nx

        digraph: nx.DiGraph = nx.DiGraph()
        for node_id, each in self.nodes.items():
            digraph.add_node(node_id, node=each)
        for node_id, each in self.nodes.items():
            carried: dict[str, list[str]] = {}
            for name in each.input_names:
                if name in self.producer:
                    carried.setdefault(self.producer[name], []).append(name)
            for source, names in carried.items():
                digraph.add_edge(source, node_id, names=tuple(names))
        return digraph

    def _topological_order(self) -> tuple[str, ...]:
        """Kahn's algorithm (1962): whatever has no input left to wait for is next."""
        producer = self.producer
        takers: dict[str, list[str]] = {}
        missing: dict[str, int] = {}
        order: list[str] = []
        for node_id, each in self.nodes.items():
            sources = [producer[name] for name in each.input_names if name in producer]
            for source in sources:
                takers.setdefault(source, []).append(node_id)
            if sources:
                missing[node_id] = len(sources)
            else:
                order.append(node_id)
        for node_id in order:  # grows while it is walked
            for taker in takers.get(node_id, ()):
                missing[taker] -= 1
                if not missing[taker]:
                    order.append(taker)
        if len(order) < len(self.nodes):
            raise self._cycle_error()
        return tuple(order)

    def _cycle_error(self) -> GraphError:
        import networkx as nx

        cycle = [edge[0] for edge in nx.find_cycle(self.digraph)]
        if len(cycle) > 1:
            return CycleError([*cycle, cycle[0]])
        own = listing(self.digraph.edges[cycle[0], cycle[0]]["names"])
        return GraphError(
            f"node {cycle[0]!r} is its own input: {own} is both one of its parameters and "
            "its output. Rename one of the two."
        )

    def _check_types(self) -> None:
        for node_id, each in self.nodes.items():
            for name, wanted in each.inputs.items():
                if name not in self.producer:
                    continue
                made = self.outputs[name].type
                if not isinstance(each, Node) and name in each.mapped:
                    (item,) = get_args(wanted.type)
                    if fits_map(made, item):
                        continue
                elif fits(made, wanted.type):
                    continue
                raise GraphError(
                    f"{name!r} is {made} where {self.producer[name]!r} makes it and "
                    f"{wanted.type} where {node_id!r} takes it: change one of the annotations, "
                    "or leave strict_types off"
                )

    def check_outputs(self, output_name: object) -> tuple[str, ...]:
        """The names that `output_name` asks for; all outputs for `None`.

        Raises:
            OutputNameError: it is no name of an output, and no list of them.
        """
        if output_name is None:
            return tuple(self.producer)
        names = (output_name,) if isinstance(output_name, str) else output_name
        if not isinstance(names, (tuple, list)) or not names:
            raise OutputNameError(
                f"output_name is {output_name!r}: expected a name or a list of names out of "
                f"{listing(self.producer)}"
            )
        names = tuple(map(normal_name, names))
        for name in names:
            if name not in self.producer:
                hint = did_you_mean(name, self.producer)
                what = " It is an input." if name in self.inputs else ""
                raise OutputNameError(
                    f"there is no output {name!r}.{hint}{what} Outputs: {listing(self.producer)}"
                )
        return tuple(dict.fromkeys(names))

    def check_inputs(
        self, plan: Plan, names: Iterable[str], bound: Collection[str], pipeline: str
    ) -> None:
        """Refuse inputs of a run that are unknown or missing.

        Args:
            plan: what is to run.
            names: the inputs that were given.
            bound: inputs that are fixed.
            pipeline: the pipeline's name, for messages.

        Raises:
            UnknownInputError: no node has this input.
            MissingInputError: one that is needed was not given.
            InputError: one that is bound, or that a node computes.
        """
        given = list(names)
        for name in given:
            if name in plan.accepts:
                continue
            if name in bound:
                raise InputError(f"input {name!r} is bound: free it with unbind({name!r}) first")
            if name in self.producer:
                raise InputError(
                    f"{name!r} is computed by node {self.producer[name]!r} of {pipeline!r} and "
                    "cannot be given; leave it out, or build a pipeline without that node"
                )
            free = [each for each in self.inputs if each not in bound]
            hint = did_you_mean(name, free)
            if normal_name(name) in free:  # they look the same
                hint = f" Python reads this name as {normal_name(name)!a} (NFKC): write it so."
            for one in free:
                if name in plurals(one):
                    hint = f" It takes one {one!r}; for many: map(inputs, map_over={name!r})."
            raise UnknownInputError(
                f"pipeline {pipeline!r} has no input {name!r}.{hint} Inputs: {listing(free)}"
            )
        missing = sorted(plan.required.difference(given))
        if missing:
            takers = {
                name: [step.id for step in plan.steps if name in dict(step.inputs)]
                for name in missing
            }
            needs = "; ".join(f"{name!r} (for {listing(ids)})" for name, ids in takers.items())
            hint = did_you_mean(missing[0], [*self.producer, *given])
            raise MissingInputError(
                f"pipeline {pipeline!r} needs {needs}.{hint} Given: {listing(given)}"
            )

    def check_items(
        self,
        plan: Plan,
        items: Sequence[Inputs],
        inputs: Inputs,
        bound: Collection[str],
        pipeline: str,
    ) -> Items:
        """Refuse inputs of a map that are unknown or missing; see :meth:`check_inputs`.

        Args:
            plan: what is to run for each item.
            items: for each item the values that are its own.
            inputs: the values that all items share.
            bound: inputs that are fixed.
            pipeline: the pipeline's name, for messages.

        Returns:
            The items as columns; where some have no value for an input, it is the default.
        """
        if not items and not inputs.keys() <= plan.accepts.keys():
            self.check_inputs(plan, inputs, bound, pipeline)
        defaults: dict[str, Any] = {}
        names = None
        # Items are columns already, and so have the same names: one look is enough.
        for item in items[:1] if isinstance(items, Items) else items:
            if item.keys() != names:
                names = item.keys()
                given = item.keys() | inputs.keys()
                if not plan.required <= given <= plan.accepts.keys():
                    self.check_inputs(plan, given, bound, pipeline)
                defaults |= {name: plan.template[plan.accepts[name]] for name in names}
        if isinstance(items, Items):
            return items
        columns = {
            name: [item.get(name, default) for item in items] for name, default in defaults.items()
        }
        return Items(columns, len(items))

    def plan(self, outputs: tuple[str, ...], bound: Inputs) -> Plan:
        """Compile what has to be done to make the outputs asked for.

        Args:
            outputs: their names.
            bound: inputs that are fixed to a value.
        """
        # Backwards from the outputs: only nodes that lead there become steps. Of a nested pipeline
        # only what is read is made, and only what that takes is needed.
        read = set(outputs)
        makes: dict[str, tuple[str, ...]] = {}
        takes: dict[str, Mapping[str, Input]] = {}
        for node_id in reversed(self.order):
            each = self.nodes[node_id]
            wanted = tuple(name for name in each.outputs if name in read)
            if wanted:
                makes[node_id] = each.outputs if isinstance(each, Node) else wanted
                takes[node_id] = each.inputs if isinstance(each, Node) else _taken(each, wanted)
                read.update(takes[node_id])
        ids = [node_id for node_id in self.order if node_id in takes]
        inputs = self.inputs
        if len(ids) < len(self.order) or not all(isinstance(self.nodes[i], Node) for i in ids):
            inputs = _outer_inputs({node_id: takes[node_id] for node_id in ids}, self.producer)

        # Slots are numbered in this order: inputs, then outputs as their steps make them, then one
        # that takes the inputs which are known but not read on the way to these outputs.
        slots: dict[str, int] = {}
        for name in self.inputs:
            if name in read:
                slots[name] = len(slots)
        given = len(slots)
        steps: list[Step] = []
        made_by: dict[str, int] = {}
        for index, node_id in enumerate(ids):
            inputs_read = tuple([(name, slots[name]) for name in takes[node_id]])
            upstream = {made_by[name] for name, _ in inputs_read if name in made_by}
            outputs_made = []
            for name in makes[node_id]:
                slots[name] = slot = len(slots)
                outputs_made.append((name, slot))
                made_by[name] = index
            steps.append(
                Step(
                    index,
                    node_id,
                    self.nodes[node_id],
                    inputs_read,
                    tuple(outputs_made),
                    tuple(sorted(upstream)),
                )
            )
        template: list[Any] = [None] * (len(slots) + 1)
        for name, slot in list(slots.items())[:given]:
            template[slot] = bound.get(name, inputs[name].default)
        return Plan(
            steps=tuple(steps),
            template=template,
            accepts={
                name: slots.get(name, len(slots)) for name in self.inputs if name not in bound
            },
            required=frozenset(
                name for name in list(slots)[:given] if name not in bound and inputs[name].required
            ),
            given={name: slot for name, slot in slots.items() if slot < given},
            returns={name: slots[name] for name in outputs},
        )


def _by_id(nodes: Sequence[N]) -> dict[str, N]:
    """The nodes by id; one that is given twice is one node."""
    once: dict[tuple[str, str], N] = {}
    for each in nodes:
        known = once.setdefault((each.name, each.outputs[0]), each)
        if not _is_same_node(known, each):
            raise DuplicateOutputError(
                f"two different nodes called {each.name!r} make {each.outputs[0]!r}: "
                f"{_whose(known)} and {_whose(each)}. Rename one output (a nested pipeline's with "
                "output_mapping), or leave one of the two out."
            )
    times = Counter(name for name, _ in once)
    by_id: dict[str, N] = {}
    for (name, output), each in once.items():
        node_id = name if times[name] == 1 else f"{name}:{output}"
        if by_id.setdefault(node_id, each) is not each:
            raise GraphError(f"two nodes have the id {node_id!r}: give one of them another name")
    return by_id


_NESTED_AS = "name", "mapped", "map_mode", "inner_inputs", "inner_outputs"


def _is_same_node(one: Node[..., Any] | NestedNode, other: Node[..., Any] | NestedNode) -> bool:
    if one is other:
        return True
    if isinstance(one, Node) and isinstance(other, Node):
        # Methods are made anew whenever they are asked for, and equal.
        same = one.func is other.func or (ismethod(one.func) and one.func == other.func)
        return same and (one.outputs, one.options) == (other.outputs, other.options)
    if isinstance(one, Node) or isinstance(other, Node) or one.pipeline is not other.pipeline:
        return False
    return all(getattr(one, what) == getattr(other, what) for what in _NESTED_AS)


def _whose(node: GraphNode) -> str:
    if isinstance(node, Node):
        return f"that of {node.__module__}.{getattr(node, '__qualname__', node.name)}"
    return repr(node)


def _producers(nodes: Mapping[str, GraphNode]) -> dict[str, str]:
    producer: dict[str, str] = {}
    for node_id, each in nodes.items():
        for name in each.outputs:
            if name in producer:
                raise DuplicateOutputError(
                    f"two nodes make {name!r}: {producer[name]!r} and {node_id!r}. "
                    "Rename one output (a nested pipeline's with output_mapping)."
                )
            producer[name] = node_id
    return producer


def _taken(node: NestedNode, outputs: tuple[str, ...]) -> Mapping[str, Input]:
    """What a nested pipeline takes to make some of its outputs; a map needs all of its lists."""
    plan = node.plan(outputs)
    taken: dict[str, Input] = {}
    for name, inner in node.inner_inputs.items():
        each = node.inputs[name]
        if name in node.mapped:
            taken[name] = each
        elif inner in plan.given:
            default = EMPTY if inner in plan.required else plan.template[plan.given[inner]]
            taken[name] = Input(name, each.type, default)
    return taken


def _outer_inputs(
    inputs: Mapping[str, Mapping[str, Input]], producer: Mapping[str, str]
) -> Mapping[str, Input]:
    """What some nodes take that no node makes, out of the inputs of each by id."""
    takers: dict[str, list[tuple[str, Input]]] = {}
    for node_id, each in inputs.items():
        for name, spec in each.items():
            if name not in producer:
                takers.setdefault(name, []).append((node_id, spec))
    return MappingProxyType({name: _merge(name, specs) for name, specs in takers.items()})


def _merge(name: str, takers: Iterable[tuple[str, Input]]) -> Input:
    """One input out of all the parameters of that name: required where one of them is."""
    takers = list(takers)
    first_id, first = takers[0]
    known = next((spec.type for _, spec in takers if spec.type is not Any), Any)
    for node_id, spec in takers[1:]:
        if not (first.required or spec.required) and not _same(first.default, spec.default):
            raise GraphError(
                f"input {name!r} has the default {first.default!r} in {first_id!r} and "
                f"{spec.default!r} in {node_id!r}: make them the same, or drop one"
            )
    required = next((spec for _, spec in takers if spec.required), first)
    return Input(name, known, required.default)


def _same(one: object, other: object) -> bool:
    """Whether two defaults are the same: of one type, and equal or of one content (arrays, NaN)."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    # By content first: equal ones may differ, as 0.0 and -0.0 do, or [1] and [1.0].
    with contextlib.suppress(Exception):
        return sign(one) == sign(other)
    try:
        return (one == other) is True
    except Exception:  # what can be neither identified nor compared is taken as different
        return False
