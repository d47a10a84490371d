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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property, lru_cache, wraps
from typing import Any, NamedTuple
from uuid import UUID

import cloudpickle
from prefect import Flow, Task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.context import (
    FlowRunContext,
    SettingsContext,
    TagsContext,
    TaskRunContext,
    get_settings_context,
)
from prefect.logging.configuration import PROCESS_LOGGING_CONFIG, setup_logging
from prefect.logging.handlers import APILogHandler, APILogWorker
from prefect.logging.loggers import print_as_log
from prefect.results import ResultStore
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
)
from prefect.states import Running
from prefect.task_runners import TaskRunner

from hypernodes import CallbackContext, HyperNodesError, Retry
from hypernodes.integration import CURRENT_CALL, SLOTS, NodeCall
from prefect_hypernodes import elsewhere
from prefect_hypernodes.elsewhere import Elsewhere, RunningNode
from prefect_hypernodes.parameters import WHOLE, length
from prefect_hypernodes.scopes import node_tags, shown_name, task_key
from prefect_hypernodes.slots import LimitSlots
from prefect_hypernodes.states import retrying

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
        """Pass the logs to Prefect's own worker for logs, unless they are switched off."""
        if not PREFECT_LOGGING_TO_API_ENABLED.value():
            return
        for log in self.buffered:
            APILogWorker.instance().send(log)


@dataclass(eq=False)
class NodeContext:
    """The context manager around a node's function in the run's own process.

    Attributes:
        run: what the run's nodes share.
        ctx: the node's scope.
        running: it is shown as running by this, where its hooks are called when it has ended.
    """

    run: LocalRun
    ctx: CallbackContext
    running: RunningNode | None = None

    def __enter__(self) -> None:
        context = _NodeRunContext(self.run.template, self.ctx)
        self._token = TaskRunContext.__var__.set(context)
        self._slots = SLOTS.set(LimitSlots)
        if self.ctx.is_replayed:
            name = shown_name(self.ctx)
            self.running = RunningNode(self.run.elsewhere.folder, self.ctx.id, self.ctx, name)
            _watch(self.running, context)

    def __exit__(self, *_: object) -> None:
        if self.running is not None:
            elsewhere.WATCH.end(self.running)
        SLOTS.reset(self._slots)
        TaskRunContext.__var__.reset(self._token)

    def __reduce__(self) -> tuple[object, ...]:
        self.run.elsewhere.sent[self.ctx.id] = self.ctx
        return RemoteNodeContext, (self.run.remote, NodeTaskRun.of(self.ctx))


class NodeTaskRun(NamedTuple):
    """What a node's task run is known by."""

    id: UUID
    name: str
    task_name: str
    task_key: str
    tags: tuple[str, ...]

    @classmethod
    def of(cls, ctx: CallbackContext) -> NodeTaskRun:
        """The task run of a node's scope."""
        tags = node_tags(ctx, ctx.name)
        return cls(ctx.id, shown_name(ctx), ctx.name, task_key(ctx), tags)


class LocalRun:
    """What the nodes of a run share in the run's own process.

    Args:
        around: the flow run's context, or that of the task that everything is part of.
        tags: the tags of its task runs.
        log_prints: whether what nodes print is logged.
        url: the API's address.
        elsewhere: what nodes do in other processes.
    """

    def __init__(
        self,
        around: FlowRunContext | TaskRunContext,
        tags: Sequence[str],
        log_prints: bool,
        url: str,
        elsewhere: Elsewhere,
    ) -> None:
        self.template = _template(around, tags, log_prints)
        self._tags = tuple(tags)
        self._log_prints = log_prints
        self.elsewhere = elsewhere
        self._around = around
        self._url = url.rstrip("/")
        # `remote` may be made on a thread of a pool, which has none of these.
        self._settings = get_settings_context()
        self._current_tags = TagsContext.get().current_tags

    @cached_property
    def remote(self) -> RemoteRun:
        """What another process needs."""
        around = self._around if isinstance(self._around, FlowRunContext) else None
        flow = around.flow if around else None
        more = _More(
            flow.name if flow else "pipeline",
            flow.version if flow else None,
            flow.task_runner.duplicate() if flow else None,
            self._around.result_store,
            self._current_tags,
            dict(_sent((around.parameters or {}) if around else {})),
        )
        return RemoteRun(
            self._url,
            cloudpickle.dumps(self._settings.serialize()),
            around.flow_run.model_dump_json() if around and around.flow_run else None,
            self._tags,
            self._log_prints,
            self.elsewhere.folder,
            cloudpickle.dumps(more),
        )


class _More(NamedTuple):
    """What else a node's contexts are made of in another process."""

    flow_name: str
    flow_version: str | None
    task_runner: TaskRunner[Any] | None
    result_store: ResultStore
    tags: set[str]
    parameters: dict[str, bytes | None]


def _sent(parameters: dict[str, Any]) -> Iterator[tuple[str, bytes | None]]:
    """A flow's parameters as they are sent to another process; None for one that cannot be."""
    for name, value in parameters.items():
        sent = b""
        if length(value) <= WHOLE:
            with suppress(Exception):
                sent = cloudpickle.dumps(value)
        yield name, sent if 0 < len(sent) <= WHOLE else None


class _Parameters(dict[str, Any]):
    """A flow run's parameters in another process: those that were not sent are no guess."""

    def __init__(self, sent: dict[str, bytes | None]) -> None:
        self._unsent = set()
        for name, value in sent.items():
            try:
                self[name] = cloudpickle.loads(value or b"")
            except Exception:
                self._unsent.add(name)

    def __missing__(self, name: str) -> Any:
        if name not in self._unsent:
            raise KeyError(name)
        raise HyperNodesError(
            f"parameter {name!r} of the flow run is too large to be sent to each worker process, "
            "or cannot be pickled: give it to the node as an input"
        )

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401  (this is `get`)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._unsent

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return super().__len__() + len(self._unsent)

    def keys(self) -> Any:
        return dict.fromkeys([*super().keys(), *sorted(self._unsent)]).keys()

    def items(self) -> Any:
        return {name: self[name] for name in self}.items()

    def values(self) -> Any:
        return {name: self[name] for name in self}.values()


@dataclass(frozen=True)
class RemoteRun:
    """What another process needs to know of a run. It is picklable, and makes nodes' contexts."""

    url: str
    settings: bytes
    flow_run: str | None
    tags: tuple[str, ...]
    log_prints: bool
    folder: str
    more: bytes

    def __call__(self, ctx: CallbackContext) -> RemoteNodeContext:
        return RemoteNodeContext(self, NodeTaskRun.of(ctx), ctx)


@dataclass(eq=False)
class RemoteNodeContext:
    """The context manager around a node's function in another process.

    Attributes:
        run: what the run's nodes share.
        node: the node's task run.
        ctx: its scope, where the run's own process does not have it.
        brought_back: the node's logs.
        runner: the task runner of tasks that the node submits, once there are any.
    """

    run: RemoteRun
    node: NodeTaskRun
    ctx: CallbackContext | None = None
    brought_back: NodeLogs = field(default_factory=NodeLogs)
    runner: TaskRunner[Any] | None = None

    def __enter__(self) -> None:
        settings, flow, template, tags = _set_up(os.getpid(), self.run)
        context = _NodeRunContext(template, self.node)
        self._running = RunningNode(self.run.folder, self.node.id, self.ctx, self.node.name)
        values: list[tuple[ContextVar[Any], object]] = [
            (SettingsContext.__var__, settings),
            (FlowRunContext.__var__, flow),
            (TagsContext.__var__, tags),
            (TaskRunContext.__var__, context),
            (_NODE, self),
            (SLOTS, LimitSlots),
        ]
        self._tokens = [(variable, variable.set(value)) for variable, value in values]
        _watch(self._running, context)

    def __exit__(self, *error: Any) -> None:
        elsewhere.WATCH.end(self._running)
        if self.runner is not None:
            self.runner.__exit__(*error)  # waits for the tasks that the node has submitted
        if self.brought_back.sent:
            waiting = APILogWorker.drain_all(timeout=5)
            if inspect.iscoroutine(waiting):  # an event loop must not wait for it
                waiting.close()
        for variable, token in reversed(self._tokens):
            variable.reset(token)
        del self._tokens


def _watch(running: RunningNode, context: _NodeRunContext) -> None:
    """Write down a node that runs for long, and its retries."""

    def retried(retry: Retry) -> None:
        context.renew(retry)
        running.retries.append((retry.at, retry.delay, retrying(retry)))

    if (call := CURRENT_CALL.get()) is not None:
        call.on_retry = retried
    elsewhere.WATCH.begin(running)


_NODE: ContextVar[RemoteNodeContext | None] = ContextVar("hypernodes_node", default=None)


class _TaskRunners(TaskRunner[Any]):
    """The flow's task runner in another process: each node that submits tasks has its own.

    So it is around native tasks in other processes, too.
    """

    def __init__(self, kind: TaskRunner[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kind = kind

    def duplicate(self) -> _TaskRunners:
        return _TaskRunners(self._kind)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        return self._of_node().submit(*args, **kwargs)

    def map(self, *args: Any, **kwargs: Any) -> Any:
        return self._of_node().map(*args, **kwargs)

    def _of_node(self) -> TaskRunner[Any]:
        node = _NODE.get()
        if node is None:
            raise RuntimeError("tasks can be submitted while a node is running")
        if node.runner is None:
            node.runner = self._kind.duplicate().__enter__()
        return node.runner


class _BufferingHandler(APILogHandler):
    """Prefect's handler, except that the logs of a node go to its `NodeLogs`."""

    def emit(self, record: logging.LogRecord) -> None:
        node = _NODE.get()
        if node is None:
            super().emit(record)
            return
        try:
            if getattr(record, "send_to_api", True):
                node.brought_back.add(self.prepare(record))
        except Exception:
            self.handleError(record)


class _ClientLater:
    """Prefect's client, made at first use.

    It makes a TLS context. In a process that was forked while another thread made one, that waits
    for ever for a lock of OpenSSL's.
    """

    @cached_property
    def _made(self) -> Any:
        return get_client(sync_client=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._made, name)


@lru_cache(maxsize=8)
def _set_up(
    pid: int, run: RemoteRun
) -> tuple[SettingsContext, FlowRunContext, TaskRunContext, TagsContext]:
    """Prepare this process for a run, once. (`pid`: a forked one inherits what is cached here.)"""
    sent = SettingsContext(**cloudpickle.loads(run.settings))
    settings = SettingsContext(
        profile=sent.profile,
        settings=sent.settings.copy_with_update(updates={PREFECT_API_URL: run.url}),
    )
    with settings.model_copy():
        if not PROCESS_LOGGING_CONFIG:
            setup_logging()
        more: _More = cloudpickle.loads(run.more)
        flow = Flow(_stands_for_it, more.flow_name, version=more.flow_version)
        context = FlowRunContext.model_construct(
            flow=flow,
            flow_run=FlowRun.model_validate_json(run.flow_run) if run.flow_run else None,
            task_runner=_TaskRunners(more.task_runner or flow.task_runner),
            log_prints=run.log_prints,
            client=_ClientLater(),
            parameters=_Parameters(more.parameters),
            result_store=more.result_store,
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
    template = _template(context, run.tags, run.log_prints)
    return settings, context, template, TagsContext(current_tags=more.tags)


class _NodeRunContext(TaskRunContext):
    """A node's context that is filled at first use: few nodes look at theirs.

    Until then it is empty, and knows what it is to be filled from. What all nodes share comes from
    a template.
    """

    _of: tuple[TaskRunContext, CallbackContext | NodeTaskRun, NodeCall]

    def __init__(self, template: TaskRunContext, node: CallbackContext | NodeTaskRun) -> None:
        call = CURRENT_CALL.get()
        assert call is not None  # else this is not around a node
        private = {"_token": None, "_of": (template, node, call)}
        object.__setattr__(self, "__pydantic_private__", private)

    def __getattr__(self, name: str) -> Any:
        if not self.__dict__ and name not in self.__private_attributes__:
            self._fill()
            return getattr(self, name)
        return self.__dict__[name] if name in self.__dict__ else super().__getattr__(name)  # type: ignore[misc]

    def _fill(self) -> None:
        template, _, call = self._of
        put = object.__setattr__  # as Pydantic's own `__copy__` does it
        put(self, "__pydantic_fields_set__", template.__pydantic_fields_set__)
        put(self, "__pydantic_extra__", None)
        put(self, "__dict__", {**template.__dict__, **self._own()})
        if call.on_retry is None:
            call.on_retry = self.renew

    def _own(self) -> dict[str, Any]:
        """What it does not share with other nodes."""
        template, node, call = self._of
        if not isinstance(node, NodeTaskRun):
            node = NodeTaskRun.of(node)
        started_at = datetime.fromtimestamp(call.started_at, timezone.utc)
        task_run = template.task_run.model_copy(
            update={
                "id": node.id,
                "name": node.name,
                "task_key": node.task_key,
                "dynamic_key": str(node.id),
                "tags": ["hypernodes", "node", *node.tags, *template.task_run.tags],
                "run_count": call.attempt,
                "expected_start_time": started_at,
                "start_time": started_at,
                "state": Running(),
            }
        )
        task = copy.copy(_TASK)  # making one takes longer than most nodes
        task.name, task.task_key, task.fn = node.task_name, node.task_key, call.node.func
        task.isasync = call.node.is_async  # what can be awaited in it, Prefect asks there
        return {"task": task, "task_run": task_run, "parameters": call.arguments}

    def renew(self, _: Retry) -> None:
        """Have the task run made anew, if there is one: another attempt begins."""
        if self.__dict__:
            self.__dict__.update(self._own())


def _filled(method: Any) -> Any:
    """A method of a model that does not look its attributes up, and so must find them there."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.__dict__:
            self._fill()
        return method(self, *args, **kwargs)

    return call


for _name in (
    "__copy__", "__deepcopy__", "__eq__", "__getstate__", "__iter__", "__repr_args__",
    "model_dump", "model_dump_json",
):  # fmt: skip
    setattr(_NodeRunContext, _name, _filled(getattr(TaskRunContext, _name)))


def _template(
    around: FlowRunContext | TaskRunContext, tags: Sequence[str], log_prints: bool
) -> TaskRunContext:
    """What the nodes' contexts are copies of: making one takes longer than most nodes."""
    flow_run = around.flow_run if isinstance(around, FlowRunContext) else None
    task_run = TaskRun(
        name="node",
        flow_run_id=None if flow_run is None else flow_run.id,
        task_key="node",
        dynamic_key="node",
        tags=list(tags),
        flow_run_run_count=flow_run.run_count if flow_run else 0,
        state_type=StateType.RUNNING,
        state_name="Running",
    )
    return TaskRunContext.model_construct(
        task=_TASK,
        task_run=task_run,
        log_prints=log_prints,
        parameters={},
        result_store=around.result_store,
        persist_result=False,
        client=around.client,
    )


def _stands_for_it() -> None:
    """The function of the tasks and flows that contexts name; nobody calls it."""


_TASK: Task[..., Any] = Task(_stands_for_it, name="node")


def _settle_id() -> None:
    """Before a fork: a node's task run has one id, in its children too."""
    context = TaskRunContext.get()
    if isinstance(context, _NodeRunContext):
        _ = context._of[1].id  # it is made when somebody asks for it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_settle_id)
