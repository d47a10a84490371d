"""Daft's own types: for the output columns of a lazy frame, and for batches of numbers."""

from __future__ import annotations

import datetime
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from daft import DataType, Series

from hypernodes.batch import BATCHES, items_of
from hypernodes.engines.daft.cells import Cells, Failed, Skip
from hypernodes.engines.daft.udf import ColumnUDF
from hypernodes.errors import ResultError, add_note
from hypernodes.node import Node
from hypernodes.plan import PipelineLike

Check = Callable[[object], bool]
"""Whether Daft's type keeps a value as it is."""

_PLAIN: dict[object, tuple[DataType, Check]] = {
    bool: (DataType.bool(), lambda value: type(value) is bool),
    int: (DataType.int64(), lambda value: type(value) is int and -(2**63) <= value < 2**63),
    # PEP 484: an int is acceptable where a float is expected.
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


def type_of(annotation: object) -> tuple[DataType, Check]:
    """Daft's type for an annotation, and what checks that a value is of it.

    Other annotations get a column of Python objects, which cannot be written to a file.

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
            list_type = DataType.list(type_)
            return list_type, lambda value: type(value) is list and all(map(check, value))
    return DataType.python(), lambda value: True


class OutputColumn(ColumnUDF):
    """An output's cells as values of one of Daft's types. It raises what a node raised.

    Args:
        name: the output.
        annotation: the type that the node's function is annotated to return.
        pipeline: what it is an output of.
    """

    def __init__(
        self, cells: Cells, remote: bool, name: str, annotation: object, pipeline: PipelineLike
    ) -> None:
        super().__init__(cells, (), 0, remote)
        self.name = name
        self.annotation = annotation
        self.pipeline = pipeline.name

    def __str__(self) -> str:
        return f"output {self.name!r}"

    def __call__(self, *series: Series) -> Series:
        type_, check = type_of(self.annotation)
        values = []
        for item, cell in zip(series[0].to_pylist(), series[1].to_pylist(), strict=True):
            try:
                value = self.cells.load(cell)
            except Skip as skip:
                error: BaseException = ResultError(f"item {item} was called off")
                if isinstance(skip, Failed):
                    error = skip.error
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


# -- Batch nodes over columns of Daft's own types ------------------------------------------------

_KINDS: dict[object, str] = {int: "iu", float: "f", bool: "b"}
"""The kinds of NumPy's types that are as good as each annotation."""

_AS_NUMPY = {
    **dict.fromkeys(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"], "i8"),
    **dict.fromkeys(["float", "double"], "f8"),
    "bool": "?",
}
"""For Arrow's types the type of NumPy's array of the same values as Python's ints, floats, bools.

Not uint64: of its values NumPy makes an int64 or a uint64 array, depending on how large they are.
"""


def native_batch_type(node: Node[..., Any]) -> DataType | None:
    """Daft's type for what a batch node returns, where it is an array of numbers; else None."""
    if node.options.batch not in ("numpy", "arrow") or len(node.outputs) > 1 or node.is_async:
        return None
    (annotation,) = node.output_types
    return _PLAIN[annotation][0] if annotation in _KINDS else None


class NativeBatchUDF(ColumnUDF):
    """A batch node from columns of Daft's own types to one: no value becomes a Python object.

    It raises what the node raises.

    Args:
        node: the node.
        note: notes on an error where it was raised.
        arguments: the parameter of each column, in order.
        shared: the values of the other parameters.
    """

    def __init__(
        self,
        cells: Cells,
        chain: Sequence[str],
        order: int,
        remote: bool,
        *,
        node: Node[..., Any],
        note: Callable[[BaseException], None],
        arguments: Sequence[str],
        shared: Mapping[str, object],
    ) -> None:
        super().__init__(cells, chain, order, remote)
        self.node = node
        self.note = note
        self.arguments = tuple(arguments)
        self.shared = dict(shared)

    def __str__(self) -> str:
        return f"node {self.node.name!r}"

    def __call__(self, *series: Series) -> Series:
        return self.cells.query.call(self._call, series)

    def _call(self, series: Sequence[Series]) -> Series:
        node, count = self.node, len(series[0])
        make = BATCHES[node.options.batch or ""]
        values = dict(zip(self.arguments, [self._batch(each) for each in series], strict=True))
        args: list[object] = []
        kwargs: dict[str, object] = {}
        for name, parameter in node.parameters.items():
            single = parameter.kind is parameter.KEYWORD_ONLY
            value = values[name] if name in values else self.shared[name]
            if name not in values and not single:
                value = make([value] * count)
            if single:
                kwargs[name] = value
            else:
                args.append(value)
        try:
            return self._series(node.guarded(*args, **kwargs), count)
        except BaseException as error:
            self.note(error)
            for note in self.chain:
                add_note(error, note)
            raise

    def _batch(self, series: Series) -> object:
        """The batch that `BATCHES` would make of a list of a column's values, without the list."""
        array: pa.Array = series.to_arrow()
        if self.node.options.batch == "arrow":
            return array
        type_ = _AS_NUMPY.get(str(array.type))
        if array.null_count == 0 and type_ is not None:
            return array.to_numpy(zero_copy_only=False).astype(type_, copy=False)
        return BATCHES["numpy"](array.to_pylist())

    def _series(self, result: Any, count: int) -> Series:
        type_, (annotation,) = native_batch_type(self.node), self.node.output_types
        assert type_ is not None  # else the node would have cells
        kind = getattr(getattr(result, "dtype", None), "kind", None)
        if kind in tuple(_KINDS[annotation]) and result.ndim == 1 and len(result) == count:
            return Series.from_numpy(result).cast(type_)
        values = items_of(result, count, self.node.name)
        check = _PLAIN[annotation][1]
        for item, value in enumerate(values):
            if not check(value):
                raise ResultError(
                    f"batch node {self.node.name!r} is annotated to make items of "
                    f"{annotation.__name__}, and item {item} of its batch is {value!r:.60}: mend "
                    "the annotation, or leave it out"
                )
        return Series.from_pylist(values, dtype=type_)
