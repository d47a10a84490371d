"""HyperNodes: hierarchical, cached data pipelines out of functions for one item."""

from typing import TYPE_CHECKING, Any

from hypernodes import moved
from hypernodes.cache import Cache, DiskCache, FsspecCache, MemoryCache
from hypernodes.callbacks import CallbackContext, PipelineCallback
from hypernodes.engines import DaftEngine, Engine, HyperNodesEngine
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
    NodeTimeoutError,
    OutputNameError,
    RefreshError,
    ResultError,
    SerializationError,
    UnknownInputError,
    UnsafeCacheError,
    WorkerLostError,
    did_you_mean,
    failing_node,
)
from hypernodes.executors import AsyncExecutor
from hypernodes.nested import PipelineNode
from hypernodes.node import Node, node
from hypernodes.pipeline import Pipeline
from hypernodes.results import FailedItem, Results
from hypernodes.retries import Retry, exponential_backoff
from hypernodes.stateful import stateful
from hypernodes.types import Input, Output

if TYPE_CHECKING:
    from hypernodes.observe.progress import ProgressCallback
    from hypernodes.observe.timeline import Timeline, record
    from hypernodes.observe.tracing import TracingCallback

__version__ = "1.0.0.dev0"

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
    "FsspecCache",
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
    "NodeTimeoutError",
    "Output",
    "OutputNameError",
    "Pipeline",
    "PipelineCallback",
    "PipelineNode",
    "ProgressCallback",
    "RefreshError",
    "ResultError",
    "Results",
    "Retry",
    "SerializationError",
    "Timeline",
    "TracingCallback",
    "UnknownInputError",
    "UnsafeCacheError",
    "WorkerLostError",
    "exponential_backoff",
    "failing_node",
    "node",
    "record",
    "stateful",
]

_LAZY = {
    "ProgressCallback": "hypernodes.observe.progress",
    "Timeline": "hypernodes.observe.timeline",
    "TracingCallback": "hypernodes.observe.tracing",
    "record": "hypernodes.observe.timeline",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        if hint := moved.name(name):
            # Of an AttributeError, `from hypernodes import name` would keep no text.
            raise ImportError(f"there is no {name!r} in hypernodes {__version__}{hint}")
        raise AttributeError(
            f"module 'hypernodes' has no attribute {name!r}.{did_you_mean(name, __all__)}"
        )
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
