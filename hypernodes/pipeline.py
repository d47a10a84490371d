"""`Pipeline`: nodes wired by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, cast, overload

from hypernodes import moved
from hypernodes.annotations import fits
from hypernodes.cache import Cache
from hypernodes.cache.explanation import Explanation
from hypernodes.cache.node_codes import node_codes
from hypernodes.cache.same_code import NodeCode
from hypernodes.errors import InputError, add_note, failing_node
from hypernodes.event_loops import in_own_thread
from hypernodes.map_over import (
    Items,
    MapMode,
    MapOver,
    as_list,
    frame_columns,
    make_items,
    split_inputs,
    stream_items,
)
from hypernodes.plan import PipelineLike
from hypernodes.refresh import Refresh
from hypernodes.results import FailedItem, Results, check_error_handling
from hypernodes.types import (
    ErrorHandling,
    Frame,
    Input,
    Inputs,
    OutputName,
    Outputs,
    RunsPipelines,
)
from hypernodes.visualize import Format, Picture, visualize
from hypernodes.visualize.text import docstring
from hypernodes.wired import WiredPipeline

if TYPE_CHECKING:
    import os

    from hypernodes.observe.timeline import Timeline


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


class Pipeline(WiredPipeline):
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

    @property
    def effective_engine(self) -> Any:
        """The engine that runs it when it is not part of another run."""
        return self.engine if self.engine is not None else _runtime.default_engine()

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

        >>> from hypernodes import Node
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

    def visualize(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        format: Format | None = None,
        timeline: Timeline | None = None,
        depth: int | None = None,
    ) -> Picture:
        """Draw it; see `hypernodes.visualize.visualize`.

        >>> from hypernodes import Node
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

        >>> from hypernodes import MemoryCache, Node
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


class _Doc:
    """The docstring: the class has the one written there, a pipeline one made from its nodes."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __get__(self, pipeline: Pipeline | None, owner: type) -> str | None:
        if pipeline is None:
            return self._text
        return docstring(pipeline)


Pipeline.__doc__ = _Doc(Pipeline.__doc__)  # type: ignore[assignment]


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
