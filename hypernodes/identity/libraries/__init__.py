"""What identifies the values of libraries.

`values` calls `register_LIBRARY()`, or `register_LIBRARY_MODULE()`, when the first value of it is
met: importing this package imports none of them. What can make two values behave differently
counts: content, types, metadata, flags. How a value is laid out in memory (strides, padding,
blocks, chunks) does not, nor what it keeps only to be quicker. What leads out of the process
(files, streams) is declined.

numeric  NumPy, SciPy and PyTorch
tables   pandas, GeoPandas and Polars
arrow    Arrow
others   scikit-learn, NetworkX, Pillow, xarray and astropy
wrappers wrapt, numba, tenacity and pydantic: what they make of functions and types
"""

from hypernodes.identity.libraries.arrow import register_pyarrow, register_pyarrow__dataset
from hypernodes.identity.libraries.numeric import (
    register_numpy,
    register_scipy,
    register_scipy_spatial,
    register_scipy_stats,
    register_torch,
)
from hypernodes.identity.libraries.others import (
    register_astropy,
    register_astropy_coordinates,
    register_astropy_table,
    register_networkx,
    register_PIL,
    register_PIL_ImageFont,
    register_sklearn,
    register_sklearn_neighbors,
    register_xarray,
)
from hypernodes.identity.libraries.tables import (
    register_geopandas,
    register_pandas,
    register_polars,
)
from hypernodes.identity.libraries.wrappers import (
    register__wrappers,
    register_msgspec,
    register_numba,
    register_pydantic__internal,
    register_pydantic_fields,
    register_pydantic_type_adapter,
    register_tenacity,
    register_toolz_functoolz,
    register_wrapt,
)

__all__ = [
    "register_PIL",
    "register_PIL_ImageFont",
    "register__wrappers",
    "register_astropy",
    "register_astropy_coordinates",
    "register_astropy_table",
    "register_geopandas",
    "register_msgspec",
    "register_networkx",
    "register_numba",
    "register_numpy",
    "register_pandas",
    "register_polars",
    "register_pyarrow",
    "register_pyarrow__dataset",
    "register_pydantic__internal",
    "register_pydantic_fields",
    "register_pydantic_type_adapter",
    "register_scipy",
    "register_scipy_spatial",
    "register_scipy_stats",
    "register_sklearn",
    "register_sklearn_neighbors",
    "register_tenacity",
    "register_toolz_functoolz",
    "register_torch",
    "register_wrapt",
    "register_xarray",
]
