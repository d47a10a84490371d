"""The quick tests on every other Python from 3.10 that this machine has.

    python .ci/pythons.py

Each gets an environment of its own, made by uv. One line for each that passes; for one that does
not, the end of what pytest said, and the exit code 1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 10)
ABOUT = "import json, sys; print(json.dumps([sys.version_info[:2], sys.implementation.name]))"


def said(*command: str) -> str:
    """What a command prints; nothing where it is not there, or fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout if done.returncode == 0 else ""


def others() -> dict[tuple[int, int], str]:
    """An interpreter of each other minor version, by pyenv and uv."""
    folder = Path(said("pyenv", "root").strip() or "none", "versions")
    found = [
        str(folder / name / "bin/python") for name in said("pyenv", "versions", "--bare").split()
    ]
    listed = said("uv", "python", "list", "--only-installed", "--output-format", "json")
    found += [each["path"] for each in json.loads(listed or "[]")]
    pythons: dict[tuple[int, int], str] = {}
    for python in found:
        about = said(python, "-c", ABOUT)
        if about:
            (major, minor), kind = json.loads(about)
            if (major, minor) >= OLDEST and kind == "cpython":
                pythons.setdefault((major, minor), python)
    pythons.pop(sys.version_info[:2], None)
    return dict(sorted(pythons.items()))


def passes(python: str, folder: Path) -> bool:
    """Whether the quick tests pass on a Python; says so."""
    begin = time.monotonic()
    own = folder / "venv" / "bin"
    environment = {
        **os.environ,
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "prefect"),
    }
    steps: list[list[str | Path]] = [
        ["uv", "venv", "-q", "--python", python, folder / "venv"],
        ["uv", "pip", "install", "-q", "--python", own / "python", "-e", ".[test]"],
        [own / "python", "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider"],
    ]
    log = ""
    for step in steps:
        done = subprocess.run(
            step, cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        log += done.stdout
        if done.returncode != 0:
            print(*log.splitlines()[-100:], sep="\n", flush=True)
            return False
    seconds = time.monotonic() - begin
    print(f"{python}: {log.splitlines()[-1]} (with its environment {seconds:.0f} s)", flush=True)
    return True


def main() -> None:
    failed = []
    for version, python in others().items():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            if not passes(python, Path(folder)):
                failed.append(".".join(map(str, version)))
    if failed:
        sys.exit(f"the quick tests fail on Python {', '.join(failed)}")


if __name__ == "__main__":
    main()
