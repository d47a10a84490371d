"""What makes two nodes one, two defaults one, and which inputs a choice of outputs needs."""

from __future__ import annotations

from collections import defaultdict, deque
from decimal import Decimal
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hypernodes import (
    DuplicateOutputError,
    GraphError,
    HyperNodesEngine,
    MemoryCache,
    MissingInputError,
    OutputNameError,
    Pipeline,
    UnknownInputError,
    node,
)
from hypernodes.graph import Graph

MICRO = "\u00b5"  # Python reads it as the Greek letter, which looks the same
MU = "\u03bc"


def load(source: str, module: str) -> Any:
    """The function that a module's source defines."""
    made = ModuleType(module)
    exec(source, made.__dict__)
    return made.__dict__["load"]


class Model:
    def load(self, path: str) -> str:
        return path


# -- One node or two -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (load("def load(path): ...", "files"), load("def load(url): ...", "web")),
        (load("def load(path): ...", "files"), load("def load(path): ...", "files")),
        (node(lambda x: 1, output_name="load"), node(lambda x: 2, output_name="load")),
        (Model().load, Model().load),
        (node(len, output_name="load"), node(len, output_name="load", cache=False)),
        (node(len, output_name=("load", "a")), node(len, output_name=("load", "b"))),
        (Pipeline([node(len, output_name="load")]), Pipeline([node(abs, output_name="load")])),
    ],
)
def test_two_nodes_of_one_name_and_output_are_refused(one: Any, other: Any) -> None:
    with pytest.raises(DuplicateOutputError, match="'load'"):
        Pipeline([one, other])


def test_two_ways_of_mapping_one_pipeline_to_one_output_are_refused() -> None:
    inner = Pipeline([node(lambda a, b: a, output_name="y")], name="inner")
    zipped, product = (inner.as_node(map_over=["a", "b"], map_mode=m) for m in ("zip", "product"))
    with pytest.raises(DuplicateOutputError, match="inner"):
        Pipeline([zipped, product])


def test_what_is_given_twice_is_one_node() -> None:
    model = Model()
    inner = Pipeline([node(len, output_name="y")])
    outer = Pipeline([model.load, model.load, len, len, inner, inner, inner.as_node()])
    assert [each.name for each in outer.nodes] == ["load", "len", "pipeline"]
    assert Pipeline([outer, outer]).run({"path": "a", "obj": "ab"}, "y") == {"y": 2}


def test_two_nodes_with_one_id_are_refused_whatever_their_names() -> None:
    nodes = [
        node(len, output_name="a", name="read"),
        node(len, output_name="b", name="read"),
        node(len, output_name="c", name="read:a"),
    ]
    with pytest.raises(GraphError, match="'read:a'"):
        Graph(nodes)


# -- Defaults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.ones(2),
        lambda: float("nan"),
        lambda: [1.0, float("nan")],
        lambda: {"w": np.ones((2, 2))},
        lambda: pd.DataFrame({"a": [1, 2]}),
        lambda: np.float64("nan"),
        lambda: (1, "a"),
    ],
)
def test_defaults_of_one_content_are_one(make: Any) -> None:
    one, other = make(), make()
    nodes = [
        node(lambda x, w=one: x, output_name="a"),
        node(lambda x, w=other: x, output_name="b"),
    ]
    assert Pipeline(nodes).run({"x": 1}) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.ones(2), np.zeros(2)),
        (np.ones(1), np.ones((1, 1))),
        (np.ones(2), np.ones(2, dtype=int)),
        (float("nan"), 1.0),
        (pd.Series([1]), pd.Series([2])),
        (True, 1),
        (0.0, -0.0),  # these are equal
        ([1], [1.0]),
        ({1: "a"}, {True: "a"}),
        (Decimal("1.0"), Decimal("1.00")),
        (defaultdict(int), defaultdict(list)),
        (deque([1], maxlen=1), deque([1], maxlen=9)),
    ],
)
def test_defaults_that_differ_are_refused(one: Any, other: Any) -> None:
    with pytest.raises(GraphError, match="'w'"):
        Pipeline(
            [
                node(lambda x, w=one: x, output_name="a"),
                node(lambda x, w=other: x, output_name="b"),
            ]
        )


# -- What a choice of outputs needs ----------------------------------------------------------------

two = Pipeline(
    [
        node(lambda k=5: k, output_name="p", name="easy"),
        node(lambda k, j: k + j, output_name="q", name="hard"),
    ],
    name="two",
)
engines = [HyperNodesEngine(), HyperNodesEngine(node_executor="threaded")]


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("cache", [None, MemoryCache()])
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_only_what_an_output_needs_is_asked_for(engine: Any, cache: Any, levels: int) -> None:
    pipeline = two
    for level in range(levels):
        pipeline = Pipeline([pipeline], name=f"level {level}")
    pipeline = pipeline.with_engine(engine).with_cache(cache)
    assert pipeline.run({}, "p") == {"p": 5}
    assert pipeline.run({"k": 1}, "p") == {"p": 1}
    assert pipeline.run({"k": 1, "j": 2}) == {"p": 1, "q": 3}
    with pytest.raises(MissingInputError, match=r"'j'.*'k'"):
        pipeline.run({}, ["p", "q"])
    with pytest.raises(MissingInputError) as caught:
        pipeline.run({"j": 1}, "q")
    assert "easy" not in str(caught.value)


@pytest.mark.parametrize("cache", [None, MemoryCache()])
def test_what_feeds_only_another_output_of_a_nested_pipeline_does_not_run(cache: Any) -> None:
    ran = []

    def feed(start: int) -> int:
        ran.append(start)
        return start

    outer = Pipeline([node(feed, output_name="j"), two], cache=cache)
    assert outer.run({"k": 1}, "p") == {"p": 1}
    assert not ran
    assert outer.run({"k": 1, "start": 2}, "q") == {"q": 3}


def test_a_map_keeps_its_lists_and_leaves_out_what_is_not_needed() -> None:
    mapped = two.as_node(map_over={"ks": "k"})
    assert Pipeline([mapped]).run({"ks": [1, 2]}, "p") == {"p": [1, 2]}
    mapped = two.as_node(map_over={"js": "j"})
    assert Pipeline([mapped]).run({"js": [1, 2]}, "p") == {"p": [5, 5]}
    assert two.map({"k": [1, 2]}, "k", output_name="p") == [{"p": 1}, {"p": 2}]


# -- Names -----------------------------------------------------------------------------------------


def test_names_are_what_python_reads() -> None:
    scope: dict[str, Any] = {}
    exec(f"def scaled({MICRO}=1): return {MICRO}", scope)
    pipeline = Pipeline([node(lambda x: 100 * x, output_name=MICRO), node(scope["scaled"])])
    assert pipeline.run({"x": 1}) == {MU: 100, "scaled": 100}
    assert pipeline.run({"x": 1}, MICRO) == {MU: 100}
    assert pipeline.run({"x": 1}, [MICRO, "scaled"]) == {MU: 100, "scaled": 100}
    scaled = Pipeline([scope["scaled"]])
    assert scaled.bind(**{MICRO: 2}).run() == {"scaled": 2}
    assert scaled.bind(**{MICRO: 2}).unbind(MICRO).run() == {"scaled": 1}
    assert scaled.map({MICRO: [1, 2]}, MICRO) == [{"scaled": 1}, {"scaled": 2}]
    renamed = scaled.as_node(input_mapping={"\ufb01": MICRO}, output_mapping={"scaled": MICRO})
    assert Pipeline([renamed]).run({"fi": 3}) == {MU: 3}
    with pytest.raises(UnknownInputError, match=r"'\\u03bc' \(NFKC\)"):
        scaled.run({MICRO: 2})
    with pytest.raises(OutputNameError):
        scaled.run({}, MICRO)
