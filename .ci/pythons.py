"""The quick tests on the other Pythons from 3.10 to 3.14 that this machine has.

    python .ci/pythons.py [VERSION...] [--minutes 20]

The oldest and the newest of them run all quick tests, and so do those that are named; those between
run the tests of code's identity: each release has other bytecode. Each gets an environment of its
own, made by uv out of its cache. One line for each that passes; for one that does not, or does not
end in time, the end of its log, and the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST, NEWEST = (3, 10), (3, 14)  # as the classifiers say
ABOUT = "import json, sys; print(json.dumps([sys.version_info[:2], sys.implementation.name]))"
A_TEST = 180
"""Seconds that one test may take: it stands still by then."""


def said(*command: str) -> str:
    """What a command prints; nothing where it is not there, or fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout if done.returncode == 0 else ""


def others() -> dict[str, str]:
    """An interpreter of each other minor version, by pyenv and uv."""
    folder = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    found = [str(python) for python in sorted(folder.glob("*/bin/python"))]
    listed = said("uv", "python", "list", "--only-installed", "--output-format", "json")
    found += [each["path"] for each in json.loads(listed or "[]")]
    pythons: dict[tuple[int, int], str] = {}
    for python in found:
        about = said(python, "-c", ABOUT)
        if about:
            (major, minor), kind = json.loads(about)
            if OLDEST <= (major, minor) <= NEWEST and kind == "cpython":
                pythons.setdefault((major, minor), python)
    pythons.pop(sys.version_info[:2], None)
    return {f"{major}.{minor}": pythons[major, minor] for major, minor in sorted(pythons)}


def run(step: list[str], environment: dict[str, str], log: Path, until: float) -> str:
    """Run a command, with all that it starts.

    Returns:
        What is wrong; nothing where it ended well.
    """
    with log.open("ab") as file:  # no pipe: a process that is left behind would hold it open
        process = subprocess.Popen(
            step, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(max(1.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return f"{Path(step[0]).name} {step[1]} {step[2]} has not ended in time"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"{Path(step[0]).name} {step[1]} {step[2]} gave {code}" if code else ""


def failure(version: str, python: str, folder: Path, minutes: float, tests: list[str]) -> str:
    """Run the quick ones of some tests on a Python; says what is wrong, if anything is."""
    begin = time.monotonic()
    own, log = folder / "venv" / "bin", folder / "log"
    environment = {
        **os.environ,
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "prefect"),
    }
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"):
        environment.pop(name, None)
    steps = [
        ["uv", "venv", "-q", "--python", python, str(folder / "venv")],
        ["uv", "pip", "install", "-q", "--python", str(own / "python"), "-e", ".[test]"],
        [str(own / "python"), "-m", "pytest", *tests, "-m", "not slow", "-p", "no:cacheprovider",
         "--timeout", str(A_TEST), "--maxfail", "20"],
    ]  # fmt: skip
    for step in steps:
        wrong = run(step, environment, log, begin + minutes * 60)
        if wrong:
            print(*log.read_text(errors="replace").splitlines()[-100:], sep="\n")
            print(f"Python {version}: {wrong}", flush=True)
            return wrong
    summary = log.read_text(errors="replace").splitlines()[-1]
    seconds = time.monotonic() - begin
    what = " ".join([f"Python {version}", *tests])
    print(f"{what}: {summary} (with its environment {seconds:.0f} s)", flush=True)
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", nargs="*", help="such as 3.12; all that are found, by default")
    parser.add_argument("--minutes", type=float, default=20, help="how long each may take")
    given = parser.parse_args()
    if not shutil.which("uv"):
        sys.exit("uv is not on the PATH: pip install uv")
    found = others()
    missing = [each for each in given.versions if each not in found]
    if missing:
        known = ", ".join(found) or "none"
        sys.exit(f"no Python {', '.join(missing)} by pyenv or uv, which have {known}")
    if not found:
        print(f"no other Python from {OLDEST[0]}.{OLDEST[1]} on by pyenv or uv")
    whole = given.versions or [*found][:1] + [*found][-1:]
    failed = {}
    for version in given.versions or found:
        tests = [] if version in whole else ["tests/identity"]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            if wrong := failure(version, found[version], Path(folder), given.minutes, tests):
                failed[version] = wrong
    if failed:
        sys.exit("\n".join(f"Python {version}: {wrong}" for version, wrong in failed.items()))


if __name__ == "__main__":
    main()
