"""What a scope is for Prefect: whether it can be a task run, its node, name, path and items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from hypernodes import CallbackContext, Engine, Node, Pipeline, PipelineNode
from hypernodes.integration import in_short
from prefect_hypernodes.parameters import in_words


class FlowRunEngine(Engine):
    """Base of engines whose every run is a flow run: Prefect itself shows those."""


def node_tags(ctx: CallbackContext, name: str) -> tuple[str, ...]:
    """The tags that a node was given: `@node(tags=[...])`.

    Args:
        ctx: a scope of its pipeline.
        name: the node.
    """
    pipeline = pipeline_of(ctx)
    node = None if pipeline is None else pipeline.node(name)
    return node.options.tags if isinstance(node, Node) else ()


def shown_name(ctx: CallbackContext) -> str:
    """What the task run of a scope is called: a node bears the items that it is part of.

    By its `task_run_name`, else `measure[17]`, or `measure[north]` where the item's inputs are
    short.
    """
    if ctx.kind != "node":
        return ctx.name
    return ctx.label or with_items(ctx.name, ctx)


def with_items(name: str, ctx: CallbackContext) -> str:
    """A name with the items that a scope is part of: `measure[north][2]`."""
    items = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        if scope.kind == "map_item":
            items.append(f"[{in_words(scope.item_inputs) or scope.item_index}]")
        scope = scope.parent
    return name + "".join(reversed(items))


def is_task_run(ctx: CallbackContext) -> bool:
    """Whether a scope can be a task run: a pipeline that is run by the flow is the flow run."""
    return ctx.parent is not None or ctx.kind == "map"


def is_below(ctx: CallbackContext, other: CallbackContext) -> bool:
    """Whether a scope is inside another one, at any depth."""
    above = ctx.parent
    while above is not None and above is not other:
        above = above.parent
    return above is other


def items_around(ctx: CallbackContext) -> tuple[tuple[int, str], ...]:
    """Index and inputs of the items that a scope is part of, the outermost first."""
    found = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        if scope.kind == "map_item" and scope.item_index is not None:
            found.append((scope.item_index, in_short(scope.item_inputs)))
        scope = scope.parent
    return tuple(reversed(found))


def pipeline_of(ctx: CallbackContext) -> Pipeline | None:
    """The pipeline that a scope belongs to, also where another process has made the scope."""
    found: Pipeline | None = ctx.pipeline
    if found is None and ctx.parent is not None:
        found = pipeline_of(ctx.parent)
        if found is not None and found.id != ctx.current_pipeline_id:
            found = getattr(found.node(ctx.name), "pipeline", None)
    return found


def node_of(ctx: CallbackContext) -> Node[..., Any] | PipelineNode[Pipeline] | None:
    """The node that a scope is a run of, in the pipeline of the scope around it."""
    pipeline = None if ctx.parent is None else pipeline_of(ctx.parent)
    return None if pipeline is None else pipeline.node(ctx.name)


def inputs_from(
    pipeline: Pipeline | None,
    name: str,
    ids: Mapping[str, UUID],
    made_by: Mapping[str, UUID],
) -> dict[str, UUID]:
    """The task run that makes each input of a node, or would have made it.

    Args:
        pipeline: what the node is in.
        name: the node's id.
        ids: the task runs of the pipeline's nodes.
        made_by: those outside of it that made its inputs.
    """
    node = None if pipeline is None else pipeline.node(name)
    if pipeline is None or node is None:
        return {}
    graph = pipeline.graph
    inputs = {each: made_by[each] for each in node.input_names if each in made_by}
    for maker in graph.predecessors(name):
        if maker in ids:
            inputs |= dict.fromkeys(graph.edges[maker, name]["names"], ids[maker])
    return inputs


def is_apart(ctx: CallbackContext, name: str) -> bool:
    """Whether a node in a scope is a pipeline of which nothing is heard here.

    It is a flow run by itself, which Prefect shows, or it has callbacks of its own.
    """
    pipeline = pipeline_of(ctx)
    inner = getattr(None if pipeline is None else pipeline.node(name), "pipeline", None)
    if inner is None or isinstance(inner.engine, FlowRunEngine):
        return inner is not None
    known = set(map(id, ctx.callbacks))  # a callback need not be hashable
    return inner.callbacks is not None and known.isdisjoint(map(id, inner.callbacks))


def task_key(ctx: CallbackContext, items: bool = True) -> str:
    """The path of a scope without items' numbers: the same in every run.

    Args:
        ctx: the scope.
        items: whether an item that it is part of is in the path at all.
    """
    names = []
    scope: CallbackContext | None = ctx
    while scope is not None:
        if scope.kind != "map_item":
            names.append(scope.name)
        elif items:
            names.append("item")
        scope = scope.parent
    return "/".join(reversed(names))
