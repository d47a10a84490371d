"""Workers with executors: a node runs once its inputs are there, a bounded number of items at once.

Everything here runs in the thread that called the engine, as coroutines of a `Scheduler`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures.thread import BrokenThreadPool
from functools import partial
from typing import Any

from hypernodes.errors import Cancelled, WorkerLostError
from hypernodes.event_loops import CALLER_LOOP, OutcomeFuture, running_loop, submit_to_loop
from hypernodes.executors import BrokenBefore, Pool
from hypernodes.node import Node
from hypernodes.plan import PipelineLike, Plan
from hypernodes.results import FailedItem
from hypernodes.run import pickling
from hypernodes.run.fast_path import compiled, compiled_async, note_item
from hypernodes.run.interrupts import interruptible
from hypernodes.run.map_io import Rows, Source
from hypernodes.run.process_map import RemoteRows, SendableMapJob
from hypernodes.run.resolve import is_same_kind
from hypernodes.run.scheduler import Group, RunningTask, Scheduler, cancel_future
from hypernodes.run.single_flight import InFlight
from hypernodes.run.state import RunState
from hypernodes.run.tasks import CURRENT_EXECUTORS, Called, ChunkResult, ChunkTask, NodeTask, Task
from hypernodes.run.workers import Steps, Workers

logger = logging.getLogger("hypernodes")

CHUNK_SECONDS = 0.01
"""How long a chunk of quick items should take: long enough to outweigh what submitting it costs."""
CHUNK_ITEMS = 5_000
"""The most items in a chunk."""


def effective_workers(workers: int, depth: int) -> int:
    """How many items of a map run at once: fewer inside other maps.

    Args:
        workers: those of the pool.
        depth: how many other maps this one is inside of.

    >>> [effective_workers(16, depth) for depth in range(3)]
    [16, 4, 1]
    """
    if depth == 0:
        return workers
    return max(1, int(workers**0.5)) if depth == 1 else 1


class Concurrent(Workers):
    """The workers of one engine in one run.

    Args:
        engine: whose pools to use.
        scheduler: the run's.
        leaf: where nodes run without a node executor: the pool of the map around them; None for
            the calling thread.
        goes_on: whether a map around them goes on where an item fails. What other work has lost
            its worker process for is then done again, each in a process of its own.
    """

    def __init__(
        self, engine: Any, scheduler: Scheduler, leaf: Pool | None = None, goes_on: bool = False
    ) -> None:
        self._engine = engine
        self._goes_on = goes_on
        self._nodes: Pool = engine.node_pool
        self._map: Pool = engine.map_pool
        self._scheduler = scheduler
        self._leaf = leaf
        # Where nodes run; None for the calling thread.
        self._pool: Pool | None = leaf if self._nodes.sequential else self._nodes

    in_place = False

    def of(self, engine: Any) -> Workers:
        return Concurrent(engine, self._scheduler, self._leaf, self._goes_on)

    @property
    def scheduler(self) -> Scheduler:
        return self._scheduler

    async def wait(self, in_flight: InFlight) -> bool:
        if self._scheduler.blocks_a_loop or not in_flight.is_for(self._scheduler):
            return False
        await self._scheduler.done(in_flight.finished())
        return True

    # -- Nodes -----------------------------------------------------------------------------------

    def calls_here(self, node: Node[..., Any]) -> bool:
        # Not where the caller's loop is the place for it, or a pool.
        self._check_stopped()
        is_off_loop = CALLER_LOOP.get() is not None and running_loop() is None
        if node.options.executor == "sequential":
            return not is_off_loop
        pool = self._pool
        return (pool is None or _is_inside(pool)) and not (is_off_loop and node.is_async)

    async def call(self, task: NodeTask) -> Called:
        """Call a node's function where it belongs.

        Raises:
            WorkerLostError: the worker process ended.
        """
        if self.calls_here(task.node):
            return interruptible(task.run)
        if task.node.options.executor == "sequential":
            return await self._call_on_callers_loop(_call(task))
        pool = self._pool
        if pool is None or _is_inside(pool):
            return await self._call_on_callers_loop(task.coroutine(_no_thread))
        try:
            outcome: Called = await self._done(pool, task.on(pool.executor))
        except BrokenExecutor as error:
            pool.close(wait=False)
            if isinstance(error, BrokenBefore) and _broken_threads(error) is None:
                raise WorkerLostError(str(error)) from error.__cause__
            alone = pool.alone() if self._goes_on else None
            if alone is None:
                raise _lost(pool, f"node {task.node.name!r} was on it", error) from error
            try:
                outcome = await self._done(alone, task.on(alone.executor))
            except BrokenExecutor as again:
                raise _lost(pool, f"node {task.node.name!r} was on it", again) from again
            finally:
                alone.close(wait=False)
        outcome[1].error = self._noted(outcome[1].error)
        return outcome

    async def until(self, future: Future[None]) -> None:
        await self._scheduler.done(future)

    async def _call_on_callers_loop(self, coroutine: Coroutine[Any, Any, Called] | None) -> Called:
        loop = CALLER_LOOP.get()
        assert coroutine is not None
        assert loop is not None
        outcome: Called = await self._scheduler.done(submit_to_loop(loop, coroutine))
        outcome[1].error = self._noted(outcome[1].error)
        return outcome

    def _noted(self, error: BaseException | None) -> BaseException | None:
        """What a call failed with: `Cancelled`, where it was stopped because of another error."""
        if self._scheduler.stopped and isinstance(error, asyncio.CancelledError):
            return Cancelled("cancelled while it ran")
        return error

    async def steps(self, execution: Steps, state: RunState) -> None:
        """Run each step once its upstream is done; an error stops the rest; see `Workers`."""
        plan = state.plan
        if self._nodes.sequential or len(plan.steps) == 1:
            await execution.one_by_one(state)
            return
        run = partial(execution.step, state)
        waits_for = [len(step.upstream) for step in plan.steps]
        downstream: list[list[int]] = [[] for _ in plan.steps]
        for step in plan.steps:
            for source in step.upstream:
                downstream[source].append(step.index)
        errors: dict[int, BaseException] = {}
        with self._scheduler.group() as group:
            for step in plan.steps:
                if not step.upstream:
                    group.start(step.index, run(step))
            while len(group):
                task = await group.next()
                if task is None:
                    continue
                if task.error is not None:
                    errors[task.key] = task.error
                    group.stop()
                if errors:  # start nothing more, and wait for what runs
                    continue
                for place in downstream[task.key]:
                    waits_for[place] -= 1
                    if not waits_for[place]:
                        group.start(place, run(plan.steps[place]))
        _raise_first(errors)

    async def apart(self, run: Callable[[], Any]) -> Any:
        self._check_stopped()
        future: OutcomeFuture[Any] = OutcomeFuture()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                future.set_result(context.run(run))
            except BaseException as error:
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        threading.Thread(target=work, name="hypernodes-apart", daemon=True).start()
        return await self._scheduler.done(future)

    # -- Maps ------------------------------------------------------------------------------------

    async def stream(self, job: SendableMapJob, source: Source, depth: int, rows: Rows) -> None:
        """Run a map's items on the map pool, in chunks if they are quick; see `Workers.stream`.

        Items with pinned nodes, or with maps for the same pool, are coroutines of this thread
        instead: a worker must not wait for another one.
        """
        pool = self._map
        goes_on = self._goes_on or job.error_handling == "continue"
        if pool.sequential or _is_inside(pool) or (depth and _alone(pool, depth)):
            each = Concurrent(self._engine, self._scheduler, self._leaf, goes_on)
            await each._one_by_one(job, source, rows)
            return
        self._prepare(job, depth)
        opened = Concurrent(self._engine, self._scheduler, pool, goes_on)
        whole = not _pins_or_maps(job.base.plan, self._engine, pool, depth)
        workers = effective_workers(pool.workers, depth)
        window = workers if depth else 2 * workers  # a worker's next chunk is queued already
        sizes = _Sizes(source.total, window)
        errors: dict[int, BaseException] = {}
        with self._scheduler.group() as group:
            while True:
                # Start as many as there is room for, then take one result, and so on.
                while not errors and len(group) < (window if whole and sizes.known else workers):
                    size = min(rows.room(source.at), sizes.next(source.at) if whole else 1)
                    start = source.at
                    try:
                        taken = interruptible(partial(source.take, size))
                    except BaseException as error:
                        errors[start] = error
                        break
                    if not taken:
                        break
                    if whole:
                        chunk = ChunkTask(job, start, taken, pool.executor)
                        doing = self._chunk(job, chunk, pool, opened)
                    else:
                        doing = _one(job, opened, start, taken[0])
                    group.start((start, len(taken)), doing)
                self._read_on(source, group, rows, bool(errors))
                if not len(group) and (errors or source.exhausted):
                    break
                task = await group.next()
                if task is not None and task.key is source:
                    if task.error is not None:
                        errors[source.at] = task.error
                elif task is not None:
                    result = self._settle(task, group, pool, rows, errors)
                    whole = whole and not result.run_locally
                    sizes.learn(result)
                if self._scheduler.stopped:
                    errors.setdefault(source.at, Cancelled("called off"))
                    job.last = -1
                elif errors:
                    # A plain loop would have run every item before the first that failed, and might
                    # have failed at one of those: so they still run, and the later ones do not.
                    job.last = min(errors)
                    group.stop(lambda key: key is source or key[0] > job.last)
        _raise_first(errors)

    def _settle(
        self,
        task: RunningTask,
        group: Group,
        pool: Pool,
        rows: Rows,
        errors: dict[int, BaseException],
    ) -> ChunkResult:
        """Deliver a chunk's rows, and note its error."""
        start, _ = task.key
        if task.error is not None:
            # The one of the lowest item is raised: it has to name those that failed before it too.
            lost = (each for each in errors.values() if isinstance(each, WorkerLostError))
            errors[start] = next(lost, None) or _explained(task, group, pool)
            return ChunkResult()
        result: ChunkResult = task.result
        rows.put(start, result.rows)
        if result.error is not None:
            errors[start + len(result.rows)] = result.error
        return result

    async def _one_by_one(self, job: SendableMapJob, source: Source, rows: Rows) -> None:
        with self._scheduler.group() as group:
            while True:
                self._check_stopped()
                index = source.at
                taken = interruptible(partial(source.take, min(1, rows.room(index))))
                if taken:
                    rows.put(index, [await job.item(self, index, taken[0])])
                    continue
                if source.exhausted:
                    return
                self._read_on(source, group, rows, False)
                task = await group.next()
                if task is not None and task.error is not None:
                    raise task.error

    def _read_on(self, source: Source, group: Group, rows: Rows, failed: bool) -> None:
        """Read the next item of an async source, as a task beside the items."""
        if not failed and rows.room(source.at) and (reading := source.read(self._scheduler.done)):
            group.start(source, reading)

    async def _chunk(
        self, job: SendableMapJob, chunk: ChunkTask, pool: Pool, opened: Concurrent
    ) -> ChunkResult:
        self._check_stopped()
        try:
            return await self._received(job, chunk, pool, opened)
        except BaseException as error:
            is_lost = isinstance(error, BrokenExecutor) and not isinstance(error, BrokenBefore)
            if is_lost and job.error_handling == "continue" and (alone := pool.alone()):
                return await self._each_alone(job, chunk, alone, opened)
            job.lost_worker = job.lost_worker or is_lost
            if job.lost_worker:  # other chunks may have been stopped before they broke, too
                _report_lost(job, chunk, pool)
            raise

    async def _received(
        self, job: SendableMapJob, chunk: ChunkTask, pool: Pool, opened: Concurrent
    ) -> ChunkResult:
        result: ChunkResult | RemoteRows = await self._done(pool, chunk)
        if isinstance(result, RemoteRows):
            result = job.receive(result, chunk.start, chunk.items)
        result.error = self._noted(result.error)
        if result.run_locally:
            done = len(result.rows)
            for index, values in enumerate(chunk.items[done:], chunk.start + done):
                if index > job.last:
                    break
                one = await _one(job, opened, index, values)
                result.rows += one.rows
                result.error = one.error
                if one.error is not None:
                    job.explain_local(one.error)
                    break
        return result

    async def _each_alone(
        self, job: SendableMapJob, chunk: ChunkTask, alone: Pool, opened: Concurrent
    ) -> ChunkResult:
        """Run again the items of a chunk whose worker was lost, of which one may be the reason."""
        result = ChunkResult()
        try:
            for place, values in enumerate(chunk.items):
                self._check_stopped()
                index = chunk.start + place
                task = ChunkTask(job, index, chunk.items[place : place + 1], alone.executor)
                try:
                    one = await self._received(job, task, alone, opened)
                except BrokenExecutor as error:
                    lost = _lost(alone, f"item {index} was on it", error)
                    lost.__cause__ = error
                    note_item(lost, index, job.execution.settings.pipeline.name, values)
                    job.execution.fail_item(job.base, index, values, lost)
                    one = ChunkResult([FailedItem(index, None, lost, dict(values))])
                result.rows += one.rows
                if one.error is not None:
                    result.error = one.error
                    break
        finally:
            alone.close(wait=False)
        return result

    def _prepare(self, job: SendableMapJob, depth: int) -> None:
        """Find out what the items are made of, and compile their plan if they only call."""
        execution, plan = job.execution, job.base.plan
        job.has_async = _has_async(plan)
        job.parallel_inside = self._is_parallel(plan, self._engine, depth)
        # With a cache anywhere around, nodes are checked for changes of their inputs.
        settings = execution.settings
        calls_only = settings.cache is None and settings.session.changes is None
        if calls_only and not settings.hooks and not job.parallel_inside:
            job.compiled = compiled(settings.pipeline, plan)
            job.compiled_async = compiled_async(settings.pipeline, plan)

    def _is_parallel(self, plan: Plan, engine: Any, depth: int) -> bool:
        """Whether an item's own work uses executors."""
        # A chain has nothing to run at once, so a node pool like the map's adds nothing to it.
        chain = all(len(step.upstream) <= 1 for step in plan.steps) and len(
            {step.upstream for step in plan.steps}
        ) == len(plan.steps)
        nodes: Pool = engine.node_pool
        if not nodes.sequential and not (chain and nodes.like(self._map)):
            return True
        for step in plan.steps:
            if isinstance(step.node, Node):
                if _is_driven_here(step.node):
                    return True
                continue
            inner: Any = step.node.pipeline.engine or engine
            if not is_same_kind(self._engine, inner):
                return True
            if step.node.mapped and not _alone(inner.map_pool, depth + 1):
                return True
            if self._is_parallel(step.inner_plan, inner, depth + bool(step.node.mapped)):
                return True
        return False

    # -- Both ------------------------------------------------------------------------------------

    async def _done(self, pool: Pool, work: Task) -> Any:
        """What comes of work on a pool.

        Raises:
            Cancelled: it was ended, or left running, since the run is called off.
        """
        future = pool.submit(work)

        def cancel() -> None:
            if cancel_future(future):
                return
            work.call_off()
            if self._scheduler.interrupting:
                pool.kill()

        try:
            return pickling.opened(await self._scheduler.done(future, cancel))
        except BrokenExecutor as error:
            if not self._scheduler.interrupting:
                raise
            raise Cancelled("its process was ended") from error
        finally:
            work.end()
            if not future.done():  # a thread of the pool is still busy with it
                pool.abandon()
                logger.warning("left running, since nothing interrupts it: %r", work)

    def _check_stopped(self) -> None:
        if self._scheduler.stopped:
            raise Cancelled("called off before it started")


def _explained(task: RunningTask, group: Group, pool: Pool) -> BaseException:
    """A chunk's error; if a worker was lost, one that names the items that were running."""
    error = task.error
    assert error is not None
    if not isinstance(error, BrokenExecutor):
        return error
    pool.close(wait=False)
    if _broken_threads(error) is not None:
        raised = _lost(pool, "items of a map were on their way", error)
        raised.__cause__ = error
        return raised
    if isinstance(error, BrokenBefore) and group.all_failed_with(BrokenBefore):
        raised = WorkerLostError(str(error))
        raised.__cause__ = error.__cause__
        return raised
    ranges = [key for key in (task.key, *group.running()) if type(key) is tuple]
    lost = ", ".join(
        str(start) if count == 1 else f"{start} to {start + count - 1}"
        for start, count in sorted(ranges)
    )
    raised = WorkerLostError(
        f"a worker of {pool.shown} ended while these items of a map were on their way: "
        f"{lost}. It was killed, or ran out of memory. What was finished before is in the "
        "cache, where there is one."
    )
    raised.__cause__ = error
    return raised


def _report_lost(job: SendableMapJob, chunk: ChunkTask, pool: Pool) -> None:
    """Report items that were on their way when a worker ended, to callbacks."""
    if not job.execution.settings.hooks:
        return
    for index, values in enumerate(chunk.items, chunk.start):
        lost = _lost(pool, f"item {index} was on its way")
        job.execution.fail_item(job.base, index, values, lost)


def _broken_threads(error: BaseException | None) -> BrokenThreadPool | None:
    """The error of a pool of threads, of which none is killed: its initializer has failed."""
    broken = error.__cause__ if isinstance(error, BrokenBefore) else error
    return broken if isinstance(broken, BrokenThreadPool) else None


def _lost(pool: Pool, what: str, error: BaseException | None = None) -> WorkerLostError:
    """The error of what a pool has lost.

    Args:
        pool: the pool.
        what: what its worker was doing.
        error: what its executor raised.
    """
    if (broken := _broken_threads(error)) is not None:
        return WorkerLostError(f"{pool.shown} takes no work ({broken}), and {what}")
    return WorkerLostError(f"a worker of {pool.shown} ended while {what}: killed, or out of memory")


async def _one(
    job: SendableMapJob, workers: Workers, index: int, values: Mapping[str, Any]
) -> ChunkResult:
    try:
        return ChunkResult([await job.item(workers, index, values)])
    except BaseException as error:
        return ChunkResult(error=error)


async def _call(task: NodeTask) -> Called:
    return interruptible(task.run)


async def _no_thread(call: Callable[[], Any]) -> Any:
    return call()


class _Sizes:
    """How many items go in a chunk: one at first, then as many as take `CHUNK_SECONDS`."""

    def __init__(self, total: int | None, window: int) -> None:
        self._total = total
        self._window = window
        self._seconds: float | None = None

    @property
    def known(self) -> bool:
        """Whether it is known how long an item takes."""
        return self._seconds is not None

    def next(self, at: int) -> int:
        if self._seconds is None:
            return 1
        size = min(CHUNK_ITEMS, int(CHUNK_SECONDS / max(self._seconds, 1e-7)))
        if self._total is not None:  # smaller ones at the end, so that no worker is left idle
            size = min(size, max(size // 4, -(-(self._total - at) // self._window)))
        return max(1, size)

    def learn(self, result: ChunkResult) -> None:
        if result.rows and not result.run_locally:
            each = result.seconds / len(result.rows)
            known = self._seconds
            few = len(result.rows) < 8  # first calls are slow: do not trust a few of them
            self._seconds = max(each, (known + each) / 2) if few and known else each


def _is_inside(pool: Pool) -> bool:
    inside = CURRENT_EXECUTORS.get()
    return bool(inside) and any(each is pool.executor for each in inside)


def _alone(pool: Pool, depth: int) -> bool:
    """Whether a map at this depth does one item after the other."""
    return pool.sequential or effective_workers(pool.workers, depth) == 1


def _has_async(plan: Plan) -> bool:
    return any(
        step.node.is_async if isinstance(step.node, Node) else _has_async(step.inner_plan)
        for step in plan.steps
    )


def _is_driven_here(node: Node[..., Any]) -> bool:
    """Whether a node belongs to the calling thread, or waits there for its turn."""
    return node.options.executor == "sequential" or node.options.max_concurrent is not None


def _pins_or_maps(plan: Plan, engine: Any, pool: Pool, depth: int) -> bool:
    """Whether the calling thread has to run items node by node: see `_is_driven_here`.

    So it has where they have maps on their own pool.
    """
    for step in plan.steps:
        if isinstance(step.node, Node):
            if _is_driven_here(step.node):
                return True
            continue
        inner: Any = step.node.pipeline.engine or engine
        if not is_same_kind(engine, inner):
            continue
        below = depth + bool(step.node.mapped)
        if step.node.mapped and inner.map_pool.same_as(pool) and not _alone(pool, below):
            return True
        if _pins_or_maps(step.inner_plan, inner, pool, below):
            return True
    return False


def is_concurrent(pipeline: PipelineLike, engine: Any) -> bool:
    """Whether a run uses executors: the engine's, or those of a nested pipeline's engine.

    Args:
        pipeline: what is run.
        engine: what it runs on.
    """
    if not (engine.node_pool.sequential and engine.map_pool.sequential):
        return True
    return any(
        not isinstance(each, Node)
        and is_same_kind(engine, each.pipeline.engine)
        and is_concurrent(each.pipeline, each.pipeline.engine or engine)
        for each in pipeline.nodes
    )


def _raise_first(errors: Mapping[int, BaseException]) -> None:
    """Raise the first error in the order of items or steps; a real one before a cancellation."""
    own = {key: error for key, error in errors.items() if not isinstance(error, Cancelled)}
    if errors:
        chosen = own or errors
        raise chosen[min(chosen)]
