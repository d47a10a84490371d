"""What is sent to another process and comes back: values, nodes, errors."""

from __future__ import annotations

import asyncio
import builtins
import importlib.util
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import loky
import pydantic
import pytest
from recording import Recorder
from scripts import run_script

from hypernodes import (
    FailedItem,
    HyperNodesEngine,
    Pipeline,
    SerializationError,
    node,
)
from hypernodes.errors import add_note
from hypernodes.run import pickling


@node(output_name="pid", cache=False)
def pid(x: int) -> int:
    return os.getpid()


@node(output_name="square")
def square(x: int) -> int:
    return x * x


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


@pytest.mark.slow
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


LOADED = """
import enum
import beside
from hypernodes import node

class Color(enum.Enum):
    RED = 1

class Point:
    def __init__(self, x):
        self.x, self.color = x, Color.RED

def make(x):
    return Point(beside.double(x))

@node(output_name="point")
def start(x):
    return make(x)

def check(point):
    return isinstance(point, Point) and point.color is Color.RED and factorial(3)

def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)
"""


def load(name: str, file: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module loaded by its path, as Prefect loads the flow of a deployment."""
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_modules_that_a_worker_could_not_import_are_sent_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("beside", tmp_path / "beside.py", "def double(x):\n    return 2 * x\n", monkeypatch)
    loaded = load("__loaded_by_path__", tmp_path / "flow.py", LOADED, monkeypatch)
    with HyperNodesEngine("parallel", "parallel") as engine:
        pipeline = Pipeline([loaded.start, node(loaded.check, "good")], engine=engine)
        rows = [*pipeline.map({"x": [1, 2]}, "x"), pipeline.run({"x": 3})]
        assert [row["point"].x for row in rows] == [2, 4, 6]
        assert [row["good"] for row in rows] == [6, 6, 6]
        assert all(type(row["point"]) is loaded.Point for row in rows)
        # One that a worker would take for another module is no guess.
        file = tmp_path / "calendar.py"
        shadow = load("calendar", file, "def month(x):\n    return x\n", monkeypatch)
        pipeline = Pipeline([node(shadow.month, "y")], engine=engine)
        with pytest.raises(SerializationError, match=f"'calendar' was loaded from {file}, and its"):
            pipeline.map({"x": [1, 2]}, "x")


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


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class KeywordsOnly(ValueError):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class InSlots(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class OfAFile(OSError):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(2, why, path)
        self.why = why


class OwnReduce(Exception):
    """As pickle has it, its notes are lost."""

    def __reduce__(self) -> Any:
        return OwnReduce, self.args


class FalseReduce(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")

    def __reduce__(self) -> Any:
        return FalseReduce, self.args


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Settings(pydantic.BaseModel):
    age: int


def _not_valid() -> BaseException:
    with pytest.raises(pydantic.ValidationError) as caught:
        Settings(age="x")  # type: ignore[arg-type]
    return caught.value


def _http_error() -> BaseException:
    request = httpx.Request("GET", "http://example.org/")
    response = httpx.Response(503, request=request)
    return httpx.HTTPStatusError("unavailable", request=request, response=response)


ERRORS: list[BaseException] = [
    TwoArguments(404, "gone"),
    KeywordsOnly(code=3),
    InSlots(7, "seven"),
    OfAFile("data.csv", "no such file"),
    OwnReduce("own"),
    FalseReduce(1, "own"),
    Frozen(5),
    _not_valid(),
    _http_error(),
    StopIteration(5),
    SystemExit(3),
    KeyError("missing"),
    FileNotFoundError(2, "no such file", "data.csv"),
    TimeoutError("late"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ImportError("no module", name="name", path="path"),
    json.JSONDecodeError("bad", "{", 1),
    subprocess.CalledProcessError(1, ["ls"]),
    asyncio.CancelledError("off"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was(error: BaseException) -> None:
    add_note(error, "in node 'fail'", node="fail")
    arrived = pickle.loads(pickle.dumps(pickling.sendable_error(error)))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert repr(arrived) == repr(error)
    assert repr(arrived.args) == repr(error.args)
    assert set(vars(arrived)) == set(vars(error))
    assert arrived.__notes__ == ["in node 'fail'"]
    for name in ("code", "errno", "filename", "name", "value", "start", "returncode"):
        assert getattr(arrived, name, None) == getattr(error, name, None)


def test_causes_contexts_and_groups_arrive_too() -> None:
    def fail() -> None:
        try:
            raise TwoArguments(1, "first")
        except TwoArguments as first:
            raise KeywordsOnly(code=2) from first

    with pytest.raises(KeywordsOnly) as caught:
        fail()
    arrived = pickle.loads(pickle.dumps(pickling.sendable_error(caught.value)))
    assert isinstance(arrived.__cause__, TwoArguments)
    assert arrived.__cause__.code == 1
    assert arrived.__context__ is arrived.__cause__
    assert "in fail\n" in str(arrived.__cause__.__cause__)
    if sys.version_info >= (3, 11):
        group = builtins.ExceptionGroup("several", [TwoArguments(1, "one"), ValueError(2)])
        arrived = pickle.loads(pickle.dumps(pickling.sendable_error(group)))
        assert [type(each) for each in arrived.exceptions] == [TwoArguments, ValueError]


def test_what_an_error_holds_and_cannot_be_sent_arrives_as_a_text() -> None:
    error = TwoArguments(404, "gone")
    error.client = threading.Lock()  # type: ignore[attr-defined]
    arrived = pickle.loads(pickle.dumps(pickling.sendable_error(error)))
    assert isinstance(arrived, TwoArguments)
    assert vars(arrived) == {"code": 404, "client": "<lock that cannot be sent>"}


def test_an_error_comes_back_from_a_process_with_its_traceback() -> None:
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
            assert f'{__file__}", line ' in str(caught.value.__cause__)
            assert "in fail\n" in str(caught.value.__cause__)
            with pytest.raises(Own, match="seven") as own:
                start(1)
            assert own.value.code == 7


def test_an_error_whose_class_cannot_be_sent_becomes_another() -> None:
    @node(output_name="y")
    def fail(x: int) -> int:
        lock = threading.Lock()

        class Own(Exception):
            client = lock

        raise Own("seven")

    with HyperNodesEngine("parallel") as engine:
        pipeline = Pipeline([fail], engine=engine)
        with pytest.raises(SerializationError, match="Own: seven"):
            pipeline.run({"x": 1})


def test_a_bound_input_that_cannot_be_sent_is_named() -> None:
    @node(output_name="y")
    def use(x: int, client: Any) -> int:
        return x

    inner = Pipeline([use], name="inner").bind(client=threading.Lock())
    outer = Pipeline([inner.as_node(name="inner")], name="outer")
    for pipeline, place in ((inner, ""), (outer, " of pipeline 'inner'")):
        with (
            HyperNodesEngine(map_executor="parallel") as engine,
            pytest.raises(SerializationError, match=f"bound input 'client'{place} of a map"),
        ):
            pipeline.with_engine(engine).map({"x": [1]}, "x")


def test_an_executor_that_pickles_in_a_thread_of_its_own_names_what_cannot_be_sent() -> None:
    @node(output_name="y")
    def use(x: int, client: Any) -> int:
        return x

    pool = loky.get_reusable_executor(2)
    try:
        pipeline = Pipeline([use], engine=HyperNodesEngine(pool, pool))
        with pytest.raises(SerializationError, match="input 'client' of a map"):
            pipeline.map({"x": [1, 2], "client": threading.Lock()}, "x")
        with pytest.raises(SerializationError, match="input 'client' of node 'use'"):
            pipeline.run({"x": 1, "client": threading.Lock()})
        with pytest.raises(SerializationError, match="input 'x' of item 0 of a map"):
            pipeline.map({"x": [threading.Lock()], "client": None}, "x")
    finally:
        pool.shutdown(kill_workers=True)


def test_an_object_with_a_cached_property_crosses_from_a_script(tmp_path: Path) -> None:
    printed = run_script(
        """
        import functools, traceback
        from hypernodes import HyperNodesEngine, Pipeline, node

        class Table:
            def __init__(self, k): self.k = k

            @functools.cached_property
            def rows(self):
                return [self.k] * 3

        @node(output_name="y")
        def use(x, table):
            return table.rows[0] / x

        with HyperNodesEngine(map_executor="parallel") as engine:
            pipeline = Pipeline([use], engine=engine)
            print(pipeline.map({"x": [1], "table": Table(2)}, "x"))
            try:
                pipeline.map({"x": [0], "table": Table(2)}, "x")
            except ZeroDivisionError as error:
                print(*traceback.format_exception(error))
        """,
        tmp_path,
    )
    assert printed.startswith("[{'y': 2.0}]")
    assert f'"{tmp_path / "script.py"}", line 14, in use' in printed


def test_an_error_that_is_a_value_arrives_as_it_is() -> None:
    @node(output_name="error")
    def give(x: int, other: Exception) -> list[Exception]:
        return [TwoArguments(x, "given"), KeywordsOnly(code=x), other]

    def shown(errors: list[Exception]) -> list[tuple[type, tuple[Any, ...], dict[str, Any]]]:
        return [(type(each), each.args, vars(each)) for each in errors]

    inputs = {"x": 3, "other": TwoArguments(4, "other")}
    with HyperNodesEngine("parallel", "parallel") as engine:
        pipeline = Pipeline([give], engine=engine)
        expected = shown(give(**inputs))
        assert shown(pipeline.run(inputs)["error"]) == expected
        assert shown(pipeline.map({**inputs, "x": [3]}, "x")[0]["error"]) == expected


def test_callbacks_get_the_error_of_an_item_in_another_process() -> None:
    @node(output_name="y", retries=1)
    def fail(x: int) -> int:
        raise TwoArguments(x, "failed")

    recorder = Recorder()
    with HyperNodesEngine(map_executor="parallel") as engine:
        pipeline = Pipeline([fail], engine=engine, callbacks=[recorder])
        rows = pipeline.map({"x": [5]}, "x", error_handling="continue")
    assert rows[0].error.code == 5
    recorder.check_pairs()
    assert recorder.names("on_node_retry") == ["fail"]


def test_slots_of_an_error_arrive_where_its_class_was_sent_by_value() -> None:
    """There it has none: cloudpickle leaves them out, and what is in them is in its dict."""

    class Slotted(Exception):
        __slots__ = ("code",)

        def __init__(self, code: int) -> None:
            super().__init__(code)
            self.code = code

    @node(output_name="y")
    def fail(x: int) -> int:
        raise Slotted(x)

    with HyperNodesEngine("parallel") as engine, pytest.raises(Slotted) as caught:
        Pipeline([fail], engine=engine).run({"x": 5})
    assert caught.value.code == 5
