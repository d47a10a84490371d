"""Limits: how many calls of a node run at once in a run, `@node(max_concurrent=5)`.

They are taken where the run is driven, around the call and never on a worker. So one limit holds
for all items of all maps, on whatever executor, and what waits for its turn occupies no worker.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

from hypernodes.node import Node


class Limit:
    """Lets so many calls run at once; the others wait in the order in which they came.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()

    def acquire(self) -> Future[None]:
        """A future that is done when it is the caller's turn; `release` ends the turn."""
        turn: Future[None] = Future()
        with self._lock:
            if not self._free:
                self._waiting.append(turn)
                return turn
            self._free -= 1
        turn.set_result(None)
        return turn

    def release(self) -> None:
        """End a turn: the first that waits, and has not been cancelled, has the next one."""
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    break
            else:
                self._free += 1
                return
        turn.set_result(None)

    def leave(self, turn: Future[None]) -> None:
        """Give up a turn, whether it has come or not."""
        if not turn.cancel():
            turn.exception()  # it is about to be set
            self.release()


class Limits:
    """The limits of a run's nodes."""

    def __init__(self) -> None:
        self._of: dict[Node[..., Any], Limit] = {}
        self._lock = threading.Lock()

    def of(self, node: Node[..., Any]) -> Limit | None:
        """The limit of a node, the same wherever it stands in the run; None without one."""
        size = node.options.max_concurrent
        if size is None:
            return None
        with self._lock:
            return self._of.setdefault(node.original or node, Limit(size))
