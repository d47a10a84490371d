"""`NodeUDF`: a node's run inside Daft, for a batch of rows at a time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from hypernodes.cache.lazy_value import EntryLost
from hypernodes.dispatch import Hooks, StandIn
from hypernodes.engines.daft.batch_calls import (
    AsyncPool,
    BatchWorkers,
    call_batch_node,
    in_this_thread,
)
from hypernodes.engines.daft.cells import Cell, Cells, Skip, load_named
from hypernodes.engines.daft.compiled_calls import CompiledCalls
from hypernodes.engines.daft.options import DaftOptions
from hypernodes.engines.daft.records import NO_RECORD, RowRecorder, pack
from hypernodes.engines.daft.rows import Done, plain_row
from hypernodes.engines.daft.scopes import ScopesAround
from hypernodes.engines.daft.udf import Columns, ColumnUDF, Row
from hypernodes.errors import WorkerLostError, as_raised
from hypernodes.event_loops import block_on
from hypernodes.identity.values import Unidentifiable
from hypernodes.node import Node
from hypernodes.plan import Plan, Step
from hypernodes.run.execution import Execution
from hypernodes.run.fast_path import note_node
from hypernodes.run.lookahead import Decided
from hypernodes.run.resolve import Resolved
from hypernodes.run.state import RunState
from hypernodes.run.tasks import Called, NodeTask
from hypernodes.run.workers import SEQUENTIAL, OnLoop, Workers, drive

CONCURRENCY = 10
"""How many calls of an async node run at once, where its options do not say."""


class NodeUDF(ColumnUDF):
    """A node, or a nested pipeline that has an engine of another kind, for each row.

    Args:
        execution: of a pipeline of this node alone, with what rows share bound.
        plan: that pipeline's plan.
        step_id: the node's id where it comes from.
        slots: where each column's value goes.
        native: which columns are of Daft's own types.
        hooks: the callbacks' hooks; None where nobody listens.
        concurrency: how many calls run at once; None for as many as its kind has.
        load: whether hits are loaded at once.
        instances: in how many processes Daft may call it at once; None for as many as it likes.
        around: makes the scopes around it; None where no node context asks for them.
    """

    def __init__(
        self,
        cells: Cells,
        chain: Sequence[str],
        order: int,
        remote: bool,
        *,
        execution: Execution,
        plan: Plan,
        step_id: str,
        slots: Sequence[int],
        native: Sequence[bool],
        hooks: Hooks | None,
        concurrency: int | None,
        load: bool,
        instances: int | None = None,
        around: ScopesAround | None = None,
    ) -> None:
        super().__init__(cells, chain, order, remote)
        self.execution = execution
        self.step: Step = replace(plan.steps[0], id=step_id)
        self.slots = tuple(slots)
        self.native = tuple(native)
        self.hooks = hooks
        self.around = around
        self.concurrency = concurrency
        self.load = load
        self.base = RunState(plan)
        # All outputs are wanted: other functions of the query read them.
        self.base.outer = Decided(plan.returns.values())
        names = {slot: name for name, slot in self.step.inputs}
        self.loads: list[Callable[[Any], Any]] = [
            partial(load_named, f"input {names[slot]!r}") for slot in slots
        ]
        node = self.step.node
        is_plain = not cells.signed and hooks is None
        self.plain = is_plain and isinstance(node, Node) and node.options.max_concurrent is None
        self.instances = instances
        self.cache_place = cells.place_of(execution.settings.cache)
        if execution.settings.cache is not None:
            _sign_shared(self.base, set(slots))

    def __str__(self) -> str:
        return f"node {self.step.id!r}"

    def state(self) -> dict[str, object]:
        execution = self.execution
        replaced = {
            "hooks": None if self.hooks is None else self._stand_ins(self.hooks),
            "execution": (
                execution.settings.pipeline,
                execution.settings.engine,
                execution.settings.cache,
            ),
        }
        return {**super().state(), **replaced}

    def parts(self) -> dict[str, object]:
        given = self.base.plan.given
        shared = {f"input {n!r}": self.base.slots[s] for n, s in given.items()}
        return {"the function": self.step.node, **shared}

    def arrive(self) -> None:
        sent: Any = self.execution
        pipeline, engine, cache = sent
        self.execution = self.cells.query.execution(pipeline, engine, cache)
        self.hooks = None if self.hooks is None else Hooks(self.hooks)  # type: ignore[arg-type]

    def _stand_ins(self, hooks: Hooks) -> list[StandIn]:
        """What goes to another process in place of the callbacks, where something can."""
        assert self.execution.ctx is not None
        made = [hooks.of([each]).stand_in(0, self.execution.ctx) for each in hooks.callbacks]
        return [each for each in made if each is not None]

    @property
    def only_calls(self) -> bool:
        """Whether it does nothing but call its function, one row after the other."""
        node = self.step.node
        if not isinstance(node, Node) or node.is_async or node.options.batch:
            return False
        return (self.plain or self.only_records) and (self.concurrency or 1) == 1

    @property
    def only_records(self) -> bool:
        """Whether callbacks hear of its calls, and that they were made is all there is to hear."""
        node, hooks = self.step.node, self.hooks
        if hooks is None or hooks.enters or self.cells.signed or self.cells.query.remote:
            return False
        return isinstance(node, Node) and not (node.options.retries or node.options.max_concurrent)

    def reading(self, native: Sequence[bool]) -> NodeUDF:
        """The same, where other columns are of Daft's own types.

        Args:
            native: which are.
        """
        made = object.__new__(NodeUDF)
        made.__dict__.update(self.__dict__, native=tuple(native), memo={})
        return made

    def losing(self, error: WorkerLostError) -> NodeUDF:
        if not DaftOptions.of_node(self.step.node).use_process:
            return self

        def lost(*args: object, **kwargs: object) -> object:
            raise error

        node = object.__new__(type(self.step.node))
        node.__dict__.update(self.step.node.__dict__, call=lost, guarded=lost)
        step, base = replace(self.step, node=node), self.base.copy()
        base.plan = replace(base.plan, steps=(step,), memo={})
        made = object.__new__(NodeUDF)
        made.__dict__.update(self.__dict__, step=step, base=base, memo={})
        return made

    def run(self, items: Sequence[int], columns: Columns) -> list[list[Cell]]:
        node = self.step.node
        rows: Iterator[Row]
        rows = zip(*columns, strict=True) if columns else itertools.repeat((), len(items))
        done: Iterable[Done]
        if isinstance(node, Node) and node.options.batch and not self._has_varying_keyword():
            done = self._batch(items, list(rows))
        elif isinstance(node, Node) and (node.is_async or (self.concurrency or 1) > 1):
            done = self._at_once(items, list(rows), node.is_async)
        else:
            done = self._each(items, rows)
        made: list[list[bytes]] = [[] for _ in self.step.outputs]
        records: list[bytes] = []
        # A list for each column: a tuple for each row would keep the garbage collector busy.
        for cells, record in done:
            for column, cell in zip(made, cells, strict=True):
                column.append(cell)
            records.append(record)
        return made if self.hooks is None else [*made, records]

    def _has_varying_keyword(self) -> bool:
        """Whether a parameter of a batch node that takes one value has another one in each row."""
        slots = dict(self.step.inputs)
        return any(slots[name] in self.slots for name in self.step.keywords)

    def _skipped(self, skip: Skip) -> list[Cell]:
        return [self.cells.dump_skip(skip)] * len(self.step.outputs)

    def failed(self, item: int, error: BaseException) -> list[Cell]:
        """The cells of a row for which the node raised; see `fail`."""
        note_node(error, self.step, self.execution.settings.pipeline.name)
        return [self.fail(item, error)] * len(self.step.outputs)

    # -- With a cache or callbacks ---------------------------------------------------------------

    def _each(self, items: Sequence[int], rows: Iterable[Row]) -> Iterator[Done]:
        run, query = plain_row(self), self.cells.query
        for item, row in zip(items, rows, strict=True):
            done = None
            if run is not None and (query.failed_at is None or not query.is_cancelled(item)):
                done = run(item, row)
            yield drive(self._row(item, row, SEQUENTIAL)) if done is None else done

    async def _row(self, item: int, row: Row, workers: Workers) -> Done:
        query = self.cells.query
        outputs = self.step.outputs
        if query.is_cancelled(item):
            return self._skipped(Skip("cancelled")), NO_RECORD
        recorder = None if self.hooks is None else RowRecorder(self.hooks)
        own = self.execution.settings
        if recorder is not None:
            own = Resolved(own.pipeline, own.engine, own.cache, recorder, query.session)
        around = self.around
        ctx = self.execution.ctx if around is None else around(query.indexes(item))
        execution = Execution(own, workers, ctx)
        state = self.base.copy()
        try:
            columns = zip(self.slots, self.native, self.loads, row, strict=True)
            for slot, native, loads, cell in columns:
                if native:
                    state.slots[slot] = cell
                else:
                    state.slots[slot], state.signatures[slot] = self.cells.read(cell, loads)
            await execution.step(state, self.step)
            if self.load:
                for _, slot in outputs:
                    await state.value(slot)
            made = [
                self.cells.dump(state.slots[slot], state.signatures[slot], self.cache_place)
                for _, slot in outputs
            ]
        except Skip as skip:
            made = self._skipped(skip)
        except EntryLost:
            made = self._skipped(Skip("lost"))
        except BaseException as error:
            made = self.failed(item, as_raised(error))
        return made, NO_RECORD if recorder is None else pack(recorder.record)

    # -- Several at once -------------------------------------------------------------------------

    def _at_once(self, items: Sequence[int], rows: Sequence[Row], is_async: bool) -> Iterable[Done]:
        numbered = list(zip(items, rows, strict=True))
        if not is_async:
            threads: ThreadPoolExecutor | None = self.memo.get("threads")
            if threads is None:
                threads = ThreadPoolExecutor(self.concurrency, f"hypernodes-{self.step.id}")
                threads = self.memo.setdefault("threads", threads)
            futures = [threads.submit(self._call_row, *each) for each in numbered]
            return [future.result() for future in futures]

        async def every() -> list[Done]:
            # One pool for all batches: the limit is for all of them together.
            pools = self.memo.setdefault("pools", weakref.WeakKeyDictionary())
            loop = asyncio.get_running_loop()
            pool: AsyncPool[Done] | None = pools.get(loop)
            if pool is None:
                pool = AsyncPool(NodeUDF._awaited, self.concurrency or CONCURRENCY)
                pool = pools.setdefault(loop, pool)
            return await pool.map([(self, *each) for each in numbered])

        done: list[Done] = block_on(every())
        return done

    def _call_row(self, item: int, row: Row) -> Done:
        done: Done = self.cells.query.call(lambda: drive(self._row(item, row, SEQUENTIAL)))
        return done

    async def _awaited(self, item: int, row: Row) -> Done:
        """What is awaited for a row of an async node."""
        if not self.plain:
            return await self._row(item, row, OnLoop(in_this_thread))
        coroutine = self.memo.get("coroutine")
        if coroutine is None:
            reads = tuple(str(place) for place in range(len(self.slots)))
            makes = tuple(name for name, _ in self.step.outputs)
            coroutine = CompiledCalls([(self, reads, makes)], reads, makes, {}).coroutine()
            self.memo["coroutine"] = coroutine
        return await self._plain_async_row(coroutine, item, row)

    async def _plain_async_row(
        self, call: Callable[..., Awaitable[list[Cell]]], item: int, row: Row
    ) -> Done:
        try:
            if self.cells.query.is_cancelled(item):
                return self._skipped(Skip("cancelled")), NO_RECORD
            return await call(*row), NO_RECORD
        except Skip as skip:
            return self._skipped(skip), NO_RECORD
        except BaseException as error:
            return self.failed(item, error), NO_RECORD

    def _batch(self, items: Sequence[int], rows: Sequence[Row]) -> list[Done]:
        """Run a batch node.

        Each row's run is a coroutine. It goes up to the call of the function, where `BatchWorkers`
        suspends it. Rows that got there are called together, and each goes on with its outcome.
        Others, with a hit in the cache or an input that failed, have ended before.
        """
        workers = BatchWorkers()
        waiting: list[tuple[int, Coroutine[NodeTask, Called, Done], NodeTask]] = []
        done: dict[int, Done] = {}
        for place, (item, row) in enumerate(zip(items, rows, strict=True)):
            coroutine: Coroutine[Any, Any, Done] = self._row(item, row, workers)
            try:
                waiting.append((place, coroutine, coroutine.send(None)))
            except StopIteration as stop:
                done[place] = stop.value
        if waiting:
            with self._turn():
                outcomes = call_batch_node([call for _, _, call in waiting])
            for (place, coroutine, _), outcome in zip(waiting, outcomes, strict=True):
                try:
                    coroutine.send(outcome)
                except StopIteration as stop:
                    done[place] = stop.value
        return [done[place] for place in range(len(rows))]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One call of a batch node, when it is its turn."""
        node = self.step.node
        limit = self.cells.query.session.limits.of(node) if isinstance(node, Node) else None
        if limit is None:
            yield
            return
        limit.acquire().result()
        try:
            yield
        finally:
            limit.release()


def _sign_shared(state: RunState, own: set[int]) -> None:
    """Identify what all rows share, once for all of them; `own` are the slots of the rest."""
    for slot in state.plan.given.values():
        if slot not in own:
            with contextlib.suppress(Unidentifiable):
                drive(state.signature(slot))
