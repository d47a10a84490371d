"""What identifies a value or a computation: a digest that is equal when, and only when, they are.

    sign(value)             digest of a value by its content and exact type
    combine(tag, *digests)  digest of a computation out of the digests of its parts

Values are walked with an explicit stack, so neither depth nor cycles matter. Every part carries a
tag for its type: `1`, `1.0`, `"1"` and `True` differ. What cannot be identified is never guessed
at: `Unidentifiable` says what it was and why.

How other types are identified: `@identify.register(Type)` on a function that returns `Parts`, or
a `__cache_key__()` method of the object. Functions and classes are in `code`.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import importlib
import logging
import marshal
import pathlib
import re
import struct
import sys
import threading
import types
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

RULES = "2"
"""Version of the rules here and in `code`: a change makes every entry a clean miss."""

Digest = bytes
SIZE = 16


class Unidentifiable(TypeError):
    """A value whose content cannot be told, so that nothing made from it can be cached."""


class Parts(NamedTuple):
    """What a value is made of.

    Attributes:
        tag: names the type; two types never share one.
        children: `Raw` buffers count as they are; anything else is identified in its turn.
        ordered: False where the order of the children means nothing.
        covers: the attributes of the object that the children say already. Any other attribute
            counts beside them, and so does the class where it is a subclass of the one that the
            handler was registered for.
    """

    tag: str
    children: Iterable[Any] = ()
    ordered: bool = True
    covers: frozenset[str] = frozenset()


class Raw(NamedTuple):
    """A contiguous buffer that stands for itself among the children of `Parts`."""

    buffer: Any


def combine(tag: str, *digests: Digest) -> Digest:
    """The digest of something made of parts that have digests already."""
    return blake2b(
        b"%d:%b" % (len(tag), tag.encode()) + b"".join(digests), digest_size=SIZE
    ).digest()


def sign(value: Any, dependencies: list[Any] | None = None) -> Digest:
    """The digest of a value.

    Args:
        value: anything.
        dependencies: where to note what functions and classes inside depend on; see
            `code`.

    Raises:
        Unidentifiable: the value's content cannot be told.

    >>> sign({"a": 1, "b": {2, 3}}) == sign({"b": {3, 2}, "a": 1})
    True
    >>> len({sign(x) for x in (1, 1.0, "1", True, None, b"1", [1], (1,))})
    8
    """
    simple = _simple(value)
    return simple if simple is not None else Walk(dependencies).digest(value)


class Walk:
    """One walk over a value: finished digests, and the values that it is in the middle of.

    Attributes:
        dependencies: checks that what was found still holds.
        named: the functions, classes and constants that were met, to explain a change by.
    """

    def __init__(self, dependencies: list[Any] | None = None) -> None:
        self.dependencies = dependencies
        self.named: dict[str, Any] = {}
        self._done: dict[int, Digest] = {}
        self._active: dict[int, int] = {}
        self._alive: list[Any] = []

    def note(self, name: str, what: Any) -> None:
        """Note a part that has a name."""
        if self.dependencies is not None:
            while self.named.setdefault(name, what) is not what:
                name += "'"  # another one of that name

    def digest(self, root: Any) -> Digest:
        """Walk `root`, depth first."""
        stack: list[tuple[Any, Generator[Any, Digest, Digest]]] = []
        found = self._known(root)
        pending = root
        while True:
            if found is None:
                walker = self._walker(pending)
                self._active[id(pending)] = len(stack)
                self._alive.append(pending)
                stack.append((pending, walker))
                answer: Digest | None = None
            else:
                answer = found
            while True:
                if not stack:
                    assert answer is not None
                    return answer
                current, walker = stack[-1]
                try:
                    pending = walker.send(answer) if answer is not None else next(walker)
                except StopIteration as stop:
                    stack.pop()
                    del self._active[id(current)]
                    answer = self._done[id(current)] = stop.value
                    continue
                except RecursionError as error:
                    raise Unidentifiable(f"{_kind(current)} is nested too deeply") from error
                break
            found = self._known(pending)

    def _known(self, value: Any) -> Digest | None:
        simple = _simple(value)
        if simple is not None:
            return simple
        if id(value) in self._active:  # a cycle: say how far up it leads
            return combine("cycle", str(self._active[id(value)]).encode())
        return self._done.get(id(value))

    def _walker(self, value: Any) -> Generator[Any, Digest, Digest]:
        try:
            parts = _parts(value, self)
            digests = []
            for child in parts.children:
                if type(child) is Raw:
                    digests.append(blake2b(child.buffer, digest_size=SIZE).digest())
                else:
                    digests.append((yield child))
        except (Unidentifiable, RecursionError):
            raise
        except Exception as error:  # a __cache_key__ that fails, or an object that is half made
            raise Unidentifiable(f"{_kind(value)} cannot be identified ({error!r})") from error
        if not parts.ordered:
            digests.sort()
        return combine(parts.tag, *digests)


def _simple(value: Any) -> Digest | None:
    """The digest of a plain value, or of a flat list or tuple of plain values, in one go."""
    kind = type(value)
    if kind in _PLAIN or ((kind is list or kind is tuple) and set(map(type, value)) <= _PLAIN):
        data = b"%b:%b" % (kind.__name__.encode(), marshal.dumps(value, 0))
    else:
        return None
    return blake2b(data, digest_size=SIZE).digest()


# Version 0 of marshal's format has no references and no interning: equal values, equal bytes.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})


def _parts(value: Any, walk: Walk) -> Parts:
    own_key = getattr(type(value), "__cache_key__", None)
    if own_key is not None:
        return Parts(f"key {type(value).__qualname__}", [own_key(value)])
    for kind in type(value).__mro__:
        root = module_of(kind).partition(".")[0]
        if root in _LIBRARIES and root in sys.modules:
            _learn(root)
    handler = identify.dispatch(type(value))
    if handler in _WALKED:
        return handler(value, walk)
    return handler(value)


@functools.singledispatch
def identify(value: Any) -> Parts:
    """What a value is made of, by its type. Register a function for a type of your own.

    >>> class Point:
    ...     def __init__(self, x): self._x = x
    >>> @identify.register(Point)
    ... def _(value): return Parts("Point", [value._x])
    >>> sign(Point(1)) == sign(Point(1)) != sign(Point(2))
    True
    """
    raise Unidentifiable(f"{_kind(value)} cannot be identified")  # replaced in fingerprint


_WALKED: set[Callable[..., Parts]] = set()
"""Handlers that want the walk as well, to note what they depend on."""


def walked(handler: Callable[[Any, Walk], Parts]) -> Callable[[Any, Walk], Parts]:
    """Mark a handler that is called with the walk."""
    _WALKED.add(handler)
    return handler


_LIBRARIES = {"numpy", "scipy", "pandas", "polars", "pyarrow", "torch"}
"""What is imported when the first value of a library is met: it registers what it knows."""


def module_of(kind: type) -> str:
    """Name of the module of a class; those of Cython's functions do not say."""
    name: Any = kind.__module__
    return name if isinstance(name, str) else "builtins"


def _learn(library: str) -> None:
    """Register what identifies the values of a library."""
    libraries = importlib.import_module("hypernodes.identity.libraries")
    getattr(libraries, f"register_{library}")()  # two threads that do it at once do the same
    _LIBRARIES.discard(library)


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__module__}.{type(value).__qualname__}"


def subclass(value: Any, base: type) -> str:
    """Part of a tag: what the exact type adds to `base`."""
    kind = type(value)
    return base.__name__ if kind is base else f"{base.__name__} {kind.__qualname__}"


def _with_class(value: Any, base: type, children: Iterable[Any]) -> Iterator[Any]:
    """The children, and for a subclass of a builtin its class and its attributes too."""
    yield from children
    if type(value) is not base:
        yield type(value)
        yield public_state(value)


def public_state(value: Any) -> dict[str, Any]:
    """An object's attributes, without private ones (`_x`): those may change as it is used.

    A private attribute that holds a function counts: that is code, not state.
    """
    state = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                state[name] = getattr(value, name)
    return {
        name: item
        for name, item in state.items()
        if not str(name).startswith("_") or isinstance(item, (types.FunctionType, type))
    }


@identify.register(list)
@identify.register(tuple)
def _(value: Any) -> Parts:
    base = list if isinstance(value, list) else tuple
    return Parts(subclass(value, base), _with_class(value, base, base.__iter__(value)))


@identify.register(set)
@identify.register(frozenset)
def _(value: Any) -> Parts:
    base = set if isinstance(value, set) else frozenset
    return Parts(
        subclass(value, base), _with_class(value, base, base.__iter__(value)), ordered=False
    )


@identify.register(collections.OrderedDict)
def _(value: collections.OrderedDict[Any, Any]) -> Parts:
    return Parts("OrderedDict", [type(value), *(_Pair(*item) for item in value.items())])


@identify.register(collections.defaultdict)
def _(value: collections.defaultdict[Any, Any]) -> Parts:
    return Parts("defaultdict", [type(value), value.default_factory, dict(value)])


@identify.register(dict)
def _(value: dict[Any, Any]) -> Parts:
    items = (_Pair(key, value[key]) for key in dict.keys(value))
    return Parts(subclass(value, dict), _with_class(value, dict, items), ordered=False)


class _Pair(NamedTuple):
    key: Any
    value: Any


@identify.register(type({}.keys()))
@identify.register(type({}.items()))
def _(value: Any) -> Parts:
    return Parts(type(value).__name__, value, ordered=False)


@identify.register(type({}.values()))
def _(value: Any) -> Parts:
    return Parts("dict_values", value)


@identify.register(types.MappingProxyType)
def _(value: types.MappingProxyType[Any, Any]) -> Parts:
    return Parts("mappingproxy", [dict(value)])


@identify.register(_Pair)
def _(value: _Pair) -> Parts:
    return Parts("pair", tuple(value))


@identify.register(int)
@identify.register(float)
@identify.register(complex)
@identify.register(str)
@identify.register(bytes)
def _(value: Any) -> Parts:  # the exact types are plain: these are subclasses
    base = next(b for b in (int, float, complex, str, bytes) if isinstance(value, b))
    return Parts(subclass(value, base), _with_class(value, base, [base(value)]))


@identify.register(bytearray)
@identify.register(memoryview)
def _(value: Any) -> Parts:
    return Parts(type(value).__name__, [Raw(value)])


@identify.register(array.array)
def _(value: array.array[Any]) -> Parts:
    return Parts(f"array {value.typecode}", [Raw(value.tobytes())])


@identify.register(enum.Enum)
def _(value: enum.Enum) -> Parts:
    return Parts(f"enum {type(value).__qualname__}", [value.name, value.value])


@identify.register(pathlib.PurePath)
def _(value: pathlib.PurePath) -> Parts:
    return Parts(f"path {type(value).__name__}", [str(value)])


@identify.register(datetime.datetime)
@identify.register(datetime.time)
def _(value: Any) -> Parts:
    return Parts(
        type(value).__name__, [value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo]
    )


@identify.register(datetime.date)
def _(value: datetime.date) -> Parts:
    return Parts("date", [value.isoformat()])


@identify.register(datetime.timedelta)
def _(value: datetime.timedelta) -> Parts:
    return Parts("timedelta", [value.days, value.seconds, value.microseconds])


@identify.register(decimal.Decimal)
@identify.register(fractions.Fraction)
@identify.register(uuid.UUID)
@identify.register(range)
def _(value: Any) -> Parts:
    return Parts(type(value).__name__, [str(value)])


@identify.register(slice)
def _(value: slice) -> Parts:
    return Parts("slice", [value.start, value.stop, value.step])


@identify.register(re.Pattern)
def _(value: re.Pattern[Any]) -> Parts:
    return Parts("pattern", [value.pattern, value.flags])


@identify.register(logging.Logger)
def _(value: logging.Logger) -> Parts:  # what it does depends on settings, and is not a result
    return Parts("logger", [value.name])


@identify.register(type(threading.Lock()))
@identify.register(type(threading.RLock()))
def _(value: Any) -> Parts:  # guards a computation, and is no part of it
    return Parts("lock")


@identify.register(struct.Struct)
def _(value: struct.Struct) -> Parts:
    return Parts("struct", [value.format])


@identify.register(functools.partial)
def _(value: functools.partial[Any]) -> Parts:
    return Parts("partial", [value.func, value.args, value.keywords])


def dataclass_fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass object by name; None for anything else."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return None
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
