"""Which state a task run has: decided here, for everything that happens to a scope."""

from __future__ import annotations

import asyncio
import traceback

from hypernodes import CallbackContext, Cancelled, NodeTimeoutError, Retry, WorkerLostError
from prefect_hypernodes.events import State

#: Characters of a state's message: the server takes 1.5 MB an event, and a page should be readable.
MESSAGE_LIMIT = 20_000

RUNNING = State("Running", "RUNNING")
COMPLETED = State("Completed", "COMPLETED")
CACHED = State("Cached", "COMPLETED")
#: Of what goes on in a run that was stopped: nothing interrupts C code that waits.
LEFT_RUNNING = State("Cancelled", "CANCELLED", "left running: it could not be interrupted")


def cached(signature: str) -> State:
    """Of a node or item that came from the cache."""
    return State("Cached", "COMPLETED", f"from the cache: {signature}")


def retrying(retry: Retry) -> State:
    """Of a node between two attempts."""
    error = retry.error
    message = _short(f"attempt {retry.attempt}: {type(error).__name__}: {error}")
    return State("AwaitingRetry", "SCHEDULED", message)


def ended_by(error: BaseException, ctx: CallbackContext) -> State:
    """Of a scope that an error ended.

    Args:
        error: the error. That of a node is shown with its traceback.
        ctx: the scope.
    """
    message = _short(f"{type(error).__name__}: {error}")
    if isinstance(error, (Cancelled, asyncio.CancelledError)):
        return State("Cancelled", "CANCELLED", message)
    if ctx.kind == "node":
        message = _short("".join(traceback.format_exception(error)))
        if isinstance(error, NodeTimeoutError):
            return State("TimedOut", "FAILED", message)
    if isinstance(error, WorkerLostError) or not isinstance(error, Exception):
        return State("Crashed", "CRASHED", message)
    return State("Failed", "FAILED", message)


def skipped(by: State) -> State:
    """Of a node that did not run, since one before it failed with the state `by`."""
    return State("Skipped", "CANCELLED", f"not run: {by.message}")


def _short(message: str) -> str:
    """A message as an event can carry it: not too long, and nothing that is no text."""
    if len(message) > MESSAGE_LIMIT:
        message = f"{message[: MESSAGE_LIMIT // 4]}\n...\n{message[-MESSAGE_LIMIT * 3 // 4 :]}"
    return message.encode("utf-8", "replace").decode()
