"""`DiskCache`: a folder with one self-contained file an entry, and no other file of its own.

There is no index that could be wrong, locked or broken: who asks about all entries reads their
headers. A file is written under another name and renamed in, so a reader sees all of an entry or
nothing, after a kill -9 and on network file systems too. A flipped bit costs one entry.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from hypernodes import moved
from hypernodes.cache import entry_files, format
from hypernodes.cache.base import Cache, Entry, check_age, check_bytes, is_fresh, outdated
from hypernodes.cache.format import BrokenEntry, UnloadableEntry, UntrustedEntry
from hypernodes.errors import CacheWarning, UnsafeCacheError, warn_caller

LARGE = 1 << 20
"""Entries from this size on are read into a buffer of their own, and not held in memory."""
TOUCHED = 60.0
"""An entry's time of use is exact to so many seconds, so that few hits write to the disk."""
_RENAMED = 2.0
"""A renamed file's time of change is exact to so many seconds, on the coarsest file systems."""


class DiskCache(Cache):
    """Stores results in a folder, shared by threads, processes and machines.

    Args:
        path: the folder; it is made when it is needed, readable by its owner alone. `~` is the
            home folder.
        max_bytes: the least recently used entries go when there is more than this; each process
            checks after every twentieth of it that it has written.
        max_age: seconds (or a `timedelta`) after which an entry is not used any more.
        compression: None, "zlib", "zstd" or "lz4" (the last two need `zstandard` and `lz4`).
        memory_bytes: how much of small entries is held in memory as well. It is used as long as
            the file is the same one.
        memory_mapped: leave large arrays in the file until they are read. They may be changed; the
            file is not. Not for folders on a network from which others remove entries. Without
            effect where entries are signed: others could change them after they were checked.
        writable_by_others: use a folder that others may write to. Entries are pickles: who can
            write there can run code here.

    With HYPERNODES_CACHE_KEY in the environment when it is made, entries are signed with
    HMAC-SHA256; those with no signature or a wrong one are reported and never unpickled.

    Raises:
        UnsafeCacheError: others can write to the folder.

    >>> import tempfile
    >>> cache = DiskCache(tempfile.mkdtemp())
    >>> cache.store("0a1b", None); "0a1b" in cache, cache.load("0a1b")
    (True, None)
    """

    checks_values = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        max_age: float | timedelta | None = None,
        compression: str | None = None,
        memory_bytes: int = 64 << 20,
        memory_mapped: bool = False,
        writable_by_others: bool = False,
        **unknown: NoReturn,
    ) -> None:
        moved.refuse(DiskCache.__init__, unknown)
        self.path = Path(path).expanduser().absolute()
        self.max_bytes = check_bytes(max_bytes)
        self.max_age = check_age(max_age)
        self.compression = format.check_codec(compression)
        self.memory_bytes = memory_bytes
        self.memory_mapped = memory_mapped
        self.writable_by_others = writable_by_others
        self._secret = format.secret()
        self._root = str(self.path)
        self._lock = threading.Lock()
        # Numbers and bytes alone: Python's garbage collector does not look at such tuples again.
        # What identifies the file, its bytes, and where in them the pickle is that is all of it.
        self._recent: dict[str, tuple[int, int, int, bytes, int, int]] = {}
        self._recent_bytes = 0
        self._written = self.max_bytes or 0  # so that the first entry written is a check, too
        # Which files are no entries, of those that were there at the last count; see `_counted`.
        self._known_until = 0.0
        self._foreign: frozenset[str] = frozenset()
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is a file: DiskCache needs a folder")
        self._check_owner()

    # -- Reading ---------------------------------------------------------------------------------

    def _file(self, key: str) -> str:
        return f"{self._root}/{key[:2]}/{key}"

    def __contains__(self, key: str) -> bool:
        return self.find(key) is not None

    def find(self, key: str) -> Callable[[], object] | None:
        try:
            status = os.stat(self._file(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        now = time.time()
        max_age = self.max_age
        if max_age is not None:
            if key == entry_files.TABLE:
                max_age = None
            elif not is_fresh(status.st_mtime, max_age):
                return None
        if status.st_atime < now - TOUCHED:
            with contextlib.suppress(OSError):
                os.utime(self._file(key), ns=(int(now * 1e9), status.st_mtime_ns))
        # Bytes in memory are those of the file as long as it is the same one: writers rename a new
        # file in, and never write to one that is there.
        recent = self._recent.get(key)
        if recent is None or recent[:3] != (status.st_ino, status.st_size, status.st_mtime_ns):
            return partial(self._load, key, max_age)
        data, start, end = recent[3:]
        if max_age is not None and not is_fresh(format.made_at(data), max_age):
            return None
        return partial(pickle.loads, data[start:end]) if end else partial(format.decode, data)

    def load(self, key: str) -> object:
        return self._load(key, None)

    def _load(self, key: str, max_age: float | None) -> object:
        file = self._file(key)
        data, status = self._read_entry(key, file)
        value = open_entry(key, data, self._secret, file, lambda: os.unlink(file))
        # A copied file has the copy's date, and another machine's clock may differ: the entry's own
        # date counts.
        if max_age is not None and not is_fresh(format.made_at(data), max_age):
            raise KeyError(key)
        if status.st_size < LARGE:
            self._remember(key, status, data)
        return value

    def problem(self, key: str) -> str:
        try:
            data, _ = self._read_entry(key, self._file(key))
        except KeyError:
            return "it is gone"
        except OSError as error:
            return repr(error)
        return problem_of(key, data, self._secret)

    def _read_entry(self, key: str, file: str) -> tuple[Any, os.stat_result]:
        """A file's bytes and status; None in place of the bytes where others can write to it."""
        try:
            data, status = self._read(file)
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None
        return (data if self._is_ours(status) else None), status

    def _read(self, file: str) -> tuple[Any, os.stat_result]:
        opened = os.open(file, os.O_RDONLY | _BINARY)
        try:
            status = os.fstat(opened)
            size = status.st_size
            if size < LARGE:
                return _read_small(opened, size), status
            if self.memory_mapped and self._secret is None:
                return mmap.mmap(opened, size, access=mmap.ACCESS_COPY), status
            return _read_large(opened, size), status
        finally:
            os.close(opened)

    def _remember(self, key: str, status: os.stat_result, data: bytes) -> None:
        with self._lock:
            self._forget(key)
            # No objects but numbers and bytes: Python's garbage collector need not look at them.
            self._recent[key] = (*_identity(status), data, *format.pickled_part(data))
            self._recent_bytes += len(data)
            while self._recent_bytes > self.memory_bytes:
                self._forget(next(iter(self._recent)))

    def _forget(self, key: str) -> None:
        recent = self._recent.pop(key, None)
        if recent is not None:
            self._recent_bytes -= len(recent[3])

    # -- Writing ---------------------------------------------------------------------------------

    def store(self, key: str, value: object, about: Mapping[str, Any] | None = None) -> None:
        # No locks: they do not reach other machines, and a process that is killed leaves them. Each
        # writer has a file of its own with a random name; the rename is atomic, and who renames
        # last has written the same value. What a killed writer leaves is swept up later (`_sweep`).
        about = about or {}
        made = about.get("time") or time.time()
        folder = f"{self._root}/{entry_files.check_key(key)[:2]}"
        parts, seal = format.encode(key, value, about, made, self.compression, self._secret)
        aside = f"{folder}/{entry_files.WRITING}{os.urandom(8).hex()}"
        opened = self._create(aside, folder)
        try:
            try:
                size = _write(opened, parts, seal)
            finally:
                os.close(opened)
            os.replace(aside, f"{folder}/{key}")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
        if self.max_bytes is not None:
            self._limit(size)

    def _create(self, file: str, folder: str) -> int:
        """Open a new file for writing, and make its folders if they are not there yet."""
        mode = 0o666 if self.writable_by_others else 0o600
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
        try:
            return os.open(file, flags, mode)
        except FileNotFoundError:
            mode = 0o777 if self.writable_by_others else 0o700
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for each in (self._root, folder):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(each, mode)
        return os.open(file, flags, 0o666 if self.writable_by_others else 0o600)

    def _limit(self, size: int) -> None:
        assert self.max_bytes is not None
        with self._lock:
            self._written += size
            due = self._written > self.max_bytes // 20
            if due:
                self._written = 0
        if due:
            with contextlib.suppress(OSError):  # files that are another user's, say
                self.prune()

    def remove(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._file(key))

    # -- All entries -----------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        for file, status in self._files():
            try:
                head, found = _describe(file.path)
            except OSError:  # removed in the meantime, say
                continue
            if format.is_entry(head):
                made, about = found or (status.st_mtime, {})
                yield _entry(file.name, status, made, about)

    def entry(self, key: str) -> Entry:
        """What is known of one entry.

        Raises:
            KeyError: there is none.
        """
        file = self._file(key)
        try:
            status = os.stat(file)
            _, found = _describe(file)
        except OSError as error:
            raise KeyError(key) from error
        if found is None:
            raise KeyError(key)
        return _entry(key, status, *found)

    def prune(
        self, *, max_bytes: int | None = None, max_age: float | timedelta | None = None
    ) -> int:
        """Remove what is older than `max_age`, then what was used longest ago.

        Files left behind by processes that were killed while they wrote are removed as well.

        Args:
            max_bytes: how much may stay; by default the cache's own limit.
            max_age: seconds (or a `timedelta`) since an entry was made; by default the cache's.

        Returns:
            How many entries were removed.
        """
        limit = self.max_bytes if max_bytes is None else check_bytes(max_bytes)
        oldest = self.max_age if max_age is None else check_age(max_age)
        gone = [each for each in outdated(self._counted(), limit, oldest) if self._drop(each.key)]
        self._sweep()
        return len(gone)

    def clear(self, node: str | None = None) -> int:
        """Remove every entry, or those of one node.

        Files left behind by processes that were killed while they wrote are removed as well; files
        that are being written now are left alone.

        Args:
            node: only what this node has made.

        Returns:
            How many there were.

        Raises:
            OSError: one cannot be removed.
        """
        if node is None:
            gone = sum(self._drop(file.name) for file, _ in self._files())
            self._drop(entry_files.TABLE)
        else:
            gone = super().clear(node)
        self._sweep()
        return gone

    def _drop(self, key: str) -> bool:
        """Remove a file with an entry's name, if it is an entry; returns whether it was."""
        file = self._file(key)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if _is_entry(file):
                os.unlink(file)
                return True
        return False

    def _sweep(self) -> None:
        """Remove what processes left behind that were killed while they wrote."""
        for file, status in self._files(writing=True):
            if entry_files.is_abandoned(file.name, status.st_mtime):
                with contextlib.suppress(OSError):
                    os.unlink(file.path)

    def _counted(self) -> list[Entry]:
        """All entries with their sizes and times alone, which takes a third of the time.

        A file is opened once to see whether it is an entry, and not again at the next count: one
        that has come since has a later time of change. (A folder that is moved in brings files with
        times of their own. Those are counted as entries, but looked at before they are removed.)
        """
        entries, foreign, until = [], set(), self._known_until
        for file, status in self._files():
            until = max(until, status.st_ctime)
            if status.st_ctime < self._known_until:
                is_entry = file.name not in self._foreign
            else:
                try:
                    is_entry = _is_entry(file.path)
                except OSError:  # removed in the meantime, say
                    continue
            if is_entry:
                entries.append(Entry(file.name, status.st_size, status.st_mtime, _used(status)))
            else:
                foreign.add(file.name)
        # On Windows `st_ctime` is the time of creation, which says nothing of when it came here.
        if os.name != "nt":
            self._foreign, self._known_until = frozenset(foreign), until - _RENAMED
        return entries

    def _folders(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root) as found:
                return [
                    each for each in found if entry_files.is_folder(each.name) and each.is_dir()
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _files(self, writing: bool = False) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        """The files with an entry's name, or with that of one that is being written."""
        for folder in self._folders():
            try:
                with os.scandir(folder.path) as found:
                    files = [
                        each
                        for each in found
                        if (
                            each.name.startswith(entry_files.WRITING)
                            if writing
                            else entry_files.is_entry(folder.name, each.name)
                        )
                        and each.is_file(follow_symlinks=False)
                    ]
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            for file in files:
                try:
                    status = file.stat()
                except FileNotFoundError:  # removed in the meantime
                    continue
                yield file, status

    def _entry_files(self) -> Iterator[str]:
        """The paths of the entries: files with such a name that begin like an entry."""
        for file, _ in self._files():
            with contextlib.suppress(OSError):
                if _is_entry(file.path):
                    yield file.path

    def __len__(self) -> int:
        return sum(1 for _ in self._entry_files())

    def __reduce__(self) -> tuple[Callable[[str], DiskCache], tuple[str]]:
        make = partial(type(self), **{name: getattr(self, name) for name in _OPTIONS})
        return make, (self._root,)

    def __repr__(self) -> str:
        return f"DiskCache({self._root!r})"

    # -- Who may write ---------------------------------------------------------------------------

    def _check_owner(self) -> None:
        for place in (self._root, *(each.path for each in self._folders())):
            with contextlib.suppress(FileNotFoundError):
                # A folder of the user's own whose name only looks like ours does not matter.
                if not self._is_ours(os.stat(place)) and (
                    place == self._root or self._holds_entries(place)
                ):
                    raise UnsafeCacheError(
                        f"others can write to {place}, and so run code here: entries are pickles. "
                        "Make it yours alone (chmod -R go-w), sign entries (set "
                        "HYPERNODES_CACHE_KEY), or say DiskCache(..., writable_by_others=True)"
                    )

    def _holds_entries(self, folder: str) -> bool:
        return any(os.path.dirname(file) == folder for file in self._entry_files())

    def _is_ours(self, status: os.stat_result) -> bool:
        if self.writable_by_others or self._secret is not None or not hasattr(os, "getuid"):
            return True
        return not status.st_mode & 0o022 and status.st_uid in (0, os.geteuid())


_BINARY = getattr(os, "O_BINARY", 0)
_OPTIONS = (
    "max_bytes", "max_age", "compression", "memory_bytes", "memory_mapped", "writable_by_others",
)  # fmt: skip
"""What a cache in another process is made with, besides its folder."""


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    """What differs once a file has been replaced by another one."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _used(status: os.stat_result) -> float:
    return max(status.st_atime, status.st_mtime)


def _entry(key: str, status: os.stat_result, made: float, about: Mapping[str, Any]) -> Entry:
    return Entry(key, status.st_size, made, _used(status), about)


def _is_entry(file: str) -> bool:
    """Whether a file begins as an entry does.

    Raises:
        OSError: it cannot be read.
    """
    opened = os.open(file, os.O_RDONLY | _BINARY)
    try:
        return format.is_entry(os.read(opened, 16))
    finally:
        os.close(opened)


def _describe(file: str) -> tuple[bytes, tuple[float, dict[str, Any]] | None]:
    """How a file begins, and when it was made and by what; None where the header is broken.

    Raises:
        OSError: it cannot be read.
    """
    opened = os.open(file, os.O_RDONLY | _BINARY)
    try:
        data = os.read(opened, format.HEAD)
        try:
            found = format.describe(data)
            if isinstance(found, int) and found <= os.fstat(opened).st_size:
                found = format.describe(data + _read_small(opened, found - len(data)))
        except BrokenEntry:
            return data, None
        return data, None if isinstance(found, int) else found
    finally:
        os.close(opened)


def open_entry(
    key: str, data: Any, secret: bytes | None, name: str, remove: Callable[[], object]
) -> object:
    """The value in an entry's bytes.

    Args:
        key: the entry's key.
        data: its bytes; None where others can write to it.
        secret: what it has to be signed with.
        name: the entry's name in warnings.
        remove: removes it, where it is broken.

    Raises:
        KeyError: it cannot be used; there has been a warning.
    """
    try:
        return _opened(key, data, secret)
    except (BrokenEntry, UntrustedEntry, UnloadableEntry) as error:
        warn_caller(f"cache entry {name} {_what(error)}: it is computed again", CacheWarning)
        if isinstance(error, BrokenEntry):
            with contextlib.suppress(Exception):
                remove()
        raise KeyError(key) from error


def problem_of(key: str, data: Any, secret: bytes | None) -> str:
    """What is wrong with an entry's bytes; "" where nothing is. See `open_entry`."""
    try:
        _opened(key, data, secret)
    except (BrokenEntry, UntrustedEntry, UnloadableEntry) as error:
        return f"it {_what(error)}"
    return ""


def _opened(key: str, data: Any, secret: bytes | None) -> object:
    if data is None:
        raise UntrustedEntry("others can write to it")
    format.check(key, data, secret)
    return format.decode(data)


def _what(error: Exception) -> str:
    what: dict[type[Exception], str] = {
        BrokenEntry: "is broken",
        UntrustedEntry: "is not trusted",
        UnloadableEntry: "cannot be loaded here",
    }
    return f"{what[type(error)]} ({error})"


def _read_small(opened: int, size: int) -> bytes:
    data = os.read(opened, size)
    while len(data) < size:
        more = os.read(opened, size - len(data))
        if not more:
            break
        data += more
    return data


def _read_large(opened: int, size: int) -> Any:
    """Read a file into one buffer of memory.

    A bytearray would be filled with zeros first. An anonymous mapping is not, and with large pages
    there are fewer page faults.
    """
    if hasattr(mmap, "MAP_PRIVATE"):
        data: Any = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):
                data.madvise(mmap.MADV_HUGEPAGE)
    else:
        data = bytearray(size)
    view, at = memoryview(data), 0
    with open(opened, "rb", buffering=0, closefd=False) as file:
        while at < size:
            count = file.readinto(view[at:])
            if not count:
                break
            at += count
    return view[:at]


def _write(opened: int, parts: list[format.Buffer], seal: Callable[[], bytes]) -> int:
    """Write all parts and the seal, large buffers without copying them; returns their size."""
    size = sum(memoryview(part).nbytes for part in parts)
    if size < LARGE:
        _write_all(opened, b"".join((*parts, seal())))
        return size
    if hasattr(os, "posix_fallocate"):  # growing a file while it is written takes longer
        with contextlib.suppress(OSError):
            os.posix_fallocate(opened, 0, size)
    for part in parts:
        _write_all(opened, part)
    _write_all(opened, seal())
    return size


def _write_all(opened: int, part: format.Buffer) -> None:
    view = memoryview(part).cast("B")
    while len(view):
        view = view[os.write(opened, view) :]
