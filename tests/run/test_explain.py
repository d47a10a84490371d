"""`Pipeline.explain_cache` says what a run would find, and runs nothing."""

from __future__ import annotations

import os
import random
import sys
import time
import types
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder

from hypernodes import CacheWarning, DiskCache, FsspecCache, MemoryCache, Pipeline, node
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
    assert before["first"].reasons == (
        "there are no results: it has never run, or they were removed or not kept",
    )
    assert calls == []
    pipeline.run({"x": 1})
    after = pipeline.explain_cache({"x": 1})
    assert [str(each) for each in after] == ["first: hit", "second: hit", "third: hit"]
    assert repr(after).startswith("<Explanation: 3 hit>")
    assert [each.node for each in pipeline.explain_cache({"x": 1}, "second")] == ["first", "second"]


def test_it_says_so_of_a_node_whose_results_were_declined(cache: Any) -> None:
    generator = random.Random(0)
    pipeline = Pipeline([node(lambda x: x + generator.random(), "y", name="draw")], cache=cache)
    with pytest.warns(CacheWarning, match="its code changes"):
        pipeline.run({"x": 1})
    (told,) = pipeline.explain_cache({"x": 1})
    assert told.verdict == "not cached"
    assert "its code changes what it reads" in told.reasons[0]


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


# -- Entries that cannot be used -----------------------------------------------------------------


def entry_files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize("harm", ["a flipped bit", "cut", "another key", "open to others"])
@pytest.mark.parametrize("kind", ["disk", "fsspec"])
def test_an_entry_that_cannot_be_used_is_no_hit_and_looking_at_it_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str, kind: str
) -> None:
    pytest.importorskip("fsspec")

    def store() -> Any:
        return DiskCache(tmp_path) if kind == "disk" else FsspecCache(f"file://{tmp_path}")

    if harm == "open to others" and kind == "fsspec":
        pytest.skip("a file system's owner says who may write")
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "right" if harm == "another key" else "")
    pipeline, calls = build(SOURCE, store())
    pipeline.run({"x": 1})
    assert [each.verdict for each in pipeline.explain_cache({"x": 1})] == ["hit"] * 3
    for file in entry_files(tmp_path):
        data = bytearray(file.read_bytes())
        data[-20] ^= harm == "a flipped bit"
        file.write_bytes(data[:-9] if harm == "cut" else data)
        file.chmod(0o666 if harm == "open to others" else 0o600)
    if harm == "another key":
        monkeypatch.setenv("HYPERNODES_CACHE_KEY", "wrong")
    pipeline = pipeline.with_cache(store())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = pipeline.explain_cache({"x": 1})
    assert [each.verdict for each in told] == ["miss"] * 3
    (reason,) = told["second"].reasons
    assert reason.startswith(("it is broken (", "it is not trusted ("))
    assert len(entry_files(tmp_path)) == 3
    del calls[:]
    with pytest.warns(CacheWarning):
        pipeline.run({"x": 1})
    assert calls == ["first", "second", "third"]


def test_an_entry_that_cannot_be_unpickled_here_is_no_hit(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("passing_module")
    monkeypatch.setitem(sys.modules, "passing_module", module)
    exec("class Thing:\n    pass", vars(module))

    def make(x: int) -> Any:
        return __import__("passing_module").Thing()

    pipeline = Pipeline([node(make, "y")], cache=cache)
    pipeline.run({"x": 1})
    assert pipeline.explain_cache({"x": 1})["make"].verdict == "hit"
    monkeypatch.delitem(sys.modules, "passing_module")
    told = pipeline.explain_cache({"x": 1})["make"]
    assert (told.verdict, "passing_module" in told.reasons[0]) == ("miss", True)


def test_one_broken_output_of_two_is_told_and_so_are_those_in_maps(tmp_path: Path) -> None:
    def halves(x: int) -> tuple[str, str]:
        return "left" * x, "right" * x

    pipeline = Pipeline([node(halves, ("left", "right"))], cache=DiskCache(tmp_path))
    pipeline.map({"x": [1, 2, 3]}, "x")
    broken = next(f for f in entry_files(tmp_path) if b"rightrightright" in f.read_bytes())
    broken.write_bytes(broken.read_bytes()[:-1])
    told = pipeline.explain_cache({"x": [1, 2, 3]}, map_over="x")["halves"]
    assert (told.verdict, told.hits, told.reasons) == (
        "miss", 2, ("item 2: it is broken (its checksum is wrong)",)
    )  # fmt: skip


def test_a_store_of_ones_own_tells_of_entries_that_do_not_load(cache: Any) -> None:
    class Failing(MemoryCache):
        def load(self, key: str) -> Any:
            raise OSError("no answer")

    pipeline, _ = build(SOURCE, Failing())
    pipeline.run({"x": 1})
    assert pipeline.explain_cache({"x": 1})["first"].reasons == ("OSError('no answer')",)


def test_in_a_run_that_computes_everything_anew_nothing_is_a_hit(cache: Any) -> None:
    pipeline, _ = build(SOURCE, cache)
    pipeline.run({"x": 1})
    anew = pipeline.with_cache(cache.refreshing())
    for inputs in ({"x": 1}, {"x": 2}):
        told = anew.explain_cache(inputs)
        assert {(each.verdict, *each.reasons) for each in told} == {
            ("miss", "cache.refreshing(): everything is computed anew")
        }
    outer = Pipeline([pipeline.with_cache(None).as_node(name="in")], cache=cache.refreshing())
    assert {each.verdict for each in outer.explain_cache({"x": 1})} == {"miss"}
    mapped = anew.explain_cache({"x": [1, 2]}, map_over="x")
    assert [(each.verdict, each.hits) for each in mapped] == [("miss", 0)] * 3
    assert [each.verdict for each in pipeline.explain_cache({"x": 1})] == ["hit"] * 3


def test_a_result_from_the_future_is_no_hit(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, _ = build(SOURCE, cache, ttl=10)
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + 3600)
        pipeline.run({"x": 1})
    told = pipeline.explain_cache({"x": 1})
    assert told["first"].verdict == "miss"
    assert "ahead of this machine's clock" in told["first"].reasons[0]
    assert told["second"].reasons == ("a node before it is computed anew",)


# -- Behind a node that is not cached ------------------------------------------------------------

READER = """
def read(path):
    calls.append("read")
    return FILES[path]

def split(text, sep=" "):
    calls.append("split")
    return text.split(sep)

def count(words):
    calls.append("count")
    return len(words)
"""
AS_BEFORE = "node 'read' makes what it made last"


class Reading:
    """Pipelines that begin with a reader which is not cached, and the files that it reads."""

    def __init__(self, store: Any, **split: Any) -> None:
        self.store = store
        self.files = {"a": "a b", "b": "c d e"}
        self.calls: list[str] = []
        self.split_options = split

    def pipeline(self, source: str = READER, store: Any = None) -> Pipeline:
        module = types.ModuleType("users_module")
        vars(module).update(calls=self.calls, FILES=self.files)
        exec(source, vars(module))
        nodes = [
            node(module.read, "text", cache=False),
            node(module.split, "words", **self.split_options),
            node(module.count, "n"),
        ]
        return Pipeline(nodes, cache=self.store if store is None else store or None)


def test_what_follows_an_uncached_reader_is_a_hit_if_it_makes_what_it_made(cache: Any) -> None:
    reading = Reading(cache)
    pipeline = reading.pipeline()
    told = pipeline.explain_cache({"path": "a"})
    assert [each.verdict for each in told] == ["not cached", "unknown", "unknown"]
    pipeline.run({"path": "a"})
    told = pipeline.explain_cache({"path": "a"})
    assert [each.verdict for each in told] == ["not cached", "unknown", "unknown"]
    assert told["split"].reasons == told["count"].reasons == (f"a hit if {AS_BEFORE}",)
    reading.calls.clear()
    pipeline.run({"path": "a"})
    assert reading.calls == ["read"]  # as was told


def test_what_a_reader_cannot_change_is_told_for_certain(cache: Any) -> None:
    reading = Reading(cache)
    reading.pipeline().run({"path": "a"})
    changed = reading.pipeline(READER.replace("text.split(sep)", "text.split(sep)[:9]"))
    told = changed.explain_cache({"path": "a"})
    assert told["split"].verdict == "miss"
    assert told["split"].reasons == ("code: users_module.split changed",)
    assert told["count"].verdict == "unknown"
    told = reading.pipeline().explain_cache({"path": "a", "sep": "-"})
    assert str(told["split"]) == "split: miss: input 'sep' differs"
    anew = reading.pipeline(store=cache.refreshing()).explain_cache({"path": "a"})
    assert [each.verdict for each in anew] == ["not cached", "miss", "miss"]
    cache.clear(node="split")
    told = reading.pipeline().explain_cache({"path": "a"})
    assert (told["split"].verdict, told["count"].verdict) == ("unknown", "unknown")


def test_what_is_gone_behind_a_reader_runs_if_it_makes_what_it_made(cache: Any) -> None:
    reading = Reading(cache)
    pipeline = reading.pipeline()
    pipeline.run({"path": "a"})
    pipeline.run({"path": "b"})
    newest = max((e for e in cache.entries() if e.node == "count"), key=lambda each: each.made)
    cache.remove(newest.key)
    told = pipeline.explain_cache({"path": "b"})
    assert told["split"].reasons == (f"a hit if {AS_BEFORE}, or as in another run",)
    assert told["count"].reasons == (f"it runs if {AS_BEFORE}",)
    for entry in list(cache.entries()):
        if entry.node == "count":
            cache.remove(entry.key)
    assert pipeline.explain_cache({"path": "b"})["count"].verdict == "miss"


@pytest.mark.parametrize("ttl", [1000, 0.01])
def test_a_result_that_lives_for_a_time_behind_a_reader(cache: Any, ttl: float) -> None:
    reading = Reading(cache, ttl=ttl)
    pipeline = reading.pipeline()
    pipeline.run({"path": "a"})
    time.sleep(0.02)
    told = pipeline.explain_cache({"path": "a"})
    if ttl == 1000:
        assert told["split"].reasons == told["count"].reasons == (f"a hit if {AS_BEFORE}",)
    else:
        assert told["split"].verdict == told["count"].verdict == "miss"
        assert "its ttl is 0.01" in told["split"].reasons[0]
        assert told["count"].reasons == ("a node before it is computed anew",)


def test_nested_pipelines_behind_a_reader_and_readers_inside_them(cache: Any) -> None:
    reading = Reading(cache)
    whole = reading.pipeline(store=False)
    outer = Pipeline([whole.as_node(name="in"), node(lambda n: n + 1, "more")], cache=cache)
    outer.run({"path": "a"})
    told = outer.explain_cache({"path": "a"})
    assert [each.verdict for each in told] == ["not cached", "unknown", "unknown", "unknown"]
    assert {each.reasons for each in told[1:]} == {(f"a hit if {AS_BEFORE}",)}
    read, *rest = (each.node for each in whole.plan().steps)
    behind = Pipeline([read, Pipeline(rest).as_node(name="in")], cache=cache)
    told = behind.explain_cache({"path": "a"})
    assert {each.reasons for each in told[1:]} == {(f"a hit if {AS_BEFORE}",)}


def test_maps_behind_a_reader_and_readers_in_their_items(cache: Any) -> None:
    reading = Reading(cache)
    whole = reading.pipeline()
    whole.map({"path": ["a", "b"]}, "path")
    told = whole.explain_cache({"path": ["a", "b"]}, map_over="path")["count"]
    assert (told.verdict, told.items, told.hits) == ("unknown", 2, 0)
    assert AS_BEFORE in told.reasons[0]

    def lines(path: str) -> list[int]:
        reading.calls.append("lines")
        return list(range(len(reading.files[path])))

    double = Pipeline([node(lambda x: 2 * x, "y")])
    nodes = [
        node(lines, "xs", cache=False),
        double.as_node(name="each", map_over="xs"),
        node(lambda y: sum(y), "total"),
    ]
    outer = Pipeline(nodes, cache=cache)
    assert outer.explain_cache({"path": "a"})["each/y"].verdict == "unknown"
    outer.run({"path": "a"})
    told = outer.explain_cache({"path": "a"})
    assert told["each/y"].reasons == (
        "a hit if its item is one that was run last, or as in one of 2 other runs",
    )
    assert told["total"].reasons == ("a hit if node 'each' makes what it made last",)


def test_a_map_over_what_is_made_behind_a_reader_tells_each_item(cache: Any) -> None:
    reading = Reading(cache)
    read, split, _ = (each.node for each in reading.pipeline().plan().steps)
    size = Pipeline([node(lambda word: len(word), "size")])
    total = node(lambda size: sum(size), "total")
    each = size.as_node(name="each", map_over={"words": "word"})
    outer = Pipeline([read, split, each, total], cache=cache)
    outer.run({"path": "b"})
    told = outer.explain_cache({"path": "b"})
    assert (told["each/size"].verdict, told["each/size"].items) == ("unknown", 3)
    assert AS_BEFORE in told["each/size"].reasons[0]
    assert told["total"].reasons == (f"a hit if {AS_BEFORE}",)


def test_two_nodes_that_read_the_same_are_told_of_the_same(cache: Any) -> None:
    reading = Reading(cache)
    read, split, _ = (each.node for each in reading.pipeline().plan().steps)
    lower = node(lambda text, words: text.lower() * len(words), "lower")
    pipeline = Pipeline([read, split, lower], cache=cache)
    pipeline.run({"path": "a"})
    pipeline.run({"path": "b"})
    told = pipeline.explain_cache({"path": "a"})
    told_of_both = f"a hit if {AS_BEFORE}, or as in another run"
    assert told["lower"].reasons == (told_of_both,)


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


def test_results_live_for_their_time_and_so_does_what_was_made_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(tmp_path, ttl=timedelta(hours=1))
    clock.pipeline.run(clock.source)
    clock.tick(7)
    assert clock.pipeline.run(clock.source)["after"] == 0
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
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


@pytest.mark.slow
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


def test_a_miss_that_nobody_needs_is_said_not_to_run() -> None:
    cache = MemoryCache()
    pipeline = Pipeline(
        [node(lambda x: x + 1, "a"), node(lambda a: a * 2, "b"), node(lambda b: -b, "c")],
        cache=cache,
    )
    pipeline.run({"x": 1}, "c")
    cache.clear(node="a")
    cache.clear(node="b")
    told = pipeline.explain_cache({"x": 1}, "c")
    assert [each.verdict for each in told] == ["miss", "miss", "hit"]
    assert all("does not run" in str(each) for each in told[:2])
    asked = pipeline.explain_cache({"x": 1}, "b")
    assert [each.verdict for each in asked] == ["miss", "miss"]
    assert not any("does not run" in str(each) for each in asked)


def test_a_miss_that_nobody_needs_across_a_nested_pipelines_border_is_said_not_to_run() -> None:
    a, b = node(lambda x: x + 1, "a", name="a"), node(lambda a: a * 2, "b", name="b")
    of_a, of_b = Pipeline([a], name="of_a"), Pipeline([b], name="of_b")
    each_a = of_a.as_node(map_over={"xs": "x"}, output_mapping={"a": "all_a"}, name="each")
    each_b = of_b.as_node(map_over={"a": "a"}, output_mapping={"b": "all_b"}, name="each")
    one = node(lambda xs: xs[0], "a", name="a")
    added = node(lambda all_a: sum(all_a), "b", name="b")
    for nodes, made_by, wanted, inputs in (
        ([of_a.as_node(), b], "of_a/a", "b", {"x": 1}),
        ([a, of_b.as_node()], "a", "b", {"x": 1}),
        ([of_a.as_node(), of_b.as_node()], "of_a/a", "b", {"x": 1}),
        ([Pipeline([of_a.as_node()], name="around").as_node(), b], "around/of_a/a", "b", {"x": 1}),
        ([each_a, added], "each/a", "b", {"xs": [1, 2]}),
    ):
        pipeline = Pipeline(nodes, cache=MemoryCache())
        pipeline.run(inputs, wanted)
        pipeline.cache.clear(node="a")
        hooks = Recorder()
        told = {each.node: each for each in pipeline.explain_cache(inputs, wanted)}
        assert told[made_by].verdict == "miss"
        assert "does not run" in str(told[made_by]), str(told[made_by])
        pipeline.with_callbacks([hooks]).run(inputs, wanted)
        assert "on_node_start" not in [hook for hook, _ in hooks.told()]
    # A map needs the lists that it goes over.
    pipeline = Pipeline([one, each_b], cache=MemoryCache())
    pipeline.run({"xs": [[1, 2]]}, "all_b")
    pipeline.cache.clear(node="a")
    told = {each.node: each for each in pipeline.explain_cache({"xs": [[1, 2]]}, "all_b")}
    assert told["a"].verdict == "miss"
    assert "does not run" not in str(told["a"])
