"""Columns of a lazy frame whose values are of one of Daft's types as soon as a node has made them.

A value that Daft would change, or that is missing since its item failed, is a cell in a second
column beside it. Nearly always that one is all null, and nobody looks at a single value again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from daft import DataType, Series

from hypernodes.engines.daft.cells import Cell

KINDS: dict[object, DataType] = {
    int: DataType.int64(),
    float: DataType.float64(),
    str: DataType.string(),
}
"""The types of values that Daft keeps as they are, as long as their type is exactly this one."""

ANY = object()
"""In place of such a type: the values of the column stay as they are, whatever they are."""

_NUMPY: dict[object, Any] = {int: np.int64, float: np.float64}


class CellValue:
    """A cell among the values of a typed column.

    Args:
        cell: the cell.
    """

    __slots__ = ("cell",)

    def __init__(self, cell: Cell) -> None:
        self.cell = cell


def fields_of(values: Sequence[Any], kind: object, dump: Any) -> tuple[pa.Array, list[Cell] | None]:
    """The values of a column as an array, and cells of those that it cannot hold.

    Args:
        values: values of exactly one type, and `CellValue`s.
        kind: the type, one of `KINDS`.
        dump: makes a cell of a value.

    Returns:
        The array, and the cells; None where every value is in the array.
    """
    try:
        return _array(values, kind), None
    except Exception:  # a cell, an int of more than 64 bits, a lone surrogate
        cells = [each.cell if type(each) is CellValue else dump(each) for each in values]
        return pa.nulls(len(values), KINDS[kind].to_arrow_dtype()), cells


def _array(values: Sequence[Any], kind: object) -> pa.Array:
    if kind in _NUMPY:  # `pa.array` would import pandas first
        numbers = np.fromiter(values, _NUMPY[kind], len(values))
        type_ = KINDS[kind].to_arrow_dtype()
        return pa.Array.from_buffers(type_, len(numbers), [None, pa.py_buffer(numbers)])
    return Series.from_pylist(list(values), dtype=KINDS[kind]).to_arrow()


def values_of(values: Series, cells: Series) -> tuple[list[Any], bool]:
    """The values of a typed column; where some are cells, these stand for them as bytes.

    Args:
        values: the column.
        cells: the cells beside it.

    Returns:
        The list, and whether cells are among it.
    """
    if is_null(cells):
        return values.to_pylist(), False
    pairs = zip(values.to_pylist(), cells.to_pylist(), strict=True)
    return [value if cell is None else cell for value, cell in pairs], True


def is_null(cells: Series) -> bool:
    """Whether no value of a typed column is a cell.

    Args:
        cells: the cells beside it.
    """
    return bool(cells.to_arrow().null_count == len(cells))
