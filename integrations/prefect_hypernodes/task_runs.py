"""`TaskRunTracker`: what callbacks told, in order, turned into events and counts.

It decides what is listed as a task run and what is only counted, knows which nodes a failure has
kept from running, and adds up the summary. It does no input or output of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from hypernodes import CallbackContext
from prefect_hypernodes.events import FlowRunRef, State, TaskRunInfo, task_run_event
from prefect_hypernodes.settings import Reporting

COMPLETED = State("Completed", "COMPLETED")
RUNNING = State("Running", "RUNNING")
FAILURES_LISTED = 100
"""Failures that are listed in the artifact; the rest are counted there."""
_PRECISION = 16
"""Steps of a duration's histogram to a factor of e: the p95 is right within 3 %."""


class Told(NamedTuple):
    """One hook, as it is passed to the ledger.

    Attributes:
        what: "start", "retry", "end", "cached" or "error".
        ctx: the scope.
        at: for a start the number of a map's items, for an end its duration in seconds, for the
            others when it was, in seconds since the epoch.
        state: for a retry, a cached scope or an error.
    """

    what: str
    ctx: CallbackContext
    at: float
    state: State = COMPLETED


class _Listed:
    """Task runs that a flow run lists; exact but where it runs pipelines in several threads."""

    def __init__(self) -> None:
        self.count = 0


@lru_cache(maxsize=1_000)
def _listed_in(flow_run: UUID | None, run_count: int) -> _Listed:
    return _Listed()


class Event(NamedTuple):
    """An event to be sent, and the task run that it completes, if it does."""

    task_run: UUID | None
    body: dict[str, Any]


class _Scope:
    """What is known of a scope that has not ended."""

    __slots__ = ("attempt", "attempt_at", "contents", "done", "listed", "seen", "total")

    def __init__(self) -> None:
        self.listed: bool | None = None
        self.contents = ""  # "cached" where all in it is, "ran" where something was not
        self.seen: set[str] = set()
        self.total = 0
        self.done = 0
        self.attempt = 1
        self.attempt_at = 0.0  # since when the next attempt is waited for


@dataclass
class NodeLine:
    """A node's line in the summary."""

    executed: int = 0
    cached: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    durations: Counter[int] = field(default_factory=Counter)

    def ran(self, seconds: float) -> None:
        """Count a run."""
        self.executed += 1
        self.seconds += seconds
        self.durations[round(math.log(max(seconds, 1e-7)) * _PRECISION)] += 1

    @property
    def p95(self) -> float:
        """Seconds that 95 % of the runs took at most."""
        left = math.ceil(0.95 * self.durations.total())
        for step in sorted(self.durations):
            left -= self.durations[step]
            if left <= 0:
                return math.exp(step / _PRECISION)
        return 0.0


@dataclass
class Progress:
    """How far a map is that is not inside an item of another one."""

    path: str
    total: int
    since: float
    done: int = 0
    ended: bool = False


class TaskRunTracker:
    """Keeps the books of one run.

    Attributes:
        listed: task runs that have been made.
        counted: task runs that were only counted.
        lines: the summary, by the node's path.
        failures: of the first that failed: path with items' numbers, message, task run.
        failed: how many failed.
        maps: the progress of maps by scope.
    """

    def __init__(self, around: FlowRunRef, reporting: Reporting) -> None:
        self._around = around
        self._reporting = reporting
        self._scopes: dict[CallbackContext, _Scope] = {}
        self._running: dict[CallbackContext, None] = {}
        self._in_map: dict[CallbackContext, int] = {}
        self.listed = 0
        self._of_flow_run = _listed_in(around.flow_run or around.task_run, around.run_count)
        self.counted = 0
        self.lines: dict[str, NodeLine] = {}
        self.failures: list[tuple[str, str, UUID]] = []
        self.failed = 0
        self.maps: dict[CallbackContext, Progress] = {}

    def take(self, told: Told) -> Iterator[Event]:
        """Enter what was told; gives what is to be sent."""
        what, ctx, at, state = told
        if what == "start":
            self._start(ctx, int(at))
        elif what == "retry":
            yield from self._retry(ctx, at, state)
        elif what == "cached":
            yield from self._cached(ctx, at, state)
        elif what == "end":
            yield from self._end(ctx, at)
        else:
            yield from self._error(ctx, at, state)

    def running(self, before: float) -> Iterator[Event]:
        """Events for scopes that started before a time and have not ended, once for each."""
        for ctx in list(self._running):
            scope = self._scopes.get(ctx)
            since = ctx.started_at if scope is None else max(ctx.started_at, scope.attempt_at)
            if since > before:
                continue
            del self._running[ctx]
            if scope is not None and self._is_listed(ctx):
                body = task_run_event(
                    self._around,
                    self._task_run(ctx),
                    RUNNING,
                    ctx.started_at,
                    attempt=scope.attempt,
                    at=since + 1e-6 if scope.attempt > 1 else None,
                )
                yield Event(None, body)

    # -- One hook --------------------------------------------------------------------------------

    def _start(self, ctx: CallbackContext, total: int) -> None:
        scope = self._scope(ctx)
        scope.total = total
        self._see(ctx)
        if ctx.parent is not None:
            self._running[ctx] = None
        if ctx.kind == "node":
            self._note_contents(ctx, "ran")
        elif ctx.kind == "map" and ctx.item_index is None:
            self.maps[ctx] = Progress(task_key(ctx), total, ctx.started_at)

    def _retry(self, ctx: CallbackContext, at: float, state: State) -> Iterator[Event]:
        """The node waits for its next try; that is shown as running like a first one."""
        scope = self._scope(ctx)
        scope.attempt += 1
        scope.attempt_at = at
        self._running.pop(ctx, None)
        self._running[ctx] = None
        if self._is_listed(ctx):
            body = task_run_event(
                self._around,
                self._task_run(ctx),
                state,
                ctx.started_at,
                attempt=scope.attempt - 1,
                at=max(at, ctx.started_at + 1e-6),
            )
            yield Event(None, body)

    def _cached(self, ctx: CallbackContext, at: float, state: State) -> Iterator[Event]:
        self._see(ctx)
        self._note_contents(ctx, "cached")
        if ctx.kind == "node":
            self._line(task_key(ctx)).cached += 1
        yield from self._list(ctx, state, at, at)
        self._leave(ctx)

    def _end(self, ctx: CallbackContext, duration: float) -> Iterator[Event]:
        if ctx.kind == "node":
            self._line(task_key(ctx)).ran(duration)
        is_cached = self._scope(ctx).contents == "cached"
        state = State("Cached", "COMPLETED") if is_cached else COMPLETED
        yield from self._list(ctx, state, ctx.started_at, ctx.started_at + max(duration, 1e-6))
        self._leave(ctx)

    def _error(self, ctx: CallbackContext, at: float, state: State) -> Iterator[Event]:
        listed = self._is_listed(ctx)
        scope = self._scope(ctx)
        for name in ctx.node_ids:
            if name not in scope.seen and not _is_subflow(ctx, name):
                yield from self._skipped(ctx, name, at, state.message, listed)
        if ctx.kind == "map" and scope.total > scope.done:
            left = f"{scope.done} of {scope.total} items had ended"
            state = state._replace(message=f"{state.message}\n{left}")
        if ctx.kind == "node":
            line = self._line(task_key(ctx))
            line.ran(max(0.0, at - ctx.started_at))
            if state.type != "CANCELLED":
                line.failed += 1
                self.failed += 1
                if len(self.failures) < FAILURES_LISTED:
                    self.failures.append((ctx.hierarchy_path, state.message or "", ctx.id))
        yield from self._list(ctx, state, ctx.started_at, at, always=True)
        self._leave(ctx)

    def _skipped(
        self, ctx: CallbackContext, name: str, at: float, why: str | None, listed: bool
    ) -> Iterator[Event]:
        """A node of a pipeline or item that had not been started when that failed."""
        key = f"{task_key(ctx)}/{name}"
        self._line(key).skipped += 1
        if not listed:
            self.counted += 1
            return
        self._count_listed()
        parent = self._around.task_run if ctx.parent is None else ctx.id
        task_run = TaskRunInfo(uuid4(), name, key, parent, {}, self._tags("node"))
        state = State("Skipped", "CANCELLED", f"not run: {why}")
        yield Event(task_run.id, task_run_event(self._around, task_run, state, at, at))

    def _list(
        self, ctx: CallbackContext, state: State, started: float, ended: float, always: bool = False
    ) -> Iterator[Event]:
        if ctx.parent is None:
            return
        if not always and not self._is_listed(ctx):
            self.counted += 1
            return
        self._count_listed()
        scope = self._scope(ctx)
        body = task_run_event(
            self._around,
            self._task_run(ctx),
            state,
            started,
            max(ended, scope.attempt_at + 2e-6, started + 1e-6),
            attempt=scope.attempt,
        )
        yield Event(ctx.id, body)

    # -- Scopes ----------------------------------------------------------------------------------

    def _scope(self, ctx: CallbackContext) -> _Scope:
        scope = self._scopes.get(ctx)
        if scope is None:
            scope = self._scopes[ctx] = _Scope()
        return scope

    def _leave(self, ctx: CallbackContext) -> None:
        self._scopes.pop(ctx, None)
        self._running.pop(ctx, None)
        self._in_map.pop(ctx, None)
        if ctx in self.maps:
            self.maps[ctx].ended = True
        if ctx.kind == "map_item":
            assert ctx.parent is not None
            self._scope(ctx.parent).done += 1
            if ctx.parent in self.maps:
                self.maps[ctx.parent].done += 1

    def _see(self, ctx: CallbackContext) -> None:
        if ctx.parent is not None and ctx.kind != "map_item":
            self._scope(ctx.parent).seen.add(ctx.name)

    def _note_contents(self, ctx: CallbackContext, what: str) -> None:
        """Note for the scopes around whether anything in them ran: if not, they are cached too."""
        around = ctx.parent
        while around is not None:
            scope = self._scope(around)
            if scope.contents in (what, "ran"):
                break
            scope.contents = what
            around = around.parent

    def _is_listed(self, ctx: CallbackContext) -> bool:
        item: CallbackContext | None = ctx
        while item is not None and item.kind != "map_item":
            item = item.parent
        if item is None:
            return True
        scope = self._scope(item)
        if scope.listed is None:
            assert item.parent is not None
            scope.listed = self._is_listed(item.parent) and self._has_room(item)
        return scope.listed

    def _count_listed(self) -> None:
        self.listed += 1
        self._of_flow_run.count += 1

    def _has_room(self, item: CallbackContext) -> bool:
        limit, wanted = self._reporting.limit, self._reporting.items
        if wanted == "failures" or (limit is not None and self._of_flow_run.count >= limit):
            return False
        if wanted == "all":
            return True
        assert item.parent is not None
        assert item.item_index is not None
        already = self._in_map.get(item.parent, 0)
        if already >= wanted or item.item_index % max(
            1, math.ceil(self._scope(item.parent).total / wanted)
        ):
            return False
        self._in_map[item.parent] = already + 1
        return True

    def _line(self, path: str) -> NodeLine:
        line = self.lines.get(path)
        if line is None:
            line = self.lines[path] = NodeLine()
        return line

    # -- Task runs -------------------------------------------------------------------------------

    def _task_run(self, ctx: CallbackContext) -> TaskRunInfo:
        return TaskRunInfo(
            id=ctx.id,
            name=ctx.name,
            task_key=task_key(ctx),
            parent=self._parent(ctx),
            inputs={
                name: made_by.id
                for name, made_by in ctx.inputs_from.items()
                if self._is_listed(made_by)
            },
            tags=self._tags(ctx.kind),
        )

    def _parent(self, ctx: CallbackContext) -> UUID | None:
        above = ctx.parent
        if above is None or above.parent is None:
            return self._around.task_run
        return above.id

    def _tags(self, kind: str) -> tuple[str, ...]:
        return ("hypernodes", kind.replace("_", "-"), *self._around.tags)


def _is_subflow(ctx: CallbackContext, name: str) -> bool:
    """Whether a node is a pipeline that is a flow run by itself, which Prefect shows."""
    node = None if ctx.pipeline is None else ctx.pipeline.node(name)
    return hasattr(getattr(getattr(node, "pipeline", None), "engine", None), "flow_options")


def task_key(ctx: CallbackContext) -> str:
    """The path of a scope without items' numbers: the same in every run."""
    names = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        names.append("item" if scope.kind == "map_item" else scope.name)
        scope = scope.parent
    return "/".join(reversed(names))
