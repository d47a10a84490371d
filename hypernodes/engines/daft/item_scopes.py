"""The scopes of an item and its nodes as callbacks are given them once the item is done.

There are two for each item of a map of one node, and most callbacks look at few of their
attributes, if at any. So they are filled when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from hypernodes.callbacks import CallbackContext, ScopeInfo
from hypernodes.engines.daft.cells import Cell
from hypernodes.node_record import NodeRecord


@dataclass
class SharedByItems:
    """What the scopes of a map's items have in common.

    Attributes:
        around: the map's scope.
        info: what the scopes say of their pipeline.
        node_ids: the nodes of each item.
        nodes: for each of them, what made its inputs: a scope outside of the map, or the place of
            another node.
        inputs: gives an item's own inputs, by its place among those that are done.
        cell: gives a cell of an item, by its column and the same place.
        lock: is held while the scope of an item is made.
    """

    around: CallbackContext
    info: ScopeInfo
    node_ids: Sequence[str]
    nodes: Sequence[Sequence[tuple[str, CallbackContext | int]]]
    inputs: Callable[[int], Mapping[str, Any]]
    cell: Callable[[str, int], Cell]
    lock: AbstractContextManager[object]


class LateContext(CallbackContext):
    """A scope that is filled when a callback looks at it, but for its end."""

    def context(self) -> CallbackContext:
        """What there is to say of it, but for its end.

        Raises:
            NotImplementedError: the kind of scope does not say.
        """
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        # Attributes that begin with two underscores are looked up by `copy` and others.
        if name.startswith("__") or "kind" in self.__dict__:
            raise AttributeError(name)
        # In one go: another thread may be looking as well.
        self.__dict__.update(self.context().__dict__)
        return getattr(self, name)

    def __reduce__(self) -> Any:
        assert self.kind  # fills it
        state = self.__getstate__()
        return _sent, ({name: each for name, each in state.items() if name not in _OWN},)


def _sent(state: dict[str, Any]) -> CallbackContext:
    """The scope in another process, where nothing is left to be filled."""
    ctx = CallbackContext.__new__(CallbackContext)
    ctx.__setstate__(state)
    return ctx


_OWN = {"_at", "_before", "_item"}


class DoneItem:
    """An item that is done: its cells by column, and its scope, which is made when it is needed.

    Args:
        shared: what it shares with other items.
        index: the item's place in the map.
        place: its place among those that are done.
        runs: when each node began, in seconds since the epoch, and how long it took.
    """

    __slots__ = ("_scope", "index", "place", "runs", "shared")

    def __init__(
        self,
        shared: SharedByItems,
        index: int,
        place: int,
        runs: Sequence[tuple[float, float]],
    ) -> None:
        self.shared = shared
        self.index = index
        self.place = place
        self.runs = runs
        self._scope: ItemContext | None = None

    def __getitem__(self, column: str) -> Cell:
        return self.shared.cell(column, self.place)

    @property
    def scope(self) -> ItemContext:
        """The scope of the item, the same for all of its nodes."""
        with self.shared.lock:
            if self._scope is None:
                self._scope = ItemContext(self)
            return self._scope


class ItemContext(LateContext):
    """The scope of an item.

    Args:
        item: the item.
    """

    def __init__(self, item: DoneItem) -> None:
        self._item = item

    def context(self) -> CallbackContext:
        item = self._item
        shared, index = item.shared, item.index
        around, ids = shared.around, shared.node_ids
        name = f"{around.name}[{index}]"
        ctx = CallbackContext("map_item", name, around, shared.info, index, None, ids)
        ctx.item_inputs = shared.inputs(item.place)
        ctx.started_at = item.runs[0][0]
        return ctx


class NodeContext(LateContext):
    """The scope of a node of an item.

    Args:
        item: the item.
        at: the node's place in the item.
        before: the scope of the node at the place before.
    """

    def __init__(self, item: DoneItem, at: int, before: NodeContext | None) -> None:
        self._item = item
        self._at = at
        self._before = before  # the chain has no circle, which would cost garbage collections

    def context(self) -> CallbackContext:
        item, at = self._item, self._at
        shared = item.shared
        sources = {
            n: of if isinstance(of, CallbackContext) else self._node(of)
            for n, of in shared.nodes[at]
        }
        ctx = CallbackContext("node", shared.node_ids[at], item.scope, shared.info, None, sources)
        ctx.record = NodeRecord(*item.runs[at])
        ctx.started_at = ctx.record.started_at
        return ctx

    def _node(self, at: int) -> NodeContext:
        """The scope of an earlier node."""
        node = self
        while node._at > at and node._before is not None:
            node = node._before
        return node


class _Late:
    """An attribute that other scopes have from their class: looking at it fills the scope."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, ctx: LateContext, owner: type) -> Any:
        return ctx.kind and ctx.__dict__.get(self._name, getattr(CallbackContext, self._name))


for _name in ("inputs_from", "node_ids", "item_inputs", "record"):
    setattr(LateContext, _name, _Late(_name))
