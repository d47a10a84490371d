"""`FsspecCache`: entries on whatever `fsspec` reaches."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any

from hypernodes.cache import entry_files, format
from hypernodes.cache.base import Cache, Entry, check_age, is_fresh
from hypernodes.cache.disk import open_entry, problem_of
from hypernodes.cache.format import BrokenEntry

_WHOLE_OR_NOTHING = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})
"""Protocols whose files appear once they are complete; on others they are renamed in."""
_TOGETHER = 256
"""So many headers are asked for at once."""


class FsspecCache(Cache):
    """Stores results on a file system of `fsspec`, so that machines share them.

    Install `fsspec` with what the address needs (`hypernodes[remote]`; `s3fs` for s3://, ...). An
    entry is one file, the same as in a `DiskCache`; use that one for folders, network shares too.

    Args:
        url: the folder, such as "s3://bucket/folder".
        max_age: seconds (or a `timedelta`) after which an entry is not used any more.
        compression: None, "zlib", "zstd" or "lz4".
        storage_options: what the file system takes: credentials, an endpoint.

    With HYPERNODES_CACHE_KEY in the environment when it is made, entries are signed; those that
    are not are reported and never unpickled. Set it where anybody else can write to the folder.
    Such stores do not record when a file was last read: `prune(max_bytes=...)` removes what was
    written first.

    Raises:
        ImportError: `fsspec`, or what the address needs, is not installed.

    >>> cache = FsspecCache("memory://results")
    >>> cache.store("0a1b", None); "0a1b" in cache, cache.load("0a1b")
    (True, None)
    """

    checks_values = True

    def __init__(
        self,
        url: str,
        *,
        max_age: float | timedelta | None = None,
        compression: str | None = None,
        **storage_options: Any,
    ) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise ImportError(
                "FsspecCache needs fsspec: pip install fsspec, and what the address needs (s3fs)"
            ) from error
        if not isinstance(url, str):
            raise TypeError(f"url is {url!r}: expected a text such as 's3://bucket/folder'")
        self.url = url.rstrip("/")
        self.max_age = check_age(max_age)
        self.compression = format.check_codec(compression)
        self.storage_options = storage_options
        self._secret = format.secret()
        self._protocol = fsspec.core.split_protocol(url)[0] or "file"
        fsspec.get_filesystem_class(self._protocol)  # says what has to be installed

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system and the folder on it; connected to when it is first needed."""
        import fsspec

        options = {"use_listings_cache": False, **self.storage_options}
        fs, folder = fsspec.core.url_to_fs(self.url, **options)
        return _Asked(fs, self.url), folder

    @property
    def _fs(self) -> Any:
        return self._place[0]

    def _file(self, key: str) -> str:
        return f"{self._place[1]}/{key[:2]}/{key}"

    def __contains__(self, key: str) -> bool:
        return self.find(key) is not None

    def find(self, key: str) -> Callable[[], object] | None:
        try:
            info = self._fs.info(self._file(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        max_age = None if key == entry_files.TABLE else self.max_age
        if max_age is not None and not is_fresh(_made(info), max_age):
            return None
        return partial(self._load, key, max_age)

    def load(self, key: str) -> object:
        return self._load(key, None)

    def _load(self, key: str, max_age: float | None) -> object:
        file, data = self._file(key), self._read_entry(key)
        name = self._fs.unstrip_protocol(file)
        value = open_entry(key, data, self._secret, name, lambda: self._fs.rm_file(file))
        # A copied file has the copy's date: the entry's own date counts.
        if max_age is not None and not is_fresh(format.made_at(data), max_age):
            raise KeyError(key)
        return value

    def problem(self, key: str) -> str:
        try:
            return problem_of(key, self._read_entry(key), self._secret)
        except KeyError:
            return "it is gone"
        except Exception as error:
            return repr(error)

    def _read_entry(self, key: str) -> bytes:
        try:
            data: bytes = self._fs.cat_file(self._file(key))
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None
        return data

    def store(self, key: str, value: object, about: Mapping[str, Any] | None = None) -> None:
        about = about or {}
        made = about.get("time") or time.time()
        entry_files.check_key(key)
        parts, seal = format.encode(key, value, about, made, self.compression, self._secret)
        data = b"".join((*parts, seal()))
        file = self._file(key)
        if self._protocol in _WHOLE_OR_NOTHING:
            self._fs.pipe_file(file, data)
            return
        folder = self._fs._parent(file)
        aside = f"{folder}/{entry_files.WRITING}{os.urandom(8).hex()}"
        self._fs.makedirs(folder, exist_ok=True)
        try:
            self._fs.pipe_file(aside, data)
            self._fs.mv(aside, file)
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(aside)
            raise

    def remove(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._file(key))

    def clear(self, node: str | None = None) -> int:
        gone = super().clear(node)
        self._sweep()
        return gone

    def prune(
        self, *, max_bytes: int | None = None, max_age: float | timedelta | None = None
    ) -> int:
        gone = super().prune(max_bytes=max_bytes, max_age=max_age)
        self._sweep()
        return gone

    def _sweep(self) -> None:
        """Remove what processes left behind that were killed while they wrote."""
        if self._protocol in _WHOLE_OR_NOTHING:
            return
        for folder, name, file, info in self._files():
            if entry_files.is_folder(folder) and entry_files.is_abandoned(name, _made(info)):
                with contextlib.suppress(OSError):
                    self._fs.rm_file(file)

    def _files(self) -> Iterator[tuple[str, str, str, Any]]:
        """The files in the folders there: folder, name, path and `fsspec`'s info of each."""
        start = len(self._place[1].rstrip("/")) + 1
        for file, info in self._fs.find(self._place[1], detail=True).items():
            folder, _, name = file[start:].partition("/")
            yield folder, name, file, info

    def entries(self) -> Iterator[Entry]:
        files = {
            file: info
            for folder, name, file, info in self._files()
            if entry_files.is_folder(folder) and entry_files.is_entry(folder, name)
        }
        all_files = list(files)
        for at in range(0, len(all_files), _TOGETHER):
            some = all_files[at : at + _TOGETHER]
            sizes = [min(format.HEAD, files[file]["size"]) for file in some]
            heads = self._fs.cat_ranges(some, [0] * len(some), sizes, on_error="return")
            for file, head in zip(some, heads, strict=True):
                if isinstance(head, bytes) and format.is_entry(head):
                    made, about = self._describe(file, head, files[file])
                    size = int(files[file]["size"])
                    yield Entry(file.rpartition("/")[2], size, made, made, about)

    def entry(self, key: str) -> Entry:
        """What is known of one entry.

        Raises:
            KeyError: there is none.
        """
        file = self._file(key)
        try:
            info = self._fs.info(file)
            head = self._fs.cat_file(file, start=0, end=format.HEAD)
        except FileNotFoundError as error:
            raise KeyError(key) from error
        made, about = self._describe(file, head, info)
        return Entry(key, int(info["size"]), made, made, about)

    def _describe(self, file: str, head: bytes, info: Any) -> tuple[float, Mapping[str, Any]]:
        with contextlib.suppress(BrokenEntry, FileNotFoundError):
            found = format.describe(head)
            if isinstance(found, int):
                found = format.describe(self._fs.cat_file(file, start=0, end=found))
            if not isinstance(found, int):
                return found
        return _made(info), {}

    def __len__(self) -> int:
        return sum(1 for _ in self.entries())

    def __reduce__(self) -> tuple[Callable[[str], FsspecCache], tuple[str]]:
        make = partial(
            type(self),
            max_age=self.max_age,
            compression=self.compression,
            **self.storage_options,
        )
        return make, (self.url,)

    def __repr__(self) -> str:
        return f"FsspecCache({self.url!r})"


class _Asked:
    """A file system whose every failure is an `OSError`, and that is not waited for in vain.

    After a failure that took long, what is asked for in the next seconds fails at once: a map of
    many items would wait for a server that is not there for each of them.

    Args:
        fs: the file system.
        url: what it is called in errors.
    """

    def __init__(self, fs: Any, url: str) -> None:
        self._fs = fs
        self._url = url
        self._failed: OSError | None = None
        self._until = 0.0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._fs, name)
        return partial(self._call, value) if callable(value) else value

    def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self._failed is not None and time.monotonic() < self._until:
            raise self._failed.with_traceback(None)
        begun = time.monotonic()
        try:
            return method(*args, **options)
        except OSError:
            raise
        except Exception as error:  # a client's own class
            failed = OSError(f"{self._url} cannot be used: {type(error).__name__}: {error}")
            if time.monotonic() - begun > _LONG:
                self._failed, self._until = failed, time.monotonic() + _PAUSE
            raise failed from error


_LONG = 1.0
_PAUSE = 30.0
"""In seconds: so long a store that failed after a long wait is not asked again."""


def _made(info: Mapping[str, Any]) -> float:
    """When a file was written: each file system has its own name for that."""
    for name in ("LastModified", "mtime", "updated", "last_modified", "created"):
        at = info.get(name)
        if isinstance(at, datetime):
            return at.timestamp()
        if isinstance(at, (int, float)):
            return float(at)
        if isinstance(at, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    return time.time()
