"""`Listing`: which scopes are listed as task runs, and the events of those that are."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from hypernodes import CallbackContext, PipelineNode
from prefect_hypernodes.events import FlowRunRef, LogLine, State, TaskRunInfo, task_run_event
from prefect_hypernodes.scopes import (
    is_apart,
    is_task_run,
    node_of,
    node_tags,
    shown_name,
    task_key,
)
from prefect_hypernodes.settings import Reporting


class TaskRunEvent(NamedTuple):
    """An event to be sent, and the id of the task run that it completes, if it does."""

    completes: UUID | None
    body: dict[str, Any]


@lru_cache(maxsize=1_000)
def _listed_in(flow_run: UUID | None, run_count: int) -> Counter[str]:
    """Task runs "listed" for a flow run; exact but where it runs pipelines in several threads."""
    return Counter()


@dataclass(slots=True)
class ScopeState:
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
    is_lost: bool = False  # it ended without its worker: what that wrote down is all that is known
    # Retries that were seen elsewhere, and of which the hooks are still to be called.
    known_retries: int = 0
    retries: list[LogLine] = field(default_factory=list)  # to be logged if it fails and is listed
    made_by: Mapping[str, UUID] = field(default_factory=dict)


class Listing:
    """What is listed of a run: at most so many scopes, failures always; the rest is counted.

    Args:
        flow_run: where the task runs belong.
        reporting: how many of them are listed.

    Attributes:
        scopes: the scopes that have not ended.
        is_fed: whether a native task made something that the run was given.
        listed: task runs that have been made.
        counted: task runs that were only counted.
    """

    def __init__(self, flow_run: FlowRunRef, reporting: Reporting) -> None:
        self._flow_run = flow_run
        self._of_flow_run = _listed_in(flow_run.flow_run or flow_run.task_run, flow_run.run_count)
        self._reporting = reporting
        self.scopes: defaultdict[CallbackContext, ScopeState] = defaultdict(ScopeState)
        self.is_fed = False
        self.listed = 0
        self.counted = 0

    def is_listed(self, ctx: CallbackContext) -> bool:
        """Whether a scope has a task run: it follows the innermost item that it is part of."""
        item: CallbackContext | None = ctx
        while item is not None and item.kind != "map_item":
            item = item.parent
        if item is None:
            return True
        scope = self.scopes[item]
        if scope.listed is None:
            assert item.parent is not None
            scope.listed = self.is_listed(item.parent) and self._has_room(item, item.parent)
        return scope.listed

    def _has_room(self, item: CallbackContext, around: CallbackContext) -> bool:
        limit, wanted = self._reporting.limit, self._reporting.items
        if wanted == "failures" or (limit is not None and self._of_flow_run["listed"] >= limit):
            return False
        if wanted == "all":
            return True
        assert item.item_index is not None
        scope = self.scopes[around]
        every = max(1, math.ceil(scope.total / wanted))
        if scope.spread >= wanted or item.item_index % every:
            return False
        scope.spread += 1
        return True

    def count(self) -> None:
        """Note that a task run has been made."""
        self.listed += 1
        self._of_flow_run["listed"] += 1

    def made_by(self, ctx: CallbackContext) -> Mapping[str, UUID]:
        """The task runs outside of a pipeline's scope, or an item's, that made its inputs."""
        scope = self.scopes.get(ctx)
        own = {} if scope is None else scope.made_by
        if ctx.kind == "map_item" and ctx.parent is not None:
            ctx = ctx.parent
        node = node_of(ctx)
        if ctx.parent is None or not isinstance(node, PipelineNode):
            return own
        outside = {**self.made_by(ctx.parent), **self.listed_inputs(ctx)}
        inside = node.inner_inputs
        return {inside[name]: task_run for name, task_run in outside.items() if name in inside}

    def _fed(self, ctx: CallbackContext) -> dict[str, UUID]:
        """The native tasks that made inputs of a scope: it has these from outside of the run."""
        node = node_of(ctx)
        if ctx.parent is None or node is None or ctx.kind == "map_item":
            return {}
        made_by = self.made_by(ctx.parent)
        return {name: made_by[name] for name in node.input_names if name in made_by}

    def listed_inputs(self, ctx: CallbackContext) -> dict[str, UUID]:
        """The task runs of the scopes that made a scope's inputs, by input name."""
        made = ctx.inputs_from.items()
        return {name: scope.id for name, scope in made if self._has_task_run(scope)}

    def _has_task_run(self, ctx: CallbackContext) -> bool:
        is_heard = ctx.kind == "node" or ctx.parent is None or not is_apart(ctx.parent, ctx.name)
        return is_heard and self.is_listed(ctx)

    def event(
        self, ctx: CallbackContext, state: State, at: float, ended: float | None = None
    ) -> TaskRunEvent:
        """The event of a scope's state.

        Args:
            ctx: the scope.
            state: the state.
            at: since when it is in it, in seconds since the epoch.
            ended: when the scope ended, if that is the state.
        """
        scope = self.scopes[ctx]
        inputs = self.listed_inputs(ctx)
        if self.is_fed:
            inputs = {**self._fed(ctx), **inputs}
        task_run = TaskRunInfo(
            id=ctx.id,
            name=shown_name(ctx),
            task_key=task_key(ctx),
            parent=self._box(ctx, fails=state.type in ("FAILED", "CRASHED")),
            inputs=inputs,
            tags=self.tags(ctx.kind, ctx, ctx.name),
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
                node = node_of(above)
                fails = getattr(node, "error_handling", "raise") == "raise"
            if is_task_run(above) and (fails or self.is_listed(above)):
                return above.id
            above = above.parent
        return self._flow_run.task_run

    def tags(self, kind: str, ctx: CallbackContext, name: str) -> tuple[str, ...]:
        """The tags of a scope of this kind, which is or is in `ctx`."""
        own = node_tags(ctx, name) if kind == "node" else ()
        return ("hypernodes", kind.replace("_", "-"), *own, *self._flow_run.tags)
