"""Batch nodes over numbers, from a frame's own columns on: no value becomes a Python object.

What such a node makes is cells like any other's, so that nothing depends on how it was called. But
the pickle of a float, an int or a bool has a fixed width, and a whole array of them is made, and
read again, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from daft import DataType, Series

from hypernodes.batch import BATCHES, alike, call_batch, items_of
from hypernodes.engines.daft.cells import Cells, load_named
from hypernodes.engines.daft.udf import BINARY, ColumnUDF
from hypernodes.errors import ResultError, add_note, in_short
from hypernodes.node import Node

_PICKLES = (
    # NumPy's kind, what comes before the number, the type of its bytes, NumPy's type
    ("f", b"\x80\x05G", ">f8", "f8"),
    ("i", b"\x80\x05\x8a\x08", "<i8", "i8"),
    ("b", b"\x80\x05", "u1", "?"),
)
"""Pickles of numbers, as pickletools shows them: PROTO 5, then BINFLOAT with 8 bytes, LONG1 with 8
bytes, or NEWTRUE and NEWFALSE; at last STOP."""
_STOP = ord(".")
_NEWTRUE, _NEWFALSE = 0x88, 0x89


def cells_of_numbers(values: np.ndarray[Any, Any]) -> pa.Array | None:
    """The cells of an array's numbers; None where they are no floats, ints or bools of Python's.

    >>> import pickle
    >>> [pickle.loads(cell) for cell in cells_of_numbers(np.array([1, -2])).to_pylist()]
    [1, -2]
    """
    kind = values.dtype.kind
    if kind == "u" and (values.dtype.itemsize < 8 or not (values >> 63).any()):
        kind = "i"
    found = next((each for each in _PICKLES if each[0] == kind), None)
    if found is None or values.dtype.itemsize > 8:  # a long double, which is no float
        return None
    _, before, type_, _ = found
    if kind == "b":
        values = np.where(values, _NEWTRUE, _NEWFALSE)
    count, size = len(values), np.dtype(type_).itemsize
    width = len(before) + size + 1
    data = np.empty((count, width), np.uint8)
    data[:, : len(before)] = np.frombuffer(before, np.uint8)
    data[:, len(before) : -1] = values.astype(type_)[:, None].view(np.uint8).reshape(count, size)
    data[:, -1] = _STOP
    offsets = pa.py_buffer(np.arange(0, (count + 1) * width, width, dtype=np.int64))
    return pa.LargeBinaryArray.from_buffers(BINARY, count, [None, offsets, pa.py_buffer(data)])


def numbers_of_cells(cells: pa.Array) -> np.ndarray[Any, Any] | None:
    """The numbers in cells that `cells_of_numbers` has made; None where others are among them."""
    count = len(cells)
    if not count or cells.null_count or cells.type != BINARY:
        return None
    _, offset_buffer, buffer = cells.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, count + 1, 8 * cells.offset)
    width = int(offsets[1] - offsets[0])
    for _, before, type_, made in _PICKLES:
        if width != len(before) + np.dtype(type_).itemsize + 1 or (np.diff(offsets) != width).any():
            continue
        data = np.frombuffer(buffer, np.uint8, count * width, offsets[0]).reshape(count, width)
        start = np.frombuffer(before, np.uint8)
        if (data[:, : len(before)] != start).any() or (data[:, -1] != _STOP).any():
            continue
        if made == "?":
            flags = data[:, -2]
            known = np.isin(flags, (_NEWTRUE, _NEWFALSE)).all()
            return flags == _NEWTRUE if known else None
        return np.ascontiguousarray(data[:, len(before) : -1]).view(type_)[:, 0].astype(made)
    return None


_AS_NUMPY = {
    **dict.fromkeys(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"], "i8"),
    **dict.fromkeys(["float", "double"], "f8"),
    "bool": "?",
}
"""For Arrow's types the type of NumPy's array of the same values as Python's ints, floats, bools.

Not uint64: of its values NumPy makes an int64 or a uint64 array, depending on how large they are.
"""


def native_batch_type(node: Node[..., Any]) -> DataType | None:
    """Daft's type for the cells of a batch node of numbers; None for another node."""
    options = node.options
    if options.batch not in ("numpy", "arrow") or len(node.outputs) > 1 or node.is_async:
        return None
    (annotation,) = node.output_types
    return DataType.binary() if annotation in (int, float, bool) else None


class NativeBatchUDF(ColumnUDF):
    """A batch node that reads a frame's own columns, and what other nodes of this kind made.

    It raises what the node raises.

    Args:
        node: the node.
        note: notes on an error where it was raised.
        arguments: the parameter of each column, in order.
        native: which columns are the frame's own; the others have cells.
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
        native: Sequence[bool],
        shared: Mapping[str, object],
    ) -> None:
        super().__init__(cells, chain, order, remote)
        self.node = node
        self.note = note
        self.arguments = tuple(arguments)
        self.native = tuple(native)
        self.shared = dict(shared)

    def __str__(self) -> str:
        return f"node {self.node.name!r}"

    def __call__(self, *series: Series) -> Series:
        return Series.from_arrow(self.cells.query.call(self._call, series))

    def _call(self, series: Sequence[Series]) -> pa.Array:
        count = len(series[0])
        if not count:
            return pa.array([], BINARY)
        try:
            return self._call_once(series)
        except Exception as error:
            if count == 1 or isinstance(error, ResultError):  # of which no row is the reason
                raise
        made = []
        for place in range(count):
            row = [each.slice(place, place + 1) for each in series]
            try:
                made.append(self._call_once(row))
            except Exception as error:
                given = zip(self.arguments, self.native, row, strict=True)
                values = {name: each.to_pylist()[0] for name, native, each in given if native}
                add_note(error, f"in an item with {in_short(values)}" if values else "in an item")
                raise
        return pa.concat_arrays(made)

    def _call_once(self, series: Sequence[Series]) -> pa.Array:
        node, count = self.node, len(series[0])
        kind = node.options.batch
        make = BATCHES[kind or ""]
        try:
            given: dict[str, Any] = {}
            for name, native, each in zip(self.arguments, self.native, series, strict=True):
                given[name] = self._batch(name, native, each)
            single = {
                name
                for name, parameter in node.parameters.items()
                if parameter.kind is parameter.KEYWORD_ONLY
            }
            kwargs = {n: given[n] if n in given else self.shared[n] for n in single}
            batches: list[Any] = [
                given[name] if name in given else [self.shared[name]] * count
                for name in node.parameters
                if name not in single
            ]
            groups: Sequence[Sequence[int]] = [range(count)]
            if any(type(each) is list for each in batches):
                columns = [
                    each if type(each) is list else items_of(each, count, node.name)
                    for each in batches
                ]
                groups = alike(kind, list(zip(*columns, strict=True)))
            if len(groups) == 1:
                args = [make(each) if type(each) is list else each for each in batches]
                return self._cells(node.guarded(*args, **kwargs), count)
            made: list[object] = [None] * count
            for places in groups:
                parts = [[column[place] for place in places] for column in columns]
                values = call_batch(node, parts, kwargs, len(places))
                for place, value in zip(places, values, strict=True):
                    made[place] = value
            return self._cells(made, count)
        except BaseException as error:
            self.note(error)
            for note in self.chain:
                add_note(error, note)
            raise

    def _batch(self, name: str, native: bool, series: Series) -> object:
        """The batch that `BATCHES` would make of a column's values, or the list of them."""
        numbers, array = None, series.to_arrow()
        if not native:
            numbers = numbers_of_cells(array)
        elif array.null_count == 0 and str(array.type) in _AS_NUMPY:
            # A copy: the node may change it in place, and the frame's column is the user's.
            numbers = array.to_numpy(zero_copy_only=False).astype(_AS_NUMPY[str(array.type)])
        if numbers is not None:
            return numbers if self.node.options.batch == "numpy" else pa.array(numbers)
        # Of tensors, images and Python's objects Arrow has only what Daft keeps them in.
        values = series.to_pylist()
        if not native:
            values = [load_named(f"input {name!r}", value) for value in values]
        return values

    def _cells(self, result: Any, count: int) -> pa.Array:
        cells, numbers = None, result
        if isinstance(result, pa.Array) and not result.null_count and str(result.type) in _AS_NUMPY:
            numbers = result.to_numpy(zero_copy_only=False)
        if type(numbers) is np.ndarray and numbers.shape == (count,):
            cells = cells_of_numbers(numbers)
        if cells is None:
            values = items_of(result, count, self.node.name)
            cells = pa.array([self.cells.query.dump(value) for value in values], BINARY)
        return cells
