"""A run that is called off: its running nodes are interrupted, and not waited for."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder
from scripts import run_script
from waiting import wait_until

from hypernodes import HyperNodesEngine, MemoryCache, Pipeline, node
from hypernodes.event_loops import CancelToken, Interrupted, in_own_thread
from hypernodes.run.interrupts import Interrupts, interruptible


@node(output_name="done")
def done(x: int) -> int:
    return x


@node(output_name="y")
def loop_for_ever(done: int, started: Path) -> int:
    started.write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)


@node(output_name="y")
def sleep_long(done: int, started: Path) -> int:
    """What no asynchronous exception ends: on threads it is left running."""
    started.write_text(str(os.getpid()))
    time.sleep(6 if os.getpid() == PARENT else 60)
    return done


@node(output_name="y")
async def await_long(done: int, started: Path) -> int:
    started.write_text(str(os.getpid()))
    await asyncio.sleep(60)
    return done


PARENT = os.getpid()


def call_off(call: Callable[[], Any], started: Path) -> float:
    """Cancel an awaited call once its node has started; returns how many seconds it goes on."""

    async def main() -> float:
        running = asyncio.ensure_future(in_own_thread(call, grace=0.5))
        while not (started.exists() and started.read_text()):
            assert not running.done(), running.result()
            await asyncio.sleep(0.02)
        begun = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return time.monotonic() - begun

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("engine", "slow"),
    [
        (HyperNodesEngine(), loop_for_ever),
        (HyperNodesEngine("threaded"), loop_for_ever),
        (HyperNodesEngine("async"), loop_for_ever),
        (HyperNodesEngine("async"), await_long),
        (HyperNodesEngine("parallel"), sleep_long),
        (HyperNodesEngine("threaded"), sleep_long),
        (HyperNodesEngine("async"), sleep_long),
    ],
    ids=["sequential", "threaded", "async", "awaited", "parallel", "left", "async left"],
)
@pytest.mark.parametrize("mapped", [False, True], ids=["run", "map"])
def test_running_nodes_end_with_the_run_and_leave_what_was_done_in_the_cache(
    tmp_path: Path, engine: HyperNodesEngine, slow: Any, mapped: bool
) -> None:
    recorder, cache = Recorder(), MemoryCache()
    if mapped:
        engine = HyperNodesEngine(map_executor=engine.node_pool.given)
    with engine:
        pipeline = Pipeline([done, slow], engine=engine, cache=cache, callbacks=[recorder])
        call = partial(pipeline.run, {"x": 1, "started": tmp_path / "pid"})
        if mapped:
            inputs = {"x": [1], "started": tmp_path / "pid"}
            call = partial(pipeline.map, inputs, map_over="x")
        assert call_off(call, tmp_path / "pid") < 3
        pid = int((tmp_path / "pid").read_text())
        assert pid == PARENT or wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())
        if not (mapped and slow is sleep_long and pid == PARENT):  # the thread has those scopes
            recorder.check_pairs()
        again = Recorder()  # the engine goes on, with other workers
        pipeline = Pipeline([done], engine=engine, cache=cache, callbacks=[again])
        assert pipeline.run({"x": 1}) == {"done": 1}
        assert again.names("on_node_cached") == ["done"]
        begun = time.monotonic()
    assert time.monotonic() - begun < 2  # nor does the engine's shutdown wait


def test_an_interruption_that_comes_late_is_not_raised_anywhere_else() -> None:
    token, calls = CancelToken(interrupts=True), []
    ended, errors = threading.Event(), []

    def work() -> None:
        try:
            while not ended.is_set():
                token.interruptible(lambda: calls.append(1))
        except Interrupted as error:
            errors.append(error)
        sum(range(100_000))  # a pending one would come here

    for _ in range(20):
        token, ended = CancelToken(interrupts=True), threading.Event()
        thread = threading.Thread(target=work)
        thread.start()
        before = len(calls)
        wait_until(lambda: len(calls) > before, every=0.001)  # noqa: B023
        token.cancel()
        thread.join(30)
        assert not thread.is_alive()
    assert len(errors) == 20


def test_the_interpreter_ends_beside_what_was_left_running_and_after_all_else(
    tmp_path: Path,
) -> None:
    done = run_script(
        """
        import asyncio, time
        from hypernodes import HyperNodesEngine, Pipeline, node
        from hypernodes.event_loops import in_own_thread
        from hypernodes.threads import Threads

        @node(output_name="y")
        def stuck(x: int) -> int:
            time.sleep(60)

        async def main():
            with HyperNodesEngine("threaded") as engine:
                call = lambda: Pipeline([stuck], engine=engine).run({"x": 1})
                await asyncio.wait_for(in_own_thread(call, grace=0.1), 0.5)

        try:
            asyncio.run(main())
        except asyncio.TimeoutError:
            threads = Threads(1, "others")
            for text in ("one", "two"):
                threads.submit(lambda text=text: (time.sleep(0.2), print(text, flush=True)))
        """,
        tmp_path,
    )
    assert done.split() == ["one", "two"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_worker_that_is_forked_after_ctrl_c_is_not_interrupted() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.given
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            assert pool.submit(interruptible, partial(abs, -1)).result(30) == 1
