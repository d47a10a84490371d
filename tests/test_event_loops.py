"""Awaiting: `arun`, `amap`, `imap`, running loops, uvloop, and being cancelled."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uvloop
from aiohttp import ClientSession, web
from recording import Recorder

from hypernodes import HyperNodesEngine, MemoryCache, Pipeline, node

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


# -- Whatever a node raises ----------------------------------------------------------------------


class FalseError(Exception):
    """Errors that were collected: false where there are none."""

    def __bool__(self) -> bool:
        return bool(self.args)


@node(output_name="y")
async def fail_async(x: int, kind: type[BaseException]) -> int:
    await asyncio.sleep(0)
    if x == 1:
        raise kind
    return x


@node(output_name="y", timeout_seconds=60)
async def fail_in_time(x: int, kind: type[BaseException]) -> int:
    await asyncio.sleep(0)
    if x == 1:
        raise kind
    return x


@node(output_name="y")
def fail(x: int, kind: type[BaseException]) -> int:
    if x == 1:
        raise kind
    return x


def ways(
    pipeline: Pipeline, x: int, xs: Sequence[int] | None = None
) -> dict[str, Callable[[], Any]]:
    one, many = {"x": x}, {"x": xs or [0, x, 2]}
    return {
        "run": lambda: pipeline.run(one),
        "map": lambda: pipeline.map(many, "x"),
        "imap": lambda: list(pipeline.imap(many, "x")),
        "arun": lambda: asyncio.run(pipeline.arun(one)),
        "amap": lambda: asyncio.run(pipeline.amap(many, "x")),
    }


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("failing", [fail, fail_async, fail_in_time])
@pytest.mark.parametrize("kind", ["sequential", "async", "threaded"])
def test_whatever_a_node_raises_comes_out_of_the_call_and_the_loop_lives_on(
    kind: str, failing: Any, cached: bool
) -> None:
    errors = [SystemExit, KeyboardInterrupt, GeneratorExit, FalseError, TimeoutError, BaseException]
    with HyperNodesEngine(kind, kind) as engine:
        for error in errors:
            pipeline = Pipeline([failing], engine=engine, cache=MemoryCache() if cached else None)
            pipeline = pipeline.bind(kind=error)
            for call in ways(pipeline, 1).values():
                with pytest.raises(error) as raised:
                    call()
                assert type(raised.value) is error
                assert failing.name in str(raised.value.__notes__)
            rows = [{"y": 0}, {"y": 5}, {"y": 2}]
            expected = {"run": {"y": 5}, "map": rows, "imap": rows, "arun": {"y": 5}, "amap": rows}
            assert {name: call() for name, call in ways(pipeline, 5).items()} == expected


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_stop_iteration_of_a_node_is_the_same_error_everywhere(kind: str, cached: bool) -> None:
    recorder = Recorder()
    with HyperNodesEngine(kind, kind) as engine:
        pipeline = Pipeline([fail], engine=engine, cache=MemoryCache() if cached else None)
        pipeline = pipeline.bind(kind=StopIteration)
        calls = ways(pipeline, 1)
        for name in ("run", "map"):
            with pytest.raises(StopIteration) as raised:
                calls[name]()
            assert "in node 'fail'" in str(raised.value.__notes__)
        assert "in item 1 " in str(raised.value.__notes__)
        for name in ("imap", "arun", "amap"):  # a generator or a coroutine: see PEP 479
            with pytest.raises(RuntimeError, match="raised StopIteration") as wrapped:
                calls[name]()
            assert isinstance(wrapped.value.__cause__, StopIteration)
            assert "in node 'fail'" in str(wrapped.value.__cause__.__notes__)
        failed = pipeline.map({"x": [0, 1]}, "x", error_handling="continue")[1]
        assert failed.node == "fail"
        assert type(failed.error) is StopIteration
        with pytest.raises(StopIteration):
            pipeline.with_callbacks([recorder]).map({"x": [1]}, "x")
    recorder.check_pairs()


def test_an_error_is_the_same_object_when_it_is_awaited() -> None:
    error = TimeoutError("read timed out")

    @node(output_name="y", cache=False)
    def fetch(x: int) -> int:
        raise error from ConnectionError("peer closed")

    for kind in ("sequential", "async", "threaded"):
        with HyperNodesEngine(kind, kind) as engine:
            # Of several items that raise it at once, all but one get a copy.
            for call in ways(Pipeline([fetch], engine=engine), 1, [1]).values():
                with pytest.raises(TimeoutError) as raised:
                    call()
                assert raised.value is error
                assert isinstance(error.__cause__, ConnectionError)
                assert "fetch" in [each.name for each in traceback.extract_tb(raised.tb)]


def test_a_task_of_a_node_that_exits_leaves_the_shared_loop_to_others() -> None:
    @node(output_name="y", cache=False)
    async def start(x: int) -> int:
        await asyncio.create_task(leave(x))
        return x

    async def leave(x: int) -> None:
        await asyncio.sleep(0)
        if x == 1:
            sys.exit(3)

    rows = []
    beside = threading.Thread(
        target=lambda: rows.extend(both.map({"x": list(range(200))}, "x", output_name="slow"))
    )
    beside.start()
    for _ in range(5):
        with pytest.raises(SystemExit):
            Pipeline([start]).run({"x": 1})
        assert Pipeline([start]).run({"x": 2}) == {"y": 2}
    beside.join(60)
    assert rows == [{"slow": x + 1} for x in range(200)]


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


class Loop(asyncio.SelectorEventLoop):
    """A loop that somebody chose."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_blocking_call_in_a_running_loop_leaves_asyncio_as_it_was(kind: str) -> None:
    before = {name: getattr(asyncio, name) for name in ("run", "Task", "Future", "get_event_loop")}
    methods = dict(vars(asyncio.BaseEventLoop)), dict(vars(asyncio.SelectorEventLoop))
    ended: list[str] = []

    async def cell() -> None:
        with HyperNodesEngine(kind, kind) as engine:
            assert both.with_engine(engine).run({"x": 3}) == {"square": 9, "slow": 4}
            rows = both.with_engine(engine).map({"x": [1, 2]}, "x", output_name="slow")
            assert rows == [{"slow": 2}, {"slow": 3}]

    async def leave_a_task() -> type:
        async def background() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("cancelled")

        cell.kept = asyncio.create_task(background())  # type: ignore[attr-defined]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.001)
        return type(asyncio.get_running_loop())

    asyncio.run(cell())
    assert {name: getattr(asyncio, name) for name in before} == before
    assert (dict(vars(asyncio.BaseEventLoop)), dict(vars(asyncio.SelectorEventLoop))) == methods
    asyncio.run(leave_a_task())
    assert ended == ["cancelled"]
    if sys.version_info >= (3, 11):
        with asyncio.Runner(loop_factory=Loop) as runner:
            assert runner.run(leave_a_task()) is Loop
        assert ended == ["cancelled"] * 2


@pytest.mark.parametrize("debug", [False, True])
def test_many_coroutines_of_a_loop_block_on_runs_of_their_own(debug: bool) -> None:
    order: list[int] = []

    async def cell(x: int) -> Any:
        asyncio.get_running_loop().call_soon(order.append, x)
        result = both.run({"x": x}, "slow")
        task = asyncio.current_task()
        assert task is not None
        assert task.get_name() == f"cell {x}"
        await asyncio.sleep(0)
        return result["slow"]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        # Callbacks that the loop has counted for this round, before and behind the cells.
        blocked: list[Any] = []
        loop.call_soon(lambda: blocked.append(both.run({"x": 100}, "slow")))
        tasks = [asyncio.create_task(cell(x), name=f"cell {x}") for x in range(20)]
        for x in range(20, 40):
            loop.call_soon(order.append, x)
        assert await asyncio.gather(*tasks) == list(range(1, 21))
        assert blocked == [{"slow": 101}]
        assert sorted(order) == list(range(40))

    asyncio.run(main(), debug=debug)


@node(output_name="y")
async def leave_beside(x: int) -> int:
    await asyncio.sleep(0.001)
    return x


def test_a_loop_that_is_stopped_meanwhile_stops_when_the_call_is_over() -> None:
    rows = []

    def cell() -> None:
        loop.call_soon(loop.stop)
        rows.append(Pipeline([leave_beside]).run({"x": 1}))
        loop.call_later(60, rows.append, "too late")

    loop = asyncio.new_event_loop()
    loop.call_soon(cell)
    loop.run_forever()
    loop.close()
    assert rows == [{"y": 1}]


@pytest.mark.parametrize("kind", ["sequential", "threaded"])
def test_a_callback_that_exits_during_a_blocking_call_ends_the_call(kind: str) -> None:
    ended: list[int] = []

    @node(output_name="y", cache=False)
    async def wait(x: int) -> int:
        try:
            await asyncio.sleep(60 if x and kind == "sequential" else 0.05)
        finally:
            ended.append(x)
        return x

    async def main() -> None:
        with HyperNodesEngine(kind) as engine:
            pipeline = Pipeline([wait], engine=engine)
            asyncio.get_running_loop().call_later(0.01, sys.exit, 3)
            with pytest.raises(SystemExit):
                pipeline.run({"x": 1})
            assert pipeline.run({"x": 0}) == {"y": 0}
            await asyncio.sleep(0)

    asyncio.run(main())
    assert ended == [1, 0]


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
