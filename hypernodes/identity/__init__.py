"""What identifies a function and a value: equal when, and only when, they are.

values     digests of values, and the traversal that makes them
bytecode   what a code object does, and which names it uses
packages   whose code it is: of an installed package, the standard library, or one's own
code       digests of functions, with all that they reach by name
libraries  values of NumPy, SciPy, pandas, Polars, Arrow and PyTorch

A file registers with `values.identify` what it knows of; importing this package imports them all.
"""

from hypernodes.identity import libraries  # noqa: F401
from hypernodes.identity.code import code_of, fingerprint
from hypernodes.identity.values import Parts, Raw, Unidentifiable, combine, identify, sign

__all__ = [
    "Parts",
    "Raw",
    "Unidentifiable",
    "code_of",
    "combine",
    "fingerprint",
    "identify",
    "sign",
]
