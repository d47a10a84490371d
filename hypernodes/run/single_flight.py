"""Single flight: runs in one process wait for a result that another one is computing.

Waiting must never deadlock. So a thread never waits

- on an event loop, or in a node's function that a scheduler's thread is calling: everything else
  on that loop or scheduler would stop, perhaps the computation it waits for;
- for a run whose async nodes are on an event loop, but on that loop itself: it may be blocked by
  whoever waits for this thread, or stand still;
- in a worker of an executor, unless the computation runs in another worker of the same executor:
  it could be queued behind the one that waits;
- for a run that only advances when somebody asks for its next item.

A thread that may not wait computes the result too: both get the same, and storing it twice is
harmless.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future

from hypernodes.event_loops import CALLER_LOOP
from hypernodes.run.scheduler import Scheduler, driving
from hypernodes.run.tasks import CURRENT_EXECUTORS


class InFlight:
    """The computation of one result.

    Args:
        key: the result's key.
        scheduler: drives the computing run; None if the run has no scheduler.
    """

    __slots__ = ("_inside", "_is_finished", "_key", "_loop", "_scheduler", "_thread", "_waiters")

    def __init__(self, key: bytes, scheduler: Scheduler | None) -> None:
        self._key = key
        self._scheduler = scheduler
        self._thread = threading.get_ident()
        self._inside = CURRENT_EXECUTORS.get()
        self._loop = CALLER_LOOP.get()
        self._is_finished = False
        self._waiters: list[Future[None]] = []

    @classmethod
    def acquire(cls, key: bytes, scheduler: Scheduler | None) -> tuple[InFlight, bool]:
        """Join the computation of a key, or begin it.

        Args:
            key: the result's key.
            scheduler: drives the calling run; None if it has no scheduler.

        Returns:
            The computation, and whether it is the caller's, who must call `finish` then.
        """
        own = cls(key, scheduler)
        in_flight = _in_flight.setdefault(key, own)
        return in_flight, in_flight is own

    def finish(self) -> None:
        """Wake the waiters: the result is in the store, or the computation has failed."""
        global _latest
        _latest = object()  # before the key can be taken again
        _in_flight.pop(self._key, None)
        self._is_finished = True
        if self._waiters:
            self._wake()

    def finished(self) -> Future[None]:
        """A future that is done after `finish`; cancelling it cancels nothing else."""
        waiter: Future[None] = Future()
        self._waiters.append(waiter)
        if self._is_finished:
            self._wake()
        return waiter

    def _wake(self) -> None:
        # `finish` and late callers of `finished` may race here: each waiter is popped only once.
        while self._waiters:
            try:
                waiter = self._waiters.pop()
            except IndexError:
                return
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)

    def is_for(self, scheduler: Scheduler | None) -> bool:
        """Whether a run that `scheduler` (or nothing) drives in this thread may wait for it."""
        if scheduler is not None and scheduler is self._scheduler:
            return True
        if driving() > (scheduler is not None) or self._thread == threading.get_ident():
            return False
        if self._scheduler is not None and not self._scheduler.runs_through:
            return False
        if self._loop is not None and self._loop is not CALLER_LOOP.get():
            return False
        return not CURRENT_EXECUTORS.get() or self.is_beside()

    def is_beside(self) -> bool:
        """Whether it runs in another worker of the executor that this thread works for."""
        inside = CURRENT_EXECUTORS.get()
        return bool(inside and self._inside) and self._inside[-1] is inside[-1]


def latest() -> object:
    """A token that changes whenever a computation finishes."""
    return _latest


_latest = object()
_in_flight: dict[bytes, InFlight] = {}

if hasattr(os, "register_at_fork"):  # the computing threads do not exist in a forked child
    os.register_at_fork(after_in_child=_in_flight.clear)
