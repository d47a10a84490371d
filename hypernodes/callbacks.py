"""Callbacks: hooks that are called as a run goes on.

A *scope* is one thing that starts and ends: the run of a pipeline, a map, an item of a map, the
run of a node. `CallbackContext` describes a scope to callbacks.
"""

from __future__ import annotations

import contextvars
import difflib
import inspect
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from hashlib import blake2b
from numbers import Number
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from hypernodes.errors import did_you_mean, listing
from hypernodes.node_record import NodeRecord
from hypernodes.retries import Retry

Kind = Literal["pipeline", "map", "map_item", "node"]


class ScopeInfo(NamedTuple):
    """What all scopes of one pipeline in one run share."""

    pipeline_id: str
    pipeline: Any = None
    engine: Any = None
    cache: Any = None
    callbacks: tuple[Any, ...] = ()


class CallbackContext:
    """One scope, as callbacks see it. Start and end hooks of a scope get the same object.

    Attributes:
        kind: "pipeline", "map", "map_item" or "node".
        name: the pipeline's or node's name; `name[17]` for an item of a map.
        parent: the scope around this one; None for the outermost.
        item_index: the item's place in the map that this scope is part of, or None.
        started_at: when the scope started, in seconds since the epoch.
        ended_at: when it ended, well or with an error; None before.
        record: what happened in a node's run; None before it is over, and for other scopes.
        worker: where a node's function was called, as (process id, name of the thread); None
            before it has returned, and for other kinds of scope.
        inputs_from: for a node or nested pipeline, the scope that made each input.
        node_ids: for a pipeline or an item, the nodes that it is to run, in topological order.
        item_inputs: for an item of a map, its own inputs; empty for other kinds of scope.
        label: what a run of a node with a `task_run_name` is called; else None.
        is_replayed: whether the hooks of a node that is running are called later, when its batch
            has come out: inside Daft. Only its `node_context` sees it run.
        brought_back: what `node_context`s brought back from the process that ran the node.
    """

    # Defaults of what few scopes have: on the class, so that making a scope is cheap.
    inputs_from: Mapping[str, CallbackContext] = MappingProxyType({})
    node_ids: Sequence[str] = ()
    item_inputs: Mapping[str, Any] = MappingProxyType({})
    label: str | None = None
    is_replayed: bool = False
    ended_at: float | None = None
    record: NodeRecord | None = None
    _id: uuid.UUID | None = None  # made when asked for

    def __init__(
        self,
        kind: Kind,
        name: str,
        parent: CallbackContext | None,
        around: ScopeInfo,
        item_index: int | None = None,
        inputs_from: Mapping[str, CallbackContext] | None = None,
        node_ids: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.name = name
        self.parent = parent
        self._around = around
        if parent is None:
            self.item_index = item_index
            self._store = _Store()
        else:
            self.item_index = parent.item_index if item_index is None else item_index
            self._store = parent._store
        if inputs_from:
            self.inputs_from = inputs_from
        if node_ids:
            self.node_ids = node_ids
        self.started_at = time.time()

    @property
    def worker(self) -> tuple[int, str] | None:
        """Where a node's function was called, as (process id, name of the thread)."""
        return None if self.record is None else self.record.worker

    @property
    def brought_back(self) -> tuple[Any, ...]:
        """What the callbacks' node contexts brought back from where the node ran."""
        return () if self.record is None else self.record.brought_back

    @property
    def current_pipeline_id(self) -> str:
        """Id of the pipeline that this scope belongs to."""
        return self._around.pipeline_id

    @property
    def pipeline(self) -> Any:
        """That pipeline; None where a scope is seen in a process that does not run it."""
        return self._around.pipeline

    @property
    def engine(self) -> Any:
        """The engine that runs this scope: nested pipelines without one use it."""
        return self._around.engine

    @property
    def cache(self) -> Any:
        """The cache in use, or None: nested pipelines without one use it."""
        return self._around.cache

    @property
    def callbacks(self) -> tuple[Any, ...]:
        """The callbacks in use: nested pipelines without any use them."""
        return self._around.callbacks

    @property
    def id(self) -> uuid.UUID:
        """A UUID, the same for the life of the scope.

        It is random, but for scopes of a map's items in another process: those follow from the
        scope around them, so that an item that is run again there has the same ones.
        """
        if self._id is None:
            if self.parent is not None and self._store.is_elsewhere:
                self._id = self.derived_id()
            else:
                with self._store.lock:
                    self._id = self._id or uuid.uuid4()
        return self._id

    def derived_id(self) -> uuid.UUID:
        """The id that follows from that of the scope around this one, which there must be."""
        assert self.parent is not None
        around = self.parent.id.bytes
        digest = blake2b(self.name.encode("utf-8", "replace"), key=around, digest_size=16)
        return uuid.UUID(bytes=digest.digest())

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

    def get(self, key: object, default: Any = None) -> Any:
        """A value that a callback stored for the whole execution.

        Args:
            key: what it was stored under.
            default: given back where nothing was.
        """
        return self._store.values.get(key, default)

    def set(self, key: object, value: object) -> None:
        """Store a value for the whole execution: all of its scopes share one store.

        Args:
            key: a name, or anything else that is hashable.
            value: what :meth:`get` gives back.
        """
        with self._store.lock:
            self._store.values[key] = value

    def __getstate__(self) -> dict[str, Any]:
        """Another process gets the description of the scope, and not the run's own objects."""
        around = ScopeInfo(self.current_pipeline_id)
        state = {**self.__dict__, "_id": self.id, "_around": around}
        del state["_store"]
        # The caller has those of its own items (see `dispatch.replay`); others are named by them.
        if not all(map(_is_short, self.item_inputs.values())):
            del state["item_inputs"]
        if self.record is not None:
            state["record"] = replace(self.record, error=None)  # it may be impossible to pickle
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store = _Store(True) if self.parent is None else self.parent._store

    def adopt(self, parent: CallbackContext) -> None:
        """Become a scope under `parent`, after coming back from another process."""
        self.parent = parent
        pipeline = parent.pipeline
        if pipeline is not None and pipeline.id != self.current_pipeline_id:  # nested in that one
            pipeline = getattr(pipeline.node(self.name), "pipeline", None)
        self._around = ScopeInfo(
            self.current_pipeline_id, pipeline, parent.engine, parent.cache, parent.callbacks
        )
        self._store = parent._store

    def __repr__(self) -> str:
        return f"<CallbackContext {self.kind} {self.hierarchy_path}>"


def _is_short(value: object) -> bool:
    return isinstance(value, (Number, PurePath)) or (isinstance(value, str) and len(value) <= 100)


class _Store:
    def __init__(self, is_elsewhere: bool = False) -> None:
        self.is_elsewhere = is_elsewhere
        self.lock = threading.RLock()
        self.values: dict[object, Any] = {}


ContextMaker = Callable[[CallbackContext], AbstractContextManager[Any] | None]
"""Makes the context manager that is entered around a node's function, if there is one."""


class PipelineCallback:
    """Base of callbacks: override the hooks that you need; the rest costs nothing.

    Hooks are called in the process that called the engine. A hook that raises is logged once
    and otherwise ignored. `duration`s are in seconds. Each scope that an error unwinds has
    `on_error` in place of its end hook, innermost first: `ctx.kind` says what kind of scope it
    is, `node_id` which node failed. A cached node or item only has its cached hook.
    `on_node_retry` is called when an attempt of a node has failed and another one follows.

    Attributes:
        takes_values: whether it looks at what nodes read and make. Where it does not, values of
            items in other processes are not sent for it: the hooks of these nodes may be given
            empty `inputs` and `outputs`.
    """

    takes_values: bool = True

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

        It sees what the function raises and changes nothing: its own errors are logged once and
        ignored, and one that it swallows is raised all the same. It has to be picklable, since that
        may be another process. If it has an attribute `brought_back` on exit, the hooks of the
        node's end or error find that in `ctx.brought_back`.
        """

    def node_context_maker(self, ctx: CallbackContext) -> ContextMaker | None:
        """A picklable function that does what `node_context` does, in another process.

        With it, whole items of the map `ctx` are sent to a process, which makes the scopes of their
        nodes. Where there is a `node_context` but no maker, nodes are sent one by one.
        """


AMBIENT_CALLBACKS: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar(
    "hypernodes_listening", default=()
)
"""Callbacks of every run that begins."""


@contextmanager
def listening(*callbacks: Any) -> Iterator[None]:
    """Callbacks for every run that begins in the block, beside those of its pipeline.

    Their hooks are called for nested pipelines with callbacks of their own, too. Only a pipeline
    with `callbacks=[]` has none at all.
    """
    token = AMBIENT_CALLBACKS.set((*AMBIENT_CALLBACKS.get(), *check_callbacks(callbacks)))
    try:
        yield
    finally:
        AMBIENT_CALLBACKS.reset(token)


HOOKS = tuple(name for name in vars(PipelineCallback) if name.startswith("on_"))


def overrides(callback: object, hook: str) -> bool:
    """Whether a callback has a hook of its own.

    Args:
        callback: the callback, of any class.
        hook: the hook's name.
    """
    method = getattr(callback, hook, None)
    return method is not None and (
        getattr(method, "__func__", method) is not getattr(PipelineCallback, hook)
    )


_checked: set[type] = set()


def _check_hooks(kind: type) -> None:
    """See that what looks like a hook is one, and takes what a hook is called with."""
    if kind in _checked:
        return
    for name in dir(kind):
        method = inspect.getattr_static(kind, name)
        if name not in HOOKS:
            known = ("on_node_", "on_map_", "on_pipeline_", "on_nested_")
            if name.startswith(known) or difflib.get_close_matches(name, HOOKS, 1, 0.8):
                hint = did_you_mean(name, HOOKS)
                raise TypeError(f"{kind.__name__}.{name} is no hook.{hint} Hooks: {listing(HOOKS)}")
            continue
        if not inspect.isfunction(method):
            continue
        if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
            raise TypeError(
                f"{kind.__name__}.{name} would never run: hooks are called, not awaited or "
                "iterated over. Expected a function without async and yield"
            )
        hook = inspect.signature(getattr(PipelineCallback, name))
        own = inspect.signature(method)
        try:
            own.bind(*hook.parameters)
        except TypeError:
            takes = ", ".join(own.parameters)
            raise TypeError(
                f"{kind.__name__}.{name} takes ({takes}): expected ({', '.join(hook.parameters)})"
            ) from None
    _checked.add(kind)


def check_callbacks(callbacks: object) -> tuple[Any, ...]:
    """`callbacks` as a tuple.

    Raises:
        TypeError: not a list, or something in it has no hook, one that there is not, or one that
            takes something else than it is called with.
    """
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(
            f"callbacks is of type {type(callbacks).__name__}: expected a list, callbacks=[...]"
        )
    for each in callbacks:
        if not isinstance(each, type) and any(overrides(each, hook) for hook in HOOKS):
            _check_hooks(type(each))
            continue
        if isinstance(each, PipelineCallback):
            _check_hooks(type(each))
            continue
        if isinstance(each, type):
            raise TypeError(f"callback {each.__name__} is a class: write {each.__name__}()")
        own = [name for name in dir(each) if name.startswith("on_")]
        hint = did_you_mean(own[0], HOOKS) if own else ""
        raise TypeError(
            f"{each!r:.60} is not a callback: it has none of the hooks {listing(HOOKS)}.{hint}"
        )
    return tuple(callbacks)
