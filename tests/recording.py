"""A callback that writes down every hook, for tests to look at."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypernodes import PipelineCallback
from hypernodes.callbacks import HOOKS


class Recorder(PipelineCallback):
    """Keeps (hook, path, ctx) of every call, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any]] = []

    def told(self, *, depth: int = 0) -> list[tuple[str, str]]:
        return [(hook, path) for hook, path, _ in self.events]

    def names(self, hook: str) -> list[str]:
        return [ctx.name for each, _, ctx in self.events if each == hook]

    def check_pairs(self) -> None:
        """Every scope that starts ends once, after it started, with the same context object.

        It starts after the one around it has, if that starts at all.
        """
        started: dict[int, Any] = {}
        ended: Counter[int] = Counter()
        for hook, _, ctx in self.events:
            if hook.endswith("_start"):
                assert id(ctx) not in started, f"{ctx} started twice"
                started[id(ctx)] = ctx
            elif hook.endswith("_end") or hook == "on_error":
                assert id(ctx) in started, f"{ctx} ended and never started"
                ended[id(ctx)] += 1
        assert set(started) == set(ended)
        place = {each: at for at, each in enumerate(started)}
        for each, ctx in started.items():
            assert place.get(id(ctx.parent), -1) < place[each], f"{ctx} started before its parent"
        assert set(ended.values()) <= {1}

    def check_times(self) -> None:
        """No scope began before the one around it, as both say in the end."""
        started = [ctx for hook, _, ctx in self.events if hook.endswith("_start")]
        known = set(map(id, started))
        for ctx in started:
            if id(ctx.parent) in known:
                early = ctx.parent.started_at - ctx.started_at
                assert early < 1e-3, f"{ctx} began {early} s before its parent"


def _record(hook: str) -> Any:
    def method(self: Recorder, *arguments: Any) -> None:
        ctx = arguments[-1]
        self.events.append((hook, ctx.hierarchy_path, ctx))

    return method


for _hook in HOOKS:
    setattr(Recorder, _hook, _record(_hook))
