"""Edges between native tasks and the nodes of pipelines, in a flow of one's own.

Prefect remembers in a flow run's context which of its tasks made a value. A value that a native
task made and that is given to a pipeline is found there; what a pipeline makes is noted there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import RunType, StateDetails
from prefect.context import FlowRunContext
from prefect.states import Completed
from prefect.utilities.engine import (
    get_state_for_result,
    link_state_to_result,
    link_state_to_task_run_result,
)

from hypernodes import CallbackContext
from prefect_hypernodes.events import FlowRunId

#: Prefect notes each element of a collection: of a larger one that takes longer than it is worth.
ELEMENTS = 1_000
#: So does noting a tenth of a millisecond for each of more outputs than this.
OUTPUTS = 200


def made_by_tasks(values: Mapping[str, Any]) -> dict[str, UUID]:
    """The native task run or subflow that made each of some values, for those that one has made."""
    flow = FlowRunContext.get()
    return {} if flow is None or not flow.run_results else dict(_made_by_tasks(values))


def _made_by_tasks(values: Mapping[str, Any]) -> Iterator[tuple[str, UUID]]:
    for name, value in values.items():
        state, kind = get_state_for_result(value) or (None, None)
        if state is None:
            continue
        details = state.state_details
        if kind is RunType.TASK_RUN and details.task_run_id is not None:
            yield name, details.task_run_id
        elif kind is RunType.FLOW_RUN and details.flow_run_id is not None:
            yield name, FlowRunId(details.flow_run_id.hex)


@contextmanager
def known_as_shown(values: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[None]:
    """While a subflow is called: what is shown of values comes from the tasks that made them.

    Prefect looks for these by the parameters that the subflow is called with.

    Args:
        values: the values, by name.
        shown: what is shown of them.
    """
    flow = FlowRunContext.get()
    results: dict[int, Any] = {} if flow is None else flow.run_results
    before = set(results)
    for value, copy in _pairs(values, shown) if results else ():
        if (found := get_state_for_result(value)) is not None:
            state, kind = found
            details = state.state_details.model_copy()  # which linking changes
            link_state_to_result(state.model_copy(update={"state_details": details}), copy, kind)
    added = results.keys() - before
    try:
        yield
    finally:
        for each in added:
            results.pop(each, None)


def _pairs(value: Any, shown: Any) -> Iterator[tuple[Any, Any]]:
    """A value with what is shown of it, and so for the elements of a small collection."""
    yield value, shown
    elements: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping) and isinstance(shown, dict) and len(shown) <= ELEMENTS:
        elements = [(value[name], shown[name]) for name in value if name in shown]
    elif isinstance(value, list | tuple) and isinstance(shown, list) and len(shown) <= ELEMENTS:
        elements = zip(value, shown, strict=False)
    for each in elements:
        yield from _pairs(*each)


def note_made(
    ctx: CallbackContext, outputs: Mapping[str, Any], made: Mapping[str, CallbackContext]
) -> None:
    """Note which task runs made what a pipeline returns.

    Args:
        ctx: the pipeline's scope.
        outputs: what it returns, by name.
        made: its nodes' scopes, by the node's id.
    """
    flow = FlowRunContext.get()
    if flow is None or flow.flow_run is None or len(outputs) > OUTPUTS:
        return
    # Copies: making a state takes longer than most nodes.
    state: Any = Completed()
    details = StateDetails(flow_run_id=flow.flow_run.id)
    made_by = {name: id for id in ctx.node_ids for name in ctx.pipeline.node(id).outputs}
    for name, value in outputs.items():
        scope = made.get(made_by.get(name, ""))
        is_large = isinstance(value, Collection) and len(value) > ELEMENTS
        if scope is not None and (not is_large or isinstance(value, str | bytes)):
            own = details.model_copy(update={"task_run_id": scope.id})
            link_state_to_task_run_result(state.model_copy(update={"state_details": own}), value)
