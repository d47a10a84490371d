"""`@node`: a function with named inputs and named outputs."""

from __future__ import annotations

import functools
import inspect
import keyword
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from hypernodes import moved
from hypernodes import retries as retrying
from hypernodes.batch import OneByOne, has_batches, item_type
from hypernodes.errors import NodeError, ResultError, listing
from hypernodes.executors import is_async
from hypernodes.labels import check_run_name
from hypernodes.options import NodeOptions, OptionValues
from hypernodes.types import Input, normal_name

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")


class Node(Generic[P, R]):
    """A function as a node of a pipeline. Calling it calls the function, nothing else.

    Made by :func:`node`; see there for the arguments.

    Attributes:
        func: the function itself.
        name: the function's name, or the name that was given.
        outputs: names of the outputs, in the order in which the function returns them.
        options: how it is run.
        parameters: the function's `inspect.Parameter`s by name, in order.
        input_names: their names.
        keywords: those that have to be passed by keyword.
        original: the node that this one was made of by :meth:`varied`, or None.
        code_memo: what identifies its code, as found last: see `identity.code.code_of`.
    """

    original: Node[P, R] | None = None
    code_memo: object = None
    _varied: OptionValues = {}

    def __init__(
        self,
        func: Callable[P, R],
        output_name: str | tuple[str, ...] | None = None,
        *,
        name: str | None = None,
        **options: Unpack[OptionValues],
    ) -> None:
        if isinstance(func, Node):
            raise NodeError(f"{func!r} is a node already")
        if hint := moved.foreign(func):
            raise NodeError(f"{func!r:.80} cannot be a node: {hint}")
        if not callable(func):
            raise NodeError(
                f"a node is made from a function, not from {_kind(func)}{moved.module(func)}"
            )
        _check_wrapped(func, output_name)
        # The function's own attributes, but none in the place of a node's: `inputs`, `call`, ...
        own = getattr(func, "__dict__", {}).items()
        self.__dict__.update({key: each for key, each in own if not hasattr(type(self), key)})
        functools.update_wrapper(self, func, updated=())
        self.func: Callable[P, R] = func
        own_name = _own_name(func)
        self.outputs = _output_names(own_name if output_name is None else output_name, own_name)
        if name is not None and (not isinstance(name, str) or not name):
            raise NodeError(f"name is {name!r}: expected a text")
        self.name = name or (self.outputs[0] if own_name == "<lambda>" else own_name)
        self.options = _options(self.name, options)
        self.parameters = _parameters(func, self.name)
        self.input_names = tuple(self.parameters)
        kinds = self.parameters.values()
        self.keywords = frozenset(
            [each.name for each in kinds if each.kind is inspect.Parameter.KEYWORD_ONLY]
        )
        if self.options.task_run_name is not None:
            _check_run_name(self.name, self.options.task_run_name, self.input_names)
        if self.options.code_version is not None:
            _ = self.vouched  # it has to have a name
        if self.options.batch and not has_batches(tuple(self.parameters.values())):
            raise NodeError(
                f"batch node {self.name!r} takes no batch: parameters before the * are batches, "
                "those after it single values"
            )

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.func(*args, **kwargs)

    if not TYPE_CHECKING:  # else type checkers would take any name for an attribute

        def __getattr__(self, name: str) -> NoReturn:
            hint = moved.node_method(name)
            raise AttributeError(f"a node has no attribute {name!r}{hint}", name=name, obj=self)

    def __get__(self, instance: object, owner: type | None = None) -> Node[Any, R]:
        # A node in a class body is a method, like the function it was made from.
        if instance is None or not inspect.isfunction(self.func):
            return self
        bound = self.func.__get__(instance, owner)
        return _rebuild(bound, self.outputs, self.name, self.options)

    def refreshed(self) -> Node[P, R]:
        """The same node as one that is computed anew, and cached if it was; see `refresh`."""
        return self if self.options.cache is False else self.varied(cache="refresh")

    def varied(self, **options: Unpack[OptionValues]) -> Node[P, R]:
        """The same node with some other options, none of which says how its function is called."""
        node: Node[P, R] = object.__new__(type(self))
        node.__dict__.update(self.__dict__)
        node.options = replace(self.options, **options)  # type: ignore[arg-type]
        node.original, node._varied = self, options
        return node

    def __reduce__(self) -> str | tuple[Callable[..., object], tuple[object, ...]]:
        if self.original is not None:
            return _varied, (self.original, self._varied)
        # Like a function, a node of an importable module is pickled by name.
        module = sys.modules.get(self.__module__)
        qualname: str = getattr(self, "__qualname__", "")
        if self.__module__ != "__main__" and getattr(module, qualname, None) is self:
            return qualname
        return self.reduce_by_value()

    def reduce_by_value(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """What pickle makes of it where its module cannot be imported."""
        return _rebuild, (self.func, self.outputs, self.name, self.options)

    def __cache_key__(self) -> list[object]:
        what = self.identity if self.options.code_version is None else self.vouched
        return [what, self.outputs, self.options.version]

    def __repr__(self) -> str:
        made = ", ".join(self.outputs)
        return f"<Node {self.name}({', '.join(self.parameters)}) -> {made}>"

    @functools.cached_property
    def inputs(self) -> Mapping[str, Input]:
        """The node's inputs by name, in the order of the function's parameters."""
        types = _type_hints(self.func)
        if self.options.batch is not None:
            types = {
                name: type_ if self._is_single(name) else item_type(type_)
                for name, type_ in types.items()
            }
        return MappingProxyType(
            {
                name: Input(name, types.get(name, Any), parameter.default)
                for name, parameter in self.parameters.items()
            }
        )

    @functools.cached_property
    def output_types(self) -> tuple[Any, ...]:
        """The annotated type of each output; `typing.Any` where it is not known."""
        returned = _type_hints(self.func).get("return", Any)
        types = self._split(returned)
        return types if self.options.batch is None else tuple(map(item_type, types))

    def _is_single(self, name: str) -> bool:
        """Whether a batch node takes a single value for a parameter."""
        parameter = self.parameters.get(name)
        return parameter is not None and parameter.kind is parameter.KEYWORD_ONLY

    def _split(self, returned: Any) -> tuple[Any, ...]:
        """The annotated type of each output out of that of the function."""
        if len(self.outputs) == 1:
            return (returned,)
        parts = typing.get_args(returned) if typing.get_origin(returned) is tuple else ()
        if len(parts) == 2 and parts[1] is Ellipsis:
            return (parts[0],) * len(self.outputs)
        return parts if len(parts) == len(self.outputs) else (Any,) * len(self.outputs)

    @functools.cached_property
    def call(self) -> Callable[..., Any]:
        """The function as engines call it for one item: a batch node's with batches of one."""
        return self.guarded if self.options.batch is None else OneByOne(self)

    @property
    def identity(self) -> Callable[..., Any]:
        """The callable whose code identifies what the node does, whatever its retries."""
        return self.func if self.options.batch is None else self.call

    @functools.cached_property
    def vouched(self) -> list[object]:
        """What identifies the code of a node with a `code_version`: names, and data it is bound to.

        Raises:
            NodeError: the function has no name of its own, so that two of them look alike.
        """
        options = self.options
        return [_named(self.func, self.name), options.batch, options.code_version]

    @functools.cached_property
    def guarded(self) -> Callable[..., Any]:
        """The function with its retries and its timeout."""
        options = self.options
        if not (options.retries or options.timeout_seconds or options.concurrency_limit):
            return self.func
        return retrying.guarded(
            self.func,
            self.name,
            self.is_async,
            options.retries,
            options.retry_delay_seconds,
            options.retry_jitter_factor,
            options.retry_condition_fn,
            options.timeout_seconds,
            options.concurrency_limit,
        )

    @functools.cached_property
    def is_async(self) -> bool:
        """Whether calling the function is known to give a coroutine."""
        return is_async(self.func)

    def unpack(self, result: object) -> tuple[Any, ...]:
        """What the function returned as one value for each output.

        Raises:
            ResultError: several outputs, and not that many values in a tuple or list.
        """
        if len(self.outputs) == 1:
            return (result,)
        if not isinstance(result, (tuple, list)):
            raise ResultError(
                f"node {self.name!r} has {len(self.outputs)} outputs ({listing(self.outputs)}) "
                f"and has to return a tuple of {len(self.outputs)} values, "
                f"not {_kind(result)}. Write return a, b; or return tuple(values)."
            )
        if len(result) != len(self.outputs):
            raise ResultError(
                f"node {self.name!r} returned {len(result)} values for its "
                f"{len(self.outputs)} outputs ({listing(self.outputs)})"
            )
        return tuple(result)


@overload
def node(func: Callable[P, R], /) -> Node[P, R]: ...
@overload
def node(
    func: Callable[P, R],
    /,
    output_name: str | tuple[str, ...] | None = ...,
    *,
    name: str | None = ...,
    **options: Unpack[OptionValues],
) -> Node[P, R]: ...
@overload
def node(
    *,
    output_name: str | tuple[str, ...] | None = ...,
    name: str | None = ...,
    **options: Unpack[OptionValues],
) -> Callable[[Callable[P, R]], Node[P, R]]: ...


def node(
    func: Any = None,
    /,
    output_name: str | tuple[str, ...] | None = None,
    *,
    name: str | None = None,
    **options: Unpack[OptionValues],
) -> object:
    """Make a node from a function: its parameters are the inputs, `output_name` names its result.

    Functions, async functions, lambdas, bound methods, `functools.partial` and callable
    objects all work. A parameter with a default value is an optional input.

    Args:
        func: the function; omit it in `@node(...)`.
        output_name: name of the output; a tuple names the values of a returned tuple. By
            default the function's name.
        name: the node's name in messages, logs and pictures. By default the function's name.
        cache: whether to cache and reuse results. Set `False` for a node that must run every
            time: it reads the clock, lists a folder, writes to a database. "refresh" also runs it
            every time, and all nodes after it, and overwrites the cached results.
        version: a text that identifies what the code does not show: a model's file, the release
            of a service. A new version makes every earlier result a miss.
        code_version: a text that identifies the code. The cache then looks neither at the
            function nor at what it uses: change it whenever the results change. For functions
            with a name, and their methods.
        ttl: seconds (or a `timedelta`) for which a result may be reused. Results made from an
            expired one expire with it.
        batch: "list", "numpy" or "arrow" for a function whose parameters are batches of values
            (except those after a `*`) and which returns a batch. `DaftEngine` calls it with many
            items at once, other engines with batches of one.
        max_concurrent: how many calls may run at once in a run, on any engine and in all items of
            all maps together. Use it for a service with a limit.
        tags: texts that Prefect, and other systems that watch runs, show with it.
        task_run_name: the name of its task runs in Prefect, with inputs: "fetch {url}".
        concurrency_limit: the name of Prefect's global concurrency limit (or a list of names).
            Each call takes a slot of it, in all runs together.
        daft: how `DaftEngine` runs it, a dict: see `hypernodes.engines.daft.DaftOptions`.
        **options: the rest of :class:`NodeOptions`. `executor="sequential"` keeps the function on
            the thread that called the engine (a GUI, a GPU context). `retries`,
            `retry_delay_seconds`, `retry_jitter_factor`, `retry_condition_fn` and
            `timeout_seconds` work as for Prefect's tasks, but the condition gets the error alone.
            On a timeout, an async function is cancelled, and Python code on a main thread (worker
            processes have one) is interrupted. On other threads the function runs on, and its
            result is dropped.

    Returns:
        A :class:`Node`, or a decorator that makes one.

    Raises:
        NodeError: not a function, no valid names, or parameters that cannot be inputs
            (`*args`, `**kwargs`).

    >>> @node(output_name="doubled")
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double
    <Node double(x) -> doubled>
    >>> double(4)
    8
    """
    if func is None:
        return functools.partial(Node, output_name=output_name, name=name, **options)
    if isinstance(func, (str, tuple, list)):
        raise NodeError(
            f"write @node(output_name={func!r}): the first argument of node is the function"
        )
    return Node(func, output_name, name=name, **options)


def _varied(node: Node[..., Any], options: OptionValues) -> Node[..., Any]:
    return node.varied(**options)


def _rebuild(
    func: Callable[..., Any], outputs: tuple[str, ...], name: str, options: NodeOptions
) -> Node[..., Any]:
    return Node(func, outputs, name=name, **vars(options))


def _options(name: str, options: OptionValues) -> NodeOptions:
    known = NodeOptions.__dataclass_fields__
    for option in options:
        if option not in known:
            hint = moved.node_option(option, known)
            raise NodeError(f"node {name!r} has no option {option!r}{hint}")
    try:
        return NodeOptions(**options)  # type: ignore[arg-type]
    except ValueError as error:
        raise NodeError(f"node {name!r}: {error}") from None


def _check_run_name(name: str, template: object, inputs: tuple[str, ...]) -> None:
    try:
        check_run_name(template, inputs)
    except ValueError as error:
        raise NodeError(f"node {name!r}: {error}") from None


def _check_wrapped(func: Any, output_name: object) -> None:
    """Refuse what wraps a node where the node's output names or options would be lost."""
    seen: set[int] = set()
    inside = func
    while not isinstance(inside, Node):
        seen.add(id(inside))
        is_partial = isinstance(inside, functools.partial)
        inside = inside.func if is_partial else getattr(inside, "__wrapped__", None)
        if inside is None or id(inside) in seen:
            return
    renamed = output_name is None and inside.outputs != (_own_name(inside.func),)
    if renamed or inside.options != NodeOptions():
        raise NodeError(
            f"{_kind(func)} wraps node {inside.name!r}, whose output_name and options would be "
            "lost: write @node above the other decorator, or wrap the function itself, "
            f"{inside.name}.func"
        )


def _unwrap_partial(func: Any) -> Any:
    while isinstance(func, functools.partial):
        func = func.func
    return func


def _own_name(func: Any) -> str:
    return getattr(_unwrap_partial(func), "__name__", None) or type(func).__name__


def _named(func: Any, node: str) -> list[object]:
    """A function by its name, with the data that a method or a partial is bound to."""
    if isinstance(func, functools.partial):
        return [*_named(func.func, node), func.args, func.keywords]
    if inspect.ismethod(func):
        held = func.__self__
        data = held.__qualname__ if inspect.isclass(held) else getattr(held, "__dict__", {})
        return [*_named(func.__func__, node), data]
    name = getattr(func, "__qualname__", "<lambda>")
    if name.rpartition(".")[2] == "<lambda>":
        raise NodeError(
            f"node {node!r} has a code_version, and its function no name: write it with def, so "
            "that its results are not taken for those of another one"
        )
    return [f"{func.__module__}.{name}"]


def _kind(value: object) -> str:
    return f"{value!r:.60} of type {type(value).__name__}"


def is_name(name: object) -> bool:
    """Whether a parameter can have this name."""
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def _output_names(output_name: object, own_name: str) -> tuple[str, ...]:
    if output_name == "<lambda>":
        raise NodeError("a lambda has no name: give its output one, node(f, output_name='...')")
    names = (output_name,) if isinstance(output_name, str) else output_name
    if not isinstance(names, (tuple, list)) or not names:
        raise NodeError(
            f"output_name of {own_name!r} is {_kind(output_name)}: "
            "give a string, or a tuple of strings for several outputs"
        )
    names = tuple(map(normal_name, names))
    for name in names:
        if not is_name(name):
            raise NodeError(
                f"output_name {name!r} of {own_name!r} is not a name that a parameter can have"
            )
    if len(set(names)) < len(names):
        raise NodeError(f"output_name of {own_name!r} names an output twice: {listing(names)}")
    return names


def _parameters(func: Callable[..., Any], name: str) -> Mapping[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(func).parameters
    except (ValueError, TypeError) as error:
        raise NodeError(
            f"the parameters of {name!r} cannot be read ({error}): "
            "wrap it in a function with named parameters"
        ) from error
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise NodeError(
                f"node {name!r} takes {str(parameter)!r}: inputs are found by name, so write out "
                "the parameters that it needs, or wrap it in a function that does"
            )
    return parameters


def _type_hints(func: Callable[..., Any]) -> dict[str, Any]:
    func = _unwrap_partial(func)
    if not inspect.isroutine(func) and not inspect.isclass(func):
        func = type(func).__call__
    try:
        return typing.get_type_hints(func, include_extras=True)
    except Exception:  # a name that is only imported for type checkers, or not there (yet)
        annotations = getattr(func, "__annotations__", {})
        return {name: _type_hint(func, name, each) for name, each in annotations.items()}


def _type_hint(func: Any, name: str, annotation: object) -> object:
    """One annotation out of several that cannot all be evaluated: its text where it cannot."""
    names = getattr(inspect.unwrap(func), "__globals__", {})
    alone = SimpleNamespace(__annotations__={name: annotation}, __globals__=names)
    try:
        return typing.get_type_hints(alone, include_extras=True)[name]
    except Exception:
        return annotation
