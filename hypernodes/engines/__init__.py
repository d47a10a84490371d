"""The engines: what walks a pipeline's graph."""

from hypernodes.engines.base import Engine, FailedItem
from hypernodes.engines.daft.engine import DaftEngine
from hypernodes.engines.native import HyperNodesEngine

__all__ = ["DaftEngine", "Engine", "FailedItem", "HyperNodesEngine"]
