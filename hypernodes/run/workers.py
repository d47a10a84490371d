"""Workers: how an engine calls functions, and in which order it does what does not depend.

These are the ones that need no executor; those that have one are in `concurrent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from hypernodes.event_loops import running_loop
from hypernodes.run.interrupts import Interrupts, interruptible
from hypernodes.run.map_io import Rows, Source
from hypernodes.run.tasks import InThread, NodeTask, Outcome

if TYPE_CHECKING:
    from hypernodes.node import Node
    from hypernodes.run.execution import Execution
    from hypernodes.run.map_run import MapJob
    from hypernodes.run.scheduler import Scheduler
    from hypernodes.run.single_flight import InFlight
    from hypernodes.run.state import RunState

TAKEN = 64
"""Items that are taken from a source at a time, by who does one after the other."""


class Workers(Protocol):
    """How an engine calls functions, and in which order."""

    def of(self, engine: Any) -> Workers:
        """Those of an engine of our kind that a nested pipeline has."""

    async def call(self, call: NodeTask) -> Outcome:
        """Call a node's function where it is to run."""

    def calls_here(self, node: Node[..., Any]) -> bool:
        """Whether a node is simply called, in this thread.

        Raises:
            Cancelled: it is not to be called any more.
        """

    async def steps(self, execution: Execution, frame: RunState) -> None:
        """Run every step of a frame's plan, each after all of its upstream."""

    async def stream(self, job: MapJob, source: Source, depth: int, rows: Rows) -> None:
        """Run every item of a map that is inside `depth` others, as there is room for its row."""

    async def wait(self, flight: InFlight) -> bool:
        """Wait for what another run computes; False, at once, where that must not be."""

    @property
    def scheduler(self) -> Scheduler | None:
        """What drives the run, where something does."""

    async def apart(self, run: Callable[[], Any]) -> Any:
        """Do what may run for long and has an engine of another kind."""


async def one_by_one(execution: Execution, frame: RunState) -> None:
    """Run the steps of a frame's plan in its order."""
    here = execution.step_here
    for step in frame.plan.steps:
        if not here(frame, step):
            await execution.step(frame, step)


class Sequential:
    """Everything in the calling thread, one after the other."""

    def of(self, engine: Any) -> Workers:
        return self

    async def call(self, call: NodeTask) -> Outcome:
        return interruptible(call.run)

    def calls_here(self, node: Node[..., Any]) -> bool:
        return True

    async def steps(self, execution: Execution, frame: RunState) -> None:
        await one_by_one(execution, frame)

    async def stream(self, job: MapJob, source: Source, depth: int, rows: Rows) -> None:
        while taken := source.take(TAKEN):
            for index, values in enumerate(taken, source.at - len(taken)):
                rows.put(index, [await job.item(self, index, values)])

    @property
    def scheduler(self) -> Scheduler | None:
        return None

    async def wait(self, flight: InFlight) -> bool:
        if running_loop() is not None or not flight.is_for(None):
            return False
        flight.landed().result()
        return True

    async def apart(self, run: Callable[[], Any]) -> Any:
        return run()


class OnLoop(Sequential):
    """One after the other on an event loop: async nodes are awaited, others go to threads."""

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread

    def calls_here(self, node: Node[..., Any]) -> bool:
        return False

    async def call(self, call: NodeTask) -> Outcome:
        awaited = call.coroutine(self._in_thread)
        outcome: Outcome = await (self._in_thread(call.run) if awaited is None else awaited)
        return outcome

    async def wait(self, flight: InFlight) -> bool:
        if not flight.is_beside():
            return False
        await asyncio.wrap_future(flight.landed())
        return True

    async def apart(self, run: Callable[[], Any]) -> Any:
        return await self._in_thread(run)


SEQUENTIAL = Sequential()


def drive_run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Drive a whole run, which Ctrl-C ends at its next node, or in the one that is called."""
    with Interrupts() as interrupts:
        result = drive(coroutine)
    if interrupts.given:
        raise KeyboardInterrupt
    return result


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends, as those of `Sequential` workers do not."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("sequential work was suspended")
