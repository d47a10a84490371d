"""Pipelines: graphs, runs, maps, nesting, and what bad input is told."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import examples
from recording import Recorder

import hypernodes
from hypernodes import (
    CycleError,
    DuplicateOutputError,
    FailedItem,
    GraphError,
    HyperNodesEngine,
    InputError,
    MapOverError,
    MemoryCache,
    MissingInputError,
    Node,
    OutputNameError,
    Pipeline,
    UnknownInputError,
    failing_node,
    node,
)


@node(output_name="doubled")
def double(x: int) -> int:
    return 2 * x


@node(output_name="total")
def add(doubled: int, y: int = 1) -> int:
    return doubled + y


@node(output_name="root")
async def root(total: int) -> float:
    return total**0.5


sums = Pipeline([root, add, double], name="sums")


def named(inputs: list[str], output: str, func: Any = None) -> Node[..., Any]:
    """A node with parameters of these names that adds them up."""
    source = f"def {output}({', '.join(inputs)}): return func([{', '.join(inputs)}])"
    scope: dict[str, Any] = {"func": func or sum}
    exec(source, scope)
    return node(scope[output], output_name=output)


# -- Graphs --------------------------------------------------------------------------------------


def test_a_cycle_is_an_error_that_shows_it() -> None:
    with pytest.raises(CycleError, match="->") as caught:
        Pipeline([named(["c"], "a"), named(["a"], "b"), named(["b"], "c")])
    assert set(caught.value.cycle) == {"a", "b", "c"}
    assert caught.value.cycle[0] == caught.value.cycle[-1]


def test_a_node_that_is_its_own_input_is_an_error() -> None:
    with pytest.raises(GraphError, match="'a' is both one of its parameters and its output"):
        Pipeline([named(["a"], "a")])


def test_two_nodes_with_one_output_are_an_error_that_names_both() -> None:
    with pytest.raises(DuplicateOutputError, match="'one' and 'two'"):
        Pipeline([node(lambda x: x, "z", name="one"), node(lambda x: x, "z", name="two")])


@pytest.mark.parametrize("nodes", [[], 5, double])
def test_no_nodes_are_an_error(nodes: Any) -> None:
    with pytest.raises(GraphError, match="node"):
        Pipeline(nodes)


def test_two_functions_of_one_name_are_two_nodes() -> None:
    pipeline = Pipeline([node(lambda x: x, "p", name="f"), node(lambda x: -x, "q", name="f")])
    assert pipeline.run({"x": 1}) == {"p": 1, "q": -1}


def test_the_graph_is_a_networkx_graph_with_the_names_on_its_edges() -> None:
    assert set(sums.graph.edges(data="names")) == {
        ("add", "root", ("total",)),
        ("double", "add", ("doubled",)),
    }
    assert sums.node_ids == ("double", "add", "root")


def test_strict_types_refuse_an_edge_that_cannot_fit() -> None:

    @node(output_name="text")
    def make(x: int) -> str:
        return str(x)

    @node(output_name="n")
    def take(text: int) -> int:
        return text

    with pytest.raises(GraphError, match="'text' is <class 'str'> where 'make' makes it"):
        Pipeline([make, take], strict_types=True)
    Pipeline([make, take])


def test_strict_types_take_every_sequence_into_a_mapped_input_and_no_dict() -> None:
    @node(output_name="xs")
    def pair(n: int) -> tuple[int, ...]:
        return n, n + 1

    @node(output_name="xs")
    def table(n: int) -> dict[int, int]:
        return {n: n}

    @node(output_name="y")
    def double(x: float) -> float:
        return 2 * x

    doubled = Pipeline([double], name="doubled").as_node(map_over={"xs": "x"})
    assert Pipeline([pair, doubled], strict_types=True).run({"n": 3}, "y") == {"y": [6, 8]}
    with pytest.raises(GraphError, match="'table' makes it"):
        Pipeline([table, doubled], strict_types=True)


def test_the_identity_of_a_pipeline_is_its_name_and_structure() -> None:
    again = Pipeline([root, add, double], name="sums")
    assert again.id == sums.id != Pipeline([add, double], name="sums").id
    assert pickle.loads(pickle.dumps(again)).id == sums.id


# -- Runs ----------------------------------------------------------------------------------------


def test_a_run_gives_every_output_or_those_asked_for() -> None:
    assert sums.run({"x": 4}) == {"root": 3.0, "total": 9, "doubled": 8}
    assert sums.run({"x": 4}, output_name="doubled") == {"doubled": 8}
    assert sums.run({"x": 4, "y": 8}, ["root", "doubled"]) == {"root": 4.0, "doubled": 8}


def test_inputs_may_have_the_names_of_builtins() -> None:
    pipeline = Pipeline([node(lambda type, BaseException: type + BaseException, "y")])
    assert pipeline.run({"type": 1, "BaseException": 2}) == {"y": 3}


def test_only_what_leads_to_the_outputs_runs() -> None:
    def explode(x: int) -> int:
        raise AssertionError("not asked for")

    pipeline = Pipeline([double, node(explode)])
    assert pipeline.run({"x": 1}, "doubled") == {"doubled": 2}


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({}, MissingInputError, "needs 'x' (for 'double')"),
        ({"x": 1, "yy": 2}, UnknownInputError, "Did you mean 'y'?"),
        ({"x": 1, "total": 2}, InputError, "computed by node 'add'"),
        (5, InputError, "expected a dict"),
    ],
)
def test_wrong_inputs_are_told_before_anything_runs(
    inputs: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        sums.run(inputs)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["totl", ["doubled", "totl"], 5, []])
def test_a_wrong_output_name_is_told(name: Any) -> None:
    with pytest.raises(OutputNameError, match="total"):
        sums.run({"x": 1}, output_name=name)


def test_bound_inputs_are_fixed_until_they_are_freed() -> None:
    bound = sums.bind(x=1)
    assert bound.run(output_name="total") == {"total": 3}
    assert "x" not in bound.inputs
    with pytest.raises(InputError, match=r"unbind\('x'\)"):
        bound.run({"x": 2})
    assert bound.unbind("x").run({"x": 2}, "total") == {"total": 5}
    assert sums.run({"x": 2}, "total") == {"total": 5}
    with pytest.raises(UnknownInputError, match="to bind"):
        sums.bind(z=1)


def test_copies_leave_the_original_as_it_is() -> None:
    cache, recorder, engine = MemoryCache(), Recorder(), HyperNodesEngine()
    copy = sums.with_engine(engine).with_cache(cache).with_callbacks([recorder]).with_name("new")
    assert (copy.engine, copy.cache, copy.callbacks, copy.name) == (
        engine, cache, (recorder,), "new",
    )  # fmt: skip
    assert (sums.engine, sums.cache, sums.callbacks, sums.name) == (None, None, None, "sums")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "threaded"}, "HyperNodesEngine(map_executor='threaded')"),
        ({"engine": HyperNodesEngine}, "HyperNodesEngine()"),
        ({"cache": "folder"}, "DiskCache('folder')"),
        ({"callbacks": Recorder()}, "expected a list"),
        ({"callbacks": [object()]}, "not a callback"),
        ({"name": 5}, "expected a text"),
    ],
)
def test_wrong_options_are_told_with_the_fix(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        Pipeline([double], **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("cache", [None, MemoryCache()])
def test_an_error_keeps_its_type_and_says_where(cache: Any) -> None:
    def fail(doubled: int) -> int:
        raise ZeroDivisionError("oh")

    inner = Pipeline([double, node(fail)], name="inner")
    outer = Pipeline([inner.as_node(map_over="xs")], name="outer", cache=cache)
    with pytest.raises(ZeroDivisionError, match="oh") as caught:
        outer.run({"xs": [1]})
    assert failing_node(caught.value) == "fail"
    assert caught.value.__notes__ == [
        "in node 'fail' of pipeline 'inner'",
        "in item 0 (x=1) of a map of pipeline 'inner'",
        "in nested pipeline 'inner' of pipeline 'outer'",
    ]


# -- Maps ----------------------------------------------------------------------------------------


def test_a_map_gives_a_dict_for_each_item_in_order() -> None:
    assert sums.map({"x": [1, 2]}, map_over="x", output_name="total") == [
        {"total": 3},
        {"total": 5},
    ]
    assert sums.map({"xs": (1, 2), "y": 0}, map_over="xs", output_name="total") == [
        {"total": 2},
        {"total": 4},
    ]
    assert sums.map({"people": [1]}, map_over={"people": "x"}, output_name="doubled") == [
        {"doubled": 2}
    ]


def test_zip_and_product() -> None:
    inputs = {"x": [1, 2], "y": [10, 20]}
    zipped = sums.map(inputs, ["x", "y"], output_name="total")
    assert [row["total"] for row in zipped] == [12, 24]
    product = sums.map(inputs, ["x", "y"], "product", output_name="total")
    assert [row["total"] for row in product] == [12, 22, 14, 24]


@pytest.mark.parametrize("mode", ["zip", "product"])
def test_an_empty_map_gives_an_empty_list(mode: Any) -> None:
    assert sums.map({"x": []}, "x", mode) == []
    assert sums.with_callbacks([Recorder()]).map({"x": []}, "x", mode) == []


@pytest.mark.parametrize(
    ("inputs", "over", "words"),
    [
        ({"x": [1]}, "z", "is not an input. Inputs: 'y', 'x'"),
        ({"x": [1], "y": [1, 2]}, ["x", "y"], "'x' has 1, 'y' has 2"),
        ({"x": 5}, "x", "needs a list"),
        ({"x": "text"}, "x", "needs a list"),
        ({"y": 1}, "x", "there is no 'x' in the inputs"),
        ({"x": [1]}, 5, "map_over is 5"),
        ({"x": [1]}, [], "map_over is empty"),
        ({"zs": [1]}, {"zs": "z"}, "'z' is not an input"),
        ({"xs": [1], "x": 2}, {"xs": "x"}, "given twice"),
    ],
)
def test_wrong_maps_are_told(inputs: Any, over: Any, words: str) -> None:
    with pytest.raises(MapOverError) as caught:
        sums.map(inputs, over)
    assert words in str(caught.value)


def test_wrong_modes_are_told() -> None:
    with pytest.raises(MapOverError, match="'zip'"):
        sums.map({"x": [1]}, "x", map_mode="sip")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'continue'"):
        sums.map({"x": [1]}, "x", error_handling="ignore")  # type: ignore[arg-type]


def test_a_plural_that_could_be_two_inputs_is_an_error() -> None:
    both = Pipeline([named(["box", "boxe"], "z")])
    with pytest.raises(MapOverError, match="could mean"):
        both.map({"boxes": [1]}, map_over="boxes")


@pytest.mark.parametrize("cache", [None, MemoryCache()])
def test_with_continue_a_failed_item_leaves_its_error_in_its_place(cache: Any) -> None:
    inverse = node(lambda x: 1 / x, output_name="inverse")
    pipeline = Pipeline([inverse], cache=cache)
    good, bad, last = pipeline.map({"x": [1, 0, 2]}, "x", error_handling="continue")
    assert (good, last) == ({"inverse": 1.0}, {"inverse": 0.5})
    assert isinstance(bad, FailedItem)
    assert (bad.index, bad.node, bad.inputs) == (1, "inverse", {"x": 0})
    assert isinstance(bad.error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        pipeline.map({"x": [1, 0, 2]}, "x")


# -- Nesting -------------------------------------------------------------------------------------


def test_a_pipeline_among_the_nodes_is_a_node() -> None:
    outer = Pipeline([Pipeline([double]), add])
    assert outer.run({"x": 2}) == {"doubled": 4, "total": 5}


def test_mappings_rename_inputs_and_outputs() -> None:
    renamed = Pipeline([double]).as_node(
        name="twice", input_mapping={"a": "x"}, output_mapping={"doubled": "b"}
    )
    outer = Pipeline([Pipeline([double]).as_node(output_mapping={"doubled": "a"}), renamed])
    assert outer.run({"x": 1}, "b") == {"b": 4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_mapping": {"a": "xx"}}, "no input 'xx'. Did you mean 'x'?"),
        ({"output_mapping": {"doubld": "b"}}, "Did you mean 'doubled'?"),
        ({"input_mapping": {"a": "x", "b": "x"}}, "two names"),
        ({"input_mapping": {"x": "a"}}, "It is {outer: inner}: write {'a': 'x'}."),
        ({"output_mapping": {"a": "doubled"}}, "It is {inner: outer}: write {'doubled': 'a'}."),
        ({"map_over": {"x": "xs"}}, "It is {name of the list: input}: write {'xs': 'x'}."),
        ({"input_mapping": {"an x": "x"}}, "not a name that a parameter can have"),
        ({"output_mapping": {"doubled": "class"}}, "not a name that a parameter can have"),
        ({"map_over": "z"}, "is not an input"),
        ({"map_mode": "sip"}, "map_mode"),
    ],
)
def test_wrong_mappings_are_told_when_the_node_is_made(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        Pipeline([double]).as_node(**options)
    assert words in str(caught.value)


@pytest.mark.parametrize("levels", [60, 200, 500])
def test_deep_nesting_runs_or_is_refused_in_words(levels: int) -> None:
    def nested() -> Pipeline:
        pipeline = Pipeline([double])
        for _ in range(levels):
            pipeline = Pipeline([pipeline])
        return pipeline.with_cache(MemoryCache())

    if levels < 100:
        assert pickle.loads(pickle.dumps(nested())).run({"x": 1}) == {"doubled": 2}
    else:
        with pytest.raises(GraphError, match="nested 101 levels deep"):
            nested()


def test_a_pipeline_that_is_pickled_stays_strict() -> None:
    strict = Pipeline([double, add], strict_types=True)
    assert pickle.loads(pickle.dumps(strict)).strict_types
    assert strict.with_name("other").bind(x=1).strict_types
    assert not pickle.loads(pickle.dumps(sums)).strict_types


def test_a_list_where_one_item_is_annotated_is_noted_on_the_error() -> None:
    def half(x: int, ys: list[int]) -> float:
        return x / len(ys)

    pipeline = Pipeline([half])
    with pytest.raises(TypeError) as caught:
        pipeline.run({"x": [1, 2], "ys": [1]})
    assert [each for each in caught.value.__notes__ if "did you mean" in each] == [
        "input 'x' was a list, and is annotated int: did you mean map(inputs, map_over='x')?"
    ]
    with pytest.raises(ZeroDivisionError) as other:
        pipeline.run({"x": 1, "ys": []})
    assert not any("did you mean" in each for each in other.value.__notes__)


def test_an_input_may_be_called_self() -> None:
    class Scale:
        def by(self, x: int) -> int:
            return 2 * x

    def only_by_keyword(*, self: int) -> int:
        return self

    assert Pipeline([Scale.by]).bind(self=Scale()).run({"x": 2}) == {"by": 4}
    assert Pipeline([only_by_keyword]).bind(self=3).run() == {"only_by_keyword": 3}
    assert node(only_by_keyword)(self=4) == 4


def test_a_mapped_node_gives_lists_and_may_be_nested_in_another() -> None:
    inner = Pipeline([double]).as_node(map_over="xs")
    rows = Pipeline([inner, named(["doubled"], "sums_", sum)])
    outer = Pipeline([rows.as_node(map_over={"rows": "xs"})])
    assert outer.inputs["rows"].type == list[list[int]]
    result = outer.run({"rows": [[1, 2], [], [3]]}, "doubled")
    assert result == {"doubled": [[2, 4], [], [6]]}


def test_nested_pipelines_inherit_while_running_and_nothing_is_written_on_them() -> None:
    inner = Pipeline([double], name="inner")
    recorder, cache = Recorder(), MemoryCache()
    outer = Pipeline([inner, add], name="outer", callbacks=[recorder], cache=cache)
    outer.run({"x": 1})
    assert ("on_nested_pipeline_start", "outer/inner") in recorder.told()
    assert len(cache) == 2
    assert (inner.engine, inner.cache, inner.callbacks) == (None, None, None)


def test_a_nested_pipeline_can_opt_out() -> None:
    recorder, cache = Recorder(), MemoryCache()
    quiet = Pipeline([double], cache=False, callbacks=[], name="quiet")
    Pipeline([quiet, add], callbacks=[recorder], cache=cache).run({"x": 1})
    assert recorder.names("on_node_start") == ["add"]
    assert len(cache) == 1


def test_example_1_of_the_specification() -> None:
    @node(output_name="result")
    def process(x: int) -> int:
        return x * 2

    assert Pipeline(nodes=[process], engine=HyperNodesEngine()).run(inputs={"x": 5}) == {
        "result": 10
    }


def test_example_4_of_the_specification_on_the_native_engine() -> None:
    @node(output_name="cleaned")
    def clean_text(text: str) -> str:
        return text.strip().lower()

    @node(output_name="word_count")
    def count_words(cleaned: str) -> int:
        return len(cleaned.split())

    results = Pipeline(nodes=[clean_text, count_words]).map(
        inputs={"texts": ["Hello World", "Foo Bar"]}, map_over="texts"
    )
    assert results == [
        {"cleaned": "hello world", "word_count": 2},
        {"cleaned": "foo bar", "word_count": 2},
    ]


def test_example_5_of_the_specification() -> None:
    @node(output_name="page")
    async def fetch_data(url: str) -> str:
        return f"<{url}>"

    @node(output_name="parsed")
    def parse_json(page: str) -> int:
        return len(page)

    @node(output_name="checked")
    def prepare(urls: list[str]) -> list[str]:
        return sorted(urls)

    @node(output_name="sum_")
    def aggregate(parsed: list[int], checked: list[str]) -> int:
        return sum(parsed) + len(checked)

    inner = Pipeline(nodes=[fetch_data, parse_json], engine=HyperNodesEngine())
    outer = Pipeline(
        nodes=[prepare, inner.as_node(map_over="urls"), aggregate], engine=HyperNodesEngine()
    )
    assert outer.run(inputs={"urls": ["a", "bb"]})["sum_"] == 9


# -- Laws ----------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node[..., Any]], int]:
    """Random DAGs of adding nodes over inputs `i0` and `i1`; some nodes raise."""
    count = draw(st.integers(1, 8))
    failing = draw(st.integers(-4, count - 1))
    names = ["i0", "i1"]
    nodes = []
    for place in range(count):
        parameters = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        func = (lambda values: 1 // 0) if place == failing else None
        nodes.append(named(parameters, f"n{place}", func))
        names.append(f"n{place}")
    return draw(st.permutations(nodes)), failing


def by_hand(nodes: list[Node[..., Any]], inputs: dict[str, int]) -> dict[str, int]:
    values = dict(inputs)
    for each in sorted(nodes, key=lambda n: int(n.outputs[0][1:])):
        values[each.outputs[0]] = each(*(values[name] for name in each.parameters))
    return {each.outputs[0]: values[each.outputs[0]] for each in nodes}


@examples(60, shrink=True)
@given(graphs(), st.booleans(), st.booleans(), st.booleans())
def test_any_run_equals_a_plain_loop_and_every_scope_ends_once(
    graph: tuple[list[Node[..., Any]], int], cached: bool, told: bool, nested: bool
) -> None:
    nodes, failing = graph
    recorder = Recorder()
    pipeline = Pipeline(nodes)
    if nested:
        pipeline = Pipeline([Pipeline([pipeline.as_node(name="in")])])
    if cached:
        pipeline = pipeline.with_cache(MemoryCache())
    if told:
        pipeline = pipeline.with_callbacks([recorder])
    inputs = {name: place + 5 for place, name in enumerate(pipeline.inputs)}
    for _ in range(2):
        if failing >= 0:
            with pytest.raises(ZeroDivisionError):
                pipeline.run(inputs)
            assert any(
                isinstance(row, FailedItem)
                for row in pipeline.map(
                    {name: [value] for name, value in inputs.items()},
                    list(inputs),
                    error_handling="continue",
                )
            )
        else:
            assert pipeline.run(inputs) == by_hand(nodes, inputs)
            lists = {name: [value, value + 1] for name, value in inputs.items()}
            assert pipeline.map(lists, list(lists)) == [
                by_hand(nodes, inputs),
                by_hand(nodes, {name: value + 1 for name, value in inputs.items()}),
            ]
    recorder.check_pairs()


def test_importing_the_library_imports_neither_prefect_nor_daft() -> None:
    import subprocess
    import sys

    code = "import hypernodes, sys; print({'prefect', 'daft', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
    assert set(hypernodes.__all__) <= set(dir(hypernodes))


class Told(Pipeline):
    """A pipeline with an attribute, and arguments, of its own."""

    def __init__(self, about: str) -> None:
        super().__init__([double], name="told")
        self.about = about


def test_a_subclass_is_copied_and_pickled_as_what_it_is() -> None:
    told = Told("me").bind(x=3).with_name("other")
    assert told.run({}) == {"doubled": 6}
    crossed = pickle.loads(cloudpickle.dumps(told))
    for again in (copy.copy(told), copy.deepcopy(told), pickle.loads(pickle.dumps(told)), crossed):
        assert (type(again).__name__, again.about, again.name) == ("Told", "me", "other")
        assert again.run({}) == {"doubled": 6}
