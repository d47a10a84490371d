"""Executors, and how long they live. Nothing here knows pipelines."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, TypeVar

from hypernodes.errors import did_you_mean
from hypernodes.event_loops import CALLER_LOOP, LoopThread, is_awaited, settle, to_its_end

R = TypeVar("R")


@dataclass
class _Call:
    """A call that waits for its turn."""

    future: Future[Any]
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context
    begin: Callable[[], Coroutine[object, object, Any]]


def _make_task(
    loop: asyncio.AbstractEventLoop, begin: Callable[[], Coroutine[object, object, Any]]
) -> asyncio.Task[Any]:
    return loop.create_task(begin())


def _cancel_soon(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> bool:
    """Ask a task to end. It may still run, so the future is not cancelled yet."""
    loop.call_soon_threadsafe(task.cancel)
    return False


class AsyncExecutor(Executor):
    """Runs async functions concurrently on an event loop, and other functions on threads beside it.

    The loop is that of the engine's caller where one is running, so that sessions and locks made
    there can be awaited; else one of its own, on a thread, from its first use on.

    Args:
        max_concurrent: how many calls may run at a time, async and other ones together.

    Raises:
        ValueError: `max_concurrent` is no number from 1.

    >>> async def fetch(name: str) -> str:
    ...     await asyncio.sleep(0.01)
    ...     return name.upper()
    >>> with AsyncExecutor(max_concurrent=20) as executor:
    ...     futures = [executor.submit(fetch, name) for name in ("a", "b")]
    ...     [future.result() for future in futures]
    ['A', 'B']
    """

    def __init__(self, max_concurrent: int = 10) -> None:
        if not isinstance(max_concurrent, int) or max_concurrent < 1:
            raise ValueError(f"max_concurrent is {max_concurrent!r}: expected a number from 1")
        self.max_concurrent = max_concurrent
        self._lock = threading.Condition()
        self._running = 0
        self._waiting: deque[_Call] = deque()
        # Threads that wake each other for every call spend more time on that than on the calls.
        # So a loop is woken once for all calls that wait, and settles all that are done in one go.
        self._woken: set[asyncio.AbstractEventLoop] = set()
        self._done: deque[tuple[Future[Any], asyncio.Task[Any]]] = deque()
        self._closed = False
        self._loop = LoopThread("hypernodes-async")
        self._threads: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        return f"AsyncExecutor(max_concurrent={self.max_concurrent})"

    def __reduce__(self) -> tuple[type[AsyncExecutor], tuple[int]]:
        return AsyncExecutor, (self.max_concurrent,)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function, and await what it returns where that is to be awaited.

        Args:
            fn: the function.
            *args, **kwargs: what to call it with.

        Returns:
            A future of the result.

        Raises:
            RuntimeError: after `shutdown`.
        """
        context = contextvars.copy_context()
        loop = context.get(CALLER_LOOP)
        if loop is None or not loop.is_running():
            loop = self._loop.loop
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit to an AsyncExecutor after its shutdown")
            self._waiting.append(
                _Call(future, loop, context, partial(self._call, fn, args, kwargs))
            )
            has_room = self._running < self.max_concurrent
        if has_room:  # else the next one that ends starts it
            self._wake(loop)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that were submitted are finished.

        Args:
            wait: whether to return only then.
            cancel_futures: cancel those that have not started.
        """
        with self._lock:
            self._closed = True
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
        for call in dropped:
            call.future.cancel()
        if wait:
            with self._lock:
                self._lock.wait_for(lambda: not self._running and not self._waiting)
            if self._threads is not None:
                self._threads.shutdown()
            self._loop.close()

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if loop in self._woken:
                return
            self._woken.add(loop)
        loop.call_soon_threadsafe(self._work, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start what there is room for, and settle what is done; on the loop's thread."""
        with self._lock:
            self._woken.discard(loop)
            done = [self._done.popleft() for _ in range(len(self._done))]
            self._running -= len(done)
        while (call := self._next(loop)) is not None:
            # The task's context is a copy of the one in which it is made.
            task: asyncio.Task[Any] = call.context.run(_make_task, loop, call.begin)
            call.future.cancel = partial(_cancel_soon, loop, task)  # type: ignore[method-assign]
            task.add_done_callback(partial(self._finish, loop, call.future))
        for future, task in done:
            settle(future, task)
        with self._lock:
            self._lock.notify_all()

    def _next(self, loop: asyncio.AbstractEventLoop) -> _Call | None:
        """The next call, if there is room for it; wakes the loop of one that is another's."""
        with self._lock:
            while self._waiting and self._running < self.max_concurrent:
                if self._waiting[0].loop is not loop:
                    other = self._waiting[0].loop
                    break
                call = self._waiting.popleft()
                if call.future.set_running_or_notify_cancel():
                    self._running += 1
                    return call
            else:
                return None
        self._wake(other)
        return None

    def _finish(
        self, loop: asyncio.AbstractEventLoop, future: Future[Any], task: asyncio.Task[Any]
    ) -> None:
        self._done.append((future, task))
        with self._lock:
            if loop in self._woken:
                return
            self._woken.add(loop)
        loop.call_soon(self._work, loop)

    async def _call(self, fn: Any, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        coroutine = getattr(fn, "coroutine", None)  # of a task that can be awaited
        started = coroutine(self.in_thread) if coroutine is not None else None
        if started is None and is_async(fn):
            started = fn(*args, **kwargs)
        if started is not None:
            return await started
        result = await self.in_thread(partial(fn, *args, **kwargs))
        return await result if is_awaited(result) else result

    async def in_thread(self, call: Callable[[], R]) -> R:
        """Call something that is not async on a thread, with this task's context variables.

        It cannot be interrupted: a cancellation goes on when it has ended.
        """
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.max_concurrent, "hypernodes-async")
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await to_its_end(loop.run_in_executor(self._threads, context.run, call))


def is_async(func: object) -> bool:
    """Whether calling it is known to give a coroutine."""
    while isinstance(func, partial):
        func = func.func
    if isinstance(func, FunctionType):
        return inspect.iscoroutinefunction(func)
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(
        getattr(func, "__call__", None)  # noqa: B004  (the method is asked for, not whether)
    )


ALIASES: dict[str, Callable[[], Any]] = {
    "async": lambda: AsyncExecutor(max_concurrent=10),
    "threaded": lambda: ThreadPoolExecutor(cpus(), "hypernodes"),
    "parallel": lambda: _processes(cpus()),
}


def cpus() -> int:
    """How many workers an alias makes."""
    return os.cpu_count() or 4


def _processes(workers: int) -> ProcessPoolExecutor:
    """Processes that leave Ctrl-C to the caller: what runs in them is finished, and reported."""
    method = "fork" if sys.platform == "linux" else None
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context(method),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


class Pool:
    """An executor of an engine: the user's own, or one that an alias makes at first use.

    Args:
        given: "sequential", "async", "threaded", "parallel", or something with `submit` and
            `shutdown`.
        argument: the name of the engine's argument, for messages.

    Raises:
        ValueError, TypeError: it is none of these.
    """

    def __init__(self, given: Any, argument: str) -> None:
        self.given = given
        expected = "expected 'sequential', 'async', 'threaded', 'parallel', or an executor such as"
        if isinstance(given, str) and given != "sequential" and given not in ALIASES:
            hint = did_you_mean(given, ("sequential", *ALIASES))
            raise ValueError(
                f"{argument} is {given!r}: {expected} ThreadPoolExecutor(max_workers=4).{hint}"
            )
        if not isinstance(given, str) and (
            isinstance(given, type)
            or not callable(getattr(given, "submit", None))
            or not callable(getattr(given, "shutdown", None))
        ):
            hint = f" Make one: {given.__name__}()." if isinstance(given, type) else ""
            raise TypeError(
                f"{argument} is {given!r}: {expected} ThreadPoolExecutor(max_workers=4), "
                f"with submit and shutdown.{hint}"
            )
        self._lock = threading.Lock()
        self._made: Any = None
        self._pid = 0
        self._finalizer: Any = None

    @property
    def sequential(self) -> bool:
        """Whether there is no executor: work is done by the caller."""
        return isinstance(self.given, str) and self.given == "sequential"

    @property
    def executor(self) -> Any:
        """The executor; a new one in a forked child, which has none of the parent's threads."""
        if not isinstance(self.given, str):
            return self.given
        with self._lock:
            if self._made is None or self._pid != os.getpid():
                self._made, self._pid = ALIASES[self.given](), os.getpid()
                self._finalizer = weakref.finalize(self, _close, self._made, self._pid)
            return self._made

    @property
    def workers(self) -> int:
        """How many calls run at a time, as far as is known."""
        if isinstance(self.given, str):
            return {"sequential": 1, "async": 10}.get(self.given, cpus())
        for name in ("_max_workers", "max_concurrent"):
            count = getattr(self.given, name, None)
            if isinstance(count, int) and count > 0:
                return count
        return cpus()

    def submit(self, work: Callable[[], R]) -> Future[R]:
        """Submit to the executor. A pool of ours that has lost its workers is made anew."""
        try:
            future: Future[R] = self.executor.submit(work)
        except BrokenExecutor:
            if not isinstance(self.given, str):
                raise
            self.close(wait=False)
            future = self.executor.submit(work)
        return future

    def close(self, wait: bool = True) -> None:
        """Close the executor, if it was made here; a later use makes a new one."""
        with self._lock:
            made, self._made = self._made, None
            if self._finalizer is not None:
                self._finalizer.detach()
                self._finalizer = None
        if made is not None and self._pid == os.getpid():
            made.shutdown(wait=wait)

    def same_as(self, other: Pool) -> bool:
        """Whether the two have the same workers."""
        return self is other or (not isinstance(self.given, str) and self.given is other.given)

    def like(self, other: Pool) -> bool:
        """Whether the two are of one kind and size, so that either can do the other's work."""
        if self.same_as(other):
            return True
        own, others = self.given, other.given
        if isinstance(own, str) or isinstance(others, str):
            return bool(own == others)
        return type(own) is type(others) and self.workers == other.workers

    def __reduce__(self) -> tuple[Callable[..., Pool], tuple[object, ...]]:
        """A pool of the same size in another process; one of processes is sequential there."""
        given = self.given
        if isinstance(given, ThreadPoolExecutor):
            return _threads, (self.workers,)
        if isinstance(given, AsyncExecutor) or given in ("async", "threaded"):
            return Pool, (given, "executor")
        return Pool, ("sequential", "executor")


def _threads(workers: int) -> Pool:
    return Pool(ThreadPoolExecutor(workers), "executor")


def _close(executor: Executor, pid: int) -> None:
    if pid == os.getpid():
        executor.shutdown(wait=False)


def __getattr__(name: str) -> Any:
    if name == "DaftEngine":  # not an executor, but it may be looked for here
        from hypernodes.engines.daft.engine import DaftEngine

        return DaftEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
