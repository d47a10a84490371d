"""The store on a disk: other processes, limits, ages, codecs, and who may write."""

from __future__ import annotations

import contextlib
import os
import pickle
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hypernodes import CacheWarning, DiskCache, FsspecCache, MemoryCache
from hypernodes.errors import UnsafeCacheError

ABOUT = {"node": "n", "output": "y", "duration": 0.5, "time": 1.75e9}


def test_the_entry_of_another_process_is_seen_at_once(tmp_path: Path) -> None:
    one, other = DiskCache(tmp_path), DiskCache(tmp_path)
    one.store("aa11", "first")
    assert [other.load("aa11"), other.find("aa11")()] == ["first", "first"]  # type: ignore[misc]
    one.store("aa11", "other")
    assert other.find("aa11")() == "other"  # type: ignore[misc]
    one.remove("aa11")
    assert other.find("aa11") is None


def test_the_least_recently_used_files_go(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    now = time.time()
    for place in range(10):
        key = f"{place:04x}"
        cache.store(key, b"x" * 1000)
        os.utime(tmp_path / key[:2] / key, (now - 1000 + place, now - 2000))
    assert cache.find("0000") is not None  # used: the oldest one no more
    cache.prune(max_bytes=3 * 1200)
    assert {entry.key for entry in cache.entries()} == {"0000", "0008", "0009"}


def test_a_disk_cache_stays_under_its_limit(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=100_000)
    for place in range(300):
        cache.store(f"{place:04x}", os.urandom(1000))
    assert 50_000 < cache.stats().bytes < 110_000
    assert DiskCache(tmp_path, max_age=3600).find(f"{299:04x}") is not None


def test_entries_past_their_age_are_not_served(tmp_path: Path) -> None:
    for cache in (DiskCache(tmp_path, max_age=60), MemoryCache(max_age=60)):
        cache.store("aa11", 1, {"time": time.time()})
        assert "aa11" in cache
    os.utime(tmp_path / "aa" / "aa11", (time.time(), time.time() - 61))
    assert DiskCache(tmp_path, max_age=60).find("aa11") is None
    old = MemoryCache(max_age=60)
    old.store("aa11", 1, {"time": time.time() - 61})
    assert old.find("aa11") is None


def test_abandoned_files_are_pruned(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.store("aa11", 1)
    left, busy = (tmp_path / "aa" / f".writing-{name}" for name in ("left", "busy"))
    left.write_text("half")
    busy.write_text("half")
    os.utime(left, (0, 0))
    assert cache.prune() == 0
    assert (left.exists(), busy.exists()) == (False, True)
    assert len(cache) == 1


@pytest.mark.parametrize("how", ["clear", "clear of a node", "prune"])
@pytest.mark.parametrize("kind", ["disk", "fsspec"])
def test_what_a_killed_writer_has_left_goes_and_what_is_written_now_stays(
    tmp_path: Path, how: str, kind: str
) -> None:
    pytest.importorskip("fsspec")
    cache = DiskCache(tmp_path) if kind == "disk" else FsspecCache(f"file://{tmp_path}")
    cache.store("aa11", 1, ABOUT)
    names = [".writing-0123456789abcdef", ".writing-fedcba9876543210", ".writing"]
    left, busy, other = (tmp_path / "aa" / name for name in names)
    (tmp_path / "notes").mkdir()
    elsewhere = tmp_path / "notes" / ".writing-0123456789abcdef"
    for file in (left, busy, other, elsewhere):
        file.write_bytes(b"hypernodes2 half")
    for file in (left, other, elsewhere):
        os.utime(file, (time.time() - 7200,) * 2)
    assert {"clear": cache.clear, "clear of a node": lambda: cache.clear("n"),
            "prune": cache.prune}[how]() == (how != "prune")  # fmt: skip
    assert [each.exists() for each in (left, busy, other, elsewhere)] == [False, True, True, True]


def test_a_file_from_the_future_is_not_served_and_is_pruned(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_age=60)
    cache.store("aa11", 1)
    os.utime(tmp_path / "aa" / "aa11", (time.time() + 3600,) * 2)
    assert cache.find("aa11") is None
    assert DiskCache(tmp_path).find("aa11") is not None  # what has no age limit has no age
    assert cache.prune() == 1


def test_an_entry_keeps_its_age_where_its_file_is_copied(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_age=60)
    cache.store("aa11", 1, {"time": time.time() - 3600})  # the file bears today's date
    loader = cache.find("aa11")
    assert loader is not None
    with pytest.raises(KeyError):
        loader()
    assert cache.load("aa11") == 1
    assert cache.find("aa11") is None


def test_arrays_can_be_mapped_from_the_file_and_changed(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, memory_mapped=True)
    cache.store("aa11", np.zeros(1_000_000))
    for _ in range(2):
        array = cache.load("aa11")
        assert array.sum() == 0
        array[0] = 1
    cache.remove("aa11")
    assert array[:3].tolist() == [1, 0, 0]


def test_large_arrays_are_written_from_where_they_lie(tmp_path: Path) -> None:
    import tracemalloc

    cache = DiskCache(tmp_path)
    array = np.ones(4_000_000)
    tracemalloc.start()
    cache.store("aa11", array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes / 10


def test_limits_and_codecs_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for wrong in ({"max_bytes": 0}, {"max_age": -1}, {"max_age": "day"}, {"compression": "gzip"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DiskCache(tmp_path, **wrong)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        DiskCache(tmp_path / "file")


@pytest.mark.parametrize("codec", ["zlib", "zstd", "lz4"])
def test_compressed_entries_are_smaller_and_others_can_read_them(
    tmp_path: Path, codec: str
) -> None:
    try:
        cache = DiskCache(tmp_path, compression=codec)
    except ImportError:
        pytest.skip(f"{codec} is not installed")
    cache.store("aa11", [7] * 100_000)
    assert cache.entry("aa11").size < 20_000
    assert DiskCache(tmp_path).load("aa11") == [7] * 100_000


def test_disk_caches_cross_to_other_processes(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=10**6, max_age=5, compression="zlib")
    cache.store("aa11", 1)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.load("aa11") == 1
    assert (copy.max_bytes, copy.max_age, copy.compression) == (10**6, 5.0, "zlib")


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "deep" / "cache")
    cache.store("aa11", 1)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in cache.path.rglob("*")}
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o700, 0o600}


def test_a_folder_that_others_can_write_to_is_refused_unless_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DiskCache(tmp_path / "cache").store("aa11", 1)
    for place in (tmp_path / "cache", tmp_path / "cache" / "aa"):
        place.chmod(0o777)
        with pytest.raises(UnsafeCacheError, match="writable_by_others=True"):
            DiskCache(tmp_path / "cache")
        assert DiskCache(tmp_path / "cache", writable_by_others=True).load("aa11") == 1
        place.chmod(0o700)
    (tmp_path / "cache" / "aa" / "aa11").chmod(0o666)
    with pytest.warns(CacheWarning, match="not trusted"), pytest.raises(KeyError):
        DiskCache(tmp_path / "cache").load("aa11")
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "a secret")
    (tmp_path / "cache").chmod(0o777)
    DiskCache(tmp_path / "cache")  # signed: what others write is not used


@pytest.mark.slow
def test_many_threads_share_a_limited_store(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=50_000)

    def work(seed: int) -> None:
        for place in range(150):
            key = f"{(place * 7 + seed) % 60:04x}"
            loader = cache.find(key)
            with contextlib.suppress(KeyError):  # evicted in the meantime
                assert loader is None or loader() == [key] * 500
            cache.store(key, [key] * 500)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def test_a_header_with_a_wrong_count_asks_for_no_more_than_the_file_has(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    cache = DiskCache(tmp_path)
    cache.store("ab" * 16, [1])
    file = tmp_path / "ab" / ("ab" * 16)
    data = bytearray(file.read_bytes())
    data[27] ^= 0x40  # of the number of buffers
    file.write_bytes(data)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, before[1]))
    try:
        assert cache.stats().entries == 1
        assert [entry.about for entry in cache.entries()] == [{}]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("how", ["clear", "clear one node", "prune"])
def test_entries_that_cannot_be_removed_are_not_said_to_be(tmp_path: Path, how: str) -> None:
    cache = DiskCache(tmp_path)
    cache.store("aa11", "kept", ABOUT)
    (file,) = tmp_path.glob("**/aa11")
    # Root may remove a file in a folder that is read-only, but not one that is immutable.
    if os.geteuid() == 0:
        changed = subprocess.run(["chattr", "+i", file], capture_output=True)
        if changed.returncode:
            pytest.skip("this file system has no immutable files")
    else:
        file.parent.chmod(0o500)
    ways = {"clear": cache.clear, "clear one node": lambda: cache.clear(node="n"),
            "prune": lambda: cache.prune(max_bytes=1)}  # fmt: skip
    try:
        with pytest.raises(PermissionError):
            ways[how]()
        assert cache.load("aa11") == "kept"
    finally:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", file], check=True)
        else:
            file.parent.chmod(0o700)
