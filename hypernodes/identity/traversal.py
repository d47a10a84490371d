"""The walk over code: what the digest of a function depends on, and what may change meanwhile."""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

from hypernodes.identity import values
from hypernodes.identity.bytecode import normal_form
from hypernodes.identity.packages import origin, origin_of_code
from hypernodes.identity.values import (
    EVERYTHING,
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


class CodeTraversal(Traversal):
    """A walk that notes what the digest of a function depends on.

    Attributes:
        modes: what of code counts beside what it does, since something in reach reads it: "text"
            (docstrings and annotations), "source", "lines", "names" (of functions), "variables"
            (names of local ones), "subclasses".
        asked: the modes that something met on the way asks for.
        names: `(namespace, name, value)`: the digest holds as long as that is so.
        checks: the same for what is no name.
        changes: whether something in it can change in place.

    Args:
        modes: see above.
        without: what to leave out of it, since it may change: ids of values, and of variables
            with their names.
    """

    def __init__(
        self, modes: frozenset[str] = frozenset(), without: frozenset[Any] = frozenset()
    ) -> None:
        super().__init__()
        self.modes = modes
        self.without = without
        self.asked: set[str] = set()
        self.names: list[tuple[Mapping[str, Any], str, Any]] = []
        self.checks: list[Callable[[], bool]] = []
        self.changes = False
        self._read: dict[tuple[int, str], str] = {}
        self._rebound: dict[tuple[int, str], str] = {}
        self._written: dict[int, tuple[Any, str]] = {}
        self._counted: set[int] = set()

    def note(self, name: str, what: Any) -> None:
        while self.named.setdefault(name, what) is not what:
            name += "'"  # another one of that name

    def depends(self, value: Any) -> None:
        """What can change in place makes the digest good for one execution only."""
        if not is_unchanging(value):
            self.changes = True
            self._counted.add(id(value))

    def reads(self, namespace: Any, name: str, label: str) -> None:
        """Note that a variable is read, by `label`."""
        self._read.setdefault((id(namespace), name), label)

    def rebinds(self, namespace: Any, name: str, label: str) -> None:
        """Note that a variable is assigned to, by `label`."""
        self._rebound.setdefault((id(namespace), name), label)

    def writes(self, value: Any, label: str) -> None:
        """Note that something in place changes what a name stands for."""
        self._written.setdefault(id(value), (value, label))

    def changed(self) -> dict[Any, tuple[str, str]]:
        """What the code both reads and changes, so that its result depends on earlier runs.

        Returns:
            Ids of values, and of variables with their names; what each is called, and where.
        """
        found: dict[Any, tuple[str, str]] = {
            place: (repr(place[1]), label)
            for place, label in self._rebound.items()
            if place in self._read
        }
        for value, label in self._written.values():
            if id(value) in self._counted or self.digest_of(value) is not None:
                what, _, where = label.rpartition(" in ")
                found[id(value)] = (what, where)
        return found

    def leaves_out(self, namespace: Any, name: str, value: Any) -> bool:
        """Whether a variable is one that may change."""
        return bool(self.without) and (
            id(value) in self.without or (id(namespace), name) in self.without
        )


def changes_what_it_reads(what: str, where: str) -> Unidentifiable:
    error = Unidentifiable(
        f"it changes {what}, which it reads: give it what it reads as an input, or say "
        'code_version="..." where that does not matter'
    )
    error.found_in(where)
    return error


class Package:
    def __init__(self, text: str) -> None:
        self.text = text


@functools.lru_cache(maxsize=1024)
def _package(home: str) -> Package:
    return Package(home)


def note_package(walk: Traversal, home: str) -> None:
    walk.note(f"package {home.partition(' ')[0]}", _package(home))


_UNCHANGING = (
    type(None), bool, int, float, complex, str, bytes, types.FunctionType, type, types.ModuleType,
    property, enum.Enum, type(...), functools.cached_property,
)  # fmt: skip


def is_unchanging(value: Any) -> bool:
    kind = type(value)
    if kind in PLAIN:
        return True
    if isinstance(value, (tuple, frozenset)):
        return all(map(is_unchanging, value))
    if isinstance(value, types.BuiltinFunctionType):  # or a method of an object that may change
        return value.__self__ is None or is_unchanging(value.__self__)
    if isinstance(value, (staticmethod, classmethod)):
        return is_unchanging(value.__func__)
    if kind is functools.partial:
        return all(map(is_unchanging, (value.func, *value.args, *value.keywords.values())))
    if isinstance(value, _UNCHANGING):
        return True
    return kind in _VALUES or kind is MEMOIZED or kind.__module__.startswith("pathlib")


PLAIN = values.PLAIN


MEMOIZED = type(functools.lru_cache(len))


_VALUES = frozenset({*values.IMMUTABLE})


TOLD_THEMSELVES = (
    types.FunctionType, type, types.ModuleType, staticmethod, classmethod, property,
)  # fmt: skip


def annotations_of(value: Any) -> Any:
    """Annotations as they are now; those that cannot be evaluated yet as text."""
    try:
        return dict(value.__annotations__)
    except Exception:
        return ABSENT


CURES = (
    "give its class a __cache_key__() that returns what identifies it, or a __getstate__() without "
    "what does not, or mark the class @stateful"
)


def origin_of(value: Any) -> str | None:
    """Package and version of a function or a class; None for one of the user's own."""
    if isinstance(value, types.FunctionType):
        return origin_of_code(value.__globals__)
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
def code_digest(code: types.CodeType, with_names: bool, without: frozenset[str]) -> _Known:
    return _Known(sign(normal_form(code, with_names, without)))


class Whole:
    """A module of the user's own, with all that is in it: somebody may read any of it."""

    __slots__ = ("module",)

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module
