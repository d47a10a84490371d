"""DaftEngine on a Ray cluster of two nodes, with a folder for each and a bucket for both.

The driver's modules come to the nodes by `runtime_env`. One worker is killed, and one node is lost,
in the middle of a run that Prefect watches.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prefect_server import Server, environment, free_port
from test_prefect_scopes import as_scopes, new_runs

pytest.importorskip("daft")
pytest.importorskip("ray")
s3fs = pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")

STEPS = '''
import os, signal, time
from hypernodes import DiskCache, node

class Text:
    """A class that workers have from `runtime_env` alone."""

    def __init__(self, value):
        self.value = value

class PerMachine(DiskCache):
    """As "/var/cache/results" is, on machines without a shared disk."""

    def __init__(self):
        super().__init__(os.path.join(os.environ["MARKS"], os.environ.get("MACHINE", "driver")))

    def __reduce__(self):
        return PerMachine, ()

def once(name):
    try:
        os.close(os.open(os.path.join(os.environ["MARKS"], name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

def there_is(name):
    return os.path.exists(os.path.join(os.environ["MARKS"], name))

@node(output_name="text")
def make(x: int):
    time.sleep(0.02)
    if x == 1 and once("killed"):
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
    if os.environ["MACHINE"] == "two" and there_is("killed") and once("lost"):
        time.sleep(60)  # the test ends this node meanwhile
    until = time.time() + 120
    while there_is("killed") and not there_is("lost") and time.time() < until:
        time.sleep(0.05)  # this node leaves the other one its share, however slow that is
    return Text(x), os.getcwd()

@node(output_name="y")
def read(text) -> int:
    return text[0].value * 2
'''

DRIVER = """
import json, os, sys
import daft, ray

sys.path[:0] = [{tests!r}, {project!r}]
import steps
sys.path.remove({project!r})
from scope_recording import Scopes
from hypernodes import DaftEngine, FsspecCache, Pipeline, SerializationError
from prefect_hypernodes import pipeline_flow

shipped = {{"working_dir": {project!r}, "env_vars": {{"MARKS": os.environ["MARKS"]}}}}
ray.init({address!r}, runtime_env=shipped, log_to_driver=False, logging_level="ERROR")
daft.set_runner_ray(noop_if_initialized=True)

def say(name, value):
    print("said", json.dumps([name, value]), flush=True)

pipeline = Pipeline([steps.make, steps.read], engine=DaftEngine(), name="cluster")
try:
    pipeline.with_cache(steps.PerMachine()).map({{"x": [0, 1]}}, "x")
except SerializationError as error:
    say("per machine", str(error))
cache = FsspecCache("s3://cluster/results", **{options!r})
for name in ("first", "again"):
    scopes = Scopes()
    watched = pipeline.with_cache(cache).with_callbacks([scopes])
    rows = pipeline_flow(watched, map_over="x", name=name)(x=list(range(16)))
    folders = sorted({{row["text"][1] for row in rows}})
    say(name, [[row["y"] for row in rows], folders, scopes.told()])
"""


@contextmanager
def ray_node(
    name: str, folder: Path, *arguments: str, started: str = "Ray runtime started"
) -> Iterator[subprocess.Popen[bytes]]:
    """A node of a cluster, as `ray start` makes it, until the end of the block."""
    (folder / name).mkdir()
    command = [
        *[str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"],
        *["--object-store-memory=100000000", *arguments],
    ]
    with open(folder / f"{name}.log", "wb") as log:
        running = subprocess.Popen(
            command,
            cwd=folder / name,
            env=own_environment(folder, MACHINE=name),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while started not in (folder / f"{name}.log").read_text():
            assert running.poll() is None, (folder / f"{name}.log").read_text()
            time.sleep(0.2)
        yield running
    finally:
        end(running)


def own_environment(folder: Path, **more: str) -> dict[str, str]:
    return {
        **environment(folder / "home", **more),
        "MARKS": str(folder / "marks"),
        "DAFT_PROGRESS_BAR": "0",
        "DAFT_ANALYTICS_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        # A busy machine is slow to answer, and not lost.
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_health_check_timeout_ms": "60000",
    }


def end(running: subprocess.Popen[bytes]) -> None:
    """End a node with all of its processes, and nobody else's."""
    for pid in [running.pid, *below(running.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.wait()


def below(pid: int) -> list[int]:
    command = ["ps", "-o", "pid=", "--ppid", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return [*map(int, found), *[each for child in found for each in below(int(child))]]


def test_a_killed_worker_and_a_lost_node_cost_no_result_and_change_no_picture(
    prefect: Server,
) -> None:
    bucket = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    bucket.start()
    host, port = bucket.get_host_and_port()
    options: dict[str, Any] = {
        "key": "testing",
        "secret": "testing",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}", "region_name": "eu-west-1"},
    }
    s3fs.S3FileSystem(**options).mkdir("cluster")
    before = {each["id"] for each in prefect.flow_runs()}
    # A short name: sockets are in there.
    with tempfile.TemporaryDirectory(prefix="hn", dir="/tmp", ignore_cleanup_errors=True) as name:
        lines = run_driver(Path(name), options, prefect.url)
    bucket.stop()
    said = dict(json.loads(line) for line in lines)
    assert "is not shared" in said["per machine"]
    first, again = new_runs(prefect, before)
    for run, name in ((first, "first"), (again, "again")):
        values, folders, scopes = said[name]
        assert values == [2 * x for x in range(16)]
        assert all("runtime_resources/working_dir" in folder for folder in folders)
        assert run["state_name"] == "Completed"
        assert as_scopes(prefect.task_runs(run)) == scopes
        # The map, its items, and their nodes: each once, whoever has done it in the end.
        assert len(scopes) == 1 + 16 + 32
    assert {each["state"] for each in said["first"][2].values()} <= {"Completed", "Cached"}
    assert {each["state"] for each in said["again"][2].values()} == {"Cached"}


def run_driver(folder: Path, options: dict[str, Any], api: str) -> list[str]:
    """Run the driver on a cluster; returns what it said."""
    project = folder / "project"
    project.mkdir()
    (folder / "marks").mkdir()
    (project / "steps.py").write_text(STEPS)
    address = f"127.0.0.1:{free_port()}"
    text = DRIVER.format(
        tests=str(Path(__file__).parent), project=str(project), address=address, options=options
    )
    (folder / "driver.py").write_text(text)
    head = ["--head", f"--port={address.partition(':')[2]}", "--include-dashboard=false"]
    with (
        ray_node("one", folder, *head, f"--temp-dir={folder}/ray"),
        ray_node("two", folder, f"--address={address}") as second,
        open(folder / "errors", "w+") as errors,
        subprocess.Popen(
            [sys.executable, "driver.py"],
            cwd=folder,
            env=own_environment(folder, PREFECT_API_URL=api),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as driver,
    ):
        threading.Thread(target=lose, args=(second, driver, folder / "marks" / "lost")).start()
        assert driver.stdout is not None
        lines = [line[5:] for line in driver.stdout if line.startswith("said ")]
        status = driver.wait()
        said = (folder / "errors").read_text()
        assert status == 0, said[-3000:]
        assert "could not be reported" not in said
        assert (folder / "marks" / "lost").exists()
    return lines


def lose(node: subprocess.Popen[bytes], driver: subprocess.Popen[str], mark: Path) -> None:
    """End a node as soon as there is a file."""
    while not mark.exists() and driver.poll() is None:
        time.sleep(0.05)
    if mark.exists():
        end(node)
