"""`map_over`: which inputs are lists, and the items that they make."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from hypernodes.errors import MapOverError, did_you_mean, listing

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
        resolved = dict(map_over)
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
            raise MapOverError(
                f"map_over={name!r}: {inner!r} is not an input.{did_you_mean(inner, inputs)} "
                f"Inputs: {listing(inputs)}"
            )
    if len(set(resolved.values())) < len(resolved):
        raise MapOverError(f"map_over names an input twice: {resolved}")
    return resolved


def _meant(name: str, inputs: Collection[str], given: Collection[str]) -> str:
    if name in inputs:
        return name
    singular = [each for each in inputs if name in plurals(each) and each not in given]
    if len(singular) == 1:
        return singular[0]
    if singular:
        raise MapOverError(
            f"map_over={name!r} could mean {listing(singular)}: say which with "
            f"map_over={{{name!r}: {singular[0]!r}}}"
        )
    hint = did_you_mean(name, inputs)
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
    """Refuse what is neither "zip" nor "product"."""
    if map_mode not in ("zip", "product"):
        raise MapOverError(
            f"map_mode is {map_mode!r}: expected 'zip' (lists of one length, item by item) or "
            "'product' (every combination)"
        )


def as_list(name: str, values: Any) -> list[Any]:
    """A mapped input as a list.

    Raises:
        MapOverError: it is no sequence of items (a string is one value, not a list).
    """
    if isinstance(values, list):
        return values
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise MapOverError(
            f"map_over={name!r} needs a list of values, one for each item, and got "
            f"{values!r:.60} of type {type(values).__name__}"
        )
    return list(values)


def make_items(lists: Mapping[str, list[Any]], map_mode: str) -> list[dict[str, Any]]:
    """The items of a map: a dict of values for each.

    Raises:
        MapOverError: `zip`, and the lists differ in length.

    >>> make_items({"a": [1, 2], "b": [3, 4]}, "product")[1]
    {'a': 1, 'b': 4}
    """
    return [dict(zip(lists, row, strict=True)) for row in combinations(lists, map_mode)]


def combinations(lists: Mapping[str, list[Any]], map_mode: str) -> Iterator[tuple[Any, ...]]:
    """Rows of values, in the order of the items: the last name moves fastest in a product."""
    if map_mode == "product":
        return itertools.product(*lists.values())
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise MapOverError(
            f"the lists to zip differ in length: {told}. Make them equal, or use "
            "map_mode='product' for every combination."
        )
    return zip(*lists.values(), strict=True)
