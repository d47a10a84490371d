"""The columns of a lazy frame: outputs as values of Daft's own types, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from daft import DataType, Series

from hypernodes.engines.daft.cells import Cells, Failed, Skip, unloadable
from hypernodes.engines.daft.options import DaftOptions
from hypernodes.engines.daft.typed_columns import is_null, values_of
from hypernodes.engines.daft.types import ColumnType, list_of, of_dtype, type_of
from hypernodes.engines.daft.udf import ColumnUDF, raisable, text_of
from hypernodes.errors import NodeError, ResultError, add_note, failing_node
from hypernodes.node import Node
from hypernodes.plan import NestedNode, PipelineLike
from hypernodes.results import FailedItem

ERROR_TYPE = DataType.struct(
    {"type": DataType.string(), "message": DataType.string(), "node": DataType.string()}
)


class OutputColumn(ColumnUDF):
    """An output's cells as values of one of Daft's types.

    Args:
        name: the output.
        type_: the column's type.
        annotation: the type that the node's function is annotated to return.
        pipeline: what it is an output of.
        stops: raise what a node raised, or what is no value of the type; else that is null.
    """

    def __init__(
        self,
        cells: Cells,
        remote: bool,
        name: str,
        type_: ColumnType,
        annotation: object,
        pipeline: PipelineLike,
        stops: bool,
    ) -> None:
        super().__init__(cells, (), 0, remote)
        self.name = name
        self.type = type_
        self.annotation = annotation
        self.pipeline = pipeline.name
        self.stops = stops

    def __str__(self) -> str:
        return f"output {self.name!r}"

    def __call__(self, *series: Series) -> Series:
        items, column, *cells = series
        if cells and is_null(cells[0]) and column.datatype() == self.type.dtype:
            return column
        values = []
        given = values_of(column, *cells)[0] if cells else column.to_pylist()
        for item, each in zip(items.to_pylist(), given, strict=True):
            try:
                values.append(self.value(item, each))
            except Exception as raised:
                error: BaseException = raised
                if isinstance(raised, Failed):
                    error = raised.error
                if not self.stops and isinstance(error, Exception):
                    values.append(None)
                    continue
                if isinstance(raised, Skip) and not isinstance(raised, Failed):
                    error = ResultError(f"item {item} was called off")
                if not isinstance(raised, Failed):  # its item is noted where it failed
                    add_note(error, f"in item {item} of a map of pipeline {self.pipeline!r}")
                raise raisable(error) from None
        if all(each is None for each in values):  # of no value Daft makes no tensors, and no maps
            return Series.from_pylist(values).cast(self.type.dtype)
        try:
            return Series.from_pylist(values, dtype=self.type.dtype)
        except BaseException as error:  # a panic of Daft's own code is no `Exception`
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise ResultError(
                f"{self} is annotated with {self.annotation}, and Daft cannot make a column of "
                f"type {self.type.dtype} of its values: {error}. It has no nulls of maps and "
                "arrays inside of something else, for example. Name another type: "
                '@node(daft={"type": ...})'
            ) from None

    def value(self, item: int, given: Any) -> object:
        """The value of an item as Daft keeps it.

        Args:
            item: the item's number.
            given: its cell, or its value in a typed column.

        Raises:
            Skip: there is none.
            ResultError: Daft would change it.
            SerializationError: it cannot be unpickled.
        """
        try:
            value = self.cells.load(given) if type(given) is bytes else given
        except Skip:
            raise
        except Exception as error:
            raise unloadable(str(self), self.cells.pickled(given), error) from error
        try:
            return self.type.convert(value)
        except Exception:  # `Unfit`, or what a value of another type leads to
            raise ResultError(
                f"output {self.name!r} of item {item} is annotated with {self.annotation} and "
                f"is {value!r:.60} of type {type(value).__name__}: Daft would change it. Mend "
                'the annotation or the value, or name the column\'s type: @node(daft={"type": ...})'
            ) from None


MOST_FUNCTIONS = 20
"""More outputs than this are made by as many functions: each is a step of Daft's plan, and Daft's
own code overflows at some 150 of them."""


class OutputGroup(ColumnUDF):
    """Outputs that one function makes: a struct of them, where they are several.

    Args:
        outputs: the outputs.
        places: their places among all outputs.
        widths: how many columns each of them reads.
    """

    def __init__(
        self, outputs: Sequence[OutputColumn], places: Sequence[int], widths: Sequence[int]
    ) -> None:
        super().__init__(outputs[0].cells, (), 0, outputs[0].remote)
        self.outputs = tuple(outputs)
        self.places = tuple(places)
        self.widths = tuple(widths)
        self.name = ", ".join(output.name for output in outputs)

    def __str__(self) -> str:
        return ", ".join(map(str, self.outputs))

    @property
    def dtype(self) -> DataType:
        """The type of the column that it makes."""
        types = [output.type.dtype for output in self.outputs]
        if len(types) == 1:
            return types[0]
        made: DataType = DataType.struct({str(at): each for at, each in enumerate(types)})
        return made

    def __call__(self, *series: Series) -> Series:
        items, *given = series
        made = []
        for output, width in zip(self.outputs, self.widths, strict=True):
            made.append(output(items, *given[:width]))
            given = given[width:]
        if len(made) == 1:
            return made[0]
        arrays = [each.to_arrow() for each in made]
        return Series.from_arrow(
            pa.StructArray.from_arrays(arrays, [str(at) for at in range(len(arrays))])
        )


def output_groups(outputs: Sequence[OutputColumn], widths: Sequence[int]) -> list[OutputGroup]:
    """The functions that make outputs: one for each, unless there are too many.

    Args:
        outputs: the outputs.
        widths: how many columns each of them reads.
    """
    every = range(len(outputs))
    size = max(1, -(-len(outputs) // MOST_FUNCTIONS))
    return [
        OutputGroup([outputs[p] for p in places], places, [widths[p] for p in places])
        for places in (every[at : at + size] for at in range(0, len(outputs), size))
    ]


class ErrorColumn(ColumnUDF):
    """Of each item that failed the error: its type and message, and the node that raised it.

    Args:
        outputs: the columns of the outputs, in the order in which their cells are read.
        typed: which of them are typed columns.
    """

    def __init__(
        self, cells: Cells, remote: bool, outputs: Sequence[OutputColumn], typed: Sequence[bool]
    ) -> None:
        super().__init__(cells, (), 0, remote)
        self.outputs = tuple(outputs)
        self.typed = tuple(typed)

    def __str__(self) -> str:
        return "the column of errors"

    def __call__(self, *series: Series) -> Series:
        items, *given = series
        columns = [
            values_of(given.pop(0), given.pop(0))[0] if typed else given.pop(0).to_pylist()
            for typed in self.typed
        ]
        every = items.to_pylist()
        rows = [self._error(item, row) for item, *row in zip(every, *columns, strict=True)]
        return Series.from_pylist(rows, dtype=ERROR_TYPE)

    def _error(self, item: int, row: Sequence[Any]) -> dict[str, str | None] | None:
        failures: list[tuple[int, BaseException]] = []
        for output, given in zip(self.outputs, row, strict=True):
            try:
                output.value(item, given)
            except Failed as failed:
                failures.append((failed.order, failed.error))
            except Exception as error:  # an output's own comes after those of nodes
                failures.append((2**31, error))
        if not failures:
            return None
        _, first = min(failures, key=lambda each: each[0])
        return {
            "type": type(first).__name__,
            "message": text_of(first),
            "node": failing_node(first),
        }


def output_type(pipeline: PipelineLike, name: str) -> ColumnType:
    """The type of an output's column: by its node's option, else by its annotation.

    Args:
        pipeline: the pipeline.
        name: the output.

    Raises:
        NodeError: Daft has no type for the annotation, or the option is not about its outputs.
    """
    owner = next(each for each in pipeline.nodes if name in each.outputs)
    said = _said_type(owner, name)
    if said is not None:
        return said
    annotation = pipeline.outputs[name].type
    found = type_of(annotation)
    if found is None:
        raise NodeError(
            f"output {name!r} of node {owner.name!r} is annotated with {annotation}, for which "
            f"Daft has no type{_in_place_of(annotation)}. Name one, such as "
            '@node(daft={"type": DataType.decimal128(18, 2)}); DataType.python() keeps objects, '
            "which no file can"
        )
    return found


def _in_place_of(annotation: object) -> str:
    """What to write where an annotation says too little."""
    if annotation is np.ndarray:
        return (
            ": numpy.typing.NDArray[np.float64] says which numbers are in it, and "
            '@node(daft={"type": DataType.embedding(DataType.float64(), 3)}) how many'
        )
    return ""


def _said_type(owner: Node[..., Any] | NestedNode, name: str) -> ColumnType | None:
    """The type that a node's options give for an output; None where they do not."""
    if isinstance(owner, Node):
        given = DaftOptions.of_node(owner).type
        said = given.get(name) if isinstance(given, dict) else given
        return None if said is None else of_dtype(said)
    inner = owner.inner_outputs[name]
    node = next(each for each in owner.pipeline.nodes if inner in each.outputs)
    made = _said_type(node, inner)
    if made is None or not owner.mapped:
        return made
    return list_of(made.optional([FailedItem]) if owner.error_handling == "continue" else made)
