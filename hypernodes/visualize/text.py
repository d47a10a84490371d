"""A pipeline as text: the docstring that its nodes make."""

from __future__ import annotations

from hypernodes.plan import PipelineLike
from hypernodes.visualize.model import Described, describe


def docstring(pipeline: PipelineLike) -> str:
    """What a pipeline takes, does and makes, in the words of its nodes.

    >>> from hypernodes import Pipeline, node
    >>> @node(output_name="words")
    ... def split(text: str) -> list[str]:
    ...     "Words in lower case."
    ...     return text.lower().split()
    >>> print(docstring(Pipeline([split], name="document")))
    Pipeline 'document': words out of text.
    <BLANKLINE>
    Args:
        text (str): for split.
    <BLANKLINE>
    Nodes:
        split: Words in lower case.
    <BLANKLINE>
    Returns:
        words (list[str])
    """
    drawn = describe(pipeline)
    read = {edge["name"] for edge in drawn["edges"]}
    made = [each for node in drawn["nodes"] for each in node["outputs"]]
    ends = [each["name"] for each in made if each["name"] not in read]
    inputs = [each["name"] for each in drawn["inputs"]]
    head = f"Pipeline {pipeline.name!r}: {', '.join(ends)}"
    parts = [f"{head} out of {', '.join(inputs)}." if inputs else f"{head}."]
    sections = {
        "Args": [_input(each) for each in drawn["inputs"]],
        "Nodes": [_node(each) for each in drawn["nodes"]],
        "Returns": [_named(each) for each in made],
    }
    for title, lines in sections.items():
        if lines:
            parts += ["", f"{title}:", *(f"    {line}" for line in lines)]
    return "\n".join(parts)


def _named(each: Described) -> str:
    return f"{each['name']} ({each['type']})" if each["type"] else str(each["name"])


def _input(each: Described) -> str:
    default = "" if each["default"] is None else f" By default {each['default']}."
    return f"{_named(each)}: for {', '.join(each['to'])}.{default}"


def _node(node: Described) -> str:
    if "inner" in node:
        over = f", for each of {', '.join(node['over'])}" if node["over"] else ""
        return f"{node['id']}: a pipeline of {len(node['inner']['nodes'])} nodes{over}."
    first = node["doc"].partition("\n")[0]
    return f"{node['id']}: {first}" if first else str(node["id"])
