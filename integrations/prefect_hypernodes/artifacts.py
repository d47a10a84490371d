"""What a run shows beside its task runs: how far maps are, the diagram, a table, failures.

Keys are made of the pipeline's name, so that Prefect shows the history of each from run to run.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from hypernodes import CallbackContext
from prefect_hypernodes.api import Api, Refused
from prefect_hypernodes.events import FlowRunRef, logger
from prefect_hypernodes.task_runs import Progress, TaskRunTracker

#: Seconds after which a map has a progress artifact, and between its updates: each costs 11 ms.
PROGRESS_AFTER = 1.0


@dataclass(eq=False)
class Artifacts:
    """The artifacts of one run.

    Attributes:
        flow_run: where they belong.
        tracker: what they show.
        name: the pipeline's name.
        diagram: makes the pipeline's diagram, as Mermaid text; None for no diagram.
        ui: the address of Prefect's pages, for links; None where it is not known.
    """

    flow_run: FlowRunRef
    tracker: TaskRunTracker
    name: str
    diagram: Callable[[], str] | None  # None once it is shown
    ui: str | None

    def __post_init__(self) -> None:
        self._ids: dict[CallbackContext, str] = {}
        self._updated_at = 0.0
        self._last: deque[Callable[[Api], object]] | None = None

    @property
    def is_done(self) -> bool:
        """Whether what is shown at the end has been."""
        return self._last is not None and not self._last

    def show(self, api: Api, at_end: bool) -> None:
        """Show the diagram, how far maps are, at most once a second, and at the end the rest.

        Args:
            api: takes the artifacts.
            at_end: whether the run is over.

        Raises:
            Unreachable: the API does not answer; what is left is shown by a later call.
        """
        now = time.time()
        if self.diagram is not None:
            text = f"```mermaid\n{self.diagram()}\n```\n"
            self._make(api, "markdown", "diagram", f"Pipeline {self.name!r}", text)
            self.diagram = None
        if at_end:
            if self._last is None:
                self._last = deque(self._at_end())
            while self._last:
                self._last[0](api)
                self._last.popleft()
        elif now - self._updated_at >= PROGRESS_AFTER:
            self._updated_at = now
            for ctx, progress in list(self.tracker.maps.items()):
                if now - progress.since >= PROGRESS_AFTER:
                    self._show(api, ctx, progress)
                if progress.ended:
                    del self.tracker.maps[ctx]

    def _at_end(self) -> Iterator[Callable[[Api], object]]:
        for ctx, progress in self.tracker.maps.items():
            if ctx in self._ids:
                yield partial(self._show, ctx=ctx, progress=progress)
        if table := self._table():
            data = orjson.dumps(table).decode()
            yield lambda api: self._make(api, "table", "summary", self._counts(), data)
        if self.tracker.failures:
            text = self._failures()
            yield lambda api: self._make(api, "markdown", "failures", "What failed", text)

    def _show(self, api: Api, ctx: CallbackContext, progress: Progress) -> None:
        share = 100.0 * progress.done / progress.total if progress.total else 100.0
        if ctx in self._ids:
            _unless_refused(api, "PATCH", f"artifacts/{self._ids[ctx]}", {"data": share})
            return
        about = f"{progress.path}: items of {progress.total:,}"
        within = progress.path.removeprefix(self.name)
        made = self._make(api, "progress", f"{within}-progress", about, share)
        if made is not None:
            self._ids[ctx] = made["id"]

    def _make(self, api: Api, kind: str, name: str, description: str, data: object) -> Any:
        body = {
            "type": kind,
            "key": slug(f"{self.name}-{name}"),
            "description": description,
            "data": data,
            "flow_run_id": self.flow_run.flow_run,
            "task_run_id": self.flow_run.task_run,
        }
        return _unless_refused(api, "POST", "artifacts/", body)

    def _counts(self) -> str:
        listed, counted = self.tracker.listed, self.tracker.counted
        if not counted:
            return f"{listed:,} task runs"
        return f"{listed:,} task runs are listed; {counted:,} more are in this table only"

    def _table(self) -> list[dict[str, object]]:
        return [
            {
                "node": path,
                "executed": line.executed,
                "cached": line.cached,
                "failed": line.failed,
                "skipped": line.skipped,
                "total s": round(line.seconds, 3),
                "p95 s": float(f"{line.p95:.3g}"),
            }
            for path, line in self.tracker.lines.items()
        ]

    def _failures(self) -> str:
        lines = [
            f"{self.tracker.failed:,} node runs failed.\n",
            "| node | error |",
            "| --- | --- |",
        ]
        for path, message, task_run in self.tracker.failures:
            link = f"[{path}]({self.ui}/runs/task-run/{task_run})" if self.ui else path
            last = message.strip().splitlines()[-1:] or [""]
            lines.append(f"| {link} | {last[0][:300].replace('|', chr(92) + '|')} |")
        return "\n".join(lines) + "\n"


def _unless_refused(api: Api, method: str, path: str, body: object) -> Any:
    """What the API answers; None where it refuses an artifact: too large, or deleted meanwhile."""
    try:
        return api.ask(method, path, orjson.dumps(body))
    except Refused as error:
        logger.debug("the Prefect API refuses an artifact: %s", error)
        return None


def slug(text: str) -> str:
    """A text as an artifact's key: lower case letters, digits and dashes.

    >>> slug("My corpus/each (2)")
    'my-corpus-each-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "pipeline"
