"""The retrieval experiment: changing one node recomputes only what depends on it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prefect_server import Server, environment

FLOW = Path(__file__).parents[2] / "flows" / "retrieval.py"
TOPICS = ["turbines in the wind", "rivers and their fish", "prices on a market", "heat in a pipe"]


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    for place, topic in enumerate(TOPICS):
        words = " ".join(f"{word} = {word}_{place} = 1\n" for word in topic.split() if word != "in")
        body = "\n".join(line.strip() for line in words.splitlines())
        (folder / f"m{place}.py").write_text(f'"""All about {topic}."""\n{body}\n')
    (folder / "silent.py").write_text("x = 1\n")
    (folder / "broken.py").write_text("def (:\n")
    return folder


def experiment(folder: Path, api: str, *arguments: str) -> dict[str, tuple[int, int]]:
    """How many runs of each node were computed, and how many cached."""
    done = subprocess.run(
        [sys.executable, str(FLOW), *arguments],
        cwd=folder,
        env=environment(folder / "home", PREFECT_API_URL=api, COLUMNS="160"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    told = re.findall(r"(\w+): (\d+) ran, (\d+) cached", done.stdout)
    return {name: (int(ran), int(cached)) for name, ran, cached in told}


def test_only_what_depends_on_a_change_is_computed(
    tmp_path: Path, modules: Path, prefect: Server
) -> None:
    first = experiment(tmp_path, prefect.url, str(modules), "--sizes", "4", "8")
    assert first == {
        "read": (6, 0), "chunk": (2, 0), "embed": (2, 0), "search": (2, 0), "evaluate": (2, 0),
        "write_report": (1, 0),
    }  # fmt: skip
    report = (tmp_path / "reports/retrieval.md").read_text()
    assert re.search(r"\| 4 \| 1\.000 \|", report), report
    assert (tmp_path / "reports/retrieval.png").read_bytes().startswith(b"\x89PNG")

    again = experiment(tmp_path, prefect.url, str(modules), "--sizes", "4", "8")
    assert sum(ran for ran, _ in again.values()) == 0

    other_ranks = experiment(tmp_path, prefect.url, str(modules), "--sizes", "4", "8", "--ks", "1")
    computed = {name: ran for name, (ran, _) in other_ranks.items() if ran}
    assert computed == {"evaluate": 2, "write_report": 1}

    other_size = experiment(tmp_path, prefect.url, str(modules), "--sizes", "4", "6", "--ks", "1")
    computed = {name: ran for name, (ran, _) in other_size.items() if ran}
    assert computed == {"chunk": 1, "embed": 1, "search": 1, "evaluate": 1, "write_report": 1}

    (modules / "m0.py").write_text('"""All about wind."""\nwind = turbines = 2\n')
    touched = experiment(tmp_path, prefect.url, str(modules), "--sizes", "4", "--ks", "1")
    assert touched["read"] == (1, 5)


def test_a_folder_without_python_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, str(FLOW), "empty"],
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 2
    assert "has no Python file" in done.stderr
