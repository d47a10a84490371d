"""What the functions of one Daft query share in one process.

Daft pickles every function and calls it on threads of its own, or in other processes. A `Query` is
pickled as its key. In the process that made it the key leads back to it; elsewhere it makes one
that stands for it there.
"""

from __future__ import annotations

import contextvars
import itertools
import pickle
import threading
import uuid
import weakref
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import cloudpickle

from hypernodes.cache.base import Cache
from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Hooks
from hypernodes.engines.base import Engine
from hypernodes.errors import CALLER, SerializationError, users_place
from hypernodes.event_loops import CALL, CANCELLATION, CancelToken
from hypernodes.plan import PipelineLike
from hypernodes.run.execution import Execution
from hypernodes.run.resolve import Resolved, Session
from hypernodes.run.workers import SEQUENTIAL

R = TypeVar("R")

IN_DAFT_QUERY: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "hypernodes_daft", default=False
)
"""Whether a Daft query is calling this: a query inside it would wait for the same threads."""

_STOPPED = -1
"""In place of the first item that failed: every item comes after it."""

_REMEMBERED = 8
"""How many queries of other processes a worker remembers: those that run at once, and a few."""


class Query:
    """What the functions of one Daft query share in one process.

    Args:
        remote: values leave the process: on Ray, or to a node with `use_process`.
        stops: no item after the first one that fails is to be started.
        is_collected: its rows are taken out once, as results; else it is a lazy frame, which may be
            asked for them several times, and for some of them.
        key: what it is found by, in another process; None for a new one.

    Attributes:
        failed_at: the lowest item that is known here to have failed.
        session: what the run's nodes share.
        on_stop: is called when no more items are wanted.
        has_contexts: whether callbacks want something to be entered around nodes.
    """

    def __init__(
        self, remote: bool, stops: bool, is_collected: bool = True, key: str | None = None
    ) -> None:
        self.key = key or uuid.uuid4().hex
        self.remote = remote
        self.stops = stops
        self.is_collected = is_collected
        self.failed_at: int | None = None
        self.session = Session()
        self.on_stop: list[Callable[[], None]] = []
        self.has_contexts = False
        self._context = contextvars.copy_context()
        self._context.run(IN_DAFT_QUERY.set, True)
        self._context.run(CALLER.set, users_place())
        self._token = self._new_token()
        self._objects: list[object] = []
        self._kept: dict[bytes, Any] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._batches: weakref.WeakSet[Query] = weakref.WeakSet()
        _queries[self.key] = self

    def __reduce__(self) -> tuple[object, ...]:
        return _query, (self.key, self.remote, self.stops, self.is_collected)

    def of_batch(self) -> Query:
        """The same for one batch of rows, with failures of its own."""
        made = object.__new__(Query)
        made.__dict__.update(self.__dict__, failed_at=None)
        with self._lock:
            self._batches.add(made)
        return made

    def of_items(self, items: Sequence[int], starts: Sequence[int], stops: bool) -> ItemsQuery:
        """The same for the items of nested maps, which are numbered through a batch of rows.

        Args:
            items: for each of them the row's own item.
            starts: for each row the number of its first one; then how many there are.
            stops: no item of a row after the first one that fails is to be started.
        """
        return ItemsQuery(self, items, starts, stops)

    def indexes(self, item: int) -> tuple[int, ...]:
        """The place of an item in its map, after those of the items of outer maps around it."""
        return (item,)

    def execution(
        self,
        pipeline: PipelineLike,
        engine: Engine,
        cache: Cache | None,
        ctx: CallbackContext | None = None,
    ) -> Execution:
        """An execution of a pipeline's nodes as part of this run, of which nobody hears.

        Args:
            pipeline: the pipeline.
            engine: what nested pipelines without an engine use.
            cache: where results are stored.
            ctx: the scope around the nodes, as callbacks see it.
        """
        settings = Resolved(pipeline, engine, cache, Hooks(()), self.session)
        return Execution(settings, SEQUENTIAL, ctx, None)

    def call(self, func: Callable[..., R], *arguments: object) -> R:
        """Call a function with the context variables of the engine's caller.

        Args:
            func: the function.
            arguments: its positional arguments.
        """
        # Daft's threads have none. A copy, since a context can be entered once at a time.
        return self._context.copy().run(func, *arguments)

    def fail(self, item: int) -> None:
        """Note that an item has failed."""
        with self._lock:
            if self.stops and (self.failed_at is None or item < self.failed_at):
                self.failed_at = item

    def _new_token(self) -> CancelToken:
        """Ends what nodes wait for, before they are tried again say, and the runs inside them."""
        token = CancelToken()
        self._context.run(CALL.set, token)
        if CANCELLATION.get() is None:  # else the run around ends them
            self._context.run(CANCELLATION.set, token)
        return token

    def stop(self) -> None:
        """Start no more items: nobody waits for them."""
        self.failed_at = _STOPPED
        self._token.cancel()
        for each in self.on_stop:
            each()

    def stop_batches(self) -> None:
        """Start no more rows of the batches that are going on: a lazy frame can be run again."""
        with self._lock:
            for batch in self._batches:
                batch.failed_at = _STOPPED
            stopped, self._token = self._token, self._new_token()
        stopped.cancel()
        for each in self.on_stop:
            each()

    @property
    def is_stopped(self) -> bool:
        """Whether the whole query was stopped."""
        return self.failed_at == _STOPPED

    def is_cancelled(self, item: int) -> bool:
        """Whether an item is no longer wanted."""
        return self.failed_at is not None and item > self.failed_at

    def dump(self, value: object) -> bytes:
        """Pickle a value; one that cannot be pickled stays here, and a reference is pickled.

        Raises:
            SerializationError: it cannot be pickled, and has to leave the process.
        """
        try:
            data = pickle.dumps(value, protocol=5)
            # What `__main__` defines is pickled by name, and a worker's `__main__` is another.
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
        return pickle.dumps(self.refer(value))

    def refer(self, value: object) -> LocalRef:
        """A reference to an object, which lives in this process as long as the query does."""
        with self._lock:
            self._objects.append(value)
            return LocalRef(self.key, len(self._objects) - 1)

    def keep(self, value: object) -> bytes:
        """Keep an object of this process beside the rows.

        Args:
            value: the object.

        Returns:
            A name for it, which may be in a row.
        """
        name = b"%d" % next(self._numbers)
        self._kept[name] = value
        return name

    def take(self, name: bytes) -> Any:
        """An object that is kept, which it is no longer then.

        Args:
            name: its name.
        """
        return self._kept.pop(name)

    def referred(self, place: int) -> object:
        """The object that a reference leads to."""
        return self._objects[place]


class ItemsQuery(Query):
    """A query as the items of nested maps see it; see `Query.of_items`."""

    def __init__(
        self, around: Query, items: Sequence[int], starts: Sequence[int], stops: bool
    ) -> None:
        self.__dict__.update(around.__dict__, stops=stops)
        self._around = around
        self._items = items
        self._starts = starts
        self._failed: dict[int, int] = {}

    @property
    def failed_at(self) -> int | None:  # type: ignore[override]
        failed = self._around.failed_at
        if failed is None and self._failed:
            return min(list(self._failed.values()))
        return failed

    @property
    def is_stopped(self) -> bool:
        return self._around.is_stopped

    def fail(self, item: int) -> None:
        if self.stops:
            row = self._row(item)
            with self._lock:
                self._failed[row] = min(item, self._failed.get(row, item))
            self._around.fail(self._items[item])

    def stop(self) -> None:
        self._around.stop()

    def _row(self, item: int) -> int:
        """The place of the row that an item is of."""
        return bisect_right(self._starts, item) - 1

    def indexes(self, item: int) -> tuple[int, ...]:
        row = self._row(item)
        return (*self._around.indexes(self._items[item]), item - self._starts[row])

    def is_cancelled(self, item: int) -> bool:
        if self._around.is_cancelled(self._items[item]):
            return True
        if not self._failed:
            return False
        failed = self._failed.get(self._row(item))
        return failed is not None and item > failed


_queries: weakref.WeakValueDictionary[str, Query] = weakref.WeakValueDictionary()
_remembered: OrderedDict[str, Query] = OrderedDict()


def stop_lazy_frames() -> None:
    """Start no more rows of any lazy frame that Daft is working at in this process."""
    for query in list(_queries.values()):
        if not query.is_collected:
            query.stop_batches()


def _query(key: str, remote: bool, stops: bool, is_collected: bool) -> Query:
    """The query itself in its own process; in another one what stands for it there."""
    query = _queries.get(key)
    if query is None:
        query = _remembered[key] = Query(remote, stops, is_collected, key)
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
    return query


class LocalRef:
    """A reference to an object of one process: unpickling it there gives the object.

    Args:
        key: the query that holds the object.
        place: its place there.
    """

    def __init__(self, key: str, place: int) -> None:
        self._key = key
        self._place = place

    def __reduce__(self) -> tuple[object, ...]:
        return _referred, (self._key, self._place)


def _referred(key: str, place: int) -> object:
    query = _queries.get(key)
    if query is None:
        raise SerializationError("a value that cannot be pickled was needed in another process")
    return query.referred(place)
