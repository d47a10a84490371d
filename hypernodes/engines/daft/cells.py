"""Cells: a value on its way between two nodes of a Daft frame, as bytes in a binary column.

Daft's own types change values silently (an int column makes 2 out of 2.7), so a value travels
pickled. Where there is a cache, the value's signature goes before it:

    cell    = pickle                                     without a cache
    cell    = length of signature, signature, content    with one
    content = pickle | "K", place of the cache, key of its entry

A cell that has no value is a pickle too: loading it raises `Skip`, which says why. So a failed
item passes through the nodes after it, and none of them has to look at each value.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, Protocol

import cloudpickle

from hypernodes.cache.base import Cache
from hypernodes.cache.lazy_value import CachedValue, EntryLost, Pickled, gone
from hypernodes.engines.daft.query import LocalRef, Query
from hypernodes.errors import SerializationError, listing
from hypernodes.identity.values import Digest
from hypernodes.run import pickling
from hypernodes.run.workers import drive

Cell = bytes

_KEY = ord("K")  # no pickle begins with it
_PICKLED_SIGNATURE = 255
"""In place of the length: the rest of the cell is a pickle of the signature and the content."""
_COPIED = 4_096
"""Below so many bytes, copying a cell's content is quicker than a `memoryview` of it."""


_RAISES = __name__.encode()
"""Is near the beginning of a cell whose loading raises, and of few others."""
_HEAD = 512
"""In so many bytes, after the longest signature."""


class Skip(Exception):
    """A cell has no value.

    Attributes:
        kind: "failed"; "cancelled", an item before it had failed; "lost", the cache no longer has
            the entry: the item has to run again.
        order: the failed node's place among all nodes.
    """

    def __init__(self, kind: Literal["failed", "cancelled", "lost"], order: int = 0) -> None:
        super().__init__(kind)
        self.kind = kind
        self.order = order

    def pickled(self, query: Query) -> bytes:
        """A pickle that raises it again when it is loaded."""
        return pickle.dumps(_Raises(_skip, self.kind))


class Failed(Skip):
    """A node raised an error.

    Attributes:
        error: the error.
    """

    def __init__(self, order: int, error: BaseException) -> None:
        super().__init__("failed", order)
        self.error = error

    def pickled(self, query: Query) -> bytes:
        error: BaseException | LocalRef
        error = pickling.sendable_error(self.error) if query.remote else query.refer(self.error)
        return bytes(cloudpickle.dumps(_Raises(_failed, self.order, error)))


class _Raises:
    """Unpickling it calls a function, which raises."""

    def __init__(self, *call: object) -> None:
        self._call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self._call[0], self._call[1:]


def _skip(kind: Literal["cancelled", "lost"]) -> None:
    raise Skip(kind)


def _failed(order: int, error: BaseException) -> None:
    raise Failed(order, error)


class Cells:
    """Makes cells of values, and reads them.

    Args:
        query: what the query shares in this process.
        caches: the caches of its pipelines.

    Attributes:
        signed: whether cells carry signatures: some pipeline has a cache.
        native: columns with values of Daft's own types in place of cells.
    """

    def __init__(self, query: Query, caches: Sequence[Cache]) -> None:
        self.query = query
        self.caches = tuple(caches)
        self.signed = bool(caches)
        self.native: Collection[str] = ()

    def __reduce__(self) -> tuple[object, ...]:
        return Cells, (self.query, self.caches)

    def dump(
        self, value: object, signature: Digest | None = None, place: int | None = None
    ) -> Cell:
        """The cell of a value.

        Args:
            value: the value, or a `CachedValue` of one that was not loaded.
            signature: what identifies it.
            place: of the cache where a `CachedValue` is.

        Raises:
            SerializationError: the value cannot be pickled, and has to leave the process.
        """
        if not self.signed:
            return self.query.dump(value)
        if type(value) is CachedValue:
            assert place is not None
            return self.dump_key(signature, value.key, place)
        return _signed(signature, self.query.dump(value))

    def dump_failed(self, values: Sequence[object]) -> Cell:
        """The cell of a list in which there are `FailedItem`s, with errors of any class.

        Args:
            values: the list.
        """
        try:
            data = pickling.dumps(values, "a list", {})
        except SerializationError:
            return self.dump(values)
        return _signed(None, data) if self.signed else data

    def place_of(self, cache: Cache | None) -> int | None:
        """The place of a cache among `caches`: the same where these have been sent to.

        A cache that is sent is another object there, and each function's has come by itself.
        """
        return next((at for at, each in enumerate(self.caches) if each is cache), None)

    def dump_key(self, signature: Digest | None, key: str, place: int) -> Cell:
        """The cell of a value that is in a cache, by its key.

        Args:
            signature: what identifies the value.
            key: the cache's key for it.
            place: of the cache among `caches`.
        """
        return _signed(signature, b"%c%c%b" % (_KEY, place, key.encode()))

    def dump_skip(self, skip: Skip) -> Cell:
        """The cell of something that has no value."""
        return (b"\0" if self.signed else b"") + skip.pickled(self.query)

    def load(self, cell: Cell) -> Any:
        """The value.

        Raises:
            Skip: there is none.
        """
        if not self.signed:
            return pickle.loads(cell)
        if cell[0] == _PICKLED_SIGNATURE:
            return self._load_lazy(self.read(cell)[0])
        start = 1 + cell[0]
        if cell[start] == _KEY:
            return self._load_lazy(self._cached(cell[start:]))
        return pickle.loads(cell[start:] if len(cell) < _COPIED else memoryview(cell)[start:])

    def check(self, cell: Cell) -> None:
        """See that a cell has a value, without loading that.

        Raises:
            Skip: there is none.
        """
        if _RAISES in cell[:_HEAD]:
            self.load(cell)

    def _load_lazy(self, value: CachedValue | Pickled) -> object:
        try:
            return drive(value.load())
        except EntryLost:
            raise Skip("lost") from None

    def read(
        self, cell: Cell, loads: Callable[[Any], Any] = pickle.loads
    ) -> tuple[CachedValue | Pickled, Digest | None]:
        """A value, not loaded yet, and its signature.

        Args:
            cell: the cell.
            loads: unpickles it; see `load_named`.
        """
        if not self.signed:
            return Pickled(cell, loads), None
        length = cell[0]
        content: bytes | memoryview
        if length == _PICKLED_SIGNATURE:
            signature, content = pickle.loads(memoryview(cell)[1:])
        else:
            signature, content = cell[1 : 1 + length] or None, memoryview(cell)[1 + length :]
        if content[0] == _KEY:
            return self._cached(bytes(content)), signature
        return Pickled(content, loads), signature

    def pickled(self, cell: Cell) -> Any:
        """A cell's pickle, without what comes before it."""
        if not self.signed or cell[0] == _PICKLED_SIGNATURE:
            return cell
        return memoryview(cell)[1 + cell[0] :]

    def _cached(self, content: bytes) -> CachedValue:
        """The value of a cache's entry, by a cell's content."""
        return CachedValue(
            self.caches[content[1]], content[2:].decode(), self.query.session.warn, gone
        )


def load_named(what: str, data: Any) -> Any:
    """`pickle.loads`, with an error that names the value.

    Args:
        what: the value, for the message.
        data: its pickle.

    Raises:
        Skip: there is none.
        SerializationError: it cannot be unpickled.
    """
    try:
        return pickle.loads(data)
    except Skip:
        raise
    except Exception as error:
        raise unloadable(what, data, error) from error


def unloadable(what: str, data: Any, error: BaseException) -> SerializationError:
    """The error for a value that was pickled and cannot be unpickled.

    Args:
        what: the value.
        data: its pickle.
        error: what unpickling raised.
    """
    if isinstance(error, ImportError):
        return SerializationError(f"{what} cannot be unpickled here: {error}. {SHIP_MODULES}")
    strings: list[object] = []
    classes: dict[str, None] = {}
    with suppress(Exception):
        for opcode, argument, _ in pickletools.genops(bytes(data)):
            if opcode.name == "STACK_GLOBAL":
                classes[".".join(map(str, strings[-2:]))] = None
            elif isinstance(argument, str):
                strings.append(argument)
    return SerializationError(
        f"{what} cannot be unpickled: {type(error).__name__}: {error}. It has objects of "
        f"{listing(classes, 3)}: a class whose __init__ takes something else than it passes on "
        "needs a __reduce__"
    )


SHIP_MODULES = (
    "Ship your modules to Ray's workers: "
    'ray.init(runtime_env={"working_dir": "."}), or "py_modules" for a package'
)


def _signed(signature: Digest | None, content: bytes) -> Cell:
    if not signature:
        return b"\0" + content
    if type(signature) is bytes:
        return b"%c%b%b" % (len(signature), signature, content)
    # A subclass of bytes says more than the digest: `Fresh`, that it is not to be looked up.
    return b"%c%b" % (_PICKLED_SIGNATURE, pickle.dumps((signature, content)))


class RowOf:
    """A row of columns: for a column its cell.

    Args:
        columns: the columns.
        place: the row's place in them.
        around: for other columns, the row that this one is an item of.
    """

    __slots__ = ("around", "columns", "place")

    def __init__(
        self, columns: Mapping[str, Sequence[Cell]], place: int, around: RowOf | None = None
    ) -> None:
        self.columns = columns
        self.place = place
        self.around = around

    def __getitem__(self, name: str) -> Cell:
        column = self.columns.get(name)
        if column is not None:
            return column[self.place]
        assert self.around is not None
        return self.around[name]


class CellsByColumn(Protocol):
    """Has a cell for each column: a row."""

    def __getitem__(self, name: str, /) -> Cell:
        """The cell in a column."""


class CellValues(Mapping[str, Any]):
    """The values of a row's cells by name, each loaded when it is looked at.

    Args:
        cells: reads cells.
        row: has the cells, by column.
        columns: the column of each value.
        known: values that are in no column.
    """

    __slots__ = ("_cells", "_columns", "_known", "_row")

    def __init__(
        self,
        cells: Cells,
        row: CellsByColumn,
        columns: Mapping[str, str],
        known: Mapping[str, object],
    ) -> None:
        self._cells = cells
        self._row = row
        self._columns = columns
        self._known = known

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        column = self._columns[name]
        cell = self._row[column]
        return cell if column in self._cells.native else self._cells.load(cell)

    def __iter__(self) -> Iterator[str]:
        yield from self._columns
        yield from self._known

    def __len__(self) -> int:
        return len(self._columns) + len(self._known)

    def __repr__(self) -> str:
        return repr(dict(self))
