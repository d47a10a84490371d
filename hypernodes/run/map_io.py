"""A map's two ends: the source of its items, and the rows of its results.

    Source ──items──> Workers.stream ──rows──> AllRows (a list), or a RowStream that is iterated

A source is a list, a generator or an async iterator. A `RowStream` bounds how many items are in
flight, so that a map can process more than memory holds.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import islice
from typing import Any, Protocol

from hypernodes.event_loops import CALLER_LOOP, submit_to_loop
from hypernodes.map_over import Items

Item = Mapping[str, Any]


class Source:
    """The items of a map, taken when there is room for them.

    Args:
        items: their values; an async iterator is read on the caller's event loop.
        names: the inputs that each item has a value for.
        total: how many there are; None if that is not known.

    Attributes:
        at: how many have been taken.
        exhausted: there are no more.
    """

    def __init__(
        self,
        items: Iterable[Item] | AsyncIterator[Item],
        names: Iterable[str],
        total: int | None = None,
    ) -> None:
        self.names = frozenset(names)
        self.total = total
        self.at = 0
        self.exhausted = False
        self._whole = items if isinstance(items, Items) else None
        self._awaited = items if isinstance(items, AsyncIterator) else None
        self._items: Iterator[Item] = iter(()) if self._awaited else iter(items)  # type: ignore[arg-type]
        self._read: deque[Item] = deque()
        self._reading = False
        self._error: BaseException | None = None

    def take(self, count: int) -> Sequence[Item]:
        """Up to `count` items; of an async source those that have been read, perhaps none.

        Raises:
            BaseException: what the source raised, once the items before it have been taken.
        """
        if self._error is not None:
            raise self._error
        taken: Sequence[Item]
        if self._whole is not None:
            taken = self._whole[self.at : self.at + count]
            self.exhausted = len(taken) < count
        elif self._awaited is not None:
            taken = [self._read.popleft() for _ in range(min(count, len(self._read)))]
        else:
            taken = []
            try:
                taken.extend(islice(self._items, count))
            except BaseException as error:
                if not taken:
                    raise
                self._error = error
            self.exhausted = self._error is None and len(taken) < count
        self.at += len(taken)
        return taken

    def read(self, done: Callable[[Any], Awaitable[Any]]) -> Coroutine[Any, Any, None] | None:
        """Read the next item of an async source.

        Args:
            done: waits for a future; see `Scheduler.done`.

        Returns:
            What to await; None if there is no need, or a read is in progress.
        """
        if self._awaited is None or self._reading or self._read or self.exhausted:
            return None
        self._reading = True
        return self._read_one(self._awaited, done)

    async def _read_one(
        self, items: AsyncIterator[Item], done: Callable[[Any], Awaitable[Any]]
    ) -> None:
        loop = CALLER_LOOP.get()
        if loop is None:
            raise TypeError("an async iterable is read by whoever awaits: use `async for`")
        try:
            self._read.append(await done(submit_to_loop(loop, _next(items))))
        except _Exhausted:
            self.exhausted = True
        finally:
            self._reading = False


class _Exhausted(Exception):
    pass


async def _next(items: AsyncIterator[Item]) -> Item:
    try:
        return await items.__anext__()
    except StopAsyncIteration:  # must not leave a coroutine: PEP 479
        raise _Exhausted from None


class Rows(Protocol):
    """Takes the rows that a map makes of its items."""

    def put(self, start: int, rows: Sequence[Any]) -> None:
        """Take some rows.

        Args:
            start: the first item's place in the map.
            rows: one for each item from there on.
        """

    def room(self, started: int) -> int:
        """How many more items may be started, once `started` have been."""


class AllRows(Rows):
    """All rows of a map, in the order of its items."""

    def __init__(self, total: int) -> None:
        self.rows: list[Any] = [None] * total

    def put(self, start: int, rows: Sequence[Any]) -> None:
        self.rows[start : start + len(rows)] = rows

    def room(self, started: int) -> int:
        return sys.maxsize


class RowStream(Rows):
    """Rows that are taken one by one.

    Args:
        in_flight: how many items may have been started whose row has not been taken.
        ordered: in the order of the items; else as they are done.
    """

    def __init__(self, in_flight: int, ordered: bool) -> None:
        self._in_flight = in_flight
        self._ordered = ordered
        self._done: dict[int, Any] = {}
        self._taken = 0

    def put(self, start: int, rows: Sequence[Any]) -> None:
        self._done.update(enumerate(rows, start))

    def room(self, started: int) -> int:
        return max(0, self._in_flight - (started - self._taken))

    def ready(self) -> bool:
        """Whether there is a row to take."""
        return self._taken in self._done if self._ordered else bool(self._done)

    def take(self) -> tuple[int, Any]:
        """The next index and row."""
        index = self._taken if self._ordered else next(iter(self._done))
        self._taken += 1
        return index, self._done.pop(index)
