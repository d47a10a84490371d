"""The sweep on digits as people run it: on processes, then once more with one candidate more."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prefect_server import Server, environment, node_name

pytest.importorskip("sklearn", reason="scikit-learn is not installed: the extra [flows]")
FLOW = Path(__file__).parents[2] / "flows" / "digits_sweep.py"


def sweep(folder: Path, api: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FLOW), *arguments],
        cwd=folder,
        env=environment(folder / "home", PREFECT_API_URL=api),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_wider_sweep_computes_only_what_is_new(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    for cs in (["1"], ["1", "5"]):
        done = sweep(tmp_path, prefect.url, "--gammas", "0.0005", "0.001", "--cs", *cs)
        assert done.returncode == 0, done.stderr
        assert "best: {'C': " in done.stdout
    assert (tmp_path / "reports" / "digits.png").read_bytes().startswith(b"\x89PNG")
    runs = [each for each in prefect.flow_runs() if each["id"] not in before]
    assert [each["state_name"] for each in runs] == ["Completed"] * 2
    counts = [
        Counter(t["state_name"] for t in prefect.task_runs(run) if node_name(t) == "evaluate")
        for run in runs
    ]
    assert counts == [{"Completed": 2}, {"Cached": 2, "Completed": 2}]
    made = prefect.artifacts(runs[1])
    assert made["digits-confusion"]["data"].startswith("data:image/png;base64,")
    assert len(made["digits-candidates"]["data"]) > 100


def test_a_candidate_that_cannot_be_is_told_before_anything_starts(tmp_path: Path) -> None:
    done = sweep(tmp_path, "", "--cs", "0")
    assert done.returncode == 2
    assert "greater than 0" in done.stderr
