"""Nodes with `use_process` on Daft: a process that ends costs its own item, and is named."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import Graph, examples, graphs, hold_with_failures, pipeline_of
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


@pytest.mark.timeout(900)
@examples(4, quick=2)
@given(graphs(depth=1, fragile=True), st.integers(1, 3), st.booleans())
def test_nodes_in_processes_give_what_a_plain_loop_gives(
    graph: Graph, share: int, cached: bool
) -> None:
    recorder = Recorder()
    pipeline = pipeline_of(graph, apart=lambda call: call.salt % share == 0).with_engine(ENGINE)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = pipeline.with_cache(DiskCache(folder) if cached else None)
        hold_with_failures(graph, pipeline.with_callbacks([recorder]), rounds=1 + cached)
    recorder.check_pairs()


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


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_in_a_nested_map_it_costs_its_own_item_too(
    tmp_path: Path, cached: bool, told: bool
) -> None:
    recorder = Recorder()
    nodes = [
        Node(hungry, "y", daft={"use_process": True}),
        Node(lambda y, shift: y + shift, "z"),
    ]
    rows = Pipeline(nodes, name="rows").as_node(map_over="x", error_handling="continue")
    deep = Pipeline([rows], name="deep").as_node(
        input_mapping={"lists": "x"}, map_over="lists", output_mapping={"z": "zs"}
    )
    count = Node(lambda zs: [len(each) for each in zs], "counts")
    pipeline = Pipeline(
        [deep, count],
        engine=ENGINE,
        cache=DiskCache(tmp_path) if cached else None,
        callbacks=[recorder] if told else None,
    )
    (made,) = pipeline.map({"lists": [[[4, 5], [6, 7]]], "shift": 1}, "lists", output_name="zs")
    first, failed = made["zs"][0]
    assert first == 9
    assert isinstance(failed, FailedItem)
    assert (failed.index, failed.node, failed.inputs) == (1, "hungry", {"x": 5})
    assert "killed by SIGKILL" in str(failed.error)
    assert made["zs"][1] == [13, 15]
    recorder.check_pairs()


def test_in_a_nested_map_that_stops_the_item_is_named() -> None:
    rows = Pipeline([Node(hungry, "y", daft={"use_process": True})], name="rows")
    pipeline = Pipeline([rows.as_node(map_over="x")], engine=ENGINE)
    with pytest.raises(WorkerLostError, match="killed by SIGKILL") as caught:
        pipeline.run({"x": [4, 6, 5, 7]})
    assert failing_node(caught.value) == "hungry"
    assert "in item 2 (x=5)" in "\n".join(caught.value.__dict__["__notes__"])


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
