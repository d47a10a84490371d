"""The tables of docs/caching.md hold as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from hypernodes.identity.code import fingerprint
from hypernodes.identity.values import sign

PAGE = (Path(__file__).parents[2] / "docs" / "caching.md").read_text()
LIBRARIES = {
    "pd": "pandas",
    "pl": "polars",
    "pa": "pyarrow",
    "sparse": "scipy.sparse",
    "torch": "torch",
}


def block(kind: str) -> str:
    found = re.search(rf"```{{ \.python \.{kind} }}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def rows(header: str) -> list[tuple[str, ...]]:
    lines = PAGE[PAGE.index(header) :].splitlines()[2:]
    table = lines[: next(at for at, line in enumerate(lines) if not line.startswith("|"))]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in table]
    return [tuple(each) for each in cells]


VALUES = rows("| one | other | signatures |")
CHANGES = rows("| replace | by | the node |")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    module = types.ModuleType("users_values")
    monkeypatch.setitem(sys.modules, "users_values", module)
    exec(block("table"), vars(module))
    return vars(module)


def test_the_tables_are_as_long_as_they_should_be() -> None:
    assert len(VALUES) >= 60
    assert {"agree", "differ"} == {row[2] for row in VALUES}
    assert len(CHANGES) >= 30
    assert {"runs again", "is a hit"} == {row[2] for row in CHANGES}


@pytest.mark.parametrize(("one", "other", "signatures"), VALUES)
def test_values(names: dict[str, Any], one: str, other: str, signatures: str) -> None:
    for name, library in LIBRARIES.items():
        if re.search(rf"\b{name}\.", one + other):
            names[name] = pytest.importorskip(library)
    signed = [sign(eval(text, names)) for text in (one, other)]
    assert ("agree" if signed[0] == signed[1] else "differ") == signatures


def test_the_examples_run_and_print_what_they_say(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    script = tmp_path / "examples.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    said = [line[2:] for line in "\n".join(blocks).splitlines() if line.startswith("# ")]
    assert len(said) == 4
    for line in said:
        assert line in done.stdout.splitlines()


def digest(source: str) -> bytes:
    module = types.ModuleType("users_module")
    exec(source, vars(module))
    return fingerprint(module.f)


@pytest.mark.parametrize(("old", "new", "node"), CHANGES)
def test_changes_of_code(old: str, new: str, node: str) -> None:
    source = block("module")
    old, new = old.replace("↵", "\n"), new.replace("↵", "\n")
    assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times"
    changed = digest(source.replace(old, new))
    assert ("is a hit" if changed == digest(source) else "runs again") == node
