"""What a run shows beside its task runs: how far maps are, the diagram, a table, failures.

Keys are made of the pipeline's name, so that Prefect shows the history of each from run to run.
"""

from __future__ import annotations

import base64
import html
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from hypernodes import CallbackContext, Pipeline
from hypernodes.visualize import plain_svg
from prefect_hypernodes.api import Api, Refused
from prefect_hypernodes.events import FlowRunRef, logger
from prefect_hypernodes.states import cut
from prefect_hypernodes.task_runs import NodeLine, Progress, TaskRunTracker

#: Seconds after which a map has a progress artifact, and between its updates: each costs 11 ms.
PROGRESS_AFTER = 1.0
#: Seconds between updates of the diagram while the run goes on.
DIAGRAM_EVERY = 10.0


@dataclass(eq=False)
class Artifacts:
    """The artifacts of one run.

    Attributes:
        flow_run: where they belong.
        tracker: what they show.
        name: the pipeline's name.
        pipeline: its diagram is shown, with the states and times of its nodes.
        ui: the address of Prefect's pages, for links; None where it is not known.
    """

    flow_run: FlowRunRef
    tracker: TaskRunTracker
    name: str
    pipeline: Pipeline | None
    ui: str | None

    def __post_init__(self) -> None:
        self._ids: dict[CallbackContext, str] = {}
        self._updated_at = self._drawn_at = 0.0
        self._diagram: str | None = None
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
        if not at_end and now - self._drawn_at > DIAGRAM_EVERY:
            self._draw(api)
        if at_end:
            if self._last is None:
                self._last = deque(self._at_end())
            while self._last:
                self._last[0](api)
                self._last.popleft()
        elif now - self._updated_at >= PROGRESS_AFTER:
            self._updated_at = now
            for ctx, progress in list(self.tracker.maps.items()):
                has_ended = progress.ended  # asked first: it may end while the API takes its share
                if now - progress.since >= PROGRESS_AFTER:
                    self._show(api, ctx, progress)
                if has_ended:
                    del self.tracker.maps[ctx]

    def _draw(self, api: Api) -> None:
        """Show the diagram, with what is known of the nodes by now."""
        if self.pipeline is None:
            return
        self._drawn_at = time.time()
        svg = base64.b64encode(plain_svg(self.pipeline, _Lines(self.tracker)).encode()).decode()
        text = f"![{_escaped(self.name)}](data:image/svg+xml;base64,{svg})\n"
        if self._diagram is not None:
            _unless_refused(api, "PATCH", f"artifacts/{self._diagram}", {"data": text})
        elif made := self._make(api, "markdown", "diagram", f"Pipeline {self.name!r}", text):
            self._diagram = made["id"]

    def _at_end(self) -> Iterator[Callable[[Api], object]]:
        yield self._draw
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
                "executed": line.ran,
                "cached": line.cached,
                "failed": line.failed,
                "skipped": line.skipped,
                "total s": round(line.seconds, 3),
                "p95 s": float(f"{line.p95:.3g}"),
            }
            for path, line in self.tracker.lines.items()
        ]

    def _failures(self) -> str:
        said = [f"{each}." for each in self.tracker.messages]
        lines = [
            " ".join(said) or f"{self.tracker.failed:,} failed.",
            "",
            "| node | item | error | attempt |",
            "| --- | --- | --- | --- |",
        ]
        for failure in self.tracker.failures:
            path = _escaped(html.escape(failure.path).replace("|", "\\|"))
            error = _code(cut(failure.error, 300))
            if self.ui:
                path = f"[{path}]({self.ui}/runs/task-run/{failure.task_run})"
            items = " in ".join(
                f"{index}: {_code(inputs)}" if inputs else str(index)
                for index, inputs in reversed(failure.items)
            )
            lines.append(f"| {path} | {items} | {error} | {failure.attempt} |")
        if left := self.tracker.failed - len(self.tracker.failures):
            lines += ["", f"and {left:,} more"]
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """A text as that of a link or a picture in Markdown, where brackets have to be in pairs."""
    without = text
    while (shorter := re.sub(r"\[[^\[\]]*\]", "", without)) != without:
        without = shorter
    return re.sub(r"([\[\]])", r"\\\1", text) if {"[", "]"} & set(without) else text


def _code(text: str) -> str:
    """A text as code in a cell of a table in Markdown."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " * ("`" in (text[:1], text[-1:]))
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


class _Lines:
    """The tracker's lines as the record of a run, which pictures read."""

    def __init__(self, tracker: TaskRunTracker) -> None:
        self._tracker = tracker

    def nodes(self, pipelines: bool = False) -> dict[str, NodeLine]:
        return {line.path: line for line in list(self._tracker.lines.values())}


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
