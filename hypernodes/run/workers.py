"""Workers: where an engine calls functions, and the order of steps that do not depend.

The ones here need no executor; `concurrent` has those that use one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Scope
from hypernodes.errors import Cancelled, as_raised
from hypernodes.event_loops import as_called_off, called_off, running_loop
from hypernodes.node import Node
from hypernodes.plan import Step
from hypernodes.run.interrupts import Interrupts, interruptible
from hypernodes.run.limits import Limit
from hypernodes.run.map_io import Rows, Source
from hypernodes.run.resolve import Resolved
from hypernodes.run.scheduler import Scheduler
from hypernodes.run.single_flight import InFlight
from hypernodes.run.state import RunState
from hypernodes.run.tasks import Called, InThread, NodeTask


class Steps(Protocol):
    """Runs the steps of a plan: see `execution.Execution`."""

    def step(self, state: RunState, step: Step) -> Coroutine[Any, Any, None]:
        """Run one step."""

    def one_by_one(self, state: RunState) -> Coroutine[Any, Any, None]:
        """Run all steps in the plan's order."""


class Items(Protocol):
    """Runs the items of a map: see `map_run.MapJob`."""

    async def item(self, workers: Workers, index: int, values: Mapping[str, Any]) -> Any:
        """Run one item."""


TAKEN = 64
"""Items that sequential workers take from a source at a time."""


class Workers(Protocol):
    """Where an engine calls functions, and in which order."""

    def of(self, engine: Any) -> Workers:
        """The workers for a nested pipeline's own engine, which is of the same kind."""

    @property
    def in_place(self) -> bool:
        """Whether `call` only calls the function, in this thread."""

    def calls_here(self, node: Node[..., Any]) -> bool:
        """Whether `call` only calls this node's function right now, in this thread.

        Raises:
            Cancelled: the run was called off.
        """
        return self.in_place

    async def call(self, task: NodeTask) -> Called:
        """Call a node's function on the worker that it belongs to."""

    async def call_within(self, limit: Limit, task: NodeTask) -> Called:
        """The same when it is the call's turn; see `limits`.

        Raises:
            Cancelled: nobody needs it any more by then.
        """
        turn = limit.acquire()
        try:
            await self.until(turn)
        except BaseException:
            limit.leave(turn)
            raise
        try:
            if called_off():
                raise Cancelled("called off before it started")
            return await self.call(task)
        finally:
            limit.release()

    async def until(self, future: Future[None]) -> None:
        """Wait for something that this run does not do itself."""

    async def steps(self, execution: Steps, state: RunState) -> None:
        """Run every step of a state's plan, each after all of its upstream.

        Args:
            execution: runs one step.
            state: is read and written by the steps.
        """

    async def stream(self, job: Any, source: Source, depth: int, rows: Rows) -> None:
        """Run every item of a map, as there is room for its row.

        Args:
            job: the map.
            source: where the items come from.
            depth: how many other maps this one is inside of.
            rows: takes the results.
        """

    async def wait(self, in_flight: InFlight) -> bool:
        """Wait for a result that another run is computing; False, at once, if it may not wait."""

    @property
    def scheduler(self) -> Scheduler | None:
        """The run's scheduler, if it has one."""

    async def apart(self, run: Callable[[], Any]) -> Any:
        """Call a nested pipeline's engine of another kind, which may take long."""


class Place(Protocol):
    """Where a node runs: the part of an `Execution` that its line needs."""

    @property
    def settings(self) -> Resolved: ...
    @property
    def workers(self) -> Workers: ...
    @property
    def ctx(self) -> CallbackContext | None: ...
    @property
    def scope(self) -> Scope | None: ...
    def with_workers(self, workers: Workers) -> Place: ...


class Sequential(Workers):
    """One thing after the other, in the calling thread."""

    in_place = True

    def of(self, engine: Any) -> Workers:
        return self

    async def call(self, task: NodeTask) -> Called:
        return interruptible(task.run)

    async def steps(self, execution: Steps, state: RunState) -> None:
        await execution.one_by_one(state)

    async def stream(self, job: Any, source: Source, depth: int, rows: Rows) -> None:
        while taken := source.take(TAKEN):
            for index, values in enumerate(taken, source.at - len(taken)):
                rows.put(index, [await job.item(self, index, values)])

    @property
    def scheduler(self) -> Scheduler | None:
        return None

    async def wait(self, in_flight: InFlight) -> bool:
        if running_loop() is not None or not in_flight.is_for(None):
            return False
        in_flight.finished().result()
        return True

    async def until(self, future: Future[None]) -> None:
        future.result()

    async def apart(self, run: Callable[[], Any]) -> Any:
        return run()


class OnLoop(Sequential):
    """One after the other on an event loop: async nodes are awaited, others go to threads."""

    in_place = False

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread

    async def call(self, task: NodeTask) -> Called:
        """Await a node's function, or call it on a thread.

        Raises:
            Cancelled: the executor has cancelled it.
        """
        awaited = task.coroutine(self._in_thread)
        try:
            called: Called = await (self._in_thread(task.run) if awaited is None else awaited)
        except asyncio.CancelledError as error:
            if (other := as_called_off(error)) is not error:
                raise other from None
            raise
        called[1].error = as_called_off(called[1].error)
        return called

    async def wait(self, in_flight: InFlight) -> bool:
        if not in_flight.is_beside():
            return False
        await asyncio.wrap_future(in_flight.finished())
        return True

    async def until(self, future: Future[None]) -> None:
        await asyncio.wrap_future(future)

    async def apart(self, run: Callable[[], Any]) -> Any:
        return await self._in_thread(run)


SEQUENTIAL = Sequential()


def drive_run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Drive a whole run without a scheduler.

    Raises:
        KeyboardInterrupt: Ctrl-C came; it ends the run in the node that is called, or before the
            next one.
    """
    with Interrupts() as interrupts:
        result = drive(coroutine)
    if interrupts.given:
        raise KeyboardInterrupt
    return result


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends: on `Sequential` workers none does.

    Raises:
        RuntimeError: it was suspended all the same.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    except RuntimeError as error:
        raised = as_raised(error)
        if raised is error:
            raise
    else:
        coroutine.close()
        raise RuntimeError("sequential work was suspended")
    raise raised
