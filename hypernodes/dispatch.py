"""Dispatch: scopes of a run as the engine starts and ends them, and whose hooks are called.

Only the `Scope` classes call start, end and error hooks, so that every start has exactly one end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

from hypernodes.callbacks import HOOKS, CallbackContext, ContextMaker, PipelineCallback, overrides
from hypernodes.errors import Cancelled, as_raised, failing_node
from hypernodes.node_record import NodeRecord
from hypernodes.retries import Retry

logger = logging.getLogger("hypernodes")

_NOBODY: dict[str, tuple[Any, ...]] = dict.fromkeys((*HOOKS, "node_context"), ())


class Hooks:
    """The hooks of some callbacks, looked up once; those that nobody overrides cost nothing.

    Nodes may run on several threads. All hooks of a run share a lock, so that one is called at a
    time.

    Attributes:
        enters: whether a callback may want something to be entered around a node's function.
        shows_inputs, shows_outputs: whether a callback looks at what nodes read and make.
        hears_nodes: whether one hears of nodes' starts, shows their inputs, hears of their ends,
            and shows their outputs.

    Args:
        callbacks: the callbacks.
        lock: the run's lock.
        listening: ambient callbacks (`callbacks.listening`): also called for nested pipelines
            that have callbacks of their own.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        lock: threading.RLock | None = None,
        listening: Sequence[Any] = (),
    ) -> None:
        by_id = {id(each): each for each in (*callbacks, *listening)} if callbacks else {}
        self.callbacks = tuple(by_id.values())
        self.listening = tuple(listening)
        self.lock = lock or threading.RLock()
        self._methods = (
            _NOBODY
            if not self.callbacks
            else {
                hook: tuple(getattr(each, hook) for each in self.callbacks if overrides(each, hook))
                for hook in _NOBODY
            }
        )
        self._blamed: set[Any] = set()
        # Asked for each run of a node.
        self.enters = bool(self._methods["node_context"])
        self.shows_inputs = self._shows("on_node_start")
        self.shows_outputs = self._shows("on_node_end")
        self.hears_nodes = (
            self._hears("on_node_start"),
            self.shows_inputs,
            self._hears("on_node_end"),
            self.shows_outputs,
        )

    def __bool__(self) -> bool:
        return bool(self.callbacks)

    def _hears(self, hook: str) -> bool:
        """Whether a callback has this hook."""
        return bool(self._methods[hook])

    def _shows(self, hook: str) -> bool:
        """Whether a callback looks at the values that this hook is given."""
        return self._hears(hook)  # they are here: to ask would cost more than to hand them over

    def fire(self, hook: str, *arguments: Any) -> None:
        """Call one hook of every callback that has it."""
        for method in self._methods[hook]:
            with self.lock:
                self.guarded(method, *arguments)

    def methods(self, hook: str) -> Sequence[Callable[..., object]]:
        """One hook of every callback that has it; see `guarded`.

        Args:
            hook: the hook's name.
        """
        return self._methods[hook]

    def guarded(self, method: Callable[..., object], *arguments: object) -> None:
        """Call a callback's hook while `lock` is held; it raises nothing.

        Args:
            method: the hook.
            *arguments: what it is given.
        """
        try:
            method(*arguments)
        except Exception:
            self.blame(method)

    def node_contexts(self, ctx: CallbackContext) -> list[AbstractContextManager[Any]]:
        """The context managers to enter around the node's function."""
        contexts = []
        for method in self._methods["node_context"]:
            try:
                context = method(ctx)
            except Exception:
                self.blame(method)
            else:
                if context is not None:
                    contexts.append(context)
        return contexts

    def stand_in(self, place: int, ctx: CallbackContext) -> StandIn | None:
        """What is sent to another process in place of the callback, where there is just one.

        Args:
            place: the callback's place in the caller's list.
            ctx: the map whose items are sent.

        Returns:
            None where the callback has a context for each node that cannot be made there.
        """
        (callback,) = self.callbacks
        maker = None
        if self._methods["node_context"]:
            with suppress(Exception):
                maker = callback.node_context_maker(ctx)
            if maker is None:
                return None
        hooks = frozenset(hook for hook in HOOKS if overrides(callback, hook))
        return StandIn(place, hooks, getattr(callback, "takes_values", True), maker)

    def of(self, callbacks: Sequence[Any]) -> Hooks:
        """The hooks of other callbacks in the same run."""
        return Hooks(callbacks, self.lock)

    def nested(self, callbacks: Sequence[Any]) -> Hooks:
        """The hooks of a nested pipeline with callbacks of its own."""
        return Hooks(callbacks, self.lock, self.listening)

    def blame(self, method: object) -> None:
        """Log, once, what a hook has raised.

        Args:
            method: the hook.
        """
        if method not in self._blamed:
            self._blamed.add(method)
            logger.exception(
                "%r raised and is ignored; the run goes on (logged once)",
                getattr(method, "__qualname__", method),
            )


class StandIn(PipelineCallback):
    """Stands for a callback in another process: the callback itself stays with the caller.

    Args:
        place: the callback's place in the caller's list.
        hooks: the hooks that it has.
        takes_values: whether they look at what nodes read and make.
        maker: makes its context managers for nodes, if it has any.
    """

    def __init__(
        self, place: int, hooks: frozenset[str], takes_values: bool, maker: ContextMaker | None
    ) -> None:
        self.place = place
        self.hooks = hooks
        self.takes_values = takes_values
        if maker is not None:
            self.__dict__["node_context"] = maker


ScopeEvent = tuple[tuple[int, ...], str, tuple[Any, ...]]
"""The places of callbacks, a hook, and what it is called with."""


class RecordingHooks(Hooks):
    """Hooks of stand-ins: calls are recorded, for the caller's process to `replay`."""

    def __init__(
        self, callbacks: Sequence[Any], events: list[ScopeEvent], listening: Sequence[Any] = ()
    ) -> None:
        super().__init__(callbacks, None, listening)
        self.events = events

    def nested(self, callbacks: Sequence[Any]) -> Hooks:
        return RecordingHooks(callbacks, self.events, self.listening)

    def _hears(self, hook: str) -> bool:
        return any(hook in each.hooks for each in self.callbacks)

    def _shows(self, hook: str) -> bool:
        return any(hook in each.hooks and each.takes_values for each in self.callbacks)

    def fire(self, hook: str, *arguments: object) -> None:
        places = tuple(each.place for each in self.callbacks if hook in each.hooks)
        if places:
            self.events.append((places, hook, arguments))


def replay(
    events: Sequence[ScopeEvent],
    callbacks: Sequence[Hooks],
    scope: Scope,
    start: int,
    items: Sequence[Mapping[str, Any]],
    sources: Mapping[tuple[str, ...], Mapping[str, CallbackContext]],
) -> None:
    """Tell callbacks what happened elsewhere to some items of a map.

    Args:
        events: what was recorded there.
        callbacks: the hooks of each callback that had a stand-in, by place.
        scope: the map, which the events' contexts are part of.
        start: the first item's place in the map.
        items: the items' inputs.
        sources: for each node, the scopes outside of the map that made its inputs; by the node's
            id after those of the nested pipelines around it.
    """
    adopted: dict[int, tuple[CallbackContext, tuple[str, ...]]] = {}

    def adopt(ctx: CallbackContext) -> tuple[str, ...]:
        """Hang a context, and those above it, below this process's scope.

        Returns:
            Its place in `sources`.
        """
        if id(ctx) not in adopted:
            path: tuple[str, ...] = ()
            above = ctx.parent
            assert above is not None
            if above.id == scope.ctx.id:
                above = scope.ctx
                if ctx.item_index is not None:
                    ctx.item_inputs = items[ctx.item_index - start]
            else:
                path = adopt(above)
                if ctx.kind != "map_item":
                    path = (*path, ctx.name)
                    if outside := sources.get(path):
                        ctx.inputs_from = {**outside, **ctx.inputs_from}
            ctx.adopt(above)
            adopted[id(ctx)] = ctx, path
        return adopted[id(ctx)][1]

    for places, hook, arguments in events:
        ctx: CallbackContext = arguments[-1]
        adopt(ctx)
        if hook.endswith("_start") or hook == "on_error":
            scope.backdate(ctx.started_at)
            scope.start(ctx.started_at)
        for place in places:
            callbacks[place].fire(hook, *arguments)


class Scope:
    """One scope: starts at most once, and ends exactly once if it has started.

    A scope starts when something in it really runs, and starts the scopes around it first: a
    map item whose nodes all come from the cache never starts.

    Args:
        hooks: the hooks to call.
        ctx: the scope as callbacks see it.
        parent: the scope around this one in the same execution.

    Attributes:
        spared: whether a node in it did not run, thanks to the cache.
    """

    __slots__ = ("_late", "clock", "ctx", "hooks", "parent", "spared", "started")

    def __init__(self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None) -> None:
        self.hooks = hooks
        self.ctx = ctx
        self.parent = parent
        self.started = False
        self.spared = False
        self.clock = 0.0
        self._late: list[Scope] = []

    def start(self, at: float | None = None) -> None:
        """Start the scope, once, after those around it.

        Args:
            at: when it really did, in seconds since the epoch; None for now.
        """
        with self.hooks.lock:
            if self.started:
                return
            parent = self.parent
            if parent is not None and not parent.started:
                parent.start(at)
            self.started = True
            now = time.time()
            if at is not None and parent is not None:
                at = max(at, parent.ctx.started_at)
            self.ctx.started_at = started_at = now if at is None else at
            # Before the hooks: with their time left out, scopes inside would seem to end later.
            self.clock = time.perf_counter() - (now - started_at)
            self._fire_start()
            self._tell_late()

    def backdate(self, at: float) -> None:
        """Let it begin no later than something in it, of which one hears afterwards.

        Args:
            at: when that began, in seconds since the epoch.
        """
        scope: Scope | None = self
        while scope is not None and not (scope.started and scope.ctx.started_at <= at):
            with scope.hooks.lock:
                if scope.started:  # else it is going to start then
                    scope.clock -= scope.ctx.started_at - at
                    scope.ctx.started_at = at
            scope = scope.parent

    def spare(self) -> None:
        """Note that a node in it does not run, thanks to the cache."""
        scope: Scope | None = self
        while scope is not None and not scope.spared:
            scope.spared = True
            scope = scope.parent

    def end(self, outputs: Mapping[str, Any], duration: float | None = None) -> None:
        """End the scope well.

        Args:
            outputs: what it made, by name.
            duration: seconds since its start, where they were measured elsewhere.
        """
        if not self.started:
            if self._is_late():
                return
            self.start()
        taken = time.perf_counter() - self.clock if duration is None else duration
        self.ctx.ended_at = self.ctx.started_at + taken
        self._fire_end(outputs, taken)

    def _is_late(self) -> bool:
        """Whether it ends before the scope around it starts, and is told of with that.

        Nothing in it ran. Where that is so of all around it, and some came from the cache, that
        never starts.
        """
        if self.parent is None or self.parent.started:
            return False
        with self.hooks.lock:
            if self.parent.started:
                return False
            self.parent._late.append(self)
            return True

    def _tell_late(self) -> None:
        """Tell of the scopes inside that have ended before."""
        for scope in self._late:
            scope.parent = None
            scope.start()
            scope.end({}, 0.0)
        self._late.clear()

    def fail(self, error: BaseException) -> None:
        """End the scope with the error that unwinds it."""
        if isinstance(error, Cancelled) and not self.started:
            return
        error = as_raised(error)
        self.start()
        if self.ctx.ended_at is None:
            self.ctx.ended_at = time.time()
        self.hooks.fire("on_error", failing_node(error) or self.ctx.name, error, self.ctx)

    def __enter__(self) -> Scope:
        """An error that leaves the block ends the scope."""
        return self

    # Not `contextlib.contextmanager`: it sets `__traceback__`, which a frozen error refuses.
    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.fail(error)

    def _fire_start(self) -> None:
        raise NotImplementedError

    def _fire_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        raise NotImplementedError


class PipelineScope(Scope):
    """The run of a pipeline, nested or not."""

    __slots__ = ("inputs",)

    def __init__(
        self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None, inputs: Mapping[str, Any]
    ) -> None:
        super().__init__(hooks, ctx, parent)
        self.inputs = inputs

    def _fire_start(self) -> None:
        ctx = self.ctx
        if ctx.parent is None:
            # A copy: the caller has the dict, too.
            self.hooks.fire("on_pipeline_start", ctx.current_pipeline_id, dict(self.inputs), ctx)
        else:
            self.hooks.fire(
                "on_nested_pipeline_start",
                ctx.parent.current_pipeline_id,
                ctx.current_pipeline_id,
                ctx,
            )

    def _fire_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        ctx = self.ctx
        if ctx.parent is None:
            made = dict(outputs)
            self.hooks.fire("on_pipeline_end", ctx.current_pipeline_id, made, duration, ctx)
        else:
            self.hooks.fire(
                "on_nested_pipeline_end",
                ctx.parent.current_pipeline_id,
                ctx.current_pipeline_id,
                duration,
                ctx,
            )


class MapScope(Scope):
    """A map over `total` items; None where their number is not known."""

    __slots__ = ("total",)

    def __init__(
        self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None, total: int | None
    ) -> None:
        super().__init__(hooks, ctx, parent)
        self.total = total

    def _fire_start(self) -> None:
        self.hooks.fire("on_map_start", self.total, self.ctx)

    def _fire_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        self.hooks.fire("on_map_end", duration, self.ctx)


class ItemScope(Scope):
    """One item of a map."""

    __slots__ = ()

    @property
    def is_cached(self) -> bool:
        """Whether all of it came from the cache; not if there was nothing to run or to find."""
        return self.spared and not self.started

    def _fire_start(self) -> None:
        self.hooks.fire("on_map_item_start", self.ctx.item_index, self.ctx)

    def _fire_end(self, outputs: Mapping[str, Any], duration: float) -> None:
        self.hooks.fire("on_map_item_end", self.ctx.item_index, duration, self.ctx)

    def cached(self, signature: str) -> None:
        """Report that the whole item came from the cache."""
        self._tell_late()
        self.hooks.fire("on_map_item_cached", self.ctx.item_index, signature, self.ctx)


class NodeScope(Scope):
    """The run of one node."""

    __slots__ = ("inputs",)

    # Starting and ending are written out: they are a good part of what a callback costs.

    def __init__(
        self, hooks: Hooks, ctx: CallbackContext, parent: Scope | None, inputs: Mapping[str, Any]
    ) -> None:
        self.hooks = hooks
        self.ctx = ctx
        self.parent = parent
        self.started = False
        self.inputs = inputs

    def start(self, at: float | None = None) -> None:
        # One thread at a time has a node's scope: what others may start as well is around it.
        if self.started:
            return
        parent = self.parent
        if parent is not None and not parent.started:
            parent.start(at)
        self.started = True
        self.ctx.started_at = time.time() if at is None else at
        self.hooks.fire("on_node_start", self.ctx.name, self.inputs, self.ctx)

    def catch_up(self, record: NodeRecord) -> None:
        """Report what happened while the call took place elsewhere."""
        ctx = self.ctx
        ctx.record = record
        if not self.started:
            if self.parent is not None:
                self.parent.backdate(record.started_at)
            self.start(record.started_at)
            for retry in record.retries:
                self.retry(retry)
        if record.outcome == "failed":
            ctx.ended_at = record.started_at + record.duration

    def end(self, outputs: Mapping[str, Any], duration: float | None = None) -> None:
        ctx = self.ctx
        assert duration is not None
        ctx.ended_at = ctx.started_at + duration
        self.hooks.fire("on_node_end", ctx.name, outputs, duration, ctx)

    def retry(self, retry: Retry) -> None:
        """Report that an attempt failed and another one follows."""
        self.hooks.fire("on_node_retry", self.ctx.name, retry, self.ctx)

    def cached(self, signature: str) -> None:
        """Report that the node's outputs came from the cache."""
        self.hooks.fire("on_node_cached", self.ctx.name, signature, self.ctx)
