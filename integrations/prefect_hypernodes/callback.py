"""`PrefectCallback`: scopes of a run as task runs of the flow run around it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.settings import PREFECT_UI_URL

from hypernodes import (
    CallbackContext,
    Pipeline,
    Retry,
)
from hypernodes.integration import ContextMaker, ScopeCallback
from prefect_hypernodes import states
from prefect_hypernodes.api import Api
from prefect_hypernodes.artifacts import Artifacts
from prefect_hypernodes.elsewhere import Elsewhere
from prefect_hypernodes.events import FlowRunRef, logger, resources
from prefect_hypernodes.flow_calls import BODY, tls_for
from prefect_hypernodes.logs import LocalRun, NodeContext, NodeLogs
from prefect_hypernodes.lost import LostTaskRuns
from prefect_hypernodes.native_tasks import made_by_tasks, note_made
from prefect_hypernodes.reporter import Reporter
from prefect_hypernodes.run_log import RunLog
from prefect_hypernodes.settings import Reporting, configured_cache
from prefect_hypernodes.task_runs import ScopeEvent, TaskRunTracker

#: What people look for here, and where it is.
_ELSEWHERE = {
    "tags": 'write `with prefect.tags("a"):` around the run, in your flow',
    "log_prints": "write @flow(log_prints=True) on your flow",
    "retries": "write @flow(retries=...) on your flow, or @node(retries=...)",
    **dict.fromkeys(
        ("limit", "items", "artifacts", "deadline"), "write PrefectCallback(Reporting(...))"
    ),
}


class PrefectCallback(ScopeCallback):
    """Reports what a pipeline does into the flow run in which it is called.

    For people who write their own `@flow` or `@task`; `pipeline_flow` and `PrefectEngine` use it
    too. A node is a task run with its true times, its state, its logs and edges to the task runs
    that made its inputs; nested pipelines, maps and items are task runs that encapsulate those
    inside them. Outside of a flow run it does nothing.

    Args:
        reporting: how much is reported; by default what the environment says.

    Raises:
        TypeError: `reporting` is something else.

    Example:
        ```python
        @flow
        def report(path: str):
            return pipeline.with_callbacks([PrefectCallback()]).run({"path": path})
        ```
    """

    def __init__(self, reporting: Reporting | None = None, **unknown: NoReturn) -> None:
        for option in unknown:
            hint = _ELSEWHERE.get(option, "it takes a Reporting(limit=...), and nothing else")
            raise TypeError(f"PrefectCallback has no option {option!r}: {hint}")
        if reporting is not None and not isinstance(reporting, Reporting):
            raise TypeError(f"reporting is {reporting!r}: expected Reporting(limit=...)")
        self.reporting = Reporting() if reporting is None else reporting

    def started(
        self, ctx: CallbackContext, total: int = 0, inputs: Mapping[str, Any] | None = None
    ) -> None:
        if ctx.parent is None:
            ctx.set(PrefectCallback, _begin(ctx, self.reporting))
        if run := _run_of(ctx):
            made_by = made_by_tasks(inputs) if inputs and run.made is not None else {}
            run.reporter.report(
                ScopeEvent("start", ctx, ctx.started_at, total=total, made_by=made_by)
            )

    def on_pipeline_start(
        self, pipeline_id: str, inputs: Mapping[str, Any], ctx: CallbackContext
    ) -> None:
        self.started(ctx, inputs=inputs)

    def on_map_start(self, total_items: int | None, ctx: CallbackContext) -> None:
        self.started(ctx, total_items or 0)

    def on_map_item_start(self, item_index: int, ctx: CallbackContext) -> None:
        of_run = ctx.parent is not None and ctx.parent.parent is None
        self.started(ctx, inputs=ctx.item_inputs if of_run else None)

    def on_pipeline_end(
        self, pipeline_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None:
        if (run := _run_of(ctx)) and run.made is not None:
            note_made(ctx, outputs, run.made)
        self.ended(ctx)

    # Each node comes to these two: they do no more than there is to do for most of them.

    def on_node_start(self, node_id: str, inputs: Mapping[str, Any], ctx: CallbackContext) -> None:
        if run := ctx.get(PrefectCallback):
            run.reporter.report(ScopeEvent("start", ctx, ctx.started_at))

    def on_node_end(
        self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None:
        if run := ctx.get(PrefectCallback):
            run.end_inside(ScopeEvent("end", ctx, ctx.ended_at or time.time()))

    def ended(self, ctx: CallbackContext) -> None:
        if run := _run_of(ctx):
            run.end(ScopeEvent("end", ctx, ctx.ended_at or time.time()))

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        if run := _run_of(ctx):
            # Scopes around a node that failed are called with its name.
            is_innermost = ctx.kind == "node" or node_id == ctx.name
            info = states.ErrorInfo.of(error, with_traceback=is_innermost)
            state = states.ended_by(error, info, ctx)
            run.end(ScopeEvent("error", ctx, ctx.ended_at or time.time(), state, error=info))

    def cached(self, ctx: CallbackContext, signature: str) -> None:
        if run := _run_of(ctx):
            state = states.cached(signature)
            run.note(ctx)
            run.reporter.report(ScopeEvent("cached", ctx, ctx.started_at, state))

    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
        if run := _run_of(ctx):
            state = states.retrying(retry)
            run.reporter.report(ScopeEvent("retry", ctx, retry.at, state, retry.delay))

    def node_context(self, ctx: CallbackContext) -> NodeContext | None:
        run = _run_of(ctx)
        return None if run is None else NodeContext(run.local, ctx)

    def node_context_maker(self, ctx: CallbackContext) -> ContextMaker | None:
        run = _run_of(ctx)
        return _no_context if run is None else run.local.remote


class _Run(NamedTuple):
    """What belongs to one run: its reporter, and what its nodes have around them.

    `made` has the scopes of the outermost pipeline's nodes that have ended, by their names, where
    native tasks may be given what they made.
    """

    reporter: Reporter
    local: LocalRun
    tracker: TaskRunTracker
    made: dict[str, CallbackContext] | None

    def note(self, ctx: CallbackContext) -> None:
        """Note a scope that has ended."""
        if self.made is None or ctx.parent is None:
            return
        if ctx.parent.parent is None and ctx.kind != "map_item":
            self.made[ctx.name] = ctx

    def end_inside(self, event: ScopeEvent) -> None:
        """Report the end of a scope, whatever it is of."""
        ctx = event.ctx
        if ctx.record is not None and ctx.record.brought_back:
            for each in ctx.record.brought_back:
                if isinstance(each, NodeLogs):
                    each.send()
        if sent := self.local.elsewhere.sent:
            sent.pop(ctx.id, None)
        self.note(ctx)
        self.reporter.report(event)

    def end(self, event: ScopeEvent) -> None:
        """Report the end of a scope, and with the outermost one see that everything has arrived."""
        self.end_inside(event)
        if event.ctx.parent is None:
            self.reporter.close()
            if (body := BODY.get()) is not None:
                body.messages.extend(self.tracker.messages)


def _is_in_users_flow() -> bool:
    """Whether there can be native tasks beside the run: not in a flow that was made of it."""
    body, flow = BODY.get(), FlowRunContext.get()
    if body is None or flow is None or flow.flow_run is None:
        return True
    return flow.flow_run.id != body.flow_run  # it is a flow that a node calls


def _run_of(ctx: CallbackContext) -> _Run | None:
    run: _Run | None = ctx.get(PrefectCallback)
    return run


def _begin(ctx: CallbackContext, reporting: Reporting) -> _Run | None:
    """Begin to report into the flow run or task run around; None where there is none."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    around = flow or task
    if around is None or (flow is not None and flow.flow_run is None and task is None):
        logger.debug("no flow run around this run: it is not reported")
        return None
    flow_run = _flow_run(flow, task)
    url = str(around.client.api_url).rstrip("/") + "/"
    headers = dict(around.client._client.headers)
    headers.pop("content-length", None)
    # TLS is set up here and not on the reporter's thread, beside which processes are forked.
    api = Api(url, headers, tls_for(url), reporting.deadline)
    tracker = TaskRunTracker(flow_run, reporting)
    artifacts = None
    if reporting.artifacts:
        artifacts = Artifacts(flow_run, tracker, ctx.name, ctx.pipeline, PREFECT_UI_URL.value())
    elsewhere = Elsewhere()
    log = RunLog(flow, task)
    lost = None
    if flow is not None and (run := flow.flow_run) is not None:
        lost = LostTaskRuns(run.flow_id, run.id, run.run_count)
    reporter = Reporter(api, tracker, artifacts, log, reporting.deadline, elsewhere, lost)
    if (body := BODY.get()) is not None:
        body.closing.append(reporter.close)
    inner = task if flow_run.task_run is not None else None  # its settings are the nearer ones
    log_prints = (inner or around).log_prints
    local = LocalRun(around, flow_run.tags, log_prints, url, elsewhere)
    return _Run(reporter, local, tracker, {} if _is_in_users_flow() else None)


def _flow_run(flow: FlowRunContext | None, task: TaskRunContext | None) -> FlowRunRef:
    flow_run = None if flow is None else flow.flow_run
    task_run = None if task is None else task.task_run
    if flow is None or flow_run is None:
        assert task_run is not None
        related = resources(("flow-run", task_run.flow_run_id, ""), ("task-run", task_run.id, ""))
        tags = tuple(sorted(TagsContext.get().current_tags))
        return FlowRunRef(task_run.flow_run_id, task_run.id, tags, related=related)
    if task_run is not None and task_run.flow_run_id != flow_run.id:
        task_run = None  # the task is around this flow run, not in it
    inside = None if task_run is None else task_run.id
    around = TagsContext.get().current_tags
    all_tags = tuple(dict.fromkeys([*flow_run.tags, *sorted(around)]))
    related = resources(
        ("flow-run", flow_run.id, flow_run.name),
        ("flow", flow_run.flow_id, flow.flow.name if flow.flow is not None else ""),
        ("deployment", flow_run.deployment_id, ""),
        ("task-run", inside, ""),
        *(("tag", tag, "") for tag in flow_run.tags),
    )
    return FlowRunRef(flow_run.id, inside, all_tags, flow_run.run_count, related)


def with_prefect(
    pipeline: Pipeline, reporting: Reporting | None = None, ctx: CallbackContext | None = None
) -> Pipeline:
    """The pipeline with a `PrefectCallback` beside its own callbacks, as the root of a run.

    Args:
        pipeline: any pipeline.
        reporting: how much is reported; by default what the environment says.
        ctx: the scope that it runs in, if another engine runs it.

    Returns:
        The pipeline without an engine. If it has no cache it gets that of `ctx`, or, without a
        `ctx`, the one that the environment names.
    """
    callbacks = pipeline.callbacks
    if callbacks is None:
        callbacks = ctx.callbacks if ctx else ()
    own = [each for each in callbacks if not isinstance(each, PrefectCallback)]
    if pipeline.cache is None:
        pipeline = pipeline.with_cache(configured_cache() if ctx is None else ctx.cache)
    return pipeline.with_engine(None).with_callbacks([*own, PrefectCallback(reporting)])


def _no_context(ctx: CallbackContext) -> None:
    """For a run that is not reported: with a maker, its items still go to processes whole."""
