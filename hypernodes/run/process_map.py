"""A map's items on their way to another process, and what came of them on its way back."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any

from hypernodes.cache.lazy_value import CachedList, CachedValue, EntryLost
from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Hooks, ScopeEvent, StandIn, replay
from hypernodes.errors import SerializationError
from hypernodes.map_over import Items, rows_of
from hypernodes.node import Node
from hypernodes.plan import PipelineLike, Plan
from hypernodes.results import FailedItem
from hypernodes.retries import Retry
from hypernodes.run import pickling
from hypernodes.run.fast_path import compiled
from hypernodes.run.lookahead import Decided
from hypernodes.run.map_run import MapExecution, MapJob
from hypernodes.run.state import RunState
from hypernodes.run.tasks import ChunkResult, Row
from hypernodes.run.workers import drive


class SendableMapJob(MapJob):
    """A map whose items can go to another process: see `MapPayload` for what is sent of it."""

    def __init__(
        self,
        execution: MapExecution,
        base: RunState,
        shared: Mapping[str, Any],
        error_handling: str,
        load: bool,
    ) -> None:
        super().__init__(execution, base, shared, error_handling, load)
        self._payload: MapPayload | None = None
        self._lock = threading.Lock()

    def reduce_chunk(self, start: int, items: Sequence[Mapping[str, Any]]) -> Any:
        """What is sent to another process in place of some items."""
        with self._lock:  # an executor may pickle in threads of its own
            if self._payload is None:
                try:
                    self._payload = MapPayload(self)
                except SerializationError as error:
                    return pickling.Unsendable, (error,)
        return self._payload.reduce(start, items)

    def arrive(self, sent: SentRows, start: int, items: Sequence[Mapping[str, Any]]) -> ChunkResult:
        """What came of some items in another process, told to the callbacks."""
        assert self._payload is not None
        return self._payload.arrive(sent, start, items)


class MapPayload:
    """What items of a map share: what is sent of it, once pickled, and what stays behind.

    Attributes:
        key: names the shared part, so that a worker loads it once: once for several maps where it
            is code alone. Values are loaded anew for each, for a node may change them.
        shared: the pickled part.
        callbacks: the hooks of each callback that has a stand-in.
        local_only: something in it cannot be left to another process: a cache in memory, or a
            callback whose `node_context` cannot go along. The nodes are sent one by one then.
    """

    def __init__(self, job: MapJob) -> None:
        self._job = job
        execution = job.execution
        assert execution.ctx is not None  # the map's
        found = _Found(execution.ctx)
        settings = execution.settings
        found.look(settings.hooks, settings.cache)
        _look_inside(job.base.plan, settings.hooks, found)
        self.local_only = found.local_only
        self.callbacks = found.callbacks
        self.key, self.shared = "", b""
        if self.local_only:
            return
        plan, changes = job.base.plan, settings.session.changes
        signatures = {
            name: signature
            for name, slot in plan.given.items()
            if name in job.shared
            and (signature := job.base.signatures[slot]) is not None
            # There it counts by its content, as it is now.
            and not (changes is not None and changes.by(job.shared[name]))
        }
        outer = None if settings.cache is None else job.base.outer
        read = None if outer is None else outer.all_wanted()
        parts = {f"input {name!r}": value for name, value in job.shared.items()}
        parts |= _parts(execution.settings.pipeline)
        values = {name: value for name, value in job.shared.items() if name in plan.accepts}
        is_plain = job.walk is not None
        self.shared = pickling.dumps(
            (
                execution.within(None) if is_plain else execution,
                tuple(plan.returns),
                values,
                signatures,
                (job.error_handling, job.load, is_plain, job.parallel_inside),
                read,
            ),
            f"a map of pipeline {execution.settings.pipeline.name!r}",
            parts,
            found.stand_ins,
        )
        if is_plain and not values and not _has_bound(execution.settings.pipeline):
            self.key = blake2b(self.shared, digest_size=16).hexdigest()
        else:
            self.key = uuid.uuid4().hex

    def reduce(self, start: int, items: Sequence[Mapping[str, Any]]) -> Any:
        """What is sent in place of some items."""
        if self.local_only:
            return RunLocally, ()
        last = start + len(items) - 1
        what = f"item {start}" if last == start else f"items {start} to {last}"
        what += f" of a map of pipeline {self._job.execution.settings.pipeline.name!r}"
        columns = (
            items.columns
            if isinstance(items, Items)
            else {name: [item[name] for item in items] for name in items[0]}
        )
        parts = {f"input {name!r}": values for name, values in columns.items()}
        arguments = (self.key, self.shared, start, columns, len(items))
        return pickling.remote_work(do_items, arguments, what, parts)

    def arrive(self, sent: SentRows, start: int, items: Sequence[Mapping[str, Any]]) -> ChunkResult:
        """What came of some items, told to the callbacks."""
        job = self._job
        assert job.execution.scope is not None
        replay(sent.events, self.callbacks, job.execution.scope)
        rows: list[Any] = []
        if sent.columns is not None:
            rows = rows_of(sent.columns)
            return ChunkResult(rows, sent.error, sent.seconds, sent.run_locally)
        for index, (row, values) in enumerate(zip(sent.rows, items, strict=False), start):
            if type(row) is not tuple:
                rows.append(row)
                continue
            made, known = row
            for place, value in enumerate(made):
                if type(value) is StoredKey:
                    again = partial(job.again, index, values, place)
                    made[place] = job.execution.cached_value(value.key, again)
            rows.append(Row(made, known or [None] * len(made)))
        return ChunkResult(rows, sent.error, sent.seconds, sent.run_locally)


def _parts(pipeline: PipelineLike, inside: str = "") -> dict[str, Any]:
    """What a pipeline, and those in it, are made of, by name: for messages."""
    parts = {f"bound input {name!r}{inside}": value for name, value in pipeline.bound.items()}
    for each in pipeline.nodes:
        if not isinstance(each, Node):
            parts |= _parts(each.pipeline, f" of pipeline {each.pipeline.name!r}")
        parts[f"node {each.name!r}{inside}"] = each
    return parts


def _has_bound(pipeline: PipelineLike) -> bool:
    """Whether the pipeline, or one in it, has values of its own."""
    return bool(pipeline.bound) or any(
        not isinstance(each, Node) and _has_bound(each.pipeline) for each in pipeline.nodes
    )


class _Found:
    """The callbacks and caches of a pipeline and of those nested in it."""

    def __init__(self, ctx: CallbackContext) -> None:
        self._ctx = ctx
        self.callbacks: list[Hooks] = []
        self.stand_ins: dict[int, StandIn] = {}
        self.local_only = False

    def look(self, hooks: Hooks, cache: Any) -> None:
        """Note the callbacks and the cache of one of them."""
        if cache is not None and cache is not False:
            self.local_only = self.local_only or not getattr(cache, "shared", True)
        for each in hooks.callbacks:
            if id(each) in self.stand_ins:
                continue
            alone = hooks.of([each])
            stand_in = alone.stand_in(len(self.callbacks), self._ctx)
            if stand_in is None:
                self.local_only = True
                return
            self.stand_ins[id(each)] = stand_in
            self.callbacks.append(alone)


def _look_inside(plan: Plan, hooks: Hooks, found: _Found) -> None:
    for step in plan.steps:
        if not isinstance(step.node, Node):
            inner = step.node.pipeline
            found.look(hooks.nested(inner.callbacks or ()), inner.cache)
            _look_inside(step.node.plan(name for name, _ in step.outputs), hooks, found)


@dataclass
class StoredKey:
    """A value that is in the cache: only its key is sent back."""

    key: str


@dataclass
class SentRows:
    """What came of some items, as it is sent back.

    Attributes:
        rows: for each item done a `FailedItem`, or the row's values and signatures, or a dict
            of outputs.
        columns: in place of rows, where all are dicts: the values of each output.
        error: what the item after them raised, if one did.
        seconds: how long it took.
        events: what callbacks are to be told.
        run_locally: the items after them have to be taken up by the calling thread.
    """

    rows: list[Any]
    error: BaseException | None
    seconds: float
    events: list[ScopeEvent]
    run_locally: bool = False
    columns: Mapping[str, list[Any]] | None = None


class RunLocally:
    """Sent in place of items that have to be taken up by the calling thread."""

    def __call__(self) -> ChunkResult:
        return ChunkResult(run_locally=True)


_kept: OrderedDict[str, Any] = OrderedDict()
"""What items of the last few maps share, in a worker process."""
_kept_lock = threading.Lock()


def do_items(
    key: str,
    shared: bytes,
    start: int,
    columns: Mapping[str, Sequence[Any]],
    count: int,
) -> pickling.Parcel:
    """Do `count` items in another process; `columns` are the values of each of their inputs."""
    items = Items(columns, count)
    with _kept_lock:
        if key not in _kept:
            _kept[key] = pickling.loads(shared)
            while len(_kept) > 4:
                _kept.popitem(last=False)
        execution, wanted, values, signatures, how, read = _kept[key]
    error_handling, load, is_plain, parallel_inside = how
    events: list[ScopeEvent] = []
    base = execution.state(wanted, values, signatures)
    base.outer = None if read is None else Decided(read)
    job = MapJob(execution.recording(events), base, values, error_handling, load)
    if is_plain:
        job.walk = compiled(execution.settings.pipeline, base.plan)
    if parallel_inside:
        workers, drive_ = execution.settings.engine.workers(execution.settings.pipeline)
        result = drive_(job.do_with(workers, start, items))
    else:
        result = job.do_whole(start, items)
    return _send(result, events, start, wanted)


def _send(
    result: ChunkResult, events: list[ScopeEvent], start: int, wanted: tuple[str, ...]
) -> pickling.Parcel:
    gone = isinstance(result.error, EntryLost)
    error = None if result.error is None or gone else pickling.sendable_error(result.error)
    sent = SentRows([], error, result.seconds, events, gone, result.columns)
    if sent.columns is None:
        for row in result.rows:
            try:
                sent.rows.append(_sendable_row(row))
            except EntryLost:
                sent.run_locally = True
                break
    try:
        return pickling.pack(sent)
    except Exception:
        rows = result.rows if sent.columns is None else rows_of(sent.columns)
        return pickling.pack(_without_culprit(sent, rows, start, wanted))


def _sendable_row(row: Any) -> Any:
    if isinstance(row, FailedItem):
        return replace(row, error=pickling.sendable_error(row.error))
    if type(row) is dict:
        return row
    values = [_sendable_value(value) for value in row.values]
    return values, row.signatures if any(row.signatures) else None


def _without_culprit(
    sent: SentRows, rows: Sequence[Any], start: int, wanted: tuple[str, ...]
) -> SentRows:
    """What can be sent: up to the first row that cannot, and events with texts for values."""
    events = _sendable(sent.events)
    for place, row in enumerate(rows):
        values = row.values() if type(row) is dict else getattr(row, "values", ())
        for name, value in zip(wanted, values, strict=False):
            reason = pickling.why_not(value)
            if reason is not None:
                lost = SerializationError(
                    f"output {name!r} of item {start + place} cannot be sent back from the worker "
                    f"process: {reason}"
                )
                before = [_sendable_row(row) for row in rows[:place]]
                return SentRows(before, lost, sent.seconds, events)
    return replace(sent, events=events)


def _sendable_value(value: Any) -> Any:
    if type(value) is CachedValue:
        return StoredKey(value.key)
    return drive(value.load()) if type(value) is CachedList else value


def _sendable(events: list[ScopeEvent]) -> list[ScopeEvent]:
    """Events whose values can be sent; others are told as what they were."""
    told = []
    for places, hook, arguments in events:
        told.append((places, hook, tuple(_or_text(each) for each in arguments)))
    return told


def _or_text(value: Any) -> Any:
    if pickling.why_not(value) is None:
        return value
    if isinstance(value, BaseException):
        return pickling.sendable_error(value)
    if isinstance(value, Retry):
        return replace(value, error=pickling.sendable_error(value.error))
    if isinstance(value, dict):
        return {name: _or_text(each) for name, each in value.items()}
    return f"<{type(value).__name__} that cannot be sent>"
