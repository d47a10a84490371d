"""The benchmark of stale results counts what it says that it counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CORPUS = """
from _edit import HIT, Edit

HELPER = {
    "helper.py": "def g(x): return x + 1",
    "nodes.py": "import helper\\ndef f(x): return helper.g(x)",
}
EDITS = [
    Edit("body", "", "def f(x): return x + 1", [("x + 1", "x + 2")]),
    Edit("helper", "", HELPER, [("helper.py", "x + 1", "x + 2")]),
    Edit("line above", "", "def f(x): return x + 1", [("def", "\\ndef")], HIT),
]
"""


def test_it_counts_what_is_served_stale_by_tool(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.py"
    corpus.write_text(CORPUS)

    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "stale.py", corpus]
        + ["--tools", "hypernodes", "joblib", "--sample", "3"],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    ours, joblib = [line.split("|")[1:-1] for line in done.stdout.splitlines()[-2:]]
    assert [cell.strip() for cell in ours] == [
        "**HyperNodes**", "2", "0 (0%)", "0", "1", "0", "0"
    ]  # fmt: skip
    assert [cell.strip() for cell in joblib[1:]] == ["2", "1 (50%)", "0", "1", "0", "0"]
