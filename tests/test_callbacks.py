"""Callbacks: hooks that raise, partial callbacks, contexts."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from recording import Recorder

from hypernodes import (
    CallbackContext,
    DaftEngine,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    PipelineCallback,
    node,
)


@node(output_name="y")
def double(x: int) -> int:
    return 2 * x


def test_a_hook_that_raises_is_logged_once_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(PipelineCallback):
        def on_node_start(self, node_id: str, inputs: Any, ctx: CallbackContext) -> None:
            raise RuntimeError("telemetry is down")

    recorder = Recorder()
    pipeline = Pipeline([double], callbacks=[Broken(), recorder])
    assert pipeline.map({"x": [1, 2, 3]}, "x") == [{"y": 2}, {"y": 4}, {"y": 6}]
    assert len(caplog.records) == 1
    assert "telemetry is down" in caplog.text
    assert len(recorder.names("on_node_end")) == 3


def test_a_context_describes_its_scope() -> None:
    recorder = Recorder()
    inner = Pipeline([double], name="inner")
    outer = Pipeline([inner.as_node(map_over="xs")], name="outer", callbacks=[recorder])
    outer.run({"xs": [5]})
    ctx = next(c for hook, _, c in recorder.events if hook == "on_node_start")
    assert ctx.path == ("outer", "inner", "inner[0]", "double")
    assert (ctx.kind, ctx.depth, ctx.map_depth, ctx.item_index) == ("node", 3, 1, 0)
    assert ctx.current_pipeline_id == inner.id
    assert ctx.parent_pipeline_id == outer.id
    ctx.set("key", 1)
    assert ctx.parent.parent.parent.get("key") == 1
    assert len({c.id for _, _, c in recorder.events}) == 4


def test_an_error_unwinds_every_scope_innermost_first() -> None:
    recorder = Recorder()
    fail = node(lambda x: 1 // x, "y", name="fail")
    inner = Pipeline([fail], name="inner")
    outer = Pipeline([inner.as_node(map_over="xs")], name="outer", callbacks=[recorder])
    with pytest.raises(ZeroDivisionError):
        outer.run({"xs": [1, 0]})
    errors = [ctx for hook, _, ctx in recorder.events if hook == "on_error"]
    assert [ctx.kind for ctx in errors] == ["node", "map_item", "map", "pipeline"]
    recorder.check_pairs()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_node_context_is_entered_around_the_call(kind: str) -> None:
    seen: list[str] = []

    class Spans(PipelineCallback):
        def node_context(self, ctx: CallbackContext) -> Any:
            @contextlib.contextmanager
            def span() -> Any:
                seen.append("in")
                yield
                seen.append("out")

            return span()

    def work(x: int) -> int:
        seen.append("work")
        return x

    async def work_later(x: int) -> int:
        seen.append("work")
        return x

    func: Any = work if kind == "sync" else work_later
    Pipeline([node(func, "y")], callbacks=[Spans()]).run({"x": 1})
    assert seen == ["in", "work", "out"]


def test_edges_are_told_by_the_scopes_that_made_the_inputs() -> None:
    recorder = Recorder()
    follow = node(lambda y: y, "z", name="follow")
    Pipeline([double, follow], callbacks=[recorder]).run({"x": 1})
    by_name = {ctx.name: ctx for hook, _, ctx in recorder.events if hook == "on_node_end"}
    assert by_name["follow"].inputs_from == {"y": by_name["double"]}


def edges(pipeline: Pipeline, engine: Any, inputs: dict[str, Any]) -> set[tuple[str, ...]]:
    """(reader, input, what made it) of every scope that callbacks hear of, by path."""
    recorder = Recorder()
    pipeline.with_engine(engine).with_callbacks([recorder]).run(inputs)
    recorder.check_pairs()
    return {
        (path, name, made.hierarchy_path)
        for _, path, ctx in recorder.events
        for name, made in ctx.inputs_from.items()
    }


@pytest.mark.parametrize("around", ["pipeline", "map"])
def test_edges_from_outside_lead_into_a_nested_map_on_every_executor(around: str) -> None:
    make = [node(lambda a: a + 1, "k", name="make"), node(lambda a: [a, a], "xs", name="list")]
    use = [node(lambda x, k: x + k, "s", name="use"), node(lambda s, k: s * k, "y", name="again")]
    over_list = Pipeline(use, name="inner").as_node(
        map_over={"xs": "x"}, output_mapping={"y": "ys"}
    )
    keep = node(lambda ys, r: (ys, r), "kept", name="keep")
    middle = Pipeline([over_list, keep], name="middle")
    nested = middle if around == "pipeline" else middle.as_node(map_over="r")
    pipeline = Pipeline([Pipeline(make, name="source"), nested], name="outer")
    inputs = {"a": 1, "r": 1 if around == "pipeline" else [1, 2]}

    expected = edges(pipeline, HyperNodesEngine(), inputs)
    item = "outer/middle/inner/inner[1]"
    if around == "map":
        item = "outer/middle/middle[1]/inner/inner[1]"
    assert {
        (f"{item}/use", "x", "outer/source"),
        (f"{item}/use", "k", "outer/source"),
        (f"{item}/again", "k", "outer/source"),
        (f"{item}/again", "s", f"{item}/use"),
    } <= expected
    kinds = ["threaded", "async", "parallel"]
    engines: list[Any] = [HyperNodesEngine(each, map_executor=each) for each in kinds]
    for engine in (*engines, HyperNodesEngine(map_executor="parallel"), DaftEngine()):
        assert edges(pipeline, engine, inputs) == expected, engine


def test_an_error_is_raised_where_a_maps_nodes_go_to_processes_one_by_one() -> None:
    # A cache in memory stays with the caller, so the items do.
    pipeline = Pipeline([node(lambda x: 1 // x, "y", name="fail")], cache=MemoryCache())
    with HyperNodesEngine(map_executor="parallel") as engine, pytest.raises(ZeroDivisionError):
        pipeline.with_engine(engine).map({"x": [1, 0, 2]}, "x")


@pytest.mark.parametrize("executor", ["sequential", "threaded", "parallel"])
def test_an_item_has_its_own_inputs_wherever_it_runs(executor: str) -> None:
    recorder = Recorder()
    with HyperNodesEngine(map_executor=executor) as engine:
        inner = Pipeline([double], name="inner", callbacks=[recorder], engine=engine)
        assert inner.map({"xs": [5, 6]}, "xs") == [{"y": 10}, {"y": 12}]
    contexts = [ctx for hook, _, ctx in recorder.events if hook == "on_map_item_start"]
    assert {ctx.item_index: dict(ctx.item_inputs) for ctx in contexts} == {0: {"x": 5}, 1: {"x": 6}}
    assert all(not ctx.parent.item_inputs for ctx in contexts)


@pytest.mark.parametrize("takes_values", [True, False])
@pytest.mark.parametrize("executor", ["threaded", "parallel"])
def test_hooks_are_given_what_nodes_read_and_make_wherever_they_run(
    executor: str, takes_values: bool
) -> None:
    seen: list[Any] = []

    class Looks(PipelineCallback):
        def on_node_start(self, node_id: str, inputs: Any, ctx: CallbackContext) -> None:
            seen.append(inputs)

        def on_node_end(
            self, node_id: str, outputs: Any, duration: float, ctx: CallbackContext
        ) -> None:
            seen.append(outputs)

    looks = Looks()
    looks.takes_values = takes_values
    with HyperNodesEngine(map_executor=executor) as engine:
        Pipeline([double], engine=engine, callbacks=[looks]).map({"x": [1]}, "x")
    if takes_values or executor == "threaded":
        assert seen == [{"x": 1}, {"y": 2}]
    else:
        assert seen == [{}, {}]


def test_a_hook_that_changes_what_it_is_given_changes_nothing_else() -> None:
    class Greedy(PipelineCallback):
        def on_pipeline_start(self, pipeline_id: str, inputs: Any, ctx: CallbackContext) -> None:
            inputs.clear()

        def on_node_start(self, node_id: str, inputs: Any, ctx: CallbackContext) -> None:
            inputs.clear()

        def on_node_end(
            self, node_id: str, outputs: Any, duration: float, ctx: CallbackContext
        ) -> None:
            outputs.clear()

        def on_pipeline_end(
            self, pipeline_id: str, outputs: Any, duration: float, ctx: CallbackContext
        ) -> None:
            outputs.clear()

    for engine in (HyperNodesEngine(), HyperNodesEngine("threaded"), DaftEngine()):
        inputs = {"x": 1}
        assert Pipeline([double], callbacks=[Greedy()], engine=engine).run(inputs) == {"y": 2}
        assert inputs == {"x": 1}


def test_a_hook_that_there_is_not_is_refused_with_the_nearest_one() -> None:
    class Misspelt(PipelineCallback):
        def on_node_finished(self, *arguments: Any) -> None: ...

    with pytest.raises(TypeError, match=r"on_node_finished is no hook.*'on_node_end'"):
        Pipeline([double], callbacks=[Misspelt()])


@pytest.mark.parametrize("name", ["on_eror", "on_nod_end"])
def test_a_hook_with_a_slip_is_refused(name: str) -> None:
    slipped = type("Slipped", (PipelineCallback,), {name: lambda *_: None})()
    with pytest.raises(TypeError, match=rf"{name} is no hook\. Did you mean 'on_"):
        Pipeline([double], callbacks=[slipped])


def test_a_hook_that_would_never_run_is_refused() -> None:
    class Awaited(PipelineCallback):
        async def on_node_end(self, *arguments: Any) -> None: ...  # type: ignore[override]

    class Iterated(PipelineCallback):
        def on_map_end(self, *arguments: Any) -> Any:
            yield arguments

    for callback in (Awaited(), Iterated()):
        with pytest.raises(TypeError, match="would never run: hooks are called, not awaited"):
            Pipeline([double], callbacks=[callback])


def test_a_hook_has_to_take_what_it_is_called_with() -> None:
    class Short(PipelineCallback):
        def on_node_end(self, node_id: str, ctx: CallbackContext) -> None: ...  # type: ignore[override]

    class Longer(PipelineCallback):
        def on_node_end(  # type: ignore[override]
            self, node_id: str, outputs: Any, duration: float, ctx: Any, more: int = 1
        ) -> None: ...

        def on_error(self, *arguments: Any) -> None: ...

    with pytest.raises(TypeError, match=r"takes \(self, node_id, ctx\): expected \(self, node_id,"):
        Pipeline([double], callbacks=[Short()])
    assert Pipeline([double], callbacks=[Longer()]).run({"x": 1}) == {"y": 2}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["sequential", "threaded", "async", "parallel", "daft"])
def test_what_needs_nothing_to_run_starts_after_the_item_that_it_is_in(
    kind: str, cached: bool
) -> None:
    """An empty nested map, or a nested pipeline of hits, in an item with a node that runs."""
    inner = Pipeline([double], name="inner", cache=MemoryCache())
    deeper = Pipeline([inner.as_node(output_mapping={"y": "z"})], name="deeper")
    size = Node(lambda ys, x, z: len(ys), "n", name="size")
    mapped = inner.as_node(map_over={"xs": "x"}, output_mapping={"y": "ys"}, name="mapped")
    recorder = Recorder()
    with contextlib.ExitStack() as stack:
        engine: Any = DaftEngine()
        if kind != "daft":
            engine = stack.enter_context(HyperNodesEngine(map_executor=kind))
        outer = Pipeline([mapped, deeper, size], name="outer", engine=engine)
        inputs = {"xs": [[1], []], "x": [5, 6]}
        if cached:
            outer.map(inputs, ["xs", "x"])
        told = outer.with_callbacks([recorder])
        assert told.map(inputs, ["xs", "x"], output_name="n") == [{"n": 1}, {"n": 0}]
    recorder.check_pairs()
    items = {ctx.item_index for hook, _, ctx in recorder.events if hook == "on_map_item_start"}
    assert {0, 1} <= items


@pytest.mark.parametrize("kind", ["sequential", "threaded", "async", "parallel", "daft"])
def test_an_item_with_nothing_to_run_is_not_called_cached_unless_there_was_a_hit(
    kind: str,
) -> None:
    """It starts before the empty nested map that is in it."""
    each = Pipeline([double], name="each")
    one = node(lambda a: a, "b", name="one")
    inner = each.as_node(map_over={"xs": "x"}, output_mapping={"y": "ys"})
    rows = Pipeline([inner], name="rows").as_node(
        map_over={"rows": "xs"}, output_mapping={"ys": "yss"}
    )
    empty = Pipeline([rows], name="outer")
    beside = Pipeline([rows, one], name="outer", cache=MemoryCache())
    told = []
    with contextlib.ExitStack() as stack:
        engine: Any = DaftEngine()
        if kind != "daft":
            engine = stack.enter_context(HyperNodesEngine(map_executor=kind))
        beside.with_engine(engine).map({"rows": [[[]]], "a": [1]}, ["rows", "a"])
        for pipeline, inputs in ((empty, {}), (beside, {"a": [1]})):
            recorder = Recorder()
            heard = pipeline.with_engine(engine).with_callbacks([recorder])
            made = heard.map({"rows": [[[]]], **inputs}, ["rows", *inputs])
            assert [row["yss"] for row in made] == [[[]]]
            recorder.check_pairs()
            items = ("on_map_item_start", "on_map_item_end", "on_map_item_cached")
            told.append([each for each in recorder.told() if each[0] in items])
    outer, nested = "outer/outer[0]", "outer/outer[0]/rows/rows[0]"
    start, end, hit = items
    assert told[0] == [(start, outer), (start, nested), (end, nested), (end, outer)]
    assert told[1] == [(start, nested), (end, nested), (hit, outer)]
