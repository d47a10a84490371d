"""Spans as a real OTLP receiver gets them, over HTTP and protobuf."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the OTLP exporter")

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from otlp import Received, Receiver, receiver
from recording import Recorder

from hypernodes import AsyncExecutor, HyperNodesEngine, MemoryCache, Pipeline, TracingCallback, node
from hypernodes.callbacks import CallbackContext


@contextmanager
def traced() -> Iterator[tuple[Receiver, TracerProvider]]:
    """A receiver, and a provider that exports to it."""
    with receiver() as received:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(received.url)))
        try:
            yield received, provider
        finally:
            provider.shutdown()


def check_equal(received: Receiver, recorder: Recorder) -> dict[str, CallbackContext]:
    """The spans are the recorded scopes, with names, parents and times; scopes by path."""
    scopes = {str(ctx.id): ctx for hook, _, ctx in recorder.events if hook.endswith("_start")}
    mine = [each for each in received.spans if "hypernodes.run.id" in each.attributes]
    by_run = {each.attributes["hypernodes.run.id"]: each for each in mine}
    assert len(mine) == len(by_run)
    assert set(by_run) == set(scopes)
    assert len({each.trace for each in mine}) == 1
    for run_id, ctx in scopes.items():
        span = by_run[run_id]
        assert span.attributes["hypernodes.path"] == ctx.hierarchy_path
        assert span.attributes["hypernodes.kind"] == ctx.kind
        if ctx.parent is None:
            assert span.parent == ""
        else:
            assert span.parent == by_run[str(ctx.parent.id)].id
        assert span.start == pytest.approx(ctx.started_at, abs=1e-5)
        assert ctx.ended_at is not None
        assert span.end == pytest.approx(ctx.ended_at, abs=1e-5)
    return {ctx.hierarchy_path: ctx for ctx in scopes.values()}


def nested() -> Pipeline:
    double = node(lambda x: 2 * x, "y", name="double")
    check = node(lambda y: 1 // (y - 4) and y, "z", name="check")
    inner = Pipeline([double, check], name="inner")
    return Pipeline(
        [inner.as_node(map_over={"xs": "x"}), node(lambda z: sum(z), "total", name="total")],
        name="outer",
    )


EXECUTORS: dict[str, Callable[[], HyperNodesEngine]] = {
    "sequential": HyperNodesEngine,
    "threaded items": lambda: HyperNodesEngine(map_executor="threaded"),
    "threaded nodes": lambda: HyperNodesEngine(node_executor="threaded"),
    "items on processes": lambda: HyperNodesEngine(map_executor="parallel"),
    "nodes on processes": lambda: HyperNodesEngine(node_executor="parallel"),
    "async": lambda: HyperNodesEngine(AsyncExecutor(4), AsyncExecutor(4)),
}


@pytest.mark.parametrize("where", EXECUTORS)
def test_the_spans_received_are_the_recorded_scopes(where: str) -> None:
    recorder = Recorder()
    with EXECUTORS[where]() as engine, traced() as (received, provider):
        pipeline = nested().with_engine(engine)
        pipeline = pipeline.with_callbacks([TracingCallback(provider), recorder])
        pipeline.run({"xs": [0, 1, 3]})
        provider.force_flush()
        scopes = check_equal(received, recorder)
    assert "outer/inner/inner[2]/check" in scopes
    assert len(received.named("inner[]")) == 3
    (outer_map,) = received.named("inner")
    assert outer_map.attributes["hypernodes.map.items"] == 3
    for span in received.named("double"):
        assert "process.pid" in span.attributes
        assert span.attributes["code.function.name"].endswith("nested.<locals>.<lambda>")
        assert span.attributes["code.file.path"] == __file__
        assert span.attributes["code.line.number"] == nested.__code__.co_firstlineno + 1


@pytest.mark.parametrize("where", ["sequential", "threaded items", "items on processes"])
def test_errors_are_on_every_span_that_they_went_through_and_recorded_where_raised(
    where: str,
) -> None:
    recorder = Recorder()
    with EXECUTORS[where]() as engine, traced() as (received, provider):
        pipeline = nested().with_engine(engine)
        pipeline = pipeline.with_callbacks([TracingCallback(provider), recorder])
        with pytest.raises(ZeroDivisionError):
            pipeline.run({"xs": [2]})
        provider.force_flush()
        check_equal(received, recorder)
    failed = [each for each in received.spans if each.failed]
    assert sorted(each.name for each in failed) == ["check", "inner", "inner[]", "outer"]
    for span in failed:
        assert span.attributes["error.type"] == "ZeroDivisionError"
        assert span.message.startswith("ZeroDivisionError: ")
    ((name, about),) = [event for span in failed for event in span.events]
    assert name == "exception"
    assert about["exception.type"] == "ZeroDivisionError"
    assert "check" in about["exception.stacktrace"] or "lambda" in about["exception.stacktrace"]
    assert received.named("check")[0].events != []


# Nodes that make spans of their own, as an instrumented library does. The one for processes
# exports from there: every worker has its own provider, as it would with auto-instrumentation.


def spanning(url: str) -> Callable[[int], int]:
    def work(x: int) -> int:
        with trace.get_tracer("library").start_as_current_span("inside", attributes={"x": x}):
            return os.getpid()

    def work_with_own_provider(x: int) -> int:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(url)))
        with provider.get_tracer("library").start_as_current_span("inside", attributes={"x": x}):
            return os.getpid()

    return work_with_own_provider if url else work


def check_inside(received: Receiver, count: int) -> list[Received]:
    inside = received.named("inside")
    assert sorted(each.attributes["x"] for each in inside) == list(range(count))
    for span in inside:
        parent = received.parent(span)
        assert parent.name == "work"
        assert parent.trace == span.trace
        if "hypernodes.item.index" in parent.attributes:
            assert parent.attributes["hypernodes.item.index"] == span.attributes["x"]
    return inside


@pytest.mark.parametrize("where", EXECUTORS)
def test_spans_made_inside_a_node_are_its_children(where: str) -> None:
    with traced() as (received, provider):
        work = node(spanning(received.url), "pid", name="work")
        with EXECUTORS[where]() as engine:
            pipeline = Pipeline([work], name="p", engine=engine)
            pipeline = pipeline.with_callbacks([TracingCallback(provider)])
            rows = pipeline.map({"x": list(range(8))}, "x")
        provider.force_flush()
        check_inside(received, 8)
    apart = {row["pid"] for row in rows} != {os.getpid()}
    assert apart == ("processes" in where)


def test_a_pool_handed_in_carries_the_trace_too() -> None:
    with traced() as (received, provider), ProcessPoolExecutor(2) as pool:
        work = node(spanning(received.url), "pid", name="work")
        pipeline = Pipeline([work], name="p", engine=HyperNodesEngine(map_executor=pool))
        pipeline.with_callbacks([TracingCallback(provider)]).map({"x": list(range(4))}, "x")
        provider.force_flush()
        check_inside(received, 4)


def test_a_node_finds_its_own_span_and_can_write_on_it() -> None:
    def work(x: int) -> int:
        trace.get_current_span().set_attribute("answer", 42)
        return x

    with traced() as (received, provider):
        callback = TracingCallback(provider)
        Pipeline([node(work, "y")], name="p", callbacks=[callback]).run({"x": 1})
        provider.force_flush()
        assert received.named("work")[0].attributes["answer"] == 42


def test_the_run_is_a_child_of_the_span_around_it() -> None:
    with traced() as (received, provider):
        pipeline = nested().with_callbacks([TracingCallback(provider)])
        with provider.get_tracer("app").start_as_current_span("request"):
            pipeline.run({"xs": [1]})
        provider.force_flush()
        assert received.parent(received.named("outer")[0]).name == "request"
        assert len({each.trace for each in received.spans}) == 1


def test_a_hit_of_the_cache_is_an_event_of_the_span_around() -> None:
    with traced() as (received, provider):
        pipeline = nested().with_cache(MemoryCache())
        pipeline.run({"xs": [1]})
        pipeline.with_callbacks([TracingCallback(provider)]).run({"xs": [1, 3]})
        provider.force_flush()
        (outer_map,) = received.named("inner")
        cached = [about["hypernodes.path"] for name, about in outer_map.events]
    assert cached == [
        "outer/inner/inner[0]/double", "outer/inner/inner[0]/check", "outer/inner/inner[0]",
    ]  # fmt: skip
    assert [each.attributes["hypernodes.item.index"] for each in received.named("inner[]")] == [1]


def test_other_peoples_spans_keep_their_own_ids() -> None:
    with traced() as (received, provider):
        tracer = provider.get_tracer("hypernodes")
        Pipeline(
            [node(lambda x: tracer.start_span("theirs").end(), "y", name="work")],
            callbacks=[TracingCallback(provider)],
        ).map({"x": [1, 2, 3]}, "x")
        provider.force_flush()
        assert len({each.id for each in received.spans}) == len(received.spans) == 10


def test_a_run_that_is_not_sampled_exports_nothing() -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with receiver() as received:
        provider = TracerProvider(sampler=ALWAYS_OFF)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(received.url)))
        pipeline = nested().with_callbacks([TracingCallback(provider)])
        assert pipeline.run({"xs": [1]}, "y") == {"y": [2]}
        provider.shutdown()
        assert received.spans == []


def test_with_no_sdk_it_costs_nothing_but_itself() -> None:
    pipeline = nested().with_callbacks([TracingCallback(trace.NoOpTracerProvider())])
    assert pipeline.run({"xs": [1]}, "y") == {"y": [2]}


@pytest.fixture
def daft_engine() -> Any:
    pytest.importorskip("daft", reason="needs Daft: hypernodes[daft]")
    from hypernodes.executors import DaftEngine

    return DaftEngine()


def test_the_spans_of_a_daft_run_are_its_recorded_scopes(daft_engine: Any) -> None:
    recorder = Recorder()
    with traced() as (received, provider):
        pipeline = nested().with_engine(daft_engine)
        pipeline = pipeline.with_callbacks([TracingCallback(provider), recorder])
        assert pipeline.run({"xs": [0, 1, 3]}, "y")["y"] == [0, 2, 6]
        provider.force_flush()
        scopes = check_equal(received, recorder)
        recorder.check_pairs()
    assert "outer/inner/inner[2]/double" in scopes


def test_spans_made_inside_a_node_on_daft_are_its_children(daft_engine: Any) -> None:
    with traced() as (received, provider):
        work = node(spanning(received.url), "pid", name="work")
        pipeline = Pipeline([work], name="p", engine=daft_engine)
        pipeline.with_callbacks([TracingCallback(provider)]).map({"x": list(range(8))}, "x")
        provider.force_flush()
        check_inside(received, 8)


@pytest.mark.parametrize("where", ["sequential", "items on processes", "nodes on processes"])
def test_a_retry_is_an_exception_on_the_span_of_a_node_that_ends_well(where: str) -> None:
    def flaky(x: int) -> int:
        times = x  # fails as often as its attribute says
        flaky.calls = getattr(flaky, "calls", 0) + 1  # type: ignore[attr-defined]
        if flaky.calls <= times:  # type: ignore[attr-defined]
            raise ValueError("not yet")
        return x

    with EXECUTORS[where]() as engine, traced() as (received, provider):
        pipeline = Pipeline([node(flaky, "y", retries=3)], name="p", engine=engine)
        pipeline = pipeline.with_callbacks([TracingCallback(provider)])
        assert pipeline.map({"x": [2]}, "x") == [{"y": 2}]
        provider.force_flush()
        (span,) = received.named("flaky")
    assert not span.failed
    assert [about["hypernodes.retry.attempt"] for _, about in span.events] == [1, 2]
    assert {about["exception.type"] for _, about in span.events} == {"ValueError"}
