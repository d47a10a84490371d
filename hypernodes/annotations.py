"""Whether a value of one annotation can be one of another, for `Pipeline(strict_types=True)`.

The rules are those of type checkers (PEP 484 and its successors), but for two. What cannot be
judged fits: names that are only imported for type checkers, type variables, protocols that cannot
be checked at run time, a bare `list` for `list[int]`. And containers are covariant: a `list[bool]`
fits where a `list[int]` is wanted.
"""

from __future__ import annotations

import enum
import io
import numbers
import types
import typing
from abc import ABCMeta
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

# What a number's annotation stands for in PEP 484; the classes of NumPy are registered with these.
_PROMOTED: dict[object, tuple[type, ...]] = {
    int: (numbers.Integral,),
    float: (numbers.Real,),
    complex: (numbers.Complex,),
    bytes: (bytearray, memoryview),
    typing.IO: (io.IOBase,),
    typing.TextIO: (io.TextIOBase,),
    typing.BinaryIO: (io.RawIOBase, io.BufferedIOBase),
}
_QUALIFIERS = {"Annotated", "ClassVar", "Final", "NotRequired", "ReadOnly", "Required"}
_COVARIANT = {"builtins", "collections", "collections.abc"}  # modules of the classes that are


def fits(made: object, wanted: object) -> bool:
    """Whether a value that is annotated in one way can be given where another one is wanted.

    Args:
        made: the annotation of the value.
        wanted: that of the parameter.

    Returns:
        False where it cannot; True also where that is not known.

    >>> fits(int, float), fits(list, list[int]), fits(list[str], list[int])
    (True, True, False)
    """
    try:
        return _fits(made, wanted)
    except Exception:  # hooks of other libraries' classes, aliases of what is not there
        return True


def fits_map(made: object, item: Any) -> bool:
    """Whether what is annotated so can be mapped over: an iterable that is no text and no mapping.

    Args:
        made: the annotation of the value.
        item: that of the parameter that takes an item.
    """
    try:
        made = plain(made)
        if _is_union(made):
            return all(fits_map(each, item) for each in get_args(made))
        kind = _class(made)
        if kind is not None and issubclass(kind, (str, bytes, Mapping)):
            return False
        return _fits(made, Iterable[item])
    except Exception:  # as above
        return True


def _fits(made: Any, wanted: Any) -> bool:
    made, wanted = plain(made), plain(wanted)
    if made is Any or wanted is Any or wanted is object or made == wanted:
        return True
    if _is_union(made):
        return all(fits(each, wanted) for each in get_args(made))
    if _is_union(wanted):
        return any(fits(made, each) for each in get_args(wanted))
    if get_origin(made) is Literal or get_origin(wanted) is Literal:
        return _literal_fits(made, wanted)
    kind, wanted_kind = _class(made), _class(wanted)
    if kind is None or wanted_kind is None:
        return True
    if issubclass(kind, Awaitable) and get_origin(made) and not issubclass(Awaitable, wanted_kind):
        return fits(get_args(made)[-1], wanted)  # a node's result is awaited
    return _is_kind(kind, wanted_kind) and _arguments_fit(made, kind, wanted, wanted_kind)


def plain(annotation: Any) -> Any:
    """An annotation without what only says more about a type, and aliases as what they name.

    >>> plain(Annotated[int, "metres"])
    <class 'int'>
    """
    while True:
        origin = get_origin(annotation)
        if origin is Annotated or getattr(origin, "_name", None) in _QUALIFIERS:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(origin or annotation).__name__ == "TypeAliasType":  # `type X = ...`, PEP 695
            alias = origin or annotation
            value = alias.__value__
            in_order = getattr(value, "__parameters__", ()) == alias.__type_params__
            annotation = value[get_args(annotation)] if origin and in_order else value
        else:
            return type(None) if annotation is None else annotation


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _class(annotation: Any) -> type | None:
    """The class whose instances are meant; None where that is not known."""
    kind = get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return None
    return dict if hasattr(kind, "__required_keys__") else kind  # a TypedDict


def _literal_fits(made: Any, wanted: Any) -> bool:
    if get_origin(made) is Literal:
        values: Iterable[object] = get_args(made)
        if get_origin(wanted) is not Literal:
            return all(fits(type(value), wanted) for value in values)
    elif made is bool:
        values = (True, False)
    elif made is type(None):
        values = (None,)
    elif isinstance(made, enum.EnumMeta):
        values = made
    else:
        return _class(made) is None
    allowed = [(type(value), value) for value in get_args(wanted)]
    return all((type(value), value) in allowed for value in values)


def _is_kind(kind: type, wanted: type) -> bool:
    meta = type(wanted)
    own_check = meta.__instancecheck__ not in (type.__instancecheck__, ABCMeta.__instancecheck__)
    if own_check and meta.__module__ not in ("typing", "typing_extensions"):
        return True  # the class decides about each value itself
    try:
        return issubclass(kind, (wanted, *_PROMOTED.get(wanted, ())))
    except TypeError:  # a protocol with attributes, or one that is not runtime_checkable
        return True


def _arguments_fit(made: Any, kind: type, wanted: Any, wanted_kind: type) -> bool:
    """Whether `int` fits in `list[int]`, for one class in another one."""
    given, needed = get_args(made), get_args(wanted)
    if not given or not needed:
        return True
    if get_origin(made) is tuple:
        return _tuple_fits(given, needed, wanted_kind)
    if wanted_kind.__name__ == "Callable":
        return True
    if kind is not wanted_kind:
        if not {kind.__module__, wanted_kind.__module__} <= _COVARIANT:
            return True  # who knows what the arguments of a class are to its base class
        one_of = Mapping, Generator, AsyncGenerator  # as an iterable: its keys, what it yields
        if issubclass(kind, one_of) and not issubclass(wanted_kind, one_of):
            given = given[:1]
    if len(given) != len(needed):
        return True
    covariant = kind.__module__ in _COVARIANT
    return all(
        fits(one, other) or (not covariant and fits(other, one))
        for one, other in zip(given, needed, strict=True)
    )


def _tuple_fits(given: tuple[Any, ...], needed: tuple[Any, ...], wanted: type) -> bool:
    if any(each == () or _is_unpacked(each) for each in (*given, *needed)):
        return True
    items = given[:1] if given[-1] is Ellipsis else given
    if wanted is not tuple:  # Sequence[int], Iterable[int]
        return len(needed) != 1 or all(fits(each, needed[0]) for each in items)
    if needed[-1] is Ellipsis:
        return all(fits(each, needed[0]) for each in items)
    if given[-1] is Ellipsis:
        return all(fits(items[0], each) for each in needed)
    return len(items) == len(needed) and all(map(fits, items, needed))


def _is_unpacked(annotation: Any) -> bool:
    """Whether it is `*tuple[int, ...]` or `Unpack[...]`."""
    return getattr(annotation, "__unpacked__", False) or (
        getattr(get_origin(annotation), "_name", "") == "Unpack"
    )
