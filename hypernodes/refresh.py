"""Refresh: a pipeline some of whose nodes are computed anew, with all that follows from them.

    pipeline.run(inputs, refresh=["train", "features/scale"])

What follows is found in the graph, nested pipelines included. So nothing depends on how values
travel, and every engine runs such a pipeline as it runs others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from hypernodes.errors import RefreshError, did_you_mean, listing
from hypernodes.nested import PipelineNode
from hypernodes.node import Node
from hypernodes.plan import PipelineLike
from hypernodes.types import normal_name

Refresh = str | Iterable[str] | None
"""Names of nodes or outputs."""
Path = tuple[str, ...]
"""The ids of nested pipelines' nodes from the outermost, and then of a node."""
Changed = Mapping[str, Node[..., Any] | PipelineNode[Any]]
"""The nodes of a pipeline that are replaced, by id."""


def names_to_refresh(pipeline: PipelineLike) -> tuple[str, ...]:
    """What can be refreshed, the outermost first: nodes, outputs, and paths of nested nodes."""
    return tuple(_targets(pipeline))


def chosen(pipeline: PipelineLike, refresh: Refresh) -> frozenset[Path]:
    """The paths of the nodes that are named.

    Args:
        pipeline: where they are.
        refresh: ids of nodes; names of outputs; `outer/inner` for those of nested pipelines,
            which may be named by themselves where no outer one has the same name.

    Raises:
        RefreshError: it is no list of names, or there is no such node or output.
    """
    names = [refresh] if isinstance(refresh, str) else refresh
    if names is None:
        return frozenset()
    if isinstance(names, (bytes, Mapping)) or not isinstance(names, Iterable):
        raise RefreshError(f"refresh is {refresh!r}: expected a list of names of nodes or outputs")
    targets = _targets(pipeline)
    paths: set[Path] = set()
    for given in names:
        name = given if given in targets else normal_name(given)
        if name not in targets:
            raise RefreshError(
                f"refresh: there is no node or output {name!r}.{did_you_mean(name, targets)} "
                f"Nodes and outputs: {listing(targets)}"
            )
        paths |= targets[name]
    return frozenset(paths)


def _targets(pipeline: PipelineLike) -> dict[str, set[Path]]:
    """The nodes that each name means: those of the outermost pipelines that have it."""
    found: dict[str, tuple[tuple[int, bool], set[Path]]] = {}
    for rank, name, path in sorted(_named(pipeline, ()), key=lambda each: each[0]):
        best, paths = found.setdefault(name, (rank, set()))
        if rank == best:
            paths.add(path)
    return {name: paths for name, (_, paths) in found.items()}


def _named(pipeline: PipelineLike, above: Path) -> Iterator[tuple[tuple[int, bool], str, Path]]:
    """Every name of every node, with its rank: how deep it is, and whether it is an output's."""
    depth = len(above)
    before = "".join(f"{each}/" for each in above)
    for node_id in pipeline.node_ids:
        node = pipeline.node(node_id)
        path = (*above, node_id)
        for name in dict.fromkeys((node_id, node.name)):
            yield (depth, False), name, path
            if above:
                yield (0, False), before + name, path
        for output in node.outputs:
            for maker in _makers(node, output, path):
                yield (depth, True), output, maker
                if above:
                    yield (0, True), before + output, maker
        if isinstance(node, PipelineNode):
            yield from _named(node.pipeline, path)


def _makers(node: Any, output: str, path: Path) -> Iterator[Path]:
    """The path of the function that makes an output."""
    if isinstance(node, Node):
        yield path
        return
    inner = node.inner_outputs[output]
    for inner_id in node.pipeline.node_ids:
        inside = node.pipeline.node(inner_id)
        if inner in inside.outputs:
            yield from _makers(inside, inner, (*path, inner_id))


def replaced(
    pipeline: Any, paths: Collection[Path], fresh_inputs: Collection[str] = (), above: Path = ()
) -> tuple[Changed, set[str]]:
    """The nodes of a pipeline that are computed anew, as such.

    Args:
        pipeline: the pipeline.
        paths: those that are named; one of a nested pipeline stands for all in it.
        fresh_inputs: inputs whose values are made by nodes that are computed anew.
        above: the path of the pipeline.

    Returns:
        The nodes by id, and the names of all values that are new.
    """
    fresh, changed = set(fresh_inputs), {}
    for node_id in pipeline.node_ids:
        node, path = pipeline.node(node_id), (*above, node_id)
        is_named = any(path[: len(each)] == each for each in paths)
        if isinstance(node, Node):
            if is_named or not fresh.isdisjoint(node.input_names):
                changed[node_id] = node.refreshed()
                fresh.update(node.outputs)
            continue
        inputs = {node.inner_inputs[name] for name in fresh.intersection(node.input_names)}
        inner, made = replaced(node.pipeline, paths, inputs, path)
        if inner:
            changed[node_id] = node.around(node.pipeline._with_nodes(inner))
            fresh.update(name for name, inside in node.inner_outputs.items() if inside in made)
    return changed, fresh
