"""What a process that was killed has left open is closed by a later run of the flow."""

from __future__ import annotations

import ssl
import time
from typing import Any
from uuid import UUID, uuid4

from prefect_hypernodes.api import Api
from prefect_hypernodes.events import FlowRunRef, TaskRunInfo, resources, task_run_event
from prefect_hypernodes.lost import LostTaskRuns
from prefect_hypernodes.states import RUNNING
from prefect_server import Server
from waiting import wait_until


def test_open_task_runs_of_runs_and_attempts_that_have_ended_are_crashed(prefect: Server) -> None:
    flow = prefect.ask("flows/", name=f"killed-{uuid4()}")["id"]

    def flow_run(state: str) -> str:
        key: str = prefect.ask("flow_runs/", flow_id=flow, state={"type": "RUNNING"})["id"]
        prefect.ask(f"flow_runs/{key}/set_state", state={"type": state}, force=True)
        return key

    events = []

    def task_run(around: str, *tags: str, attempt: int = 1) -> str:
        info = TaskRunInfo(uuid4(), "step", "step", tags=tags)
        flow_run = FlowRunRef(
            UUID(around), run_count=attempt, related=resources(("flow-run", around, ""))
        )
        events.append(task_run_event(flow_run, info, RUNNING, time.time()))
        return str(info.id)

    crashed, going_on, own = flow_run("CRASHED"), flow_run("RUNNING"), flow_run("RUNNING")
    lost = {task_run(crashed, "hypernodes", "node"), task_run(own, "hypernodes")}
    delivered_later = task_run(crashed, "hypernodes")
    others = [
        task_run(crashed),  # native
        task_run(going_on, "hypernodes"),
        task_run(own, "hypernodes", attempt=2),
        delivered_later,
    ]
    prefect.client.post("events", json=events).raise_for_status()

    def states() -> dict[str, dict[str, Any]]:
        found = prefect.ask("task_runs/filter", flows={"id": {"any_": [flow]}})
        return {each["id"]: each["state"] for each in found}

    wait_until(lambda: len(states()) == len(events))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    search = LostTaskRuns(UUID(flow), UUID(own), run_count=2)
    with Api(prefect.url + "/", {}, tls, 60) as api:
        assert search.close(api, {UUID(delivered_later)}, settled=-60) == 2
        assert search.close(api, (), settled=-60) == 0  # once in a process, and they are closed

    now = states()
    assert {now[key]["name"] for key in lost} == {"Crashed"}
    assert {now[key]["message"] for key in lost} == {"its process was killed while it ran"}
    assert {now[key]["type"] for key in others} == {"RUNNING"}
