"""Other processes: Ctrl-C, killed workers, and executors of other libraries."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder
from scripts import processes_where, run_script
from waiting import wait_until

from hypernodes import (
    CacheWarning,
    DiskCache,
    FailedItem,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    PipelineCallback,
    SerializationError,
    WorkerLostError,
    node,
)
from hypernodes.run.tasks import NodeTask


@node(output_name="pid", cache=False)
def pid(x: int) -> int:
    return os.getpid()


@node(output_name="square")
def square(x: int) -> int:
    return x * x


def test_hits_and_stores_happen_in_the_worker_and_events_come_back_with_true_times(
    tmp_path: Path,
) -> None:
    @node(output_name="y")
    def work(x: int) -> int:
        time.sleep(0.01)
        return x

    recorder = Recorder()
    begun = time.time()
    with HyperNodesEngine(map_executor="parallel") as engine:
        cache = DiskCache(tmp_path)
        pipeline = Pipeline([work], engine=engine, cache=cache, callbacks=[recorder])
        first = pipeline.map({"x": list(range(10))}, "x")
        ended = time.time()
        assert pipeline.map({"x": list(range(10))}, "x") == first
    starts = [ctx.started_at for hook, _, ctx in recorder.events if hook == "on_node_start"]
    assert len(starts) == 10
    assert all(begun <= at <= ended for at in starts)
    assert max(starts) - min(starts) >= 0.01  # when they were told, they would be together
    assert len(recorder.names("on_map_item_cached")) == 10
    recorder.check_pairs()


def test_callbacks_never_cross_and_hear_of_everything() -> None:
    class Bar(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()  # as a progress bar has
            self.pids: set[int] = set()

        def on_node_end(self, *arguments: Any) -> None:
            super().on_node_end(*arguments)
            with self.lock:
                self.pids.add(os.getpid())

    bar, inner_bar = Bar(), Bar()
    inner = Pipeline([square], name="inner", callbacks=[inner_bar])
    with HyperNodesEngine("parallel", "parallel") as engine:
        outer = Pipeline([inner, pid], name="outer", engine=engine, callbacks=[bar])
        outer.map({"x": [1, 2, 3]}, "x")
        outer.run({"x": 1})
    assert bar.pids == inner_bar.pids == {os.getpid()}
    assert len(inner_bar.names("on_nested_pipeline_end")) == 4
    bar.check_pairs()


# -- Being stopped -------------------------------------------------------------------------------


INTERRUPTED = """
import os, sys, time
from hypernodes import HyperNodesEngine, Pipeline, node
sys.path.insert(0, sys.argv[2])
from recording import Recorder

{define}

recorder = Recorder()
with HyperNodesEngine(map_executor=sys.argv[1]) as engine:
    pipeline = Pipeline([work], engine=engine, callbacks=[recorder])
    print("ready", flush=True)
    try:
        pipeline.map({{"x": list(range(10_000))}}, "x")
    except KeyboardInterrupt:
        recorder.check_pairs()
        print("interrupted", len(recorder.names("on_node_start")) < 9_000, flush=True)
print("closed", flush=True)
"""


SYNC = """
@node(output_name="y")
def work(x):
    open("started", "a").close()
    time.sleep(0.05)
    return x
"""


ASYNC = """
import asyncio
@node(output_name="y")
async def work(x):
    open("started", "a").close()
    await asyncio.sleep(0.05)
    return x
"""


#: Those that a quick run stops.
QUICKLY_STOPPED = [("sync", "threaded"), ("sync", "parallel")]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks into /proc")
@pytest.mark.parametrize(
    ("kind", "define"),
    [
        pytest.param(
            kind,
            define,
            id=f"{kind}-{name}",
            marks=[] if (name, kind) in QUICKLY_STOPPED else pytest.mark.slow,
        )
        for kind in ("sequential", "threaded", "async", "parallel")
        for name, define in (("sync", SYNC), ("async", ASYNC))
    ],
)
def test_ctrl_c_closes_every_scope_and_leaves_no_process_behind(
    kind: str, define: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED.format(define=define))
    helpers = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, str(script), kind, helpers],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_until((tmp_path / "started").exists)
        workers = processes_where("parent", process.pid)
        assert bool(workers) == (kind == "parallel")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        assert process.stdout.readline() == "interrupted True\n"
        assert process.stdout.readline() == "closed\n"
        assert process.wait(30) == 0
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


class Breaks:
    """An executor that loses all its workers at once, as soon as each has an item."""

    _max_workers = 3

    def __init__(self) -> None:
        self._futures: list[Future[Any]] = []

    def submit(self, work: Any) -> Future[Any]:
        self._futures.append(Future())
        if len(self._futures) == self._max_workers:
            for each in reversed(self._futures):
                each.set_exception(BrokenProcessPool())
        return self._futures[-1]

    def shutdown(self, wait: bool = True) -> None:
        pass


def test_items_that_are_lost_at_the_same_time_are_all_named() -> None:
    pipeline = Pipeline([square], engine=HyperNodesEngine(map_executor=Breaks()))
    with pytest.raises(WorkerLostError, match="on their way: 0, 1, 2\\."):
        pipeline.map({"x": [1, 2, 3]}, "x")


@pytest.mark.parametrize("argument", ["map_executor", "node_executor"])
def test_a_pool_that_was_broken_before_is_not_blamed_on_the_items(argument: str) -> None:
    with ProcessPoolExecutor(2) as pool:
        with pytest.raises(BrokenProcessPool):
            pool.submit(os._exit, 1).result()
        pipeline = Pipeline([square], engine=HyperNodesEngine(**{argument: pool}))
        with pytest.raises(WorkerLostError, match=r"^ProcessPoolExecutor takes no more work"):
            pipeline.map({"x": [1, 2]}, "x")


def end_process(x: int) -> int:
    os._exit(1)


@pytest.mark.parametrize("argument", ["map_executor", "node_executor"])
def test_a_lost_worker_of_the_users_pool_is_told_by_the_pools_class(argument: str) -> None:
    with ProcessPoolExecutor(1) as pool:
        engine = HyperNodesEngine(**{argument: pool})
        pipeline = Pipeline([Node(end_process, "y")], engine=engine)
        with pytest.raises(WorkerLostError, match=r"^a worker of ProcessPoolExecutor ended while"):
            pipeline.map({"x": [1]}, "x")


def test_callbacks_hear_which_scopes_outside_of_the_map_made_an_input() -> None:
    class Sources(PipelineCallback):
        def __init__(self) -> None:
            self.heard: set[tuple[str, str, str]] = set()

        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            for name, source in ctx.inputs_from.items():
                self.heard.add((ctx.hierarchy_path, name, source.hierarchy_path))

    inner = Pipeline(
        [node(lambda x, size: x + size, "big"), node(lambda big: -big, "y")], name="in"
    )
    each = inner.as_node(map_over={"xs": "x"})
    outer = [node(lambda n: list(range(n)), "xs"), node(lambda n: n, "size"), each]
    told = []
    for kind in ("sequential", "parallel"):
        with HyperNodesEngine(map_executor=kind) as engine:
            sources = Sources()
            Pipeline(outer, name="out", engine=engine, callbacks=[sources]).run({"n": 2})
            told.append(sources.heard)
    assert ("out/in/in[1]/big", "size", "out/size") in told[0]
    assert told[1] == told[0]


def test_a_worker_processs_warnings_are_given_by_the_caller(tmp_path: Path) -> None:
    def lock(x: int) -> Any:
        return threading.Lock()

    nodes = [node(lock, output_name="lock"), node(lambda lock: 1, output_name="y")]
    with HyperNodesEngine(map_executor="parallel") as engine:
        pipeline = Pipeline(nodes, engine=engine, cache=DiskCache(tmp_path))
        with pytest.warns(CacheWarning, match="output 'lock' of node 'lock' is not kept") as told:
            pipeline.map({"x": [1, 2, 3]}, "x", output_name="y")
    assert [each.filename for each in told] == [__file__]


@pytest.mark.parametrize("nodes", [True, False])
def test_a_killed_worker_is_an_error_that_names_what_was_on_it_and_the_engine_goes_on(
    nodes: bool, tmp_path: Path
) -> None:
    @node(output_name="y")
    def fragile(x: int, deadly: int) -> int:
        if x == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.005)
        return x

    kind = {"node_executor": "parallel"} if nodes else {"map_executor": "parallel"}
    recorder = Recorder()
    with HyperNodesEngine(**kind) as engine:
        cache = DiskCache(tmp_path)
        pipeline = Pipeline([fragile], engine=engine, cache=cache, callbacks=[recorder], name="p")
        if nodes:
            with pytest.raises(WorkerLostError, match="node 'fragile' was on it"):
                pipeline.run({"x": 8, "deadly": 8})
        else:
            with pytest.raises(WorkerLostError, match="on their way") as caught:
                pipeline.map({"x": list(range(200)), "deadly": 100}, "x")
            assert 100 in _items_named(str(caught.value))
        recorder.check_pairs()
        assert pipeline.map({"x": [1, 2], "deadly": -1}, "x") == [{"y": 1}, {"y": 2}]
        if not nodes:
            again = Recorder()
            pipeline.with_callbacks([again]).map({"x": list(range(100)), "deadly": 100}, "x")
            assert again.names("on_map_item_cached")  # what was finished before


def _items_named(message: str) -> set[int]:
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", message):
        found.update(range(int(first), int(last or first) + 1))
    return found


# -- Executors of other libraries ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("library", ["loky", "dask"])
def test_executors_of_other_libraries_take_the_same_road(library: str, tmp_path: Path) -> None:
    printed = run_script(
        """
        import os, sys
        from hypernodes import DiskCache, HyperNodesEngine, Pipeline, node

        @node(output_name="where", cache=False)
        def where(x): return os.getpid()

        @node(output_name="square")
        def square(x): return x * x

        @node(output_name="last")
        async def last(square): return square + 1

        @node(output_name="drawn")
        def draw(x): return os.urandom(8)

        inner = Pipeline([square, last], name="inner")
        outer = Pipeline([inner.as_node(map_over={"xs": "x"})], name="outer")

        def main():
            if sys.argv[1] == "loky":
                from loky import ProcessPoolExecutor
                pool = ProcessPoolExecutor(2)
            else:
                from distributed import Client, LocalCluster
                client = Client(LocalCluster(
                    n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"))
                pool = client.get_executor()
            engine = HyperNodesEngine(pool, pool)
            cache = DiskCache(sys.argv[2])
            pipeline = Pipeline([where, square, last], engine=engine, cache=cache)
            rows = pipeline.map({"x": list(range(50))}, "x")
            assert [row["last"] for row in rows] == [x * x + 1 for x in range(50)]
            assert os.getpid() not in {row["where"] for row in rows}
            assert pipeline.run({"x": 3}, "last") == {"last": 10}
            rows = outer.with_engine(engine).map({"xs": [[1, 2], [], [3]]}, "xs")
            assert [row["last"] for row in rows] == [[2, 5], [], [10]]
            draws = Pipeline([draw], engine=engine)
            assert len({draws.run({"x": 1})["drawn"] for _ in range(3)}) == 3
            assert len({row["drawn"] for row in draws.map({"x": [1] * 9}, "x")}) == 9
            pool.shutdown()
            if sys.argv[1] == "dask":
                client.cluster.close()
                client.close()
            print("done")

        if __name__ == "__main__":
            main()
        """,
        tmp_path,
        library,
        str(tmp_path / "cache"),
    )
    assert printed.endswith("done\n")


# -- Memory --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sequential", "threaded"])
def test_a_million_items_pass_through_imap_in_flat_memory(kind: str, tmp_path: Path) -> None:
    printed = run_script(
        """
        import resource, sys
        from hypernodes import HyperNodesEngine, Pipeline, node

        @node(output_name="y")
        def work(x): return bytes(100) + str(x).encode()

        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

        with HyperNodesEngine(map_executor=sys.argv[1]) as engine:
            pipeline = Pipeline([work], engine=engine)
            before, count = peak(), 0
            for row in pipeline.imap({"x": (n for n in range(1_000_000))}, "x"):
                count += 1
            print(count, peak() - before < 150)
        """,
        tmp_path,
        kind,
    )
    assert printed == "1000000 True\n"


def test_a_lost_worker_beside_cancelled_calls_fails_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until Python 3.12.1 the pool's thread ends with an error at the first that is cancelled."""
    died: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", died.append)

    @node(output_name="killed")
    def kill(x: int) -> None:
        time.sleep(0.6)
        os.kill(os.getpid(), signal.SIGKILL)

    @node(output_name="failed", executor="sequential")
    def fail(x: int) -> int:
        time.sleep(0.2)  # by now the pool waits for its worker, and sees no cancellation
        raise KeyError(x)

    waiting = [node(lambda x: x, f"waiting{place}") for place in range(5)]
    with ProcessPoolExecutor(1) as pool:
        pipeline = Pipeline([kill, *waiting, fail], engine=HyperNodesEngine(pool))
        with pytest.raises((WorkerLostError, KeyError)):
            pipeline.run({"x": 1})
        last = pool._executor_manager_thread
    assert last is None or not last.is_alive()
    assert not died


class NeverPickled:
    def __reduce__(self) -> Any:
        raise TypeError("it stays")


@pytest.mark.parametrize("told", [False, True])
def test_an_output_that_cannot_come_back_costs_its_item_alone(told: bool) -> None:
    some = Node(lambda x: NeverPickled() if x == 2 else x, "y", name="some")
    pipeline = Pipeline([some], name="p")
    if told:
        pipeline = pipeline.with_callbacks([Recorder()])
    with HyperNodesEngine(map_executor="parallel") as engine:
        rows = pipeline.with_engine(engine).map(
            {"x": list(range(5))}, "x", error_handling="continue"
        )
    failed = rows.pop(2)
    assert rows == [{"y": 0}, {"y": 1}, {"y": 3}, {"y": 4}]
    assert isinstance(failed, FailedItem)
    assert (failed.index, failed.node, failed.inputs) == (2, "some", {"x": 2})
    assert "output 'y' of item 2 cannot be sent back" in str(failed.error)


# -- A map that goes on where a worker is lost ---------------------------------------------------


def deadly(x: int) -> int:
    """Kills its process at 3 and at 17, as the system does when memory runs out."""
    if x in (3, 17):
        os.kill(os.getpid(), signal.SIGKILL)
    return x * 2


PLACES = {
    "items": {"map_executor": "parallel"},
    "nodes": {"node_executor": "parallel"},
    "nodes of items on threads": {"node_executor": "parallel", "map_executor": "threaded"},
    "forked items": {"map_executor": "fork"},
}


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_an_item_that_kills_its_worker_costs_itself_alone(place: str, told: bool) -> None:
    if "fork" in place and not hasattr(os, "fork"):
        pytest.skip("there is no fork on this platform")
    recorder = Recorder()
    pipeline = Pipeline([Node(deadly, "y")], name="p", callbacks=[recorder] if told else None)
    with HyperNodesEngine(**PLACES[place]) as engine:
        rows = pipeline.with_engine(engine).map(
            {"x": list(range(20))}, "x", error_handling="continue"
        )
    failed = {each.index: each for each in rows if isinstance(each, FailedItem)}
    assert [*failed] == [3, 17]
    assert [row for row in rows if not isinstance(row, FailedItem)] == [
        {"y": x * 2} for x in range(20) if x not in failed
    ]
    for index, each in failed.items():
        assert each.inputs == {"x": index}
        assert isinstance(each.error, WorkerLostError)
        assert f"item {index} (x={index})" in "".join(getattr(each.error, "__notes__", ()))
    if told:
        recorder.check_pairs()
        assert sorted(recorder.names("on_map_item_end")) == sorted(
            f"p[{x}]" for x in range(20) if x not in failed
        )
        ended = [ctx for hook, _, ctx in recorder.events if hook == "on_error"]
        assert {ctx.item_index for ctx in ended} == {3, 17}


def test_a_cancelled_map_starts_none_of_the_items_that_a_worker_had(tmp_path: Path) -> None:
    def work(x: int) -> None:
        (tmp_path / str(x)).touch()
        if x == 0:
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        if (tmp_path / "0").exists():
            time.sleep(0.5)

    async def main(engine: HyperNodesEngine) -> int:
        pipeline = Pipeline([Node(work, "y")], engine=engine)
        items = {"x": [30, 31, *range(20)]}
        run = pipeline.amap(items, "x", error_handling="continue")
        task = asyncio.ensure_future(run)
        while not (tmp_path / "0").exists():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        task.cancel()
        begun = len(list(tmp_path.iterdir()))
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(list(tmp_path.iterdir())) - begun

    with HyperNodesEngine(map_executor="parallel") as engine:
        assert asyncio.run(main(engine)) <= 4


def test_a_nested_map_whose_item_kills_its_worker_costs_the_outer_item_alone() -> None:
    inner = Pipeline([Node(deadly, "y")], name="inner")
    outer = Pipeline([inner.as_node(map_over={"xs": "x"}, output_mapping={"y": "ys"})])
    with HyperNodesEngine(map_executor="parallel") as engine:
        rows = outer.with_engine(engine).map(
            {"xs": [[1, 2], [3, 4], [5, 6]]}, "xs", error_handling="continue"
        )
    assert isinstance(rows[1], FailedItem)
    assert [rows[0], rows[2]] == [{"ys": [2, 4]}, {"ys": [10, 12]}]


def test_a_pool_whose_initializer_fails_is_not_called_killed() -> None:
    def connect() -> None:
        raise ConnectionError

    for argument in ("node_executor", "map_executor"):
        with ThreadPoolExecutor(2, initializer=connect) as pool:
            engine = HyperNodesEngine(**{argument: pool})
            with pytest.raises(WorkerLostError, match="initializer failed") as caught:
                Pipeline([square], engine=engine).map({"x": [1, 2]}, "x")
            assert "killed" not in str(caught.value)


def test_dask_makes_every_call() -> None:
    """It takes equal calls for one, unless it is told otherwise."""
    tokenize = pytest.importorskip("dask.base").tokenize
    calls = [NodeTask(square, [1], {}, (), None, object()) for _ in range(2)]
    assert tokenize(calls[0]) != tokenize(calls[1])


def test_a_cache_in_memory_is_named_where_it_is_why_a_value_had_to_be_sent() -> None:
    opened = Node(lambda x: (each for each in [x]), "opened", cache=False)
    total = Node(lambda opened: sum(opened), "total")
    with HyperNodesEngine(map_executor="parallel") as engine:
        pipeline = Pipeline([opened, total], engine=engine)
        assert pipeline.map({"x": [1, 2]}, "x", output_name="total") == [{"total": 1}, {"total": 2}]
        with pytest.raises(SerializationError) as caught:
            pipeline.with_cache(MemoryCache()).map({"x": [1, 2]}, "x", output_name="total")
    assert "since the MemoryCache stays in this process" in "".join(caught.value.__notes__)
