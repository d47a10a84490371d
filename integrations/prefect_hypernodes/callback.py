"""`PrefectCallback`: scopes of a run as task runs of the flow run around it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from hypernodes import CallbackContext, Pipeline, PipelineCallback
from prefect_hypernodes.events import FlowRunInfo, TaskRunInfo
from prefect_hypernodes.reporter import Reporter, logger

_MESSAGE_LIMIT = 20_000


class PrefectCallback(PipelineCallback):
    """Reports what a pipeline does into the flow run in which it is called.

    For people who write their own `@flow`; `pipeline_flow` and `PrefectEngine` use it too. A node
    is a task run with its true times, its state and edges to the task runs that made its inputs;
    nested pipelines, maps and items are task runs that encapsulate those inside them. Outside of
    a flow run it does nothing.

    Example:
        ```python
        @flow
        def report(path: str):
            return pipeline.with_callbacks([PrefectCallback()]).run({"path": path})
        ```
    """

    def on_pipeline_start(
        self, pipeline_id: str, inputs: Mapping[str, Any], ctx: CallbackContext
    ) -> None:
        self._begin(ctx)

    def on_pipeline_end(
        self, pipeline_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None:
        self._end(ctx, duration)

    def on_nested_pipeline_start(
        self, parent_id: str, child_pipeline_id: str, ctx: CallbackContext
    ) -> None:
        self._begin(ctx)

    def on_nested_pipeline_end(
        self, parent_id: str, child_pipeline_id: str, duration: float, ctx: CallbackContext
    ) -> None:
        self._end(ctx, duration)

    def on_map_start(self, total_items: int | None, ctx: CallbackContext) -> None:
        self._begin(ctx)

    def on_map_end(self, total_duration: float, ctx: CallbackContext) -> None:
        self._end(ctx, total_duration)

    def on_map_item_start(self, item_index: int, ctx: CallbackContext) -> None:
        self._begin(ctx)

    def on_map_item_end(self, item_index: int, duration: float, ctx: CallbackContext) -> None:
        self._end(ctx, duration)

    def on_map_item_cached(self, item_index: int, signature: str, ctx: CallbackContext) -> None:
        self._cached(ctx, signature)

    def on_node_start(self, node_id: str, inputs: Mapping[str, Any], ctx: CallbackContext) -> None:
        self._begin(ctx)

    def on_node_end(
        self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None:
        self._end(ctx, duration)

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        self._cached(ctx, signature)

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        reporter = self._reporter(ctx)
        if reporter is None:
            return
        if ctx.parent is None:
            reporter.close()
            return
        ended = max(time.time(), ctx.started_at + 1e-6)
        if isinstance(error, Exception):
            state, state_type = "Failed", "FAILED"
        else:  # KeyboardInterrupt, SystemExit: the run was stopped from outside
            state, state_type = "Crashed", "CRASHED"
        message = f"{type(error).__name__}: {error}"
        if ctx.kind == "node":
            message = "".join(traceback.format_exception(error))[-_MESSAGE_LIMIT:]
        reporter.ended(_task_run(ctx), state, state_type, ctx.started_at, ended, message)

    def _reporter(self, ctx: CallbackContext) -> Reporter | None:
        reporter: Reporter | None = ctx.get((PrefectCallback, "reporter"))
        return reporter

    def _begin(self, ctx: CallbackContext) -> None:
        if ctx.parent is None:
            ctx.set((PrefectCallback, "reporter"), _open_reporter())
            ctx.set((PrefectCallback, "contents"), {})
            return
        reporter = self._reporter(ctx)
        if reporter is not None:
            if ctx.kind == "node":
                _note_content(ctx, "ran")
            reporter.started(_task_run(ctx), ctx.started_at)

    def _end(self, ctx: CallbackContext, duration: float) -> None:
        reporter = self._reporter(ctx)
        if reporter is None:
            return
        if ctx.parent is None:
            reporter.close()
            return
        ended = ctx.started_at + max(duration, 1e-6)
        contents = ctx.get((PrefectCallback, "contents"))
        state = "Cached" if contents.get(ctx.id) == "cached" else "Completed"
        reporter.ended(_task_run(ctx), state, "COMPLETED", ctx.started_at, ended)

    def _cached(self, ctx: CallbackContext, signature: str) -> None:
        reporter = self._reporter(ctx)
        if reporter is not None:
            _note_content(ctx, "cached")
            now = time.time()
            message = f"from the cache: {signature}"
            reporter.ended(_task_run(ctx), "Cached", "COMPLETED", now, now, message)


def with_prefect(pipeline: Pipeline, ctx: CallbackContext | None = None) -> Pipeline:
    """The pipeline with a `PrefectCallback` beside its own callbacks, at the root of a run."""
    callbacks = pipeline.callbacks
    if callbacks is None:
        callbacks = ctx.callbacks if ctx else ()
    own = [each for each in callbacks if not isinstance(each, PrefectCallback)]
    if pipeline.cache is None and ctx is not None:
        pipeline = pipeline.with_cache(ctx.cache)
    return pipeline.with_engine(None).with_callbacks([*own, PrefectCallback()])


def _open_reporter() -> Reporter | None:
    flow_run_context = FlowRunContext.get()
    flow_run = getattr(flow_run_context, "flow_run", None)
    if flow_run is None:
        logger.debug("no flow run around this run: it is not reported")
        return None
    with get_client(sync_client=True) as client:
        url, headers = str(client.api_url), dict(client._client.headers)
    headers.pop("content-length", None)
    return Reporter(url, headers, FlowRunInfo(flow_run.id, flow_run.name))


def _note_content(ctx: CallbackContext, what: str) -> None:
    """Note for the scopes around whether anything in them ran: if not, they are cached too."""
    contents = ctx.get((PrefectCallback, "contents"))
    scope = ctx.parent
    while scope is not None and contents.get(scope.id) not in (what, "ran"):
        contents[scope.id] = what
        scope = scope.parent


def _task_run(ctx: CallbackContext) -> TaskRunInfo:
    """What Prefect has to know of a scope."""
    parent = ctx.parent
    assert parent is not None
    inside = parent.parent is not None
    return TaskRunInfo(
        id=ctx.id,
        name=ctx.name,
        task_key=_task_key(ctx),
        parent=parent.id if inside else None,
        inputs={name: made_by.id for name, made_by in ctx.inputs_from.items()},
        tags=("hypernodes", ctx.kind.replace("_", "-")),
    )


def _task_key(ctx: CallbackContext) -> str:
    """The path of a scope without items' numbers: the same in every run."""
    names = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        names.append("item" if scope.kind == "map_item" else scope.name)
        scope = scope.parent
    return "/".join(reversed(names))
