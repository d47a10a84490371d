"""`TaskRunTracker`: turns what happens to scopes, in order, into events of task runs and counts.

It decides what is listed as a task run and what is only counted, finds the nodes that a failure has
skipped, and adds up the summary. It does no input or output of its own.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

from hypernodes import CallbackContext, Engine, Node, Pipeline, PipelineNode
from hypernodes.integration import in_short
from prefect_hypernodes.events import FlowRunRef, State, TaskRunInfo, task_run_event
from prefect_hypernodes.parameters import in_words
from prefect_hypernodes.settings import Reporting
from prefect_hypernodes.states import CACHED, COMPLETED, RUNNING, ErrorInfo, skipped

#: Failures that the artifact lists: nobody reads more on one page. The rest are counted.
FAILURES_LISTED = 100
#: Buckets of the durations' histogram per factor of e, which makes the p95 right within 3 %.
BUCKETS = 16
#: Seconds between two states of one task run: the server wants their times to increase.
TICK = 1e-6


class FlowRunEngine(Engine):
    """Base of engines whose every run is a flow run: Prefect itself shows those."""


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


class LogLine(NamedTuple):
    """A line for the log of a task run, or of the flow run.

    Attributes:
        level: as in `logging`.
        message: what it says.
        task_run: the task run's id; None for the flow run.
        name: the task run's name.
        at: when it happened, in seconds since the epoch; None for now.
    """

    level: int
    message: str
    task_run: UUID | None = None
    name: str = ""
    at: float | None = None


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


class TaskRunEvent(NamedTuple):
    """An event to be sent, and the id of the task run that it completes, if it does."""

    completes: UUID | None
    body: dict[str, Any]


@lru_cache(maxsize=1_000)
def _listed_in(flow_run: UUID | None, run_count: int) -> Counter[str]:
    """Task runs "listed" for a flow run; exact but where it runs pipelines in several threads."""
    return Counter()


@dataclass(slots=True)
class _Scope:
    """What is known of a scope that has not ended."""

    started: bool = False
    listed: bool | None = None
    contents: str = ""  # "cached" as long as all in it was, "ran" where a node was not
    # By name: scopes of the nodes in it that have started or were cached.
    seen: dict[str, CallbackContext] = field(default_factory=dict)
    total: int = 0
    done: int = 0
    failed: int = 0
    is_told: bool = False  # the failure of something in it has been, which is its own
    spread: int = 0  # items of a map that are listed, where only some are to be
    attempt: int = 1
    attempt_at: float = 0.0  # when the next attempt begins
    retried_at: float = 0.0  # when the last one failed, as it is shown
    waited: float = 0.0  # seconds between its attempts
    is_elsewhere: bool = False  # all that is known of it is what its worker has written down
    # Retries that were seen elsewhere, and of which the hooks are still to be called.
    known_retries: int = 0
    retries: list[LogLine] = field(default_factory=list)  # to be logged if it fails and is listed
    made_by: Mapping[str, UUID] = field(default_factory=dict)


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
        listed: task runs that have been made.
        counted: task runs that were only counted.
        lines: the summary, by the node's path.
        failures: the first that failed.
        failed: how many failed.
        maps: the progress of maps by scope.
        ended_by: the state in which an error has left the whole run.
    """

    def __init__(self, flow_run: FlowRunRef, reporting: Reporting) -> None:
        self._flow_run = flow_run
        self._of_flow_run = _listed_in(flow_run.flow_run or flow_run.task_run, flow_run.run_count)
        self._reporting = reporting
        self._scopes: defaultdict[CallbackContext, _Scope] = defaultdict(_Scope)
        self._unshown: dict[CallbackContext, None] = {}  # run, and are not shown as running yet
        self._elsewhere: dict[
            UUID, CallbackContext
        ] = {}  # items and their nodes in other processes
        self._is_fed = False  # whether a native task made something that the run was given
        self.listed = 0
        self.counted = 0
        self.lines: defaultdict[str, NodeLine] = defaultdict(NodeLine)
        self.failures: list[Failure] = []
        self.failed = 0
        self._of_maps: dict[str, tuple[int, int, int]] = {}
        self.maps: dict[CallbackContext, Progress] = {}
        self.ended_by: State | None = None

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
                    self._scopes[each].is_elsewhere = each.id in self._elsewhere
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
                    for other in self._elsewhere.values():
                        if other.parent is known:
                            other.adopt(ctx)
                    break
        if known is not None and known is not ctx:
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
            if self._is_listed(ctx):
                at = since if scope.attempt == 1 else max(since, scope.retried_at) + TICK
                yield self._event(ctx, RUNNING, at)

    def left_running(self) -> list[CallbackContext]:
        """Scopes that have not ended, the innermost first."""
        left = [ctx for ctx in self._scopes if ctx.ended_at is None]
        return sorted(left, key=lambda ctx: -ctx.depth)

    # -- What happened ---------------------------------------------------------------------------

    def _start(self, event: ScopeEvent) -> None:
        ctx, scope = event.ctx, self._scopes[event.ctx]
        scope.total, scope.made_by = event.total, event.made_by
        self._is_fed = self._is_fed or bool(event.made_by)
        if ctx.kind == "map" and ctx.item_index is None and (event.total or ctx not in self.maps):
            self.maps[ctx] = Progress(task_key(ctx), event.total, ctx.started_at)
        if scope.started:  # it was seen elsewhere
            return
        scope.started = True
        self._see(ctx, "ran" if ctx.kind == "node" else "")
        if _is_task_run(ctx):
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
        if self._is_listed(ctx):
            yield self._event(ctx, event.state, scope.retried_at)
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
        ctx, state = event.ctx, event.state
        if state.type == "CRASHED" and self._elsewhere:
            yield from self._lose(event)
        is_listed = self._is_listed(ctx)
        scope = self._scopes[ctx]
        if state.type != "FAILED" and event.at < scope.attempt_at:  # it was called off before that
            scope.attempt -= 1
            scope.waited -= scope.attempt_at - event.at
            scope.attempt_at = 0.0
        pipeline = _pipeline_of(ctx)
        ids = {name: inside.id for name, inside in scope.seen.items()} if is_listed else {}
        made_by: Mapping[str, UUID] | None = None
        for name in self._not_run(ctx, state):
            if not _is_apart(ctx, name):
                ids[name] = uuid4()
                if made_by is None:
                    made_by = self._made_by(ctx) if is_listed else {}
                inputs = _inputs_from(pipeline, name, ids, made_by)
                yield from self._skipped(event, name, is_listed, ids[name], inputs)
        if ctx.kind == "map" and scope.total > scope.done:
            left = f"{scope.done:,} of {scope.total:,} items had ended"
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
                path, items = ctx.hierarchy_path, _items_around(ctx)
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
        if state.type != "CRASHED" or (scope.seen and not scope.is_elsewhere):
            return names
        # It was lost with its worker, which has not told of all that it had run.
        import networkx  # takes a good part of a second

        pipeline, after = _pipeline_of(ctx), set()
        for name, inside in scope.seen.items():
            if pipeline is not None and inside.ended_at is None:
                after |= networkx.descendants(pipeline.graph, name)
        return [name for name in names if name in after]

    def _lose(self, event: ScopeEvent) -> Iterator[TaskRunEvent | LogLine]:
        """End what the lost worker of an item was running, and what it had run for that."""
        item = event.ctx
        lost = {each.id: each for each in self._elsewhere.values() if _is_below(each, item)}
        around = {**lost, item.id: item}
        done: dict[UUID, CallbackContext] = {}

        def is_there(made: CallbackContext) -> bool:
            return made.parent is not None and made.parent.id in around

        def find(reader: CallbackContext) -> None:
            for made in reader.inputs_from.values():
                if is_there(made) and made.ended_at is not None and made.id not in done:
                    find(made)
                    done[made.id] = made

        for each in lost.values():
            find(each)
        for made in done.values():
            assert made.parent is not None
            made.adopt(around[made.parent.id])
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
            self.counted += 1
            return
        self._count_listed()
        parent = ctx.id if _is_task_run(ctx) else self._flow_run.task_run
        node = None if (pipeline := _pipeline_of(ctx)) is None else pipeline.node(name)
        if isinstance(node, PipelineNode):
            shown, tags = name, self._tags("map" if node.mapped else "pipeline", ctx, name)
        else:
            shown, tags = _with_items(name, ctx), self._tags("node", ctx, name)
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
        if _is_task_run(ctx):
            if event.what == "error" or self._is_listed(ctx):
                self._count_listed()
                scope = self._scopes[ctx]
                least = max(scope.attempt_at + TICK, scope.retried_at, ctx.started_at)
                ended = max(event.at, least + TICK)
                yield self._event(ctx, state, ended, ended)
            else:
                self.counted += 1
        self._scopes.pop(ctx, None)
        self._unshown.pop(ctx, None)
        if ctx in self.maps:
            self.maps[ctx].ended = True
        if ctx.parent is not None and ctx.kind == "map_item":
            self._scopes[ctx.parent].done += 1
            if ctx.parent in self.maps:
                self.maps[ctx.parent].done += 1

    def _is_listed(self, ctx: CallbackContext) -> bool:
        """Whether a scope has a task run: it follows the innermost item that it is part of."""
        item: CallbackContext | None = ctx
        while item is not None and item.kind != "map_item":
            item = item.parent
        if item is None:
            return True
        scope = self._scopes[item]
        if scope.listed is None:
            assert item.parent is not None
            scope.listed = self._is_listed(item.parent) and self._has_room(item, item.parent)
        return scope.listed

    def _has_room(self, item: CallbackContext, around: CallbackContext) -> bool:
        limit, wanted = self._reporting.limit, self._reporting.items
        if wanted == "failures" or (limit is not None and self._of_flow_run["listed"] >= limit):
            return False
        if wanted == "all":
            return True
        assert item.item_index is not None
        scope = self._scopes[around]
        every = max(1, math.ceil(scope.total / wanted))
        if scope.spread >= wanted or item.item_index % every:
            return False
        scope.spread += 1
        return True

    def _count_listed(self) -> None:
        self.listed += 1
        self._of_flow_run["listed"] += 1

    # -- Task runs -------------------------------------------------------------------------------

    def _made_by(self, ctx: CallbackContext) -> Mapping[str, UUID]:
        """The task runs outside of a pipeline's scope, or an item's, that made its inputs."""
        scope = self._scopes.get(ctx)
        own = {} if scope is None else scope.made_by
        if ctx.kind == "map_item" and ctx.parent is not None:
            ctx = ctx.parent
        node = _node_of(ctx)
        if ctx.parent is None or not isinstance(node, PipelineNode):
            return own
        outside = {**self._made_by(ctx.parent), **self._listed_inputs(ctx)}
        inside = node.inner_inputs
        return {inside[name]: task_run for name, task_run in outside.items() if name in inside}

    def _fed(self, ctx: CallbackContext) -> dict[str, UUID]:
        """The native tasks that made inputs of a scope: it has these from outside of the run."""
        node = _node_of(ctx)
        if ctx.parent is None or node is None or ctx.kind == "map_item":
            return {}
        made_by = self._made_by(ctx.parent)
        return {name: made_by[name] for name in node.input_names if name in made_by}

    def _listed_inputs(self, ctx: CallbackContext) -> dict[str, UUID]:
        made = ctx.inputs_from.items()
        return {name: scope.id for name, scope in made if self._has_task_run(scope)}

    def _has_task_run(self, ctx: CallbackContext) -> bool:
        is_heard = ctx.kind == "node" or ctx.parent is None or not _is_apart(ctx.parent, ctx.name)
        return is_heard and self._is_listed(ctx)

    def _event(
        self, ctx: CallbackContext, state: State, at: float, ended: float | None = None
    ) -> TaskRunEvent:
        scope = self._scopes[ctx]
        inputs = self._listed_inputs(ctx)
        if self._is_fed:
            inputs = {**self._fed(ctx), **inputs}
        task_run = TaskRunInfo(
            id=ctx.id,
            name=shown_name(ctx),
            task_key=task_key(ctx),
            parent=self._box(ctx, fails=state.type in ("FAILED", "CRASHED")),
            inputs=inputs,
            tags=self._tags(ctx.kind, ctx, ctx.name),
        )
        body = task_run_event(
            self._flow_run,
            task_run,
            state,
            ctx.started_at,
            ended,
            attempt=scope.attempt,
            at=at,
            waited=scope.waited,
        )
        return TaskRunEvent(None if ended is None else ctx.id, body)

    def _box(self, ctx: CallbackContext, fails: bool) -> UUID | None:
        """The task run that a scope is shown in: one that is listed, or will be since it fails.

        Args:
            ctx: the scope.
            fails: whether it does, and so what it is in, up to a map that goes on.
        """
        above = ctx.parent
        while above is not None:
            if above.kind == "map" and fails:
                node = _node_of(above)
                fails = getattr(node, "error_handling", "raise") == "raise"
            if _is_task_run(above) and (fails or self._is_listed(above)):
                return above.id
            above = above.parent
        return self._flow_run.task_run

    def _tags(self, kind: str, ctx: CallbackContext, name: str) -> tuple[str, ...]:
        """The tags of a scope of this kind, which is or is in `ctx`."""
        own = node_tags(ctx, name) if kind == "node" else ()
        return ("hypernodes", kind.replace("_", "-"), *own, *self._flow_run.tags)


def node_tags(ctx: CallbackContext, name: str) -> tuple[str, ...]:
    """The tags that a node was given: `@node(tags=[...])`.

    Args:
        ctx: a scope of its pipeline.
        name: the node.
    """
    pipeline = _pipeline_of(ctx)
    node = None if pipeline is None else pipeline.node(name)
    return node.options.tags if isinstance(node, Node) else ()


def shown_name(ctx: CallbackContext) -> str:
    """What the task run of a scope is called: a node bears the items that it is part of.

    By its `task_run_name`, else `measure[17]`, or `measure[north]` where the item's inputs are
    short.
    """
    if ctx.kind != "node":
        return ctx.name
    return ctx.label or _with_items(ctx.name, ctx)


def _with_items(name: str, ctx: CallbackContext) -> str:
    items = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        if scope.kind == "map_item":
            items.append(f"[{in_words(scope.item_inputs) or scope.item_index}]")
        scope = scope.parent
    return name + "".join(reversed(items))


def _is_task_run(ctx: CallbackContext) -> bool:
    """Whether a scope can be a task run: a pipeline that is run by the flow is the flow run."""
    return ctx.parent is not None or ctx.kind == "map"


def _is_below(ctx: CallbackContext, other: CallbackContext) -> bool:
    above = ctx.parent
    while above is not None and above is not other:
        above = above.parent
    return above is other


def _items_around(ctx: CallbackContext) -> tuple[tuple[int, str], ...]:
    """Index and inputs of the items that a scope is part of, the outermost first."""
    found = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        if scope.kind == "map_item" and scope.item_index is not None:
            found.append((scope.item_index, in_short(scope.item_inputs)))
        scope = scope.parent
    return tuple(reversed(found))


def _pipeline_of(ctx: CallbackContext) -> Pipeline | None:
    """The pipeline that a scope belongs to, also where another process has made the scope."""
    found: Pipeline | None = ctx.pipeline
    if found is None and ctx.parent is not None:
        found = _pipeline_of(ctx.parent)
        if found is not None and found.id != ctx.current_pipeline_id:
            found = getattr(found.node(ctx.name), "pipeline", None)
    return found


def _node_of(ctx: CallbackContext) -> Node[..., Any] | PipelineNode[Pipeline] | None:
    """The node that a scope is a run of, in the pipeline of the scope around it."""
    pipeline = None if ctx.parent is None else _pipeline_of(ctx.parent)
    return None if pipeline is None else pipeline.node(ctx.name)


def _inputs_from(
    pipeline: Pipeline | None,
    name: str,
    ids: Mapping[str, UUID],
    made_by: Mapping[str, UUID],
) -> dict[str, UUID]:
    """The task run that makes each input of a node, or would have made it.

    Args:
        pipeline: what the node is in.
        name: the node's id.
        ids: the task runs of the pipeline's nodes.
        made_by: those outside of it that made its inputs.
    """
    node = None if pipeline is None else pipeline.node(name)
    if pipeline is None or node is None:
        return {}
    graph = pipeline.graph
    inputs = {each: made_by[each] for each in node.input_names if each in made_by}
    for maker in graph.predecessors(name):
        if maker in ids:
            inputs |= dict.fromkeys(graph.edges[maker, name]["names"], ids[maker])
    return inputs


def _is_apart(ctx: CallbackContext, name: str) -> bool:
    """Whether a node in a scope is a pipeline of which nothing is heard here.

    It is a flow run by itself, which Prefect shows, or it has callbacks of its own.
    """
    pipeline = _pipeline_of(ctx)
    inner = getattr(None if pipeline is None else pipeline.node(name), "pipeline", None)
    if inner is None or isinstance(inner.engine, FlowRunEngine):
        return inner is not None
    known = set(map(id, ctx.callbacks))  # a callback need not be hashable
    return inner.callbacks is not None and known.isdisjoint(map(id, inner.callbacks))


def task_key(ctx: CallbackContext, items: bool = True) -> str:
    """The path of a scope without items' numbers: the same in every run.

    Args:
        ctx: the scope.
        items: whether an item that it is part of is in the path at all.
    """
    names = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        if scope.kind != "map_item":
            names.append(scope.name)
        elif items:
            names.append("item")
        scope = scope.parent
    return "/".join(reversed(names))
