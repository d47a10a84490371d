"""`PrefectCallback`: scopes of a run as task runs of the flow run around it."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import httpx
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_UI_URL

from hypernodes import (
    CallbackContext,
    Cancelled,
    NodeTimeoutError,
    Pipeline,
    PipelineCallback,
    Retry,
    WorkerLostError,
)
from hypernodes.visualize import mermaid
from prefect_hypernodes.artifacts import Artifacts
from prefect_hypernodes.events import FlowRunRef, State, logger
from prefect_hypernodes.flow_calls import tls_for
from prefect_hypernodes.logs import NodeContext, NodeLogs, RunHere
from prefect_hypernodes.reporter import Reporter
from prefect_hypernodes.settings import Reporting, configured_cache
from prefect_hypernodes.task_runs import TaskRunTracker, Told

_MESSAGE_LIMIT = 20_000


class PrefectCallback(PipelineCallback):
    """Reports what a pipeline does into the flow run in which it is called.

    For people who write their own `@flow` or `@task`; `pipeline_flow` and `PrefectEngine` use it
    too. A node is a task run with its true times, its state, its logs and edges to the task runs
    that made its inputs; nested pipelines, maps and items are task runs that encapsulate those
    inside them. Outside of a flow run it does nothing.

    Args:
        reporting: how much is reported; by default what the environment says.

    Example:
        ```python
        @flow
        def report(path: str):
            return pipeline.with_callbacks([PrefectCallback()]).run({"path": path})
        ```
    """

    def __init__(self, reporting: Reporting | None = None) -> None:
        if reporting is not None and not isinstance(reporting, Reporting):
            raise TypeError(f"reporting is {reporting!r}: expected Reporting(limit=...)")
        self.reporting = Reporting() if reporting is None else reporting

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
        self._begin(ctx, total_items or 0)

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

    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
        run = self._run(ctx)
        if run is not None:
            error = retry.error
            message = _short(f"attempt {retry.attempt}: {type(error).__name__}: {error}")
            state = State("AwaitingRetry", "SCHEDULED", message)
            at = retry.at + retry.delay
            run.reporter.tell(Told("retry", ctx, at, state))

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        self._cached(ctx, signature)

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        run = self._run(ctx)
        if run is None:
            return
        for each in ctx.brought_back:
            if isinstance(each, NodeLogs):
                each.send()
        run.reporter.tell(Told("error", ctx, ctx.ended_at or time.time(), _state(error, ctx)))
        if ctx.parent is None:
            run.reporter.close()

    def node_context(self, ctx: CallbackContext) -> NodeContext | None:
        run = self._run(ctx)
        return None if run is None else NodeContext(run.here, ctx)

    def node_context_maker(self, ctx: CallbackContext) -> Callable[[CallbackContext], Any] | None:
        run = self._run(ctx)
        return _no_context if run is None else run.here.sent

    def _run(self, ctx: CallbackContext) -> _Run | None:
        run: _Run | None = ctx.get(PrefectCallback)
        return run

    def _begin(self, ctx: CallbackContext, total: int = 0) -> None:
        if ctx.parent is None:
            ctx.set(PrefectCallback, _Run.begin(ctx, self.reporting))
        run = self._run(ctx)
        if run is not None:
            run.reporter.tell(Told("start", ctx, total))

    def _end(self, ctx: CallbackContext, duration: float) -> None:
        run = self._run(ctx)
        if run is None:
            return
        for each in ctx.brought_back:
            if isinstance(each, NodeLogs):
                each.send()
        run.reporter.tell(Told("end", ctx, duration))
        if ctx.parent is None:
            run.reporter.close()

    def _cached(self, ctx: CallbackContext, signature: str) -> None:
        run = self._run(ctx)
        if run is not None:
            state = State("Cached", "COMPLETED", f"from the cache: {signature}")
            run.reporter.tell(Told("cached", ctx, ctx.started_at, state))


class _Run:
    """What belongs to one run: its reporter, and what its nodes have around them."""

    def __init__(self, reporter: Reporter, here: RunHere) -> None:
        self.reporter = reporter
        self.here = here

    @classmethod
    def begin(cls, ctx: CallbackContext, reporting: Reporting) -> _Run | None:
        """Begin to report into the flow run or task run around; None where there is none."""
        flow, task = FlowRunContext.get(), TaskRunContext.get()
        inner: Any = flow or task
        if inner is None or (flow is not None and flow.flow_run is None and task is None):
            logger.debug("no flow run around this run: it is not reported")
            return None
        around = _around(flow, task)
        url = str(inner.client.api_url).rstrip("/") + "/"
        headers = dict(inner.client._client.headers)
        headers.pop("content-length", None)
        verify = tls_for(url)  # not on the reporter's thread, beside which processes are forked

        def api() -> httpx.Client:
            return httpx.Client(
                base_url=url, headers=headers, timeout=reporting.deadline, verify=verify
            )

        ledger = TaskRunTracker(around, reporting)
        artifacts = None
        if reporting.artifacts:
            diagram = None if ctx.pipeline is None else partial(mermaid, ctx.pipeline)
            artifacts = Artifacts(around, ledger, ctx.name, diagram, PREFECT_UI_URL.value())
        reporter = Reporter(api, url, ledger, artifacts, reporting.deadline)
        return cls(reporter, RunHere(inner, url))


def with_prefect(
    pipeline: Pipeline, reporting: Reporting | None = None, ctx: CallbackContext | None = None
) -> Pipeline:
    """The pipeline with a `PrefectCallback` beside its own callbacks, at the root of a run.

    One without a cache has that of the run around, `ctx`, or, where there is no run around, the one
    that the environment names.
    """
    callbacks = pipeline.callbacks
    if callbacks is None:
        callbacks = ctx.callbacks if ctx else ()
    own = [each for each in callbacks if not isinstance(each, PrefectCallback)]
    if pipeline.cache is None:
        pipeline = pipeline.with_cache(configured_cache() if ctx is None else ctx.cache)
    return pipeline.with_engine(None).with_callbacks([*own, PrefectCallback(reporting)])


def _around(flow: FlowRunContext | None, task: TaskRunContext | None) -> FlowRunRef:
    flow_run: Any = None if flow is None else flow.flow_run
    task_run: Any = None if task is None else task.task_run
    if flow_run is None:
        return FlowRunRef(task_run.flow_run_id, task_run=task_run.id)
    if task_run is not None and task_run.flow_run_id != flow_run.id:
        task_run = None  # the task is around this flow run, not in it
    assert flow is not None
    return FlowRunRef(
        flow_run=flow_run.id,
        flow_run_name=flow_run.name,
        flow=flow_run.flow_id,
        flow_name=flow.flow.name if flow.flow is not None else "",
        deployment=flow_run.deployment_id,
        tags=tuple(flow_run.tags),
        run_count=flow_run.run_count,
        task_run=None if task_run is None else task_run.id,
    )


def _state(error: BaseException, ctx: CallbackContext) -> State:
    message = _short(f"{type(error).__name__}: {error}")
    if isinstance(error, (Cancelled, asyncio.CancelledError)):
        return State("Cancelled", "CANCELLED", message)
    if ctx.kind == "node":
        message = _short("".join(traceback.format_exception(error)))
        if isinstance(error, NodeTimeoutError):
            return State("TimedOut", "FAILED", message)
    if isinstance(error, WorkerLostError) or not isinstance(error, Exception):
        return State("Crashed", "CRASHED", message)
    return State("Failed", "FAILED", message)


def _short(message: str) -> str:
    """A message as an event can carry it: not too long, and nothing that is no text."""
    if len(message) > _MESSAGE_LIMIT:
        message = f"{message[: _MESSAGE_LIMIT // 4]}\n...\n{message[-_MESSAGE_LIMIT * 3 // 4 :]}"
    return message.encode("utf-8", "replace").decode()


def _no_context(ctx: CallbackContext) -> None:
    return None
