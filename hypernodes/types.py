"""Types that every floor shares, and what lower floors need to know of higher ones."""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

Inputs = Mapping[str, Any]
"""Values by the names of inputs."""

Outputs = dict[str, Any]
"""Values by the names of outputs, as a run returns them."""

Item = dict[str, Any]
"""The values of one item of a map, by the names of inputs."""

OutputName = str | Sequence[str] | None
"""The outputs to compute: a name or a list of names; None for all of them."""

ErrorHandling = Literal["raise", "continue"]
"""What a map does when an item fails: stop, or put a `FailedItem` in its place."""

EMPTY: Any = inspect.Parameter.empty
"""Stands for "no default" and "no annotation", as in `inspect`."""


@dataclass(frozen=True)
class Input:
    """One named input of a node or of a pipeline.

    Attributes:
        name: the parameter's name.
        type: its annotation; `typing.Any` where there is none.
        default: what is used when nothing is given; `inspect.Parameter.empty` when required.
    """

    name: str
    type: Any = Any
    # A default that is `empty` makes a signature that dataclasses of Python 3.10 -OO do not take.
    default: Any = field(default_factory=lambda: EMPTY)

    @property
    def required(self) -> bool:
        """Whether a value has to be given."""
        return self.default is EMPTY

    def __repr__(self) -> str:
        default = "" if self.required else f", default={self.default!r}"
        return f"Input(name={self.name!r}, type={self.type!r}{default})"


@dataclass(frozen=True)
class Output:
    """One named output of a node or of a pipeline, with its annotated type."""

    name: str
    type: Any = Any


N = TypeVar("N")


def normal_name(name: N) -> N:
    """A name as Python reads it in source, where identifiers are normalised: NFKC, PEP 3131.

    >>> normal_name("\u00b5") == "\u03bc"  # the micro sign is a Greek letter
    True
    """
    if isinstance(name, str) and not name.isascii():
        return unicodedata.normalize("NFKC", name)  # type: ignore[return-value]
    return name


class GraphNode(Protocol):
    """What the graph needs of a node: a function's or a whole pipeline's."""

    @property
    def name(self) -> str: ...
    @property
    def input_names(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> Mapping[str, Input]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def output_types(self) -> tuple[Any, ...]: ...


class Frame(Protocol):
    """A table of an engine's own, such as a `daft.DataFrame`: its columns are a map's inputs."""

    @property
    def column_names(self) -> list[str]: ...


class RunsPipelines(Protocol):
    """What a pipeline needs of an engine; `hypernodes.Engine` is the base class to use."""

    # `Any`, since an engine's own methods name the `Pipeline`, which is floors above.
    def run(
        self, pipeline: Any, inputs: dict[str, Any], output_name: OutputName = None
    ) -> Outputs: ...
    def map(
        self,
        pipeline: Any,
        items: Sequence[dict[str, Any]],
        inputs: dict[str, Any],
        output_name: OutputName = None,
    ) -> Any: ...
