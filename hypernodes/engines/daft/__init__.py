"""`DaftEngine`: the same pipeline as operations on a Daft frame."""

from hypernodes.engines.daft.engine import DaftEngine
from hypernodes.engines.daft.options import DaftOptions

__all__ = ["DaftEngine", "DaftOptions"]
