"""Scripts that tests run as a user would."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Literal


def run_script(text: str, folder: Path, *arguments: str) -> str:
    """Run a script as a user would, and give what it printed."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def processes_where(field: Literal["parent", "session"], value: int) -> set[int]:
    """Ids of processes that have not ended, by `/proc`.

    Args:
        field: what to look at.
        value: what it has to be.
    """
    place = {"parent": 1, "session": 3}[field]
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[place]) == value and fields[0] != "Z":
            found.add(int(status.parent.name))
    return found
