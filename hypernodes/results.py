"""What maps give: `FailedItem` for an item that failed, `Results` as the iterator of `imap`."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from hypernodes.errors import as_awaited, as_raised
from hypernodes.event_loops import in_own_thread
from hypernodes.identity.values import STORING, Unidentifiable


@dataclass(frozen=True)
class FailedItem:
    """The result of a failed item, in a map with `error_handling="continue"`.

    What is computed from lists with one in them is not stored in a cache: the next run may have the
    item.

    Attributes:
        index: the item's place in the map, from 0.
        node: the node that raised; None where the item failed outside of any node.
        error: the error, with notes that name the node and the item.
        inputs: the item's own inputs.
    """

    index: int
    node: str | None
    error: BaseException
    inputs: dict[str, Any]

    def __getitem__(self, output: object) -> NoReturn:
        raise TypeError(
            f"item {self.index} failed in node {self.node!r} and has no outputs: "
            f"{self.error!r:.200}. Leave failed items out: "
            "[row for row in rows if not isinstance(row, FailedItem)]"
        )

    def _has_no_value(self, *_: object) -> NoReturn:
        raise TypeError(
            f"item {self.index} failed in node {self.node!r} and has no value: "
            f"{self.error!r:.200}. Leave failed items out of the list: "
            "[value for value in values if not isinstance(value, FailedItem)]"
        )

    # What nodes do with values: sums, means, comparisons.
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _has_no_value
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __pow__ = _has_no_value
    __lt__ = __le__ = __gt__ = __ge__ = _has_no_value
    __neg__ = __abs__ = __int__ = __float__ = __index__ = __round__ = _has_no_value

    def __reduce__(self) -> tuple[object, ...]:
        if STORING.get():
            raise TypeError(f"item {self.index} of a map has failed, and may not the next time")
        return FailedItem, (self.index, self.node, self.error, self.inputs)

    def __cache_key__(self) -> NoReturn:
        error = Unidentifiable(
            f"item {self.index} of a map has failed, and may not fail the next time"
        )
        error.is_reported = True
        raise error

    def __repr__(self) -> str:
        return f"<FailedItem {self.index}: {self.node}: {self.error!r}>"


class Results:
    """Yields a map's results one by one, with a limited number of items in memory.

    `for` runs items in the calling thread. `async for` does not block the event loop, and async
    nodes run on it. `close` (`aclose`), the end of a `with` block, or losing the last reference
    starts no further items, and waits for those that run.

    Args:
        rows: the map as the engine yields it: indices and results.
        ordered: results come alone, in the order of the items; else with their indices.
        only_awaited: the items come from an async iterable.
    """

    def __init__(
        self, rows: Generator[tuple[int, Any], None, None], ordered: bool, only_awaited: bool
    ) -> None:
        self._rows = rows
        self._ordered = ordered
        self._only_awaited = only_awaited
        self._is_awaited = False

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Any:
        if self._only_awaited:
            raise TypeError("the items come from an async iterable: use `async for`")
        try:
            return self._result(next(self._rows))
        except RuntimeError as error:
            raised = as_raised(error)
            if raised is error:
                raise
        raise as_awaited(raised)

    def close(self) -> None:
        """Start no more items, and wait for those that run."""
        self._rows.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Results:
        return self

    async def __anext__(self) -> Any:
        self._is_awaited = True
        try:
            row = await in_own_thread(self._next_or_none)
        except StopAsyncIteration as error:  # a node's: it would end the loop
            raise as_awaited(error) from error
        if row is None:
            raise StopAsyncIteration
        return self._result(row)

    def _next_or_none(self) -> tuple[int, Any] | None:
        """The next row; None after the last: StopIteration cannot leave a coroutine."""
        try:
            return next(self._rows, None)
        except RuntimeError as error:
            raise as_raised(error)  # noqa: B904  (it may be the same one)

    async def aclose(self) -> None:
        """The same as :meth:`close`, to be awaited."""
        await in_own_thread(self.close)

    async def __aenter__(self) -> Results:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # This may be the loop's thread, and nodes on the loop must go on. When the interpreter is
        # ending, no thread starts any more, and none is waited for.
        if self._is_awaited and not sys.is_finalizing():
            with contextlib.suppress(RuntimeError):  # it has just begun to end
                threading.Thread(target=self.close, daemon=True).start()

    def _result(self, row: tuple[int, Any]) -> Any:
        return row[1] if self._ordered else row


def check_error_handling(error_handling: object, map_over: object = ()) -> None:
    """Refuse what is neither "raise" nor "continue", and what goes on after items of no map.

    Args:
        error_handling: what was given.
        map_over: what is mapped; None where it is no map.

    Raises:
        ValueError: it is something else.
    """
    if error_handling not in ("raise", "continue"):
        raise ValueError(
            f"error_handling is {error_handling!r}: expected 'raise' (stop at the first error) or "
            "'continue' (a FailedItem in the failed item's place)"
        )
    if error_handling != "raise" and map_over is None:
        raise ValueError(
            f"error_handling={error_handling!r} is for the items of a map: "
            "give map_over=... as well"
        )
