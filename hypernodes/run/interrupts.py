"""Ctrl-C: raised where the user's functions are called, and nowhere between.

Python raises `KeyboardInterrupt` between any two instructions of the main thread. Inside of an
engine that could lose what had just been taken from a queue, or leave a scope open. So while an
engine drives, the signal is noted, and told to whoever drives; only a function of the user's that
is called in the main thread is interrupted at once. A second Ctrl-C is raised wherever it comes.
"""

from __future__ import annotations

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

T = TypeVar("T")

_current: list[Interrupts] = []
"""Those of the main thread, the innermost last."""


class Interrupts:
    """Takes Ctrl-C for a block, where Python's own handler (or one of these) would have.

    Args:
        tell: is called, in the main thread, when it has come; it may be in the middle of anything.

    Attributes:
        given: it has come, and was not raised.
        open: how many functions of the user's are being called.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self.given = False
        self._tell = tell
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
        self._tell()


def interruptible(function: Callable[[], T]) -> T:
    """Call a function of the user's own: Ctrl-C is raised in it.

    Raises:
        KeyboardInterrupt: it has come before.
    """
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
