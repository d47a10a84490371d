"""`MemoryCache`: results in this process."""

from __future__ import annotations

import os
import pickle
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, cast

from hypernodes import moved
from hypernodes.cache.base import Cache, Entry, check_age, check_bytes, is_fresh
from hypernodes.cache.entry_files import TABLE
from hypernodes.cache.format import dump


class MemoryCache(Cache):
    """Stores results in memory, for the life of the object.

    Values are stored as bytes: what a node does to a value that it was given cannot reach the
    entry.

    Args:
        max_bytes: the least recently used entries go when there is more than this. None for
            no limit.
        max_age: seconds (or a `timedelta`) after which an entry is not used any more.

    >>> cache = MemoryCache()
    >>> cache.store("key", [1, 2]); "key" in cache, cache.load("key")
    (True, [1, 2])
    """

    shared = False
    checks_values = True

    def __init__(
        self,
        max_bytes: int | None = None,
        max_age: float | timedelta | None = None,
        **unknown: NoReturn,
    ) -> None:
        moved.refuse(MemoryCache.__init__, unknown)
        self.max_bytes = check_bytes(max_bytes)
        self.max_age = check_age(max_age)
        # Only one that has a limit has to know which entry was used last.
        self._data: dict[str, bytes] = {} if max_bytes is None else OrderedDict()
        # No object for each entry: Python's garbage collector would look at all of them.
        self._about: dict[str, Mapping[str, Any]] = {}
        self._used: dict[str, float] = {}
        self._size = 0
        self._lock = threading.Lock()
        _caches.add(self)
        # A subclass may do more than load: what is found then goes through its `load`.
        self._has_limits = max_bytes is not None or max_age is not None
        self._loads_itself = type(self).load is MemoryCache.load

    def __contains__(self, key: str) -> bool:
        # A miss takes no lock: that is for those who change something.
        return key in self._data and self._get(key) is not None

    def load(self, key: str) -> Any:
        """The value of an entry, as a copy that the caller may change.

        Raises:
            KeyError: there is none.
        """
        data = self._get(key)
        if data is None:
            raise KeyError(key)
        return pickle.loads(data)

    def find(self, key: str) -> Callable[[], Any] | None:
        if not self._loads_itself:
            return super().find(key)
        if self._has_limits:
            data = self._get(key) if key in self._data else None
        else:  # nothing else has to change with it: no lock
            data = self._data.get(key)
            if data is not None:
                self._used[key] = time.time()
        return None if data is None else partial(pickle.loads, data)

    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        about = about or {}
        if "time" not in about:
            about = {**about, "time": time.time()}
        data = dump(value)
        with self._lock:
            if key in self._data:
                self._drop(key)
            self._size += len(data)
            self._data[key] = data
            self._about[key] = about
            while self.max_bytes is not None and self._size > self.max_bytes:
                self._drop(next(iter(self._data)))

    def remove(self, key: str) -> None:
        with self._lock:
            self._drop(key)

    def entries(self) -> Iterator[Entry]:
        with self._lock:
            found = [self.entry(key) for key in self._data if key != TABLE]
        yield from found

    def entry(self, key: str) -> Entry:
        about = self._about[key]
        made = about["time"]
        return Entry(key, len(self._data[key]), made, self._used.get(key, made), about)

    def _get(self, key: str) -> bytes | None:
        with self._lock:
            data = self._data.get(key)
            if data is None:
                return None
            if (
                self.max_age is not None
                and not is_fresh(self._about[key]["time"], self.max_age)
                and key != TABLE
            ):
                self._drop(key)
                return None
            self._used[key] = time.time()
            if self.max_bytes is not None:
                cast(OrderedDict[str, bytes], self._data).move_to_end(key)
            return data

    def _drop(self, key: str) -> None:
        data = self._data.pop(key, None)
        if data is not None:
            self._size -= len(data)
            del self._about[key]
            self._used.pop(key, None)

    def __len__(self) -> int:
        return len(self._data) - (TABLE in self._data)

    def __reduce__(self) -> tuple[type[MemoryCache], tuple[int | None, float | None]]:
        return type(self), (self.max_bytes, self.max_age)

    def __repr__(self) -> str:
        return f"<MemoryCache: {len(self)} entries, {self._size:,} bytes>"


_caches: weakref.WeakSet[MemoryCache] = weakref.WeakSet()
_held: list[threading.Lock] = []


def _hold() -> None:
    """Before a fork: a child would never get a lock that another thread has, which it lacks."""
    for cache in list(_caches):
        cache._lock.acquire()
        _held.append(cache._lock)


def _let_go() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)
