"""What callbacks enter around a node's function. It cannot change what the node does.

A context that raises is ignored, like a hook that raises, and so is one that wants to swallow the
node's error.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import Token
from types import TracebackType
from typing import Any

from hypernodes.node_record import CURRENT_CALL, NodeCall

logger = logging.getLogger("hypernodes")


class Within:
    """Enters contexts around a node's call, which they see, and leaves them.

    Args:
        contexts: the first one is the outermost.
        call: what they see as `CURRENT_CALL`.
    """

    __slots__ = ("_call", "_contexts", "_entered", "_token")

    _token: Token[NodeCall | None]

    def __init__(self, contexts: Sequence[AbstractContextManager[Any]], call: NodeCall) -> None:
        self._contexts = contexts
        self._call = call
        self._entered: list[AbstractContextManager[Any]] = []

    def __enter__(self) -> None:
        self._token = CURRENT_CALL.set(self._call)
        try:
            for context in self._contexts:
                try:
                    context.__enter__()
                except Exception as error:
                    _ignore(context, "__enter__", error)
                else:
                    self._entered.append(context)
        except BaseException as error:  # Ctrl-C
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while self._entered:
                context = self._entered.pop()
                try:
                    context.__exit__(kind, error, trace)
                except Exception as raised:
                    if raised is not error:
                        _ignore(context, "__exit__", raised)
        finally:
            if self._entered:  # one of them was interrupted
                self.__exit__(kind, error, trace)
            else:
                CURRENT_CALL.reset(self._token)


def brought_back(contexts: Sequence[AbstractContextManager[Any]]) -> tuple[Any, ...]:
    """What contexts that have been left have brought back from where the node ran.

    Args:
        contexts: the contexts.
    """
    found = []
    for each in contexts:
        try:
            if hasattr(each, "brought_back"):
                found.append(each.brought_back)
        except Exception as error:
            _ignore(each, "brought_back", error)
    return tuple(found)


_ignored: set[tuple[type, str]] = set()


def _ignore(context: object, what: str, error: Exception) -> None:
    known = type(context), what
    if known not in _ignored:
        _ignored.add(known)
        logger.warning(
            "the %s of a %s, from node_context, raised and is ignored; the run goes on (logged "
            "once): %r",
            what,
            type(context).__name__,
            error,
            exc_info=error,
        )
