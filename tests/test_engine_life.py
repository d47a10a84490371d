"""An engine's life: whatever is done to it, in any order, it goes on, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import law
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from law import examples

from hypernodes import HyperNodesEngine, Pipeline, WorkerLostError, node

KINDS = ("sequential", "async", "threaded", "parallel")
HERE = os.getpid()
WAITING = 0.4


def _do(what: str, here: int) -> None:
    if what == "fail":
        raise ValueError("a node's")
    if what == "exit":
        raise SystemExit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "kill" and os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)


@node(output_name="a")
def first(x: int, what: str, here: int) -> int:
    if x == 1:
        if what == "wait":
            time.sleep(WAITING)
        _do(what, here)
    return x + 1


@node(output_name="b")
async def second(x: int, what: str, here: int) -> int:
    await asyncio.sleep(0)
    if x == 2:
        if what == "wait":
            await asyncio.sleep(WAITING)
        _do(what, here)
    return x + 2


@node(output_name="late", timeout_seconds=0.05)
async def late(x: int, what: str) -> int:
    if what == "late":
        await asyncio.sleep(60)
    return x


@node(output_name="c")
def third(a: int, b: int, late: int) -> int:
    return a + b + late


inner = Pipeline([third], name="inner")
pipeline = Pipeline([first, second, late, inner], name="life")
ERRORS: dict[str, type[BaseException]] = {
    "fail": ValueError, "exit": SystemExit, "interrupt": KeyboardInterrupt, "late": TimeoutError,
}  # fmt: skip
ITEMS = list(range(6))
ROWS = [{"c": 3 * x + 3} for x in ITEMS]


def _children_of(thread: Path) -> int:
    with suppress(FileNotFoundError):  # it has just ended
        return len((thread / "children").read_text().split())
    return 0


def left() -> dict[str, int]:
    """Threads, open files and child processes."""
    gc.collect()
    counts = {"threads": threading.active_count()}
    if os.path.isdir("/proc/self/fd"):
        counts["files"] = len(os.listdir("/proc/self/fd"))
        counts["processes"] = sum(map(_children_of, Path("/proc/self/task").iterdir()))
    return counts


class EngineLife(RuleBasedStateMachine):
    """Does to one engine what users do, and worse."""

    #: What there is for good after the first use of an engine: the shared loop, the server of
    #: processes.
    before: dict[str, int] = {}

    @initialize(nodes=st.sampled_from(KINDS), items=st.sampled_from(KINDS))
    def begin(self, nodes: str, items: str) -> None:
        if not self.before:
            for kind in KINDS:
                with HyperNodesEngine(kind, kind) as engine:
                    self._map(pipeline.with_engine(engine))
            EngineLife.before = left()
        self.has_processes = "parallel" in (nodes, items)
        self.engine = HyperNodesEngine(nodes, items)

    @property
    def pipeline(self) -> Pipeline:
        return pipeline.with_engine(self.engine)

    def _map(self, life: Pipeline, what: str = "") -> None:
        inputs = {"x": ITEMS, "what": what, "here": HERE}
        assert life.map(inputs, "x", output_name="c") == ROWS

    @rule()
    def run(self) -> None:
        assert self.pipeline.run({"x": 5, "what": "", "here": HERE}, "c") == {"c": 18}

    @rule()
    def map(self) -> None:
        self._map(self.pipeline)

    @rule(in_flight=st.sampled_from((None, 1, 2)), taken=st.integers(1, len(ITEMS)))
    def leave_an_iterator(self, in_flight: int | None, taken: int) -> None:
        inputs = {"x": iter(ITEMS), "what": "", "here": HERE}
        rows = self.pipeline.imap(inputs, "x", output_name="c", in_flight=in_flight)
        assert [next(rows) for _ in range(taken)] == ROWS[:taken]

    @rule(
        what=st.sampled_from(sorted(ERRORS)),
        way=st.sampled_from(("run", "map", "amap")),
        x=st.sampled_from((1, 2)),
    )
    def fail(self, what: str, way: str, x: int) -> None:
        """In the sync node or the async one; a map fails in both."""
        inputs = {"x": x if way == "run" else ITEMS, "what": what, "here": HERE}
        ways = {
            "run": self.pipeline.run,
            "map": lambda inputs: self.pipeline.map(inputs, "x"),
            "amap": lambda inputs: asyncio.run(self.pipeline.amap(inputs, "x")),
        }
        with pytest.raises(ERRORS[what]):
            ways[way](inputs)

    @rule(is_map=st.booleans(), delay=st.sampled_from((0.0, 0.01, 0.1)))
    def cancel(self, is_map: bool, delay: float) -> None:
        async def main() -> None:
            inputs = {"x": ITEMS if is_map else 1, "what": "wait", "here": HERE}
            life = self.pipeline
            task = asyncio.ensure_future(life.amap(inputs, "x") if is_map else life.arun(inputs))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())

    @rule(is_map=st.booleans(), delay=st.sampled_from((0.001, 0.05)))
    def press_ctrl_c(self, is_map: bool, delay: float) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        inputs = {"x": ITEMS if is_map else 1, "what": "wait", "here": HERE}
        try:
            timer.start()
            while True:  # until it comes
                self.pipeline.map(inputs, "x") if is_map else self.pipeline.run(inputs)
        except KeyboardInterrupt:
            pass
        finally:
            timer.join()
            signal.signal(signal.SIGINT, before)

    @rule(is_map=st.booleans())
    def kill_a_worker(self, is_map: bool) -> None:
        if not self.has_processes:
            return
        inputs = {"x": ITEMS if is_map else 1, "what": "kill", "here": HERE}
        with suppress(WorkerLostError):  # where only items are in processes, a run loses nothing
            self.pipeline.map(inputs, "x") if is_map else self.pipeline.run(inputs)

    @rule()
    def block_a_running_loop(self) -> None:
        async def main() -> None:
            self.map()

        asyncio.run(main())

    @rule()
    def use_it_from_several_threads(self) -> None:
        with ThreadPoolExecutor(3) as threads:
            for future in [threads.submit(self.map) for _ in range(3)]:
                future.result()

    @rule(wait=st.booleans())
    def shut_down(self, wait: bool) -> None:
        self.engine.shutdown(wait)

    @rule()
    def send_it(self) -> None:
        """A copy of an engine has pools of its own; processes are not sent."""
        self.engine = pickle.loads(pickle.dumps(self.engine))
        self.has_processes = False

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        del self.engine
        until = time.monotonic() + 60
        while any((now := left())[name] > count for name, count in self.before.items()):
            # Fewer are fine: what other tests had left may have ended meanwhile.
            assert time.monotonic() < until, (now, self.before)
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_engine_survives_what_is_done_to_it_and_leaves_nothing() -> None:
    run_state_machine_as_test(
        EngineLife,
        settings=settings(examples(20, quick=2), stateful_step_count=6 if law.QUICK else 12),
    )
