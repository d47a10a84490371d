"""`pipeline_flow`: a pipeline as a real `prefect.Flow`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_docstrings
from prefect.utilities.hashing import file_hash
from prefect.utilities.visualization import VizTask, get_task_viz_tracker

from hypernodes import HyperNodesError, Input, Node, Pipeline
from hypernodes.event_loops import running_loop
from hypernodes.plan import Plan
from prefect_hypernodes.callback import with_prefect
from prefect_hypernodes.engine import PrefectEngine
from prefect_hypernodes.flow_calls import awaited_run, call_blocking, flow_body
from prefect_hypernodes.hooks import call_hooks_beside_loop
from prefect_hypernodes.parameters import shown
from prefect_hypernodes.settings import Reporting

_RESERVED = frozenset({"return_state", "wait_for"})


class PipelineFlow(Flow[Any, Any]):
    """A flow that runs a pipeline; made by :func:`pipeline_flow`.

    Called where no event loop is running it blocks and returns the result, like a sync flow;
    where one is running it is to be awaited, like an async one. (Inside it is an async flow: a
    sync one costs a second at its end, in which Prefect joins its heartbeat.)
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._settle()
        run = super().__call__

        async def called() -> Any:
            if get_task_viz_tracker() is not None:
                return await self.fn(*args, **kwargs)
            return await awaited_run(lambda: run(*args, **kwargs), bool(kwargs.get("return_state")))

        return call_blocking(called) if running_loop() is None else called()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        call_hooks_beside_loop(self)

    def with_options(self, **options: Any) -> PipelineFlow:
        """The same flow with other options; see `prefect.Flow.with_options`."""
        self._settle()
        flow = super().with_options(**options)
        flow.__class__ = PipelineFlow
        assert isinstance(flow, PipelineFlow)
        call_hooks_beside_loop(flow)
        return flow

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters as the API takes them: short, and nothing that JSON cannot hold."""
        return shown(parameters)

    def to_deployment(self, *args: Any, **kwargs: Any) -> Any:
        """See `prefect.Flow.to_deployment`."""
        self._settle()
        return super().to_deployment(*args, **kwargs)

    async def ato_deployment(self, *args: Any, **kwargs: Any) -> Any:
        """See `prefect.Flow.ato_deployment`."""
        self._settle()
        return await super().ato_deployment(*args, **kwargs)

    def _settle(self) -> None:
        """Find out what the module calls this flow: Prefect loads deployed flows by that name."""
        module = sys.modules.get(self.fn.__module__)
        for name, value in vars(module).items() if module else ():
            if value is self and self.fn.__qualname__ != name:
                self.fn.__name__ = self.fn.__qualname__ = name
                self.__name__ = self.__qualname__ = name
                return


def pipeline_flow(
    pipeline: Pipeline,
    *,
    map_over: Any = None,
    map_mode: Any = "zip",
    output_name: Any = None,
    error_handling: Any = "raise",
    name: str | None = None,
    reporting: Reporting | None = None,
    **flow_options: Any,
) -> PipelineFlow:
    """Make a pipeline a Prefect flow, with one typed parameter for each of its inputs.

    Args:
        pipeline: what to run. If it has no cache, `HYPERNODES_CACHE` names one.
        map_over: run it for each item of these inputs, whose parameters are lists then; as in
            `Pipeline.map`.
        map_mode: "zip" or "product".
        output_name: the outputs to compute; None for all.
        error_handling: for a map, "raise" or "continue".
        name: the flow's name; by default the pipeline's.
        reporting: how much is reported; by default what the environment says.
        **flow_options: Prefect's own: `retries`, `timeout_seconds`, `tags`, hooks, ...

    Returns:
        A flow that can be called, served and deployed. It returns what `run` or `map` does.

    Example:
        ```python
        flow = pipeline_flow(pipeline, name="report")
        flow(path="docs")
        ```
    """
    plan = pipeline.plan(output_name)
    mapped = {} if map_over is None else pipeline.resolve_map_over(map_over)
    work = reported(pipeline, map_over and mapped, map_mode, output_name, error_handling, reporting)

    async def run(**inputs: Any) -> Any:
        if (tracker := get_task_viz_tracker()) is not None:
            _draw(pipeline, tracker)
            return None
        return await flow_body(lambda: work(inputs))

    told = flow_options.pop("description", None) or description(pipeline)
    module = sys._getframe(1).f_globals
    dress(run, pipeline, plan, mapped, name, module.get("__name__", "__main__"))
    if "version" not in flow_options and Path(file := module.get("__file__", "")).is_file():
        flow_options["version"] = file_hash(file)  # as Prefect does it, which would see this file
    return PipelineFlow(run, name=name or pipeline.name, description=told, **flow_options)


def reported(
    pipeline: Pipeline,
    mapped: dict[str, str] | None,
    map_mode: Any,
    output_name: Any,
    error_handling: Any,
    reporting: Reporting | None,
) -> Callable[[dict[str, Any]], Any]:
    """A function from inputs to results, which reports to the run that it finds itself in."""
    engine = pipeline.effective_engine
    if isinstance(engine, PrefectEngine):
        engine = engine.engine  # this is the flow run

    def work(inputs: dict[str, Any]) -> Any:
        watched = with_prefect(pipeline, reporting).with_engine(engine)
        if mapped is None:
            return watched.run(inputs, output_name)
        return watched.map(inputs, mapped, map_mode, output_name, error_handling)

    return work


def dress(
    function: Any,
    pipeline: Pipeline,
    plan: Plan,
    mapped: dict[str, str],
    name: str | None,
    module: str,
) -> None:
    """Give a function of keyword arguments the name and the signature of a pipeline's plan."""
    read = {*plan.given, *mapped.values()}
    needed = [each for each in pipeline.inputs.values() if each.name in read]
    function.__name__ = (name or pipeline.name).replace("-", "_").replace(" ", "_")
    function.__qualname__ = function.__name__
    function.__module__ = module
    parameters = _parameters(needed, mapped)
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    function.__doc__ = _docstring(pipeline, needed, mapped)


def _parameters(needed: list[Input], mapped: dict[str, str]) -> list[inspect.Parameter]:
    lists = {inner: outer for outer, inner in mapped.items()}
    parameters = []
    for each in needed:
        inner = each.name
        outer = lists.get(inner, inner)
        if outer in _RESERVED:
            raise HyperNodesError(
                f"input {outer!r} cannot be a flow's parameter, since Prefect uses that name "
                f"itself: rename it, with as_node(input_mapping={{'new_name': {outer!r}}})"
            )
        parameters.append(
            inspect.Parameter(
                outer,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if inner in lists else each.default,
                annotation=list[each.type] if inner in lists else each.type,  # type: ignore[name-defined]
            )
        )
    return parameters


def _docstring(pipeline: Pipeline, needed: list[Input], mapped: dict[str, str]) -> str:
    """What Prefect's run form says of each parameter, in the form in which Prefect reads it."""
    lists = {inner: outer for outer, inner in mapped.items()}
    lines = [f"Run pipeline {pipeline.name!r}.", "", "Args:"]
    for inner in (each.name for each in needed):
        told = " ".join(_told_of(pipeline, inner).split())
        outer = lists.get(inner, inner)
        if outer != inner:
            told = f"one {inner} for each item. {told}"
        lines.append(f"    {outer}: {told or 'see the nodes'}")
    return "\n".join(lines)


def _told_of(pipeline: Pipeline, name: str) -> str:
    """What the docstring of a node that reads an input says of it."""
    for each in pipeline.nodes:
        if name not in each.input_names:
            continue
        if isinstance(each, Node):
            told = parameter_docstrings(inspect.getdoc(each.func)).get(name, "")
        else:
            told = _told_of(each.pipeline, each.inner_inputs[name])
        if told:
            return told
    return ""


def description(pipeline: Pipeline) -> str:
    """What the flow's page in Prefect says: the nodes with the first lines of their docstrings."""
    lines = [f"HyperNodes pipeline {pipeline.name!r}", ""]
    for each in pipeline.nodes:
        told = inspect.getdoc(each.func) if isinstance(each, Node) else None
        lines.append(f"- {each.name}" + (f": {told.splitlines()[0]}" if told else ""))
    return "\n".join(lines)


def _draw(pipeline: Pipeline, tracker: Any) -> None:
    """Show `flow.visualize()` the nodes: nothing has to run for that."""
    drawn: dict[str, VizTask] = {}
    for node_id in pipeline.node_ids:
        upstream = [drawn[each] for each in pipeline.graph.predecessors(node_id)]
        drawn[node_id] = VizTask(name=node_id, upstream_tasks=upstream)
        tracker.add_task(drawn[node_id])
