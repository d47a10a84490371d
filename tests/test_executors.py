"""Executors: what may be given, how long pools live, what runs at once, and what fails."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from hypernodes import (
    AsyncExecutor,
    HyperNodesEngine,
    NodeError,
    Pipeline,
    node,
)
from hypernodes.executors import is_async


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


class Meeting:
    """Callers wait until so many of them are there: it only ends where they run at once."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)

    def __call__(self) -> None:
        self._barrier.wait(timeout=30)

    def __cache_key__(self) -> int:
        return self._barrier.parties


# -- What may be given ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("thread", "Did you mean 'threaded'"),
        (4, "with submit and shutdown"),
        (ThreadPoolExecutor, "Make one: ThreadPoolExecutor()"),
        (None, "expected 'sequential', 'async', 'threaded', 'parallel'"),
    ],
)
def test_wrong_executors_are_told_with_the_right_ones(given: Any, words: str) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=words.replace("(", r"\(").replace(")", r"\)")
    ):
        HyperNodesEngine(map_executor=given)


def test_anything_with_submit_and_shutdown_is_an_executor() -> None:
    class Own:
        count = 0

        def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
            self.count += 1
            future: Future[Any] = Future()
            future.set_result(fn(*args))
            return future

        def shutdown(self, wait: bool = True) -> None:
            raise AssertionError("a pool that was handed in is not closed")

    own = Own()
    with HyperNodesEngine(node_executor=own, map_executor=own) as engine:
        rows = diamond.with_engine(engine).map({"x": [1, 2, 3]}, "x", output_name="total")
    assert rows == [{"total": 4}, {"total": 7}, {"total": 10}]
    assert own.count


def test_a_pool_of_ours_is_made_at_first_use_kept_and_closed() -> None:
    before = threading.active_count()
    engine = HyperNodesEngine(map_executor="threaded")
    assert threading.active_count() == before
    pipeline = diamond.with_engine(engine)
    pipeline.map({"x": [1, 2]}, "x")
    pool = engine.map_pool.executor
    pipeline.map({"x": [1, 2]}, "x")
    assert engine.map_pool.executor is pool
    engine.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(print)
    assert pipeline.map({"x": [1]}, "x", output_name="total") == [{"total": 4}]  # a new one
    engine.shutdown()


def test_a_pool_of_ours_goes_with_its_engine_and_not_with_a_pipeline() -> None:
    engine = HyperNodesEngine(map_executor="threaded")
    one, other = diamond.with_engine(engine), Pipeline([double], engine=engine)
    one.map({"x": [1]}, "x")
    pool = weakref.ref(engine.map_pool.executor)
    del one
    gc.collect()
    assert other.map({"x": [1]}, "x") == [{"doubled": 2}]
    del other, engine
    gc.collect()
    held = pool()
    if held is not None:
        with pytest.raises(RuntimeError):
            held.submit(print)


def test_a_pool_that_was_handed_in_is_never_closed() -> None:
    with ThreadPoolExecutor(2) as pool:
        with HyperNodesEngine(pool, pool) as engine:
            diamond.with_engine(engine).run({"x": 1})
        assert pool.submit(int, "1").result() == 1


def test_one_engine_serves_several_threads_at_once() -> None:
    with HyperNodesEngine("threaded", "threaded") as engine:
        pipeline = diamond.with_engine(engine)
        with ThreadPoolExecutor(6) as callers:
            runs = [
                callers.submit(pipeline.map, {"x": list(range(n, n + 20))}, "x", "zip", "total")
                for n in range(12)
            ]
            for n, run in enumerate(runs):
                assert run.result() == [{"total": 3 * x + 1} for x in range(n, n + 20)]


def test_a_wrong_option_of_a_node_is_told() -> None:
    with pytest.raises(NodeError, match="executor is 'gpu': expected 'sequential'"):
        node(lambda x: x, "y", executor="gpu")
    with pytest.raises(NodeError, match=r"no option 'executer'\. Did you mean 'executor'"):
        node(lambda x: x, "y", executer="sequential")  # type: ignore[call-overload]


# -- AsyncExecutor -------------------------------------------------------------------------------


def test_the_async_executor_bounds_what_runs_at_once() -> None:
    running, peak = 0, 0

    async def work(x: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.002)
        running -= 1
        return x

    with AsyncExecutor(max_concurrent=7) as executor:
        futures = [executor.submit(work, x) for x in range(60)]
        assert [future.result() for future in futures] == list(range(60))
    assert 1 < peak <= 7


def test_a_sync_function_never_blocks_the_loop() -> None:
    together = Meeting(2)

    async def ticking() -> str:
        await asyncio.get_running_loop().run_in_executor(None, together)
        return "ticked"

    with AsyncExecutor(max_concurrent=2) as executor:
        blocking, other = executor.submit(together), executor.submit(ticking)
        assert other.result(30) == "ticked"
        assert blocking.result(30) is None


def test_a_callable_object_that_gives_a_coroutine_is_awaited() -> None:
    class Fetch:
        async def __call__(self, x: int) -> int:
            return x + 1

    class Hidden:
        def __call__(self, x: int) -> Any:
            return Fetch()(x)

    assert is_async(Fetch())
    assert not is_async(Hidden())
    with AsyncExecutor() as executor:
        assert executor.submit(Fetch(), 1).result() == 2
        assert executor.submit(Hidden(), 1).result() == 2


def test_shutdown_finishes_what_was_submitted_and_takes_no_more() -> None:
    done = []

    async def work(x: int) -> None:
        await asyncio.sleep(0.005)
        done.append(x)

    executor = AsyncExecutor(max_concurrent=2)
    for x in range(8):
        executor.submit(work, x)
    executor.shutdown(wait=True)
    assert sorted(done) == list(range(8))
    with pytest.raises(RuntimeError, match="after its shutdown"):
        executor.submit(work, 9)


def test_shutdown_can_cancel_what_has_not_started() -> None:
    started, release = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(30)

    executor = AsyncExecutor(max_concurrent=1)
    running = executor.submit(block)
    waiting = executor.submit(print)
    started.wait(30)
    executor.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    release.set()
    assert running.result(30) is None


def test_wrong_concurrency_is_told() -> None:
    with pytest.raises(ValueError, match="expected a number from 1"):
        AsyncExecutor(max_concurrent=0)


def test_one_loop_serves_every_call() -> None:
    loops = set()

    @node(output_name="y", cache=False)
    async def where(x: int) -> int:
        loops.add(asyncio.get_running_loop())
        return x

    with HyperNodesEngine("async", "async") as engine:
        pipeline = Pipeline([where], engine=engine)
        for _ in range(3):
            pipeline.map({"x": [1, 2, 3]}, "x")
    assert len(loops) == 1
