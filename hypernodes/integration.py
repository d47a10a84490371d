"""What an adapter needs beside the public page: for those who run pipelines inside other systems.

An adapter has an engine or a callback that speaks to a scheduler, a service or a monitor. It can
import everything from `hypernodes`, `hypernodes.visualize` and this module, whose names are as
stable as those of `hypernodes`. `prefect_hypernodes` is written this way.

To report what happens:

- `ScopeCallback`: the base of a callback for which a pipeline, a map, an item and a node are all
  the same: something that starts and ends.
- `NodeRecord`: what happened in a node's run, as `ctx.record` has it once the run is over.
- `traceback_text`: an error's traceback, from the user's function on, wherever that ran.
- `in_short`: values by name, cut to what a message has room for.
- `CURRENT_CALL`: a context variable with the `NodeCall` that is going on, for a node context that
  is entered around it: the arguments, the attempt, and a place to listen to retries.
- `ContextMaker`: the type of what `PipelineCallback.node_context_maker` returns.

To bound what all runs together do at once:

- `SLOTS`: a context variable that a node context sets, to take a slot of each limit that a node
  names in `concurrency_limit`. It is called with the names, and gives a context manager for each
  attempt, to be entered with `with`, or `async with` for an async node.

To check and describe a run before it begins:

- `Plan`: what `pipeline.plan(output_name)` returns. `plan.given` has the inputs that are read;
  `pipeline.check_inputs` and `pipeline.check_items` say what is wrong with those of a run.
- `names_to_refresh`: what `run(..., refresh=[...])` can name in a pipeline.
- `OutputName`, `MapOver`, `MapMode`, `ErrorHandling`: the types of what `run` and `map` take.

To run a pipeline, which blocks, from code that is async, or the other way round:

- `running_loop`: the event loop that runs in this thread, or None.
- `is_awaited`: whether a function's result is to be awaited, and not a value to be passed on.
- `Outcome`: what a call returned or raised, as a value: no future takes a StopIteration.
- `in_own_thread`: await a blocking call. If the awaiting task is cancelled, so is the run.
- `CALLER_LOOP`: a context variable with the event loop of whoever called the engine. Async nodes
  run on it, so that the caller's sessions and locks work in them. Set it to None where that loop
  waits for the run.
- `CANCELLATION`: a context variable with the `CancelToken` of the runs in this context, or None.
  A run that is cancelled through it starts no more nodes.
"""

from hypernodes.callbacks import ContextMaker
from hypernodes.errors import in_short, traceback_text
from hypernodes.event_loops import (
    CALLER_LOOP,
    CANCELLATION,
    CancelToken,
    Outcome,
    in_own_thread,
    is_awaited,
    running_loop,
)
from hypernodes.map_over import MapMode, MapOver
from hypernodes.node_record import CURRENT_CALL, NodeCall, NodeRecord
from hypernodes.plan import Plan
from hypernodes.refresh import names_to_refresh
from hypernodes.retries import SLOTS
from hypernodes.scope_callback import ScopeCallback
from hypernodes.types import ErrorHandling, OutputName

__all__ = [
    "CALLER_LOOP",
    "CANCELLATION",
    "CURRENT_CALL",
    "SLOTS",
    "CancelToken",
    "ContextMaker",
    "ErrorHandling",
    "MapMode",
    "MapOver",
    "NodeCall",
    "NodeRecord",
    "Outcome",
    "OutputName",
    "Plan",
    "ScopeCallback",
    "in_own_thread",
    "in_short",
    "is_awaited",
    "names_to_refresh",
    "running_loop",
    "traceback_text",
]
