"""Deployments: made, triggered, scheduled, cancelled and killed, on a real worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_server import Server, environment, node_name
from waiting import wait_until

ROOT = Path(__file__).parents[2]
POOL = "local"

SLOW = """
import os, sys, time
from pathlib import Path
from prefect.runtime import flow_run
from prefect_hypernodes import pipeline_flow
from hypernodes import Pipeline, node

@node(output_name="y")
def step(x: int) -> int:
    \"\"\"One of many.

    Args:
        x: how much.
    \"\"\"
    time.sleep(0.5)
    return x

@node(output_name="pid", cache=False)
def tell(folder: str) -> str:
    Path(folder, f"pid-{flow_run.id}").write_text(str(os.getpid()))
    return folder

many = Pipeline([step], name="many").as_node(map_over={"xs": "x"}, output_mapping={"y": "ys"})

@node(output_name="total")
def add_up(ys: list[int], pid: str) -> int:
    return sum(ys)

slow = pipeline_flow(Pipeline([tell, many, add_up], name="slow"), output_name="total")

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        slow.serve(name="served", interval=3600)
    else:
        slow.from_source(str(Path(__file__).parent), "slow_flow.py:slow").deploy(
            name="deployed", work_pool_name=sys.argv[2])
"""


class Project:
    """A folder with flows, an environment and a worker."""

    def __init__(self, folder: Path, prefect: Server) -> None:
        self.folder = folder
        self.prefect = prefect
        self.env = environment(
            folder / "home",
            PREFECT_API_URL=prefect.url,
            PREFECT_WORKER_QUERY_SECONDS="1",
            PREFECT_RUNNER_POLL_FREQUENCY="1",
            HYPERNODES_CACHE=str(folder / "shared-cache"),
            COLUMNS="200",
        )

    def call(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.env,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *arguments],
                env=self.env,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.prefect.request("GET", f"deployments/name/{name}").json()
        return found

    def trigger(self, name: str, **parameters: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.prefect.ask(
            f"deployments/{self.deployment(name)['id']}/create_flow_run",
            parameters=parameters,
            state={"type": "SCHEDULED", "name": "Scheduled"},
        )
        return made

    def wait(self, run: dict[str, Any], *states: str, seconds: float = 240) -> dict[str, Any]:
        now: dict[str, Any] = {}

        def arrived() -> bool:
            now.update(self.prefect.request("GET", f"flow_runs/{run['id']}").json())
            return now["state_name"] in states

        try:
            wait_until(arrived, seconds, every=0.3)
        except AssertionError as error:
            log = (self.folder / "output.log").read_text()
            raise AssertionError(f"{error}: {now['state']}\n{log[-5000:]}") from None
        return now

    def states(self, run: dict[str, Any]) -> Counter[tuple[str, str]]:
        return Counter((node_name(t), t["state_name"]) for t in self.prefect.task_runs(run))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, prefect: Server) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "slow_flow.py").write_text(SLOW)
    project = Project(folder, prefect)
    project.call("-m", "prefect", "work-pool", "create", POOL, "--type", "process", "--overwrite")
    worker = project.start("-m", "prefect", "worker", "start", "--pool", POOL)
    yield project
    worker.terminate()
    worker.wait(60)


def test_what_prefect_yaml_deploys_runs_when_triggered_and_is_cached_the_second_time(
    project: Project,
) -> None:
    project.call("-m", "prefect", "--no-prompt", "deploy", "--all", cwd=ROOT)
    deployment = project.deployment("word-count/word-count")
    schema = deployment["parameter_openapi_schema"]
    assert schema["properties"]["paths"]["items"] == {"type": "string"}
    assert "a text file" in schema["properties"]["paths"]["description"]
    assert schema["required"] == ["paths"]
    (schedule,) = project.deployment("digits-sweep/digits-sweep")["schedules"]
    assert schedule["schedule"]["cron"] == "0 3 * * *"
    text = project.folder / "words.txt"
    text.write_text("one two three four")
    given = {"paths": [str(text)], "at_least": 4}
    first = project.wait(project.trigger("word-count/word-count", **given), "Completed")
    second = project.wait(project.trigger("word-count/word-count", **given), "Completed")
    for run, state in ((first, "Completed"), (second, "Cached")):  # the file is read again
        assert project.states(run) == {
            **{(name, "Completed"): 1 for name in ("each-file", "each-file[0]", "read")},
            **{(name, state): 1 for name in ("count_words", "add_up")},
        }
    refused = project.prefect.request(
        "POST", f"deployments/{deployment['id']}/create_flow_run", parameters={"paths": 3}
    )
    assert refused.status_code in (409, 422)


def test_a_deployment_runs_when_it_is_scheduled(project: Project) -> None:
    project.call("slow_flow.py", "deploy", POOL)
    name = "slow/deployed"
    deployment = project.deployment(name)
    assert deployment["parameter_openapi_schema"]["properties"]["xs"]["description"].endswith(
        "how much."
    )
    address = f"deployments/{deployment['id']}"
    project.prefect.request(
        "PATCH",
        address,
        parameters={"xs": [1], "folder": str(project.folder)},
        schedules=[{"schedule": {"interval": 10}}],
    ).raise_for_status()
    runs = wait_until(
        lambda: project.prefect.ask(
            "flow_runs/filter",
            deployments={"id": {"any_": [deployment["id"]]}},
            flow_runs={"state": {"type": {"any_": ["PENDING", "RUNNING", "COMPLETED"]}}},
        ),
        every=0.5,
    )
    run = project.wait(runs[0], "Completed")
    assert run["auto_scheduled"]
    project.prefect.request("PATCH", address, schedules=[]).raise_for_status()


def test_a_run_whose_process_was_killed_resumes_from_the_cache(project: Project) -> None:
    run = project.trigger("slow/deployed", xs=list(range(100, 160)), folder=str(project.folder))
    pid = running_process(project, run, at_least=4)
    os.kill(pid, signal.SIGKILL)
    crashed = project.wait(run, "Crashed")
    before = Counter(
        t["state_name"] for t in project.prefect.task_runs(crashed) if node_name(t) == "step"
    )
    project.prefect.ask(
        f"flow_runs/{run['id']}/set_state",
        state={"type": "SCHEDULED", "name": "AwaitingRetry"},
        force=True,
    )
    again = project.wait(run, "Completed")
    steps = [t for t in project.prefect.task_runs(again) if node_name(t) == "step"]
    cached = Counter(t["state_name"] for t in steps)["Cached"]
    assert cached >= max(1, before["Completed"])
    assert again["run_count"] == 2
    # What the killed process had left open was closed when the second attempt began.
    first = [t for t in project.prefect.task_runs(again) if t["flow_run_run_count"] == 1]
    assert {t["state_type"] for t in first} == {"COMPLETED", "CRASHED"}


def test_a_cancelled_run_ends_its_process_and_closes_every_scope(project: Project) -> None:
    run = project.trigger("slow/deployed", xs=list(range(200, 400)), folder=str(project.folder))
    pid = running_process(project, run, at_least=4)
    project.call("-m", "prefect", "flow-run", "cancel", run["id"])
    project.wait(run, "Cancelled")
    wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def closed() -> bool:
        states = {t["state_type"] for t in project.prefect.task_runs(run)}
        return states <= {"COMPLETED", "CANCELLED", "CRASHED"}

    wait_until(closed)


def test_a_served_flow_runs_when_triggered(project: Project) -> None:
    serving = project.start("slow_flow.py", "serve")
    try:
        wait_until(lambda: "id" in project.deployment("slow/served"), every=0.3)
        run = project.trigger("slow/served", xs=[1, 2], folder=str(project.folder))
        project.wait(run, "Completed")
        assert project.states(run)["step", "Completed"] + project.states(run)["step", "Cached"] == 2
    finally:
        serving.send_signal(signal.SIGINT)
        serving.wait(60)


def running_process(project: Project, run: dict[str, Any], at_least: int) -> int:
    """The process of a run that has done some steps."""
    wait_until(lambda: project.states(run)["step", "Completed"] >= at_least, every=0.3)
    return int((project.folder / f"pid-{run['id']}").read_text())
