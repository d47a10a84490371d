"""What nodes do in other processes, seen while they do it.

A worker writes down which of its nodes have run for a moment, and their retries, in a file of a
folder that the run has made; the reporter reads it. Nodes that take less than that cost a look at a
dict. On another machine there is no such folder: nodes are shown there when they have ended.
"""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from hypernodes import CallbackContext
from prefect_hypernodes.events import State
from prefect_hypernodes.task_runs import Seen

#: Seconds that a node has run before it is written down.
MOMENT = 0.3

_LENGTH = struct.Struct("<I")


class Elsewhere:
    """The run's side: reads what workers write.

    Attributes:
        sent: the scopes of nodes that were sent to other processes, by their ids.
    """

    def __init__(self) -> None:
        self.sent: dict[UUID, CallbackContext] = {}
        self._read: dict[str, int] = {}
        self._folder: str | None = None
        self._lock = threading.Lock()

    @property
    def folder(self) -> str:
        """Where workers write, made at first use."""
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="hypernodes-")
            return self._folder

    def news(self) -> Iterator[tuple[Seen, CallbackContext | None]]:
        """What was written since the last look, and the node's scope if that is here."""
        folder = self._folder
        if folder is None:
            return
        for name in os.listdir(folder):
            with open(Path(folder, name), "rb") as file:
                file.seek(self._read.get(name, 0))
                data = file.read()
            at = 0
            while (begin := at + _LENGTH.size) <= len(data):
                end = begin + _LENGTH.unpack_from(data, at)[0]
                if end > len(data):
                    break
                seen: Seen = pickle.loads(data[begin:end])
                yield seen, self.sent.get(seen.id)
                at = end
            self._read[name] = self._read.get(name, 0) + at

    def close(self) -> None:
        """Remove the folder."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(eq=False)
class RunningNode:
    """A node that is running in a worker.

    Attributes:
        folder: where the run reads.
        id: of the node's scope.
        ctx: the scope, where the run does not have it.
        name: what the task run is called.
        retries: see `Seen`.
    """

    folder: str
    id: UUID
    ctx: CallbackContext | None
    name: str
    retries: list[tuple[float, float, State]] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    is_written: bool = False

    def write(self) -> None:
        """Write down what is new."""
        if self.is_written and not self.retries:
            return
        retries, self.retries = self.retries, []
        self.is_written = True
        data = pickle.dumps(Seen(self.id, self.began, retries, self.ctx, self.name))
        # The run may have ended, or be on another machine.
        with suppress(OSError), Path(self.folder, str(os.getpid())).open("ab") as file:
            file.write(_LENGTH.pack(len(data)) + data)


class _Watch:
    """The worker's side: a thread that looks after nodes which run for long."""

    def __init__(self) -> None:
        self._running: dict[RunningNode, None] = {}
        self._is_needed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, node: RunningNode) -> None:
        """Look after a node."""
        self._running[node] = None
        if not self._is_needed.is_set():
            self._is_needed.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="hypernodes-watch", daemon=True
                )
                self._thread.start()

    def end(self, node: RunningNode) -> None:
        """It has ended: its result says what there is to know."""
        self._running.pop(node, None)

    def _work(self) -> None:
        while self._is_needed.wait():
            time.sleep(MOMENT)
            for node in list(self._running):
                if time.time() - node.began > MOMENT:
                    node.write()
            if not self._running:
                self._is_needed.clear()
                if self._running:  # it has begun meanwhile
                    self._is_needed.set()


WATCH = _Watch()


def _forget() -> None:
    global WATCH
    WATCH = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
