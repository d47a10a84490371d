"""What runs inside Daft: the functions of a frame's columns, a batch of rows at a time.

UDF is called with Daft's series: the number of each row's item, then the cells that it reads. It
never raises what a node raises: that travels in the cells.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from daft import Series

from hypernodes.cache.lazy_value import EntryLost
from hypernodes.dispatch import Hooks
from hypernodes.engines.daft.batch_calls import (
    PlainCalls,
    Together,
    Turns,
    call_together,
    in_this_thread,
)
from hypernodes.engines.daft.cells import (
    NO_MARK,
    Cell,
    Cells,
    RecordingNodeHooks,
    Skip,
    execution_of,
    pack_mark,
)
from hypernodes.engines.daft.rows import Done, PlainRow
from hypernodes.errors import add_note
from hypernodes.event_loops import block_on
from hypernodes.identity.values import Unidentifiable
from hypernodes.node import Node
from hypernodes.plan import Plan, Step
from hypernodes.run import pickling
from hypernodes.run.execution import Execution
from hypernodes.run.fast_path import note_node
from hypernodes.run.lookahead import Decided
from hypernodes.run.resolve import Resolved
from hypernodes.run.state import RunState
from hypernodes.run.tasks import NodeTask
from hypernodes.run.workers import SEQUENTIAL, OnLoop, drive

BINARY = pa.large_binary()


class UDF:
    """A column's function.

    Args:
        cells: makes and reads cells.
        chain: notes for an error, from the nested pipelines around.
        order: the place of the node among all nodes.
        remote: it is called in another process, and is sent there.
    """

    def __init__(self, cells: Cells, chain: Sequence[str], order: int, remote: bool) -> None:
        self.cells = cells
        self.chain = tuple(chain)
        self.order = order
        self.remote = remote
        self._key = uuid.uuid4().hex
        self._sent: bytes | None = None
        _works[self._key] = self

    def __call__(self, *series: Any) -> Any:
        columns = [each.to_pylist() for each in series[1:]]
        return Series.from_arrow(self.cells.query.call(self.run, series[0], columns))

    def run(self, items: Any, columns: Sequence[list[Any]]) -> Any:
        """The new column, or a struct of several, as Arrow's array."""
        raise NotImplementedError

    def __reduce__(self) -> Any:
        # Daft pickles every function, if only to see whether it can be.
        if not self.remote:
            return _find, (self._key,)
        return _arrive, (type(self), self._key, self.pack(), sys.path)

    def pack(self) -> bytes:
        """Pickle what is sent, once.

        Raises:
            SerializationError: something in it cannot be sent.
        """
        if self._sent is None:
            self._sent = pickling.dumps(self.state(), str(self), self.parts())
        return self._sent

    def parts(self) -> dict[str, Any]:
        """What is in it, by name, for the message where it cannot be pickled."""
        return {}

    def state(self) -> dict[str, Any]:
        """What is sent."""
        left = ("_sent",)
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def arrive(self) -> None:
        """Make, in the process that it has come to, what was not sent."""

    def fail(self, item: int, error: BaseException) -> Cell:
        """The cell of what could not be made."""
        for note in self.chain:
            add_note(error, note)
        self.cells.query.fail(item)
        return self.cells.skip(Skip("failed", self.order, error))


_works: weakref.WeakValueDictionary[str, UDF] = weakref.WeakValueDictionary()
_kept: OrderedDict[str, UDF] = OrderedDict()


def _find(key: str) -> UDF:
    return _works[key]


def _arrive(kind: type[UDF], key: str, sent: bytes, path: list[str]) -> UDF:
    """UDF that was sent to this process; loaded once."""
    work = _works.get(key)
    if work is None:
        # As multiprocessing does: what the caller could import, its nodes may need.
        sys.path += [each for each in path if each not in sys.path]
        work = object.__new__(kind)
        work.__dict__.update(pickling.loads(sent), _sent=sent)
        work.arrive()
        _works[key] = _kept[key] = work
        while len(_kept) > 64:
            _kept.popitem(last=False)
    return work


class NodeUDF(UDF):
    """A node, or a nested pipeline that has an engine of another kind, for each row.

    Args:
        execution: of a pipeline of this node alone, with what rows share bound.
        plan: that pipeline's plan.
        step_id: the node's id where it comes from.
        slots: where each column's value goes; None for one that only has to be there.
        native: which columns are Daft's own.
        hooks: what callbacks are told, if any.
        concurrency: how many calls run at once; None for as many as its kind has.
        load: whether results that are in the cache are loaded at once.
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
        slots: Sequence[int | None],
        native: Sequence[bool],
        hooks: Hooks | None,
        concurrency: int | None,
        load: bool,
    ) -> None:
        super().__init__(cells, chain, order, remote)
        self.execution = execution
        self.step: Step = replace(plan.steps[0], id=step_id)
        self.slots = tuple(slots)
        self.native = tuple(native)
        self.hooks = hooks
        self.concurrency = concurrency
        self.load = load
        self.base = RunState(plan)
        # Cells bring what was made elsewhere, and is needed elsewhere.
        self.base.outer = Decided(plan.returns.values())
        self.plain = not cells.signed and hooks is None and isinstance(self.step.node, Node)
        self._loop: Callable[..., None] | None = None
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]
        self._turns = weakref.WeakKeyDictionary()
        self._threads: ThreadPoolExecutor | None = None
        if execution.settings.cache is not None:
            _sign(self.base, {slot for slot in slots if slot is not None})

    def __str__(self) -> str:
        return f"node {self.step.id!r}"

    def state(self) -> dict[str, Any]:
        execution = self.execution
        left = {
            "hooks": None if self.hooks is None else self._stand_ins(self.hooks),
            "_loop": None,
            "_turns": None,
            "_threads": None,
            "execution": (
                execution.settings.pipeline,
                execution.settings.engine,
                execution.settings.cache,
            ),
        }
        return {**super().state(), **left}

    def parts(self) -> dict[str, Any]:
        given = self.base.plan.given
        shared = {f"input {n!r}": self.base.slots[s] for n, s in given.items()}
        return {"the function": self.step.node, **shared}

    def arrive(self) -> None:
        sent: Any = self.execution
        pipeline, engine, cache = sent
        self.execution = execution_of(pipeline, engine, cache, self.cells.query.session)
        self._turns = weakref.WeakKeyDictionary()
        self.hooks = None if self.hooks is None else Hooks(self.hooks)  # type: ignore[arg-type]

    def _stand_ins(self, hooks: Hooks) -> list[Any]:
        """What goes to another process in place of the callbacks, where something can."""
        assert self.execution.ctx is not None
        made = [hooks.of([each]).stand_in(0, self.execution.ctx) for each in hooks.callbacks]
        return [each for each in made if each is not None]

    def run(self, items: Any, columns: Sequence[list[Any]]) -> Any:
        node = self.step.node
        rows = zip(*columns, strict=True) if columns else itertools.repeat((), len(items))
        done: Iterable[Done]
        if isinstance(node, Node) and node.options.batch and not self._varies(node):
            done = self._batch(items, list(rows))
        elif isinstance(node, Node) and (node.is_async or (self.concurrency or 1) > 1):
            done = self._at_once(items, list(rows), node.is_async)
        elif self.plain and self.cells.query.failed_at is None:
            return struct_of(self._fast(items, rows))
        else:
            done = self._each(items, rows)
        made: list[list[bytes]] = [[] for _ in self.step.outputs]
        marks: list[bytes] = []
        # Bytes in a few lists are nothing that Python's garbage collector has to look at.
        for cells, mark in done:
            _append(made, cells)
            marks.append(mark)
        return struct_of(made if self.hooks is None else [*made, marks])

    def _varies(self, node: Node[..., Any]) -> bool:
        """Whether a single value of a batch node is another one for each row."""
        slots = dict(self.step.inputs)
        return any(slots[name] in self.slots for name in self.step.keywords)

    # -- One after the other, values only --------------------------------------------------------

    def _fast(self, items: Any, rows: Any) -> list[list[Cell]]:
        if self._loop is None:
            self._loop = self._calls().loop()
        count = len(items)
        made: list[list[Cell]] = [[] for _ in self.step.outputs]
        appends = [column.append for column in made]
        while len(made[0]) < count:
            try:
                self._loop(rows, *appends)
            except Skip as skip:
                _append(made, [self.cells.skip(skip)] * len(made))
            except BaseException as error:
                note_node(error, self.step, self.execution.settings.pipeline)
                numbers = items.to_pylist()
                _append(made, [self.fail(numbers[len(made[0])], error)] * len(made))
                if self.cells.query.stops:
                    self._rest(numbers[len(made[0]) :], rows, made)
        return made

    def _calls(self) -> PlainCalls:
        query = self.cells.query
        return PlainCalls(
            self.step, self.slots, self.native, self.base.slots, query.dump, query.remote
        )

    def _rest(self, items: Sequence[int], rows: Any, made: list[list[Any]]) -> None:
        for item, row in zip(items, rows, strict=True):
            _append(made, drive(self._row(item, row, SEQUENTIAL))[0])

    # -- With a cache or callbacks ---------------------------------------------------------------

    def _each(self, items: Any, rows: Any) -> Iterator[Done]:
        plain, query = PlainRow.of(self), self.cells.query
        for item, row in zip(items.to_pylist(), rows, strict=True):
            done = None
            if plain is not None and (query.failed_at is None or not query.is_off(item)):
                done = plain(item, row)
            yield drive(self._row(item, row, SEQUENTIAL)) if done is None else done

    async def _row(self, item: int, row: Sequence[Any], workers: Any) -> Done:
        """A row's new cells, and what callbacks are to be told."""
        query = self.cells.query
        outputs = self.step.outputs
        if query.is_off(item):
            return [self.cells.skip(Skip("off"))] * len(outputs), NO_MARK
        hooks = self.execution.settings.hooks
        if self.hooks is not None:
            hooks = RecordingNodeHooks(self.hooks)
        own = self.execution
        settings = own.settings
        if isinstance(hooks, RecordingNodeHooks):
            settings = Resolved(
                settings.pipeline, settings.engine, settings.cache, hooks, query.session
            )
        execution = Execution(settings, workers, own.ctx)
        frame = self.base.copy()
        try:
            for slot, native, cell in zip(self.slots, self.native, row, strict=True):
                if slot is None:
                    self.cells.load(cell)
                elif native:
                    frame.slots[slot] = cell
                else:
                    frame.slots[slot], frame.signatures[slot] = self.cells.read(cell)
            await execution.step(frame, self.step)
            if self.load:
                for _, slot in outputs:
                    await frame.value(slot)
            made = [
                self.cells.cell(frame.slots[slot], frame.signatures[slot], own.settings.cache)
                for _, slot in outputs
            ]
        except Skip as skip:
            made = [self.cells.skip(skip)] * len(outputs)
        except EntryLost:
            made = [self.cells.skip(Skip("gone"))] * len(outputs)
        except BaseException as error:
            note_node(error, self.step, own.settings.pipeline)
            made = [self.fail(item, error)] * len(outputs)
        return made, pack_mark(hooks.mark) if isinstance(hooks, RecordingNodeHooks) else NO_MARK

    # -- Several at once -------------------------------------------------------------------------

    def _at_once(self, items: Any, rows: Sequence[Sequence[Any]], is_async: bool) -> list[Done]:
        numbered = list(zip(items.to_pylist(), rows, strict=True))
        if not is_async:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.concurrency, f"hypernodes-{self.step.id}")
            futures = [
                self._threads.submit(
                    self.cells.query.call, lambda i, r: drive(self._row(i, r, SEQUENTIAL)), *each
                )
                for each in numbered
            ]
            return [future.result() for future in futures]

        async def every() -> list[Done]:
            loop = asyncio.get_running_loop()
            turns = self._turns.get(loop)
            if turns is None:  # one for all batches, so that the limit holds for them together
                turns = self._turns.setdefault(loop, Turns(self._awaited(), self.concurrency or 10))
            return await turns.take(numbered)

        done: list[Done] = block_on(every())
        return done

    def _awaited(self) -> Callable[[int, Sequence[Any]], Awaitable[Done]]:
        """What is awaited for a row of an async node."""
        if not self.plain:
            return partial(self._row, workers=OnLoop(in_this_thread))
        query, call = self.cells.query, self._calls().coroutine()

        async def bare(item: int, row: Sequence[Any]) -> Done:
            try:
                if query.is_off(item):
                    raise Skip("off")
                return await call(*row), NO_MARK
            except Skip as skip:
                return [self.cells.skip(skip)] * len(self.step.outputs), NO_MARK
            except BaseException as error:
                note_node(error, self.step, self.execution.settings.pipeline)
                return [self.fail(item, error)] * len(self.step.outputs), NO_MARK

        return bare

    def _batch(self, items: Any, rows: Sequence[Sequence[Any]]) -> list[Done]:
        """A batch node: rows go up to the call, are called together, and go on."""
        workers = Together()
        waiting: list[tuple[int, Coroutine[Any, Any, Any], NodeTask]] = []
        done: list[Any] = [None] * len(rows)
        for place, (item, row) in enumerate(zip(items.to_pylist(), rows, strict=True)):
            coroutine = self._row(item, row, workers)
            try:
                waiting.append((place, coroutine, coroutine.send(None)))
            except StopIteration as stop:
                done[place] = stop.value
        if waiting:
            outcomes = call_together([call for _, _, call in waiting])
            for (place, coroutine, _), outcome in zip(waiting, outcomes, strict=True):
                try:
                    coroutine.send(outcome)
                except StopIteration as stop:
                    done[place] = stop.value
        return done


def _sign(frame: RunState, given: set[int]) -> None:
    """Identify what rows share, once for all of them."""
    for slot in frame.plan.given.values():
        if slot not in given:
            with contextlib.suppress(Unidentifiable):
                drive(frame.signature(slot))


def _append(columns: Sequence[list[Any]], values: Sequence[Any]) -> None:
    for place, value in enumerate(values):
        columns[place].append(value)


def struct_of(columns: Sequence[list[Cell]]) -> Any:
    """One column of cells, or several as a struct with the fields "0", "1", ..."""
    arrays = [pa.array(column, type=BINARY) for column in columns]
    if len(arrays) == 1:
        return arrays[0]
    return pa.StructArray.from_arrays(arrays, [str(place) for place in range(len(arrays))])
