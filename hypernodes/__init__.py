"""HyperNodes: hierarchical, cached data pipelines out of functions for one item."""

from hypernodes.cache import Cache, DiskCache, MemoryCache
from hypernodes.callbacks import CallbackContext, PipelineCallback
from hypernodes.engines import DaftEngine, Engine, FailedItem, HyperNodesEngine
from hypernodes.errors import (
    CacheWarning,
    Cancelled,
    CrossingError,
    CycleError,
    DuplicateOutputError,
    GraphError,
    HyperNodesError,
    InputError,
    MapOverError,
    MissingInputError,
    NodeError,
    OutputNameError,
    ResultError,
    UnknownInputError,
    WorkerLostError,
    failing_node,
)
from hypernodes.executors import AsyncExecutor
from hypernodes.node import Input, Node, Output, node
from hypernodes.pipeline import Pipeline, PipelineNode

__version__ = "0.1.0.dev0"

__all__ = [
    "AsyncExecutor",
    "Cache",
    "CacheWarning",
    "CallbackContext",
    "Cancelled",
    "CrossingError",
    "CycleError",
    "DaftEngine",
    "DiskCache",
    "DuplicateOutputError",
    "Engine",
    "FailedItem",
    "GraphError",
    "HyperNodesEngine",
    "HyperNodesError",
    "Input",
    "InputError",
    "MapOverError",
    "MemoryCache",
    "MissingInputError",
    "Node",
    "NodeError",
    "Output",
    "OutputNameError",
    "Pipeline",
    "PipelineCallback",
    "PipelineNode",
    "ResultError",
    "UnknownInputError",
    "WorkerLostError",
    "failing_node",
    "node",
]
