"""Which state a task run has: decided here, for everything that happens to a scope."""

from __future__ import annotations

from typing import NamedTuple

from hypernodes import CallbackContext, Cancelled, Retry, WorkerLostError
from hypernodes.integration import traceback_text
from prefect_hypernodes.events import State

#: Characters of a state's message, and of an error in a list: it should fit on a page.
LINE_LIMIT = 1_000
#: Characters of a traceback in a log: the server takes 1 MB.
TRACEBACK_LIMIT = 20_000

#: Types of states in which a run has ended, and in which it has not.
TERMINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
OPEN = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]

RUNNING = State("Running", "RUNNING")
COMPLETED = State("Completed", "COMPLETED")
CACHED = State("Cached", "COMPLETED")
#: Of what goes on in a run that was stopped: nothing interrupts C code that waits.
LEFT_RUNNING = State("Cancelled", "CANCELLED", "left running: it could not be interrupted")


class ErrorInfo(NamedTuple):
    """What people read of an error.

    Attributes:
        type: the name of its class.
        message: its text.
        traceback: begins with the user's function; empty where a scope inside has it.
    """

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException, with_traceback: bool) -> ErrorInfo:
        """Describe an error.

        Args:
            error: the error.
            with_traceback: whether to format its traceback, which takes longer than all else.
        """
        try:
            message = f"{error}"
        except Exception:
            message = "<its text cannot be made>"
        info = cls(type(error).__name__, message)
        if not with_traceback:
            return info
        # Where a worker was lost, no code has raised anything.
        text = info.line if isinstance(error, WorkerLostError) else traceback_text(error)
        return info._replace(traceback=cut(text, TRACEBACK_LIMIT))

    @property
    def line(self) -> str:
        """It as one line, `ValueError: sensor 2 is broken`."""
        # A long text is cut before it is split: it may be larger than all else in the run.
        lines = (line.strip() for line in cut(self.message, 2 * LINE_LIMIT).splitlines())
        message = " ".join(line for line in lines if line)
        return cut(f"{self.type}: {message}" if message else self.type, LINE_LIMIT)


def cached(signature: str) -> State:
    """Of a node or item that came from the cache."""
    return State("Cached", "COMPLETED", f"from the cache: {signature}")


def retrying(retry: Retry) -> State:
    """Of a node between two attempts."""
    line = ErrorInfo.of(retry.error, with_traceback=False).line
    return State("AwaitingRetry", "SCHEDULED", f"attempt {retry.attempt}: {line}")


def ended_by(error: BaseException, info: ErrorInfo, ctx: CallbackContext) -> State:
    """Of a scope that an error ended.

    Args:
        error: the error.
        info: what people read of it.
        ctx: the scope.
    """
    if isinstance(error, Cancelled):  # a CancelledError of a node's own is none: as for a task
        return State("Cancelled", "CANCELLED", info.line)
    if ctx.kind == "node" and isinstance(error, TimeoutError):  # the user's own, as of a task
        return State("TimedOut", "FAILED", info.line)
    if isinstance(error, WorkerLostError) or not isinstance(error, Exception):
        return State("Crashed", "CRASHED", info.line)
    return State("Failed", "FAILED", info.line)


def skipped(by: State) -> State:
    """Of a node that did not run, since one before it failed with the state `by`."""
    return State("Skipped", "CANCELLED", f"not run: {by.message}")


def cut(text: str, limit: int) -> str:
    """A text as an event can carry it: not too long, and nothing that is no text.

    Args:
        text: the text. What is cut out is in its middle.
        limit: how many characters are left, and the sign that some are missing.
    """
    if len(text) > limit:
        text = f"{text[: limit // 4]} ... {text[-limit * 3 // 4 :]}"
    return text.encode("utf-8", "replace").decode()
