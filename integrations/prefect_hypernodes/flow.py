"""`pipeline_flow`: a pipeline as a real `prefect.Flow`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import prefect
from prefect import Flow
from prefect.utilities.hashing import file_hash
from prefect.utilities.visualization import TaskVizTracker, VizTask, get_task_viz_tracker
from pydantic import Field

from hypernodes import HyperNodesError, Node, Pipeline
from hypernodes.integration import (
    ErrorHandling,
    MapMode,
    MapOver,
    OutputName,
    names_to_refresh,
    running_loop,
)
from prefect_hypernodes.callback import with_prefect
from prefect_hypernodes.engine import PrefectEngine
from prefect_hypernodes.flow_calls import (
    awaited_run,
    call_blocking,
    call_hooks_beside_loop,
    flow_body,
    flow_tags,
)
from prefect_hypernodes.parameters import check_tags, documented, own_doc, shown
from prefect_hypernodes.settings import Reporting

#: What people look for among a flow's options, and where it is.
_ELSEWHERE = {
    "cron": 'write flow.serve(name="...", cron=...), or deploy it with a schedule',
    "interval": 'write flow.serve(name="...", interval=...), or deploy it with a schedule',
    "cache": "write pipeline_flow(pipeline.with_cache(cache))",
    "engine": "write pipeline_flow(pipeline.with_engine(engine))",
    "callbacks": "write pipeline_flow(pipeline.with_callbacks([...]))",
    "retry": "write retries=...",
    "retry_delay": "write retry_delay_seconds=...",
    "timeout": "write timeout_seconds=...",
    "refresh": 'write refresh_parameter="refresh"',
    "parameters": "give them when the flow is called, served or deployed",
    "max_concurrent": "write @node(..., max_concurrent=5)",
    "concurrency_limit": 'write @node(..., concurrency_limit="name")',
    "cache_policy": 'write @node(..., cache=False), ttl=... or version="..."',
    "task_run_name": 'write @node(..., task_run_name="fetch {url}")',
}
#: What every flow's call takes: no parameter can have these names.
_RESERVED = frozenset({"return_state", "wait_for"})


class PipelineFlow(Flow[Any, Any]):
    """A flow that runs a pipeline; made by :func:`pipeline_flow`.

    Called where no event loop is running it blocks and returns the result, like a sync flow;
    where one is running it is to be awaited, like an async one. (Inside it is an async flow: a
    sync one costs a second at its end, in which Prefect joins its heartbeat.)

    Attributes:
        tags: tags of its runs and their task runs.
    """

    tags: tuple[str, ...]

    def __init__(self, *args: Any, tags: Iterable[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.tags = check_tags(tags)
        call_hooks_beside_loop(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._find_name()
        run = super().__call__

        async def called() -> Any:
            if get_task_viz_tracker() is not None:
                return await self.fn(*args, **kwargs)
            with prefect.tags(*self.tags):
                returns_state = bool(kwargs.get("return_state"))
                return await awaited_run(lambda: run(*args, **kwargs), returns_state)

        return call_blocking(called) if running_loop() is None else called()

    def with_options(self, *, tags: Iterable[str] | None = None, **options: Any) -> PipelineFlow:
        """The same flow with other options; see `prefect.Flow.with_options`."""
        self._find_name()
        flow = super().with_options(**options)
        flow.__class__ = PipelineFlow
        assert isinstance(flow, PipelineFlow)
        flow.tags = self.tags if tags is None else check_tags(tags)
        call_hooks_beside_loop(flow)
        return flow

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters as the API takes them: short, and nothing that JSON cannot hold."""
        return shown(parameters)

    def to_deployment(self, *args: Any, **kwargs: Any) -> Any:
        """See `prefect.Flow.to_deployment`."""
        self._find_name()
        return super().to_deployment(*args, **self._tagged(kwargs))

    async def ato_deployment(self, *args: Any, **kwargs: Any) -> Any:
        """See `prefect.Flow.ato_deployment`."""
        self._find_name()
        return await super().ato_deployment(*args, **self._tagged(kwargs))

    def _tagged(self, options: dict[str, Any]) -> dict[str, Any]:
        """A deployment's options with the flow's tags."""
        tags = check_tags([*self.tags, *(options.get("tags") or ())])
        return {**options, "tags": list(tags)} if tags else options

    def _find_name(self) -> None:
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
    map_over: MapOver | None = None,
    map_mode: MapMode = "zip",
    output_name: OutputName = None,
    error_handling: ErrorHandling = "raise",
    name: str | None = None,
    reporting: Reporting | None = None,
    refresh_parameter: str | None = None,
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
        refresh_parameter: give the flow an optional parameter of this name, for nodes to compute
            anew, with all that follows: "run again from `train`" is a custom run in the UI then.
        **flow_options: `tags` for the flow's runs and their task runs, and Prefect's own options
            of a flow: `retries`, `timeout_seconds`, hooks, ...

    Returns:
        A flow that can be called, served and deployed. It returns what `run` or `map` does.

    Raises:
        HyperNodesError: a parameter has a name that Prefect uses itself, or an input has.
        MapOverError, OutputNameError: as `Pipeline.map` and `Pipeline.run` raise them.
        TypeError: what is no pipeline, or an option that belongs elsewhere.

    Example:
        ```python
        flow = pipeline_flow(pipeline, name="report")
        flow(path="docs")
        ```
    """
    for option, line in _ELSEWHERE.items():
        if option in flow_options:
            raise TypeError(f"pipeline_flow has no option {option!r}: {line}")
    work = PipelineWork(
        pipeline, map_over, map_mode, output_name, error_handling, reporting, refresh_parameter
    )

    async def run(*args: Any, **kwargs: Any) -> Any:
        if (tracker := get_task_viz_tracker()) is not None:  # `flow.visualize()`, without arguments
            _draw(pipeline, tracker)
            return None
        inputs = work.arguments(run, args, kwargs)
        async with flow_tags():
            return await flow_body(lambda: work(inputs))

    module = sys._getframe(1).f_globals
    name = name or pipeline.name
    work.sign(run, name, module.get("__name__", "__main__"))
    text = flow_options.pop("description", None) or description(pipeline)
    if "version" not in flow_options and Path(file := module.get("__file__", "")).is_file():
        flow_options["version"] = file_hash(file)  # as Prefect does it, which would see this file
    return PipelineFlow(run, name=name, description=text, **flow_options)


@dataclass(frozen=True, eq=False)
class PipelineWork:
    """What the function of a flow or a task does; see :func:`pipeline_flow` for the attributes.

    Called with inputs, it runs the pipeline and reports to the flow run that it is called in.
    """

    pipeline: Pipeline
    map_over: MapOver | None
    map_mode: MapMode
    output_name: OutputName
    error_handling: ErrorHandling
    reporting: Reporting | None
    refresh_parameter: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pipeline, Pipeline):
            raise TypeError(
                f"a flow or a task is made from a pipeline, not from {self.pipeline!r:.60}: "
                "write Pipeline([...])"
            )
        if not isinstance(self.reporting, (Reporting, type(None))):
            raise TypeError(f"reporting is {self.reporting!r:.60}: expected Reporting(...)")
        if self.error_handling != "raise" and self.map_over is None:
            raise TypeError(
                f"error_handling={self.error_handling!r} is for the items of a map: "
                "give map_over=... as well"
            )

    @cached_property
    def mapped(self) -> dict[str, str]:
        """The inputs that are mapped over, by the names of their lists."""
        return {} if self.map_over is None else self.pipeline.resolve_map_over(self.map_over)

    def __call__(self, inputs: dict[str, Any]) -> Any:
        engine = self.pipeline.effective_engine
        if isinstance(engine, PrefectEngine):
            engine = engine.engine  # this is the flow run
        pipeline = with_prefect(self.pipeline, self.reporting).with_engine(engine)
        if self.refresh_parameter is not None:
            inputs = dict(inputs)
            pipeline = pipeline.with_refresh(inputs.pop(self.refresh_parameter, None))
        if self.map_over is None:
            return pipeline.run(inputs, self.output_name)
        return pipeline.map(
            inputs, self.mapped, self.map_mode, self.output_name, self.error_handling
        )

    def sign(self, function: Any, name: str, module: str) -> None:
        """Make the pipeline's signature and docstring those of a function of keyword arguments.

        Prefect's run form shows both.

        Args:
            function: calls this with its arguments.
            name: what it is called.
            module: the name of the module that it is to be found in.

        Raises:
            HyperNodesError: an input has a name that Prefect uses itself.
        """
        plan = self.pipeline.plan(self.output_name)
        lists = {inner: outer for outer, inner in self.mapped.items()}
        read = {*plan.given, *lists}
        parameters: list[Parameter] = []
        lines = [f"Run pipeline {self.pipeline.name!r}.", "", "Args:"]
        for each in self.pipeline.inputs.values():
            if each.name not in read:
                continue
            outer = lists.get(each.name, each.name)
            if outer in _RESERVED or outer == self.refresh_parameter:
                used_by = "Prefect uses" if outer in _RESERVED else "refresh_parameter has"
                raise HyperNodesError(
                    f"input {outer!r} cannot be a flow's parameter, since {used_by} that name "
                    f"itself: rename it, with as_node(input_mapping={{'new_name': {outer!r}}})"
                )
            is_list = each.name in lists
            default = Parameter.empty if is_list else each.default
            annotation = list[each.type] if is_list else each.type  # type: ignore[name-defined]
            parameters.append(
                Parameter(outer, _kind(parameters, default), default=default, annotation=annotation)
            )
            text = _documentation(self.pipeline, each.name)
            if outer != each.name:
                text = f"one {each.name} for each item" + (f": {text}" if text else "")
            if text:
                lines.append(f"    {outer}: {text}")
        if self.refresh_parameter is not None:
            parameters.append(_refresh_parameter(self.pipeline, self.refresh_parameter))
            lines.append(f"    {self.refresh_parameter}: {_REFRESHES}")
        function.__name__ = function.__qualname__ = name.replace("-", "_").replace(" ", "_")
        function.__module__ = module
        function.__signature__ = Signature(parameters)
        function.__annotations__ = {each.name: each.annotation for each in parameters}
        function.__doc__ = "\n".join(lines)

    def arguments(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """The arguments of a call by name.

        Args:
            function: what :meth:`sign` has signed.
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            TypeError: they do not fit the signature.
        """
        return inspect.signature(function).bind(*args, **kwargs).arguments


#: What the run form says of the parameter.
_REFRESHES = "nodes or outputs to compute anew whatever is in the cache, with all that follows"


def _refresh_parameter(pipeline: Pipeline, name: str) -> Parameter:
    """The flow's parameter for what is computed anew; the run form offers the names.

    Raises:
        HyperNodesError: Prefect uses this name itself, or it is none.
    """
    if not isinstance(name, str) or not name.isidentifier() or name in _RESERVED:
        raise HyperNodesError(f"refresh_parameter is {name!r}: expected a name such as 'refresh'")
    # The names are the form's and the API's; a run refuses others itself, with the nearest one.
    known = Field(json_schema_extra={"enum": [*names_to_refresh(pipeline)]})
    each = Annotated[str, known]
    type_ = list[each] | None
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=type_)


def _kind(before: list[Parameter], default: object) -> Any:
    """The kind of the next parameter: by keyword alone after one that Python could not have."""
    if not before:
        return Parameter.POSITIONAL_OR_KEYWORD
    kind, last = before[-1].kind, before[-1].default
    is_odd = last is not Parameter.empty and default is Parameter.empty
    return Parameter.KEYWORD_ONLY if is_odd else kind


def _documentation(pipeline: Pipeline, name: str) -> str:
    """What the docstring of a node that reads an input says of it."""
    for each in pipeline.nodes:
        if name not in each.input_names:
            continue
        if isinstance(each, Node):
            text = documented(each.func).get(name, "")
        else:
            text = _documentation(each.pipeline, each.inner_inputs[name])
        if text:
            return text
    return ""


def description(pipeline: Pipeline) -> str:
    """What the flow's page in Prefect says: the nodes with the first lines of their docstrings."""
    lines = [f"HyperNodes pipeline {pipeline.name!r}", ""]
    for each in pipeline.nodes:
        text = own_doc(each.func) if isinstance(each, Node) else None
        lines.append(f"- {each.name}" + (f": {text.splitlines()[0]}" if text else ""))
    return "\n".join(lines)


def _draw(pipeline: Pipeline, tracker: TaskVizTracker) -> None:
    """Show `flow.visualize()` the nodes: nothing has to run for that."""
    drawn: dict[str, VizTask] = {}
    for node_id in pipeline.node_ids:
        upstream = [drawn[each] for each in pipeline.graph.predecessors(node_id)]
        drawn[node_id] = VizTask(name=node_id, upstream_tasks=upstream)
        tracker.add_task(drawn[node_id])
