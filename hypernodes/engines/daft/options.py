"""`DaftOptions`: what a node says to Daft with `@node(daft=...)`. Nothing here imports Daft."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypernodes.errors import NodeError, did_you_mean, listing
from hypernodes.node import Node
from hypernodes.options import ENGINE_OPTIONS


@dataclass(frozen=True)
class DaftOptions:
    """How `DaftEngine` runs a node; other engines ignore it.

    Attributes:
        cpus: CPUs that one call takes, where Daft plans with them.
        gpus: GPUs that one call takes.
        use_process: call it in Daft's worker processes, for work that holds the GIL.
        batch_size: how many items each call of Daft's hands to it.
        concurrency: how many calls run at once in each process: of an async node on its event
            loop (10 by default), of another one on that many threads.
        type: the `daft.DataType` of its output in a lazy frame, where its annotation does not say;
            of several outputs a dict of types.

    Raises:
        ValueError: a value is of the wrong type or out of range.
    """

    cpus: float | None = None
    gpus: float = 0
    use_process: bool = False
    batch_size: int | None = None
    concurrency: int | None = None
    type: Any = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "concurrency"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"daft: {name} is {value!r}: expected a number from 1")
        cpus = 0 if self.cpus is None else self.cpus
        for name, number in {"cpus": cpus, "gpus": self.gpus}.items():
            is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
            if not is_number or not 0 <= number < math.inf:
                raise ValueError(f"daft: {name} is {number!r}: expected a number from 0")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"daft: gpus is {self.gpus!r}: expected a whole number above 1")
        if not isinstance(self.use_process, bool):
            raise ValueError(f"daft: use_process is {self.use_process!r}: expected True or False")
        types = self.type.values() if isinstance(self.type, dict) else [self.type]
        for each in types:
            kinds = {kind.__name__ for kind in type(each).__mro__}  # Daft is not imported here
            if each is not None and "DataType" not in kinds:
                raise ValueError(f"daft: type is {each!r}: expected a daft.DataType")

    @classmethod
    def of(cls, given: object) -> DaftOptions:
        """The options that `@node(daft=...)` was given, as a dict or as they are.

        Raises:
            ValueError: it is neither, an option is unknown, or its value is not valid.
        """
        if isinstance(given, cls):
            return given
        known = cls.__dataclass_fields__
        if not isinstance(given, Mapping):
            raise ValueError(f"daft is {given!r}: expected a dict of {listing(known)}")
        for name in given:
            if name not in known:
                raise ValueError(
                    f"daft has no option {name!r}.{did_you_mean(name, known)} "
                    f"Options: {listing(known)}"
                )
        return cls(**given)

    @classmethod
    def of_node(cls, node: object) -> DaftOptions:
        """The options of a node; the defaults where it gives none, as nested pipelines do.

        Raises:
            NodeError: its types are not those of its outputs.
        """
        if not isinstance(node, Node) or not isinstance(given := node.options.daft, cls):
            return cls()
        if isinstance(given.type, dict):
            for name in given.type:
                if name not in node.outputs:
                    raise NodeError(
                        f"node {node.name!r} has no output {name!r} to have a Daft type."
                        f"{did_you_mean(name, node.outputs)} Outputs: {listing(node.outputs)}"
                    )
        elif given.type is not None and len(node.outputs) > 1:
            raise NodeError(
                f"node {node.name!r} has {len(node.outputs)} outputs and one Daft type: say "
                f"which is whose, with a dict of {listing(node.outputs)}"
            )
        return given


# So a typo in `@node(daft=...)` is an error where the node is defined, not when it first runs.
ENGINE_OPTIONS["daft"] = DaftOptions.of
