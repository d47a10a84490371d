"""`WiredPipeline`: nodes wired by name, and the settings of their runs; it runs nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from hypernodes import moved
from hypernodes.cache import Cache
from hypernodes.callbacks import check_callbacks
from hypernodes.errors import GraphError, UnknownInputError, did_you_mean, listing, some
from hypernodes.graph import Graph
from hypernodes.map_over import Items, MapMode, MapOver, resolve_map_over
from hypernodes.nested import PipelineNode
from hypernodes.node import Node
from hypernodes.plan import Plan
from hypernodes.refresh import Changed, Refresh, chosen, replaced
from hypernodes.types import (
    ErrorHandling,
    Input,
    Inputs,
    Output,
    OutputName,
    RunsPipelines,
    normal_name,
)

if TYPE_CHECKING:
    import networkx as nx
    from typing_extensions import Self

T = TypeVar("T")
W = TypeVar("W", bound="WiredPipeline")


class WiredPipeline:
    """What a pipeline is before anything runs: its graph, and the settings of its runs.

    See :class:`Pipeline`, which is this and the ways to run it.
    """

    def __init__(
        self,
        nodes: Iterable[object],
        *,
        engine: RunsPipelines | None = None,
        cache: Cache | Literal[False] | None = None,
        callbacks: Sequence[object] | None = None,
        name: str | None = None,
        strict_types: bool = False,
        **unknown: NoReturn,
    ) -> None:
        moved.refuse(WiredPipeline.__init__, unknown, where="Pipeline")
        self.name = "pipeline" if name is None else _check_name(name)
        self.engine = _check_engine(engine)
        self.cache = _check_cache(cache)
        self.callbacks = None if callbacks is None else check_callbacks(callbacks)
        self.strict_types = strict_types
        self.bound: Mapping[str, Any] = MappingProxyType({})
        self._graph = Graph([_as_node(each) for each in _check_nodes(nodes)], strict_types)
        self.nodes = tuple(self._graph.nodes.values())
        self._plans: dict[str | tuple[str, ...] | None, Plan] = {}

    if not TYPE_CHECKING:  # else type checkers would take any name for an attribute

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"a pipeline has no attribute {name!r}{moved.method(name)}", name=name, obj=self
            )

    @property
    def graph(self) -> nx.DiGraph:
        """The graph: node ids, and edges that carry the `names` of outputs."""
        return self._graph.digraph

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The nodes' ids in topological order: names, or `name:output` where names clash."""
        return self._graph.order

    def node(self, node_id: str) -> Node[..., Any] | PipelineNode[Self] | None:
        """The node that has an id; None where none has."""
        return self._graph.nodes.get(node_id)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """What can be given to a run, by name, with type and default; bound inputs are not."""
        return MappingProxyType(
            {name: each for name, each in self._graph.inputs.items() if name not in self.bound}
        )

    @property
    def outputs(self) -> Mapping[str, Output]:
        """What can be asked for, by name, with type: the outputs of every node."""
        return self._graph.outputs

    @property
    def id(self) -> str:
        """Its name and a digest of its structure: the same in every process."""
        return f"{self.name}-{self._graph.structure}"

    def __repr__(self) -> str:
        return (
            f"<Pipeline {self.name!r}: {some(self.inputs) or 'no inputs'} -> "
            f"{some(self.outputs)}; {len(self.nodes)} nodes>"
        )

    def __cache_key__(self) -> list[object]:
        nodes = [
            each.func if isinstance(each, Node) else each.__cache_key__() for each in self.nodes
        ]
        return [self.node_ids, nodes, dict(self.bound)]

    def __reduce__(self) -> tuple[object, ...]:
        used = self.engine, self.cache, self.callbacks
        rest = self.name, dict(self.bound), self.strict_types
        # A subclass has attributes of its own.
        own = {name: each for name, each in vars(self).items() if name not in _ATTRIBUTES}
        return _rebuild, (type(self), self.nodes, *used, *rest), own

    def resolve_map_over(self, map_over: MapOver) -> dict[str, str]:
        """The input that each name in `map_over` means, as :meth:`map` would take it.

        >>> from hypernodes import Node, Pipeline
        >>> Pipeline([Node(lambda url: url, "page")]).resolve_map_over("urls")
        {'urls': 'url'}
        """
        return resolve_map_over(map_over, self.inputs)

    def plan(self, output_name: OutputName = None) -> Plan:
        """The compiled graph for a choice of outputs; compiled once."""
        if output_name is None or isinstance(output_name, str):
            key: str | tuple[str, ...] | None = output_name
        else:
            key = self._graph.check_outputs(output_name)
        plan = self._plans.get(key)
        if plan is None:
            outputs = self._graph.check_outputs(output_name)
            plan = self._plans.setdefault(key, self._graph.plan(outputs, self.bound))
        return plan

    def check_inputs(self, plan: Plan, names: Iterable[str]) -> None:
        """Refuse inputs of a run that are unknown or missing; see `Graph.check_inputs`."""
        self._graph.check_inputs(plan, names, self.bound, self.name)

    def check_items(self, plan: Plan, items: Sequence[Inputs], inputs: Inputs) -> Items:
        """The items of a map as columns, once their names are checked; see `Graph.check_items`."""
        return self._graph.check_items(plan, items, inputs, self.bound, self.name)

    def bind(self, /, **values: Any) -> Self:
        """A copy whose named inputs are fixed to these values.

        Raises:
            UnknownInputError: no node has such an input.

        >>> from hypernodes import Node, Pipeline
        >>> pipeline = Pipeline([Node(lambda x, y: x - y, "z")])
        >>> pipeline.bind(y=1).run({"x": 3})
        {'z': 2}
        """
        known = self._graph.inputs
        values = {normal_name(name): value for name, value in values.items()}
        _check_known(values, known, f"pipeline {self.name!r} has no input ", " to bind", "Inputs")
        return _copy(self, bound=MappingProxyType({**self.bound, **values}), _plans={})

    def unbind(self, *names: str) -> Self:
        """A copy in which bound inputs are free again; all of them when none is named."""
        names = tuple(map(normal_name, names))
        _check_known(names, self.bound, "input ", " is not bound", "Bound")
        rest = {name: value for name, value in self.bound.items() if names and name not in names}
        return _copy(self, bound=MappingProxyType(rest), _plans={})

    def with_engine(self, engine: RunsPipelines | None) -> Self:
        """A copy with another engine; `None` for that of the run it is part of."""
        return _copy(self, engine=_check_engine(engine))

    def with_cache(self, cache: Cache | Literal[False] | None) -> Self:
        """A copy with another cache; `False` for none."""
        return _copy(self, cache=_check_cache(cache))

    def with_callbacks(self, callbacks: Sequence[object] | None) -> Self:
        """A copy with other callbacks; `[]` for none."""
        return _copy(self, callbacks=None if callbacks is None else check_callbacks(callbacks))

    def with_name(self, name: str) -> Self:
        """A copy with another name."""
        return _copy(self, name=_check_name(name), _plans={})

    def with_refresh(self, refresh: Refresh) -> Self:
        """A copy some of whose nodes are computed anew whatever is in the cache.

        All that follows from them is computed anew as well, and what is computed is stored.

        Args:
            refresh: names of nodes (of a nested pipeline: everything in it) or of outputs.
                `outer/inner` names a nested one; its own name does where no outer one has it.

        Raises:
            RefreshError: there is no such node or output.

        >>> from hypernodes import MemoryCache, Node, Pipeline
        >>> pipeline = Pipeline([Node(lambda x: x + 1, "y")], cache=MemoryCache())
        >>> pipeline.run({"x": 1})
        {'y': 2}
        >>> print(pipeline.explain_cache({"x": 1}, refresh="y"))
        y: miss: it is to be refreshed
        """
        if refresh is None:
            return self
        changed, _ = replaced(self, chosen(self, refresh))
        return self._with_nodes(changed) if changed else self

    def _with_nodes(self, changed: Changed) -> Self:
        """A copy with other nodes of the same inputs and outputs in the place of some.

        Args:
            changed: the nodes by the ids of those that they replace.
        """
        nodes = {**self._graph.nodes, **changed}
        graph = Graph(list(nodes.values()), self.strict_types)
        return _copy(self, _graph=graph, nodes=tuple(graph.nodes.values()), _plans={})

    def as_node(
        self,
        name: str | None = None,
        input_mapping: Mapping[str, str] | None = None,
        output_mapping: Mapping[str, str] | None = None,
        map_over: MapOver | None = None,
        map_mode: MapMode = "zip",
        error_handling: ErrorHandling = "raise",
        **unknown: NoReturn,
    ) -> PipelineNode[Self]:
        """This pipeline as a node of another one.

        Args:
            name: the node's name; by default the pipeline's.
            input_mapping: `{outer: inner}`: what inputs are called outside.
            output_mapping: `{inner: outer}`: what outputs are called outside.
            map_over: outer inputs that are lists: the pipeline runs for each of their items, and
                each output is the list of the items' outputs.
            map_mode: as in :meth:`map`.
            error_handling: of a map: "raise" stops at the first failed item; "continue" puts a
                `FailedItem` in its place in each list, and goes on.

        Raises:
            TypeError: there is no such option.
            ValueError: `error_handling` is unknown, or this is not a map.
        """
        moved.refuse(WiredPipeline.as_node, unknown, where="Pipeline.as_node")
        return PipelineNode(
            self, name, input_mapping, output_mapping, map_over, map_mode, error_handling
        )


def _copy(pipeline: W, **changes: object) -> W:
    copy = object.__new__(type(pipeline))
    copy.__dict__.update({**pipeline.__dict__, **changes})
    return copy


_ATTRIBUTES = frozenset(
    {
        "name", "engine", "cache", "callbacks", "strict_types", "bound",
        "nodes", "_graph", "_plans",
    }
)  # fmt: skip
"""Attributes that `WiredPipeline.__init__` makes."""


def _rebuild(
    kind: type[W],
    nodes: Iterable[object],
    engine: RunsPipelines | None,
    cache: Cache | Literal[False] | None,
    callbacks: Sequence[object] | None,
    name: str,
    bound: Inputs,
    strict_types: bool,
) -> W:
    made = object.__new__(kind)  # the `__init__` of a subclass may take other arguments
    WiredPipeline.__init__(
        made,
        nodes,
        engine=engine,
        cache=cache,
        callbacks=callbacks,
        name=name,
        strict_types=strict_types,
    )
    return made.bind(**bound) if bound else made


def _check_known(
    names: Iterable[str], known: Collection[str], before: str, after: str, title: str
) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UnknownInputError(f"{before}{name!r}{after}.{hint} {title}: {listing(known)}")


def _check_nodes(nodes: object) -> list[object]:
    if isinstance(nodes, (Node, WiredPipeline, PipelineNode)) or not isinstance(nodes, Iterable):
        hint = moved.foreign(nodes)
        hint = f": {hint}" if hint else moved.module(nodes)
        raise GraphError(f"nodes is {nodes!r}: expected a list of nodes, Pipeline([...]){hint}")
    return list(nodes)


def _as_node(each: Any) -> Node[..., Any] | PipelineNode[Any]:
    if isinstance(each, WiredPipeline):
        return each.as_node()
    return each if isinstance(each, (Node, PipelineNode)) else Node(each)


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"name is {name!r}: expected a text")
    return name


def _check_engine(engine: T) -> T:
    if engine is None or (
        not isinstance(engine, type) and hasattr(engine, "run") and hasattr(engine, "map")
    ):
        return engine
    hint = ""
    if isinstance(engine, str):
        hint = f" For executors: HyperNodesEngine(map_executor={engine!r})."
    elif isinstance(engine, type):
        hint = f" Make one: {engine.__name__}()."
    raise TypeError(f"engine is {engine!r}: expected an Engine such as HyperNodesEngine().{hint}")


def _check_cache(cache: T) -> T:
    if cache is None or cache is False:
        return cache
    if not isinstance(cache, type) and all(
        hasattr(cache, name) for name in ("find", "store", "entries")
    ):
        return cache
    hint = ""
    if isinstance(cache, str) or hasattr(cache, "__fspath__"):
        hint = f" Did you mean DiskCache({str(cache)!r})?"
    raise TypeError(
        f"cache is {cache!r}: expected a Cache such as DiskCache('folder') or MemoryCache(), "
        f"False for none, or None to inherit.{hint}"
    )
