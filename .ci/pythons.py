"""The quick tests on the other Pythons from 3.10 to 3.14 that this machine has.

    python .ci/pythons.py [VERSION...] [--minutes 20] [--folder FOLDER] [--prepare]

The oldest of them runs all quick tests, and so do those that are named. The newest runs those of
event loops and code's identity, where releases differ most, and those between the last alone: each
release has other bytecode. Each gets an environment of its own, made by uv out of its
cache; with `--prepare` that is all, and the next call with the same folder finds them. One line for
each that passes; for one that does not, or does not end in time, the end of its log, and the exit
code 1.
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
IDENTITY = ["tests/identity"]
OF_THE_NEWEST = [*IDENTITY, "tests/test_event_loops.py"]
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


class Environment:
    """A Python with the library and what its tests need.

    Args:
        version: such as 3.12.
        folder: where it is made.
        minutes: how long all that is done in it may take.
    """

    def __init__(self, version: str, folder: Path, minutes: float) -> None:
        self.version = version
        self._folder, self._log = folder, folder / "log"
        self._until = time.monotonic() + minutes * 60
        own = folder / "venv" / "bin"
        self._python = own / "python"
        self._variables = {
            **os.environ,
            "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(folder / "prefect"),
        }
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"):
            self._variables.pop(name, None)

    def _do(self, *steps: list[str]) -> str:
        """Run commands, until one fails; says what is wrong, if anything is."""
        for step in steps:
            wrong = run(step, self._variables, self._log, self._until)
            if wrong:
                print(*self._log.read_text(errors="replace").splitlines()[-100:], sep="\n")
                print(f"Python {self.version}: {wrong}", flush=True)
                return wrong
        return ""

    def make(self, python: str) -> str:
        """Make it, unless it is there; says what is wrong, if anything is.

        Args:
            python: the interpreter.
        """
        made = self._folder / "made"
        if made.exists():
            return ""
        self._folder.mkdir(parents=True, exist_ok=True)
        venv = str(self._folder / "venv")
        wrong = self._do(
            ["uv", "venv", "-q", "--clear", "--python", python, venv],
            ["uv", "pip", "install", "-q", "--python", str(self._python), "-e", ".[test]"],
        )
        if not wrong:
            made.touch()
        return wrong

    def test(self, tests: list[str]) -> str:
        """Run the quick ones of some tests; says what is wrong, if anything is."""
        begun = time.monotonic()
        wrong = self._do(
            [str(self._python), "-m", "pytest", *tests, "-m", "not slow", "-p", "no:cacheprovider",
             "--timeout", str(A_TEST), "--maxfail", "20"]
        )  # fmt: skip
        if not wrong:
            summary = self._log.read_text(errors="replace").splitlines()[-1]
            what = " ".join([f"Python {self.version}", *tests])
            print(f"{what}: {summary} ({time.monotonic() - begun:.0f} s in all)", flush=True)
        return wrong


def parts(version: str) -> list[int]:
    """A version's numbers."""
    return [int(part) for part in version.split(".")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", nargs="*", help="such as 3.12; all that are found, by default")
    parser.add_argument("--minutes", type=float, default=20, help="how long each may take")
    parser.add_argument("--folder", help="where the environments are; by default for this call")
    parser.add_argument("--prepare", action="store_true", help="only make the environments")
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
        return
    tests = dict.fromkeys(found, IDENTITY) | {max(found, key=parts): OF_THE_NEWEST}
    tests |= {version: [] for version in given.versions or [min(found, key=parts)]}
    failed = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        for version in given.versions or found:
            folder = Path(given.folder or temporary, version)
            environment = Environment(version, folder, given.minutes)
            wrong = environment.make(found[version])
            if not (wrong or given.prepare):
                wrong = environment.test(tests[version])
            if wrong:
                failed[version] = wrong
    if failed:
        sys.exit("\n".join(f"Python {version}: {wrong}" for version, wrong in failed.items()))


if __name__ == "__main__":
    main()
