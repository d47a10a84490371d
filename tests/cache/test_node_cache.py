"""Caching: what hits, what misses, and that a store is never broken."""

from __future__ import annotations

import dataclasses
import datetime
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from recording import Recorder

from hypernodes import (
    CacheWarning,
    DiskCache,
    HyperNodesEngine,
    MemoryCache,
    Pipeline,
    node,
)


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


@pytest.mark.slow
def test_entries_hold_between_processes_until_a_helper_changes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    helper = tmp_path / "helpers.py"

    def run(seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "script.py", "cache"],
            cwd=tmp_path,
            env={
                "PYTHONHASHSEED": seed,
                "PATH": "",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            },
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


def test_code_is_identified_once_for_all_items() -> None:
    looked = []

    class Constant:
        def __cache_key__(self) -> int:
            looked.append(1)
            return 7

    constant = Constant()

    @node(output_name="y")
    def use(x: int) -> int:
        return x if constant else 0

    for kind in ("sequential", "threaded"):
        looked.clear()
        with HyperNodesEngine(map_executor=kind) as engine:
            pipeline = Pipeline([use], engine=engine, cache=MemoryCache())
            pipeline.map({"x": list(range(100))}, "x")
        assert len(looked) <= 2


# -- What does not come back ---------------------------------------------------------------------


class BadRow(ValueError):
    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is bad")
        self.row = row


class GoodRow(ValueError):
    pass


class Cents(int):
    def __new__(cls, euros: int) -> Cents:
        return super().__new__(cls, euros * 100)


class Twice(list[int]):
    def extend(self, values: Iterable[int]) -> None:
        super().extend([value * 2 for value in values])


class Suffixed(dict[str, int]):
    def __setitem__(self, name: str, value: int) -> None:
        super().__setitem__(f"{name}_", value)


class Measured(np.ndarray[Any, Any]):
    unit: str | None = None


class Day(datetime.date):
    note: str


class Size(int):
    """Comes back, for it is made as any number is."""


class Place(NamedTuple):
    x: int


def with_cause() -> ValueError:
    error = ValueError("a")
    error.__cause__ = KeyError("k")
    return error


def twice() -> Twice:
    made = Twice()
    made.extend([1])
    return made


def suffixed() -> Suffixed:
    made = Suffixed()
    made["a"] = 1
    return made


def measured() -> Measured:
    made = np.ones(2).view(Measured)
    made.unit = "m"
    return made


def noted() -> Day:
    made = Day(2024, 1, 1)
    made.note = "a"
    return made


@dataclasses.dataclass
class Held:
    value: Any


def framed(value: object) -> pd.DataFrame:
    column = np.empty(1, dtype=object)
    column[0] = value
    return pd.DataFrame({"a": column})


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda value: value,
        lambda value: [value],
        lambda value: [[{"deep": value}]],
        Held,
        lambda value: [Held({"a": value})],
        lambda value: defaultdict(list, a=value),
        framed,
    ],
)
@pytest.mark.parametrize(
    "make",
    [lambda: BadRow(3), lambda: Cents(3), twice, suffixed, measured, noted, object],
)
def test_what_pickle_makes_something_else_of_is_not_kept(
    make: Callable[[], Any], wrapped: Callable[[Any], Any]
) -> None:
    cache = MemoryCache()
    pipeline = Pipeline([node(lambda x: wrapped(make()), "made", cache=True)], cache=cache)
    for _ in range(2):
        with pytest.warns(CacheWarning, match="is not kept"):
            pipeline.run({"x": 1})
    assert len(cache) == 0


@pytest.mark.parametrize(
    "value",
    [
        with_cause(),
        {"error": with_cause()},
        Held([with_cause()]),
        framed(Size(3)),
        [[Held(Place(1))]],
        GoodRow("a"),
        Size(3),
        Place(1),
        ValueError("a", 2),
        [KeyError("a")],
        Day(2024, 1, 1),
    ],
)
def test_what_comes_back_is_kept(value: Any) -> None:
    cache = MemoryCache()
    pipeline = Pipeline([node(lambda x: value, "made")], cache=cache)
    first, again = pipeline.run({"x": 1})["made"], pipeline.run({"x": 1})["made"]
    assert len(cache) == 1
    assert repr(first) == repr(again) == repr(value)


class Seen:
    most = 0


def test_a_function_that_changes_what_it_reads_in_a_later_call_is_found_too() -> None:
    def peak(x: int) -> int:
        if x > Seen.most:
            Seen.most = x
        return Seen.most

    cache = MemoryCache()
    Seen.most = 0
    with pytest.warns(CacheWarning, match="its code changes .*Seen"):
        Pipeline([node(peak, "peak")], cache=cache).map({"x": [0, 5, 3]}, "x")
    Seen.most = 0  # as it is in a new process
    assert Pipeline([node(peak, "peak")], cache=cache).run({"x": 3}) == {"peak": 3}
