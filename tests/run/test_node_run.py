"""What a person sees of a node that went wrong: a short traceback, a warning at their own line."""

from __future__ import annotations

import asyncio
import json
import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hypernodes
from hypernodes import (
    CacheWarning,
    DiskCache,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    PipelineCallback,
    node,
)

OURS = str(Path(hypernodes.__file__).parent)
ENGINES = {
    "sequential": HyperNodesEngine(),
    "threaded nodes": HyperNodesEngine("threaded"),
    "async": HyperNodesEngine("async", "async"),
    "threaded items": HyperNodesEngine("sequential", "threaded"),
    "processes": HyperNodesEngine("parallel"),
}
CALLS: dict[str, Callable[[Pipeline], object]] = {
    "run": lambda pipeline: pipeline.run({"x": 1}),
    "map": lambda pipeline: pipeline.map({"x": [1]}, map_over="x"),
    "imap": lambda pipeline: list(pipeline.imap({"x": [1]}, map_over="x")),
    "arun": lambda pipeline: asyncio.run(pipeline.arun({"x": 1})),
    "amap": lambda pipeline: asyncio.run(pipeline.amap({"x": [1]}, map_over="x")),
}


class Listener(PipelineCallback):
    def on_node_end(self, *_: Any) -> None:
        pass


@node(output_name="y", retries=1)
def fail(x: int) -> int:
    raise ValueError("here")


@node(output_name="y")
async def fail_async(x: int) -> int:
    raise ValueError("here")


@node(output_name="y", timeout_seconds=60)
def fail_in_time(x: int) -> int:
    raise ValueError("here")


@node(output_name="y")
def fail_in_a_library(x: int) -> Any:
    return json.loads("{")


nested = Pipeline([fail], name="nested").as_node()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("failing", [fail, fail_async, fail_in_time, fail_in_a_library, nested])
@pytest.mark.parametrize("plain", [False, True])
def test_a_traceback_has_at_most_four_frames_of_the_library(
    failing: Any, engine: str, call: str, plain: bool
) -> None:
    pipeline = Pipeline([failing], engine=ENGINES[engine])
    if not plain:
        pipeline = pipeline.with_cache(MemoryCache()).with_callbacks([Listener()])
    with pytest.raises(ValueError) as caught:  # JSONDecodeError is one
        CALLS[call](pipeline)
    frames = traceback.extract_tb(caught.value.__traceback__)
    ours = [each for each in frames if each.filename.startswith((OURS, "<pipeline"))]
    assert len(ours) <= 4
    assert not [each for each in ours if each.filename.startswith("<")]
    assert not [each for each in frames if "tenacity" in each.filename]
    assert caught.value.__context__ is None or engine == "processes"
    shown = "".join(traceback.format_exception(caught.value))
    assert 'raise ValueError("here")' in shown or "json.loads" in shown


def test_an_error_that_is_no_functions_keeps_its_traceback() -> None:
    pipeline = Pipeline([node(output_name=("a", "b"))(pair)], callbacks=[Listener()])
    with pytest.raises(hypernodes.ResultError) as caught:
        pipeline.run({"x": 1})
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].name == "unpack"


def pair(x: int) -> int:
    return x


def test_a_warning_of_the_cache_points_at_the_call() -> None:
    pipeline = Pipeline([Node(lambda x: x, output_name="y")], cache=MemoryCache(), name="p")
    value = (each for each in range(3))  # nothing identifies a generator
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline.run({"x": value})
    told = [each for each in caught if issubclass(each.category, CacheWarning)]
    assert told
    line = Path(__file__).read_text().split("\n")[told[0].lineno - 1]
    assert told[0].filename == __file__
    assert "pipeline.run(" in line


@pytest.mark.parametrize("executor", ["sequential", "threaded", "async"])
def test_a_warning_from_another_thread_points_at_the_call(executor: str) -> None:
    inner = Pipeline([Node(lambda x: x, output_name="y")], cache=MemoryCache(), name="p")
    with HyperNodesEngine(executor, executor) as engine:
        pipeline = inner.with_engine(engine)

        def given() -> list[Any]:
            return [(each for each in range(3))]

        async def iterate() -> None:
            async for _ in pipeline.imap({"x": given()}, "x"):
                pass

        for call in (
            lambda: pipeline.map({"x": given()}, "x"),
            lambda: list(pipeline.imap({"x": given()}, "x")),
            lambda: asyncio.run(pipeline.arun({"x": given()[0]})),
            lambda: asyncio.run(iterate()),
            lambda: Pipeline([inner.as_node(map_over="xs")], engine=engine).run({"xs": given()}),
        ):
            with pytest.warns(CacheWarning) as told:
                call()
            assert [each.filename for each in told] == [__file__]


class Forgetful(MemoryCache):
    """Finds entries of which some are gone when they are loaded."""

    gone = False

    def find(self, key: str) -> Callable[[], Any] | None:
        found = super().find(key)
        return self._lose if found is not None and self.gone else found

    def _lose(self) -> Any:
        raise KeyError


@pytest.mark.parametrize("items", ["async", "threaded"])
def test_a_hit_that_is_gone_is_computed_by_whichever_thread_needs_it(items: str) -> None:
    """Items of a nested map on threads load what the run around them has found."""

    @node(output_name="base", retries=1)
    def base(x: int) -> int:
        return x + 1

    @node(output_name="offset")
    async def offset(base: int) -> int:
        return 10 * base

    @node(output_name="sum", cache=False)
    async def add(each: int, offset: int) -> int:
        return each + offset

    @node(output_name="each", cache=False)
    def split(x: int) -> list[int]:
        return [x, x + 1, x + 2]

    inner = Pipeline([add]).as_node(map_over="each")
    pipeline = Pipeline([base, offset, split, inner], cache=(cache := Forgetful()))
    with HyperNodesEngine("sequential", items) as engine:
        pipeline = pipeline.with_engine(engine)
        for cache.gone in (False, True):
            assert pipeline.map({"x": [1, 2]}, "x", output_name="sum") == [
                {"sum": [21, 22, 23]},
                {"sum": [32, 33, 34]},
            ]
            assert pipeline.run({"x": 1}, "sum") == {"sum": [21, 22, 23]}


class ForgetfulDisk(DiskCache):
    """The same on disk, where the environment says so."""

    def find(self, key: str) -> Callable[[], Any] | None:
        found = super().find(key)
        return _lose if found is not None and os.environ.get("FORGETFUL") else found


def _lose() -> Any:
    raise KeyError


def test_a_hit_that_is_gone_when_a_worker_process_sends_its_rows_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @node(output_name="each")
    def split(x: int) -> list[int]:
        return [x, x + 1]

    @node(output_name="square")
    def square(each: int) -> int:
        return each * each

    @node(output_name="x")
    def count(n: int) -> list[int]:
        return list(range(n))

    inner = Pipeline([square]).as_node(map_over="each")
    middle = Pipeline([split, inner]).as_node(map_over="x")
    with HyperNodesEngine("async", "parallel") as engine:
        pipeline = Pipeline([count, middle], engine=engine, cache=ForgetfulDisk(tmp_path))
        for gone in ("", "gone"):
            monkeypatch.setenv("FORGETFUL", gone)
            assert pipeline.run({"n": 2}, "square") == {"square": [[0, 1], [1, 4]]}
