"""Worker processes: how they are started, and set up like the process that they work for.

A child that is forked from a process with threads can wait for ever for a lock that one of them
held: of a logger, of Polars, of OpenSSL. So workers are forked from a server, an interpreter that
has imported this library and has one thread; where there is no such server, each is a new
interpreter. Neither runs the script again, as multiprocessing would: what is defined in `__main__`
is pickled by value.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import process as futures
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import connection, context, process, resource_tracker, spawn, util
from types import FunctionType, SimpleNamespace
from typing import Any, TypeVar

import cloudpickle

T = TypeVar("T")

HAS_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
"""Whether this platform has one; Windows has none."""
HAS_FORK = "fork" in multiprocessing.get_all_start_methods()
"""Whether this platform can fork."""


def _rebound(of: Any, method: str, **names: object) -> Any:
    """A method with other globals: multiprocessing's have no arguments for what is ours."""
    function = vars(of)[method]
    return FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


class _Manager(futures._ExecutorManagerThread):
    def terminate_broken(self, cause: Any) -> None:
        """Give a pool up that has lost a worker.

        A `submit` that is on its way is let through first: until Python 3.12.1, the worker that it
        starts would not be told to end, and be waited for, and its future might never be done.
        """
        executor: Any = self.executor_reference()
        if executor is not None:
            with self.shutdown_lock:
                executor._broken = "a worker process ended"
            del executor
        super().terminate_broken(cause)


def _finish(pool: weakref.ref[ProcessPool]) -> None:
    alive = pool()
    if alive is not None:
        alive.shutdown()


class ProcessPool(ProcessPoolExecutor):
    """Processes that have the settings which this one has when work is submitted.

    They leave Ctrl-C to the caller: what runs in them is finished, and reported.

    Args:
        workers: how many.
        fork: fork this process itself, with all that it has in memory.
    """

    def __init__(self, workers: int, fork: bool = False) -> None:
        method = multiprocessing.get_context("fork") if fork else _context()
        super().__init__(workers, mp_context=method, initializer=_begin)
        self._fork, self._workers = fork, workers
        # At the end of a `multiprocessing.Process`, its children are waited for before
        # `concurrent.futures` tells them to end.
        util.Finalize(self, _finish, (weakref.ref(self),), exitpriority=100)

    _start_executor_manager_thread = _rebound(
        ProcessPoolExecutor, "_start_executor_manager_thread", _ExecutorManagerThread=_Manager
    )

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        work = (_with_settings, *_settings.current(), fn, *args)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and self._may_start_one():
            return _undisturbed(partial(super().submit, *work, **kwargs))
        return super().submit(*work, **kwargs)

    def _may_start_one(self) -> bool:
        """Whether a worker may be started; not by a fork, which has what its thread has."""
        idle: Any = self._idle_worker_semaphore
        return not (self._fork or idle._value or len(self._processes or ()) >= self._workers)


def _undisturbed(call: Callable[[], T]) -> T:
    """Call a function that the program's signal handlers do not interrupt.

    They run on the main thread, between any two instructions, and may raise (`sys.exit` on
    SIGTERM). A worker that has started when they do, and that its pool does not know of yet, takes
    the word to end that is meant for another, and the pool waits for that one for ever. So the
    function is called on a thread of its own, and what they raise is raised after it.
    """
    answer: list[Callable[[], T]] = []
    claim, answered = threading.Lock(), threading.Lock()
    answered.acquire()

    def run() -> None:
        if not claim.acquire(blocking=False):
            return
        made: Future[T] = Future()
        try:
            made.set_result(call())
        except BaseException as error:
            made.set_exception(error)
        answer.append(made.result)
        answered.release()

    raised: BaseException | None = None
    try:
        threading.Thread(target=run, daemon=True).start()
    except BaseException as error:
        if claim.acquire(blocking=False):  # the function has not been called, nor will be
            raise
        raised = error
    while not answer:
        try:
            answered.acquire()
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised
    return answer[0]()


def start_server() -> None:
    """Start the server ahead of the first pool: what it imports is ready then.

    A worker that imports a module with an engine in it starts none.
    """
    if HAS_SERVER and multiprocessing.parent_process() is None:
        _context()


# -- What a worker takes over ----------------------------------------------------------------------


class _Settings:
    """What workers take over of this process, pickled once for each change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: tuple[Any, ...] = ()
        self._current = (0, b"")
        self._taken = 0

    def current(self) -> tuple[int, bytes]:
        """A number for the settings as they are, and the settings."""
        try:
            folder = os.getcwd()
        except OSError:  # it has been deleted
            folder = None
        # Its own dict, as bytes: to decode it takes longer than to submit something.
        variables = getattr(os.environ, "_data", os.environ)
        with self._lock:
            now = (folder, sys.path, variables, warnings.filters, sys.getrecursionlimit())
            if now != self._seen:
                self._seen = (folder, [*sys.path], dict(variables), [*warnings.filters], now[-1])
                filters = [data for each in warnings.filters if (data := _pickled(each))]
                state = (folder, sys.path, dict(os.environ), filters, now[-1])
                self._current = (self._current[0] + 1, pickle.dumps(state))
            return self._current

    def take(self, number: int, data: bytes) -> None:
        """Take settings over, in a worker, unless it has them."""
        with self._lock:
            if number == self._taken:
                return
            self._taken = number
            folder, sys.path[:], variables, filters, recursion_limit = pickle.loads(data)
        with suppress(OSError):
            if folder is not None:
                os.chdir(folder)
        zone = os.environ.get("TZ")
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)
        if os.environ.get("TZ") != zone and hasattr(time, "tzset"):
            time.tzset()
        sys.setrecursionlimit(recursion_limit)
        warnings.resetwarnings()  # so that modules forget which warnings they have given
        warnings.filters = [each for data in filters for each in _unpickled(data)]

    def forget(self) -> None:
        """Begin anew, in a forked child."""
        self.__init__()  # type: ignore[misc]


def _pickled(value: Any) -> bytes | None:
    try:
        data: bytes = cloudpickle.dumps(value)
    except Exception:  # a filter for a category that only this process can have
        return None
    return data


def _unpickled(data: bytes) -> Iterator[Any]:
    with suppress(Exception):
        yield pickle.loads(data)


_settings = _Settings()


def _with_settings(number: int, data: bytes, fn: Callable[..., Any], /, *args: Any) -> Any:
    _settings.take(number, data)
    return fn(*args)


def _begin() -> None:
    """Set a worker up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if HAS_SERVER:
        from multiprocessing.forkserver import get_inherited_fds

        streams = (get_inherited_fds() or ())[-2:]
        for stream, here in zip(streams, (1, 2), strict=False):
            os.dup2(stream, here)
            os.close(stream)
    with suppress(ImportError, AttributeError, OSError):
        _end_with_parent()


def _end_with_parent() -> None:
    """Have this worker killed when its parent ends, even when that is killed; on Linux.

    The parent holds the other end of a pipe, and the kernel sends a signal when that is closed.
    """
    import fcntl

    parent: Any = multiprocessing.parent_process()
    pipe = parent.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if connection.wait([pipe], 0):
        os._exit(1)


# -- How it is started -----------------------------------------------------------------------------


def _preparation(name: str) -> dict[str, Any]:
    """What multiprocessing sends ahead of a process, but for the script that it would run again."""
    first_folder = vars(process)["ORIGINAL_DIR"]
    return {
        "name": name,
        "authkey": process.current_process().authkey,
        "sys_path": [each or first_folder for each in sys.path],
        "sys_argv": getattr(sys, "argv", []),
        "orig_dir": first_folder,
        # To ask for one that was not set would set it, for good.
        "start_method": multiprocessing.get_start_method(allow_none=True),
    }


def _stand_in(module: Any, **names: object) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(module), **names})


_SPAWN = _stand_in(spawn, get_preparation_data=_preparation)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started in here has no Ctrl-C until it has seen to it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # It is started by what is called in here else, and unblocks what is blocked.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if sys.platform == "win32":
    from multiprocessing import popen_spawn_win32

    class _SpawnPopen(popen_spawn_win32.Popen):
        __init__ = _rebound(popen_spawn_win32.Popen, "__init__", spawn=_SPAWN)

else:
    from multiprocessing import popen_spawn_posix

    class _SpawnPopen(popen_spawn_posix.Popen):
        _launch = _rebound(popen_spawn_posix.Popen, "_launch", spawn=_SPAWN)


class _SpawnProcess(context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _interrupts_blocked():
            return _SpawnPopen(process_obj)


class _SpawnContext(context.SpawnContext):
    Process = _SpawnProcess


if sys.platform != "win32" and HAS_SERVER:
    from multiprocessing import forkserver, popen_forkserver

    def _with_our_path(executable: bytes, arguments: list[Any], fds: list[int]) -> int:
        """Start the server so that it imports what this process would."""
        path = _preparation("")["sys_path"]
        command = f"import sys; sys.path[:] = {path!r}; {arguments[-1]}"
        return util.spawnv_passfds(executable, [*arguments[:-1], command], fds)

    class _Server(forkserver.ForkServer):
        """A server of our own: what it imports, and what it does with Ctrl-C, is our affair."""

        ensure_running = _rebound(
            forkserver.ForkServer,
            "ensure_running",
            spawn=_SPAWN,
            util=_stand_in(util, spawnv_passfds=_with_our_path),
        )

        def __init__(self) -> None:
            super().__init__()
            # What users have set, too, for modules of theirs that take long.
            theirs = vars(forkserver)["_forkserver"]._preload_modules
            self.set_forkserver_preload([*(set(theirs) - {"__main__"}), "hypernodes"])

        def start(self) -> None:
            """Start it, unless it runs."""
            with _interrupts_blocked():
                self.ensure_running()

        def forget(self) -> None:
            """Leave the parent's server to the parent, in a forked child."""
            alive: int | None = vars(self)["_forkserver_alive_fd"]
            self.__init__()  # type: ignore[misc]
            if alive is not None:
                os.close(alive)

    _server = _Server()

    def _connect(fds: list[int]) -> tuple[int, int]:
        """Have the server fork, with the standard output and error that this process has."""
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            streams = [fd if _is_open(fd) else nothing for fd in (1, 2)]
            return _server.connect_to_new_process([*fds, *streams])
        finally:
            os.close(nothing)

    _NO_CODE = 255
    """What multiprocessing says of a process whose exit code nobody knows."""

    def _exists(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True

    def _is_open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    class _ForkedPopen(popen_forkserver.Popen):
        def __init__(self, process_obj: Any) -> None:
            self.returncode: int | None = None
            self._reading = threading.Lock()
            super().__init__(process_obj)

        def poll(self, flag: int = os.WNOHANG) -> int | None:
            """The exit code, when there is one; waits for it where `flag` is 0.

            The server writes it once into a pipe. Several threads ask (each start of a process asks
            of all), and a process that was forked meanwhile may hold the pipe open, so that its
            end is not seen: who waits looks again now and then.
            """
            while self.returncode is None:
                if connection.wait([self.sentinel], 0 if flag == os.WNOHANG else 0.5):
                    with self._reading:
                        if self.returncode is None:
                            self.returncode = self._read()
                elif flag == os.WNOHANG:
                    return None
                elif not _exists(self.pid) and not connection.wait([self.sentinel], 0.5):
                    with self._reading:  # another thread may have read it meanwhile
                        if self.returncode is None:
                            self.returncode = _NO_CODE
            return self.returncode

        def _read(self) -> int:
            try:
                code: int = vars(forkserver)["read_signed"](self.sentinel)
            except (OSError, EOFError):  # the server is gone
                return _NO_CODE
            return code

        _launch = _rebound(
            popen_forkserver.Popen,
            "_launch",
            spawn=_SPAWN,
            forkserver=_stand_in(forkserver, connect_to_new_process=_connect),
        )

    class _ForkedProcess(context.ForkServerProcess):
        @staticmethod
        def _Popen(process_obj: Any) -> Any:
            with _interrupts_blocked():
                return _ForkedPopen(process_obj)

    class _ForkedContext(context.ForkServerContext):
        Process = _ForkedProcess


def _context() -> context.BaseContext:
    """How workers are started; the server runs then, where there is one."""
    if HAS_SERVER:
        with suppress(OSError):  # no folder for its socket, or one with too long a name
            _server.start()
            return _ForkedContext()
    return _SpawnContext()


def _forget() -> None:
    _settings.forget()
    if HAS_SERVER:
        _server.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
