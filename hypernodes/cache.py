"""Where results are kept: a small protocol, and two stores that implement it.

    MemoryCache    in this process, as bytes, so that nobody changes what another one reads
    DiskCache      one file an entry, shared by threads, processes and machines

A key is the signature of one output (a hex string); an entry never changes, so two writers of one
key write the same and it does not matter who is last.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import tempfile
import threading
import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cloudpickle

from hypernodes.errors import CacheWarning


class Cache(ABC):
    """What an engine needs of a store. Every method is called from many threads at once.

    Attributes:
        shared: whether a copy in another process sees the same entries.
    """

    shared = True

    @abstractmethod
    def __contains__(self, key: str) -> bool:
        """Whether there is an entry; it may still turn out to be broken when it is loaded."""

    @abstractmethod
    def load(self, key: str) -> Any:
        """The value of an entry.

        Raises:
            KeyError: there is none, or it cannot be read.
        """

    @abstractmethod
    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        """Keep a value.

        Args:
            key: the entry's key.
            value: anything that can be pickled, `None` included.
            about: facts about the entry that JSON can hold: its node, output and duration.

        Raises:
            Exception: it could not be kept. The engine warns, and the run goes on.
        """

    @abstractmethod
    def clear(self) -> None:
        """Remove every entry."""


class MemoryCache(Cache):
    """Keeps results in memory, for the life of the object.

    Values are kept as bytes: what a node does to a value that it was given cannot reach the
    entry.

    Args:
        max_bytes: the least recently used entries go when there is more than this. None for
            no limit.

    >>> cache = MemoryCache()
    >>> cache.store("key", [1, 2]); "key" in cache, cache.load("key")
    (True, [1, 2])
    """

    shared = False

    def __init__(self, max_bytes: int | None = None) -> None:
        if max_bytes is not None and max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}: expected a positive number, or None")
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def load(self, key: str) -> Any:
        with self._lock:
            data = self._entries[key]
            self._entries.move_to_end(key)
        return pickle.loads(data)

    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        data = dump(value)
        with self._lock:
            self._size += len(data) - len(self._entries.pop(key, b""))
            self._entries[key] = data
            while self.max_bytes is not None and self._size > self.max_bytes:
                self._size -= len(self._entries.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> Any:
        return type(self), (self.max_bytes,)

    def __repr__(self) -> str:
        return f"<MemoryCache: {len(self)} entries, {self._size:,} bytes>"


MAGIC = b"hypernodes-1\n"
_DIGEST = 16


class DiskCache(Cache):
    """Keeps results in a folder, one file an entry.

    A file is written aside, then renamed to its place, and starts with a checksum: readers see
    all of an entry or nothing, on every platform and on network file systems, and a broken entry
    is a miss with a warning. Entries are pickles: only use a folder that you trust.

    Args:
        path: the folder; it is made when it is needed. `~` is the home folder.

    >>> import tempfile
    >>> cache = DiskCache(tempfile.mkdtemp())
    >>> cache.store("0a1b", None); "0a1b" in cache, cache.load("0a1b")
    (True, None)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is a file: DiskCache needs a folder")

    def _file(self, key: str) -> str:
        return f"{self.path}/{key[:2]}/{key}"

    def __contains__(self, key: str) -> bool:
        return os.path.exists(self._file(key))

    def load(self, key: str) -> Any:
        file = self._file(key)
        try:
            with open(file, "rb") as opened:
                data = opened.read()
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as error:
            warnings.warn(f"the cache cannot be read: {error}", CacheWarning, stacklevel=2)
            raise KeyError(key) from error
        try:
            return pickle.loads(_payload(data))
        except Exception as error:
            warnings.warn(
                f"cache entry {file} is broken ({error}): it is computed again",
                CacheWarning,
                stacklevel=2,
            )
            with contextlib.suppress(OSError):
                os.unlink(file)
            raise KeyError(key) from error

    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        header = json.dumps(dict(about or {})).encode()
        body = b"%010d" % len(header) + header + dump(value)
        digest = blake2b(body, digest_size=_DIGEST).digest()
        file = Path(self._file(key))
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=".writing-", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.writelines((MAGIC, digest, body))
            os.replace(aside, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise

    def clear(self) -> None:
        for folder in self.path.glob("[0-9a-f][0-9a-f]"):
            shutil.rmtree(folder, ignore_errors=True)

    def __len__(self) -> int:
        return sum(1 for _ in self.path.glob("[0-9a-f][0-9a-f]/[0-9a-f]*"))

    def __repr__(self) -> str:
        return f"DiskCache({str(self.path)!r})"


def dump(value: Any) -> bytes:
    """A value as bytes; by cloudpickle where pickle cannot (lambdas, classes of `__main__`)."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:
        data: bytes = cloudpickle.dumps(value, protocol=5)
        return data


def _payload(data: bytes) -> memoryview:
    view = memoryview(data)
    start = len(MAGIC) + _DIGEST
    body = view[start:]
    if view[: len(MAGIC)] != MAGIC:
        raise ValueError("it is not a cache entry")
    if blake2b(body, digest_size=_DIGEST).digest() != view[len(MAGIC) : start]:
        raise ValueError("its checksum is wrong")
    header = int(bytes(body[:10]))
    return body[10 + header :]
