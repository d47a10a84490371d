"""Single flight: what one run is computing, another one in this process waits for.

Nothing may wait where that could keep from ending what it waits for. So a thread never waits

- on an event loop, or in a node's function that a scheduler's thread is calling: the loop's or
  scheduler's other work would stand still, the awaited one among it;
- as a worker of an executor, but for a worker of that executor: what it waits for could be in
  the queue behind it;
- for a run that goes on only as somebody asks for its next item.

Where it may not wait it computes as well: both make the same, and the store does not mind.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future

from hypernodes.run.scheduler import Scheduler, driving
from hypernodes.run.tasks import CURRENT_EXECUTORS


class InFlight:
    """The computation of one result.

    Args:
        key: the result's key.
        scheduler: what the computing run is driven by; None where it is called in its thread.
    """

    __slots__ = ("_inside", "_is_finished", "_key", "_scheduler", "_thread", "_waiters")

    def __init__(self, key: bytes, scheduler: Scheduler | None) -> None:
        self._key = key
        self._scheduler = scheduler
        self._thread = threading.get_ident()
        self._inside = CURRENT_EXECUTORS.get()
        self._is_finished = False
        self._waiters: list[Future[None]] = []

    @classmethod
    def acquire(cls, key: bytes, scheduler: Scheduler | None) -> tuple[InFlight, bool]:
        """The flight of a key, and whether it is the caller's: who has to land it."""
        own = cls(key, scheduler)
        flight = _flying.setdefault(key, own)
        return flight, flight is own

    def finish(self) -> None:
        """Tell those who wait that the result is in the store, or will not be."""
        global _latest
        _latest = object()  # before the key can be taken again
        _flying.pop(self._key, None)
        self._is_finished = True
        if self._waiters:
            self._tell()

    def finished(self) -> Future[None]:
        """Done when the flight has landed; cancelling it cancels nothing else."""
        waiter: Future[None] = Future()
        self._waiters.append(waiter)
        if self._is_finished:
            self._tell()
        return waiter

    def _tell(self) -> None:
        # The landing one and those who come late may both be here: each waiter is popped once.
        while self._waiters:
            try:
                waiter = self._waiters.pop()
            except IndexError:
                return
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)

    def is_for(self, scheduler: Scheduler | None) -> bool:
        """Whether a run may wait for it that a scheduler drives in this thread, or nothing."""
        if scheduler is not None and scheduler is self._scheduler:
            return True
        if driving() > (scheduler is not None) or self._thread == threading.get_ident():
            return False
        if self._scheduler is not None and not self._scheduler.runs_through:
            return False
        return not CURRENT_EXECUTORS.get() or self.is_beside()

    def is_beside(self) -> bool:
        """Whether it is on the way on a worker of the executor that this is a worker of."""
        inside = CURRENT_EXECUTORS.get()
        return bool(inside and self._inside) and self._inside[-1] is inside[-1]


def latest() -> object:
    """Stands for the landing that was the last: another one means that something has landed."""
    return _latest


_latest = object()
_flying: dict[bytes, InFlight] = {}

if hasattr(os, "register_at_fork"):  # those who compute are not in a forked child
    os.register_at_fork(after_in_child=_flying.clear)
