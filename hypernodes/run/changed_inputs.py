"""Nodes that change their inputs in place, found out before something wrong is stored.

A value that a node made is identified by how it was made. If another node sorts it, what is made
from it afterwards would be stored as if it had been made from the unsorted one. So inputs are
identified by content before and after a node's first calls in a process, and now and then later:

    begin       before the call: what its inputs are
    end         after it: whether they still are; if not the node is warned of, and nothing that
                was made from a changed value is stored

A node that was found out is never cached again in this process, and is not checked again.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import fractions
import gc
import os
import pathlib
import time
import types
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hypernodes.cache.lazy_value import LAZY, CachedList
from hypernodes.cache.node_cache import RunCache, Warnings
from hypernodes.identity.values import Digest, Unidentifiable, sign
from hypernodes.node import Node
from hypernodes.plan import Plan, Step
from hypernodes.run.state import UNKNOWN, RunState

FIRST_CALLS = 3
"""So many calls of a node are checked in any case, by which most of those that change are found."""
LONG = 0.1
"""But only the first where a check takes so many seconds: the inputs are large."""
SHARE = 0.05
"""Later ones are checked as long as all checks take so much of the time that the calls take."""
REACH = 50_000
"""So many objects of a value are looked at; one that has more may share any of them."""


def changes_inputs(node: Node[..., Any]) -> bool:
    """Whether a node has been found to change an input."""
    return bool(_changers) and weakref.ref(_who(node)) in _changers


class Watch:
    """What is known of one function's calls.

    Attributes:
        changed: the inputs that it changes.
        suspected: it may be the one that changes an input, or one that ran at the same time.
    """

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.suspected = False
        self._checks = 0
        self._seconds = 0.0
        self._longest = 0.0
        self._called = 0.0
        self._is_elsewhere = False

    def is_due(self) -> bool:
        """Whether its next call is to be checked."""
        if self.suspected or not self._checks:
            return True
        if self._is_elsewhere:  # its inputs are copies, in another process
            return False
        if self._checks < FIRST_CALLS and self._longest < LONG:
            return True
        return self._seconds + self._longest <= SHARE * self._called

    def note_call(self, seconds: float, worker: tuple[int, str] | None) -> None:
        """Note how long a call took, and where."""
        self._called += seconds
        self._is_elsewhere = worker is not None and worker[0] != os.getpid()

    def note_check(self, seconds: float) -> None:
        """Note how long a check took."""
        self._checks += 1
        self._seconds += seconds
        self._longest = max(self._longest, seconds)


class Check:
    """One call that is checked.

    Attributes:
        inputs: for each input that may change: its name, its value and what identified it.
        seconds: how long it took to identify them.
        beside: the nodes that were called with one of the same values at the same time.
        stored: what such nodes stored that were not checked themselves: caches and keys.
    """

    __slots__ = ("beside", "inputs", "seconds", "stored", "watch")

    def __init__(self, watch: Watch, inputs: list[tuple[str, Any, Digest]], seconds: float) -> None:
        self.watch = watch
        self.inputs = inputs
        self.seconds = seconds
        self.beside: dict[str, Watch] = {}
        self.stored: list[tuple[Any, Sequence[Digest]]] = []


class Changes:
    """What was changed in place in one run, and the calls that are being checked.

    Attributes:
        values: by object identity, the values that were changed and the node that did it. They
            are kept alive here: else another object could get the identity.
        running: the calls that are being checked, by the identities of their inputs.

    Args:
        lock: guards what threads share.
        warn: is told of nodes that change an input.
    """

    def __init__(self, lock: Any, warn: Warnings) -> None:
        self._lock = lock
        self._warn = warn
        self.values: dict[int, tuple[Any, str]] = {}
        self.running: dict[int, list[tuple[str, Check]]] = {}
        self._reached: dict[int, tuple[Any, set[int] | None]] = {}

    def by(self, value: Any) -> str | None:
        """The node that changed a value; None where none did."""
        known = self.values.get(id(value))
        return None if known is None else known[1]

    def begin(self, state: RunState, step: Step) -> Check | Watch | None:
        """Look at the inputs of a call; what it returns is for `end`."""
        slots = state.slots
        for slot in step.reads:
            if type(slots[slot]) not in _PLAIN and not is_immutable(slots[slot]):
                break
        else:
            return None
        watch = _watch_of(state.plan, step)
        if watch.changed or not watch.is_due():
            return watch
        begun = time.perf_counter()
        inputs = []
        for name, slot in step.inputs:
            value = slots[slot]
            if is_immutable(value):
                continue
            # What the engine was called with is identified by its content already.
            is_root = state.outer is None and slot in state.plan.given.values()
            known = state.signatures[slot] if is_root else None
            if known is None:
                known = _content(value)
                if is_root:
                    state.signatures[slot] = known
            if known:
                inputs.append((name, value, known))
        check = Check(watch, inputs, time.perf_counter() - begun)
        with self._lock:
            for _, value, _ in inputs:
                running = self.running.setdefault(id(value), [])
                for name, other in running:
                    check.beside[name] = other.watch
                    other.beside[step.id] = watch
                running.append((step.id, check))
        return check

    def end(
        self,
        run_cache: RunCache | None,
        state: RunState,
        step: Step,
        watching: Check | Watch,
        seconds: float,
        worker: tuple[int, str] | None,
    ) -> bool:
        """Whether the call has changed its inputs, or worked with some that were changed."""
        is_here = worker is None or worker[0] == os.getpid()
        slots = dict(step.inputs)
        if isinstance(watching, Watch):
            watching.note_call(seconds, worker)
            names = [name for name in slots if name in watching.changed] if is_here else []
            for name in names:
                self._tell(step, name)
        else:
            names = self._differing(step, watching, is_here)
            watching.watch.note_call(seconds, worker)
        for name in names:
            self._spread(run_cache, state, step.id, slots[name])
        if not names:
            return bool(self.values) and any(self.by(state.slots[slot]) for slot in step.reads)
        state.ahead = None  # it relied on what no longer identifies anything
        return True

    def leave(self, step: Step, watching: Check | Watch | None) -> None:
        """Note that a call is over, or never took place."""
        if isinstance(watching, Check):
            with self._lock:
                for _, value, _ in watching.inputs:
                    running = self.running[id(value)]
                    running.remove((step.id, watching))
                    if not running:
                        del self.running[id(value)]

    def note_stored(
        self, cache: Any, keys: Sequence[Digest], state: RunState, step: Step, watching: Any
    ) -> None:
        """Note what was stored by a call that was not checked, beside one that is."""
        if not isinstance(watching, Check):
            with self._lock:
                for slot in step.reads:
                    for _, check in self.running.get(id(state.slots[slot]), ()):
                        check.stored.append((cache, keys))

    def _differing(self, step: Step, check: Check, is_here: bool) -> list[str]:
        begun = time.perf_counter()
        names = []
        if is_here:
            names = [name for name, value, before in check.inputs if _content(value) != before]
            check.watch.note_check(check.seconds + time.perf_counter() - begun)
        self.leave(step, check)
        if not names:
            return names
        others = sorted(name for name, watch in check.beside.items() if watch is not check.watch)
        if others:
            check.watch.suspected = True
        else:
            check.watch.changed.update(names)
            node = step.node
            assert isinstance(node, Node)
            _changers.add(weakref.ref(_who(node), _changers.discard))
        for name in names:
            self._tell(step, name, others)
        for cache, keys in check.stored:
            self._remove(cache, keys)
        return names

    def _tell(self, step: Step, name: str, others: Sequence[str] = ()) -> None:
        either = f" (or {', '.join(map(repr, others))} does, at the same time)" if others else ""
        self._warn(
            f"node {step.id!r} changes its input {name!r} in place{either}: neither its result nor "
            f"what other nodes make of {name!r} afterwards is kept. Let it make a copy first: "
            f"{name} = copy.deepcopy({name}), or sorted({name}) in place of {name}.sort()"
        )

    # -- What shares memory with a changed value -------------------------------------------------

    def _spread(self, run_cache: RunCache | None, state: RunState, by: str, slot: int) -> None:
        """Note a changed value, and with it all values that share some of it."""
        value = state.slots[slot]
        if is_immutable(value):  # another one than that which was changed
            return
        with self._lock:
            places = list(self._places_of(run_cache, state, value))
            for _, there, at in places:
                shared = there.slots[at]
                self.values[id(shared)] = (shared, by)
            self.values[id(value)] = (value, by)
        if len(places) > 1:
            # From the cache each would come as a copy of its own, and share nothing any more.
            for where, there, at in places:
                self._forget(where, there, at)

    def _places_of(
        self, run_cache: RunCache | None, state: RunState, value: Any
    ) -> Iterator[tuple[RunCache | None, RunState, int]]:
        """The slots that have a value or share some of it, in a state and those around it."""
        reach = _reach(value)
        where: tuple[RunCache | None, RunState] | None = (run_cache, state)
        while where is not None:
            run_cache, state = where
            given = state.plan.given.values()
            for slot, other in enumerate(state.slots):
                if state.outer is not None and slot in given:
                    continue  # it is one of the state around
                if other is value or self._shares(reach, other, state.signatures[slot]):
                    yield run_cache, state, slot
            where = None if state.outer is None else state.outer.place

    def _shares(self, reach: set[int] | None, other: Any, signature: Digest | None) -> bool:
        # One that nobody has identified yet will be by its content, as it is then.
        if not signature or id(other) in self.values or is_immutable(other):
            return False
        if type(other) in LAZY and type(other) is not CachedList:
            return False
        known = self._reached.get(id(other))
        if known is None:
            known = self._reached[id(other)] = (other, _reach(other))
        theirs = known[1]
        return reach is None or theirs is None or not reach.isdisjoint(theirs)

    def _forget(self, run_cache: RunCache | None, state: RunState, slot: int) -> None:
        """Remove the entries of the node that made a slot's value."""
        signatures = state.signatures
        if run_cache is None:
            return
        for step in state.plan.steps:
            if slot not in {made for _, made in step.outputs}:
                continue
            if not isinstance(step.node, Node):
                self._remove(run_cache.cache, [signatures[slot] or UNKNOWN])
                continue
            digests = [signatures[each] or UNKNOWN for each in step.reads]
            if UNKNOWN not in digests:
                with contextlib.suppress(Unidentifiable):
                    self._remove(run_cache.cache, run_cache.of(step).keys(digests))

    def _remove(self, cache: Any, keys: Iterable[Digest]) -> None:
        try:
            for key in keys:
                cache.remove(key.hex())
        except Exception as error:
            self._warn(f"an entry that may be wrong cannot be removed ({error!r})", "remove")


# -- Values --------------------------------------------------------------------------------------


def is_immutable(value: Any) -> bool:
    """Whether nothing can be changed in a value.

    >>> [is_immutable(each) for each in (1, "a", (1, ("b",)), [1], ([],))]
    [True, True, True, False, False]
    """
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is tuple or kind is frozenset:
        return set(map(type, value)) <= _PLAIN or all(map(is_immutable, value))
    known = _kinds.get(kind)
    if known is None:
        known = _kinds[kind] = issubclass(kind, _FIXED) or _is_of_library(kind)
    return known


_kinds: dict[type, bool] = {}
_PLAIN = frozenset({
    type(None), type(Ellipsis), bool, int, float, complex, str, bytes, range, decimal.Decimal,
    fractions.Fraction, uuid.UUID, datetime.date, datetime.datetime, datetime.time,
    datetime.timedelta, datetime.timezone, pathlib.PosixPath, pathlib.WindowsPath,
    pathlib.PurePosixPath, pathlib.PureWindowsPath,
})  # fmt: skip
_FIXED = (
    type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType,
    enum.Enum,
)  # fmt: skip


def _is_of_library(kind: type) -> bool:
    root = str(kind.__module__).partition(".")[0]
    if root == "numpy":  # its scalars and types, which have no items to set
        return not hasattr(kind, "__setitem__")
    return root == "pyarrow"  # Polars' frames and series do change


def _content(value: Any) -> Digest:
    try:
        return sign(value)
    except Unidentifiable:
        return UNKNOWN


def _reach(value: Any) -> set[int] | None:
    """The ids of all that can be changed in a value; None where that is too much.

    Arrays that are views of one memory reach the same owner of it.
    """
    found: set[int] = set()
    seen: set[int] = set()
    pending = [value]
    while pending:
        each = pending.pop()
        if id(each) in seen or type(each) in _PLAIN:
            continue
        seen.add(id(each))
        if len(seen) > REACH:
            return None
        kind = type(each)
        if isinstance(each, _FIXED) or _is_of_library(kind) or kind in _DEAD_ENDS:
            continue
        if kind.__module__.startswith("pandas") and kind.__name__.endswith(_SHARED_BY_COPIES):
            continue
        if kind is not tuple and kind is not frozenset:
            found.add(id(each))
        pending += gc.get_referents(each)
        # What the garbage collector cannot tell, since it lies outside of Python's objects:
        if kind is memoryview:
            pending.append(each.obj)
        elif kind.__module__ == "numpy" and hasattr(each, "base"):
            pending.append(each.base)
            if each.dtype.hasobject:
                pending += each.ravel().tolist()
        elif hasattr(each, "untyped_storage"):  # PyTorch: tensors over one memory
            found.add(each.untyped_storage().data_ptr())
    return found


_DEAD_ENDS = (LAZY - {CachedList}) | {weakref.ref, slice, object}
_SHARED_BY_COPIES = ("Index", "Dtype", "BlockPlacement", "BlockValuesRefs")
"""Ends of the names of what a frame of pandas has in common with its copy: none of it changes."""


def _who(node: Node[..., Any]) -> Any:
    """What stands for a node's function: nodes of the same function are one."""
    is_plain = isinstance(node.identity, types.FunctionType)
    return node.identity if is_plain else node


_watches: weakref.WeakKeyDictionary[Any, Watch] = weakref.WeakKeyDictionary()
_changers: set[weakref.ref[Any]] = set()


def _watch_of(plan: Plan, step: Step) -> Watch:
    """The watch of a step's function, which all pipelines that have it share."""
    watches: list[Watch | None] | None = plan.kept.get("watches")
    if watches is None:
        watches = plan.kept["watches"] = [None] * len(plan.steps)
    watch = watches[step.index]
    if watch is None:
        node = step.node
        assert isinstance(node, Node)
        watch = watches[step.index] = _watches.setdefault(_who(node), Watch())
    return watch
