"""DaftEngine: the results, the cache, the callbacks and the errors of the native engine."""

from __future__ import annotations

import asyncio
import datetime
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law import Graph, by_hand, examples, graphs, hold_with_failures, inputs_of, pipeline_of
from recording import Recorder

from hypernodes import (
    DaftEngine,
    DiskCache,
    FailedItem,
    HyperNodesEngine,
    InputError,
    MapOverError,
    MemoryCache,
    Node,
    NodeError,
    Pipeline,
    PipelineCallback,
    ResultError,
    SerializationError,
    UnknownInputError,
    failing_node,
    node,
)

daft = pytest.importorskip("daft")

ENGINE = DaftEngine()
LAZY = DaftEngine(collect=False)


@node(output_name="doubled")
def double(x: int) -> int:
    return 2 * x


@node(output_name=("total", "text"))
def add(doubled: int, y: int = 1) -> tuple[int, str]:
    return doubled + y, str(doubled)


@node(output_name="inverse")
def invert(x: int) -> float:
    return 1 / x


sums = Pipeline([add, double], name="sums", engine=ENGINE)


# -- Results -------------------------------------------------------------------------------------


def test_run_and_map_give_what_the_native_engine_gives() -> None:
    native = sums.with_engine(None)
    assert sums.run({"x": 3}) == native.run({"x": 3}) == {"doubled": 6, "total": 7, "text": "6"}
    given = {"x": list(range(1000)), "y": 5}
    assert sums.map(given, "x") == native.map(given, "x")
    assert sums.map({"x": [1, 2], "y": [3, 4, 5]}, ["x", "y"], "product", "total") == native.map(
        {"x": [1, 2], "y": [3, 4, 5]}, ["x", "y"], "product", "total"
    )
    assert sums.map({"x": []}, "x") == []
    assert sums.bind(y=10).run({"x": 1}, "total") == {"total": 12}


def test_it_is_found_in_three_places_and_importing_the_library_does_not_import_daft() -> None:
    from hypernodes import engines, executors

    assert executors.DaftEngine is engines.DaftEngine is DaftEngine
    code = "import hypernodes, sys; hypernodes.DaftEngine; print('daft' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
    missing = "import sys; sys.modules['daft'] = None; import hypernodes; hypernodes.DaftEngine()"
    done = subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True)
    assert "hypernodes[daft]" in done.stderr


@dataclass
class Point:
    x: int
    parts: list[Any]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.dates()
    | st.sampled_from([np.float32(1.5), np.int64(3), (1, 2), {1, 2}, range(3), Point(1, [None])]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def like(value: Any) -> Any:
    """A value with the types of all that is in it, so that 1, 1.0 and True differ."""
    if isinstance(value, (list, tuple)):
        return type(value), [like(each) for each in value]
    if isinstance(value, dict):
        return dict, [(key, like(each)) for key, each in value.items()]
    return type(value), repr(value)


@examples(100, shrink=True)
@given(st.lists(VALUES, max_size=6), VALUES, st.booleans())
def test_a_value_reaches_the_next_node_as_it_was_made(
    values: list[Any], shared: Any, cached: bool
) -> None:
    @node(output_name="made")
    def make(value, shared) -> int:  # an annotation that says something else
        return value

    @node(output_name="seen")
    def see(made: str, shared: float) -> bytes:
        return [like(made), like(shared)]  # type: ignore[return-value]

    pipeline = Pipeline([make, see], engine=ENGINE, cache=MemoryCache() if cached else None)
    rows = pipeline.map({"value": values, "shared": shared}, "value")
    assert [like(row["made"]) for row in rows] == [like(value) for value in values]
    assert [row["seen"] for row in rows] == [[like(value), like(shared)] for value in values]


def test_what_cannot_be_pickled_goes_from_node_to_node_all_the_same() -> None:
    def numbers(x: int) -> Any:
        return (each for each in range(x)), threading.Lock()

    def use(made: Any, client: Any) -> list[int]:
        with made[1], client:
            return list(made[0])

    pipeline = Pipeline([node(numbers, output_name="made"), node(use)], engine=ENGINE)
    rows = pipeline.map({"x": [2, 3], "client": threading.Lock()}, "x", output_name="use")
    assert rows == [{"use": [0, 1]}, {"use": [0, 1, 2]}]


def test_arrays_nan_and_objects_of_local_classes_come_through() -> None:
    class Local:
        def __init__(self, value: Any) -> None:
            self.value = value

    def make(x: float) -> Any:
        return Local(np.full((2, 2), x))

    pipeline = Pipeline(
        [node(make, output_name="made"), node(lambda made: made.value, output_name="value")],
        engine=ENGINE,
    )
    rows = pipeline.map({"x": [float("nan"), 1.0]}, "x")
    assert all(type(row["made"]) is Local for row in rows)
    assert np.array_equal(rows[0]["value"], np.full((2, 2), np.nan), equal_nan=True)


ENGINES = [DaftEngine(), HyperNodesEngine(), HyperNodesEngine("threaded", "threaded")]


@examples(200)
@given(graphs(engines=len(ENGINES), longest=200), st.booleans(), st.booleans())
def test_any_graph_gives_what_a_plain_loop_gives(graph: Graph, cached: bool, told: bool) -> None:
    values = {name: place + 3 for place, name in enumerate(inputs_of(graph))}
    recorder = Recorder()
    pipeline = pipeline_of(graph, ENGINES).with_engine(ENGINE)
    if cached:
        pipeline = pipeline.with_cache(MemoryCache())
    if told:
        pipeline = pipeline.with_callbacks([recorder])
    first, *_ = values
    several = list(range(5))
    expected = [by_hand(graph, {**values, first: value}) for value in several]
    for _ in range(1 + cached):
        assert pipeline.map({**values, first: several}, first) == expected
        assert pipeline.run(values) == by_hand(graph, values)
    recorder.check_pairs()


@pytest.mark.slow
@examples(200)
@given(graphs(engines=len(ENGINES), fragile=True), st.booleans(), st.booleans())
def test_maps_that_go_on_after_failed_items_give_what_a_loop_with_try_gives(
    graph: Graph, cached: bool, told: bool
) -> None:
    recorder = Recorder()
    pipeline = pipeline_of(graph, ENGINES).with_engine(ENGINE)
    pipeline = pipeline.with_cache(MemoryCache() if cached else None)
    pipeline = pipeline.with_callbacks([recorder] if told else None)
    hold_with_failures(graph, pipeline, rounds=1 + cached)
    recorder.check_pairs()


# -- Cache and callbacks -------------------------------------------------------------------------


@settings(parent=examples(50), derandomize=True)  # rare differences are no regression
@given(graphs(), st.booleans())
def test_callbacks_are_told_what_the_native_engine_tells(graph: Graph, cached: bool) -> None:
    values = {name: place + 3 for place, name in enumerate(inputs_of(graph))}
    first, *_ = values
    told = []
    for engine in (ENGINE, HyperNodesEngine()):
        recorder = Recorder()
        pipeline = pipeline_of(graph).with_engine(engine).with_callbacks([recorder])
        if cached:
            pipeline = pipeline.with_cache(MemoryCache())
            pipeline.run(values)
            recorder.events.clear()
        pipeline.run(values)
        pipeline.map({**values, first: [7, 8, 9]}, first)
        recorder.check_pairs()
        recorder.check_times()
        told.append(Counter(_scope(hook, path) for hook, path in recorder.told()))
    if not cached:
        assert told[0] == told[1]
    # Daft does not look ahead: native leaves nodes alone, that Daft runs or finds, where a nested
    # map has items that need the same.
    assert told[1] <= told[0]


def _scope(hook: str, path: str) -> tuple[str, str]:
    # Daft runs one node for all items, then the next: of two items that need the same, it may
    # be the other one that computes it.
    return hook.replace("_cached", "_start").replace("_end", "_start"), path.split("[")[0]


def test_times_and_values_told_are_those_of_the_node() -> None:
    seen: list[Any] = []

    class Seen(PipelineCallback):
        def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
            seen.append((dict(inputs), ctx.started_at))

        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            seen.append((dict(outputs), duration, ctx.item_index))

    def wait(x: int, client: Any) -> int:
        time.sleep(0.05)
        return -x

    pipeline = Pipeline([Node(wait, "waited")], engine=ENGINE, callbacks=[Seen()])
    before = time.time()
    pipeline.map({"x": [4], "client": "c"}, "x")
    (inputs, started_at), (outputs, duration, index) = seen
    assert inputs == {"x": 4, "client": "c"}
    assert (outputs, index) == ({"waited": -4}, 0)
    assert duration >= 0.05
    assert before <= started_at <= time.time() - 0.05


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_second_map_calls_nothing_and_loads_only_what_is_asked_for(
    tmp_path: Path, on_disk: bool
) -> None:
    calls: list[int] = []

    @node(output_name="kept")
    def keep(x: int) -> int:
        calls.append(x)
        return x + 1

    @node(output_name="end")
    def finish(kept: int) -> int:
        calls.append(kept)
        return kept * 2

    recorder = Recorder()
    cache: Any = DiskCache(tmp_path) if on_disk else MemoryCache()
    pipeline = Pipeline([keep, finish], engine=ENGINE, cache=cache, callbacks=[recorder])
    expected = [{"end": 2 * (x + 1)} for x in range(20)]
    assert pipeline.map({"x": list(range(20))}, "x", output_name="end") == expected
    assert len(calls) == 40
    recorder.events.clear()
    assert pipeline.map({"x": list(range(20))}, "x", output_name="end") == expected
    assert len(calls) == 40
    hooks = Counter(hook for hook, _ in recorder.told())
    assert hooks == {
        "on_map_start": 1, "on_node_cached": 40, "on_map_item_cached": 20, "on_map_end": 1
    }  # fmt: skip
    native = pipeline.with_engine(None)
    native.map({"x": list(range(20))}, "x")
    assert len(calls) == 40


def test_an_entry_that_has_gone_is_computed_again(tmp_path: Path) -> None:
    class Forgetful(MemoryCache):
        def load(self, key: str) -> Any:
            raise KeyError(key)

    pipeline = sums.with_cache(Forgetful())
    for _ in range(2):
        assert pipeline.map({"x": [1, 2]}, "x", output_name="total") == [{"total": 3}, {"total": 5}]
        assert pipeline.run({"x": 1}, "total") == {"total": 3}


# -- Errors --------------------------------------------------------------------------------------


def test_the_first_items_error_is_raised_as_it_was_with_notes_that_say_where() -> None:
    calls: list[int] = []

    def fail(x: int) -> int:
        calls.append(x)
        if x >= 3:
            raise KeyError(x)
        return x

    inner = Pipeline([Node(fail, "y")], name="inner")
    recorder = Recorder()
    outer = Pipeline([inner], name="outer", engine=ENGINE, callbacks=[recorder])
    with pytest.raises(KeyError) as caught:
        outer.map({"x": list(range(2000))}, "x")
    assert caught.value.args == (3,)
    assert failing_node(caught.value) == "fail"
    assert caught.value.__dict__["__notes__"] == [
        "in node 'fail' of pipeline 'inner'",
        "in nested pipeline 'inner' of pipeline 'outer'",
        "in item 3 (x=3) of a map of pipeline 'outer'",
    ]
    assert "raise KeyError(x)" in "".join(traceback.format_exception(caught.value))
    assert len(calls) < 2000  # what came after it was called off
    recorder.check_pairs()
    assert recorder.names("on_error")[:2] == ["fail", "inner"]


def test_failed_items_stand_in_their_places() -> None:
    pipeline = Pipeline([double, invert], engine=ENGINE)
    rows = pipeline.map({"x": [1, 0, 2]}, "x", error_handling="continue")
    native = pipeline.with_engine(None).map({"x": [1, 0, 2]}, "x", error_handling="continue")
    assert rows[0] == native[0]
    assert rows[2] == native[2]
    failed, same = rows[1], native[1]
    assert isinstance(failed, FailedItem)
    assert (failed.index, failed.node, failed.inputs) == (same.index, same.node, same.inputs)
    assert type(failed.error) is ZeroDivisionError
    assert failed.error.__dict__["__notes__"] == same.error.__dict__["__notes__"]


class Unreadable:
    """Can be pickled, and not unpickled."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __reduce__(self) -> Any:
        return (_refuse, ()) if self.x == 1 else (Unreadable, (self.x,))


def _refuse() -> None:
    raise ValueError("it cannot be made again")


@pytest.mark.parametrize("cached", [False, True])
def test_a_value_that_cannot_be_unpickled_fails_its_item_alone(cached: bool) -> None:
    pipeline = Pipeline(
        [Node(Unreadable, "value"), Node(lambda value: value.x, "y")],
        engine=DaftEngine(),
        callbacks=[Recorder()],
        cache=MemoryCache() if cached else None,
    )
    results = pipeline.map({"x": [0, 1, 2]}, "x", output_name="y", error_handling="continue")
    assert [type(result) for result in results] == [dict, FailedItem, dict]
    assert "cannot be made again" in str(results[1].error)


def test_an_error_in_a_nested_map_names_both_items() -> None:
    inner = Pipeline([invert], name="inner")
    outer = Pipeline([inner.as_node(map_over="xs")], name="outer", engine=ENGINE)
    with pytest.raises(ZeroDivisionError) as caught:
        outer.map({"xs": [[1], [2, 0], []]}, {"xs": "xs"})
    assert caught.value.__dict__["__notes__"] == [
        "in node 'invert' of pipeline 'inner'",
        "in item 1 (x=0) of a map of pipeline 'inner'",
        "in nested pipeline 'inner' of pipeline 'outer'",
        "in item 1 (xs=[2, 0]) of a map of pipeline 'outer'",
    ]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("cache", [None, MemoryCache()])
def test_no_item_of_a_nested_map_starts_after_one_that_failed(told: bool, cache: Any) -> None:
    ran: list[int] = []

    def slow(x: int) -> int:
        ran.append(x)
        if x == 3:
            raise ValueError(x)
        return x

    for how, expected in (("raise", [0, 1, 2, 3]), ("continue", [*range(8)])):
        ran.clear()
        recorder = Recorder()
        inner = Pipeline([Node(slow, "y")]).as_node(map_over="xs", error_handling=how)  # type: ignore[arg-type]
        pipeline = Pipeline([inner], engine=ENGINE, cache=cache)
        pipeline = pipeline.with_callbacks([recorder] if told else None)
        with suppress(ValueError):
            pipeline.run({"xs": list(range(8))})
        if cache is not None:
            cache.clear()
        assert ran == expected
        recorder.check_pairs()
        assert sum(hook == "on_map_item_start" for hook, _ in recorder.told()) == len(ran) * told


@pytest.mark.parametrize("engine", [ENGINE, HyperNodesEngine()], ids=str)
def test_callbacks_hear_what_an_item_was_given(engine: Any) -> None:
    class Inputs(PipelineCallback):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_map_item_end(self, index: int, duration: float, ctx: Any) -> None:
            self.seen.append((ctx.name, dict(ctx.item_inputs)))

    heard = Inputs()
    inner = Pipeline([invert], name="inner").as_node(map_over="xs")
    outer = Pipeline([inner], name="outer", engine=engine, callbacks=[heard])
    outer.map({"xs": [[1, 2], [4]]}, {"xs": "xs"})
    assert heard.seen == [
        ("inner[0]", {"x": 1}),
        ("inner[1]", {"x": 2}),
        ("outer[0]", {"xs": [1, 2]}),
        ("inner[0]", {"x": 4}),
        ("outer[1]", {"xs": [4]}),
    ]


def test_a_failed_item_of_a_nested_map_is_null_in_a_lazy_frame() -> None:
    inner = Pipeline([invert]).as_node(map_over="xs", error_handling="continue")
    frame = Pipeline([inner], engine=LAZY).map({"xs": [[1, 0], [2]]}, {"xs": "xs"})
    assert frame.schema()["inverse"].dtype == daft.DataType.list(daft.DataType.float64())
    assert frame.to_pydict() == {"inverse": [[1.0, None], [0.5]]}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_ends_the_run(error: type[BaseException]) -> None:
    def leave(x: int) -> int:
        raise error("bye")

    with pytest.raises(error):
        Pipeline([Node(leave, "y")], engine=ENGINE).map({"x": [1]}, "x")


def test_bad_arguments_are_told_with_what_would_be_right() -> None:
    with pytest.raises(TypeError, match="collect is 'yes': expected True or False"):
        DaftEngine(collect="yes")  # type: ignore[arg-type]
    with pytest.raises(NodeError, match="Did you mean 'batch_size'"):
        Node(lambda x: x, "y", daft={"batchsize": 3})
    with pytest.raises(NodeError, match="concurrency is 0"):
        Node(lambda x: x, "y", daft={"concurrency": 0})
    with pytest.raises(NodeError, match="Did you mean 'numpy'"):
        Node(lambda x: x, "y", batch="nump")  # type: ignore[arg-type]
    with pytest.raises(UnknownInputError, match="Did you mean 'x'"):
        sums.map({"x": [1], "xx": 3}, "x")
    with pytest.raises(NodeError, match=r"type is 'int': expected a daft\.DataType"):
        Node(lambda x: x, "y", daft={"type": "int"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("use_process", value) for value in ("no", 1, None)],
        *[("batch_size", value) for value in (True, 2.0, "2")],
        *[("concurrency", value) for value in (True, -1)],
        *[("cpus", value) for value in (float("nan"), float("inf"), -1, False, "1")],
        *[("gpus", value) for value in (float("nan"), True, None, 1.5)],
    ],
)
def test_what_an_option_cannot_be_is_an_error_where_the_node_is_defined(
    option: str, value: Any
) -> None:
    with pytest.raises(NodeError, match=f"node 'y': daft: {option} is {value!r}: expected"):
        Node(lambda x: x, "y", daft={option: value})


def test_a_type_of_an_output_that_a_node_does_not_have_is_an_error_before_anything_runs() -> None:
    called: list[int] = []
    typed = Node(called.append, "y", daft={"type": {"yy": daft.DataType.int64()}})
    inner = Pipeline([typed], name="inner").as_node()
    for pipeline in (Pipeline([typed]), Pipeline([inner])):
        for engine in (ENGINE, DaftEngine(collect=False)):
            with pytest.raises(NodeError, match=r"no output 'yy' .* Did you mean 'y'\?"):
                pipeline.with_engine(engine).map({"object": [1]}, "object")
    assert not called


# -- How nodes run -------------------------------------------------------------------------------


def test_async_nodes_run_at_once_in_order_and_within_their_limit() -> None:
    running, peak = 0, 0

    async def wait(x: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01 if x % 2 else 0.002)
        running -= 1
        return x

    pipeline = Pipeline([Node(wait, "y", daft={"concurrency": 20})], engine=ENGINE)
    rows = pipeline.map({"x": list(range(300))}, "x")
    assert [row["y"] for row in rows] == list(range(300))
    assert peak == 20


def test_waiting_nodes_run_on_threads_of_their_own_where_they_ask_for_it() -> None:
    together = threading.Barrier(8)

    def wait(x: int) -> int:
        together.wait(timeout=60)
        return x

    options = {"concurrency": 8, "batch_size": 8}
    pipeline = Pipeline([Node(wait, "y", daft=options)], engine=ENGINE)
    assert pipeline.map({"x": list(range(16))}, "x") == [{"y": x} for x in range(16)]


def pid(x: int) -> int:
    return os.getpid() if x >= 0 else 1 // 0


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_a_node_runs_in_processes_where_it_asks_for_it(tmp_path: Path, cached: bool) -> None:
    apart = Node(pid, "pid", daft={"use_process": True, "batch_size": 2})
    cache = DiskCache(tmp_path) if cached else None
    recorder = Recorder()
    pipeline = Pipeline([apart], engine=ENGINE, cache=cache, callbacks=[recorder])
    rows = pipeline.map({"x": list(range(6))}, "x")
    assert os.getpid() not in {row["pid"] for row in rows}
    assert len(recorder.names("on_node_end")) == 6
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.map({"x": [0, -1]}, "x")
    assert "in item 1 (x=-1) of a map" in caught.value.__dict__["__notes__"][-1]
    with pytest.raises(SerializationError, match=r"use DiskCache\(folder\)"):
        pipeline.with_cache(MemoryCache()).map({"x": [1]}, "x")
    with pytest.raises(SerializationError, match="lock"):
        Pipeline([Node(lambda x, lock: x, "y", daft={"use_process": True})], engine=ENGINE).map(
            {"x": [1], "lock": threading.Lock()}, "x"
        )


@pytest.mark.parametrize("engine", [ENGINE, HyperNodesEngine(), HyperNodesEngine("threaded")])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["list", "numpy", "arrow"])
def test_a_batch_node_gives_every_engine_the_same(engine: Any, cached: bool, kind: Any) -> None:
    pc = pytest.importorskip("pyarrow.compute")

    def scale(x: Any, y: Any, *, factor: int = 2) -> Any:
        if kind == "list":
            return [a * factor + b for a, b in zip(x, y, strict=True)]
        if kind == "numpy":
            return x * factor + y
        return pc.add(pc.multiply(x, factor), y)

    recorder = Recorder()
    pipeline = Pipeline(
        [Node(scale, "z", batch=kind), Node(lambda z: type(z) is int, "plain")],
        engine=engine,
        cache=MemoryCache() if cached else None,
        callbacks=[recorder],
    )
    assert pipeline.run({"x": 1, "y": 2}) == {"z": 4, "plain": True}
    given = {"x": [1, 2, 3], "y": 5, "factor": 10}
    expected = [{"z": 10 * x + 5, "plain": True} for x in (1, 2, 3)]
    assert pipeline.map(given, "x") == expected
    assert pipeline.map(given, "x") == expected
    assert pipeline.map({**given, "factor": [1, 2, 3]}, ["x", "factor"])[2]["z"] == 14
    recorder.check_pairs()


def test_a_batch_node_is_called_with_many_items_and_has_to_return_as_many() -> None:
    sizes: list[int] = []

    def measure(x: list[int], *, extra: int = 0) -> tuple[list[int], list[str]]:
        sizes.append(len(x))
        return [each + 1 for each in x], [str(each) for each in x] + ["more"] * extra

    two = Node(measure, ("a", "b"), batch="list", daft={"batch_size": 50})
    pipeline = Pipeline([two], engine=ENGINE)
    assert pipeline.map({"x": list(range(100))}, "x")[99] == {"a": 100, "b": "99"}
    assert sizes == [50, 50]
    with pytest.raises(ResultError, match="given 50 items and returned 51 values"):
        pipeline.map({"x": list(range(100)), "extra": 1}, "x")


def test_a_nested_pipeline_with_another_engine_runs_on_that_one() -> None:
    class Counting(HyperNodesEngine):
        calls = 0

        def map(self, *arguments: Any, **options: Any) -> Any:
            Counting.calls += 1
            return super().map(*arguments, **options)

    inner = Pipeline([double], name="inner", engine=Counting())
    outer = Pipeline(
        [inner.as_node(map_over="xs", output_mapping={"doubled": "all"}), Node(sum_of, "sum")],
        engine=ENGINE,
        callbacks=[recorder := Recorder()],
    )
    rows = outer.map({"xs": [[1, 2], []]}, {"xs": "xs"})
    assert rows == [{"all": [2, 4], "sum": 6}, {"all": [], "sum": 0}]
    assert Counting.calls == 2
    assert len(recorder.names("on_node_end")) == 4
    recorder.check_pairs()


def sum_of(all: list[int]) -> int:
    return sum(all)


def test_it_runs_inside_of_a_native_pipeline_and_awaited() -> None:
    native = Pipeline([sums.as_node(map_over="xs"), Node(lambda total: sum(total), "sum")])
    assert native.run({"xs": [1, 2, 3]}, "sum") == {"sum": 15}
    rows = asyncio.run(sums.amap({"x": [1, 2]}, "x", output_name="total"))
    assert rows == [{"total": 3}, {"total": 5}]


def test_when_the_awaiting_task_is_cancelled_what_has_not_started_is_called_off() -> None:
    calls: list[int] = []

    def slow(x: int) -> int:
        calls.append(x)
        time.sleep(0.02)
        return x

    recorder = Recorder()
    pipeline = Pipeline([Node(slow, "y")], engine=ENGINE, callbacks=[recorder])

    async def cancelled() -> None:
        task = asyncio.create_task(pipeline.amap({"x": list(range(2000))}, "x"))
        while not calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert len(calls) < 1000
    recorder.check_pairs()


def test_cancelling_amap_starts_no_more_async_rows_and_waits_for_those_that_run() -> None:
    started, ended = 0, 0

    async def wait(x: int) -> int:
        nonlocal started, ended
        started += 1
        await asyncio.sleep(0.02)
        ended += 1
        return x

    pipeline = Pipeline([Node(wait, "y", daft={"concurrency": 20})], engine=ENGINE)

    async def cancelled() -> None:
        task = asyncio.create_task(pipeline.amap({"x": list(range(2000))}, "x"))
        while not ended:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert started == ended < 1000

    asyncio.run(cancelled())


def test_a_frame_inside_of_a_daft_run_is_refused() -> None:
    def nested(x: int) -> Any:
        return sums.map(daft.from_pydict({"x": [x]}), "x")

    with pytest.raises(RuntimeError, match="a node that Daft is running"):
        Pipeline([Node(nested, "y")], engine=ENGINE).map({"x": [1]}, "x")


# -- Frames --------------------------------------------------------------------------------------


def test_a_frame_is_mapped_and_a_lazy_frame_is_given_back(tmp_path: Path) -> None:
    frame = daft.from_pydict({"id": ["a", "b", "c"], "x": [1, 2, 3]})
    assert sums.map(frame, "x", output_name="total") == [{"total": t} for t in (3, 5, 7)]
    lazy = sums.with_engine(LAZY).bind(y=10).map(frame, map_over="x")
    assert isinstance(lazy, daft.DataFrame)
    assert lazy.to_pydict() == {
        "id": ["a", "b", "c"],
        "x": [1, 2, 3],
        "doubled": [2, 4, 6],
        "total": [12, 14, 16],
        "text": ["2", "4", "6"],
    }
    lazy.select("id", "total").write_parquet(str(tmp_path))
    read = daft.read_parquet(f"{tmp_path}/*.parquet").sort("id").to_pydict()
    assert read == {"id": ["a", "b", "c"], "total": [12, 14, 16]}
    assert sums.with_engine(LAZY).map({"x": [1]}, "x", output_name="total").to_pydict() == {
        "total": [3]
    }
    assert sums.with_engine(LAZY).run({"x": 1}, "total") == {"total": 3}


def test_a_frames_items_fail_are_cached_and_are_told_like_a_lists() -> None:
    frame = daft.from_pydict({"x": [1, 0, None], "other": [1, 2, 3]})
    recorder = Recorder()
    pipeline = Pipeline([invert], engine=ENGINE, cache=MemoryCache(), callbacks=[recorder])
    rows = pipeline.map(frame, "x", error_handling="continue")
    assert rows[0] == {"inverse": 1.0}
    assert [type(row.error) for row in rows[1:]] == [ZeroDivisionError, TypeError]
    assert rows[2].inputs == {"x": None}
    recorder.check_pairs()
    assert len(recorder.names("on_map_item_start")) == 3


@pytest.mark.parametrize("handling", ["raise", "continue"])
def test_callbacks_see_the_values_of_a_frame_as_those_of_a_list(handling: Any) -> None:
    class Values(PipelineCallback):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
            self.seen.append((ctx.path, dict(inputs), list(ctx.inputs_from)))

        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            assert ctx.ended_at == pytest.approx(ctx.started_at + duration)
            self.seen.append((ctx.path, dict(outputs)))

        def on_error(self, node_id: str, error: BaseException, ctx: Any) -> None:
            self.seen.append((ctx.path, type(error)))

    def seen(given: Any, engine: Any) -> list[Any]:
        values = Values()
        listening = inner_and_outer.with_engine(engine).with_callbacks([values])
        with suppress(ZeroDivisionError):
            listening.map(given, "xs", error_handling=handling)
        return values.seen

    half = Pipeline([Node(lambda x: x + 1, "y"), Node(lambda y, x: x / (y - 4), "z")], name="half")
    inner = half.as_node(map_over={"xs": "x"}, output_mapping={"z": "zs", "y": "ys"})
    inner_and_outer = Pipeline([inner, Node(lambda zs, ys: (len(zs), ys), "n")], name="p")
    lists = {"xs": [[1, 2], [], [1, 3]]}
    expected = seen(lists, ENGINE)
    assert seen(daft.from_pydict(lists), ENGINE) == expected
    if handling == "continue":
        assert sorted(map(repr, seen(lists, None))) == sorted(map(repr, expected))


def test_a_column_that_is_missing_is_told_with_the_nearest_one() -> None:
    frame = daft.from_pydict({"xs": [1], "z": [2]})
    assert sums.map(frame, "xs", output_name="total") == [{"total": 3}]
    both = daft.from_pydict({"x": [1, 2], "y": [3, 4]})
    with pytest.raises(MapOverError, match="map_mode='product' is for lists"):
        Pipeline([Node(lambda x, y: x, "z")], engine=ENGINE).map(both, ["x", "y"], "product")
    with pytest.raises(MapOverError, match="map_mode is 'nonsense'"):
        Pipeline([Node(lambda x: x, "z")], engine=ENGINE).map(both, "x", "nonsense")  # type: ignore
    with pytest.raises(MapOverError, match="no such column"):
        sums.map(frame, "x")
    with pytest.raises(InputError, match="DaftEngine maps over"):
        sums.with_engine(None).map(frame, "x")


def test_types_at_the_edge_are_those_of_the_annotations_and_never_change_a_value() -> None:
    def many(x: int) -> Any:
        return x, float(x), str(x), None, [x, None], datetime.date(2020, 1, x)

    many.__annotations__["return"] = tuple[
        int, float, str, int | None, list[int | None], datetime.date
    ]
    pipeline = Pipeline([Node(many, ("a", "b", "c", "d", "e", "f"))], engine=LAZY)
    frame = pipeline.map({"x": [1, 2]}, "x")
    assert [str(field.dtype) for field in frame.schema()] == [
        "Int64", "Float64", "String", "Int64", "List[Int64]", "Date"
    ]  # fmt: skip
    assert frame.to_pydict()["e"] == [[1, None], [2, None]]

    def wrong(x: int) -> int:
        return "zz"  # type: ignore[return-value]

    with pytest.raises(Exception, match="output 'y' of item 0 is annotated with <class 'int'>"):
        Pipeline([Node(wrong, "y")], engine=LAZY).map({"x": [1]}, "x").to_pydict()


def test_the_plan_is_shown_and_its_making_explained(capsys: pytest.CaptureFixture[str]) -> None:
    sums.with_engine(DaftEngine(show_plan=True, debug=True)).map({"x": [1]}, "x")
    told = capsys.readouterr()
    assert "Logical Plan" in told.out
    assert "double" in told.out
    assert "daft: double: in:x -> doubled" in told.err


def test_a_batch_node_over_numbers_keeps_daft_types_and_gives_the_same() -> None:
    def half(x: Any, *, by: float = 2.0) -> Any:
        if len(x) and x[0] == 7:
            raise LookupError("seven")
        return x / by

    half.__annotations__ = dict.fromkeys(("x", "return"), np.typing.NDArray[np.float64])
    pipeline = Pipeline([Node(half, "y", batch="numpy"), Node(lambda y: repr(y), "z")])
    for values in ([1, 2, 3], [0.5, float("nan")], [True, False]):
        frame = daft.from_pydict({"x": values})
        rows = pipeline.with_engine(ENGINE).bind(by=4.0).map(frame, "x")
        native = pipeline.bind(by=4.0).map({"x": values}, "x")
        assert [like(row["y"]) for row in rows] == [like(row["y"]) for row in native]
        assert [row["z"] for row in rows] == [row["z"] for row in native]
    lazy = pipeline.with_engine(LAZY).map(daft.from_pydict({"x": [1, 2]}), "x", output_name="y")
    assert str(lazy.schema()["y"].dtype) == "Float64"
    assert lazy.to_pydict()["y"] == [0.5, 1.0]
    with pytest.raises(LookupError) as caught:
        pipeline.with_engine(ENGINE).map(daft.from_pydict({"x": [7]}), "x")
    assert failing_node(caught.value) == "half"

    def whole(x: Any) -> Any:
        return x / 2

    whole.__annotations__ = dict.fromkeys(("x", "return"), np.typing.NDArray[np.int64])
    wrong = Pipeline([Node(whole, "y", batch="numpy")], engine=ENGINE)
    assert wrong.map(daft.from_pydict({"x": [1]}), "x") == [{"y": 0.5}]  # as for a list
    with pytest.raises(ResultError, match=r"is 0\.5 of type float: Daft would change it"):
        wrong.with_engine(LAZY).map(daft.from_pydict({"x": [1]}), "x").to_pydict()


def test_the_specifications_example_runs_as_it_stands() -> None:
    from hypernodes.executors import DaftEngine

    @node(output_name="cleaned")
    def clean_text(text: str) -> str:
        return text.strip().lower()

    @node(output_name="word_count")
    def count_words(cleaned: str) -> int:
        return len(cleaned.split())

    pipeline = Pipeline(
        nodes=[clean_text, count_words],
        engine=DaftEngine(collect=True),  # Daft handles everything
    )

    # Daft optimizes this into DataFrame operations
    results = pipeline.map(
        inputs={"texts": ["Hello World", "Foo Bar", ...][:2]},
        map_over="texts",
    )
    assert results == [
        {"cleaned": "hello world", "word_count": 2},
        {"cleaned": "foo bar", "word_count": 2},
    ]
    engine = DaftEngine(collect=True, show_plan=False, debug=False)
    cache, callbacks = MemoryCache(), [Recorder()]
    pipeline = Pipeline(
        nodes=[clean_text, count_words], engine=engine, cache=cache, callbacks=callbacks
    )
    assert pipeline.run({"text": " A b"}) == {"cleaned": "a b", "word_count": 2}
