"""Scripts that tests run as a user would."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path


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
