"""What callbacks enter around a node's function, wherever that runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest
from recording import Recorder

from hypernodes import (
    AsyncExecutor,
    CallbackContext,
    DaftEngine,
    FailedItem,
    HyperNodesEngine,
    MemoryCache,
    Pipeline,
    node,
)

CURRENT: ContextVar[str] = ContextVar("current", default="nothing")


class Around:
    """Says to the node in which task run it is, and brings back where that was."""

    def __init__(self, ctx: CallbackContext) -> None:
        self.id = str(ctx.id)
        self.brought_back: Any = None

    def __enter__(self) -> None:
        self._token = CURRENT.set(self.id)

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._token)
        del self._token
        self.brought_back = (self.id, os.getpid())


class Watcher(Recorder):
    def node_context(self, ctx: CallbackContext) -> Around:
        return Around(ctx)


class Crossing(Watcher):
    def node_context_maker(self, ctx: CallbackContext) -> type[Around]:
        return Around


@node(output_name="seen")
def look(x: int) -> tuple[str, int]:
    return CURRENT.get(), os.getpid()


@node(output_name="later")
async def look_later(seen: tuple[str, int]) -> tuple[str, int]:
    await asyncio.sleep(0)
    return CURRENT.get(), os.getpid()


@node(output_name="failed")
def fail(x: int) -> None:
    raise ValueError(CURRENT.get())


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2) as pool:
        yield pool


ENGINES = {
    "sequential": lambda pool: HyperNodesEngine(),
    "nodes on threads": lambda pool: HyperNodesEngine(ThreadPoolExecutor(2)),
    "items on threads": lambda pool: HyperNodesEngine(map_executor=ThreadPoolExecutor(2)),
    "nodes on a loop": lambda pool: HyperNodesEngine(AsyncExecutor(), AsyncExecutor()),
    "nodes on processes": lambda pool: HyperNodesEngine(pool),
    "items on processes": lambda pool: HyperNodesEngine(map_executor=pool),
}


@pytest.mark.parametrize("watcher", [Watcher, Crossing])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_node_is_within_its_own_context_and_that_comes_back(
    engine: str, watcher: type[Watcher], processes: ProcessPoolExecutor
) -> None:
    told = watcher()
    pipeline = Pipeline(
        [look, look_later], engine=ENGINES[engine](processes), callbacks=[told], name="p"
    )
    results = pipeline.map({"x": list(range(5))}, map_over="x")
    ends = [ctx for hook, _, ctx in told.events if hook == "on_node_end"]
    assert len(ends) == 10
    by_id = {str(ctx.id): ctx for ctx in ends}
    for result in results:
        for name, (key, pid) in result.items():
            assert by_id[key].name == {"seen": "look", "later": "look_later"}[name]
            assert by_id[key].brought_back == ((key, pid),)
            assert (pid == os.getpid()) == ("processes" not in engine)
    told.check_pairs()


def test_a_failed_node_brings_back_too(processes: ProcessPoolExecutor) -> None:
    told = Crossing()
    engine = HyperNodesEngine(map_executor=processes)
    pipeline = Pipeline([fail], engine=engine, callbacks=[told], name="p")
    with pytest.raises(ValueError, match="-") as raised:
        pipeline.map({"x": [1]}, map_over="x")
    (ctx,) = [ctx for hook, _, ctx in told.events if hook == "on_error" and ctx.kind == "node"]
    assert str(raised.value) == str(ctx.id) == ctx.brought_back[0][0]


class Misbehaving:
    """A context that does what its word says."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __enter__(self) -> None:
        if self.how == "enter":
            raise KeyError("enter")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if self.how == "exit":
            raise KeyError("exit")
        if self.how == "another" and error is not None:
            raise RuntimeError("another") from error
        return self.how == "swallow"


class Misbehaves(Recorder):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def node_context(self, ctx: CallbackContext) -> Any:
        return 5 if self.how == "none" else Misbehaving(self.how)


@node(output_name="y")
def invert(x: int) -> float:
    return 1 / x


@node(output_name="z")
async def double(y: float) -> float:
    await asyncio.sleep(0)
    return 2 * y


@node(output_name="y", batch="list")
def invert_all(x: list[int]) -> list[float]:
    return [1 / each for each in x]


WITH_DAFT = {
    **ENGINES,
    "Daft": lambda pool: DaftEngine(),
    "Daft's batches": lambda pool: DaftEngine(),
}


@pytest.mark.parametrize("how", ["swallow", "enter", "exit", "another", "none"])
@pytest.mark.parametrize("kind", WITH_DAFT)
def test_a_context_changes_nothing_of_what_its_node_does(
    kind: str, how: str, processes: ProcessPoolExecutor
) -> None:
    engine = WITH_DAFT[kind](processes)
    first = invert_all if kind == "Daft's batches" else invert
    cache, recorder = MemoryCache(), Misbehaves(how)
    pipeline = Pipeline([first, double], engine=engine, cache=cache, callbacks=[recorder])
    rows = pipeline.map({"x": [1, 0, 4]}, "x", error_handling="continue")
    assert [rows[0], rows[2]] == [{"y": 1.0, "z": 2.0}, {"y": 0.25, "z": 0.5}]
    assert isinstance(rows[1], FailedItem)
    assert isinstance(rows[1].error, ZeroDivisionError)
    recorder.check_pairs()
    with pytest.raises(ZeroDivisionError):  # and nothing of it is in the cache
        pipeline.with_callbacks([]).run({"x": 0})


def test_a_scope_knows_the_nodes_that_it_is_to_run() -> None:
    told = Recorder()
    pipeline = Pipeline([look, look_later, fail], callbacks=[told], name="p")
    pipeline.run({"x": 1}, "later")
    pipeline.map({"x": [1]}, map_over="x", output_name="seen")
    known = {(ctx.kind, ctx.node_ids) for hook, _, ctx in told.events if hook.endswith("start")}
    assert ("pipeline", ("look", "look_later")) in known
    assert ("map_item", ("look",)) in known
    assert told.events[0][2].pipeline.node_ids == pipeline.node_ids


@node(output_name="y")
async def add_one(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


def test_async_nodes_run_in_worker_processes_of_an_awaited_run() -> None:
    """A forked worker must not wait for the loop of whoever awaits the run."""
    engine = HyperNodesEngine(map_executor="parallel")
    pipeline = Pipeline([add_one], engine=engine)
    results = asyncio.run(pipeline.amap({"x": [1, 2, 3]}, map_over="x"))
    engine.shutdown()
    assert results == [{"y": 2}, {"y": 3}, {"y": 4}]


def test_nothing_starts_after_an_awaited_run_was_cancelled() -> None:
    """Not even on the thread on which nodes follow each other without a pause."""
    ran = []
    begun, cancelled = threading.Event(), threading.Event()

    @node(output_name="first")
    def first(x: int) -> int:
        begun.set()
        cancelled.wait(30)
        ran.append("first")
        return x

    @node(output_name="second")
    def second(first: int) -> int:
        ran.append("second")
        return first

    async def run() -> None:
        task = asyncio.create_task(Pipeline([first, second]).arun({"x": 1}))
        while not begun.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.sleep(0.01)  # the loop has passed the cancellation on
        cancelled.set()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert ran == ["first"]
