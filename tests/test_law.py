"""The law: a run on any executors gives what a plain loop gives, and tells the same."""

from __future__ import annotations

import atexit
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import Graph, by_hand, examples, graphs, inputs_of, pipeline_of
from recording import Recorder

from hypernodes import (
    AsyncExecutor,
    DiskCache,
    HyperNodesEngine,
    MemoryCache,
    Pipeline,
)

KINDS = ("sequential", "async", "threaded", "parallel")
PAIRS = [(nodes, items) for nodes in KINDS for items in KINDS]
ENGINES = [HyperNodesEngine(nodes, items) for nodes, items in PAIRS]
for _one in (
    ThreadPoolExecutor(1),
    AsyncExecutor(1),
):  # every pipeline and map waits for one worker
    ENGINES.append(HyperNodesEngine(_one, _one))
for _engine in ENGINES:
    atexit.register(_engine.shutdown)

FOLDER = tempfile.TemporaryDirectory(prefix="hypernodes-law-")  # is removed at exit
CACHES = {
    "none": lambda: None,
    "memory": MemoryCache,
    "disk": lambda: DiskCache(tempfile.mkdtemp(dir=FOLDER.name)),
}


def events(recorder: Recorder) -> Counter[tuple[str, str]]:
    recorder.check_pairs()
    return Counter(recorder.told())


def scopes(recorder: Recorder) -> Counter[tuple[str, str]]:
    """What there was, whether it ran or came from the cache: two items that need one missing
    entry at the same time may both compute it."""
    told = {
        "on_node_start": "node", "on_node_cached": "node",
        "on_map_item_start": "item", "on_map_item_cached": "item",
    }  # fmt: skip
    return Counter((told.get(hook, ""), path) for hook, path in recorder.told() if hook in told)


def run(pipeline: Pipeline, graph: Graph, values: dict[str, Any], engine: Any) -> Recorder:
    """Run and map it, and compare with the plain loop."""
    recorder = Recorder()
    told = pipeline.with_engine(engine).with_callbacks([recorder])
    assert told.run(values) == by_hand(graph, values)
    first, *_ = values
    several = [values[first] + place for place in range(5)]
    expected = [by_hand(graph, {**values, first: value}) for value in several]
    assert told.map({**values, first: several}, first) == expected
    unordered = told.imap({**values, first: several}, first, in_flight=2, ordered=False)
    assert [row for _, row in sorted(unordered, key=lambda pair: pair[0])] == expected
    return recorder


def obey(graph: Graph, engines: Sequence[HyperNodesEngine], cache: str, mixed: bool) -> None:
    """Hold a graph's runs against the plain loop, and what they tell against a sequential run's.

    Args:
        graph: what is run.
        engines: it runs on each of them.
        cache: one of `CACHES`.
        mixed: nested pipelines have the engines of their own that the graph says.
    """
    values = {name: place + 3 for place, name in enumerate(inputs_of(graph))}
    alone = pipeline_of(graph, [None] * len(ENGINES))
    sequential = HyperNodesEngine()
    expected = run(alone, graph, values, sequential)
    whole = pipeline_of(graph, ENGINES) if mixed else alone
    for engine in engines:
        pipeline = whole.with_cache(CACHES[cache]())
        first = run(pipeline, graph, values, engine)
        if cache == "none":
            assert events(first) == events(expected)
            continue
        saved = alone.with_cache(CACHES[cache]())
        cold = run(saved, graph, values, sequential)
        assert scopes(first) == scopes(cold)
        warm = run(pipeline, graph, values, engine)
        assert events(warm) == events(run(saved, graph, values, sequential))


@pytest.mark.parametrize("kind", KINDS)
@examples(25, quick=8)
@given(graphs(depth=1), st.sampled_from(sorted(CACHES)))
def test_each_executor_gives_what_a_plain_loop_gives_and_tells_the_same(
    kind: str, graph: Graph, cache: str
) -> None:
    obey(graph, [ENGINES[PAIRS.index((kind, kind))]], cache, mixed=False)


@pytest.mark.slow
@examples(500)
@given(
    graphs(engines=len(ENGINES)),
    st.permutations(range(len(ENGINES))),
    st.sampled_from(sorted(CACHES)),
)
def test_any_executors_give_what_a_plain_loop_gives_and_tell_the_same(
    graph: Graph, order: list[int], cache: str
) -> None:
    obey(graph, [ENGINES[place] for place in order[:2]], cache, mixed=True)


@pytest.mark.slow
@examples(100)
@given(graphs(depth=1), st.sampled_from(range(len(ENGINES))))
def test_without_callbacks_and_cache_the_results_are_the_same(graph: Graph, place: int) -> None:
    values = {name: number + 3 for number, name in enumerate(inputs_of(graph))}
    pipeline = pipeline_of(graph).with_engine(ENGINES[place])
    first, *_ = values
    several = list(range(40))
    expected = [by_hand(graph, {**values, first: value}) for value in several]
    assert pipeline.map({**values, first: several}, first) == expected
    assert list(pipeline.imap({**values, first: iter(several)}, first)) == expected
    assert pipeline.run(values) == by_hand(graph, values)
