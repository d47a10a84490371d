"""`PipelineNode`: a pipeline as a node of another one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Union

from hypernodes.errors import (
    GraphError,
    did_you_mean,
    listing,
    some,
)
from hypernodes.map_over import (
    Items,
    MapMode,
    MapOver,
    as_list,
    check_map_mode,
    make_items,
    resolve_map_over,
)
from hypernodes.node import is_name
from hypernodes.plan import PipelineLike, Plan
from hypernodes.results import FailedItem, check_error_handling
from hypernodes.types import ErrorHandling, Input, Inputs, normal_name

if TYPE_CHECKING:  # defaults of type variables: PEP 696, Python 3.13
    from typing_extensions import TypeVar

    P = TypeVar("P", bound=PipelineLike, default=PipelineLike)
else:
    from typing import TypeVar

    P = TypeVar("P")


_FRAMES_A_LEVEL = 10
"""How many frames of Python's stack a run needs for each level of nesting, and some to spare."""


class PipelineNode(Generic[P]):
    """A pipeline as a node, made by :meth:`Pipeline.as_node`; see there for the arguments.

    Raises:
        GraphError: names that the pipeline does not have, or that clash after renaming; more
            levels of nesting than Python's recursion limit allows for.
        MapOverError: `map_over` is no input.

    Attributes:
        pipeline: the pipeline inside.
        name: the node's name.
        inputs: its inputs by outer name; the type of a mapped one is a list.
        outputs: outer names of its outputs.
        output_types: their types, in the same order.
        inner_inputs: the pipeline's name for each outer input.
        inner_outputs: the pipeline's name for each outer output.
        depth: how many pipelines are nested in each other here, this one included.
        mapped: outer names of the inputs that are lists; empty when it is not a map.
        map_mode: "zip" or "product".
        error_handling: "raise" or "continue".
    """

    def __init__(
        self,
        pipeline: P,
        name: str | None = None,
        input_mapping: Mapping[str, str] | None = None,
        output_mapping: Mapping[str, str] | None = None,
        map_over: MapOver | None = None,
        map_mode: MapMode = "zip",
        error_handling: ErrorHandling = "raise",
    ) -> None:
        check_map_mode(map_mode)
        check_error_handling(error_handling, map_over)
        inside = (each.depth for each in pipeline.nodes if isinstance(each, PipelineNode))
        self.depth: int = 1 + max(inside, default=0)
        deepest = sys.getrecursionlimit() // _FRAMES_A_LEVEL
        if self.depth > deepest:
            raise GraphError(
                f"pipelines are nested {self.depth} levels deep, and Python's recursion limit of "
                f"{sys.getrecursionlimit()} allows for {deepest}. Nest fewer of them, or raise it "
                "with sys.setrecursionlimit."
            )
        if name is not None and (not isinstance(name, str) or not name):
            raise GraphError(f"as_node: name is {name!r}: expected a text")
        renamings = input_mapping, output_mapping
        self._arguments = (pipeline, name, *renamings, map_over, map_mode, error_handling)
        self.pipeline = pipeline
        self.name = name or pipeline.name
        self.map_mode = map_mode
        self.error_handling = error_handling
        inner = pipeline.inputs
        # The mappings rename first; `map_over` then takes outer names, or their plurals.
        outer_names = _normal(input_mapping, "input_mapping")
        outer_of = _rename(
            {inside: outside for outside, inside in outer_names.items()},
            inner, "input_mapping", "input", len(outer_names),
        )  # fmt: skip
        if map_over is None:
            plural: dict[str, str] = {}
        elif isinstance(map_over, Mapping):
            plural = resolve_map_over(
                {outer: outer_of.get(name, name) for outer, name in _normal(map_over).items()},
                outer_of.values(),
            )
        else:
            names = [map_over] if isinstance(map_over, str) else map_over
            if isinstance(names, (list, tuple)):
                names = [normal_name(each) if isinstance(each, str) else each for each in names]
            plural = resolve_map_over(names, outer_of.values())
        renamed = {singular: outer for outer, singular in plural.items()}
        self.mapped = tuple(plural)
        self.inner_inputs = {renamed.get(o, o): inside for inside, o in outer_of.items()}
        if len(self.inner_inputs) < len(outer_of):
            raise GraphError(f"{self.name!r}: two inputs have one name after map_over={map_over!r}")
        self.inputs: Mapping[str, Input] = MappingProxyType(
            {
                outside: _outer_input(outside, inner[inside], outside in plural)
                for outside, inside in self.inner_inputs.items()
            }
        )
        outer_outputs = _rename(
            _normal(output_mapping, "output_mapping"), pipeline.outputs, "output_mapping", "output"
        )
        self.outputs = tuple(outer_outputs.values())
        self.inner_outputs = {outside: inside for inside, outside in outer_outputs.items()}
        for outside in (*self.inner_inputs, *self.inner_outputs):
            if not is_name(outside):
                raise GraphError(
                    f"as_node: {outside!r} is not a name that a parameter can have; mappings are "
                    "input_mapping={outer: inner}, output_mapping={inner: outer}"
                )
        self.output_types = tuple(
            list[self._item_type(each.type)] if plural else each.type  # type: ignore[misc]
            for each in pipeline.outputs.values()
        )

    def _item_type(self, type_: Any) -> Any:
        """The type of what a map's lists hold."""
        if self.error_handling == "raise" or type_ is Any:
            return type_
        return Union[type_, FailedItem]  # noqa: UP007  (it may be a text)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Outer names of its inputs."""
        return tuple(self.inputs)

    @property
    def structure(self) -> str:
        """A digest of the pipeline's structure; see `Graph.structure`."""
        return self.pipeline.id

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._arguments

    def __repr__(self) -> str:
        over = f", map_over {', '.join(self.mapped)}" if self.mapped else ""
        return f"<PipelineNode {self.name}({some(self.inputs)}) -> {some(self.outputs)}{over}>"

    def __cache_key__(self) -> list[object]:
        return [
            self.pipeline.__cache_key__(),
            self.inner_inputs,
            self.inner_outputs,
            self.mapped,
            self.error_handling,
        ]

    def around(self, pipeline: P) -> PipelineNode[P]:
        """The same node with another pipeline inside, of the same inputs and outputs."""
        return type(self)(pipeline, *self._arguments[1:])

    def plan(self, outer_outputs: Iterable[str]) -> Plan:
        """The inner pipeline's plan for some of the outputs."""
        return self.pipeline.plan(tuple(self.inner_outputs[name] for name in outer_outputs))

    def items(self, values: Inputs) -> tuple[Items, dict[str, Any]]:
        """Values by outer name as a map's items and shared inputs, by inner name."""
        names = self.inner_inputs
        lists = {names[name]: as_list(name, values[name]) for name in self.mapped}
        shared = {names[name]: v for name, v in values.items() if name not in self.mapped}
        return make_items(lists, self.map_mode), shared


def _normal(mapping: Mapping[str, str] | None, argument: str = "map_over") -> dict[str, str]:
    if mapping is not None and not isinstance(mapping, Mapping):
        raise GraphError(
            f"{argument} is {mapping!r:.60}: expected a dict of names, "
            "input_mapping={outer: inner} or output_mapping={inner: outer}"
        )
    return {normal_name(name): normal_name(other) for name, other in (mapping or {}).items()}


def _rename(
    mapping: Mapping[str, str],
    inner: Mapping[str, object],
    argument: str,
    what: str,
    expected: int | None = None,
) -> dict[str, str]:
    """The outer name of each inner one.

    Args:
        mapping: outer names by inner ones, for those that are renamed.
        inner: the pipeline's inputs or outputs.
        argument: the name of the argument, for messages.
        what: "input" or "output".
        expected: how many names the argument gave; fewer here means that some clashed.
    """
    for name in mapping:
        if name not in inner:
            hint = did_you_mean(name, inner)
            if mapping[name] in inner:  # the wrong way round
                way = "{outer: inner}" if what == "input" else "{inner: outer}"
                right = {name: mapping[name]} if what == "input" else {mapping[name]: name}
                hint = f" It is {way}: write {right}."
            raise GraphError(
                f"{argument}: the pipeline has no {what} {name!r}.{hint} "
                f"{what.capitalize()}s: {listing(inner)}"
            )
    if expected is not None and len(mapping) < expected:
        raise GraphError(f"{argument} gives one {what} two names: {dict(mapping)}")
    outer = {name: mapping.get(name, name) for name in inner}
    twice = [name for name in outer.values() if list(outer.values()).count(name) > 1]
    if twice:
        raise GraphError(
            f"{argument}: two {what}s are called {twice[0]!r} outside; rename the other one too"
        )
    return outer


def _outer_input(name: str, inner: Input, mapped: bool) -> Input:
    if not mapped:
        return Input(name, inner.type, inner.default)
    return Input(name, list[inner.type])  # type: ignore[name-defined]
