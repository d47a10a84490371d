"""The engines: what walks a pipeline's graph."""

from hypernodes.engines.base import Engine, FailedItem
from hypernodes.engines.native import HyperNodesEngine

__all__ = ["Engine", "FailedItem", "HyperNodesEngine"]
