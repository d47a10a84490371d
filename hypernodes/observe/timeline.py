"""`record()`: what ran, when and where, to be asked afterwards.

with record() as timeline:
    pipeline.map(...)
timeline.slowest()
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from hypernodes.callbacks import CallbackContext, listening
from hypernodes.observe import waterfall
from hypernodes.observe.spans import NodeSummary, Span, State, WorkerSummary
from hypernodes.retries import Retry
from hypernodes.scope_callback import ScopeCallback
from hypernodes.visualize.page import framed


class Timeline(ScopeCallback):
    """A record of what ran. :func:`record` makes one; it is a callback as well.

    It can be read at any time. It holds when and where nodes ran, and no results.

    >>> from hypernodes import Pipeline, node
    >>> double = node(lambda x: 2 * x, "y", name="double")
    >>> with record() as timeline:
    ...     results = Pipeline([double], name="sums").map({"x": [1, 2, 3]}, "x")
    >>> timeline.slowest(1)[0].node, timeline.slowest(1)[0].ran
    ('sums/double', 3)
    """

    def __init__(self) -> None:
        # Scopes in the order in which they were reported. A dict, for hooks of several runs may be
        # called at once, and its single operations are atomic.
        self._scopes: dict[CallbackContext, tuple[State, str | None]] = {}
        self._retries: Counter[CallbackContext] = Counter()
        self._spans: list[Span] = []

    # -- Hooks -----------------------------------------------------------------------------------

    def started(self, ctx: CallbackContext) -> None:
        self._scopes[ctx] = ("running", None)

    def ended(self, ctx: CallbackContext) -> None:
        self._scopes[ctx] = ("completed", None)

    def cached(self, ctx: CallbackContext, signature: str) -> None:
        self._scopes[ctx] = ("cached", None)

    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
        self._retries[ctx] += 1

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        self._scopes[ctx] = ("failed", f"{type(error).__name__}: {error}")

    # -- What it holds ---------------------------------------------------------------------------

    @property
    def spans(self) -> Sequence[Span]:
        """Every scope and every hit of the cache, by the time of their starts."""
        scopes = list(self._scopes.items())
        known = self._spans
        if len(known) < len(scopes) or any(each.state == "running" for each in known):
            known = self._spans = _spans(scopes, self._retries)
        return known

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        return max((each.end for each in self.spans), default=0.0)

    @property
    def cache_hits(self) -> tuple[int, int]:
        """How many nodes came from the cache, out of how many."""
        nodes = [each for each in self.spans if each.kind == "node"]
        return sum(each.state == "cached" for each in nodes), len(nodes)

    def __repr__(self) -> str:
        hits, total = self.cache_hits
        failed = sum(each.state == "failed" for each in self.spans if each.kind == "node")
        return (
            f"<Timeline: {total} nodes in {self.seconds:.3f} s, {hits} from the cache, "
            f"{failed} failed>"
        )

    # -- Questions -------------------------------------------------------------------------------

    def table(self) -> list[dict[str, Any]]:
        """A dict for each span."""
        return [{**asdict(each), "seconds": each.seconds} for each in self.spans]

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.table())

    def to_polars(self) -> Any:
        """The table as a Polars DataFrame."""
        import polars

        rows = self.table()
        for row in rows:
            row["worker"] = None if row["worker"] is None else "{} {}".format(*row["worker"])
        return polars.DataFrame(rows, infer_schema_length=None)

    def nodes(self, pipelines: bool = False) -> Mapping[str, NodeSummary]:
        """The runs of each node added up, in the order of first starts.

        Args:
            pipelines: include nested pipelines and maps.
        """
        runs: dict[str, list[Span]] = {}
        for span in self.spans:
            if span.kind == "node" or (pipelines and span.kind != "map_item"):
                runs.setdefault(span.node, []).append(span)
        return {node: _summary(node, spans) for node, spans in runs.items()}

    def slowest(self, count: int = 10) -> list[NodeSummary]:
        """The nodes that took the most time, all runs together."""
        return sorted(self.nodes().values(), key=lambda each: -each.seconds)[:count]

    def workers(self) -> list[WorkerSummary]:
        """What each worker did, by process and thread."""
        ran: dict[tuple[int, str], list[Span]] = {}
        for span in self.spans:
            if span.worker is not None:
                ran.setdefault(span.worker, []).append(span)
        whole = self.seconds or 1.0
        summaries = []
        for (process, thread), spans in sorted(ran.items()):
            busy = _covered(spans)
            summaries.append(WorkerSummary(process, thread, len(spans), busy, busy / whole))
        return summaries

    def critical_path(self) -> list[Span]:
        """The nodes that the run could not have been faster than, from the first to the last.

        Found backwards from the node that ended last: the one before it is, of those that made its
        inputs, the one that ended last. What waits for a worker does not count, only for data.
        """
        spans = self.spans
        children: dict[int | None, list[Span]] = {}
        for span in spans:
            children.setdefault(span.parent, []).append(span)

        def last_in(span: Span) -> Span | None:
            """The node inside a scope that ended last."""
            if span.kind == "node":
                return span
            inside = [
                node for each in children.get(span.id, ()) if (node := last_in(each)) is not None
            ]
            return max(inside, key=lambda each: each.end, default=None)

        ends = [node for root in children.get(None, ()) if (node := last_in(root)) is not None]
        at = max(ends, key=lambda each: each.end, default=None)
        path: list[Span] = []
        while at is not None:
            path.append(at)
            scope: Span | None = at
            at = None
            while scope is not None and at is None:
                sources = [
                    node for place in scope.waits_for if (node := last_in(spans[place])) is not None
                ]
                at = max(sources, key=lambda each: each.end, default=None)
                scope = None if scope.parent is None else spans[scope.parent]
        return path[::-1]

    # -- Pictures --------------------------------------------------------------------------------

    def html(
        self, path: str | os.PathLike[str] | None = None, *, beside: Timeline | None = None
    ) -> str:
        """A waterfall as a self-contained HTML page.

        Args:
            path: a file to write it to.
            beside: another run, shown to the right on the same scale, with a table of each node's
                times in both.
        """
        if beside is not None:
            return waterfall.beside(self, beside, path)
        return waterfall.page(self, path)

    def png(self, path: str | os.PathLike[str] | None = None, rows: int = 60) -> bytes:
        """A waterfall as PNG, written to `path` where one is given.

        Args:
            path: the file.
            rows: at most so many: with more, all runs of a node become one row.
        """
        return waterfall.picture(self, path, rows)

    def _repr_html_(self) -> str:
        return framed(self.html(), 420)


@contextmanager
def record() -> Iterator[Timeline]:
    """Record every run that begins in the block.

    Nested pipelines are part of it, also those with callbacks of their own; a pipeline with
    `callbacks=[]` is not.
    """
    timeline = Timeline()
    with listening(timeline):
        yield timeline


def _spans(
    scopes: list[tuple[CallbackContext, tuple[State, str | None]]],
    retries: Counter[CallbackContext],
) -> list[Span]:
    now = time.time()
    scopes = sorted(scopes, key=lambda each: (each[0].started_at, each[0].depth))
    first = scopes[0][0].started_at if scopes else 0.0
    places = {id(ctx): place for place, (ctx, _) in enumerate(scopes)}
    spans = []
    for place, (ctx, (state, error)) in enumerate(scopes):
        end = ctx.ended_at
        if end is None:
            end = now if state == "running" else ctx.started_at
        spans.append(
            Span(
                id=place,
                parent=_nearest(ctx.parent, places),
                kind=ctx.kind,
                name=ctx.name,
                node="/".join(_names(ctx)),
                item=ctx.item_index,
                start=ctx.started_at - first,
                end=end - first,
                state=state,
                error=error,
                retries=retries[ctx],
                worker=ctx.worker,
                waits_for=tuple(
                    dict.fromkeys(
                        places[id(source)]
                        for source in ctx.inputs_from.values()
                        if id(source) in places
                    )
                ),
            )
        )
    return spans


def _nearest(ctx: CallbackContext | None, places: Mapping[int, int]) -> int | None:
    """The place of the innermost scope around that was reported; a cached item's is not."""
    while ctx is not None and id(ctx) not in places:
        ctx = ctx.parent
    return None if ctx is None else places[id(ctx)]


def _names(ctx: CallbackContext) -> list[str]:
    above = [] if ctx.parent is None else _names(ctx.parent)
    return above if ctx.kind == "map_item" else [*above, ctx.name]


def _summary(node: str, spans: Sequence[Span]) -> NodeSummary:
    times = sorted(each.seconds for each in spans if each.state != "cached")
    is_node = spans[0].kind == "node"
    total = sum(times) if is_node else max(s.end for s in spans) - min(s.start for s in spans)
    counts = {state: sum(each.state == state for each in spans) for state in ("cached", "failed")}
    return NodeSummary(
        node=node,
        ran=len(times),
        cached=counts["cached"],
        failed=counts["failed"],
        retries=sum(each.retries for each in spans),
        running=sum(each.state == "running" for each in spans),
        seconds=total,
        mean=sum(times) / len(times) if times else 0.0,
        p95=times[math.ceil(0.95 * len(times)) - 1] if times else 0.0,
        longest=times[-1] if times else 0.0,
    )


def _covered(spans: Sequence[Span]) -> float:
    """Seconds that at least one of them covers."""
    covered, reached = 0.0, float("-inf")
    for span in sorted(spans, key=lambda each: each.start):
        covered += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return covered
