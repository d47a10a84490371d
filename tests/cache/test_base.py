"""What every store promises."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypernodes import DiskCache, FsspecCache, MemoryCache, Pipeline, node
from hypernodes.cache import Cache

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


@pytest.mark.parametrize("ttl", [float("inf"), 10**400])
def test_a_ttl_may_be_longer_than_a_float_can_say(store: Cache, ttl: float) -> None:
    made: list[int] = []

    def rate(x: int) -> int:
        made.append(x)
        return len(made)

    pipeline = Pipeline([node(rate, ttl=ttl)], cache=store)
    assert [pipeline.run({"x": 1}) for _ in range(2)] == [{"rate": 1}] * 2


def test_the_store_of_the_documentation_is_a_store() -> None:
    import re

    page = (Path(__file__).parents[2] / "docs" / "caching.md").read_text()
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


def test_a_store_keeps_loads_and_clears(store: Any) -> None:
    assert "aa11" not in store
    with pytest.raises(KeyError):
        store.load("aa11")
    for value in (None, [1, {"a": lambda: 3}], "text"):
        store.store("aa11", value, {"node": "n"})
        assert "aa11" in store
    assert store.load("aa11") == "text"
    store.clear()
    assert "aa11" not in store


def test_what_is_loaded_is_a_copy(store: Any) -> None:
    store.store("aa11", [1])
    store.load("aa11").append(2)
    assert store.load("aa11") == [1]


def test_many_threads_write_and_read_at_once(store: Any) -> None:
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for place in range(60):
            key = f"{(place * 7) % 20:04x}"
            store.store(key, [key] * 50)
            if store.load(key) != [key] * 50:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(store) == 20
