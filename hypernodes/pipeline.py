"""`Pipeline`: nodes wired by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeVar, cast, overload

from hypernodes import moved
from hypernodes.annotations import fits
from hypernodes.cache import Cache
from hypernodes.cache.explanation import Explanation
from hypernodes.cache.node_codes import node_codes
from hypernodes.cache.same_code import NodeCode
from hypernodes.callbacks import check_callbacks
from hypernodes.errors import (
    GraphError,
    InputError,
    UnknownInputError,
    add_note,
    did_you_mean,
    failing_node,
    listing,
    some,
)
from hypernodes.event_loops import in_own_thread
from hypernodes.graph import Graph
from hypernodes.map_over import (
    Items,
    MapMode,
    MapOver,
    as_list,
    frame_columns,
    make_items,
    resolve_map_over,
    split_inputs,
    stream_items,
)
from hypernodes.nested import PipelineNode
from hypernodes.node import Node
from hypernodes.plan import PipelineLike, Plan
from hypernodes.refresh import Changed, Refresh, chosen, replaced
from hypernodes.results import FailedItem, Results, check_error_handling
from hypernodes.types import (
    ErrorHandling,
    Frame,
    Input,
    Inputs,
    Output,
    OutputName,
    Outputs,
    RunsPipelines,
    normal_name,
)
from hypernodes.visualize import Format, Picture, visualize
from hypernodes.visualize.text import docstring

if TYPE_CHECKING:
    import os

    import networkx as nx

    from hypernodes.observe.timeline import Timeline


T = TypeVar("T")


class Runtime(NamedTuple):
    """What pipelines call of the floors above theirs, which are imported after this one.

    Attributes:
        default_engine: gives the engine of a pipeline that has none.
        explain: finds out what runs would find in a cache, for :meth:`Pipeline.explain_cache`.
    """

    default_engine: Callable[[], RunsPipelines]
    explain: Callable[[PipelineLike, Cache | None, Sequence[Inputs], OutputName], Explanation]


_runtime: Runtime


def set_runtime(runtime: Runtime) -> None:
    """Wire pipelines to what runs them; `hypernodes.engines.native` does."""
    global _runtime
    _runtime = runtime


class Pipeline:
    """Nodes wired by name into a graph, which is built and checked here, once.

    A pipeline never changes: the `with_...` methods, `bind` and `unbind` return changed copies. So
    several threads can run one pipeline, and it can be a node of several others.

    Args:
        nodes: nodes, functions and pipelines, in any order.
        engine: runs it; by default the outer run's engine, else `HyperNodesEngine()`.
        cache: stores results; `None` inherits the outer run's cache, `False` means no cache.
        callbacks: objects whose hooks are called during a run; `None` inherits the outer run's,
            `[]` means none.
        name: its name in messages, logs and pictures.
        strict_types: refuse nodes whose annotated types do not fit together.

    Raises:
        GraphError: no nodes, a cycle, two nodes that make one output, types that do not fit.
        NodeError: something in `nodes` cannot be a node.
        TypeError: an engine, cache or callback that is none.

    >>> from hypernodes import node
    >>> @node(output_name="doubled")
    ... def double(x: int) -> int: return 2 * x
    >>> @node(output_name="total")
    ... def add(doubled: int, y: int = 1) -> int: return doubled + y
    >>> pipeline = Pipeline([double, add], name="sums")
    >>> pipeline.run({"x": 5})
    {'doubled': 10, 'total': 11}
    >>> pipeline.map({"x": [1, 2]}, map_over="x", output_name="total")
    [{'total': 3}, {'total': 5}]
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
        moved.refuse(Pipeline.__init__, unknown)
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

    def node(self, node_id: str) -> Node[..., Any] | PipelineNode[Pipeline] | None:
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
    def effective_engine(self) -> Any:
        """The engine that runs it when it is not part of another run."""
        return self.engine if self.engine is not None else _runtime.default_engine()

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

    def run(
        self,
        inputs: Inputs | None = None,
        output_name: OutputName = None,
        *,
        refresh: Refresh = None,
        **unknown: NoReturn,
    ) -> Outputs:
        """Run it for one item.

        Args:
            inputs: a value for each input that has no default.
            output_name: what to compute: a name or a list of names. Only what leads there runs.
                By default every output.
            refresh: nodes to compute anew, with all that follows; see :meth:`with_refresh`.

        Returns:
            The outputs by name.

        Raises:
            MissingInputError, UnknownInputError, OutputNameError, RefreshError: before any node
                runs.
            Exception: what a node raised, with notes that say where.
        """
        if unknown:
            moved.refuse(Pipeline.run, unknown, self.inputs)
        return _run(self.with_refresh(refresh), check_mapping(inputs), output_name)

    @overload
    def map(
        self,
        inputs: Inputs,
        map_over: MapOver,
        map_mode: MapMode = ...,
        output_name: OutputName = ...,
        error_handling: Literal["raise"] = ...,
        *,
        refresh: Refresh = ...,
    ) -> list[Outputs]: ...
    @overload
    def map(
        self,
        inputs: Inputs,
        map_over: MapOver,
        map_mode: MapMode = ...,
        output_name: OutputName = ...,
        error_handling: ErrorHandling = ...,
        *,
        refresh: Refresh = ...,
    ) -> list[Outputs | FailedItem]: ...
    @overload
    def map(self, inputs: Frame, map_over: MapOver, *args: Any, **options: Any) -> Any: ...

    def map(
        self,
        inputs: Inputs | Frame,
        map_over: MapOver,
        map_mode: MapMode = "zip",
        output_name: OutputName = None,
        error_handling: ErrorHandling = "raise",
        *,
        refresh: Refresh = None,
        **unknown: NoReturn,
    ) -> Any:
        """Run it for many items.

        Args:
            inputs: a list for each mapped input, and one value for each other input; or a frame
                of the engine's own (`daft.DataFrame`), whose columns are the mapped inputs.
            map_over: the inputs that are lists: a name, a list of names, or a dict
                `{name in inputs: input}`. The plural of an input's name works, too.
            map_mode: "zip" takes the lists item by item; "product" takes every combination, the
                last name moving fastest.
            output_name: what to compute for each item, as in :meth:`run`.
            error_handling: "raise" stops at the first error; "continue" goes on and returns a
                `FailedItem` in the failed item's place.
            refresh: nodes to compute anew, with all that follows; see :meth:`with_refresh`.

        Returns:
            A dict of outputs for each item, in the order of the items; with
            `DaftEngine(collect=False)` a lazy `daft.DataFrame`.

        Raises:
            MapOverError: `map_over` is no input, or the lists differ in length.
            RefreshError: `refresh` names no node.
        """
        if unknown:
            moved.refuse(Pipeline.map, unknown, self.inputs)
        check_error_handling(error_handling)
        pipeline = self.with_refresh(refresh)
        more = {} if error_handling == "raise" else {"error_handling": error_handling}
        engine = self.effective_engine
        if hasattr(engine, "accepts_frame") and engine.accepts_frame(inputs):
            columns = frame_columns(cast("Frame", inputs), map_over, map_mode, self.inputs)
            return engine.map_frame(pipeline, inputs, columns, output_name, **more)
        items, shared = self.items(cast("Inputs", inputs), map_over, map_mode)
        return engine.map(pipeline, items, shared, output_name, **more)

    async def arun(
        self,
        inputs: Inputs | None = None,
        output_name: OutputName = None,
        *,
        refresh: Refresh = None,
        **unknown: NoReturn,
    ) -> Outputs:
        """:meth:`run` for async code.

        Async nodes run on the awaiting event loop; other nodes do not block it. If the awaiting
        task is cancelled, no further node starts, and the running ones are awaited.
        """
        result: Outputs = await in_own_thread(
            lambda: self.run(inputs, output_name, refresh=refresh, **unknown)
        )
        return result

    async def amap(
        self,
        inputs: Inputs,
        map_over: MapOver,
        map_mode: MapMode = "zip",
        output_name: OutputName = None,
        error_handling: ErrorHandling = "raise",
        *,
        refresh: Refresh = None,
        **unknown: NoReturn,
    ) -> list[Any]:
        """:meth:`map` for async code; see :meth:`arun`."""
        how = map_over, map_mode, output_name, error_handling
        rows: list[Any] = await in_own_thread(
            lambda: self.map(inputs, *how, refresh=refresh, **unknown)
        )
        return rows

    def imap(
        self,
        inputs: Inputs,
        map_over: MapOver,
        map_mode: MapMode = "zip",
        output_name: OutputName = None,
        error_handling: ErrorHandling = "raise",
        *,
        in_flight: int | None = None,
        ordered: bool = True,
        refresh: Refresh = None,
        **unknown: NoReturn,
    ) -> Results:
        """Run it for many items, and yield their results one by one.

        Only a limited number of items is in memory at once, so a map can be larger than memory.
        Use `for`, or `async for` in async code.

        Args:
            inputs: as in :meth:`map`; a mapped input may be a generator, and with `async for` an
                async iterable, which are read as there is room.
            map_over, map_mode, output_name, error_handling: as in :meth:`map`.
            in_flight: how many items may have been started whose result has not been taken. By
                default 1 where they run in the calling thread, else 1,000.
            ordered: results in the order of the items; with `False` `(index, result)` as they
                are done.
            refresh: nodes to compute anew, with all that follows; see :meth:`with_refresh`.

        >>> squares = Pipeline([Node(lambda x: x * x, "square")])
        >>> [result["square"] for result in squares.imap({"x": iter(range(3))}, map_over="x")]
        [0, 1, 4]
        """
        if unknown:
            moved.refuse(Pipeline.imap, unknown, self.inputs)
        sources, shared = split_inputs(check_mapping(inputs), map_over, map_mode, self.inputs)
        check_error_handling(error_handling)
        _check_in_flight(in_flight)
        self.check_inputs(self.plan(output_name), [*sources, *shared])
        items, total = stream_items(sources, map_mode)
        how = {"error_handling": error_handling, "in_flight": in_flight, "ordered": ordered}
        pipeline, names = self.with_refresh(refresh), tuple(sources)
        rows = self.effective_engine.imap(
            pipeline, items, shared, output_name, names=names, total=total, **how
        )
        return Results(rows, ordered, only_awaited=isinstance(items, AsyncIterator))

    def items(
        self, inputs: Inputs, map_over: MapOver, map_mode: MapMode = "zip"
    ) -> tuple[Items, dict[str, Any]]:
        """The items of a map, and the inputs that they share; see :meth:`map`."""
        sources, shared = split_inputs(check_mapping(inputs), map_over, map_mode, self.inputs)
        lists = {inner: as_list(inner, values) for inner, values in sources.items()}
        return make_items(lists, map_mode), shared

    def resolve_map_over(self, map_over: MapOver) -> dict[str, str]:
        """The input that each name in `map_over` means, as :meth:`map` would take it.

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

    def visualize(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        format: Format | None = None,
        timeline: Timeline | None = None,
        depth: int | None = None,
    ) -> Picture:
        """Draw it; see `hypernodes.visualize.visualize`.

        >>> pipeline = Pipeline([Node(lambda url: url, "page")])
        >>> pipeline.visualize(format="mermaid").data.splitlines()[0]
        'flowchart TD'
        """
        return visualize(self, path, format=format, timeline=timeline, depth=depth)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        return {**self.visualize()._repr_mimebundle_(), "text/plain": repr(self)}

    def explain_cache(
        self,
        inputs: Inputs | None = None,
        output_name: OutputName = None,
        *,
        map_over: MapOver | None = None,
        map_mode: MapMode = "zip",
        refresh: Refresh = None,
    ) -> Explanation:
        """Say for each node whether a run would find it in the cache, and why not. Runs nothing.

        Args:
            inputs: as for :meth:`run`, or with `map_over` as for :meth:`map`.
            output_name: as there.
            map_over, map_mode: as for :meth:`map`.
            refresh: as there.

        Returns:
            A sequence of `NodeExplanation`s, which prints as a table; `[name]` finds a node's.

        >>> from hypernodes import MemoryCache
        >>> pipeline = Pipeline([Node(lambda x: x + 1, "y")], cache=MemoryCache())
        >>> pipeline.run({"x": 1})
        {'y': 2}
        >>> print(pipeline.explain_cache({"x": 1}))
        y: hit
        >>> print(pipeline.explain_cache({"x": 2}))
        y: miss: input 'x' differs
        """
        items: Sequence[dict[str, Any]] = [check_mapping(inputs)]
        shared: dict[str, Any] = {}
        if map_over is not None:
            items, shared = self.items(inputs or {}, map_over, map_mode)
        self.check_items(self.plan(output_name), items, shared)
        every = [{**shared, **item} for item in items]
        cache = None if self.cache is False else self.cache
        return _runtime.explain(self.with_refresh(refresh), cache, every, output_name)

    def node_codes(self, cache: Any) -> Sequence[NodeCode]:
        """What identifies the code of each node in a cache, for `Cache.keep`."""
        return node_codes(self, cache)

    def bind(self, /, **values: Any) -> Pipeline:
        """A copy whose named inputs are fixed to these values.

        Raises:
            UnknownInputError: no node has such an input.

        >>> pipeline = Pipeline([Node(lambda x, y: x - y, "z")])
        >>> pipeline.bind(y=1).run({"x": 3})
        {'z': 2}
        """
        known = self._graph.inputs
        values = {normal_name(name): value for name, value in values.items()}
        _check_known(values, known, f"pipeline {self.name!r} has no input ", " to bind", "Inputs")
        return _copy(self, bound=MappingProxyType({**self.bound, **values}), _plans={})

    def unbind(self, *names: str) -> Pipeline:
        """A copy in which bound inputs are free again; all of them when none is named."""
        names = tuple(map(normal_name, names))
        _check_known(names, self.bound, "input ", " is not bound", "Bound")
        rest = {name: value for name, value in self.bound.items() if names and name not in names}
        return _copy(self, bound=MappingProxyType(rest), _plans={})

    def with_engine(self, engine: RunsPipelines | None) -> Pipeline:
        """A copy with another engine; `None` for that of the run it is part of."""
        return _copy(self, engine=_check_engine(engine))

    def with_cache(self, cache: Cache | Literal[False] | None) -> Pipeline:
        """A copy with another cache; `False` for none."""
        return _copy(self, cache=_check_cache(cache))

    def with_callbacks(self, callbacks: Sequence[object] | None) -> Pipeline:
        """A copy with other callbacks; `[]` for none."""
        return _copy(self, callbacks=None if callbacks is None else check_callbacks(callbacks))

    def with_name(self, name: str) -> Pipeline:
        """A copy with another name."""
        return _copy(self, name=_check_name(name), _plans={})

    def with_refresh(self, refresh: Refresh) -> Pipeline:
        """A copy some of whose nodes are computed anew whatever is in the cache.

        All that follows from them is computed anew as well, and what is computed is stored.

        Args:
            refresh: names of nodes (of a nested pipeline: everything in it) or of outputs.
                `outer/inner` names a nested one; its own name does where no outer one has it.

        Raises:
            RefreshError: there is no such node or output.

        >>> from hypernodes import MemoryCache
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

    def _with_nodes(self, changed: Changed) -> Pipeline:
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
    ) -> PipelineNode[Pipeline]:
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
        moved.refuse(Pipeline.as_node, unknown)
        return PipelineNode(
            self, name, input_mapping, output_mapping, map_over, map_mode, error_handling
        )


class _Doc:
    """The docstring: the class has the one written there, a pipeline one made from its nodes."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __get__(self, pipeline: Pipeline | None, owner: type) -> str | None:
        if pipeline is None:
            return self._text
        return docstring(pipeline)


Pipeline.__doc__ = _Doc(Pipeline.__doc__)  # type: ignore[assignment]


def _copy(pipeline: Pipeline, **changes: object) -> Pipeline:
    copy = object.__new__(type(pipeline))
    copy.__dict__.update({**pipeline.__dict__, **changes})
    return copy


_ATTRIBUTES = frozenset(
    {
        "name", "engine", "cache", "callbacks", "strict_types", "bound",
        "nodes", "_graph", "_plans",
    }
)  # fmt: skip
"""Attributes that `Pipeline.__init__` makes."""


def _rebuild(
    kind: type[Pipeline],
    nodes: Iterable[object],
    engine: RunsPipelines | None,
    cache: Cache | Literal[False] | None,
    callbacks: Sequence[object] | None,
    name: str,
    bound: Inputs,
    strict_types: bool,
) -> Pipeline:
    pipeline = Pipeline(
        nodes,
        engine=engine,
        cache=cache,
        callbacks=callbacks,
        name=name,
        strict_types=strict_types,
    )
    if kind is not Pipeline:  # whose `__init__` may take other arguments
        rebuilt = object.__new__(kind)
        rebuilt.__dict__.update(vars(pipeline))
        pipeline = rebuilt
    return pipeline.bind(**bound) if bound else pipeline


def _check_known(
    names: Iterable[str], known: Collection[str], before: str, after: str, title: str
) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UnknownInputError(f"{before}{name!r}{after}.{hint} {title}: {listing(known)}")


def _check_nodes(nodes: object) -> list[object]:
    if isinstance(nodes, (Node, Pipeline, PipelineNode)) or not isinstance(nodes, Iterable):
        raise GraphError(
            f"nodes is {nodes!r}: expected a list of nodes, Pipeline([...]){moved.module(nodes)}"
        )
    return list(nodes)


def _as_node(each: Any) -> Node[..., Any] | PipelineNode[Pipeline]:
    if isinstance(each, Pipeline):
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


def check_mapping(inputs: object) -> dict[str, Any]:
    """Inputs as a dict.

    Raises:
        InputError: they are no mapping.
    """
    if inputs is None:
        return {}
    if type(inputs) is dict:
        return inputs
    if not isinstance(inputs, Mapping):
        hint = moved.frame(inputs)
        kind, shown = type(inputs).__name__, "" if hint else " ".join(repr(inputs).split())
        what = f"a {kind}" if hint else f"{shown:.60} of type {kind}"
        raise InputError(f"inputs is {what}: expected a dict of values by name{hint}")
    return dict(inputs)


def _run(pipeline: Pipeline, inputs: Inputs, output_name: OutputName) -> Outputs:
    try:
        result: Outputs = pipeline.effective_engine.run(pipeline, inputs, output_name)
        return result
    except Exception as error:
        _note_lists(error, inputs, pipeline.inputs)
        raise


def _note_lists(error: Exception, inputs: Inputs, known: Mapping[str, Input]) -> None:
    """Note on a node's error which lists, or arrays, were given where one value is annotated."""
    if failing_node(error) is None:
        return
    for name, value in inputs.items():
        type_ = known[name].type if name in known else Any
        if (
            isinstance(value, Collection)
            and not isinstance(value, (str, bytes, Mapping))
            and not fits(type(value), type_)
        ):
            wanted = getattr(type_, "__name__", type_)
            add_note(
                error,
                f"input {name!r} was a {type(value).__name__}, and is annotated {wanted}: did you "
                f"mean map(inputs, map_over={name!r})?",
            )


def _check_in_flight(in_flight: object) -> None:
    if in_flight is not None and (not isinstance(in_flight, int) or in_flight < 1):
        raise ValueError(f"in_flight is {in_flight!r}: expected a number from 1, or None")
