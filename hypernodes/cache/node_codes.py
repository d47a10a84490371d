"""What identifies the code of a pipeline's nodes; `Cache.keep` uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypernodes.cache.node_cache import Codes, prefix_of
from hypernodes.cache.same_code import NodeCode
from hypernodes.identity.values import RULES, Unidentifiable
from hypernodes.node import Node
from hypernodes.plan import PipelineLike, Step


def node_codes(pipeline: PipelineLike, cache: Any) -> list[NodeCode]:
    """The code of each node, nested pipelines included.

    Args:
        pipeline: has the nodes.
        cache: what it uses; a nested pipeline may have its own.
    """
    return list(_codes(pipeline, cache, (), Codes()))


def _codes(
    pipeline: PipelineLike, cache: Any, path: tuple[str, ...], codes: Codes
) -> Iterator[NodeCode]:
    for step in pipeline.plan().steps:
        if isinstance(step.node, Node):
            yield _code(step, step.node, cache, "/".join((*path, step.id)), codes)
        else:
            inner = step.node.pipeline
            used = cache if inner.cache is None else inner.cache
            yield from _codes(inner, used, (*path, step.id), codes)


def _code(step: Step, node: Node[..., Any], cache: Any, name: str, codes: Codes) -> NodeCode:
    if cache is None or cache is False or node.options.cache is False:
        return NodeCode(name, None, why_not="it is not cached")
    try:
        code = codes.of(node)
    except Unidentifiable as error:
        return NodeCode(name, None, why_not=f"it is not cached: its code: {error}")
    return NodeCode(
        name,
        cache,
        prefix_of(node, code).hex(),
        RULES,
        node.options.version,
        code.parts(),
        tuple(input_name for input_name, _ in step.inputs),
        node.outputs,
    )
