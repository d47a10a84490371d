"""The context of a node, wherever it runs, through which its logs get to its task run.

On threads and event loops in the run's own process a `TaskRunContext` is enough, which is what
`get_run_logger()`, `print` with `log_prints`, artifacts and Prefect tasks inside the node look for.
Another process needs a flow run's context too. Logs are buffered there and come back with the
node's result; only a node that takes long sends its own.
"""

from __future__ import annotations

import builtins
import copy
import inspect
import logging
import os
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from prefect import Flow, Task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.context import FlowRunContext, SettingsContext, TaskRunContext, get_settings_context
from prefect.logging.configuration import PROCESS_LOGGING_CONFIG, setup_logging
from prefect.logging.handlers import APILogHandler, APILogWorker
from prefect.logging.loggers import print_as_log
from prefect.results import ResultStore
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL
from prefect.states import Running

from hypernodes import CallbackContext
from prefect_hypernodes.task_runs import shown_name, task_key

#: Seconds after which a node in another process sends its own logs, since somebody may be waiting
#: for them. Those of short nodes are cheaper to send from one place.
LIVE_AFTER = 2.0


@dataclass(eq=False)
class NodeLogs:
    """Logs of one node as the API takes them.

    Attributes:
        buffered: those that have not been sent.
        sent: whether some were sent from the node's process.
    """

    buffered: list[dict[str, Any]] = field(default_factory=list)
    sent: bool = False
    _since: float = field(default_factory=time.monotonic)

    def add(self, log: dict[str, Any]) -> None:
        """Buffer a log, or send all of them if the node takes long."""
        self.buffered.append(log)
        if time.monotonic() - self._since > LIVE_AFTER:
            self.sent = True
            self.send()
            self.buffered.clear()

    def send(self) -> None:
        """Pass the logs to Prefect's own worker for logs."""
        for log in self.buffered:
            APILogWorker.instance().send(log)


@dataclass(eq=False)
class NodeContext:
    """The context manager around a node's function in the run's own process.

    Attributes:
        run: what the run's nodes share.
        ctx: the node's scope.
    """

    run: LocalRun
    ctx: CallbackContext

    def __enter__(self) -> None:
        self._token = TaskRunContext.__var__.set(_NodeRunContext(self.run.template, self.ctx))

    def __exit__(self, *_: object) -> None:
        TaskRunContext.__var__.reset(self._token)

    def __reduce__(self) -> tuple[object, ...]:
        return RemoteNodeContext, (self.run.remote, NodeTaskRun.of(self.ctx))


class NodeTaskRun(NamedTuple):
    """What identifies a node's task run."""

    id: UUID
    name: str
    task_key: str
    is_async: bool

    @classmethod
    def of(cls, ctx: CallbackContext) -> NodeTaskRun:
        """The task run of a node's scope."""
        node = None if ctx.pipeline is None else ctx.pipeline.node(ctx.name)
        return cls(ctx.id, shown_name(ctx), task_key(ctx), getattr(node, "is_async", False))


class LocalRun:
    """What the nodes of a run share in the run's own process.

    Args:
        around: the flow run's context, or that of the task that everything is part of.
        url: the API's address.
    """

    def __init__(self, around: FlowRunContext | TaskRunContext, url: str) -> None:
        self.template = _template(around)
        self._around = around
        self._url = url

    @property
    def remote(self) -> RemoteRun:
        """What another process needs."""
        api = get_settings_context().settings.api
        around = self._around if isinstance(self._around, FlowRunContext) else None
        return RemoteRun(
            self._url,
            api.key.get_secret_value() if api.key else None,
            api.auth_string.get_secret_value() if api.auth_string else None,
            around.flow_run.model_dump_json() if around and around.flow_run else None,
            around.flow.name if around and around.flow else "pipeline",
            self._around.log_prints,
        )


@dataclass(frozen=True)
class RemoteRun:
    """What another process needs to know of a run. It is picklable, and makes nodes' contexts."""

    url: str
    key: str | None
    auth: str | None
    flow_run: str | None
    flow_name: str
    log_prints: bool

    def __call__(self, ctx: CallbackContext) -> RemoteNodeContext:
        return RemoteNodeContext(self, NodeTaskRun.of(ctx))


@dataclass(eq=False)
class RemoteNodeContext:
    """The context manager around a node's function in another process.

    Attributes:
        run: what the run's nodes share.
        node: the node's task run.
        brought_back: the node's logs.
    """

    run: RemoteRun
    node: NodeTaskRun
    brought_back: NodeLogs = field(default_factory=NodeLogs)

    def __enter__(self) -> None:
        settings, flow, template = _set_up(os.getpid(), self.run)
        values: list[tuple[ContextVar[Any], object]] = [
            (SettingsContext.__var__, settings),
            (FlowRunContext.__var__, flow),
            (TaskRunContext.__var__, _NodeRunContext(template, self.node)),
            (_LOGS, self.brought_back),
        ]
        self._tokens = [(variable, variable.set(value)) for variable, value in values]

    def __exit__(self, *_: object) -> None:
        if self.brought_back.sent:
            waiting = APILogWorker.drain_all(timeout=5)
            if inspect.iscoroutine(waiting):  # an event loop must not wait for it
                waiting.close()
        for variable, token in reversed(self._tokens):
            variable.reset(token)
        del self._tokens


_LOGS: ContextVar[NodeLogs | None] = ContextVar("hypernodes_logs", default=None)


class _BufferingHandler(APILogHandler):
    """Prefect's handler, except that the logs of a node go to its `NodeLogs`."""

    def emit(self, record: logging.LogRecord) -> None:
        logs = _LOGS.get()
        if logs is None:
            super().emit(record)
            return
        try:
            if getattr(record, "send_to_api", True):
                logs.add(self.prepare(record))
        except Exception:
            self.handleError(record)


class _ClientLater:
    """Prefect's client, made at first use.

    It makes a TLS context. In a process that was forked while another thread made one, that waits
    for ever for a lock of OpenSSL's.
    """

    @cached_property
    def _client(self) -> Any:
        return get_client(sync_client=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._client, name)


@lru_cache(maxsize=8)
def _set_up(pid: int, run: RemoteRun) -> tuple[SettingsContext, FlowRunContext, TaskRunContext]:
    """Prepare this process for a run, once. (`pid`: a forked one inherits what is cached here.)"""
    here = get_settings_context()
    updates: dict[Any, Any] = {PREFECT_API_URL: run.url, PREFECT_API_KEY: run.key}
    if run.auth is not None:
        updates[PREFECT_API_AUTH_STRING] = run.auth
    settings = SettingsContext(
        profile=here.profile, settings=here.settings.copy_with_update(updates=updates)
    )
    with settings.model_copy():
        if not PROCESS_LOGGING_CONFIG:
            setup_logging()
        flow = Flow(_stands_for_it, name=run.flow_name)
        context = FlowRunContext.model_construct(
            flow=flow,
            flow_run=FlowRun.model_validate_json(run.flow_run) if run.flow_run else None,
            task_runner=flow.task_runner,
            log_prints=run.log_prints,
            client=_ClientLater(),
            parameters={},
            result_store=ResultStore(),
            detached=True,
        )
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for at, handler in enumerate(getattr(logger, "handlers", ())):
            if type(handler) is APILogHandler:
                buffering = _BufferingHandler(handler.level)
                buffering.setFormatter(handler.formatter)
                buffering.filters = handler.filters
                logger.handlers[at] = buffering  # type: ignore[union-attr]
    if run.log_prints:
        builtins.print = print_as_log
    return settings, context, _template(context)


class _NodeRunContext(TaskRunContext):
    """A node's context whose own part, the task and the task run, is made at first use.

    Few nodes look at it. What all nodes share comes from the template.
    """

    _template: TaskRunContext
    _node: CallbackContext | NodeTaskRun

    def __init__(self, template: TaskRunContext, node: CallbackContext | NodeTaskRun) -> None:
        # As Pydantic's own `__copy__` does it, without a look at each field.
        shared = template.__dict__.copy()
        del shared["task"], shared["task_run"]
        private = {"_token": None, "_template": template, "_node": node}
        put = object.__setattr__
        put(self, "__dict__", shared)
        put(self, "__pydantic_fields_set__", template.__pydantic_fields_set__)
        put(self, "__pydantic_extra__", None)
        put(self, "__pydantic_private__", private)

    def __getattr__(self, name: str) -> Any:
        if name not in ("task", "task_run"):
            return super().__getattr__(name)  # type: ignore[misc]
        node = self._node if isinstance(self._node, NodeTaskRun) else NodeTaskRun.of(self._node)
        task_run = self._template.task_run.model_copy(
            update={
                "id": node.id,
                "name": node.name,
                "task_key": node.task_key,
                "dynamic_key": str(node.id),
            }
        )
        self.__dict__.update(task=_task(node.name, node.is_async), task_run=task_run)
        return self.__dict__[name]

    def model_dump(self, **how: Any) -> dict[str, Any]:
        whole = {**self.__dict__, "task": self.task, "task_run": self.task_run}
        same = TaskRunContext.model_construct(self.__pydantic_fields_set__, **whole)
        return same.model_dump(**how)


def _template(around: FlowRunContext | TaskRunContext) -> TaskRunContext:
    """What the nodes' contexts are copies of: making one takes longer than most nodes."""
    state: Any = Running()
    flow_run = around.flow_run if isinstance(around, FlowRunContext) else None
    task_run = TaskRun(
        name="node",
        flow_run_id=None if flow_run is None else flow_run.id,
        task_key="node",
        dynamic_key="node",
        tags=["hypernodes", "node"],
        run_count=1,
        start_time=state.timestamp,
        state=state,
        state_type=state.type,
        state_name=state.name,
    )
    return TaskRunContext.model_construct(
        task=_TASK,
        task_run=task_run,
        log_prints=around.log_prints,
        parameters={},
        result_store=around.result_store,
        persist_result=False,
        client=around.client,
    )


def _stands_for_it() -> None:
    """The function of the tasks and flows that contexts name; nobody calls it."""


_TASK = Task(_stands_for_it, name="node")


@lru_cache(maxsize=1_000)
def _task(name: str, is_async: bool) -> Task[[], None]:
    task = copy.copy(_TASK)  # making one takes longer than most nodes
    task.name, task.isasync = name, is_async  # what can be awaited in it, Prefect asks there
    return task
