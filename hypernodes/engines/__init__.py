"""The engines: what walks a pipeline's graph."""

from hypernodes.engines.base import Engine
from hypernodes.engines.daft.engine import DaftEngine
from hypernodes.engines.native import HyperNodesEngine
from hypernodes.results import FailedItem

__all__ = ["DaftEngine", "Engine", "FailedItem", "HyperNodesEngine"]
