"""`PrefectEngine`: every run and every map of a pipeline is a flow run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prefect import Flow

from hypernodes import CallbackContext, Engine, HyperNodesEngine, Pipeline
from prefect_hypernodes.callback import with_prefect
from prefect_hypernodes.flow_calls import awaited_run, call_blocking, flow_body
from prefect_hypernodes.hooks import call_hooks_beside_loop
from prefect_hypernodes.parameters import shown
from prefect_hypernodes.settings import Reporting


class PrefectEngine(Engine):
    """Runs pipelines on another engine, as Prefect flow runs.

    Inside a flow run it is a subflow run. Caching and executors stay the other engine's.

    Args:
        engine: what does the work; by default `HyperNodesEngine()`.
        reporting: how much is reported; by default what the environment says.
        **flow_options: Prefect's own options of a flow: `retries`, `timeout_seconds`, hooks, ...
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        reporting: Reporting | None = None,
        **flow_options: Any,
    ) -> None:
        self.engine = HyperNodesEngine() if engine is None else engine
        self.reporting = reporting
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
        reported = with_prefect(pipeline, self.reporting, _ctx)
        result: dict[str, Any] = self._flow_run(
            pipeline, inputs, lambda: self.engine.run(reported, inputs, output_name)
        )
        return result

    def map(
        self,
        pipeline: Pipeline,
        items: Sequence[dict[str, Any]],
        inputs: dict[str, Any],
        output_name: Any = None,
        _ctx: CallbackContext | None = None,
        *,
        error_handling: Any = "raise",
    ) -> list[Any]:
        items = pipeline.check_items(pipeline.plan(output_name), items, inputs)
        reported = with_prefect(pipeline, self.reporting, _ctx)
        result: list[Any] = self._flow_run(
            pipeline,
            {"items": len(items), **inputs},
            lambda: self.engine.map(
                reported, items, inputs, output_name, error_handling=error_handling
            ),
        )
        return result

    def accepts_frame(self, inputs: object) -> bool:
        """Whether the other engine maps over such a frame."""
        return bool(getattr(self.engine, "accepts_frame", lambda _: False)(inputs))

    def map_frame(
        self,
        pipeline: Pipeline,
        frame: Any,
        columns: dict[str, str],
        output_name: Any = None,
        *,
        error_handling: Any = "raise",
    ) -> Any:
        """A map over a frame of the other engine's; see there. What is lazy runs after it."""
        engine: Any = self.engine
        reported = with_prefect(pipeline, self.reporting, None)
        return self._flow_run(
            pipeline,
            {"columns": columns},
            lambda: engine.map_frame(
                reported, frame, columns, output_name, error_handling=error_handling
            ),
        )

    def _flow_run(self, pipeline: Pipeline, inputs: dict[str, Any], work: Callable[[], Any]) -> Any:
        async def run(inputs: dict[str, Any]) -> Any:
            return await flow_body(work)

        options = {"name": pipeline.name, "validate_parameters": False, **self.flow_options}
        flow: Any = Flow(run, **options)
        call_hooks_beside_loop(flow)
        return call_blocking(lambda: awaited_run(lambda: flow(inputs=shown(inputs))))
