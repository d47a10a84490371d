"""What a record of runs is made of: spans, and the sums over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from hypernodes.callbacks import Kind

State = Literal["running", "completed", "cached", "failed"]


@dataclass(frozen=True)
class Span:
    """One scope of a run, or one hit of the cache.

    Attributes:
        id: its place in `Timeline.spans`.
        parent: the place of the scope around it; None for the outermost.
        kind: "pipeline", "map", "map_item" or "node".
        name: the pipeline's or node's name; `name[17]` for an item of a map.
        node: the names from the outermost pipeline to this scope, without items: the same for
            every run of a node.
        item: the index in the map that it is part of, or None.
        start: when it started, in seconds after the first one.
        end: when it ended; for what is running, when the timeline was asked.
        state: "running", "completed", "cached" or "failed".
        error: what it failed with, as text.
        retries: how often a node was tried again.
        worker: where a node ran: the process's id and the thread's name.
        waits_for: places of the scopes that made its inputs.
    """

    id: int
    parent: int | None
    kind: Kind
    name: str
    node: str
    item: int | None
    start: float
    end: float
    state: State
    error: str | None
    retries: int
    worker: tuple[int, str] | None
    waits_for: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True)
class NodeSummary:
    """All runs of one node.

    Attributes:
        node: the names from the outermost pipeline to the node.
        ran: how often it ran, failures included.
        cached: how often it came from the cache.
        failed: how often it failed.
        retries: how often it was tried again.
        running: how often it has started and not ended.
        seconds: all runs together; a nested pipeline's from the first start to the last end.
        mean, p95, longest: of a single run, in seconds.
    """

    node: str
    ran: int
    cached: int
    failed: int
    retries: int
    running: int
    seconds: float
    mean: float
    p95: float
    longest: float

    @property
    def state(self) -> State:
        """In one word: the worst that is true of one of its runs."""
        if self.failed:
            return "failed"
        if self.running:
            return "running"
        return "completed" if self.ran else "cached"


@dataclass(frozen=True)
class WorkerSummary:
    """What one worker did.

    Attributes:
        process: the process's id.
        thread: the thread's name.
        nodes: how many nodes it ran.
        seconds: how long at least one of them was running.
        busy: the same as a part of the whole time.
    """

    process: int
    thread: str
    nodes: int
    seconds: float
    busy: float


class Recorded(Protocol):
    """A record of runs, as pictures read it; `hypernodes.Timeline` is one, see there."""

    @property
    def spans(self) -> Sequence[Span]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def cache_hits(self) -> tuple[int, int]: ...
    def nodes(self, pipelines: bool = False) -> Mapping[str, NodeSummary]: ...
    def workers(self) -> list[WorkerSummary]: ...
    def critical_path(self) -> list[Span]: ...
