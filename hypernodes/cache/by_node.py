"""What is told of each node of a pipeline: a sequence, and by node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar


class OfNode(Protocol):
    """Something told of one node, whose id follows those of the pipelines that it is in."""

    @property
    def node(self) -> str: ...


T = TypeVar("T", bound=OfNode)


class ByNode(Sequence[T]):
    """What is told of each node, in the order in which they would run."""

    def __init__(self, nodes: Iterable[T]) -> None:
        self.nodes = tuple(nodes)

    def __getitem__(self, at: Any) -> Any:
        """A node's by its place, or by its id with or without what is around it."""
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
