"""`ColumnUDF`: a function that Daft calls for a new column, a batch of rows at a time."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from daft import DataType, Expression, Series, cls, func, method

from hypernodes.engines.daft.cells import SHIP_MODULES, Cell, Cells, Failed
from hypernodes.engines.daft.options import DaftOptions
from hypernodes.engines.daft.processes import Processes
from hypernodes.engines.daft.records import Records
from hypernodes.errors import SerializationError, WorkerLostError, add_note
from hypernodes.run import pickling

BINARY = pa.large_binary()

Row = Sequence[Any]
"""What a row has in the columns that are read: cells, or values in columns of Daft's own types."""
Columns = Sequence[list[Any]]
"""The same column by column."""

_NOWHERE = "hypernodes.nodes"
"""The module of Daft's functions, as its plans show it. There is none: pickling one looks for its
name in its module, and a node may have any name."""
_REMEMBERED = 64
"""How many functions a worker remembers, so that each of its queries loads a function once."""


U = TypeVar("U", bound="ColumnUDF")


class ColumnUDF:
    """The function of a column, called with Daft's series: the items' numbers, then what it reads.

    It never raises what a node raises: that travels in the cells.

    Args:
        cells: makes and reads cells.
        chain: notes for an error, from the nested pipelines around.
        order: the place of the node among all nodes.
        remote: it is called in another process, and is sent there.

    Attributes:
        memo: what it has made for its calls in this process.
    """

    instances: int | None = None
    """In how many processes it may be called at once; None for as many as Daft likes."""

    def __init__(self, cells: Cells, chain: Sequence[str], order: int, remote: bool) -> None:
        self.cells = cells
        self.chain = tuple(chain)
        self.order = order
        self.remote = remote
        self.memo: dict[str, Any] = {}
        self._key = uuid.uuid4().hex
        self._sent: bytes | None = None
        self._processes: Processes | None = None
        _udfs[self._key] = self

    def __call__(self, *series: Series) -> Series:
        items, *columns = [each.to_pylist() for each in series]
        return Series.from_arrow(struct_of(self.cells.query.call(self.run, items, columns)))

    def call_in_process(self, *series: Series) -> Series:
        """Call it in a worker process.

        Rows whose process ended are done once more, one at a time: it costs the items that end
        theirs again, and no others.

        Args:
            series: the items' numbers, and what it reads.
        """
        if self._processes is None:
            with _making_processes:
                if self._processes is None:
                    self._processes = Processes(pickle.dumps(self), str(self))
                    self.cells.query.on_stop.append(self._processes.stop)
        try:
            whole: Series = self._processes.call(series)
            return whole
        except WorkerLostError as error:
            if len(series[0]) == 1:
                return self.losing(error)(*series)
        made = []
        for place, item in enumerate(series[0].to_pylist()):
            row = [each.slice(place, place + 1) for each in series]
            cancelled = self.cells.query.is_cancelled(item)
            made.append(self(*row) if cancelled else self.call_in_process(*row))
        return Series.concat(made)

    def losing(self: U, error: WorkerLostError) -> U:
        """The same, but its nodes with `use_process` raise an error in place of being called.

        Args:
            error: the error.
        """
        return self

    def stop(self) -> None:
        """Start no more items."""
        query = self.cells.query
        if query.is_collected:
            query.stop()
        else:
            query.stop_batches()

    def run(self, items: Sequence[int], columns: Columns) -> Sequence[Sequence[Cell]]:
        """Make the new columns.

        Args:
            items: the number of each row's item.
            columns: the columns that it reads.

        Returns:
            The cells of each column.

        Raises:
            NotImplementedError: a subclass says what it does.
        """
        raise NotImplementedError

    def __reduce__(self) -> tuple[object, ...]:
        # Daft pickles every function, if only to see whether it can be.
        if not self.remote:
            return _find, (self._key,)
        return _arrive, (type(self), self._key, self.pack(), sys.path, str(self))

    def pack(self) -> bytes:
        """Pickle what is sent, once.

        Raises:
            SerializationError: something in it cannot be sent.
        """
        if self._sent is None:
            self._sent = pickling.dumps(self.state(), str(self), self.parts())
        return self._sent

    def parts(self) -> dict[str, object]:
        """What is in it, by name, for the message where it cannot be pickled."""
        return {}

    def state(self) -> dict[str, object]:
        """The attributes that are sent."""
        return {**self.__dict__, "_sent": None, "memo": {}, "_processes": None}

    def with_cells(self: U, cells: Cells) -> U:
        """The same with other cells, for one batch."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, cells=cells)
        return made

    def arrive(self) -> None:
        """In the process that it was sent to: make what was not sent."""

    def fail(self, item: int, error: BaseException) -> Cell:
        """Note that an item failed.

        Args:
            item: its number.
            error: what was raised.

        Returns:
            The cell in place of each output.
        """
        for note in self.chain:
            add_note(error, note)
        self.cells.query.fail(item)
        return self.cells.dump_skip(Failed(self.order, error))


@dataclass(frozen=True)
class Call(Generic[U]):
    """A function with the columns that it reads and makes.

    Attributes:
        udf: the function.
        name: what Daft's plans call it.
        reads: the columns that it reads, in the order of its arguments.
        makes: the columns that it makes.
        options: how Daft calls it.
    """

    udf: U
    name: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    options: DaftOptions

    def losing(self, error: WorkerLostError) -> Call[U]:
        """The same with what `ColumnUDF.losing` gives.

        Args:
            error: the error.
        """
        return replace(self, udf=self.udf.losing(error))


def text_of(error: BaseException) -> str:
    """An error's message, which can be encoded."""
    try:
        text = str(error)
    except Exception as raised:
        text = f"(its text cannot be shown: {type(raised).__name__})"
    return text.encode(errors="backslashreplace").decode()


def raisable(error: BaseException) -> Exception:
    """An error as Daft can hand it to whoever asked for a frame's rows.

    Daft never ends a query in which something like `SystemExit` or `StopIteration` is raised. It
    makes another one of an exact `TimeoutError`, without its notes, asks for an error's text, and
    sets attributes.
    """
    text, kind = text_of(error), type(error)
    if not isinstance(error, Exception) or isinstance(error, (StopIteration, StopAsyncIteration)):
        return _instead(error, RuntimeError(f"{kind.__name__} was raised: {text}"))
    try:
        is_plain = str(error) == text and kind.__setattr__ is BaseException.__setattr__
    except Exception:
        is_plain = False
    if is_plain and kind is not TimeoutError:
        return error
    shown = {
        "__str__": lambda self: text,
        "__setattr__": BaseException.__setattr__,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    try:
        same: Any = type(kind.__name__, (kind,), shown)
        return _instead(error, same.__new__(same, *error.args))
    except Exception:
        return _instead(error, RuntimeError(f"{kind.__name__}: {text}"))


def _instead(error: BaseException, other: Exception) -> Exception:
    """Another error, which has what one has, and is caused by it if it is of another kind."""
    other.__dict__.update(error.__dict__)
    cause = error.__cause__ if isinstance(other, type(error)) else error
    vars(BaseException)["__cause__"].__set__(other, cause)
    return other.with_traceback(error.__traceback__)


_udfs: weakref.WeakValueDictionary[str, ColumnUDF] = weakref.WeakValueDictionary()
_remembered: OrderedDict[str, ColumnUDF] = OrderedDict()


_making_processes = threading.Lock()


def _find(key: str) -> ColumnUDF:
    return _udfs[key]


def _arrive(
    kind: type[ColumnUDF], key: str, sent: bytes, path: list[str], what: str
) -> Callable[..., Series]:
    """The function that was sent to this process; loaded once."""
    udf = _udfs.get(key)
    if udf is None:
        # As multiprocessing does: what the caller could import, its nodes may need.
        sys.path += [each for each in path if each not in sys.path]
        udf = object.__new__(kind)
        try:
            udf.__dict__.update(pickling.loads(sent), _sent=sent)
            udf.arrive()
        except Exception as error:
            return partial(_cannot_be_called, what, error)
        _udfs[key] = _remembered[key] = udf
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
    return udf


def _cannot_be_called(what: str, error: Exception, *series: Series) -> Series:
    """Stands for a function that could not be loaded: Daft panics where loading one raises."""
    hint = f" {SHIP_MODULES}" if isinstance(error, ImportError) else ""
    raise SerializationError(
        f"{what} cannot be loaded in the worker process: {type(error).__name__}: {error}.{hint}"
    ) from error


def as_function(
    udf: ColumnUDF, name: str, type_: DataType, options: DaftOptions, batch_size: int
) -> Callable[..., Expression]:
    """A column's function as Daft's function of expressions.

    Args:
        udf: the column's function.
        name: what Daft's plans call it.
        type_: the column's type.
        options: how Daft calls it.
        batch_size: rows in each call, where the options do not say.
    """

    # Daft's own processes are those of Windows: where one of them is killed, nobody knows on what.
    by_daft = options.use_process and os.name != "posix"
    apart = options.use_process and not by_daft

    def call(*series: Series) -> Series:
        return udf.call_in_process(*series) if apart else udf(*series)

    call.__name__ = call.__qualname__ = name
    call.__module__ = _NOWHERE
    if udf.instances is not None:
        batch = method.batch(return_dtype=type_, batch_size=options.batch_size or batch_size)
        # A name of its own for each, which Daft's plans show.
        kind = type(name, (), {"__module__": _NOWHERE, "call": batch(_as_method(call))})
        bounded: Any = cls(
            kind,
            cpus=options.cpus,
            gpus=options.gpus,
            use_process=True if options.use_process else None,
            max_concurrency=udf.instances,
        )
        of_class: Callable[..., Expression] = bounded().call
        return of_class
    made: Callable[..., Expression] = func.batch(
        return_dtype=type_,
        batch_size=options.batch_size or batch_size,
        cpus=options.cpus,
        gpus=options.gpus,
        use_process=True if by_daft else None,
    )(call)
    return made


def _as_method(call: Callable[..., Series]) -> Callable[..., Series]:
    def method(self: object, *series: Series) -> Series:
        return call(*series)

    method.__name__ = method.__qualname__ = call.__name__
    return method


def struct_of(columns: Sequence[Sequence[Cell]]) -> pa.Array:
    """One column of cells; several as a struct with the fields "0", "1", ..."""
    arrays = [cells_array(column) for column in columns]
    if len(arrays) == 1:
        return arrays[0]
    return pa.StructArray.from_arrays(arrays, [str(place) for place in range(len(arrays))])


def cells_array(column: Sequence[Cell]) -> pa.Array:
    """A column of cells."""
    if isinstance(column, Records):
        return column.array()
    # `pa.array` would import pandas first, which takes a second or more.
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, column), np.int64, len(column)), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(column))]
    return pa.LargeBinaryArray.from_buffers(BINARY, len(column), buffers)
