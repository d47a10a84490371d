"""What one run is computing another one waits for, and nothing ever waits for itself."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hypernodes import (
    AsyncExecutor,
    DiskCache,
    HyperNodesEngine,
    MemoryCache,
    Pipeline,
    node,
)
from hypernodes.run import single_flight


@pytest.fixture(autouse=True)
def everything_lands() -> Any:
    yield
    assert not single_flight._in_flight


def slow(cache: Any, seconds: float = 0.3, **settings: Any) -> tuple[Pipeline, list[int]]:
    calls: list[int] = []

    def work(x: int) -> int:
        calls.append(x)
        time.sleep(seconds)
        return x + 1

    return Pipeline([node(work)], cache=cache, **settings), calls


def together(count: int, run: Any) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return [each.result(60) for each in [pool.submit(run) for _ in range(count)]]


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_threads_that_need_one_result_compute_it_once(kind: str, tmp_path: Path) -> None:
    pipeline, calls = slow(MemoryCache() if kind == "memory" else DiskCache(tmp_path))
    assert together(6, lambda: pipeline.run({"x": 1})) == [{"work": 2}] * 6
    assert calls == [1]


@pytest.mark.parametrize("executor", ["threaded", "async"])
def test_runs_on_executors_wait_for_each_other(executor: str) -> None:
    with HyperNodesEngine(node_executor=executor) as engine:
        pipeline, calls = slow(MemoryCache(), engine=engine)
        assert together(3, lambda: pipeline.run({"x": 1})) == [{"work": 2}] * 3
    assert calls == [1]


@pytest.mark.parametrize("nodes", ["sequential", "threaded"])
@pytest.mark.parametrize("items", ["threaded", "async", "sequential"])
def test_equal_items_of_a_map_are_computed_once(nodes: str, items: str) -> None:
    with HyperNodesEngine(node_executor=nodes, map_executor=items) as engine:
        pipeline, calls = slow(MemoryCache(), 0.1, engine=engine)
        rows = pipeline.map({"x": [1, 2] * 6}, "x")
    assert rows == [{"work": 2}, {"work": 3}] * 6
    assert sorted(calls) == [1, 2]


@pytest.mark.parametrize("items", ["async", "threaded", "sequential"])
def test_equal_items_with_async_nodes_are_computed_once(items: str) -> None:
    calls: list[int] = []

    @node(output_name="y")
    async def fetch(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0.1)
        return x + 1

    with HyperNodesEngine(map_executor=items) as engine:
        pipeline = Pipeline([fetch], cache=MemoryCache(), engine=engine)
        assert pipeline.map({"x": [1] * 8}, "x") == [{"y": 2}] * 8
    assert calls == [1]


def test_awaited_runs_wait_for_each_other() -> None:
    pipeline, calls = slow(MemoryCache())

    async def main() -> list[Any]:
        return await asyncio.gather(*(pipeline.arun({"x": 1}) for _ in range(4)))

    assert asyncio.run(main()) == [{"work": 2}] * 4
    assert calls == [1]


def test_who_waited_for_one_that_failed_computes() -> None:
    calls: list[int] = []

    def work(x: int) -> int:
        calls.append(x)
        time.sleep(0.2)
        if len(calls) == 1:
            raise ValueError("the first one fails")
        return x + 1

    # It changes what it reads, so somebody has to say what identifies it.
    pipeline = Pipeline([node(work, code_version="1")], cache=MemoryCache())

    def run() -> Any:
        try:
            return pipeline.run({"x": 1})
        except ValueError:
            return "failed"

    done = together(3, run)
    assert done.count("failed") == 1
    assert done.count({"work": 2}) == 2


@pytest.mark.parametrize("first_is_apart", [True, False])
def test_of_many_who_waited_in_vain_one_computes(first_is_apart: bool) -> None:
    """The first one has failed, or it has another cache."""
    calls: list[int] = []

    def work(x: int) -> int:
        calls.append(x)
        time.sleep(0.3)
        if len(calls) == 1 and not first_is_apart:
            raise ValueError("the first one fails")
        return x

    of_work = node(work, code_version="1")
    pipelines = [Pipeline([of_work], cache=MemoryCache())]
    pipelines += [pipelines[0].with_cache(MemoryCache()) if first_is_apart else pipelines[0]] * 4
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(pipelines[0].run, {"x": 1})
        while not calls:
            time.sleep(0.01)
        others = [pool.submit(each.run, {"x": 1}) for each in pipelines[1:]]
        assert [each.result() for each in others] == [{"work": 1}] * 4
    assert (first.exception() is None) is first_is_apart
    assert len(calls) == 2


@pytest.mark.parametrize("stands_still", [False, True])
def test_a_thread_does_not_wait_for_a_run_whose_loop_may_stand_still(stands_still: bool) -> None:
    @node(output_name="page")
    async def fetch(url: str) -> str:
        await asyncio.sleep(0.2)
        return url.upper()

    pipeline = Pipeline([fetch], cache=MemoryCache())

    async def main(pool: ThreadPoolExecutor) -> asyncio.Task[Any]:
        first = asyncio.create_task(pipeline.arun({"url": "a"}))
        await asyncio.sleep(0.1)
        if not stands_still:  # it is blocked by who waits for the thread
            assert pool.submit(pipeline.run, {"url": "a"}).result(60) == {"page": "A"}
            assert await first == {"page": "A"}
        return first

    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as pool:
        first = loop.run_until_complete(main(pool))
        if stands_still:
            assert pool.submit(pipeline.run, {"url": "a"}).result(60) == {"page": "A"}
            assert loop.run_until_complete(first) == {"page": "A"}
    loop.close()


def test_who_waited_for_what_could_not_be_kept_computes() -> None:
    class Broken(MemoryCache):
        def store(self, key: str, value: Any, about: Any = None) -> None:
            raise OSError("no room")

    pipeline, calls = slow(Broken(), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert together(3, lambda: pipeline.run({"x": 1})) == [{"work": 2}] * 3
    assert 1 < len(calls) <= 3


# -- Nothing waits for itself: each of these would stand still -----------------------------------


def ends(run: Any, seconds: float = 60) -> Any:
    """The result of something that could stand still."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(run()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it stands still"
    return done[0]


def test_a_pools_workers_do_not_wait_for_what_is_in_the_pools_queue() -> None:
    pool = ThreadPoolExecutor(2)
    cache = MemoryCache()
    calls: list[int] = []

    def work(x: int) -> int:
        calls.append(x)
        time.sleep(0.05)
        return x + 1

    by_node = Pipeline([node(work)], cache=cache, engine=HyperNodesEngine(node_executor=pool))
    by_item = Pipeline([node(work)], cache=cache, engine=HyperNodesEngine(map_executor=pool))

    def both() -> Any:
        with ThreadPoolExecutor(2) as runs:
            one = runs.submit(by_node.map, {"x": list(range(20))}, "x")
            other = runs.submit(by_item.map, {"x": list(range(20))}, "x")
            return one.result(), other.result()

    one, other = ends(both)
    assert one == other == [{"work": x + 1} for x in range(20)]
    pool.shutdown()


def test_a_nodes_function_that_runs_a_pipeline_does_not_wait_for_the_run_around_it() -> None:
    cache = MemoryCache()
    pool = ThreadPoolExecutor(1)
    inner, _ = slow(cache, 0.1)

    @node(output_name="outer", executor="sequential")
    def call(x: int) -> int:
        return int(inner.run({"x": x})["work"])

    direct = node(inner.nodes[0].func, "work")  # type: ignore[union-attr]
    engine = HyperNodesEngine(node_executor=pool)
    pipeline = Pipeline([direct, call], cache=cache, engine=engine)
    assert ends(lambda: pipeline.run({"x": 1})) == {"work": 2, "outer": 2}
    pool.shutdown()


def test_a_blocking_run_on_a_loop_does_not_wait_for_what_needs_the_loop() -> None:
    cache = MemoryCache()

    @node(output_name="y")
    async def fetch(x: int) -> int:
        await asyncio.sleep(0.1)
        return x + 1

    pipeline = Pipeline([fetch], cache=cache)

    async def main() -> Any:
        first = asyncio.create_task(pipeline.arun({"x": 1}))
        await asyncio.sleep(0.05)
        second = pipeline.run({"x": 1})  # blocks the loop that the first one needs
        return await first, second

    assert ends(lambda: asyncio.run(main())) == ({"y": 2}, {"y": 2})


def test_full_async_executors_do_not_wait_for_what_is_behind_them() -> None:
    executor = AsyncExecutor(max_concurrent=2)
    cache = MemoryCache()
    calls: list[int] = []

    async def fetch(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0.02)
        return x + 1

    by_node = Pipeline([node(fetch)], cache=cache, engine=HyperNodesEngine(node_executor=executor))
    by_item = Pipeline([node(fetch)], cache=cache, engine=HyperNodesEngine(map_executor=executor))

    def both() -> Any:
        with ThreadPoolExecutor(2) as runs:
            one = runs.submit(by_node.map, {"x": [1, 2, 3] * 5}, "x")
            other = runs.submit(by_item.map, {"x": [1, 2, 3] * 5}, "x")
            return one.result(), other.result()

    one, other = ends(both)
    assert one == other == [{"fetch": 2}, {"fetch": 3}, {"fetch": 4}] * 5
    executor.shutdown()


@pytest.mark.parametrize("items", ["sequential", "threaded", "async"])
def test_what_goes_between_being_found_and_being_loaded_is_computed(items: str) -> None:
    class Forgetful(MemoryCache):
        def load(self, key: str) -> Any:
            raise KeyError(key)

    async def double(x: int) -> int:
        return 2 * x

    inner = Pipeline([node(double), node(lambda double: double + 1, "y")])
    total = node(lambda y: sum(y), "total", cache=False)
    with HyperNodesEngine(map_executor=items) as engine:
        outer = Pipeline([inner.as_node(map_over="xs"), total], cache=Forgetful(), engine=engine)
        for _ in range(2):
            assert outer.run({"xs": [1, 2, 3]}, "total") == {"total": 15}


def test_many_runs_on_small_shared_executors_never_stand_still() -> None:
    pools = [ThreadPoolExecutor(1), ThreadPoolExecutor(2), AsyncExecutor(1), "sequential"]
    engines = [HyperNodesEngine(nodes, items) for nodes in pools for items in pools]
    cache = MemoryCache()

    def one(x: int) -> int:
        time.sleep(0.001)
        return x + 1

    async def two(x: int) -> int:
        await asyncio.sleep(0.001)
        return 2 * x

    base = Pipeline([node(one), node(two), node(lambda one, two: one + two, "both")])
    total = node(lambda both: sum(both), "total")
    inner = base.with_cache(cache).with_engine(HyperNodesEngine())

    def calling(y: int) -> int:
        return int(inner.run({"x": y})["both"])

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(15):
            engine, other = dice.choice(engines), dice.choice([None, *engines])
            xs = [dice.randrange(30) for _ in range(6)]
            expected = [3 * x + 1 for x in xs]
            plain = base.with_cache(cache).with_engine(engine)
            what = dice.randrange(5)
            if dice.random() < 0.1:
                cache.clear()
            if what == 0:
                assert [row["both"] for row in plain.map({"x": xs}, "x")] == expected
            elif what == 1:
                nested = base.with_engine(other).as_node(map_over="xs")
                outer = Pipeline([nested, total], cache=cache, engine=engine)
                assert outer.run({"xs": xs}, "total") == {"total": sum(expected)}
            elif what == 2:
                pinned = node(calling, executor=dice.choice([None, "sequential"]), cache=False)
                calls = Pipeline([pinned, *base.nodes], cache=cache, engine=engine)
                rows = calls.map({"x": xs, "y": xs}, ["x", "y"])
                assert [row["calling"] for row in rows] == expected
            elif what == 3:
                rows = list(plain.imap({"x": iter(xs)}, "x", in_flight=2))
                assert [row["both"] for row in rows] == expected
            else:

                async def main(plain: Pipeline = plain, xs: list[int] = xs) -> list[Any]:
                    return await asyncio.gather(*(plain.arun({"x": x}) for x in xs))

                assert [row["both"] for row in asyncio.run(main())] == expected

    def all_of_them() -> bool:
        with ThreadPoolExecutor(6) as runs:
            return not any(runs.map(work, range(6)))

    assert ends(all_of_them, 120)
