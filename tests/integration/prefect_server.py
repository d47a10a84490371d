"""A real Prefect server in a process of its own, and what a test asks of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
}


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that knows no Prefect but the one in `home`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**own, **QUIET, "PREFECT_HOME": str(home), **more}


class Server:
    """The API of a running server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=f"{url}/", timeout=30)

    def ask(self, path: str, **body: Any) -> Any:
        """What a POST answers."""
        answer = self.client.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    def flow_runs(self) -> list[dict[str, Any]]:
        """All flow runs, the oldest first."""
        found: list[dict[str, Any]] = self.ask("flow_runs/filter")
        return sorted(found, key=lambda run: str(run["created"]))

    def task_runs(self, flow_run: dict[str, Any]) -> list[dict[str, Any]]:
        """All task runs of a flow run, in pages as large as the server gives."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask(
                "task_runs/filter",
                flow_runs={"id": {"any_": [flow_run["id"]]}},
                sort="ID_DESC",
                offset=len(found),
            )
            if not page:
                return found
            found += page

    def logs(self, flow_run: dict[str, Any]) -> list[dict[str, Any]]:
        """All logs of a flow run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask(
                "logs/filter",
                logs={"flow_run_id": {"any_": [flow_run["id"]]}},
                offset=len(found),
                limit=200,
            )
            if not page:
                return found
            found += page

    def artifacts(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The artifacts of a flow run by key."""
        made = self.ask("artifacts/filter", flow_runs={"id": {"any_": [flow_run["id"]]}})
        return {each["key"]: each for each in made}

    def graph(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The nodes of the flow run's picture in Prefect's UI, by id."""
        answer = self.client.get(f"flow_runs/{flow_run['id']}/graph-v2")
        answer.raise_for_status()
        return dict(answer.json()["nodes"])


@contextmanager
def server(home: Path) -> Iterator[Server]:
    """Start a server on a free port of this machine, and end it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "server.log"
    home.mkdir(parents=True, exist_ok=True)
    recorder = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_"
    settings = {
        f"{recorder}BATCH_SIZE": "200",
        f"{recorder}READ_BATCH_SIZE": "200",
        f"{recorder}FLUSH_INTERVAL": "0.2",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment(home, **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}/api"
        until = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{url}/health", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the server does not start:\n{log.read_text()}") from None
                time.sleep(0.2)
        yield Server(url)
    finally:
        process.terminate()
        process.wait(30)
