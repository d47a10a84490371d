"""A report for each node of a pipeline: a sequence that can also be indexed by node id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar


class OfNode(Protocol):
    """A report on one node."""

    @property
    def node(self) -> str:
        """The node's id, after those of the nested pipelines around it: `outer/node`."""


T = TypeVar("T", bound=OfNode)


class ByNode(Sequence[T]):
    """A report on each node, in the order in which they would run."""

    def __init__(self, nodes: Iterable[T]) -> None:
        self.nodes = tuple(nodes)

    def __getitem__(self, at: Any) -> Any:
        """A report by its place or by the node's id, with or without the pipelines around it.

        Raises:
            KeyError: there is no such node.
        """
        if isinstance(at, str):
            for each in self.nodes:
                if at in (each.node, each.node.rpartition("/")[2]):
                    return each
            raise KeyError(at)
        return self.nodes[at]

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.nodes))
