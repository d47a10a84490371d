"""Hooks of a flow, which sees itself as sync where it is called, though its engine is async."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import anyio
from prefect import Flow
from prefect.context import FlowRunContext

KINDS = ("on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed")

Hook = Callable[..., Any]


def call_hooks_beside_loop(flow: Flow[Any, Any]) -> None:
    """Have a flow's hooks that are not async called as those of a sync flow.

    Called on the event loop, `Block.load(...)` in them would give a coroutine that nobody awaits.
    """
    for kind in KINDS:
        hooks = getattr(flow, f"{kind}_hooks")
        setattr(flow, f"{kind}_hooks", _Hooks(_beside_loop(hook) for hook in hooks))


class _Hooks(list[Hook]):
    def append(self, hook: Hook) -> None:
        """What `@flow.on_failure` and the like do."""
        super().append(_beside_loop(hook))


def _beside_loop(hook: Hook) -> Hook:
    if inspect.iscoroutinefunction(hook):
        return hook

    @functools.wraps(hook)
    async def called(flow: Any, flow_run: Any, state: Any) -> None:
        context = contextvars.copy_context()
        around = FlowRunContext.get()
        if around is not None and around.flow is not None:
            sync = copy.copy(around.flow)
            sync.isasync = False
            context.run(FlowRunContext.__var__.set, around.model_copy(update={"flow": sync}))
        call = functools.partial(context.run, hook, flow, flow_run, state)
        with anyio.CancelScope(shield=True):  # also for a run that has been called off
            await asyncio.get_running_loop().run_in_executor(None, call)

    return called
