"""A pipeline as Mermaid text, which GitHub, notebooks and many editors draw."""

from __future__ import annotations

from collections.abc import Iterator

from hypernodes.node import Node
from hypernodes.plan import PipelineLike
from hypernodes.visualize.model import printable


def mermaid(pipeline: PipelineLike) -> str:
    """The pipeline as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html).

    Inputs are rounded and nodes are boxes; a nested pipeline is a box around its nodes. An edge
    bears the name of what it carries.

    >>> from hypernodes import Pipeline
    >>> print(mermaid(Pipeline([Node(lambda url: url, "page")])))
    flowchart TD
      in_url(["url"])
      n0["page"]
      in_url --> n0
    """
    return "\n".join(["flowchart TD", *_Chart().pipeline(pipeline, "", "  ")])


class _Chart:
    """Draws pipelines. Ids are numbers, since a name may hold what Mermaid takes for syntax."""

    def __init__(self) -> None:
        self._count = 0

    def pipeline(self, pipeline: PipelineLike, prefix: str, indent: str) -> Iterator[str]:
        """The lines of a pipeline.

        Args:
            pipeline: what to draw.
            prefix: what the ids of its inputs start with.
            indent: what each line starts with.
        """
        for name in pipeline.inputs:
            yield f'{indent}{prefix}in_{name}(["{_text(name)}"])'
        drawn: dict[str, str] = {}
        for each in map(pipeline.node, pipeline.node_ids):
            key = f"n{self._count}"
            self._count += 1
            if isinstance(each, Node):
                yield f'{indent}{key}["{_text(each.name)}"]'
            else:
                over = f" for each of {', '.join(each.mapped)}" if each.mapped else ""
                yield f'{indent}subgraph {key}["{_text(each.name + over)}"]'
                yield from self.pipeline(each.pipeline, f"{key}_", indent + "  ")
                yield f"{indent}end"
            for name in each.input_names:
                if name in drawn:
                    yield f'{indent}{drawn[name]} -- "{_text(name)}" --> {key}'
                elif name in pipeline.inputs:
                    yield f"{indent}{prefix}in_{name} --> {key}"
            drawn.update(dict.fromkeys(each.outputs, key))


def _text(name: str) -> str:
    """A text between quotes, as it is: `#` begins what Mermaid takes for a character."""
    codes = {"#": "#35;", "&": "&amp;", '"': "&quot;", "<": "&lt;", "\n": " "}
    return "".join(codes.get(each, each) for each in printable(name))
