"""Three flows of everyday work, as people run them: twice, with a change in between."""

from __future__ import annotations

import ast
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prefect_server import Server, environment

FLOWS = Path(__file__).parents[2] / "flows"


def run(name: str, folder: Path, api: str, *arguments: str) -> dict[str, Any]:
    """The last dict that a flow's script prints."""
    done = subprocess.run(
        [sys.executable, str(FLOWS / f"{name}.py"), *arguments],
        cwd=folder,
        env=environment(folder / "home", PREFECT_API_URL=api, HYPERNODES_CACHE=str(folder / "c")),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    line = [each for each in done.stdout.splitlines() if each.startswith("{")][-1]
    told: dict[str, Any] = ast.literal_eval(line[: line.rindex("}") + 1])
    return told


def test_an_ingest_stores_good_rows_quarantines_bad_ones_and_tells_when_they_are_many(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    head = "station,at,level\n"
    (inbox / "a.csv").write_text(f"{head}a,2026-01-01T00:00,3.5\na,2026-01-01T01:00,-999\n")
    (inbox / "b.csv").write_text(f"{head}b,2026-01-01T00:00,4\nb,never,5\nb,2026-01-02T00:00,6\n")
    (inbox / "c.csv").write_bytes(b"\xff\xfe")
    arguments = ("nightly_ingest", tmp_path, prefect.url, str(inbox))
    assert run(*arguments)["summary"] == {"files": 3, "readings": 3, "refused": 3, "stored": 3}
    bad = {path.name: path.read_text() for path in (tmp_path / "reports/quarantine").iterdir()}
    assert "3,a,2026-01-01T01:00,-999,level: Input should be greater than" in bad["a.csv"]
    assert "not UTF-8" in bad["c.csv"]

    (inbox / "a.csv").write_text(f"{head}a,2026-01-01T00:00,3.6\na,2026-01-01T01:00,3.7\n")
    assert run(*arguments)["summary"] == {"files": 3, "readings": 4, "refused": 2, "stored": 4}
    assert not (tmp_path / "reports/quarantine/a.csv").exists()
    with closing(sqlite3.connect(tmp_path / "reports/levels.db")) as connection:
        levels = connection.execute("select level from level where station = 'a'").fetchall()
    assert levels == [(3.6,), (3.7,)]

    last = [each for each in prefect.flow_runs() if each["id"] not in before][-1]
    states = [t["state_name"] for t in prefect.task_runs(last) if t["name"].startswith("check")]
    assert sorted(states) == ["Cached", "Cached", "Completed"]
    assert "| b | 2026-01-02 | 1 | 6.00 | 6.00 |" in prefect.artifacts(last)["ingest"]["data"]


def test_a_model_replaces_the_one_in_use_only_if_it_is_better(
    tmp_path: Path, prefect: Server
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the extra [flows]")
    arguments = ("promote_model", tmp_path, prefect.url)
    assert run(*arguments)["decision"]["promoted"]
    assert not run(*arguments)["decision"]["promoted"]  # the same model is not better
    better = run(*arguments, "--trees", "100", "--depth", "5")["decision"]
    assert better["promoted"]
    champion = json.loads((tmp_path / "reports/models/champion.json").read_text())
    assert champion["score"] == better["score"] > better["to_beat"]
    assert (tmp_path / "reports/models" / champion["file"]).exists()
    assert not run(*arguments, "--trees", "3")["decision"]["promoted"]


def test_a_batch_of_prompts_is_limited_tried_again_and_paid_for_once(
    tmp_path: Path, prefect: Server
) -> None:
    arguments = ("llm_batch", tmp_path, prefect.url)
    first = run(*arguments, "--items", "60", "--at-once", "20")
    assert (first["labels"], first["failed"], first["asked"], first["cached"]) == (59, 1, 60, 0)
    assert first["busy"] > 0
    assert first["spent"] > 0 == first["saved"]
    second = run(*arguments, "--items", "80")
    assert (second["labels"], second["asked"], second["cached"]) == (79, 20, 60)
    assert second["saved"] > second["spent"] > 0
    rows = [json.loads(line) for line in (tmp_path / "reports/labels.jsonl").open()]
    assert [row["label"] for row in rows[:3]] == ["positive", "negative", "positive"]
    assert [row["review"] for row in rows if row["label"] is None] == ["Number 49: maybe a film"]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("nightly_ingest", ["nowhere"], "no folder 'nowhere'"),
        ("promote_model", ["--trees", "0"], "expected at least 1"),
        ("llm_batch", ["--items", "0"], "--items: expected at least 1"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    tmp_path: Path, name: str, arguments: list[str], told: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(FLOWS / f"{name}.py"), *arguments],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 2
    assert told in done.stderr
