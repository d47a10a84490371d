"""The wire format: a task run of a scope as the event that Prefect's task-run recorder reads.

Prefect's own client reports task runs the same way (`prefect.task-run.<State>` events with the
resource's orchestration set to "client"); one terminal event with both times is a complete row.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson

logger = logging.getLogger("prefect.hypernodes")


class Unreachable(Exception):
    """The API does not answer, or not with what was asked for."""


class Refused(Unreachable):
    """The API does not take what was sent, and never will."""


class State(NamedTuple):
    """A state of a task run: its name, its type, and what is shown with it."""

    name: str
    type: str
    message: str | None = None


@dataclass(frozen=True)
class FlowRunRef:
    """Where task runs belong.

    Attributes:
        flow_run: id of the flow run; None for a task that runs outside of any.
        flow_run_name: its name.
        flow: id of the flow.
        flow_name: the flow's name.
        deployment: id of the deployment, where it is one.
        tags: the flow run's, which its task runs have too.
        run_count: which try of the flow run it is.
        task_run: id of the task run that everything is part of, if any.
    """

    flow_run: UUID | None
    flow_run_name: str = ""
    flow: UUID | None = None
    flow_name: str = ""
    deployment: UUID | None = None
    tags: tuple[str, ...] = ()
    run_count: int = 1
    task_run: UUID | None = None

    @cached_property
    def related(self) -> list[dict[str, str]]:
        """The same as related resources, as Prefect's own events have them.

        The server stores each with every event: the tags that all task runs have are not among
        them, only on the task runs.
        """
        found = [
            _resource("flow-run", self.flow_run, self.flow_run_name),
            _resource("flow", self.flow, self.flow_name),
            _resource("deployment", self.deployment, ""),
            _resource("task-run", self.task_run, ""),
        ]
        tags = [_resource("tag", tag, "") for tag in self.tags]
        return [*filter(None, found + tags)]


@dataclass(frozen=True)
class TaskRunInfo:
    """What does not change about a task run.

    Attributes:
        id: the scope's id.
        name: what people read: the node's name, `name[17]` for an item.
        task_key: the same for the same node in every run.
        parent: the task run that this one is part of.
        inputs: the task runs that made each input.
        tags: shown beside the name.
    """

    id: UUID
    name: str
    task_key: str
    parent: UUID | None = None
    inputs: dict[str, UUID] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def task_run_event(
    around: FlowRunRef,
    task_run: TaskRunInfo,
    state: State,
    started: float,
    ended: float | None = None,
    *,
    attempt: int = 1,
    at: float | None = None,
) -> dict[str, Any]:
    """The event that tells of a task run's state.

    Args:
        around: where it belongs.
        task_run: the task run.
        state: the state.
        started: seconds since the epoch.
        ended: the same; None while it runs.
        attempt: which try of it this is.
        at: since when it is in this state; by default from its start, or its end.
    """
    occurred = _iso(at or (started if ended is None else ended))
    links: dict[str, Any] = {
        name: [{"input_type": "task_run", "id": str(made_by)}]
        for name, made_by in task_run.inputs.items()
    }
    if task_run.parent is not None:
        links["__parents__"] = [{"input_type": "task_run", "id": str(task_run.parent)}]
    return {
        "id": str(uuid4()),
        "occurred": occurred,
        "event": f"prefect.task-run.{state.name}",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{task_run.id}",
            "prefect.resource.name": task_run.name,
            "prefect.run-count": str(attempt),
            "prefect.state-message": state.message or "",
            "prefect.state-name": state.name,
            "prefect.state-type": state.type,
            "prefect.state-timestamp": occurred,
            "prefect.orchestration": "client",
        },
        "related": around.related,
        "payload": {
            "intended": {"from": None, "to": state.type},
            "initial_state": None,
            "validated_state": {
                "type": state.type,
                "name": state.name,
                "message": state.message,
                "state_details": {},
                "data": None,
            },
            "task_run": {
                "name": task_run.name,
                "task_key": task_run.task_key,
                "dynamic_key": str(task_run.id),
                "task_inputs": links,
                "tags": [*task_run.tags],
                "run_count": attempt,
                "flow_run_run_count": around.run_count,
                "expected_start_time": _iso(started),
                "start_time": _iso(started),
                "end_time": None if ended is None else _iso(ended),
                "total_run_time": 0.0 if ended is None else max(0.0, ended - started),
            },
        },
    }


def sent_anew(body: bytes) -> bytes:
    """An event as another one: the server discards those whose id it has seen, recorded or not.

    It keeps one state of a task run for each time.
    """
    event = orjson.loads(body)
    later = datetime.fromisoformat(event["occurred"]) + timedelta(microseconds=1)
    event["id"] = str(uuid4())
    event["occurred"] = event["resource"]["prefect.state-timestamp"] = later.isoformat()
    return orjson.dumps(event)


def _resource(kind: str, key: UUID | str | None, name: str) -> dict[str, str] | None:
    if key is None:
        return None
    named = {"prefect.resource.name": name} if name else {}
    return {
        "prefect.resource.id": f"prefect.{kind}.{key}",
        "prefect.resource.role": kind,
        **named,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
