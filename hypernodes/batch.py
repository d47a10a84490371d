"""Batch nodes: functions that take a whole batch of values for each parameter, and give one back.

    @node(output_name="norm", batch="numpy")
    def norm(x: np.ndarray, *, scale: float = 1.0) -> np.ndarray: ...

Parameters before the `*` are batches: one value for each item. Those after it are single values.
`DaftEngine` calls such a function with many items at once, other engines with batches of one. What
counts as an item's value is settled here for all of them, so the results are the same.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Sequence
from inspect import Parameter
from typing import Any, Literal, Protocol

from hypernodes.annotations import plain
from hypernodes.errors import ResultError
from hypernodes.event_loops import is_awaited

Batch = Literal["list", "numpy", "arrow"]


class BatchOption(Protocol):
    """What is needed here of a node's options."""

    @property
    def batch(self) -> Batch | None: ...


class BatchNode(Protocol):
    """What is needed here of a `Node`."""

    @property
    def name(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def options(self) -> BatchOption: ...
    @property
    def func(self) -> Callable[..., object]: ...
    @property
    def guarded(self) -> Callable[..., object]: ...
    def unpack(self, result: object) -> tuple[object, ...]: ...


MakeBatch = Callable[[list[Any]], Any]

BATCHES: dict[str, MakeBatch] = {}
"""Makes a batch of each kind out of a list of values."""


def _kind(make: MakeBatch) -> MakeBatch:
    BATCHES[make.__name__.strip("_")] = make
    return make


@_kind
def _list(values: list[Any]) -> object:
    return values


@_kind
def _numpy(values: list[Any]) -> object:
    import numpy as np

    try:
        array = np.asarray(values)
        is_text = array.ndim == 1 and array.dtype.kind in "SU"
        if is_text and any(value[-1:] in (b"\0", "\0") for value in values):
            return np.asarray(values, dtype=object)  # NumPy leaves zeros at the end out
        if array.dtype.kind == "f" and all(type(value) is int for value in values):
            # Ints on both sides of 2**63, of which NumPy makes floats
            return np.asarray(values, dtype=np.uint64 if min(values) >= 0 else object)
        return array
    except (ValueError, OverflowError):  # arrays of different shapes; larger ints
        ragged = np.empty(len(values), dtype=object)
        ragged[:] = values
        return ragged


@_kind
def _arrow(values: list[Any]) -> object:
    import pyarrow as pa

    try:
        return pa.array(values)
    except OverflowError:  # from 2**63 on
        return pa.array(values, pa.uint64())


def alike(kind: Batch | None, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[int]]:
    """The places of rows that one batch may have, for each such batch.

    NumPy and Arrow have one type for a whole batch: of a 1 beside a 0.5 they would make another
    number than of a 1 alone. So a batch has rows of one form only.

    Args:
        kind: what batches are made of.
        rows: the values of each row.

    >>> alike("numpy", [[1], [0.5], [2]])
    [[0, 2], [1]]
    >>> alike("list", [[1], [0.5], [2]])
    [range(0, 3)]
    """
    everything = [range(len(rows))]
    if kind == "list":
        return everything
    columns = [set(map(type, column)) for column in zip(*rows, strict=True)]
    if all(len(types) == 1 and types <= _ONE_FORM for types in columns):
        return everything
    places: dict[object, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(tuple(map(_form, row)), []).append(place)
    return list(places.values())


_ONE_FORM = frozenset({bool, float, str, bytes, complex, type(None)})
"""Types of which all values are alike to NumPy and to Arrow."""


def _form(value: Any) -> object:
    """The same for values of which one array can be made without changing any of them."""
    kind = type(value)
    if kind is int:
        return kind, -(2**63) <= value < 2**63, 0 <= value < 2**64
    if kind in (list, tuple):
        return kind, len(value), frozenset(map(_form, value))
    if kind is dict:
        return kind, frozenset((name, _form(each)) for name, each in value.items())
    return kind, getattr(value, "dtype", None), getattr(value, "shape", None)


def items_of(result: Any, count: int, name: str) -> list[Any]:
    """The items of a batch that a node returned.

    Elements of an Arrow array, and of a one-dimensional array of numbers or texts, become Python's
    own values.

    Args:
        result: a list, a tuple, an array or a series.
        count: how many there have to be.
        name: the node's name, for messages.

    Raises:
        ResultError: it is no batch, or has another length.
    """
    items: list[Any]
    if hasattr(result, "to_pylist"):
        items = result.to_pylist()
    elif hasattr(result, "dtype") and hasattr(result, "tolist"):
        plain = getattr(result, "ndim", 1) == 1 and getattr(result.dtype, "kind", "O") in "biufcUS"
        items = result.tolist() if plain else list(result)
    elif isinstance(result, (list, tuple)):
        items = list(result)
    else:
        raise ResultError(
            f"batch node {name!r} has to return a list or an array with a value for each of "
            f"{count} items, not {result!r:.60} of type {type(result).__name__}"
        )
    if len(items) != count:
        raise ResultError(
            f"batch node {name!r} was given {count} items and returned {len(items)} values"
        )
    return items


def call_batch(
    node: BatchNode, columns: Sequence[list[Any]], kwargs: dict[str, Any], count: int
) -> Any:
    """Call a batch node's function.

    Args:
        node: the node.
        columns: the values of each positional parameter.
        kwargs: the keyword-only arguments.
        count: how many items there are.

    Returns:
        What a function for one item would return, for each item; an awaitable of that where the
        function is async.

    Raises:
        ResultError: it returned no batch of that many items.
    """
    assert node.options.batch is not None
    make = BATCHES[node.options.batch]
    result: Any = node.guarded(*[make(values) for values in columns], **kwargs)
    if is_awaited(result):
        return _awaited(node, result, count)
    return _rows(node, result, count)


async def _awaited(node: BatchNode, result: Awaitable[object], count: int) -> list[Any]:
    return _rows(node, await result, count)


def _rows(node: BatchNode, result: object, count: int) -> list[Any]:
    if len(node.outputs) == 1:
        return items_of(result, count, node.name)
    columns = [items_of(part, count, node.name) for part in node.unpack(result)]
    return list(zip(*columns, strict=True))


class OneByOne:
    """A batch node's function as one of a single item: it is called with batches of one."""

    def __init__(self, node: BatchNode) -> None:
        self._node = node

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        rows = call_batch(self._node, [[value] for value in args], kwargs, 1)
        return _only(rows) if is_awaited(rows) else rows[0]

    def __cache_key__(self) -> list[object]:
        return [self._node.options.batch, self._node.func]


async def _only(rows: Awaitable[list[Any]]) -> Any:
    return (await rows)[0]


def item_type(annotation: Any) -> Any:
    """The type of an item of a batch, by the annotation of the batch.

    >>> item_type(list[str]), item_type(Any)
    (<class 'str'>, typing.Any)
    """
    annotation = plain(annotation)  # NumPy's NDArray is an alias on Python 3.12 and later
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is list and arguments:
        return arguments[0]
    if getattr(origin, "__name__", "") == "ndarray":  # NDArray[np.float64]
        import numpy as np

        (scalar,) = typing.get_args(arguments[1]) or (None,)
        if isinstance(scalar, type):
            return _OF_KIND.get(np.dtype(scalar).kind, Any)
    return Any


_OF_KIND = {"b": bool, "i": int, "u": int, "f": float, "c": complex, "U": str, "S": bytes}


def has_batches(parameters: Sequence[Parameter]) -> bool:
    """Whether a function with these parameters takes a batch at all."""
    return any(each.kind is not Parameter.KEYWORD_ONLY for each in parameters)
