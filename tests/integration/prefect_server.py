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
    # Beside other work a server may need minutes to record a run.
    "HYPERNODES_REPORTING_DEADLINE": "60",
}


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that knows no Prefect but the one in `home`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**own, **QUIET, "PREFECT_HOME": str(home), **more}


_RECORDER = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_"
BATCHES = {
    f"{_RECORDER}BATCH_SIZE": "200",
    f"{_RECORDER}READ_BATCH_SIZE": "200",
    f"{_RECORDER}FLUSH_INTERVAL": "1",  # with less than a second the server never rests
}


def node_name(task_run: dict[str, Any]) -> str:
    """The name of a task run; that of a node without the items that it is part of."""
    name: str = task_run["name"]
    return name.partition("[")[0] if "node" in task_run["tags"] else name


class Server:
    """The API of a running server."""

    def __init__(self, home: Path, port: int, settings: dict[str, str]) -> None:
        self.home = home
        self.port = port
        self.settings = settings
        self.url = f"http://127.0.0.1:{port}/api"
        self.client = httpx.Client(base_url=f"{self.url}/", timeout=60)

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        log = self.home / "server.log"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        with log.open("a") as output:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env=environment(self.home, PREFECT_UI_API_URL=self.url, **self.settings),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + 240
        while True:
            try:
                httpx.get(f"{self.url}/health", timeout=5).raise_for_status()
                return
            except httpx.HTTPError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the server does not start:\n{log.read_text()}") from None
                time.sleep(0.2)

    def kill(self) -> None:
        """End the process at once, with all that it has not written."""
        self.process.kill()
        self.process.wait(30)

    def request(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Like Prefect's client, ask again where the database was locked."""
        until = time.monotonic() + 30
        while True:
            answer = self.client.request(method, path, json=body)
            if answer.status_code != 503 or time.monotonic() > until:
                return answer
            time.sleep(0.2)

    def take_csrf_token(self) -> None:
        """Be let in where the server asks for a token."""
        token = self.client.get("csrf-token", params={"client": "tests"}).json()["token"]
        self.client.headers.update({"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "tests"})

    def ask(self, path: str, **body: Any) -> Any:
        """What a POST answers."""
        return self.request("POST", path, **body).raise_for_status().json()

    def flow_runs(self, **filters: Any) -> list[dict[str, Any]]:
        """All flow runs, the oldest first."""
        found = self._pages("flow_runs/filter", **filters)
        return sorted(found, key=lambda run: str(run["created"]))

    def task_runs(self, flow_run: dict[str, Any]) -> list[dict[str, Any]]:
        """All task runs of a flow run."""
        return self._pages(
            "task_runs/filter", flow_runs={"id": {"any_": [flow_run["id"]]}}, sort="ID_DESC"
        )

    def logs(self, flow_run: dict[str, Any]) -> list[dict[str, Any]]:
        """All logs of a flow run."""
        return self._pages("logs/filter", logs={"flow_run_id": {"any_": [flow_run["id"]]}})

    def _pages(self, path: str, **filters: Any) -> list[dict[str, Any]]:
        """All that there is, in pages as large as the server gives; each once."""
        found: dict[str, dict[str, Any]] = {}
        place = 0
        while page := self.ask(path, **filters, offset=place, limit=200):
            place += len(page)
            found.update((each["id"], each) for each in page)
        return list(found.values())

    def artifacts(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The artifacts of a flow run by key."""
        made = self.ask("artifacts/filter", flow_runs={"id": {"any_": [flow_run["id"]]}})
        return {each["key"]: each for each in made}

    def graph(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The nodes of the flow run's picture in Prefect's UI, by id."""
        answer = self.request("GET", f"flow_runs/{flow_run['id']}/graph-v2").raise_for_status()
        return dict(answer.json()["nodes"])


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(home: Path, **settings: str) -> Iterator[Server]:
    """Start a server on a free port of this machine, and end it afterwards.

    Args:
        home: its folder.
        **settings: more of its environment; by default its recorder works in batches.
    """
    home.mkdir(parents=True, exist_ok=True)
    running = Server(home, free_port(), settings or BATCHES)
    running.start()
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(30)
