"""The record of a node's run for a row: what callbacks hear of it, as bytes in a column of its own.

A node runs inside Daft, a batch at a time, maybe on another machine. It writes down what happened,
and `report` replays that to the callbacks once the row has come out.
"""

from __future__ import annotations

import operator
import pickle
import struct
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, overload

import cloudpickle
import numpy as np
import pyarrow as pa

from hypernodes.callbacks import CallbackContext
from hypernodes.dispatch import Hooks
from hypernodes.engines.daft.scopes import identify
from hypernodes.node_record import NodeRecord
from hypernodes.retries import Retry
from hypernodes.run import pickling

# The first byte says what follows; a pickle begins with another one.
TIMES = b"T"
_HIT = b"H"
NO_RECORD = b"-"
"""The packed record of a node that did not run."""

_PACKED_TIMES = struct.Struct("<cdd")
_TABLE = np.dtype([("kind", "S1"), ("started_at", "<f8"), ("duration", "<f8")])
"""The same for many of them."""


def pack(record: NodeRecord | None) -> bytes:
    """A record as bytes. An error is not in them: it is in the cells of the node's outputs."""
    if record is None:
        return NO_RECORD
    if record.outcome == "cached":
        return pack_hit(record.signature or "")
    if record.outcome == "done" and not (record.retries or record.brought_back):
        return pack_times(record.started_at, record.duration)
    record = replace(record, error=None)
    try:
        return pickle.dumps(record)
    except Exception:  # what an attempt raised is of a class of `__main__`, say
        return bytes(cloudpickle.dumps(record))


def pack_hit(signature: str) -> bytes:
    """The packed record of outputs that the cache had."""
    return _HIT + signature.encode()


def pack_times(started_at: float, duration: float) -> bytes:
    """The packed record of a run without anything unusual: nearly all are.

    Args:
        started_at: seconds since the epoch.
        duration: seconds.
    """
    return _PACKED_TIMES.pack(TIMES, started_at, duration)


def times_of(data: bytes) -> tuple[float, float] | None:
    """When a run began and how long it took; None where there is more to say of it.

    Args:
        data: the packed record.
    """
    if data[:1] != TIMES:
        return None
    _, started_at, duration = _PACKED_TIMES.unpack(data)
    return started_at, duration


class Records(Sequence[bytes]):
    """A column of records, nearly all of which are times alone.

    Attributes:
        starts, durations: when each run began, in seconds since the epoch, and how long it took; 0
            of one of which there is more to say.
        unusual: the packed records of those, by their places.
    """

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.durations: list[float] = []
        self.unusual: dict[int, bytes] = {}

    @classmethod
    def of(cls, column: Sequence[bytes]) -> Records:
        """A column of packed records as this.

        Args:
            column: the column.
        """
        if isinstance(column, Records):
            return column
        made = cls()
        made.unusual = {at: each for at, each in enumerate(column) if each[:1] != TIMES}
        if made.unusual:
            none = pack_times(0.0, 0.0)
            column = [none if at in made.unusual else each for at, each in enumerate(column)]
        table = np.frombuffer(b"".join(column), _TABLE)
        made.starts, made.durations = table["started_at"].tolist(), table["duration"].tolist()
        return made

    def add(self, record: bytes) -> None:
        """Add a packed record of which there is more to say than times.

        Args:
            record: the record.
        """
        self.unusual[len(self.starts)] = record
        self.starts.append(0.0)
        self.durations.append(0.0)

    @cached_property
    def ends(self) -> list[float]:
        """When each run ended; asked for once there are all."""
        return list(map(operator.add, self.starts, self.durations))

    def array(self) -> pa.Array:
        """It as an array of Arrow's."""
        if self.unusual:
            return pa.array(list(self), pa.large_binary())
        table = np.empty(len(self), _TABLE)
        table["kind"], table["started_at"], table["duration"] = TIMES, self.starts, self.durations
        offsets = np.arange(len(self) + 1, dtype=np.int64) * _TABLE.itemsize
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(table)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(self), buffers)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(place, slice):
            return [self[at] for at in range(len(self))[place]]
        unusual = self.unusual.get(range(len(self))[place])
        return unusual or pack_times(self.starts[place], self.durations[place])


def unpack(data: bytes) -> NodeRecord | None:
    """The record; None where the node did not run.

    >>> unpack(pack(NodeRecord(started_at=1.5, duration=0.25))).duration
    0.25
    >>> unpack(pack_hit("c0ffee")).signature
    'c0ffee'
    """
    if (times := times_of(data)) is not None:
        return NodeRecord(*times)
    if data[:1] == _HIT:
        return NodeRecord(outcome="cached", signature=data[1:].decode())
    record: NodeRecord | None = None if data == NO_RECORD else pickle.loads(data)
    return record


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
        self._retries: list[Retry] = []
        self.record: NodeRecord | None = None

    def fire(self, hook: str, *arguments: Any) -> None:
        ctx = arguments[-1]
        if hook == "on_node_cached":
            self.record = NodeRecord(outcome="cached", signature=arguments[1])
        elif hook == "on_node_retry":
            retry: Retry = arguments[1]
            self._retries.append(replace(retry, error=pickling.sendable_error(retry.error)))
        elif hook in ("on_node_end", "on_error"):
            record = ctx.record or NodeRecord(ctx.started_at)
            outcome: Literal["done", "failed"] = "done" if hook == "on_node_end" else "failed"
            self.record = replace(record, outcome=outcome, retries=self._retries)

    def node_contexts(self, ctx: CallbackContext) -> list[AbstractContextManager[Any]]:
        identify(ctx)
        ctx.is_replayed = True
        return self._hooks.node_contexts(ctx)
