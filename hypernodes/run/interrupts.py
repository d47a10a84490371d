"""Ctrl-C and cancellation: raised inside the user's functions, and nowhere else in a run.

Python raises `KeyboardInterrupt` between any two instructions of the main thread. Inside an engine
that could lose an item just taken from a queue, or leave a scope open. So while an engine runs, the
signal is only noted and passed on to the scheduler; a user's function in the main thread is
interrupted at once. A second Ctrl-C is raised wherever it comes. Where the run's token interrupts
(`CancelToken`), a function on any thread is interrupted the same way.
"""

from __future__ import annotations

import os
import threading

# What `signal` wraps: its own turn numbers into enums, which takes 8 us a run.
from _signal import (  # type: ignore[import-not-found]
    SIGINT,
    default_int_handler,
    getsignal,
    signal,
)
from collections.abc import Callable
from typing import Any, TypeVar

from hypernodes.event_loops import CANCELLATION

T = TypeVar("T")

_current: list[Interrupts] = []
"""The active ones of the main thread, the innermost last."""


class Interrupts:
    """Handles Ctrl-C during a block, in place of Python's own handler or an outer block.

    Args:
        notify: called in the main thread, between any two instructions, when Ctrl-C comes.

    Attributes:
        given: Ctrl-C has come, and has not been raised in a function.
        open: how many user functions are being called.
    """

    def __init__(self, notify: Callable[[], None] = lambda: None) -> None:
        self.given = False
        self._notify = notify
        self.open = 0
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            handler: Any = getsignal(SIGINT)
            if _current or handler is default_int_handler:
                self._before = handler
                _current.append(self)
                signal(SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal(SIGINT, self._before)
            _current.pop()

    def _handle(self, *_: object) -> None:
        if self.open or self.given:
            raise KeyboardInterrupt
        self.given = True
        self._notify()


def interruptible(function: Callable[[], T]) -> T:
    """Call a user's function: Ctrl-C is raised in it, and the run's cancellation.

    Raises:
        KeyboardInterrupt: Ctrl-C came before the call, or in it.
        Interrupted: the run was cancelled before the call, or in it.
    """
    token = CANCELLATION.get()
    if token is not None and token.interrupts:
        return token.interruptible(function)
    if not _current or threading.current_thread() is not threading.main_thread():
        return function()
    interrupts = _current[-1]
    interrupts.open += 1
    try:
        if interrupts.given:
            raise KeyboardInterrupt
        return function()
    finally:
        interrupts.open -= 1


def _forget_given() -> None:
    for each in _current:
        each.given = False


# A worker that is forked while Ctrl-C ends a run would be interrupted in every node that it calls.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_given)
