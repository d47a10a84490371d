"""Cells: a value on its way between two nodes of a Daft frame, as bytes in a binary column.

Daft's own types change values silently (an int column makes 2 out of 2.7), so a value travels
pickled. Where there is a cache, what identifies it goes before it:

    cell   = pickle                                      without a cache
    cell   = length of signature, signature, content     with one
    content = pickle | "K" key of an entry of the cache

A cell that has no value is a pickle too: loading it raises `Skip`, which says why. So a failed
item passes through the nodes after it without a look at each value.
"""

from __future__ import annotations

import contextvars
import pickle
import struct
import threading
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cloudpickle

from hypernodes.cache.lazy_value import CachedValue, EntryLost, Pickled, gone
from hypernodes.dispatch import Hooks
from hypernodes.engines.daft.engine import IN_DAFT_QUERY
from hypernodes.errors import SerializationError
from hypernodes.identity.values import Digest
from hypernodes.retries import Retry
from hypernodes.run import pickling
from hypernodes.run.execution import Execution
from hypernodes.run.resolve import Resolved, Session
from hypernodes.run.workers import SEQUENTIAL, drive

Cell = bytes
_KEY = ord("K")  # no pickle begins with it
_COPIED = 4_096
"""A content of fewer bytes is sooner copied than looked at where it is."""


# -- What a query shares in one process ----------------------------------------------------------


class Query:
    """What the functions of one Daft query share in one process.

    Args:
        remote: values leave the process: on Ray, or to a node with `use_process`.
        stops: nothing after the first item that fails is to be started.

    Attributes:
        failed_at: the first item that has failed here, of those known.
    """

    def __init__(self, remote: bool, stops: bool, key: str | None = None) -> None:
        self.key = key or uuid.uuid4().hex
        self.remote = remote
        self.stops = stops
        self.failed_at: int | None = None
        self.session = Session()
        self._context = contextvars.copy_context()
        self._context.run(IN_DAFT_QUERY.set, True)
        self._kept: list[Any] = []
        self._lock = threading.Lock()
        _queries[self.key] = self

    def __reduce__(self) -> Any:
        return _query, (self.key, self.remote, self.stops)

    def call(self, func: Callable[..., Any], *arguments: Any) -> Any:
        """Call with the context variables of whoever called the engine."""
        return self._context.copy().run(func, *arguments)

    def fail(self, item: int) -> None:
        """Note that an item has failed."""
        with self._lock:
            if self.stops and (self.failed_at is None or item < self.failed_at):
                self.failed_at = item

    def stop(self) -> None:
        """Start nothing more: nobody waits for it."""
        self.failed_at = -1

    def is_off(self, item: int) -> bool:
        """Whether an item is not wanted any more."""
        return self.failed_at is not None and item > self.failed_at

    def dump(self, value: Any) -> bytes:
        """Pickle a value; what cannot be pickled stays here, and its cell says where.

        Raises:
            SerializationError: it cannot be pickled, and has to leave the process.
        """
        try:
            data = pickle.dumps(value, protocol=5)
            if not self.remote or b"__main__" not in data:
                return data
        except Exception:
            pass
        try:
            return bytes(cloudpickle.dumps(value, protocol=5))
        except Exception as error:
            if self.remote:
                raise SerializationError(
                    f"a value of type {type(value).__name__} cannot be sent to another process: "
                    f"{error}"
                ) from error
        return pickle.dumps(self.keep(value))

    def keep(self, value: Any) -> Kept:
        """Keep an object in this process, for as long as the query lives."""
        with self._lock:
            self._kept.append(value)
            return Kept(self.key, len(self._kept) - 1)

    def kept(self, place: int) -> Any:
        """What was kept."""
        return self._kept[place]


_queries: weakref.WeakValueDictionary[str, Query] = weakref.WeakValueDictionary()
_arrived: OrderedDict[str, Query] = OrderedDict()


def _query(key: str, remote: bool, stops: bool) -> Query:
    """The query, where it is; in another process one that stands for it there."""
    query = _queries.get(key)
    if query is None:
        query = _arrived[key] = Query(remote, stops, key)
        while len(_arrived) > 8:
            _arrived.popitem(last=False)
    return query


class Kept:
    """Pickles to where an object is kept; unpickling gives the object."""

    def __init__(self, key: str, place: int) -> None:
        self._key = key
        self._place = place

    def __reduce__(self) -> Any:
        return _kept, (self._key, self._place)


def _kept(key: str, place: int) -> Any:
    query = _queries.get(key)
    if query is None:
        raise SerializationError("a value that cannot be pickled was needed in another process")
    return query.kept(place)


# -- Cells without a value -----------------------------------------------------------------------


class Skip(Exception):
    """There is no value.

    Attributes:
        kind: "failed"; "off", called off; "empty", a map without items; "gone", an entry of the
            cache that could not be loaded: the item has to be done again.
        order: the place of the node that failed among all nodes.
        error: what it raised.
    """

    def __init__(self, kind: str, order: int = 0, error: Any = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.order = order
        self.error = error

    def content(self, query: Query) -> bytes:
        """A pickle that raises it again."""
        if self.error is None:
            return pickle.dumps(_Raises(self.kind, self.order))
        error = self.error
        sent: Any = pickling.sendable_error(error) if query.remote else query.keep(error)
        return bytes(cloudpickle.dumps(_Raises(self.kind, self.order, sent)))


class _Raises:
    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __reduce__(self) -> Any:
        return _skip, self._arguments


def _skip(*arguments: Any) -> None:
    raise Skip(*arguments)


class Cells:
    """Makes cells of values, and reads them.

    Args:
        query: what the query shares in this process.
        caches: the caches of its pipelines.
    """

    def __init__(self, query: Query, caches: Sequence[Any]) -> None:
        self.query = query
        self.caches = tuple(caches)
        self.signed = bool(caches)

    def __reduce__(self) -> Any:
        return Cells, (self.query, self.caches)

    def cell(self, value: Any, signature: Digest | None = None, cache: Any = None) -> Cell:
        """The cell of a value.

        Args:
            value: the value, or that it is stored.
            signature: what identifies it.
            cache: where it is stored.
        """
        if not self.signed:
            return self.query.dump(value)
        if type(value) is CachedValue:
            return self.of_key(signature, value.key, cache)
        return _signed(signature, self.query.dump(value))

    def of_key(self, signature: Digest | None, key: str, cache: Any) -> Cell:
        """The cell of a value that is in a cache, as a key."""
        place = next(at for at, each in enumerate(self.caches) if each is cache)
        return _signed(signature, b"%c%c%b" % (_KEY, place, key.encode()))

    def skip(self, skip: Skip) -> Cell:
        """The cell of something that has no value."""
        return (b"\0" if self.signed else b"") + skip.content(self.query)

    def load(self, cell: Cell) -> Any:
        """The value.

        Raises:
            Skip: there is none.
        """
        if not self.signed:
            return pickle.loads(cell)
        start = 1 + cell[0]
        if start == 256:
            return self._value(self.read(cell)[0])
        if cell[start] == _KEY:
            return self._value(self._stored(cell[start:]))
        return pickle.loads(cell[start:] if len(cell) < _COPIED else memoryview(cell)[start:])

    def _value(self, deferred: Any) -> Any:
        try:
            return drive(deferred.load())
        except EntryLost:
            raise Skip("gone") from None

    def read(self, cell: Cell) -> tuple[Any, Digest | None]:
        """A value that is loaded when it is needed, and what identifies it."""
        if not self.signed:
            return Pickled(cell), None
        length = cell[0]
        content: Any
        if length == 255:
            signature, content = pickle.loads(memoryview(cell)[1:])
        else:
            signature, content = cell[1 : 1 + length] or None, memoryview(cell)[1 + length :]
        if content[0] == _KEY:
            return self._stored(bytes(content)), signature
        return Pickled(content), signature

    def _stored(self, content: bytes) -> CachedValue:
        """What is in a cache, of what its cell says."""
        return CachedValue(
            self.caches[content[1]], content[2:].decode(), self.query.session.warn, gone
        )


def _signed(signature: Digest | None, content: bytes) -> Cell:
    if not signature:
        return b"\0" + content
    if type(signature) is bytes:
        return b"%c%b%b" % (len(signature), signature, content)
    return b"\xff" + pickle.dumps((signature, content))  # a digest that says more


def execution_of(
    pipeline: Any, engine: Any, cache: Any, session: Session, ctx: Any = None
) -> Execution:
    """An execution of nodes one by one, which tells nobody."""
    settings = Resolved(pipeline, engine, cache, Hooks(()), session)
    return Execution(settings, SEQUENTIAL, ctx)


# -- What callbacks are told ---------------------------------------------------------------------

Mark = tuple[float, float | None, Any, Sequence[Retry]] | str | None
"""When a node started, how long it took (None where it failed), what had seen its id, and its
retries; or the signature of what was in the cache; None where it did not run."""

_TIMES = struct.Struct("<cdd")
_TIMES_ALONE = b"T"  # a pickle begins with another byte


def pack_mark(mark: Mark) -> bytes:
    """A mark as bytes."""
    if type(mark) is tuple and mark[1] is not None and mark[2] is None and not mark[3]:
        return pack_times(mark[0], mark[1])
    try:
        return pickle.dumps(mark)
    except Exception:  # what was raised before a retry is of a class of `__main__`, say
        return bytes(cloudpickle.dumps(mark))


NO_MARK = pickle.dumps(None)
"""The mark of what did not run."""


def pack_times(started_at: float, duration: float) -> bytes:
    """The mark of a run about which there is nothing else to tell."""
    return _TIMES.pack(_TIMES_ALONE, started_at, duration)


def unpack_mark(data: bytes) -> Mark:
    """The mark again."""
    if data[0] == _TIMES_ALONE[0]:
        _, started_at, duration = _TIMES.unpack(data)
        return started_at, duration, None, ()
    mark: Mark = pickle.loads(data)
    return mark


class RecordingNodeHooks(Hooks):
    """Writes down in short what callbacks would be told of one node's run.

    Args:
        within: the callbacks; in another process those that stand in for them there.

    Attributes:
        mark: what it has written down.
    """

    def __init__(self, within: Hooks) -> None:
        # No methods are looked up: there is one of these for each item.
        self.callbacks = within.callbacks
        self.lock = threading.RLock()
        self._within = within
        self._entered = False
        self._retries: list[Retry] = []
        self.mark: Mark = None

    def fire(self, hook: str, *arguments: Any) -> None:
        ctx = arguments[-1]
        if hook == "on_node_cached":
            self.mark = arguments[1]
        elif hook == "on_node_retry":
            retry: Retry = arguments[1]
            self._retries.append(replace(retry, error=pickling.sendable_error(retry.error)))
        elif hook == "on_node_end":
            self.mark = (ctx.started_at, arguments[2], self._seen(ctx), self._retries)
        elif hook == "on_error":
            self.mark = (ctx.started_at, None, self._seen(ctx), self._retries)

    def node_contexts(self, ctx: Any) -> Any:
        contexts = self._within.node_contexts(ctx)
        self._entered = bool(contexts)
        return contexts

    def _seen(self, ctx: Any) -> Any:
        """What was entered has seen this id: hooks are to be told of the same one."""
        return (ctx.id, ctx.brought_back) if self._entered else None


class CellValues(Mapping[str, Any]):
    """Values by name, loaded when they are looked at.

    Args:
        load: gives a cell's value.
        row: cells by column.
        columns: the column of each value.
        known: values that are in no column.
    """

    __slots__ = ("_columns", "_known", "_load", "_row")

    def __init__(
        self,
        load: Callable[[Cell], Any],
        row: Mapping[str, Cell],
        columns: Mapping[str, str],
        known: Mapping[str, Any],
    ) -> None:
        self._load = load
        self._row = row
        self._columns = columns
        self._known = known

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        return self._load(self._row[self._columns[name]])

    def __iter__(self) -> Iterator[str]:
        yield from self._columns
        yield from self._known

    def __len__(self) -> int:
        return len(self._columns) + len(self._known)

    def __repr__(self) -> str:
        return repr(dict(self))
