"""Task: what is handed to an executor, one call of a node or a chunk of a map's items.

Task is a callable without arguments that carries all it needs. In the same process it is passed
by reference. When it is pickled, `pickling` makes of it what can be sent; so nobody asks what kind
of executor there is. Task never raises what a node raised: it gives an outcome.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from tempfile import gettempdir
from typing import Any, Literal, Protocol

from hypernodes.dispatch import NodeScope
from hypernodes.event_loops import CALL, CancelToken, Mark, block_on, is_awaited
from hypernodes.node import Node
from hypernodes.node_record import NodeCall, NodeRecord
from hypernodes.retries import LISTENER, Retry
from hypernodes.run import pickling
from hypernodes.run.interrupts import interruptible
from hypernodes.run.node_contexts import Within, brought_back

logger = logging.getLogger("hypernodes")

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls something that is not async beside the event loop."""

CURRENT_EXECUTORS: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar(
    "hypernodes_inside", default=()
)
"""The executors whose workers are doing this: more work for them would wait for itself."""


Called = tuple[Any, NodeRecord]
"""What a node's function returned (None where it raised), and what happened."""


class Task:
    """Something to do on one of an executor's workers, with the caller's context variables."""

    _mark = ""  # there is one where another process may do it

    def __init__(self, executor: Any) -> None:
        self._context = contextvars.copy_context()
        self._context.run(CURRENT_EXECUTORS.set, (*CURRENT_EXECUTORS.get(), executor))
        self._token = CancelToken()
        self._context.run(CALL.set, self._token)

    def __call__(self) -> Any:
        return self._context.run(self.run)

    def call_off(self) -> None:
        """Have it try nothing again: it has begun, and nobody needs it any more."""
        self._token.cancel()
        if self._mark:
            with suppress(OSError), open(self._mark, "xb"):
                pass

    def mark(self) -> str:
        """The path of what says to another process that it is called off; see `Mark`."""
        self._mark = self._mark or os.path.join(gettempdir(), f"hypernodes-{uuid.uuid4().hex}")
        return self._mark

    def end(self) -> None:
        """Clean up after it."""
        if self._mark and self._token.cancelled:
            with suppress(OSError):
                os.unlink(self._mark)

    def __dask_tokenize__(self) -> object:
        # Dask takes equal calls for one: a node may give something else each time.
        return uuid.uuid4().hex

    def run(self) -> Any:
        """Do it.

        Raises:
            NotImplementedError: the kind of task does not say how.
        """
        raise NotImplementedError

    def coroutine(self, in_thread: InThread) -> Coroutine[Any, Any, Any] | None:
        """The same to be awaited on an event loop, where there is something to await."""
        return None


class _Here(threading.local):
    worker: tuple[int, str] | None = None


_here = _Here()


def worker() -> tuple[int, str]:
    """This process's id, and the name that this thread had when it first ran a node."""
    known = _here.worker
    if known is None:
        known = _here.worker = (os.getpid(), threading.current_thread().name)
    return known


def _forget_worker() -> None:
    global _here
    _here = _Here()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_worker)


class NodeTask(Task):
    """One call of a node's function.

    Args:
        node: the node.
        args: positional arguments.
        kwargs: keyword arguments.
        contexts: what callbacks want to be entered around it.
        scope: is started when the call really starts.
        executor: what it is for; None for the calling thread.
    """

    _call: NodeCall | None = None  # there is one where contexts see it

    def __init__(
        self,
        node: Node[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        contexts: Sequence[AbstractContextManager[Any]],
        scope: NodeScope | None,
        executor: Any = None,
    ) -> None:
        if executor is not None:
            super().__init__(executor)
        self.node = node
        self.args = args
        self.kwargs = kwargs
        self.contexts = contexts
        self.scope = scope
        self._retries: Sequence[Retry] = ()

    def __reduce__(self) -> Any:
        parts = {"the function": self.node, "callbacks' contexts": list(self.contexts)}
        names = (*self.node.input_names, *self.kwargs)
        parts |= {f"input {name!r}": value for name, value in zip(names, self.args, strict=False)}
        parts |= {f"input {name!r}": value for name, value in self.kwargs.items()}
        crossed = NodeTask(self.node, self.args, self.kwargs, self.contexts, None)
        state = (crossed.node, crossed.args, crossed.kwargs, crossed.contexts)
        marked = self.mark(), _call, state
        return pickling.remote_work(do_marked, marked, f"node {self.node.name!r}", parts)

    def __call__(self) -> Called:
        return self._context.run(interruptible, self.run)

    def __repr__(self) -> str:
        return f"node {self.node.name!r}"

    def on(self, executor: Any) -> NodeTask:
        """The same call, to be submitted to an executor."""
        return NodeTask(self.node, self.args, self.kwargs, self.contexts, self.scope, executor)

    def _start(self) -> None:
        if self.scope is not None:
            self.scope.start()
        if self.node.options.retries:
            LISTENER.set(self._retried)

    def _retried(self, retry: Retry) -> None:
        if self._call is not None:
            self._call.attempt = retry.attempt + 1
            if self._call.on_retry is not None:
                self._call.on_retry(retry)
        if self.scope is None:
            self._retries = (*self._retries, retry)
        else:
            self.scope.retry(retry)

    def run(self) -> Called:
        if self.contexts or self.node.options.retries:
            return self._run_within()
        # What `_start` and `_record` do is written out where it is usual: every node comes here.
        if self.scope is not None:
            self.scope.start()
        started_at, begun = time.time(), time.perf_counter()
        try:
            value = self.node.call(*self.args, **self.kwargs)
            if is_awaited(value):
                value = block_on(value, of_node=True)
        except BaseException as error:
            return None, self._record(error, started_at, begun)
        duration = time.perf_counter() - begun
        return value, NodeRecord(started_at, duration, "done", None, (), worker())

    def _run_within(self) -> Called:
        self._start()
        started_at, begun = time.time(), time.perf_counter()
        value, error = None, None
        self._call = NodeCall(self.node, self.args, self.kwargs, started_at)
        try:
            value = call_within(self.contexts, self._call, self.node.call)
        except BaseException as raised:
            error = raised
        return value, self._record(error, started_at, begun)

    def _record(self, error: BaseException | None, started_at: float, begun: float) -> NodeRecord:
        duration = time.perf_counter() - begun
        outcome: Literal["done", "failed"] = "done" if error is None else "failed"
        back = brought_back(self.contexts) if self.contexts else ()
        return NodeRecord(started_at, duration, outcome, error, self._retries, worker(), back)

    def coroutine(self, in_thread: InThread) -> Coroutine[Any, Any, Called] | None:
        return self._await() if self.node.is_async else None

    async def _await(self) -> Called:
        self._start()
        started_at, begun = time.time(), time.perf_counter()
        value, error = None, None
        self._call = NodeCall(self.node, self.args, self.kwargs, started_at)
        try:
            with Within(self.contexts, self._call):
                value = await self.node.call(*self.args, **self.kwargs)
        except BaseException as raised:
            value, error = None, raised
        return value, self._record(error, started_at, begun)


def call_within(
    contexts: Sequence[AbstractContextManager[Any]], call: NodeCall, function: Callable[..., Any]
) -> Any:
    """Call a node's function inside of contexts, which see the call.

    Args:
        contexts: are entered around it, the first one first.
        call: what they see.
        function: the function, or what calls it again when it fails.
    """
    with Within(contexts, call):
        value = function(*call.args, **call.kwargs)
        return block_on(_rest(value), of_node=True) if is_awaited(value) else value


async def _rest(awaitable: Any) -> Any:
    return await awaitable


@dataclass
class Row:
    """What an item of a map made: for each output that was asked for, in order, the value and
    what identifies it."""

    values: list[Any]
    signatures: list[bytes | None]


@dataclass
class ChunkResult:
    """What came of some items of a map, from `start` on.

    Attributes:
        rows: for each item done a `Row`, or a dict of outputs from a compiled plan, or with
            `error_handling="continue"` a `FailedItem`.
        error: what the item after them raised, if one did.
        seconds: how long it took.
        run_locally: the items after them have to be taken up by the calling thread.
        columns: in place of rows: the values of each output, for all items.
    """

    rows: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    seconds: float = 0.0
    run_locally: bool = False
    columns: Mapping[str, list[Any]] | None = None


class ItemsJob(Protocol):
    """A map, as its chunks see it: see `map_run.MapJob` and `process_map.SendableMapJob`."""

    parallel_inside: bool
    has_async: bool

    def do(self, start: int, items: Sequence[Mapping[str, Any]]) -> ChunkResult:
        """Do items one after the other in this thread."""

    def do_async(
        self, start: int, items: Sequence[Mapping[str, Any]], in_thread: InThread
    ) -> Awaitable[ChunkResult]:
        """The same on an event loop."""

    def reduce_chunk(self, start: int, items: Sequence[Mapping[str, Any]], mark: str) -> Any:
        """What is sent to another process in place of some items."""


class ChunkTask(Task):
    """Some items of a map, one after the other.

    Args:
        job: the map.
        start: the first item's index.
        items: the items' values.
        executor: what it is for.
    """

    def __init__(
        self, job: ItemsJob, start: int, items: Sequence[Mapping[str, Any]], executor: Any
    ) -> None:
        super().__init__(executor)
        self.job = job
        self.start = start
        self.items = items

    def __repr__(self) -> str:
        return f"{len(self.items)} items of a map from item {self.start} on"

    def __reduce__(self) -> Any:
        return self.job.reduce_chunk(self.start, self.items, self.mark())

    def run(self) -> ChunkResult:
        if self.job.parallel_inside:
            return ChunkResult(run_locally=True)
        return self.job.do(self.start, self.items)

    def coroutine(self, in_thread: InThread) -> Coroutine[Any, Any, ChunkResult] | None:
        if self.job.parallel_inside or not self.job.has_async:
            return None
        return self._await(in_thread)

    async def _await(self, in_thread: InThread) -> ChunkResult:
        CURRENT_EXECUTORS.set(self._context[CURRENT_EXECUTORS])
        return await self.job.do_async(self.start, self.items, in_thread)


def do_marked(mark: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Do a task in another process.

    Args:
        mark: see `Task.mark`.
        function: does it.
        arguments: what with.
    """
    token = CALL.set(Mark(mark))
    try:
        return function(*arguments)
    finally:
        CALL.reset(token)


def _call(
    node: Node[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    contexts: Sequence[AbstractContextManager[Any]],
) -> Called:
    """A node's call in another process."""
    value, record = NodeTask(node, args, kwargs, contexts, None).run()
    if record.error is not None:
        record.error = pickling.sendable_error(record.error)
    record.retries = [
        replace(each, error=pickling.sendable_error(each.error)) for each in record.retries
    ]
    return value, record
