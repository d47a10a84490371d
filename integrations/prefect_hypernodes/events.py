"""The wire format: a task run of a scope as the event that Prefect's task-run recorder reads.

Prefect's own client reports task runs the same way (`prefect.task-run.<State>` events with the
resource's orchestration set to "client"); one terminal event with both times is a complete row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import UUID, uuid4


@dataclass(frozen=True)
class FlowRunInfo:
    """The flow run that task runs belong to."""

    id: UUID
    name: str


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
    flow_run: FlowRunInfo,
    task_run: TaskRunInfo,
    state: str,
    state_type: str,
    started: float,
    ended: float | None = None,
    message: str | None = None,
) -> dict[str, Any]:
    """An event as `POST /api/events` takes it.

    Args:
        flow_run: where the task run belongs.
        task_run: the task run.
        state: the state's name, for instance "Cached".
        state_type: its type, for instance "COMPLETED".
        started: seconds since the epoch.
        ended: the same; None while it runs.
        message: shown with the state.
    """
    occurred = _iso(started if ended is None else ended)
    links: dict[str, Any] = {
        name: [{"input_type": "task_run", "id": str(made_by)}]
        for name, made_by in task_run.inputs.items()
    }
    if task_run.parent is not None:
        links["__parents__"] = [{"input_type": "task_run", "id": str(task_run.parent)}]
    return {
        "id": str(uuid4()),
        "occurred": occurred,
        "event": f"prefect.task-run.{state}",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{task_run.id}",
            "prefect.resource.name": task_run.name,
            "prefect.run-count": "1",
            "prefect.state-message": message or "",
            "prefect.state-name": state,
            "prefect.state-type": state_type,
            "prefect.state-timestamp": occurred,
            "prefect.orchestration": "client",
        },
        "related": [
            {
                "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
                "prefect.resource.role": "flow-run",
                "prefect.resource.name": flow_run.name,
            }
        ],
        "payload": {
            "intended": {"from": None, "to": state_type},
            "initial_state": None,
            "validated_state": {
                "type": state_type,
                "name": state,
                "message": message or None,
                "state_details": {
                    "flow_run_id": str(flow_run.id),
                    "task_run_id": str(task_run.id),
                },
                "data": None,
            },
            "task_run": {
                "name": task_run.name,
                "task_key": task_run.task_key,
                "dynamic_key": str(task_run.id),
                "task_inputs": links,
                "tags": list(task_run.tags),
                "run_count": 1,
                "expected_start_time": _iso(started),
                "start_time": _iso(started),
                "end_time": None if ended is None else _iso(ended),
                "total_run_time": 0.0 if ended is None else max(0.0, ended - started),
            },
        },
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
