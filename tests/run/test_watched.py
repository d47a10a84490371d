"""The short line of a watched node does and tells what the line of any node does and tells."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from
from law import Graph, examples, graphs, inputs_of, pipeline_of, seen

from hypernodes import (
    CallbackContext,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    PipelineCallback,
    Retry,
    node,
)
from hypernodes.callbacks import HOOKS
from hypernodes.node_record import CURRENT_CALL
from hypernodes.run import execution, watched


class Everything(PipelineCallback):
    """Writes down all that can be the same in two runs."""

    def __init__(self) -> None:
        self.events: list[Any] = []


def _write_down(hook: str) -> Any:
    def method(self: Everything, *arguments: Any) -> None:
        *values, ctx = arguments
        shown = [str(each) if isinstance(each, BaseException) else seen(each) for each in values]
        shown = ["seconds" if isinstance(each, float) else each for each in shown]
        shown = [replace(each, at=0) if isinstance(each, Retry) else each for each in shown]
        shown = [each for each in shown if not isinstance(each, str) or "-" not in each]  # an id
        self.events.append((hook, shown, *_about(ctx)))

    return method


def _about(ctx: CallbackContext) -> tuple[Any, ...]:
    assert ctx.ended_at is None or ctx.ended_at >= ctx.started_at
    record = ctx.record
    assert record is None or record.started_at >= ctx.started_at
    return (
        ctx.hierarchy_path,
        ctx.kind,
        ctx.item_index,
        sorted((name, made.hierarchy_path) for name, made in ctx.inputs_from.items()),
        ctx.ended_at is not None,
        record and (record.outcome, repr(record.error), bool(record.worker), record.brought_back),
    )


for _hook in HOOKS:
    setattr(Everything, _hook, _write_down(_hook))


class Around:
    """A context around a node that writes down what it sees of the call."""

    def __init__(self, ctx: CallbackContext, events: list[Any]) -> None:
        self.ctx = ctx
        self.events = events
        self.brought_back: str | None = None

    def __enter__(self) -> None:
        call = CURRENT_CALL.get()
        assert call is not None
        assert call.node.func is not None
        arguments = {name: seen(value) for name, value in call.arguments.items()}
        self.events.append(("enter", self.ctx.hierarchy_path, arguments, call.attempt))

    def __exit__(self, kind: object, *_: object) -> None:
        self.events.append(("exit", self.ctx.hierarchy_path, kind))
        self.brought_back = self.ctx.hierarchy_path


class Entering(Everything):
    """The same, around each node too."""

    def node_context(self, ctx: CallbackContext) -> Around:
        return Around(ctx, self.events)


def outcome(pipeline: Pipeline, call: Any, kind: type[Everything]) -> tuple[Any, list[Any]]:
    """What a call gives or raises, and what was told."""
    told = kind()
    try:
        result = seen(call(pipeline.with_callbacks([told])))
    except BaseException as error:
        result = type(error), error.args, getattr(error, "__notes__", ())
    return result, told.events


def hold(
    pipeline: Pipeline,
    call: Any,
    monkeypatch: pytest.MonkeyPatch,
    ordered: bool,
    kind: type[Everything] = Everything,
) -> Any:
    """Call it with the short lines and without; returns what came of both."""
    fast, told = outcome(pipeline, call, kind)
    with monkeypatch.context() as patched:
        patched.setattr(execution, "short_lines", lambda *_: None)
        plain, expected = outcome(pipeline, call, kind)
    assert fast == plain
    if ordered:
        assert told == expected
    else:
        assert Counter(map(str, told)) == Counter(map(str, expected))
    return fast


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The runs in which some node took the short line."""
    found: list[object] = []
    real = watched.short_lines

    def watch(*arguments: Any) -> Any:
        lines = real(*arguments)
        found.extend(lines or ())
        return lines

    monkeypatch.setattr(execution, "short_lines", watch)
    return found


@examples(300, quick=40)
@given(graphs(fragile=True), sampled_from([Everything, Entering]))
def test_any_graph_gives_and_tells_the_same(graph: Graph, kind: type[Everything]) -> None:
    values = {name: place + 3 for place, name in enumerate(inputs_of(graph))}
    first, *_ = values
    several = {**values, first: [values[first] + place for place in range(4)]}
    pipeline = pipeline_of(graph)
    with pytest.MonkeyPatch.context() as patch:
        hold(pipeline, lambda p: p.run(values), patch, True, kind)
        for how in ("raise", "continue"):
            hold(pipeline, lambda p: p.map(several, first, error_handling=how), patch, True, kind)  # noqa: B023
        # Async nodes run on the loop of whoever awaits, and the others do not.
        hold(pipeline, lambda p: asyncio.run(p.arun(values)), patch, False, kind)
        with HyperNodesEngine(map_executor="threaded") as engine:
            threaded = pipeline.with_engine(engine)
            hold(threaded, lambda p: p.map(several, first)[0], patch, False, kind)


def raising(error: Any) -> Any:
    def fail(x: int) -> int:
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        StopIteration(1),
        KeyboardInterrupt(),
        SystemExit(3),
        RuntimeError("generator raised StopIteration"),
        asyncio.CancelledError("mine"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("told_to", [Everything, Entering])
def test_whatever_a_node_raises_is_told_the_same(
    error: BaseException,
    told_to: type[Everything],
    monkeypatch: pytest.MonkeyPatch,
    shortened: list[object],
) -> None:
    after = Node(lambda y: y, "z")
    pipeline = Pipeline([Node(raising(error), "y"), after], name="p")
    kind, _, notes = hold(pipeline, lambda p: p.run({"x": 1}), monkeypatch, True, told_to)
    assert kind is type(error)
    assert any("node 'y'" in note or "'fail'" in note for note in notes)
    hold(pipeline, lambda p: p.map({"x": [1, 2]}, "x"), monkeypatch, True, told_to)
    assert shortened


@node(output_name=("low", "high"))
def bounds(values: list[int], /, *, least: int = 0) -> tuple[int, int]:
    return max(least, min(values)), max(values)


@node(output_name="spread")
async def spread(low: int, high: int) -> int:
    await asyncio.sleep(0)
    return high - low


@pytest.mark.parametrize("told_to", [Everything, Entering])
def test_parameters_by_position_and_by_name_and_several_outputs(
    told_to: type[Everything], monkeypatch: pytest.MonkeyPatch, shortened: list[object]
) -> None:
    pipeline = Pipeline([bounds, spread], name="p")
    for values in ([1, 5], [7]):
        made = hold(
            pipeline,
            lambda p: p.run({"values": values, "least": 2}),  # noqa: B023
            monkeypatch,
            True,
            told_to,
        )
        assert made["spread"] == values[-1] - max(2, values[0])
    wrong = Pipeline([Node(lambda x: x, ("a", "b"), name="wrong")], name="p")
    kind, *_ = hold(wrong, lambda p: p.run({"x": [1]}), monkeypatch, True)
    assert kind.__name__ == "ResultError"
    assert shortened


@pytest.mark.parametrize("context", [contextlib.suppress(ValueError), contextlib.closing(object())])
@pytest.mark.parametrize("func", [lambda x: x, raising(ValueError("bad"))])
def test_a_context_that_raises_or_swallows_is_the_same_in_both(
    func: Any, context: Any, monkeypatch: pytest.MonkeyPatch, shortened: list[object]
) -> None:
    class Misbehaving(Entering):
        def node_context(self, ctx: CallbackContext) -> Any:
            return context  # one without `close` raises when it is left

    pipeline = Pipeline([Node(func, "y")], name="p")
    plain = outcome(pipeline, lambda p: p.run({"x": 1}), Entering)[0]
    assert hold(pipeline, lambda p: p.run({"x": 1}), monkeypatch, True, Misbehaving) == plain
    assert shortened


class Unreadable(Around):
    @property  # type: ignore[misc]
    def brought_back(self) -> Any:
        raise ValueError("unreadable")

    @brought_back.setter
    def brought_back(self, value: object) -> None:
        pass


def test_what_cannot_be_brought_back_fails_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bringing(Everything):
        def node_context(self, ctx: CallbackContext) -> Around:
            return Unreadable(ctx, self.events)

    inverse = Pipeline([Node(lambda x: 1 / x, "y")], name="p")
    assert hold(inverse, lambda p: p.run({"x": 2}), monkeypatch, True, Bringing) == {"y": 0.5}
    kind, *_ = hold(inverse, lambda p: p.run({"x": 0}), monkeypatch, True, Bringing)
    assert kind is ZeroDivisionError


def test_a_cache_retries_and_labels_are_left_to_the_line_of_one_node(
    monkeypatch: pytest.MonkeyPatch, shortened: list[object]
) -> None:
    cached = Pipeline([bounds], cache=MemoryCache(), callbacks=[Everything()])
    inside = Pipeline([cached.as_node()], callbacks=[Everything()])
    for pipeline in (cached, inside):
        pipeline.run({"values": [1]})
    assert not shortened
    flaky = Node(raising(ValueError("bad")), "y", retries=1, task_run_name="try {x}")
    limited = Node(lambda x: x, "w", max_concurrent=1)
    kind, *_ = hold(
        Pipeline([limited, flaky], name="p"), lambda p: p.run({"x": 1}), monkeypatch, True
    )
    assert kind is ValueError
    assert shortened


def test_a_run_that_is_called_off_starts_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def first(x: int) -> int:
        begun.set()
        threading.Event().wait(0.3)
        return x

    pipeline = Pipeline([Node(first, "y"), Node(lambda y: y, "z")], name="p")

    async def call_off(watched: Pipeline) -> None:
        task = asyncio.create_task(watched.arun({"x": 1}))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        begun.clear()
        task.cancel()
        await task

    hold(pipeline, lambda p: asyncio.run(call_off(p)), monkeypatch, True)
