"""`@node(max_concurrent=N)`: never more than N calls at once in a run, on any executor."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hypernodes import (
    AsyncExecutor,
    DaftEngine,
    DiskCache,
    FailedItem,
    HyperNodesEngine,
    Pipeline,
    node,
)


def mark(log: str, what: str) -> None:
    with open(log, "a") as file:  # appended as a whole: there is one line
        file.write(f"{time.monotonic():.6f} {what}\n")


def peak(log: str | Path) -> int:
    """The most calls that ran at once."""
    running = most = 0
    for line in sorted(Path(log).read_text().splitlines()):
        running += 1 if line.endswith("+") else -1
        most = max(most, running)
    assert running == 0
    return most


def work(x: int, log: str) -> int:
    mark(log, "+")
    time.sleep(0.01)
    mark(log, "-")
    return 2 * x


async def work_async(x: int, log: str) -> int:
    mark(log, "+")
    await asyncio.sleep(0.01)
    mark(log, "-")
    return 2 * x


@node(output_name="y", max_concurrent=2)
def fetch(x: int, log: str) -> int:
    return work(x, log)


@node(output_name="y", max_concurrent=2)
async def fetch_async(x: int, log: str) -> int:
    return await work_async(x, log)


@node(output_name="z")
def after(y: int) -> int:
    return y + 1


ENGINES: dict[str, Any] = {
    "sequential": HyperNodesEngine,
    "map threads": lambda: HyperNodesEngine(map_executor=ThreadPoolExecutor(6)),
    "node threads": lambda: HyperNodesEngine(node_executor=ThreadPoolExecutor(6)),
    "both": lambda: HyperNodesEngine(ThreadPoolExecutor(6), ThreadPoolExecutor(6)),
    "async": lambda: HyperNodesEngine(map_executor=AsyncExecutor(8)),
    "daft": DaftEngine,
}


def run_on(engine: Any, pipeline: Pipeline, log: Path, items: int = 12) -> list[Any]:
    log.touch()
    rows = pipeline.with_engine(engine).map({"x": list(range(items)), "log": str(log)}, "x")
    return [row["z"] for row in rows]


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("function", [fetch, fetch_async])
def test_no_more_than_so_many_calls_run_at_once(kind: str, function: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = run_on(ENGINES[kind](), Pipeline([function, after]), log)
    assert made == [2 * x + 1 for x in range(12)]
    assert peak(log) <= (1 if kind == "sequential" else 2)
    if kind in ("map threads", "both", "async"):
        assert peak(log) == 2  # and no fewer


@pytest.mark.parametrize("kind", ["map threads", "both", "async"])
def test_without_a_limit_more_do(kind: str, tmp_path: Path) -> None:
    made = node(output_name="y")(work_async if kind == "async" else work)
    run_on(ENGINES[kind](), Pipeline([made, after]), tmp_path / "log")
    assert peak(tmp_path / "log") > 2


def nested() -> Pipeline:
    """A map in a map, and the same node in two places of the pipeline."""
    inner = Pipeline([fetch, after], name="inner")
    renamed = {"z": "zs", "y": "ys"}
    each = inner.as_node(map_over={"xs": "x"}, output_mapping=renamed)
    other = inner.as_node(name="other", input_mapping={"first": "x"},
                          output_mapping={"y": "other_y", "z": "other_z"})  # fmt: skip

    @node(output_name="z")
    def total(zs: list[int], other_z: int) -> int:
        return sum(zs) + other_z

    return Pipeline([each, other, total], name="outer")


@pytest.mark.parametrize("kind", ["map threads", "both", "daft"])
def test_all_items_of_nested_maps_and_all_places_share_one_limit(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    inputs = {"xs": [[1, 2, 3], [4, 5], [], [6, 7, 8]], "first": [1, 2, 3, 4], "log": str(log)}
    pipeline = nested().with_engine(ENGINES[kind]())
    rows = pipeline.map(inputs, ["xs", "first"], output_name="z")
    lists = zip(inputs["xs"], inputs["first"], strict=True)
    assert [row["z"] for row in rows] == [
        sum(2 * x + 1 for x in xs) + 2 * first + 1 for xs, first in lists
    ]
    assert peak(log) <= 2


def test_an_engine_of_another_kind_inside_keeps_to_the_limit(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()

    inner = Pipeline([fetch, after], name="inner", engine=DaftEngine())
    outer = Pipeline([inner.as_node()], engine=HyperNodesEngine(map_executor=ThreadPoolExecutor(5)))
    rows = outer.map({"x": list(range(6)), "log": str(log)}, "x")
    assert [row["z"] for row in rows] == [2 * x + 1 for x in range(6)]
    assert peak(log) <= 2


def test_failures_cache_hits_and_retries_give_their_turns_back(tmp_path: Path) -> None:
    @node(output_name="y", max_concurrent=2, retries=1)
    def fails(x: int, log: str) -> int:
        mark(log, "+")
        mark(log, "-")
        if x % 3 == 0:
            raise ValueError(x)
        return x

    log = tmp_path / "log"
    log.touch()
    with HyperNodesEngine(map_executor="threaded") as engine:
        pipeline = Pipeline([fails], engine=engine, cache=DiskCache(tmp_path / "cache"))
        for _ in range(2):
            inputs = {"x": list(range(30)), "log": str(log)}
            rows = pipeline.map(inputs, "x", error_handling="continue")
            assert sum(isinstance(row, FailedItem) for row in rows) == 10
        with pytest.raises(ValueError, match="0"):
            pipeline.map({"x": list(range(30)), "log": str(log)}, "x")
    assert peak(log) <= 2


def test_who_is_cancelled_while_it_waits_takes_no_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    begun = threading.Event()

    @node(output_name="y", max_concurrent=1)
    def slow(x: int, log: str) -> int:
        mark(log, "+")
        begun.set()
        time.sleep(0.1)
        mark(log, "-")
        return x

    async def cancelled() -> None:
        engine = HyperNodesEngine(map_executor=ThreadPoolExecutor(4))
        pipeline = Pipeline([slow], engine=engine)
        running = asyncio.create_task(pipeline.amap({"x": list(range(50)), "log": str(log)}, "x"))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancelled(), 30))
    assert len(log.read_text().splitlines()) < 20


def test_a_batch_node_counts_by_call(tmp_path: Path) -> None:
    @node(output_name="y", batch="list", max_concurrent=1, daft={"batch_size": 3})
    def batch(x: list[int], *, log: str) -> list[int]:
        return [work(each, log) for each in x]

    log = tmp_path / "log"
    assert run_on(DaftEngine(), Pipeline([batch, after]), log) == [2 * x + 1 for x in range(12)]
    assert peak(log) == 1


def random_nodes(seed: int, limits: dict[str, int]) -> Pipeline:
    """A random pipeline, of nodes that log under their names."""
    chance = random.Random(seed)
    made, nodes = ["x"], []
    for number in range(chance.randint(2, 4)):
        name, source = f"n{number}", chance.choice(made)
        limits[name] = chance.randint(1, 3)
        scope: dict[str, Any] = {"work": work}
        exec(f"def {name}({source}, log):\n    return work({source}, log + {name!r})\n", scope)
        each = node(output_name=f"o{number}", max_concurrent=limits[name])(scope[name])
        if chance.random() < 0.4:
            part = Pipeline([each], name=f"p{number}")
            inner = part.as_node(map_over={"many": source}, output_mapping={f"o{number}": "list"})

            @node(output_name="many")
            def spread(x: int) -> list[int]:
                return [x, x + 1, x + 2]

            @node(output_name=f"o{number}")
            def gather(list: list[int]) -> int:
                return sum(list)

            own = {f"o{number}": f"o{number}"}
            nodes.append(Pipeline([spread, inner, gather]).as_node(
                name=f"q{number}", input_mapping={source: "x"} if source != "x" else None,
                output_mapping={**own, "many": f"many{number}", "list": f"list{number}"},
            ))  # fmt: skip
        else:
            nodes.append(each)
        made.append(f"o{number}")
    return Pipeline(nodes, name="random")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["map threads", "both"])
def test_random_pipelines_give_what_a_loop_gives_within_their_limits(
    seed: int, kind: str, tmp_path: Path
) -> None:
    limits: dict[str, int] = {}
    pipeline = random_nodes(seed, limits)
    inputs = {"x": list(range(6)), "log": str(tmp_path / "log-")}
    right = pipeline.map(inputs, "x")
    for log in tmp_path.iterdir():
        log.unlink()
    assert pipeline.with_engine(ENGINES[kind]()).map(inputs, "x") == right
    for name, limit in limits.items():
        assert peak(tmp_path / f"log-{name}") <= limit


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["processes", "loky", "dask"])
@pytest.mark.parametrize("where", ["map_executor", "node_executor"])
def test_processes_share_the_limit(pool: str, where: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    if pool == "processes":
        executor: Any = ProcessPoolExecutor(4)
    elif pool == "loky":
        loky = pytest.importorskip("loky")
        executor = loky.get_reusable_executor(4)
    else:
        distributed = pytest.importorskip("distributed")
        client = distributed.Client(
            n_workers=2, threads_per_worker=2, dashboard_address=None, processes=True
        )
        executor = client.get_executor()
    try:
        made = run_on(HyperNodesEngine(**{where: executor}), Pipeline([fetch, after]), log)
        assert made == [2 * x + 1 for x in range(12)]
        assert peak(log) <= 2
        log.write_text("")
        inputs = {"xs": [[1, 2, 3], [4, 5]], "first": [1, 2], "log": str(log)}
        pipeline = nested().with_engine(HyperNodesEngine(**{where: executor}))
        rows = pipeline.map(inputs, ["xs", "first"], output_name="z")
        assert len(rows) == 2
        assert peak(log) <= 2
    finally:
        executor.shutdown()
        if pool == "dask":
            client.close()


@pytest.mark.slow
def test_daft_keeps_to_the_limit_in_processes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    sync = node(output_name="y", max_concurrent=1, daft={"use_process": True, "batch_size": 1})
    assert run_on(DaftEngine(), Pipeline([sync(work), after]), log)[-1] == 23
    assert peak(log) == 1
    log.unlink()
    several = node(output_name="y", max_concurrent=2, daft={"use_process": True, "batch_size": 2})
    assert run_on(DaftEngine(), Pipeline([several(work_async), after]), log)[-1] == 23
    assert peak(log) == 2
