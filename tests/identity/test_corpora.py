"""No edit of a corpus is served stale, no pair of values collides, and little is computed again.

A run of all tests takes a third of the edits, evenly spread, and a quick one a few. After a change
of `hypernodes/identity`, `HYPERNODES_ALL_EDITS=1` takes them all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import law
import pytest

pytestmark = pytest.mark.timeout(1200)  # hundreds of processes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BAD = ("stale", "needless", "never", "collision", "hang", "error")
#: How many edits and pairs of values are tried; 0: all.
EDITS, MUTANTS, PAIRS = (12, 0, 10) if law.QUICK else (260, 50, 0)
if os.environ.get("HYPERNODES_ALL_EDITS"):
    EDITS = MUTANTS = PAIRS = 0


def check(folder: str, *corpora: str, record: Path, sample: int = 0) -> list[dict[str, str]]:
    """What became of each case, or of so many of them, as `check.py` of the folder tells it."""
    command = [sys.executable, str(HERE / folder / "check.py")]
    command += [str(HERE / folder / each) for each in corpora]
    command += ["--sample", str(sample)] if sample else []
    command += ["--jobs", "1"] if law.QUICK else []
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [*command, "--report", "--json", str(record)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"got {done.stdout}{done.stderr}; right is a check that runs"
    told: list[dict[str, str]] = json.loads(record.read_text())
    return told


def assert_right(told: list[dict[str, str]]) -> None:
    wrong = [f"{each['verdict']}: {each['name']}: {each['seen']}" for each in told]
    wrong = [line for each, line in zip(told, wrong, strict=True) if each["verdict"] in BAD]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(told)} are wrong", *wrong])


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    record = tmp_path_factory.mktemp("edits") / "told"
    return check("edits", "corpus.py", "more.py", record=record, sample=EDITS)


@pytest.mark.slow
def test_what_is_read_by_a_text_or_an_order_counts(tmp_path: Path) -> None:
    assert_right(check("edits", "evaluated.py", record=tmp_path / "told"))


def test_no_edit_is_served_stale_and_none_is_computed_for_nothing(
    edits: list[dict[str, str]],
) -> None:
    assert_right(edits)


@pytest.mark.slow
def test_few_edits_are_declined_and_each_says_what_and_where(edits: list[dict[str, str]]) -> None:
    must_run = [each for each in edits if each["rule"] == "must run"]
    declined = [each for each in must_run if each["verdict"] == "declined"]
    assert len(declined) <= len(must_run) / 10, [each["name"] for each in declined]
    for each in declined:
        assert re.search(r"'\w+'.*: .*\w+", each["seen"]), f"{each['name']}: {each['seen']}"


def test_values_that_differ_are_told_apart_and_equal_ones_known_again(tmp_path: Path) -> None:
    record = tmp_path / "told"
    assert_right(check("values", "corpus.py", "more.py", record=record, sample=PAIRS))


@pytest.mark.slow
def test_mutants_of_real_code_run_and_the_same_code_written_anew_hits(tmp_path: Path) -> None:
    assert_right(check("edits", "mutated.py", record=tmp_path / "told", sample=MUTANTS))


@pytest.mark.slow
def test_code_as_people_write_it_is_cached_and_found_by_another_process(tmp_path: Path) -> None:
    assert_right(check("edits", "everyday.py", record=tmp_path / "told"))
