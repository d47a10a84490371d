"""How a node's function is called inside Daft: in a loop, for a whole batch, on an event loop."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from hypernodes.batch import call_batch
from hypernodes.event_loops import AWAITED, block_on, is_awaited
from hypernodes.node import Node
from hypernodes.node_record import NodeRecord
from hypernodes.plan import Step
from hypernodes.run.tasks import Called, NodeTask
from hypernodes.run.workers import Sequential


class PlainCalls:
    """A node's call for rows of cells, written as code: a call a row, and nothing else.

    Args:
        step: the node's step.
        slots: where each column's value goes; None for one that only has to be there.
        native: which columns are Daft's own.
        shared: the values that all rows share, by slot.
        dump: pickles what `pickle` does not.
        always: whether it is to pickle everything.
    """

    def __init__(
        self,
        step: Step,
        slots: Sequence[int | None],
        native: Sequence[bool],
        shared: Sequence[Any],
        dump: Callable[[Any], bytes],
        always: bool,
    ) -> None:
        node = step.node
        assert isinstance(node, Node)
        self._name = f"<column of {step.id!r}>"
        self._names = {
            "_func": node.call,
            "_loads": pickle.loads,
            "_dumps": pickle.dumps,
            "_dump": dump,
            "_awaited": AWAITED,
            "_block_on": block_on,
            "_unpack": node.unpack,
        }
        columns = [f"_c{place}" for place in range(len(slots))]
        self._row = "".join(f"{column}, " for column in columns)
        read = [
            name if own else f"_loads({name})" for name, own in zip(columns, native, strict=True)
        ]
        values = dict(zip(slots, read, strict=True))
        arguments = []
        for name, slot in step.inputs:
            if slot not in values:
                self._names[f"_v{slot}"] = shared[slot]
            text = values.get(slot, f"_v{slot}")
            arguments.append(f"{name}={text}" if name in step.keywords else text)
        self._before = [t for t, slot in zip(read, slots, strict=True) if slot is None]
        self._call = f"_func({', '.join(arguments)})"
        self._made = [f"_d{place}" for place in range(len(step.outputs))]
        results = ["_r"]
        if len(self._made) > 1:
            results = [f"_r{place}" for place in range(len(self._made))]
        self._pack = [f"{', '.join(results)} = _unpack(_r)"] if len(results) > 1 else []
        for made, result in zip(self._made, results, strict=True):
            if always:
                self._pack.append(f"{made} = _dump({result})")
            else:
                self._pack += [
                    f"try: {made} = _dumps({result}, 5)",
                    f"except Exception: {made} = _dump({result})",
                ]

    def loop(self) -> Callable[..., None]:
        """A function of rows, and of an `append` for each output's cells."""
        appends = [f"_a{place}" for place in range(len(self._made))]
        put = [f"{append}({made})" for append, made in zip(appends, self._made, strict=True)]
        wait = "if type(_r) in _awaited: _r = _block_on(_r)"
        body = [*self._before, f"_r = {self._call}", wait, *self._pack, *put]
        row = [f" {line}" for line in body]
        made: Callable[..., None] = self._compile(
            f"def made(_rows, {', '.join(appends)}):", [f"for ({self._row}) in _rows:", *row]
        )
        return made

    def coroutine(self) -> Callable[..., Coroutine[Any, Any, list[bytes]]]:
        """An async function of a row's cells, which makes the cell of each output."""
        back = f"return [{', '.join(self._made)}]"
        body = [*self._before, f"_r = await {self._call}", *self._pack, back]
        made: Callable[..., Any] = self._compile(f"async def made({self._row}):", body)
        return made

    def _compile(self, head: str, body: Sequence[str]) -> Any:
        source = "\n ".join([head, *body])
        names = dict(self._names)
        exec(compile(source, self._name, "exec"), names)
        return names["made"]


class Together(Sequential):
    """Workers that give the call away, and wait for its outcome."""

    async def call(self, call: NodeTask) -> Called:
        outcome: Called = await _Given(call)
        return outcome

    async def wait(self, flight: Any) -> bool:
        return False  # it may be of a row of the same batch, which waits for this one


class _Given:
    def __init__(self, call: NodeTask) -> None:
        self._call = call

    def __await__(self) -> Any:
        return (yield self._call)


def call_together(calls: Sequence[NodeTask]) -> list[Called]:
    """Call a batch node once for several rows: each has an equal part of the time."""
    first = calls[0]
    columns = [list(values) for values in zip(*[call.args for call in calls], strict=True)]
    started_at, begun = time.time(), time.perf_counter()
    error: BaseException | None = None
    values: list[Any] = [None] * len(calls)
    try:
        result = call_batch(first.node, columns, dict(first.kwargs), len(calls))
        values = block_on(result) if is_awaited(result) else result
    except BaseException as raised:
        error = raised
    part = (time.perf_counter() - begun) / len(calls)
    return [
        (value, NodeRecord(started_at + place * part, part, error))
        for place, value in enumerate(values)
    ]


async def in_this_thread(call: Callable[[], Any]) -> Any:
    return call()


class Turns:
    """Awaits a function for rows on a loop, at most so many at once, first come, first served.

    As many workers as may be there take the rows of all batches, so that none waits for the last
    rows of a batch, and no row needs a task of its own.

    Args:
        func: awaited with a row's arguments; what it raises, `take` raises.
        limit: how many run at once.
    """

    def __init__(self, func: Callable[..., Awaitable[Any]], limit: int) -> None:
        self._func = func
        self._limit = limit
        self._workers: set[asyncio.Task[None] | None] = set()
        self._waiting: deque[tuple[_Taken, int, Sequence[Any]]] = deque()

    async def take(self, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """What comes of each row of a batch, in order."""
        if not rows:
            return []
        loop = asyncio.get_running_loop()
        taken = _Taken(loop.create_future(), [None] * len(rows), len(rows))
        self._waiting.extend((taken, place, row) for place, row in enumerate(rows))
        for _ in range(min(self._limit - len(self._workers), len(rows))):
            self._workers.add(loop.create_task(self._work()))
        await taken.ended
        return taken.results

    async def _work(self) -> None:
        while self._waiting:
            taken, place, row = self._waiting.popleft()
            if taken.ended.done():  # nobody waits for it
                continue
            try:
                taken.results[place] = await self._func(*row)
            except BaseException as error:
                taken.end(error)
            taken.left -= 1
            if not taken.left:
                taken.end(None)
        self._workers.discard(asyncio.current_task())


@dataclass
class _Taken:
    """A batch whose rows are awaited: some of them are left."""

    ended: asyncio.Future[None]
    results: list[Any]
    left: int

    def end(self, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
