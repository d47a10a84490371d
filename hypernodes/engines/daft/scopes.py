"""The scopes around a node while it runs inside Daft, by ids that nobody has to send.

Callbacks hear of a row once it has come out. Their node contexts are entered around each call
meanwhile, maybe in another process, and may show the node as running. Both sides make the scopes,
with the same ids: each follows from the id of the scope around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hypernodes.callbacks import CallbackContext, Kind, ScopeInfo


class Level(NamedTuple):
    """A scope around a node, the same for all rows but for its index.

    Attributes:
        kind: what it is of; "map_item" for a scope that each item has.
        name: its name, where it is of no item.
        info: what it says of its pipeline.
    """

    kind: Kind
    name: str
    info: ScopeInfo


class ScopesAround:
    """Makes the scopes around a node, for a row.

    Args:
        outermost: the scope of the whole run or map.
        levels: those inside it, the outermost first.
        inputs: gives the own inputs of an item of the whole map.
    """

    def __init__(
        self,
        outermost: CallbackContext,
        levels: Sequence[Level],
        inputs: Callable[[int], Mapping[str, Any]] | None,
    ) -> None:
        self._outermost = outermost
        self._levels = tuple(levels)
        self._inputs = inputs

    def __reduce__(self) -> tuple[object, ...]:
        levels = [each._replace(info=ScopeInfo(each.info.pipeline_id)) for each in self._levels]
        return ScopesAround, (self._outermost, levels, None)

    def __call__(self, indexes: Sequence[int]) -> CallbackContext:
        """The innermost of them.

        Args:
            indexes: the row's number, and the places of the items of nested maps that it is of.
        """
        ctx = self._outermost
        left = iter(indexes if ctx.kind == "map" else indexes[1:])
        for kind, name, info in self._levels:
            around = ctx
            if kind == "map_item":
                index = next(left)
                ctx = CallbackContext(kind, f"{around.name}[{index}]", around, info, index)
                if self._inputs is not None and around is self._outermost:
                    ctx.item_inputs = self._inputs(index)
            else:
                ctx = CallbackContext(kind, name, around, info)
            identify(ctx)
        return ctx


def identify(ctx: CallbackContext) -> None:
    """Give a scope the id that follows from that of the scope around it."""
    ctx.identify(ctx.derived_id())
