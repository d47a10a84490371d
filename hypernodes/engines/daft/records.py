"""The record of a node's run for a row: what callbacks hear of it, as bytes in a column of its own.

A node runs inside Daft, a batch at a time, maybe on another machine. It writes down what happened,
and `report` replays that to the callbacks once the row has come out.
"""

from __future__ import annotations

import pickle
import struct
import threading
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import cloudpickle

from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Hooks
from hypernodes.retries import Retry
from hypernodes.run import pickling


class RowRecord(NamedTuple):
    """What happened in a node's run for one row. What it made or raised is in the row's cells.

    Attributes:
        started_at: when it started, in seconds since the epoch.
        duration: seconds that it took; None where it failed.
        seen: where node contexts were entered, the id that they saw, which hooks are to see too,
            and what they brought back.
        retries: attempts before the last one.
        signature: of the outputs that the cache had, in which case the node did not run.
    """

    started_at: float = 0.0
    duration: float | None = None
    seen: tuple[uuid.UUID, tuple[object, ...]] | None = None
    retries: Sequence[Retry] = ()
    signature: str | None = None


# The first byte says what follows; a pickle begins with another one.
_TIMES = b"T"
_HIT = b"H"
NO_RECORD = b"-"
"""The packed record of a node that did not run."""

_PACKED_TIMES = struct.Struct("<cdd")


def pack(record: RowRecord | None) -> bytes:
    """A record as bytes."""
    if record is None:
        return NO_RECORD
    started_at, duration, seen, retries, signature = record
    if signature is not None:
        return pack_hit(signature)
    if duration is not None and seen is None and not retries:
        return pack_times(started_at, duration)
    try:
        return pickle.dumps(tuple(record))
    except Exception:  # what an attempt raised is of a class of `__main__`, say
        return bytes(cloudpickle.dumps(tuple(record)))


def pack_hit(signature: str) -> bytes:
    """The packed record of outputs that the cache had."""
    return _HIT + signature.encode()


def pack_times(started_at: float, duration: float) -> bytes:
    """The packed record of a run without anything unusual: nearly all are.

    Args:
        started_at: seconds since the epoch.
        duration: seconds.
    """
    return _PACKED_TIMES.pack(_TIMES, started_at, duration)


def unpack(data: bytes) -> RowRecord | None:
    """The record; None where the node did not run.

    >>> unpack(pack(RowRecord(started_at=1.5, duration=0.25))).duration
    0.25
    >>> unpack(pack_hit("c0ffee")).signature
    'c0ffee'
    """
    kind = data[:1]
    if kind == _TIMES:
        _, started_at, duration = _PACKED_TIMES.unpack(data)
        return RowRecord(started_at, duration)
    if kind == _HIT:
        return RowRecord(signature=data[1:].decode())
    return None if data == NO_RECORD else RowRecord(*pickle.loads(data))


class RowRecorder(Hooks):
    """Hooks that record a node's run for one row, in place of calling anybody.

    Args:
        hooks: the callbacks' hooks; in another process those of what stands in for them there.

    Attributes:
        record: what has been recorded.
    """

    def __init__(self, hooks: Hooks) -> None:
        # Not `super().__init__`, which looks up every method: there is one of these for each row.
        self.callbacks = hooks.callbacks
        self.lock = threading.RLock()
        self.enters, self.shows_inputs, self.shows_outputs = hooks.enters, False, False
        self._hooks = hooks
        self._entered = False
        self._retries: list[Retry] = []
        self.record: RowRecord | None = None

    def fire(self, hook: str, *arguments: Any) -> None:
        ctx = arguments[-1]
        if hook == "on_node_cached":
            self.record = RowRecord(signature=arguments[1])
        elif hook == "on_node_retry":
            retry: Retry = arguments[1]
            self._retries.append(replace(retry, error=pickling.sendable_error(retry.error)))
        elif hook == "on_node_end":
            self.record = self._ended(ctx, arguments[2])
        elif hook == "on_error":
            self.record = self._ended(ctx, None)

    def _ended(self, ctx: CallbackContext, duration: float | None) -> RowRecord:
        seen = (ctx.id, ctx.brought_back) if self._entered else None
        return RowRecord(ctx.started_at, duration, seen, self._retries)

    def node_contexts(self, ctx: CallbackContext) -> list[AbstractContextManager[Any]]:
        contexts = self._hooks.node_contexts(ctx)
        self._entered = bool(contexts)
        return contexts
