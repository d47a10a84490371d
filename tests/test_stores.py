"""What every store promises, and what each promises more."""

from __future__ import annotations

import contextlib
import os
import pickle
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypernodes import CacheWarning, DiskCache, FsspecCache, MemoryCache, Pipeline, node
from hypernodes.cache import Cache
from hypernodes.errors import UnsafeCacheError

ABOUT = {"node": "n", "output": "y", "duration": 0.5, "time": 1.75e9}


@pytest.fixture(params=["memory", "disk", "compressed", "signed", "fsspec-memory", "fsspec-local"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryCache()
    elif request.param == "signed":
        monkeypatch.setenv("HYPERNODES_CACHE_KEY", "a secret")
        yield DiskCache(tmp_path / "cache")
    elif request.param == "compressed":
        yield DiskCache(tmp_path / "cache", compression="zlib")
    elif request.param == "disk":
        yield DiskCache(tmp_path / "cache")
    else:
        pytest.importorskip("fsspec")
        local = request.param == "fsspec-local"
        cache = FsspecCache(f"file://{tmp_path}/cache" if local else "memory://tests/cache")
        yield cache
        cache.clear()


VALUES = [
    None,
    "text",
    [1, {"a": (2, 3)}],
    b"x" * 3_000_000,
    np.arange(500_000.0).reshape(1000, 500),
    {"big": np.ones(200_000), "small": np.arange(3), "fortran": np.asfortranarray(np.eye(400))},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_what_is_stored_is_what_is_loaded(store: Cache, value: Any) -> None:
    store.store("aa11", value, ABOUT)
    for _ in range(2):
        loader = store.find("aa11")
        assert loader is not None
        np.testing.assert_equal(loader(), value)
        np.testing.assert_equal(store.load("aa11"), value)


def test_arrays_that_are_loaded_can_be_changed_and_their_entry_does_not(store: Cache) -> None:
    for size in (10, 20_000, 1_000_000):
        store.store("aa11", np.zeros(size))
        for _ in range(2):
            array = store.load("aa11")
            assert array[0] == 0
            array[0] = 1


def test_an_entry_knows_its_node_its_time_its_duration_and_its_size(store: Cache) -> None:
    store.store("aa11", os.urandom(1000), ABOUT)
    for entry in (store.entry("aa11"), *store.entries()):
        assert (entry.key, entry.node, entry.about["duration"]) == ("aa11", "n", 0.5)
        assert entry.made == 1.75e9
        assert entry.size > 1000
    with pytest.raises(KeyError):
        store.entry("bb22")


def test_statistics_are_by_node_and_clear_takes_one(store: Cache) -> None:
    for place in range(6):
        store.store(f"{place:04x}", "x" * 100, {**ABOUT, "node": f"n{place % 2}"})
    stats = store.stats()
    assert stats.entries == 6
    assert stats.nodes["n0"].entries == 3
    assert stats.nodes["n0"].seconds == 1.5
    assert stats.bytes == sum(each.bytes for each in stats.nodes.values()) > 600
    assert "6 entries" in str(stats)
    assert store.clear(node="n0") == 3
    assert {entry.node for entry in store.entries()} == {"n1"}
    assert store.clear() == 3
    assert store.stats().entries == 0


def test_prune_removes_by_age_and_by_size(store: Cache) -> None:
    for place in range(10):
        store.store(f"{place:04x}", os.urandom(10_000), {"node": "n"})
    assert store.prune(max_age=timedelta(hours=1)) == 0
    assert store.prune(max_bytes=55_000) == 5
    assert store.stats().bytes <= 55_000
    time.sleep(0.02)
    assert store.prune(max_age=0.01) == 5
    with pytest.raises(ValueError, match="max_bytes"):
        store.prune(max_bytes=-1)


def test_removed_entries_are_gone(store: Cache) -> None:
    store.store("aa11", 1)
    store.load("aa11")
    store.remove("aa11")
    store.remove("aa11")
    assert "aa11" not in store
    assert store.find("aa11") is None
    with pytest.raises(KeyError):
        store.load("aa11")


def test_a_refreshing_view_finds_nothing_and_overwrites(store: Cache) -> None:
    store.store("aa11", 1)
    view = store.refreshing()
    assert view.find("aa11") is None
    view.store("aa11", 2)
    assert store.load("aa11") == 2


def test_what_cannot_be_stored_raises_and_leaves_nothing(store: Cache) -> None:
    with pytest.raises(Exception, match="pickle"):
        store.store("aa11", (n for n in [1]))
    assert list(store.entries()) == []


# -- Disk ----------------------------------------------------------------------------------------


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


# -- Files of others -----------------------------------------------------------------------------

ENTRY_NAME = "ab" + "0123456789abcdef" * 2
OTHERS = {
    "en/en.csv": "an,a\n",
    "db/db.sqlite3": "mine " * 1000,
    "notes.txt": "mine",
    "ab/ab.txt": "mine",
    "ab/.hidden": "mine",
    "AB/AB12": "mine",
    f"ab/{ENTRY_NAME[:32]}": "a thumbnail, named by its checksum",
    f"ab/{ENTRY_NAME[:32]}.bak": "hypernodes2, a copy of an entry under another name",
    f"ab/{ENTRY_NAME[:31]}1": "hyphen",
    "cd/cd12/inside": "mine",
    "ef/ab12": "hypernodes2 in a folder that is not its own",
    "abc/abc1": "hypernodes2",
}


@pytest.fixture(params=["disk", "fsspec-local", "fsspec-memory"])
def crowded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A store in a folder with others' files, and what tells which of those are there."""
    if request.param == "disk":
        cache: Any = DiskCache(tmp_path)
    else:
        pytest.importorskip("fsspec")
        place = f"file://{tmp_path}" if request.param == "fsspec-local" else "memory://crowded"
        cache = FsspecCache(place)
    if request.param == "fsspec-memory":
        fs, root = cache._place
        for name, text in OTHERS.items():
            fs.pipe_file(f"{root}/{name}", text.encode())
        yield cache, lambda: {name for name in OTHERS if fs.exists(f"{root}/{name}")}
        fs.rm(root, recursive=True)
        return
    for name, text in OTHERS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield cache, lambda: {name for name in OTHERS if (tmp_path / name).exists()}


def test_a_store_among_others_files_counts_and_lists_its_own_alone(crowded: Any) -> None:
    cache, _ = crowded
    for place in range(5):
        cache.store(f"{place:032x}", "v", ABOUT)
    keys = {f"{place:032x}" for place in range(5)}
    assert {entry.key for entry in cache.entries()} == keys
    assert (len(cache), cache.stats().entries, set(cache.stats().nodes)) == (5, 5, {"n"})


def test_a_store_among_others_files_clears_and_prunes_its_own_alone(crowded: Any) -> None:
    cache, there = crowded
    for place in range(5):
        cache.store(f"{place:032x}", "v" * 300, ABOUT)
    assert cache.prune(max_bytes=1200) in (2, 3)
    assert cache.clear(node="n") in (2, 3)
    cache.store("ab12", 1, {"time": 1.0})
    cache.store("ab13", 2)
    assert cache.clear() == 2
    assert (there(), len(cache)) == (set(OTHERS), 0)


def test_others_files_that_are_old_are_not_pruned_by_age(crowded: Any, tmp_path: Path) -> None:
    cache, there = crowded
    for name in OTHERS:
        if (tmp_path / name).exists():
            os.utime(tmp_path / name, (0, 0))
    cache.store("ab12", 1)
    assert cache.prune(max_age=3600) == 0
    assert (there(), len(cache)) == (set(OTHERS), 1)


def test_a_cache_with_a_limit_evicts_its_own_alone_and_does_not_count_the_others(
    tmp_path: Path,
) -> None:
    for name, text in OTHERS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "ab" / ENTRY_NAME[:32]).write_text("mine" * 100_000)
    cache = DiskCache(tmp_path, max_bytes=6000)
    for place in range(40):
        cache.store(f"{place:032x}", "v" * 300)
        if place == 20:  # one that comes while the cache is in use
            (tmp_path / "ab" / ("ab" + "e" * 30)).write_text("mine" * 100_000)
    assert 10 <= len(cache) <= 16
    assert all((tmp_path / name).exists() for name in OTHERS)
    assert (tmp_path / "ab" / ("ab" + "e" * 30)).exists()


def test_links_and_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    cache.store("ab12", 1)
    (tmp_path / "cache" / "ab" / "ab34").symlink_to(tmp_path / "cache" / "ab" / "ab12")
    (tmp_path / "cache" / "ab" / "ab56").mkdir()
    os.mkfifo(tmp_path / "cache" / "ab" / "ab78")
    assert (len(cache), len(list(cache.entries())), cache.clear()) == (1, 1, 1)
    left = {each.name for each in (tmp_path / "cache" / "ab").iterdir()}
    assert left == {"ab34", "ab56", "ab78"}


def test_a_folder_of_others_that_is_open_to_them_is_no_concern_of_a_cache(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "db.sqlite3").write_text("mine")
    (tmp_path / "db").chmod(0o777)
    cache = DiskCache(tmp_path)
    cache.store("db12", 1)
    with pytest.raises(UnsafeCacheError, match="db"):
        DiskCache(tmp_path)


def test_an_entry_that_is_broken_further_on_is_the_caches_own(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    for length in (0, 4, 12, 200):
        cache.store(f"ab{length:04x}", "v" * 300, ABOUT)
        file = tmp_path / "ab" / f"ab{length:04x}"
        file.write_bytes(file.read_bytes()[:length])
    cache.store("ab12", "v" * 300, ABOUT)
    flipped = bytearray((tmp_path / "ab" / "ab12").read_bytes())
    flipped[3] ^= 0b101
    (tmp_path / "ab" / "ab12").write_bytes(flipped)
    assert (len(cache), len(list(cache.entries()))) == (5, 5)
    assert (cache.clear(), list((tmp_path / "ab").iterdir())) == (5, [])


@pytest.mark.parametrize("key", ["", "en.csv", "../ab12", "AB12", "ab", "a b c"])
def test_a_key_that_could_not_be_told_from_others_names_is_refused(
    tmp_path: Path, key: str
) -> None:
    pytest.importorskip("fsspec")
    for cache in (DiskCache(tmp_path), FsspecCache("memory://keys")):
        with pytest.raises(ValueError, match="hexadecimal"):
            cache.store(key, 1)


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


# -- Dates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "served"), [(3, True), (60, False), (86_400, False)])
def test_an_entry_from_the_future_is_not_served_by_a_cache_with_an_age_limit(
    tmp_path: Path, ahead: float, served: bool
) -> None:
    pytest.importorskip("fsspec")
    now = time.time()
    for cache in (
        MemoryCache(max_age=60),
        DiskCache(tmp_path / "disk", max_age=60),
        FsspecCache("memory://dated", max_age=60),
    ):
        cache.store("aa11", 1, {"time": now + ahead})
        for _ in range(2):
            loader = cache.find("aa11")
            got = None
            with contextlib.suppress(KeyError):
                got = loader and loader()
            assert got == (1 if served else None), cache
        assert cache.prune(max_age=60) in ((0,) if served else (0, 1))
        cache.clear()


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


@pytest.mark.parametrize("ahead", [60, 86_400])
def test_a_result_from_the_future_is_not_fresh_for_a_node_with_a_ttl(
    store: Cache, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def rate(x: int) -> int:
        made.append(x)
        return len(made)

    pipeline = Pipeline([node(rate, ttl=10)], cache=store)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    assert pipeline.run({"x": 1}) == {"rate": 1}
    monkeypatch.setattr(time, "time", now)
    assert pipeline.run({"x": 1}) == {"rate": 2}
    assert pipeline.run({"x": 1}) == {"rate": 2}


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


def test_pyarrow_tables_are_written_from_where_they_lie(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": np.arange(500_000), "b": np.ones(500_000)})
    parts, _ = __import__("hypernodes.cache.format", fromlist=["encode"]).encode(
        "k", table, {}, 0.0
    )
    assert sum(len(part) for part in parts if isinstance(part, bytes)) < table.nbytes / 10
    cache = DiskCache(tmp_path)
    cache.store("aa11", table)
    assert cache.load("aa11").equals(table)


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


def test_an_entry_whose_class_is_not_here_is_a_miss_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    module = types.ModuleType("passing_module")
    monkeypatch.setitem(sys.modules, "passing_module", module)
    exec("class Thing:\n    pass", vars(module))
    cache = DiskCache(tmp_path)
    cache.store("aa11", module.Thing())
    monkeypatch.delitem(sys.modules, "passing_module")
    with pytest.warns(CacheWarning, match="cannot be loaded here"), pytest.raises(KeyError):
        cache.load("aa11")
    assert "aa11" in cache


# -- Security ------------------------------------------------------------------------------------


class Exploit:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


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


@pytest.mark.parametrize("forged", ["unsigned", "other key", "changed", "moved"])
def test_unsigned_and_forged_entries_are_misses_that_are_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    if forged != "unsigned":
        monkeypatch.setenv("HYPERNODES_CACHE_KEY", "wrong" if forged == "other key" else "right")
    DiskCache(tmp_path / "c").store("aa11", Exploit(tmp_path / "mark"))
    file, key = tmp_path / "c" / "aa" / "aa11", "aa11"
    if forged == "changed":
        data = bytearray(file.read_bytes())
        data[-40] ^= 1
        file.write_bytes(data)
    elif forged == "moved":
        key = "aa22"
        file.rename(file.with_name(key))
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "right")
    with pytest.warns(CacheWarning, match="not trusted"), pytest.raises(KeyError):
        DiskCache(tmp_path / "c").load(key)
    assert not (tmp_path / "mark").exists()


def test_a_signed_entry_is_a_miss_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "right")
    cache = DiskCache(tmp_path)
    cache.store("aa11", 1)
    assert cache.load("aa11") == 1
    monkeypatch.delenv("HYPERNODES_CACHE_KEY")
    with pytest.warns(CacheWarning, match="HYPERNODES_CACHE_KEY"), pytest.raises(KeyError):
        DiskCache(tmp_path).load("aa11")
    assert cache.load("aa11") == 1


# -- Shared places -------------------------------------------------------------------------------


def test_a_broken_entry_on_a_file_system_is_a_miss_with_a_warning() -> None:
    pytest.importorskip("fsspec")
    cache = FsspecCache("memory://tests/broken")
    cache.store("aa11", [1] * 100)
    fs, place = cache._place
    fs.pipe_file(f"{place}/aa/aa11", fs.cat_file(f"{place}/aa/aa11")[:-1])
    with pytest.warns(CacheWarning, match="broken"), pytest.raises(KeyError):
        cache.load("aa11")
    assert "aa11" not in cache


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(TypeError, match="s3://"):
        FsspecCache(Path("folder"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nonsense"):
        FsspecCache("nonsense://place")


def test_the_store_of_the_documentation_is_a_store() -> None:
    import re

    page = (Path(__file__).parents[1] / "docs" / "caching.md").read_text()
    code = next(b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "DictCache" in b)
    assert len(code.splitlines()) <= 30
    scope: dict[str, Any] = {}
    exec(code, scope)
    cache = scope["DictCache"]()
    calls: list[int] = []

    def square(x: int) -> int:
        calls.append(x)
        return x * x

    pipeline = Pipeline([node(square)], cache=cache)
    for _ in range(2):
        assert pipeline.map({"x": [1, 2]}, "x") == [{"square": 1}, {"square": 4}]
    assert calls == [1, 2]
    assert cache.stats().nodes["square"].entries == 2
    assert str(pipeline.explain_cache({"x": 1})) == "square: hit"
    assert cache.clear(node="square") == 2


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
