"""What is built installs in an empty environment, and runs there."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SMOKE = """
import sys
import hypernodes
from importlib.metadata import metadata
from hypernodes import DiskCache, HyperNodesEngine, Pipeline, node

@node(output_name="square")
def square(x: int) -> int:
    return x * x

assert "site-packages" in hypernodes.__file__
assert metadata("hypernodes")["Version"] == hypernodes.__version__
heavy = {"networkx", "numpy", "prefect", "daft", "rich"} & set(sys.modules)
assert not heavy, heavy
with HyperNodesEngine(map_executor="parallel") as engine:
    pipeline = Pipeline([square], engine=engine, cache=DiskCache("cache"))
    for _ in range(2):
        print(pipeline.map({"x": [1, 2, 3]}, map_over="x"))
assert len(pipeline.graph) == 1
"""


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built out of it."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, cwd=ROOT)
    return folder


def test_both_hold_what_they_should(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"hypernodes/__init__.py", "hypernodes/py.typed"} <= names
    assert "prefect_hypernodes/__init__.py" in names
    assert any(name.endswith("assets/viz.js") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "hypernodes",
        "prefect_hypernodes",
    }
    with tarfile.open(sdist) as archive:
        inside = {name.split("/", 1)[-1] for name in archive.getnames()}
    wanted = {
        "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md",
        "conftest.py", "mkdocs.yml", "docs/index.md", "flows/crawl.py", "tests/pages.py",
    }  # fmt: skip
    assert wanted <= inside


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_what_is_built_runs_in_an_empty_environment(built: Path, tmp_path: Path, kind: str) -> None:
    (file,) = built.glob(kind)
    venv.create(tmp_path / "venv", with_pip=True)
    python = next((tmp_path / "venv").glob("[bS]*/python*"))
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", file, cwd=tmp_path)
    (tmp_path / "smoke.py").write_text(SMOKE)
    said = run(python, "smoke.py", cwd=tmp_path)
    assert said == "[{'square': 1}, {'square': 4}, {'square': 9}]\n" * 2
