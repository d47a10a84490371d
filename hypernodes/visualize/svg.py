"""A pipeline as an SVG that needs no Graphviz: for a place that shows pictures and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from hypernodes.plan import PipelineLike
from hypernodes.visualize.model import Described, RunRecord, describe, printable

_FILLS = {
    "completed": ("#e3f5ea", "#2f9e63"), "cached": ("#e2f0fa", "#2b7fb8"),
    "failed": ("#fbe6e6", "#d14343"), "running": ("#fdf3de", "#c98a14"),
    "skipped": ("#eeeeee", "#98a2b0"), "": ("#ffffff", "#98a2b0"),
}  # fmt: skip
_CHARACTER = 7.4  # the width of one, at most, in the fonts below
_ACROSS, _DOWN, _MARGIN, _TITLE = 26.0, 40.0, 14.0, 24.0


def plain_svg(pipeline: PipelineLike, timeline: RunRecord | None = None) -> str:
    """Draw a pipeline, inputs at the top, each node below what it reads.

    Args:
        pipeline: what to draw. A nested pipeline is a box around its nodes.
        timeline: a record of a run: nodes then bear their state, and a text with their time.
    """
    described = describe(pipeline, timeline)
    pills = [_pill(each["name"]) for each in described["inputs"]]
    links = [(f"<{each['name']}", to) for each in described["inputs"] for to in each["to"]]
    boxes = [*pills, *map(_box, described["nodes"])]
    picture = _arranged(boxes, [*links, *_links(described)])
    width, height = picture.width + 2 * _MARGIN, picture.height + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Inter,Helvetica,Arial,sans-serif" '
        f'font-size="12" fill="#1c2430"><title>{escape(printable(pipeline.name))}</title>'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#98a2b0"/></marker></defs>'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>'
        f'<g transform="translate({_MARGIN} {_MARGIN})">{picture.body}</g></svg>'
    )


@dataclass
class _Box:
    """Something with a place in the picture, whose `body` is drawn from (0, 0)."""

    id: str
    width: float
    height: float
    body: str
    x: float = field(default=0.0)
    y: float = field(default=0.0)


def _pill(name: str) -> _Box:
    width = _CHARACTER * len(name) + 22
    body = _rect(width, 24, "#f4f6f8", "#c5ccd6", 12) + _text(name, width / 2, 16)
    return _Box(f"<{name}", width, 24, body)


def _box(node: Described) -> _Box:
    run = node["run"]
    fill, line = _FILLS.get(run["state"] if run else "", _FILLS[""])
    name = node["id"] + (f" for each of {', '.join(node['over'])}" if node.get("over") else "")
    note = _note(run) if run else ""
    if "inner" not in node:
        width = max(_CHARACTER * len(name), 6.4 * len(note)) + 24
        body = _rect(width, 44, fill, line, 6) + _text(name, width / 2, 19 if note else 27, "600")
        body += _text(note, width / 2, 35, dim=True) if note else ""
        return _Box(node["id"], width, 44, body)
    inner = _arranged(list(map(_box, node["inner"]["nodes"])), _links(node["inner"]))
    title = f"{name}  {note}".strip()
    width = max(inner.width, _CHARACTER * len(title)) + 2 * _MARGIN
    height = inner.height + _TITLE + 2 * _MARGIN
    across = (width - inner.width) / 2
    body = _rect(width, height, "#fafbfc", line, 8) + _text(title, width / 2, 19, "600")
    body += f'<g transform="translate({across:.1f} {_TITLE + _MARGIN})">{inner.body}</g>'
    return _Box(node["id"], width, height, body)


def _note(run: Mapping[str, Any]) -> str:
    """What a node's second line says of its runs."""
    counts = [f"{run[name]:,} {name}" for name in ("cached", "failed", "skipped") if run.get(name)]
    ran = run.get("ran", 0)
    computed = ran - run.get("failed", 0)
    if computed > 1 or (computed and counts):
        counts.insert(0, f"{computed:,} done")
    seconds = run.get("seconds", 0.0)
    return " · ".join([*counts, *([f"{seconds:.3g} s"] if ran else [])])


def _links(described: Described) -> list[tuple[str, str]]:
    return [(edge["source"], edge["target"]) for edge in described["edges"]]


def _arranged(boxes: list[_Box], links: Iterable[tuple[str, str]]) -> _Box:
    """Place boxes, which come in topological order, in rows, each below all that it hangs on."""
    by_id = {box.id: box for box in boxes}
    above: dict[str, list[str]] = {box.id: [] for box in boxes}
    for source, target in links:
        if source not in above[target]:
            above[target].append(source)
    row_of: dict[str, int] = {}
    rows: list[list[_Box]] = []
    for box in boxes:
        place = max((row_of[each] + 1 for each in above[box.id]), default=0)
        row_of[box.id] = place
        rows.extend([] for _ in range(place + 1 - len(rows)))
        rows[place].append(box)
    width = max((_width(row) for row in rows), default=0.0)
    y = 0.0
    for row in rows:
        # Below the middle of what it hangs on, so that fewer lines cross.
        row.sort(key=lambda box: _middle([by_id[each] for each in above[box.id]], width / 2))
        x = (width - _width(row)) / 2
        for box in row:
            box.x, box.y = x, y
            x += box.width + _ACROSS
        y += max(box.height for box in row) + _DOWN
    lines = (_line(by_id[source], box) for box in boxes for source in above[box.id])
    return _Box("", width, max(0.0, y - _DOWN), "".join([*lines, *_placed(boxes)]))


def _width(row: list[_Box]) -> float:
    return sum(box.width for box in row) + _ACROSS * (len(row) - 1)


def _middle(boxes: list[_Box], otherwise: float) -> float:
    return sum(box.x + box.width / 2 for box in boxes) / len(boxes) if boxes else otherwise


def _placed(boxes: list[_Box]) -> Iterator[str]:
    for box in boxes:
        yield f'<g transform="translate({box.x:.1f} {box.y:.1f})">{box.body}</g>'


def _line(source: _Box, target: _Box) -> str:
    x, y = source.x + source.width / 2, source.y + source.height
    to_x, to_y = target.x + target.width / 2, target.y - 1
    bend = (to_y - y) / 2
    return (
        f'<path d="M{x:.1f} {y:.1f}C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} '
        f'{to_x:.1f} {to_y:.1f}" fill="none" stroke="#98a2b0" marker-end="url(#a)"/>'
    )


def _rect(width: float, height: float, fill: str, line: str, round_: int) -> str:
    return (
        f'<rect width="{width:.1f}" height="{height:.0f}" rx="{round_}" fill="{fill}" '
        f'stroke="{line}"/>'
    )


def _text(text: str, x: float, y: float, weight: str = "400", dim: bool = False) -> str:
    look = ' font-size="10.5" fill="#55606e"' if dim else f' font-weight="{weight}"'
    return (
        f'<text x="{x:.1f}" y="{y:.0f}" text-anchor="middle"{look}>{escape(printable(text))}</text>'
    )
