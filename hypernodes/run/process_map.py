"""A map's items in another process: how they are pickled, run there, and come back."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any

from hypernodes.cache.lazy_value import CachedList, CachedValue, EntryLost
from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Hooks, ScopeEvent, StandIn, replay
from hypernodes.errors import HELD_WARNINGS, SerializationError, add_note
from hypernodes.map_over import Items, rows_of
from hypernodes.node import Node
from hypernodes.plan import PipelineLike, Plan
from hypernodes.results import FailedItem
from hypernodes.retries import Retry
from hypernodes.run import pickling
from hypernodes.run.fast_path import compiled, note_item
from hypernodes.run.lookahead import Decided
from hypernodes.run.map_run import MapJob
from hypernodes.run.resolve import Resolved
from hypernodes.run.state import RunState
from hypernodes.run.tasks import ChunkResult, Row, do_marked
from hypernodes.run.workers import drive


@dataclass(eq=False, repr=False)
class SendableMapJob(MapJob):
    """A map whose items can run in another process: `MapPayload` is what is pickled of it."""

    _payload: MapPayload | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def reduce_chunk(self, start: int, items: Sequence[Mapping[str, Any]], mark: str) -> Any:
        """What pickle makes of some items; see `object.__reduce__`.

        Args:
            start: the first one's place in the map.
            items: their inputs.
            mark: see `Task.mark`.
        """
        with self._lock:  # an executor may pickle in threads of its own
            if self._payload is None:
                try:
                    self._payload = MapPayload(self)
                except SerializationError as error:
                    return pickling.Unsendable, (error,)
        return self._payload.reduce(start, items, mark)

    def explain_local(self, error: BaseException) -> None:
        """Note why items whose node cannot be sent were not sent as a whole, if that is the reason.

        Args:
            error: what an item failed with in this process.
        """
        if isinstance(error, SerializationError) and self._payload and self._payload.local_only:
            add_note(
                error,
                "the items' nodes go to the workers one by one, and not whole items, since "
                f"{self._payload.local_only} stays in this process",
            )

    def receive(
        self, remote: RemoteRows, start: int, items: Sequence[Mapping[str, Any]]
    ) -> ChunkResult:
        """Take the results of some items from another process, and replay their events.

        Args:
            remote: what came back.
            start: the first item's place in the map.
            items: their inputs.
        """
        assert self._payload is not None
        return self._payload.receive(remote, start, items)


class MapPayload:
    """What the items of a map share, pickled once.

    Attributes:
        key: names the pickled part, so that a worker loads it once. Maps that share nothing but
            code have one key; values are loaded again for each map, because a node may change them.
        shared: the pickled part.
        callbacks: the hooks of each callback that has a stand-in.
        local_only: what cannot leave this process: a cache in memory, or a callback whose
            `node_context` cannot be pickled; else "". With it, nodes' calls alone are sent.
    """

    def __init__(self, job: MapJob) -> None:
        self._job = job
        execution = job.execution
        assert execution.ctx is not None  # the map's
        found = _Found(execution.ctx)
        settings = execution.settings
        found.add(settings.hooks, settings.cache)
        _add_nested(job.base.plan, settings.hooks, found)
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
            # A value that was changed in place is identified again over there, by its content.
            and not (changes is not None and changes.by(job.shared[name]))
        }
        outer = None if settings.cache is None else job.base.outer
        read = None if outer is None else outer.all_wanted()
        parts = {f"input {name!r}": value for name, value in job.shared.items()}
        parts |= _parts(execution.settings.pipeline)
        values = {name: value for name, value in job.shared.items() if name in plan.accepts}
        is_plain = job.compiled is not None
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

    @cached_property
    def _sources(self) -> Mapping[tuple[str, ...], Mapping[str, CallbackContext]]:
        """For each node of an item, the scopes outside of the map that made its inputs."""
        return dict(_sources_in(self._job.base, self._job.execution.settings))

    def reduce(self, start: int, items: Sequence[Mapping[str, Any]], mark: str) -> Any:
        """See `SendableMapJob.reduce_chunk`."""
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
        return pickling.remote_work(do_marked, (mark, do_items, arguments), what, parts)

    def receive(
        self, remote: RemoteRows, start: int, items: Sequence[Mapping[str, Any]]
    ) -> ChunkResult:
        """See `SendableMapJob.receive`."""
        job = self._job
        assert job.execution.scope is not None
        for message in remote.warnings:
            job.execution.settings.session.warn(message)
        scope = job.execution.scope
        replay(remote.events, self.callbacks, scope, start, items, self._sources)
        rows: list[Any] = remote.rows if remote.columns is None else rows_of(remote.columns)
        for index, (row, values) in enumerate(zip(remote.rows, items, strict=False), start):
            if type(row) is tuple:
                made, known = row
                for place, value in enumerate(made):
                    if type(value) is StoredKey:
                        again = partial(job.recompute, index, values, place)
                        made[place] = job.execution.cached_value(value.key, again)
                rows[index - start] = Row(made, known or [None] * len(made))
        return ChunkResult(rows, remote.error, remote.seconds, remote.run_locally)


def _sources_in(
    state: RunState, settings: Resolved, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, CallbackContext]]]:
    """The scopes that made inputs, as far as the state knows them; see `dispatch.replay`."""
    for step in state.plan.steps:
        if not (found := state.inputs_from(step)):
            continue
        here = (*path, step.id)
        yield here, found
        if not isinstance(step.node, Node) and not settings.hands_over(step.node):
            inner = RunState(step.inner_plan)
            state.pass_sources(step, inner)
            yield from _sources_in(inner, settings.inside(step.node), here)


def _parts(pipeline: PipelineLike, inside: str = "") -> dict[str, Any]:
    """What a pipeline, and those in it, are made of, by name: for messages."""
    parts = {f"bound input {name!r}{inside}": value for name, value in pipeline.bound.items()}
    for each in pipeline.nodes:
        if not isinstance(each, Node):
            parts |= _parts(each.pipeline, f" of pipeline {each.pipeline.name!r}")
        parts[f"node {each.name!r}{inside}"] = each
    return parts


def _has_bound(pipeline: PipelineLike) -> bool:
    """Whether the pipeline, or one nested in it, has bound values."""
    return bool(pipeline.bound) or any(
        not isinstance(each, Node) and _has_bound(each.pipeline) for each in pipeline.nodes
    )


class _Found:
    """Collects the callbacks and caches of a pipeline and of those nested in it."""

    def __init__(self, ctx: CallbackContext) -> None:
        self._ctx = ctx
        self.callbacks: list[Hooks] = []
        self.stand_ins: dict[int, StandIn] = {}
        self.local_only = ""

    def add(self, hooks: Hooks, cache: Any) -> None:
        """Add one pipeline's callbacks and cache, if it has one; see `MapPayload.local_only`."""
        if cache is not None and cache is not False and not getattr(cache, "shared", True):
            self.local_only = f"the {type(cache).__name__}"
        for each in hooks.callbacks:
            if id(each) in self.stand_ins:
                continue
            alone = hooks.of([each])
            stand_in = alone.stand_in(len(self.callbacks), self._ctx)
            if stand_in is None:
                self.local_only = f"the node_context of {type(each).__name__}"
                return
            self.stand_ins[id(each)] = stand_in
            self.callbacks.append(alone)


def _add_nested(plan: Plan, hooks: Hooks, found: _Found) -> None:
    for step in plan.steps:
        if not isinstance(step.node, Node):
            inner = step.node.pipeline
            found.add(hooks.nested(inner.callbacks or ()), inner.cache)
            _add_nested(step.inner_plan, hooks, found)


@dataclass
class StoredKey:
    """In place of a value that is in the cache: its key."""

    key: str


@dataclass
class RemoteRows:
    """The results of some items, as another process returns them.

    Attributes:
        rows: for each item done a `FailedItem`, the row's values and signatures, or a dict of
            outputs.
        error: what the item after them raised, if one did.
        seconds: how long it took.
        events: the calls of callbacks to replay.
        run_locally: the calling thread has to run the items after them.
        columns: in place of rows that are all dicts: the values of each output.
        warnings: what there is to warn of.
    """

    rows: list[Any]
    error: BaseException | None
    seconds: float
    events: list[ScopeEvent]
    run_locally: bool = False
    columns: Mapping[str, list[Any]] | None = None
    warnings: Sequence[str] = ()


class RunLocally:
    """Pickled in place of items that the calling thread has to run."""

    def __call__(self) -> ChunkResult:
        return ChunkResult(run_locally=True)


_payloads: OrderedDict[str, Any] = OrderedDict()
"""In a worker process: what the items of the last few maps share, by `MapPayload.key`."""
_payloads_lock = threading.Lock()


def do_items(
    key: str,
    shared: bytes,
    start: int,
    columns: Mapping[str, Sequence[Any]],
    count: int,
) -> pickling.Parcel:
    """Run items in a worker process.

    Args:
        key: see `MapPayload.key`.
        shared: see `MapPayload.shared`.
        start: the first item's place in the map.
        columns: for each input that is the items' own, a value for each item.
        count: how many items there are.

    Returns:
        `RemoteRows`, pickled.
    """
    items = Items(columns, count)
    with _payloads_lock:
        if key not in _payloads:
            _payloads[key] = pickling.loads(shared)
            while len(_payloads) > 4:
                _payloads.popitem(last=False)
        execution, wanted, values, signatures, how, read = _payloads[key]
    error_handling, load, is_plain, parallel_inside = how
    events: list[ScopeEvent] = []
    base = execution.state(wanted, values, signatures)
    base.outer = None if read is None else Decided(read)
    job = MapJob(execution.recording(events), base, values, error_handling, load)
    if is_plain:
        job.compiled = compiled(execution.settings.pipeline, base.plan)
    warnings: list[str] = []
    token = HELD_WARNINGS.set(warnings)
    try:
        if parallel_inside:
            workers, drive_ = execution.settings.engine.workers(execution.settings.pipeline)
            result = drive_(job.do_with(workers, start, items))
        else:
            result = job.do_whole(start, items)
        return _packed(result, events, warnings, start, wanted, job, items)
    finally:
        HELD_WARNINGS.reset(token)


def _packed(
    result: ChunkResult,
    events: list[ScopeEvent],
    warnings: Sequence[str],
    start: int,
    wanted: tuple[str, ...],
    job: MapJob,
    items: Sequence[Mapping[str, Any]],
) -> pickling.Parcel:
    is_lost = isinstance(result.error, EntryLost)
    error = None if result.error is None or is_lost else pickling.sendable_error(result.error)
    events = [(*event[:2], _sendable_arguments(event[2])) for event in events]
    remote = RemoteRows([], error, result.seconds, events, is_lost, result.columns, warnings)
    if remote.columns is None:
        for row in result.rows:
            try:
                remote.rows.append(_sendable_row(row))
            except EntryLost:
                remote.run_locally = True
                break
    try:
        return pickling.pack(remote)
    except Exception:  # only now find out which value it was: it costs a pickling of each
        rows = result.rows if remote.columns is None else rows_of(remote.columns)
        return pickling.pack(_without_culprits(remote, rows, start, wanted, job, items))


def _sendable_row(row: Any) -> Any:
    if isinstance(row, FailedItem):
        return replace(row, error=pickling.sendable_error(row.error))
    if type(row) is dict:
        return row
    values = [_sendable_value(value) for value in row.values]
    signatures = [
        None if type(value) is CachedList and not value.is_whole else signature
        for value, signature in zip(row.values, row.signatures, strict=True)
    ]
    return values, signatures if any(signatures) else None


def _without_culprits(
    remote: RemoteRows,
    rows: Sequence[Any],
    start: int,
    wanted: tuple[str, ...],
    job: MapJob,
    items: Sequence[Mapping[str, Any]],
) -> RemoteRows:
    """The rows that can be pickled, and events with texts for values.

    The first one that cannot ends the map; where that goes on, it is a failed item.
    """
    events = [
        (places, hook, tuple(map(_or_text, arguments))) for places, hook, arguments in remote.events
    ]
    made_by = {name: step.id for step in job.base.plan.steps for name, _ in step.outputs}
    sent: list[Any] = []
    for place, row in enumerate(rows):
        lost = _why_not(row, start + place, wanted)
        if lost is None:
            sent.append(_sendable_row(row))
            continue
        name, error = lost
        if job.error_handling == "raise":
            return RemoteRows(sent, error, remote.seconds, events, warnings=remote.warnings)
        index, values = start + place, dict(items[place])
        note_item(error, index, job.execution.settings.pipeline.name, values)
        sent.append(FailedItem(index, made_by.get(name), error, values))
    return replace(remote, rows=sent, columns=None, events=events)


def _why_not(
    row: Any, index: int, wanted: tuple[str, ...]
) -> tuple[str, SerializationError] | None:
    """The first output of a row that cannot be pickled, with the error; None if all can."""
    values = row.values() if type(row) is dict else getattr(row, "values", ())
    for name, value in zip(wanted, values, strict=False):
        reason = pickling.why_not(value)
        if reason is not None:
            return name, SerializationError(
                f"output {name!r} of item {index} cannot be sent back from the worker process: "
                f"{reason}"
            )
    return None


def _sendable_value(value: Any) -> Any:
    if type(value) is CachedValue:
        return StoredKey(value.key)
    return drive(value.load()) if type(value) is CachedList else value


def _sendable_arguments(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a hook, where there is an error among them."""
    if any(isinstance(each, (BaseException, Retry)) for each in arguments):
        return tuple(map(_sendable_argument, arguments))
    return arguments


def _sendable_argument(value: Any) -> Any:
    if isinstance(value, BaseException):
        return pickling.sendable_error(value)
    if isinstance(value, Retry):
        return replace(value, error=pickling.sendable_error(value.error))
    return value


def _or_text(value: Any) -> Any:
    """The value if it can be pickled, else what comes closest to it."""
    if pickling.why_not(value) is None:
        return value
    if isinstance(value, dict):
        return {name: _or_text(each) for name, each in value.items()}
    return f"<{type(value).__name__} that cannot be sent>"
