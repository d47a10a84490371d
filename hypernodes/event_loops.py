"""Event loops: whose they are, and how code that blocks and code that is awaited meet."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import inspect
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from types import CoroutineType
from typing import Any, Generic, TypeGuard, TypeVar, cast

from hypernodes.errors import CALLER, Cancelled, as_awaited, from_users_frame, users_place

R = TypeVar("R")
E = TypeVar("E", bound=BaseException | None)

AWAITED = frozenset({CoroutineType, asyncio.Future, asyncio.Task})
"""Exact types, for a quick check; `is_awaited` also knows their subclasses."""
_KINDS = (CoroutineType, asyncio.Future)

CALLER_LOOP: contextvars.ContextVar[asyncio.AbstractEventLoop | None] = contextvars.ContextVar(
    "hypernodes_home", default=None
)
"""The event loop of whoever called the engine, where one was running: async nodes run there."""


class Interrupted(Cancelled):
    """Raised inside a node's function that is not waited for any more.

    No `Exception`: whoever tries again on any error would swallow it.
    """

    def __str__(self) -> str:
        return "the run was called off while this was running"


CALLED_OFF = "called off: what it was for has failed, or is not waited for"
"""The message with which an executor cancels a task, so that it is not taken for the user's."""


def as_called_off(error: E) -> E | Cancelled:
    """`Cancelled` for what an executor's cancellation raised in a task; any other error as it is.

    Args:
        error: what came out of the task's code.
    """
    if isinstance(error, asyncio.CancelledError) and error.args == (CALLED_OFF,):
        return Cancelled("cancelled while it ran")
    return error


class CancelToken:
    """Cancels the runs in a context, for nobody waits for them any more.

    Args:
        interrupts: whether running nodes are ended as well, and not waited for: their threads get
            an asynchronous exception, their processes are killed.
    """

    def __init__(self, interrupts: bool = False) -> None:
        self.interrupts = interrupts
        self.cancelled = False
        self.abandoned = False
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._inside: list[int] = []  # threads that are in an interruptible call

    def cancel(self) -> None:
        """Call every listener, and those that are still to come; interrupt what is running."""
        with self._lock:
            self.cancelled = True
            listeners = list(self._listeners)
            for thread in self._inside if self.interrupts else ():
                _raise_in(thread, Interrupted)
        for listener in listeners:
            listener()

    def abandon(self) -> None:
        """Call every listener again: what has not ended by now is not waited for."""
        self.abandoned = True
        self.cancel()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function when the token is cancelled; at once, if it has been."""
        with self._lock:
            self._listeners.append(listener)
            cancelled = self.cancelled
        if cancelled:
            listener()

    def forget(self, listener: Callable[[], None]) -> None:
        """Do not call it any more."""
        with self._lock:
            self._listeners.remove(listener)

    def interruptible(self, function: Callable[[], R]) -> R:
        """Call a function, into which `cancel` raises `Interrupted`.

        Raises:
            Interrupted: the token was cancelled, before the call or while it ran.
        """
        thread = threading.get_ident()
        with self._lock:
            if self.cancelled:
                raise Interrupted
            self._inside.append(thread)
        try:
            return function()
        finally:
            with self._lock:
                self._inside.remove(thread)
                if self.cancelled:
                    _raise_in(thread, None)  # it comes too late, if it has not come by now


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an exception in a thread, before its next bytecode; None: do not, if it has not yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )


CANCELLATION: contextvars.ContextVar[CancelToken | None] = contextvars.ContextVar(
    "hypernodes_stop", default=None
)
"""Cancels the runs of this context, where they are awaited."""


class Mark:
    """Says to another process that its task is cancelled: a file that is there then.

    On another machine it never is.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def cancelled(self) -> bool:
        return os.path.exists(self._path)

    def listen(self, listener: Callable[[], None]) -> None:
        """Nobody is called: whoever waits has to look."""

    forget = listen


CALL: contextvars.ContextVar[CancelToken | Mark | None] = contextvars.ContextVar(
    "hypernodes_call", default=None
)
"""Cancels the one task that this thread does for a run: nobody needs it any more."""


def called_off() -> bool:
    """Whether nobody waits any more for what this context does."""
    return any(token is not None and token.cancelled for token in (CANCELLATION.get(), CALL.get()))


class OnCallOff:
    """Calls a function, from any thread, when that happens in the block; at once, if it has.

    In another process than the run's it is not called: see `Mark`.

    Args:
        listener: the function.
    """

    # Not `contextlib.contextmanager`: it sets `__traceback__`, which a frozen error refuses.
    def __init__(self, listener: Callable[[], None]) -> None:
        self._listener = listener
        self._tokens = [each for each in (CANCELLATION.get(), CALL.get()) if each is not None]

    def __enter__(self) -> None:
        for token in self._tokens:
            token.listen(self._listener)

    def __exit__(self, *_: object) -> None:
        for token in self._tokens:
            token.forget(self._listener)


def is_awaited(value: object) -> bool:
    """Whether a function's result is to be awaited, and not a value to be passed on.

    Coroutines and asyncio's futures are. Other awaitable objects are values like any other: many
    clients return lazy objects that happen to have `__await__`.
    """
    return isinstance(value, _KINDS)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that is running in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def can_be_reentered(loop: asyncio.AbstractEventLoop | None) -> TypeGuard[asyncio.BaseEventLoop]:
    """Whether `reenter` can run this loop: one of asyncio's own, not uvloop's or Qt's."""
    return (
        isinstance(loop, asyncio.BaseEventLoop)
        and type(loop).call_soon is asyncio.BaseEventLoop.call_soon
    )


def reenter(loop: asyncio.BaseEventLoop, until: Callable[[], bool]) -> None:
    """Run a loop from code that it is running, until a condition holds.

    Nothing of asyncio is replaced for it. `loop` goes on with its callbacks as if the one that
    called this had ended, and counts that one's task as the current one again afterwards.

    Args:
        loop: runs in this thread, and `can_be_reentered`.
        until: the condition. A callback of the loop must make it true: the loop sleeps until then.

    Raises:
        BaseException: Ctrl-C came, or a callback raised SystemExit or KeyboardInterrupt.
    """
    inner: Any = loop
    tasks: Any = asyncio.tasks
    caller = asyncio.current_task(loop)
    # The loop's own round has counted the callbacks that it is going to take.
    counted = len(inner._ready)
    stopped = False
    if caller is not None:
        tasks._leave_task(loop, caller)
    try:
        while not until():
            inner._run_once()
            stopped |= inner._stopping  # `loop.stop()` ends the loop's own rounds, not these
            inner._stopping = False
    finally:
        inner._stopping = stopped
        if caller is not None:
            tasks._enter_task(loop, caller)
        for _ in range(counted - len(inner._ready)):
            loop.call_soon(_nothing)


def _nothing() -> None:
    pass


class LoopThread:
    """One event loop that lives on a daemon thread, started when it is first needed."""

    def __init__(self, name: str = "hypernodes-loop") -> None:
        self.name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; a new one in a forked child, which has no threads."""
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                loop = asyncio.new_event_loop()
                run = partial(_run_loop, loop)
                thread = threading.Thread(target=run, name=self.name, daemon=True)
                try:
                    thread.start()
                except BaseException:  # there are too many threads
                    loop.close()
                    raise
                self._loop, self._thread, self._pid = loop, thread, os.getpid()
            return self._loop

    def is_own(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a loop is the one that was started here."""
        return loop is self._loop

    def close(self, wait: bool = False) -> None:
        """Stop the loop, if it was started; a later use starts a new one.

        Args:
            wait: return only when its thread has ended.
        """
        with self._lock:
            loop, self._loop = self._loop, None
            thread = self._thread
            if thread is None or self._pid != os.getpid():
                return
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        if wait and thread is not threading.current_thread():
            thread.join()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        while True:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # asyncio raises these out of the loop as well as into whoever awaits the task. A
                # task that a node has made may end so, and the loop serves other nodes too.
                continue
            break
        loop.run_until_complete(_end_tasks(loop))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what nodes have left on a loop, as `asyncio.run` does."""
    left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class Outcome(Generic[R]):
    """What a call returned or raised, as a value.

    Work on a loop or a thread gives one, and never raises: SystemExit and KeyboardInterrupt would
    stop the loop, a future takes no StopIteration, and asyncio replaces a TimeoutError by another
    one, without its notes and its cause.

    Args:
        value: what it returned.
        error: what it raised; None where it returned.
    """

    __slots__ = ("_value", "error")

    def __init__(self, value: R | None, error: BaseException | None = None) -> None:
        self._value = value
        self.error = error

    @classmethod
    def of(cls, call: Callable[[], R]) -> Outcome[R]:
        """Call something that is not async."""
        try:
            return cls(call())
        except BaseException as error:
            return cls(None, error)

    @classmethod
    async def awaited(cls, awaitable: Awaitable[R]) -> Outcome[R]:
        """Await something."""
        try:
            return cls(await awaitable)
        except BaseException as error:
            return cls(None, error)

    def get(self) -> R:
        """What it returned.

        Raises:
            BaseException: what it raised.
        """
        if self.error is not None:
            try:
                raise self.error
            finally:
                del self  # the error's traceback holds this frame
        return cast("R", self._value)


class OutcomeFuture(Future[R]):
    """A future of what is awaited on a loop of another thread."""

    def result(self, timeout: float | None = None) -> R:
        """What the call returned; see `concurrent.futures.Future.result`.

        Raises:
            BaseException: what it raised. The standard future takes an error for none where its
                truth value is False, and returns None.
        """
        outcome: Outcome[R] = Outcome(None, self.exception(timeout))
        return super().result() if outcome.error is None else outcome.get()

    def settle(self, task: asyncio.Task[Outcome[R]]) -> None:
        """Take the outcome of a task that is done."""
        if task.cancelled():  # before its first step
            self.set_exception(asyncio.CancelledError())
            return
        outcome = task.result()
        if outcome.error is not None:
            self.set_exception(outcome.error)
        else:
            self.set_result(outcome.get())


class LoopFuture(OutcomeFuture[R]):
    """The result of something that is awaited on a loop of another thread.

    Cancelling it cancels the task; it is done when the task has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._task: asyncio.Task[Outcome[R]] | None = None
        self._unwanted = False

    def begin(self, awaitable: Awaitable[R]) -> None:
        """Start; call it on the loop's thread."""
        if self._unwanted:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            self.set_exception(asyncio.CancelledError())
            return
        self._task = self._loop.create_task(Outcome.awaited(awaitable))
        self._task.add_done_callback(self.settle)

    def cancel(self) -> bool:
        """Ask the task to end. It has not ended yet, so this is no promise."""
        self._unwanted = True
        if not self.done():
            with suppress(RuntimeError):  # it is done, and its loop is closed
                self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        return False


def submit_to_loop(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[R]) -> LoopFuture[R]:
    """Await something on a loop of another thread, with the caller's context variables.

    Args:
        loop: the loop.
        awaitable: what to await there.

    Returns:
        A future of its result.
    """
    future: LoopFuture[R] = LoopFuture(loop)
    loop.call_soon_threadsafe(future.begin, awaitable, context=contextvars.copy_context())
    return future


_shared_loop = LoopThread()


def block_on(awaitable: Awaitable[R], of_node: bool = False) -> R:
    """Wait for a coroutine from code that is not async.

    In a thread whose own loop is running (Jupyter, an async function that calls a blocking one),
    that loop is entered again (`reenter`), so that sessions and locks made on it work.
    Elsewhere it is awaited on the loop of the engine's caller, where there is one, and else on a
    loop of our own: one for the process, on a thread, made once.

    Args:
        awaitable: what to wait for.
        of_node: whether a node's function has returned it: it is cancelled when nobody waits for
            the node any more.
    """
    running = running_loop()
    if can_be_reentered(running):
        task = running.create_task(Outcome.awaited(awaitable))
        try:
            reenter(running, task.done)
        except BaseException:
            task.cancel()
            reenter(running, task.done)
            raise
        return task.result().get()
    loop = CALLER_LOOP.get()
    if loop is None or loop is running or not loop.is_running():
        loop = _shared_loop.loop
    future = submit_to_loop(loop, awaitable)

    def cancel() -> None:
        future.cancel()

    try:
        with OnCallOff(cancel) if of_node else nullcontext():
            return future.result()
    except KeyboardInterrupt:
        future.cancel()
        future.exception()
        raise


def _shield() -> AbstractContextManager[object]:
    """Shields from anyio, which would cancel what is awaited again and again."""
    anyio = sys.modules.get("anyio")
    return nullcontext() if anyio is None else anyio.CancelScope(shield=True)


async def in_own_thread(
    call: Callable[[], R],
    caller_loop: asyncio.AbstractEventLoop | None = None,
    grace: float | None = None,
    when_stuck: Callable[[], object] = lambda: None,
) -> R:
    """Call something that blocks on a thread beside the running loop.

    When the awaiting task is cancelled, nodes that have not started are cancelled, and those that
    have are waited for before the cancellation goes on.

    Args:
        call: the function.
        caller_loop: where its async nodes run; by default on the running loop.
        grace: do not wait for those that have started: interrupt them at once, and leave alone
            what is still running after so many seconds.
        when_stuck: called on another thread, and waited for, where then the call itself does not
            end, since it is in something that cannot be interrupted.

    Raises:
        BaseException: what it raised; a RuntimeError from a StopIteration.
    """
    token = CancelToken(interrupts=grace is not None)
    context = contextvars.copy_context()
    context.run(CALLER_LOOP.set, caller_loop or asyncio.get_running_loop())
    context.run(CANCELLATION.set, token)
    context.run(CALLER.set, users_place())
    future: Future[Outcome[R]] = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        future.set_result(Outcome.of(partial(context.run, call)))

    async def leave() -> None:
        assert grace is not None
        for seconds in (grace, grace / 4):
            await asyncio.wait([running], timeout=seconds)
            if running.done():
                return
            token.abandon()
        await asyncio.to_thread(when_stuck)

    threading.Thread(target=work, name="hypernodes-run", daemon=True).start()
    running = asyncio.wrap_future(future)
    outcome = await to_its_end(running, token.cancel, None if grace is None else leave)
    if isinstance(outcome.error, StopIteration):
        raise as_awaited(outcome.error)
    if outcome.error is not None:
        raise from_users_frame(outcome.error)
    return outcome.get()


async def to_its_end(
    future: asyncio.Future[R],
    when_cancelled: Callable[[], None] = lambda: None,
    leave: Callable[[], Awaitable[object]] | None = None,
    abandoned: asyncio.Future[None] | None = None,
) -> R:
    """Wait, shielded from cancellation, which goes on when the future is done.

    However often it is cancelled: a map that has failed tells the items that are on their way with
    each further error.

    Args:
        future: what to wait for.
        when_cancelled: called when the cancellation comes.
        leave: awaited then, in place of the future.
        abandoned: is done when nobody waits for the future any more: that ends a cancelled wait.
    """
    ends: list[asyncio.Future[Any]] = [future] if abandoned is None else [future, abandoned]
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            when_cancelled()
            with _shield():
                if leave is not None:
                    await leave()
                else:
                    while not any(each.done() for each in ends):
                        with suppress(asyncio.CancelledError):
                            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if future.done() and not future.cancelled():
            future.exception()  # so that asyncio does not log that nobody looked
        raise
