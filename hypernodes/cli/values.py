"""Values of inputs' types, made of what a file or a command line holds."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import convert

from hypernodes.visualize.model import type_text

NONE = type(None)

_SCALARS = (str, int, float, bool, bytes, Path, datetime, date, timedelta, Decimal, UUID, NONE)

_COLLECTIONS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list, Sequence: list, Collection: list, Iterable: list, tuple: tuple, set: set, Set: set,
    frozenset: frozenset,
}  # fmt: skip
_MAPPINGS = (dict, Mapping)


def from_text(kind: Any, text: str) -> Any:
    """A value of a type, made of a text that has no type: a cell of a CSV file, or an argument.

    Where the type says nothing of what a text means, it is JSON, or else the text.

    Args:
        kind: the type; where it can be None, an empty text is None.
        text: the text.

    Raises:
        ValueError: the text is no value of the type.
    """
    members = _members(kind)
    if text == "" and NONE in members:
        return None
    if not all(_is_known(each) for each in members):
        return _json(text)
    return _first(kind, lambda member: _of_text(member, text))


def value_of(kind: Any, held: Any) -> Any:
    """A value of a type, made of a value from JSON or Parquet.

    Args:
        kind: the type. Of one that is not known here, any value is one.
        held: None, a bool, a number, a text, a list, a dict, or whatever else a Parquet file holds.

    Raises:
        ValueError: it is no value of the type.
    """
    if type(held) in _members(kind):  # a text is not read as a number where it can be a text
        return held
    return _first(kind, lambda member: _of_held(member, held))


def is_plain(kind: Any, around: tuple[Any, ...] = ()) -> bool:
    """Whether Cyclopts makes a type's values of words: scalars, dataclasses, flat lists of them.

    Args:
        kind: the type.
        around: dataclasses that it is a field of.
    """
    if typing.get_origin(kind) is Annotated:
        return is_plain(typing.get_args(kind)[0], around)
    members = [each for each in _members(kind) if each is not NONE] or [NONE]
    if len(members) > 1:
        return all(_is_scalar(each) for each in members)
    (kind,) = members
    inside = [each for each in typing.get_args(kind) if each is not Ellipsis]
    origin = typing.get_origin(kind)
    if origin is dict:
        by_name = inside[0] is str and is_plain(inside[1], around)  # --INPUT.KEY VALUE
        return by_name and inside[1] is not bool and not dataclasses.is_dataclass(inside[1])
    if origin in (list, tuple, set, frozenset):
        return all(is_plain(each, around) and not _is_long(each) for each in inside)
    if dataclasses.is_dataclass(kind):
        inside = [_fields(kind).get(each.name) for each in dataclasses.fields(kind)]
        return kind not in around and all(is_plain(each, (*around, kind)) for each in inside)
    return _is_scalar(kind)


def _is_long(kind: Any) -> bool:
    """Whether a type takes any number of words, so that a list of it could not be split up."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (list, set, frozenset, dict) or kind is bool:
        return True
    return Ellipsis in arguments or any(_is_long(each) for each in arguments)


def _is_scalar(kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal or kind in _SCALARS:
        return True
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_known(kind: Any) -> bool:
    origin = _class(kind)
    known = origin in _COLLECTIONS or origin in _MAPPINGS or hasattr(origin, "model_validate")
    return known or _is_scalar(kind) or dataclasses.is_dataclass(origin)


def _class(kind: Any) -> Any:
    """`list` of list[int], None of what is no class."""
    return typing.get_origin(kind) or (kind if isinstance(kind, type) else None)


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of another type, that one."""
    if typing.get_origin(kind) is Annotated:
        return _members(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(each for member in typing.get_args(kind) for each in _members(member))
    return (kind,)


def _first(kind: Any, make: Callable[[Any], Any]) -> Any:
    """What is made by the first type of a union that can."""
    for member in _members(kind):
        try:
            return make(member)
        except Exception:  # whatever the user's dataclass or enum raises
            continue
    raise ValueError(f"expected {type_text(kind)}")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _of_text(kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if _is_scalar(kind):
        return _scalar(kind, text)
    held = _json(text)
    if _class(kind) in _COLLECTIONS and not isinstance(held, list):
        held = [text]
    return _structure(kind, held)


def _scalar(kind: Any, text: str) -> Any:
    try:
        return convert(kind, [text])
    except Exception:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind(text)  # Cyclopts knows members by their names
        raise


def _of_held(kind: Any, held: Any) -> Any:
    if not _is_known(kind):
        return held
    if typing.get_origin(kind) is typing.Literal:
        for each in typing.get_args(kind):
            if type(each) is type(held) and each == held:
                return each
    if isinstance(held, str):
        return _of_text(kind, held)
    return _number(kind, held) if _is_scalar(kind) else _structure(kind, held)


def _structure(kind: Any, held: Any) -> Any:
    """A collection, a mapping, a model or a dataclass, of a list or a dict."""
    origin, arguments = _class(kind), typing.get_args(kind)
    if origin in _COLLECTIONS:
        return _COLLECTIONS[origin](_elements(arguments, list(_checked(held, list, tuple))))
    if origin in _MAPPINGS:
        of_key, of_value = arguments or (Any, Any)
        pairs = _checked(held, dict).items()
        return {value_of(of_key, key): value_of(of_value, value) for key, value in pairs}
    if hasattr(origin, "model_validate"):
        return origin.model_validate(held)
    fields = _fields(origin)
    given = _checked(held, dict).items()
    return kind(**{name: value_of(fields.get(name, Any), value) for name, value in given})


def _elements(arguments: tuple[Any, ...], held: list[Any]) -> list[Any]:
    if Ellipsis in arguments or len(arguments) < 2:
        arguments = (arguments or (Any,))[:1] * len(held)
    return [value_of(kind, each) for kind, each in zip(arguments, held, strict=True)]


def _number(kind: Any, held: Any) -> Any:
    """A scalar, of one that is no text: JSON has one type for all numbers."""
    if issubclass(kind, Enum):
        return kind(held)
    if isinstance(held, bool) and kind is not int:
        return _checked(held, kind)
    if kind is int and isinstance(held, float) and held.is_integer():
        return int(held)
    if kind is float and isinstance(held, int):
        return float(held)
    if kind is Decimal and isinstance(held, (int, float)):
        return Decimal(str(held))
    return _checked(held, kind)


def _checked(held: Any, *kinds: type) -> Any:
    if not isinstance(held, kinds):
        raise TypeError(f"expected {kinds[0].__name__}")
    return held


def _fields(kind: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:  # names that are only imported for type checkers
        return {}
