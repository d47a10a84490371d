"""What of a value can be changed in place, and which values share that with each other."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import gc
import pathlib
import types
import uuid
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from hypernodes.cache.lazy_value import LAZY, CachedList
from hypernodes.identity.packages import origin
from hypernodes.identity.values import module_of

REACH = 50_000
"""How many objects inside a value are looked at; a larger value may share memory with any other."""
PARTS = 500
"""How many inside one that cannot be identified."""


def is_immutable(value: Any) -> bool:
    """Whether nothing inside a value can be changed.

    >>> [is_immutable(each) for each in (1, "a", (1, ("b",)), [1], ([],))]
    [True, True, True, False, False]
    """
    kind = type(value)
    if kind in PLAIN:
        return True
    if kind is tuple or kind is frozenset:
        return set(map(type, value)) <= PLAIN or all(map(is_immutable, value))
    known = _kinds.get(kind)
    if known is None:
        known = _kinds[kind] = issubclass(kind, _FIXED) or _is_of_library(kind)
    return known or (issubclass(kind, _CODE) and all(map(is_immutable, _held(value))))


_kinds: dict[type, bool] = {}
PLAIN = frozenset({
    type(None), type(Ellipsis), bool, int, float, complex, str, bytes, range, decimal.Decimal,
    fractions.Fraction, uuid.UUID, datetime.date, datetime.datetime, datetime.time,
    datetime.timedelta, datetime.timezone, pathlib.PosixPath, pathlib.WindowsPath,
    pathlib.PurePosixPath, pathlib.PureWindowsPath,
})  # fmt: skip
_FIXED = (types.ModuleType, enum.Enum)
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_OF_LIBRARIES = {
    "numpy": {"generic", "dtype", "ufunc"},
    "pyarrow": {
        "DataType", "Field", "Schema", "Scalar", "Array", "ChunkedArray", "_Tabular", "Expression",
    },
}  # fmt: skip
"""Classes whose objects cannot be changed, with all that are derived of them in that library."""


def _is_of_library(kind: type) -> bool:
    root = module_of(kind).partition(".")[0]
    fixed = _OF_LIBRARIES.get(root)
    is_fixed = fixed is not None and any(base.__name__ in fixed for base in kind.__mro__)
    return is_fixed and not hasattr(kind, "__setitem__")  # a record of NumPy's is a view


def _held(value: Any) -> list[Any]:
    """What can be changed through a function, a method or a class, and that itself if it can be.

    Those of installed packages are nobody's to change.
    """
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.BuiltinFunctionType):
        return [value.__self__]
    if origin(str(value.__module__)) is not None and not getattr(value, "__closure__", None):
        return []
    if isinstance(value, type):
        return [_CHANGES, *vars(value).values()]
    cells = [_content_of(cell) for cell in value.__closure__ or ()]
    defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
    return [_CHANGES, *cells, *defaults, *vars(value).values()]


_CHANGES = object()
"""In `_held`: an attribute can be set, or a variable of the function around assigned."""


def _content_of(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


class Reach:
    """What of a value can be changed: two values share some of it, or nothing.

    Args:
        value: the value.

    Attributes:
        ids: the `id`s of the mutable objects inside it; None if there are too many. Arrays that are
            views of the same memory all reach its owner.
    """

    __slots__ = ("_indexes", "_memory", "ids")

    def __init__(self, value: Any) -> None:
        self.ids: set[int] | None = set()
        self._memory: list[tuple[int, int]] = []
        self._indexes: set[int] = set()
        seen: set[int] = set()
        pending = [value]
        while pending:
            each = pending.pop()
            if id(each) in seen or type(each) in PLAIN:
                continue
            seen.add(id(each))
            if len(seen) > REACH:
                self.ids = None
                return
            pending += self._look(each, type(each))
        if self._indexes == {id(value)}:
            self.ids.add(id(value))

    def _look(self, each: Any, kind: type) -> Iterable[Any]:
        """Note an object; returns what it holds."""
        assert self.ids is not None
        if isinstance(each, _FIXED) or kind in _DEAD_ENDS:
            return ()
        if _is_of_library(kind):
            if has_buffers(each):
                self._memory += _buffers(each)
            return ()
        if isinstance(each, _CODE):
            held = _held(each)
            if _CHANGES in held[:1]:
                self.ids.add(id(each))
            return held
        module = module_of(kind)
        if module.startswith("pandas") and kind.__name__.endswith(_SHARED_BY_COPIES):
            if kind.__name__.endswith("Index"):
                self._indexes.add(id(each))
            return ()
        if kind is not tuple and kind is not frozenset:
            self.ids.add(id(each))
        held = [other for other in _referents(each) if other is not kind]
        if _is_array(kind):
            if each.dtype.hasobject:
                held += each.ravel().tolist()
            self._memory.append(_bounds(each))
        elif _is_tensor(kind):  # PyTorch: tensors over one memory
            self.ids.add(each.untyped_storage().data_ptr())
        return held

    def touches(self, other: Reach) -> bool:
        """Whether a change in one of the values may be one in the other."""
        if self.ids is None or other.ids is None or not self.ids.isdisjoint(other.ids):
            return True
        # An index of pandas can be given another name.
        if not (self.ids.isdisjoint(other._indexes) and other.ids.isdisjoint(self._indexes)):
            return True
        end, last = 0, 0
        bounds = [(*bounds, 1) for bounds in self._memory] + [(*b, 2) for b in other._memory]
        for start, stop, whose in sorted(bounds):
            if start < end and whose != last:
                return True
            if stop > end:
                end, last = stop, whose
        return False


def _referents(value: Any) -> list[Any]:
    """What an object holds, with owners of memory that the garbage collector does not know of."""
    kind: type = type(value)
    held = gc.get_referents(value)
    if kind is memoryview:
        held.append(value.obj)
    elif _is_array(kind) or (module_of(kind) == "numpy" and hasattr(value, "base")):  # or a `flat`
        held.append(value.base)
    return held


@functools.lru_cache(maxsize=1024)
def _is_tensor(kind: type) -> bool:
    """Whether objects of a class are PyTorch's tensors; others may seem to have any attribute."""
    return hasattr(kind, "untyped_storage") and any(
        module_of(base).partition(".")[0] == "torch" for base in kind.__mro__
    )


@functools.lru_cache(maxsize=1024)
def _is_array(kind: type) -> bool:
    """Whether objects of a class are NumPy's arrays; NumPy is not imported for that."""
    return any(base.__name__ == "ndarray" for base in kind.__mro__ if module_of(base) == "numpy")


def _bounds(array: Any) -> tuple[int, int]:
    """Where the memory of a NumPy array begins and ends."""
    first = array.__array_interface__["data"][0]
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    if not array.size:
        return first, first
    low, high = (sum(way(0, step) for step in steps) for way in (min, max))
    return first + low, first + high + array.itemsize


def has_buffers(value: Any) -> bool:
    """Whether a value is Arrow's: immutable, but maybe over memory that NumPy or pandas changes."""
    kind = type(value)
    return _is_of_library(kind) and any(hasattr(value, name) for name in ("buffers", *_PARTS))


_PARTS = "chunks", "columns"


def _buffers(value: Any) -> list[tuple[int, int]]:
    """Where the memory of an Arrow array or table begins and ends."""
    for name in _PARTS:
        if (parts := getattr(value, name, None)) is not None:
            return [bounds for part in parts for bounds in _buffers(part)]
    found = [(each.address, each.address + each.size) for each in value.buffers() if each]
    return found + (_buffers(value.dictionary) if hasattr(value, "dictionary") else [])


def plain_parts(value: Any) -> Iterator[Any]:
    """The tables of plain data and the arrays inside a value, for one that cannot be identified."""
    seen: set[int] = {id(value)}
    pending = deque(_held_by(value))
    while pending and len(seen) < PARTS:
        each = pending.popleft()
        if id(each) in seen or type(each) in PLAIN or isinstance(each, (*_FIXED, type)):
            continue
        seen.add(id(each))
        if _is_plain(each):
            yield each
        else:
            pending.extend(_held_by(each))


def _held_by(value: Any) -> Iterable[Any]:
    if isinstance(value, types.FrameType):  # a generator's: its globals are nobody's part
        return value.f_locals.values()
    if isinstance(value, dict) and "__builtins__" in value:
        return ()
    if isinstance(value, (types.TracebackType, types.CodeType)):
        return ()  # of a failed item's error: the frames that it went through go on
    if isinstance(value, types.FunctionType):
        return [value.__closure__, value.__defaults__, value.__kwdefaults__, value.__dict__]
    return _referents(value)


def _is_plain(value: Any) -> bool:
    """Whether a value is a small table of plain data or an array: then it is quickly hashed."""
    pending, count = [value], 0
    while pending:
        each = pending.pop()
        count += 1
        if count > _FEW:
            return False
        kind: type = type(each)
        if _is_array(kind) or kind is bytearray:
            continue
        if kind not in _TABLES:
            return False
        held = [*each, *each.values()] if kind is dict else each
        if not PLAIN.issuperset(map(type, held)):
            pending += [other for other in held if type(other) not in PLAIN][: _FEW + 1]
    return True


_TABLES = frozenset({list, dict, set, tuple, frozenset, deque})
_FEW = 1_000


_DEAD_ENDS = (LAZY - {CachedList}) | {weakref.ref, slice, object}
_SHARED_BY_COPIES = ("Index", "Dtype", "BlockPlacement", "BlockValuesRefs")
"""Ends of the class names of what copies of a pandas frame share: none of it changes, but for an
index's name."""
