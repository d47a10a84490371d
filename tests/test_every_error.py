"""Every kind of error, on every engine, from sync and async nodes, in every way to run them.

What is caught, its notes, and the user's line are the same everywhere, and the engine goes on. The
table in docs/guides/executors.md is what is measured here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydantic
import pytest

from hypernodes import (
    DaftEngine,
    FailedItem,
    HyperNodesEngine,
    NodeTimeoutError,
    Pipeline,
    failing_node,
    node,
)

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "executors.md"

# -- What is raised ------------------------------------------------------------------------------


class FalseError(Exception):
    def __bool__(self) -> bool:
        return False


class EmptyError(Exception):
    def __len__(self) -> int:
        return 0


class TwoArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


class OwnReduce(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return _own_reduce, (self.code,)


def _own_reduce(code: int) -> OwnReduce:
    return OwnReduce(code=code)


class KeywordOnly(Exception):
    def __init__(self, *, where: str) -> None:
        super().__init__()
        self.where = where


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class UnequalError(Exception):
    """Is not hashable, and equals nothing."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False


class SilentError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class OwnBaseException(BaseException):
    pass


class HoldsALock(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.lock = threading.Lock()


class CannotBeSent(Exception):
    """Its class refuses to be pickled."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("not this one")

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.frame = sys._getframe()


class Model(pydantic.BaseModel):
    count: int


def _validation_error() -> BaseException:
    try:
        Model(count="many")  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        return error
    raise AssertionError


def _status_error() -> BaseException:
    request = httpx.Request("GET", "https://example.org")
    return httpx.HTTPStatusError("503", request=request, response=httpx.Response(503))


def _group(name: str, *errors: BaseException) -> BaseException:
    made: BaseException = getattr(__builtins__, name, None) or __builtins__[name]  # type: ignore
    return made("several", list(errors))  # type: ignore[operator]


KINDS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("bad"),
    "KeyError": lambda: KeyError("name"),
    "FileNotFoundError": lambda: FileNotFoundError(2, "No such file", "data.csv"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad start"),
    "JSONDecodeError": lambda: json.JSONDecodeError("Expecting value", "{", 1),
    "MemoryError": lambda: MemoryError("no room"),
    "RecursionError": lambda: RecursionError("too deep"),
    "TimeoutError": lambda: TimeoutError("late"),
    "NodeTimeoutError": lambda: NodeTimeoutError("another node was late"),
    "StopIteration": lambda: StopIteration("the end"),
    "StopAsyncIteration": lambda: StopAsyncIteration("the end"),
    "FalseError": lambda: FalseError("false"),
    "EmptyError": lambda: EmptyError("empty"),
    "TwoArguments": lambda: TwoArguments(5, "bad"),
    "KeywordOnly": lambda: KeywordOnly(where="here"),
    "OwnReduce": lambda: OwnReduce(code=5),
    "FrozenError": lambda: FrozenError(5),
    "UnequalError": lambda: UnequalError("unequal"),
    "SilentError": lambda: SilentError("silent"),
    "HoldsALock": lambda: HoldsALock("held"),
    "CannotBeSent": lambda: CannotBeSent("here"),
    "ValidationError": _validation_error,
    "HTTPStatusError": _status_error,
    "CancelledError": lambda: asyncio.CancelledError("cancelled"),
    "concurrent.futures.CancelledError": lambda: concurrent.futures.CancelledError("cancelled"),
    "BrokenExecutor": lambda: concurrent.futures.BrokenExecutor("another pool"),
    "GeneratorExit": lambda: GeneratorExit("closed"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("Ctrl-C"),
    "OwnBaseException": lambda: OwnBaseException("base"),
}
if sys.version_info >= (3, 11):
    KINDS["ExceptionGroup"] = lambda: _group("ExceptionGroup", ValueError(1), KeyError(2))
    KINDS["BaseExceptionGroup"] = lambda: _group("BaseExceptionGroup", SystemExit(1), KeyError(2))

FEW = ["TwoArguments", "StopIteration", "FalseError", "CancelledError", "SystemExit"]


@node(output_name="y")
def fail(x: int, kind: str) -> int:
    if x == 77:
        raise KINDS[kind]()
    return x


@node(output_name="y")
async def fail_async(x: int, kind: str) -> int:
    await asyncio.sleep(0)
    if x == 77:
        raise KINDS[kind]()
    return x


@node(output_name="z")
async def wait(y: int) -> int:
    await asyncio.sleep(0)
    return y + 1


FAILS = [Pipeline([fail, wait], name="fails"), Pipeline([fail_async, wait], name="fails")]
LINES = [
    f'"{inspect.getsourcefile(each.func)}", line {inspect.getsourcelines(each.func)[1] + back}, '
    f"in {each.name}"
    for each, back in ((fail, 3), (fail_async, 4))
]

# -- How it is run -------------------------------------------------------------------------------

ITEMS = [1, 77, 3]
CONTINUE = 'error_handling="continue"'


def _awaited(make: Callable[[], Any]) -> Any:
    async def main() -> Any:
        try:
            return await make()
        except BaseException as error:  # else the loop would do something of its own with it
            return error

    result = asyncio.run(main())
    if isinstance(result, BaseException):
        raise result
    return result


def _async_for(pipeline: Pipeline, kind: str) -> None:
    async def rows() -> None:
        async for _ in pipeline.imap({"x": iter(ITEMS), "kind": kind}, "x"):
            pass

    _awaited(rows)


WAYS: dict[str, Callable[[Pipeline, str], Any]] = {
    "run": lambda pipeline, kind: pipeline.run({"x": 77, "kind": kind}),
    "map": lambda pipeline, kind: pipeline.map({"x": ITEMS, "kind": kind}, "x"),
    "imap": lambda pipeline, kind: list(pipeline.imap({"x": iter(ITEMS), "kind": kind}, "x")),
    "arun": lambda pipeline, kind: _awaited(lambda: pipeline.arun({"x": 77, "kind": kind})),
    "amap": lambda pipeline, kind: _awaited(lambda: pipeline.amap({"x": ITEMS, "kind": kind}, "x")),
    "async for": _async_for,
    CONTINUE: lambda pipeline, kind: pipeline.map(
        {"x": ITEMS, "kind": kind}, "x", error_handling="continue"
    ),
}


def caught(way: str, pipeline: Pipeline, kind: str, line: str) -> str:
    """What comes of it: the error's class, and what is missing of its notes and lines."""
    begun = time.monotonic()
    try:
        rows = WAYS[way](pipeline, kind)
    except BaseException as raised:
        error, result = raised, type(raised).__name__
    else:
        assert way == CONTINUE
        failed = rows[1]
        assert isinstance(failed, FailedItem)
        assert (failed.index, failed.inputs, rows[0]["z"], rows[2]["z"]) == (1, {"x": 77}, 2, 4)
        error, result = failed.error, f"FailedItem({type(failed.error).__name__})"
        assert failed.node == failing_node(error)
    assert time.monotonic() - begun < 30
    expected = KINDS[kind]()
    if type(error) is type(expected):
        assert _same(error, expected), (error, expected)
    name = pipeline.nodes[0].name
    notes = error.__dict__.get("__notes__", [])
    assert failing_node(error) == name, notes
    wanted = [f"in node {name!r} of pipeline 'fails'"]
    if way not in ("run", "arun"):
        wanted.append("in item 1 (x=77) of a map of pipeline 'fails'")
    assert notes == wanted
    assert line in "".join(_chain(error))
    return result


def _same(error: BaseException, expected: BaseException) -> bool:
    if isinstance(expected, (pydantic.ValidationError, httpx.HTTPStatusError)):
        return str(error) == str(expected)
    attributes = {
        name: value
        for name, value in expected.__dict__.items()
        if name not in ("lock", "frame") and not name.startswith("__")
    }
    return repr(error.args) == repr(expected.args) and all(
        getattr(error, name) == value for name, value in attributes.items()
    )


def _chain(error: BaseException | None) -> Iterator[str]:
    """The lines of an error and of its causes; `traceback` leaves out those that equal no error."""
    while error is not None:
        yield from traceback.format_tb(error.__traceback__)
        text = getattr(error, "text", None)  # of a traceback in another process
        if isinstance(text, str):
            yield text
        yield from error.__dict__.get("__notes__", ())
        error = error.__cause__


def measured(engine: Any, kinds: list[str] | None = None) -> dict[tuple[str, str], str]:
    """What is caught for each kind in each way, the same from sync and async nodes.

    Args:
        engine: what the pipelines run on.
        kinds: of `KINDS`; None for all.
    """
    found: dict[tuple[str, str], str] = {}
    differing = []
    for place, each in enumerate(FAILS):
        pipeline = each.with_engine(engine)
        for kind in kinds or KINDS:
            if kind == "StopIteration" and place:
                continue  # in an async function it is Python itself that replaces it
            for way in WAYS:
                try:
                    result = caught(way, pipeline, kind, LINES[place])
                except AssertionError as error:
                    differing.append(f"{kind}, {way}, {'a' * place}sync: {error!s:.300}")
                    continue
                if found.setdefault((kind, way), result) != result:
                    differing.append(f"{kind}, {way}, {'a' * place}sync: {result}")
            # The loop and the pool live on.
            assert pipeline.map({"x": [5], "kind": kind}, "x", output_name="z") == [{"z": 6}]
    assert not differing, "\n".join(differing)
    return found


def of_one_class(kind: str, way: str) -> str:
    """What has to be caught: what was raised, but for what Python does not let through."""
    made = KINDS[kind]()
    name = type(made).__name__
    if kind.startswith("Stop") and not (
        way in ("run", "map", CONTINUE)
        or (kind == "StopAsyncIteration" and way in ("imap", "arun", "amap"))
    ):
        return "RuntimeError"
    return f"FailedItem({name})" if way == CONTINUE and isinstance(made, Exception) else name


def expected(kinds: list[str] | None = None) -> dict[tuple[str, str], str]:
    return {(kind, way): of_one_class(kind, way) for kind in kinds or KINDS for way in WAYS}


# -- Engines -------------------------------------------------------------------------------------


def test_a_sequential_run_raises_what_its_nodes_raise_as_the_page_says() -> None:
    found = measured(HyperNodesEngine())
    assert found == expected()
    if "ExceptionGroup" in KINDS:
        assert table(found) in PAGE.read_text()


def table(found: dict[tuple[str, str], str]) -> str:
    """What is caught, in Markdown: kinds for which it is the same share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for kind in KINDS:
        own = type(KINDS[kind]()).__name__
        cells = [found[kind, way].replace(own, "it") for way in WAYS]
        named = ["a `FailedItem`" if each == "FailedItem(it)" else each for each in cells]
        shown = tuple(f"`{each}`" if each.endswith("Error") else each for each in named)
        rows.setdefault(shown, []).append(f"`{kind}`")
    heads = ["a node raises", *(f"`{way}`" for way in WAYS)]
    lines = [
        heads,
        ["---"] * len(heads),
        *([", ".join(kinds), *row] for row, kinds in rows.items()),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@pytest.mark.parametrize("kind", ["async", "threaded", "parallel"])
def test_executors_raise_what_nodes_raise(kind: str) -> None:
    with HyperNodesEngine(kind, kind) as engine:
        assert measured(engine, FEW) == expected(FEW)


@contextmanager
def _dask() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@contextmanager
def _loky() -> Iterator[Any]:
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=2)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["async", "threaded", "parallel"])
def test_executors_raise_every_kind(name: str) -> None:
    with HyperNodesEngine(name, name) as engine:
        assert measured(engine) == expected()


@pytest.mark.slow
@pytest.mark.parametrize("nodes", ["sequential", "async", "threaded", "parallel"])
def test_other_executors_for_nodes_than_for_items_raise_the_same(nodes: str) -> None:
    for items in {"sequential", "async", "threaded", "parallel"} - {nodes}:
        with HyperNodesEngine(nodes, items) as engine:
            assert measured(engine, FEW) == expected(FEW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes", "loky", "dask"])
def test_executors_of_the_users_raise_what_nodes_raise(kind: str) -> None:
    pools: dict[str, Callable[[], Any]] = {
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2),
        "loky": _loky,
        "dask": _dask,
    }
    kinds = FEW if kind in ("threads", "dask") else None
    with pools[kind]() as pool:
        assert measured(HyperNodesEngine(pool, pool), kinds) == expected(kinds)


@pytest.mark.slow
def test_daft_raises_what_nodes_raise() -> None:
    assert measured(DaftEngine()) == expected()
