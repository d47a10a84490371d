"""Retries and timeouts of a node, around its function and where that really runs.

The options have the names and the meaning of Prefect's tasks
(https://docs.prefect.io/v3/how-to-guides/workflows/retries).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from hypernodes.errors import Cancelled, NodeTimeoutError, add_note, text_of
from hypernodes.event_loops import OnCallOff, Outcome, block_on, called_off, is_awaited

if TYPE_CHECKING:
    from tenacity import RetryCallState

R = TypeVar("R")

Delay = float | Sequence[float] | Callable[[int], Sequence[float]]


@dataclass(frozen=True)
class Retry:
    """An attempt of a node that failed and is followed by another one.

    Attributes:
        attempt: which it was, from 1.
        error: what it raised.
        delay: seconds until the next one.
        at: when it failed, in seconds since the epoch.
    """

    attempt: int
    error: BaseException
    delay: float
    at: float


LISTENER: contextvars.ContextVar[Callable[[Retry], None] | None] = contextvars.ContextVar(
    "hypernodes_retries", default=None
)
"""Called with each retry of the node that is running."""


Slots = Callable[[tuple[str, ...]], Any]
"""Makes what is entered around an attempt to take a slot of each limit named, with `async with`
around that of an async node."""

SLOTS: contextvars.ContextVar[Slots | None] = contextvars.ContextVar(
    "hypernodes_slots", default=None
)
"""Set by the system that has the limits which `concurrency_limit` names; None where none has."""


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Delays that double: `backoff_factor` seconds, then twice that, four times that, ...

    >>> exponential_backoff(10)(4)
    [10, 20, 40, 80]

    Args:
        backoff_factor: seconds before the first retry.

    Raises:
        ValueError: that is no number from 0.
    """
    if not _is_time(backoff_factor):
        raise ValueError(f"backoff_factor is {backoff_factor!r}: expected seconds, from 0")
    return lambda retries: [backoff_factor * 2**place for place in range(retries)]


def check(
    retries: object, delay: object, jitter: object, condition: object, timeout: object
) -> None:
    """Refuse options that retries and timeouts cannot have.

    Args:
        retries: how often to try again.
        delay: seconds to wait before that.
        jitter: by which random share of itself a delay is longer.
        condition: whether an error is worth another try.
        timeout: seconds that one try may take.

    Raises:
        ValueError: one of them is none of that.
    """
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise ValueError(f"retries is {retries!r}: expected how often to try again, 0 or more")
    if retries or not callable(delay):
        problem = _wrong_delay(delay, retries)
        if problem is not None:
            raise ValueError(
                f"retry_delay_seconds is {delay!r}{problem}: expected seconds, a list of them, or "
                "exponential_backoff(backoff_factor=...)"
            )
    if jitter is not None and not (isinstance(jitter, (int, float)) and jitter >= 0):
        raise ValueError(f"retry_jitter_factor is {jitter!r}: expected a number from 0, or None")
    if condition is not None and not _takes_one(condition):
        raise ValueError(
            f"retry_condition_fn is {condition!r}: expected a function of the error that says "
            "whether to try again"
        )
    most = threading.TIMEOUT_MAX
    if timeout is not None and not (isinstance(timeout, (int, float)) and 0 < timeout <= most):
        raise ValueError(
            f"timeout_seconds is {timeout!r}: expected a positive number of seconds, at most "
            f"{most:.0f}, or None for no limit"
        )


def _is_time(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and 0 <= seconds <= threading.TIMEOUT_MAX


def _delays(delay: Any, retries: int) -> list[Any]:
    """The delays before each retry; the last one stands for those after it."""
    made = delay(retries) if callable(delay) else delay
    return list(made) if isinstance(made, Sequence) else [made]


def _wrong_delay(delay: object, retries: int) -> str | None:
    """What is wrong with a delay, after a message that shows it; None if nothing is."""
    try:
        made = _delays(delay, retries)
    except Exception as error:
        return f", which raised {type(error).__name__}: {error}"
    if made and all(map(_is_time, made)):
        return None
    return f", which gave {made!r}" if callable(delay) else ""


def _takes_one(function: object) -> bool:
    """Whether something can be called with one argument, as far as is known."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # it has no signature
        return True
    except TypeError:
        return False
    return True


def guarded(
    func: Callable[..., Any],
    name: str,
    is_async: bool,
    retries: int,
    delay: Delay,
    jitter: float | None,
    condition: Callable[[Exception], bool] | None,
    timeout: float | None,
    slots: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """A node's function with its retries, timeout and slots; itself where it has none of them.

    Args:
        func: the function.
        name: the node's name, for messages.
        is_async: whether calling it gives a coroutine.
        retries, delay, jitter, condition, timeout: the node's options.
        slots: the limits that each attempt takes a slot of; waiting for it is no part of the time.

    Raises:
        NodeTimeoutError: when it is called, and takes longer than `timeout`.
    """
    limited = func
    if timeout is not None:
        limited = _limited(func, name, is_async, timeout)
    elif not is_async and (slots or retries):
        limited = _settled(func)
    if slots:
        limited = _with_slots(limited, is_async, slots)
    if not retries:
        return limited
    seconds = _delays(delay, retries)

    def wait(state: RetryCallState) -> float:
        chosen = float(seconds[min(state.attempt_number, len(seconds)) - 1])
        return chosen if jitter is None else chosen * (1 + random.uniform(0, jitter))

    def is_worth_it(outcome: Outcome[Any]) -> bool:
        error = outcome.error
        if _alarms.has_expired() or not isinstance(error, Exception):
            return False
        try:
            return condition is None or bool(condition(error))
        except Exception as raised:  # the node's error is the one to be told
            kind = type(raised).__name__
            add_note(error, f"not tried again: retry_condition_fn raised {kind}: {text_of(raised)}")
            return False

    def report(listener: Callable[[Retry], None], state: RetryCallState) -> None:
        """Pass an attempt that has failed to a listener; as `before_sleep` of tenacity.

        Args:
            listener: called with it.
            state: tenacity's record of the call.
        """
        error = state.outcome.result().error if state.outcome is not None else None
        if error is not None and state.next_action is not None and not called_off():
            listener(Retry(state.attempt_number, error, state.next_action.sleep, time.time()))

    import tenacity

    options: dict[str, Any] = {
        "stop": tenacity.stop_after_attempt(retries + 1),
        "wait": wait,
        # The futures of tenacity take an error for none where its truth value is False.
        "retry": tenacity.retry_if_result(is_worth_it),
        "retry_error_callback": lambda state: state.outcome.result(),
    }

    def listening() -> dict[str, Any]:
        listener = LISTENER.get()
        LISTENER.set(None)  # what the function runs inside has retries of its own
        reported = None if listener is None else functools.partial(report, listener)
        return {"before_sleep": reported, **options}

    def call(*args: Any, **kwargs: Any) -> Any:
        outcomes: list[Outcome[Any]] = []

        def attempt() -> Outcome[Any]:
            outcomes[:] = [Outcome.of(functools.partial(limited, *args, **kwargs))]
            return outcomes[0]

        try:
            tenacity.Retrying(sleep=_sleep, **listening())(attempt)
        except _CalledOff:
            return _called_off(outcomes[0]).get()
        return outcomes[0].get()

    def call_async(*args: Any, **kwargs: Any) -> Any:
        outcomes: list[Outcome[Any]] = []

        async def attempt() -> Outcome[Any]:
            outcomes[:] = [await Outcome.awaited(limited(*args, **kwargs))]
            return outcomes[0]

        async def awaited(retrying: tenacity.AsyncRetrying) -> Any:
            try:
                await retrying(attempt)
            except _CalledOff:
                return _called_off(outcomes[0]).get()
            return outcomes[0].get()

        return awaited(tenacity.AsyncRetrying(sleep=_sleep_async, **listening()))

    return call_async if is_async else call


class _CalledOff(Exception):
    """Ends the wait for another attempt: nobody needs it any more."""


def _called_off(last: Outcome[Any]) -> Outcome[Any]:
    """What comes of a call of which nobody needs another attempt."""
    error = Cancelled("called off before another attempt")
    error.__cause__ = last.error
    return Outcome(None, error)


_LOOK_EVERY = 0.25
"""Seconds between two looks whether another process has called this off."""


def _slices(seconds: float) -> Iterator[float]:
    """Seconds to wait in between two looks."""
    until = time.monotonic() + seconds
    while not called_off():
        left = until - time.monotonic()
        if left <= 0:
            return
        yield min(left, _LOOK_EVERY)
    raise _CalledOff


def _sleep(seconds: float) -> None:
    over = threading.Event()
    with OnCallOff(over.set):
        for each in _slices(seconds):
            over.wait(each)


async def _sleep_async(seconds: float) -> None:
    over, loop = asyncio.Event(), asyncio.get_running_loop()

    def end() -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(over.set)

    with OnCallOff(end):
        for each in _slices(seconds):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(over.wait(), each)


def _settled(func: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is not known to be async, with what it returns awaited if that has to be."""

    def called(*args: Any, **kwargs: Any) -> Any:
        value = func(*args, **kwargs)
        return block_on(value, of_node=True) if is_awaited(value) else value

    return called


def _with_slots(
    func: Callable[..., Any], is_async: bool, names: tuple[str, ...]
) -> Callable[..., Any]:
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        slots = SLOTS.get()
        if slots is None:
            return await func(*args, **kwargs)
        async with slots(names):
            return await func(*args, **kwargs)

    def called(*args: Any, **kwargs: Any) -> Any:
        slots = SLOTS.get()
        if slots is None:
            return func(*args, **kwargs)
        with slots(names):
            return func(*args, **kwargs)

    return awaited if is_async else called


def _limited(
    func: Callable[..., Any], name: str, is_async: bool, timeout: float
) -> Callable[..., Any]:
    def late() -> NodeTimeoutError:
        return NodeTimeoutError(f"node {name!r} took longer than {timeout:g} s")

    def awaited(*args: Any, **kwargs: Any) -> Any:
        return _in_time(func(*args, **kwargs), timeout, late)

    def called(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        limit = _alarms.limit if _can_be_interrupted() else _in_thread
        value = limit(lambda: func(*args, **kwargs), timeout, late)
        if is_awaited(value):  # it was not known to be async
            left = max(0.0, begun + timeout - time.monotonic())
            value = block_on(_in_time(value, left, late), of_node=True)
        return value

    return awaited if is_async else called


async def _in_time(
    awaitable: Awaitable[Any], seconds: float, late: Callable[[], NodeTimeoutError]
) -> Any:
    # Not `asyncio.wait_for`: its TimeoutError looks like one that the function raised.
    task = asyncio.ensure_future(Outcome.awaited(awaitable))
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    except BaseException:
        task.cancel()
        raise
    if done:
        return task.result().get()
    while not task.done():  # it may go on after a cancellation
        task.cancel()
        await asyncio.wait([task], timeout=_PATIENCE)
    error = None if task.cancelled() else task.result().error
    raise late() from (None if isinstance(error, asyncio.CancelledError) else error)


def _can_be_interrupted() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is not None  # else it is C code's, and not to be had
    )


_PATIENCE = 1.0
"""Seconds that a function has to clean up in, before it is interrupted again."""


_SAME = 0.02
"""Seconds by which a timer may differ from the one that was set."""


class _StillRunning(BaseException):
    """Interrupts a function that has gone on after its `NodeTimeoutError`.

    It is no `Exception`: a loop that tries again on any error would swallow every one of them.
    """


class _Deadline:
    """When a call in the main thread has to end.

    Args:
        timeout: seconds from now.
        late: makes the error.

    Attributes:
        raised: the last error that was raised because of it.
    """

    def __init__(self, timeout: float, late: Callable[[], NodeTimeoutError]) -> None:
        self.due = time.monotonic() + timeout
        self.late = late
        self.raised: BaseException | None = None

    def next_error(self) -> BaseException:
        """What to interrupt the call with."""
        self.raised = self.late() if self.raised is None else _StillRunning()
        return self.raised


class _Alarms:
    """The deadlines of the main thread, one inside the other, on the one timer that there is.

    A timer that the program had set before goes off in time, too.
    """

    def __init__(self) -> None:
        self._deadlines: list[_Deadline] = []
        self._handler: Any = None
        self._handler_due: float | None = None
        self._interval = 0.0
        self._armed = 0.0

    def limit(
        self, call: Callable[[], R], timeout: float, late: Callable[[], NodeTimeoutError]
    ) -> R:
        """Call a function, and interrupt it when it takes too long, until it has ended.

        Args:
            call: the function.
            timeout: seconds that it may take.
            late: makes the error.

        Raises:
            NodeTimeoutError: it was interrupted.
        """
        deadline = _Deadline(timeout, late)
        depth = len(self._deadlines)
        try:
            try:
                self._begin(deadline)
                result = call()
            finally:
                # First of all, for it may ring between any two lines.
                del self._deadlines[depth:]
        except BaseException as error:
            if deadline.raised is None:
                raise
            if isinstance(error, _StillRunning) and error is deadline.raised:
                raise late().with_traceback(error.__traceback__) from None
            if error is deadline.raised or not isinstance(error, Exception):
                raise
            raise late() from error
        finally:
            self._adopt()
            if depth:
                self._arm()
            else:
                self._restore()
        if deadline.raised is not None:
            raise late()
        return result

    def has_expired(self) -> bool:
        """Whether something around this call is late, so that nothing is to be tried again."""
        return threading.current_thread() is threading.main_thread() and any(
            each.raised is not None for each in self._deadlines
        )

    def forget(self) -> None:
        """Leave the deadlines to the parent, in a forked child: timers stay there, too."""
        if self._deadlines:
            self._deadlines.clear()
            self._handler_due = None
            signal.signal(signal.SIGALRM, self._handler)

    def _begin(self, deadline: _Deadline) -> None:
        if not self._deadlines:
            left, self._interval = signal.setitimer(signal.ITIMER_REAL, 0)
            self._handler_due = time.monotonic() + left if left else None
            self._handler = signal.signal(signal.SIGALRM, self._ring)
        self._deadlines.append(deadline)
        self._arm()

    def _arm(self) -> None:
        due = [each.due for each in self._deadlines]
        if self._handler_due is not None:
            due.append(self._handler_due)
        self._armed = min(due)
        signal.setitimer(signal.ITIMER_REAL, max(0.001, self._armed - time.monotonic()))

    def _adopt(self) -> None:
        """Keep what the function has done to the timer for the program."""
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        now = time.monotonic()
        if abs(left - max(0.0, self._armed - now)) > _SAME or interval:
            self._handler_due, self._interval = now + left if left else None, interval

    def _restore(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.getsignal(signal.SIGALRM) == self._ring:  # else the function has set another one
            signal.signal(signal.SIGALRM, self._handler)
        if self._handler_due is not None:
            left = max(0.001, self._handler_due - time.monotonic())
            signal.setitimer(signal.ITIMER_REAL, left, self._interval)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if not self._deadlines:
            return  # `_restore` is about to see to the program's own timer
        now = time.monotonic()
        if now < self._armed - _SAME:  # the function has set the timer for the program
            self._handler_due, self._interval = now, signal.getitimer(signal.ITIMER_REAL)[1]
        if self._handler_due is not None and self._handler_due <= now:
            self._handler_due = now + self._interval if self._interval else None
            self._arm()
            if callable(self._handler):
                self._handler(number, frame)
            elif self._handler is signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
        for deadline in self._deadlines:  # the outermost first: it ends those inside of it
            if deadline.due <= now:
                deadline.due = now + _PATIENCE
                self._arm()
                raise deadline.next_error()
        self._arm()


_alarms = _Alarms()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alarms.forget)


def _in_thread(call: Callable[[], R], timeout: float, late: Callable[[], BaseException]) -> R:
    """Call on another thread, which is left running when it takes too long."""
    context = contextvars.copy_context()
    result: list[R] = []
    error: list[BaseException] = []

    def work() -> None:
        try:
            result.append(context.run(call))
        except BaseException as raised:
            error.append(raised)

    thread = threading.Thread(target=work, name="hypernodes-timeout", daemon=True)
    thread.start()
    thread.join(timeout)
    if error:
        raise error[0]
    if not result:
        raise late()
    return result[0]
