"""`map_over`: which inputs are lists, and the items that they make."""

from __future__ import annotations

import itertools
import math
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, Literal, overload

from hypernodes.errors import MapOverError, did_you_mean, listing, nearest
from hypernodes.types import Frame, Inputs, Item, normal_name

MapOver = str | Sequence[str] | Mapping[str, str]
MapMode = Literal["zip", "product"]


def resolve_map_over(
    map_over: object, inputs: Collection[str], given: Collection[str] = ()
) -> dict[str, str]:
    """Which input each name in `map_over` means.

    The exact name of an input wins; else it is the English plural of exactly one input that was
    not given (`urls`, `boxes`, `queries`); a dict `{"people": "person"}` says it outright.

    Args:
        map_over: a name, a list of names, or a dict of outer to inner names.
        inputs: the names that may be meant.
        given: names that have a value of their own already.

    Returns:
        The input's name for each name in `map_over`, in its order.

    Raises:
        MapOverError: nothing, or not exactly one input, is meant.

    >>> resolve_map_over("queries", ["query", "limit"])
    {'queries': 'query'}
    """
    if isinstance(map_over, str):
        map_over = [map_over]
    if isinstance(map_over, Mapping):
        resolved = {name: normal_name(inner) for name, inner in map_over.items()}
    elif isinstance(map_over, (list, tuple)) and all(isinstance(name, str) for name in map_over):
        resolved = {name: _meant(name, inputs, given) for name in map_over}
    else:
        raise MapOverError(
            f"map_over is {map_over!r}: expected an input's name, a list of names, or a dict "
            f"{{name of the list: input}}. Inputs: {listing(inputs)}"
        )
    if not resolved:
        raise MapOverError(f"map_over is empty: name at least one of {listing(inputs)}")
    for name, inner in resolved.items():
        if inner not in inputs:
            hint = did_you_mean(inner, inputs)
            if name in inputs:  # the wrong way round
                hint = f" It is {{name of the list: input}}: write {{{inner!r}: {name!r}}}."
            raise MapOverError(
                f"map_over={name!r}: {inner!r} is not an input.{hint} Inputs: {listing(inputs)}"
            )
    if len(set(resolved.values())) < len(resolved):
        raise MapOverError(f"map_over names an input twice: {resolved}")
    return resolved


def split_inputs(
    inputs: Inputs, map_over: object, map_mode: object, names: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs of a map, apart: those that are mapped over, and those that its items share.

    Args:
        inputs: what was given, with the names that `map_over` uses.
        map_over: as in `Pipeline.map`.
        map_mode: as there.
        names: the pipeline's inputs.

    Returns:
        Both by the pipeline's names.

    Raises:
        MapOverError: a mapped input was not given, was given twice, or is no list.
    """
    check_map_mode(map_mode)
    shared = dict(inputs)
    resolved = resolve_map_over(map_over, names, shared)
    for name, inner in resolved.items():
        if name not in shared:
            meant = [each for each in shared if each in plurals(inner) and each not in names]
            hint = f" Did you mean map_over={meant[0]!r}?" if meant else ""
            given = listing(shared)
            raise MapOverError(
                f"map_over={name!r}, but there is no {name!r} in the inputs: {given}.{hint}"
            )
        if inner != name and inner in shared:
            raise MapOverError(f"{inner!r} is given twice: as {name!r} and as {inner!r}")
        check_mapped(name, shared[name])
    return {inner: shared.pop(name) for name, inner in resolved.items()}, shared


def frame_columns(
    frame: Frame, map_over: object, map_mode: object, names: Collection[str]
) -> dict[str, str]:
    """The column of a frame for each input that is mapped over.

    Args:
        frame: the frame.
        map_over, map_mode: as in `Pipeline.map`.
        names: the pipeline's inputs.

    Raises:
        MapOverError: the frame has no such column, or its rows are not to be the items.
    """
    check_map_mode(map_mode)
    resolved = resolve_map_over(map_over, names)
    if map_mode == "product" and len(resolved) > 1:
        raise MapOverError(
            "map_mode='product' is for lists, and the items of a frame are its rows: make them "
            "before, frame.join(other, how='cross')"
        )
    for name in resolved:
        if name not in frame.column_names:
            raise MapOverError(
                f"map_over={name!r}, but the frame has no such column."
                f"{did_you_mean(name, frame.column_names)} "
                f"Columns: {listing(frame.column_names)}. What all rows share is bound: "
                "pipeline.bind(name=value)"
            )
    return {inner: name for name, inner in resolved.items()}


def _meant(name: str, inputs: Collection[str], given: Collection[str]) -> str:
    if name in inputs:
        return name
    if normal_name(name) in inputs:
        return normal_name(name)
    meant = {name, normal_name(name)}
    singular = [each for each in inputs if meant & plurals(each) and each not in given]
    if len(singular) == 1:
        return singular[0]
    if singular:
        raise MapOverError(
            f"map_over={name!r} could mean {listing(singular)}: say which with "
            f"map_over={{{name!r}: {singular[0]!r}}}"
        )
    hint = did_you_mean(name, inputs)
    if name in given and (near := nearest(name, inputs)) is not None:
        hint = f" Did you mean map_over={{{name!r}: {near!r}}}?"
    raise MapOverError(f"map_over={name!r} is not an input.{hint} Inputs: {listing(inputs)}")


def plurals(word: str) -> set[str]:
    """English plurals of a name.

    >>> sorted(plurals("query"))
    ['queries', 'queryes', 'querys']
    """
    forms = {word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    return forms


def check_map_mode(map_mode: object) -> None:
    """Refuse what is neither "zip" nor "product".

    Raises:
        MapOverError: it is something else.
    """
    if map_mode not in ("zip", "product"):
        raise MapOverError(
            f"map_mode is {map_mode!r}: expected 'zip' (lists of one length, item by item) or "
            "'product' (every combination). Outputs go by name: output_name=..."
        )


def as_list(name: str, values: Any) -> list[Any]:
    """A mapped input as a list.

    Args:
        name: the input's name, for messages.
        values: what was given for it.

    Raises:
        MapOverError: it is no sequence of items (a string is one value, not a list).
    """
    if isinstance(values, list):
        return values
    check_mapped(name, values)
    if isinstance(values, AsyncIterable):
        raise MapOverError(
            f"map_over={name!r} is an async iterable: only imap takes one, with `async for`"
        )
    return list(values)


def check_mapped(name: str, values: object) -> None:
    """Refuse what is neither a sequence of items nor an iterable or async iterable of them.

    Args:
        name: the input's name, for the message.
        values: what was given for it.

    Raises:
        MapOverError: a single value, or a text or dict, which are single values here; a
            DataFrame, which could mean its rows or its columns.
    """
    how_rows = _rows_of_a_frame(values)
    if how_rows:
        raise MapOverError(
            f"map_over={name!r} is a DataFrame, whose items could be its rows or its columns. One "
            f"item a row: {name}.{how_rows}, a list of dicts. Some of its columns: "
            "map({'a': frame['a'], 'b': frame['b']}, ['a', 'b'])"
        )
    is_scalar = isinstance(values, (str, bytes, Mapping)) or getattr(values, "ndim", None) == 0
    if is_scalar or not isinstance(values, (Iterable, AsyncIterable)):
        hint = ""
        if callable(getattr(values, "result", None)):  # a future's
            hint = f". Give its result, {name}.result()"
        raise MapOverError(
            f"map_over={name!r} needs a list of values, one for each item, and got "
            f"{values!r:.60} of type {type(values).__name__}{hint}"
        )


def _rows_of_a_frame(values: object) -> str:
    """How a DataFrame gives its rows; nothing where it is none, or gives them itself (Daft's)."""
    kind = type(values)
    if hasattr(kind, "columns"):
        if hasattr(kind, "to_dicts"):  # Polars
            return "to_dicts()"
        if hasattr(kind, "to_dict"):  # pandas, and what is made like it
            return "to_dict('records')"
        if hasattr(kind, "to_pylist") and not isinstance(values, Iterable):  # Arrow
            return "to_pylist()"
    return ""


class Items(Sequence[Item]):
    """The items of a map, a dict of values for each, made when it is asked for.

    Args:
        columns: for each input its values, one for every item.
        count: how many items there are.

    >>> items = Items({"a": [1, 2, 3], "b": [4, 5, 6]}, 3)
    >>> items[-1], len(items[1:])
    ({'a': 3, 'b': 6}, 2)
    """

    __slots__ = ("_count", "columns")

    def __init__(self, columns: Mapping[str, Sequence[Any]], count: int) -> None:
        self.columns = columns
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Item | Items:
        if isinstance(index, slice):
            columns = {name: values[index] for name, values in self.columns.items()}
            return Items(columns, len(range(*index.indices(self._count))))
        return {name: values[index] for name, values in self.columns.items()}

    def __iter__(self) -> Iterator[Item]:
        if len(self.columns) == 1:
            ((name, values),) = self.columns.items()
            return ({name: value} for value in values)
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows())

    def rows(self) -> Iterable[Any]:
        """For each item the tuple of its values; the value alone where there is one."""
        if not self.columns:
            return itertools.repeat((), self._count)
        values = self.columns.values()
        return next(iter(values)) if len(values) == 1 else zip(*values, strict=True)


def make_items(lists: Mapping[str, list[Any]], map_mode: str) -> Items:
    """The items of a map.

    Args:
        lists: the values of each mapped input.
        map_mode: "zip" or "product".

    Raises:
        MapOverError: `zip`, and the lists differ in length.

    >>> make_items({"a": [1, 2], "b": [3, 4]}, "product")[1]
    {'a': 1, 'b': 4}
    """
    rows = combinations(lists, map_mode)
    if map_mode == "zip" or len(lists) == 1:  # copied: a node may change the list it came from
        columns = {name: list(values) for name, values in lists.items()}
        return Items(columns, len(next(iter(columns.values()))))
    every = list(rows)
    made = zip(*every, strict=True) if every else itertools.repeat(())
    return Items(dict(zip(lists, made, strict=False)), len(every))


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[Item]:
    """Columns of one length, at least one, as a dict for each of their rows."""
    if len(columns) == 1:
        ((name, values),) = columns.items()
        return [{name: value} for value in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def combinations(lists: Mapping[str, list[Any]], map_mode: str) -> Iterator[tuple[Any, ...]]:
    """Rows of values, in the order of the items: the last name moves fastest in a product.

    Args:
        lists: the values of each mapped input.
        map_mode: "zip" or "product".

    Raises:
        MapOverError: `zip`, and the lists differ in length.
    """
    if map_mode == "product":
        return itertools.product(*lists.values())
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        each = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise MapOverError(
            f"the lists to zip differ in length: {each}. Make them equal, or use "
            "map_mode='product' for every combination."
        )
    return zip(*lists.values(), strict=True)


def stream_items(
    sources: Inputs, map_mode: str
) -> tuple[Iterator[Item] | AsyncIterator[Item], int | None]:
    """The items of a map, as they come.

    Args:
        sources: for each name an iterable, or an async iterable.
        map_mode: "zip", or "product", which holds the values of all but the first name.

    Returns:
        The items, and their number where it is known.

    Raises:
        MapOverError: lists that differ in length; generators as soon as one of them ends.
    """
    if all(isinstance(values, (list, tuple)) for values in sources.values()):
        rows = list(sources.values())
        lengths = [len(values) for values in rows]
        total = math.prod(lengths) if map_mode == "product" else lengths[0]
        lists = {name: as_list(name, values) for name, values in sources.items()}
        return (dict(zip(lists, row, strict=True)) for row in combinations(lists, map_mode)), total
    if any(isinstance(values, AsyncIterable) for values in sources.values()):
        return _awaited_items(sources, map_mode), None
    return _generated_items(sources, map_mode), None


_END: Any = object()


def _generated_items(sources: Mapping[str, Iterable[Any]], map_mode: str) -> Iterator[Item]:
    first, *others = sources
    if map_mode == "product":
        lists = [as_list(name, sources[name]) for name in others]
        for value in sources[first]:
            for row in itertools.product(*lists):
                yield dict(zip(sources, (value, *row), strict=True))
        return
    for place, row in enumerate(itertools.zip_longest(*sources.values(), fillvalue=_END)):
        _check_ends(sources, row, place)
        yield dict(zip(sources, row, strict=True))


async def _awaited_items(sources: Inputs, map_mode: str) -> AsyncIterator[Item]:
    first, *others = sources
    if map_mode == "product":
        lists = []
        for name in others:
            lists.append([value async for value in _each(sources[name])])
        async for value in _each(sources[first]):
            for row in itertools.product(*lists):
                yield dict(zip(sources, (value, *row), strict=True))
        return
    iterators = [_each(values) for values in sources.values()]
    for place in itertools.count():
        values = [await anext(iterator, _END) for iterator in iterators]
        if all(value is _END for value in values):
            return
        _check_ends(sources, values, place)
        yield dict(zip(sources, values, strict=True))


async def _each(values: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


def _check_ends(sources: Inputs, row: Sequence[object], place: int) -> None:
    ended = [name for name, value in zip(sources, row, strict=True) if value is _END]
    if ended:
        raise MapOverError(
            f"the sources to zip differ in length: {listing(ended)} ended after {place} items and "
            "the others go on"
        )
