"""The corpus report as people run it: twice, with a touched file, on a folder with bad files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prefect_server import Server, environment

FLOW = Path(__file__).parents[2] / "flows" / "corpus_report.py"


def report(folder: Path, *arguments: str, api: str = "") -> subprocess.CompletedProcess[str]:
    more = {"PREFECT_API_URL": api} if api else {}
    return subprocess.run(
        [sys.executable, str(FLOW), *arguments],
        cwd=folder,
        env=environment(folder / "home", **more, COLUMNS="160"),
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "more").mkdir(parents=True)
    words = ["wind", "turbine", "river", "market", "heat", "storage", "cable", "price"]
    for number in range(6):
        text = " ".join(words[number : number + 3] * (number + 2))
        (folder / f"d{number}.txt").write_text(text + "\nalways\n")
    (folder / "more" / "latin.txt").write_bytes("é wärme".encode("latin-1"))
    (folder / "picture.bin").write_bytes(b"\x89PNG\0\0")
    (folder / "gone.txt").symlink_to(folder / "nowhere.txt")
    return folder


def test_the_report_counts_everything_and_computes_nothing_twice(
    tmp_path: Path, documents: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    totals = []
    for touch in (False, False, True):
        if touch:
            (documents / "d0.txt").write_text("a quite different content\n")
        done = report(tmp_path, str(documents), api=prefect.url)
        assert done.returncode == 0, done.stderr
        assert "left out: 2" in done.stdout
        totals.append(re.findall(r"total\s*\S\s*(\d+)\s*\S\s*(\d+)", done.stdout)[0])
    whole = 9 * 5 + 5
    # read and what follows it for one file, then the five nodes of the corpus
    assert totals == [(str(whole), "0"), ("0", str(whole)), ("10", str(whole - 10))]

    text = (tmp_path / "reports" / "corpus.md").read_text()
    assert "| gone.txt | unreadable (No such file or directory) |" in text
    assert "| picture.bin | binary |" in text
    assert "**7** documents" in text
    assert (tmp_path / "reports" / "corpus.png").read_bytes().startswith(b"\x89PNG")

    runs = [each for each in prefect.flow_runs() if each["id"] not in before]
    assert [each["state_name"] for each in runs] == ["Completed"] * 3
    states = [Counter(each["state_name"] for each in prefect.task_runs(run)) for run in runs]
    scopes = 1 + 9
    assert states[0] == {"Completed": whole + scopes}
    assert states[1] == {"Cached": whole + scopes}
    assert states[2] == {"Completed": 10 + 2, "Cached": whole - 10 + 8}
    artifacts = prefect.ask("artifacts/filter", artifacts={"key": {"any_": ["corpus-report"]}})
    assert len(artifacts) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["documents/d0.txt"], "is no folder"),
        (["documents", "--limit", "0"], "expected at least 1"),
        (["documents", "--output", "documents/d0.txt"], "is no folder"),
    ],
)
def test_a_bad_folder_is_told_before_anything_starts(
    tmp_path: Path, documents: Path, arguments: list[str], words: str
) -> None:
    done = report(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
