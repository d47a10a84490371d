"""`PrefectEngine`: every run and every map of a pipeline is a flow run."""

from __future__ import annotations

import json
from typing import Any

from prefect import Flow

from hypernodes import CallbackContext, Engine, HyperNodesEngine, Pipeline
from prefect_hypernodes.callback import with_prefect
from prefect_hypernodes.flow import call_blocking, run_in_thread

_SHOWN = 200


class PrefectEngine(Engine):
    """Runs pipelines on another engine, as Prefect flow runs.

    Inside a flow run it is a subflow run. Caching and executors stay the other engine's.

    Args:
        engine: what does the work; by default `HyperNodesEngine()`.
        **flow_options: Prefect's own options of a flow: `retries`, `timeout_seconds`, hooks, ...
    """

    def __init__(self, engine: Engine | None = None, **flow_options: Any) -> None:
        self.engine = HyperNodesEngine() if engine is None else engine
        self.flow_options = flow_options

    def __repr__(self) -> str:
        return f"PrefectEngine({self.engine!r})"

    def run(
        self,
        pipeline: Pipeline,
        inputs: dict[str, Any],
        output_name: Any = None,
        _ctx: CallbackContext | None = None,
    ) -> dict[str, Any]:
        pipeline.check_inputs(pipeline.plan(output_name), inputs)
        reported = with_prefect(pipeline, _ctx)
        result: dict[str, Any] = self._flow_run(
            pipeline, shown(inputs), lambda: self.engine.run(reported, inputs, output_name)
        )
        return result

    def map(
        self,
        pipeline: Pipeline,
        items: list[dict[str, Any]],
        inputs: dict[str, Any],
        output_name: Any = None,
        _ctx: CallbackContext | None = None,
        *,
        error_handling: Any = "raise",
    ) -> list[Any]:
        pipeline.check_items(pipeline.plan(output_name), items, inputs)
        reported = with_prefect(pipeline, _ctx)
        result: list[Any] = self._flow_run(
            pipeline,
            {"items": len(items), **shown(inputs)},
            lambda: self.engine.map(
                reported, items, inputs, output_name, error_handling=error_handling
            ),
        )
        return result

    def _flow_run(self, pipeline: Pipeline, told: dict[str, Any], work: Any) -> Any:
        async def run(inputs: dict[str, Any]) -> Any:
            return await run_in_thread(work)

        options = {"name": pipeline.name, "validate_parameters": False, **self.flow_options}
        flow: Flow[Any, Any] = Flow(run, **options)
        return call_blocking(flow, {"inputs": told})


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """Inputs as the flow run's parameters show them: short, and nothing that JSON cannot hold."""
    return {name: _shown(value) for name, value in values.items()}


def _shown(value: Any) -> Any:
    try:
        if len(json.dumps(value)) <= _SHOWN:
            return value
    except (TypeError, ValueError, RecursionError):
        pass
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"<{type(value).__name__}{size}>"
