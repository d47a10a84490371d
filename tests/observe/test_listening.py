"""Callbacks of a block: every run that begins in it tells them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from recording import Recorder

from hypernodes import HyperNodesEngine, Pipeline, node
from hypernodes.callbacks import listening


@node(output_name="y")
def double(x: int) -> int:
    return 2 * x


def test_a_run_in_the_block_is_told_and_one_after_it_is_not() -> None:
    recorder = Recorder()
    pipeline = Pipeline([double])
    with listening(recorder):
        assert pipeline.run({"x": 1}) == {"y": 2}
        assert pipeline.map({"x": [1, 2]}, "x") == [{"y": 2}, {"y": 4}]
    pipeline.run({"x": 1})
    assert len(recorder.names("on_node_end")) == 3
    recorder.check_pairs()


def test_an_awaited_run_is_told_too() -> None:
    recorder = Recorder()

    async def main() -> None:
        with listening(recorder):
            await Pipeline([double]).arun({"x": 1})

    asyncio.run(main())
    assert recorder.names("on_node_end") == ["double"]


@pytest.mark.parametrize("executor", ["sequential", "threaded", "parallel"])
def test_nested_pipelines_with_callbacks_of_their_own_are_told_and_those_with_none_are_not(
    executor: str,
) -> None:
    block, outer, inner = Recorder(), Recorder(), Recorder()
    triple = node(lambda x: 3 * x, "z", name="triple")
    quiet = node(lambda x: x, "q", name="quiet")
    with HyperNodesEngine(map_executor=executor) as engine:
        pipeline = Pipeline(
            [
                double,
                Pipeline([triple], name="own", callbacks=[inner]),
                Pipeline([quiet], name="none", callbacks=[]),
            ],
            callbacks=[outer],
            engine=engine,
        )
        with listening(block):
            pipeline.map({"x": [1, 2]}, "x", output_name=["y", "z", "q"])
    assert sorted(block.names("on_node_end")) == ["double", "double", "triple", "triple"]
    assert outer.names("on_node_end") == ["double", "double"]
    assert inner.names("on_node_end") == ["triple", "triple"]
    for each in (block, outer):
        each.check_pairs()


def test_a_callback_that_is_there_twice_is_told_once() -> None:
    recorder = Recorder()
    with listening(recorder), listening(recorder):
        Pipeline([double], callbacks=[recorder]).run({"x": 1})
    assert recorder.names("on_node_end") == ["double"]


def test_a_nested_pipeline_with_another_engine_is_told_once() -> None:
    class Other(HyperNodesEngine):
        """An engine of another kind, called as a user would."""

        def run(self, pipeline: Any, inputs: Any, output_name: Any = None, _ctx: Any = None) -> Any:
            return HyperNodesEngine.run(self, pipeline, inputs, output_name, _ctx)

    class Outer(HyperNodesEngine):
        pass

    recorder = Recorder()
    inner = Pipeline([double], name="inner", engine=Other())
    with listening(recorder):
        Pipeline([inner], name="outer", engine=Outer()).run({"x": 1})
    assert recorder.names("on_node_end") == ["double"]
    ctx = next(ctx for hook, _, ctx in recorder.events if hook == "on_node_end")
    assert ctx.path == ("outer", "inner", "double")


def test_what_is_no_callback_is_refused() -> None:
    with pytest.raises(TypeError, match="is not a callback"), listening(3):
        pass
