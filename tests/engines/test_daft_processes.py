"""Nodes with `use_process` on Daft: a process that ends costs its own item, and is named."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from recording import Recorder

from hypernodes import (
    DaftEngine,
    DiskCache,
    FailedItem,
    Node,
    Pipeline,
    WorkerLostError,
    failing_node,
)

daft = pytest.importorskip("daft")
pytestmark = pytest.mark.slow

ENGINE = DaftEngine()


def hungry(x: int) -> int:
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
    return x * 2


def leaving(x: list[int]) -> list[int]:
    if 5 in x:
        os._exit(3)
    return [each * 2 for each in x]


def test_a_process_that_is_killed_costs_its_own_item_and_the_node_is_named() -> None:
    lost = Node(hungry, "y", daft={"use_process": True, "batch_size": 4})
    pipeline = Pipeline([lost, Node(lambda y: y + 1, "z")], engine=ENGINE)
    lazy = pipeline.with_engine(DaftEngine(collect=False))
    made = lazy.map({"x": [4, 5, 6]}, "x", error_handling="continue").to_pydict()
    assert made["y"] == [8, None, 12]
    assert [error and error["node"] for error in made["error"]] == [None, "hungry", None]
    with pytest.raises(WorkerLostError, match="killed by SIGKILL") as caught:
        pipeline.map({"x": [4, 5, 6]}, "x")
    assert failing_node(caught.value) == "hungry"
    assert "in item 1 (x=5)" in caught.value.__dict__["__notes__"][-1]


def test_a_batch_on_which_a_process_ends_is_done_again_with_a_cache_and_callbacks(
    tmp_path: Path,
) -> None:
    lost = Node(leaving, "y", batch="list", daft={"use_process": True, "batch_size": 3})
    recorder = Recorder()
    pipeline = Pipeline([lost], engine=ENGINE, cache=DiskCache(tmp_path), callbacks=[recorder])
    rows = pipeline.map({"x": [4, 5, 6]}, "x", error_handling="continue")
    assert [rows[0], rows[2]] == [{"y": 8}, {"y": 12}]
    assert isinstance(rows[1], FailedItem)
    assert "'leaving' (use_process) ended" in str(rows[1].error)
    assert "exit status 3" in str(rows[1].error)
    recorder.check_pairs()
    assert len(recorder.names("on_node_end")) == 2


@pytest.mark.parametrize("is_lazy", [False, True])
def test_after_ctrl_c_processes_start_no_more_items(tmp_path: Path, is_lazy: bool) -> None:
    def slow(x: int) -> int:
        (tmp_path / str(x)).touch()
        if not (tmp_path / "again").exists():
            time.sleep(0.1)
        return x

    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < 3:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    apart = Node(slow, "y", daft={"use_process": True, "batch_size": 100})
    pipeline = Pipeline([apart], engine=DaftEngine(collect=not is_lazy))
    frame = daft.from_pydict({"x": list(range(200))})
    made = pipeline.map(frame, "x") if is_lazy else None
    with pytest.raises(KeyboardInterrupt):
        made.collect() if is_lazy else pipeline.map(frame, "x")
    before, now = -1, 0
    while now != before:  # until it stands still: a busy machine's workers notice late
        before = now
        time.sleep(0.5)
        now = len(list(tmp_path.iterdir()))
    assert now < 20
    if made is not None:  # a lazy frame can be run again
        (tmp_path / "again").touch()
        assert made.to_pydict()["y"] == list(range(200))
