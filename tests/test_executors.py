"""Executors: what may be given, how long pools live, what runs at once, and what fails."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest
from waiting import Meeting, wait_until

from hypernodes import (
    AsyncExecutor,
    HyperNodesEngine,
    Node,
    NodeError,
    Pipeline,
    node,
)
from hypernodes.event_loops import CALLER_LOOP, to_its_end
from hypernodes.executors import Pool, is_async


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


@pytest.mark.parametrize("role", ["map_executor", "node_executor"])
def test_an_executor_that_gives_no_future_is_told_so_by_name(role: str) -> None:
    class AtOnce:
        def submit(self, work: Callable[[], Any]) -> Any:
            return work()

        def shutdown(self, wait: bool = True) -> None: ...

    engine = HyperNodesEngine(**{role: AtOnce()})
    with pytest.raises(TypeError, match=r"^AtOnce\.submit gave a .*: expected a future"):
        Pipeline([Node(abs, "y")], engine=engine).map({"x": [-1, 2]}, "x")


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


@pytest.mark.slow
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


def test_an_engine_goes_though_the_plan_that_it_compiled_stays() -> None:
    base = Pipeline([double, wait, add], name="base")
    engine = HyperNodesEngine(map_executor="threaded")
    assert base.with_engine(engine).map({"x": [1]}, "x", output_name="total") == [{"total": 4}]
    assert base.with_engine(HyperNodesEngine()).run({"x": 1}, "total") == {"total": 4}
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None


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


class FalseError(Exception):
    """Errors that were collected: false where there are none."""

    def __len__(self) -> int:
        return len(self.args)


def _raise(kind: type[BaseException]) -> None:
    raise kind


async def _raise_async(kind: type[BaseException]) -> None:
    await asyncio.sleep(0)
    raise kind


async def _raise_in_a_task(kind: type[BaseException]) -> None:
    await asyncio.create_task(_raise_async(kind))


@pytest.mark.parametrize("call", [_raise, _raise_async, _raise_in_a_task])
@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, FalseError, TimeoutError, BaseException]
)
def test_whatever_a_call_raises_fails_its_future_and_the_executor_goes_on(
    call: Callable[..., Any], kind: type[BaseException]
) -> None:
    with AsyncExecutor(2) as executor:
        with pytest.raises(kind):
            executor.submit(call, kind).result(30)
        assert executor.submit(abs, -1).result(30) == 1
        assert executor.submit(wait, 1).result(30) == 2


def test_a_call_may_raise_stop_iteration() -> None:
    with AsyncExecutor(2) as executor:
        with pytest.raises(StopIteration):
            executor.submit(next, iter([])).result(30)
        assert executor.submit(abs, -1).result(30) == 1


def _threads_and_files() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def _shut_down_at_once() -> None:
    executor = AsyncExecutor(2)
    futures = [executor.submit(wait, 1), executor.submit(abs, -2), executor.submit(wait, 2)]
    executor.shutdown(wait=False)
    assert [future.result(30) for future in futures] == [2, 2, 3]


def _drop_an_executor() -> None:
    assert AsyncExecutor(1).submit(wait, 1).result(30) == 2


def _drop_an_executor_with_work() -> None:
    futures = [AsyncExecutor(1).submit(wait, x) for x in range(3)]
    assert [future.result(30) for future in futures] == [1, 2, 3]


def _drop_an_engine() -> None:
    assert Pipeline([wait], engine=HyperNodesEngine("async")).run({"x": 1}) == {"waited": 2}


def _drop_an_executor_with_a_task_of_its_own() -> None:
    async def start() -> None:
        asyncio.get_running_loop().kept = asyncio.create_task(  # type: ignore[attr-defined]
            asyncio.sleep(600)
        )

    AsyncExecutor(1).submit(start).result(30)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files")
@pytest.mark.parametrize(
    "use",
    [
        _shut_down_at_once,
        _drop_an_executor,
        _drop_an_executor_with_work,
        _drop_an_engine,
        _drop_an_executor_with_a_task_of_its_own,
    ],
)
def test_an_executor_that_nobody_uses_any_more_leaves_nothing(use: Callable[[], None]) -> None:
    use()
    gc.collect()
    before = _threads_and_files()
    for _ in range(5):
        use()

    def is_as_before() -> bool:
        gc.collect()
        return all(now <= old for now, old in zip(_threads_and_files(), before, strict=True))

    wait_until(is_as_before)


def test_shutdown_has_ended_its_threads_when_it_returns() -> None:
    before = threading.active_count()
    executor = AsyncExecutor(3)
    executor.submit(wait, 1)
    executor.submit(abs, -1)
    executor.shutdown()
    executor.shutdown()
    assert threading.active_count() <= before


def test_a_call_cannot_wait_for_its_own_executor() -> None:
    async def shut_down_async() -> None:
        executor.shutdown()

    for call in ("shutdown", "async"):
        executor = AsyncExecutor(2)
        with pytest.raises(RuntimeError, match=r"use shutdown\(wait=False\)"):
            executor.submit(executor.shutdown if call == "shutdown" else shut_down_async).result(30)
        with pytest.raises(RuntimeError, match="after its shutdown"):
            executor.submit(abs, -1)
        executor.shutdown()


def test_a_call_on_a_thread_is_waited_for_however_often_it_is_cancelled() -> None:
    """A run that fails at several places cancels what is on its way for each of them."""
    begun, may_end = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        may_end.wait(10)

    with AsyncExecutor(1) as executor:
        future = executor.submit(block)
        assert begun.wait(10)
        for _ in range(3):
            future.cancel()
            time.sleep(0.02)
        assert not future.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            future.result(10)


def test_cancelled_calls_do_not_hold_up_a_shutdown() -> None:
    started, release = threading.Event(), threading.Event()
    executor = AsyncExecutor(1)
    running = executor.submit(lambda: (started.set(), release.wait(30)))
    started.wait(30)
    waiting = [executor.submit(abs, -1) for _ in range(3)]
    assert waiting[0].cancel()
    shutting_down = threading.Thread(target=executor.shutdown)
    shutting_down.start()
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    release.set()
    shutting_down.join(30)
    assert not shutting_down.is_alive()
    assert running.result(30)
    assert not running.cancel()


def _run_script(script: str) -> list[str]:
    python = [sys.executable, "-W", "ignore:This process:DeprecationWarning"]  # that it forks
    done = subprocess.run(
        [*python, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_work_that_is_left_when_a_script_ends_is_finished() -> None:
    assert _run_script("""
        import asyncio, time
        from hypernodes import AsyncExecutor

        def work(number):
            time.sleep(0.05)
            print(number, flush=True)

        async def work_async(number):
            await asyncio.sleep(0.05)
            print(number, flush=True)

        executor = AsyncExecutor(1)
        for number in range(2):
            executor.submit(work, number)
            executor.submit(work_async, number)
    """) == ["0", "0", "1", "1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_does_not_wait_for_the_parents_calls_and_has_its_own() -> None:
    assert _run_script("""
        import os, threading, time
        from hypernodes import AsyncExecutor

        executor, release, started = AsyncExecutor(1), threading.Event(), threading.Event()
        executor.submit(lambda: (started.set(), release.wait(30)))
        executor.submit(abs, -1)
        started.wait(30)
        child = os.fork()
        if not child:
            print(executor.submit(abs, -7).result(30), flush=True)
            threading._shutdown()  # as in a child of multiprocessing
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        print(status, flush=True)
        release.set()
    """) == ["7", "0"]


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


# -- Several loops -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["closed", "idle"])
def test_calls_of_a_loop_that_has_gone_hold_up_nobody_elses(how: str) -> None:
    @node(output_name="y")
    async def fetch(x: int) -> int:
        await asyncio.sleep(0.1)
        return x

    pipeline = Pipeline([fetch], engine=HyperNodesEngine(map_executor=AsyncExecutor(2)))
    got: list[Any] = []
    thread = threading.Thread(
        target=lambda: got.extend(pipeline.map({"x": range(6)}, "x")), daemon=True
    )

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pipeline.amap({"x": range(6)}, "x"), 0.05)

    thread.start()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(give_up())
    if how == "closed":
        loop.close()
    thread.join(30)
    loop.close()
    assert got == [{"y": x} for x in range(6)]


def test_calls_of_a_loop_that_stands_still_are_made_when_it_runs_again() -> None:
    async def fetch(x: int) -> int:
        await asyncio.sleep(0.01)
        return x

    async def submit() -> list[Future[int]]:
        CALLER_LOOP.set(asyncio.get_running_loop())
        return [executor.submit(fetch, x) for x in range(4)]

    async def result_of(futures: list[Future[int]]) -> list[int]:
        return await asyncio.gather(*map(asyncio.wrap_future, futures))

    loop, is_over = asyncio.new_event_loop(), threading.Event()
    with AsyncExecutor(1) as executor:
        executor.submit(is_over.wait)
        futures = loop.run_until_complete(submit())
        is_over.set()
        assert executor.submit(fetch, 9).result(30) == 9  # on the executor's own loop
        assert loop.run_until_complete(asyncio.wait_for(result_of(futures), 30)) == [0, 1, 2, 3]
    loop.close()


def test_calls_of_a_loop_that_was_closed_are_cancelled() -> None:
    async def fetch(x: int) -> int:
        return x

    async def submit() -> Future[int]:
        CALLER_LOOP.set(asyncio.get_running_loop())
        return executor.submit(fetch, 1)

    is_over = threading.Event()
    with AsyncExecutor(1) as executor:
        first = executor.submit(is_over.wait)
        loop = asyncio.new_event_loop()
        never = loop.run_until_complete(submit())
        loop.close()
        is_over.set()
        assert first.result(30)
        with pytest.raises(CancelledError):
            never.result(30)


def test_an_abandoned_call_ends_a_cancelled_wait_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        never: asyncio.Future[None] = loop.create_future()
        abandoned: asyncio.Future[None] = loop.create_future()
        waiting = asyncio.ensure_future(to_its_end(never, abandoned=abandoned))
        await asyncio.sleep(0)
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0)
        assert not waiting.done()
        abandoned.set_result(None)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 30)

    asyncio.run(main())


def test_killing_a_pool_ends_lokys_workers_too() -> None:
    loky = pytest.importorskip("loky")
    executor = loky.get_reusable_executor(2, timeout=60)
    try:
        running = [executor.submit(time.sleep, 60) for _ in range(2)]
        wait_until(lambda: all(each.running() for each in running))
        processes = list(executor._processes.values())
        Pool(executor, "map_executor").kill()
        wait_until(lambda: not any(each.is_alive() for each in processes))
    finally:
        executor.shutdown(kill_workers=True)
