"""What happens in one run of a node: `NodeCall` while it goes on, `NodeRecord` afterwards."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hypernodes.retries import Retry


@dataclass(slots=True)
class NodeRecord:
    """What happened in one run of a node.

    It is made where the function was called and travels as it is: back from a worker process, or
    in a column of a Daft frame. Callbacks hear of the run from it (`CallbackContext.record`), so
    timelines, traces and Prefect's task runs are made of it.

    Attributes:
        started_at: when the call began, in seconds since the epoch.
        duration: how long it took, in seconds.
        outcome: "done"; "failed"; "cached" where the outputs were in the cache and nothing was
            called.
        error: what the call raised in the end. It stays in the process that raised it.
        retries: attempts before that failed, as far as callbacks have not heard of them yet.
        worker: where it ran, as (process id, thread name).
        brought_back: what callbacks' node contexts brought back from there.
        signature: what identifies outputs that were in the cache.
    """

    started_at: float = 0.0
    duration: float = 0.0
    outcome: Literal["done", "failed", "cached"] = "done"
    error: BaseException | None = None
    retries: Sequence[Retry] = ()
    worker: tuple[int, str] | None = None
    brought_back: tuple[Any, ...] = ()
    signature: str | None = None


class CalledNode(Protocol):
    """The node whose function is called: see `hypernodes.Node`."""

    input_names: tuple[str, ...]

    @property
    def func(self) -> Callable[..., Any]: ...
    @property
    def is_async(self) -> bool: ...


class NodeCall:
    """The call of a node's function that is going on, where its node contexts are entered.

    Args:
        node: the node.
        args: what is given for its parameters by position.
        kwargs: what is given by name.

    Attributes:
        node, args, kwargs: these.
        started_at: when the call began, in seconds since the epoch.
        attempt: which attempt this is, from 1.
        on_retry: called when an attempt has failed and another one follows; a context may set it.
    """

    __slots__ = ("args", "attempt", "kwargs", "node", "on_retry", "started_at")

    def __init__(
        self,
        node: CalledNode,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        started_at: float,
    ) -> None:
        self.node = node
        self.started_at = started_at
        self.args = args
        self.kwargs = kwargs
        self.attempt = 1
        self.on_retry: Callable[[Retry], object] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What the function is called with, by parameter."""
        return {**dict(zip(self.node.input_names, self.args, strict=False)), **self.kwargs}


CURRENT_CALL: contextvars.ContextVar[NodeCall | None] = contextvars.ContextVar(
    "hypernodes_call", default=None
)
"""The call that is going on, for the node contexts around it."""
