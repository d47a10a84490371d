"""`Reporter`: takes events off the run's thread and sees that the server has recorded them.

Prefect's server keeps events in bounded queues and drops what comes beyond, without telling the
client. So the reporter never has more than a window of task runs unconfirmed, counts what the
server has recorded, and is closed before the flow run ends: the temporary server of a script
stops with whatever it has not yet recorded.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx

from prefect_hypernodes.events import FlowRunInfo, TaskRunInfo, task_run_event

logger = logging.getLogger("prefect.hypernodes")

BATCH = 200
"""Events in one request."""
WINDOW = 4_000
"""Task runs that may be unconfirmed; the server's queues hold 10,000 events."""
PAUSE = 0.05
"""Seconds in which events are gathered to a batch."""
SHOW_RUNNING_AFTER = 2.0
"""Seconds after which a scope that has not ended is shown as running."""
PATIENCE = 30.0
"""Seconds without any progress after which the rest is given up."""


class Reporter:
    """Reports task runs into one flow run.

    Args:
        url: the API's address.
        headers: what the API wants with each request.
        flow_run: where the task runs belong.
    """

    def __init__(self, url: str, headers: Mapping[str, str], flow_run: FlowRunInfo) -> None:
        self.flow_run = flow_run
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/", headers=dict(headers), timeout=httpx.Timeout(10.0)
        )
        self._queue: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._open: dict[Any, tuple[TaskRunInfo, float]] = {}
        self._before = 0
        self._sent: set[Any] = set()
        self._confirmed = 0
        self._lost = 0
        self._thread = threading.Thread(
            target=self._work, name="hypernodes-prefect-reporter", daemon=True
        )
        self._thread.start()

    def started(self, task_run: TaskRunInfo, at: float) -> None:
        """A scope has started, `at` seconds since the epoch."""
        self._queue.put((task_run, None, at))

    def ended(
        self,
        task_run: TaskRunInfo,
        state: str,
        state_type: str,
        started: float,
        ended: float,
        message: str | None = None,
    ) -> None:
        """A scope has ended, in a terminal state."""
        self._queue.put((task_run, (state, state_type, started, ended, message), ended))

    def close(self) -> None:
        """Wait until the server has recorded everything, or does not answer any more."""
        self._queue.put(None)
        self._thread.join()
        self._client.close()
        if self._lost:
            logger.warning(
                "%d task runs of flow run %r were not confirmed by the Prefect API; the results "
                "of the run are complete",
                self._lost,
                self.flow_run.name,
            )

    # -- On the reporter's thread ----------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._before = self._count() or 0
            closing = False
            while not closing:
                batch, closing = self._gather()
                self._send(batch)
            self._confirm(0)
        except Exception:
            logger.exception("the reporter stopped; the run goes on")
        self._lost = len(self._sent) - self._confirmed

    def _gather(self) -> tuple[list[dict[str, Any]], bool]:
        """The next batch of events, and whether it is the last."""
        batch: list[dict[str, Any]] = []
        until = time.monotonic() + PAUSE
        while len(batch) < BATCH:
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return batch, True
            task_run, end, at = item
            if end is None:
                self._open[task_run.id] = (task_run, at)
                continue
            self._open.pop(task_run.id, None)
            state, state_type, started, ended, message = end
            batch.append(
                task_run_event(self.flow_run, task_run, state, state_type, started, ended, message)
            )
            self._sent.add(task_run.id)
        return batch + self._running(), False

    def _running(self) -> list[dict[str, Any]]:
        """Events for scopes that have been open for a while, once for each."""
        long_ago = time.time() - SHOW_RUNNING_AFTER
        old = [key for key, (_, at) in self._open.items() if at < long_ago]
        events = []
        for key in old:
            task_run, at = self._open.pop(key)
            events.append(task_run_event(self.flow_run, task_run, "Running", "RUNNING", at))
        return events

    def _send(self, batch: list[dict[str, Any]]) -> None:
        if not batch:
            return
        self._confirm(WINDOW)
        waited = 0.0
        while True:
            try:
                self._client.post("events", json=batch).raise_for_status()
                return
            except httpx.HTTPError as error:
                if waited >= PATIENCE:
                    raise
                if waited == 0.0:
                    logger.warning("the Prefect API does not take events (%s): trying on", error)
                time.sleep(1.0)
                waited += 1.0

    def _confirm(self, window: int) -> None:
        """Wait until no more than `window` task runs are unconfirmed."""
        since = time.monotonic()
        pause = 0.05
        while len(self._sent) - self._confirmed > window:
            count = self._count()
            if count is not None and count - self._before > self._confirmed:
                self._confirmed = min(count - self._before, len(self._sent))
                since = time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                return
            else:
                time.sleep(pause)
                pause = min(0.5, pause * 1.5)

    def _count(self) -> int | None:
        """Task runs of the flow run in a terminal state that the server has recorded."""
        states = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
        try:
            answer = self._client.post(
                "task_runs/count",
                json={
                    "flow_runs": {"id": {"any_": [str(self.flow_run.id)]}},
                    "task_runs": {"state": {"type": {"any_": states}}},
                },
            )
            answer.raise_for_status()
            return int(answer.json())
        except (httpx.HTTPError, ValueError):
            return None
