"""The scheduler: coroutines in the calling thread that wait for work done elsewhere.

A run on executors uses the same coroutines as a sequential one. Where a sequential run calls a
function, here the coroutine submits it to an executor and is suspended until the future is done;
meanwhile others go on. All coroutines run in the thread that called the engine. Only leaf work
goes to executors, so whatever waits for a pool never occupies one of that pool's workers.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypernodes.errors import CALLER, Cancelled, as_raised, users_place
from hypernodes.event_loops import (
    CALLER_LOOP,
    CANCELLATION,
    can_be_reentered,
    reenter,
    running_loop,
)
from hypernodes.run.interrupts import Interrupts

Resume = Callable[[], None]

_driving = threading.local()


def driving() -> int:
    """How many schedulers run in this thread, one inside the other."""
    depth: int = getattr(_driving, "depth", 0)
    return depth


@dataclass(eq=False, slots=True)
class _Wait:
    """Suspends a coroutine until the callback that `subscribe` gets is called, from any thread."""

    subscribe: Callable[[Resume], None]
    cancel: Callable[[], object] | None = None

    def __await__(self) -> Generator[_Wait, None, None]:
        yield self


@dataclass(eq=False, slots=True)
class RunningTask:
    """A coroutine that the scheduler drives.

    Attributes:
        group: is notified when it is done; None for a main task.
        key: its name in the group.
        groups: those whose tasks it is waiting for.
        wait: what it is suspended on.
        stopped: whether it is to start nothing more.
    """

    coroutine: Coroutine[Any, Any, Any]
    group: Group | None
    key: Any
    groups: list[Group] = field(default_factory=list)
    wait: _Wait | None = None
    result: Any = None
    error: BaseException | None = None
    done: bool = False
    stopped: bool = False

    def stop(self) -> None:
        """Cancel whatever it waits for, if that has not started, and submit nothing more."""
        self.stopped = True
        if self.wait is not None and self.wait.cancel is not None:
            self.wait.cancel()
        for group in self.groups:
            group.stop()

    def wake(self, wake: Callable[[RunningTask], None]) -> None:
        """Wake whatever waits for a future, so that it finds out that it need not."""
        if self.wait is not None and self.wait.cancel is not None:
            wake(self)
        for group in self.groups:
            for task in group.tasks():
                task.wake(wake)

    def poke(self) -> None:
        """Wake it if it waits in `Group.next`: something else has changed."""
        for group in self.groups:
            group.poke()


class Group:
    """Tasks that another task has started, and waits for as they finish."""

    def __init__(self, scheduler: Scheduler, owner: RunningTask) -> None:
        self._scheduler = scheduler
        self._owner = owner
        self._running: set[RunningTask] = set()
        self._finished: deque[RunningTask] = deque()
        self._resume: Resume | None = None

    def __enter__(self) -> Group:
        self._owner.groups.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.groups.remove(self)

    def __len__(self) -> int:
        """How many have been started and not yet been returned by `next`."""
        return len(self._running) + len(self._finished)

    def start(self, key: Any, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a task; it runs until it first waits for something.

        Args:
            key: names the task in the group.
            coroutine: what it runs.
        """
        task = RunningTask(coroutine, self, key)
        task.stopped = self._owner.stopped
        self._running.add(task)
        self._scheduler.step(task)

    def tasks(self) -> list[RunningTask]:
        """Those that have not finished."""
        return list(self._running)

    def running(self) -> list[Any]:
        """The keys of tasks that have not finished, or that `next` has yet to return as lost."""
        lost = [task for task in self._finished if isinstance(task.error, BrokenExecutor)]
        return [task.key for task in (*self._running, *lost)]

    def all_failed_with(self, kind: type[BaseException]) -> bool:
        """Whether all that `next` has yet to return have failed with an error of one kind."""
        return not self._running and all(isinstance(t.error, kind) for t in self._finished)

    async def next(self) -> RunningTask | None:
        """The next task to finish; None if a `poke` came first."""
        if not self._finished:
            await _Wait(self._subscribe)
        return self._finished.popleft() if self._finished else None

    def poke(self) -> None:
        """Wake whoever waits in `next`: something else has changed."""
        if self._resume is not None:
            resume, self._resume = self._resume, None
            resume()

    def stop(self, which: Callable[[Any], bool] = lambda key: True) -> None:
        """Stop every task, or those with a key that `which` accepts."""
        for task in list(self._running):
            if which(task.key):
                task.stop()
        self.poke()

    def finish(self, task: RunningTask) -> None:
        """Note that a task is done."""
        self._running.discard(task)
        self._finished.append(task)
        self.poke()

    def _subscribe(self, resume: Resume) -> None:
        self._resume = resume


class Scheduler:
    """Drives tasks in the thread that calls it.

    In a thread whose event loop is running, that loop goes on while the scheduler waits, if it can
    be re-entered: coroutines on it make progress.

    Attributes:
        runs_through: whether it runs to the end in one go; else it pauses until somebody asks for
            the next item.
    """

    def __init__(self) -> None:
        self.runs_through = False
        self._ready: deque[RunningTask | None] = deque()
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()  # one for each, at least
        loop = running_loop()
        self._loop = loop if can_be_reentered(loop) else None
        self._task: RunningTask | None = None
        self._thread = threading.get_ident()
        self._stopping = False
        self._caller = users_place()

    @property
    def is_here(self) -> bool:
        """Whether this is called by a task that it drives, and not later or by another thread."""
        return self._task is not None and self._thread == threading.get_ident()

    @property
    def task(self) -> RunningTask:
        """The task that is running."""
        assert self._task is not None
        return self._task

    @property
    def stopped(self) -> bool:
        """Whether the running task is to start nothing more."""
        return self._stopping or self.task.stopped

    def group(self) -> Group:
        """A group of the running task."""
        return Group(self, self.task)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Drive a coroutine, and all that it starts, to its end.

        On Ctrl-C, waiting work is cancelled, running work is waited for, and every scope is closed.

        Raises:
            BaseException: what the coroutine raised.
            KeyboardInterrupt: Ctrl-C came.
        """
        self.runs_through = True
        main = self.begin(coroutine)
        self.advance(lambda: main.done, main)
        if main.error is not None:
            raise main.error
        return main.result

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> RunningTask:
        """Make a main task, which the next `advance` starts."""
        main = RunningTask(coroutine, None, None)
        self._ready.append(main)
        return main

    def advance(self, until: Callable[[], bool], main: RunningTask) -> None:
        """Drive tasks until a condition holds.

        Args:
            until: the condition.
            main: the main task; Ctrl-C stops it, and it is driven to its end.

        Raises:
            KeyboardInterrupt: Ctrl-C came.
            BaseException: another callback of the running loop raised SystemExit, say.
        """
        self._thread = threading.get_ident()
        exited: BaseException | None = None
        token = CALLER_LOOP.set(self._loop) if self._loop is not None else None
        caller = CALLER.set(self._caller)
        signal = CANCELLATION.get()
        if signal is not None:
            signal.listen(self._stop_soon)
        _driving.depth = driving() + 1
        try:
            with Interrupts(lambda: self._wake(None)) as interrupts:
                while not (main.done if interrupts.given or exited is not None else until()):
                    try:
                        task = self._next()
                    except BaseException as error:
                        if interrupts.given or exited is not None:
                            raise
                        exited = error
                        task = None
                    else:
                        self._ready.popleft()
                    if task is None:  # Ctrl-C, or the run was cancelled
                        if self.abandoned:  # do not cancel again what waits for its thread
                            main.wake(self._wake)
                        else:
                            main.stop()
                    elif not task.done:  # it may have been abandoned
                        self.step(task)
        finally:
            _driving.depth -= 1
            if signal is not None:
                signal.forget(self._stop_soon)
            if token is not None:
                CALLER_LOOP.reset(token)
            CALLER.reset(caller)
        if exited is not None:
            raise exited
        if interrupts.given:
            raise KeyboardInterrupt

    def step(self, task: RunningTask) -> None:
        """Run a task until it waits for something, or is done.

        A task may step another one that it starts, so `self._task` is restored afterwards.
        """
        before, self._task = self._task, task
        task.wait = None
        try:
            wait = task.coroutine.send(None)
        except StopIteration as stop:
            task.result = stop.value
        except BaseException as error:
            task.error = as_raised(error)
        else:
            task.wait = wait
            if task.stopped and wait.cancel is not None:
                wait.cancel()
            wait.subscribe(lambda: self._wake(task))
            return
        finally:
            self._task = before
        task.done = True
        if task.group is not None:
            task.group.finish(task)

    async def done(self, future: Future[Any], cancel: Callable[[], object] | None = None) -> Any:
        """The result of a future.

        Args:
            future: what to wait for.
            cancel: called when it is not needed any more; by default the future's own.

        Raises:
            Cancelled: it was cancelled, for another one has failed, or is not waited for.
        """
        while not future.done():
            if self.abandoned:
                raise Cancelled("left running: it could not be interrupted")
            await _Wait(
                lambda resume: future.add_done_callback(lambda _: resume()),
                cancel or partial(cancel_future, future),
            )
        try:
            return future.result()
        except CancelledError:
            raise Cancelled("called off before it started") from None
        except asyncio.CancelledError:
            if not self.stopped:
                raise
            raise Cancelled("cancelled while it ran") from None

    @property
    def interrupting(self) -> bool:
        """Whether what is running is ended, and not waited for."""
        token = CANCELLATION.get()
        return self._stopping and token is not None and token.interrupts

    @property
    def abandoned(self) -> bool:
        """Whether what is still running is left alone."""
        token = CANCELLATION.get()
        return self._stopping and token is not None and token.abandoned

    @property
    def blocks_a_loop(self) -> bool:
        """Whether this thread has a running event loop that waiting would block."""
        return self._loop is None and running_loop() is not None

    def _stop_soon(self) -> None:
        self._stopping = True
        self._wake(None)

    def _wake(self, task: RunningTask | None) -> None:
        self._ready.append(task)
        self._signals.put(None)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(_woken)

    def _next(self) -> RunningTask | None:
        """The next task, which stays where it is.

        Another thread may raise an exception in this one, as Prefect's timeouts do. It comes when
        the wait returns: what was waited for must not be lost with it.
        """
        if self._loop is not None and not self._ready:
            reenter(self._loop, lambda: bool(self._ready))
        while not self._ready:
            self._signals.get()
        return self._ready[0]


def _woken() -> None:
    """A callback for a loop that waits for one: it looks whether a task is ready."""


def cancel_future(future: Future[Any]) -> bool:
    """Cancel what has not started; returns whether it had not."""
    is_cancelled = future.cancel()
    if is_cancelled and sys.version_info < (3, 12, 1):
        # A process pool that loses a worker fails all of its futures. Where one is cancelled, that
        # raises, and the others are never done, until Python 3.12.1.
        future.__dict__["set_exception"] = lambda error: None
    return is_cancelled
