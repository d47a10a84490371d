"""The timeline: what ran, when and where."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from hypernodes import HyperNodesEngine, MemoryCache, Pipeline, node, record


def sleep(seconds: float) -> Any:
    def wait(x: int) -> int:
        time.sleep(seconds)
        return x

    return wait


def test_every_scope_is_a_span_inside_its_parents_time() -> None:
    inner = Pipeline([node(sleep(0.002), "y", name="work")], name="inner")
    outer = Pipeline([inner.as_node(map_over={"xs": "x"})], name="outer")
    with record() as timeline:
        outer.run({"xs": [1, 2]})
    assert [each.kind for each in timeline.spans] == [
        "pipeline", "map", "map_item", "node", "map_item", "node",
    ]  # fmt: skip
    assert [each.node for each in timeline.spans if each.kind == "node"] == ["outer/inner/work"] * 2
    for span in timeline.spans:
        assert span.state == "completed"
        if span.parent is not None:
            parent = timeline.spans[span.parent]
            assert parent.start - 0.05 <= span.start <= span.end <= parent.end + 0.05


@pytest.mark.parametrize("executor", ["threaded", "parallel"])
def test_workers_are_told_by_process_and_thread(executor: str) -> None:
    pipeline = Pipeline([node(sleep(0.01), "y", name="work")], name="p")
    with HyperNodesEngine(map_executor=executor) as engine, record() as timeline:
        pipeline.with_engine(engine).map({"x": list(range(12))}, "x")
    workers = timeline.workers()
    assert sum(each.nodes for each in workers) == 12
    assert all(0 < each.busy <= 1 for each in workers)
    if executor == "threaded":
        assert len({each.process for each in workers}) == 1
    nodes = [each for each in timeline.spans if each.kind == "node"]
    assert {each.worker for each in nodes} == {(each.process, each.thread) for each in workers}


def test_hits_of_the_cache_and_failures_are_told() -> None:
    def fragile(y: int) -> int:
        return 6 // y

    pipeline = Pipeline(
        [node(sleep(0.001), "y", name="work"), node(fragile, "z")], cache=MemoryCache(), name="p"
    )
    pipeline.run({"x": 2})
    with record() as timeline:
        pipeline.map({"x": [2, 3, 0]}, "x", error_handling="continue")
    assert timeline.cache_hits == (2, 6)
    nodes = timeline.nodes()
    assert (nodes["p/work"].ran, nodes["p/work"].cached, nodes["p/work"].state) == (
        2,
        1,
        "completed",
    )
    assert (nodes["p/fragile"].failed, nodes["p/fragile"].state) == (1, "failed")
    failed = next(each for each in timeline.spans if each.state == "failed" and each.kind == "node")
    assert failed.error is not None  # "integer modulo by zero", and other words of other Pythons
    assert re.fullmatch("ZeroDivisionError: .*by zero", failed.error)
    assert failed.item == 2
    assert "6 nodes" in repr(timeline)
    assert "1 failed" in repr(timeline)


def test_the_slowest_nodes_come_first() -> None:
    pipeline = Pipeline(
        [node(sleep(0.001), "a", name="quick"), node(sleep(0.2), "b", name="slow")], name="p"
    )
    with record() as timeline:
        pipeline.run({"x": 1})
    assert [each.node for each in timeline.slowest()] == ["p/slow", "p/quick"]
    assert len(timeline.slowest(1)) == 1


def test_the_critical_path_follows_what_was_waited_for_into_maps() -> None:
    def long_for(x: int) -> int:
        time.sleep(0.4 if x == 1 else 0.0)
        return x

    inner = Pipeline([node(long_for, "y"), node(lambda y: y, "z", name="after")], name="inner")
    short = node(lambda xs: 0, "other", name="short")
    end = node(lambda zs, other: sum(zs), "total", name="end")
    pipeline = Pipeline(
        [inner.as_node(map_over={"xs": "x"}, output_mapping={"z": "zs", "y": "ys"}), short, end],
        engine=HyperNodesEngine(node_executor="threaded", map_executor="threaded"),
    )
    with record() as timeline:
        pipeline.run({"xs": [0, 1, 2]}, output_name="total")
    assert [(each.name, each.item) for each in timeline.critical_path()] == [
        ("long_for", 1), ("after", 1), ("end", None),
    ]  # fmt: skip


def test_the_table_goes_to_pandas_and_polars() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    with record() as timeline:
        Pipeline([node(sleep(0.001), "y", name="work")], name="p").map({"x": [1, 2]}, "x")
    frame = timeline.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame[frame.kind == "node"].name) == ["work", "work"]
    other = timeline.to_polars()
    assert isinstance(other, polars.DataFrame)
    assert other["seconds"].sum() == pytest.approx(frame.seconds.sum())


def test_it_can_be_asked_while_something_runs() -> None:
    seen: list[Any] = []

    def ask(x: int) -> int:
        seen.append([(each.name, each.state) for each in timeline.spans])
        return x

    with record() as timeline:
        Pipeline([node(ask, "y")], name="p").run({"x": 1})
    assert seen == [[("p", "running"), ("ask", "running")]]
    assert {each.state for each in timeline.spans} == {"completed"}


def test_a_timeline_of_nothing_is_empty() -> None:
    with record() as timeline:
        pass
    assert timeline.table() == []
    assert timeline.critical_path() == []
    assert timeline.seconds == 0
    assert repr(timeline) == "<Timeline: 0 nodes in 0.000 s, 0 from the cache, 0 failed>"


def test_a_stream_of_results_is_recorded() -> None:
    pipeline = Pipeline([node(lambda x: x, "y", name="work")], name="p")
    with record() as timeline:
        rows = list(pipeline.imap({"x": iter(range(5))}, "x"))
    assert len(rows) == 5
    assert timeline.nodes()["p/work"].ran == 5


def test_retries_are_counted() -> None:
    left = [2]

    def flaky(x: int) -> int:
        if left[0]:
            left[0] -= 1
            raise ValueError("not yet")
        return x

    with record() as timeline:
        Pipeline([node(flaky, "y", retries=3)], name="p").run({"x": 1})
    assert timeline.nodes()["p/flaky"].retries == 2
    assert timeline.nodes()["p/flaky"].state == "completed"
