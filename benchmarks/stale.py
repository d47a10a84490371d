"""How often a cache serves something stale: HyperNodes beside its peers.

    python benchmarks/stale.py [CORPUS...] [--tools NAME...] [--sample N] [--jobs N]

A small project runs through a cached function, is edited, and runs again in another process; an
uncached run tells the truth. `tests/identity/edits` holds the edits and runs them. Every tool has
a process of its own, since it imports the tool for all its runs to begin with. Prefect has its own
server, too, on a free port, and gets a sample, evenly spread, for it is slow. What fails is named
on the standard error.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import multiprocessing
import os
import platform
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EDITS = Path(__file__).resolve().parents[1] / "tests" / "identity" / "edits"
DEFAULT = [EDITS / "corpus.py", EDITS / "more.py"]
PACKAGES = {
    "hypernodes": "",
    "joblib": "joblib",
    "pipefunc": "pipefunc",
    "hamilton": "sf-hamilton",
    "prefect": "prefect",
}
"""What each peer is installed as."""
NAMES = {"hypernodes": "**HyperNodes**", "hamilton": "Hamilton", "prefect": "Prefect"}
SAMPLES = {"prefect": 60}
"""Edits that a slow tool gets, where --sample does not say otherwise."""
HEAD = {
    "changed": "edits that change the result",
    "stale": "served stale",
    "declined": "not cached, with a warning",
    "unchanged": "edits that change nothing",
    "needless": "computed again for nothing",
    "failed": "errors, or never cached",
}
"""The columns: what is counted, and how it is called."""
FAILED = ("error", "never")
"""What the last column counts."""

Told = dict[str, int]
"""A count for each of `HEAD`, and of the edits that a sample left out."""


def harness() -> Any:
    """The module that runs edits; it stands among the tests."""
    sys.path.insert(0, str(EDITS))
    return importlib.import_module("check")


# -- One tool, in a process of its own -----------------------------------------------------------


def measure(tool: str, corpora: list[str], sample: int | None, jobs: int) -> Told:
    """What became of the edits under one tool.

    Args:
        tool: one of `PACKAGES`.
        corpora: files with a list `EDITS`.
        sample: about so many edits, evenly spread; None is all.
        jobs: edits that are under way at the same time.
    """
    check = harness()
    every = applicable(check, tool, corpora)
    edits = spread(every, sample)
    with served(check, tool):
        check.imported(edits, tool)
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            found = pool.map(check.judge, [(edit, tool) for edit in edits], chunksize=1)
    for edit, (word, seen) in zip(edits, found, strict=True):
        if word in FAILED:
            print(f"{tool}, {edit.name}: {word}, {seen}", file=sys.stderr)
    words = Counter((edit.rule, word) for edit, (word, _) in zip(edits, found, strict=True))
    rules = Counter(edit.rule for edit in edits)
    return {
        "changed": rules[check.RUN],
        "stale": words[check.RUN, "stale"],
        "declined": words[check.RUN, "declined"],
        "unchanged": rules[check.HIT],
        "needless": words[check.HIT, "needless"],
        "failed": sum(count for (_, word), count in words.items() if word in FAILED),
        "left out": len(every) - len(edits),
    }


def applicable(check: Any, tool: str, corpora: list[str]) -> list[Any]:
    """The edits that can be tried: their packages are there, and they use no other tool."""
    edits = [edit for path in corpora for edit in check.load(path) if not check.absent(edit)]
    if wrong := [each for each in check.faults(edits) if each]:
        raise SystemExit(f"the corpus is not in form: {wrong}")
    if tool == "hypernodes":
        return edits
    return [edit for edit in edits if not any("hypernodes" in text for text in edit.files.values())]


def spread(edits: list[Any], sample: int | None) -> list[Any]:
    """So many of the edits, at even distances."""
    if not sample or sample >= len(edits):
        return edits
    return [edits[at * len(edits) // sample] for at in range(sample)]


@contextmanager
def served(check: Any, tool: str) -> Iterator[None]:
    """A server for the tool that needs one."""
    if tool != "prefect":
        yield
        return
    process, home = check.serve_prefect()
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


# -- The table -----------------------------------------------------------------------------------


def line(tool: str, told: Told) -> str:
    """A tool's line of the table."""
    name = NAMES.get(tool, tool)
    if PACKAGES[tool]:
        name += f" {importlib.metadata.version(PACKAGES[tool])}"
    if told["left out"]:
        name += f", a sample of {told['changed'] + told['unchanged']}"
    shown = {column: f"{told[column]:,}" for column in HEAD}
    shown["stale"] += f" ({told['stale'] / max(told['changed'], 1):.0%})"
    return f"| {name} | {' | '.join(shown.values())} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How often a cache serves something stale.")
    parser.add_argument("corpus", nargs="*", help="by default corpus.py and more.py of the tests")
    parser.add_argument("--tools", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    parser.add_argument("--sample", type=int, help="about so many edits, evenly spread")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="edits at a time")
    chosen = parser.parse_args()
    corpora = chosen.corpus or [str(path) for path in DEFAULT if path.exists()]
    print(f"Python {platform.python_version()}, {', '.join(Path(each).name for each in corpora)}\n")
    print(f"| | {' | '.join(HEAD.values())} |\n| ---{' | ---:' * len(HEAD)} |", flush=True)
    for tool in chosen.tools:
        sample = chosen.sample or SAMPLES.get(tool)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
            told = own.submit(measure, tool, corpora, sample, chosen.jobs).result()
        print(line(tool, told), flush=True)


if __name__ == "__main__":
    main()
