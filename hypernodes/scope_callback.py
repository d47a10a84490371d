"""Callbacks that treat all scopes alike: four methods in place of thirteen hooks."""

from __future__ import annotations

from typing import Any

from hypernodes.callbacks import HOOKS, CallbackContext, PipelineCallback


class ScopeCallback(PipelineCallback):
    """A callback with the same methods for every kind of scope, which are given no values."""

    takes_values = False

    def started(self, ctx: CallbackContext) -> None:
        """A scope has started."""

    def ended(self, ctx: CallbackContext) -> None:
        """It has ended well."""

    def cached(self, ctx: CallbackContext, signature: str) -> None:
        """A node or an item came from the cache, and starts nothing."""

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        """It has ended with an error."""


def _start(self: ScopeCallback, *arguments: Any) -> None:
    self.started(arguments[-1])  # every hook's last argument is the scope


def _end(self: ScopeCallback, *arguments: Any) -> None:
    self.ended(arguments[-1])


def _cached(self: ScopeCallback, place: object, signature: str, ctx: CallbackContext) -> None:
    self.cached(ctx, signature)


_BY_SUFFIX = {"_start": _start, "_end": _end, "_cached": _cached}
for _hook in HOOKS:
    for _suffix, _method in _BY_SUFFIX.items():
        if _hook.endswith(_suffix):
            setattr(ScopeCallback, _hook, _method)
