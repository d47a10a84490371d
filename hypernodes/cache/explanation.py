"""What `Pipeline.explain_cache` returns: for each node, whether it would be a hit, or why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from hypernodes.cache.node_reports import ByNode

HOW_TO_KEEP = (
    "if nothing of the result changes: hypernodes cache keep FILE:PIPELINE, or cache.keep(pipeline)"
)
"""What to do about a miss that is due to an edit."""

Verdict = Literal["hit", "miss", "not cached", "unknown"]


@dataclass(frozen=True)
class NodeExplanation:
    """What a run would find of one node.

    Attributes:
        node: the node's id, after those of the nested pipelines around it: `outer/node`.
        verdict: "hit"; "miss"; "not cached", which runs every time; "unknown", if that depends on
            the output of a node that would have to run first.
        reasons: what differs from the nearest earlier run, or why it is not cached.
        items: how many items of a map were looked at; 1 outside maps.
        hits: how many of them are hits.
    """

    node: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    items: int = 1
    hits: int = 0

    def __str__(self) -> str:
        count = f" ({self.hits} of {self.items} items are hits)" if self.items > 1 else ""
        if self.verdict == "unknown" and not self.hits:  # nor is it known how many there will be
            count = ""
        reasons = list(self.reasons)
        if self.verdict == "miss" and any("code: " in each for each in reasons):
            reasons.append(HOW_TO_KEEP)
        why = f": {'; '.join(reasons)}" if reasons else ""
        return f"{self.node}: {self.verdict}{count}{why}"


class Explanation(ByNode[NodeExplanation]):
    """What a run would find of each node, in the order in which they would run."""

    def __repr__(self) -> str:
        counts = Counter(each.verdict for each in self.nodes)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return f"<Explanation: {counted}>\n{self}"
