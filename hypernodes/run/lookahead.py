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
from typing import TYPE_CHECKING, Any

from hypernodes.cache.lazy_value import LAZY, CachedList, CachedValue
from hypernodes.cache.node_cache import NodeCache, joined
from hypernodes.identity.values import Digest, Unidentifiable, sign
from hypernodes.nested import PipelineNode
from hypernodes.node import Node
from hypernodes.plan import NestedNode, Plan, Step
from hypernodes.run.state import UNKNOWN, RunState

if TYPE_CHECKING:
    from hypernodes.run.execution import Execution


ABSENT = object()
"""In a slot of a nested pipeline's frame: its value is not there yet."""


def is_needless(execution: Execution, frame: RunState, step: Step) -> bool:
    """Whether nobody needs what a node would make that is not in the cache.

    Args:
        execution: the execution of the node's pipeline.
        frame: the node's frame.
        step: the node's step; its inputs have been identified, and it is a miss.
    """
    ahead = frame.ahead
    if ahead is None:
        for _, slot in step.outputs:
            if _is_surely_read(execution, frame, slot):
                return False
        ahead = frame.ahead = Ahead(execution, frame)
    return not ahead.wanted(step)


def note_result(frame: RunState, step: Step) -> None:
    """Forget what was foreseen, where a step has brought something that could not be."""
    if frame.ahead is not None and frame.ahead.lacks(step):
        frame.ahead = None


async def make_skipped(frame: RunState, step: Step) -> None:
    """Run the skipped nodes that a step depends on, which is to run after all.

    The earliest comes first: were each to ask for its own inputs, a long chain would be deeper
    than Python's stack.
    """
    if not frame.skipped:
        return
    needed, chain = set(step.reads), []
    for each in reversed(frame.plan.steps[: step.index]):
        if each.index in frame.skipped and not needed.isdisjoint(_written(frame.plan)[each.index]):
            chain.append(each)
            needed.update(each.reads)
    for each in reversed(chain):
        frame.skipped.discard(each.index)
        await frame.value(each.outputs[0][1])


class Outer:
    """Where the frame of a nested pipeline is nested: who reads what it returns.

    Args:
        execution: the execution of the outer pipeline.
        frame: the outer frame.
        step: the nested pipeline's step in it.
        plan: the nested pipeline's own plan.
    """

    def __init__(self, execution: Execution, frame: RunState, step: Step, plan: Plan) -> None:
        node = step.node
        assert isinstance(node, PipelineNode)
        self._execution = execution
        self._frame = frame
        self._step = step
        self._slots = {plan.returns[node.inner_outputs[name]]: slot for name, slot in step.outputs}
        self._is_mapped = bool(node.mapped)
        self._wanted_of_items: set[int] | None = None

    @property
    def place(self) -> tuple[Execution, RunState]:
        """The outer execution and frame."""
        return self._execution, self._frame

    def is_surely_read(self, slot: int) -> bool:
        """Whether an inner slot is read whatever the cache has."""
        return _is_surely_read(self._execution, self._frame, self._slots[slot])

    def wanted(self, inner: Ahead) -> set[int]:
        """The inner slots that somebody outside needs."""
        if not self._is_mapped:
            return self._ask({slot: inner.signature(own) for own, slot in self._slots.items()})
        if self._wanted_of_items is None:
            # The items of a map ask from their own threads, and all get the same answer.
            with self._execution.session.lock:
                if self._wanted_of_items is None:
                    self._wanted_of_items = self._ask({})
        return self._wanted_of_items

    def all_wanted(self) -> set[int]:
        """The same for all items of a map, before one of them is looked at."""
        if all(map(self.is_surely_read, self._slots)):
            return set(self._slots)
        with self._execution.session.lock:
            return self._ask({})

    def _ask(self, made: Mapping[int, Digest]) -> set[int]:
        ahead = self._frame.ahead
        if ahead is None:
            ahead = self._frame.ahead = Ahead(self._execution, self._frame)
        if any(ahead.signature(slot) != digest for slot, digest in made.items()):
            # Inside, more is known by now than could be foreseen from outside.
            ahead = Ahead(self._execution, self._frame, made)
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
    """What can be told of a walk over a frame before it gets there.

    Args:
        execution: the execution that walks.
        frame: its frame.
        made: what identifies some slots, where that is known better than from here.
    """

    __slots__ = (
        "_at", "_execution", "_frame", "_has_asked", "_inner", "_keys", "_lacking", "_signatures",
        "_wanted", "_written",
    )  # fmt: skip

    def __init__(
        self, execution: Execution, frame: RunState, made: Mapping[int, Digest] | None = None
    ) -> None:
        self._execution = execution
        self._frame = frame
        self._signatures = frame.signatures.copy()
        self._written = _written(frame.plan)
        self._keys: dict[int, tuple[list[Digest], tuple[Digest, ...]]] = {}
        self._inner: dict[int, Ahead] = {}
        self._lacking: set[int] = set()
        self._has_asked = frame.outer is None
        self.want(frame.plan.returns.values())
        for slot, digest in (made or {}).items():
            self._signatures[slot] = digest
        signatures = self._signatures
        for step in frame.plan.steps:
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
            value = self._frame.slots[slot]
            if not self._is_there(slot) or type(value) in LAZY:
                self._lacking.add(slot)
                known = UNKNOWN
            else:  # who reads it would have to identify it as well
                known = self._frame.signatures[slot] = _sign(value)
            self._signatures[slot] = known
        return known

    def _is_there(self, slot: int) -> bool:
        value = self._frame.slots[slot]
        # A None that a node has made is taken for nothing yet: that costs a look ahead, no more.
        is_given = value is not None or slot in self._frame.plan.given.values()
        return is_given and value is not ABSENT

    def _foresee(self, step: Step) -> None:
        if not isinstance(step.node, Node):
            self._foresee_nested(step, step.node)
            return
        keeping = self._execution.keeping
        if keeping is None or not self._execution.is_cached(step.node):
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
            kept = keeping.of(step)
        except Unidentifiable:
            return
        keys = kept.keys(digests)
        self._keys[step.index] = digests, keys
        if step.node.options.ttl is None:
            identities = kept.identities(keys, 0.0)
        else:  # what identifies it tells when it was made
            found = kept.find(keys)
            if found is None:
                return
            _, identities = found
        for (_, slot), identity in zip(step.outputs, identities, strict=True):
            self._signatures[slot] = identity

    def _foresee_nested(self, step: Step, node: NestedNode) -> None:
        base = self._base_inside(step, node)
        if base is None:
            return
        inside, frame = base
        if not node.mapped:
            inner = self._inner[step.index] = Ahead(inside, frame)
            for name, slot in step.outputs:
                source = frame.plan.returns[node.inner_outputs[name]]
                self._signatures[slot] = inner.signature(source)
            return
        items = self._items(step, node)
        if items is None:
            return
        sources = [frame.plan.returns[node.inner_outputs[name]] for name, _ in step.outputs]
        made: list[list[Digest]] = [[] for _ in sources]
        for values in items:
            item = Ahead(inside, frame.copy().give(values))
            for parts, source in zip(made, sources, strict=True):
                part = item.signature(source)
                if not part:
                    return
                parts.append(part)
        for (_, slot), parts in zip(step.outputs, made, strict=True):
            self._signatures[slot] = joined("map", parts)

    def _base_inside(self, step: Step, node: NestedNode) -> tuple[Execution, RunState] | None:
        """What a nested pipeline would begin with; None where nothing can be told of it."""
        execution = self._execution
        engine = node.pipeline.engine
        if engine is not None and not isinstance(engine, type(execution.engine)):
            return None
        inside = execution.inside(node)
        if inside.cache is None:
            return None
        frame = RunState(node.plan(name for name, _ in step.outputs))
        for name, slot in step.inputs:
            if name not in node.mapped:
                target = frame.plan.accepts[node.inner_inputs[name]]
                frame.slots[target] = self._frame.slots[slot] if self._is_there(slot) else ABSENT
                frame.signatures[target] = self.signature(slot)
        return inside, frame

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
        value = self._frame.slots[slot]
        if type(value) is CachedValue or type(value) is CachedList:
            return value.peek()
        if self._is_there(slot):
            return value
        for step in self._frame.plan.steps:
            for place, (_, made) in enumerate(step.outputs):
                if made == slot and step.index in self._keys:
                    assert self._execution.keeping is not None
                    found = self._execution.keeping.of(step).find(self._keys[step.index][1])
                    if found is not None:
                        return found[0][place]()
        raise LookupError

    # -- Backward: what is needed ----------------------------------------------------------------

    def want(self, slots: Iterable[int]) -> None:
        """Begin anew from what is to be made."""
        self._wanted = set(slots)
        self._at = len(self._frame.plan.steps)

    def wanted(self, step: Step) -> set[int]:
        """The slots out of a step's outputs that somebody needs."""
        made = self._written[step.index]
        wanted = self._read_after(step.index) & made
        if wanted and not self._has_asked:
            # Only now: what is in the cache here spares looking further.
            self._has_asked = True
            outer = self._frame.outer
            assert outer is not None
            by_others = outer.wanted(self)
            if not by_others.issuperset(self._frame.plan.returns.values()):
                self.want(by_others)
                wanted = self._read_after(step.index) & made
        return wanted

    def _read_after(self, index: int) -> set[int]:
        """What is returned, or read by the steps after one."""
        steps = self._frame.plan.steps
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
        keeping = self._execution.keeping
        assert keeping is not None
        return keeping.of(step).find(known[1]) is not None

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
        inside, frame = base
        accepts = frame.plan.accepts
        targets = {slot: accepts[node.inner_inputs[name]] for name, slot in shared.items()}
        returns = [
            frame.plan.returns[node.inner_outputs[name]]
            for name, slot in step.outputs
            if slot in wanted
        ]
        for each in (
            [self._inner.get(step.index) or Ahead(inside, frame)]
            if items is None
            else (Ahead(inside, frame.copy().give(values)) for values in items)
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


def _is_surely_read(execution: Execution, frame: RunState, slot: int) -> bool:
    """Whether a slot is asked for, or read by a node that runs whatever the cache has."""
    if slot in frame.plan.returned and (frame.outer is None or frame.outer.is_surely_read(slot)):
        return True
    readers = _readers(frame.plan).get(slot, ())
    return execution.keeping is None or not all(map(execution.is_cached, readers))


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
