"""`pipeline_task`: a whole pipeline as one `prefect.Task`, for a larger flow."""

from __future__ import annotations

import sys
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE

from hypernodes import Pipeline
from hypernodes.integration import ErrorHandling, MapMode, MapOver, OutputName
from prefect_hypernodes.flow import PipelineWork, description
from prefect_hypernodes.settings import Reporting


def pipeline_task(
    pipeline: Pipeline,
    *,
    map_over: MapOver | None = None,
    map_mode: MapMode = "zip",
    output_name: OutputName = None,
    error_handling: ErrorHandling = "raise",
    name: str | None = None,
    reporting: Reporting | None = None,
    **task_options: Any,
) -> Task[Any, Any]:
    """Make a pipeline one Prefect task, which encapsulates the task runs of its nodes.

    The task works as any other: `.submit`, `.map`, retries, every task runner. Prefect caches
    nothing of it unless a `cache_policy` is given: the nodes have the pipeline's cache.

    For the other arguments see :func:`pipeline_flow`.

    Args:
        name: the task's name; by default the pipeline's.
        **task_options: Prefect's own: `retries`, `tags`, `timeout_seconds`, ...

    Returns:
        A task with one argument for each input. It returns what `run` or `map` does.

    Example:
        ```python
        summarise = pipeline_task(pipeline, retries=2)

        @flow
        def report(paths: list[str]):
            return summarise.map(path=paths).result()
        ```
    """
    work = PipelineWork(pipeline, map_over, map_mode, output_name, error_handling, reporting)

    def run(*args: Any, **kwargs: Any) -> Any:
        return work(work.arguments(run, args, kwargs))

    name = name or pipeline.name
    work.sign(run, name, sys._getframe(1).f_globals.get("__name__", "__main__"))
    text = task_options.pop("description", None) or description(pipeline)
    # `@task` says None, too: as the flow around it does. `Task` itself says False.
    options = {"cache_policy": NO_CACHE, "log_prints": None, "description": text, **task_options}
    return Task(run, name=name, **options)
