"""What docs/guides/prefect.md promises of a scheduled flow: retried, resumed, cached, alerted."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect_server import Server, environment
from waiting import wait_until

FLOW = '''
import time
from pathlib import Path

from hypernodes import DiskCache, Pipeline, node
from prefect_hypernodes import pipeline_flow


def tried(what):
    """How often, this time included."""
    file = Path(f"{what}.tries")
    file.write_text((file.read_text() if file.exists() else "") + ".")
    return len(file.read_text())


@node(output_name="table")
def slow_and_expensive(day: str) -> str:
    tried("expensive")
    time.sleep(1)
    return f"table of {day}"


@node(output_name="price", retries=3, retry_delay_seconds=0.1)
def flaky(table: str) -> float:
    if tried("flaky") < 3:
        raise ConnectionError("try later")
    return 9.5


@node(output_name="sent")
def breaks_once(price: float) -> bool:
    if tried("breaks") == 1:
        raise OSError("the disk is away")
    return True


report = Pipeline(
    [slow_and_expensive, flaky, breaks_once], name="watched-report", cache=DiskCache("cache")
)
flow = pipeline_flow(report, output_name="sent", retries=1, name="watched-report")

if __name__ == "__main__":
    # One at a time: the second run is to find what the first one made, however slow that is.
    flow.serve(name="often", interval=10, parameters={"day": "monday"}, limit=1)
'''

AUTOMATION = """
import sys
from prefect.automations import Automation, EventTrigger
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.events.actions import SendNotification

block = CustomWebhookNotificationBlock(
    name="watch", url=sys.argv[1], method="POST", json_data={"text": "{{subject}} {{body}}"}
)
block.save("watch", overwrite=True)
Automation(
    name="a node of the report fails",
    trigger=EventTrigger(
        expect={"prefect.task-run.Failed"},
        match={"prefect.resource.name": "breaks_once*"},
        posture="Reactive",
        threshold=1,
        within=0,
    ),
    actions=[
        SendNotification(
            block_document_id=block._block_document_id,
            subject="failed:",
            body="{{ event.resource.name }}",
        )
    ],
).create()
"""


@pytest.fixture
def web_hook() -> Iterator[tuple[str, list[str]]]:
    posted: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=hook.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{hook.server_port}/", posted
    hook.shutdown()
    thread.join()
    hook.server_close()


def tell_of_a_failure(prefect: Server) -> None:
    key = f"prefect.task-run.{uuid4()}"
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(timezone.utc).isoformat(),
        "event": "prefect.task-run.Failed",
        "resource": {"prefect.resource.id": key, "prefect.resource.name": "breaks_once-probe"},
    }
    prefect.client.post("events", json=[event]).raise_for_status()


@pytest.mark.timeout(900)  # each run is a process of its own, and on a busy machine slow to start
def test_a_scheduled_flow_is_retried_resumed_cached_and_alerted(
    tmp_path: Path, prefect: Server, web_hook: tuple[str, list[str]]
) -> None:
    address, posted = web_hook
    (tmp_path / "report.py").write_text(FLOW)
    env = environment(
        tmp_path / "home", PREFECT_API_URL=prefect.url, PREFECT_RUNNER_POLL_FREQUENCY="1"
    )
    made = subprocess.run(
        [sys.executable, "-c", AUTOMATION, address],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    wait_until(
        lambda: posted or tell_of_a_failure(prefect), 180, every=0.5
    )  # the server has read its automation
    posted.clear()
    before = {run["id"] for run in prefect.flow_runs()}

    def completed() -> list[dict[str, Any]]:
        found = [run for run in prefect.flow_runs() if run["id"] not in before]
        runs = [run for run in found if run["auto_scheduled"]]
        mine = [run for run in runs if run["parameters"].get("day") == "monday"]
        return [run for run in mine if run["state_name"] == "Completed"]

    with (tmp_path / "log").open("w") as log:
        serving = subprocess.Popen(
            [sys.executable, "report.py"], env=env, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: len(completed()) >= 2, 480, every=0.5)
        wait_until(lambda: [each for each in posted if "probe" not in each])
    except AssertionError as error:
        raise AssertionError(f"what was served says:\n{(tmp_path / 'log').read_text()}") from error
    finally:
        serving.terminate()
        serving.wait(60)

    tries = {name: len((tmp_path / f"{name}.tries").read_text()) for name in
             ("expensive", "flaky", "breaks")}  # fmt: skip
    assert tries == {"expensive": 1, "flaky": 3, "breaks": 2}
    assert any("breaks_once" in each and "probe" not in each for each in posted)

    first, second = sorted(completed(), key=lambda run: str(run["start_time"]))[:2]
    assert first["run_count"] == 2

    def states(run: dict[str, Any]) -> set[tuple[str, str]]:
        return {(each["name"].split("-")[0], each["state_name"]) for each in prefect.task_runs(run)}

    wait_until(lambda: len(states(second)) >= 3)
    nodes = {"slow_and_expensive", "flaky", "breaks_once"}
    resumed = {state for name, state in states(first) if name == "slow_and_expensive"}
    assert "Cached" in resumed
    assert {state for name, state in states(first) if name == "breaks_once"} >= {"Completed"}
    assert {(name, state) for name, state in states(second) if name in nodes} == {
        (name, "Cached") for name in nodes
    }
