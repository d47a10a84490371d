"""The scopes of an item and its nodes as callbacks are given them once the item is done.

There are two for each item of a map of one node, and most callbacks look at few of their
attributes, if at any. So they are filled when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from hypernodes.callbacks import CallbackContext, ScopeInfo
from hypernodes.engines.daft.cells import Cells, CellValues, RowOf
from hypernodes.engines.daft.records import Records
from hypernodes.node_record import NodeRecord


@dataclass
class DoneItems:
    """Items of a map that are done, and what their scopes have in common.

    Attributes:
        around: the map's scope.
        info: what the scopes say of their pipeline.
        node_ids: the nodes of each item.
        nodes: for each of them, what made its inputs: a scope outside of the map, or the place of
            another node.
        indexes: the items' places in the map.
        start: the place of the first of them in columns and times.
        times: for each node the records of its runs.
        inputs: gives an item's own inputs, by its place there.
        cells: reads cells.
        row: gives an item's row, by the same place.
        lock: is held while the scope of an item is made.
    """

    around: CallbackContext
    info: ScopeInfo
    node_ids: Sequence[str]
    nodes: Sequence[Sequence[tuple[str, CallbackContext | int]]]
    indexes: Sequence[int]
    start: int
    times: Sequence[Records]
    inputs: Callable[[int], Mapping[str, Any]]
    cells: Cells
    row: Callable[[int], RowOf]
    lock: AbstractContextManager[object]
    # Weak: else each scope would be part of a circle, with all the columns of the items.
    _scopes: WeakValueDictionary[int, ItemContext] | None = None

    def values(
        self, columns: Mapping[str, str], known: Mapping[str, object]
    ) -> Callable[[int], CellValues]:
        """What gives values of an item by its place: those in some columns, and known ones."""
        return lambda place: CellValues(self.cells, self.row(place), columns, known)

    def scope(self, place: int) -> ItemContext:
        """The scope of an item, the same for all of its nodes; it is made when it is needed."""
        with self.lock:
            if self._scopes is None:
                self._scopes = WeakValueDictionary()
            scope = self._scopes.get(place)
            if scope is None:
                scope = self._scopes[place] = ItemContext(self, place)
            return scope


class DoneValues(Mapping[str, Any]):
    """What a node of an item has read or made; it is put together when it is looked at.

    Args:
        of: gives the values of an item by its place; the same for all items.
        place: the item's place.
    """

    __slots__ = ("of", "place")

    def __init__(self, of: Callable[[int], CellValues], place: int) -> None:
        self.of = of
        self.place = place

    def __getitem__(self, name: str) -> Any:
        return self.of(self.place)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of(self.place))

    def __len__(self) -> int:
        return len(self.of(self.place))

    def __repr__(self) -> str:
        return repr(dict(self))


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


_OWN = {"at", "before", "items", "place"}


class ItemContext(LateContext):
    """The scope of an item.

    Args:
        items: the items.
        place: the item's place among them.
    """

    def __init__(self, items: DoneItems, place: int) -> None:
        self.items = items
        self.place = place

    def context(self) -> CallbackContext:
        items, place = self.items, self.place
        around, index = items.around, items.indexes[place - items.start]
        name = f"{around.name}[{index}]"
        ctx = CallbackContext("map_item", name, around, items.info, index, None, items.node_ids)
        ctx.item_inputs = items.inputs(place)
        ctx.started_at = items.times[0].starts[place]
        return ctx


class NodeContext(LateContext):
    """The scope of a node of an item.

    There is one for each node of each item: `_PlainItems.replay` sets the attributes in place.

    Attributes:
        items: the items.
        place: the item's place in their columns.
        at: the node's place in the item.
        before: the scope of the node at the place before. The chain has no circle, which would
            cost garbage collections.
    """

    items: DoneItems
    place: int
    at: int
    before: NodeContext | None

    def context(self) -> CallbackContext:
        items, place, at = self.items, self.place, self.at
        sources = {
            n: of if isinstance(of, CallbackContext) else self._node(of)
            for n, of in items.nodes[at]
        }
        around, name = items.scope(place), items.node_ids[at]
        ctx = CallbackContext("node", name, around, items.info, None, sources)
        times = items.times[at]
        ctx.record = NodeRecord(times.starts[place], times.durations[place])
        ctx.started_at = ctx.record.started_at
        return ctx

    def _node(self, at: int) -> NodeContext:
        """The scope of an earlier node."""
        node = self
        while node.at > at and node.before is not None:
            node = node.before
        return node


class _Late:
    """An attribute that other scopes have from their class: looking at it fills the scope."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, ctx: LateContext, owner: type) -> Any:
        return ctx.kind and ctx.__dict__.get(self._name, getattr(CallbackContext, self._name))


for _name in ("inputs_from", "node_ids", "item_inputs", "record"):
    setattr(LateContext, _name, _Late(_name))
