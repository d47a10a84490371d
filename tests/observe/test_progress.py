"""Progress on a real pseudo-terminal, in a log and in a notebook."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hypernodes import Pipeline, ProgressCallback, node

SCRIPT = """
import logging, sys, time

logging.basicConfig(level=logging.INFO, format="log %(message)s")
from hypernodes import HyperNodesEngine, MemoryCache, Pipeline, ProgressCallback, node

@node(output_name="y")
def read(x):
    time.sleep(0.01)
    return x

@node(output_name="z")
def parse(y):
    if y % 20 == 0:
        logging.info("at %s", y)
        print("print", y)
    if y == 7:
        raise ValueError("broken")
    return y

@node(output_name="total")
def add(z):
    return sum(z)

inner = Pipeline([read, parse], name="inner", cache=MemoryCache())
inner.map({"x": [1, 2, 3]}, "x")
outer = Pipeline([inner.as_node(map_over={"xs": "x"}), add], name="outer")
engine = HyperNodesEngine(map_executor=sys.argv[1])
progress = ProgressCallback(every=float(sys.argv[2]))
batches = [list(range(start, start + 10)) for start in range(0, 60, 10)]
outer.with_engine(engine).with_callbacks([progress]).map(
    {"xs": batches}, "xs", error_handling="continue"
)
print("after")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["sequential", "threaded"])
def test_a_nested_map_with_failures_on_a_terminal(script: Path, executor: str) -> None:
    pexpect = pytest.importorskip("pexpect", reason="needs pexpect for a pseudo-terminal")
    pyte = pytest.importorskip("pyte", reason="needs pyte, which reads terminals")
    child = pexpect.spawn(
        sys.executable,
        [str(script), executor, "5"],
        dimensions=(60, 110),
        encoding="utf-8",
        timeout=120,
        env={"TERM": "xterm-256color", "PATH": "/usr/bin", "LANG": "C.UTF-8"},
    )
    child.expect(pexpect.EOF)
    written = child.before
    child.close()
    assert child.exitstatus == 0, written
    screen = pyte.Screen(110, 60)
    pyte.Stream(screen).feed(written)
    shown = [line.rstrip() for line in screen.display if line.strip()]
    text = "\n".join(shown)

    # Prints and logs stand on lines of their own, once, above the lines.
    for at in (0, 20, 40):
        assert shown.count(f"log at {at}") == 1, text
        assert shown.count(f"print {at}") == 1, text
    assert shown[-1] == "after"
    tree = shown[-6:-1]
    assert [line.split()[1] for line in tree] == ["outer", "inner", "read", "parse", "add"], text
    assert tree[0].startswith("✗ outer")
    assert "6/6" in tree[0]
    assert "1 failed" in tree[0]
    assert tree[2].startswith("    "), "what is nested is indented"
    assert "/60" in tree[1]
    assert "3 cached" in tree[2]
    assert "1 failed" in tree[3]
    assert "5/5" in tree[4], "it was skipped once, and is done"
    assert "/s" in tree[1]
    # Nothing of the lines is left above them, but for one where a print met a redraw that adds a
    # line: Rich draws outside of its lock.
    assert text.count("outer") <= 2
    assert text.count("parse") == 1
    # They moved while it ran, and the time left was told.
    assert " left" in written
    assert written.count("inner") > 3


def test_not_a_terminal_gets_a_calm_line_now_and_then(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "sequential", "0.2"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "\x1b" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("outer: ")]
    assert lines[0].startswith("outer: outer ")
    assert "; inner " in lines[0]
    assert "/s" in lines[0]
    assert lines[-1].startswith("outer: done in ")
    assert lines[-1].endswith("1 failed")
    assert "3 cached" not in lines[-1]  # the two nodes of three items
    assert "6 cached" in lines[-1]
    assert len(lines) >= 2
    assert done.stdout.splitlines()[-1] == "after"


@pytest.mark.slow
def test_a_notebook_has_one_live_output() -> None:
    pytest.importorskip("ipykernel", reason="needs a Jupyter kernel")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient, which runs notebooks")
    nbformat = pytest.importorskip("nbformat")
    code = """
    import time
    from hypernodes import Pipeline, ProgressCallback, node
    work = node(lambda x: time.sleep(0.02), "y", name="work")
    Pipeline([work], name="notes", callbacks=[ProgressCallback()]).map({"x": list(range(40))}, "x")
    None
    """
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(textwrap.dedent(code))]
    updates: list[str] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
        def process_message(self, message, *rest):  # type: ignore[no-untyped-def]
            if message["msg_type"] == "update_display_data":
                updates.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, *rest)

    Client(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    assert "40/40" in output.data["text/plain"]
    assert '<td style="text-align:right;white-space:pre">40/40</td>' in output.data["text/html"]
    assert '<progress value="40" max="40"></progress>' in output.data["text/html"]
    assert "\x1b" not in output.data["text/html"]
    assert any("40/40" not in each for each in updates), "it moved while it ran"


def test_one_callback_shows_several_runs_at_once_and_one_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import threading

    pipeline = Pipeline([node(lambda x: x, "y", name="work")], name="p")
    pipeline = pipeline.with_callbacks([ProgressCallback()])
    threads = [threading.Thread(target=pipeline.run, args=({"x": 1},)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    pipeline.run({"x": 1})
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("p: done")]
    assert len(told) == 5
    assert all(line.endswith("1 node ran") for line in told)


def test_a_pause_between_lines_has_to_be_positive() -> None:
    with pytest.raises(ValueError, match="every is 0"):
        ProgressCallback(every=0)


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs 'rich': pip install rich "):
        ProgressCallback()


def test_a_stream_of_unknown_length_tells_how_many_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = node(lambda x: time.sleep(0.02), "y", name="work")
    pipeline = Pipeline([work], name="stream", callbacks=[ProgressCallback(every=0.1)])
    assert len(list(pipeline.imap({"x": iter(range(25))}, "x"))) == 25
    *going, last = capsys.readouterr().err.splitlines()
    assert last.startswith("stream: done in")
    assert going
    assert all("/s" in line and " left" not in line for line in going)
    assert "/" not in going[0].split("stream ")[1].split()[0], "no total is made up"


@pytest.mark.parametrize("terminal", [False, True])
def test_names_and_prints_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")

    def work(x: int) -> int:
        print("printed [/] :smile:", end="", flush=True)  # Rich's own reading of it is an error
        return x

    pipeline = Pipeline([node(work, "y")], name="[b]p:smile:")
    pipeline.with_callbacks([ProgressCallback()]).run({"x": 1})
    told = "".join(capsys.readouterr())
    assert "[b]p:smile:" in told
    assert ":smile:" in told.replace("[b]p:smile:", "")
