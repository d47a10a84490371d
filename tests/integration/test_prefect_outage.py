"""Prefect's server is slow, killed, restarted or gone: the run goes on, and what can be told is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from prefect_hypernodes.events import FlowRunRef, State, TaskRunInfo, sent_anew, task_run_event
from prefect_server import Server, environment, server
from test_prefect_scopes import SCRIPT, as_scopes, new_runs, run_script, said
from waiting import wait_until

STEADY = """
from pathlib import Path

# Which items wait for what the test does; it sees in the folder `done` how far they are.
GATES = {{"killed": {killed}, "back": {back}}}

@node(output_name="y")
def step(x: int) -> int:
    for what, first in GATES.items():
        while x >= first and not os.path.exists(what):
            time.sleep(0.05)
    open(f"done/{{x}}", "w").close()
    return x + 1

if __name__ == "__main__":
    os.mkdir("done")
    steady = Pipeline([step], name="steady")
    f = pipeline_flow(
        watched(steady, HyperNodesEngine(map_executor="threaded"), DiskCache("cache")),
        map_over="xs", name="steady", reporting=Reporting(limit=None))
    results = f(xs=list(range({items})))
    assert [result["y"] for result in results] == list(range(1, {items} + 1))
    print("RESULT", time.time(), flush=True)
    say()
"""


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with server(home, PREFECT_SERVER_LOGGING_LEVEL="WARNING") as running:
        yield running


@pytest.fixture
def mortal(own_server: Server) -> Server:
    """A server that may be killed."""
    if own_server.process.poll() is not None:
        own_server.start()
    return own_server


def begin(folder: Path, code: str, api: str, **more: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)) + code)
    return subprocess.Popen(
        [sys.executable, str(script)],
        env=environment(folder / "home", PREFECT_API_URL=api, **more),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_task_runs(prefect: Server, count: int, after: int) -> None:
    wait_until(lambda: prefect.ask("task_runs/count") >= after + count, every=0.2)


def test_a_server_killed_and_restarted_in_the_middle_of_a_run_misses_nothing(
    tmp_path: Path, mortal: Server
) -> None:
    earlier = {each["id"] for each in mortal.flow_runs()}
    before = mortal.ask("task_runs/count")
    code = STEADY.format(items=300, killed=60, back=200)
    running = begin(tmp_path, code, mortal.url)
    wait_for_task_runs(mortal, 20, before)
    mortal.kill()
    (tmp_path / "killed").touch()
    wait_until(lambda: len(list((tmp_path / "done").iterdir())) >= 200)  # nobody is told of those
    mortal.start()
    (tmp_path / "back").touch()
    output, errors = running.communicate(timeout=200)
    done = subprocess.CompletedProcess([], running.returncode, output, errors)
    scopes = said(done)["scopes"]
    assert "could not be reported" not in errors
    (run,) = new_runs(mortal, earlier)
    assert run["state_name"] == "Completed"
    assert len(scopes) == 601  # the map, its items, their nodes
    assert as_scopes(mortal.task_runs(run)) == scopes


def test_what_one_run_could_not_deliver_the_next_one_in_the_process_does(
    tmp_path: Path, mortal: Server
) -> None:
    earlier = {each["id"] for each in mortal.flow_runs()}
    code = f"""
import subprocess, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})

@node(output_name="y")
def stop_server(x: int) -> int:
    os.kill({mortal.process.pid}, signal.SIGSTOP)
    return x

@node(output_name="z")
def after(y: int) -> int:
    return y

@flow
def around(x: int):
    broken = watched(Pipeline([stop_server, after], name="broken")).with_callbacks(
        [scopes, PrefectCallback(Reporting(deadline=2))])
    broken.run({{"x": x}})
    os.kill({mortal.process.pid}, signal.SIGCONT)
    Pipeline([after], name="next", callbacks=[scopes, PrefectCallback()]).run({{"y": x}})

if __name__ == "__main__":
    around(1)
    say()
"""
    done = run_script(tmp_path, code, mortal.url)
    scopes = said(done)["scopes"]
    assert done.stderr.count("2 of 2 task runs could not be reported") == 1
    (run,) = new_runs(mortal, earlier)
    assert as_scopes(mortal.task_runs(run)) == scopes
    assert len(scopes) == 3


NODES = int(os.environ.get("HYPERNODES_PREFECT_NODES", "2000"))
"""10,000 where there is time for it: the server's recorder takes about 150 a second."""


def test_a_server_with_its_default_settings_gets_as_many_as_it_can_take_and_loses_none(
    tmp_path: Path, mortal: Server
) -> None:
    earlier = {each["id"] for each in mortal.flow_runs()}
    code = f"""
@node(output_name="y")
def tiny(x: int) -> int:
    return x

if __name__ == "__main__":
    f = pipeline_flow(
        watched(Pipeline([tiny], name="wide")), map_over="xs", reporting=Reporting(limit=None))
    f(xs=list(range({NODES // 2})))
    say()
"""
    done = run_script(tmp_path, code, mortal.url, timeout=900)
    scopes = said(done)["scopes"]
    assert "could not be reported" not in done.stderr
    (run,) = new_runs(mortal, earlier)
    assert len(scopes) == 1 + 2 * (NODES // 2)  # the map, its items, their nodes
    assert as_scopes(mortal.task_runs(run)) == scopes


def test_events_go_through_prefects_own_worker_where_the_api_takes_none(
    tmp_path: Path, prefect: Server
) -> None:
    """As Prefect Cloud does, whose events come through a websocket."""
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
import httpx

def without_events(request):
    if request.url.path.endswith("/events"):
        request.url = request.url.copy_with(path="/api/nowhere")

class Cloud(httpx.Client):
    def __init__(self, **options):
        super().__init__(**options, event_hooks={"request": [without_events]})

from prefect_hypernodes import api
api.httpx.Client = Cloud

if __name__ == "__main__":
    f = pipeline_flow(watched(one), name="by-worker")
    f(x=4)
    say()
""",
        prefect.url,
    )
    scopes = said(done)["scopes"]
    (run,) = new_runs(prefect, before)
    # Nothing waits for what Prefect's worker sends: the server records it when it comes.
    wait_until(lambda: as_scopes(prefect.task_runs(run)) == scopes)
    assert len(scopes) == 3


def test_a_server_gone_for_good_costs_neither_the_result_nor_the_cache_nor_the_exit(
    tmp_path: Path, mortal: Server
) -> None:
    # Prefect's own client tries for two minutes to tell of the flow run's end, if it is let.
    code = STEADY.format(items=100, killed=30, back=100)
    before = mortal.ask("task_runs/count")
    impatient = {"PREFECT_CLIENT_MAX_RETRIES": "1", "HYPERNODES_REPORTING_DEADLINE": "10"}
    running = begin(tmp_path, code, mortal.url, **impatient)
    wait_for_task_runs(mortal, 10, before)
    mortal.kill()
    (tmp_path / "killed").touch()
    output, errors = running.communicate(timeout=280)
    assert running.returncode == 0, errors
    assert "RESULT" in output
    assert errors.count("could not be reported to the Prefect API") == 1
    assert len(list((tmp_path / "cache").glob("??/*"))) == 100


def test_a_server_that_asks_for_a_csrf_token_gets_one(tmp_path: Path) -> None:
    with server(tmp_path / "server", PREFECT_SERVER_CSRF_PROTECTION_ENABLED="true") as guarded:
        done = run_script(
            tmp_path, "if __name__ == '__main__':\n    pipeline_flow(watched(one))(x=4); say()\n",
            guarded.url,
        )  # fmt: skip
        scopes = said(done)["scopes"]
        guarded.take_csrf_token()
        (run,) = guarded.flow_runs()
        assert as_scopes(guarded.task_runs(run)) == scopes
        assert len(guarded.artifacts(run)) == 2


def test_an_event_that_is_sent_anew_is_not_discarded(prefect: Server) -> None:
    task_run = TaskRunInfo(uuid4(), "lost", "lost")
    body = task_run_event(FlowRunRef(None), task_run, State("Completed", "COMPLETED"), 1e9, 1e9 + 1)
    for event in (orjson.dumps(body), orjson.dumps(body), sent_anew(orjson.dumps(body))):
        prefect.client.post("events", content=b"[" + event + b"]").raise_for_status()

    def names() -> list[str]:
        answer = prefect.request("GET", f"task_run_states/?task_run_id={task_run.id}")
        return [state["name"] for state in answer.json()]

    wait_until(lambda: len(names()) >= 2)
    assert names() == ["Completed"] * 2
