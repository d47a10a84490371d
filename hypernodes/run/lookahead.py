"""Looking ahead: whether anybody will need what a missing entry stood for.

A node whose entry has gone (evicted, or never stored since it cannot be pickled) need not run
where all that is made from it is in the cache. What identifies an output does not depend on its
value, so the keys of the nodes that follow can be told without running anything:

    forward     what will identify each value, from what is known
    backward    from the outputs asked for: a node that is needed and in the cache reads nothing;
                one that is needed and missing needs what it reads

Both passes go over the plan once, at the first miss of a walk, so a cold run stays linear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypernodes.cache.lazy_value import LAZY, CachedList, CachedValue
from hypernodes.cache.node_cache import NodeCache, RunCache, joined
from hypernodes.identity.values import Digest, Unidentifiable, sign
from hypernodes.node import Node
from hypernodes.plan import NestedNode, Plan, Step
from hypernodes.run.resolve import Resolved
from hypernodes.run.state import UNKNOWN, RunState

ABSENT = object()
"""In a slot of a nested pipeline's state: its value is not there yet."""


def is_needless(settings: Resolved, state: RunState, step: Step) -> bool:
    """Whether nobody needs what a node would make that is not in the cache.

    Args:
        settings: what the node's pipeline runs with.
        state: the node's state.
        step: the node's step; its inputs have been identified, and it is a miss.
    """
    ahead = state.ahead
    if ahead is None:
        for _, slot in step.outputs:
            if _is_surely_read(settings, state, slot):
                return False
        ahead = state.ahead = Ahead(settings, state)
    return not ahead.wanted(step)


def note_result(state: RunState, step: Step) -> None:
    """Forget what was foreseen, where a step has brought something that could not be."""
    if state.ahead is not None and state.ahead.lacks(step):
        state.ahead = None


async def make_skipped(state: RunState, step: Step) -> None:
    """Run the skipped nodes that a step depends on, which is to run after all.

    The earliest comes first: were each to ask for its own inputs, a long chain would be deeper
    than Python's stack.
    """
    if not state.skipped:
        return
    needed, chain = set(step.reads), []
    for each in reversed(state.plan.steps[: step.index]):
        if each.index in state.skipped and not needed.isdisjoint(_written(state.plan)[each.index]):
            chain.append(each)
            needed.update(each.reads)
    for each in reversed(chain):
        state.skipped.discard(each.index)
        await state.value(each.outputs[0][1])


class Outer:
    """Where the state of a nested pipeline is nested: who reads what it returns.

    Args:
        settings: what the outer pipeline runs with.
        state: the outer state.
        step: the nested pipeline's step in it.
        plan: the nested pipeline's own plan.
    """

    def __init__(self, settings: Resolved, state: RunState, step: Step, plan: Plan) -> None:
        node = step.node
        assert not isinstance(node, Node)
        self._settings = settings
        self._state = state
        self._step = step
        self._slots = {plan.returns[node.inner_outputs[name]]: slot for name, slot in step.outputs}
        self._is_mapped = bool(node.mapped)
        self._wanted_of_items: set[int] | None = None

    @property
    def place(self) -> tuple[RunCache | None, RunState]:
        """The cache of the outer pipeline's nodes, and its state."""
        return self._settings.run_cache, self._state

    def is_surely_read(self, slot: int) -> bool:
        """Whether an inner slot is read whatever the cache has."""
        return _is_surely_read(self._settings, self._state, self._slots[slot])

    def wanted(self, inner: Ahead) -> set[int]:
        """The inner slots that somebody outside needs."""
        if not self._is_mapped:
            return self._ask({slot: inner.signature(own) for own, slot in self._slots.items()})
        if self._wanted_of_items is None:
            # The items of a map ask from their own threads, and all get the same answer.
            with self._settings.session.lock:
                if self._wanted_of_items is None:
                    self._wanted_of_items = self._ask({})
        return self._wanted_of_items

    def all_wanted(self) -> set[int]:
        """The same for all items of a map, before one of them is looked at."""
        if all(map(self.is_surely_read, self._slots)):
            return set(self._slots)
        with self._settings.session.lock:
            return self._ask({})

    def _ask(self, made: Mapping[int, Digest]) -> set[int]:
        ahead = self._state.ahead
        if not isinstance(ahead, Ahead):
            ahead = self._state.ahead = Ahead(self._settings, self._state)
        if any(ahead.signature(slot) != digest for slot, digest in made.items()):
            # Inside, more is known by now than could be foreseen from outside.
            ahead = Ahead(self._settings, self._state, made)
        wanted = ahead.wanted(self._step)
        return {own for own, slot in self._slots.items() if slot in wanted}


class Decided:
    """The same for items in another process: it has been told what is needed.

    Args:
        wanted: the slots that somebody outside needs.
    """

    place = None

    def __init__(self, wanted: Iterable[int]) -> None:
        self._wanted = set(wanted)

    def is_surely_read(self, slot: int) -> bool:
        return slot in self._wanted

    def wanted(self, inner: Ahead) -> set[int]:
        return self._wanted

    def all_wanted(self) -> set[int]:
        return self._wanted


class Ahead:
    """What can be told of a walk over a state before it gets there.

    Args:
        settings: what its pipeline runs with.
        state: its state.
        made: what identifies some slots, where that is known better than from here.
    """

    __slots__ = (
        "_at",
        "_has_asked",
        "_inner",
        "_keys",
        "_lacking",
        "_settings",
        "_signatures",
        "_state",
        "_wanted",
        "_written",
    )  # fmt: skip

    def __init__(
        self, settings: Resolved, state: RunState, made: Mapping[int, Digest] | None = None
    ) -> None:
        self._settings = settings
        self._state = state
        self._signatures = state.signatures.copy()
        self._written = _written(state.plan)
        self._keys: dict[int, tuple[list[Digest], tuple[Digest, ...]]] = {}
        self._inner: dict[int, Ahead] = {}
        self._lacking: set[int] = set()
        self._has_asked = state.outer is None
        self.want(state.plan.returns.values())
        for slot, digest in (made or {}).items():
            self._signatures[slot] = digest
        signatures = self._signatures
        for step in state.plan.steps:
            if signatures[step.outputs[0][1]] is None:
                self._foresee(step)

    def lacks(self, step: Step) -> bool:
        """Whether more could be told if a step's outputs were there."""
        return not self._lacking.isdisjoint(self._written[step.index])

    def keys(self, kept: NodeCache, step: Step, inputs: Sequence[Digest]) -> tuple[Digest, ...]:
        """The keys of a step's outputs: those that were foreseen, if its inputs were."""
        known = self._keys.get(step.index)
        return known[1] if known is not None and known[0] == inputs else kept.keys(inputs)

    # -- Forward: what will identify each value --------------------------------------------------

    def signature(self, slot: int) -> Digest:
        """What will identify a slot's value; `UNKNOWN` where that cannot be told."""
        known = self._signatures[slot]
        if known is None:
            value = self._state.slots[slot]
            if not self._is_there(slot) or type(value) in LAZY:
                self._lacking.add(slot)
                known = UNKNOWN
            else:  # who reads it would have to identify it as well
                known = self._state.signatures[slot] = _sign(value)
            self._signatures[slot] = known
        return known

    def _is_there(self, slot: int) -> bool:
        value = self._state.slots[slot]
        # A None that a node has made is taken for nothing yet: that costs a look ahead, no more.
        is_given = value is not None or slot in self._state.plan.given.values()
        return is_given and value is not ABSENT

    def _foresee(self, step: Step) -> None:
        if not isinstance(step.node, Node):
            self._foresee_nested(step, step.node)
            return
        run_cache = self._settings.run_cache
        if run_cache is None or not self._settings.is_cached(step.node):
            return
        digests = []
        for slot in step.reads:
            digest = self._signatures[slot]
            if digest is None:
                digest = self.signature(slot)
            if not digest:
                return
            digests.append(digest)
        try:
            kept = run_cache.of(step)
        except Unidentifiable:
            return
        keys = kept.keys(digests)
        self._keys[step.index] = digests, keys
        if step.node.options.ttl is None:
            identities = kept.identities(keys, 0.0)
        else:  # what identifies it tells when it was made
            found = kept.find(keys, self._settings.session.warn)
            if found is None:
                return
            _, identities = found
        for (_, slot), identity in zip(step.outputs, identities, strict=True):
            self._signatures[slot] = identity

    def _foresee_nested(self, step: Step, node: NestedNode) -> None:
        base = self._base_inside(step, node)
        if base is None:
            return
        inside, state = base
        if not node.mapped:
            inner = self._inner[step.index] = Ahead(inside, state)
            for name, slot in step.outputs:
                source = state.plan.returns[node.inner_outputs[name]]
                self._signatures[slot] = inner.signature(source)
            return
        items = self._items(step, node)
        if items is None:
            return
        sources = [state.plan.returns[node.inner_outputs[name]] for name, _ in step.outputs]
        made: list[list[Digest]] = [[] for _ in sources]
        for values in items:
            item = Ahead(inside, state.copy().give(values))
            for parts, source in zip(made, sources, strict=True):
                part = item.signature(source)
                if not part:
                    return
                parts.append(part)
        for (_, slot), parts in zip(step.outputs, made, strict=True):
            self._signatures[slot] = joined("map", parts)

    def _base_inside(self, step: Step, node: NestedNode) -> tuple[Resolved, RunState] | None:
        """What a nested pipeline would begin with; None where nothing can be told of it."""
        settings = self._settings
        if settings.hands_over(node):
            return None
        inside = settings.inside(node)
        if inside.cache is None:
            return None
        state = RunState(node.plan(name for name, _ in step.outputs))
        for name, slot in step.inputs:
            if name not in node.mapped:
                target = state.plan.accepts[node.inner_inputs[name]]
                state.slots[target] = self._state.slots[slot] if self._is_there(slot) else ABSENT
                state.signatures[target] = self.signature(slot)
        return inside, state

    def _items(self, step: Step, node: NestedNode) -> Iterable[Mapping[str, Any]] | None:
        """The items of a nested map; None where its lists are not there yet."""
        lists = {}
        for name, slot in step.inputs:
            if name in node.mapped:
                try:
                    lists[name] = self._value(slot)
                except LookupError:
                    self._lacking.add(slot)
                    return None
        try:
            items, _ = node.items(lists)
        except Exception:  # what is wrong with them is told when the map's turn comes
            return None
        return items

    def _value(self, slot: int) -> Any:
        """A value that is there, or is in the cache.

        Raises:
            LookupError: it is not.
        """
        value = self._state.slots[slot]
        if type(value) is CachedValue or type(value) is CachedList:
            return value.peek()
        if self._is_there(slot):
            return value
        for step in self._state.plan.steps:
            for place, (_, made) in enumerate(step.outputs):
                if made == slot and step.index in self._keys:
                    assert self._settings.run_cache is not None
                    found = self._settings.run_cache.of(step).find(
                        self._keys[step.index][1], self._settings.session.warn
                    )
                    if found is not None:
                        return found[0][place]()
        raise LookupError

    # -- Backward: what is needed ----------------------------------------------------------------

    def want(self, slots: Iterable[int]) -> None:
        """Begin anew from what is to be made."""
        self._wanted = set(slots)
        self._at = len(self._state.plan.steps)

    def wanted(self, step: Step) -> set[int]:
        """The slots out of a step's outputs that somebody needs."""
        made = self._written[step.index]
        wanted = self._read_after(step.index) & made
        if wanted and not self._has_asked:
            # Only now: what is in the cache here spares looking further.
            self._has_asked = True
            outer = self._state.outer
            assert outer is not None
            by_others = outer.wanted(self)
            if not by_others.issuperset(self._state.plan.returns.values()):
                self.want(by_others)
                wanted = self._read_after(step.index) & made
        return wanted

    def _read_after(self, index: int) -> set[int]:
        """What is returned, or read by the steps after one."""
        steps = self._state.plan.steps
        while self._at > index + 1:
            self._at -= 1
            self._ask(steps[self._at])
        return self._wanted

    def _ask(self, step: Step) -> None:
        """Note what a step reads."""
        made = self._written[step.index]
        if not isinstance(step.node, Node):
            self._ask_nested(step, step.node, self._wanted & made)
        elif not (self._wanted.isdisjoint(made) or self._is_found(step)):
            self._wanted.update(step.reads)

    def _is_found(self, step: Step) -> bool:
        known = self._keys.get(step.index)
        if known is None:
            self._foresee(step)  # it may have been done already
            known = self._keys.get(step.index)
            if known is None:
                return False
        run_cache = self._settings.run_cache
        assert run_cache is not None
        return run_cache.of(step).find(known[1], self._settings.session.warn) is not None

    def _ask_nested(self, step: Step, node: NestedNode, wanted: set[int]) -> None:
        slots = dict(step.inputs)
        # A map takes up its lists whoever reads what it makes.
        self._wanted.update(slots[name] for name in node.mapped)
        shared = {name: slot for name, slot in slots.items() if name not in node.mapped}
        if not wanted or not shared:
            return
        base = self._base_inside(step, node)
        items = self._items(step, node) if node.mapped and base is not None else None
        if base is None or (node.mapped and items is None):
            self._wanted.update(shared.values())
            return
        inside, state = base
        accepts = state.plan.accepts
        targets = {slot: accepts[node.inner_inputs[name]] for name, slot in shared.items()}
        returns = [
            state.plan.returns[node.inner_outputs[name]]
            for name, slot in step.outputs
            if slot in wanted
        ]
        for each in (
            [self._inner.get(step.index) or Ahead(inside, state)]
            if items is None
            else (Ahead(inside, state.copy().give(values)) for values in items)
        ):
            each.want(returns)
            read = each._read_after(-1)
            self._wanted.update(slot for slot, target in targets.items() if target in read)
            if self._wanted.issuperset(targets):
                return


def _written(plan: Plan) -> Sequence[frozenset[int]]:
    """The slots that each step writes; made once."""
    known: Sequence[frozenset[int]] | None = plan.kept.get("written")
    if known is None:
        known = [frozenset(slot for _, slot in step.outputs) for step in plan.steps]
        plan.kept["written"] = known
    return known


def _sign(value: Any) -> Digest:
    try:
        return sign(value)
    except Unidentifiable:
        return UNKNOWN


def _is_surely_read(settings: Resolved, state: RunState, slot: int) -> bool:
    """Whether a slot is asked for, or read by a node that runs whatever the cache has."""
    if slot in state.plan.returned and (state.outer is None or state.outer.is_surely_read(slot)):
        return True
    readers = _readers(state.plan).get(slot, ())
    return settings.run_cache is None or not all(map(settings.is_cached, readers))


def _readers(plan: Plan) -> Mapping[int, list[Node[..., Any]]]:
    """The nodes that read each slot; made once."""
    known: dict[int, list[Node[..., Any]]] | None = plan.kept.get("readers")
    if known is None:
        known = {}
        for step in plan.steps:
            if isinstance(step.node, Node):
                for slot in step.reads:
                    known.setdefault(slot, []).append(step.node)
        plan.kept["readers"] = known
    return known
