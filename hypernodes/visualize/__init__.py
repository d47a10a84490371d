"""Pictures of pipelines: Mermaid text, SVG and PNG by Graphviz, an interactive page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from hypernodes.errors import did_you_mean, listing
from hypernodes.plan import PipelineLike
from hypernodes.visualize.mermaid import mermaid
from hypernodes.visualize.model import RunRecord
from hypernodes.visualize.svg import plain_svg

__all__ = ["Format", "Picture", "mermaid", "plain_svg", "visualize"]

Format = Literal["html", "svg", "png", "mermaid", "dot"]

_SUFFIXES: dict[str, Format] = {
    ".html": "html", ".svg": "svg", ".png": "png", ".mmd": "mermaid", ".dot": "dot",
}  # fmt: skip


class Picture:
    """A picture of a pipeline, which notebooks show.

    Attributes:
        format: "html", "svg", "png", "mermaid" or "dot".
        data: the picture; bytes for "png", text for the others.
    """

    def __init__(self, format: Format, data: str | bytes) -> None:
        self.format = format
        self.data = data

    def __str__(self) -> str:
        return self.data if isinstance(self.data, str) else repr(self)

    def __repr__(self) -> str:
        unit = "characters" if isinstance(self.data, str) else "bytes"
        return f"<Picture {self.format}, {len(self.data):,} {unit}>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a file."""
        target = Path(path)
        data = self.data.encode() if isinstance(self.data, str) else self.data
        target.write_bytes(data)
        return target

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        from hypernodes.visualize.page import framed

        if self.format == "html":
            return {"text/html": framed(str(self.data), 560), "text/plain": repr(self)}
        if self.format == "png":
            return {"image/png": self.data, "text/plain": repr(self)}
        if self.format == "svg":
            return {"image/svg+xml": self.data, "text/plain": repr(self)}
        return {"text/plain": str(self.data)}


def visualize(
    pipeline: PipelineLike,
    path: str | os.PathLike[str] | None = None,
    *,
    format: Format | None = None,
    timeline: RunRecord | None = None,
    depth: int | None = None,
) -> Picture:
    """Draw a pipeline.

    Args:
        pipeline: what to draw.
        path: a file to write to; its suffix says the format where `format` does not: .html, .svg,
            .png, .mmd, .dot.
        format: "html" (the default), an interactive page that needs no network; "svg" and "png",
            by Graphviz; "mermaid" or "dot", as text.
        timeline: a record of a run, from `record()`: nodes then bear their state and time.
        depth: how many levels of nested pipelines are open. Deeper ones are one box in a picture,
            and folded at first in a page; Mermaid text has all of them.

    Raises:
        ValueError: an unknown format or suffix, or a negative depth.
        ImportError, RuntimeError: Graphviz is needed and not installed.
    """
    if depth is not None and (not isinstance(depth, int) or depth < 0):
        raise ValueError(f"depth is {depth!r}: expected 0 or more, or None")
    if format is None:
        suffix = "" if path is None else Path(path).suffix.lower()
        if path is not None and suffix not in _SUFFIXES:
            raise ValueError(
                f"{os.fspath(path)!r}: unsupported format {suffix!r}. Use {listing(_SUFFIXES)}, "
                "or pass format=..."
            )
        format = _SUFFIXES.get(suffix, "html")
    picture = Picture(format, _draw(pipeline, format, timeline, depth))
    if path is not None:
        picture.save(path)
    return picture


def _draw(
    pipeline: PipelineLike, format: Format, timeline: RunRecord | None, depth: int | None
) -> str | bytes:
    if format == "html":
        from hypernodes.visualize.page import diagram

        return diagram(pipeline, timeline, depth)
    if format == "mermaid":
        return mermaid(pipeline)
    if format not in get_args(Format):
        raise ValueError(
            f"format is {format!r}: expected {listing(get_args(Format))}."
            f"{did_you_mean(format, get_args(Format))}"
        )
    from hypernodes.visualize import graphviz

    if format == "dot":
        return str(graphviz.digraph(pipeline, timeline, depth).source)
    drawn = graphviz.draw(pipeline, format, timeline, depth)
    return drawn.decode() if format == "svg" else drawn
