"""What identifies code: the digest of a function with everything of the user's that it can reach.

A function's code is one of three, and there is no fourth:

    followed      all that it can reach by name is in its digest
    declined      something in reach cannot be identified: `Unidentifiable` names it, and what helps
    vouched for   the person says what identifies it (`code_version=`): it is not looked at

What is followed is *normalised bytecode* (what really runs, also when the file has been edited
since it was imported), default values, closures, attributes, and from there the functions, classes,
constants and modules of the user's own that the code names. Installed packages count by name and
version, see `packages`.

Where it is done, from below:

    bytecode    what a code object does, and where it reads names
    traversal   what the digest of a function depends on
    dynamic     names that code makes while it runs; `writes`, uses that change what they read
    functions   a function with all that its names lead to
    objects     modules, methods, plain objects
    classes     a class with what it declares
"""

from __future__ import annotations

import itertools
import sys
import types
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

# Importing `classes` and `objects` registers what they know of.
from hypernodes.identity import classes, functions, objects  # noqa: F401
from hypernodes.identity.traversal import (
    ABSENT,
    CodeTraversal,
    Package,
    Place,
    changes_what_it_reads,
    is_unchanging,
)
from hypernodes.identity.values import Digest, Unidentifiable, sign


class Code:
    """What identifies a function, and what it is made of.

    Attributes:
        digest: of the function and all that it depends on.
        changes: whether it has to be looked at again each time.
        asks: whether to look at it again asks a `__cache_key__` of the user's.
        ignores: parameters that have a default and are never read.
        memo: for those who make something out of the digest.
    """

    __slots__ = (
        "__weakref__",
        "_before",
        "_changing",
        "_checks",
        "_described",
        "_how",
        "_known",
        "_named",
        "_names",
        "asks",
        "changes",
        "digest",
        "ignores",
        "memo",
    )

    def __init__(
        self,
        digest: Digest,
        walk: CodeTraversal,
        ignores: frozenset[str] = frozenset(),
        apart: bool = False,
    ) -> None:
        self.digest = digest
        self.changes = walk.changes
        self.ignores = ignores
        self._names = tuple(walk.names)
        self._checks = tuple(walk.checks)
        self._how = walk.modes, walk.without
        # The digests of functions, and of classes that do not change without their members: they
        # are the same as long as all else is. Their memo must not keep them.
        known = walk.visited(_CODE) if walk.changing else []
        self._known = [
            (weakref.ref(each), its) for each, its in known if id(each) not in walk.changing
        ]
        # Values that can change in place, and their digests. What is in a circle with a function
        # has another one by itself.
        self._changing = list(walk.changing.values())
        self.asks = any(hasattr(type(each), "__cache_key__") for each in self._changing)
        self._before = [walk.digest_of(value) for value in self._changing]
        if apart or None in self._before:
            try:
                self._before = [*self._digests()]
            except Unidentifiable:
                self.changes = True
        self._named = {
            name: walk.digest_of(what) or what
            for name, what in itertools.islice(walk.named.items(), _PARTS)
        }
        self.memo: dict[object, Digest] = {}
        self._described: dict[str, str] | None = None

    def holds(self) -> bool:
        """Whether every name still stands for the same object, and each of these is the same."""
        if self.changes:
            return False
        for namespace, name, value in self._names:
            if namespace.get(name, ABSENT) is not value:
                return False
        for check in self._checks:
            if not check():
                return False
        return not self._changing or self._is_unchanged()

    def _is_unchanged(self) -> bool:
        """Whether what can change in place has not: it is digested again, and nothing else is."""
        try:
            return self._digests() == self._before
        except Unidentifiable:
            return False

    def _digests(self) -> list[Digest]:
        walk = CodeTraversal(*self._how)
        walk.assume((each, its) for of, its in self._known if (each := of()) is not None)
        return [walk.digest(value) for value in self._changing]

    def parts(self) -> dict[str, str]:
        """A short digest of each function, class and constant by name, and packages' versions."""
        if self._described is None:
            self._described = {
                name: what.text if isinstance(what, Package) else _short(what)
                for name, what in self._named.items()
            }
        return self._described


_CODE = (types.FunctionType, type)
_PARTS = 200
"""At most so many parts of a function's code are remembered, to explain a change by."""


def _short(what: object) -> str:
    try:
        return (what if isinstance(what, bytes) else sign(what)).hex()[:8]
    except Unidentifiable:  # it was, but has changed since
        return "?"


def fingerprint(func: Callable[..., Any]) -> Digest:
    """The digest of a function and of all that it depends on.

    Args:
        func: the function, or anything that can be called.

    Returns:
        16 bytes.

    Raises:
        Unidentifiable: it depends on something that cannot be identified.

    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)  # and a comment
    True
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
    False
    """
    return code_of(func).digest


def code_of(func: Callable[..., Any], *, may_change: bool = False) -> Code:
    """What identifies a function's code.

    The answer is memoized while every name stands for the same object, and mutable constants are
    equal to what they were. For a function that is not of an imported module, it is memoized while
    somebody holds it.

    Args:
        func: the function, or anything that can be called.
        may_change: leave out what the code both reads and changes, in place of refusing it: for
            results that are good for a time, whatever has changed meanwhile.

    Returns:
        Its digest, and what it is made of.

    Raises:
        Unidentifiable: it depends on something that cannot be identified.
    """
    memo = _memo_may_change if may_change else _memo
    known = None
    if isinstance(func, types.FunctionType):
        known = memo[func]() if func in memo else None
        if known is not None and known.holds():
            return known
    modes: frozenset[str] = frozenset()
    without: frozenset[Place] = frozenset()
    # Whether docstrings count, say, is known once all that is in reach has been seen: something at
    # the far end may read them. So it is done again, with what was asked for, until nothing is new.
    while True:
        walk = CodeTraversal(modes, without)
        digest = walk.digest(func)
        if not is_unchanging(func):  # a method's object may change, and so may what can be called
            walk.depends(func)
            walk.note("its own object", func)
        changed = walk.changed()
        if changed and not may_change:
            raise changes_what_it_reads(*next(iter(changed.values())))
        if walk.reach.passes_to_strangers():
            walk.asked.add("text")
        if walk.asked <= modes and changed.keys() <= without:
            break
        modes |= walk.asked
        without |= changed.keys()
    # Nothing has changed, and yet it looked so: it is compared by other digests from now on.
    code = Code(digest, walk, apart=known is not None and known.digest == digest)
    if isinstance(func, types.FunctionType):
        code.ignores = functions.settings_of(func)[0]
        module = sys.modules.get(func.__module__)
        stays = func.__globals__ is getattr(module, "__dict__", None)
        memo[func] = partial(_itself, code) if stays else weakref.ref(code)
    return code


def _itself(code: Code) -> Code:
    return code


def code_vouched_for(what: object, version: str) -> Code:
    """Code that is not looked at, since somebody says what identifies it.

    Args:
        what: which code it is, as a value.
        version: what identifies it.

    Returns:
        The same as `code_of`.

    Raises:
        Unidentifiable: `what` cannot be identified.
    """
    walk = CodeTraversal()
    walk.note("code_version", version)
    return Code(walk.digest(["vouched for", what, version]), walk)


_Memo = weakref.WeakKeyDictionary[types.FunctionType, Callable[[], Code | None]]
# Code refers to the globals of its functions. Those of a module stay anyway; where they are of a
# namespace that may go (`exec`, a script that is loaded again), the function would never go: such
# code lives as long as whoever asked for it, a node.
_memo: _Memo = weakref.WeakKeyDictionary()
_memo_may_change: _Memo = weakref.WeakKeyDictionary()
