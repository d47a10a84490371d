"""What identifies the values of libraries.

Importing this package imports none of them: a file's functions are marked with `when_met`, and run
when the first value of their library is met. What can make two values behave differently counts:
content, types, metadata, flags. How a value is laid out in memory (strides, padding, blocks,
chunks) does not, nor what it caches only to be quicker. What leads out of the process (files,
streams) is declined.

numeric  NumPy, SciPy and PyTorch
tables   pandas, GeoPandas and Polars
arrow    Arrow
others   scikit-learn, NetworkX, Pillow, xarray and astropy
wrappers wrapt, numba, tenacity and pydantic: what they make of functions and types
"""

from hypernodes.identity.libraries import arrow, numeric, others, tables, wrappers  # noqa: F401
