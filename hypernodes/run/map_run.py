"""A map: `MapJob` runs its items, in the calling thread or in chunks on workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from hypernodes.cache.lazy_value import CachedList, CachedValue
from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Scope, ScopeEvent
from hypernodes.errors import as_raised, failing_node
from hypernodes.map_over import Items, rows_of
from hypernodes.results import FailedItem
from hypernodes.run.fast_path import CompiledPlan, compiled_loop, note_item
from hypernodes.run.pickling import settle
from hypernodes.run.resolve import Resolved
from hypernodes.run.state import RunState
from hypernodes.run.tasks import ChunkResult, InThread, Row
from hypernodes.run.workers import SEQUENTIAL, OnLoop, Workers, drive


class MapExecution(Protocol):
    """What a map needs of its execution: see `execution.Execution`."""

    @property
    def settings(self) -> Resolved: ...
    @property
    def ctx(self) -> CallbackContext | None: ...
    @property
    def scope(self) -> Scope | None: ...
    def with_workers(self, workers: Workers) -> MapExecution: ...
    def within(self, scope: Scope | None) -> MapExecution: ...
    def recording(self, events: list[ScopeEvent]) -> MapExecution: ...
    def state(
        self, wanted: tuple[str, ...], values: Mapping[str, Any], signatures: Mapping[str, Any]
    ) -> RunState: ...
    def cached_value(self, key: str, again: Callable[[], Awaitable[Any]]) -> CachedValue: ...
    def item(
        self, base: RunState, index: int, values: Mapping[str, Any], load: bool
    ) -> Awaitable[Row]: ...
    def fail_item(
        self, base: RunState, index: int, values: Mapping[str, Any], error: BaseException
    ) -> None: ...


@dataclass(eq=False, repr=False)
class MapJob:
    """Runs the items of one map, and holds what they share.

    Attributes:
        execution: the execution inside the map's scope.
        base: the state that each item starts with.
        shared: values of the inputs that items share, by name.
        error_handling: "raise" or "continue".
        load: whether to load cache hits.
        compiled: the compiled plan, if the items only call functions.
        compiled_async: the same as an async function, if all nodes are async too.
        parallel_inside: whether an item's own work uses executors.
        has_async: whether it has async nodes.
        last: the index of the last item that may still be started.
        lost_worker: whether a worker has ended in the middle of its work, and its pool with it.
    """

    execution: MapExecution
    base: RunState
    shared: Mapping[str, Any]
    error_handling: str
    load: bool
    compiled: CompiledPlan | None = None
    compiled_async: CompiledPlan | None = None
    parallel_inside: bool = False
    has_async: bool = False
    last: int = sys.maxsize
    lost_worker: bool = False

    async def item(self, workers: Workers, index: int, values: Mapping[str, Any]) -> Any:
        """Run one item.

        Args:
            workers: where its nodes are called.
            index: its place in the map.
            values: its inputs.

        Returns:
            A `Row`, or a `FailedItem` if errors do not end the map.
        """
        try:
            return await self.execution.with_workers(workers).item(
                self.base, index, values, self.load
            )
        except Exception as error:
            if self.error_handling == "raise":
                raise
            raised = as_raised(error)
            return FailedItem(index, failing_node(raised), settle(raised), dict(values))

    def do(self, start: int, items: Sequence[Mapping[str, Any]]) -> ChunkResult:
        """Run items one after the other in this thread.

        Args:
            start: the first one's place in the map.
            items: their inputs.

        Returns:
            Their rows: dicts of outputs from a compiled plan, else as `item` returns them.
        """
        run = self.compiled
        if run is None:
            result: ChunkResult = drive(self.do_with(SEQUENTIAL, start, items))
            return result
        begun = time.perf_counter()
        result = ChunkResult()
        shared, append = self.shared, result.rows.append  # local names: a tight loop
        for values in items:
            index = start + len(result.rows)
            if index > self.last:
                break
            try:
                append(run(**shared, **values))
            except BaseException as error:
                failed = self._failed(error, index, values)
                if failed is None:
                    result.error = error
                    break
                append(failed)
        result.seconds = time.perf_counter() - begun
        return result

    def do_whole(self, start: int, items: Items) -> ChunkResult:
        """Run items in one compiled loop, if nothing can stop them between; see `do`."""
        loop = None
        if self.compiled is not None:
            loop = compiled_loop(self.execution.settings.pipeline, self.base.plan, items.columns)
        if loop is None:
            return self.do(start, items)
        begun = time.perf_counter()
        made: dict[str, list[Any]] = {name: [] for name in self.base.plan.returns}
        result = ChunkResult(columns=made)
        try:
            loop(items.rows(), *made.values(), **self.shared)
        except BaseException as error:
            # The failed item may have appended some of its outputs already, but not the last one.
            done = min(len(values) for values in made.values())
            result = ChunkResult(rows_of({name: made[name][:done] for name in made}))
            failed = self._failed(error, start + done, next(iter(items[done:]), {}))
            if failed is None:
                result.error = error
            else:
                rest = self.do(start + done + 1, items[done + 1 :])
                result.rows += [failed, *rest.rows]
                result.error = rest.error
        result.seconds = time.perf_counter() - begun
        return result

    async def do_with(
        self, workers: Workers, start: int, items: Sequence[Mapping[str, Any]]
    ) -> ChunkResult:
        """Run items one after the other on workers; see `do`."""
        return await self._do_each(start, items, partial(self.item, workers))

    async def _do_each(
        self,
        start: int,
        items: Sequence[Mapping[str, Any]],
        do: Callable[[int, Mapping[str, Any]], Awaitable[Any]],
    ) -> ChunkResult:
        begun = time.perf_counter()
        result = ChunkResult()
        for index, values in enumerate(items, start):
            if index > self.last:
                break
            try:
                result.rows.append(await do(index, values))
            except BaseException as error:
                result.error = as_raised(error)
                break
        result.seconds = time.perf_counter() - begun
        return result

    async def do_async(
        self, start: int, items: Sequence[Mapping[str, Any]], in_thread: InThread
    ) -> ChunkResult:
        """Run items one after the other on an event loop; see `do`."""
        if self.compiled_async is not None:
            run = partial(self._do_compiled_async, self.compiled_async)
            return await self._do_each(start, items, run)
        result = await self.do_with(OnLoop(in_thread), start, items)
        for index, (row, values) in enumerate(zip(result.rows, items, strict=False), start):
            if not isinstance(row, FailedItem):
                await self._leave_loop(row, index, values)
        return result

    async def _do_compiled_async(
        self, run: CompiledPlan, index: int, values: Mapping[str, Any]
    ) -> Any:
        try:
            made: Any = run(**self.shared, **values)
            return await made
        except BaseException as error:
            failed = self._failed(error, index, values)
            if failed is None:
                raise
            return failed

    def _failed(
        self, error: BaseException, index: int, values: Mapping[str, Any]
    ) -> FailedItem | None:
        """The failure of an item that a compiled plan ran; None if it ends the map."""
        note_item(error, index, self.execution.settings.pipeline.name, values)
        if self.error_handling == "raise" or not isinstance(error, Exception):
            return None
        return FailedItem(index, failing_node(error), settle(error), dict(values))

    async def _leave_loop(self, row: Any, index: int, values: Mapping[str, Any]) -> None:
        """Lazy hits of a row may be loaded later, off the loop: let them be computed there too."""
        for place, value in enumerate(row.values):
            if type(value) is CachedList:
                row.values[place] = await value.load()
                if not value.is_whole:
                    row.signatures[place] = None
            elif type(value) is CachedValue:
                row.values[place] = value.or_by(partial(self.recompute, index, values, place))

    async def recompute(self, index: int, values: Mapping[str, Any], place: int) -> Any:
        """Run an item again for one output: a hit that cannot be loaded after all; see `item`."""
        row = await self.execution.with_workers(SEQUENTIAL).item(self.base, index, values, True)
        return row.values[place]
