"""What identifies NumPy's arrays and scalars; imported when the first one is met."""

from __future__ import annotations

from typing import Any

import numpy as np

from hypernodes.signature import Parts, Raw, identify


@identify.register(np.ndarray)
def _array(value: Any) -> Parts:
    shape = (type(value), value.dtype.descr if value.dtype.names else value.dtype.str, value.shape)
    if value.dtype.hasobject:
        return Parts("ndarray of objects", [*shape, value.tolist()])
    return Parts("ndarray", [*shape, Raw(np.ascontiguousarray(value).reshape(-1).view(np.uint8))])


@identify.register(np.generic)
def _scalar(value: Any) -> Parts:
    return Parts("numpy scalar", [np.asarray(value)])


@identify.register(np.dtype)
def _dtype(value: Any) -> Parts:
    return Parts("dtype", [value.descr if value.names else value.str])
