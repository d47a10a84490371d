"""What Prefect costs: a pipeline as a flow, beside the same functions as Prefect tasks.

    python benchmarks/prefect_overhead.py            # about ten minutes
    python benchmarks/prefect_overhead.py --quick
    python benchmarks/prefect_overhead.py --batches  # on a server that records in batches

All of it runs on one server of its own, with its default settings or, with `--batches`, with those
that the README advises, on a free port of this machine; every flow is a process of its own, and
begins when the server has done with the last one. The ways take turns, and the table gives medians.

    native           @task functions called one after the other
    native .map      one @task mapped, on ThreadPoolTaskRunner
    task in a thread prefect-dbt's way: a task and a thread a node, whose body waits for an event
    hypernodes       pipeline_flow, the same number of nodes

"On the run's thread" is the CPU time of the thread that runs the nodes, less what the functions
take. "Whole run" ends when every task run is visible on the server. "CPU" is that of the process
and of the server. "Database" is what the run adds to that of the server: task runs, states, events
and logs. The last lines are a pipeline whose nodes take 10 ms each with and without
Prefect, and the time that a trivial pipeline takes through PrefectEngine, beside empty flows.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "ERROR",
}

# -- In the measured process ---------------------------------------------------------------------


def add_one(x: int) -> int:
    """The function of every node."""
    return x + 1


def thread_seconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall-clock seconds of this thread for some work."""
    cpu, wall = time.thread_time(), time.perf_counter()
    work()
    return time.thread_time() - cpu, time.perf_counter() - wall


def native(count: int) -> Callable[[], Any]:
    """Tasks one after the other."""
    from prefect import flow, task

    step = task(add_one)

    @flow(name="native")
    def run() -> list[float]:
        return list(thread_seconds(lambda: [step(x) for x in range(count)]))

    return run


def native_map(count: int) -> Callable[[], Any]:
    """One task mapped over threads."""
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    step = task(add_one)

    @flow(name="native-map", task_runner=ThreadPoolTaskRunner(max_workers=4))
    def run() -> list[float]:
        return list(thread_seconds(lambda: step.map(range(count)).result()))

    return run


def task_in_thread(count: int) -> Callable[[], Any]:
    """A thread and a task a node; the thread that does the work sets events for it."""
    import contextvars

    from prefect import flow, task

    @task
    def reports(done: threading.Event) -> None:
        done.wait()

    def work() -> None:
        threads = []
        for x in range(count):
            done = threading.Event()
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(reports, done))
            thread.start()
            add_one(x)
            done.set()
            threads.append(thread)
            if len(threads) >= 16:
                threads.pop(0).join()
        for thread in threads:
            thread.join()

    @flow(name="task-in-thread")
    def run() -> list[float]:
        return list(thread_seconds(work))

    return run


def hypernodes(count: int) -> Callable[[], Any]:
    """A pipeline of as many nodes."""
    from prefect_hypernodes import Reporting, pipeline_flow

    from hypernodes import HyperNodesEngine, Pipeline, node

    measured: list[float] = []

    class Timed(HyperNodesEngine):
        """Measures the thread that runs the nodes, without the wait for Prefect at the end."""

        def run(self, pipeline: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            from hypernodes import PipelineCallback

            begun = (time.thread_time(), time.perf_counter())

            class Stop(PipelineCallback):
                def on_pipeline_end(self, *_: Any) -> None:
                    measured[:] = [time.thread_time() - begun[0], time.perf_counter() - begun[1]]

            watched = pipeline.with_callbacks([Stop(), *pipeline.callbacks])
            return super().run(watched, inputs, *args, **kwargs)

    names = [f"v{at}" for at in range(count)]
    nodes = [node(add_one, output_name=name, name=name) for name in names]
    pipeline = Pipeline(nodes, name="hypernodes", engine=Timed())
    flow = pipeline_flow(pipeline, reporting=Reporting(limit=None))

    def run() -> list[float]:
        flow(x=1)
        return measured

    return run


WAYS = {
    "native": native,
    "native .map": native_map,
    "task in a thread": task_in_thread,
    "hypernodes": hypernodes,
}


def steady(count: int) -> dict[str, float]:
    """Seconds of a pipeline of so many nodes of 10 ms without and with Prefect.

    With it, "itself" ends with its last node, and "with" when the flow returns: the server has
    recorded everything by then.
    """
    from prefect_hypernodes import Reporting, pipeline_flow

    from hypernodes import Pipeline, PipelineCallback, node

    itself: list[float] = []

    class Stop(PipelineCallback):
        def on_pipeline_end(self, pipeline_id: Any, outputs: Any, duration: float, _: Any) -> None:
            itself[:] = [duration]

    def wait(x: int) -> int:
        time.sleep(0.01)
        return x

    names = [f"v{at}" for at in range(count)]
    nodes = [node(wait, output_name=name, name=name) for name in names]
    pipeline = Pipeline(nodes, name="steady", callbacks=[Stop()])
    flow = pipeline_flow(pipeline, reporting=Reporting(limit=None))
    begun = time.perf_counter()
    pipeline.run({"x": 1})
    without = time.perf_counter() - begun
    begun = time.perf_counter()
    flow(x=1)
    return {"without": without, "with": time.perf_counter() - begun, "itself": itself[0]}


def run_one(x: int) -> None:
    """A run of one node through PrefectEngine."""
    from prefect_hypernodes import PrefectEngine

    from hypernodes import Pipeline, node

    Pipeline([node(add_one, "y")], name="trivial", engine=PrefectEngine()).run({"x": x})


def trivial(runs: int) -> dict[str, float]:
    """Median seconds of a run of one node through PrefectEngine, and of flows without a task."""
    from prefect import flow

    @flow
    async def empty(x: int) -> int:
        return x

    @flow
    def empty_sync(x: int) -> int:
        return x

    ways: dict[str, Callable[[int], Any]] = {
        "ours": run_one,
        "async": lambda x: asyncio.run(empty(x)),
        "sync": empty_sync,
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for x in range(runs + 1):
        for way, run in ways.items():
            begun = time.perf_counter()
            run(x)
            taken[way].append(time.perf_counter() - begun)
    return {way: statistics.median(each[1:]) for way, each in taken.items()}


def measured(what: str, count: int) -> dict[str, Any]:
    """What the child process says of one measurement."""
    if what == "steady":
        return steady(count)
    if what == "trivial":
        return trivial(count)
    if what == "start":
        run_one(count)
        return {}
    run = WAYS[what](count)
    gc.collect()  # what imports have made is looked through now, and falls on none of the ways
    begun = time.time()
    cpu, wall = run()
    return {"cpu": cpu, "wall": wall, "begun": begun}


# -- In the measuring process --------------------------------------------------------------------


class Server:
    """A Prefect server in a process of its own."""

    def __init__(self, home: Path, batches: bool = False) -> None:
        import httpx

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.database = home / "prefect.db"
        self.env = {**own, **QUIET, "PREFECT_HOME": str(home)}
        if batches:
            recorder = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER"
            self.env[f"{recorder}_BATCH_SIZE"] = "200"
            self.env[f"{recorder}_FLUSH_INTERVAL"] = "1"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.env["PREFECT_API_URL"] = url = f"http://127.0.0.1:{port}/api"
        self.client = httpx.Client(base_url=url, timeout=120)
        for _ in range(600):
            try:
                self.client.get("/health").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError("the server does not start")

    def visible(self) -> int:
        """Task runs that have ended, of all flow runs."""
        states = {"type": {"any_": ["COMPLETED"]}}
        body = {"task_runs": {"state": states}}
        return int(self.client.post("/task_runs/count", json=body).json())

    def cpu(self) -> float:
        """CPU seconds of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bytes(self) -> int:
        """Size of what the database holds."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60)) as db:
            size, pages, free = (
                db.execute(f"PRAGMA {what}").fetchone()[0]
                for what in ("page_size", "page_count", "freelist_count")
            )
        return int(size * (pages - free))

    def settle(self) -> None:
        """Wait until it has done what it still had to do for the last flow run."""
        busy = 1.0
        until = time.time() + 120
        while busy > 0.2 and time.time() < until:
            before = self.cpu()
            time.sleep(1)
            busy = self.cpu() - before

    def child(self, what: str, count: int) -> tuple[dict[str, Any], float]:
        """What a measured process says, and its CPU seconds."""
        self.settle()
        before = os.times()
        done = subprocess.run(
            [sys.executable, __file__, "--child", what, str(count)],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        after = os.times()
        used = after.children_user + after.children_system
        used -= before.children_user + before.children_system
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said, used

    def whole(self, what: str, count: int) -> dict[str, float]:
        """One flow run of some nodes, until all of them are visible."""
        self.settle()
        before, cpu, stored = self.visible(), self.cpu(), self.bytes()
        said, used = self.child(what, count)
        until = time.time() + 300
        while (seen := self.visible() - before) < count and time.time() < until:
            time.sleep(0.1)
        ended = time.time()
        used += self.cpu() - cpu
        self.settle()  # events and logs are stored later
        return {
            "thread": said["cpu"] / count,
            "run": ended - said["begun"],
            "cpu": used / count,
            "bytes": (self.bytes() - stored) / count,
            "lost": count - seen,
        }


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer nodes and rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", action="store_true", help="a server that records in batches")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.child[0], int(options.child[1]))))
        return
    count, rounds = (200, 1) if options.quick else (1_000, options.rounds)
    with tempfile.TemporaryDirectory() as home:
        server = Server(Path(home), options.batches)
        try:
            found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way in WAYS:
                    found[way].append(server.whole(way, count))
            startup = server.child("start", 0)[1] / count
            print_ways(found, count, startup)
            print()
            for nodes in (200,) if options.quick else (1_000, 3_000):
                said, _ = server.child("steady", nodes)
                without, itself, flow = said["without"], said["itself"], said["with"]
                print(
                    f"{nodes:,} nodes of 10 ms: {without:.2f} s without Prefect; with it "
                    f"{itself:.2f} s to the last node ({itself / without - 1:+.1%}), "
                    f"{flow:.2f} s until all is recorded ({flow / without - 1:+.1%})"
                )
            said, _ = server.child("trivial", 5 if options.quick else 20)
            print(
                f"a trivial pipeline through PrefectEngine: {said['ours']:.3f} s; "
                f"an empty async flow {said['async']:.3f} s, a sync one {said['sync']:.3f} s"
            )
        finally:
            server.process.terminate()
            server.process.wait(60)


def print_ways(found: dict[str, list[dict[str, float]]], count: int, startup: float) -> None:
    """The table, with how many times more each way costs than HyperNodes."""
    medians = {
        way: {
            key: statistics.median(each[key] for each in rounds)
            for key in ("thread", "run", "cpu", "bytes", "lost")
        }
        for way, rounds in found.items()
    }
    own = medians["hypernodes"]
    print(
        f"{count:,} nodes; CPU is less the {startup * count:.1f} s that a process takes to start\n"
    )
    print(
        "| | on the run's thread, µs a node | | whole run, s | | CPU, ms a node "
        "| | database, KB a node | | lost |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for way, each in medians.items():
        cpu, own_cpu = each["cpu"] - startup, own["cpu"] - startup
        print(
            f"| {way} | {each['thread'] * 1e6:,.0f} | {each['thread'] / own['thread']:.1f} x "
            f"| {each['run']:.1f} | {each['run'] / own['run']:.1f} x "
            f"| {cpu * 1e3:.2f} | {cpu / own_cpu:.1f} x "
            f"| {each['bytes'] / 1e3:.1f} | {each['bytes'] / own['bytes']:.1f} x "
            f"| {each['lost']:.0f} |"
        )


if __name__ == "__main__":
    main()
