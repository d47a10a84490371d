"""What a run shows beside its task runs: how far maps are, the diagram, a table, failures.

Keys are made of the pipeline's name, so that Prefect shows the history of each from run to run.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson

from prefect_hypernodes.events import FlowRunRef, Refused, logger
from prefect_hypernodes.task_runs import Progress, TaskRunTracker

PROGRESS_AFTER = 1.0
"""Seconds after which a map has a progress artifact, and between its updates."""

Ask = Callable[[str, str, Any], Any]
"""Asks the API: method, path and body."""


class Artifacts:
    """The artifacts of one run.

    Args:
        around: the flow run that they belong to.
        ledger: what they show.
        name: the pipeline's name.
        diagram: gives the pipeline's diagram as Mermaid text; None for no diagram.
        ui: the address of Prefect's pages, for links; None where it is not known.
    """

    def __init__(
        self,
        around: FlowRunRef,
        ledger: TaskRunTracker,
        name: str,
        diagram: Callable[[], str] | None,
        ui: str | None,
    ) -> None:
        self._around = around
        self._ledger = ledger
        self._name = name
        self._diagram = diagram
        self._ui = ui
        self._ids: dict[Any, str] = {}
        self._updated_at = 0.0
        self._last: deque[Callable[[Ask], Any]] | None = None

    @property
    def is_done(self) -> bool:
        """Whether what is shown at the end has been."""
        return self._last is not None and not self._last

    def show(self, ask: Ask, at_end: bool) -> None:
        """Show the diagram, how far maps are, at most once a second, and at the end the rest.

        Raises:
            Unreachable: the API does not answer; what is left is shown by a later call.
        """
        now = time.time()
        if self._diagram is not None:
            text = f"```mermaid\n{self._diagram()}\n```\n"
            self._make(ask, "markdown", "diagram", f"Pipeline {self._name!r}", text)
            self._diagram = None
        if at_end:
            if self._last is None:
                self._last = deque(self._at_end())
            while self._last:
                self._last[0](ask)
                self._last.popleft()
        elif now - self._updated_at >= PROGRESS_AFTER:
            self._updated_at = now
            for ctx, progress in list(self._ledger.maps.items()):
                if now - progress.since >= PROGRESS_AFTER:
                    self._show(ask, ctx, progress)
                if progress.ended:
                    del self._ledger.maps[ctx]

    def _at_end(self) -> Iterator[Callable[[Ask], Any]]:
        for ctx, progress in self._ledger.maps.items():
            if ctx in self._ids:
                yield partial(self._show, ctx=ctx, progress=progress)
        if table := self._table():
            data = orjson.dumps(table).decode()
            yield lambda ask: self._make(ask, "table", "summary", self._told(), data)
        if self._ledger.failures:
            text = self._failures()
            yield lambda ask: self._make(ask, "markdown", "failures", "What failed", text)

    def _show(self, ask: Ask, ctx: Any, progress: Progress) -> None:
        share = 100.0 * progress.done / progress.total if progress.total else 100.0
        if ctx in self._ids:
            _unless_refused(ask, "PATCH", f"artifacts/{self._ids[ctx]}", {"data": share})
            return
        about = f"{progress.path}: items of {progress.total:,}"
        within = progress.path.removeprefix(self._name)
        made = self._make(ask, "progress", f"{within}-progress", about, share)
        if made is not None:
            self._ids[ctx] = made["id"]

    def _make(self, ask: Ask, kind: str, name: str, description: str, data: Any) -> Any:
        return _unless_refused(
            ask,
            "POST",
            "artifacts/",
            {
                "type": kind,
                "key": slug(f"{self._name}-{name}"),
                "description": description,
                "data": data,
                "flow_run_id": self._around.flow_run,
                "task_run_id": self._around.task_run,
            },
        )

    def _told(self) -> str:
        counted = self._ledger.counted
        if not counted:
            return f"{self._ledger.listed:,} task runs"
        return (
            f"{self._ledger.listed:,} task runs are listed; {counted:,} more are in this table only"
        )

    def _table(self) -> list[dict[str, Any]]:
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
            for path, line in self._ledger.lines.items()
        ]

    def _failures(self) -> str:
        lines = [
            f"{self._ledger.failed:,} node runs failed.",
            "",
            "| node | error |",
            "| --- | --- |",
        ]
        for path, message, task_run in self._ledger.failures:
            link = f"[{path}]({self._ui}/runs/task-run/{task_run})" if self._ui else path
            last = message.strip().splitlines()[-1:] or [""]
            lines.append(f"| {link} | {last[0][:300].replace('|', chr(92) + '|')} |")
        return "\n".join(lines) + "\n"


def _unless_refused(ask: Ask, method: str, path: str, body: Any) -> Any:
    """What the API answers; None where it refuses an artifact: too large, or deleted meanwhile."""
    try:
        return ask(method, path, body)
    except Refused as error:
        logger.debug("the Prefect API refuses an artifact: %s", error)
        return None


def slug(text: str) -> str:
    """A text as an artifact's key: lower case letters, digits and dashes.

    >>> slug("My corpus/each (2)")
    'my-corpus-each-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "pipeline"
