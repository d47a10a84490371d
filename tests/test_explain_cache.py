"""`Pipeline.explain_cache` says what a run would find, and runs nothing."""

from __future__ import annotations

import os
import time
import types
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hypernodes import DiskCache, MemoryCache, Pipeline, node
from hypernodes.errors import MissingInputError, NodeError

SOURCE = """
LIMIT = 3

def helper(x):
    return x + LIMIT

def first(x):
    calls.append("first")
    return helper(x)

def second(first, y=1):
    calls.append("second")
    return first * y

def third(second):
    calls.append("third")
    return second + 1
"""


def build(source: str, store: Any, **options: Any) -> tuple[Pipeline, list[str]]:
    calls: list[str] = []
    module = types.ModuleType("users_module")
    vars(module)["calls"] = calls
    exec(source, vars(module))
    nodes = [node(module.first, **options), node(module.second), node(module.third)]
    return Pipeline(nodes, cache=store), calls


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path)


def test_it_tells_hits_and_what_has_never_run_and_runs_nothing(cache: Any) -> None:
    pipeline, calls = build(SOURCE, cache)
    before = pipeline.explain_cache({"x": 1})
    assert [each.verdict for each in before] == ["miss"] * 3
    assert before["first"].reasons == ("it has never run, or its results have been removed",)
    assert calls == []
    pipeline.run({"x": 1})
    after = pipeline.explain_cache({"x": 1})
    assert [str(each) for each in after] == ["first: hit", "second: hit", "third: hit"]
    assert repr(after).startswith("<Explanation: 3 hit>")
    assert [each.node for each in pipeline.explain_cache({"x": 1}, "second")] == ["first", "second"]


def test_it_names_the_input_and_the_node_that_differ(cache: Any) -> None:
    pipeline, _ = build(SOURCE, cache)
    pipeline.run({"x": 1})
    told = pipeline.explain_cache({"x": 2})
    assert told["first"].reasons == ("input 'x' differs",)
    assert told["second"].reasons == ("input 'first' from node 'first' differs",)
    told = pipeline.explain_cache({"x": 1, "y": 5})
    assert [each.verdict for each in told] == ["hit", "miss", "miss"]
    assert told["second"].reasons == ("input 'y' differs",)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("return x + LIMIT", "return x - LIMIT", "code: users_module.helper changed"),
        ("LIMIT = 3", "LIMIT = 4", "code: users_module.LIMIT changed"),
        ("return helper(x)", "return helper(x) + 1", "code: users_module.first changed"),
    ],
)
def test_it_names_the_function_that_changed(cache: Any, old: str, new: str, reason: str) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    changed, _ = build(SOURCE.replace(old, new), cache)
    assert changed.explain_cache({"x": 1})["first"].reasons == (reason,)


def test_it_compares_with_the_nearest_earlier_run(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    other, _ = build(SOURCE.replace("return x + LIMIT", "return LIMIT"), cache)
    other.run({"x": 2})
    again, _ = build(SOURCE, cache)
    assert again.explain_cache({"x": 3})["first"].reasons == ("input 'x' differs",)


def test_it_tells_of_versions_and_times_to_live(cache: Any) -> None:
    build(SOURCE, cache, version="a")[0].run({"x": 1})
    changed, _ = build(SOURCE, cache, version="b")
    assert changed.explain_cache({"x": 1})["first"].reasons == ("version: 'a' is now 'b'",)
    short, _ = build(SOURCE, cache, version="a", ttl=0.01)
    time.sleep(0.02)
    (reason,) = short.explain_cache({"x": 1})["first"].reasons
    assert "its ttl is 0.01" in reason


def test_it_tells_what_is_not_cached_and_what_that_leaves_unknown(cache: Any) -> None:
    pipeline, calls = build(SOURCE, cache, cache=False)
    told = pipeline.explain_cache({"x": 1})
    assert [each.verdict for each in told] == ["not cached", "unknown", "unknown"]
    assert told["first"].reasons == ("cache=False",)
    assert "node 'first' runs" in told["second"].reasons[0]
    assert calls == []
    pipeline, _ = build(SOURCE, cache)
    told = pipeline.explain_cache({"x": (n for n in [1])})
    assert told["first"].verdict == "not cached"
    assert "generator" in told["first"].reasons[0]
    assert pipeline.with_cache(False).explain_cache({"x": 1})[0].verdict == "not cached"
    with pytest.raises(MissingInputError):
        pipeline.explain_cache({})


def test_it_looks_into_nested_pipelines_and_maps(cache: Any) -> None:
    inner, calls = build(SOURCE, None)
    total = node(lambda third: sum(third), "total")
    outer = Pipeline([inner.as_node(name="inner", map_over="xs"), total], cache=cache)
    outer.run({"xs": [1, 2, 3]}, "total")
    del calls[:]
    told = outer.explain_cache({"xs": [1, 2, 3]}, "total")
    assert {each.verdict for each in told} == {"hit"}
    told = outer.explain_cache({"xs": [1, 9, 3]}, "total")
    assert told["inner/first"].hits == 2
    assert told["inner/first"].reasons == ("item 1: input 'x' differs",)
    assert told["total"].reasons == ("input 'third' from node 'inner' differs",)
    told = inner.with_cache(cache).explain_cache({"x": [1, 9, 7]}, map_over="x")
    assert str(told["first"]) == (
        "first: miss (1 of 3 items are hits): input 'x' differs (2 items, the first is 1)"
    )
    assert calls == []


def test_a_map_over_what_a_node_makes_is_looked_into_where_that_is_stored(cache: Any) -> None:
    inner = Pipeline([node(lambda x: x + 1, "y")])
    numbers = node(lambda n: list(range(n)), "xs")
    outer = Pipeline([numbers, inner.as_node(name="inner", map_over="xs")], cache=cache)
    assert outer.explain_cache({"n": 3})["inner/y"].verdict == "unknown"
    outer.run({"n": 3})
    told = outer.explain_cache({"n": 3})["inner/y"]
    assert (told.verdict, told.items, told.hits) == ("hit", 3, 3)


# -- Control -------------------------------------------------------------------------------------


class Clock:
    """A pipeline that reads a file, whose content its code does not show."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.calls: list[str] = []
        self.file = folder / "now"
        self.source = {"source": str(self.file)}
        self.tick(0)
        calls = self.calls

        def read(source: str) -> int:
            calls.append("read")
            return int(Path(source).read_text())

        def after(read: int) -> int:
            calls.append("after")
            return read * 10

        self.read, self.after = read, after
        self.pipeline = self.with_options(MemoryCache(), **options)

    def with_options(self, store: Any, **options: Any) -> Pipeline:
        return Pipeline([node(self.read, **options), node(self.after)], cache=store)

    def tick(self, now: int) -> None:
        self.file.write_text(str(now))


def test_refresh_computes_again_with_all_that_follows_and_overwrites(tmp_path: Path) -> None:
    clock = Clock(tmp_path, cache="refresh")
    for now in (1, 2):
        clock.tick(now)
        assert clock.pipeline.run(clock.source) == {"read": now, "after": now * 10}
    assert clock.calls == ["read", "after"] * 2
    told = clock.pipeline.explain_cache(clock.source)
    assert [each.verdict for each in told] == ["miss", "miss"]
    clock.tick(3)
    plain = clock.with_options(clock.pipeline.cache)
    assert plain.run(clock.source) == {"read": 2, "after": 20}
    assert len(clock.calls) == 4


def test_what_follows_a_refreshed_item_of_a_map_is_computed_again(tmp_path: Path) -> None:
    clock = Clock(tmp_path, cache="refresh")
    total = node(lambda after: sum(after), "total")
    inner = clock.pipeline.with_cache(None).as_node(map_over="sources")
    outer = Pipeline([inner, total], cache=MemoryCache())
    for now in (1, 2):
        clock.tick(now)
        sources = [str(clock.file), str(tmp_path / "." / "now")]
        assert outer.run({"sources": sources}, "total") == {"total": now * 20}


def test_a_run_can_compute_everything_anew(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    pipeline = clock.pipeline
    pipeline.run(clock.source)
    clock.tick(5)
    assert pipeline.run(clock.source)["after"] == 0
    anew = pipeline.with_cache(pipeline.cache.refreshing())
    assert anew.run(clock.source)["after"] == 50
    assert pipeline.run(clock.source)["after"] == 50
    assert clock.calls == ["read", "after"] * 2


def test_results_live_for_their_time_and_so_does_what_was_made_from_them(tmp_path: Path) -> None:
    clock = Clock(tmp_path, ttl=timedelta(seconds=1.5))
    clock.pipeline.run(clock.source)
    clock.tick(7)
    assert clock.pipeline.run(clock.source)["after"] == 0
    time.sleep(1.6)
    assert clock.pipeline.run(clock.source) == {"read": 7, "after": 70}
    assert clock.calls == ["read", "after"] * 2


def test_what_was_made_from_an_older_result_is_never_served(tmp_path: Path) -> None:
    clock = Clock(tmp_path, ttl=1000)
    pipeline = clock.pipeline.with_cache(DiskCache(tmp_path / "cache"))
    pipeline.run(clock.source)
    clock.tick(1)
    pipeline.cache.clear(node="read")  # as an eviction, or a run that was killed in the middle
    pipeline.run(clock.source, "read")
    assert pipeline.run(clock.source) == {"read": 1, "after": 10}


def test_another_version_is_another_result(tmp_path: Path) -> None:
    clock = Clock(tmp_path, version="one")
    clock.pipeline.run(clock.source)
    clock.tick(4)
    other = clock.with_options(clock.pipeline.cache, version="two")
    assert other.run(clock.source) == {"read": 4, "after": 40}
    assert clock.pipeline.run(clock.source) == {"read": 0, "after": 0}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cache": "always"}, "'refresh'"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": "1h"}, "timedelta"),
        ({"version": 3}, "version"),
        ({"tll": 3}, "Did you mean 'ttl'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(NodeError, match=says):
        node(len, "n", **options)


def test_signatures_depend_on_no_hash_seed_and_no_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import numpy as np; from hypernodes.identity.values import sign\n"
        "class A:\n    def __init__(self): self.x = {'a', 'b'}\n"
        "print(sign([{'x', 'y', 'z'}, {'a': {1, 'b'}}, np.ones(3), A, A(), lambda q: {q, 'r'},"
        " frozenset('abc')]).hex())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(told) == 1
