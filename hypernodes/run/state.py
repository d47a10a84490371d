"""`RunState`: the values of one walk over a plan, and what is known about each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hypernodes.cache.lazy_value import LAZY
from hypernodes.cache.node_cache import NodeCache, RunCache
from hypernodes.callbacks import CallbackContext
from hypernodes.identity.values import Digest, sign
from hypernodes.plan import Plan, Step

UNKNOWN: Digest = b""
"""In a place of a signature: the value has been looked at and cannot be identified."""


class Readers(Protocol):
    """Who reads what a nested pipeline returns; see `lookahead`."""

    @property
    def place(self) -> tuple[RunCache | None, RunState] | None:
        """The cache of the outer pipeline's nodes, and its state; None in another process."""

    def is_surely_read(self, slot: int) -> bool:
        """Whether an inner slot is read whatever the cache has."""

    def wanted(self, inner: Any) -> set[int]:
        """The inner slots that somebody outside needs."""

    def all_wanted(self) -> set[int]:
        """The same for all items of a map, before one of them is looked at."""


class Foresight(Protocol):
    """What can be said of the steps to come; see `lookahead.Ahead`."""

    def keys(
        self, node_cache: NodeCache, step: Step, inputs: Sequence[Digest]
    ) -> tuple[Digest, ...]:
        """The keys of a step's outputs."""

    def lacks(self, step: Step) -> bool:
        """Whether more could be said if a step's outputs were there."""

    def wanted(self, step: Step) -> set[int]:
        """The slots out of a step's outputs that somebody needs."""


class RunState:
    """One walk over a plan: its slots, and what is known about each of them.

    Attributes:
        slots: the values; a `CachedValue` where it is in the cache and was not needed yet.
        signatures: what identifies the value; None where nobody has asked yet.
        sources: the scope that made the value; None for inputs.
        outer: who reads what the plan returns, where it is a nested pipeline's; None for those
            who called the engine.
        ahead: what can be told of the steps to come, once somebody has asked.
        skipped: the steps that were not run since nobody needed them; see `lookahead`.
    """

    __slots__ = ("ahead", "outer", "plan", "signatures", "skipped", "slots", "sources")

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
        """Put inputs in their places."""
        for name, value in values.items():
            self.slots[self.plan.accepts[name]] = value
        return self

    async def value(self, slot: int) -> Any:
        """The value itself, out of the cache where it is still there."""
        value = self.slots[slot]
        if type(value) in LAZY:
            value = self.slots[slot] = await value.load()
        return value

    def waits(self, step: Step) -> bool:
        """Whether a value that a step reads has to be loaded first."""
        slots = self.slots
        for slot in step.reads:  # noqa: SIM110  (a loop is quicker than a generator)
            if type(slots[slot]) in LAZY:
                return True
        return False

    def waits_to_sign(self, step: Step) -> bool:
        """The same of a value that nobody has identified yet."""
        slots, signatures = self.slots, self.signatures
        for slot in step.reads:  # noqa: SIM110  (a loop is quicker than a generator)
            if signatures[slot] is None and type(slots[slot]) in LAZY:
                return True
        return False

    def sign(self, slot: int) -> Digest:
        """What identifies the value that a slot has.

        Raises:
            Unidentifiable: nothing does.
        """
        known = self.signatures[slot]
        if known is None:
            self.signatures[slot] = UNKNOWN
            known = self.signatures[slot] = sign(self.slots[slot])
        if known is UNKNOWN:
            sign(self.slots[slot])  # says why
        return known

    async def signature(self, slot: int) -> Digest:
        """The same for one that may have to be loaded first."""
        if self.signatures[slot] is None:
            await self.value(slot)
        return self.sign(slot)

    def inputs_from(self, step: Step) -> dict[str, CallbackContext]:
        """The scopes that have made what a step reads."""
        sources = self.sources
        return {name: ctx for name, slot in step.inputs if (ctx := sources[slot]) is not None}
