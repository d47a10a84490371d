"""Calling `hypernodes` in tests, each call a process of its own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "COLUMNS": "120",
    "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
}

# A program that has imported what the commands need, and forks for each call: that takes a tenth of
# the time that a new interpreter does.
FORKS = """
import gc, json, os, sys
import cyclopts, rich.console, rich.markdown, rich.syntax, rich.table
from hypernodes import observe
from hypernodes.cli import commands, main

gc.freeze()  # what is collected in a child would be copied for it
while line := sys.stdin.buffer.readline():
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(asked["folder"])
        for stream, name in enumerate(("stdin", "stdout", "stderr")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if stream else os.O_RDONLY
            os.dup2(os.open(asked[name], flags), stream)
        sys.stdin = open(0)
        sys.argv[1:] = asked["arguments"]
        sys.exit(main())
    _, status = os.waitpid(child, 0)
    os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(status))
"""


@functools.cache
def forking() -> subprocess.Popen[bytes]:
    """The program that forks; it ends when nobody can ask it any more."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", FORKS], env=ENVIRONMENT, **pipes)


def call(folder: Path, *arguments: str, code: int = 0, stdin: str | bytes = "") -> tuple[str, str]:
    """What the command writes to stdout and stderr, in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        files = {name: Path(place, name) for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        status = _ask(folder, arguments, {name: str(file) for name, file in files.items()})
        out, err = files["stdout"].read_text(), files["stderr"].read_text()
    assert status == code, out + err
    return out, err


def on_terminal(folder: Path, *arguments: str) -> str:
    """What the command shows on a terminal, without colours."""
    pty = pytest.importorskip("pty")
    terminal, screen = pty.openpty()
    streams = {"stdin": os.devnull, "stdout": os.ttyname(screen), "stderr": os.ttyname(screen)}
    status = _ask(folder, arguments, streams)
    os.close(screen)
    shown = b""
    with contextlib.suppress(OSError):  # its end, on Linux
        while read := os.read(terminal, 1 << 16):
            shown += read
    os.close(terminal)
    assert status == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def _ask(folder: Path, arguments: Sequence[str], streams: dict[str, str]) -> int:
    command = forking()
    assert command.stdin is not None
    assert command.stdout is not None
    asked = {"folder": str(folder), "arguments": arguments, **streams}
    command.stdin.write(json.dumps(asked).encode() + b"\n")
    command.stdin.flush()
    return int(command.stdout.readline())
