"""`Threads`: a pool of threads that the interpreter's exit need not wait for.

`concurrent.futures.ThreadPoolExecutor` is joined at exit whatever its threads do. A run that was
called off may leave a function behind that nothing can interrupt, such as a long `time.sleep`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

Work = tuple[Future[Any], Callable[[], Any]]


class Threads(Executor):
    """Threads that are started as they are needed, and kept.

    What was submitted is finished before the interpreter ends, unless it was `abandon`ed. Threads
    of a pool that nobody has any more end when they have done that.

    Args:
        workers: how many threads there may be.
        name: what their names begin with.
    """

    def __init__(self, workers: int, name: str) -> None:
        self._max_workers = workers
        self._name = name
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        weakref.finalize(self, _let_end, self._queue, self._threads).atexit = False
        _pools.add(self)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function on a thread.

        Args:
            fn: the function.
            *args, **kwargs: what to call it with.

        Raises:
            RuntimeError: after `shutdown`.
        """
        future: Future[Any] = Future()
        call = fn if not args and not kwargs else lambda: fn(*args, **kwargs)
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit to threads after their shutdown")
            self._queue.put((future, call))
            if not self._idle.acquire(blocking=False):
                try:
                    self._start()
                except RuntimeError:  # too many, or the interpreter ends (before Python 3.12.2)
                    if not self._threads:
                        self._queue.get()
                        raise
        return future

    def start(self) -> None:
        """Start a thread ahead, unless there is one: it will do what is submitted later."""
        with self._lock:
            if not self._threads:
                self._start()
                self._idle.release()

    def _start(self) -> None:
        if len(self._threads) >= self._max_workers:
            return
        name = f"{self._name}_{len(self._threads)}"
        arguments = self._queue, self._idle
        thread = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        _waited_for.add(thread)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that were submitted are finished.

        Args:
            wait: whether to return only then.
            cancel_futures: cancel those that have not started.
        """
        with self._lock:
            is_first, self._closed = not self._closed, True
            while cancel_futures and not self._queue.empty():
                if (item := self._queue.get()) is not None:
                    item[0].cancel()
            if is_first or cancel_futures:
                _let_end(self._queue, self._threads)
        for thread in self._threads if wait else ():
            thread.join()

    def abandon(self) -> None:
        """Take no more calls, and wait for none."""
        _waited_for.difference_update(self._threads)
        self.shutdown(wait=False, cancel_futures=True)


def _let_end(queue: SimpleQueue[Work | None], threads: Sequence[threading.Thread]) -> None:
    """Let each thread end when it has done what is in the queue by now."""
    for _ in threads:
        queue.put(None)


def _work(queue: SimpleQueue[Work | None], idle: threading.Semaphore) -> None:
    while (item := queue.get()) is not None:
        future, call = item
        if future.set_running_or_notify_cancel():
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
                del error
            else:
                future.set_result(result)
                del result
        del item, future, call  # else they would live until there is something else to do
        idle.release()


_pools: weakref.WeakSet[Threads] = weakref.WeakSet()
_waited_for: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads whose calls are finished before the interpreter ends."""


def _finish_all() -> None:
    for pool in list(_pools):
        pool.shutdown(wait=False)
    for thread in list(_waited_for):
        thread.join()


def _forget_all() -> None:
    _pools.clear()
    _waited_for.clear()


# Before `atexit`, as `concurrent.futures.thread` does it.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)  # the parent's threads are not there
