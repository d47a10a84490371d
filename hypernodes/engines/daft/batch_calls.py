"""How a node's function is called inside Daft for a whole batch, and on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from hypernodes.batch import alike, call_batch
from hypernodes.errors import ResultError
from hypernodes.event_loops import block_on, is_awaited
from hypernodes.node_record import NodeCall, NodeRecord
from hypernodes.retries import LISTENER, Retry
from hypernodes.run.limits import Limit
from hypernodes.run.node_contexts import Within, brought_back
from hypernodes.run.single_flight import InFlight
from hypernodes.run.tasks import Called, NodeTask
from hypernodes.run.workers import Sequential

T = TypeVar("T")


class BatchWorkers(Sequential):
    """Workers that suspend a row's run at the call, so that one call serves many rows.

    Whoever drives the run gets the `NodeTask` out of it, and sends the `Called` in.
    """

    in_place = False

    async def call(self, call: NodeTask) -> Called:
        return await _HandedOver(call)

    async def call_within(self, limit: Limit, task: NodeTask) -> Called:
        return await self.call(task)  # the limit is for calls of the function: of many rows

    async def wait(self, flight: InFlight) -> bool:
        return False  # it may belong to a row of the same batch, which waits for this one


class _HandedOver:
    def __init__(self, call: NodeTask) -> None:
        self._call = call

    def __await__(self) -> Generator[NodeTask, Called, Called]:
        return (yield self._call)


def call_batch_node(calls: Sequence[NodeTask]) -> list[Called]:
    """Call a batch node for several rows: once, or once for each form that their values have.

    If a call raises, its rows are called again one at a time, so that none of them fails for
    another one.
    """
    done: dict[int, Called] = {}
    kind = calls[0].node.options.batch
    for places in alike(kind, [call.args for call in calls]):
        together = [calls[place] for place in places]
        made = _call_once(together) if len(together) > 1 else None
        if made is None:
            made = [call.run() for call in together]
        done.update(zip(places, made, strict=True))
    return [done[place] for place in range(len(calls))]


def _call_once(calls: Sequence[NodeTask]) -> list[Called] | None:
    """Call a batch node once for several rows, inside the contexts of each.

    Returns:
        What each row made, with an equal part of the time; None where the call has raised what
        one of the rows may be the reason of.
    """
    first, retries = calls[0], list[Retry]()
    columns = [list(values) for values in zip(*[call.args for call in calls], strict=True)]
    started_at, begun = time.time(), time.perf_counter()
    error: BaseException | None = None
    values: Sequence[object] = [None] * len(calls)
    listener = LISTENER.set(retries.append)
    try:
        with ExitStack() as stack:
            for call in calls:
                if call.contexts:
                    current = NodeCall(call.node, call.args, call.kwargs, started_at)
                    stack.enter_context(Within(call.contexts, current))
            result = call_batch(first.node, columns, dict(first.kwargs), len(calls))
            values = block_on(result) if is_awaited(result) else result
    except ResultError as raised:  # it returned another number of values: no row is the reason
        error = raised
    except Exception:
        return None
    except BaseException as raised:
        error = raised
    finally:
        LISTENER.reset(listener)
    part = (time.perf_counter() - begun) / len(calls)
    outcome: Literal["done", "failed"] = "done" if error is None else "failed"
    return [
        (value, NodeRecord(started_at + place * part, part, outcome, error, retries, None, back))
        for place, value in enumerate(values)
        for back in [brought_back(calls[place].contexts)]
    ]


async def in_this_thread(call: Callable[[], object]) -> object:
    """Call what would go to a thread here: Daft's threads may block."""
    return call()


class AsyncPool(Generic[T]):
    """Awaits a function for rows on an event loop, at most so many at once, in the rows' order.

    At most `limit` workers take rows from one queue for all batches. So none of them idles while a
    batch's last rows finish, and no row needs a task of its own.

    Args:
        func: awaited with a row's arguments; what it raises, `map` raises.
        limit: how many run at once.
    """

    def __init__(self, func: Callable[..., Awaitable[T]], limit: int) -> None:
        self._func = func
        self._limit = limit
        self._workers: set[asyncio.Task[None] | None] = set()
        self._waiting: deque[tuple[_Batch[T], int, Sequence[object]]] = deque()

    async def map(self, rows: Sequence[Sequence[object]]) -> list[T]:
        """The result of each row of a batch, in order."""
        if not rows:
            return []
        loop = asyncio.get_running_loop()
        batch: _Batch[T] = _Batch(loop.create_future(), {}, len(rows))
        self._waiting.extend((batch, place, row) for place, row in enumerate(rows))
        for _ in range(min(self._limit - len(self._workers), len(rows))):
            self._workers.add(loop.create_task(self._work()))
        await batch.ended
        return [batch.results[place] for place in range(len(rows))]

    async def _work(self) -> None:
        while self._waiting:
            batch, place, row = self._waiting.popleft()
            if batch.ended.done():  # it failed, or was cancelled: nobody waits for it
                continue
            try:
                batch.results[place] = await self._func(*row)
            except BaseException as error:
                batch.end(error)
            batch.left -= 1
            if not batch.left:
                batch.end(None)
        self._workers.discard(asyncio.current_task())


@dataclass
class _Batch(Generic[T]):
    """A batch of rows: its results so far, and how many are left."""

    ended: asyncio.Future[None]
    results: dict[int, T]
    left: int

    def end(self, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
