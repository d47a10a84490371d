"""What runs at once, what stays where it is, and what a failure calls off."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder
from waiting import Meeting, wait_until

from hypernodes import (
    AsyncExecutor,
    CallbackContext,
    FailedItem,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    PipelineCallback,
    node,
)

KINDS = ["sequential", "async", "threaded", "parallel"]


@node(output_name="doubled")
def double(x: int) -> int:
    return 2 * x


@node(output_name="waited")
async def wait(x: int) -> int:
    await asyncio.sleep(0.001)
    return x + 1


@node(output_name="total")
def add(doubled: int, waited: int) -> int:
    return doubled + waited


diamond = Pipeline([double, wait, add], name="diamond")


@pytest.mark.parametrize("nodes", KINDS)
@pytest.mark.parametrize("items", KINDS)
def test_async_and_other_nodes_run_under_every_choice(nodes: str, items: str) -> None:
    with HyperNodesEngine(nodes, items) as engine:
        pipeline = diamond.with_engine(engine)
        assert pipeline.run({"x": 3}, "total") == {"total": 10}
        assert pipeline.map({"x": [1, 2]}, "x", output_name="total") == [{"total": 4}, {"total": 7}]


def test_independent_branches_do_not_wait_for_each_other() -> None:
    together = Meeting(2)

    @node(output_name="a1")
    def slow(x: int) -> int:
        together()  # with the second step of the other branch: waves would never get there
        return x

    @node(output_name="b1")
    def quick(x: int) -> int:
        return x

    @node(output_name="b2")
    def after_quick(b1: int) -> int:
        together()
        return b1

    with HyperNodesEngine(node_executor=ThreadPoolExecutor(2)) as engine:
        result = Pipeline([slow, quick, after_quick], engine=engine).run({"x": 1})
    assert result == {"a1": 1, "b1": 1, "b2": 1}


@pytest.mark.parametrize("nodes", ["threaded", "async"])
def test_a_parallel_map_has_parallel_nodes_in_its_items(nodes: str) -> None:
    together = Meeting(2)

    @node(output_name="a")
    def one(x: int) -> int:
        together()
        return x

    @node(output_name="b")
    def other(x: int) -> int:
        together()
        return x

    with HyperNodesEngine(nodes, "threaded") as engine:
        pipeline = Pipeline([one, other], engine=engine)
        assert pipeline.map({"x": [1, 2, 3]}, "x") == [{"a": x, "b": x} for x in (1, 2, 3)]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("make", [ThreadPoolExecutor, AsyncExecutor])
def test_nested_pipelines_and_maps_on_one_small_pool_do_not_wait_for_ever(
    make: Any, size: int
) -> None:
    inner = Pipeline([double, wait, add], name="inner")
    deep = Pipeline([inner.as_node(map_over={"xs": "x"}, name="m")], name="deep")
    outer = Pipeline(
        [
            deep.as_node(map_over={"xss": "xs"}, name="left"),
            inner.as_node(
                name="right", output_mapping={name: f"r_{name}" for name in inner.outputs}
            ),
        ],
        name="outer",
    )
    pool = make(size)
    engine = HyperNodesEngine(pool, pool)
    inputs = {"xss": [[[1, 2], [3]], []], "x": [5, 6]}
    rows = outer.with_engine(engine).map(inputs, ["xss", "x"], output_name=["total", "r_total"])
    assert rows == [{"total": [[4, 7], [10]], "r_total": 16}, {"total": [], "r_total": 19}]
    pool.shutdown()


def test_no_more_than_the_effective_workers_run_at_once() -> None:
    lock, running, peaks = threading.Lock(), [0], [0]
    met = threading.Event()  # two were there at once

    @node(output_name="y")
    def busy(x: int) -> int:
        with lock:
            running[0] += 1
            peaks[0] = max(peaks[0], running[0])
            if running[0] > 1:
                met.set()
        met.wait(30)
        time.sleep(0.002)
        with lock:
            running[0] -= 1
        return x

    inner = Pipeline([busy], name="inner")
    outer = Pipeline([inner.as_node(map_over={"xs": "x"})], name="outer")
    rows = list(range(9))
    with ThreadPoolExecutor(16) as pool:
        engine = HyperNodesEngine(map_executor=pool)
        inner.with_engine(engine).map({"x": list(range(60))}, "x")
        assert peaks[0] <= 16
        outer.with_engine(engine).map({"xs": [rows] * 12}, "xs")
        assert peaks[0] <= 16
        peaks[0] = 0
        met.clear()
        outer.with_engine(engine).run({"xs": rows})  # not inside of another map
        assert 1 < peaks[0] <= 16


def test_context_variables_of_the_caller_are_visible_in_nodes() -> None:
    who = contextvars.ContextVar("who", default="nobody")

    @node(output_name="sync_", cache=False)
    def sync_(x: int) -> str:
        return who.get()

    @node(output_name="async_", cache=False)
    async def async_(x: int) -> str:
        await asyncio.sleep(0)
        return who.get()

    pipeline = Pipeline([sync_, async_])
    token = who.set("caller")
    try:
        for kind in ("sequential", "threaded", "async"):
            with HyperNodesEngine(kind, kind) as engine:
                told = pipeline.with_engine(engine)
                assert told.run({"x": 1}) == {"sync_": "caller", "async_": "caller"}
                assert told.map({"x": [1, 2]}, "x")[1] == {"sync_": "caller", "async_": "caller"}
    finally:
        who.reset(token)


@pytest.mark.parametrize("kind", ["threaded", "parallel", "async"])
def test_a_node_may_have_to_stay_on_the_callers_thread(kind: str) -> None:
    @node(output_name="where", executor="sequential")
    def pinned(doubled: int) -> int:
        return threading.get_ident()

    with HyperNodesEngine(kind, kind) as engine:
        pipeline = Pipeline([double, pinned], engine=engine)
        here = threading.get_ident()
        assert pipeline.run({"x": 1}, "where") == {"where": here}
        assert pipeline.map({"x": [1, 2, 3]}, "x", output_name="where") == [{"where": here}] * 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cached", [False, True])
def test_a_failing_map_raises_the_first_error_by_item_and_starts_no_more(
    kind: str, cached: bool
) -> None:
    started: list[int] = []

    class Count(PipelineCallback):
        def on_map_item_start(self, item_index: int, ctx: Any) -> None:
            started.append(item_index)

    @node(output_name="y")
    def fail(x: int) -> int:
        if x in (3, 4):
            raise KeyError(f"x is {x}")
        time.sleep(0.001)
        return x

    recorder = Recorder()
    with HyperNodesEngine(map_executor=kind) as engine:
        pipeline = Pipeline([fail], engine=engine, callbacks=[recorder, Count()], name="p")
        if cached:
            pipeline = pipeline.with_cache(MemoryCache())
        with pytest.raises(KeyError, match="x is 3") as caught:
            pipeline.map({"x": list(range(2000))}, "x")
    assert "in item 3 (x=3) of a map of pipeline 'p'" in caught.value.__notes__
    assert "in node 'fail' of pipeline 'p'" in caught.value.__notes__
    assert len(started) < 2000
    recorder.check_pairs()


@pytest.mark.parametrize("kind", KINDS)
def test_with_continue_every_item_is_done(kind: str) -> None:
    @node(output_name="y")
    def inverse(x: int) -> float:
        return 1 / x

    with HyperNodesEngine(map_executor=kind) as engine:
        rows = Pipeline([inverse], engine=engine).map(
            {"x": [1, 0, 2, 0]}, "x", error_handling="continue"
        )
    assert [rows[0], rows[2]] == [{"y": 1.0}, {"y": 0.5}]
    for index in (1, 3):
        assert isinstance(rows[index], FailedItem)
        assert (rows[index].index, rows[index].node) == (index, "inverse")
        assert rows[index].inputs == {"x": 0}
        assert isinstance(rows[index].error, ZeroDivisionError)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_node_calls_off_the_others_and_closes_every_scope(kind: str) -> None:
    ran: list[str] = []

    @node(output_name="bad")
    def bad(x: int) -> int:
        raise ValueError("bad")

    @node(output_name="after")
    def after(bad: int, doubled: int) -> int:
        ran.append("after")
        return bad

    recorder = Recorder()
    with HyperNodesEngine(node_executor=kind) as engine:
        pipeline = Pipeline([bad, double, after], engine=engine, callbacks=[recorder])
        with pytest.raises(ValueError, match="bad"):
            pipeline.run({"x": 1})
    assert not ran
    recorder.check_pairs()


class Errors(PipelineCallback):
    """The errors that scopes are told to have ended with; `came` when there is one."""

    def __init__(self) -> None:
        self.told: set[tuple[str, int | None, str]] = set()
        self.came = threading.Event()

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        index = ctx.item_index
        if index is None and ctx.parent is not None:
            index = ctx.parent.item_index
        self.told.add((ctx.kind, index, type(error).__name__))
        self.came.set()


@pytest.mark.parametrize("nodes", ["sequential", "async", "threaded"])
@pytest.mark.parametrize("first", ["function", "coroutine"])
def test_what_is_called_off_is_told_as_cancelled(nodes: str, first: str) -> None:
    both, errors = Meeting(2), Errors()

    @node(output_name="begun")
    def begin(x: int) -> int:
        both()
        if x == 0:
            raise ValueError("bad")
        errors.came.wait(60)
        return x

    @node(output_name="begun")
    async def begin_async(x: int) -> int:
        return await asyncio.to_thread(begin.func, x)

    @node(output_name="y")
    async def never(begun: int) -> None:
        await asyncio.sleep(600)

    with HyperNodesEngine(nodes, "async") as engine:
        pipeline = Pipeline(
            [begin if first == "function" else begin_async, never],
            engine=engine,
            callbacks=[errors],
        )
        with pytest.raises(ValueError, match="bad"):
            pipeline.map({"x": [0, 1]}, "x")
    by_item = {index: {name for _, at, name in errors.told if at == index} for index in (0, 1)}
    assert by_item == {0: {"ValueError"}, 1: {"Cancelled"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [RuntimeError, StopIteration, asyncio.CancelledError])
def test_any_error_of_an_async_node_is_its_own(kind: str, error: type[BaseException]) -> None:
    @node(output_name="y")
    async def fail(x: int) -> int:
        await asyncio.sleep(0)
        raise error("mine")

    # A coroutine cannot raise StopIteration: PEP 479.
    expected = RuntimeError if error is StopIteration else error
    with HyperNodesEngine(kind, kind) as engine:
        pipeline = Pipeline([fail], engine=engine)
        with pytest.raises(expected):
            pipeline.run({"x": 1})
        with pytest.raises(expected):
            pipeline.map({"x": [1, 2]}, "x")


def test_a_failing_node_is_called_once() -> None:
    calls = []

    @node(output_name="y")
    def fail(x: int) -> int:
        calls.append(x)
        raise RuntimeError("this event loop is already running")

    for kind in ("sequential", "threaded", "async"):
        calls.clear()
        with HyperNodesEngine(kind, kind) as engine, pytest.raises(RuntimeError):
            Pipeline([fail], engine=engine).run({"x": 1})
        assert calls == [1]


@pytest.mark.parametrize("kind", ["sequential", "async", "threaded", "parallel"])
@pytest.mark.parametrize("cached", [False, True])
def test_one_error_object_that_is_raised_often_is_each_items_own(kind: str, cached: bool) -> None:
    quota = ValueError("quota used up")
    quota.__dict__["__notes__"] = ["ask for more"]

    @node(output_name="y")
    def call(x: int) -> int:
        raise quota

    with HyperNodesEngine(map_executor=kind) as engine:
        cache = MemoryCache() if cached else None
        pipeline = Pipeline([call], engine=engine, cache=cache)
        rows = pipeline.map({"x": list(range(4))}, "x", error_handling="continue")
    for index, row in enumerate(rows):
        assert isinstance(row, FailedItem)
        assert (row.index, row.node, str(row.error)) == (index, "call", "quota used up")
        notes = row.error.__dict__["__notes__"]
        assert len(notes) == 3
        assert notes[0] == "ask for more"
        assert f"item {index} " in notes[2]


def together_raising(error: Exception, together: Meeting) -> Any:
    @node(output_name="y")
    def call(x: int) -> int:
        together()
        raise error

    return call


@pytest.mark.parametrize("error_handling", ["continue", "raise"])
@pytest.mark.parametrize("pools", ["items", "nodes", "both"])
@pytest.mark.parametrize("cached", [False, True])
def test_one_error_object_that_items_raise_at_once_is_each_items_own(
    error_handling: Any, pools: str, cached: bool
) -> None:
    cache = MemoryCache() if cached else None
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as items, ThreadPoolExecutor(4) as nodes:
            engine = HyperNodesEngine(
                "sequential" if pools == "items" else nodes, "async" if pools == "nodes" else items
            )
            for _ in range(20):
                call = together_raising(ValueError("no more"), Meeting(4))
                pipeline = Pipeline([call], engine=engine, cache=cache, name="p")
                try:
                    rows: Any = pipeline.map({"x": range(4)}, "x", error_handling=error_handling)
                except ValueError as error:
                    rows = [FailedItem(0, "call", error, {})]
                for row in rows:
                    notes = ["in node 'call' of pipeline 'p'"]
                    notes.append(f"in item {row.index} (x={row.index}) of a map of pipeline 'p'")
                    assert row.error.__dict__["__notes__"] == notes
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("kind", ["sequential", "async", "threaded"])
@pytest.mark.parametrize("cached", [False, True])
def test_one_error_object_that_several_runs_raise_is_each_runs_own(kind: str, cached: bool) -> None:
    missing = LookupError("no such thing")

    @node(output_name="y")
    async def look_up(x: int) -> int:
        raise missing

    @node(output_name="z")
    def run(x: int, inner: Pipeline) -> Any:
        return inner.run({"x": x})

    def noted(call: Any) -> list[str]:
        with pytest.raises(LookupError, match="no such thing") as raised:
            call()
        assert raised.value is missing
        return list(missing.__dict__["__notes__"])

    with HyperNodesEngine(kind, kind) as engine:
        cache = MemoryCache() if cached else None
        pipeline = Pipeline([look_up], engine=engine, cache=cache, name="p")
        outer = Pipeline([run], engine=engine, name="outer")
        notes = [noted(lambda x=x: pipeline.map({"x": [x]}, "x")) for x in range(2)]
        notes.append(noted(lambda: pipeline.run({"x": 2})))
        notes.append(noted(lambda: asyncio.run(pipeline.arun({"x": 3}))))
        notes.append(noted(lambda: outer.run({"x": 4, "inner": pipeline})))
    own = "in node 'look_up' of pipeline 'p'"
    item = "in item 0 (x={}) of a map of pipeline 'p'"
    assert notes == [
        [own, item.format(0)], [own, item.format(1)], [own], [own],
        [own, "in node 'run' of pipeline 'outer'"],
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["sequential", "async", "threaded", "parallel"])
@pytest.mark.parametrize("cached", [False, True])
def test_the_note_of_an_item_shows_what_it_was_given(kind: str, cached: bool) -> None:
    class Client:
        def __repr__(self) -> str:
            raise AssertionError("it may be slow, or secret")

    @node(output_name="y")
    def read(path: str, client: Client, part: int) -> int:
        if part == 7:
            raise OSError(5, "cannot be read")
        return part

    paths = [f"data/s{place:03}.csv" for place in range(10)]
    inputs = {"path": paths, "part": list(range(10)), "client": Client()}
    with HyperNodesEngine(map_executor=kind) as engine:
        cache = MemoryCache() if cached else None
        pipeline = Pipeline([read], engine=engine, cache=cache, name="p")
        with pytest.raises(OSError, match="cannot be read") as caught:
            pipeline.map(inputs, ["path", "part"])
        assert caught.value.__dict__["__notes__"] == [
            "in node 'read' of pipeline 'p'",
            "in item 7 (path='data/s007.csv', part=7) of a map of pipeline 'p'",
        ]
        clients = {"client": [Client()], "path": "x" * 500, "part": 7}
        with pytest.raises(OSError, match="cannot be read") as caught:
            pipeline.map(clients, "client")
        assert "in item 0 (client=<Client>) of" in caught.value.__dict__["__notes__"][1]


def test_a_node_that_is_cancelled_beside_one_that_fails_is_not_what_is_raised() -> None:
    both = Meeting(2)

    @node(output_name="a")
    def first(x: int) -> int:  # stands before the other one in the plan
        both()
        time.sleep(0.1)
        return x

    @node(output_name="b")
    async def fail(x: int) -> int:
        await asyncio.to_thread(both)
        raise KeyError(x)

    recorder = Recorder()
    with HyperNodesEngine("async", "async") as engine:
        pipeline = Pipeline([first, fail], engine=engine, callbacks=[recorder])
        for _ in range(2):
            with pytest.raises(KeyError):
                pipeline.run({"x": 1})
            with pytest.raises(KeyError):
                pipeline.map({"x": [1]}, "x")
    recorder.check_pairs()


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("kind", ["threaded", "async", "parallel"])
def test_an_exception_that_another_thread_raises_in_the_waiting_one_ends_the_run(
    kind: str, tmp_path: Path
) -> None:
    """As Prefect's timeouts do. What was waited for was lost with it, and the run never ended."""
    raised = threading.Event()

    def slow(x: int) -> int:
        (tmp_path / "begun").touch()
        time.sleep(1)
        return x

    def call() -> None:
        with HyperNodesEngine(kind) as engine:
            try:
                Pipeline([Node(slow, "y")], engine=engine).run({"x": 1})
            except Stopped:
                raised.set()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    wait_until((tmp_path / "begun").exists, 60)
    ident, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stopped)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error)
    thread.join(60)
    assert raised.is_set()
