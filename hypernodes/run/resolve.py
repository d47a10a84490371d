"""What a pipeline runs with: its engine, cache and callbacks, its own or those it inherits.

A nested pipeline inherits what it does not have itself. That is resolved here, once for each
pipeline of a run, and asked nowhere else:

    engine      its own, else that of the pipeline around it
    cache       its own (`False`: none), else the one around it
    callbacks   its own (`[]`: none at all), else those around it; ambient ones are added
    workers     those of its engine, in the run's scheduler (`Workers.of`)
"""

from __future__ import annotations

import threading
from typing import Any

from hypernodes.cache.node_cache import Codes, RunCache, Warnings
from hypernodes.callbacks import AMBIENT_CALLBACKS, CallbackContext, ScopeInfo
from hypernodes.dispatch import Hooks
from hypernodes.node import Node
from hypernodes.plan import NestedNode, PipelineLike
from hypernodes.run.changed_inputs import Changes, changes_inputs
from hypernodes.run.limits import Limits


class Session:
    """What one call of an engine shares with all pipelines that are nested in it.

    Attributes:
        lock: lets one hook be called at a time, and guards what threads share.
        warn: warns of what costs the caching, once of each kind.
        changes: what nodes have changed in place; None in a run without a cache, where a changed
            value spoils nothing.
        limits: how many calls of a node run at once.

    Args:
        caller: the scope that called the engine, if one did.
    """

    def __init__(self, caller: CallbackContext | None = None) -> None:
        # An engine of another kind, for a nested pipeline, keeps to those of the run around it.
        shared = None if caller is None else caller.get(Limits)
        self.limits: Limits = Limits() if shared is None else shared
        self.lock = threading.RLock()
        self.warn = Warnings()
        self.changes: Changes | None = None
        self._codes = Codes()
        self._run_caches: dict[int, RunCache] = {}

    def run_cache(self, cache: Any) -> RunCache:
        """A cache as the session's nodes use it."""
        known = self._run_caches.get(id(cache))
        if known is None:
            known = self._run_caches[id(cache)] = RunCache(cache, self._codes, self.warn)
            self.changes = self.changes or Changes(self.lock, self.warn)
        return known


class Resolved:
    """What one pipeline of a run runs with. It never changes.

    Args:
        pipeline: the pipeline.
        engine: runs it.
        cache: holds its results; None for none.
        hooks: its callbacks.
        session: what the whole run shares.

    Attributes:
        run_cache: the cache as its nodes use it, or None.
        scope_info: what its scopes say of it.
    """

    __slots__ = (
        "_nested", "cache", "engine", "hooks", "pipeline", "run_cache", "scope_info", "session",
    )  # fmt: skip

    def __init__(
        self, pipeline: PipelineLike, engine: Any, cache: Any, hooks: Hooks, session: Session
    ) -> None:
        self.pipeline = pipeline
        self.engine = engine
        self.cache = None if cache is False else cache
        self.hooks = hooks
        self.session = session
        self.run_cache = None if self.cache is None else session.run_cache(self.cache)
        self.scope_info = ScopeInfo(
            "" if pipeline is None else pipeline.id, pipeline, engine, self.cache, hooks.callbacks
        )
        self._nested: dict[NestedNode, Resolved] = {}

    @classmethod
    def outermost(
        cls, pipeline: PipelineLike, engine: Any, caller: CallbackContext | None
    ) -> Resolved:
        """What the pipeline that an engine was called with runs with.

        Args:
            pipeline: the pipeline.
            engine: the engine.
            caller: the scope that called the engine, for a nested pipeline on an engine of
                another kind; else None.
        """
        ambient = AMBIENT_CALLBACKS.get()
        callbacks, cache = pipeline.callbacks, pipeline.cache
        if callbacks is None:
            callbacks = caller.callbacks if caller else ambient
        if cache is None and caller:
            cache = caller.cache
        session = Session(caller)
        return cls(pipeline, engine, cache, Hooks(callbacks, session.lock, ambient), session)

    def inside(self, node: NestedNode) -> Resolved:
        """What a nested pipeline runs with."""
        known = self._nested.get(node)
        if known is None:
            inner = node.pipeline
            known = self._nested[node] = Resolved(
                inner,
                self.engine if inner.engine is None else inner.engine,
                self.cache if inner.cache is None else inner.cache,
                self.hooks if inner.callbacks is None else self.hooks.nested(inner.callbacks),
                self.session,
            )
        return known

    def hands_over(self, node: NestedNode) -> bool:
        """Whether a nested pipeline is left to an engine of another kind."""
        return not is_same_kind(self.engine, node.pipeline.engine)

    def is_cached(self, node: Node[..., Any]) -> bool:
        """Whether a node's results are looked up and stored."""
        if self.run_cache is None or node.options.cache is False:
            return False
        return not changes_inputs(node)


def is_same_kind(outer: Any, inner: Any) -> bool:
    """Whether a nested pipeline's engine can be part of the outer one's run.

    Args:
        outer: the engine of the pipeline around it.
        inner: its own; None for none.
    """
    return inner is None or isinstance(inner, type(outer))
