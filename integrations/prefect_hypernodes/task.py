"""`pipeline_task`: a whole pipeline as one `prefect.Task`, for a larger flow."""

from __future__ import annotations

import sys
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE

from hypernodes import Pipeline
from prefect_hypernodes.flow import description, dress, reported
from prefect_hypernodes.settings import Reporting


def pipeline_task(
    pipeline: Pipeline,
    *,
    map_over: Any = None,
    map_mode: Any = "zip",
    output_name: Any = None,
    error_handling: Any = "raise",
    name: str | None = None,
    reporting: Reporting | None = None,
    **task_options: Any,
) -> Task[Any, Any]:
    """Make a pipeline one Prefect task, which encapsulates the task runs of its nodes.

    The task works as any other: `.submit`, `.map`, retries, every task runner. Prefect caches
    nothing of it unless a `cache_policy` is given: the nodes have the pipeline's cache.

    Args:
        pipeline: what to run. If it has no cache, `HYPERNODES_CACHE` names one.
        map_over: run it for each item of these inputs, as in `Pipeline.map`.
        map_mode: "zip" or "product".
        output_name: the outputs to compute; None for all.
        error_handling: for a map, "raise" or "continue".
        name: the task's name; by default the pipeline's.
        reporting: how much is reported; by default what the environment says.
        **task_options: Prefect's own: `retries`, `tags`, `timeout_seconds`, ...

    Returns:
        A task with one keyword argument for each input. It returns what `run` or `map` does.

    Example:
        ```python
        summarise = pipeline_task(pipeline, retries=2)

        @flow
        def report(paths: list[str]):
            return summarise.map(path=paths).result()
        ```
    """
    plan = pipeline.plan(output_name)
    mapped = {} if map_over is None else pipeline.resolve_map_over(map_over)
    work = reported(pipeline, map_over and mapped, map_mode, output_name, error_handling, reporting)

    def run(**inputs: Any) -> Any:
        return work(inputs)

    told = task_options.pop("description", None) or description(pipeline)
    dress(run, pipeline, plan, mapped, name, sys._getframe(1).f_globals.get("__name__", "__main__"))
    options = {"cache_policy": NO_CACHE, "description": told, **task_options}
    return Task(run, name=name or pipeline.name, **options)
