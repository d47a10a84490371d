"""A callback that writes every scope down, for a script to print what the API has to know."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypernodes import CallbackContext, PipelineCallback
from hypernodes.callbacks import HOOKS


class Scopes(PipelineCallback):
    """What happened to each scope but a pipeline that the flow runs, by id."""

    def __init__(self) -> None:
        self.ended: dict[str, dict[str, Any]] = {}
        self.twice: list[str] = []
        self.contents: dict[Any, set[str]] = {}

    def end(self, ctx: CallbackContext, how: str) -> None:
        if ctx.kind == "node":
            around = ctx.parent
            while around is not None:
                self.contents.setdefault(around.id, set()).add(how)
                around = around.parent
        elif how == "Completed" and self.contents.get(ctx.id) == {"Cached"}:
            how = "Cached"
        if not is_task_run(ctx):
            return
        if str(ctx.id) in self.ended:
            self.twice.append(ctx.hierarchy_path)
        self.ended[str(ctx.id)] = {
            "name": ctx.name,
            "state": how,
            "parent": str(ctx.parent.id) if ctx.parent and is_task_run(ctx.parent) else None,
            "inputs": {name: str(made_by.id) for name, made_by in ctx.inputs_from.items()},
        }

    def told(self) -> dict[str, Any]:
        assert not self.twice
        return self.ended

    def states(self) -> dict[str, int]:
        return Counter(each["state"] for each in self.ended.values())


def is_task_run(ctx: CallbackContext) -> bool:
    return ctx.parent is not None or ctx.kind == "map"


def _hook(hook: str) -> Any:
    def method(self: Scopes, *arguments: Any) -> None:
        ctx = arguments[-1]
        if hook == "on_error":
            kinds = {
                "Cancelled": "Cancelled",
                "Interrupted": "Cancelled",
                "WorkerLostError": "Crashed",
            }
            self.end(ctx, kinds.get(type(arguments[1]).__name__, "Failed"))
        elif hook.endswith("_cached"):
            self.end(ctx, "Cached")
        elif hook.endswith("_end"):
            self.end(ctx, "Completed")

    return method


for _name in HOOKS:
    if not _name.endswith("_start"):
        setattr(Scopes, _name, _hook(_name))
