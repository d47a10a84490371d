"""The edge: cells to columns of Daft's own types, by the outputs' annotations."""

from __future__ import annotations

import datetime
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import daft
from daft import DataType, Series, col

from hypernodes.engines.daft_cells import Cells, Skip
from hypernodes.engines.daft_plan import ITEM, Builder, as_function
from hypernodes.engines.daft_work import Work
from hypernodes.errors import ResultError, add_note
from hypernodes.node import DaftOptions
from hypernodes.pipeline import Pipeline

Check = Callable[[Any], bool]

_PLAIN: dict[Any, tuple[Any, Check]] = {
    bool: (DataType.bool(), lambda value: type(value) is bool),
    int: (DataType.int64(), lambda value: type(value) is int and -(2**63) <= value < 2**63),
    # PEP 484: an int is as good as a float.
    float: (DataType.float64(), lambda value: type(value) in (float, int)),
    str: (DataType.string(), lambda value: type(value) is str),
    bytes: (DataType.binary(), lambda value: type(value) is bytes),
    datetime.date: (DataType.date(), lambda value: type(value) is datetime.date),
    datetime.datetime: (
        DataType.timestamp("us"),
        lambda value: type(value) is datetime.datetime and value.tzinfo is None,
    ),
    datetime.timedelta: (
        DataType.duration("us"),
        lambda value: type(value) is datetime.timedelta,
    ),
}


def type_of(annotation: Any) -> tuple[Any, Check]:
    """Daft's type for an annotation, and what says whether a value is of it.

    What has none is a Python object in a column of such: it cannot be written to a file.

    >>> type_of(list[int])[0]
    List[Int64]
    """
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        others = [each for each in arguments if each is not type(None)]
        if len(others) == 1 and len(others) < len(arguments):
            type_, check = type_of(others[0])
            return type_, lambda value: value is None or check(value)
    if typing.get_origin(annotation) is list and arguments:
        type_, check = type_of(arguments[0])
        if type_ != DataType.python():
            return DataType.list(
                type_
            ), lambda value: type(value) is list and all(check(each) for each in value)
    return DataType.python(), lambda value: True


class Edge(Work):
    """Cells as values of one of Daft's types. What a node raised is raised here."""

    def __init__(
        self, cells: Cells, remote: bool, name: str, annotation: Any, pipeline: Pipeline
    ) -> None:
        super().__init__(cells, (), 0, remote)
        self.name = name
        self.annotation = annotation
        self.pipeline = pipeline.name

    def __str__(self) -> str:
        return f"output {self.name!r}"

    def __call__(self, *series: Any) -> Any:
        type_, check = type_of(self.annotation)
        values = []
        for item, cell in zip(series[0].to_pylist(), series[1].to_pylist(), strict=True):
            try:
                value = self.cells.load(cell)
            except Skip as skip:
                if skip.kind == "failed":
                    error = skip.error
                else:
                    error = ResultError(f"item {item} was called off")
                add_note(error, f"in item {item} of a map of pipeline {self.pipeline!r}")
                raise error from None
            if not check(value):
                raise ResultError(
                    f"output {self.name!r} of item {item} is annotated with {self.annotation} and "
                    f"is {value!r:.60} of type {type(value).__name__}: Daft would change it. Mend "
                    "the annotation or the value"
                )
            values.append(value)
        return Series.from_pylist(values, dtype=type_)


def as_columns(builder: Builder, pipeline: Pipeline, names: Mapping[str, str]) -> daft.DataFrame:
    """The frame with the outputs in columns `out:name`."""
    frame = builder.frame
    for name, column in names.items():
        annotation = pipeline.outputs[name].type
        edge = Edge(builder.cells, builder.ray, name, annotation, pipeline)
        function = as_function(
            edge, name, type_of(annotation)[0], DaftOptions(), builder.batch_size
        )
        frame = frame.with_column(f"out:{name}", function(col(ITEM), col(column)))
    return frame
