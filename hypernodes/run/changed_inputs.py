"""Finds nodes that change their inputs in place, before a wrong result is stored.

A node's output is identified by how it was made. If another node sorts it in place, later results
would be stored as if they had been made from the unsorted value. So inputs are hashed before and
after a node's first calls in a process, and now and then later:

    begin       before the call: hash the inputs
    end         after it: hash them again; if they differ, warn, and store nothing that is made
                from a changed value

A node that changes an input is never cached again in this process, and is not checked again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypernodes.cache.lazy_value import LAZY, CachedList
from hypernodes.cache.node_cache import RunCache, Warnings, joined
from hypernodes.identity.values import Digest, Unidentifiable, sign
from hypernodes.node import Node
from hypernodes.plan import NestedNode, Plan, Step
from hypernodes.run.shared_memory import PLAIN, Reach, has_buffers, is_immutable, plain_parts
from hypernodes.run.state import UNKNOWN, RunState

FIRST_CALLS = 3
"""How many calls of a node are always checked: most nodes that change inputs do it at once."""
LONG = 0.1
"""In seconds: if a check takes longer, only the first call is always checked."""
SHARE = 0.05
"""The share of its calls' time that a node's later checks may take."""


def changes_inputs(node: Node[..., Any]) -> bool:
    """Whether a node has been found to change an input."""
    return bool(_changers) and weakref.ref(_function_of(node)) in _changers


class Watch:
    """What is known of one function's calls, in this process.

    Attributes:
        changed: the inputs that it changes.
        suspected: it changes an input, or another function that ran at the same time does.
    """

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.suspected = False
        self._checks = 0
        self._seconds = 0.0
        self._longest = 0.0
        self._called = 0.0
        self._in_vain = 0.0

    def is_due(self) -> bool:
        """Whether to check its next call."""
        if self._in_vain > LONG + SHARE * self._called:  # other processes change copies only
            return False
        if self.suspected or not self._checks:
            return True
        if self._checks < FIRST_CALLS and self._longest < LONG:
            return True
        return self._seconds + self._longest <= SHARE * self._called

    def note_call(self, seconds: float) -> None:
        """Note how long a call took."""
        self._called += seconds

    def note_check(self, seconds: float, in_vain: bool = False) -> None:
        """Note how many seconds a check took; in vain where the call was in another process."""
        if in_vain:
            self._in_vain += seconds
            return
        self._checks += 1
        self._seconds += seconds
        self._longest = max(self._longest, seconds)


@dataclass(eq=False, slots=True)
class Check:
    """One call that is checked, or that is known to change an input.

    Attributes:
        inputs: for each mutable input its name, value and digest before the call; None for one
            that is known to be changed.
        seconds: how long hashing them took.
        beside: the nodes that were called with the same values at the same time, or with some that
            share memory with them.
        since: how much had been stored beside other calls when it began; see `Changes`.
    """

    watch: Watch
    inputs: list[tuple[str, Any, Digest | None]]
    seconds: float
    beside: dict[str, Watch] = field(default_factory=dict)
    since: int = 0
    _reaches: list[Reach] | None = None

    def shares(self, other: Check) -> bool:
        """Whether another call has one of the same values, or one that shares memory with one."""
        own = {id(value) for _, value, _ in self.inputs}
        if any(id(value) in own for _, value, _ in other.inputs):
            return True
        return any(mine.touches(each) for mine in self.reaches() for each in other.reaches())

    def reaches(self) -> list[Reach]:
        """What of its inputs can be changed."""
        if self._reaches is None:
            self._reaches = [Reach(value) for _, value, _ in self.inputs]
        return self._reaches


class Stored(NamedTuple):
    """What a call stored while others were being checked: they may turn out to change its inputs.

    Attributes:
        read: the `id`s of its inputs that can be changed.
        signatures: what identified its inputs.
        cache, keys: where its outputs are.
        identities: what identifies them as inputs of other nodes.
    """

    read: set[int]
    signatures: set[Digest | None]
    cache: Any
    keys: Sequence[Digest]
    identities: Sequence[Digest]


class Changes:
    """What was changed in place in one run, and the calls that are being checked.

    Attributes:
        values: by `id`, the values that were changed and the node that did it. They stay alive
            here: else another object could get the same `id`.
        running: the calls that are being checked, each with its node's id.
        wrong: what identifies values that are not what it says: they were made, before anybody
            knew, from one that was changed.

    Args:
        lock: guards what threads share.
        warn: warns of nodes that change an input.
    """

    def __init__(self, lock: Any, warn: Warnings) -> None:
        self._lock = lock
        self._warn = warn
        self.values: dict[int, tuple[Any, str]] = {}
        self.running: list[tuple[str, Check]] = []
        self.wrong: set[Digest] = set()
        self._stored: list[Stored] = []
        self._doubtful: set[Digest] = set()  # the identities in it
        self._reached: dict[int, tuple[Any, Reach]] = {}
        # Those with values that can be changed, and what stores what is made in them.
        self._states: weakref.WeakKeyDictionary[RunState, RunCache | None] = (
            weakref.WeakKeyDictionary()
        )

    def by(self, value: Any) -> str | None:
        """The node that changed a value; None if none did."""
        known = self.values.get(id(value))
        return None if known is None else known[1]

    def begin(
        self, run_cache: RunCache | None, state: RunState, step: Step
    ) -> Check | Watch | None:
        """Hash a call's inputs, if the call is to be checked.

        Args:
            run_cache: stores what is made in the state.
            state: has the inputs.
            step: the node's step.

        Returns:
            What `end` and `leave` need; None if no input can change.
        """
        slots = state.slots
        for slot in step.reads:
            if type(slots[slot]) not in PLAIN and not is_immutable(slots[slot]):
                break
        else:
            return None
        with self._lock:
            self._states[state] = run_cache
        watch = _watch_of(state.plan, step)
        is_known = bool(watch.changed)
        if not is_known and not watch.is_due():
            return watch
        begun = time.perf_counter()
        inputs: list[tuple[str, Any, Digest | None]] = []
        for name, slot in step.inputs:
            value = slots[slot]
            if is_immutable(value) or (is_known and name not in watch.changed):
                continue
            # An input of the outermost pipeline is identified by its content anyway: hash it once.
            is_root = state.outer is None and slot in state.plan.given.values()
            is_root = is_root and id(value) not in self.values  # else that was before the change
            known = state.signatures[slot] if is_root else None
            if known is None and (is_root or not is_known):
                known = _content(value)
                if is_root:
                    state.signatures[slot] = known
            if is_known or known:
                inputs.append((name, value, None if is_known else known))
            else:
                inputs += [(name, part, _content(part)) for part in plain_parts(value)]
        check = Check(watch, inputs, time.perf_counter() - begun)
        with self._lock:
            check.since = len(self._stored)
            for name, other in self.running:
                if check.shares(other):
                    check.beside[name] = other.watch
                    other.beside[step.id] = watch
            self.running.append((step.id, check))
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
        """Compare the inputs with what they were.

        Args:
            run_cache: loses the entries of what was changed.
            state, step: as for `begin`.
            watching: what `begin` returned.
            seconds: how long the call took.
            worker: where it was; see `NodeRecord.worker`.

        Returns:
            Whether the call changed an input, or one had been changed before.
        """
        changed: Mapping[str, Sequence[Any]] = {}
        watch = watching if isinstance(watching, Watch) else watching.watch
        if isinstance(watching, Check):
            try:
                if worker is None or worker[0] == os.getpid():
                    changed = self._differing(run_cache, state, step, watching)
                else:  # it had copies
                    watch.note_check(watching.seconds, in_vain=True)
                for value in itertools.chain(*changed.values()):
                    self._spread(run_cache, state, step.id, value, watching)
            finally:
                self.leave(step, watching)
        watch.note_call(seconds)
        if changed:
            state.ahead = None  # it was worked out from signatures that no longer hold
            return True
        return bool(self.values) and any(
            self.by(state.slots[slot]) or state.signatures[slot] in self.wrong
            for slot in step.reads
        )

    def leave(self, step: Step, watching: Check | Watch | None) -> None:
        """Note that a call is over, or never took place; see `begin`."""
        if isinstance(watching, Check):
            with self._lock:
                self.running.remove((step.id, watching))
                if not self.running:
                    self._stored.clear()
                    self._doubtful.clear()

    def note_stored(
        self,
        cache: Any,
        keys: Sequence[Digest],
        identities: Sequence[Digest],
        state: RunState,
        step: Step,
    ) -> None:
        """Note what a call stored, in case one that is being checked changes what it read.

        Args:
            cache, keys, identities: see `Stored`.
            state, step: as for `begin`.
        """
        values = [state.slots[slot] for slot in step.reads]
        read = {id(value) for value in values if not is_immutable(value) or has_buffers(value)}
        self._note(Stored(read, {state.signatures[s] for s in step.reads}, cache, keys, identities))

    def join(self, kind: str, parts: Sequence[Digest]) -> Digest | None:
        """What identifies a list by what identifies its elements; None if one of these is wrong."""
        if not self.wrong.isdisjoint(parts):
            return None
        whole = joined(kind, parts)
        if self.running:
            self._note(Stored(set(), set(parts), None, (), (whole,)))
        return whole

    def _note(self, stored: Stored) -> None:
        with self._lock:
            if self.running and (stored.read or not self._doubtful.isdisjoint(stored.signatures)):
                self._stored.append(stored)
                self._doubtful.update(stored.identities)

    def _differing(
        self, run_cache: RunCache | None, state: RunState, step: Step, check: Check
    ) -> Mapping[str, Sequence[Any]]:
        """What a call has changed of its inputs, by name; it warns of them."""
        begun = time.perf_counter()
        watch = check.watch
        slots = dict(step.inputs)
        names: dict[str, list[Any]] = {}
        for name, value, before in check.inputs:
            if before is not None and _content(value) == before:
                continue
            is_part = value is not state.slots[slots[name]]
            if is_part and not any(self._places_of(Reach(value), run_cache, state, value)):
                continue  # the state of a connection, say, which nobody else reads
            names.setdefault(name, []).append(value)
        watch.note_check(check.seconds + time.perf_counter() - begun)
        others: list[str] = []
        if names and not watch.changed:
            others = sorted(name for name, other in check.beside.items() if other is not watch)
            if others:
                watch.suspected = True
            else:
                watch.changed.update(names)
                _changers.add(weakref.ref(_function_of(step.node), _changers.discard))
        for name in names:
            self._report(step, name, others)
        return names

    def _report(self, step: Step, name: str, others: Sequence[str] = ()) -> None:
        either = f" (or {', '.join(map(repr, others))} does, at the same time)" if others else ""
        self._warn(
            f"node {step.id!r} changes its input {name!r} in place{either}: neither its result nor "
            f"what other nodes make of {name!r} afterwards is cached. Let it make a copy first: "
            f"{name} = copy.deepcopy({name}), or sorted({name}) in place of {name}.sort()"
        )

    # -- What shares memory with a changed value -------------------------------------------------

    def _spread(
        self, run_cache: RunCache | None, state: RunState, by: str, value: Any, check: Check
    ) -> None:
        """Mark a value as changed, and all values that share memory with it or were made of it."""
        reach = Reach(value)
        with self._lock:
            places = list(self._places_of(reach, run_cache, state, value))
            for _, there, at in places:
                shared = there.slots[at]
                self.values[id(shared)] = (shared, by)
            self.values[id(value)] = (value, by)
            touched = None if reach.ids is None else reach.ids | self.values.keys()
            spoiled = []
            for stored in self._stored[check.since :]:
                is_touched = touched is None or not touched.isdisjoint(stored.read)
                if is_touched or not self.wrong.isdisjoint(stored.signatures):
                    self.wrong.update(stored.identities)
                    spoiled.append(stored)
        for stored in spoiled:
            self._remove(stored.cache, stored.keys)
        if len(places) > 1:
            # Loaded from the cache they would be separate copies: a later run would differ.
            for where, there, at in places:
                self._forget(where, there, at)

    def _places_of(
        self, reach: Reach, run_cache: RunCache | None, state: RunState, value: Any
    ) -> Iterator[tuple[RunCache | None, RunState, int]]:
        """The slots that hold a value or share memory with it: of any state that has been seen."""
        states = {state: run_cache, **self._states}
        for each in [*states]:
            while each.outer is not None and each.outer.place is not None:
                cache, each = each.outer.place
                states.setdefault(each, cache)
        for there, cache in states.items():
            given = there.plan.given.values()
            for slot, other in enumerate(there.slots):
                if there.outer is not None and slot in given:
                    continue  # the outer state has it too
                if other is value or self._shares(reach, other, there.signatures[slot]):
                    yield cache, there, slot

    def _shares(self, reach: Reach, other: Any, signature: Digest | None) -> bool:
        # A value without a signature will be hashed later, as it is then.
        if not signature or id(other) in self.values:
            return False
        if is_immutable(other) and not has_buffers(other):
            return False
        if type(other) in LAZY and type(other) is not CachedList:
            return False
        known = self._reached.get(id(other))
        if known is None:
            known = self._reached[id(other)] = (other, Reach(other))
        return reach.touches(known[1])

    def _forget(self, run_cache: RunCache | None, state: RunState, slot: int) -> None:
        """Remove the cache entries of the node that made a slot's value."""
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


def _content(value: Any) -> Digest:
    try:
        return sign(value)
    except Unidentifiable:
        return UNKNOWN


def _function_of(node: Node[..., Any] | NestedNode) -> Any:
    """The function that nodes share a watch by; the node itself if it has none that is plain."""
    identity = node.identity if isinstance(node, Node) else None
    return identity if isinstance(identity, types.FunctionType) else node


_watches: weakref.WeakKeyDictionary[Any, Watch] = weakref.WeakKeyDictionary()
_changers: set[weakref.ref[Any]] = set()


def _watch_of(plan: Plan, step: Step) -> Watch:
    """The watch of a step's function, which all pipelines share."""
    watches: list[Watch | None] | None = plan.memo.get("watches")
    if watches is None:
        watches = plan.memo["watches"] = [None] * len(plan.steps)
    watch = watches[step.index]
    if watch is None:
        watch = watches[step.index] = _watches.setdefault(_function_of(step.node), Watch())
    return watch
