"""`DaftEngine`: the same pipeline as operations on a Daft frame."""

from hypernodes.engines.daft.engine import DaftEngine

__all__ = ["DaftEngine"]
