"""`FsspecCache`: entries on whatever `fsspec` reaches."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any

from hypernodes.cache import format
from hypernodes.cache.base import Cache, Entry, check_age
from hypernodes.cache.disk import open_entry
from hypernodes.cache.format import BrokenEntry

_WHOLE_OR_NOTHING = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})
"""Protocols whose files appear when they are complete; on others they are renamed in."""
_TOGETHER = 256
"""So many headers are asked for at once."""


class FsspecCache(Cache):
    """Keeps results on a file system of `fsspec`, so that machines share them.

    Install `fsspec` with what the address needs (`hypernodes[remote]`; `s3fs` for s3://, ...). An
    entry is one file, the same as in a `DiskCache`; use that one for folders, network shares too.

    Args:
        url: the folder, such as "s3://bucket/folder".
        max_age: seconds (or a `timedelta`) after which an entry is not used any more.
        compression: None, "zlib", "zstd" or "lz4".
        storage_options: what the file system takes: credentials, an endpoint.

    With HYPERNODES_CACHE_KEY in the environment when it is made, entries are signed, and others
    are reported and never unpickled. Set it where anybody else can write to the place. Such stores
    do not tell when a file was last read: `prune(max_bytes=...)` removes what was written first.

    >>> cache = FsspecCache("memory://results")
    >>> cache.store("0a1b", None); "0a1b" in cache, cache.load("0a1b")
    (True, None)
    """

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
                "FsspecCache needs fsspec: pip install 'hypernodes[remote]'"
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
        return fsspec.core.url_to_fs(self.url, **options)  # type: ignore[no-any-return]

    @property
    def _fs(self) -> Any:
        return self._place[0]

    def _file(self, key: str) -> str:
        return f"{self._place[1]}/{key[:2]}/{key}"

    def __contains__(self, key: str) -> bool:
        return self.find(key) is not None

    def find(self, key: str) -> Callable[[], Any] | None:
        try:
            info = self._fs.info(self._file(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if self.max_age is not None and _made(info) < time.time() - self.max_age:
            return None
        return partial(self.load, key)

    def load(self, key: str) -> Any:
        file = self._file(key)
        try:
            data = self._fs.cat_file(file)
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None
        name = self._fs.unstrip_protocol(file)
        return open_entry(key, data, self._secret, name, lambda: self._fs.rm_file(file))

    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        about = about or {}
        made = about.get("time") or time.time()
        parts, seal = format.encode(key, value, about, made, self.compression, self._secret)
        data = b"".join((*parts, seal()))
        file = self._file(key)
        if self._protocol in _WHOLE_OR_NOTHING:
            self._fs.pipe_file(file, data)
            return
        folder = self._fs._parent(file)
        aside = f"{folder}/.writing-{os.urandom(8).hex()}"
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

    def entries(self) -> Iterator[Entry]:
        files = {
            file: info
            for file, info in self._fs.find(self._place[1], detail=True).items()
            if not file.rpartition("/")[2].startswith(".")
        }
        names = list(files)
        for at in range(0, len(names), _TOGETHER):
            some = names[at : at + _TOGETHER]
            sizes = [min(format.HEAD, files[file]["size"]) for file in some]
            heads = self._fs.cat_ranges(some, [0] * len(some), sizes, on_error="return")
            for file, head in zip(some, heads, strict=True):
                made, about = self._describe(file, head, files[file])
                size = int(files[file]["size"])
                yield Entry(file.rpartition("/")[2], size, made, made, about)

    def entry(self, key: str) -> Entry:
        file = self._file(key)
        try:
            info = self._fs.info(file)
            head = self._fs.cat_file(file, start=0, end=format.HEAD)
        except FileNotFoundError as error:
            raise KeyError(key) from error
        made, about = self._describe(file, head, info)
        return Entry(key, int(info["size"]), made, made, about)

    def _describe(self, file: str, head: Any, info: Any) -> tuple[float, Mapping[str, Any]]:
        if isinstance(head, bytes):
            with contextlib.suppress(BrokenEntry, FileNotFoundError):
                found = format.describe(head)
                if isinstance(found, int):
                    found = format.describe(self._fs.cat_file(file, start=0, end=found))
                if not isinstance(found, int):
                    return found
        return _made(info), {}

    def __len__(self) -> int:
        return sum(1 for _ in self.entries())

    def __reduce__(self) -> Any:
        make = partial(
            type(self),
            max_age=self.max_age,
            compression=self.compression,
            **self.storage_options,
        )
        return make, (self.url,)

    def __repr__(self) -> str:
        return f"FsspecCache({self.url!r})"


def _made(info: Mapping[str, Any]) -> float:
    """When a file was written, as file systems say it in their several ways."""
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
