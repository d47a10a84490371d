"""`PrefectEngine`: every run and every map of a pipeline is a flow run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import prefect
from prefect import Flow

from hypernodes import CallbackContext, Engine, HyperNodesEngine, Pipeline
from hypernodes.integration import ErrorHandling, OutputName
from prefect_hypernodes.callback import with_prefect
from prefect_hypernodes.flow_calls import (
    awaited_run,
    call_blocking,
    call_hooks_beside_loop,
    flow_body,
)
from prefect_hypernodes.native_tasks import known_as_shown
from prefect_hypernodes.parameters import check_tags, shown
from prefect_hypernodes.scopes import FlowRunEngine
from prefect_hypernodes.settings import Reporting

Result = TypeVar("Result")


class PrefectEngine(FlowRunEngine):
    """Runs pipelines on another engine, as Prefect flow runs.

    Inside a flow run it is a subflow run. Caching and executors stay the other engine's.

    Args:
        engine: what does the work; by default `HyperNodesEngine()`.
        reporting: how much is reported; by default what the environment says.
        tags: tags of the flow runs and their task runs.
        **flow_options: Prefect's own options of a flow: `retries`, `timeout_seconds`, hooks, ...

    Raises:
        TypeError: the tags are no list of texts.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        reporting: Reporting | None = None,
        tags: Iterable[str] = (),
        **flow_options: Any,
    ) -> None:
        self.engine = HyperNodesEngine() if engine is None else engine
        self.reporting = reporting
        self.tags = check_tags(tags)
        self.flow_options = flow_options

    def __repr__(self) -> str:
        return f"PrefectEngine({self.engine!r})"

    def run(
        self,
        pipeline: Pipeline,
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
    ) -> dict[str, Any]:
        pipeline.check_inputs(pipeline.plan(output_name), inputs)

        def work(reported: Pipeline) -> dict[str, Any]:
            return self.engine.run(reported, inputs, output_name)

        return self._flow_run(pipeline, _ctx, inputs, work)

    def map(
        self,
        pipeline: Pipeline,
        items: Sequence[dict[str, Any]],
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
        *,
        error_handling: ErrorHandling = "raise",
    ) -> list[Any]:
        items = pipeline.check_items(pipeline.plan(output_name), items, inputs)

        def work(reported: Pipeline) -> list[Any]:
            return self.engine.map(
                reported, items, inputs, output_name, error_handling=error_handling
            )

        return self._flow_run(pipeline, _ctx, {"items": len(items), **inputs}, work)

    def accepts_frame(self, inputs: object) -> bool:
        """Whether the other engine maps over such a frame."""
        return bool(getattr(self.engine, "accepts_frame", lambda _: False)(inputs))

    def map_frame(
        self, pipeline: Pipeline, frame: Any, columns: dict[str, str], *more: Any, **how: Any
    ) -> Any:
        """A map over a frame of the other engine's; see there. What is lazy runs after it."""
        engine: Any = self.engine

        def work(reported: Pipeline) -> Any:
            return engine.map_frame(reported, frame, columns, *more, **how)

        return self._flow_run(pipeline, None, {"columns": columns}, work)

    def _flow_run(
        self,
        pipeline: Pipeline,
        ctx: CallbackContext | None,
        inputs: Mapping[str, object],
        work: Callable[[Pipeline], Result],
    ) -> Result:
        """Call `work` with the pipeline, which reports, in a flow run with these parameters."""
        reported = with_prefect(pipeline, self.reporting, ctx)

        async def run(inputs: dict[str, Any]) -> Any:
            return await flow_body(lambda: work(reported))

        options = {"name": pipeline.name, "validate_parameters": False, **self.flow_options}
        flow: Any = Flow(run, **options)
        call_hooks_beside_loop(flow)
        parameters = shown(inputs)
        with prefect.tags(*self.tags), known_as_shown(inputs, parameters):
            result: Result = call_blocking(lambda: awaited_run(lambda: flow(inputs=parameters)))
        return result
