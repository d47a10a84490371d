"""The specification's examples of executors, as they stand, on a real server and database."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hypernodes import HyperNodesEngine, Pipeline, node
from hypernodes.executors import AsyncExecutor


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """A JSON API on a thread of its own; `/7` answers `{"id": 7}`."""
    loop = asyncio.new_event_loop()

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.001)
        return web.json_response({"id": int(request.match_info["id"])})

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{id}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_the_options_of_the_engine() -> None:
    engines = [
        HyperNodesEngine(node_executor="sequential", map_executor="sequential"),
        HyperNodesEngine(node_executor="async", map_executor="async"),
        HyperNodesEngine(
            node_executor=ThreadPoolExecutor(max_workers=4),
            map_executor=ProcessPoolExecutor(max_workers=2),
        ),
        HyperNodesEngine(node_executor=AsyncExecutor(max_concurrent=20), map_executor="sequential"),
    ]

    @node(output_name="result")
    def process(x: int) -> int:
        return x * 2

    for engine in engines:
        pipeline = Pipeline(nodes=[process], engine=engine)
        assert pipeline.run(inputs={"x": 5}) == {"result": 10}
        assert pipeline.map(inputs={"x": [1, 2]}, map_over="x") == [{"result": 2}, {"result": 4}]
        engine.shutdown()


def test_example_2_async_for_io_bound_work(api: str) -> None:
    @node(output_name="data")
    async def fetch_api(url: str) -> dict:  # type: ignore[type-arg]
        # I/O-bound API call
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.json()

    pipeline = Pipeline(
        nodes=[fetch_api],
        engine=HyperNodesEngine(
            node_executor="async",  # Concurrent I/O for independent nodes
            map_executor="async",  # Concurrent I/O for map items
        ),
    )

    # Efficiently handles multiple concurrent API calls
    results = pipeline.map(
        inputs={"urls": [f"{api}/{number}" for number in range(20)]},
        map_over="urls",
    )
    assert results == [{"data": {"id": number}} for number in range(20)]


def test_example_3_mixed_parallelism(tmp_path: Path) -> None:
    path = tmp_path / "saved.db"
    sqlite3.connect(path).execute("create table saved (value integer)")

    class Database:
        def save(self, values: list[int]) -> None:
            with sqlite3.connect(path, timeout=60) as connection:
                connection.executemany("insert into saved values (?)", [(v,) for v in values])

    db = Database()

    def expensive_computation(x: int) -> int:
        return sum(range(x))

    @node(output_name="processed")
    def cpu_heavy(data: list) -> list:  # type: ignore[type-arg]
        # CPU-intensive work
        return [expensive_computation(x) for x in data]

    @node(output_name="saved")
    def save_to_db(processed: list) -> bool:  # type: ignore[type-arg]
        # I/O-bound database save
        db.save(processed)
        return True

    pipeline = Pipeline(
        nodes=[cpu_heavy, save_to_db],
        engine=HyperNodesEngine(
            node_executor=ThreadPoolExecutor(max_workers=4),  # Threads for mixed work
            map_executor=ProcessPoolExecutor(max_workers=2),  # Processes for CPU-heavy maps
        ),
    )
    assert pipeline.run({"data": [1, 2, 3]})["saved"] is True
    rows = pipeline.map({"data": [[4], [5]]}, map_over="data")
    assert [row["processed"] for row in rows] == [[6], [10]]
    saved = sqlite3.connect(path).execute("select value from saved order by value").fetchall()
    assert [value for (value,) in saved] == [0, 1, 3, 6, 10]


def test_example_5_nested_pipelines_with_different_engines(api: str) -> None:
    @node(output_name="body")
    async def fetch_data(url: str) -> bytes:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.read()

    @node(output_name="parsed")
    def parse_json(body: bytes) -> Any:
        return json.loads(body)

    @node(output_name="ready")
    def prepare(urls: list[str]) -> int:
        return len(urls)

    @node(output_name="sum_of_ids")
    def aggregate(parsed: list[Any], ready: int) -> int:
        return sum(each["id"] for each in parsed) + ready

    # Inner pipeline: I/O-bound
    inner = Pipeline(
        nodes=[fetch_data, parse_json],
        engine=HyperNodesEngine(
            node_executor="async",
            map_executor="async",
        ),
    )

    # Outer pipeline: CPU-bound
    outer = Pipeline(
        nodes=[prepare, inner.as_node(map_over="urls"), aggregate],
        engine=HyperNodesEngine(
            node_executor="threaded",
            map_executor="parallel",
        ),
    )

    # Each pipeline has its own engine configuration
    result = outer.run(inputs={"urls": [f"{api}/{number}" for number in range(5)]})
    assert result["sum_of_ids"] == 15
    rows = outer.map({"urls": [[f"{api}/1"], [f"{api}/2", f"{api}/3"]]}, map_over="urls")
    assert [row["sum_of_ids"] for row in rows] == [2, 7]
