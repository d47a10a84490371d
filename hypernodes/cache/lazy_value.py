"""Lazily loaded cache hits."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable
from typing import Any

from hypernodes.errors import CacheWarning, warn_caller


class EntryLost(BaseException):
    """A hit's entry is gone, in a process that cannot compute the value again."""


class CachedValue:
    """A cache hit that is loaded when it is needed.

    Args:
        cache: where it is.
        key: its key there.
        warn: warns if the cache cannot be read.
        again: computes the value if the entry is gone or broken.
        loader: loads it, if the cache has returned one already.
    """

    __slots__ = ("_again", "_cache", "_loader", "_warn", "key")

    def __init__(
        self,
        cache: Any,
        key: str,
        warn: Callable[..., None],
        again: Callable[[], Awaitable[Any]],
        loader: Callable[[], Any] | None = None,
    ) -> None:
        self._cache = cache
        self._loader = loader
        self.key = key
        self._warn = warn
        self._again = again

    def __reduce__(self) -> Any:
        """In another process it is loaded from the same cache."""
        return _unpickled, (self._cache, self.key)

    def or_by(self, again: Callable[[], Awaitable[Any]]) -> CachedValue:
        """The same hit, with another way to compute it."""
        return CachedValue(self._cache, self.key, self._warn, again, self._loader)

    async def load(self) -> Any:
        """The value."""
        try:
            return self._cache.load(self.key) if self._loader is None else self._loader()
        except KeyError:
            pass
        except Exception as error:
            self._warn(f"the cache cannot be read ({error!r})", "read")
        return await self._again()

    def peek(self) -> Any:
        """The value, from the cache alone.

        Raises:
            KeyError: it is not there.
        """
        return self._cache.load(self.key) if self._loader is None else self._loader()


def _unpickled(cache: Any, key: str) -> CachedValue:
    return CachedValue(cache, key, _warn, gone)


def _warn(message: str, kind: str | None = None) -> None:
    warn_caller(message, CacheWarning)


async def gone() -> Any:
    """Stands for computing a value again where that is impossible.

    Raises:
        EntryLost: always.
    """
    raise EntryLost


class CachedList:
    """A nested map's list of results, some of which are lazy hits.

    Args:
        parts: the items' results.
        failed: gives what stands for an item that is gone and cannot be computed again, by its
            place and its error; or it raises.

    Attributes:
        is_whole: whether no item has failed; known once it is loaded.
    """

    __slots__ = ("_failed", "_parts", "is_whole")

    def __init__(self, parts: list[Any], failed: Callable[[int, Exception], Any]) -> None:
        self._parts = parts
        self._failed = failed
        self.is_whole = True

    async def load(self) -> list[Any]:
        """The list of values."""
        values = []
        for place, part in enumerate(self._parts):
            if type(part) in LAZY:
                try:
                    part = await part.load()
                except Exception as error:
                    part = self._failed(place, error)
                    self.is_whole = False
            values.append(part)
        return values

    def peek(self) -> list[Any]:
        """The list, from the cache alone.

        Raises:
            KeyError: a part is not there.
        """
        return [part.peek() if type(part) in LAZY else part for part in self._parts]


class Pickled:
    """A value that is still pickled.

    Args:
        data: the pickle.
        loads: unpickles it.
    """

    __slots__ = ("_data", "_loads")

    def __init__(self, data: Any, loads: Callable[[Any], Any] = pickle.loads) -> None:
        self._data = data
        self._loads = loads

    async def load(self) -> Any:
        """The value."""
        return self._loads(self._data)


LAZY = frozenset({CachedValue, CachedList, Pickled})
