"""A run or a map on Daft: a frame is built and computed, and its rows become results."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import daft
import pyarrow as pa
from daft import DataType, Series, col
from daft.functions import monotonically_increasing_id
from daft.runners import get_or_create_runner

from hypernodes.cache.base import Cache
from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import MapScope, PipelineScope
from hypernodes.engines.base import Engine
from hypernodes.engines.daft.cells import Cells
from hypernodes.engines.daft.cluster import check_caches
from hypernodes.engines.daft.collect import Batch, Collector
from hypernodes.engines.daft.columns import ITEM, BatchSizes, Block, all_steps, free_name
from hypernodes.engines.daft.frame_builder import FrameBuilder
from hypernodes.engines.daft.options import DaftOptions
from hypernodes.engines.daft.output_columns import (
    ERROR_TYPE,
    ErrorColumn,
    OutputColumn,
    output_groups,
    output_type,
)
from hypernodes.engines.daft.query import IN_DAFT_QUERY, Query, stop_lazy_frames
from hypernodes.engines.daft.scopes import Level
from hypernodes.engines.daft.typed_columns import CellValue
from hypernodes.engines.daft.udf import as_function
from hypernodes.errors import Cancelled, HyperNodesError, SerializationError, warn_caller
from hypernodes.event_loops import CANCELLATION
from hypernodes.pipeline import Pipeline
from hypernodes.plan import Plan
from hypernodes.run.execution import Execution
from hypernodes.run.workers import SEQUENTIAL

T = TypeVar("T")
R = TypeVar("R")

BATCH = 4096
"""At most so many rows are handed to a node at a time. Each batch is one thread's work: with Daft's
own 131,072 rows most maps would have one thread."""
SMALL_BATCH = 16_384
"""The same where all values are small: so many rows take no memory worth speaking of."""
FRAME_BATCH = 2048
"""So many are, where nobody knows how many rows there are."""
SMALL = 256
"""Bytes that small values take on average, at most."""


class Job:
    """One call of the engine.

    Args:
        engine: the engine.
        pipeline: what to run.
        plan: its plan.
        outer: the scope that the call is part of, if any.
        error_handling: "raise" or "continue".
        collect: whether rows are taken out; else callbacks hear nothing.
        show_plan: print Daft's plan.
        debug: is called with a line about each step.
    """

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline,
        plan: Plan,
        outer: CallbackContext | None,
        error_handling: str = "raise",
        collect: bool = True,
        *,
        show_plan: bool,
        debug: Callable[[str], None],
    ) -> None:
        self._show_plan = show_plan
        self._debug = debug
        self._plan = plan
        self._stops = error_handling == "raise"
        self._collect = collect
        self._execution = Execution.begin(pipeline, engine, SEQUENTIAL, outer)
        self._ray = daft.get_or_infer_runner_type() == "ray"
        if not self._ray:
            _look_after_runner()
        caches: dict[int, Cache] = {}
        self._reports, remote, has_contexts = False, self._ray, False
        for execution, step in all_steps(self._execution, plan):
            if execution.settings.cache is not None:
                caches[id(execution.settings.cache)] = execution.settings.cache
            hooks = execution.settings.hooks
            self._reports = self._reports or (collect and bool(hooks))
            has_contexts = has_contexts or (collect and hooks.enters)
            remote = remote or DaftOptions.of_node(step.node).use_process
        if self._ray and caches:
            check_caches(list(caches.values()))
        query = Query(remote, self._stops, collect)
        query.session = self._execution.settings.session
        if not collect and self._execution.settings.hooks:
            warn_caller(
                "callbacks hear nothing of a lazy frame, which Daft runs later, and as often as it "
                "is asked to: DaftEngine() collects the results, and calls them",
                UserWarning,
            )
        query.has_contexts = has_contexts
        self._cells = Cells(query, list(caches.values()))
        self._shared: Mapping[str, object] = {}
        self._item_inputs: Callable[[int], Mapping[str, Any]] = lambda item: {}
        self._input_columns: Mapping[str, str] = {}
        self._small: set[str] = set()
        self._is_map = True
        # The names of the columns of a lazy frame, which columns of ours must not have.
        self._reserved: set[str] = set() if collect else {*plan.returns, self._error_name(())}

    # -- What the engine calls -------------------------------------------------------------------

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run for one item."""
        execution, self._shared, self._is_map = self._execution, dict(inputs), False
        ids = self._plan.node_ids
        ctx = execution.context("pipeline", execution.settings.pipeline.name, node_ids=ids)
        scope = PipelineScope(execution.settings.hooks, ctx, None, inputs)
        scope.start()
        with scope:
            frame = daft.from_pydict({ITEM: [0]})
            block, builder = self._build(frame, {}, execution.within(scope), 1)
            result: dict[str, Any] = self._rows(block, builder)[0]
        scope.end(result)
        return result

    def map(
        self, items: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> list[Any] | daft.DataFrame:
        """Run for many items.

        Args:
            items: for each item the values that are its own.
            inputs: the values that all items share.

        Returns:
            A result for each item; the lazy frame where nothing is collected.
        """
        self._shared = dict(inputs)
        self._item_inputs = items.__getitem__
        if not self._collect:
            frame, columns = self._frame(items)
            block, builder = self._build(frame, columns, self._execution, len(items))
            return self._lazy(block, builder, {})
        if not items:
            return self._in_map_scope(0, lambda execution: [])

        def rows(execution: Execution) -> list[Any]:
            frame, columns = self._frame(items)
            block, builder = self._build(frame, columns, execution, len(items))
            found = self._rows(block, builder)
            return [found[item] for item in range(len(items))]

        return self._in_map_scope(len(items), rows)

    def map_frame(
        self, frame: daft.DataFrame, columns: Mapping[str, str]
    ) -> list[Any] | daft.DataFrame:
        """Run for each row of a frame.

        Args:
            frame: the frame.
            columns: the column of each input.

        Returns:
            A result for each row; the lazy frame where nothing is collected.
        """
        plan = self._plan
        # Daft takes some names for patterns ("*"), and ours must not meet any of the user's.
        self._reserved.update(frame.column_names, [self._error_name(frame.column_names)])
        own = {name: self._name(f"own:{place}") for place, name in enumerate(frame.column_names)}
        inputs = {name: self._name(f"in:{name}") for name in columns if name in plan.given}
        read = {inputs[name]: own[column] for name, column in columns.items() if name in inputs}
        others = {} if self._collect else own
        numbered = frame.with_columns_renamed(own).select(
            monotonically_increasing_id().cast(DataType.int64()).alias(ITEM),
            *[col(column).alias(name) for name, column in read.items()],
            *[col(column) for column in others.values()],
        )
        slots = {plan.given[name]: column for name, column in inputs.items()}
        total = _known_count(frame)
        if not self._collect:
            block, builder = self._build(numbered, slots, self._execution, total, read)
            return self._lazy(block, builder, others)
        self._input_columns = inputs

        def rows(execution: Execution) -> list[Any]:
            block, builder = self._build(numbered, slots, execution, total, read)
            found = self._rows(block, builder)
            return [found[item] for item in sorted(found)]

        return self._in_map_scope(total, rows)

    def _name(self, name: str) -> str:
        return free_name(name, self._reserved)

    def _in_map_scope(self, total: int | None, rows: Callable[[Execution], list[Any]]) -> list[Any]:
        execution = self._execution
        ctx = execution.context("map", execution.settings.pipeline.name)
        scope = MapScope(execution.settings.hooks, ctx, None, total)
        scope.start()
        with scope:
            result = rows(execution.within(scope))
        scope.end({})
        return result

    # -- The frame -------------------------------------------------------------------------------

    def _frame(self, items: Sequence[Mapping[str, Any]]) -> tuple[daft.DataFrame, dict[int, str]]:
        plan = self._plan
        names = [name for name in plan.given if any(name in item for item in items)]
        data: dict[str, Any] = {ITEM: list(range(len(items)))}
        data[ITEM] = Series.from_pylist(data[ITEM], dtype=DataType.int64())
        for name in names:
            try:
                values = [item[name] for item in items]
            except KeyError:  # not every item has one
                default = plan.template[plan.given[name]]
                values = [item.get(name, default) for item in items]
            column, dumped = f"in:{name}", self._dump_input(name, values)
            if sum(map(len, dumped)) <= SMALL * len(dumped):
                self._small.add(column)
            data[column] = Series.from_pylist(dumped, dtype=DataType.binary())
        frame = daft.from_pydict(data)
        if self._ray:
            # Ray's workers take a partition at a time.
            frame = frame.into_partitions(max(1, min(len(items), 2 * _ray_cpus())))
        return frame, {plan.given[name]: f"in:{name}" for name in names}

    def _dump_input(self, name: str, values: Sequence[object]) -> list[bytes]:
        cells = self._cells
        if not cells.signed and not cells.query.remote:
            try:
                return [pickle.dumps(value, 5) for value in values]
            except Exception:
                pass
        made = []
        for item, value in enumerate(values):
            try:
                made.append(cells.dump(value))
            except SerializationError as error:
                raise SerializationError(f"input {name!r} of item {item}: {error}") from error
        return made

    def _build(
        self,
        frame: daft.DataFrame,
        columns: dict[int, str],
        execution: Execution,
        total: int | None,
        native: Collection[str] = (),
    ) -> tuple[Block, FrameBuilder]:
        plan = self._plan
        values = {plan.given[n]: v for n, v in self._shared.items() if n in plan.given}
        shared = {
            slot: values.get(slot, plan.template[slot])
            for slot in plan.given.values()
            if slot not in columns
        }
        sizes = FRAME_BATCH, FRAME_BATCH
        if total is not None:  # about four batches for each CPU
            share = max(1, -(-total // (4 * (os.cpu_count() or 4))))
            sizes = min(BATCH, share), min(BATCH if self._reports else SMALL_BATCH, share)
            if native or not self._collect:  # small batches may be written in another order
                sizes = FRAME_BATCH, max(FRAME_BATCH, sizes[1])
        numbers = [each.name for each in frame.schema() if each.dtype.is_numeric()]
        self._cells.native = frozenset(native)
        builder = FrameBuilder(
            frame,
            self._cells,
            set(native),
            BatchSizes(*sizes, {*self._small, *numbers}),
            records=self._reports,
            ray=self._ray,
            load=not self._collect,
            reserved=self._reserved,
            debug=self._debug,
            item_inputs=self._item_inputs,
        )
        info = execution.settings.scope_info
        levels = (Level("map_item", "", info),) if self._is_map else ()
        block = Block(execution, plan, (), dict(columns), shared, levels=levels)
        return builder.add(block), builder

    def _print_plan(self, frame: daft.DataFrame) -> None:
        if self._show_plan:
            frame.explain()

    def _lazy(
        self, block: Block, builder: FrameBuilder, others: Mapping[str, str]
    ) -> daft.DataFrame:
        """The outputs as columns of Daft's own types, after the user's own columns.

        Args:
            block: the pipeline as columns.
            builder: has the frame.
            others: for each of the user's columns the column that holds it.
        """
        names = {name: block.columns[slot] for name, slot in block.plan.returns.items()}
        pipeline = block.execution.settings.pipeline
        frame = builder.build(names.values(), pipeline.name, self._print_plan)
        outputs = [
            OutputColumn(
                self._cells,
                self._ray,
                name,
                output_type(pipeline, name),
                pipeline.outputs[name].type,
                pipeline,
                self._stops,
            )
            for name in names
        ]
        made = [self._name(f"out:{place}") for place in range(len(names))]
        reads = [builder.reading([column]) for column in names.values()]
        for group in output_groups(outputs, list(map(len, reads))):
            size = builder.sizes.of(names[outputs[place].name] for place in group.places)
            function = as_function(group, group.name, group.dtype, DaftOptions(), size)
            given = [each for place in group.places for each in reads[place]]
            if len(group.places) == 1:
                frame = frame.with_column(made[group.places[0]], function(col(ITEM), *given))
                continue
            struct = self._name("outs")
            frame = frame.with_column(struct, function(col(ITEM), *given))
            fields = {made[p]: col(struct)[str(at)] for at, p in enumerate(group.places)}
            frame = frame.with_columns(fields).exclude(struct)
        if not self._stops:
            typed = [column in builder.cell_columns for column in names.values()]
            errors = ErrorColumn(self._cells, self._ray, outputs, typed)
            size = builder.sizes.of(names.values())
            function = as_function(errors, "error", ERROR_TYPE, DaftOptions(), size)
            read = builder.reading(names.values())
            made.append(self._name("out:error"))
            frame = frame.with_column(made[-1], function(col(ITEM), *read))
            names[self._error_name(others)] = made[-1]
        own = [col(column).alias(name) for name, column in others.items() if name not in names]
        frame = frame.select(
            *own, *[col(column).alias(name) for name, column in zip(names, made, strict=True)]
        )
        self._print_plan(frame)
        return frame

    def _error_name(self, others: Collection[str]) -> str:
        name = "error"
        while name in self._plan.returns or name in others:
            name += "_"
        return name

    # -- The rows --------------------------------------------------------------------------------

    def _rows(self, block: Block, builder: FrameBuilder) -> dict[int, Any]:
        """Compute the frame.

        Returns:
            The result of each item.

        Raises:
            BaseException: what the first item that failed raised.
            Cancelled: the run was cancelled.
        """
        outputs = [block.columns[slot] for slot in block.plan.returns.values()]
        wanted = dict.fromkeys([ITEM, *outputs])
        if self._reports:
            wanted |= dict.fromkeys(builder.columns)
        if not self._stops or self._cells.signed:  # a FailedItem has inputs, and so has a re-run
            wanted |= dict.fromkeys(self._input_columns.values())
        pipeline = block.execution.settings.pipeline
        collector = Collector(
            self._cells,
            block,
            is_map=self._is_map,
            stops=self._stops,
            reports=self._reports,
            shared=self._shared,
            item_inputs=self._item_inputs,
            input_columns=self._input_columns,
            typed=builder.cell_columns,
        )
        query = self._cells.query
        signal = CANCELLATION.get()
        if signal is not None:
            signal.listen(query.stop)
        try:
            frame = builder.build(wanted, pipeline.name, self._print_plan)
            cells = {name: each for name, each in builder.cell_columns.items() if name in wanted}
            frame = frame.select(*wanted, *cells.values())
            self._print_plan(frame)
            for batch in frame.to_arrow_iter():
                collector.take(Batch(wanted, partial(self._column_of, batch, cells)))
                # Natively no item starts after one that failed, and lower ones may still fail. A
                # worker of Ray's knows only of its own failures: do not wait for all of them.
                if collector.errors and self._ray:
                    break
        except BaseException as error:
            query.stop()  # after Ctrl-C, say, Daft's threads would go on for their whole batch
            # Ray wraps what a task raised in an error of its own.
            cause = getattr(error, "cause", None)
            if isinstance(cause, HyperNodesError):
                raise cause from error
            raise
        finally:
            if signal is not None:
                signal.forget(query.stop)
        if collector.errors:
            raise collector.errors[min(collector.errors)]
        if query.is_stopped:
            raise Cancelled("called off before it was done")
        return collector.found

    def _column_of(self, batch: pa.RecordBatch, cells: Mapping[str, str], name: str) -> list[Any]:
        """A column's cells; of a typed one its values, and a `CellValue` for each of the others."""
        column = batch.column(name)
        if name in self._cells.native:  # as nodes were given it, not as Arrow stores it
            column = Series.from_arrow(column)
        values: list[Any] = column.to_pylist()
        if name not in cells:
            return values
        beside = batch.column(cells[name])
        if beside.null_count == len(beside):
            return values
        pairs = zip(values, beside.to_pylist(), strict=True)
        return [value if cell is None else CellValue(cell) for value, cell in pairs]


def _look_after_runner() -> None:
    """Make Daft's runner refuse a query of a node that it is calling itself, and end for good.

    Nodes are called on the threads that queries run on: with a query in each, none would go on.
    After Ctrl-C, or a `show` that has its rows, Daft's threads would go on with their batches.
    """
    runner: Any = get_or_create_runner()
    run_iter = runner.run_iter
    if getattr(run_iter, "is_looked_after", False):
        return

    def guarded(*arguments: Any, **options: Any) -> Any:
        if IN_DAFT_QUERY.get():
            raise RuntimeError(
                "a node that Daft is calling runs a Daft query, which would wait for the thread "
                'that calls it. Let a process call the node, @node(daft={"use_process": True}), or '
                "run the pipeline on another engine"
            )
        return _to_the_end(run_iter(*arguments, **options))

    guarded.is_looked_after = True  # type: ignore[attr-defined]
    runner.run_iter = guarded


_running: list[object] = []
"""The queries that Daft's runner is computing in this process."""


def _to_the_end(results: Generator[T, None, R]) -> Generator[T, None, R]:
    """What a query gives; if nobody wants more of it, lazy frames start no more rows for it.

    Nothing says which rows are for which query: where several are computed, all go on.
    """
    _running.append(results)
    try:
        return (yield from results)
    except BaseException:
        if len(_running) == 1:
            stop_lazy_frames()
        raise
    finally:
        _running.remove(results)


def _known_count(frame: daft.DataFrame) -> int | None:
    """How many rows a frame has; None where Daft would have to run the user's query to say."""
    try:
        return len(frame)
    except RuntimeError:
        return None


def _ray_cpus() -> int:
    import ray

    if not ray.is_initialized():
        return 2
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))
