"""DaftEngine: names, values and types on their way through Daft are the user's own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from hypernodes import DaftEngine, Pipeline, SerializationError, failing_node
from hypernodes.node import Node

daft = pytest.importorskip("daft")

ENGINE = DaftEngine()
LAZY = DaftEngine(collect=False)


# -- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["place", "item", "f0", "record", "made", "rows"])
def test_an_input_and_an_output_of_a_nested_map_may_have_any_name(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def up({name}, extra): return {name}.upper() + extra", space)
    exec(f"def join({name}): return '+'.join({name})", space)
    inner = Pipeline([Node(space["up"], "upper")], name="inner")
    nested = inner.as_node(map_over={"towns": name}, output_mapping={"upper": name})
    outer = Pipeline([nested, Node(space["join"], "text")], engine=ENGINE)
    rows = outer.map({"towns": [["rome", "oslo"], []], "extra": "!"}, "towns")
    assert rows == [{name: ["ROME!", "OSLO!"], "text": "ROME!+OSLO!"}, {name: [], "text": ""}]


def test_a_frames_columns_may_have_any_name() -> None:
    names = ["*", "**", "a.*", "item", "in:x", "own:0", "out:y", "a.b", "", "c/d", "place", "error"]
    columns = {"x": [1], "a": [{"b": 0}], **{name: ["kept"] for name in names}}
    frame = daft.from_pydict(columns)
    pipeline = Pipeline([Node(lambda x: x + 1, "y")], engine=ENGINE)
    assert pipeline.map(frame, "x") == [{"y": 2}]
    assert pipeline.with_engine(LAZY).map(frame, "x").to_pydict() == {**columns, "y": [2]}


# -- Values that pickle, and do not unpickle -----------------------------------------------------


class Refused(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")


class Odd:
    def __reduce__(self) -> Any:
        return int, ("odd",)


@pytest.mark.parametrize("make", [lambda: Refused(404, "gone"), Odd, lambda: [1, {"deep": Odd()}]])
def test_a_value_that_cannot_be_unpickled_is_named(make: Callable[[], Any]) -> None:
    ask = Node(lambda x: make() if x else None, "outcome", name="ask")
    look = Node(lambda outcome: repr(outcome), "text", name="look")
    pipeline = Pipeline([ask, look], engine=ENGINE)
    with pytest.raises(SerializationError, match="input 'outcome' cannot be unpickled") as caught:
        pipeline.map({"x": [0, 1]}, "x", output_name="text")
    assert failing_node(caught.value) == "look"
    with pytest.raises(SerializationError, match="output 'outcome' cannot be unpickled"):
        pipeline.map({"x": [0, 1]}, "x", output_name="outcome")
    rows = pipeline.map({"x": [0, 1]}, "x", output_name="text", error_handling="continue")
    assert rows[0] == {"text": "None"}
    assert "input 'outcome'" in str(rows[1].error)


# -- Ctrl-C --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [None, {"batch_size": 100}, {"concurrency": 2}])
def test_after_ctrl_c_no_item_is_started(options: Any) -> None:
    started: list[int] = []

    def slow(x: int) -> int:
        started.append(x)
        time.sleep(0.1)
        return x

    pipeline = Pipeline([Node(slow, "y", daft=options)], engine=ENGINE)
    pipeline.map({"x": [0]}, "x")

    def interrupt() -> None:
        while len(started) < 4:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        pipeline.map({"x": list(range(200))}, "x")
    then = len(started)
    time.sleep(0.5)
    assert len(started) == then
