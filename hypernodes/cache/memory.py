"""`MemoryCache`: results in this process."""

from __future__ import annotations

import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from hypernodes.cache.base import Cache, Entry, check_age, check_bytes
from hypernodes.cache.format import dump


class MemoryCache(Cache):
    """Keeps results in memory, for the life of the object.

    Values are kept as bytes: what a node does to a value that it was given cannot reach the
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

    def __init__(
        self, max_bytes: int | None = None, max_age: float | timedelta | None = None
    ) -> None:
        self.max_bytes = check_bytes(max_bytes)
        self.max_age = check_age(max_age)
        self._entries: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        return self._get(key) is not None

    def load(self, key: str) -> Any:
        kept = self._get(key)
        if kept is None:
            raise KeyError(key)
        return pickle.loads(kept.data)

    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        about = about or {}
        kept = _Kept(dump(value), about.get("time") or time.time(), about)
        with self._lock:
            if key in self._entries:
                self._drop(key)
            self._size += len(kept.data)
            self._entries[key] = kept
            while self.max_bytes is not None and self._size > self.max_bytes:
                self._drop(next(iter(self._entries)))

    def remove(self, key: str) -> None:
        with self._lock:
            self._drop(key)

    def entries(self) -> Iterator[Entry]:
        with self._lock:
            kept = list(self._entries.items())
        for key, each in kept:
            yield Entry(key, len(each.data), each.made, each.used, each.about)

    def entry(self, key: str) -> Entry:
        kept = self._entries[key]
        return Entry(key, len(kept.data), kept.made, kept.used, kept.about)

    def _get(self, key: str) -> _Kept | None:
        if key not in self._entries:  # the lock is for those who change something
            return None
        with self._lock:
            kept = self._entries.get(key)
            if kept is None:
                return None
            now = time.time()
            if self.max_age is not None and kept.made < now - self.max_age:
                self._drop(key)
                return None
            kept.used = now
            self._entries.move_to_end(key)
            return kept

    def _drop(self, key: str) -> None:
        kept = self._entries.pop(key, None)
        if kept is not None:
            self._size -= len(kept.data)

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> Any:
        return type(self), (self.max_bytes, self.max_age)

    def __repr__(self) -> str:
        return f"<MemoryCache: {len(self)} entries, {self._size:,} bytes>"


class _Kept:
    """One entry."""

    __slots__ = ("about", "data", "made", "used")

    def __init__(self, data: bytes, made: float, about: Mapping[str, Any]) -> None:
        self.data = data
        self.made = made
        self.used = made
        self.about = about
