"""`RunState`: the values of one run of a plan, and what identifies each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from hypernodes.cache.lazy_value import LAZY, CachedList
from hypernodes.cache.node_cache import NodeCache, RunCache
from hypernodes.callbacks import CallbackContext
from hypernodes.identity.values import Digest, sign
from hypernodes.node import Node
from hypernodes.plan import Plan, Step

UNKNOWN: Digest = b""
"""In place of a signature: the value cannot be identified."""


class Readers(Protocol):
    """The readers of a nested pipeline's outputs; see `lookahead`."""

    @property
    def place(self) -> tuple[RunCache | None, RunState] | None:
        """The outer pipeline's cache and state; None in another process."""

    def is_surely_read(self, slot: int) -> bool:
        """Whether an inner slot is read whatever is in the cache."""

    def wanted(self, inner: Any) -> set[int]:
        """The inner slots that somebody outside needs."""

    def all_wanted(self) -> set[int]:
        """The same for all items of a map, before any of them runs."""

    def lacks(self, slots: Iterable[int]) -> bool:
        """Whether the values of these inner slots would let somebody outside foresee more."""


class Foresight(Protocol):
    """What is known of the steps to come; see `lookahead.Ahead`."""

    def keys(
        self, node_cache: NodeCache, step: Step, inputs: Sequence[Digest]
    ) -> tuple[Digest, ...]:
        """The keys of a step's outputs."""

    def lacks(self, slots: Iterable[int]) -> bool:
        """Whether the values of these slots would let it foresee more."""

    def wanted(self, step: Step) -> set[int]:
        """The slots out of a step's outputs that somebody needs."""


class RunState:
    """One run of a plan: its slots, and what identifies each value.

    Attributes:
        slots: the values; a `CachedValue` is a hit that has not been loaded yet.
        signatures: what identifies each value; None until somebody asks.
        sources: the scope that made each value; None for inputs.
        outer: the readers of a nested pipeline's outputs; None for the outermost pipeline.
        ahead: what is known of the steps to come, once somebody has asked.
        skipped: the steps that did not run because nobody needed them; see `lookahead`.
    """

    __slots__ = (
        "__weakref__",
        "ahead",
        "outer",
        "plan",
        "signatures",
        "skipped",
        "slots",
        "sources",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.slots: list[Any] = plan.template.copy()
        self.signatures: list[Digest | None] = [None] * len(self.slots)
        self.sources: list[CallbackContext | None] = [None] * len(self.slots)
        self.outer: Readers | None = None
        self.ahead: Foresight | None = None
        self.skipped: set[int] | None = None

    def copy(self) -> RunState:
        copy = object.__new__(RunState)
        copy.plan = self.plan
        copy.slots = self.slots.copy()
        copy.signatures = self.signatures.copy()
        copy.sources = self.sources.copy()
        copy.outer = self.outer
        copy.ahead = copy.skipped = None
        return copy

    def give(self, values: Mapping[str, Any]) -> RunState:
        """Write inputs, by name, into their slots."""
        for name, value in values.items():
            self.slots[self.plan.accepts[name]] = value
        return self

    async def value(self, slot: int) -> Any:
        """A slot's value, loaded if it is a lazy cache hit."""
        value = self.slots[slot]
        if type(value) in LAZY:
            lazy = value
            value = self.slots[slot] = await lazy.load()
            if type(lazy) is CachedList and not lazy.is_whole:
                self.signatures[slot] = None  # it is not what it was to be
        return value

    def sign(self, slot: int) -> Digest:
        """What identifies a slot's value, which must be loaded.

        Raises:
            Unidentifiable: nothing identifies it.
        """
        known = self.signatures[slot]
        if known is None:
            self.signatures[slot] = UNKNOWN
            known = self.signatures[slot] = sign(self.slots[slot])
        if known is UNKNOWN:
            sign(self.slots[slot])  # raises again, and says why
        return known

    async def signature(self, slot: int) -> Digest:
        """What identifies a slot's value, loaded first if it has to be."""
        if self.signatures[slot] is None:
            await self.value(slot)
        return self.sign(slot)

    def pass_sources(self, step: Step, inner: RunState) -> None:
        """Tell the state of a nested pipeline which scopes made what it is given.

        Args:
            step: the nested pipeline's.
            inner: the state.
        """
        assert not isinstance(step.node, Node)
        for name, slot in step.inputs:
            inner.sources[inner.plan.accepts[step.node.inner_inputs[name]]] = self.sources[slot]

    def inputs_from(self, step: Step) -> dict[str, CallbackContext]:
        """The scopes that made a step's inputs, by input name."""
        sources = self.sources
        return {name: ctx for name, slot in step.inputs if (ctx := sources[slot]) is not None}
