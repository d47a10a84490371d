"""Nodes that change their inputs: they are found out, and nothing wrong is stored."""

from __future__ import annotations

import enum
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import examples
from test_lookahead import ENGINES

from hypernodes import (
    CacheWarning,
    DiskCache,
    Engine,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    node,
)
from hypernodes.errors import failing_node
from hypernodes.run.changed_inputs import is_immutable


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> HyperNodesEngine:
    return ENGINES[request.param]


@contextmanager
def told() -> Iterator[list[str]]:
    """The cache's warnings."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += [str(each.message) for each in caught if each.category is CacheWarning]


def fresh(source: str, output: Any, **options: Any) -> Node[..., Any]:
    """A node of a function that this process has not seen: as in a new process."""
    scope: dict[str, Any] = {"np": np, "pd": pd, "__name__": "__main__"}
    exec(source, scope)
    name = source.partition("(")[0].removeprefix("async ").removeprefix("def ")
    return node(output_name=output, **options)(scope[name])


def load() -> Node[..., Any]:
    return fresh("def load(path): return [1, 3, 2]", "rows")


def count() -> Node[..., Any]:
    return fresh("def count(rows): return len(rows)", "n")


def top(**options: Any) -> Node[..., Any]:
    return fresh(
        "def top(rows):\n rows.sort(reverse=True)\n return rows.pop(0)", "first", **options
    )


def after_top() -> Node[..., Any]:
    return fresh("def after(rows, first): return [len(rows), first]", "after")


def test_what_a_sibling_makes_of_a_changed_value_is_not_kept_as_if_it_were_unchanged(
    engine: HyperNodesEngine,
) -> None:
    cache = MemoryCache()
    pipeline = Pipeline([load(), top(), after_top(), count()], cache=cache, engine=engine)
    with told() as messages:
        assert pipeline.run({"path": "a"})["after"] == [2, 3]
    assert sum("node 'top' changes its input 'rows' in place" in each for each in messages) == 1
    assert sum("'after' is not cached: its input 'rows'" in each for each in messages) == 1
    assert Pipeline([load(), count()], cache=cache, engine=engine).run({"path": "a"})["n"] == 3
    assert {each.node for each in cache.entries()} <= {"load", "count"}
    assert pipeline.run({"path": "a"})["after"] == [2, 3]


def test_the_warning_says_how_to_mend_it() -> None:
    with told() as messages, MemoryCacheOf(load(), top()) as pipeline:
        pipeline.run({"path": "a"})
    (message,) = messages
    assert "make a copy first" in message
    assert "rows = copy.deepcopy(rows)" in message
    assert "sorted(rows)" in message


@contextmanager
def MemoryCacheOf(*nodes: Any) -> Iterator[Pipeline]:
    yield Pipeline(nodes, cache=MemoryCache())


def test_a_node_that_changes_the_inputs_of_the_run_is_found(engine: HyperNodesEngine) -> None:
    cache = MemoryCache()
    with told() as messages:
        Pipeline([top(), after_top(), count()], cache=cache, engine=engine).run({"rows": [1, 2, 3]})
    assert any("node 'top' changes its input 'rows'" in each for each in messages)
    again = Pipeline([count()], cache=cache, engine=engine)
    assert again.run({"rows": [1, 2, 3]}) == {"n": 3}
    assert again.run({"rows": [1, 2]}) == {"n": 2}


def test_a_node_that_is_not_cached_itself_is_found_too(engine: HyperNodesEngine) -> None:
    cache = MemoryCache()
    with told() as messages:
        pipeline = Pipeline([load(), top(cache=False), after_top()], cache=cache, engine=engine)
        assert pipeline.run({"path": "a"})["after"] == [2, 3]
    assert any("node 'top' changes its input" in each for each in messages)
    assert [each.node for each in cache.entries()] == ["load"]


def test_once_found_it_is_treated_so_without_a_look() -> None:
    cache, changer = MemoryCache(), top()
    for path in "abc":
        with told() as messages:
            pipeline = Pipeline([load(), changer, after_top()], cache=cache)
            assert pipeline.run({"path": path})["after"] == [2, 3]
        assert any("node 'top' changes its input" in each for each in messages)
    assert {each.node for each in cache.entries()} == {"load"}


def test_a_value_that_was_loaded_from_the_cache_is_treated_the_same(
    engine: HyperNodesEngine,
) -> None:
    cache = MemoryCache()
    Pipeline([load(), count()], cache=cache).run({"path": "a"})
    with told():
        pipeline = Pipeline([load(), top(), after_top()], cache=cache, engine=engine)
        for _ in range(2):
            assert pipeline.run({"path": "a"})["after"] == [2, 3]
    assert Pipeline([load()], cache=cache).run({"path": "a"})["rows"] == [1, 3, 2]
    assert {each.node for each in cache.entries()} == {"load", "count"}


def test_a_nested_pipeline_that_changes_what_is_outside_is_found(
    engine: HyperNodesEngine,
) -> None:
    for own in (None, False):
        cache = MemoryCache()
        inner = Pipeline([top()], name="inner", cache=own).as_node()
        with told() as messages:
            pipeline = Pipeline([load(), inner, after_top()], cache=cache, engine=engine)
            assert pipeline.run({"path": "a"})["after"] == [2, 3]
        assert any("node 'top' changes its input" in each for each in messages)
        assert [each.node for each in cache.entries()] == ["load"]


def test_items_of_a_map_that_change_what_they_share_are_found(engine: HyperNodesEngine) -> None:
    push = fresh("def push(x, seen):\n seen.append(x)\n return x", "pushed")
    size = fresh("def size(seen, pushed): return len(seen)", "size")
    alone = fresh("def size(seen, pushed): return len(seen)", "size")
    cache = MemoryCache()
    with told() as messages:
        Pipeline([push, size], cache=cache, engine=engine).map({"x": [1, 2, 3], "seen": []}, "x")
    assert any("node 'push' changes its input 'seen'" in each for each in messages)
    check = Pipeline([alone], cache=cache)
    assert [check.run({"seen": [], "pushed": x})["size"] for x in (1, 2, 3)] == [0, 0, 0]


def test_an_item_that_changes_an_element_changes_the_list_outside(
    engine: HyperNodesEngine,
) -> None:
    cache = MemoryCache()
    groups = fresh("def groups(path): return [[1], [2, 3]]", "groups")
    grow = fresh("def grow(group):\n group.append(0)\n return len(group)", "size")
    whole = fresh("def whole(groups, size): return sum(map(len, groups))", "whole")
    inner = Pipeline([grow], name="inner").as_node(map_over={"groups": "group"})
    with told():
        pipeline = Pipeline([groups, inner, whole], cache=cache, engine=engine)
        assert pipeline.run({"path": "a"})["whole"] == 5
    sizes = fresh("def sizes(path): return [2, 3]", "size")
    other = Pipeline([groups, sizes, whole], cache=cache)
    assert other.run({"path": "a"})["whole"] == 3
    assert pipeline.run({"path": "a"})["whole"] == 5


def test_outputs_that_share_memory_share_the_change_from_the_cache_as_well(
    engine: HyperNodesEngine,
) -> None:
    for make in (
        "def make(x):\n array = np.zeros(3)\n return array, array[:2]",
        "def make(x):\n rows = [0.0, 0.0]\n return rows, rows",
        "def make(x):\n rows = [0.0]\n return rows, memoryview(b'a') and [rows][0]",
    ):
        cache = MemoryCache()
        use = "def use(whole, part):\n whole[0] = 7\n return float(part[0])"
        with told():
            for _ in range(3):
                nodes = [fresh(make, ("whole", "part")), fresh(use, "first")]
                pipeline = Pipeline(nodes, cache=cache, engine=engine)
                assert pipeline.run({"x": 1}, "first") == {"first": 7.0}


def test_columns_and_frames_that_share_memory_are_told_from_copies() -> None:
    cache = MemoryCache()
    make = fresh("def make(x):\n f = pd.DataFrame({'a': [1, 2]})\n return f, f.copy()", ["f", "g"])
    change = fresh("def change(f):\n f.loc[0, 'a'] = 7\n return int(f['a'].sum())", "total")
    read = fresh("def read(g, total): return int(g['a'].sum())", "read")
    with told() as messages:
        pipeline = Pipeline([make, change, read], cache=cache)
        assert pipeline.run({"x": 1}, ["total", "read"]) == {"total": 9, "read": 3}
    assert not any("'read'" in each for each in messages)
    assert {each.node for each in cache.entries()} == {"make", "read"}


def test_a_value_inside_of_another_one_is_found_there(engine: HyperNodesEngine) -> None:
    cache = MemoryCache()
    wrap = fresh("def wrap(rows): return {'deep': [rows]}", "wrapped")
    look = fresh("def look(wrapped, first): return len(wrapped['deep'][0])", "look")
    with told():
        pipeline = Pipeline([load(), wrap, top(), look], cache=cache, engine=engine)
        for _ in range(2):
            found = pipeline.run({"path": "a"})
            assert (found["first"], found["look"]) in {(3, 2), (3, 3)}
    firsts = fresh("def firsts(path): return 3", "first")
    assert Pipeline([load(), wrap, firsts, look], cache=cache).run({"path": "a"})["look"] == 3


def test_an_attempt_that_fails_leaves_nothing_wrong(engine: HyperNodesEngine) -> None:
    cache = MemoryCache()
    fails = fresh("def fails(x, seen):\n seen.append(x)\n return 1 / (x - 1)", "failed")
    size = fresh("def size(x, seen): return len(seen)", "size")
    with told():
        Pipeline([fails, size], cache=cache, engine=engine).map(
            {"x": [1, 1, 1], "seen": []}, "x", error_handling="continue"
        )
    assert Pipeline([size], cache=cache).run({"x": 1, "seen": []}) == {"size": 0}


def test_a_node_that_ran_beside_it_is_not_kept() -> None:
    """Both have the list; one changes it while the other waits, and then reads it."""
    changed, reading = threading.Event(), threading.Event()

    class Turn:
        def __init__(self, wait: threading.Event, then: threading.Event) -> None:
            self._turn = wait, then

        def __call__(self) -> None:
            wait, then = self._turn
            then.set()
            assert wait.wait(10)

        def __cache_key__(self) -> str:
            return "turn"

    for times in (0, 10):
        changed.clear()
        reading.clear()
        before, after = Turn(reading, reading), Turn(changed, reading)

        def grow(rows: list[int]) -> int:
            before()  # noqa: B023
            rows.append(4)
            changed.set()
            return 0

        def size(rows: list[int]) -> int:
            after()  # noqa: B023
            return len(rows)

        nodes = [load(), Node(grow, "grown"), Node(size, "size")]
        for _ in range(times):  # until it is not checked any more
            quick = Node(nodes[2].func, "size")
            changed.set()
            Pipeline([quick], cache=MemoryCache()).run({"rows": [1]})
        changed.clear()
        reading.clear()
        cache = MemoryCache()
        with told(), HyperNodesEngine("threaded") as engine:
            made = Pipeline(nodes, cache=cache, engine=engine).run({"path": "a"})
        assert made["size"] == 4
        assert "size" not in {each.node for each in cache.entries()}


BESIDE = {
    "a reader": ["def read(rows): return len(rows)"],
    "what is made from it": [
        "def size(rows): return len(rows)",
        "def twice(size): return size * 2",
        "def read(twice): return [twice]",
    ],
    "a list around it": [
        "def around(rows): return {'rows': rows}",
        "def read(around): return len(around['rows'])",
    ],
    "a part of it": ["def part(rows): return rows[0]", "def read(part): return len(part)"],
    "items of a map": [
        "def each(rows): return [sum(r) for r in rows]",
        "def read(each): return each",
    ],
}


@pytest.mark.parametrize("case", sorted(BESIDE))
@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("is_nested", [False, True])
def test_what_is_made_of_a_value_after_its_change_and_before_the_changer_ends_is_not_kept(
    case: str, is_given: bool, is_known: bool, is_nested: bool
) -> None:
    """One node has changed it, and still works, while others read it."""
    changed, read = threading.Event(), threading.Event()

    def grow(rows: list[list[int]]) -> int:
        rows.append([4])
        rows[0].append(5)
        changed.set()
        assert read.wait(10)
        return 0

    def turn(path: str) -> int:
        assert changed.wait(10)
        return 1

    reading = read

    def done(read: Any) -> int:
        reading.set()
        return 0

    sources = list(BESIDE[case])
    sources[0] = sources[0].replace("(rows)", "(rows, turn)", 1)
    beside: list[Any] = [fresh(each, each.split("(")[0].split()[1]) for each in sources]
    if is_nested:
        beside = [Pipeline(beside, name="beside").as_node()]
    items = Pipeline([fresh("def total(row, turn): return sum(row)", "total")], name="items")
    beside.append(items.as_node(map_over={"rows": "row"}))
    beside.append(fresh("def most(total): return max(total)", "most"))
    makes = [] if is_given else [fresh("def rows(path): return [[1], [2, 3]]", "rows")]
    inputs: dict[str, Any] = {"path": "a"}
    changer = Node(grow, "grown", code_version="1")
    nodes = [*makes, Node(turn, "turn", code_version="1"), *beside]
    watching = [changer, Node(done, "done", cache=False)]

    def given() -> dict[str, Any]:
        return inputs | ({"rows": [[1], [2, 3]]} if is_given else {})

    with told(), HyperNodesEngine("threaded") as engine:
        if is_known:
            read.set()
            Pipeline([changer], cache=MemoryCache()).run({"rows": [[1]]})
            read.clear()
            changed.clear()
        cache = MemoryCache()
        Pipeline([*nodes, *watching], cache=cache, engine=engine).run(given())
        changed.set()
        expected = Pipeline(nodes).run(given())
        assert Pipeline(nodes, cache=cache).run(given()) == expected


@pytest.mark.slow
def test_where_one_of_two_did_it_both_are_named() -> None:
    from hypernodes.run.changed_inputs import changes_inputs

    slow = "import time; time.sleep(0.2)"
    grow = fresh(f"def grow(rows):\n {slow}\n rows.append(1)\n {slow}", "grown")
    size = fresh(f"def size(rows):\n {slow}\n {slow}\n return 1", "size")
    with told() as messages, HyperNodesEngine("threaded") as engine:
        Pipeline([load(), grow, size], cache=MemoryCache(), engine=engine).run({"path": "a"})
    assert any("'grow'" in each and "'size'" in each for each in messages)
    assert not changes_inputs(size)
    with told() as messages:
        Pipeline([load(), grow, size], cache=MemoryCache()).run({"path": "a"})
    assert changes_inputs(grow)
    assert not changes_inputs(size)


def test_in_another_process_only_a_copy_is_changed(tmp_path: Path) -> None:
    with told() as messages, HyperNodesEngine("parallel") as engine:
        cache = DiskCache(tmp_path)
        pipeline = Pipeline([load(), top(), after_top()], cache=cache, engine=engine)
        assert pipeline.run({"path": "a"})["after"] == [3, 3]
    assert messages == []


def test_without_a_cache_nothing_is_looked_at() -> None:
    class Secret:
        def __cache_key__(self) -> str:
            raise AssertionError("it was looked at")

    for engine in ENGINES.values():
        pipeline = Pipeline([Node(lambda x: 1, "y")], engine=engine)
        assert pipeline.run({"x": Secret()}) == {"y": 1}


def test_checks_cost_a_bounded_share_of_the_calls() -> None:
    looked: list[int] = []

    class Value:
        def __cache_key__(self) -> str:
            looked.append(1)
            return "value"

    quick = Node(lambda value, x: x, "y")
    pipeline = Pipeline([quick], cache=MemoryCache())
    value = Value()
    for x in range(100):
        pipeline.run({"value": value, "x": x})
    # Once for each run's signature; after the first calls there is hardly a look more.
    assert len(looked) <= 100 + 10


class Unit(enum.Enum):
    KM = 1


@pytest.mark.parametrize(
    "value",
    [1, "a", None, b"a", 1.5, (1, ("a", None)), frozenset({1}), Path("a"), np.float64(1),
     pd.Timestamp(0).to_pydatetime(), np.dtype("int8"), len, int, "a".upper, np.sqrt, pa.array([1]),
     pa.table({"a": [1]}), pa.int64(), Path.exists, Unit.KM],
)  # fmt: skip
def test_what_cannot_change_is_not_looked_at(value: Any) -> None:
    assert is_immutable(value)


@pytest.mark.parametrize(
    "value",
    [[], {}, set(), ([],), np.zeros(1), pd.DataFrame(), bytearray(), [].append, lambda: None, Unit,
     np.random.default_rng(0), np.random.default_rng(0).normal, np.polynomial.Polynomial([1.0]),
     pa.py_buffer(bytearray(b"a")), np.zeros(1, dtype=[("x", "i4")])[0]],
)  # fmt: skip
def test_what_can_change_is(value: Any) -> None:
    assert not is_immutable(value)


def test_a_node_that_reads_a_changed_input_is_not_blamed_for_the_change() -> None:
    top_, count_ = top(), count()
    with told() as messages:
        Pipeline([top_, count_], cache=MemoryCache()).run({"rows": [1, 3, 2]})
    assert [each for each in messages if "changes its input" in each and "'count'" in each] == []
    cache = MemoryCache()
    Pipeline([count_], cache=cache).run({"rows": [1, 3, 2]})
    assert {each.node for each in cache.entries()} == {"count"}


class Box:
    def __init__(self, number: int) -> None:
        self.numbers = [number]


def test_objects_of_one_class_share_nothing_by_that() -> None:
    """What one node changes leaves another object of the class alone."""
    calls: list[int] = []

    def other(x: int) -> Box:
        return Box(x)

    def bump(box: Box) -> int:
        box.numbers.append(1)
        return len(box.numbers)

    def read(other: Box, length: int) -> int:
        calls.append(length)
        return other.numbers[0] + length

    nodes = [
        Node(other, "other", code_version="1"),
        Node(bump, "length", code_version="1"),
        Node(read, "read", code_version="1"),
    ]
    cache = MemoryCache()
    with told() as messages:
        for _ in range(3):
            Pipeline(nodes, cache=cache).run({"box": Box(1), "x": 3})
    assert calls == [2]
    assert all("'box'" in each for each in messages)


class Bag:
    def __init__(self) -> None:
        self.items: list[int] = []

    def add(self) -> int:
        self.items.append(1)
        return len(self.items)


def adder() -> Callable[[], int]:
    items: list[int] = []

    def add() -> int:
        items.append(1)
        return len(items)

    return add


def counter() -> Callable[[], int]:
    count = 0

    def add() -> int:
        nonlocal count
        count += 1
        return count

    return add


def with_attribute() -> Callable[[], int]:
    def add() -> int:
        add.count = getattr(add, "count", 0) + 1  # type: ignore[attr-defined]
        return int(add.count)  # type: ignore[attr-defined]

    return add


def with_default() -> Callable[[], int]:
    def add(items: list[int] = []) -> int:  # noqa: B006
        items.append(1)
        return len(items)

    return add


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.default_rng(0).random,
        lambda: Bag().add,
        adder,
        counter,
        with_attribute,
        with_default,
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_value_that_changes_as_it_is_called_is_found(
    make: Callable[[], Callable[[], float]], inside: bool
) -> None:
    """One node makes it, two call it: the second one gets what the first one has left."""
    cache = MemoryCache()

    def run(version: str) -> dict[str, Any]:
        def made(x: int) -> Any:
            return {"of": make()} if inside else make()

        def call(step: Any) -> float:
            function = step["of"] if inside else step
            return float(function())

        def call_again(step: Any, one: float) -> float:
            return call(step)

        first = Node(made, "step", code_version="1")
        second = Node(call, "one", code_version="1")
        third = Node(call_again, "two", code_version=version)
        return Pipeline([first, second, third], cache=cache).run({"x": 1}, ["one", "two"])

    with told() as messages:
        expected = run("1")
    assert any("changes its input 'step' in place" in each for each in messages)
    assert expected["two"] != expected["one"]
    with told():
        assert run("1") == run("2") == expected


class Holder:
    """Cannot be identified."""

    def __init__(self, rows: list[int]) -> None:
        self.rows, self.connection = rows, sqlite3.connect(":memory:")


def popping(rows: list[int]) -> Iterator[int]:
    while rows:
        yield rows.pop()


ARRAY, ROWS, FRAME = "np.arange(4.0)", "[3, 1, 2]", "pd.DataFrame({'a': [1.0, 2.0]})"
SUM, FIRST = "float(np.asarray(v).sum())", "sum(v['a'].to_pylist())"
SHARING = {
    "a masked array": (ARRAY, "np.ma.array(v, mask=v > 2, copy=False)", "v[0] = 65", SUM),
    "data of a masked array": (ARRAY, "np.ma.array(v, copy=False).data", "v[0] = 65", SUM),
    "a record array": (
        "np.zeros(2, [('x', 'f8')])", "v.view(np.recarray)", "v['x'][0] = 65",
        "float(np.asarray(v['x']).sum())",
    ),
    "an own class of array": (ARRAY, "v.view(Own)", "v[0] = 65", SUM),
    "a flat iterator": (ARRAY, "v.flat", "v[0] = 65", SUM),
    "an Arrow array": (ARRAY, "pa.array(v)", "v *= 10", "sum(pa.array(v).to_pylist())"),
    "a slice of an Arrow array": (ARRAY, "pa.array(v[1:])[1:]", "v *= 10",
                                  "sum(pa.array(v).to_pylist())"),
    "an Arrow table": (ARRAY, "pa.table({'a': v})", "v *= 10",
                       "sum(v['a'].to_pylist() if isinstance(v, pa.Table) else v)"),
    "an Arrow table of a frame": (FRAME, "pa.Table.from_pandas(v)", "v.iloc[0, 0] = 65",
                                  "float(np.asarray(v['a']).sum())"),
    "columns": (FRAME, "v.columns", "getattr(v, 'columns', v).name = 'field'",
                "str(getattr(v, 'columns', v).name)"),
    "an index": (FRAME, "v.index", "getattr(v, 'index', v).name = 'field'",
                 "str(getattr(v, 'index', v).name)"),
    "what cannot be identified": (ROWS, "Holder(v)", "getattr(v, 'rows', v).pop()",
                                  "len(getattr(v, 'rows', v))"),
    "a generator": (ROWS, "popping(v)", "next(v, 0) if hasattr(v, 'send') else v.pop()",
                    "len(v) if isinstance(v, list) else 7"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(SHARING))
@pytest.mark.parametrize("is_source", [True, False])
def test_what_shares_memory_with_a_changed_value_is_not_kept(
    case: str, is_source: bool, engine: HyperNodesEngine
) -> None:
    """A node changes the source, or what was made of it without a copy; another reads both."""
    if "Arrow" in case and not is_source:
        pytest.skip("nothing of it can be changed")
    source, other, change, read = SHARING[case]
    names = {"pa": pa, "Own": Own, "Holder": Holder, "popping": popping}
    changes, function = ("source" if is_source else "other"), {}
    texts = {
        "source": f"def source(x): return {source}",
        "other": f"def other(source):\n v = source\n return {other}",
        "ready": "def ready(source, other): return 1",
        "changed": f"def changed({changes}, ready):\n v = {changes}\n {change}\n return 1",
        "one": f"def one(source, changed):\n v = source\n return {read}",
        "two": f"def two(other, changed):\n v = other\n return {read}",
    }
    for name, text in texts.items():
        function[name] = fresh(text, name, code_version="1")
        function[name].func.__globals__.update(names)
    fixed = fresh("def changed(ready): return 1", "changed", code_version="1")
    cache = MemoryCache()
    wanted = ["one", "two"] if case != "a generator" or is_source else ["one"]
    with told():
        Pipeline(function.values(), cache=cache, engine=engine).run({"x": 1}, wanted)
        nodes = [*(function | {"changed": fixed}).values()]
        expected = Pipeline(nodes).run({"x": 1}, wanted)
        assert Pipeline(nodes, cache=cache).run({"x": 1}, wanted) == expected


class Own(np.ndarray):
    pass


class Delegating(Engine):
    """An engine of another kind."""

    def run(self, *args: Any, **options: Any) -> Any:
        return HyperNodesEngine().run(*args, **options)

    def map(self, *args: Any, **options: Any) -> Any:
        return HyperNodesEngine().map(*args, **options)


def test_a_connection_that_is_used_is_not_said_to_be_changed() -> None:
    """Its own state changes; nobody else reads that."""

    class Client:
        def __init__(self) -> None:
            self.connection = sqlite3.connect(":memory:", check_same_thread=False)
            self.asked: list[str] = []

        def ask(self, text: str) -> int:
            self.asked.append(text)
            return int(self.connection.execute(text).fetchone()[0])

    def client(x: int) -> Client:
        return Client()

    def answer(client: Client) -> int:
        return client.ask("select 1")

    nodes = [Node(client, "client", cache=False), Node(answer, "answer", code_version="1")]
    with told() as messages:
        assert Pipeline(nodes, cache=MemoryCache()).run({"x": 1}, "answer") == {"answer": 1}
    assert len(messages) == 1
    assert "cannot be identified" in messages[0]


def test_a_nested_pipeline_on_an_engine_of_another_kind_is_found_too() -> None:
    cache = MemoryCache()
    inner = Pipeline([top()], engine=Delegating(), name="inner").as_node()
    with told() as messages:
        pipeline = Pipeline([load(), inner, after_top()], cache=cache)
        assert pipeline.run({"path": "a"})["after"] == [2, 3]
    assert any("node 'inner' changes its input 'rows'" in each for each in messages)
    others = [load(), fresh("def first(path): return 3", "first"), after_top()]
    assert Pipeline(others, cache=cache).run({"path": "a"})["after"] == [3, 3]


def test_calls_in_another_process_are_not_taken_for_those_here(tmp_path: Path) -> None:
    change = fresh("def change(rows):\n return rows.pop() if len(rows) > 3 else 0", "changed")
    makes = fresh("def rows(n): return [0] * n", "rows")
    count_ = fresh("def count(rows, changed): return len(rows)", "count")
    cache = DiskCache(tmp_path)
    pipeline = Pipeline([makes, change, count_], cache=cache)
    with told() as messages:
        pipeline.run({"n": 1})
        with HyperNodesEngine("parallel") as engine:
            pipeline.with_engine(engine).run({"n": 2})
        assert messages == []
        assert pipeline.run({"n": 4})["count"] == 3
    assert any("node 'change' changes its input" in each for each in messages)


@pytest.mark.parametrize("threads", [1, 4])
def test_items_that_have_views_of_one_array_see_each_others_changes(threads: int) -> None:
    made, changed = threading.Barrier(2), threading.Event()

    def view(table: Any, i: int) -> Any:
        return table[i : i + 3]

    def size(view: Any) -> int:
        return len(view)

    def scale(view: Any, i: int, size: int) -> int:
        made.wait(10)
        if i == 0:
            view /= 100
            changed.set()
        assert changed.wait(10)
        return 1

    def mean(view: Any, scaled: int) -> float:
        return float(view.mean())

    nodes = [Node(view, "view"), Node(size, "size"), Node(mean, "mean", code_version="1")]
    cache = MemoryCache()
    with told(), HyperNodesEngine(map_executor="threaded") as engine:
        changer = Node(scale, "scaled", code_version="1")
        pipeline = Pipeline([*nodes, changer], cache=cache, engine=engine)
        if threads == 1:  # one after the other: nobody is waited for
            made.abort()
            made = threading.Barrier(1)
            pipeline = pipeline.with_engine(HyperNodesEngine())
        pipeline.map({"table": np.arange(6.0), "i": [0, 1]}, "i")
    alone = Pipeline(nodes, cache=cache)
    for i, right in ((0, 1.0), (1, 2.0)):
        found = alone.run({"table": np.arange(6.0), "i": i, "scaled": 1}, "mean")
        assert found == {"mean": right}


def test_who_reads_a_view_beside_a_change_of_another_one_is_not_accused() -> None:
    ran: list[int] = []
    begun, ended = threading.Event(), threading.Event()

    def head(table: Any) -> Any:
        return table[:3]

    def tail(table: Any) -> Any:
        return table[1:]

    def clear(head: Any) -> int:
        assert begun.wait(10)
        head *= 0
        ended.set()
        return 1

    def total(tail: Any) -> float:
        ran.append(1)
        begun.set()
        assert ended.wait(10)
        return float(tail.sum())

    reader = Node(total, "total", code_version="1")
    nodes = [Node(head, "head"), Node(tail, "tail"), Node(clear, "cleared"), reader]
    with told(), HyperNodesEngine("threaded") as engine:
        Pipeline(nodes, cache=MemoryCache(), engine=engine).run({"table": np.arange(6.0)})
    ran.clear()
    cache = MemoryCache()
    with told() as messages:
        for _ in range(3):
            Pipeline([reader], cache=cache).run({"tail": np.arange(6.0)})
    assert (ran, messages) == ([1], [])


# -- The law -------------------------------------------------------------------------------------

SOURCES = {
    "list": "[3, x, 2]",
    "dict": "{'a': x, 'b': 2}",
    "array": "np.array([3.0, x, 2.0])",
    "frame": "pd.DataFrame({'a': [3, x, 2]})",
}
CHANGES = {
    "list": ["v.sort()", "v.pop()", "v.append(9)", "v[0] = 5", "v.reverse()", "v *= 2"],
    "dict": ["v['a'] = 5", "v.pop('b', 0)", "v['c'] = 1", "v.clear()", "v.update(a=7)"],
    "array": ["v[0] = 5", "v.sort()", "v *= 2", "v.fill(1)"],
    "frame": ["v['c'] = 1", "v.loc[0, 'a'] = 5", "v.drop(index=v.index[:1], inplace=True)"],
}
ALIASES = {
    "list": ["v", "[v]", "{'v': v}", "list(v)"],
    "dict": ["v", "[v]", "dict(v)"],
    "array": ["v", "v[1:]", "[v]", "v.copy()", "v.reshape(-1)"],
    "frame": ["v", "[v]", "v.copy()", "{'v': v}"],
}
TOTAL = """
def total(value):
    if isinstance(value, pd.DataFrame):
        return total(value.to_numpy().ravel().tolist()) + len(value.columns)
    if isinstance(value, np.ndarray):
        return total(value.tolist())
    if isinstance(value, dict):
        return sum(total(each) + len(key) for key, each in value.items()) + 1
    if isinstance(value, list):
        return sum(total(each) * place for place, each in enumerate(value, 1)) + 1
    return float(value)
"""

Graph = list[tuple[str, tuple[str, ...], str, bool]]
"""Nodes as name, inputs, body, and whether it changes its first input."""


@st.composite
def pipelines(draw: st.DrawFn) -> Graph:
    """Nodes that make, pass on, change and read values of one kind."""
    kind = draw(st.sampled_from(sorted(SOURCES)))
    made: Graph = []
    values = [f"given_{kind}"] if draw(st.booleans()) else []
    numbers: list[str] = []
    for place in range(draw(st.integers(3, 7))):
        name = f"n{place}"
        what = draw(st.sampled_from(["source", "alias", "alias", "change", "read", "read"]))
        if what == "source" or not values:
            made.append((name, ("x",), f"return {SOURCES[kind]}", False))
            values.append(name)
            continue
        v = draw(st.sampled_from(values))
        if what == "alias":
            body = f"v = {v}\n return {draw(st.sampled_from(ALIASES[kind]))}"
            made.append((name, (v,), body, False))
            if "[v]" not in body and "{" not in body:
                values.append(name)
            else:
                numbers.append(name)
            continue
        others = draw(st.lists(st.sampled_from(values + numbers), max_size=2, unique=True))
        inputs = tuple(dict.fromkeys([v, *others]))
        mixed = " + ".join(f"total({each})" for each in inputs)
        if what == "change":
            body = f"v = {v}\n {draw(st.sampled_from(CHANGES[kind]))}\n return {mixed}"
        else:
            body = f"return {mixed}"
        made.append((name, inputs, body, what == "change"))
        numbers.append(name)
    return made


def nodes_of(graph: Graph) -> list[Node[..., Any]]:
    made = []
    for name, inputs, body, _ in graph:
        body = body.replace("list(v)", "[*v]")
        # With its name in it no two are the same code: one is not a copy of the other's result.
        made.append(fresh(f"def {name}({', '.join(inputs)}):\n me = {name!r}\n {body}", name))
        made[-1].func.__globals__["total"] = TOTALS["total"]
    return made


TOTALS: dict[str, Any] = {"np": np, "pd": pd, "__name__": "__main__"}
exec(TOTAL, TOTALS)


def behind(graph: Graph, name: str) -> Graph:
    """The nodes that a node needs."""
    needed = {name}
    for each in reversed(graph):
        if each[0] in needed:
            needed.update(each[1])
    return [each for each in graph if each[0] in needed]


def run(graph: Graph, cache: Any, engine: Any = None) -> dict[str, Any]:
    """All totals of a run of new functions, as a new process has them."""
    pipeline = Pipeline(nodes_of(graph), cache=cache, engine=engine)
    possible = {"x": 1} | {
        f"given_{kind}": eval(source, {"x": 1, "np": np, "pd": pd})
        for kind, source in SOURCES.items()
    }
    inputs = {name: value for name, value in possible.items() if name in pipeline.inputs}
    try:
        result = pipeline.run(inputs)
    except Exception as error:  # a list that is popped empty: then without a cache as well
        return {"error": type(error).__name__, "failed": failing_node(error)}
    return {
        name: float(value)
        for name, value in result.items()
        if isinstance(value, (int, float, np.floating))
    }


def spoiled(graph: Graph) -> set[str]:
    """The nodes that read what is changed, or what is made by such a one."""
    shares: dict[str, str] = {}  # a value and what it may share memory with
    for name, inputs, body, _ in graph:
        shares[name] = shares.get(inputs[0], inputs[0]) if body.startswith("v = ") else name
    changed = {shares.get(inputs[0], inputs[0]) for _, inputs, _, changes in graph if changes}
    found: set[str] = set()
    for name, inputs, _, _ in graph:
        if any(shares.get(each, each) in changed or each in found for each in inputs):
            found.add(name)
    return found


@examples(200)
@given(pipelines())
def test_each_run_of_a_pipeline_gives_what_it_gives_without_a_cache(graph: Graph) -> None:
    cache = MemoryCache()
    with told():
        expected = run(graph, None)
        for _ in range(3):
            assert run(graph, cache) == expected


@examples(300)
@given(pipelines(), st.data())
def test_pipelines_that_share_a_cache_give_what_they_give_without_one(
    graph: Graph, data: st.DataObject
) -> None:
    cache = MemoryCache()
    names = [each[0] for each in graph]
    parts = data.draw(st.lists(st.sampled_from(names), max_size=3))
    with told():
        for part in [*parts, None, None, *names]:
            some = graph if part is None else behind(graph, part)
            left = spoiled(some)
            given, expected = run(some, cache), run(some, None)
            failed = {each["failed"] for each in (given, expected) if "failed" in each}
            if failed & left:
                continue  # it fails, or not, by the value that it reads
            assert given.keys() == expected.keys()
            for name in expected.keys() - left:
                assert given[name] == expected[name], (part, name)


@dataclass(frozen=True)
class Client:
    name: str = "client"


@pytest.mark.parametrize("engine", [None, "threaded", "async"])
@pytest.mark.parametrize("client", [Client(), [1], {"a": [1]}, object(), bytearray(b"x")])
def test_who_reads_a_list_with_a_failed_item_is_not_accused(client: Any, engine: Any) -> None:
    def split(text: str) -> list[str]:
        return [*text]

    def parse(char: str, client: Any) -> list[int]:
        return [int(char)]

    item = Pipeline([Node(parse, "number")], name="item").as_node(
        map_over={"chars": "char"}, output_mapping={"number": "all"}, error_handling="continue"
    )

    def total(all: list[Any], report: int) -> int:
        return report

    def report(all: list[Any]) -> int:
        return len(all)

    nodes = [Node(split, "chars"), item, Node(report, "report"), Node(total, "total")]
    own = None if engine is None else HyperNodesEngine(engine)
    pipeline = Pipeline(nodes, engine=own, cache=MemoryCache())
    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        for _ in range(3):
            assert pipeline.run({"text": "1x2", "client": client}, "total") == {"total": 3}


class Permissive:
    """Has any attribute that somebody asks for, as stand-ins have in tests."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: None


def test_an_object_that_seems_to_have_any_attribute_is_no_tensor() -> None:
    def make(x: int) -> list[Any]:
        return [Permissive(), [x]]

    def grow(made: list[Any]) -> int:
        made[1].append(1)
        return 1

    def read(made: list[Any], grown: int) -> int:
        return len(made[1])

    nodes = [Node(make, "made"), Node(grow, "grown"), Node(read, "size")]
    with told():
        assert Pipeline(nodes, cache=MemoryCache()).run({"x": 1}, "size") == {"size": 2}


@examples(100)
@given(pipelines())
def test_on_threads_nothing_wrong_is_stored(graph: Graph) -> None:
    cache = MemoryCache()
    with told(), ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            run(graph, cache, HyperNodesEngine(pool))
        for name, *_ in graph:
            some = behind(graph, name)
            if not any(changes for *_, changes in some):
                assert run(some, cache) == run(some, None), name
