"""The traversal over code: what a function's digest depends on, and what of it may change."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from hypernodes.identity.bytecode import normal_form
from hypernodes.identity.packages import origin
from hypernodes.identity.reach import Reach
from hypernodes.identity.values import (
    EVERYTHING,
    IMMUTABLE,
    OF_MEMBERS,
    PLAIN,
    Digest,
    Parts,
    Raw,
    Traversal,
    Unidentifiable,
    identify,
    module_of,
    sign,
)

ABSENT = "<absent>"


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


Place = int | tuple[int, str]
"""What code changes: the id of a value, or that of a namespace and a name in it."""


class CodeTraversal(Traversal):
    """A traversal that notes what the digest of a function depends on.

    Attributes:
        modes: what of code counts beside what it does, since something in reach reads it: "text"
            (docstrings and annotations), "source", "lines", "names" (of functions), "variables"
            (names of local ones), "subclasses", "order" (of the members of classes and modules).
        asked: the modes that something met on the way asks for.
        names: `(namespace, name, value)`: the digest holds while each name stands for its value.
        checks: the digest holds while all of these say so.
        changing: values that can change in place.
        changes: whether something else can.
        reach: where functions of one's own lead.

    Args:
        modes: see above.
        without: what to leave out, since it may change.
    """

    def __init__(
        self, modes: frozenset[str] = frozenset(), without: frozenset[Place] = frozenset()
    ) -> None:
        super().__init__()
        self.modes = modes
        self.without = without
        self.asked: set[str] = set()
        self.names: list[tuple[Mapping[str, object], str, object]] = []
        self.checks: list[Callable[[], bool]] = []
        self.changing: dict[int, object] = {}
        self.changes = False
        self.reach = Reach()
        self._read: dict[tuple[int, str], str] = {}
        self._rebound: dict[tuple[int, str], str] = {}
        self._written: dict[int, tuple[object, str]] = {}

    def note(self, name: str, what: object) -> None:
        while self.named.setdefault(name, what) is not what:
            name += "'"  # another one of that name

    def depends(self, value: object) -> None:
        """Note a part by its value: one that can change in place is looked at again each time."""
        if not is_unchanging(value):
            self.changing[id(value)] = value

    def reads(self, namespace: object, name: str, label: str) -> None:
        """Note that a variable is read.

        Args:
            namespace: the dict or the cell that it is in.
            name: the variable's.
            label: the function that does it.
        """
        self._read.setdefault((id(namespace), name), label)

    def rebinds(self, namespace: object, name: str, label: str) -> None:
        """Note that a variable is assigned to; see `reads`."""
        self._rebound.setdefault((id(namespace), name), label)

    def writes(self, value: object, label: str) -> None:
        """Note that a value is changed in place.

        Args:
            value: the value.
            label: its name and the function that does it: `NAME in FUNCTION`.
        """
        self._written.setdefault(id(value), (value, label))

    def changed(self) -> dict[Place, tuple[str, str]]:
        """What the code both reads and changes, so that its result depends on earlier runs.

        Returns:
            For each its name, and the function that changes it.
        """
        found: dict[Place, tuple[str, str]] = {
            place: (repr(place[1]), label)
            for place, label in self._rebound.items()
            if place in self._read
        }
        for value, label in self._written.values():
            if id(value) in self.changing or self.digest_of(value) is not None:
                what, _, where = label.rpartition(" in ")
                found[id(value)] = (what, where)
        return found

    def leaves_out(self, namespace: object, name: str, value: object) -> bool:
        """Whether a variable is left out, since it may change.

        Args:
            namespace: the dict or the cell that it is in.
            name: the variable's.
            value: its value.
        """
        return bool(self.without) and (
            id(value) in self.without or (id(namespace), name) in self.without
        )


def changes_what_it_reads(what: str, where: str) -> Unidentifiable:
    """The error for code that reads what it changes.

    Args:
        what: the name of what is changed.
        where: the function that changes it.
    """
    error = Unidentifiable(
        f"it changes {what}, which it reads: give it what it reads as an input, or say "
        'code_version="..." where that does not matter'
    )
    error.found_in(where)
    return error


class Package:
    """Name and version of a package, among the named parts of a function's code."""

    def __init__(self, text: str) -> None:
        self.text = text


_package = functools.lru_cache(maxsize=1024)(Package)


def note_package(walk: Traversal, home: str) -> None:
    """Note that code of a package is used.

    Args:
        walk: the traversal that met it.
        home: the package's name and version, as `origin` gives them.
    """
    walk.note(f"package {home.partition(' ')[0]}", _package(home))


@dataclasses.dataclass
class _Sample:
    items: list[object] = dataclasses.field(default_factory=list)


_UNCHANGING = (types.FunctionType, type, types.ModuleType)
_UNCHANGING_EXACTLY = IMMUTABLE.union(
    PLAIN, {property, functools.cached_property, typing.TypeVar, typing.NewType},
    # What Python puts into classes: methods made by C, fields of tuples and of dataclasses.
    {types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType},
    {type(vars(collections.namedtuple("_Pair", "a b"))["a"])},
    {type(vars(_Sample)["__dataclass_params__"])},
    map(type, _Sample.__init__.__defaults__ or ()),
) - {slice}  # fmt: skip


def is_unchanging(value: object) -> bool:
    """Whether a value is identified by the same digest for as long as it lives."""
    kind = type(value)
    if kind is datetime.datetime or kind is datetime.time:
        return type(value.tzinfo) in (type(None), datetime.timezone)  # type: ignore[attr-defined]
    if kind in _UNCHANGING_EXACTLY:
        return True
    if isinstance(value, (tuple, frozenset)):
        return not hasattr(value, "__dict__") and all(map(is_unchanging, value))
    if isinstance(value, types.BuiltinFunctionType):  # or a method of an object that may change
        return value.__self__ is None or is_unchanging(value.__self__)
    if kind is staticmethod or kind is classmethod:
        return is_unchanging(value.__func__)  # type: ignore[attr-defined]
    if isinstance(value, functools.partial):
        if kind is not functools.partial or value.keywords or vars(value):
            return False
        return all(map(is_unchanging, (value.func, *value.args)))
    if isinstance(value, enum.Enum):
        return is_unchanging(value.value) and vars(value).keys() <= OF_MEMBERS
    if isinstance(value, _UNCHANGING):
        return True
    if kind is MEMOIZED:
        return vars(value).keys() <= _OF_MEMOIZED
    return kind.__module__.startswith("pathlib")


MEMOIZED = type(functools.lru_cache(len))
"""The type of functions with a memo (`functools.cache`)."""
_OF_MEMOIZED = frozenset({*vars(functools.lru_cache(is_unchanging)), "__type_params__"})
"""The attributes that each of them has."""


NOTED_THEMSELVES = (
    types.FunctionType, type, types.ModuleType, staticmethod, classmethod, property,
)  # fmt: skip
"""Types whose objects are noted by name when they are met, and not by the name they are read by."""


NOTES_OF_CALLS: dict[str, str] = {}
"""By library: the attribute in which its decorated functions note something about their calls."""


def annotations_of(value: Any) -> Any:
    """Annotations as they are now; `ABSENT` where they cannot be evaluated yet."""
    try:
        return dict(value.__annotations__)
    except Exception:
        return ABSENT


def resolved_hints(value: Any) -> Any:
    """The annotations of a class, or of a function, as pairs: texts as what they name."""
    try:
        hints = typing.get_type_hints(value, include_extras=True)
    except Exception:  # names for type checkers alone: as they are written
        return annotations_of(value)
    own = vars(value).get("__annotations__", None) or annotations_of(value)
    return [[name, hints.get(name, each)] for name, each in own.items()]


def source_of(value: types.FunctionType | type, name: str) -> str:
    """The source of a function or a class.

    Args:
        value: the function or the class.
        name: its name, for the message.

    Raises:
        Unidentifiable: the source cannot be found.
    """
    try:
        return inspect.getsource(value)
    except (OSError, TypeError) as error:
        raise Unidentifiable(f"the source of {name} cannot be read") from error


CURES = (
    "give its class a __cache_key__() that returns what identifies it, or a __getstate__() without "
    "what does not, or mark the class @stateful"
)


def origin_of(value: types.FunctionType | type) -> str | None:
    """Package and version of a function or a class; None for one of the user's own."""
    if isinstance(value, types.FunctionType):
        module = value.__globals__.get("__name__")  # its code's, whatever `__module__` says
        return origin(module) if isinstance(module, str) else None
    return origin(module_of(value))


class _Known:
    """A part whose digest is known already."""

    __slots__ = ("digest",)

    def __init__(self, digest: Digest) -> None:
        self.digest = digest


@identify.register(_Known)
def _(value: _Known) -> Parts:
    return Parts("known", [Raw(value.digest)], covers=EVERYTHING)


@functools.lru_cache(maxsize=4096)
def code_digest(
    code: types.CodeType, with_names: bool, without: frozenset[str], with_text: bool = False
) -> _Known:
    """A part that stands for a code object; see `normal_form`."""
    return _Known(sign(normal_form(code, with_names, without, with_text)))


class Whole:
    """A module of the user's own, with all that is in it: somebody may read any of it."""

    __slots__ = ("module",)

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module
