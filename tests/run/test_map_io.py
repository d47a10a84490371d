"""`imap`: results as they come, from any source, a bounded number of items at once."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from recording import Recorder

from hypernodes import FailedItem, HyperNodesEngine, MapOverError, MemoryCache, Pipeline, node

KINDS = ["sequential", "async", "threaded", "parallel"]


@node(output_name="square")
def square(x: int) -> int:
    return x * x


@node(output_name="slow")
async def slow(x: int) -> int:
    await asyncio.sleep(0.001)
    return x + 1


both = Pipeline([square, slow], name="both")


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
        assert "in item 2 (x=0) of a map of pipeline 'pipeline'" in caught.value.__notes__
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
