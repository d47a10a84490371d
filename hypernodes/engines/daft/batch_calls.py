"""How a node's function is called inside Daft: in a loop, for a whole batch, on an event loop."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from hypernodes.batch import call_batch
from hypernodes.engines.daft.cells import load_named
from hypernodes.engines.daft.query import Query
from hypernodes.event_loops import AWAITED, block_on, is_awaited
from hypernodes.node import Node
from hypernodes.node_record import NodeRecord
from hypernodes.plan import Step
from hypernodes.run.single_flight import InFlight
from hypernodes.run.tasks import Called, NodeTask
from hypernodes.run.workers import Sequential

T = TypeVar("T")


class CompiledCalls:
    """A node's call for rows of cells, compiled to a loop that loads, calls and dumps.

    For a trivial node the call is a small part of a row's time. A general loop would look up which
    columns to load and zip arguments for each row; the compiled one has it all in its text:

        for (_c0, _c1, ) in _rows:
            try: _c0 = _loads(_c0)
            except Exception: _c0 = _l0(_c0)
            ... and so for _c1
            _r = _func(_c0, _v2, scale=_c1)
            if type(_r) in _awaited: _r = _block_on(_r)
            try: _d0 = _dumps(_r, 5)
            except Exception: _d0 = _dump(_r)
            _a0(_d0)
            if _query.failed_at is not None: return

    Args:
        step: the node's step.
        slots: where each column's value goes; None for one that is only looked at: it raises
            `Skip` where the row is no item.
        native: which columns are of Daft's own types.
        shared: the values that all rows share, by slot.
        query: dumps what `pickle` does not; the loop ends where it is stopped.
    """

    def __init__(
        self,
        step: Step,
        slots: Sequence[int | None],
        native: Sequence[bool],
        shared: Sequence[object],
        query: Query,
    ) -> None:
        node = step.node
        assert isinstance(node, Node)
        self._name = f"<column of {step.id!r}>"
        self._names: dict[str, object] = {
            "_func": node.call,
            "_loads": pickle.loads,
            "_dumps": pickle.dumps,
            "_dump": query.dump,
            "_query": query,
            "_awaited": AWAITED,
            "_block_on": block_on,
            "_unpack": node.unpack,
        }
        columns = [f"_c{place}" for place in range(len(slots))]
        self._row = "".join(f"{column}, " for column in columns)  # "(_c0, )" unpacks one too
        names: dict[int | None, str] = {slot: name for name, slot in step.inputs}
        self._read = []
        for place, (slot, own) in enumerate(zip(slots, native, strict=True)):
            if not own:
                self._names[f"_l{place}"] = partial(load_named, f"input {names.get(slot)!r}")
                self._read += [
                    f"try: _c{place} = _loads(_c{place})",
                    f"except Exception: _c{place} = _l{place}(_c{place})",
                ]
        values = dict(zip(slots, columns, strict=True))
        arguments = []
        for name, slot in step.inputs:
            if slot not in values:
                self._names[f"_v{slot}"] = shared[slot]
            text = values.get(slot, f"_v{slot}")
            arguments.append(f"{name}={text}" if name in step.keywords else text)
        self._call = f"_func({', '.join(arguments)})"
        self._made = [f"_d{place}" for place in range(len(step.outputs))]
        results = ["_r"]
        if len(self._made) > 1:
            results = [f"_r{place}" for place in range(len(self._made))]
        self._pack = [f"{', '.join(results)} = _unpack(_r)"] if len(results) > 1 else []
        for made, result in zip(self._made, results, strict=True):
            if query.remote:
                self._pack.append(f"{made} = _dump({result})")
            else:
                self._pack += [
                    f"try: {made} = _dumps({result}, 5)",
                    f"except Exception: {made} = _dump({result})",
                ]

    def loop(self) -> Callable[..., None]:
        """A function of rows, and of the `append` of each output's list of cells.

        It returns before the rows' end where a row after the last one may not be wanted any more.
        """
        appends = [f"_a{place}" for place in range(len(self._made))]
        put = [f"{append}({made})" for append, made in zip(appends, self._made, strict=True)]
        wait = "if type(_r) in _awaited: _r = _block_on(_r)"
        end = "if _query.failed_at is not None: return"
        body = [*self._read, f"_r = {self._call}", wait, *self._pack, *put, end]
        row = [f" {line}" for line in body]
        return self._compile(
            f"def made(_rows, {', '.join(appends)}):", [f"for ({self._row}) in _rows:", *row]
        )

    def coroutine(self) -> Callable[..., Awaitable[list[bytes]]]:
        """An async function of a row's cells that gives the cell of each output."""
        back = f"return [{', '.join(self._made)}]"
        body = [*self._read, f"_r = await {self._call}", *self._pack, back]
        return self._compile(f"async def made({self._row}):", body)

    def _compile(self, head: str, body: Sequence[str]) -> Callable[..., Any]:
        source = "\n ".join([head, *body])
        names: dict[str, Any] = dict(self._names)
        exec(compile(source, self._name, "exec"), names)
        made: Callable[..., Any] = names["made"]
        return made


class BatchWorkers(Sequential):
    """Workers that suspend a row's run at the call, so that one call serves many rows.

    Whoever drives the run gets the `NodeTask` out of it, and sends the `Called` in.
    """

    in_place = False

    async def call(self, call: NodeTask) -> Called:
        return await _HandedOver(call)

    async def wait(self, flight: InFlight) -> bool:
        return False  # it may belong to a row of the same batch, which waits for this one


class _HandedOver:
    def __init__(self, call: NodeTask) -> None:
        self._call = call

    def __await__(self) -> Generator[NodeTask, Called, Called]:
        return (yield self._call)


def call_batch_node(calls: Sequence[NodeTask]) -> list[Called]:
    """Call a batch node once for several rows; each gets an equal part of the time.

    What the node raises is every row's error.
    """
    first = calls[0]
    columns = [list(values) for values in zip(*[call.args for call in calls], strict=True)]
    started_at, begun = time.time(), time.perf_counter()
    error: BaseException | None = None
    values: Sequence[object] = [None] * len(calls)
    try:
        result = call_batch(first.node, columns, dict(first.kwargs), len(calls))
        values = block_on(result) if is_awaited(result) else result
    except BaseException as raised:
        error = raised
    part = (time.perf_counter() - begun) / len(calls)
    outcome: Literal["done", "failed"] = "done" if error is None else "failed"
    return [
        (value, NodeRecord(started_at + place * part, part, outcome, error))
        for place, value in enumerate(values)
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
