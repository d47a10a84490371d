"""`pipeline_flow`: a pipeline as a real `prefect.Flow`."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prefect import Flow

import hypernodes
from hypernodes import HyperNodesError, Pipeline
from prefect_hypernodes.callback import with_prefect

_RESERVED = frozenset({"return_state", "wait_for"})


class PipelineFlow(Flow[Any, Any]):
    """A flow that runs a pipeline; made by :func:`pipeline_flow`.

    Called where no event loop is running it blocks and returns the result, like a sync flow;
    where one is running it is to be awaited, like an async one. (Inside it is an async flow: a
    sync one costs a second at its end, in which Prefect joins its heartbeat.)
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        run = super().__call__
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run(*args, **kwargs))
        return run(*args, **kwargs)


def pipeline_flow(
    pipeline: Pipeline,
    *,
    map_over: Any = None,
    map_mode: Any = "zip",
    output_name: Any = None,
    error_handling: Any = "raise",
    name: str | None = None,
    **flow_options: Any,
) -> PipelineFlow:
    """Make a pipeline a Prefect flow, with one typed parameter for each of its inputs.

    Args:
        pipeline: what to run.
        map_over: run it for each item of these inputs, whose parameters are lists then; as in
            `Pipeline.map`.
        map_mode: "zip" or "product".
        output_name: the outputs to compute; None for all.
        error_handling: for a map, "raise" or "continue".
        name: the flow's name; by default the pipeline's.
        **flow_options: Prefect's own: `retries`, `timeout_seconds`, `tags`, hooks, ...

    Returns:
        A flow that can be called, served and deployed. It returns what `run` or `map` does.

    Example:
        ```python
        flow = pipeline_flow(pipeline, name="report")
        flow(path="docs")
        ```
    """
    pipeline.plan(output_name)
    mapped = {} if map_over is None else pipeline.resolve_map_over(map_over)
    engine = pipeline.effective_engine
    engine = getattr(engine, "engine", engine)  # a PrefectEngine's own: this is the flow run
    reported = with_prefect(pipeline).with_engine(engine)

    def work(inputs: dict[str, Any]) -> Any:
        if map_over is None:
            return reported.run(inputs, output_name)
        return reported.map(inputs, mapped, map_mode, output_name, error_handling)

    async def run(**inputs: Any) -> Any:
        return await run_in_thread(lambda: work(inputs))

    run.__name__ = (name or pipeline.name).replace("-", "_").replace(" ", "_")
    run.__qualname__ = run.__name__
    run.__module__ = sys._getframe(1).f_globals.get("__name__", "__main__")
    run.__doc__ = flow_options.pop("description", None) or _description(pipeline)
    parameters = _parameters(pipeline, mapped)
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return PipelineFlow(run, name=name or pipeline.name, **flow_options)


def _parameters(pipeline: Pipeline, mapped: dict[str, str]) -> list[inspect.Parameter]:
    lists = {inner: outer for outer, inner in mapped.items()}
    parameters = []
    for inner, each in pipeline.inputs.items():
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


def _description(pipeline: Pipeline) -> str:
    """What the flow's page in Prefect says: the nodes with the first lines of their docstrings."""
    lines = [f"HyperNodes pipeline {pipeline.name!r}", ""]
    for each in pipeline.nodes:
        told = inspect.getdoc(each) if isinstance(each, hypernodes.Node) else None
        lines.append(f"- {each.name}" + (f": {told.splitlines()[0]}" if told else ""))
    return "\n".join(lines)


async def run_in_thread(work: Callable[[], Any]) -> Any:
    """Run blocking work beside the event loop, with the flow run's context variables."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="hypernodes-flow") as pool:
        return await asyncio.wrap_future(pool.submit(context.run, work))


def call_blocking(flow: Flow[Any, Any], parameters: dict[str, Any]) -> Any:
    """Run an async flow to its end, also from a thread whose own event loop is running."""

    async def run() -> Any:
        made: Coroutine[Any, Any, Any] = flow(**parameters)
        return await made

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="hypernodes-flow") as pool:
        return pool.submit(context.run, asyncio.run, run()).result()
