"""What is sent to another process and comes back: values, nodes, errors."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder

from hypernodes import (
    FailedItem,
    HyperNodesEngine,
    Pipeline,
    SerializationError,
    node,
)


@node(output_name="pid", cache=False)
def pid(x: int) -> int:
    return os.getpid()


@node(output_name="square")
def square(x: int) -> int:
    return x * x


def run_script(text: str, folder: Path, *arguments: str) -> str:
    """Run a script as a user would, and give what it printed."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nodes_of_a_script_cross_without_a_main_guard(tmp_path: Path) -> None:
    printed = run_script(
        """
        from hypernodes import HyperNodesEngine, Pipeline, node

        class Point:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x

        offset = 10

        @node(output_name="point")
        def make(x): return Point(x + offset)

        scale = node(lambda point: Point(point.x * 2), "scaled")

        def closing_over(n):
            @node(output_name="last")
            def last(scaled): return scaled.x + n
            return last

        with HyperNodesEngine("parallel", "parallel") as engine:
            pipeline = Pipeline([make, scale, closing_over(1)], engine=engine)
            rows = pipeline.map({"x": [1, 2]}, "x")
            print([row["last"] for row in rows], rows[0]["point"] == Point(11))
            print(pipeline.run({"x": 3})["last"])
        """,
        tmp_path,
    )
    assert printed.split("\n")[:2] == ["[23, 25] True", "27"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_way_to_start_a_process_works(method: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context(method)
    recorder = Recorder()
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        engine = HyperNodesEngine(pool, pool)
        pipeline = Pipeline([pid, square], engine=engine, callbacks=[recorder])
        rows = pipeline.map({"x": list(range(20))}, "x")
        assert [row["square"] for row in rows] == [x * x for x in range(20)]
        assert os.getpid() not in {row["pid"] for row in rows}
        assert pipeline.run({"x": 3}, "pid")["pid"] != os.getpid()
    recorder.check_pairs()
    assert len(recorder.names("on_node_end")) == 41


@pytest.mark.parametrize("bound", [False, True])
def test_a_value_that_a_node_changes_is_another_one_in_the_next_map(bound: bool) -> None:
    @node(output_name="count")
    def keep(x: int, kept: list[int]) -> int:
        kept.append(x)
        return len(kept)

    with ProcessPoolExecutor(1) as pool:
        pipeline = Pipeline([keep], engine=HyperNodesEngine(map_executor=pool))
        inputs: dict[str, Any] = {"x": [1, 2, 3], "kept": []}
        if bound:
            pipeline = pipeline.bind(kept=inputs.pop("kept"))
        first = pipeline.map(inputs, "x")
        assert first == pipeline.map(inputs, "x") == [{"count": 1}, {"count": 2}, {"count": 3}]


def test_an_items_error_in_a_loop_is_that_items_and_the_rest_is_done() -> None:
    @node(output_name="inverse")
    def invert(x: int, y: int) -> float:
        return y / x

    with ProcessPoolExecutor(2) as pool:
        pipeline = Pipeline([invert], engine=HyperNodesEngine(map_executor=pool))
        inputs = {"x": [*range(1, 400), 0, *range(1, 400), 0], "y": list(range(800))}
        rows = pipeline.map(inputs, ["x", "y"], error_handling="continue")
        assert [at for at, row in enumerate(rows) if isinstance(row, FailedItem)] == [399, 799]
        assert (rows[399].index, rows[399].node) == (399, "invert")
        assert rows[399].inputs == {"x": 0, "y": 399}
        assert rows[798] == {"inverse": 798 / 399}
        with pytest.raises(ZeroDivisionError) as caught:
            pipeline.map(inputs, ["x", "y"])
        assert any("item 399 " in note for note in caught.value.__notes__)


def test_what_cannot_be_sent_says_which_input_and_why() -> None:
    @node(output_name="y", cache=False)
    def use(x: int, lock: Any) -> int:
        return x

    with HyperNodesEngine("parallel", "parallel") as engine:
        pipeline = Pipeline([use], engine=engine, name="p")
        with pytest.raises(
            SerializationError, match="input 'lock' of a map of pipeline 'p' cannot"
        ):
            pipeline.map({"x": [1], "lock": threading.Lock()}, "x")
        with pytest.raises(SerializationError, match="input 'lock' of node 'use' cannot be sent"):
            pipeline.run({"x": 1, "lock": threading.Lock()})
        with pytest.raises(SerializationError, match="input 'x' of item 0 of a map"):
            pipeline.map({"x": [threading.Lock()], "lock": None}, "x")


def test_what_cannot_be_sent_back_says_which_output_and_item() -> None:
    @node(output_name="y", cache=False)
    def make(x: int) -> Any:
        return threading.Lock() if x == 2 else x

    with HyperNodesEngine("parallel", "parallel") as engine:
        pipeline = Pipeline([make], engine=engine)
        with pytest.raises(SerializationError, match="output 'y' of item 2 cannot be sent back"):
            pipeline.map({"x": [1, 1, 2]}, "x")
        with pytest.raises(SerializationError, match="what node 'make' made cannot be sent back"):
            pipeline.run({"x": 2})


def test_an_error_comes_back_with_its_traceback_and_one_that_cannot_as_another() -> None:
    class Own(Exception):
        def __init__(self, code: int, text: str) -> None:
            super().__init__(text)
            self.code = code

    @node(output_name="y")
    def fail(x: int) -> int:
        if x:
            raise Own(7, "seven")
        raise KeyError("missing")

    with HyperNodesEngine("parallel", "parallel") as engine:
        pipeline = Pipeline([fail], engine=engine)
        for start in (lambda x: pipeline.run({"x": x}), lambda x: pipeline.map({"x": [x]}, "x")):
            with pytest.raises(KeyError, match="missing") as caught:
                start(0)
            assert "in fail\n" in str(caught.value.__cause__)
            with pytest.raises(SerializationError, match="Own: seven"):
                start(1)
