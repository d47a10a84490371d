"""The wire format: a task run of a scope as the event that Prefect's task-run recorder reads.

Prefect's own client reports task runs the same way (`prefect.task-run.<State>` events with the
resource's orchestration set to "client"); one terminal event with both times is a complete row.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson

logger = logging.getLogger("prefect.hypernodes")


class State(NamedTuple):
    """A state of a task run: its name, its type, and what is shown with it."""

    name: str
    type: str
    message: str | None = None


class LogLine(NamedTuple):
    """A line for the log of a task run, or of the flow run.

    Attributes:
        level: as in `logging`.
        message: what it says.
        task_run: the task run's id; None for the flow run.
        name: the task run's name.
        at: when it happened, in seconds since the epoch; None for now.
    """

    level: int
    message: str
    task_run: UUID | None = None
    name: str = ""
    at: float | None = None


@dataclass(frozen=True)
class FlowRunRef:
    """The flow run that task runs belong to.

    Attributes:
        flow_run: its id; None for a task that runs outside of any.
        task_run: id of the task run that everything is part of, if any.
        tags: its tags, which its task runs have too.
        run_count: which try of it this is.
        related: it as the related resources of an event, in the form of Prefect's own events. The
            server stores each of them with every event: tags that only task runs have are not here.
    """

    flow_run: UUID | None
    task_run: UUID | None = None
    tags: tuple[str, ...] = ()
    run_count: int = 1
    related: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class TaskRunInfo:
    """What stays the same in all states of a task run.

    Attributes:
        id: the scope's id.
        name: what people read: the node's name, or `name[17]` for an item.
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


class FlowRunId(UUID):
    """The id of a flow run where those of task runs are usual: a subflow made an input."""


def _kind(made_by: UUID) -> str:
    return "flow_run" if isinstance(made_by, FlowRunId) else "task_run"


def task_run_event(
    flow_run: FlowRunRef,
    task_run: TaskRunInfo,
    state: State,
    started: float,
    ended: float | None = None,
    *,
    attempt: int = 1,
    at: float | None = None,
    waited: float = 0.0,
) -> dict[str, Any]:
    """The event of a task run that enters a state.

    Args:
        flow_run: where it belongs.
        task_run: the task run.
        state: the state.
        started: when the task run started, in seconds since the epoch.
        ended: when it ended; None while it runs.
        attempt: which try of it this is.
        at: when it entered the state; by default at its start, or at its end if it has one.
        waited: seconds between its attempts, in which it did not run.

    Returns:
        The event as `POST /events` takes it.
    """
    occurred = _iso(at or (started if ended is None else ended))
    links: dict[str, Any] = {
        name: [{"input_type": _kind(made_by), "id": str(made_by)}]
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
        "related": flow_run.related,
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
                "flow_run_run_count": flow_run.run_count,
                "expected_start_time": _iso(started),
                "start_time": _iso(started),
                "end_time": None if ended is None else _iso(ended),
                "total_run_time": 0.0 if ended is None else max(0.0, ended - started - waited),
            },
        },
    }


def sent_anew(body: bytes) -> bytes:
    """A copy of an event that the server does not take for the one that it has seen.

    The server discards events whose id it knows, recorded or not, and stores one state of a task
    run for each time: so the copy has a new id and is a microsecond later.
    """
    event = orjson.loads(body)
    later = datetime.fromisoformat(event["occurred"]) + timedelta(microseconds=1)
    event["id"] = str(uuid4())
    event["occurred"] = event["resource"]["prefect.state-timestamp"] = later.isoformat()
    return orjson.dumps(event)


def resources(*related: tuple[str, UUID | str | None, str]) -> list[dict[str, str]]:
    """The related resources of an event, from kinds, ids and names; none without an id."""
    return [
        {
            "prefect.resource.id": f"prefect.{kind}.{key}",
            "prefect.resource.role": kind,
            **({"prefect.resource.name": name} if name else {}),
        }
        for kind, key, name in related
        if key is not None
    ]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
