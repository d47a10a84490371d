"""Awaiting: `arun`, `amap`, `imap`, running loops, uvloop, and being cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvloop
from aiohttp import ClientSession, web
from recording import Recorder

from hypernodes import FailedItem, HyperNodesEngine, MapOverError, MemoryCache, Pipeline, node

KINDS = ["sequential", "async", "threaded", "parallel"]


@node(output_name="loop_of_node", cache=False)
async def where(x: int) -> int:
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


@node(output_name="square")
def square(x: int) -> int:
    return x * x


@node(output_name="slow")
async def slow(x: int) -> int:
    await asyncio.sleep(0.001)
    return x + 1


both = Pipeline([square, slow], name="both")


# -- arun and amap -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_awaited_runs_give_the_same(kind: str) -> None:
    async def main() -> None:
        with HyperNodesEngine(kind, kind) as engine:
            pipeline = both.with_engine(engine)
            assert await pipeline.arun({"x": 3}) == {"square": 9, "slow": 4}
            rows = await pipeline.amap({"x": [1, 2]}, "x", output_name="slow")
            assert rows == [{"slow": 2}, {"slow": 3}]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sequential", "async", "threaded"])
def test_async_nodes_run_on_the_loop_that_awaits(kind: str) -> None:
    async def main() -> None:
        here = id(asyncio.get_running_loop())
        with HyperNodesEngine(kind, kind) as engine:
            pipeline = Pipeline([where], engine=engine)
            assert await pipeline.arun({"x": 1}) == {"loop_of_node": here}
            assert await pipeline.amap({"x": [1, 2]}, "x") == [{"loop_of_node": here}] * 2

    asyncio.run(main())


def test_the_loop_goes_on_while_a_run_is_awaited() -> None:
    release = threading.Event()

    @node(output_name="y")
    def blocking(x: int) -> bool:
        return release.wait(30)

    async def main() -> None:
        running = asyncio.create_task(Pipeline([blocking]).arun({"x": 1}))
        await asyncio.sleep(0.01)
        release.set()
        assert await running == {"y": True}

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sequential", "async", "threaded"])
def test_a_cancelled_run_waits_for_what_runs_and_starts_no_more(kind: str) -> None:
    recorder = Recorder()
    started, finished = [], []

    @node(output_name="y")
    def work(x: int) -> int:
        started.append(x)
        threading.Event().wait(0.02)
        finished.append(x)
        return x

    async def main() -> None:
        with HyperNodesEngine(map_executor=kind) as engine:
            pipeline = Pipeline([work], engine=engine, callbacks=[recorder])
            task = asyncio.create_task(pipeline.amap({"x": list(range(500))}, "x"))
            while not started:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sorted(started) == sorted(finished)
            assert len(started) < 500

    asyncio.run(main())
    recorder.check_pairs()


# -- Inside of a running loop --------------------------------------------------------------------


async def _greet(request: web.Request) -> web.Response:
    await asyncio.sleep(0.001)
    return web.Response(text=f"hello {request.match_info['name']}")


@pytest.mark.parametrize("kind", ["sequential", "async", "threaded"])
def test_a_session_of_the_running_loop_is_awaited_in_a_node(kind: str) -> None:
    @node(output_name="text", cache=False)
    async def fetch(name: str, session: ClientSession, url: str) -> str:
        async with session.get(f"{url}/{name}") as response:
            return await response.text()

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/{name}", _greet)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        names = ["ann", "bob", "cid"]
        with HyperNodesEngine(kind, kind) as engine:
            async with ClientSession() as session:
                pipeline = Pipeline([fetch], engine=engine).bind(session=session, url=url)
                expected = [{"text": f"hello {name}"} for name in names]
                # A call that blocks, from a coroutine: as it is in a notebook.
                assert pipeline.map({"name": names}, "name") == expected
                assert pipeline.run({"name": "ann"}) == expected[0]
                assert await pipeline.amap({"name": names}, "name") == expected
        await runner.cleanup()

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_under_uvloop_blocking_calls_use_a_loop_of_ours_and_awaited_ones_the_callers(
    kind: str,
) -> None:
    async def main() -> None:
        here = id(asyncio.get_running_loop())
        with HyperNodesEngine(kind, kind) as engine:
            pipeline = both.with_engine(engine)
            assert pipeline.run({"x": 3}) == {"square": 9, "slow": 4}  # uvloop is not re-entered
            assert pipeline.map({"x": [1]}, "x") == [{"square": 1, "slow": 2}]
            assert await pipeline.arun({"x": 3}) == {"square": 9, "slow": 4}
            if kind != "parallel":
                found = Pipeline([where], engine=engine)
                assert found.run({"x": 1}) != {"loop_of_node": here}
                assert await found.arun({"x": 1}) == {"loop_of_node": here}

    uvloop.run(main())


def test_an_async_function_on_an_own_thread_finds_a_loop() -> None:
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(both.run({"x": 2}))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [{"square": 4, "slow": 3}] * 4


# -- imap ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cached", [False, True])
def test_results_come_in_order_while_a_bounded_number_is_in_flight(kind: str, cached: bool) -> None:
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        for number in range(300):
            read += 1
            yield number

    with HyperNodesEngine(map_executor=kind) as engine:
        pipeline = Pipeline([square], engine=engine, cache=MemoryCache() if cached else None)
        taken = 0
        for result in pipeline.imap({"x": numbers()}, "x", in_flight=20):
            assert result == {"square": taken * taken}
            taken += 1
            assert read <= taken + 20
    assert taken == 300


def test_in_the_calling_thread_an_item_is_run_when_it_is_asked_for() -> None:
    ran = []

    @node(output_name="y")
    def note(x: int) -> int:
        ran.append(x)
        return x

    for pipeline in (Pipeline([note]), Pipeline([note], callbacks=[Recorder()])):
        ran.clear()
        results = pipeline.imap({"x": iter(range(10))}, "x")
        assert next(results) == {"y": 0}
        assert ran == [0]
        assert next(results) == {"y": 1}


def test_results_as_they_are_done_come_with_their_index() -> None:
    first = threading.Event()

    @node(output_name="y")
    def work(x: int) -> int:
        if x == 0:
            first.wait(30)
        return x

    with HyperNodesEngine(map_executor="threaded") as engine:
        results = Pipeline([work], engine=engine).imap(
            {"x": range(6)}, "x", ordered=False, in_flight=3
        )
        index, result = next(results)
        assert index != 0
        assert result == {"y": index}
        first.set()
        assert sorted([index, *(place for place, _ in results)]) == list(range(6))


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_early_closes_every_scope(kind: str) -> None:
    recorder = Recorder()
    with HyperNodesEngine(map_executor=kind) as engine:
        pipeline = Pipeline([square], engine=engine, callbacks=[recorder])
        with pipeline.imap({"x": iter(range(10_000))}, "x", in_flight=4) as results:
            for place, _ in enumerate(results):
                if place == 3:
                    break
        assert len(recorder.names("on_node_start")) < 1000
        recorder.check_pairs()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_in_its_place_or_is_a_result(kind: str) -> None:
    @node(output_name="y")
    def inverse(x: int) -> float:
        return 1 / x

    with HyperNodesEngine(map_executor=kind) as engine:
        pipeline = Pipeline([inverse], engine=engine)
        results = pipeline.imap({"x": iter([1, 2, 0, 4])}, "x")
        assert [next(results), next(results)] == [{"y": 1.0}, {"y": 0.5}]
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert "in item 2 of a map of pipeline 'pipeline'" in caught.value.__notes__
        rows = list(pipeline.imap({"x": iter([0, 4])}, "x", error_handling="continue"))
        assert isinstance(rows[0], FailedItem)
        assert rows[1] == {"y": 0.25}


@pytest.mark.parametrize("kind", ["sequential", "threaded"])
def test_what_a_generator_raises_comes_after_the_items_before_it(kind: str) -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    with HyperNodesEngine(map_executor=kind) as engine:
        pipeline = Pipeline([square], engine=engine)
        results = pipeline.imap({"x": numbers()}, "x")
        assert [next(results)["square"] for _ in range(3)] == [0, 1, 4]
        with pytest.raises(OSError, match="the disk is gone"):
            next(results)


def test_wrong_calls_are_told_before_anything_is_read() -> None:
    def never() -> Iterator[int]:
        raise AssertionError("read")
        yield

    with pytest.raises(MapOverError):
        both.imap({"y": never()}, "y")
    with pytest.raises(ValueError, match="expected a number from 1"):
        both.imap({"x": never()}, "x", in_flight=0)
    with pytest.raises(MapOverError, match="needs a list"):
        both.imap({"x": 3}, "x")


def test_generators_that_differ_in_length_are_told_when_one_ends() -> None:
    pair = Pipeline([node(lambda x, y: x + y, "z")])
    results = pair.imap({"x": iter([1, 2]), "y": iter([1, 2, 3])}, ["x", "y"])
    assert [next(results), next(results)] == [{"z": 2}, {"z": 4}]
    with pytest.raises(MapOverError, match="'x' ended after 2 items"):
        next(results)
    product = pair.imap({"x": iter([1, 2]), "y": iter([10, 20])}, ["x", "y"], "product")
    assert [row["z"] for row in product] == [11, 21, 12, 22]


async def ticks(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ordered", [True, False])
def test_an_async_iterable_is_read_where_results_are_awaited(kind: str, ordered: bool) -> None:
    async def main() -> None:
        with HyperNodesEngine(map_executor=kind) as engine:
            pipeline = both.with_engine(engine)
            results = pipeline.imap({"x": ticks(30)}, "x", in_flight=5, ordered=ordered)
            rows = [row async for row in results]
            if not ordered:
                rows = [row for _, row in sorted(rows)]
            assert rows == [{"square": x * x, "slow": x + 1} for x in range(30)]

    asyncio.run(main())


def test_an_async_iterable_cannot_be_read_by_a_plain_loop() -> None:
    with pytest.raises(TypeError, match="use `async for`"):
        next(both.imap({"x": ticks(3)}, "x"))
    with pytest.raises(MapOverError, match="only imap takes one"):
        both.map({"x": ticks(3)}, "x")


def test_results_are_given_while_an_async_source_is_waited_for() -> None:
    asked = []

    async def main() -> None:
        more = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            yield 1
            await more.wait()  # it goes on only when the first result has been seen
            yield 2

        with HyperNodesEngine(map_executor="async") as engine:
            async for result in both.with_engine(engine).imap({"x": source()}, "x"):
                asked.append(result["square"])
                more.set()

    asyncio.run(main())
    assert asked == [1, 4]


def test_leaving_an_awaited_loop_does_not_block_it() -> None:
    recorder = Recorder()

    async def main() -> None:
        with HyperNodesEngine(map_executor="async") as engine:
            pipeline = both.with_engine(engine).with_callbacks([recorder])
            async for _ in pipeline.imap({"x": ticks(100)}, "x"):
                break
            gc.collect()
            for _ in range(500):
                ended = {hook for hook, _, ctx in recorder.events if ctx.kind == "map"}
                if ended & {"on_map_end", "on_error"}:
                    break
                await asyncio.sleep(0.01)

    asyncio.run(main())
    recorder.check_pairs()
