"""A folder may hold other people's files: a cache counts and removes its own alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypernodes import DiskCache, FsspecCache
from hypernodes.errors import UnsafeCacheError

ABOUT = {"node": "n", "output": "y", "duration": 0.5, "time": 1.75e9}


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
