"""Where work runs: event loops and pools. Nothing here knows of pipelines."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from types import CoroutineType
from typing import Any

import nest_asyncio

AWAITED = frozenset({CoroutineType, asyncio.Future, asyncio.Task})
"""Exact types that a step of a plan looks for; `is_awaited` also knows their subclasses."""


def is_awaited(value: Any) -> bool:
    """Whether a function's result is to be awaited rather than to be passed on.

    Coroutines and asyncio's futures are. Other awaitable objects are values like any other: many
    clients return lazy objects that happen to have `__await__`.
    """
    return inspect.iscoroutine(value) or isinstance(value, asyncio.Future)


class LoopThread:
    """One event loop that lives on a daemon thread, started when it is first needed."""

    def __init__(self, name: str = "hypernodes-loop") -> None:
        self.name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; a new one in a forked child, which has no threads."""
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name=self.name, daemon=True).start()
            return self._loop

    def submit(self, awaitable: Awaitable[Any]) -> Future[Any]:
        """Start awaiting, with the caller's context variables."""
        return submit_to_loop(self.loop, awaitable)


def submit_to_loop(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> Future[Any]:
    """Await something on a loop of another thread, with the caller's context variables.

    Cancelling the returned future cancels the task; the future is done when the task has ended.
    """
    future: Future[Any] = Future()

    async def wait() -> Any:
        return await awaitable

    def start() -> None:
        task = loop.create_task(wait())
        future.cancel_task = lambda: loop.call_soon_threadsafe(task.cancel)  # type: ignore[attr-defined]
        task.add_done_callback(finish)

    def finish(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            future.set_exception(asyncio.CancelledError())
        elif error := task.exception():
            future.set_exception(error)
        else:
            future.set_result(task.result())

    loop.call_soon_threadsafe(start, context=contextvars.copy_context())
    return future


_shared_loop = LoopThread()


def block_on(awaitable: Awaitable[Any]) -> Any:
    """Wait for a coroutine from code that is not async.

    In a thread whose own loop is running (Jupyter, an async function that calls a blocking one),
    that loop is entered again with `nest_asyncio`, so that sessions and locks made on it work.
    Where that cannot be done (uvloop), and where no loop is running, a loop of our own is used:
    one for the process, on a thread, made once.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if isinstance(running, asyncio.BaseEventLoop):
        nest_asyncio.apply(running)
        return running.run_until_complete(awaitable)
    future = _shared_loop.submit(awaitable)
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel_task()  # type: ignore[attr-defined]
        future.exception()
        raise
