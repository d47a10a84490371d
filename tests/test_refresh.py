"""Nodes that are computed anew, with all that follows from them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from hypernodes import (
    DaftEngine,
    DiskCache,
    HyperNodesEngine,
    MemoryCache,
    Pipeline,
    RefreshError,
    node,
)

RAN: list[str] = []  # threads append to it; a counter of theirs would lose some


def named(name: str, inputs: list[str], **options: Any) -> Any:
    """A node that counts its calls, and adds up its inputs."""
    text = f"def {name}({', '.join(inputs)}):\n    RAN.append({name!r})\n"
    text += f"    return {'+'.join(inputs) or '1'} + {len(name)}\n"
    scope: dict[str, Any] = {"RAN": RAN}
    exec(text, scope)  # the counter is named by every node, so it is vouched for
    function = scope[name]
    function.__module__ = __name__
    return node(output_name=f"out_{name}", code_version="1", **options)(function)


def calls(run: Any) -> dict[str, int]:
    RAN.clear()
    run()
    return dict(Counter(RAN))


load = named("load", ["x"])
clean = named("clean", ["out_load"], cache=False)
train = named("train", ["out_clean", "lr"])
score = named("score", ["out_train"])
aside = named("aside", ["x"])

chain = Pipeline([load, clean, train, score, aside], name="chain", cache=MemoryCache())
INPUTS = {"x": 1, "lr": 2}


@pytest.mark.parametrize(
    ("refresh", "anew"),
    [
        (None, []),
        ([], []),
        ("train", ["train", "score"]),
        (["out_train"], ["train", "score"]),
        (("score", "aside"), ["score", "aside"]),
        (iter(["load"]), ["load", "train", "score"]),
        ("clean", ["train", "score"]),  # not cached itself: what follows is computed anew
    ],
)
def test_what_is_named_is_computed_anew_with_all_that_follows(
    refresh: Any, anew: list[str]
) -> None:
    chain.run(INPUTS)
    ran = calls(lambda: chain.run(INPUTS, refresh=refresh))
    assert ran == {"clean": 1} | dict.fromkeys(anew, 1)
    assert calls(lambda: chain.run(INPUTS)) == {"clean": 1}


def test_every_way_to_run_refreshes() -> None:
    chain.run(INPUTS)
    rows = {"x": [1], "lr": 2}
    ways = [
        lambda: chain.map(rows, "x", refresh="train"),
        lambda: list(chain.imap(rows, "x", refresh="train")),
        lambda: asyncio.run(chain.arun(INPUTS, refresh="train")),
        lambda: asyncio.run(chain.amap(rows, "x", refresh="train")),
        lambda: chain.with_refresh("train").run(INPUTS),
    ]
    for way in ways:
        assert calls(way) == {"clean": 1, "train": 1, "score": 1}


def test_new_values_are_stored() -> None:
    made = iter(range(10))

    @node(output_name="value", code_version="1")
    def draw(x: int) -> int:
        return next(made)

    pipeline = Pipeline([draw], cache=MemoryCache())
    assert pipeline.run({"x": 1}) == pipeline.run({"x": 1}) == {"value": 0}
    assert pipeline.run({"x": 1}, refresh="draw") == {"value": 1}
    assert pipeline.run({"x": 1}) == {"value": 1}


inner = Pipeline([named("scale", ["x"]), named("shift", ["out_scale", "lr"])], name="features")
nested = inner.as_node(output_mapping={"out_shift": "shifted"})
each = inner.as_node(name="each", map_over={"xs": "x"}, input_mapping={"rate": "lr"},
                     output_mapping={"out_shift": "many", "out_scale": "scaled"})  # fmt: skip
outer = Pipeline(
    [nested, each, named("join", ["shifted"]), named("shift", ["x"])],
    name="outer", cache=MemoryCache(),
)  # fmt: skip
OUTER = {"x": 1, "lr": 2, "xs": [5, 6], "rate": 7}


@pytest.mark.parametrize(
    ("refresh", "anew"),
    [
        ("features", {"scale": 1, "shift": 1, "join": 1}),
        ("features/scale", {"scale": 1, "shift": 1, "join": 1}),
        ("features/shift", {"shift": 1, "join": 1}),
        ("features/out_shift", {"shift": 1, "join": 1}),
        ("shifted", {"shift": 1, "join": 1}),
        ("many", {"shift": 2}),
        ("each", {"scale": 2, "shift": 2}),
        ("shift", {"shift": 1}),  # the outer one of that name
        ("scale", {"scale": 3, "shift": 3, "join": 1}),  # there is no outer one
        (["join", "each/shift"], {"shift": 2, "join": 1}),
    ],
)
def test_nested_nodes_are_named_by_path_or_name(refresh: Any, anew: dict[str, int]) -> None:
    outer.run(OUTER)
    assert calls(lambda: outer.run(OUTER, refresh=refresh)) == anew
    told = outer.explain_cache(OUTER, refresh=refresh)
    assert {each.node.rpartition("/")[2] for each in told if each.verdict != "hit"} == set(anew)


@pytest.mark.parametrize(
    ("refresh", "message"),
    [
        ("trian", "no node or output 'trian'. Did you mean 'train'"),
        (["out_trian"], "Did you mean 'out_train'"),
        (["train", "x"], "no node or output 'x'"),
        (7, "refresh is 7: expected a list of names"),
        ([7], "no node or output 7"),
        ({"train": 1}, "expected a list of names"),
    ],
)
def test_what_is_no_node_is_refused_before_anything_runs(refresh: Any, message: str) -> None:
    for refused in (
        lambda: chain.run(INPUTS, refresh=refresh),
        lambda: chain.map({"x": [1], "lr": 2}, "x", refresh=refresh),
        lambda: chain.imap({"x": [1], "lr": 2}, "x", refresh=refresh),
        lambda: chain.explain_cache(INPUTS, refresh=refresh),
    ):
        RAN.clear()
        with pytest.raises(RefreshError, match=message):
            refused()
        assert not RAN
    with pytest.raises(RefreshError, match="Did you mean 'features/scale'"):
        outer.run(OUTER, refresh="features/scael")


def test_the_explanation_says_why() -> None:
    chain.run(INPUTS)
    lines = str(chain.explain_cache(INPUTS, refresh="load")).splitlines()
    assert lines[0] == "load: miss: it is to be refreshed"
    assert "a node before it is computed anew" in next(each for each in lines if "score" in each)
    assert "aside: hit" in lines
    assert "refresh" not in str(chain.explain_cache(INPUTS))


def test_callbacks_batch_nodes_bound_inputs_and_names_stay() -> None:
    @node(output_name="norm", batch="list", code_version="1")
    def norm(x: list[int], *, by: int) -> list[int]:
        RAN.append("norm")
        return [each - by for each in x]

    pipeline = Pipeline([norm], cache=MemoryCache(), name="b").bind(by=1)
    assert pipeline.run({"x": 3}) == {"norm": 2}
    assert calls(lambda: pipeline.run({"x": 3})) == {}
    assert calls(lambda: pipeline.run({"x": 3}, refresh="norm")) == {"norm": 1}
    again = pipeline.with_refresh("norm")
    assert (again.name, again.id, dict(again.bound)) == (pipeline.name, pipeline.id, {"by": 1})


# -- A law: a run with refresh equals one with an empty cache for those nodes --------------------


def random_pipeline(seed: int) -> tuple[Pipeline, list[str]]:
    chance = random.Random(seed)
    made = ["x"]
    nodes: list[Any] = []
    for number in range(chance.randint(2, 7)):
        takes = chance.sample(made, min(len(made), chance.randint(1, 2)))
        name = f"n{number}"
        cached = {"cache": False} if chance.random() < 0.2 else {}
        if chance.random() < 0.3:
            first, last = f"a{number}", f"b{number}"
            part = Pipeline([named(first, ["p"], **cached), named(last, [f"out_{first}"])])
            renamed = {takes[0]: "p"}, {f"out_{last}": f"out_{name}"}
            nodes.append(part.as_node(name, *renamed))
        else:
            nodes.append(named(name, sorted(takes), **cached))
        made.append(f"out_{name}")
    return Pipeline(nodes, name="random"), [each.name for each in nodes]


def follows(pipeline: Pipeline, name: str) -> set[str]:
    """By hand: the nodes that read, directly or not, what a node makes."""
    found = {name}
    for node_id in pipeline.node_ids:
        if found & set(pipeline.graph.predecessors(node_id)):
            found.add(node_id)
    return found


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("map_executor", ["sequential", "threaded"])
def test_a_run_with_refresh_is_one_with_an_empty_cache_for_what_follows(
    seed: int, map_executor: str
) -> None:
    pipeline, names = random_pipeline(seed)
    inputs = {"x": [1, 2, 3]}
    with HyperNodesEngine(map_executor=map_executor) as engine:
        pipeline = pipeline.with_engine(engine).with_cache(MemoryCache())
        full = calls(lambda: pipeline.map(inputs, "x"))
        kept = calls(lambda: pipeline.map(inputs, "x"))  # those that are never cached
        expected = pipeline.map(inputs, "x")
        for name in names:
            anew = {f"{kind}{each[1:]}" for each in follows(pipeline, name) for kind in "nab"}
            right = {each: full[each] for each in full if each in anew or each in kept}
            again = pipeline.with_refresh(name)
            assert calls(lambda again=again: again.map(inputs, "x")) == right
            assert pipeline.map(inputs, "x", refresh=name) == expected


@node(output_name="tripled")
def triple(x: int, log: str) -> int:
    with open(log, "a") as file:
        file.write(f"triple {x}\n")
    return 3 * x


@node(output_name="plus")
def add_one(tripled: int, log: str) -> int:
    with open(log, "a") as file:
        file.write(f"add_one {tripled}\n")
    return tripled + 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: HyperNodesEngine(map_executor="parallel"),
        lambda: HyperNodesEngine(node_executor="parallel"),
        lambda: HyperNodesEngine(map_executor="async"),
        DaftEngine,
    ],
)
def test_other_engines_refresh_too_and_their_results_are_found_again(
    make: Any, tmp_path: Any
) -> None:
    log = str(tmp_path / "log")
    engine = make()
    pipeline = Pipeline([triple, add_one], engine=engine, cache=DiskCache(tmp_path / "cache"))

    def ran(**how: Any) -> list[str]:
        open(log, "w").close()
        assert pipeline.map({"x": [1, 2], "log": log}, "x", **how)[1]["plus"] == 7
        return sorted(open(log).read().splitlines())

    everything = ["add_one 3", "add_one 6", "triple 1", "triple 2"]
    assert ran() == everything
    assert ran() == []
    assert ran(refresh="add_one") == everything[:2]
    assert ran(refresh=["tripled"]) == everything
    assert ran() == []
    if isinstance(engine, HyperNodesEngine):
        engine.shutdown()


def test_a_name_that_python_reads_otherwise_is_found() -> None:
    pipeline = Pipeline([node(lambda µ: µ, "\u00b52")], cache=MemoryCache())
    assert pipeline.run({"\u03bc": 1}, refresh=["\u00b52"]) == {"\u03bc2": 1}
    assert pipeline.map({"\u00b5s": [1, 2]}, "\u00b5s") == [{"\u03bc2": 1}, {"\u03bc2": 2}]
