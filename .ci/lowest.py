"""The lower bounds are true: each extra at the lowest releases that it allows does what it is for.

    python .ci/lowest.py [EXTRA...]

Each extra gets an environment of its own, made by uv with `--resolution lowest-direct`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PIPELINE = """
import asyncio
from hypernodes import DiskCache, HyperNodesEngine, Pipeline, exponential_backoff, node

@node(output_name="square", retries=2, retry_delay_seconds=exponential_backoff(0.001))
def square(x: int) -> int:
    return x * x

@node(output_name="root")
async def root(square: int) -> float:
    await asyncio.sleep(0)
    return square ** 0.5

pipeline = Pipeline([square, root], name="smoke")
"""

SMOKE = {
    "": """
assert len(pipeline.graph) == 2
for kind in ("sequential", "async", "threaded", "parallel"):
    with HyperNodesEngine(kind, kind) as engine:
        for _ in range(2):
            cached = pipeline.with_engine(engine).with_cache(DiskCache(f"cache-{kind}"))
            rows = cached.map({"x": [1, 2]}, "x")
            assert rows == [{"square": 1, "root": 1}, {"square": 4, "root": 2}], rows
""",
    "progress": """
from hypernodes import ProgressCallback
pipeline.with_callbacks([ProgressCallback()]).map({"x": range(20)}, "x")
""",
    "viz": """
import shutil
from hypernodes import record
with record() as timeline:
    pipeline.run({"x": 3})
assert timeline.png()[:4] == b"\\x89PNG"
assert "smoke" in pipeline.visualize(format="dot").data
if shutil.which("dot"):
    assert "<svg" in pipeline.visualize(format="svg").data
""",
    "cli": """
import shlex, subprocess, sys
script = "import sys; sys.argv[0] = 'hypernodes'; from hypernodes.cli import main; main()"
open("pipelines.py", "w").write('''
from hypernodes import Pipeline, node

@node(output_name="count")
def count(text: str, least: int = 1) -> int:
    "Count words."
    return len([word for word in text.split() if len(word) >= least])

counts = Pipeline([count])
''')
for command, expected in {
    "run pipelines.py:counts --text 'one two' --least 2 --json": '"count": 2',
    "run pipelines.py:counts --help": "--least",
    "show pipelines.py:counts": "count",
    "--help": "run",
}.items():
    done = subprocess.run([sys.executable, "-c", script, *shlex.split(command)],
                          capture_output=True, text=True)
    assert done.returncode == 0 and expected in done.stdout, (command, done.stdout, done.stderr)
""",
    "parquet": """
import pyarrow as pa
import pyarrow.parquet
from hypernodes import MemoryCache
table = pa.table({"x": [1, 2], "name": ["a", None]})
calls = []

@node(output_name="rows")
def count(table):
    calls.append(1)
    return len(table)

@node(output_name="doubled", batch="arrow")
def double(x):
    return pa.array([2 * each.as_py() for each in x])

pa.parquet.write_table(table, "rows.parquet")
counts = Pipeline([count], cache=MemoryCache())
for each in (table, pa.parquet.read_table("rows.parquet"), table.slice(1)):
    counts.run({"table": each})
assert len(calls) == 2, calls
assert Pipeline([double]).map({"x": [1, 2]}, "x") == [{"doubled": 2}, {"doubled": 4}]
""",
    "otel": """
from hypernodes import TracingCallback
pipeline.with_callbacks([TracingCallback()]).map({"x": [1, 2]}, "x")
""",
    "remote": """
from hypernodes import FsspecCache
calls = []

@node(output_name="y")
def add(x):
    calls.append(x)
    return x + 1

for _ in range(2):
    stored = Pipeline([add], cache=FsspecCache("memory://smoke"))
    assert stored.map({"x": [1, 2]}, "x") == [{"y": 2}, {"y": 3}]
assert calls == [1, 2], calls
""",
    "daft": """
from hypernodes import DaftEngine
rows = pipeline.with_engine(DaftEngine()).map({"x": [1, 2]}, "x")
assert rows == [{"square": 1, "root": 1}, {"square": 4, "root": 2}], rows
""",
    "prefect": """
import prefect.server.api.server  # with SQLAlchemy and FastAPI
from prefect_hypernodes import pipeline_flow
assert list(pipeline_flow(pipeline, name="smoke").parameters.properties) == ["x"]
""",
    "flows": """
import sys
sys.path.insert(0, f"{ROOT}/flows")
import crawl, digits_sweep, llm_batch, nightly_ingest, promote_model, retrieval
""",
}


def uv(*arguments: object) -> None:
    subprocess.run(["uv", *map(str, arguments)], check=True, cwd=ROOT)


def try_extra(extra: str, folder: Path) -> bool:
    """Whether the lowest releases of an extra work."""
    python = folder / "venv" / "bin" / "python"
    uv("venv", "-q", "--python", sys.executable, folder / "venv")
    extras = [extra, "prefect"] if extra == "flows" else [extra]
    wanted = [f"--extra={each}" for each in extras if each]
    uv("pip", "install", "-q", "--resolution", "lowest-direct", "--python", python,
       "-r", "pyproject.toml", *wanted)  # fmt: skip
    paths = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    environment = {**os.environ, "PYTHONPATH": paths, "PREFECT_HOME": str(folder / "prefect")}
    (folder / "smoke.py").write_text(f"ROOT = {str(ROOT)!r}\n{PIPELINE}{SMOKE[extra]}")
    done = subprocess.run([python, "-W", "ignore", "smoke.py"], cwd=folder, env=environment)
    return done.returncode == 0


def main() -> None:
    failed = []
    for extra in sys.argv[1:] or SMOKE:
        with tempfile.TemporaryDirectory() as folder:
            if not try_extra(extra, Path(folder)):
                failed.append(extra or "the core")
    if failed:
        sys.exit(f"at their lowest releases these do not work: {', '.join(failed)}")


if __name__ == "__main__":
    main()
