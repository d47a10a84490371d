"""Executors, and how long they live. Nothing here knows pipelines."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import os
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any, TypeVar

from hypernodes.errors import did_you_mean, listing
from hypernodes.event_loops import (
    CALLED_OFF,
    CALLER_LOOP,
    LoopThread,
    Outcome,
    OutcomeFuture,
    is_awaited,
    running_loop,
    to_its_end,
)
from hypernodes.processes import HAS_FORK, ProcessPool, start_server
from hypernodes.threads import Threads

R = TypeVar("R")


class _Call(OutcomeFuture[Any]):
    """A call that was submitted: the future of its result.

    Args:
        loop: where it is to run.
        place: in the order in which calls were submitted.
        begin: makes the coroutine.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        place: int,
        begin: Callable[[], Coroutine[object, object, Outcome[Any]]],
    ) -> None:
        super().__init__()
        self.loop = loop
        self.place = place
        self._begin: Callable[[], Coroutine[object, object, Outcome[Any]]] | None = begin
        self._context: contextvars.Context | None = contextvars.copy_context()
        self._task: asyncio.Task[Outcome[Any]] | None = None

    def start(self, ended: Callable[[asyncio.Task[Outcome[Any]]], None]) -> None:
        """Start it; on the loop's thread, and once.

        Args:
            ended: called with the task, when that is done.
        """
        begin, context = self._begin, self._context
        assert begin is not None
        assert context is not None
        # What it was called with, its result may outlive.
        self._begin = self._context = None
        # The task's context is a copy of the one in which it is made.
        self._task = context.run(lambda: self.loop.create_task(begin()))
        self._task.add_done_callback(ended)

    def settle(self, task: asyncio.Task[Outcome[Any]]) -> None:
        self._task = None
        super().settle(task)

    def cancel(self) -> bool:
        """Cancel it if it has not started; else ask its task to end, which is no promise."""
        task = self._task
        if task is None:
            return super().cancel()
        with suppress(RuntimeError):  # it is done, and its loop is closed
            self.loop.call_soon_threadsafe(task.cancel, CALLED_OFF)
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
        self._closed = False
        self._loop = LoopThread("hypernodes-async")
        self.forget_calls()
        # Calls that are not done hold the executor: when it is dropped, there are none.
        weakref.finalize(self, self._loop.close).atexit = False
        _executors.add(self)

    def forget_calls(self) -> None:
        """Begin anew, in a forked child: it has none of the parent's threads."""
        self._lock = threading.Condition()
        self._running = 0
        # By loop: one that stands still, or has gone, must not hold up what others wait for.
        self._waiting: dict[asyncio.AbstractEventLoop, deque[_Call]] = {}
        self._submitted = itertools.count()
        self._unsettled: set[_Call] = set()
        # Threads that wake each other for every call spend more time on that than on the calls.
        # So a loop is woken once for all calls that wait, and settles all that are done in one go.
        self._woken: set[asyncio.AbstractEventLoop] = set()
        self._done: deque[tuple[_Call, asyncio.Task[Outcome[Any]]]] = deque()
        self._threads: Threads | None = None
        self._is_abandoned = False
        self._waits: set[asyncio.Future[None]] = set()  # of calls on threads, for `abandon`
        self._busy: set[int] = set()  # identifiers of the threads that are calling something

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
        loop = CALLER_LOOP.get()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit to an AsyncExecutor after its shutdown")
            if loop is None or not loop.is_running():
                loop = self._loop.loop
            call = _Call(loop, next(self._submitted), partial(self._call, fn, args, kwargs))
            self._waiting.setdefault(loop, deque()).append(call)
            self._unsettled.add(call)
            if not hasattr(fn, "coroutine") and not is_async(fn):
                # Before Python 3.12.2 none can be started when the interpreter ends.
                self._make_threads()
            has_room = self._running < self.max_concurrent
        if has_room:  # else the next one that ends starts it
            self._wake(loop)
        return call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that were submitted are finished.

        Args:
            wait: whether to return only then. Threads and files are given back in any case, once
                the calls are done.
            cancel_futures: cancel those that have not started.

        Raises:
            RuntimeError: it is to wait, and is called by a call that it would wait for.
        """
        with self._lock:
            self._closed = True
            dropped: list[_Call] = []
            if cancel_futures:
                dropped += itertools.chain.from_iterable(self._waiting.values())
                self._waiting.clear()
                self._unsettled.difference_update(dropped)
                self._lock.notify_all()
            waits_for_itself = wait and self._is_worker()
        _drop(dropped)
        if wait and not waits_for_itself:
            with self._lock:
                self._lock.wait_for(lambda: not self._unsettled)
        self._close_when_done(wait and not waits_for_itself)
        if waits_for_itself:
            raise RuntimeError(
                "a call on an AsyncExecutor cannot wait for the executor's shutdown, which waits "
                "for the call: use shutdown(wait=False)"
            )

    def finish(self) -> None:
        """Finish what was submitted, before the interpreter ends; take no more."""
        with self._lock:
            self._closed = True
            # A loop of somebody else's may not be running any more.
            self._lock.wait_for(
                lambda: not any(self._loop.is_own(call.loop) for call in self._unsettled)
            )

    def abandon(self) -> None:
        """Take no more calls, and wait for none before the interpreter ends."""
        _executors.discard(self)
        with self._lock:
            self._is_abandoned = True
            waits = list(self._waits)
        for wait in waits:
            with suppress(RuntimeError):  # its loop is closed
                wait.get_loop().call_soon_threadsafe(_give_up, wait)
        if self._threads is not None:
            self._threads.abandon()
        self.shutdown(wait=False, cancel_futures=True)

    def _is_worker(self) -> bool:
        """Whether calls of ours cannot go on while this thread waits."""
        if threading.get_ident() in self._busy:
            return True
        loop = running_loop()
        return loop is not None and (
            self._loop.is_own(loop) or any(call.loop is loop for call in self._unsettled)
        )

    def _close_when_done(self, wait: bool = False) -> None:
        """Give threads and files back, after a shutdown, when there is nothing more to do."""
        with self._lock:
            if not self._closed or self._unsettled:
                return
            threads = self._threads
        if threads is not None:
            threads.shutdown(wait)
        self._loop.close(wait)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if loop in self._woken:
                return
            self._woken.add(loop)
        try:
            loop.call_soon_threadsafe(self._work, loop)
        except RuntimeError:  # it is closed
            with self._lock:
                self._woken.discard(loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start what there is room for, and settle what is done; on the loop's thread."""
        with self._lock:
            self._woken.discard(loop)
            done = [self._done.popleft() for _ in range(len(self._done))]
            self._running -= len(done)
        while (call := self._next(loop)) is not None:
            call.start(partial(self._finish, call))
        for call, task in done:
            call.settle(task)
        with self._lock:
            self._unsettled.difference_update(call for call, _ in done)
            self._lock.notify_all()
        if self._closed:
            self._close_when_done()

    def _next(self, loop: asyncio.AbstractEventLoop) -> _Call | None:
        """The next call, if there is room for it and it is this loop's; else wakes its loop."""
        dropped: list[_Call] = []
        try:
            with self._lock:
                if self._running == self.max_concurrent:
                    return None
                while (turn := self._turn(dropped)) is loop:
                    call = self._waiting[loop].popleft()
                    if call.set_running_or_notify_cancel():
                        self._running += 1
                        return call
                    self._unsettled.discard(call)
                still = [each for each in self._waiting if each is turn or not each.is_running()]
        finally:
            _drop(dropped)
        for each in still:  # one that does not run takes its calls when it does again
            self._wake(each)
        return None

    def _turn(self, dropped: list[_Call]) -> asyncio.AbstractEventLoop | None:
        """Of the loops that run, the one whose next call was submitted first.

        Args:
            dropped: gets the calls of loops that are closed.
        """
        first: asyncio.AbstractEventLoop | None = None
        for loop, calls in list(self._waiting.items()):
            if loop.is_closed():
                dropped += calls
                self._unsettled.difference_update(calls)
                calls.clear()
            if not calls:
                del self._waiting[loop]
            elif loop.is_running() and (
                first is None or calls[0].place < self._waiting[first][0].place
            ):
                first = loop
        return first

    def _finish(self, call: _Call, task: asyncio.Task[Outcome[Any]]) -> None:
        self._done.append((call, task))
        loop = call.loop
        with self._lock:
            if loop in self._woken:
                return
            self._woken.add(loop)
        loop.call_soon(self._work, loop)

    async def _call(
        self, fn: Any, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Outcome[object]:
        try:
            coroutine = getattr(fn, "coroutine", None)  # of a task that can be awaited
            started = coroutine(self.in_thread) if coroutine is not None else None
            if started is None and is_async(fn):
                started = fn(*args, **kwargs)
            if started is not None:
                return Outcome(await started)
            outcome = await self._outcome_in_thread(partial(fn, *args, **kwargs))
            if outcome.error is None and is_awaited(result := outcome.get()):
                return Outcome(await result)
        except BaseException as error:
            return Outcome(None, error)
        return outcome

    async def in_thread(self, call: Callable[[], R]) -> R:
        """Call something that is not async on a thread, with this task's context variables.

        It cannot be interrupted: a cancellation goes on when it has ended.
        """
        outcome = await self._outcome_in_thread(call)
        return outcome.get()

    async def _outcome_in_thread(self, call: Callable[[], R]) -> Outcome[R]:
        with self._lock:
            threads = self._make_threads()
        context = contextvars.copy_context()
        busy = self._busy

        def work() -> Outcome[R]:
            thread = threading.get_ident()
            busy.add(thread)
            try:
                return Outcome.of(partial(context.run, call))
            finally:
                busy.discard(thread)

        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(threads, work)
        abandoned: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._is_abandoned:
                abandoned.set_result(None)
            self._waits.add(abandoned)
        try:
            return await to_its_end(future, abandoned=abandoned)
        finally:
            with self._lock:
                self._waits.discard(abandoned)

    def _make_threads(self) -> Threads:
        if self._threads is None:
            threads = Threads(self.max_concurrent, "hypernodes-async")
            threads.start()
            self._threads = threads
        return self._threads


def _drop(calls: Iterable[_Call]) -> None:
    """Cancel calls that have not started."""
    for call in calls:
        if call.cancel():
            call.set_running_or_notify_cancel()


def _give_up(wait: asyncio.Future[None]) -> None:
    if not wait.done():
        wait.set_result(None)


_executors: weakref.WeakSet[AsyncExecutor] = weakref.WeakSet()
"""All there are."""


def _finish_all() -> None:
    for executor in list(_executors):
        executor.finish()


def _forget_all() -> None:
    for executor in list(_executors):
        executor.forget_calls()


# As `concurrent.futures.thread` does it, and before it does: `atexit` comes when threads that are
# no daemons have been joined, and takes no more work from them.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


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
    "threaded": lambda: Threads(cpus(), "hypernodes"),
    "parallel": lambda: ProcessPool(cpus()),
    "fork": lambda: ProcessPool(cpus(), fork=True),
}


def cpus() -> int:
    """How many workers an alias makes."""
    return os.cpu_count() or 4


class BrokenBefore(BrokenExecutor):
    """An executor takes nothing more, since it has lost a worker."""


_OF_FUTURES = ("add_done_callback", "cancel", "done", "result")


class Pool:
    """An executor of an engine: the user's own, or one that an alias makes at first use.

    Args:
        given: "sequential", "async", "threaded", "parallel", "fork", or something with `submit`
            and `shutdown`.
        argument: the name of the engine's argument, for messages.

    Raises:
        ValueError, TypeError: it is none of these.
    """

    def __init__(self, given: Any, argument: str) -> None:
        self.given = given
        expected = (
            "expected 'sequential', 'async', 'threaded', 'parallel', 'fork', or an executor such as"
        )
        if given == "fork" and not HAS_FORK:
            raise ValueError(f"{argument} is 'fork', which this platform has not: use 'parallel'")
        if isinstance(given, str) and given != "sequential" and given not in ALIASES:
            near = "parallel" if "process" in given else given
            hint = did_you_mean(near, ("sequential", *ALIASES))
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
        if given == "parallel":
            start_server()
        self._lock = threading.Lock()
        self._made: Any = None
        self._pid = 0
        self._finalizer: Any = None

    @property
    def shown(self) -> str:
        """What messages call it: the name that was given, or the class of the user's own."""
        return repr(self.given) if isinstance(self.given, str) else type(self.given).__name__

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
        """Submit to the executor. A pool of ours that has lost its workers is made anew.

        Raises:
            BrokenBefore: one of the user's own has lost a worker before, and takes nothing more.
            TypeError: what it gives back is no future.
        """
        try:
            future: Future[R] = self.executor.submit(work)
        except BrokenExecutor as error:
            if not isinstance(self.given, str):
                raise BrokenBefore(
                    f"{self.shown} takes no more work, since one of its workers had ended "
                    "before. Make a new one, or name one ('parallel'): its workers are replaced."
                ) from error
            self.close(wait=False)
            future = self.executor.submit(work)
        if any(not hasattr(future, each) for each in _OF_FUTURES):
            raise TypeError(
                f"{self.shown}.submit gave a {type(future).__name__}: expected a future, with "
                f"{listing(_OF_FUTURES)}, as those of concurrent.futures"
            )
        return future

    def alone(self) -> Pool | None:
        """A pool of one worker process of the same kind, to be closed; None for other kinds."""
        if self.given not in ("parallel", "fork"):
            return None
        pool = Pool(self.given, "executor")
        pool._made, pool._pid = ProcessPool(1, fork=self.given == "fork"), os.getpid()
        return pool

    def close(self, wait: bool = True) -> None:
        """Close the executor, if it was made here; a later use makes a new one."""
        with self._lock:
            made, self._made = self._made, None
            if self._finalizer is not None:
                self._finalizer.detach()
                self._finalizer = None
        if made is not None and self._pid == os.getpid():
            made.shutdown(wait=wait)

    def kill(self) -> None:
        """Kill the executor's worker processes, if it has any; what was made here is made anew."""
        made = self._made if isinstance(self.given, str) else self.given
        processes: Mapping[int, Any] = getattr(made, "_processes", None) or {}
        for process in list(processes.values()):
            try:
                process.kill()
            except AttributeError:  # loky's have none
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """Leave an executor that was made here to what it cannot be stopped from doing."""
        with self._lock:
            made = self._made
        self.close(wait=False)
        if made is not None and hasattr(made, "abandon"):
            made.abandon()

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
