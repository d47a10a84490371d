"""Self-contained HTML pages: no request to any network, in a browser or in a notebook."""

from __future__ import annotations

import base64
import gzip
import json
from functools import cache
from html import escape
from importlib.resources import files

from hypernodes.plan import PipelineLike
from hypernodes.visualize.model import RunRecord, describe

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline' 'wasm-unsafe-eval'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<script type="application/json" id="data">{data}</script>
{scripts}
</body>
</html>
"""


def diagram(
    pipeline: PipelineLike, timeline: RunRecord | None = None, depth: int | None = None
) -> str:
    """The pipeline as an interactive page.

    Args:
        pipeline: what to draw.
        timeline: a record of a run: nodes then bear their state and time.
        depth: pipelines nested deeper than this are folded at first; by default, those that make
            the page hard to read.
    """
    data = {"pipeline": describe(pipeline, timeline), "depth": depth}
    graphviz = f'<script type="text/plain" id="viz">{_packed("viz.js")}</script>'
    return fill(pipeline.name, data, "diagram", graphviz)


def fill(title: str, data: object, kind: str, more: str = "") -> str:
    """A page out of our assets, with the data that its script draws.

    Args:
        title: the page's title.
        data: anything that JSON can hold.
        kind: the script and style sheet that draw it: "diagram" or "waterfall".
        more: HTML to put before the script.
    """
    # In a script element only "</" and "<!--" have a meaning, so "<" is all that needs escaping.
    held = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return _TEMPLATE.format(
        title=escape(title),
        style=_asset("page.css") + _asset(f"{kind}.css"),
        data=held,
        scripts=f"{more}<script>{_asset('page.js')}\n{_asset(f'{kind}.js')}</script>",
    )


def framed(html: str, height: int) -> str:
    """A page as a frame in another one, a notebook's.

    Args:
        html: the page.
        height: the frame's, in pixels.
    """
    return (
        f'<iframe srcdoc="{escape(html)}" sandbox="allow-scripts" '
        f'style="width:100%;height:{height}px;border:0;border-radius:8px"></iframe>'
    )


@cache
def _packed(name: str) -> str:
    return base64.b64encode(gzip.compress(_asset(name).encode(), mtime=0)).decode()


@cache
def _asset(name: str) -> str:
    return (files("hypernodes.visualize") / "assets" / name).read_text(encoding="utf-8")
