"""A run or a map on Daft: a frame is built, computed, and its rows are taken out and told."""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import daft
from daft import DataType, Series, col
from daft.functions import monotonically_increasing_id

from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import MapScope, PipelineScope
from hypernodes.engines.daft.cells import Cells, Query, Skip
from hypernodes.engines.daft.columns import ITEM, Block, survey
from hypernodes.engines.daft.frame_builder import Builder, as_function
from hypernodes.engines.daft.report import Replay
from hypernodes.engines.daft.types import OutputColumn, type_of
from hypernodes.errors import Cancelled, SerializationError, failing_node
from hypernodes.event_loops import CANCELLATION
from hypernodes.node import Node
from hypernodes.options import DaftOptions
from hypernodes.pipeline import Pipeline
from hypernodes.plan import Plan
from hypernodes.results import FailedItem
from hypernodes.run.execution import Execution
from hypernodes.run.fast_path import note_item
from hypernodes.run.state import RunState
from hypernodes.run.workers import SEQUENTIAL, drive

BATCH = 4096
"""At most so many rows are handed to a node at a time."""
FRAME_BATCH = 1024
"""So many are, where nobody knows how many there are."""


class Job:
    """One call of the engine.

    Args:
        engine: the engine.
        pipeline: what to run.
        plan: its plan.
        outer: the scope that the call is part of, if any.
        error_handling: "raise" or "continue".
        collect: whether rows are taken out; else nobody is told anything.
    """

    def __init__(
        self,
        engine: Any,
        pipeline: Pipeline,
        plan: Plan,
        outer: CallbackContext | None,
        error_handling: str = "raise",
        collect: bool = True,
    ) -> None:
        self._engine = engine
        self._plan = plan
        self._stops = error_handling == "raise"
        self._collect = collect
        self._execution = Execution.begin(pipeline, engine, SEQUENTIAL, outer)
        self._ray = daft.get_or_infer_runner_type() == "ray"
        caches: dict[int, Any] = {}
        self._telling, remote = False, self._ray
        for execution, step in survey(self._execution, plan):
            if execution.settings.cache is not None:
                caches[id(execution.settings.cache)] = execution.settings.cache
            self._telling = self._telling or (collect and bool(execution.settings.hooks))
            if isinstance(step.node, Node) and step.node.options.daft:
                remote = remote or step.node.options.daft.use_process
        query = Query(remote, self._stops)
        query.session = self._execution.settings.session
        self._cells = Cells(query, list(caches.values()))
        self._load: Callable[[Any], Any] = self._cells.load if caches else pickle.loads
        self._shared: dict[str, Any] = {}
        self._values: Callable[[int], Mapping[str, Any]] = lambda item: {}
        self._is_map = True

    # -- What the engine calls -------------------------------------------------------------------

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run for one item."""
        execution, self._shared, self._is_map = self._execution, dict(inputs), False
        ids = self._plan.node_ids
        ctx = execution._context("pipeline", execution.settings.pipeline.name, node_ids=ids)
        scope = PipelineScope(execution.settings.hooks, ctx, None, inputs)
        scope.start()
        with scope.unwinding():
            frame = daft.from_pydict({ITEM: [0]})
            block, built = self._build(frame, {}, execution.within(scope), 1)
            result: dict[str, Any] = self._rows(block, built)[0]
        scope.end(result)
        return result

    def map(self, items: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]) -> Any:
        """Run for many items; a frame where nothing is to be collected."""
        self._shared = dict(inputs)
        self._values = items.__getitem__
        if not self._collect:
            frame, columns = self._frame(items)
            block, built = self._build(frame, columns, self._execution, len(items))
            return self._lazy(block, built, [])
        if not items:
            return self._told(0, lambda execution: [])

        def rows(execution: Execution) -> list[Any]:
            frame, columns = self._frame(items)
            block, built = self._build(frame, columns, execution, len(items))
            found = self._rows(block, built)
            return [found[item] for item in range(len(items))]

        return self._told(len(items), rows)

    def map_frame(self, frame: daft.DataFrame, columns: Mapping[str, str]) -> Any:
        """Run for each row of a frame, whose columns are inputs; see :meth:`map`."""
        plan = self._plan
        kept = {f"in:{name}": column for name, column in columns.items() if name in plan.given}
        others = [] if self._collect else frame.column_names
        numbered = frame.select(
            monotonically_increasing_id().cast(DataType.int64()).alias(ITEM),
            *[col(column).alias(name) for name, column in kept.items()],
            *[col(name).alias(f"own:{name}") for name in others],
        )
        slots = {plan.given[name[3:]]: name for name in kept}
        if not self._collect:
            block, built = self._build(numbered, slots, self._execution, None, set(kept))
            return self._lazy(block, built, others)
        self._native_inputs = {name[3:]: name for name in kept}

        def rows(execution: Execution) -> list[Any]:
            block, built = self._build(numbered, slots, execution, None, set(kept))
            found = self._rows(block, built)
            return [found[item] for item in sorted(found)]

        total = numbered.count_rows() if self._telling else 0
        return self._told(total, rows)

    _native_inputs: Mapping[str, str] = {}

    def _told(self, total: int, rows: Callable[[Execution], list[Any]]) -> list[Any]:
        execution = self._execution
        ctx = execution._context("map", execution.settings.pipeline.name)
        scope = MapScope(execution.settings.hooks, ctx, None, total)
        scope.start()
        with scope.unwinding():
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
            data[f"in:{name}"] = Series.from_pylist(
                self._input(name, values), dtype=DataType.binary()
            )
        frame = daft.from_pydict(data)
        if self._ray:
            frame = frame.into_partitions(max(1, min(len(items), 2 * _ray_cpus())))
        return frame, {plan.given[name]: f"in:{name}" for name in names}

    def _input(self, name: str, values: Sequence[Any]) -> list[bytes]:
        cells = self._cells
        if not cells.signed and not cells.query.remote:
            try:
                return [pickle.dumps(value, 5) for value in values]
            except Exception:
                pass
        made = []
        for item, value in enumerate(values):
            try:
                made.append(cells.cell(value))
            except SerializationError as error:
                raise SerializationError(f"input {name!r} of item {item}: {error}") from error
        return made

    def _build(
        self,
        frame: daft.DataFrame,
        columns: dict[int, str],
        execution: Execution,
        total: int | None,
        native: set[str] = frozenset(),  # type: ignore[assignment]
    ) -> tuple[Block, Builder]:
        plan = self._plan
        values = {plan.given[n]: v for n, v in self._shared.items() if n in plan.given}
        shared = {
            slot: values.get(slot, plan.template[slot])
            for slot in plan.given.values()
            if slot not in columns
        }
        size = FRAME_BATCH
        if total is not None:
            size = max(1, min(BATCH, -(-total // (4 * (os.cpu_count() or 4)))))
        builder = Builder(
            frame, self._cells, set(native), size, self._telling, self._ray,
            not self._collect, self._engine.explain,
        )  # fmt: skip
        block = builder.add(Block(execution, plan, (), dict(columns), shared))
        return block, builder

    def _show(self, frame: daft.DataFrame) -> None:
        if self._engine.show_plan:
            frame.explain()

    def _lazy(self, block: Block, builder: Builder, others: Sequence[str]) -> daft.DataFrame:
        """The outputs as columns of Daft's own types, after the user's own columns."""
        names = {name: block.columns[slot] for name, slot in block.plan.returns.items()}
        pipeline, frame = block.execution.settings.pipeline, builder.frame
        for name, column in names.items():
            annotation = pipeline.outputs[name].type
            if column in builder.native:
                frame = frame.with_column(f"out:{name}", col(column))
                continue
            edge = OutputColumn(self._cells, self._ray, name, annotation, pipeline)
            type_, _ = type_of(annotation)
            function = as_function(edge, name, type_, DaftOptions(), builder.batch_size)
            frame = frame.with_column(f"out:{name}", function(col(ITEM), col(column)))
        kept = [col(f"own:{name}").alias(name) for name in others if name not in names]
        frame = frame.select(*kept, *[col(f"out:{name}").alias(name) for name in names])
        self._show(frame)
        return frame

    # -- The rows --------------------------------------------------------------------------------

    def _rows(self, block: Block, builder: Builder) -> dict[int, Any]:
        """The result of each item; raises the first one's error."""
        outputs = {name: block.columns[slot] for name, slot in block.plan.returns.items()}
        wanted = dict.fromkeys([ITEM, *outputs.values()])
        if self._telling:
            wanted |= dict.fromkeys(builder.frame.column_names)
        if not self._stops or self._cells.signed:
            wanted |= dict.fromkeys(self._native_inputs.values())
        frame = builder.frame.select(*wanted)
        self._show(frame)
        query = self._cells.query
        found: dict[int, Any] = {}
        errors: dict[int, BaseException] = {}
        signal = CANCELLATION.get()
        if signal is not None:
            signal.listen(query.stop)
        try:
            for batch in frame.to_arrow_iter():
                data = {name: batch.column(name).to_pylist() for name in wanted}
                for name in builder.native.intersection(outputs.values()):
                    data[name] = list(map(self._cells.cell, data[name]))
                self._take(block, outputs, data, found, errors)
                if errors and self._ray:
                    break
        finally:
            if signal is not None:
                signal.forget(query.stop)
        if errors:
            raise errors[min(errors)]
        if query.failed_at == -1:
            raise Cancelled("called off before it was done")
        return found

    def _take(
        self,
        block: Block,
        outputs: Mapping[str, str],
        data: Mapping[str, list[Any]],
        found: dict[int, Any],
        errors: dict[int, BaseException],
    ) -> None:
        """Take the results of a batch of rows."""
        columns = [data[column] for column in outputs.values()]
        rows: Sequence[Mapping[str, Any]] = ()
        if self._telling:
            rows = _dicts(tuple(data))(zip(*data.values(), strict=True))
        try:
            loaded = [list(map(self._load, column)) for column in columns]
        except Skip:
            self._take_each(block, outputs, data, rows, found, errors)
            return
        results = _dicts(tuple(outputs))(zip(*loaded, strict=True))
        found.update(zip(data[ITEM], results, strict=True))
        for item, row in zip(data[ITEM], rows, strict=False):  # none where nobody is told
            self._tell(block, item, row, ())

    def _take_each(
        self,
        block: Block,
        outputs: Mapping[str, str],
        data: Mapping[str, list[Any]],
        rows: Sequence[Mapping[str, Any]],
        found: dict[int, Any],
        errors: dict[int, BaseException],
    ) -> None:
        """The same, where some rows have no results."""
        for place, item in enumerate(data[ITEM]):
            skips: list[Skip] = []
            values: dict[str, Any] = {}
            for name, column in outputs.items():
                try:
                    values[name] = self._load(data[column][place])
                except Skip as skip:
                    skips.append(skip)
            if any(skip.kind == "gone" for skip in skips):
                try:
                    found[item] = self._again(block, item, self._inputs(item, data, place))
                    continue
                except Exception as again:
                    skips = [Skip("failed", 0, again)]
            elif self._telling:
                self._tell(block, item, rows[place], skips)
            if not skips:
                found[item] = values
                continue
            failed = min(skips, key=lambda skip: (skip.kind != "failed", skip.order))
            if failed.kind != "failed":
                continue  # called off
            error = failed.error
            if self._is_map:
                note_item(error, item, block.execution.settings.pipeline)
            if self._stops or not isinstance(error, Exception):
                errors[item] = error
            else:
                inputs = dict(self._inputs(item, data, place))
                found[item] = FailedItem(item, failing_node(error), error, inputs)

    def _tell(self, block: Block, item: int, row: Mapping[str, Any], skips: Sequence[Skip]) -> None:
        execution = block.execution
        if self._is_map:
            off = bool(skips) and any(skip.kind == "off" for skip in skips)
            Replay(self._cells, row).item(block, execution, item, {}, off)
        else:
            assert execution.scope is not None
            started_at = execution.scope.ctx.started_at
            Replay(self._cells, row, started_at).tell(block, execution, execution.scope, {})

    def _inputs(self, item: int, data: Mapping[str, list[Any]], place: int) -> Mapping[str, Any]:
        if self._native_inputs:
            return {name: data[column][place] for name, column in self._native_inputs.items()}
        return self._values(item)

    def _again(self, block: Block, item: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Do an item here: an entry of the cache that was there could not be loaded."""
        base = RunState(self._plan).give(self._shared)
        if self._is_map:
            row = drive(block.execution.item(base, item, values, True))
            return dict(zip(self._plan.returns, row.values, strict=True))
        for step in self._plan.steps:
            drive(block.execution.step(base, step))
        return {n: drive(base.value(slot)) for n, slot in self._plan.returns.items()}


@functools.lru_cache(maxsize=64)
def _dicts(names: tuple[str, ...]) -> Callable[[Iterable[Any]], list[dict[str, Any]]]:
    """What makes rows dictionaries; three times as fast as dict(zip(...))."""
    values = [f"v{place}" for place in range(len(names))]
    pairs = ", ".join(f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    made: Callable[[Iterable[Any]], list[dict[str, Any]]] = eval(
        f"lambda rows: [{{{pairs}}} for ({', '.join(values)},) in rows]"
    )
    return made


def _ray_cpus() -> int:
    import ray

    if not ray.is_initialized():
        return 2
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))
