"""Waiting for a condition, with a deadline: no test relies on a sleep being long enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 180, every: float = 0.05) -> T:
    """Poll a condition until it holds.

    Args:
        condition: what is asked, again and again.
        seconds: the deadline, in seconds from now.
        every: seconds between two polls.

    Returns:
        The first true value that the condition gave.

    Raises:
        AssertionError: it did not hold before the deadline.
    """
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {seconds} s: {condition}"
        time.sleep(every)
    return found


class Meeting:
    """Callers wait until so many of them are there: it only ends where they run at once."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)

    def __call__(self) -> None:
        self._barrier.wait(timeout=30)

    def __cache_key__(self) -> int:
        return self._barrier.parties
