"""DaftEngine: names, values and types on their way through Daft are the user's own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import decimal
import enum
import os
import pickle
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, NewType, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import examples
from numpy.typing import NDArray
from recording import Recorder

from hypernodes import (
    CallbackContext,
    DaftEngine,
    FailedItem,
    HyperNodesEngine,
    MemoryCache,
    Node,
    NodeError,
    Pipeline,
    PipelineCallback,
    ResultError,
    Retry,
    SerializationError,
    failing_node,
)

daft = pytest.importorskip("daft")

from hypernodes.engines.daft.native_batch import cells_of_numbers, numbers_of_cells  # noqa: E402
from hypernodes.engines.daft.udf import BINARY  # noqa: E402
from hypernodes.integration import CURRENT_CALL  # noqa: E402

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


# -- One law: a list, a frame, lazily, with a cache and with callbacks ---------------------------

INTS = st.sampled_from(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])


@st.composite
def columns(draw: st.DrawFn) -> tuple[list[Any], Any]:
    """The values of a column, and its type."""
    kind = draw(st.one_of(INTS, st.sampled_from(["float32", "float64", "bool", "string"])))
    if kind == "string":
        values: st.SearchStrategy[Any] = st.text(max_size=3)
    elif kind == "bool":
        values = st.booleans()
    elif kind.startswith("float"):
        values = st.floats(width=int(kind[5:]), allow_subnormal=False)  # type: ignore[arg-type]
    else:
        limits = np.iinfo(kind)
        values = st.integers(int(limits.min), int(limits.max))
    values = st.one_of(values, st.none()) if draw(st.booleans()) else values
    made = draw(st.lists(values, min_size=1, max_size=4))
    return made, getattr(daft.DataType, kind)()


def add_in_place(x: Any) -> Any:
    x += 1
    return x


BATCH_FUNCTIONS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "numpy": {
        "same": lambda x: x,
        "in place": add_in_place,
        "half": lambda x: x / 2,
        "unsigned": lambda x: x.astype(np.int64).astype(np.uint64) + np.uint64(2**63),
        "big-endian": lambda x: x.astype(">f8"),
        "long double": lambda x: x.astype(np.longdouble),
        "half precision": lambda x: x.astype(np.float16),
        "series": lambda x: pd.Series(x),
        "nullable series": lambda x: pd.Series([each or None for each in x], dtype="Int64"),
        "strided": lambda x: np.repeat(x, 2)[::2],
        "masked": lambda x: np.ma.masked_array(x, x > 0),
        "list": lambda x: [each or None for each in x],
        "type": lambda x: [str(x.dtype.kind)] * len(x),
        "nan": lambda x: np.isnan(x),
        "fails": lambda x: x[99],
    },
    "arrow": {
        "same": lambda x: x,
        "type": lambda x: [str(x.type)] * len(x),
        "half": lambda x: pc.divide(x, 2),
        "nulls": lambda x: pc.is_null(x),
        "numpy": lambda x: x.to_numpy(zero_copy_only=False),
    },
    "list": {"same": lambda x: x, "repr": lambda x: [repr(each) for each in x]},
}
BATCHED = [(kind, name) for kind, each in BATCH_FUNCTIONS.items() for name in each]


def outcome(pipeline: Pipeline, given: Any) -> Any:
    """The values of `y` and `z` with their types, or the error's type."""
    lazy = not pipeline.engine.collect
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = pipeline.map(given, "x", output_name="z" if lazy else ("y", "z"))
            rows = made.to_pydict()["z"] if lazy else made
        except Exception as error:
            return type(error).__name__
    return rows if lazy else [(type(row["y"]), repr(row["y"]), row["z"]) for row in rows]


@given(columns(), st.sampled_from(BATCHED), st.sampled_from([float, int, bool, None]))
@examples(120, quick=20)
def test_a_node_gives_the_same_values_from_a_list_and_from_a_frame(
    column: tuple[list[Any], Any], function: tuple[str, str], annotation: Any
) -> None:
    (values, dtype), (kind, name) = column, function

    def batch(x: Any) -> Any:
        return BATCH_FUNCTIONS[kind][name](x)

    def text(y: Any) -> str:
        return repr(y)

    if annotation is not None:
        batch.__annotations__["return"] = list[annotation]
    whole = {"batch_size": 100}  # of a list with a None in it NumPy makes objects
    nodes = [Node(batch, "y", batch=kind, daft=whole), Node(text, "z")]  # type: ignore[arg-type]
    pipeline = Pipeline(nodes, engine=ENGINE)
    frame = daft.from_pydict({"x": daft.Series.from_pylist(values, dtype=dtype)})
    given = frame.to_pydict()["x"]  # 0.1 as a float of 32 bits is another number
    right = outcome(pipeline, {"x": given})
    assert outcome(pipeline, frame) == right
    assert outcome(pipeline.with_cache(MemoryCache()), frame) == right
    assert outcome(pipeline.with_callbacks([Recorder()]), frame) == right
    in_lazy = outcome(pipeline.with_engine(LAZY), frame)
    assert in_lazy == ([z for *_, z in right] if isinstance(right, list) else right)
    assert repr(frame.to_pydict()["x"]) == repr(given)


@pytest.mark.parametrize("make", [np.float64, np.int32, np.bool_, np.uint64, np.float16])
def test_numbers_pass_between_batch_nodes_in_one_go(make: Any) -> None:
    numbers = np.array([0, 1, 1, 0], dtype=make)
    cells = cells_of_numbers(numbers)
    assert list(map(pickle.loads, cells.to_pylist())) == numbers.tolist()
    back = numbers_of_cells(cells.slice(1, 2))
    assert back is not None
    assert back.tolist() == numbers.tolist()[1:3]
    assert back.flags.writeable
    assert numbers_of_cells(pa.array([pickle.dumps(each) for each in (1, 2.5)], BINARY)) is None
    assert cells_of_numbers(np.array([2**63], np.uint64)) is None


# -- Types ---------------------------------------------------------------------------------------

NOON = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone.utc)


class Metres(float):
    pass


VALUES = [0, -7, 2**63 - 1, 2**63, True, 0.5, float("nan"), -0.0, "é", "\ud800", b"x", None]
VALUES += [np.int64(3), np.float64(0.25), np.bool_(True), np.str_("n"), Metres(2), [1]]


@given(
    st.lists(st.one_of(st.sampled_from(VALUES), st.integers(), st.text()), max_size=6),
    st.sampled_from([int, float, str]),
    st.sampled_from([None, 0, 3]),
    st.sampled_from(["raise", "continue"]),
    st.sampled_from(["value", "text", ("value", "text")]),
)
@examples(150, quick=25)
def test_a_column_of_values_gives_what_a_column_of_cells_gives(
    values: list[Any], kind: type, fails_at: int | None, handling: Any, wanted: Any
) -> None:
    def make(at: int) -> Any:
        if at == fails_at:
            raise KeyError(at)
        return values[at]

    def describe(value: Any) -> str:
        return f"{type(value).__name__} {value!r}"

    make.__annotations__["return"] = kind
    pipeline = Pipeline([Node(make, "value"), Node(describe, "text")], engine=LAZY)
    frame = daft.from_pydict({"at": list(range(len(values)))})

    def rows(pipeline: Pipeline) -> str:
        try:
            lazy = pipeline.map(frame, "at", output_name=wanted, error_handling=handling)
            return repr(lazy.to_pydict())
        except Exception as error:
            return repr((type(error), error, getattr(error, "__notes__", None)))

    # What the cache may have to be asked for is a cell.
    assert rows(pipeline) == rows(pipeline.with_cache(MemoryCache()))

    def results(pipeline: Pipeline, inputs: Any) -> str:
        try:
            made = pipeline.map(inputs, "at", output_name=wanted, error_handling=handling)
        except Exception as error:
            return repr((type(error), error, failing_node(error)))
        told = [
            (each.index, each.node, repr(each.error), dict(each.inputs))
            if isinstance(each, FailedItem)
            else [(name, type(value), repr(value)) for name, value in each.items()]
            for each in made
        ]
        return repr(told)

    collected, items = pipeline.with_engine(DaftEngine()), {"at": list(range(len(values)))}
    expected = results(pipeline.with_engine(None), items)
    for each in (collected, collected.with_callbacks([PipelineCallback()])):
        assert results(each, items) == expected
        assert results(each, frame) == expected


class Town(TypedDict):
    name: str
    size: int


@dataclasses.dataclass
class Point:
    x: float
    tags: list[str]


class Pair(NamedTuple):
    a: int
    b: str | None


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


Id = NewType("Id", int)
TIME = daft.DataType.timestamp("us", "UTC")
PRICE = daft.DataType.decimal128(12, 2)

TYPES: list[tuple[Any, Any, Any, Any]] = [
    # annotation, value, what Parquet has, Daft's type where the annotation does not say
    (float, np.float64(0.5), 0.5, None),
    (float, np.float32(0.5), 0.5, None),
    (float, 3, 3.0, None),
    (int, np.int16(-3), -3, None),
    (bool, np.bool_(True), True, None),
    (str, np.str_("a"), "a", None),
    (Id, 7, 7, None),
    (Literal["a", "b", None], "a", "a", None),
    (Color, Color.RED, "red", None),
    (Town, {"name": "Oslo", "size": 3}, {"name": "Oslo", "size": 3}, None),
    (Point, Point(0.5, ["a"]), {"x": 0.5, "tags": ["a"]}, None),
    (list[Point], [Point(1, [])], [{"x": 1.0, "tags": []}], None),
    (Pair, Pair(1, None), {"a": 1, "b": None}, None),
    (dict[str, int], {"a": 1}, [("a", 1)], None),
    (dict[str, list[float]], {"a": [0.5]}, [("a", [0.5])], None),
    (tuple[int, ...], (1, 2), [1, 2], None),
    (tuple[int, str], (1, "a"), {"_0": 1, "_1": "a"}, None),
    (datetime.time, datetime.time(1, 2), datetime.time(1, 2), None),
    (np.float32, np.float32(0.1), float(np.float32(0.1)), None),
    (NDArray[np.float32], np.ones((2, 1), "f4"), {"data": [1.0, 1.0], "shape": [2, 1]}, None),
    (int | None, None, None, None),
    (datetime.datetime, NOON, NOON, TIME),
    (decimal.Decimal, decimal.Decimal("1.10"), decimal.Decimal("1.10"), PRICE),
    (Any, 2**63, 2**63, daft.DataType.uint64()),
    (None, [0.5, None], [0.5, None], daft.DataType.list(daft.DataType.float32())),
]


def test_each_type_is_written_to_parquet_as_what_it_is(tmp_path: Path) -> None:
    nodes = []
    for place, (annotation, value, _, type_) in enumerate(TYPES):
        function = _annotated(value, annotation)
        options = None if type_ is None else {"type": type_}
        nodes.append(Node(function, f"y{place}", name=f"n{place}", daft=options))
    lazy = Pipeline(nodes, engine=LAZY).map({"x": [1, 2]}, "x")
    lazy.write_parquet(str(tmp_path))
    (file,) = tmp_path.glob("*.parquet")
    table = pq.read_table(file)
    for place, (annotation, _, right, _) in enumerate(TYPES):
        column = table.column(f"y{place}")
        assert column.to_pylist() == [right] * 2, annotation
        # Arrow has no tensors of any shape: where Daft is not imported, it is the struct inside.
        is_tensor = annotation == NDArray[np.float32]
        assert isinstance(column.type, pa.BaseExtensionType) == is_tensor


def _annotated(value: Any, annotation: Any) -> Callable[[int], Any]:
    def function(x: int) -> Any:
        return value

    if annotation is not None:
        function.__annotations__["return"] = annotation
    else:
        del function.__annotations__["return"]
    return function


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 2.5),
        (int, 2**63),
        (int, True),
        (float, 2**53 + 1),
        (float, 10**400),
        (str, 3),
        (datetime.datetime, NOON),
        (datetime.date, NOON),
        (Literal["a"], "b"),
        (Color, "red"),
        (Town, {"name": "Oslo", "size": 3, "more": 1}),
        (Point, {"x": 0.5, "tags": []}),
        (tuple[int, str], ["1", 2]),
        (list[int], (1, 2)),
        (dict[str, int], {"a": 0.5}),
        (NDArray[np.float32], np.ones(2)),
        (np.ndarray[tuple[Literal[3]], np.dtype[np.float64]], np.ones(2)),
    ],
)
def test_a_value_that_daft_would_change_is_an_error_that_says_what_to_do(
    annotation: Any, value: Any
) -> None:
    lazy = Pipeline([Node(_annotated(value, annotation), "at")], engine=LAZY)
    with pytest.raises(ResultError, match=r"output 'at' of item 0 .*@node\(daft="):
        lazy.map({"x": [1]}, "x").to_pydict()


@pytest.mark.parametrize(
    "annotation", [decimal.Decimal, set[int], dict, list, complex, int | str, Path, np.ndarray]
)
def test_where_daft_has_no_type_the_error_says_so_before_anything_runs(annotation: Any) -> None:
    lazy = Pipeline([Node(_annotated(1, annotation), "y", name="n")], engine=LAZY)
    with pytest.raises(NodeError, match=r"output 'y' of node 'n' .*daft=\{\"type\""):
        lazy.map({"x": [1]}, "x")
    objects = Node(_annotated({1}, annotation), "y", daft={"type": daft.DataType.python()})
    assert Pipeline([objects], engine=LAZY).map({"x": [1]}, "x").to_pydict() == {"y": [{1}]}


def test_of_several_outputs_and_in_a_nested_map_each_has_the_type_that_it_is_given() -> None:
    def both(x: int) -> Any:
        return decimal.Decimal(x), x

    two = Node(both, ("price", "count"), daft={"type": {"price": PRICE}})
    nested = Pipeline([two], name="inner").as_node(map_over={"xs": "x"})
    frame = Pipeline([nested], engine=LAZY).map({"xs": [[1, 2], []]}, {"xs": "xs"})
    assert frame.schema()["price"].dtype == daft.DataType.list(PRICE)
    assert sorted(frame.to_pydict()["price"]) == [[], [1, 2]]
    wrong = Node(both, ("price", "count"), daft={"type": {"prize": PRICE}})
    with pytest.raises(NodeError, match="Did you mean 'price'"):
        Pipeline([wrong], engine=LAZY).map({"x": [1]}, "x")
    with pytest.raises(NodeError, match="2 outputs and one Daft type"):
        Pipeline([Node(both, ("a", "b"), daft={"type": PRICE})], engine=LAZY).map({"x": [1]}, "x")


VECTOR = daft.DataType.embedding(daft.DataType.float32(), 2)


@pytest.mark.parametrize("engine", [None, HyperNodesEngine()])
@pytest.mark.parametrize("how", ["raise", "continue"])
@pytest.mark.parametrize(
    ("type_", "make"),
    [
        (PRICE, decimal.Decimal),
        (VECTOR, lambda x: [float(x)] * 2),
        (daft.DataType.list(daft.DataType.int8()), lambda x: [x, None]),
    ],
)
def test_a_failed_item_of_a_nested_map_is_null_in_a_list_of_a_named_type(
    type_: Any, make: Callable[[int], Any], how: Any, engine: Any
) -> None:
    def checked(x: int) -> Any:
        if x == 2:
            raise ValueError("two")
        return make(x)

    inner = Pipeline([Node(checked, "y", daft={"type": type_})], name="inner", engine=engine)
    going_on = inner.as_node(
        map_over={"xs": "x"}, output_mapping={"y": "ys"}, error_handling="continue"
    )
    frame = daft.from_pydict({"xs": [[1, 2], [3], []]})
    lazy = Pipeline([going_on], engine=LAZY).map(frame, "xs", error_handling=how)
    assert lazy.schema()["ys"].dtype == daft.DataType.list(type_)
    first, second, third = lazy.to_pydict()["ys"]
    assert [np.array_equal(first[0], make(1)), first[1]] == [True, None]
    assert [np.array_equal(second[0], make(3)), third] == [True, []]
    deep = Pipeline([going_on], name="middle", engine=engine).as_node(map_over={"xss": "xs"})
    lists = daft.from_pydict({"xss": [[[1, 2], [3]]]})
    lazy = Pipeline([deep], engine=LAZY).map(lists, "xss", error_handling=how)
    assert str(lazy.to_pydict()["ys"]) == str([[first, second]])


# -- Lazily, and going on after errors -----------------------------------------------------------


def test_a_lazy_frame_goes_on_after_items_that_fail(tmp_path: Path) -> None:
    def inverse(x: int) -> float:
        return 1 / x

    def text(inverse: float, x: int) -> str:
        return 3 if x == 4 else str(inverse)  # type: ignore[return-value]

    pipeline = Pipeline([Node(inverse, "inverse"), Node(text, "text")], engine=LAZY)
    frame = daft.from_pydict({"x": [1, 0, 4], "error": ["mine"] * 3})
    lazy = pipeline.map(frame, "x", error_handling="continue")
    lazy.write_parquet(str(tmp_path))
    read = daft.read_parquet(f"{tmp_path}/*.parquet").to_pydict()
    assert read["x"] == [1, 0, 4]
    assert read["error"] == ["mine"] * 3
    assert read["inverse"] == [1.0, None, 0.25]
    assert read["text"] == ["1.0", None, None]
    zero = {"type": "ZeroDivisionError", "message": "division by zero", "node": "inverse"}
    assert read["error_"][:2] == [None, zero]
    assert read["error_"][2]["type"] == "ResultError"
    failed = lazy.where(lazy["error_"].not_null()).select("x").to_pydict()
    assert failed == {"x": [0, 4]}
    from_list = pipeline.map({"x": [0]}, "x", output_name="inverse", error_handling="continue")
    assert from_list.to_pydict() == {"inverse": [None], "error": [zero]}


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
    # With options of its own it is called apart, and what it reads is pickled.
    look = Node(lambda outcome: repr(outcome), "text", name="look", daft={"batch_size": 2})
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


def interrupt_after_four(started: list[int]) -> None:
    """Ctrl-C once four items have started."""

    def interrupt() -> None:
        while len(started) < 4:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["results", "lazy frame", "nested map of a lazy frame"])
@pytest.mark.parametrize("options", [None, {"batch_size": 100}, {"concurrency": 2}])
def test_after_ctrl_c_no_item_is_started(options: Any, kind: str) -> None:
    started: list[int] = []

    def slow(x: int) -> int:
        started.append(x)
        if x >= 0:
            time.sleep(0.1)
        return x

    pipeline = Pipeline([Node(slow, "y", daft=options)], name="inner")
    mapped, values = {"x": list(range(200))}, {"x": [-1, -2]}
    if kind == "nested map of a lazy frame":
        pipeline = Pipeline([pipeline.as_node(map_over={"x": "x"})])
        mapped, values = {"x": [list(range(200))] * 2}, {"x": [[-1], [-2]]}
    pipeline = pipeline.with_engine(ENGINE if kind == "results" else DaftEngine(collect=False))

    def run(given: dict[str, Any]) -> Any:
        if kind == "results":
            return pipeline.map(given, "x")
        return pipeline.map(daft.from_pydict(given), "x").to_pylist()

    run(values)
    started.clear()

    interrupt_after_four(started)
    with pytest.raises(KeyboardInterrupt):
        run(mapped)
    then = len(started)
    time.sleep(0.5)
    assert len(started) == then
    assert [row["y"] for row in run(values)] == values["x"]


def retrying(started: list[int]) -> Pipeline:
    def fail(x: int) -> int:
        started.append(x)
        if x < 0:
            return x
        raise ConnectionError("down")

    return Pipeline([Node(fail, "y", retries=1_000, retry_delay_seconds=0.1)], name="inner")


def limited(started: list[int]) -> Pipeline:
    async def fetch(x: int) -> int:
        started.append(x)
        await asyncio.sleep(0.1 if x >= 0 else 0)
        return x

    return Pipeline([Node(fetch, "y", max_concurrent=2)], name="inner")


def on_another_engine(started: list[int]) -> Pipeline:
    def slow(x: int) -> int:
        started.append(x)
        time.sleep(0.1 if x >= 0 else 0)
        return x

    return Pipeline([Node(slow, "y")], name="inner", engine=HyperNodesEngine())


@pytest.mark.slow
@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("make", [retrying, limited, on_another_engine])
def test_after_ctrl_c_nothing_is_tried_again_or_waited_for(
    make: Callable[[list[int]], Pipeline], is_lazy: bool, is_nested: bool
) -> None:
    started: list[int] = []
    node = make(started).as_node(map_over={"x": "x"} if is_nested else None)
    pipeline = Pipeline([node], engine=DaftEngine(collect=not is_lazy))

    def run(values: list[int]) -> Any:
        given = {"x": [values]} if is_nested else {"x": values}
        rows = pipeline.map(daft.from_pydict(given) if is_lazy else given, "x")
        return rows.to_pylist() if is_lazy else rows

    run([-1, -2])
    started.clear()

    interrupt_after_four(started)
    with pytest.raises(KeyboardInterrupt):
        run(list(range(80)))
    time.sleep(0.3)  # what was running ends
    then = len(started)
    time.sleep(0.5)
    assert len(started) == then
    wanted = [[-1, -2]] if is_nested else [-1, -2]
    assert [row["y"] for row in run([-1, -2])] == wanted  # and it can be run again


def inverses(x: list[int]) -> list[float]:
    return [1 / value for value in x]


def test_a_row_of_a_batch_fails_alone() -> None:
    pipeline = Pipeline([Node(inverses, "y", batch="list")], name="p")
    values = [1, 2, 0, 4] * 4
    expected = [place for place, value in enumerate(values) if not value]
    on_daft = pipeline.with_engine(DaftEngine())
    rows = on_daft.map({"x": values}, "x", error_handling="continue")
    assert [row.index for row in rows if isinstance(row, FailedItem)] == expected
    assert rows[3] == {"y": 0.25}
    with pytest.raises(ZeroDivisionError) as raised:
        on_daft.map({"x": values}, "x")
    assert any("in item 2 (x=0)" in note for note in raised.value.__notes__)
    frame = daft.from_pydict({"x": values})
    lazy = pipeline.with_engine(DaftEngine(collect=False))
    found = lazy.map(frame, "x", error_handling="continue").to_pydict()
    assert [place for place, y in enumerate(found["y"]) if y is None] == expected
    each = pipeline.as_node(map_over={"xs": "x"}, output_mapping={"y": "ys"})
    nested = Pipeline([each], name="q", engine=DaftEngine())
    lists = nested.map({"xs": [[1], [0], [2, 4]]}, "xs", error_handling="continue")
    assert lists[0] == {"ys": [1.0]}
    assert isinstance(lists[1], FailedItem)
    assert lists[2] == {"ys": [0.5, 0.25]}


@pytest.mark.parametrize("batch", ["numpy", "arrow"])
@pytest.mark.parametrize(
    "values",
    [
        [2**53 + 1, 0.5],
        [True, 2],
        [1, 2.5],
        [b"a", "b"],
        [1, "a"],
        [2**63, 1],
        [None, 1, 0.5],
        [[1], [2, 3], [0.5, 1]],
        [{"a": 1}, {"a": 0.5}],
    ],
    ids=repr,
)
@pytest.mark.parametrize("source", ["list", "frame of objects"])
def test_a_value_of_a_batch_does_not_depend_on_its_neighbours(
    batch: Any, values: list[Any], source: str
) -> None:
    node = Node(lambda x: x, "y", batch=batch, name="same")
    values = values * 4
    expected = Pipeline([node], name="p").map({"x": values}, "x")
    on_daft = Pipeline([node], name="p", engine=DaftEngine())
    if source == "list":
        found = on_daft.map({"x": values}, "x")
    else:
        series = daft.Series.from_pylist(values, dtype=daft.DataType.python())
        found = on_daft.map(daft.from_pydict({"x": series}), "x")
    as_text = [repr(row["y"]) for row in expected]
    assert [repr(row["y"]) for row in found] == as_text


@pytest.mark.parametrize("options", [{}, {"batch": "list"}], ids=["plain", "batch"])
def test_contexts_and_retries_of_batch_nodes_are_those_of_other_nodes(options: Any) -> None:
    class Around:
        def __init__(self, told: list[Any]) -> None:
            self.told = told

        def __enter__(self) -> None:
            call = CURRENT_CALL.get()
            assert call is not None
            self.told.append(("enter", call.arguments))

        def __exit__(self, *_: object) -> None:
            self.told.append("exit")

    class Told(PipelineCallback):
        def __init__(self) -> None:
            self.told: list[Any] = []

        def node_context(self, ctx: CallbackContext) -> Around:
            return Around(self.told)

        def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
            self.told.append(("retry", ctx.item_index, retry.attempt))

    def flaky(x: Any) -> Any:
        if x not in tried:
            tried.append(x)
            raise ValueError("once more")
        return x

    counts = []
    for engine in (HyperNodesEngine(), DaftEngine()):
        tried: list[Any] = []
        told = Told()
        node = Node(flaky, "y", retries=1, retry_delay_seconds=0, **options)
        pipeline = Pipeline([node], name="p", engine=engine, callbacks=[told])
        assert pipeline.map({"x": [1, 2, 3]}, "x") == [{"y": 1}, {"y": 2}, {"y": 3}]
        counts.append(Counter(map(str, told.told)))
    assert counts[0] == counts[1]
    assert counts[0]["exit"] == 3


def test_a_node_inside_a_context_that_raises_stop_iteration_raises_that() -> None:
    class Around(PipelineCallback):
        def node_context(self, ctx: CallbackContext) -> Any:
            return contextlib.nullcontext()

    def end(x: int) -> int:
        raise StopIteration("end")

    for engine in (HyperNodesEngine(), DaftEngine()):
        pipeline = Pipeline([Node(end, "y")], name="p", engine=engine, callbacks=[Around()])
        with pytest.raises(StopIteration):
            pipeline.map({"x": [1]}, "x")


@pytest.mark.parametrize("more", [{}, {"callbacks": [PipelineCallback()]}])
@pytest.mark.parametrize(
    ("batch", "hint"), [("numpy", int), ("arrow", int), ("numpy", NDArray[np.int64])]
)
def test_a_batch_that_raises_is_called_again_row_by_row_over_a_frame_too(
    batch: Any, hint: Any, more: Any
) -> None:
    def small(x: int) -> int:
        if len(x) > 2:  # type: ignore[arg-type]
            raise MemoryError("too large")
        return x

    def picky(x: int) -> int:
        if 3 in np.asarray(x):
            raise ValueError("three")
        return x

    def miscounting(x: int) -> int:
        calls.append(x)
        return x[:1]  # type: ignore[index]

    def batched(func: Any) -> Pipeline:
        func.__annotations__ = {"x": hint, "return": hint}
        return Pipeline([Node(func, "y", batch=batch)], engine=DaftEngine(), **more)

    calls: list[object] = []
    values = {"x": [1, 2, 3, 4, 5] * 4}
    frame = daft.from_pydict(values)
    sent = batched(small)
    assert sent.map(frame, "x") == sent.map(values, "x") == [{"y": x} for x in values["x"]]
    lazy = sent.with_callbacks([]).with_engine(DaftEngine(collect=False))
    assert lazy.map(frame, "x").to_pydict()["y"] == values["x"]
    with pytest.raises(ValueError, match="three") as caught:
        batched(picky).map(frame, "x")
    assert any("item 2" in note or "x=3" in note for note in caught.value.__notes__)
    with pytest.raises(ResultError):
        batched(miscounting).map(frame, "x")
    assert len(calls) == 1
