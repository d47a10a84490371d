"""Caching: what hits, what misses, and that a store is never broken."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording import Recorder

from hypernodes import CacheWarning, DiskCache, MemoryCache, Pipeline, node
from hypernodes.identity.code import fingerprint
from hypernodes.identity.values import Unidentifiable, sign

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


def exactly_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(exactly_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(exactly_equal(one[k], other[k]) for k in one)
    return repr(one) == repr(other)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_signatures_are_equal_when_and_only_when_the_values_are(one: Any, other: Any) -> None:
    assert (sign(one) == sign(other)) == exactly_equal(one, other)


def test_values_that_compare_equal_never_share_an_entry(tmp_path: Path) -> None:
    pipeline = Pipeline([node(lambda x: repr(x), "seen")], cache=DiskCache(tmp_path))
    values = [1, 1.0, "1", True, None, "None", "True", [1], (1,), {1}, frozenset({1}), b"1", 0.0,
              -0.0, {"a": 1}, [("a", 1)]]  # fmt: skip
    for _ in range(2):
        assert [pipeline.run({"x": value})["seen"] for value in values] == list(map(repr, values))


def test_deep_and_cyclic_values_have_signatures() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    again: list[Any] = [1]
    again.append(again)
    assert sign(deep) != sign([deep])
    assert sign(cyclic) == sign(again)


def test_what_cannot_be_identified_says_so(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as opened, pytest.raises(Unidentifiable, match="Wrapper"):
        sign(opened)
    with pytest.raises(Unidentifiable, match="generator"):
        sign(x for x in [1])


def test_a_cache_key_that_fails_costs_the_caching_and_not_the_run() -> None:
    class Broken:
        def __cache_key__(self) -> str:
            raise OSError("no connection")

    pipeline = Pipeline([node(lambda x: 1, "one")], cache=MemoryCache())
    with pytest.warns(CacheWarning, match="no connection"):
        assert pipeline.run({"x": Broken()}) == {"one": 1}


def counting() -> tuple[list[Any], Pipeline, MemoryCache]:
    calls: list[Any] = []

    @node(output_name="doubled")
    def double(x: int) -> int:
        calls.append(("double", x))
        return 2 * x

    @node(output_name=("low", "high"))
    def spread(doubled: int, by: int = 1) -> tuple[int, int]:
        calls.append(("spread", doubled))
        return doubled - by, doubled + by

    cache = MemoryCache()
    return calls, Pipeline([double, spread], cache=cache), cache


def test_nothing_is_computed_twice() -> None:
    calls, pipeline, _ = counting()
    first = pipeline.run({"x": 1})
    assert pipeline.run({"x": 1}) == first == {"doubled": 2, "low": 1, "high": 3}
    assert calls == [("double", 1), ("spread", 2)]
    pipeline.run({"x": 1, "by": 5})
    assert calls[2:] == [("spread", 2)]


def test_a_hit_starts_nothing() -> None:
    _, pipeline, _ = counting()
    pipeline.run({"x": 1})
    recorder = Recorder()
    pipeline.with_callbacks([recorder]).run({"x": 1})
    assert [hook for hook, _ in recorder.told()] == [
        "on_pipeline_start", "on_node_cached", "on_node_cached", "on_pipeline_end",
    ]  # fmt: skip
    recorder.events.clear()
    pipeline.with_callbacks([recorder]).map({"x": [1, 9]}, "x")
    assert recorder.names("on_map_item_cached") == ["pipeline[0]"]
    assert recorder.names("on_map_item_start") == ["pipeline[1]"]


def test_on_a_full_hit_only_the_outputs_asked_for_are_loaded() -> None:
    loaded = []

    class Watched(MemoryCache):
        def load(self, key: str) -> Any:
            loaded.append(key)
            return super().load(key)

    _, pipeline, _ = counting()
    pipeline = pipeline.with_cache(Watched())
    pipeline.run({"x": 1})
    pipeline.run({"x": 1}, "high")
    assert len(loaded) == 1


def test_one_changed_item_runs_alone_and_the_aggregation_again() -> None:
    calls, inner, _ = counting()
    total = node(lambda high: sum(high), "total")
    outer = Pipeline([inner.with_cache(None).as_node(map_over="xs"), total], cache=MemoryCache())
    assert outer.run({"xs": [1, 2, 3]}, "total") == {"total": 15}
    del calls[:]
    assert outer.run({"xs": [1, 5, 3]}, "total") == {"total": 21}
    assert calls == [("double", 5), ("spread", 10)]


def test_none_is_a_value_and_an_exception_is_not() -> None:
    calls = []

    def maybe(x: int) -> None:
        calls.append(x)
        if x < 0:
            raise ValueError(x)

    pipeline = Pipeline([node(maybe)], cache=MemoryCache())
    for _ in range(2):
        assert pipeline.run({"x": 1}) == {"maybe": None}
        with pytest.raises(ValueError):
            pipeline.run({"x": -1})
    assert calls == [1, -1, -1]


def test_an_uncached_node_runs_every_time_and_what_follows_is_found_by_its_value() -> None:
    calls = []

    @node(output_name="listing", cache=False)
    def look(folder: str) -> list[str]:
        calls.append("look")
        return [folder]

    @node(output_name="size")
    def measure(listing: list[str]) -> int:
        calls.append("measure")
        return len(listing)

    pipeline = Pipeline([look, measure], cache=MemoryCache())
    pipeline.run({"folder": "a"})
    pipeline.run({"folder": "a"})
    assert calls == ["look", "measure", "look"]


def test_an_input_that_cannot_be_identified_costs_the_caching_and_is_told_once() -> None:
    pipeline = Pipeline([node(lambda x: next(x), "first")], cache=MemoryCache())
    with pytest.warns(CacheWarning, match=r"input 'x'.*generator"):
        assert pipeline.run({"x": (n for n in [7])}) == {"first": 7}


def test_private_attributes_count_and_a_cache_key_wins() -> None:
    class Encoder:
        def __init__(self, size: int) -> None:
            self.size = size
            self._used = 0

    class Keyed:
        def __init__(self, key: str) -> None:
            self.noise = object()
            self.key = key

        def __cache_key__(self) -> str:
            return self.key

    one, other = Encoder(3), Encoder(3)
    assert sign(one) == sign(other) != sign(Encoder(4))
    other._used = 99
    assert sign(one) != sign(other)
    assert sign(Keyed("a")) == sign(Keyed("a")) != sign(Keyed("b"))


# -- Code ----------------------------------------------------------------------------------------


def function(source: str, **names: Any) -> Any:
    scope: dict[str, Any] = {"__name__": "users_module", **names}
    exec(textwrap.dedent(source), scope)
    return scope["f"]


BASE = "LIMIT = 3\ndef helper(x):\n    return x + LIMIT\ndef f(x):\n    return helper(x)\n"


@pytest.mark.parametrize(
    "same",
    [
        BASE.replace("return helper", "# a comment\n    return helper"),
        BASE.replace("    return helper", '    """Says what."""\n    return helper'),
        BASE.replace("return x + LIMIT", "return (x\n        + LIMIT)  # wide"),
        "\n\n\n" + BASE.replace("def f(x)", "def f(x: int) -> int"),
        BASE.replace("def f(x)", "def f(x, y=1)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(same: str) -> None:
    assert fingerprint(function(same)) == fingerprint(function(BASE))


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace("x + LIMIT", "x - LIMIT"),
        BASE.replace("LIMIT = 3", "LIMIT = 4"),
        BASE.replace("LIMIT = 3", "LIMIT = 3.0"),
        BASE.replace("def f(x)", "def f(x, y)"),
        BASE.replace("return helper(x)", "return [helper(y) for y in x]"),
    ],
)
def test_what_a_function_does_counts_with_its_helpers_and_constants(changed: str) -> None:
    assert fingerprint(function(changed)) != fingerprint(function(BASE))


def test_a_constant_that_changes_in_place_counts() -> None:
    config = {"limit": 1}
    read = function("def f(x):\n    return x + config['limit']", config=config)
    before = fingerprint(read)
    config["limit"] = 2
    assert fingerprint(read) != before
    config["limit"] = 1
    assert fingerprint(read) == before


def test_a_closure_counts_by_its_values() -> None:
    def scale(factor: Any) -> Any:
        return lambda x: factor * x

    assert fingerprint(scale(2)) == fingerprint(scale(2)) != fingerprint(scale(2.0))


def test_what_a_function_only_writes_to_is_no_constant_of_it() -> None:
    calls: list[int] = []

    def f(x: int) -> int:
        calls.append(x)
        return x

    before = fingerprint(f)
    f(1)
    assert fingerprint(f) == before


def test_a_function_that_changes_what_it_reads_is_refused() -> None:
    state = {"n": 0}

    def f(x: int) -> int:
        state["n"] += 1
        return x

    with pytest.raises(Unidentifiable, match=r"it changes 'state', which it reads.*code_version"):
        fingerprint(f)


def test_monkeypatching_between_runs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, Any] = {"__name__": "users_module"}
    source = """
    import functools

    def helper(x):
        return x + 1

    class Scaler:
        def scale(self, x):
            return 2 * x

    def doubled(function):
        @functools.wraps(function)
        def wrapper(x):
            return 2 * function(x)
        return wrapper

    def f(x):
        return Scaler().scale(helper(x))
    """
    exec(textwrap.dedent(source), scope)
    pipeline = Pipeline([node(scope["f"], "y")], cache=MemoryCache())
    assert pipeline.run({"x": 1}) == {"y": 4}
    monkeypatch.setitem(scope, "helper", lambda x: x + 10)
    assert pipeline.run({"x": 1}) == {"y": 22}
    monkeypatch.setattr(scope["Scaler"], "scale", lambda self, x: -x)
    assert pipeline.run({"x": 1}) == {"y": -11}
    monkeypatch.setitem(scope, "helper", scope["doubled"](scope["helper"]))
    assert pipeline.run({"x": 1}) == {"y": -22}
    monkeypatch.undo()
    assert pipeline.run({"x": 1}) == {"y": 4}


def test_a_type_of_the_users_is_identified_as_its_registered_function_says() -> None:
    from hypernodes.identity import Parts, identify

    class Connection:
        def __init__(self, url: str, opened: float) -> None:
            self._url, self.opened = url, opened

    @identify.register(Connection)
    def _(value: Connection) -> Parts:
        return Parts("tests.Connection", [value._url])

    assert sign(Connection("a", 1.0)) == sign(Connection("a", 2.0)) != sign(Connection("b", 1.0))


def test_an_empty_cache_is_one() -> None:
    assert MemoryCache()


SCRIPT = """
import sys
from hypernodes import DiskCache, Pipeline, node
import helpers

@node(output_name="z")
def work(x, words):
    print("computed")
    return helpers.change(x), sorted(words), {"a", "b", "c"}

pipeline = Pipeline([work], cache=DiskCache(sys.argv[1]))
print(pipeline.run({"x": 1, "words": {"p", "q", "r"}})["z"][0])
"""


def test_entries_hold_between_processes_until_a_helper_changes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    helper = tmp_path / "helpers.py"

    def run(seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "script.py", "cache"],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    helper.write_text("def change(x):\n    return x + 1\n")
    assert run("1") == ["computed", "2"]
    assert run("2") == ["2"]
    helper.write_text("# only a comment\ndef change(x):\n    return x + 1\n")
    assert run("3") == ["2"]
    helper.write_text("def change(x):\n    return x + 100\n")
    assert run("4") == ["computed", "101"]


# -- Stores --------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path / "cache")


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


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_broken_entry_is_a_miss_with_a_warning(tmp_path: Path, damage: str) -> None:
    calls: list[int] = []

    def work(x: int) -> list[int]:
        calls.append(x)
        return [x] * 100

    pipeline = Pipeline([node(work)], cache=DiskCache(tmp_path))
    pipeline.run({"x": 1})
    (entry,) = (path for path in tmp_path.rglob("*") if path.is_file())
    data = bytearray(entry.read_bytes())
    if damage == "cut":
        data = data[:-5]
    elif damage == "flip":
        data[-3] ^= 255
    elif damage == "empty":
        data = bytearray()
    else:
        data = bytearray(b"something else entirely")
    entry.write_bytes(data)
    with pytest.warns(CacheWarning, match="broken"):
        assert pipeline.run({"x": 1}) == {"work": [1] * 100}
    assert pipeline.run({"x": 1}) == {"work": [1] * 100}
    assert calls == [1, 1]


def test_a_store_that_fails_costs_the_caching_and_not_the_run(tmp_path: Path) -> None:
    class Full(DiskCache):
        def store(self, key: str, value: Any, about: Any = None) -> None:
            raise OSError(28, "No space left on device")

    pipeline = Pipeline([node(lambda x: x, "y")], cache=Full(tmp_path))
    with pytest.warns(CacheWarning, match="No space left"):
        assert pipeline.run({"x": 1}) == {"y": 1}


def test_a_memory_cache_stays_under_its_limit() -> None:
    cache = MemoryCache(max_bytes=2_000)
    for place in range(50):
        cache.store(f"{place:04x}", b"x" * 200)
    assert len(cache) < 10
    assert "0031" in cache
    assert "0000" not in cache


def test_pickling_an_object_does_not_change_what_its_class_is() -> None:
    class Scale:
        factor = 2

    before = sign(Scale)
    pickle.loads(cloudpickle.dumps(Scale()))
    copy.copy(Scale())
    assert sign(Scale) == before
