"""`HyperNodesEngine`: walks the graph node by node."""

from __future__ import annotations

from typing import Any

from hypernodes.callbacks import CallbackContext
from hypernodes.engines.base import Engine
from hypernodes.engines.execution import Execution, Frame, Sequential, Workers, drive
from hypernodes.engines.program import Walk, compile_plan, is_plain, walk_items
from hypernodes.graph import Plan
from hypernodes.pipeline import (
    ErrorHandling,
    OutputName,
    Pipeline,
    check_error_handling,
    set_default_engine,
)


class HyperNodesEngine(Engine):
    """Runs a pipeline node by node, in the calling thread."""

    def __init__(self) -> None:
        self.workers: Workers = Sequential()

    def __repr__(self) -> str:
        return "HyperNodesEngine()"

    def run(
        self,
        pipeline: Pipeline,
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
    ) -> dict[str, Any]:
        plan = pipeline.plan(output_name)
        if not plan.required <= inputs.keys() <= plan.accepts.keys():
            pipeline.check_inputs(plan, inputs)
        walk = self._program(pipeline, plan, _ctx)
        if walk is not None:
            return walk(**inputs)
        execution = Execution.begin(pipeline, self, self.workers, _ctx)
        frame = Frame(plan).give(inputs)
        drive(execution.run(frame, pipeline.name, inputs))
        return plan.result(frame.slots)

    def map(
        self,
        pipeline: Pipeline,
        items: list[dict[str, Any]],
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
        *,
        error_handling: ErrorHandling = "raise",
    ) -> list[Any]:
        check_error_handling(error_handling)
        plan = pipeline.plan(output_name)
        pipeline.check_items(plan, items, inputs)
        walk = self._program(pipeline, plan, _ctx)
        if walk is not None and error_handling == "raise":
            return walk_items(pipeline, walk, items, inputs)
        execution = Execution.begin(pipeline, self, self.workers, _ctx)
        base_frame = Frame(plan).give(inputs)
        results, _ = drive(
            execution.map(
                base_frame,
                pipeline.name,
                items,
                lambda frame: plan.result(frame.slots),
                error_handling,
            )
        )
        done: list[Any] = results
        return done

    def _program(self, pipeline: Pipeline, plan: Plan, ctx: CallbackContext | None) -> Walk | None:
        """The short walk, where nothing but calling is asked for."""
        cached = pipeline.cache is not None and pipeline.cache is not False
        if cached or pipeline.callbacks or ctx is not None:
            return None
        kept = plan.kept
        if "program" not in kept:
            plain = is_plain(pipeline, plan)
            kept["program"] = compile_plan(pipeline, plan) if plain else None
        walk: Walk | None = kept["program"]
        return walk


_sequential = HyperNodesEngine()
set_default_engine(lambda: _sequential)
