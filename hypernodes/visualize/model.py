"""What a picture of a pipeline shows, as plain data: the same for every way of drawing it."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol

from hypernodes.node import Node
from hypernodes.plan import NestedNode, PipelineLike
from hypernodes.types import EMPTY, Input

_SOURCE_LINES = 80
_LONG = 40


Described = dict[str, Any]
"""A pipeline or a node as a dict that JSON can hold."""


class NodeRuns(Protocol):
    """The runs of one node added up: a dataclass such as `hypernodes.observe.spans.NodeSummary`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def state(self) -> str: ...


class RunRecord(Protocol):
    """What pictures read of a record of a run, such as a `hypernodes.Timeline`."""

    def nodes(self, pipelines: bool = False) -> Mapping[str, NodeRuns]: ...


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def printable(text: str) -> str:
    """A text for a picture: without control characters and halves of characters.

    Args:
        text: any text.
    """
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def describe(pipeline: PipelineLike, timeline: RunRecord | None = None) -> Described:
    """Describe a pipeline, with those nested in it.

    Args:
        pipeline: what to describe.
        timeline: a record of a run: each node's `run` says how it went.
    """
    runs = {} if timeline is None else timeline.nodes(pipelines=True)
    return _pipeline(pipeline, pipeline.name, runs)


def _pipeline(pipeline: PipelineLike, path: str, runs: Mapping[str, NodeRuns]) -> Described:
    by_id = {step.id: step.node for step in pipeline.plan().steps}
    nodes = [_node(node_id, node, f"{path}/{node_id}", runs) for node_id, node in by_id.items()]
    makes = {name: node_id for node_id, node in by_id.items() for name in node.outputs}
    edges = [
        {
            "source": makes[name],
            "target": node_id,
            "name": name,
            "type": type_text(pipeline.outputs[name].type),
        }
        for node_id, node in by_id.items()
        for name in node.input_names
        if name in makes
    ]
    read = {edge["name"] for edge in edges}
    takers = {
        name: [node_id for node_id, node in by_id.items() if name in node.input_names]
        for name in (*pipeline.inputs, *pipeline.bound)
    }
    return {
        "name": pipeline.name,
        "path": path,
        "run": _run(runs.get(path)),
        "inputs": [{**_input(each), "to": takers[name]} for name, each in pipeline.inputs.items()],
        "bound": [
            {"name": name, "type": "", "default": _short(value), "to": takers[name]}
            for name, value in pipeline.bound.items()
        ],
        "outputs": [
            {"name": name, "type": type_text(each.type), "from": makes[name]}
            for name, each in pipeline.outputs.items()
            if name not in read
        ],
        "nodes": nodes,
        "edges": edges,
    }


def _node(
    node_id: str,
    node: Node[..., Any] | NestedNode,
    path: str,
    runs: Mapping[str, NodeRuns],
) -> Described:
    made = zip(node.outputs, node.output_types, strict=True)
    drawn: Described = {
        "id": node_id,
        "path": path,
        "run": _run(runs.get(path)),
        "inputs": [_input(each) for each in node.inputs.values()],
        "outputs": [{"name": name, "type": type_text(kind)} for name, kind in made],
    }
    if not isinstance(node, Node):
        renamed = {**node.inner_inputs, **node.inner_outputs}
        return {
            **drawn,
            "inner": _pipeline(node.pipeline, path, runs),
            "over": list(node.mapped),
            "mode": node.map_mode,
            "renamed": {outer: inner for outer, inner in renamed.items() if outer != inner},
        }
    standard = type(node.options)()
    options = {
        name: value
        for name, value in vars(node.options).items()
        if value != getattr(standard, name)
    }
    return {
        **drawn,
        "doc": inspect.getdoc(node.func) or "" if _has_own_doc(node.func) else "",
        "source": source(node.func),
        "where": where(node.func),
        "options": [f"{name}={value!r}" for name, value in options.items()],
    }


def _input(each: Input) -> Described:
    default = None if each.default is EMPTY else _short(each.default)
    return {"name": each.name, "type": type_text(each.type), "default": default}


def _run(summary: NodeRuns | None) -> Described | None:
    return None if summary is None else {**asdict(summary), "state": summary.state}


def type_text(annotation: Any) -> str:
    """A type as short as a reader would write it; nothing where it is not known.

    >>> type_text(dict[str, list[int]]), type_text(typing.Optional[int]), type_text(Any)
    ('dict[str, list[int]]', 'int | None', '')
    """
    if annotation is Any or annotation is EMPTY:
        return ""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, str):
        return annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(each) or "Any" for each in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None and arguments:
        inside = ", ".join(_argument(each) for each in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inside}]"
    return getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")


def _argument(each: object) -> str:
    if each is Ellipsis:
        return "..."
    if isinstance(each, list):
        return f"[{', '.join(map(_argument, each))}]"
    return type_text(each) or "Any"


def _short(value: object) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONG else f"{text[: _LONG - 3]}..."


def source(func: Callable[..., Any]) -> str:
    """The source of a node's function, or nothing where there is none."""
    try:
        lines = inspect.getsource(_plain(func)).splitlines()
    except (OSError, TypeError, IndentationError):
        return ""
    text = inspect.cleandoc("\n".join(lines[:_SOURCE_LINES]))
    return text + "\n..." if len(lines) > _SOURCE_LINES else text


def where(func: Callable[..., Any]) -> str:
    """The file's name and the line of a node's function."""
    code = getattr(_plain(func), "__code__", None)
    if code is None:
        return ""
    name = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{code.co_firstlineno}"


def _plain(func: Any) -> Any:
    while hasattr(func, "func"):  # functools.partial
        func = func.func
    func = inspect.unwrap(func)
    return func if inspect.isroutine(func) or inspect.isclass(func) else type(func)


def _has_own_doc(func: object) -> bool:
    # A partial is a routine since Python 3.14; its docstring is that of `functools.partial`.
    return not isinstance(func, functools.partial) and (
        inspect.isroutine(func) or not hasattr(func, "func")
    )
