"""A pipeline drawn by Graphviz, as SVG or PNG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from hypernodes.errors import needs
from hypernodes.plan import PipelineLike
from hypernodes.visualize.model import Described, RunRecord, describe, printable

if TYPE_CHECKING:
    import graphviz


COLOURS = {
    "completed": "#2f9e63",
    "cached": "#2b7fb8",
    "failed": "#d14343",
    "running": "#c98a14",
}
_INK, _DIM, _LINE = "#1c2430", "#6b7685", "#98a2b0"
_FONT = "Helvetica,Arial,sans-serif"


def draw(
    pipeline: PipelineLike, format: str, timeline: RunRecord | None = None, depth: int | None = None
) -> bytes:
    """The picture as bytes.

    Args:
        pipeline: what to draw.
        format: "svg", "png" or another one that Graphviz writes.
        timeline: a record of a run: nodes then bear their state and time.
        depth: pipelines nested deeper than this are drawn as one box.

    Raises:
        ImportError: the Python package is missing.
        RuntimeError: the program `dot` is.
    """
    graph = digraph(pipeline, timeline, depth)
    import graphviz

    try:
        picture: bytes = graph.pipe(format=format)
    except graphviz.ExecutableNotFound:
        raise RuntimeError(
            "Graphviz's program 'dot' is not installed: `apt-get install graphviz`, "
            "`brew install graphviz` or https://graphviz.org/download. "
            "format='html' and format='mermaid' do without it."
        ) from None
    return picture


def digraph(
    pipeline: PipelineLike, timeline: RunRecord | None = None, depth: int | None = None
) -> graphviz.Digraph:
    """The picture as a `graphviz.Digraph`, whose `source` is text in the DOT language.

    Args:
        pipeline: what to draw.
        timeline: a record of a run: nodes then bear their state and time.
        depth: pipelines nested deeper than this are drawn as one box.

    Raises:
        ImportError: the Python package is missing.
    """
    needs("graphviz", "viz", "a picture by Graphviz")
    import graphviz

    graph = graphviz.Digraph(
        _plain(pipeline.name),
        graph_attr={"rankdir": "TB", "nodesep": "0.3", "ranksep": "0.5", "fontname": _FONT},
        node_attr={"fontname": _FONT, "fontsize": "11", "fontcolor": _INK, "color": _LINE},
        edge_attr={
            "fontname": _FONT, "fontsize": "9", "fontcolor": _DIM, "color": _LINE,
            "arrowsize": "0.6",
        },
    )  # fmt: skip
    drawing, drawn = _Drawing(), describe(pipeline, timeline)
    _, makes = drawing.pipeline(graph, drawn, depth)
    drawing.outputs(graph, drawn, makes)
    return graph


class _Drawing:
    """Draws pipelines into a graph. Ids are numbers, since Graphviz reads `a:b` as a port."""

    def __init__(self) -> None:
        self._count = 0

    def _id(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def pipeline(
        self, graph: graphviz.Digraph, drawn: Described, depth: int | None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Draw a pipeline and those nested in it.

        Args:
            graph: what to draw into.
            drawn: the pipeline, from `model.describe`.
            depth: how many more levels are opened; None for all.

        Returns:
            The ids that its inputs come in at and its outputs go out of, by name.
        """
        takes: dict[str, dict[str, str]] = {}
        makes: dict[str, str] = {}
        for node in drawn["nodes"]:
            inner = node.get("inner")
            if inner is None or depth == 0:
                key = self._id()
                graph.node(key, label=_label(node), **_shape(node))
                takes[node["id"]] = {each["name"]: key for each in node["inputs"]}
                makes.update({each["name"]: key for each in node["outputs"]})
                continue
            title = node["id"] + (
                f" · for each of {', '.join(node['over'])}" if node["over"] else ""
            )
            state = (node["run"] or {}).get("state")
            with graph.subgraph(
                name=f"cluster_{self._id()}",
                graph_attr={
                    "label": _plain(title), "labeljust": "l", "style": "rounded,filled",
                    "fillcolor": "#f4f6f9", "color": COLOURS.get(state or "", "#c6cdd7"),
                    "fontsize": "11", "fontcolor": _DIM, "margin": "12",
                },
            ) as cluster:  # fmt: skip
                ins, outs = self.pipeline(cluster, inner, None if depth is None else depth - 1)
            renamed = node["renamed"]
            takes[node["id"]] = {
                each["name"]: ins[renamed.get(each["name"], each["name"])]
                for each in node["inputs"]
            }
            makes.update(
                {
                    each["name"]: outs[renamed.get(each["name"], each["name"])]
                    for each in node["outputs"]
                }
            )
        for edge in drawn["edges"]:
            text = edge["name"] + (f": {edge['type']}" if edge["type"] else "")
            graph.edge(
                makes[edge["name"]],
                takes[edge["target"]][edge["name"]],
                label=_plain(f" {text} "),
            )
        entries: dict[str, str] = {}
        for each in (*drawn["inputs"], *drawn["bound"]):
            key = entries[each["name"]] = self._id()
            text = each["name"] + (f": {each['type']}" if each["type"] else "")
            if each["default"] is not None:
                text += f" = {each['default']}"
            graph.node(
                key, label=_plain(text), shape="box", style="rounded,dashed,filled",
                fillcolor="#ffffff", fontcolor=_DIM, height="0.3", margin="0.12,0.04",
            )  # fmt: skip
            for target in each["to"]:
                graph.edge(key, takes[target][each["name"]], style="dashed")
        return entries, makes

    def outputs(self, graph: graphviz.Digraph, drawn: Described, makes: Mapping[str, str]) -> None:
        """Draw what the outermost pipeline makes.

        Args:
            graph: what to draw into.
            drawn: the pipeline, from `model.describe`.
            makes: the ids that its outputs go out of, by name.
        """
        for each in drawn["outputs"]:
            key = self._id()
            text = each["name"] + (f": {each['type']}" if each["type"] else "")
            graph.node(
                key, label=_plain(text), shape="box", style="rounded,filled", fillcolor="#e3ebf7",
                color="#8aa6d1", height="0.3", margin="0.12,0.04",
            )  # fmt: skip
            graph.edge(makes[each["name"]], key)


def _shape(node: Described) -> dict[str, str]:
    state = (node["run"] or {}).get("state", "")
    shape = {
        "shape": "box",
        "style": "rounded,filled",
        "fillcolor": "#ffffff",
        "color": COLOURS.get(state, _LINE),
        "penwidth": "1.6" if state else "1",
        "margin": "0.16,0.08",
        "tooltip": _plain(node.get("doc") or node["id"]),
    }
    return {**shape, "peripheries": "2"} if "inner" in node else shape


def _plain(text: str) -> str:
    """A text as it is: Graphviz takes `<b>` for markup, and `\\G` for the graph's name."""
    import graphviz

    plain: str = graphviz.escape(printable(text))
    return plain


def _markup(text: str) -> str:
    """The same between tags, where a backslash is an escape as well."""
    return escape(printable(text)).replace("\\", r"\\")


def _label(node: Described) -> str:
    lines = [f"<B>{_markup(node['id'])}</B>"]
    run = node["run"]
    if run is not None:
        text = summary(run)
        colour = COLOURS.get(run["state"], _DIM)
        lines.append(f'<FONT POINT-SIZE="9" COLOR="{colour}">{_markup(text)}</FONT>')
    return f"<{'<BR/>'.join(lines)}>"


def summary(run: Mapping[str, Any]) -> str:
    """How a node's runs went, in a few words."""
    parts = [seconds(run["seconds"])] if run["ran"] else []
    parts += [f"{run['ran']:,} runs"] if run["ran"] > 1 else []
    parts += [f"{run['cached']:,} cached"] if run["cached"] else []
    parts += [f"{run['failed']:,} failed"] if run["failed"] else []
    return " · ".join(parts)


def seconds(value: float) -> str:
    """A time in the unit that suits it.

    >>> seconds(0.0123), seconds(0.9996), seconds(75)
    ('12 ms', '1.0 s', '75 s')
    """
    if value < 0.9995e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s" if value < 9.95 else f"{value:,.0f} s"
