"""What identifies the values of libraries: NumPy, SciPy, pandas, Polars, Arrow and PyTorch.

`values` calls `register_LIBRARY()` when the first value of a library is met: importing this module
imports none of them. How a table is laid out (blocks, chunks, slices of a longer one) does not
count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypernodes.identity.values import Parts, Raw, Unidentifiable, identify, public_state


def register_numpy() -> None:
    """Teach `identify` about NumPy."""
    import numpy as np

    @identify.register(np.ndarray)
    def _array(value: Any) -> Parts:
        dtype = value.dtype
        shape = (type(value), dtype.descr if dtype.names else dtype.str, value.shape)
        if isinstance(value, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(value)
            return Parts("masked array", [*shape, mask, value.filled(0).view(np.ndarray)])
        if dtype.hasobject or dtype.kind == "T":  # StringDType keeps its texts elsewhere
            return Parts("ndarray of objects", [*shape, value.tolist()])
        flat = np.ascontiguousarray(value).reshape(-1).view(np.ndarray)
        return Parts("ndarray", [*shape, Raw(flat.view(np.uint8))])

    @identify.register(np.generic)
    def _scalar(value: Any) -> Parts:
        return Parts("numpy scalar", [np.asarray(value)])

    @identify.register(np.dtype)
    def _dtype(value: Any) -> Parts:
        return Parts("dtype", [value.descr if value.names else value.str])


def register_scipy() -> None:
    """Teach `identify` about SciPy's sparse matrices and arrays: not by the order of entries."""
    import numpy as np
    from scipy import sparse

    kinds = [sparse.spmatrix, *([sparse.sparray] if hasattr(sparse, "sparray") else [])]

    def _sparse(value: Any) -> Parts:
        entries = value.tocoo(copy=True)
        entries.sum_duplicates()
        places = getattr(entries, "coords", None) or (entries.row, entries.col)
        places = [np.asarray(each, np.int64) for each in places]
        return Parts("sparse", [type(value), value.format, value.shape, *places, entries.data])

    for kind in kinds:
        identify.register(kind, _sparse)


def register_pandas() -> None:
    """Teach `identify` about pandas."""
    import pandas as pd
    from pandas.api.extensions import ExtensionArray, ExtensionDtype

    @identify.register(pd.DataFrame)
    def _frame(value: Any) -> Parts:
        columns = [value.iloc[:, place].array for place in range(value.shape[1])]
        return Parts("DataFrame", [type(value), value.columns, value.index, value.attrs, *columns])

    @identify.register(pd.Series)
    def _series(value: Any) -> Parts:
        return Parts("Series", [type(value), value.name, value.index, value.attrs, value.array])

    @identify.register(pd.Index)
    def _index(value: Any) -> Parts:
        if isinstance(value, pd.RangeIndex):
            return Parts("RangeIndex", [value.name, value.start, value.stop, value.step])
        if isinstance(value, pd.MultiIndex):
            levels = [value.get_level_values(place) for place in range(value.nlevels)]
            return Parts("MultiIndex", levels)
        return Parts(
            "Index", [type(value), value.name, getattr(value, "freqstr", None), value.array]
        )

    @identify.register(ExtensionArray)
    def _column(value: Any) -> Parts:
        dtype = value.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            return Parts("categorical", [value.codes, dtype])
        if hasattr(dtype, "pyarrow_dtype"):
            return Parts("arrow", [dtype, value.__arrow_array__()])
        if not isinstance(dtype, ExtensionDtype):  # a NumPy array in pandas' clothes
            return Parts("numpy", [dtype, value.to_numpy()])
        if isinstance(dtype, pd.DatetimeTZDtype):
            return Parts("datetimes", [dtype, value.asi8])
        return Parts("extension", [dtype, value.isna(), value[~value.isna()].to_numpy()])

    @identify.register(ExtensionDtype)
    def _dtype(value: Any) -> Parts:
        if isinstance(value, pd.CategoricalDtype):
            return Parts("categories", [value.categories, value.ordered])
        return Parts("dtype", [type(value), str(value)])

    @identify.register(pd.Timedelta)
    def _timedelta(value: Any) -> Parts:
        return Parts("Timedelta", [value.unit, value.asm8])

    @identify.register(type(pd.NA))
    @identify.register(type(pd.NaT))
    def _missing(value: Any) -> Parts:
        return Parts(type(value).__name__)


def register_polars() -> None:
    """Teach `identify` about Polars."""
    import polars as pl

    @identify.register(pl.DataFrame)
    def _frame(value: Any) -> Parts:
        return Parts("polars frame", [value.height, *value.get_columns()])

    @identify.register(pl.Series)
    def _series(value: Any) -> Parts:
        return Parts("polars series", [value.name, value.dtype, *content(value)])

    def content(value: Any) -> Iterator[Any]:
        if value.dtype.is_numeric() and not value.dtype.is_decimal():
            if value.null_count():
                yield value.is_null().to_numpy()
                value = value.drop_nulls()
            yield value.to_numpy()
        elif value.dtype.is_temporal():
            yield from content(value.to_physical())
        else:
            yield value.to_list()

    @identify.register(pl.DataType)
    def _dtype(value: Any) -> Parts:
        categories = value.categories if isinstance(value, pl.Enum) else None
        return Parts("polars type", [repr(value), categories])


def register_pyarrow() -> None:
    """Teach `identify` about Arrow."""
    import pyarrow as pa
    import pyarrow.types as types

    @identify.register(pa.Table)
    @identify.register(pa.RecordBatch)
    def _table(value: Any) -> Parts:
        kind = "arrow table" if isinstance(value, pa.Table) else "arrow batch"
        return Parts(kind, [value.schema, value.num_rows, *value.columns])

    @identify.register(pa.ChunkedArray)
    @identify.register(pa.Array)
    def _array(value: Any) -> Parts:
        kind = "arrow chunks" if isinstance(value, pa.ChunkedArray) else "arrow array"
        return Parts(kind, [value.type, *content(value)])

    def content(value: Any) -> Iterator[Any]:
        kind = value.type
        if types.is_dictionary(kind):
            value = value.cast(kind.value_type)
        elif isinstance(kind, pa.BaseExtensionType):
            value = value.cast(kind.storage_type)
        if value.null_count:
            yield (
                value.is_null().to_numpy(zero_copy_only=False)
                if isinstance(value, pa.Array)
                else value.is_null().to_numpy()
            )
            value = value.drop_null()
        kind = value.type
        if types.is_temporal(kind) and not types.is_interval(kind):
            value = value.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
            kind = value.type
        if types.is_integer(kind) or types.is_floating(kind):
            chunked = isinstance(value, pa.ChunkedArray)
            yield value.to_numpy() if chunked else value.to_numpy(zero_copy_only=False)
        else:
            yield value.to_pylist()

    @identify.register(pa.Scalar)
    def _scalar(value: Any) -> Parts:
        return Parts("arrow scalar", [value.type, value.as_py()])

    @identify.register(pa.DataType)
    def _dtype(value: Any) -> Parts:
        return Parts("arrow type", [str(value)])

    @identify.register(pa.Schema)
    def _schema(value: Any) -> Parts:
        return Parts("arrow schema", [dict(value.metadata or {}), *value])

    @identify.register(pa.Field)
    def _field(value: Any) -> Parts:
        return Parts(
            "arrow field", [value.name, value.type, value.nullable, dict(value.metadata or {})]
        )


def register_torch() -> None:
    """Teach `identify` about PyTorch."""
    import torch

    @identify.register(torch.Tensor)
    def _tensor(value: Any) -> Parts:
        about = [
            type(value), str(value.dtype), tuple(value.shape), value.device.type,
            value.requires_grad,
        ]  # fmt: skip
        if value.is_quantized or value.is_meta:
            raise Unidentifiable(f"a tensor of type {value.dtype} on {value.device}")
        bare = value.detach()
        if value.layout is not torch.strided:
            entries = bare.to_sparse_coo().coalesce()
            return Parts("sparse tensor", [*about, str(value.layout), entries.indices(),
                                           entries.values()])  # fmt: skip
        flat = bare.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return Parts("tensor", [*about, Raw(flat.view(torch.uint8).numpy())])

    @identify.register(torch.nn.Module)
    def _module(value: Any) -> Parts:
        state = vars(value)
        held = [state[name] for name in ("_parameters", "_buffers", "_modules")]
        return Parts("torch module", [type(value), public_state(value), *map(dict, held)])
