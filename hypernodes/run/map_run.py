"""A map: its items, done whole wherever a worker takes them, or opened in the calling thread."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from hypernodes.cache.lazy_value import CachedList, CachedValue
from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Scope, ScopeEvent
from hypernodes.errors import failing_node
from hypernodes.map_over import Items, rows_of
from hypernodes.results import FailedItem
from hypernodes.run.fast_path import CompiledPlan, compiled_loop, note_item
from hypernodes.run.pickling import settle
from hypernodes.run.resolve import Resolved
from hypernodes.run.state import RunState
from hypernodes.run.tasks import ChunkResult, InThread, Row
from hypernodes.run.workers import SEQUENTIAL, OnLoop, Workers, drive


class MapExecution(Protocol):
    """What a map needs of the execution that it is part of: see `execution.Execution`."""

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


class MapJob:
    """What the items of one map share.

    Attributes:
        execution: the execution inside the map's scope.
        base: the state that each item starts with.
        shared: values of the inputs that items share, by name.
        error_handling: "raise" or "continue".
        load: whether results that are in the cache are to be loaded.
        walk: the short walk, where nothing but calling is asked for.
        async_walk: the same to be awaited, where all nodes are async.
        parallel_inside: whether an item has work for executors of its own.
        has_async: whether there are async nodes in it.
        last: the index of the last item that may still be started.
    """

    def __init__(
        self,
        execution: MapExecution,
        base: RunState,
        shared: Mapping[str, Any],
        error_handling: str,
        load: bool,
    ) -> None:
        self.execution = execution
        self.base = base
        self.shared = shared
        self.error_handling = error_handling
        self.load = load
        self.walk: CompiledPlan | None = None
        self.async_walk: CompiledPlan | None = None
        self.parallel_inside = False
        self.has_async = False
        self.last = sys.maxsize

    async def item(self, workers: Workers, index: int, values: Mapping[str, Any]) -> Any:
        """Do one item: a `Row`, or a `FailedItem`."""
        try:
            return await self.execution.with_workers(workers).item(
                self.base, index, values, self.load
            )
        except Exception as error:
            if self.error_handling == "raise":
                raise
            return FailedItem(index, failing_node(error), settle(error), dict(values))

    def do(self, start: int, items: Sequence[Mapping[str, Any]]) -> ChunkResult:
        """Do items one after the other in this thread; the short walk's rows are dicts."""
        if self.walk is None:
            result: ChunkResult = drive(self.do_with(SEQUENTIAL, start, items))
            return result
        begun = time.perf_counter()
        result = ChunkResult()
        walk, shared, append = self.walk, self.shared, result.rows.append
        for values in items:
            index = start + len(result.rows)
            if index > self.last:
                break
            try:
                append(walk(**shared, **values))
            except BaseException as error:
                failed = self._failed(error, index, values)
                if failed is None:
                    result.error = error
                    break
                append(failed)
        result.seconds = time.perf_counter() - begun
        return result

    def do_whole(self, start: int, items: Items) -> ChunkResult:
        """The same where nobody can stop it: in one loop, where there is a short walk."""
        loop = None
        if self.walk is not None:
            loop = compiled_loop(self.execution.settings.pipeline, self.base.plan, items.columns)
        if loop is None:
            return self.do(start, items)
        begun = time.perf_counter()
        made: dict[str, list[Any]] = {name: [] for name in self.base.plan.returns}
        result = ChunkResult(columns=made)
        try:
            loop(items.rows(), *made.values(), **self.shared)
        except BaseException as error:
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
        """Do items one after the other on workers."""
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
                result.error = error
                break
        result.seconds = time.perf_counter() - begun
        return result

    async def do_async(
        self, start: int, items: Sequence[Mapping[str, Any]], in_thread: InThread
    ) -> ChunkResult:
        """The same on an event loop."""
        if self.async_walk is not None:
            return await self._do_each(start, items, partial(self._walk_async, self.async_walk))
        result = await self.do_with(OnLoop(in_thread), start, items)
        for index, (row, values) in enumerate(zip(result.rows, items, strict=False), start):
            if not isinstance(row, FailedItem):
                await self._leave_loop(row, index, values)
        return result

    async def _walk_async(self, walk: CompiledPlan, index: int, values: Mapping[str, Any]) -> Any:
        try:
            made: Any = walk(**self.shared, **values)
            return await made
        except BaseException as error:
            failed = self._failed(error, index, values)
            if failed is None:
                raise
            return failed

    def _failed(
        self, error: BaseException, index: int, values: Mapping[str, Any]
    ) -> FailedItem | None:
        """What stands for an item whose short walk raised; None where that ends the map."""
        note_item(error, index, self.execution.settings.pipeline, values)
        if self.error_handling == "raise" or not isinstance(error, Exception):
            return None
        return FailedItem(index, failing_node(error), settle(error), dict(values))

    async def _leave_loop(self, row: Any, index: int, values: Mapping[str, Any]) -> None:
        """Let what was found in the cache be computed off the loop, where it has to be."""
        for place, value in enumerate(row.values):
            if type(value) is CachedList:
                row.values[place] = await value.load()
            elif type(value) is CachedValue:
                row.values[place] = value.or_by(partial(self.again, index, values, place))

    async def again(self, index: int, values: Mapping[str, Any], place: int) -> Any:
        """Do an item again, for a value that was in the cache and cannot be loaded after all."""
        row = await self.execution.with_workers(SEQUENTIAL).item(self.base, index, values, True)
        return row.values[place]
