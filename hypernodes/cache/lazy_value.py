"""Results that are in the cache and were not needed yet: they are loaded when they are."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from hypernodes.errors import CacheWarning


class EntryLost(BaseException):
    """In another process: an entry that was there has gone, and can't be computed again here."""


class CachedValue:
    """A result that is in the cache and was not needed yet.

    Args:
        cache: where it is.
        key: as what.
        warn: is told where the cache cannot be read.
        again: computes it, where the entry has gone or is broken.
        loader: loads it, where the cache has been asked for that already.
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
        return _elsewhere, (self._cache, self.key)

    def or_by(self, again: Callable[[], Awaitable[Any]]) -> CachedValue:
        """The same, computed in another way where it has to be."""
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
        """The value if it is in the cache.

        Raises:
            KeyError: it is not.
        """
        return self._cache.load(self.key) if self._loader is None else self._loader()


def _elsewhere(cache: Any, key: str) -> CachedValue:
    return CachedValue(cache, key, _warn, gone)


def _warn(message: str, kind: str | None = None) -> None:
    warnings.warn(message, CacheWarning, stacklevel=2)


async def gone() -> Any:
    """What computes an entry again, where nothing can."""
    raise EntryLost


class CachedList:
    """The list that a nested map made, with items that are in the cache."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    async def load(self) -> list[Any]:
        """The list of values."""
        return [await part.load() if type(part) in LAZY else part for part in self._parts]

    def peek(self) -> list[Any]:
        """The list, if all of it is there or in the cache.

        Raises:
            KeyError: it is not.
        """
        return [part.peek() if type(part) in LAZY else part for part in self._parts]


class Pickled:
    """A value that is still pickled."""

    __slots__ = ("_data",)

    def __init__(self, data: Any) -> None:
        self._data = data

    async def load(self) -> Any:
        """The value."""
        return pickle.loads(self._data)


LAZY = frozenset({CachedValue, CachedList, Pickled})
