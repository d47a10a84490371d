"""Looking ahead: whether anybody will need the outputs of a node that is not in the cache.

A node whose entry is missing (evicted, or never stored because it cannot be pickled) need not run
if everything made from its outputs is in the cache. What identifies an output does not depend on
its value, so the keys of later nodes are known without running anything:

    forward     work out what will identify each value
    backward    start from the wanted outputs: a needed node that is a hit reads nothing; a needed
                node that is a miss needs its inputs

Both passes go over the plan once, at the first miss of a run, so a cold run stays linear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hypernodes.cache.lazy_value import LAZY, CachedList, CachedValue
from hypernodes.cache.node_cache import NodeCache, RunCache, joined
from hypernodes.identity.values import Digest, Unidentifiable, sign
from hypernodes.node import Node
from hypernodes.plan import NestedNode, Plan, Step
from hypernodes.run.resolve import Resolved
from hypernodes.run.state import UNKNOWN, RunState

EMPTY: Mapping[int, Any] = MappingProxyType({})

ABSENT = object()
"""In a slot of a nested pipeline's state: the value has not been made yet."""


def is_needless(settings: Resolved, state: RunState, step: Step) -> bool:
    """Whether nobody needs the outputs of a node that is a miss.

    Args:
        settings: what its pipeline runs with.
        state: the run's state.
        step: the node's step; its inputs have been identified.
    """
    ahead = state.ahead
    if ahead is None:
        for _, slot in step.outputs:
            if _is_surely_read(settings, state, slot):
                return False
        ahead = state.ahead = Ahead(settings, state)
    return not ahead.wanted(step)


def note_result(state: RunState, step: Step) -> None:
    """Drop what was foreseen if a step's outputs let us foresee more; see `Foresight.lacks`."""
    if state.ahead is not None and state.ahead.lacks(_written(state.plan)[step.index]):
        state.ahead = None


async def make_skipped(state: RunState, step: Step) -> None:
    """Run the skipped nodes upstream of a step, which has to run after all.

    They run in order: if each asked for its own inputs, a long chain would overflow Python's stack.
    See `RunState.skipped`.
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
    """The readers of a nested pipeline's outputs: the steps around it; see `state.Readers`.

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
        return self._settings.run_cache, self._state

    def is_surely_read(self, slot: int) -> bool:
        return _is_surely_read(self._settings, self._state, self._slots[slot])

    def wanted(self, inner: Ahead) -> set[int]:
        if not self._is_mapped:
            return self._ask(
                {slot: inner.signature(own) for own, slot in self._slots.items()},
                {slot: inner.state.slots[own] for own, slot in self._slots.items()},
            )
        if self._wanted_of_items is None:
            # A map's items ask from several threads, and all get the same answer.
            with self._settings.session.lock:
                if self._wanted_of_items is None:
                    self._wanted_of_items = self._ask()
        return self._wanted_of_items

    def all_wanted(self) -> set[int]:
        if all(map(self.is_surely_read, self._slots)):
            return set(self._slots)
        with self._settings.session.lock:
            return self._ask()

    def lacks(self, slots: Iterable[int]) -> bool:
        ahead = self._state.ahead
        if ahead is None or self._is_mapped:  # one item's value is not yet the list of them
            return False
        outside = [self._slots[slot] for slot in slots if slot in self._slots]
        return bool(outside) and ahead.lacks(outside)

    def _ask(
        self, signatures: Mapping[int, Digest] = EMPTY, values: Mapping[int, Any] = EMPTY
    ) -> set[int]:
        ahead = self._state.ahead
        if not isinstance(ahead, Ahead):
            ahead = self._state.ahead = Ahead(self._settings, self._state)
        made = {slot: value for slot, value in values.items() if value is not None}
        if ahead.lacks(made) or any(
            ahead.signature(slot) != digest for slot, digest in signatures.items()
        ):
            # The inner run knows more by now than we could foresee from outside.
            state = self._state.copy()
            for slot, value in made.items():
                state.slots[slot] = value
            ahead = Ahead(self._settings, state, signatures)
        wanted = ahead.wanted(self._step)
        return {own for own, slot in self._slots.items() if slot in wanted}


class Decided:
    """Readers in another process, where what they need is decided already.

    Args:
        wanted: the slots that they need.
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

    def lacks(self, slots: Iterable[int]) -> bool:
        return False


class Ahead:
    """What is known of the steps to come in a run; see `state.Foresight`.

    Args:
        settings: what its pipeline runs with.
        state: the run's state.
        signatures: what identifies some slots, known from a nested pipeline's run.
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
        self, settings: Resolved, state: RunState, signatures: Mapping[int, Digest] = EMPTY
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
        for slot, digest in signatures.items():
            self._signatures[slot] = digest
        for step in state.plan.steps:
            if self._signatures[step.outputs[0][1]] is None:
                self._foresee(step)

    @property
    def state(self) -> RunState:
        return self._state

    def lacks(self, slots: Iterable[int]) -> bool:
        outer = self._state.outer
        return not self._lacking.isdisjoint(slots) or (outer is not None and outer.lacks(slots))

    def keys(
        self, node_cache: NodeCache, step: Step, inputs: Sequence[Digest]
    ) -> tuple[Digest, ...]:
        """Those foreseen, if the inputs are as foreseen; see `Foresight`."""
        known = self._keys.get(step.index)
        return known[1] if known is not None and known[0] == inputs else node_cache.keys(inputs)

    # -- Forward: what will identify each value --------------------------------------------------

    def signature(self, slot: int) -> Digest:
        """What will identify a slot's value; `UNKNOWN` if that cannot be foreseen."""
        known = self._signatures[slot]
        if known is None:
            value = self._state.slots[slot]
            if not self._is_there(slot) or type(value) in LAZY:
                self._lacking.add(slot)
                known = UNKNOWN
            else:  # not wasted: its readers need the signature too
                known = self._state.signatures[slot] = _sign(value)
            self._signatures[slot] = known
        return known

    def _is_there(self, slot: int) -> bool:
        value = self._state.slots[slot]
        # A node's result of None looks like an empty slot: that costs a second look ahead, no more.
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
            node_cache = run_cache.of(step)
        except Unidentifiable:
            return
        keys = node_cache.keys(digests)
        self._keys[step.index] = digests, keys
        if step.node.options.ttl is None:
            identities = node_cache.identities(keys, 0.0)
        else:  # with a ttl, the identity depends on when the entry was made
            found = node_cache.find(keys, self._settings.session.warn)
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
        items = self._items_ahead(step, node, base)
        if items is None:
            return
        sources = [state.plan.returns[node.inner_outputs[name]] for name, _ in step.outputs]
        made: list[list[Digest]] = [[] for _ in sources]
        for item in items:
            for parts, source in zip(made, sources, strict=True):
                part = item.signature(source)
                if not part:
                    return
                parts.append(part)
        for (_, slot), parts in zip(step.outputs, made, strict=True):
            self._signatures[slot] = joined("map", parts)

    def _base_inside(self, step: Step, node: NestedNode) -> tuple[Resolved, RunState] | None:
        """A nested pipeline's settings and first state; None if we cannot look into it."""
        settings = self._settings
        if settings.hands_over(node):
            return None
        inside = settings.inside(node)
        if inside.cache is None:
            return None
        state = RunState(step.inner_plan)
        for name, slot in step.inputs:
            if name not in node.mapped:
                target = state.plan.accepts[node.inner_inputs[name]]
                state.slots[target] = self._state.slots[slot] if self._is_there(slot) else ABSENT
                state.signatures[target] = self.signature(slot)
        return inside, state

    def _items_ahead(
        self, step: Step, node: NestedNode, base: tuple[Resolved, RunState]
    ) -> Iterable[Ahead] | None:
        """What is known of each item of a nested map; None if its lists have not been made yet."""
        items = self._items(step, node)
        if items is None:
            return None
        inside, state = base
        return (Ahead(inside, state.copy().give(values)) for values in items)

    def _items(self, step: Step, node: NestedNode) -> Iterable[Mapping[str, Any]] | None:
        """The items of a nested map; None if its lists have not been made yet."""
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
        except Exception:  # it is raised again when the map runs
            return None
        return items

    def _value(self, slot: int) -> Any:
        """A value that has been made, or is in the cache.

        Raises:
            LookupError: neither.
        """
        value = self._state.slots[slot]
        if type(value) is CachedValue or type(value) is CachedList:
            return value.peek()
        if self._is_there(slot):
            return value
        step = self._maker(slot)
        if step is None:
            raise LookupError
        place = [made for _, made in step.outputs].index(slot)
        if not isinstance(step.node, Node):
            return self._value_inside(step, step.node, step.outputs[place][0])
        if step.index in self._keys:
            assert self._settings.run_cache is not None
            found = self._settings.run_cache.of(step).find(
                self._keys[step.index][1], self._settings.session.warn
            )
            if found is not None:
                return found[0][place]()
        raise LookupError

    def _maker(self, slot: int) -> Step | None:
        """The step that writes a slot; None for an input's."""
        for step in self._state.plan.steps:
            if slot in self._written[step.index]:
                return step
        return None

    def _value_inside(self, step: Step, node: NestedNode, name: str) -> Any:
        """The value of a nested pipeline's output; see `_value`."""
        if not node.mapped:
            inner = self._inner.get(step.index)
            if inner is None:
                raise LookupError
            return inner._value(inner._state.plan.returns[node.inner_outputs[name]])
        base = self._base_inside(step, node)
        items = None if base is None else self._items_ahead(step, node, base)
        if items is None:
            raise LookupError
        source = step.inner_plan.returns[node.inner_outputs[name]]
        return [item._value(source) for item in items]

    # -- Backward: what is needed ----------------------------------------------------------------

    def want(self, slots: Iterable[int]) -> None:
        """Start the backward pass again, from these slots."""
        self._wanted = set(slots)
        self._at = len(self._state.plan.steps)

    def wanted(self, step: Step) -> set[int]:
        made = self._written[step.index]
        wanted = self._read_after(step.index) & made
        if wanted and not self._has_asked:
            # Asked last, for it is the dearest: hits in this pipeline may answer already.
            self._has_asked = True
            outer = self._state.outer
            assert outer is not None
            by_others = outer.wanted(self)
            if not by_others.issuperset(self._state.plan.returns.values()):
                self.want(by_others)
                wanted = self._read_after(step.index) & made
        return wanted

    def _read_after(self, index: int) -> set[int]:
        """The slots that are returned, or read by the needed steps after one."""
        steps = self._state.plan.steps
        while self._at > index + 1:
            self._at -= 1
            self._ask(steps[self._at])
        return self._wanted

    def _ask(self, step: Step) -> None:
        """Add what a step reads, if it has to run."""
        made = self._written[step.index]
        if not isinstance(step.node, Node):
            self._ask_nested(step, step.node, self._wanted & made)
        elif not (self._wanted.isdisjoint(made) or self._is_found(step)):
            self._wanted.update(step.reads)

    def _is_found(self, step: Step) -> bool:
        known = self._keys.get(step.index)
        if known is None:
            self._foresee(step)  # `__init__` skips steps that have run
            known = self._keys.get(step.index)
            if known is None:
                return False
        run_cache = self._settings.run_cache
        assert run_cache is not None
        return run_cache.of(step).find(known[1], self._settings.session.warn) is not None

    def _ask_nested(self, step: Step, node: NestedNode, wanted: set[int]) -> None:
        slots = dict(step.inputs)
        # A map needs its lists whether or not anybody reads its outputs.
        self._wanted.update(slots[name] for name in node.mapped)
        shared = {name: slot for name, slot in slots.items() if name not in node.mapped}
        if not wanted or not shared:
            return
        base = self._base_inside(step, node)
        items = self._items_ahead(step, node, base) if node.mapped and base is not None else None
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
            [self._inner.get(step.index) or Ahead(inside, state)] if items is None else items
        ):
            each.want(returns)
            read = each._read_after(-1)
            self._wanted.update(slot for slot, target in targets.items() if target in read)
            if self._wanted.issuperset(targets):
                return


def _written(plan: Plan) -> Sequence[frozenset[int]]:
    """The slots that each step writes; computed once for a plan."""
    known: Sequence[frozenset[int]] | None = plan.memo.get("written")
    if known is None:
        known = [frozenset(slot for _, slot in step.outputs) for step in plan.steps]
        plan.memo["written"] = known
    return known


def _sign(value: Any) -> Digest:
    try:
        return sign(value)
    except Unidentifiable:
        return UNKNOWN


def _is_surely_read(settings: Resolved, state: RunState, slot: int) -> bool:
    """Whether a slot is returned, or read by a node that runs whatever is in the cache."""
    if slot in state.plan.returned and (state.outer is None or state.outer.is_surely_read(slot)):
        return True
    readers = _readers(state.plan).get(slot, ())
    return settings.run_cache is None or not all(map(settings.is_cached, readers))


def _readers(plan: Plan) -> Mapping[int, list[Node[..., Any]]]:
    """The nodes that read each slot; computed once for a plan."""
    known: dict[int, list[Node[..., Any]]] | None = plan.memo.get("readers")
    if known is None:
        known = {}
        for step in plan.steps:
            if isinstance(step.node, Node):
                for slot in step.reads:
                    known.setdefault(slot, []).append(step.node)
        plan.memo["readers"] = known
    return known
