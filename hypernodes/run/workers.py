"""Workers: how an engine calls functions, and in which order it does what does not depend.

These are the ones that need no executor; those that have one are in `concurrent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from hypernodes.errors import as_raised
from hypernodes.event_loops import running_loop
from hypernodes.plan import Step
from hypernodes.run.interrupts import Interrupts, interruptible
from hypernodes.run.map_io import Rows, Source
from hypernodes.run.scheduler import Scheduler
from hypernodes.run.single_flight import InFlight
from hypernodes.run.state import RunState
from hypernodes.run.tasks import Called, InThread, NodeTask


class Steps(Protocol):
    """Runs the steps of a plan: see `execution.Execution`."""

    def step(self, state: RunState, step: Step) -> Coroutine[Any, Any, None]:
        """Run one step."""


class Items(Protocol):
    """Runs the items of a map: see `map_run.MapJob`."""

    async def item(self, workers: Workers, index: int, values: Mapping[str, Any]) -> Any:
        """Run one item."""


TAKEN = 64
"""Items that are taken from a source at a time, by who does one after the other."""


class Workers(Protocol):
    """How an engine calls functions, and in which order."""

    def of(self, engine: Any) -> Workers:
        """Those of an engine of our kind that a nested pipeline has."""

    async def call(self, task: NodeTask) -> Called:
        """Call a node's function where it is to run."""

    async def steps(self, execution: Steps, state: RunState) -> None:
        """Run every step of a state's plan, each after all of its upstream."""

    async def stream(self, job: Any, source: Source, depth: int, rows: Rows) -> None:
        """Run every item of a map that is inside `depth` others, as there is room for its row."""

    async def wait(self, in_flight: InFlight) -> bool:
        """Wait for what another run computes; False, at once, where that must not be."""

    @property
    def scheduler(self) -> Scheduler | None:
        """What drives the run, where something does."""

    async def apart(self, run: Callable[[], Any]) -> Any:
        """Do what may run for long and has an engine of another kind."""


async def one_by_one(execution: Steps, state: RunState) -> None:
    """Run the steps of a state's plan in its order."""
    for step in state.plan.steps:
        await execution.step(state, step)


class Sequential:
    """Everything in the calling thread, one after the other."""

    def of(self, engine: Any) -> Workers:
        return self

    async def call(self, task: NodeTask) -> Called:
        return interruptible(task.run)

    async def steps(self, execution: Steps, state: RunState) -> None:
        await one_by_one(execution, state)

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

    async def apart(self, run: Callable[[], Any]) -> Any:
        return run()


class OnLoop(Sequential):
    """One after the other on an event loop: async nodes are awaited, others go to threads."""

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread

    async def call(self, task: NodeTask) -> Called:
        awaited = task.coroutine(self._in_thread)
        called: Called = await (self._in_thread(task.run) if awaited is None else awaited)
        return called

    async def wait(self, in_flight: InFlight) -> bool:
        if not in_flight.is_beside():
            return False
        await asyncio.wrap_future(in_flight.finished())
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
    except RuntimeError as error:
        raised = as_raised(error)
        if raised is error:
            raise
    else:
        coroutine.close()
        raise RuntimeError("sequential work was suspended")
    raise raised
