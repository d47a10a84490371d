"""`HyperNodesEngine`: runs a pipeline node by node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from hypernodes import moved
from hypernodes.callbacks import AMBIENT_CALLBACKS, CallbackContext
from hypernodes.engines.base import IN_FLIGHT, Engine
from hypernodes.errors import from_users_frame
from hypernodes.event_loops import CANCELLATION
from hypernodes.executors import Pool
from hypernodes.map_over import rows_of
from hypernodes.pipeline import Pipeline, Runtime, set_runtime
from hypernodes.plan import Plan
from hypernodes.results import FailedItem, check_error_handling
from hypernodes.run.concurrent import Concurrent, is_concurrent
from hypernodes.run.execution import Execution
from hypernodes.run.explain import explain
from hypernodes.run.fast_path import compiled, compiled_loop, loop_over, run_each
from hypernodes.run.map_io import RowStream, Source
from hypernodes.run.scheduler import Scheduler
from hypernodes.run.state import RunState
from hypernodes.run.tasks import Row
from hypernodes.run.workers import SEQUENTIAL, Workers, drive_run
from hypernodes.types import ErrorHandling, Item, OutputName, Outputs


class HyperNodesEngine(Engine):
    """Runs a pipeline node by node, its nodes and items on executors.

    An executor is "sequential" (the calling thread), "async" (`AsyncExecutor(10)`), "threaded" or
    "parallel" (threads or processes, one for each CPU), "fork" (processes forked from this one,
    with its memory), or anything with `submit` and `shutdown`: `ThreadPoolExecutor`,
    `ProcessPoolExecutor`, loky's, Dask's `client.get_executor()`. An executor given by name is
    created at first use, reused, and closed by `shutdown`, by `with engine:` or with the engine.
    An executor that you pass in is never closed.

    Args:
        node_executor: calls the nodes' functions, so that independent nodes run at the same time.
            Cache and callbacks stay in the calling process.
        map_executor: runs a map's items. With 16 workers, a map inside a map runs 4 items at a
            time (the square root), and deeper maps run one at a time.

    Raises:
        ValueError: an unknown name.
        TypeError: something that is no executor.
    """

    def __init__(
        self,
        node_executor: Any = "sequential",
        map_executor: Any = "sequential",
        **unknown: NoReturn,
    ) -> None:
        moved.refuse(HyperNodesEngine.__init__, unknown)
        self.node_pool = Pool(node_executor, "node_executor")
        self.map_pool = self.node_pool
        if map_executor is not node_executor or isinstance(map_executor, str):
            self.map_pool = Pool(map_executor, "map_executor")
        self._is_sequential = self.node_pool.sequential and self.map_pool.sequential

    def __repr__(self) -> str:
        if self._is_sequential:
            return "HyperNodesEngine()"
        return (
            f"HyperNodesEngine(node_executor={self.node_pool.given!r}, "
            f"map_executor={self.map_pool.given!r})"
        )

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.node_pool, self.map_pool)

    def __enter__(self) -> HyperNodesEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def shutdown(self, wait: bool = True) -> None:
        """Close the pools that were made from names; a later run makes new ones."""
        self.node_pool.close(wait)
        self.map_pool.close(wait)

    def run(
        self,
        pipeline: Pipeline,
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
    ) -> Outputs:
        """One run of a pipeline; see `Engine.run`.

        Raises:
            InputError: an input is unknown or missing.
            OutputNameError: there is no such output.
            BaseException: what a node raised, with notes that name it.
        """
        plan = pipeline.plan(output_name)
        if not plan.required <= inputs.keys() <= plan.accepts.keys():
            pipeline.check_inputs(plan, inputs)
        try:
            if self._is_plain(pipeline, _ctx) and (run := compiled(pipeline, plan)):
                return run(**inputs)
            workers, drive_ = self.workers(pipeline)
            execution = Execution.begin(pipeline, self, workers, _ctx)
            state = RunState(plan).give(inputs)
            drive_(execution.run(state, pipeline.name, inputs))
        except BaseException as error:
            raise from_users_frame(error)  # noqa: B904  (it is the same one)
        return plan.result(state.slots)

    def map(
        self,
        pipeline: Pipeline,
        items: Sequence[Item],
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
        *,
        error_handling: ErrorHandling = "raise",
    ) -> list[Any]:
        """A run for each item; see `Engine.map`.

        Raises:
            InputError, OutputNameError: as for :meth:`run`.
            BaseException: what a node raised, unless `error_handling` is "continue".
        """
        check_error_handling(error_handling)
        plan = pipeline.plan(output_name)
        items = pipeline.check_items(plan, items, inputs)
        try:
            if (
                error_handling == "raise"
                and self._is_plain(pipeline, _ctx)
                and (loop := compiled_loop(pipeline, plan, items.columns))
            ):
                return rows_of(loop_over(pipeline, plan, loop, items, inputs))
            workers, drive_ = self.workers(pipeline)
            execution = Execution.begin(pipeline, self, workers, _ctx)
            base = RunState(plan).give(inputs)
            rows, _ = drive_(execution.map(base, pipeline.name, items, inputs, error_handling))
        except BaseException as error:
            raise from_users_frame(error)  # noqa: B904  (it is the same one)
        return [row if type(row) is dict else _named(plan, row) for row in rows]

    def imap(
        self,
        pipeline: Pipeline,
        items: Iterable[Item],
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
        *,
        names: Iterable[str],
        total: int | None = None,
        error_handling: ErrorHandling = "raise",
        in_flight: int | None = None,
        ordered: bool = True,
    ) -> Iterator[tuple[int, Any]]:
        """Run a pipeline for items that come one by one; see `Engine.imap`.

        Raises:
            BaseException: what an item failed with, unless `error_handling` is "continue".
        """
        plan = pipeline.plan(output_name)
        if (
            error_handling == "raise"
            and isinstance(items, Iterable)
            and self._is_plain(pipeline, _ctx)
            and (run := compiled(pipeline, plan))
        ):
            try:
                yield from enumerate(run_each(pipeline, run, items, inputs))
            except BaseException as error:
                raise from_users_frame(error)  # noqa: B904  (it is the same one)
            return
        if in_flight is None:
            in_flight = 1 if self._is_sequential else max(IN_FLIGHT, 4 * self.map_pool.workers)
        rows = RowStream(in_flight, ordered)
        scheduler = Scheduler()
        execution = Execution.begin(pipeline, self, Concurrent(self, scheduler), _ctx)
        base = RunState(plan).give(inputs)
        source = Source(items, names, total)
        main = scheduler.begin(
            execution.stream(base, pipeline.name, source, inputs, rows, error_handling)
        )
        try:
            while True:
                scheduler.advance(lambda: main.done or rows.ready(), main)
                while rows.ready():
                    index, row = rows.take()
                    yield index, _named(plan, row)
                if main.done:
                    break
                main.poke()
        finally:
            if not main.done:  # the consumer has left: stop what is in flight
                main.stop()
                scheduler.advance(lambda: main.done, main)
        if main.error is not None:
            raise from_users_frame(main.error)

    def workers(self, pipeline: Pipeline) -> tuple[Workers, Callable[[Any], Any]]:
        """The workers of a run, and what drives its coroutine."""
        if CANCELLATION.get() is None and not is_concurrent(pipeline, self):
            return SEQUENTIAL, drive_run
        scheduler = Scheduler()
        return Concurrent(self, scheduler), scheduler.run

    def _is_plain(self, pipeline: Pipeline, ctx: CallbackContext | None) -> bool:
        """Whether a run only calls functions, so that a compiled plan will do."""
        cached = pipeline.cache is not None and pipeline.cache is not False
        if cached or pipeline.callbacks or ctx is not None or not self._is_sequential:
            return False
        # A run that can be cancelled has to be stopped between nodes.
        return not AMBIENT_CALLBACKS.get() and CANCELLATION.get() is None


def _named(plan: Plan, row: Row | Item | FailedItem) -> Outputs | FailedItem:
    """A map's row as a dict of outputs; dicts and `FailedItem`s as they are."""
    return dict(zip(plan.returns, row.values, strict=True)) if isinstance(row, Row) else row


def _rebuild(kind: type[HyperNodesEngine], nodes: Pool, items: Pool) -> HyperNodesEngine:
    return kind(nodes.given, items.given)


_sequential = HyperNodesEngine()
set_runtime(Runtime(lambda: _sequential, explain))
