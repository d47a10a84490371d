"""`TaskRunTracker`: turns what happens to scopes, in order, into events of task runs and counts.

It finds the nodes that a failure has skipped, and adds up the summary; `Listing` decides what is
listed as a task run and what is only counted. It does no input or output of its own.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple
from uuid import UUID, uuid4

from hypernodes import CallbackContext, PipelineNode
from prefect_hypernodes.events import FlowRunRef, LogLine, State, TaskRunInfo, task_run_event
from prefect_hypernodes.listing import Listing, TaskRunEvent
from prefect_hypernodes.scopes import (
    inputs_from,
    is_apart,
    is_below,
    is_task_run,
    items_around,
    pipeline_of,
    shown_name,
    task_key,
    with_items,
)
from prefect_hypernodes.settings import Reporting
from prefect_hypernodes.states import CACHED, COMPLETED, RUNNING, ErrorInfo, skipped

#: Failures that the artifact lists: nobody reads more on one page. The rest are counted.
FAILURES_LISTED = 100
#: Buckets of the durations' histogram per factor of e, which makes the p95 right within 3 %.
BUCKETS = 16
#: Seconds between two states of one task run: the server wants their times to increase.
TICK = 1e-6


class ScopeEvent(NamedTuple):
    """What happened to a scope.

    Attributes:
        what: which hook was called.
        ctx: the scope.
        at: when it happened, in seconds since the epoch.
        state: the state that follows, for a retry, a hit of the cache or an error.
        delay: seconds from a failed attempt to the next one.
        total: how many items there are, for the start of a map.
        error: the error, with its traceback where no scope inside has had it.
        made_by: for the start of a run or an item: the task runs outside that made its inputs.
    """

    what: Literal["start", "retry", "cached", "end", "error"]
    ctx: CallbackContext
    at: float
    state: State = COMPLETED
    delay: float = 0.0
    total: int = 0
    error: ErrorInfo | None = None
    made_by: Mapping[str, UUID] = MappingProxyType({})


class Failure(NamedTuple):
    """A line in the list of failures.

    Attributes:
        path: of the node, with items' numbers.
        items: index and inputs of the items that it was part of, the outermost first.
        error: its type and message.
        attempt: which attempt it was.
        task_run: whose log has the traceback.
    """

    path: str
    items: tuple[tuple[int, str], ...]
    error: str
    attempt: int
    task_run: UUID


class Seen(NamedTuple):
    """What a node has done in another process so far.

    Attributes:
        id: the scope's id.
        started_at: when it began, in seconds since the epoch.
        retries: for each attempt that has failed since the last word of it, when that was, seconds
            until the next one, and the state until then.
        ctx: the scope, where only that process has it.
        name: what the task run is called.
    """

    id: UUID
    started_at: float
    retries: list[tuple[float, float, State]]
    ctx: CallbackContext | None
    name: str


@dataclass
class NodeLine:
    """A node's line in the summary.

    Attributes:
        path: of the node, as pictures have it: without items.
        ran: how often it was called, failures included.
        cached, failed, skipped: how often it was that.
        seconds: all calls together.
    """

    path: str = ""
    ran: int = 0
    cached: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    durations: Counter[int] = field(default_factory=Counter)

    def count(self, seconds: float) -> None:
        """Count a run."""
        self.ran += 1
        self.seconds += seconds
        self.durations[round(math.log(max(seconds, 1e-7)) * BUCKETS)] += 1

    @property
    def state(self) -> str:
        """In one word: the worst that is true of one of its runs."""
        if self.failed:
            return "failed"
        return "completed" if self.ran else "cached" if self.cached else "skipped"

    @property
    def p95(self) -> float:
        """Seconds that 95 % of the runs took at most."""
        left = math.ceil(0.95 * self.durations.total())
        for bucket in sorted(self.durations):
            left -= self.durations[bucket]
            if left <= 0:
                return math.exp(bucket / BUCKETS)
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
    """Tracks the task runs of one run.

    Args:
        flow_run: where they belong.
        reporting: how many of them are listed.

    Attributes:
        lines: the summary, by the node's path.
        failures: the first that failed.
        failed: how many failed.
        maps: the progress of maps by scope.
        ended_by: the state in which an error has left the whole run.
    """

    def __init__(self, flow_run: FlowRunRef, reporting: Reporting) -> None:
        self._flow_run = flow_run
        self._listing = Listing(flow_run, reporting)
        self._scopes = self._listing.scopes
        self._unshown: dict[CallbackContext, None] = {}  # run, and are not shown as running yet
        self._elsewhere: dict[
            UUID, CallbackContext
        ] = {}  # items and their nodes in other processes
        self.lines: defaultdict[str, NodeLine] = defaultdict(NodeLine)
        self.failures: list[Failure] = []
        self.failed = 0
        self._of_maps: dict[str, tuple[int, int, int]] = {}
        self.maps: dict[CallbackContext, Progress] = {}
        self.ended_by: State | None = None

    @property
    def listed(self) -> int:
        """How many task runs have been made."""
        return self._listing.listed

    @property
    def counted(self) -> int:
        """How many scopes were only counted."""
        return self._listing.counted

    @property
    def lost(self) -> Mapping[str, tuple[int, int, int]]:
        """Of each map that went on after failed items, by its path: how often it did, and how many
        items failed, of how many in all its runs."""
        return {path: counts for path, counts in self._of_maps.items() if counts[1]}

    @property
    def messages(self) -> list[str]:
        """How many items failed of maps that went on all the same."""
        return [f"{failed:,} of {total:,} items failed" for _, failed, total in self.lost.values()]

    def apply(self, event: ScopeEvent) -> Iterator[TaskRunEvent | LogLine]:
        """Take in what happened to a scope; yields what is to be sent and logged."""
        if self._elsewhere:
            self._come_back(event.ctx)
        if event.what == "start":
            self._start(event)
        elif event.what == "retry":
            yield from self._retry(event)
        elif event.what == "cached":
            yield from self._cached(event)
        elif event.what == "end":
            yield from self._end(event)
        else:
            yield from self._error(event)

    def apply_seen(
        self, seen: Seen, ctx: CallbackContext | None
    ) -> Iterator[TaskRunEvent | LogLine]:
        """Take in what a node has done in another process, before the hooks are called for it.

        Args:
            seen: what it has done.
            ctx: its scope, if that is known in this process.
        """
        if ctx is None:
            ctx = self._adopted(seen)
        if ctx is None or ctx.ended_at is not None:
            return
        if not self._scopes[ctx].started:
            around = [ctx]
            while (above := around[-1].parent) is not None and above.parent is not None:
                around.append(above)
            for each in reversed(around):
                if not self._scopes[each].started:
                    each.started_at = seen.started_at
                    self._start(ScopeEvent("start", each, seen.started_at))
        for at, delay, state in seen.retries:
            yield from self._retry(ScopeEvent("retry", ctx, at, state, delay))
            self._scopes[ctx].known_retries += 1

    def _adopted(self, seen: Seen) -> CallbackContext | None:
        """The scope of a node in an item that another process runs, below the item's map."""
        known = {ctx.id: ctx for ctx in self._scopes} | self._elsewhere
        if seen.id in known:
            return known[seen.id]
        found = ctx = seen.ctx
        if found is not None:
            found.label = seen.name  # the values that it may be called by stay over there
        while ctx is not None:
            self._elsewhere[ctx.id] = ctx
            if ctx.parent is None or ctx.parent.id in known:
                break
            ctx = ctx.parent
        if ctx is None or ctx.parent is None:
            return None
        ctx.adopt(known[ctx.parent.id])
        return found

    def _come_back(self, ctx: CallbackContext) -> None:
        """A scope of another process has come back, as another object."""
        known = self._elsewhere.pop(ctx.id, None)
        if known is None and ctx.kind == "map_item" and ctx not in self._scopes:
            # Lost with its worker: it is reported here, as a scope that the worker did not make.
            for each in self._elsewhere.values():
                if each.parent is ctx.parent and each.item_index == ctx.item_index:
                    known = self._elsewhere.pop(each.id)
                    ctx.identify(known.id)
                    ctx.started_at = known.started_at
                    break
        if known is not None and known is not ctx:
            for other in self._elsewhere.values():
                if other.parent is known:
                    other.adopt(ctx)
            self._scopes[ctx] = self._scopes.pop(known)
            if known in self._unshown:
                self._unshown[ctx] = self._unshown.pop(known)

    def running(self, before: float) -> Iterator[TaskRunEvent]:
        """Events for scopes that run since before a time, once for each of their attempts."""
        for ctx in list(self._unshown):
            scope = self._scopes[ctx]
            since = max(ctx.started_at, scope.attempt_at)
            if since > before:
                continue
            del self._unshown[ctx]
            if self._listing.is_listed(ctx):
                at = since if scope.attempt == 1 else max(since, scope.retried_at) + TICK
                yield self._listing.event(ctx, RUNNING, at)

    def left_running(self) -> list[CallbackContext]:
        """Scopes that have not ended, the innermost first."""
        left = [ctx for ctx in self._scopes if ctx.ended_at is None]
        return sorted(left, key=lambda ctx: -ctx.depth)

    def end_left(self, at: float, state: State) -> Iterator[TaskRunEvent | LogLine]:
        """End them; what other processes run ends with what is around it here.

        Args:
            at: when that is, in seconds since the epoch.
            state: what they end in.
        """
        for ctx in sorted(self.left_running(), key=lambda ctx: ctx.id in self._elsewhere):
            if ctx in self._scopes:
                yield from self.apply(ScopeEvent("error", ctx, at, state))

    # -- What happened ---------------------------------------------------------------------------

    def _start(self, event: ScopeEvent) -> None:
        ctx, scope = event.ctx, self._scopes[event.ctx]
        scope.total, scope.made_by = event.total, event.made_by
        self._listing.is_fed = self._listing.is_fed or bool(event.made_by)
        if ctx.kind == "map" and ctx.item_index is None and (event.total or ctx not in self.maps):
            self.maps[ctx] = Progress(task_key(ctx), event.total, ctx.started_at)
        if scope.started:  # it was seen elsewhere
            return
        scope.started = True
        self._see(ctx, "ran" if ctx.kind == "node" else "")
        if is_task_run(ctx):
            self._unshown[ctx] = None

    def _retry(self, event: ScopeEvent) -> Iterator[TaskRunEvent | LogLine]:
        """The node waits for its next attempt, which is shown as running like the first one."""
        ctx, scope = event.ctx, self._scopes[event.ctx]
        if scope.known_retries:
            scope.known_retries -= 1
            return
        scope.retried_at = max(event.at, ctx.started_at, scope.attempt_at + TICK) + TICK
        text = f"Failed at {event.state.message} - Retry {scope.attempt} follows"
        line = LogLine(logging.WARNING, text, ctx.id, shown_name(ctx), event.at)
        if self._listing.is_listed(ctx):
            yield self._listing.event(ctx, event.state, scope.retried_at)
            yield line
        else:
            scope.retries.append(line)
        scope.attempt += 1
        scope.attempt_at = event.at + event.delay
        scope.waited += event.delay
        self._unshown[ctx] = None

    def _cached(self, event: ScopeEvent) -> Iterator[TaskRunEvent]:
        ctx = event.ctx
        self._see(ctx, "cached")
        if ctx.kind == "node":
            self._line(ctx).cached += 1
        yield from self._leave(event, event.state)

    def _end(self, event: ScopeEvent) -> Iterator[TaskRunEvent | LogLine]:
        ctx, scope = event.ctx, self._scopes[event.ctx]
        if ctx.kind == "node":
            self._line(ctx).count(event.at - ctx.started_at - scope.waited)
        state = CACHED if scope.contents == "cached" else COMPLETED
        if ctx.kind == "map":
            total = max(scope.total, scope.done)
            path = task_key(ctx, items=False)
            times, failed, of = self._of_maps.get(path, (0, 0, 0))
            self._of_maps[path] = times + bool(scope.failed), failed + scope.failed, of + total
            if scope.failed:
                message = f"{scope.failed:,} of {total:,} items failed"
                state = COMPLETED._replace(message=message)
                if not times:  # a map in the items of another one may go on very often
                    yield LogLine(logging.WARNING, f"{ctx.name}: {message}")
        if ctx.parent is None:
            for path, (times, failed, of) in self.lost.items():
                if times > 1:
                    text = f"{path}: {failed:,} of {of:,} items failed, in {times:,} maps"
                    yield LogLine(logging.WARNING, text)
        yield from self._leave(event, state)

    def _error(self, event: ScopeEvent) -> Iterator[TaskRunEvent | LogLine]:
        ctx, state, scope = event.ctx, event.state, self._scopes[event.ctx]
        done = scope.done
        if self._elsewhere:
            yield from self._lose(event)
        is_listed = self._listing.is_listed(ctx)
        if state.type != "FAILED" and event.at < scope.attempt_at:  # it was called off before that
            scope.attempt -= 1
            scope.waited -= scope.attempt_at - event.at
            scope.attempt_at = 0.0
        pipeline = pipeline_of(ctx)
        ids = {name: inside.id for name, inside in scope.seen.items()} if is_listed else {}
        made_by: Mapping[str, UUID] | None = None
        for name in self._not_run(ctx, state):
            if not is_apart(ctx, name):
                ids[name] = uuid4()
                if made_by is None:
                    made_by = self._listing.made_by(ctx) if is_listed else {}
                inputs = inputs_from(pipeline, name, ids, made_by)
                yield from self._skipped(event, name, is_listed, ids[name], inputs)
        if ctx.kind == "map" and scope.total > done:
            left = f"{done:,} of {scope.total:,} items had ended"
            state = state._replace(message=f"{state.message} ({left})")
        is_failure = state.type != "CANCELLED"
        if ctx.kind == "node":
            line = self._line(ctx)
            line.count(max(0.0, event.at - ctx.started_at - scope.waited))
            line.failed += is_failure
        elif ctx.kind == "map_item" and ctx.parent is not None:
            self._scopes[ctx.parent].failed += is_failure
        if is_failure and ctx.parent is not None:
            self._scopes[ctx.parent].is_told = True
        yield from scope.retries
        if is_failure and event.error is not None and event.error.traceback and not scope.is_told:
            self.failed += 1
            if len(self.failures) < FAILURES_LISTED:
                path, items = ctx.hierarchy_path, items_around(ctx)
                failure = Failure(path, items, event.error.line, scope.attempt, ctx.id)
                self.failures.append(failure)
            attempts = f" at attempt {scope.attempt}" if scope.attempt > 1 else ""
            text = f"{state.name}{attempts} with {event.error.line}\n{event.error.traceback}"
            yield LogLine(logging.ERROR, text, ctx.id, shown_name(ctx), event.at)
        if ctx.parent is None:
            self.ended_by = state
        yield from self._leave(event, state)

    def _not_run(self, ctx: CallbackContext, state: State) -> list[str]:
        """The nodes of a pipeline's scope, or an item's, that surely have not run."""
        scope = self._scopes[ctx]
        names = [name for name in ctx.node_ids if name not in scope.seen]
        if not scope.is_lost and (scope.seen or state.type != "CRASHED"):
            return names
        # It ended without its worker, which has not told of all that it had run.
        import networkx  # takes a good part of a second

        pipeline, after = pipeline_of(ctx), set()
        for name, inside in scope.seen.items():
            if pipeline is not None and inside.ended_at is None:
                after |= networkx.descendants(pipeline.graph, name)
        return [name for name in names if name in after]

    def _lose(self, event: ScopeEvent) -> Iterator[TaskRunEvent | LogLine]:
        """End what workers were running in a scope, and what they had run for that.

        They will not tell of it: one was lost, or the run was stopped and its workers ended.
        """
        ended = event.ctx
        lost = {each.id: each for each in self._elsewhere.values() if is_below(each, ended)}
        if not lost:
            return
        around = {**lost, ended.id: ended}
        for each in around.values():
            self._scopes[each].is_lost = True
        done: dict[UUID, CallbackContext] = {}

        def is_there(made: CallbackContext) -> bool:
            if made.parent is None or made.parent.id not in around:
                return False
            told = self._scopes[around[made.parent.id]].seen.get(made.name)
            return told is None or told.id in lost

        def find(reader: CallbackContext) -> None:
            for made in reader.inputs_from.values():
                if is_there(made) and made.ended_at is not None and made.id not in done:
                    find(made)
                    done[made.id] = made

        for each in lost.values():
            find(each)
        for made in done.values():
            assert made.parent is not None
            above: CallbackContext | None = around[made.parent.id]
            made.adopt(around[made.parent.id])
            while above is not None and above.id in around:  # it began before what was seen there
                above.started_at = min(above.started_at, made.started_at)
                above = above.parent
            self._come_back(made)
            self._start(ScopeEvent("start", made, made.started_at))
            yield from self._end(ScopeEvent("end", made, made.ended_at or event.at))
        for each in sorted(lost.values(), key=lambda each: -each.depth):
            if each.id not in done:
                del self._elsewhere[each.id]
                made_by = each.inputs_from.items()
                known = {n: made for n, made in made_by if made.id in done or not is_there(made)}
                each.inputs_from = known  # and nothing that nobody has heard of
                error = event.error if each.kind == "node" else None
                yield from self._error(
                    ScopeEvent("error", each, event.at, event.state, error=error)
                )

    def _skipped(
        self, event: ScopeEvent, name: str, is_listed: bool, id: UUID, inputs: dict[str, UUID]
    ) -> Iterator[TaskRunEvent]:
        """A node of a pipeline or item that had not been started when that failed."""
        ctx, at = event.ctx, event.at
        key = f"{task_key(ctx)}/{name}"
        self._line(ctx, name).skipped += 1
        if not is_listed:
            self._listing.counted += 1
            return
        self._listing.count()
        parent = ctx.id if is_task_run(ctx) else self._flow_run.task_run
        node = None if (pipeline := pipeline_of(ctx)) is None else pipeline.node(name)
        if isinstance(node, PipelineNode):
            shown, tags = name, self._listing.tags("map" if node.mapped else "pipeline", ctx, name)
        else:
            shown, tags = with_items(name, ctx), self._listing.tags("node", ctx, name)
        task_run = TaskRunInfo(id, shown, key, parent, inputs, tags)
        state = skipped(event.state)
        yield TaskRunEvent(id, task_run_event(self._flow_run, task_run, state, at, at))

    def _line(self, ctx: CallbackContext, inside: str = "") -> NodeLine:
        """The line of a node, given by its scope, or by the one around it and its name."""
        line = self.lines["/".join(filter(None, (task_key(ctx), inside)))]
        if not line.path:
            line.path = "/".join(filter(None, (task_key(ctx, items=False), inside)))
        return line

    # -- Scopes ----------------------------------------------------------------------------------

    def _see(self, ctx: CallbackContext, what: str) -> None:
        """Note a scope in those around it, and that something in them ran, or was cached.

        Args:
            ctx: the scope.
            what: "ran", "cached", or "" where it has only started, and nodes in it will say.
        """
        outer = ctx.parent
        if outer is not None and ctx.kind != "map_item":
            self._scopes[outer].seen[ctx.name] = ctx
        while what and outer is not None:
            scope = self._scopes[outer]
            if scope.contents in (what, "ran"):
                break
            scope.contents = what
            outer = outer.parent

    def _leave(self, event: ScopeEvent, state: State) -> Iterator[TaskRunEvent]:
        """List a scope that has ended, or only count it. Failures are always listed."""
        ctx = event.ctx
        if is_task_run(ctx):
            if event.what == "error" or self._listing.is_listed(ctx):
                self._listing.count()
                scope = self._scopes[ctx]
                least = max(scope.attempt_at + TICK, scope.retried_at, ctx.started_at)
                ended = max(event.at, least + TICK)
                yield self._listing.event(ctx, state, ended, ended)
            else:
                self._listing.counted += 1
        self._scopes.pop(ctx, None)
        self._unshown.pop(ctx, None)
        if ctx in self.maps:
            self.maps[ctx].ended = True
        if ctx.parent is not None and ctx.kind == "map_item":
            self._scopes[ctx.parent].done += 1
            if ctx.parent in self.maps:
                self.maps[ctx.parent].done += 1
