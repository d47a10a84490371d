"""Callbacks: who is told what happens, and the scopes that make sure of it.

A *scope* is one thing that starts and ends: the run of a pipeline, a map, an item of a map, the
run of a node. `CallbackContext` describes a scope to callbacks; the `Scope` classes here are the
only code that calls a start, end or error hook, so that every start has exactly one end.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Literal

from hypernodes.attempts import Retry
from hypernodes.errors import Cancelled, did_you_mean, failing_node, listing

logger = logging.getLogger("hypernodes")

Kind = Literal["pipeline", "map", "map_item", "node"]


class CallbackContext:
    """One scope, as callbacks see it. Start and end hooks of a scope get the same object.

    Attributes:
        kind: "pipeline", "map", "map_item" or "node".
        name: the pipeline's or node's name; `name[17]` for an item of a map.
        parent: the scope around this one; None for the outermost.
        item_index: the item's place in the map that this scope is part of, or None.
        started_at: when the scope started, in seconds since the epoch.
        ended_at: when it ended, well or with an error; None before.
        worker: where a node's function was called, as (process id, name of the thread); None
            before it has returned, and for other scopes.
        current_pipeline_id: id of the pipeline that this scope belongs to.
        parent_pipeline_id: id of the pipeline around that one, or None.
        engine: the engine that runs this scope: nested pipelines without one use it.
        cache: the cache in use, or None: nested pipelines without one use it.
        callbacks: the callbacks in use: nested pipelines without any use them.
        pipeline: the pipeline that this scope belongs to; None for a scope of another process.
        inputs_from: for a node or nested pipeline, the scope that made each input.
        node_ids: for a pipeline or an item, the nodes that it is to run, in topological order.
        brought_back: what `node_context`s brought back from where the node ran.
    """

    def __init__(
        self,
        kind: Kind,
        name: str,
        parent: CallbackContext | None,
        pipeline_id: str,
        *,
        item_index: int | None = None,
        inputs_from: Mapping[str, CallbackContext] | None = None,
        node_ids: Sequence[str] = (),
        pipeline: Any = None,
        engine: Any = None,
        cache: Any = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.kind = kind
        self.name = name
        self.parent = parent
        inherited = None if parent is None else parent.item_index
        self.item_index: int | None = inherited if item_index is None else item_index
        self.current_pipeline_id = pipeline_id
        self.inputs_from: Mapping[str, CallbackContext] = inputs_from or {}
        self.node_ids = node_ids
        self.brought_back: tuple[Any, ...] = ()
        self.pipeline = pipeline
        self.engine = engine
        self.cache = cache
        self.callbacks = tuple(callbacks)
        self.started_at = time.time()
        self.ended_at: float | None = None
        self.worker: tuple[int, str] | None = None
        self._id: uuid.UUID | None = None
        self._store: _Store = _Store() if parent is None else parent._store

    @property
    def id(self) -> uuid.UUID:
        """A random UUID, the same for the life of the scope."""
        if self._id is None:  # made when asked for: most scopes never are
            with self._store.lock:
                self._id = self._id or uuid.uuid4()
        return self._id

    def identify(self, id: uuid.UUID) -> None:
        """Take the id that the scope has had elsewhere."""
        self._id = id

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the scopes from the outermost to this one."""
        return (*(self.parent.path if self.parent else ()), self.name)

    @property
    def hierarchy_path(self) -> str:
        """The path as one string, `outer/inner/node`."""
        return "/".join(self.path)

    @property
    def depth(self) -> int:
        """How many scopes are around this one."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def map_depth(self) -> int:
        """How many maps are around this scope, itself included."""
        above = 0 if self.parent is None else self.parent.map_depth
        return above + (self.kind == "map")

    @property
    def parent_pipeline_id(self) -> str | None:
        """Id of the pipeline around the current one."""
        scope = self.parent
        while scope is not None and scope.current_pipeline_id == self.current_pipeline_id:
            scope = scope.parent
        return scope.current_pipeline_id if scope is not None else None

    def get(self, key: Any, default: Any = None) -> Any:
        """A value that a callback stored for the whole execution."""
        with self._store.lock:
            return self._store.values.get(key, default)

    def set(self, key: Any, value: Any) -> None:
        """Store a value for the whole execution: every scope of it sees the same store."""
        with self._store.lock:
            self._store.values[key] = value

    def __getstate__(self) -> dict[str, Any]:
        """In another process it describes the scope; the run's own objects stay behind."""
        state = {**self.__dict__, "_id": self.id, "engine": None, "cache": None, "callbacks": ()}
        state["pipeline"] = None
        del state["_store"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store = _Store() if self.parent is None else self.parent._store

    def adopt(self, parent: CallbackContext) -> None:
        """Take the place of a scope under `parent`, after coming back from another process."""
        self.parent = parent
        self.engine, self.cache, self.callbacks = parent.engine, parent.cache, parent.callbacks
        self._store = parent._store

    def __repr__(self) -> str:
        return f"<CallbackContext {self.kind} {self.hierarchy_path}>"


class _Store:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.values: dict[Any, Any] = {}


ContextMaker = Callable[[CallbackContext], AbstractContextManager[Any] | None]
"""Makes what is entered around a node's function."""


class PipelineCallback:
    """Base of callbacks: override the hooks that you need; the rest costs nothing.

    Hooks are called in the process that called the engine. A hook that raises is logged once
    and otherwise ignored. `duration`s are in seconds. `on_error` takes the place of the end hook
    of each scope that an error unwinds, innermost first; `ctx.kind` tells which scope, `node_id`
    which node failed. A cached node or item has its cached hook alone. `on_node_retry` is told of
    each attempt of a node that failed and is followed by another one.
    """

    def on_pipeline_start(
        self, pipeline_id: str, inputs: Mapping[str, Any], ctx: CallbackContext
    ) -> None: ...
    def on_pipeline_end(
        self, pipeline_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None: ...
    def on_nested_pipeline_start(
        self, parent_id: str, child_pipeline_id: str, ctx: CallbackContext
    ) -> None: ...
    def on_nested_pipeline_end(
        self, parent_id: str, child_pipeline_id: str, duration: float, ctx: CallbackContext
    ) -> None: ...
    def on_node_start(
        self, node_id: str, inputs: Mapping[str, Any], ctx: CallbackContext
    ) -> None: ...
    def on_node_end(
        self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None: ...
    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None: ...
    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None: ...
    def on_map_start(self, total_items: int | None, ctx: CallbackContext) -> None: ...
    def on_map_item_start(self, item_index: int, ctx: CallbackContext) -> None: ...
    def on_map_item_end(self, item_index: int, duration: float, ctx: CallbackContext) -> None: ...
    def on_map_item_cached(self, item_index: int, signature: str, ctx: CallbackContext) -> None: ...
    def on_map_end(self, total_duration: float, ctx: CallbackContext) -> None: ...
    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None: ...

    def node_context(self, ctx: CallbackContext) -> AbstractContextManager[Any] | None:
        """A context manager to enter where the node's function really runs.

        It has to be picklable, since that may be another process. An attribute `brought_back`
        that it has when it has been left comes back from there: hooks that tell the node's end or
        error find it in `ctx.brought_back`.
        """

    def node_context_maker(self, ctx: CallbackContext) -> ContextMaker | None:
        """A picklable function that does what `node_context` does, in another process.

        Items of the map `ctx` go there whole, and scopes of their nodes, with their ids, are made
        there. Where there is a `node_context` but no maker, nodes are sent one by one.
        """


LISTENING: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar(
    "hypernodes_listening", default=()
)
"""Callbacks of every run that begins."""


@contextmanager
def listening(*callbacks: Any) -> Iterator[None]:
    """Callbacks for every run that begins in the block, beside those of its pipeline.

    They are told of all of it, of nested pipelines with callbacks of their own too. Only a
    pipeline with `callbacks=[]` has none at all.
    """
    token = LISTENING.set((*LISTENING.get(), *check_callbacks(callbacks)))
    try:
        yield
    finally:
        LISTENING.reset(token)


HOOKS = tuple(name for name in vars(PipelineCallback) if name.startswith("on_"))


class Hooks:
    """The hooks of some callbacks, looked up once; those that nobody overrides cost nothing.

    Nodes may run on several threads: the lock, which all hooks of a run share, lets one hook be
    called at a time.

    Args:
        callbacks: the callbacks.
        lock: the run's lock.
        listening: those of `listening`, which pipelines with callbacks of their own tell too.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        lock: threading.RLock | None = None,
        listening: Sequence[Any] = (),
    ) -> None:
        told = {id(each): each for each in (*callbacks, *listening)} if callbacks else {}
        self.callbacks = tuple(told.values())
        self.listening = tuple(listening)
        self.lock = lock or threading.RLock()
        self._methods = {
            hook: tuple(getattr(each, hook) for each in self.callbacks if _overrides(each, hook))
            for hook in (*HOOKS, "node_context")
        }
        self._blamed: set[Any] = set()

    def __bool__(self) -> bool:
        return bool(self.callbacks)

    def fire(self, hook: str, *arguments: Any) -> None:
        """Call one hook of every callback that has it."""
        for method in self._methods[hook]:
            try:
                with self.lock:
                    method(*arguments)
            except Exception:
                self._blame(method)

    def node_contexts(self, ctx: CallbackContext) -> list[AbstractContextManager[Any]]:
        """What the callbacks want to be entered around the node's function."""
        contexts = []
        for method in self._methods["node_context"]:
            try:
                context = method(ctx)
            except Exception:
                self._blame(method)
            else:
                if context is not None:
                    contexts.append(context)
        return contexts

    def stand_in(self, place: int, ctx: CallbackContext) -> StandIn | None:
        """What goes to another process in place of the callback, if it has only one.

        Args:
            place: the callback's place in a list that stays behind.
            ctx: the map whose items go there.

        Returns:
            None where the callback wants to be around each call, and cannot be there.
        """
        (callback,) = self.callbacks
        maker = None
        if self._methods["node_context"]:
            with suppress(Exception):
                maker = callback.node_context_maker(ctx)
            if maker is None:
                return None
        hooks = frozenset(hook for hook in HOOKS if _overrides(callback, hook))
        return StandIn(place, hooks, maker)

    def of(self, callbacks: Sequence[Any]) -> Hooks:
        """The hooks of other callbacks in the same run."""
        return Hooks(callbacks, self.lock)

    def nested(self, callbacks: Sequence[Any]) -> Hooks:
        """The hooks of a nested pipeline with callbacks of its own."""
        return Hooks(callbacks, self.lock, self.listening)

    def _blame(self, method: Any) -> None:
        if method not in self._blamed:
            self._blamed.add(method)
            logger.exception(
                "%r raised and is ignored; the run goes on (logged once)",
                getattr(method, "__qualname__", method),
            )


class StandIn(PipelineCallback):
    """Stands in another process for a callback that stays behind.

    Args:
        place: the callback's place in a list that stays behind with it.
        hooks: the hooks that it has.
        maker: makes what it wants to be entered around nodes, if anything.
    """

    def __init__(self, place: int, hooks: frozenset[str], maker: ContextMaker | None) -> None:
        self.place = place
        self.hooks = hooks
        if maker is not None:
            self.__dict__["node_context"] = maker


Event = tuple[tuple[int, ...], str, tuple[Any, ...]]
"""The places of callbacks, a hook, and what it is called with."""


class RecordingHooks(Hooks):
    """Hooks of stand-ins: what they would be told is written down, to be told elsewhere."""

    def __init__(
        self, callbacks: Sequence[Any], events: list[Event], listening: Sequence[Any] = ()
    ) -> None:
        super().__init__(callbacks, None, listening)
        self.events = events

    def nested(self, callbacks: Sequence[Any]) -> Hooks:
        return RecordingHooks(callbacks, self.events, self.listening)

    def fire(self, hook: str, *arguments: Any) -> None:
        places = tuple(each.place for each in self.callbacks if hook in each.hooks)
        if places:
            self.events.append((places, hook, arguments))


def replay(events: Sequence[Event], callbacks: Sequence[Hooks], scope: Scope) -> None:
    """Tell callbacks what happened elsewhere within a scope.

    Args:
        events: what was written down there.
        callbacks: the hooks of each callback that a stand-in stood in for, by place.
        scope: the scope that the events' contexts are part of.
    """
    adopted: dict[int, CallbackContext] = {}

    def adopt(ctx: CallbackContext) -> None:
        if id(ctx) not in adopted:
            adopted[id(ctx)] = ctx
            above = ctx.parent
            assert above is not None
            if above.id == scope.ctx.id:
                above = scope.ctx
            else:
                adopt(above)
            ctx.adopt(above)

    for places, hook, arguments in events:
        ctx: CallbackContext = arguments[-1]
        adopt(ctx)
        if hook.endswith("_start") or hook == "on_error":
            scope.start(ctx.started_at)
        for place in places:
            callbacks[place].fire(hook, *arguments)


def _overrides(callback: Any, hook: str) -> bool:
    method = getattr(callback, hook, None)
    return method is not None and (
        getattr(method, "__func__", method) is not getattr(PipelineCallback, hook)
    )


def check_callbacks(callbacks: object) -> tuple[Any, ...]:
    """`callbacks` as a tuple.

    Raises:
        TypeError: not a list, or something in it has no hook.
    """
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(
            f"callbacks is {callbacks!r:.60}: expected a list of callbacks, callbacks=[...]"
        )
    for each in callbacks:
        if not isinstance(each, type) and any(_overrides(each, hook) for hook in HOOKS):
            continue
        if isinstance(each, PipelineCallback):
            continue
        own = [name for name in dir(each) if name.startswith("on_")]
        hint = did_you_mean(own[0], HOOKS) if own else ""
        raise TypeError(
            f"{each!r:.60} is not a callback: it has none of the hooks {listing(HOOKS)}.{hint}"
        )
    return tuple(callbacks)


class Scope:
    """One scope: starts at most once, and ends exactly once if it has started.

    A scope starts when something in it really runs, and starts the scopes around it first: a
    map item whose nodes all come from the cache never starts.

    Args:
        hooks: who is told.
        ctx: the scope as callbacks see it.
        parent: the scope around this one in the same execution.
    """

    __slots__ = ("clock", "ctx", "hooks", "parent", "started")

    def __init__(self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None) -> None:
        self.hooks = hooks
        self.ctx = ctx
        self.parent = parent
        self.started = False
        self.clock = 0.0

    def start(self, at: float | None = None) -> None:
        """Tell that the scope starts, once, after those around it.

        Args:
            at: when it really did, in seconds since the epoch; None for now.
        """
        with self.hooks.lock:
            if self.started:
                return
            if self.parent is not None:
                self.parent.start(at)
            self.started = True
            now = time.time()
            self.ctx.started_at = now if at is None else at
            # Before it is told: else what is inside would seem to end after it.
            self.clock = time.perf_counter() - (now - self.ctx.started_at)
            self._tell_start()

    def end(self, outputs: Mapping[str, Any], duration: float | None = None) -> None:
        """Tell that the scope ended well, `duration` seconds after its start."""
        taken = time.perf_counter() - self.clock if duration is None else duration
        self.ctx.ended_at = self.ctx.started_at + taken
        self._tell_end(outputs, taken)

    def fail(self, error: BaseException) -> None:
        """Tell that `error` went through this scope."""
        if isinstance(error, Cancelled) and not self.started:
            return
        self.start()
        if self.ctx.ended_at is None:
            self.ctx.ended_at = time.time()
        self.hooks.fire("on_error", failing_node(error) or self.ctx.name, error, self.ctx)

    @contextmanager
    def unwinding(self) -> Iterator[None]:
        """Every error on the way out of the block is told as this scope's end."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise

    def _tell_start(self) -> None:
        raise NotImplementedError

    def _tell_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        raise NotImplementedError


class PipelineScope(Scope):
    """The run of a pipeline, nested or not."""

    __slots__ = ("inputs",)

    def __init__(
        self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None, inputs: Mapping[str, Any]
    ) -> None:
        super().__init__(hooks, ctx, parent)
        self.inputs = inputs

    def _tell_start(self) -> None:
        ctx = self.ctx
        if ctx.parent is None:
            self.hooks.fire("on_pipeline_start", ctx.current_pipeline_id, self.inputs, ctx)
        else:
            self.hooks.fire(
                "on_nested_pipeline_start",
                ctx.parent.current_pipeline_id,
                ctx.current_pipeline_id,
                ctx,
            )

    def end(self, outputs: Mapping[str, Any], duration: float | None = None) -> None:
        if not self.started:  # everything was cached: tell so without starting what is around
            self.parent = None
            self.start()
        super().end(outputs, duration)

    def _tell_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        ctx = self.ctx
        if ctx.parent is None:
            self.hooks.fire("on_pipeline_end", ctx.current_pipeline_id, outputs, duration, ctx)
        else:
            self.hooks.fire(
                "on_nested_pipeline_end",
                ctx.parent.current_pipeline_id,
                ctx.current_pipeline_id,
                duration,
                ctx,
            )


class MapScope(Scope):
    """A map over `total` items; None where nobody knows how many."""

    __slots__ = ("total",)

    def __init__(
        self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None, total: int | None
    ) -> None:
        super().__init__(hooks, ctx, parent)
        self.total = total

    def _tell_start(self) -> None:
        self.hooks.fire("on_map_start", self.total, self.ctx)

    def end(self, outputs: Mapping[str, Any], duration: float | None = None) -> None:
        if not self.started:
            self.parent = None
            self.start()
        super().end(outputs, duration)

    def _tell_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        self.hooks.fire("on_map_end", duration, self.ctx)


class ItemScope(Scope):
    """One item of a map."""

    __slots__ = ()

    def _tell_start(self) -> None:
        self.hooks.fire("on_map_item_start", self.ctx.item_index, self.ctx)

    def _tell_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        self.hooks.fire("on_map_item_end", self.ctx.item_index, duration, self.ctx)

    def cached(self, signature: str) -> None:
        """Tell that the whole item came from the cache."""
        self.hooks.fire("on_map_item_cached", self.ctx.item_index, signature, self.ctx)


class NodeScope(Scope):
    """The run of one node."""

    __slots__ = ("inputs", "node_id")

    def __init__(
        self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None, inputs: Mapping[str, Any]
    ) -> None:
        super().__init__(hooks, ctx, parent)
        self.inputs = inputs

    def _tell_start(self) -> None:
        self.hooks.fire("on_node_start", self.ctx.name, self.inputs, self.ctx)

    def _tell_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        self.hooks.fire("on_node_end", self.ctx.name, outputs, duration, self.ctx)

    def retry(self, retry: Retry) -> None:
        """Tell that an attempt failed and another one follows."""
        self.hooks.fire("on_node_retry", self.ctx.name, retry, self.ctx)

    def cached(self, signature: str) -> None:
        """Tell that the node's outputs came from the cache."""
        self.hooks.fire("on_node_cached", self.ctx.name, signature, self.ctx)
