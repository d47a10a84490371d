"""What identifies NumPy's arrays and scalars, and SciPy's sparse ones.

Imported when the first one is met, as the other `signature_...` modules are for their libraries.
"""

from __future__ import annotations

from typing import Any

from hypernodes.signature import Parts, Raw, identify


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
