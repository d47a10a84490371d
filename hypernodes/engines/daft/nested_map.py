"""A nested map in Daft: its items as rows of their own, within a batch of the rows around them."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import Any, overload

from hypernodes.engines.daft.cells import Cell, Cells, Failed, Skip, unloadable
from hypernodes.engines.daft.processes import Processes
from hypernodes.engines.daft.query import ItemsQuery, Query
from hypernodes.engines.daft.records import NO_RECORD, Records
from hypernodes.engines.daft.stage import ListCells, Stage, joined
from hypernodes.engines.daft.typed_columns import CellValue
from hypernodes.engines.daft.udf import Columns, ColumnUDF, Row
from hypernodes.errors import WorkerLostError, add_note, failing_node
from hypernodes.identity.values import Digest, combine
from hypernodes.map_over import as_list, make_items
from hypernodes.node import Node
from hypernodes.plan import Step
from hypernodes.results import FailedItem
from hypernodes.run.fast_path import note_item
from hypernodes.run.pickling import settle

CHUNK = 4096
"""At most so many items are run at a time: what is between two nodes is in memory for these."""
SPREAD = 16
"""Chunks for several threads have at least so many items."""


ATOMS = frozenset({str, bytes, int, float, bool, type(None)})
"""Types of values that nobody can change in place."""


def _pickled(value: object) -> Cell:
    return pickle.dumps(value, protocol=5)


class PlainValues(Sequence[Cell]):
    """A column of cells by its values: each is pickled when somebody asks for its cell.

    Args:
        values: the values.
        dump: pickles one.
    """

    def __init__(self, values: Sequence[Any], dump: Callable[[Any], Cell] = _pickled) -> None:
        self.values = values
        self._dump = dump

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Cell: ...
    @overload
    def __getitem__(self, place: slice) -> PlainValues: ...
    def __getitem__(self, place: int | slice) -> Cell | PlainValues:
        if isinstance(place, slice):
            return PlainValues(self.values[place], self._dump)
        return self._dump(self.values[place])


class ListedValues(Sequence[Cell]):
    """The same of values in a list that has a cell of its own, which is loaded when it is needed.

    Args:
        cells: reads it.
        listed: the list's cell.
        start: the place of the first of them in the column.
        size: how many there are.
    """

    def __init__(self, cells: Cells, listed: Cell, start: int, size: int) -> None:
        self._cells = cells
        self._listed = listed
        self._start = start
        self._size = size

    @cached_property
    def _values(self) -> PlainValues:
        return PlainValues(self._cells.load(self._listed), self._cells.query.dump)

    def __len__(self) -> int:
        return self._start + self._size

    @overload
    def __getitem__(self, place: int) -> Cell: ...
    @overload
    def __getitem__(self, place: slice) -> PlainValues: ...
    def __getitem__(self, place: int | slice) -> Cell | PlainValues:
        if isinstance(place, slice):
            raise TypeError("its values are read one by one")
        return self._values[place - self._start]


class NestedMap(ColumnUDF):
    """Runs a nested pipeline for each item of each row's lists.

    A batch of rows is flattened to one row an item, in lists of references: what the items of a
    row share is not copied. So a node is called for the items of many rows at a time, and order
    and number of the rows around stay as they are.

    Args:
        step: the nested pipeline's step.
        note: a note for an error, which says where it was raised.
        names: the outer names of those mapped inputs that are columns; these are read first, and
            then what the stage reads of the rows around.
        native: which of these are of Daft's own types.
        passed: of what the stage reads of the rows around, which are cells.
        shared: mapped inputs that all rows share, by outer name.
        stage: the nodes; its inputs are the mapped ones, by their inner names' order, and the rest.
        outputs: the column of each output.
        records: the columns that callbacks hear of; None where nobody listens.
        timed: those of them that are the records of nodes.
        is_spread: whether a row's items may run on several threads.
    """

    def __init__(
        self,
        cells: Cells,
        chain: Sequence[str],
        order: int,
        remote: bool,
        *,
        step: Step,
        note: str,
        names: Sequence[str],
        native: Sequence[bool],
        passed: Sequence[bool],
        shared: Mapping[str, object],
        stage: Stage,
        outputs: Sequence[str],
        records: Sequence[str] | None,
        timed: Collection[str],
        is_spread: bool,
    ) -> None:
        super().__init__(cells, chain, order, remote)
        assert not isinstance(step.node, Node)
        node = step.node
        self.name = step.id
        self.inner = node.pipeline.name
        self.note = note
        self.names = tuple(names)
        self.native = tuple(native)
        self.passed = tuple(passed)
        self.shared = dict(shared)
        self.mapped = {name: node.inner_inputs[name] for name in node.mapped}
        self.map_mode = node.map_mode
        self.goes_on = node.error_handling == "continue"
        # A list is pickled as a whole: before that, nobody reads what its items made.
        self.plain = stage.plain_outputs.intersection(outputs)
        self.stage = stage.giving(self.plain) if self.plain else stage
        self.instances = stage.instances
        self.outputs = tuple(outputs)
        self.made = [name for name, _ in step.outputs]
        self.records = None if records is None else tuple(records)
        self.timed = frozenset(timed)
        self.is_spread = is_spread
        self._takes_values = not cells.signed and stage.reads_values
        self._is_careful = False

    def __str__(self) -> str:
        return f"nested pipeline {self.name!r}"

    def with_cells(self, cells: Cells) -> NestedMap:
        made = super().with_cells(cells)
        made.stage = self.stage.with_cells(cells)
        return made

    def losing(self, error: WorkerLostError) -> NestedMap:
        """The same, but each item is in a process of its own: one of them has ended its own."""
        made = self.with_cells(self.cells)
        made._is_careful, made._takes_values = True, False
        return made

    def run(self, items: Sequence[int], columns: Columns) -> Sequence[Sequence[Cell]]:
        lists, around = columns[: len(self.names)], columns[len(self.names) :]
        rows: Iterator[Row]
        rows = zip(*lists, strict=True) if lists else itertools.repeat((), len(items))
        cells = [each for each, is_cell in zip(around, self.passed, strict=True) if is_cell]
        lists_of: list[list[Sequence[Any]]] = [[] for _ in self.mapped]
        sizes: list[int] = []
        skipped: dict[int, Cell] = {}
        for place, (item, row) in enumerate(zip(items, rows, strict=True)):
            own_lists, skip = self._items(item, row, [column[place] for column in cells])
            if skip is not None:
                skipped[place] = skip
            for every, values in zip(lists_of, own_lists, strict=True):
                every.append(values)
            sizes.append(len(own_lists[0]))
        mapped = [_flat(each) for each in lists_of]
        given: list[Any]
        given = [each.values if isinstance(each, PlainValues) else each for each in mapped]
        named = zip(self.stage.inputs, mapped, strict=False)
        plain = [name for name, each in named if isinstance(each, PlainValues)]
        given += [_repeated(column, sizes) for column in around]
        ran = self._run(_repeated(items, sizes), sizes, given, plain)
        found: dict[str, Sequence[Cell]] = {}
        listed = set()
        for name, made in zip(self.stage.outputs, ran, strict=True):
            found[name] = made
            if name in self.timed and not self.cells.query.remote:
                found[name] = Records.of(made)
            elif name in plain:
                found[name] = PlainValues(made)
            elif name in self.plain and CellValue not in set(map(type, made)):
                found[name] = PlainValues(made, self.cells.query.dump)
                listed.add(name)
            elif name in self.plain:
                found[name] = self._cells_of(made)
        outputs = [ListCells() for _ in self.outputs]
        records: list[bytes] = []
        start, all_whole = 0, True
        heard = {name: found[name] for name in self.records or ()}
        apart = {name: each for name, each in heard.items() if name not in listed}
        for place, (item, size) in enumerate(zip(items, sizes, strict=True)):
            own = {name: found[name][start : start + size] for name in self.outputs}
            inputs = [cells[start : start + size] for cells in mapped]
            skip = skipped.get(place)
            lists_made = None if skip else self._whole_lists(own)
            is_whole = lists_made is not None
            all_whole = all_whole and is_whole
            if lists_made is None:
                lists_made = [skip] * len(outputs) if skip else self._lists(item, own, inputs, size)
            for column, cell in zip(outputs, lists_made, strict=True):
                column.append(cell)
            if skip and self.records is not None:
                records.append(NO_RECORD)
            elif self.records is not None:
                columns_heard = apart if is_whole else heard
                records.append(HeardItems(columns_heard, start, size).record(self.cells.query))
            start += size
        for name, made_lists in zip(self.outputs, outputs, strict=True):
            if all_whole and name in listed:
                made_lists.values = _sliced(found[name], sizes)
        return outputs if self.records is None else [*outputs, records]

    # -- From lists to items ---------------------------------------------------------------------

    def _items(
        self, item: int, row: Row, passed: Sequence[Cell]
    ) -> tuple[list[Sequence[Cell]], Cell | None]:
        """The cells of a row's items for each mapped input; or why there are none.

        Args:
            item: the row's own item.
            row: what it has for the mapped inputs.
            passed: what its items read of it besides.
        """
        none: list[Sequence[Cell]] = [[] for _ in self.mapped]
        if self.cells.query.is_cancelled(item):
            return none, self.cells.dump_skip(Skip("cancelled"))
        try:
            for cell in passed:
                self.cells.check(cell)
            values = dict(self.shared)
            for name, native, cell in zip(self.names, self.native, row, strict=True):
                values[name] = cell if native else self.cells.load(cell)
            lists = {inner: as_list(name, values[name]) for name, inner in self.mapped.items()}
            every = make_items(lists, self.map_mode)
            return [self._dumped(each) for each in every.columns.values()], None
        except Skip as skip:
            return none, self.cells.dump_skip(skip)
        except BaseException as error:
            add_note(error, self.note)
            return none, self.fail(item, error)

    def _cells_of(self, values: Sequence[Any]) -> list[Cell]:
        return [v.cell if type(v) is CellValue else self.cells.dump(v) for v in values]

    def _dumped(self, values: Sequence[object]) -> Sequence[Cell]:
        """The cells of values, one for each object: a product has most of them many times.

        What nobody can change in place is not pickled, where the items' nodes need not be asked.
        """
        if self._takes_values and ATOMS.issuperset(map(type, values)):
            return PlainValues(list(values))
        known: dict[int, Cell] = {}
        cells = []
        for value in values:
            cell = known.get(id(value))
            if cell is None:
                cell = known[id(value)] = self.cells.dump(value)
            cells.append(cell)
        return cells

    # -- The items -------------------------------------------------------------------------------

    def _run(
        self,
        rows: Sequence[int],
        sizes: Sequence[int],
        columns: Columns,
        plain: Collection[str],
    ) -> Sequence[Sequence[Cell]]:
        """Run the items of a batch.

        Args:
            rows: for each of them the item of the row around it.
            sizes: how many each row has.
            columns: what the stage reads.
            plain: those of its inputs that are values in place of cells.
        """
        count, cpus = len(rows), os.cpu_count() or 1
        starts = list(itertools.accumulate(sizes, initial=0))
        numbers = rows, starts, not self.goes_on
        query = self.cells.query.of_items(*numbers)
        if self._is_careful:
            return self._run_apart(query, _ItemsCall(self.stage, numbers), columns)
        stage = self.stage.reading(frozenset(plain)).with_cells(Cells(query, self.cells.caches))
        # Many rows are batches of several threads already.
        is_few = len(sizes) < 2 * cpus
        spreads = self.is_spread and is_few and count > SPREAD and not _spreading.active
        size = min(CHUNK, max(SPREAD, -(-count // (2 * cpus)))) if spreads else CHUNK
        chunks = [
            (range(count)[at : at + size], [column[at : at + size] for column in columns])
            for at in range(0, count, size)
        ]
        if not spreads:
            parts = [stage.steps(*chunk) for chunk in chunks]
        else:
            futures = [_spreading.threads().submit(_apart, stage, *chunk) for chunk in chunks]
            parts = [future.result() for future in futures]
        return joined(parts, len(self.stage.outputs))

    def _run_apart(
        self, query: ItemsQuery, call: _ItemsCall, columns: Columns
    ) -> Sequence[Sequence[Cell]]:
        """Run items one by one in a process, and in another one after each that ends it.

        Args:
            query: the items' own.
            call: runs some of them.
            columns: what the stage reads.
        """
        cells = Cells(query, self.cells.caches)
        processes = Processes(pickle.dumps(call), str(self.stage))
        query.on_stop.append(processes.stop)
        parts = []
        for place in range(len(call.numbers[0])):
            row = [column[place : place + 1] for column in columns]
            if query.is_cancelled(place):
                parts.append(self.stage.with_cells(cells).steps([place], row))
                continue
            try:
                made = processes.call(([place], *row))
            except WorkerLostError as error:
                made = self.stage.losing(error).with_cells(cells).steps([place], row)
            try:
                for name, (cell,) in zip(self.stage.outputs, made, strict=True):
                    if name in self.outputs:
                        cells.check(cell)
            except Failed:
                query.fail(place)
            except Skip:
                pass
            parts.append(made)
        query.on_stop.remove(processes.stop)
        return joined(parts, len(self.stage.outputs))

    # -- From items to lists ---------------------------------------------------------------------

    def _whole_lists(self, found: Mapping[str, Sequence[Cell]]) -> list[Cell] | None:
        """The cell of each output of a row whose items all have values; None if one has not.

        Args:
            found: the columns of its items.
        """
        if self.cells.signed:
            return None
        with suppress(BaseException):  # `Skip`, say, or whatever pickling and unpickling raise
            return [self._list_cell(found[name]) for name in self.outputs]
        return None

    def _list_cell(self, column: Sequence[Cell]) -> Cell:
        if not isinstance(column, PlainValues):
            # No `map`: it would end where a value raises StopIteration.
            return self.cells.dump([pickle.loads(cell) for cell in column])
        data = io.BytesIO()
        pickler = _ObjectsPickler(data, 5)
        try:
            pickler.dump(column.values)
        except Exception:
            return self.cells.dump(column.values)
        cell = data.getvalue()
        if pickler.has_objects:  # a class decides how they are unpickled, and whether they can be
            pickle.loads(cell)
        return cell

    def _lists(
        self,
        item: int,
        found: Mapping[str, Sequence[Cell]],
        given: Sequence[Sequence[Cell]],
        size: int,
    ) -> list[Cell]:
        """The cell of each output of a row.

        Args:
            item: the row's item.
            found: the columns of its own items.
            given: the cells of their mapped inputs.
            size: how many there are.
        """
        lists: list[list[object]] = []
        signatures: list[list[Digest]] = []
        failures: dict[int, Skip] = {}
        for output, name in zip(self.made, self.outputs, strict=True):
            lists.append([None] * size)
            signatures.append([])
            for place, cell in enumerate(found[name]):
                try:
                    lists[-1][place] = self.cells.load(cell)
                except Skip as skip:
                    known = failures.setdefault(place, skip)
                    if skip.order < known.order:
                        failures[place] = skip
                    if not self.goes_on:
                        break
                    continue
                except BaseException as raised:
                    what = f"output {output!r} of item {place}"
                    lost = unloadable(what, self.cells.pickled(cell), raised)
                    failures.setdefault(place, Failed(self.order, lost))
                    if not self.goes_on:
                        break
                    continue
                if self.cells.signed and (signature := self.cells.read(cell)[1]):
                    signatures[-1].append(signature)
        for place, reason in sorted(failures.items()):
            cells = zip(self.mapped.values(), given, strict=True)
            inputs = {name: self.cells.load(column[place]) for name, column in cells}
            error = reason.error if isinstance(reason, Failed) else None
            if error is not None:
                note_item(error, place, self.inner, inputs)
            if not (self.goes_on and isinstance(error, Exception)):
                return [self._end(item, reason)] * len(self.outputs)
            failed = FailedItem(place, failing_node(error), settle(error), inputs)
            for each in lists:
                each[place] = failed
        return [
            self.cells.dump_failed(made)
            if failures
            else self._cell(item, made, combine("map", *known) if len(known) == size else None)
            for made, known in zip(lists, signatures, strict=True)
        ]

    def _end(self, item: int, skip: Skip) -> Cell:
        """The cell of each output of a row that has none, because of one of its items."""
        if not isinstance(skip, Failed):
            return self.cells.dump_skip(skip)
        for note in (self.note, *self.chain):
            add_note(skip.error, note)
        self.cells.query.fail(item)
        return self.cells.dump_skip(skip)

    def _cell(self, item: int, values: list[object], signature: Digest | None) -> Cell:
        try:
            return self.cells.dump(values, signature)
        except Exception as error:
            add_note(error, self.note)
            return self.fail(item, error)


class _ObjectsPickler(pickle.Pickler):
    """Notes whether there are objects of classes among what it pickles."""

    has_objects = False

    def reducer_override(self, obj: object) -> Any:
        self.has_objects = True
        return NotImplemented


class _ItemsCall:
    """Runs items of a nested map in another process.

    Args:
        stage: their nodes.
        numbers: the items' numbers, as `Query.of_items` takes them.
    """

    def __init__(self, stage: Stage, numbers: tuple[Sequence[int], Sequence[int], bool]) -> None:
        self.stage = stage
        self.numbers = numbers

    def __call__(self, items: Sequence[int], *columns: Sequence[Any]) -> list[list[Cell]]:
        cells = self.stage.cells
        query = cells.query.of_items(*self.numbers)
        stage = self.stage.with_cells(Cells(query, cells.caches))
        return cells.query.call(stage.steps, items, columns)

    def stop(self) -> None:
        """Start no more of them."""
        self.stage.stop()


def _apart(stage: Stage, items: Sequence[int], columns: Columns) -> list[list[Cell]]:
    _spreading.active = True
    return stage.cells.query.call(stage.steps, items, columns)


class _Spreading(threading.local):
    """The threads that nested maps spread their items over, the same for all of them."""

    active = False
    """Whether the current thread is one of them: it must not wait for another one."""

    def threads(self) -> ThreadPoolExecutor:
        with _lock:
            pid = os.getpid()
            if pid not in _threads:  # a forked child has none of its parent's threads
                _threads[pid] = ThreadPoolExecutor(os.cpu_count(), "hypernodes-items")
            return _threads[pid]


_spreading = _Spreading()
_threads: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _flat(lists: Sequence[Sequence[Any]]) -> list[Any] | PlainValues:
    """The cells of all rows' items; if none of them is pickled, their values."""
    values = [each.values for each in lists if isinstance(each, PlainValues)]
    if values and all(isinstance(each, PlainValues) or not each for each in lists):
        return PlainValues(list(itertools.chain.from_iterable(values)))
    return [cell for each in lists for cell in each]


def _sliced(column: Sequence[Cell], sizes: Sequence[int]) -> list[list[Any]]:
    """The values of each row's items."""
    assert isinstance(column, PlainValues)
    ends = itertools.accumulate(sizes)
    return [list(column.values[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def _repeated(values: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    return [value for value, size in zip(values, sizes, strict=True) for _ in range(size)]


class HeardItems:
    """What callbacks hear of the items of a row's nested map.

    Args:
        columns: the items of a batch of rows, by column; without columns that are in lists of the
            rows around, for which see `ListedValues`.
        start: the place of the row's first item in them.
        size: how many items the row has.
    """

    def __init__(self, columns: Mapping[str, Sequence[Cell]], start: int, size: int) -> None:
        self.columns = columns
        self.start = start
        self.size = size

    def __reduce__(self) -> tuple[object, ...]:
        at = slice(self.start, self.start + self.size)
        own = {name: column[at] for name, column in self.columns.items()}
        return HeardItems, (own, 0, self.size)

    def record(self, query: Query) -> bytes:
        """Itself as a record in the row; in its own process it stays beside the rows.

        Args:
            query: is shared by what writes records and what reads them.
        """
        return pickle.dumps(self, protocol=5) if query.remote else query.keep(self)


def take_items(query: Query, record: bytes) -> HeardItems | None:
    """What callbacks hear of a nested map; of a record it can be taken once.

    Args:
        query: see `HeardItems.record`.
        record: of its run.

    Returns:
        None where the map did not run.
    """
    if record == NO_RECORD:
        return None
    heard: HeardItems = pickle.loads(record) if query.remote else query.take(record)
    return heard
