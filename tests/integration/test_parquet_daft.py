"""Daft under Prefect: the weather flow as people run it, and what is reported of a Daft run."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prefect_server import Server, environment

daft = pytest.importorskip("daft")

FLOW = Path(__file__).parents[2] / "flows" / "parquet_daft.py"

SCRIPT = """
import daft
from hypernodes import DaftEngine, MemoryCache, Pipeline, node
from prefect_hypernodes import PrefectEngine

@node(output_name="half")
def halve(x): return 10 / x

@node(output_name="text")
def write(half): return str(half)

inner = Pipeline([halve, write], name="inner")
outer = Pipeline([inner.as_node(map_over="xs")], name="outer-on-daft")
outer = outer.with_engine(PrefectEngine(DaftEngine()))
assert outer.run({"xs": [1, 2]}) == {"half": [10.0, 5.0], "text": ["10.0", "5.0"]}
frame = daft.from_pydict({"x": [1, 5]})
framed = inner.with_name("frame-on-daft").with_engine(outer.engine)
rows = framed.map(frame, "x", output_name="half")
assert rows == [{"half": 10.0}, {"half": 2.0}]
try:
    outer.run({"xs": [1, 0]})
except ZeroDivisionError as error:
    print(error.__notes__)
"""


def test_a_daft_run_is_reported_like_any_other(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(tmp_path / "home", PREFECT_API_URL=prefect.url),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "in item 1 (x=0) of a map of pipeline 'inner'" in done.stdout
    runs = [each for each in prefect.flow_runs() if each["id"] not in before]
    assert Counter(each["state_name"] for each in runs) == {"Completed": 2, "Failed": 1}
    states = [Counter(each["state_name"] for each in prefect.task_runs(run)) for run in runs]
    # the map, two items and their two nodes; the map, two items and a node of each; one node less
    assert {"Completed": 7} in states
    assert {"Completed": 5} in states
    assert any(each["Failed"] == 3 for each in states)


def test_the_weather_flow_writes_parquet_a_report_and_a_plot(
    tmp_path: Path, prefect: Server
) -> None:
    done = subprocess.run(
        [sys.executable, str(FLOW), "data", "--rows", "3000"],
        cwd=tmp_path,
        env=environment(tmp_path / "home", PREFECT_API_URL=prefect.url),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "3,000 rows cleaned" in done.stdout
    report = (tmp_path / "data" / "temperatures.md").read_text()
    assert "Left out: 30 readings" in report
    assert (tmp_path / "data" / "temperatures.png").read_bytes().startswith(b"\x89PNG")
    cleaned = daft.read_parquet(str(tmp_path / "data" / "cleaned" / "*.parquet"))
    assert cleaned.count_rows() == 3000
    months = daft.read_parquet(str(tmp_path / "data" / "by_month" / "*.parquet")).to_pydict()
    assert sum(months["count"]) == 2970
    assert set(months["region"]) == {"north", "east", "south", "west"}
    summer = [m for m, month in zip(months["mean"], months["month"], strict=True) if month == 7]
    assert all(20 < mean < 24 for mean in summer)
