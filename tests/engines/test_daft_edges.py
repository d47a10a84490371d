"""DaftEngine at its edges: what Daft would change, or cannot unpickle, or is too deep for it."""

from __future__ import annotations

import datetime
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

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
    SerializationError,
)

daft = pytest.importorskip("daft")

from daft import DataType, Series  # noqa: E402

ENGINE = DaftEngine()
LAZY = DaftEngine(collect=False)
UTC = datetime.timezone.utc


def returning(value: Any, annotation: Any) -> Callable[[int], Any]:
    def give(x: int) -> Any:
        return value

    give.__annotations__["return"] = annotation
    return give


def lazily(func: Callable[..., Any], how: Any = "raise", xs: Any = (1,), **options: Any) -> Any:
    frame = daft.from_pydict({"x": list(xs)})
    pipeline = Pipeline([Node(func, "y", **options)], engine=LAZY)
    return pipeline.map(frame, map_over="x", error_handling=how).to_pydict()


# -- Types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "annotation", "value"),
    [
        (None, datetime.time, datetime.time(1, 2, tzinfo=UTC)),
        (DataType.timestamp("ns"), datetime.datetime, datetime.datetime(3000, 1, 1)),
        (DataType.timestamp("ns", "UTC"), Any, datetime.datetime(1500, 1, 1, tzinfo=UTC)),
        (DataType.duration("ms"), Any, datetime.timedelta(microseconds=1500)),
        (DataType.duration("s"), Any, datetime.timedelta(milliseconds=1500)),
        (DataType.duration("ns"), Any, datetime.timedelta(days=200_000)),
        (DataType.embedding(DataType.int8(), 2), Any, [300, 1]),
        (DataType.embedding(DataType.int8(), 2), Any, [1.7, 1]),
        (DataType.tensor(DataType.int8()), Any, np.array([300, 1])),
        (DataType.tensor(DataType.float32(), (2,)), Any, [1.0, 2.0, 3.0]),
        (DataType.fixed_size_list(DataType.float32(), 2), Any, [1.0, 2.0, 3.0]),
        (DataType.embedding(DataType.float32(), 3), Any, [1.0, None, 3.0]),
        (DataType.embedding(DataType.int32(), 3), Any, [1, None, 3]),
        (DataType.embedding(DataType.float64(), 2), Any, np.ma.array([1.0, 2.0], mask=[1, 0])),
        (DataType.tensor(DataType.float64()), Any, np.array([[1.0, None]])),
        (DataType.tensor(DataType.float64(), (2,)), Any, [1.0, None]),
        (DataType.list(DataType.embedding(DataType.float32(), 2)), Any, [[1.0, None]]),
        (DataType.fixed_size_binary(2), bytes, b"abc"),
        (DataType.float32(), float, 1e300),
        (DataType.decimal128(5, 2), Decimal, Decimal("1E+300")),
        (DataType.image(), Any, 3.5),
        (None, str, "a\udc80"),
        (None, list[str], ["a\udc80"]),
    ],
)
def test_a_value_that_daft_would_change_is_an_error_that_names_it(
    type_: Any, annotation: Any, value: Any
) -> None:
    options = {} if type_ is None else {"daft": {"type": type_}}
    give = returning(value, annotation)
    with pytest.raises(ResultError, match="output 'y' of item 0"):
        lazily(give, **options)
    assert lazily(give, "continue", **options)["error"][0]["type"] == "ResultError"


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (DataType.timestamp("ns"), datetime.datetime(2020, 1, 1)),
        (DataType.duration("ms"), datetime.timedelta(milliseconds=1500)),
        (DataType.embedding(DataType.int8(), 2), [3, 1]),
        (DataType.embedding(DataType.float32(), 2), np.array([3, 1.5], "f4")),
        (DataType.tensor(DataType.int8()), np.array([[30, 1]])),
        (DataType.fixed_size_list(DataType.float32(), 2), [1.0, 2.0]),
        (DataType.fixed_size_list(DataType.float32(), 2), [1.0, None]),
        (DataType.fixed_size_binary(2), b"ab"),
        (DataType.float32(), 1.5),
    ],
)
def test_a_value_that_daft_keeps_is_kept(type_: Any, value: Any) -> None:
    (made,) = lazily(returning(value, Any), daft={"type": type_})["y"]
    assert np.array_equal(made, value)


@pytest.mark.parametrize(
    "annotation",
    [dict[str, dict[str, int]], dict[str, list[dict[str, int]]], dict[tuple[int, int], int]],
)
def test_a_type_that_daft_cannot_keep_is_refused_before_anything_runs(annotation: Any) -> None:
    with pytest.raises(NodeError, match="for which Daft has no type"):
        lazily(returning({}, annotation))


# -- Frames and lists ----------------------------------------------------------------------------


def test_a_batch_of_tensors_has_the_tensors() -> None:
    def total(x: Any) -> npt.NDArray[np.float64]:
        return np.array([np.sum(each) for each in x])

    values = Series.from_pylist([np.ones((2, 2))] * 2, dtype=DataType.tensor(DataType.float64()))
    pipeline = Pipeline([Node(total, "y", batch="numpy")], engine=ENGINE)
    assert pipeline.map(daft.from_pydict({"x": values}), map_over="x") == [{"y": 4.0}] * 2


def test_large_unsigned_numbers_and_zero_bytes_stay_in_batches() -> None:
    column = Series.from_pylist([2**63], dtype=DataType.uint64())
    arrow = Node(lambda x: x, "y", batch="arrow")
    for given in (daft.from_pydict({"x": column}), {"x": [2**63]}):
        assert Pipeline([arrow], engine=ENGINE).map(given, map_over="x") == [{"y": 2**63}]
    for values in ([b"a\0", b"b"], ["a\0", "b"]):
        for engine in (ENGINE, HyperNodesEngine()):
            pipeline = Pipeline([Node(lambda x: x, "y", batch="numpy")], engine=engine)
            assert pipeline.map({"x": values}, "x") == [{"y": value} for value in values]


# -- Errors --------------------------------------------------------------------------------------


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Frozen(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("frozen")


class KeywordOnly(Exception):
    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


@pytest.mark.parametrize("error", [ValueError("bad \udc80 name"), NoText(1), Frozen("x")])
def test_a_lazy_frames_error_is_the_nodes_whatever_its_text(error: Exception) -> None:
    def fail(x: int) -> int:
        if x == 1:
            raise error
        return x

    with pytest.raises(type(error)) as caught:
        lazily(fail, xs=(0, 1, 2))
    assert "in node 'fail' of pipeline 'pipeline'" in caught.value.__dict__["__notes__"]
    made = lazily(fail, "continue", xs=(0, 1, 2))
    assert made["y"] == [0, None, 2]
    assert made["error"][1]["type"] == type(error).__name__


def test_what_ends_a_program_ends_a_lazy_frame_that_continues() -> None:
    def leave(x: int) -> int:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="SystemExit was raised"):
        lazily(leave, "continue")


def test_a_failed_item_of_a_nested_map_has_an_error_of_any_class() -> None:
    def fail(x: int) -> int:
        if x:
            raise KeywordOnly("x", code=7)
        return x

    inner = Pipeline([Node(fail, "y")]).as_node(map_over="xs", error_handling="continue")
    first, lost = Pipeline([inner], engine=ENGINE).run({"xs": [0, 1]})["y"]
    assert first == 0
    assert isinstance(lost, FailedItem)
    assert (type(lost.error), lost.error.code) == (KeywordOnly, 7)  # type: ignore[attr-defined]


class Unloadable:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("call", [(sys.exit, 5), (next, iter(())), (int, "x")])
def test_what_cannot_be_unpickled_is_an_error_with_a_name_in_a_nested_map(call: Any) -> None:
    inner = Pipeline([Node(lambda x: Unloadable(*call), "v")]).as_node(map_over="xs")
    for cache in (None, MemoryCache()):
        with pytest.raises(SerializationError, match="output 'v' of item 0 cannot be unpickled"):
            Pipeline([inner], engine=ENGINE, cache=cache).run({"xs": [1, 2]})


def test_a_nested_map_goes_on_after_what_cannot_be_unpickled() -> None:
    made = Node(lambda x: x if x != 1 else Unloadable(int, "x"), "v")
    inner = Pipeline([made]).as_node(map_over="xs", error_handling="continue")
    first, lost, last = Pipeline([inner], engine=ENGINE).run({"xs": [0, 1, 2]})["v"]
    assert (first, last) == (0, 2)
    assert isinstance(lost.error, SerializationError)


def test_an_input_that_cannot_be_unpickled_names_its_class_with_a_cache_too() -> None:
    nodes = [Node(lambda x: KeywordOnly("a", code=1), "v"), Node(lambda v: 1, "y")]
    pipeline = Pipeline(nodes, engine=ENGINE, cache=MemoryCache())
    with pytest.raises(SerializationError, match="KeywordOnly"):
        pipeline.map({"x": [1]}, "x", output_name="y")


def test_an_array_of_who_knows_what_is_told_how_to_be_annotated() -> None:
    with pytest.raises(NodeError, match=r"NDArray\[np.float64\] says which numbers"):
        lazily(returning(np.ones(2), np.ndarray))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DataType.tensor(DataType.float64()), np.ones((2, 2))),
        (DataType.embedding(DataType.float32(), 2), np.ones(2, "float32")),
        (DataType.python(), {1, 2}),
        (DataType.duration("us"), datetime.timedelta(1)),
    ],
    ids=["tensor", "embedding", "python", "duration"],
)
def test_an_item_of_a_frame_is_shown_with_the_value_that_its_node_was_given(
    dtype: Any, value: object
) -> None:
    given: list[object] = []

    class Watching(PipelineCallback):
        def on_map_item_start(self, item_index: int, ctx: CallbackContext) -> None:
            given.append(ctx.item_inputs["x"])

        def on_node_start(self, node_id: str, inputs: Any, ctx: CallbackContext) -> None:
            given.append(inputs["x"])

    def fail(x: Any) -> None:
        raise ValueError(type(x).__name__)

    frame = daft.from_pydict({"x": Series.from_pylist([value], dtype=dtype)})
    pipeline = Pipeline([Node(fail, "y")], engine=ENGINE)
    for callbacks in ([], [Watching()]):
        watched = pipeline.with_callbacks(callbacks)
        (failed,) = watched.map(frame, "x", error_handling="continue")
        given.append(failed.inputs["x"])
        assert str(failed.error) == type(value).__name__
    assert len(given) == 4
    for each in given:
        assert type(each) is type(value)
        assert np.array_equal(each, value) if isinstance(each, np.ndarray) else each == value


# -- Wide and deep -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "continue"])
def test_a_lazy_frame_of_many_outputs(how: Any) -> None:
    def make(place: int) -> Node[..., Any]:
        def add(x: int) -> Any:
            if place == 7 and x < 0:
                raise ValueError("negative")
            return x + place if place % 3 else str(x + place)

        add.__annotations__["return"] = int if place % 3 else str
        return Node(add, f"y{place}")

    wide = Pipeline([make(place) for place in range(300)], engine=LAZY)
    lazy = wide.map(daft.from_pydict({"x": [1, 2]}), map_over="x", error_handling=how)
    made = lazy.to_pydict()
    assert made["y1"] == [2, 3]
    assert made["y299"] == [300, 301]
    assert made["y297"] == ["298", "299"]
    if how == "continue":
        made = wide.map(
            daft.from_pydict({"x": [1, -2]}), map_over="x", error_handling=how
        ).to_pydict()
        assert made["y7"] == [8, None]
        assert made["error"][1]["message"] == "negative"


@pytest.mark.parametrize("count", [3, 100])
def test_of_many_outputs_those_are_null_that_depend_on_what_failed(count: int) -> None:
    called: Counter[str] = Counter()

    def add(name: str, value: int) -> int:
        called[name] += 1
        if (name, value) in {("side2", 3), ("link1", 22), ("pair", 30), ("link2", 42)}:
            raise ValueError(name)
        return value + 1

    def make(name: str, given: str, *outputs: str) -> Node[..., Any]:
        scope: dict[str, Any] = {"add": add}
        value = f"add({name!r}, {given})" + f", {given}" * (len(outputs) - 1)
        annotation = "int" if len(outputs) == 1 else "tuple[int, int]"
        exec(f"def f({given}: int) -> {annotation}: return {value}", scope)
        return Node(scope["f"], outputs if len(outputs) > 1 else outputs[0], name=name)

    nodes = [make(f"side{at}", "x", f"side{at}") for at in range(count)]
    nodes += [make(f"link{at}", f"x{at}" if at else "x", f"x{at + 1}") for at in range(count)]
    nodes += [make("pair", "x", "left", "right"), make("after", "left", "after")]
    pipeline = Pipeline(nodes, name="wide", engine=LAZY)
    frame = daft.from_pydict({"x": [3, 21, 30, 40, 50]})
    made = pipeline.map(frame, "x", error_handling="continue").to_pydict()
    assert made.pop("x") == [3, 21, 30, 40, 50]
    errors = [error and error["message"] for error in made.pop("error")]
    assert errors == ["side2", "link1", "pair", "link2", None]
    links = [f"x{at}" for at in range(1, count + 1)]
    nulls = [{"side2"}, {*links[1:]}, {"left", "right", "after"}, {*links[2:]}, set()]
    for row, null in enumerate(nulls):
        assert {name for name, column in made.items() if column[row] is None} == null
    assert [column[4] for column in made.values()] == [
        *[51] * count, *range(51, 51 + count), 51, 50, 52
    ]  # fmt: skip
    assert called["side0"] == called["link0"] == called["pair"] == 5
    assert called["link2"] == 4


VALUES_BY_TYPE: list[tuple[Any, Callable[[int], object]]] = [
    (DataType.python(), lambda x: {x}),
    (DataType.embedding(DataType.float32(), 2), lambda x: np.full(2, x, "float32")),
    (DataType.tensor(DataType.float64()), lambda x: np.ones((2, x))),
    (DataType.map(DataType.string(), DataType.int64()), lambda x: {"a": x}),
    (DataType.list(DataType.list(DataType.string())), lambda x: [[str(x)], []]),
    (DataType.struct({"a": DataType.date()}), lambda x: {"a": datetime.date(2020, 1, x)}),
    (DataType.timestamp("ns", "Europe/Paris"), lambda x: None),
    (DataType.duration("us"), lambda x: datetime.timedelta(x)),
    (DataType.decimal128(9, 2), lambda x: Decimal(x) / 4),
    (DataType.binary(), lambda x: bytes(x)),
]


@pytest.mark.parametrize(
    ("type_", "value"), VALUES_BY_TYPE, ids=[str(type_) for type_, _ in VALUES_BY_TYPE]
)
def test_of_many_outputs_each_has_the_type_and_values_that_it_has_alone(
    type_: Any, value: Callable[[int], object]
) -> None:
    nodes = [Node(lambda x: value(x), f"y{n}", daft={"type": type_}) for n in range(25)]
    frame = daft.from_pydict({"x": [1, 2, 3]})
    many = Pipeline(nodes, engine=LAZY).map(frame, "x")
    alone = Pipeline(nodes[:1], engine=LAZY).map(frame, "x")
    assert many.schema()["y7"].dtype == many.schema()["y24"].dtype == alone.schema()["y0"].dtype
    made = many.to_pydict()
    assert str(made["y7"]) == str(made["y24"]) == str(alone.to_pydict()["y0"])


@pytest.mark.parametrize("part", [300, 20])
def test_a_long_chain_of_batch_nodes_over_a_frames_numbers(part: int) -> None:
    def link(place: int) -> Node[..., Any]:
        scope: dict[str, Any] = {"Array": npt.NDArray[np.int64]}
        exec(f"def f(x{place}: Array) -> Array: return x{place} + 1", scope)
        return Node(scope["f"], f"x{place + 1}", batch="numpy")

    links = [link(place) for place in range(300)]
    parts = [Pipeline(links[at : at + part], name=f"p{at}") for at in range(0, 300, part)]
    chain = Pipeline([each.as_node() for each in parts], engine=ENGINE)
    made = chain.map(daft.from_pydict({"x0": [1, 2]}), map_over="x0", output_name="x300")
    assert made == [{"x300": 301}, {"x300": 302}]


def test_a_products_values_are_pickled_once() -> None:
    pickled: list[int] = []

    class Large:
        def __reduce__(self) -> Any:
            pickled.append(1)
            return str, ("large",)

    inner = Pipeline([Node(lambda a, b: 1, "y")])
    each = inner.as_node(map_over={"many": "a", "more": "b"}, map_mode="product")
    Pipeline([each], engine=ENGINE).run({"many": [Large()] * 3, "more": [1, 2, 3]})
    assert len(pickled) < 9


def test_a_batch_of_lists_of_texts_is_an_array_of_two_dimensions() -> None:
    shapes: list[Any] = []
    pipeline = Pipeline(
        [Node(lambda x: shapes.append(x.shape) or [1] * len(x), "y", batch="numpy")]
    )
    for value in (["a", "b"], np.array(["a", "b"])):
        pipeline.map({"x": [value]}, "x")
    assert shapes == [(1, 2), (1, 2)]


@pytest.mark.parametrize("name", ["SeqEngine", "record", "Pipeline", "engines", "no such name"])
@pytest.mark.parametrize("engine", [ENGINE, LAZY], ids=["collected", "lazy"])
def test_a_node_may_have_the_name_of_something_of_ours(engine: DaftEngine, name: str) -> None:
    inner = Pipeline([Node(lambda x: x + 1, "y", name=name)], name=name)
    mapped = inner.as_node(name=name, map_over={"xs": "x"}, output_mapping={"y": "ys"})
    added = Node(lambda ys: sum(ys), "total", name=f"{name}_")
    found = Pipeline([mapped, added], name=name, engine=engine).map(
        daft.from_pydict({"xs": [[1, 2], [3]]}), "xs"
    )
    rows = found.to_pylist() if engine is LAZY else found
    assert [row["total"] for row in rows] == [5, 4]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DataType.time("us"), datetime.time(1, tzinfo=UTC)),
        (DataType.float16(), 1e6),
        (DataType.float32(), True),
        (DataType.null(), 1),
    ],
    ids=str,
)
def test_a_named_type_changes_no_value(dtype: Any, value: Any) -> None:
    node = Node(lambda x: value, "y", daft={"type": dtype})
    frame = Pipeline([node], name="p", engine=LAZY).map(daft.from_pydict({"x": [1]}), "x")
    with pytest.raises(ResultError, match=r"output 'y' of item 0 .* Daft would change it"):
        frame.collect()


@pytest.mark.parametrize(
    "annotation",
    [dict[str, datetime.date], dict[str, list[datetime.timedelta]], np.datetime64, np.longdouble],
    ids=str,
)
def test_a_type_at_which_daft_panics_is_refused_before_anything_runs(annotation: Any) -> None:
    pipeline = Pipeline([Node(returning({}, annotation), "y")], name="p", engine=LAZY)
    with pytest.raises(NodeError, match=r"output 'y' of node 'give' .* Daft has no type"):
        pipeline.map(daft.from_pydict({"x": [1]}), "x")


def test_what_daft_cannot_put_into_a_column_names_the_output() -> None:
    node = Node(returning([None], list[dict[str, int] | None]), "y")
    frame = Pipeline([node], name="p", engine=LAZY).map(daft.from_pydict({"x": [1]}), "x")
    with pytest.raises(ResultError, match="output 'y' is annotated with list"):
        frame.collect()


def test_a_duration_out_of_range_fails_its_item_alone() -> None:
    def last(x: int) -> datetime.timedelta:
        return datetime.timedelta.max if x == 2 else datetime.timedelta(x)

    pipeline = Pipeline([Node(last, "y")], name="p", engine=LAZY)
    frame = daft.from_pydict({"x": [1, 2, 3]})
    found = pipeline.map(frame, "x", error_handling="continue").to_pydict()
    assert [each is None for each in found["y"]] == [False, True, False]
