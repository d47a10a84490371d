"""A timeline as a waterfall: an HTML page, or a PNG."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hypernodes.errors import needs
from hypernodes.observe.spans import Recorded, Span
from hypernodes.visualize.graphviz import COLOURS, seconds, summary
from hypernodes.visualize.page import fill


def page(timeline: Recorded, path: str | os.PathLike[str] | None, axis: float | None = None) -> str:
    """The waterfall as a self-contained page.

    Args:
        timeline: what ran.
        path: a file to write it to.
        axis: how many seconds the axis shows; by default, as many as the run took.
    """
    spans = timeline.spans
    workers = timeline.workers()
    place = {(each.process, each.thread): at for at, each in enumerate(workers)}
    data = {
        "seconds": timeline.seconds,
        "axis": axis,
        "hits": timeline.cache_hits,
        "critical": [each.id for each in timeline.critical_path()],
        "nodes": [asdict(each) | {"state": each.state} for each in timeline.nodes().values()],
        "workers": [asdict(each) for each in workers],
        "spans": [
            [
                each.parent, each.kind, each.name, round(each.start, 6), round(each.end, 6),
                each.state, each.error, None if each.worker is None else place[each.worker],
            ]
            for each in spans
        ],
    }  # fmt: skip
    return _written(fill(_title(timeline), data, "waterfall"), path)


def beside(first: Recorded, second: Recorded, path: str | os.PathLike[str] | None) -> str:
    """Two runs in one page: both waterfalls on one scale, and each node's times.

    Args:
        first: the run on the left.
        second: the run on the right.
        path: a file to write it to.
    """
    axis = max(first.seconds, second.seconds)
    left, right = first.nodes(), second.nodes()
    pairs = [(node, left.get(node), right.get(node)) for node in {**left, **right}]
    pairs.sort(key=lambda each: -max(run.seconds for run in each[1:] if run is not None))
    data = {
        "seconds": [first.seconds, second.seconds],
        "pages": [page(each, None, axis) for each in (first, second)],
        "nodes": [
            {"node": node, "first": one and asdict(one), "second": other and asdict(other)}
            for node, one, other in pairs
        ],
    }
    titles = dict.fromkeys([_title(first), _title(second)])
    return _written(fill(" and ".join(titles), data, "beside"), path)


def _title(timeline: Recorded) -> str:
    roots = dict.fromkeys(each.name for each in timeline.spans if each.parent is None)
    return ", ".join(roots) or "nothing ran"


def _written(html: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        Path(path).write_text(html, encoding="utf-8")
    return html


def picture(timeline: Recorded, path: str | os.PathLike[str] | None, most: int) -> bytes:
    """The waterfall as PNG, by matplotlib.

    Args:
        timeline: what ran.
        path: a file to write it to.
        most: at most so many rows.

    Raises:
        ValueError: `most` is less than 1.
        ImportError: matplotlib is not installed.
    """
    if most < 1:
        raise ValueError(f"rows is {most}: expected at least 1")
    needs("matplotlib", "viz", "Timeline.png")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = _rows(timeline, most)
    figure = Figure(figsize=(10, 0.9 + 0.24 * max(len(rows), 2)), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    whole = timeline.seconds or 1e-9
    critical = {each.id for each in timeline.critical_path()}
    for at, (_, spans) in enumerate(rows):
        thick = 0.66 if spans[0].kind == "node" or len(spans) > 1 else 0.24
        axes.broken_barh(
            [(each.start, max(each.seconds, whole / 1500)) for each in spans],
            (at - thick / 2, thick),
            facecolors=[COLOURS[each.state] for each in spans],
            edgecolors=["#18212d" if each.id in critical else "none" for each in spans],
            linewidth=0.8,
        )
        axes.annotate(
            _told(spans), (max(each.end for each in spans), at), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=7, color="#667385",
        )  # fmt: skip
    names = [label for label, _ in rows]
    widest = max((len(name.lstrip()) + name.count("    ") for name in names), default=0)
    axes.set_yticks(range(len(rows)), names, fontsize=8, ha="left")
    axes.tick_params(axis="y", pad=8 + 5 * widest)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, whole * 1.2)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(axis="both", length=0, labelsize=8)
    axes.grid(axis="x", color="#e3e7ec", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    hits, total = timeline.cache_hits
    axes.set_title(
        f"{total:,} nodes in {seconds(whole)}, {hits:,} from the cache", fontsize=9, loc="left"
    )
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    if path is not None:
        Path(path).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def _told(spans: Sequence[Span]) -> str:
    """How the spans of a row went, in a few words."""
    ran = [each for each in spans if each.state != "cached"]
    return summary(
        {
            "ran": len(ran),
            "seconds": sum(each.seconds for each in ran),
            "cached": len(spans) - len(ran),
            "failed": sum(each.state == "failed" for each in spans),
        }
    )


def _rows(timeline: Recorded, most: int) -> list[tuple[str, list[Span]]]:
    """Labels and spans from the top; where they are too many, one row for all runs of a node."""
    spans = timeline.spans
    children: dict[int | None, list[Span]] = {}
    for span in spans:
        children.setdefault(span.parent, []).append(span)
    rows: list[tuple[str, list[Span]]] = []

    def walk(parent: int | None, depth: int) -> None:
        """Add a row for each scope inside another one.

        Args:
            parent: its place; None for the outermost.
            depth: how far they are indented.
        """
        for span in children.get(parent, ()):
            rows.append((f"{'    ' * depth}{span.name}", [span]))
            walk(span.id, depth + 1)

    if len(spans) <= most:
        walk(None, 0)
        return rows
    merged: dict[str, list[Span]] = {}
    for span in spans:
        if span.kind != "map_item":
            merged.setdefault(span.node, []).append(span)
    return [
        (f"{'    ' * node.count('/')}{node.rpartition('/')[2]}", list(runs))
        for node, runs in sorted(merged.items(), key=lambda each: _order(each[0], merged))
    ][:most]


def _order(node: str, merged: dict[str, list[Span]]) -> tuple[float, ...]:
    """By the first starts of the scopes around and of the node itself."""
    parts = node.split("/")
    above = ["/".join(parts[: at + 1]) for at in range(len(parts))]
    return tuple(merged[each][0].start for each in above if each in merged)
