"""Nested maps that go on after failed items. More on nesting is in `test_pipeline.py`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import Graph, examples, graphs, hold_with_failures, pipeline_of
from recording import Recorder
from test_law import CACHES, ENGINES

from hypernodes import (
    CacheWarning,
    CallbackContext,
    DaftEngine,
    FailedItem,
    GraphError,
    HyperNodesEngine,
    MapOverError,
    MemoryCache,
    Node,
    NodeError,
    Pipeline,
    PipelineCallback,
    node,
)


@node(output_name="inverse")
def invert(x: int) -> float:
    return 1 / x


@node(output_name="square")
def square(inverse: float) -> float:
    return inverse**2


@node(output_name="good")
def count_good(inverses: list[float | FailedItem]) -> int:
    return sum(not isinstance(each, FailedItem) for each in inverses)


def going_on(*more: Any, **options: Any) -> Pipeline:
    inner = Pipeline([invert, square], name="inner").as_node(
        map_over={"xs": "x"},
        output_mapping={"inverse": "inverses", "square": "squares"},
        error_handling="continue",
    )
    return Pipeline([inner, *more], **options)


@pytest.mark.parametrize("executor", ["sequential", "async", "threaded"])
@pytest.mark.parametrize("cache", [False, True])
def test_a_failed_item_stands_in_each_list(executor: str, cache: bool) -> None:
    pipeline = going_on(
        count_good,
        engine=HyperNodesEngine(executor, executor),
        cache=MemoryCache() if cache else False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it is not kept is no news: the list says why
        result = pipeline.run({"xs": [1, 0, 2]})
    assert result["good"] == 2
    for lost in (result["inverses"][1], result["squares"][1]):
        assert (lost.index, lost.node, lost.inputs) == (1, "invert", {"x": 0})
        assert lost.error.__notes__ == [
            "in node 'invert' of pipeline 'inner'",
            "in item 1 (x=0) of a map of pipeline 'inner'",
        ]
    assert result["squares"][::2] == [1.0, 0.25]


def _warns(match: str) -> Any:
    return pytest.warns(CacheWarning, match=match)


def test_what_is_made_of_failed_items_is_not_served_once_they_work() -> None:
    broken = [True]
    seen: list[int] = []

    def fetch(url: str) -> str:
        if url == "b" and broken[0]:
            raise OSError("no network")
        return url.upper()

    def length(pages: list[Any]) -> int:
        seen.append(len(pages))
        return sum(isinstance(page, str) for page in pages)

    fetching = Node(fetch, "page", code_version="1")
    inner = Pipeline([fetching]).as_node(
        map_over={"urls": "url"}, output_mapping={"page": "pages"}, error_handling="continue"
    )
    pipeline = Pipeline([inner, Node(length, "n", code_version="1")], cache=MemoryCache())
    assert pipeline.run({"urls": ["a", "b"]}, "n") == {"n": 1}
    assert pipeline.run({"urls": ["a", "b"]}, "n") == {"n": 1}
    broken[0] = False
    assert pipeline.run({"urls": ["a", "b"]}, "n") == {"n": 2}
    assert pipeline.run({"urls": ["a", "b"]}, "n") == {"n": 2}
    assert seen == [2, 2, 2]


@pytest.mark.parametrize(
    "use", [sum, max, sorted, np.mean, lambda values: [float(each) for each in values]]
)
@pytest.mark.parametrize("engine", ["sequential", "daft"])
def test_a_node_that_takes_a_failed_item_for_a_value_is_told_what_to_do(
    use: Any, engine: str
) -> None:
    def halve(x: float) -> float:
        if x == 2:
            raise ConnectionError("no answer")
        return x / 2

    inner = Pipeline([Node(halve, "y")]).as_node(
        map_over={"xs": "x"}, output_mapping={"y": "ys"}, error_handling="continue"
    )
    pipeline = Pipeline([inner, Node(lambda ys: use(ys), "used")])
    if engine == "daft":
        pytest.importorskip("daft")
        pipeline = pipeline.with_engine(DaftEngine())
    with pytest.raises(TypeError, match=r"item 1 failed.*no answer.*Leave failed items out"):
        pipeline.run({"xs": [1.0, 2.0, 3.0]})


def test_what_ends_a_program_is_no_failed_item() -> None:
    def leave(x: int) -> int:
        raise SystemExit("bye")

    inner = Pipeline([Node(leave, "y")]).as_node(map_over="xs", error_handling="continue")
    for cache in (None, MemoryCache()):
        with pytest.raises(SystemExit):
            Pipeline([inner], cache=cache).run({"xs": [1]})


def test_only_a_map_goes_on() -> None:
    pipeline = Pipeline([invert])
    with pytest.raises(ValueError, match=r"for the items of a map: give map_over=\.\.\. as well"):
        pipeline.as_node(error_handling="continue")
    with pytest.raises(ValueError, match=r"expected 'raise' .* or 'continue'"):
        pipeline.as_node(map_over="xs", error_handling="skip")  # type: ignore[arg-type]


def test_strict_types_know_that_items_may_have_failed() -> None:
    def total(inverses: list[float]) -> float:
        return sum(inverses)

    assert going_on(count_good, strict_types=True).run({"xs": [1]}, "good") == {"good": 1}
    with pytest.raises(GraphError, match="FailedItem"):
        going_on(Node(total, "total"), strict_types=True)


@pytest.mark.parametrize("name", [5, "", b"n"])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(NodeError, match="expected a text"):
        Node(abs, "y", name=name)
    with pytest.raises(GraphError, match="expected a text"):
        Pipeline([Node(abs, "y")]).as_node(name=name)


def test_a_map_over_that_is_no_name_is_refused() -> None:
    for wrong in (5, ["xs", 5]):
        with pytest.raises(MapOverError, match="expected an input's name"):
            Pipeline([Node(abs, "y")]).as_node(map_over=wrong)  # type: ignore[arg-type]


def test_a_map_in_a_map_fails_the_item_that_it_is_in() -> None:
    middle = Pipeline([Pipeline([invert]).as_node(map_over="xs")], name="middle")
    outer = middle.as_node(map_over={"lists": "xs"}, error_handling="continue")
    (first, second) = Pipeline([outer]).run({"lists": [[1, 0], [2]]})["inverse"]
    assert second == [0.5]
    assert (first.index, first.node, first.inputs) == (0, "invert", {"xs": [1, 0]})


class Forgetful(MemoryCache):
    """Has an entry when it is asked, and no longer when it is to load it."""

    gone = False

    def load(self, key: str) -> Any:
        if self.gone:
            raise KeyError(key)
        return super().load(key)


@pytest.mark.parametrize("executor", ["sequential", "threaded", "async"])
@pytest.mark.parametrize("how", ["raise", "continue"])
def test_an_item_that_is_evicted_and_fails_by_then_is_that_items_failure(
    executor: str, how: Any
) -> None:
    cache = Forgetful()

    def get(url: str) -> str:
        if cache.gone:
            raise ConnectionError(url)
        return url * 3000

    def total(pages: list[Any]) -> list[object]:
        return [isinstance(page, FailedItem) or len(page) for page in pages]

    fetch = Node(get, "page", code_version="1")
    pages = Pipeline([fetch], name="inner").as_node(
        map_over={"urls": "url"}, output_mapping={"page": "pages"}, error_handling=how
    )
    reader = Node(total, "total", code_version="1")
    Pipeline([pages], cache=cache).run({"urls": ["a", "b"]})
    engine = HyperNodesEngine(executor, executor)
    pipeline = Pipeline([pages, reader], cache=cache, engine=engine, name="outer")
    cache.gone = True
    if how == "raise":
        with pytest.raises(ConnectionError) as caught:
            pipeline.run({"urls": ["a", "b"]}, "total")
        assert caught.value.__dict__["__notes__"] == [
            "in node 'get' of pipeline 'inner'",
            "in item 0 (url='a') of a map of pipeline 'inner'",
            "in nested pipeline 'inner' of pipeline 'outer'",
        ]
    else:
        assert pipeline.run({"urls": ["a", "b"]}, "total") == {"total": [True, True]}
    cache.gone = False
    assert pipeline.run({"urls": ["a", "b"]}, "total") == {"total": [3000, 3000]}


def test_a_result_that_holds_a_failed_item_is_not_kept() -> None:
    bad = [True]

    def flaky(x: int) -> int:
        if bad[0]:
            raise ValueError
        return x

    def every(xs: list[int]) -> list[Any]:
        return Pipeline([Node(flaky, "y")]).map({"x": xs}, "x", error_handling="continue")

    pipeline = Pipeline([Node(every, "rows", code_version="1")], cache=MemoryCache())
    with _warns("output 'rows' of node 'every' is not kept"):
        (lost,) = pipeline.run({"xs": [1]})["rows"]
    assert isinstance(lost, FailedItem)
    bad[0] = False
    assert pipeline.run({"xs": [1]}) == {"rows": [{"y": 1}]}


@examples(300, quick=8)
@given(
    graphs(engines=len(ENGINES), fragile=True),
    st.sampled_from(range(len(ENGINES))),
    st.sampled_from(sorted(CACHES)),
    st.booleans(),
)
def test_maps_that_go_on_after_failed_items_give_what_a_loop_with_try_gives(
    graph: Graph, place: int, cache: str, told: bool
) -> None:
    recorder = Recorder()
    pipeline = pipeline_of(graph, ENGINES).with_engine(ENGINES[place])
    pipeline = pipeline.with_cache(CACHES[cache]()).with_callbacks([recorder] if told else None)
    hold_with_failures(graph, pipeline, rounds=2)
    recorder.check_pairs()


@pytest.mark.parametrize("engine", ["sequential", "threaded", "async", "daft"])
def test_a_map_over_what_is_no_list_is_told_as_the_map_that_failed(engine: str) -> None:
    if engine == "daft":
        pytest.importorskip("daft")
    told: list[tuple[str, ...]] = []

    class Told(PipelineCallback):
        def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
            sources = sorted(each.name for each in ctx.inputs_from.values())
            told.append((ctx.kind, ctx.name, type(error).__name__, *sources))

    each = Pipeline([Node(lambda x: x, "y", name="same")], name="each").as_node(
        map_over={"xs": "x"}
    )
    make = Node(lambda day: [1] if day == "good" else None, "xs", name="make")
    own = DaftEngine() if engine == "daft" else HyperNodesEngine(engine)
    pipeline = Pipeline([make, each], name="day", engine=own, callbacks=[Told()])
    rows = pipeline.map({"day": ["good", "bad"]}, "day", error_handling="continue")
    assert rows[0] == {"xs": [1], "y": [1]}
    assert isinstance(rows[1], FailedItem)
    assert told == [("map", "each", "MapOverError", "make"), ("map_item", "day[1]", "MapOverError")]
