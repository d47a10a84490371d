"""`Cache.keep`: after an edit that changes no result, those of the earlier code are used."""

from __future__ import annotations

import os
import time
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hypernodes import (
    CacheWarning,
    DiskCache,
    FsspecCache,
    HyperNodesEngine,
    MemoryCache,
    Pipeline,
    node,
)
from hypernodes.cache import Cache, Entry
from hypernodes.cache.entry_files import TABLE

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
"""
EDITED = SOURCE.replace("return x + LIMIT", "return LIMIT + x")
AGAIN = SOURCE.replace("return x + LIMIT", "return sum([x, LIMIT])")


class FiveMethods(Cache):
    """A store as a user writes it."""

    shared = False

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def __contains__(self, key: str) -> bool:
        return key in self.held

    def load(self, key: str) -> Any:
        return self.held[key][0]

    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        self.held[key] = value, about or {}

    def remove(self, key: str) -> None:
        self.held.pop(key, None)

    def entries(self) -> Iterator[Entry]:
        for key, (_, about) in list(self.held.items()):
            yield Entry(key, 0, about["time"], about["time"], about)


@pytest.fixture(params=["memory", "disk", "signed", "fsspec", "five methods"])
def cache(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    if request.param == "signed":
        monkeypatch.setenv("HYPERNODES_CACHE_KEY", "a secret")
    if request.param == "fsspec":
        pytest.importorskip("fsspec")
        cache = FsspecCache("memory://kept")
        yield cache
        cache.clear()
    elif request.param in ("disk", "signed"):
        yield DiskCache(tmp_path / "cache")
    else:
        yield MemoryCache() if request.param == "memory" else FiveMethods()


def build(
    source: str, store: Any, first: Mapping[str, Any] | None = None, **options: Any
) -> tuple[Pipeline, list[str]]:
    calls: list[str] = []
    module = types.ModuleType("users_module")
    vars(module)["calls"] = calls
    exec(source, vars(module))
    nodes = [node(module.first, **(first or {})), node(module.second)]
    return Pipeline(nodes, cache=store, **options), calls


# -- What it does --------------------------------------------------------------------------------


def test_results_of_the_earlier_code_are_found_with_all_that_was_made_of_them(cache: Any) -> None:
    build(SOURCE, cache)[0].map({"x": [1, 2]}, "x")
    edited, calls = build(EDITED, cache)
    told = cache.keep(edited)
    assert [(each.node, each.verdict) for each in told] == [("first", "kept"), ("second", "left")]
    assert told["first"].changes == ("code: users_module.helper changed",)
    assert (told["first"].entries, told["first"].unused) == (2, 0)
    assert "first: kept: 2 results of its earlier code, the newest of 20" in str(told)
    assert edited.map({"x": [1, 2]}, "x") == [{"first": 4, "second": 4}, {"first": 5, "second": 5}]
    assert calls == []


def test_what_is_made_afterwards_is_found_by_the_edited_code_and_by_the_earlier_one(
    cache: Any,
) -> None:
    earlier, before = build(SOURCE, cache)
    earlier.run({"x": 1})
    edited, calls = build(EDITED, cache)
    cache.keep(edited)
    for _ in range(2):
        edited.run({"x": 7})
    assert calls == ["first", "second"]
    before.clear()
    earlier.run({"x": 7})
    assert before == []


def test_an_edit_after_an_edit_leads_to_the_oldest_results(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    for source in (EDITED, AGAIN):
        pipeline, calls = build(source, cache)
        assert cache.keep(pipeline)["first"].verdict == "kept"
        pipeline.run({"x": 1})
        pipeline.run({"x": len(source)})
        assert calls == ["first", "second"]
    for source in (SOURCE, EDITED, AGAIN):
        pipeline, calls = build(source, cache)
        pipeline.map({"x": [1, len(EDITED), len(AGAIN)]}, "x")
        assert calls == []


def test_code_that_took_the_results_of_code_that_takes_others_takes_those_too(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    time.sleep(0.01)
    edited, _ = build(EDITED, cache)
    edited.run({"x": 5})
    time.sleep(0.01)
    again, calls = build(AGAIN, cache)
    cache.keep(again)  # those of EDITED, which are the newest
    again.run({"x": 5})
    assert calls == []
    cache.keep(edited, "first")  # and now EDITED is as good as SOURCE
    again.run({"x": 1})
    assert calls == []


def test_it_can_be_undone(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    edited, calls = build(EDITED, cache)
    assert cache.keep(edited, undo=True)["first"].verdict == "left"
    cache.keep(edited)
    told = cache.keep(edited, dry_run=True, undo=True)
    assert str(told["first"]) == "first: can be undone"
    assert edited.explain_cache({"x": 1})["first"].verdict == "hit"
    assert cache.keep(edited, undo=True)["first"].verdict == "undone"
    edited.run({"x": 1})
    assert calls == ["first", "second"]
    assert cache.same_code() == {}


def test_it_can_be_looked_at_first(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    edited, _ = build(EDITED, cache)
    told = cache.keep(edited, dry_run=True)
    assert str(told["first"]).startswith("first: can be kept: 1 result of its earlier code")
    assert repr(told).startswith("<Kept: 1 of 2 nodes>")
    assert [each.node for each in told.changed] == ["first"]
    assert edited.explain_cache({"x": 1})["first"].verdict == "miss"


def test_only_the_nodes_that_are_named(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    edited, calls = build(EDITED.replace("first * y", "y * first"), cache)
    assert [each.node for each in cache.keep(edited, ["second"])] == ["second"]
    assert edited.explain_cache({"x": 1})["first"].verdict == "miss"
    cache.keep(edited, "first")
    edited.run({"x": 1})
    assert calls == []
    with pytest.raises(ValueError, match="no node 'frist'"):
        cache.keep(edited, "frist")


def test_explain_cache_says_how_and_that_it_was_done(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    edited, _ = build(EDITED, cache)
    before = edited.explain_cache({"x": 1})
    assert before["first"].reasons == ("code: users_module.helper changed",)
    assert "hypernodes cache keep FILE:PIPELINE, or cache.keep(pipeline)" in str(before["first"])
    assert "cache keep" not in str(before["second"])
    cache.keep(edited)
    after = edited.explain_cache({"x": 1})
    assert (after["first"].verdict, after["second"].verdict) == ("hit", "hit")
    assert "cache.keep" in str(after["first"])
    assert edited.explain_cache({"x": 9})["first"].reasons == ("input 'x' differs",)


def test_a_run_that_computes_everything_anew_replaces_what_is_found(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    edited, calls = build(EDITED, cache)
    cache.keep(edited)
    edited.with_cache(cache.refreshing()).run({"x": 1})
    assert calls == ["first", "second"]
    edited.run({"x": 1})
    assert calls == ["first", "second"]
    assert cache.stats().nodes["first"].entries == 1


# -- Where it guesses nothing --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "options", "why"),
    [
        (("def first(x)", "def first(x, z=0)"), {}, "its inputs: 'x' are now 'x z'"),
        (("x", "z"), {}, "its inputs: 'x' are now 'z'"),
        (("return LIMIT", "return -LIMIT"), {"version": "2"}, "its version: None is now '2'"),
        (("def helper", "def other():\n    pass\n\ndef helper"), {"output_name": ("first", "b")},
         "its outputs: 'first' are now 'first b'"),
    ],
)  # fmt: skip
def test_what_has_another_shape_is_left(
    cache: Any, edit: tuple[str, str], options: dict[str, Any], why: str
) -> None:
    build(SOURCE, cache, {"name": "first", "output_name": "first"})[0].run({"x": 1})
    first = {"name": "first", "output_name": "first", **options}
    edited, _ = build(EDITED.replace(*edit), cache, first)
    told = cache.keep(edited)["first"]
    assert (told.verdict, told.reason) == ("left", why)
    assert cache.same_code() == {}


def test_outputs_that_have_changed_places_are_left(cache: Any) -> None:
    def ends(x: str) -> tuple[str, str]:
        return x[0], x[-1]

    def ends_edited(x: str) -> tuple[str, str]:
        return x[-1], x[0]

    ends_edited.__qualname__ = ends.__qualname__
    Pipeline([node(ends, ("head", "tail"), name="ends")], cache=cache).run({"x": "ab"})
    edited = Pipeline([node(ends_edited, ("tail", "head"), name="ends")], cache=cache)
    assert "its outputs: 'head tail'" in cache.keep(edited, "ends")["ends"].reason
    assert edited.run({"x": "ab"}) == {"head": "a", "tail": "b"}


def test_inputs_that_have_changed_places_are_left(cache: Any) -> None:
    old, new = "def take(a, b):\n    return a - b", "def take(b, a):\n    return a - b + 0"
    for source in (old, new):
        module = types.ModuleType("users_module")
        exec(source, vars(module))
        pipeline = Pipeline([node(module.take)], cache=cache)
        told = cache.keep(pipeline)
        assert pipeline.run({"a": 3, "b": 1}) == {"take": 2}
    assert told["take"].reason == "its inputs: 'a b' are now 'b a'"


def test_nothing_of_an_earlier_code_and_code_that_has_not_changed_are_told(cache: Any) -> None:
    pipeline, _ = build(SOURCE, cache)
    assert {each.reason for each in cache.keep(pipeline)} == {"nothing of an earlier code is there"}
    pipeline.run({"x": 1})
    assert {each.reason for each in cache.keep(pipeline)} == {"its code has not changed"}
    edited, _ = build(EDITED, cache)
    cache.keep(edited)
    assert "are used already" in cache.keep(edited)["first"].reason


def test_a_node_whose_todays_code_has_results_is_left_unless_it_is_named(cache: Any) -> None:
    build(SOURCE.replace("LIMIT = 3", "LIMIT = 4"), cache)[0].run({"x": 1})  # other results
    pipeline, _ = build(SOURCE, cache)
    pipeline.run({"x": 1})
    told = cache.keep(pipeline)["first"]
    assert (told.verdict, told.entries, told.unused) == ("left", 1, 1)
    assert "name the node" in told.reason
    edited, calls = build(EDITED, cache)
    edited.run({"x": 2})  # a run that was stopped, say: it was seen that everything runs again
    assert cache.keep(edited)["first"].verdict == "left"
    told = cache.keep(edited, "first")["first"]
    assert (told.verdict, told.unused) == ("kept", 1)
    assert "1 result of today's code are not used" in str(told)
    calls.clear()
    edited.run({"x": 1})
    assert calls == []


def test_results_of_another_function_of_that_name_are_left_unless_it_is_named(cache: Any) -> None:
    def one(x: int) -> int:
        return x + 1

    def other(x: int) -> int:
        return x * 2

    Pipeline([node(one, "y", name="make")], cache=cache).run({"x": 5})
    pipeline = Pipeline([node(other, "y", name="make")], cache=cache)
    told = cache.keep(pipeline)["make"]
    assert (told.verdict, "another function ('one')" in told.reason) == ("left", True)
    assert cache.keep(pipeline, "make")["make"].verdict == "kept"


def test_code_of_another_node_of_the_pipeline_is_no_earlier_code(cache: Any) -> None:
    def make(by: int) -> Pipeline:
        def scale(x: int) -> int:
            return x * by

        return Pipeline([node(scale, "y", name="scale")])

    twice = make(2).as_node(name="twice", output_mapping={"y": "two"})
    thrice = make(3).as_node(name="thrice", output_mapping={"y": "three"})
    pipeline = Pipeline([twice, thrice], cache=cache)
    pipeline.run({"x": 1}, "two")
    told = cache.keep(pipeline)
    assert {each.reason for each in told} == {
        "its code has not changed", "nothing of an earlier code is there"
    }  # fmt: skip
    assert pipeline.run({"x": 1}) == {"two": 2, "three": 3}


def test_what_was_made_by_other_rules_is_left(cache: Any) -> None:
    pipeline, _ = build(SOURCE, cache)
    pipeline.run({"x": 1})
    for entry in list(cache.entries()):
        value = cache.load(entry.key)
        cache.store(entry.key, value, {**entry.about, "rules": "of long ago"})
    edited, _ = build(EDITED, cache)
    assert cache.keep(edited)["first"].reason == "nothing of an earlier code is there"


def test_nodes_that_are_not_cached_are_told(cache: Any) -> None:
    left = (n for n in [1])
    pipeline = Pipeline(
        [node(lambda x: x, "a", cache=False), node(lambda x: left and x, "b")], cache=cache
    )
    told = cache.keep(pipeline)
    assert told["a"].reason == "it is not cached"
    assert told["b"].reason.startswith("it is not cached: its code: ")


# -- Nested pipelines and engines ----------------------------------------------------------------


def test_nodes_of_nested_pipelines_and_maps_are_kept(cache: Any) -> None:
    def whole(source: str) -> tuple[Pipeline, list[str]]:
        inner, calls = build(source, None)
        total = node(lambda second: sum(second), "total")
        return Pipeline([inner.as_node(name="in", map_over="xs"), total], cache=cache), calls

    whole(SOURCE)[0].run({"xs": [1, 2, 3]}, "total")
    edited, calls = whole(EDITED)
    told = cache.keep(edited)
    assert [each.node for each in told.changed] == ["in/first"]
    assert told["in/first"].entries == 3
    assert edited.run({"xs": [1, 2, 3]}, "total") == {"total": 15}
    assert calls == []
    assert cache.keep(edited, "in/first", undo=True)["first"].verdict == "undone"


def test_a_nested_pipeline_with_a_cache_of_its_own_is_kept_there(cache: Any) -> None:
    own = MemoryCache()
    Pipeline([build(SOURCE, own)[0].as_node(name="in")], cache=cache).run({"x": 1})
    inner, calls = build(EDITED, own)
    edited = Pipeline([inner.as_node(name="in")], cache=cache)
    cache.keep(edited)
    assert (len(cache.same_code()), len(own.same_code())) == (0, 1)
    edited.run({"x": 1})
    assert calls == []


FILE_SOURCE = """
import os
from pathlib import Path
from hypernodes import Pipeline, node

def note(name):
    (Path(os.environ["KEEP_CALLS"]) / f"{name}-{os.urandom(8).hex()}").touch()

@node(output_name="y")
def double(x):
    note("double")
    return 2 * x

@node(output_name="z")
def more(y):
    note("more")
    return y + 1

pipeline = Pipeline([double, more])
"""


@pytest.mark.parametrize("engine", ["sequential", "threads", "async", "processes", "daft"])
def test_every_engine_finds_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "daft":
        pytest.importorskip("daft")
        from hypernodes import DaftEngine

        made: Any = DaftEngine()
    else:
        kind = {"threads": "threaded", "processes": "parallel"}.get(engine, engine)
        made = HyperNodesEngine(map_executor=kind)
    monkeypatch.setenv("KEEP_CALLS", str(tmp_path / "calls"))
    (tmp_path / "calls").mkdir()
    cache = DiskCache(tmp_path / "cache")

    def pipeline(source: str) -> Pipeline:
        module = types.ModuleType("users_module")
        exec(source, vars(module))
        built: Pipeline = module.pipeline.with_cache(cache).with_engine(made)
        return built

    xs = list(range(6))
    expected = [{"y": 2 * x, "z": 2 * x + 1} for x in xs]
    assert pipeline(FILE_SOURCE).map({"x": xs}, "x") == expected
    assert len(list((tmp_path / "calls").iterdir())) == 12
    edited = pipeline(FILE_SOURCE.replace("2 * x", "x + x"))
    assert cache.keep(edited)["double"].verdict == "kept"
    assert edited.map({"x": xs}, "x") == expected
    assert len(list((tmp_path / "calls").iterdir())) == 12
    assert edited.run({"x": 50}) == {"y": 100, "z": 101}
    assert pipeline(FILE_SOURCE).run({"x": 50}) == {"y": 100, "z": 101}
    assert len(list((tmp_path / "calls").iterdir())) == 14


# -- The table -----------------------------------------------------------------------------------


def test_the_table_is_no_entry_and_goes_when_everything_is_cleared(cache: Any) -> None:
    build(SOURCE, cache)[0].run({"x": 1})
    edited, calls = build(EDITED, cache)
    cache.keep(edited)
    assert TABLE in cache
    assert (cache.stats().entries, set(cache.stats().nodes)) == (2, {"first", "second"})
    cache.clear(node="second")
    assert cache.prune(max_bytes=1) in (0, 1)  # what a store of five methods holds has no size
    assert TABLE in cache
    cache.clear()
    assert TABLE not in cache
    assert list(cache.entries()) == []
    edited.run({"x": 1})
    assert calls == ["first", "second"]


def test_the_table_does_not_age_and_is_not_evicted(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    for cache in (
        MemoryCache(max_age=0.05),
        DiskCache(tmp_path / "disk", max_age=0.05, max_bytes=5_000),
        FsspecCache(f"file://{tmp_path}/fsspec", max_age=0.05),
    ):
        build(SOURCE, cache)[0].run({"x": 1})
        edited, _ = build(EDITED, cache)
        cache.keep(edited)
        time.sleep(0.1)
        edited.map({"x": list(range(20))}, "x")
        cache.prune(max_age=0.01)
        assert len(cache.same_code()) == 1


def test_a_broken_table_costs_hits_and_nothing_else(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    build(SOURCE, cache)[0].run({"x": 1})
    edited, calls = build(EDITED, cache)
    cache.keep(edited)
    file = tmp_path / TABLE[:2] / TABLE
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(CacheWarning, match="is broken"):
        assert edited.run({"x": 1}) == {"first": 4, "second": 4}
    assert calls == ["first", "second"]


def test_a_forged_table_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(SOURCE, DiskCache(tmp_path))[0].run({"x": 1})
    DiskCache(tmp_path).keep(build(EDITED, DiskCache(tmp_path))[0])
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "a secret")
    edited, calls = build(EDITED, DiskCache(tmp_path))
    with pytest.warns(CacheWarning, match="not trusted"):
        edited.run({"x": 1})
    assert calls == ["first", "second"]


def test_a_store_that_fails_costs_hits_and_nothing_else() -> None:
    class Failing(MemoryCache):
        def same_code(self) -> Mapping[str, str]:
            raise OSError("no answer")

    pipeline, _ = build(SOURCE, Failing())
    with pytest.warns(CacheWarning, match="no answer"):
        assert pipeline.run({"x": 1}) == {"first": 4, "second": 4}


def test_without_a_table_a_run_asks_the_disk_once_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(tmp_path)
    pipeline, _ = build(SOURCE, cache)
    pipeline.map({"x": [1, 2, 3]}, "x")
    asked: list[str] = []
    stat = os.stat

    def counted(path: Any, **options: Any) -> os.stat_result:
        asked.append(str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", counted)
    pipeline.map({"x": [1, 2, 3]}, "x")
    assert sum(TABLE in each for each in asked) == 1
    assert len(asked) == 7
