"""Worker processes of a node with `use_process`.

Daft has such processes too, but where one is killed the whole query fails, and nobody knows which
node it was. These can be called again, and told that no more rows are wanted.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from hypernodes.errors import WorkerLostError
from hypernodes.run import pickling

_CHILD = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve({fd})"


class Processes:
    """The processes that call one function; there are as many as threads that ask for one.

    Args:
        payload: the pickled function; its `stop`, if it has one, is called when no more
            rows are wanted.
        what: what it is, for messages.
    """

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload = payload
        self._what = what
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._every: list[_Process] = []
        weakref.finalize(self, _end, self._every)

    def call(self, arguments: Sequence[Any]) -> Any:
        """Call the function in a process.

        Args:
            arguments: its arguments.

        Raises:
            WorkerLostError: the process has ended.
            BaseException: what the function raised.
        """
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None:
            process = _Process(self._payload)
            with self._lock:
                self._every.append(process)
        try:
            made = process.call(arguments)
        except (EOFError, OSError):
            with self._lock:
                self._every.remove(process)
            raise WorkerLostError(
                f"a process of {self._what} (use_process) ended while it was on this item: "
                f"{process.fate()}"
            ) from None
        with self._lock:
            self._idle.append(process)
        if isinstance(made, BaseException):
            raise made
        return made

    def stop(self) -> None:
        """Let the processes start no more rows."""
        with self._lock:
            for process in self._every:
                process.send_stop()


class _Process:
    def __init__(self, payload: bytes) -> None:
        ours, theirs = socket.socketpair()
        path = [os.path.abspath(each) for each in sys.path]
        command = _CHILD.format(path=path, module=__name__, fd=theirs.fileno())
        self._popen = subprocess.Popen(
            [sys.executable, "-c", command], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        self._sending = threading.Lock()
        with suppress(OSError):  # it has ended: the first call finds that out
            self._connection.send_bytes(payload)

    def call(self, arguments: Sequence[Any]) -> Any:
        with self._sending:
            self._connection.send_bytes(pickle.dumps(list(arguments), protocol=5))
        return pickling.loads(self._connection.recv_bytes())

    def send_stop(self) -> None:
        with suppress(OSError), self._sending:
            self._connection.send_bytes(pickle.dumps(None))

    def fate(self) -> str:
        self._connection.close()
        code = self._popen.wait()
        if code >= 0:
            return f"it left with exit status {code}"
        return f"killed by {signal.Signals(-code).name}, as it is when memory runs out"

    def end(self) -> None:
        self._connection.close()  # it ends when nobody listens
        self._popen.kill()
        self._popen.wait()


def _end(processes: Sequence[_Process]) -> None:
    for process in processes:
        process.end()


def serve(fd: int) -> None:
    """In a worker process: call the function for batch after batch, until nobody listens.

    Args:
        fd: the file descriptor of a socket to the process that wants the results.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller
    connection = Connection(fd)
    function: Any = pickle.loads(connection.recv_bytes())
    batches: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                batch = pickle.loads(connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)  # and what runs is of no use to anybody
            if batch is not None:
                batches.put(batch)
            elif hasattr(function, "stop"):
                function.stop()

    threading.Thread(target=listen, daemon=True).start()
    while True:
        batch = batches.get()
        try:
            made: Any = function(*batch)
        except BaseException as error:
            made = pickling.sendable_error(error)
        with suppress(OSError):
            connection.send_bytes(pickling.dumps(made, "a batch", {}))
