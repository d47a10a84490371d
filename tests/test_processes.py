"""Worker processes: how they are started, what they take over, and that they end."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripts import processes_where, run_script
from waiting import wait_until

from hypernodes import HyperNodesEngine, Node, Pipeline, node
from hypernodes.processes import HAS_FORK, ProcessPool


def test_a_map_ends_while_a_thread_holds_the_lock_of_a_logging_handler() -> None:
    handler = logging.NullHandler()
    logger = logging.getLogger("held")
    logger.addHandler(handler)
    holds, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with handler.lock or threading.Lock():
            holds.set()
            ended.wait(60)

    @node(output_name="y")
    def work(x: int) -> int:
        logging.getLogger("held").warning("item %s", x)
        return x

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        holds.wait()
        with HyperNodesEngine(map_executor="parallel") as engine:
            rows = Pipeline([work], engine=engine).map({"x": [1, 2, 3]}, "x")
        assert [row["y"] for row in rows] == [1, 2, 3]
    finally:
        ended.set()
        thread.join()
        logger.removeHandler(handler)


@pytest.mark.slow
def test_a_map_of_nodes_that_use_polars_ends_after_polars_was_used(tmp_path: Path) -> None:
    printed = run_script(
        """
        import polars as pl
        from hypernodes import HyperNodesEngine, Pipeline, node

        def groups(rows):
            frame = pl.DataFrame({"g": [row % 100 for row in range(rows)], "v": list(range(rows))})
            return frame.lazy().group_by("g").agg(pl.col("v").sum()).collect().height

        total = node(groups, output_name="y")
        groups(200_000)
        with HyperNodesEngine("parallel", "parallel") as engine:
            print(Pipeline([total], engine=engine).map({"rows": [20_000] * 4}, "rows"))
        """,
        tmp_path,
    )
    assert printed == f"{[{'y': 100}] * 4}\n"


# -- What they take over -------------------------------------------------------------------------


class Own(UserWarning):
    pass


def test_workers_have_the_settings_of_the_process_when_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_late.py").write_text("FACTOR = 5\n")

    @node(output_name="seen")
    def see(x: int) -> Any:
        import made_late

        try:
            warnings.warn("told", Own, stacklevel=1)
        except Own:
            found = "error"
        else:
            found = "warning"
        variables = os.environ.get("LATE"), os.environ.get("GONE"), time.tzname[0]
        return made_late.FACTOR, os.getcwd(), variables, found, sys.getrecursionlimit()

    limit = sys.getrecursionlimit()
    folder = tmp_path / "inner"
    folder.mkdir()
    monkeypatch.setenv("GONE", "1")
    with HyperNodesEngine(map_executor="parallel") as engine:
        pipeline = Pipeline([see], engine=engine)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("LATE", "a")
        monkeypatch.setenv("TZ", "UTC")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Own)
            rows = pipeline.map({"x": [1, 2, 3]}, "x")
        first = (5, str(tmp_path), ("a", "1", "UTC"), "warning", limit)
        assert [row["seen"] for row in rows] == [first] * 3
        monkeypatch.chdir(folder)
        monkeypatch.setenv("LATE", "b")
        monkeypatch.delenv("GONE")
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        sys.setrecursionlimit(limit + 7)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Own)
                rows = pipeline.map({"x": list(range(20))}, "x")
        finally:
            sys.setrecursionlimit(limit)
    second = (5, str(folder), ("b", None, "JST"), "error", limit + 7)
    assert [row["seen"] for row in rows] == [second] * 20


@pytest.mark.skipif(not HAS_FORK, reason="it forks")
def test_what_modules_hold_is_there_in_forked_workers_and_new_in_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import recording

    @node(output_name="held")
    def held(x: int) -> Any:
        import recording

        return getattr(recording, "STATE", None)

    monkeypatch.setattr(recording, "STATE", 5, raising=False)
    found = {}
    for kind in ("fork", "parallel"):
        with HyperNodesEngine(kind, kind) as engine:
            found[kind] = Pipeline([held], engine=engine).map({"x": [1]}, "x")[0]["held"]
    assert found == {"fork": 5, "parallel": None}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["-m package", "-m package.module", "-c", "-", "no server"])
def test_however_python_was_started_its_script_runs_once(how: str, tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import multiprocessing, sys
        from hypernodes import HyperNodesEngine, Pipeline, node
        from package.beside import helper

        offset = 4

        class Point:
            def __init__(self, x): self.x = x

        @node(output_name="point")
        def make(x): return Point(helper(x) + offset)

        with HyperNodesEngine("parallel", "parallel") as engine:
            pipeline = Pipeline([make], engine=engine)
            points = [row["point"] for row in pipeline.map({"x": [1, 2]}, "x")]
            points.append(pipeline.run({"x": 3})["point"])
        print([point.x for point in points], {type(point) is Point for point in points})
        multiprocessing.set_start_method("spawn")  # nobody has set it
        """
    )
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "beside.py").write_text("def helper(x): return 100 * x\n")
    for name in ("__init__", "__main__", "module"):
        (folder / f"{name}.py").write_text("" if name == "__init__" else program)
    arguments, environment = how.split(), dict(os.environ)
    if how == "-c":
        arguments.append(program)
    elif how == "no server":  # its socket has too long a name
        long = tmp_path / ("x" * 120)
        long.mkdir()
        environment["TMPDIR"] = str(long)
        arguments = ["-m", "package"]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=program if how == "-" else "",
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "[104, 204, 304] {True}\n", done.stderr
    assert not done.stderr


@pytest.mark.slow
def test_the_server_imports_what_the_program_would_and_not_what_is_in_its_folder(
    tmp_path: Path,
) -> None:
    """As in a checkout of this project, whose script's folder is another one."""
    decoy = tmp_path / "folder" / "hypernodes"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise ValueError('not the one')")
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from hypernodes import HyperNodesEngine, Pipeline, node

            with HyperNodesEngine(map_executor="parallel") as engine:
                rows = Pipeline([node(lambda x: 2 * x, "y")], engine=engine).map({"x": [1]}, "x")
            print(rows)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=decoy.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "[{'y': 2}]\n", done.stderr


# -- That they end -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_program_leaves_no_process(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, time
            from hypernodes import HyperNodesEngine, Pipeline, node

            @node(output_name="y")
            def work(x):
                print("worker", flush=True)  # where the program prints
                time.sleep(600)

            engine = HyperNodesEngine(map_executor="parallel")
            Pipeline([work], engine=engine).map({"x": [1, 2, 3, 4]}, "x")
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("worker")
            assert len(processes_where("session", process.pid)) >= 3  # itself, the server, a worker
            process.send_signal(how)
            process.stdout.read()  # until nobody can write to it any more
            wait_until(lambda: not processes_where("session", process.pid), 20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3])
def test_ctrl_c_while_workers_start_is_heard_by_the_program_alone(
    seconds: float, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import time
            from hypernodes import HyperNodesEngine, Pipeline, node

            @node(output_name="y")
            def work(x):
                time.sleep(0.05)

            try:
                print("ready", flush=True)
                with HyperNodesEngine(map_executor="parallel") as engine:
                    Pipeline([work], engine=engine).map({"x": list(range(10_000))}, "x")
            except KeyboardInterrupt:
                print("interrupted")
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)  # at whatever point of the start that is
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60) == ("interrupted\n", "")


@pytest.mark.skipif(not HAS_FORK, reason="it forks")
def test_a_forked_child_has_a_server_of_its_own() -> None:
    @node(output_name="y")
    def double(x: int) -> int:
        return 2 * x

    def mapped() -> list[Any]:
        with HyperNodesEngine(map_executor="parallel") as engine:
            return list(Pipeline([double], engine=engine).map({"x": [1, 2]}, "x"))

    assert mapped() == [{"y": 2}, {"y": 4}]
    child = os.fork()
    if not child:
        ended = 1
        try:
            ended = 0 if mapped() == [{"y": 2}, {"y": 4}] else 2
        finally:
            os._exit(ended)
    assert os.waitpid(child, 0)[1] == 0
    assert mapped() == [{"y": 2}, {"y": 4}]


def map_in_processes() -> None:
    pipeline = Pipeline([Node(abs, "y")], engine=HyperNodesEngine(map_executor="parallel"))
    made = pipeline.map({"x": [-1, 2]}, "x")
    sys.exit(0 if made == [{"y": 1}, {"y": 2}] else 2)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_process_of_multiprocessing_ends_though_nobody_shuts_its_engine_down(
    method: str,
) -> None:
    """It waited for its children before they were told to end."""
    process = multiprocessing.get_context(method).Process(target=map_in_processes)
    process.start()
    process.join(60)
    ended = process.exitcode
    process.kill()
    assert ended == 0


def test_a_pool_that_breaks_while_a_worker_starts_ends_that_worker() -> None:
    """Nobody told it to end, and the pool's thread waited for it, as did the program's exit."""
    pool: Any = ProcessPool(2)
    first = pool.submit(os.getpid).result(60)
    busy = pool.submit(time.sleep, 60)
    make = pool._mp_context.Process

    def make_late(**arguments: Any) -> Any:
        os.kill(first, signal.SIGKILL)
        with suppress(AssertionError):
            wait_until(busy.done, 0.5)
        return make(**arguments)

    pool._mp_context = SimpleNamespace(Process=make_late)
    late, manager = pool.submit(time.sleep, 60), pool._executor_manager_thread
    for future in (busy, late):
        with pytest.raises(BrokenExecutor):
            future.result(30)
    manager.join(30)
    assert not manager.is_alive()


class Signalled:
    """A process that has just started when the program is told to end."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def start(self) -> None:
        self._process.start()
        signal.raise_signal(signal.SIGTERM)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)


@pytest.mark.parametrize("before", [0, 1])
def test_a_pool_ends_after_a_signal_handler_raised_while_a_worker_started(before: int) -> None:
    """The worker took the word to end that was meant for another, or nobody gave it one."""
    pool: Any = ProcessPool(2)
    for _ in range(before):
        pool.submit(os.getpid).result(60)
    make, workers = pool._mp_context.Process, []

    def make_signalled(**arguments: Any) -> Any:
        workers.append(Signalled(make(**arguments)))
        return workers[-1]

    pool._mp_context = SimpleNamespace(Process=make_signalled)
    handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    try:
        with pytest.raises(SystemExit):
            _ = [pool.submit(time.sleep, 0.1) for _ in range(2)]  # there is one idle worker at most
    finally:
        signal.signal(signal.SIGTERM, handler)
        pool.shutdown(wait=False)
    (worker,) = workers
    worker.join(30)
    ended = worker.exitcode
    worker.kill()
    assert ended == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it looks into /proc")
@pytest.mark.parametrize("server_is_killed", [False, True])
def test_the_end_of_a_worker_is_seen_though_its_pipe_is_held_open(
    server_is_killed: bool, tmp_path: Path
) -> None:
    script = tmp_path / "held.py"
    script.write_text(
        f"""
import os, signal, threading, time
from hypernodes import processes

context = processes._context()
worker = context.Process(target=time.sleep, args=(600,))
worker.start()
server = processes._server._forkserver_pid
pipe = os.readlink(f"/proc/self/fd/{{worker.sentinel}}")
for each in os.listdir(f"/proc/{{server}}/fd"):
    if os.readlink(f"/proc/{{server}}/fd/{{each}}") == pipe:
        held = os.open(f"/proc/{{server}}/fd/{{each}}", os.O_WRONLY)
waiting = [threading.Thread(target=worker._popen.wait, daemon=True) for _ in range(8)]
for each in waiting:
    each.start()
time.sleep(0.2)
if {server_is_killed}:
    os.kill(server, signal.SIGKILL)
os.kill(worker.pid, signal.SIGKILL)
for each in waiting:
    each.join(30)
print([each.is_alive() for each in waiting].count(True), worker.exitcode)
os.close(held)
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    expected = 255 if server_is_killed else -signal.SIGKILL
    assert done.stdout.split() == ["0", str(int(expected))], done.stdout + done.stderr
