"""`NodeRecord`: what happened in one run of a node, wherever it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypernodes.retries import Retry


@dataclass(slots=True)
class NodeRecord:
    """What happened when a node's function was called.

    It is made where the call took place and travels as it is: back from a worker process, in a
    cell of a Daft frame. Callbacks are told from it.

    Attributes:
        started_at: when the call began, in seconds since the epoch.
        duration: how long it took, in seconds.
        error: what it raised in the end, or None.
        retries: attempts before that which failed, where nobody has been told of them yet.
        worker: where it ran, as (process id, thread name).
        brought_back: what callbacks' `node_context`s brought back from there.
    """

    started_at: float
    duration: float
    error: BaseException | None = None
    retries: Sequence[Retry] = ()
    worker: tuple[int, str] | None = None
    brought_back: tuple[Any, ...] = ()
