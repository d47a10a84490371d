"""Pipelines as flows on a real server: what the API knows after they have run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from prefect_server import Server, environment

PIPELINES = '''
import asyncio, json, sys
from hypernodes import DiskCache, HyperNodesEngine, Pipeline, node
from prefect_hypernodes import PrefectCallback, PrefectEngine, Reporting, pipeline_flow

@node(output_name="half")
def halve(x: int) -> float:
    """Half of it."""
    return x / 2

@node(output_name="share")
async def divide(half: float, by: int = 2) -> float:
    return half / by

@node(output_name="total")
def add_up(shares: list[float], offset: int = 0) -> float:
    return sum(shares) + offset

one = Pipeline([halve, divide], name="one")
many = Pipeline(
    [one.as_node(name="each", map_over={"xs": "x"}, output_mapping={"share": "shares"}), add_up],
    name="many",
)
'''


def python(folder: Path, code: str, api: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, as people do."""
    script = folder / "script.py"
    script.write_text(PIPELINES + code)
    return subprocess.run(
        [sys.executable, str(script)],
        env=environment(folder / "home", PREFECT_API_URL=api),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )


def run(folder: Path, code: str, prefect: Server) -> tuple[Any, list[dict[str, Any]]]:
    """What a script prints (as JSON), and the flow runs that it has left behind."""
    before = {each["id"] for each in prefect.flow_runs()}
    done = python(folder, code, prefect.url)
    assert done.returncode == 0, done.stderr
    new = [each for each in prefect.flow_runs() if each["id"] not in before]
    return json.loads(done.stdout), new


def states(prefect: Server, flow_run: dict[str, Any]) -> Counter[str]:
    return Counter(each["state_name"] for each in prefect.task_runs(flow_run))


def test_a_pipeline_is_a_flow_with_edges_and_encapsulation(tmp_path: Path, prefect: Server) -> None:
    printed, (flow_run,) = run(
        tmp_path,
        """
flow = pipeline_flow(many, name="many-as-flow")
print(json.dumps(flow(xs=[4, 8, 12])))
""",
        prefect,
    )
    assert printed["total"] == 6.0
    assert flow_run["state_name"] == "Completed"
    assert flow_run["parameters"] == {"xs": [4, 8, 12], "by": 2, "offset": 0}
    task_runs = prefect.task_runs(flow_run)
    by_name = Counter(each["name"] for each in task_runs)
    assert by_name == {
        "each": 1, "each[0]": 1, "each[1]": 1, "each[2]": 1, "add_up": 1,
        **{f"{name}[{x}]": 1 for name in ("halve", "divide") for x in (4, 8, 12)},
    }  # fmt: skip
    assert {each["state_type"] for each in task_runs} == {"COMPLETED"}
    assert all(each["start_time"] < each["end_time"] for each in task_runs)
    graph = prefect.graph(flow_run)
    label = {key: each["label"] for key, each in graph.items()}
    inside = {
        (label[key], label[parent["id"]])
        for key, each in graph.items()
        for parent in each["encapsulating"]
        if label[key] in ("halve[4]", "each[1]")
    }
    assert ("each[1]", "each") in inside
    assert ("halve[4]", "each[0]") in inside
    edges = {
        (label[parent["id"]], label[key])
        for key, each in graph.items()
        for parent in each["parents"]
    }
    inside = {(f"halve[{x}]", f"divide[{x}]") for x in (4, 8, 12)}
    assert edges == {*inside, ("each", "add_up")}


def test_a_second_run_is_cached_and_says_so(tmp_path: Path, prefect: Server) -> None:
    code = """
flow = pipeline_flow(many.with_cache(DiskCache("cache")), name="twice")
print(json.dumps([flow(xs=[1, 2, 3])["total"], flow(xs=[1, 2, 3])["total"]]))
"""
    printed, (first, second) = run(tmp_path, code, prefect)
    assert printed == [1.5, 1.5]
    assert states(prefect, first) == {"Completed": 11}
    assert states(prefect, second) == {"Cached": 11}


def test_every_run_and_map_of_the_engine_is_a_flow_run(tmp_path: Path, prefect: Server) -> None:
    code = """
pipeline = one.with_engine(PrefectEngine(HyperNodesEngine()))
results = [pipeline.run({"x": 8}), pipeline.map({"xs": [4, 8]}, map_over="xs")]
async def inside():
    return pipeline.run({"x": 12}, "share")
print(json.dumps([*results, asyncio.run(inside())]))
"""
    printed, flow_runs = run(tmp_path, code, prefect)
    assert printed == [
        {"half": 4.0, "share": 2.0},
        [{"half": 2.0, "share": 1.0}, {"half": 4.0, "share": 2.0}],
        {"share": 3.0},
    ]
    assert [each["state_name"] for each in flow_runs] == ["Completed"] * 3
    assert [len(prefect.task_runs(each)) for each in flow_runs] == [2, 1 + 6, 2]


def test_the_callback_reports_into_the_flow_around_it(tmp_path: Path, prefect: Server) -> None:
    code = """
from prefect import flow

@flow
def report(x: int) -> float:
    watched = one.with_callbacks([PrefectCallback()])
    return watched.run({"x": x})["share"] + watched.run({"x": 2 * x})["share"]

@flow
async def report_async(x: int) -> float:
    return one.with_callbacks([PrefectCallback()]).run({"x": x})["share"]

outside = one.with_callbacks([PrefectCallback()]).run({"x": 4})["share"]
print(json.dumps([outside, report(4), asyncio.run(report_async(4))]))
"""
    printed, flow_runs = run(tmp_path, code, prefect)
    assert printed == [1.0, 3.0, 1.0]
    assert {each["name"]: len(prefect.task_runs(each)) for each in flow_runs} == {
        flow_runs[0]["name"]: 4,
        flow_runs[1]["name"]: 2,
    }


def test_a_failed_node_is_failed_and_so_is_all_around_it(tmp_path: Path, prefect: Server) -> None:
    code = """
flow = pipeline_flow(many, name="failing")
try:
    flow(xs=[4, 8], by=0)
except ZeroDivisionError as error:
    print(json.dumps(getattr(error, "__notes__", ["no notes before Python 3.11"])))
"""
    _, (flow_run,) = run(tmp_path, code, prefect)
    assert flow_run["state_name"] == "Failed"
    found = {each["name"]: each["state"] for each in prefect.task_runs(flow_run)}
    assert {name: state["name"] for name, state in found.items()} == {
        "halve[4]": "Completed", "divide[4]": "Failed", "each[0]": "Failed", "each": "Failed",
        "add_up": "Skipped",
    }  # fmt: skip
    assert found["divide[4]"]["message"] == "ZeroDivisionError: float division by zero"


def test_a_failed_item_does_not_fail_the_others(tmp_path: Path, prefect: Server) -> None:
    code = """
flow = pipeline_flow(one, map_over="bys", error_handling="continue", name="continuing")
print(json.dumps([repr(each) for each in flow(x=4, bys=[1, 0, 2])]))
"""
    printed, (flow_run,) = run(tmp_path, code, prefect)
    assert "FailedItem 1: divide" in printed[1]
    assert flow_run["state_name"] == "Completed"
    found = Counter((each["name"], each["state_name"]) for each in prefect.task_runs(flow_run))
    assert found["divide[0]", "Failed"] == 1
    assert found["divide[1]", "Completed"] == found["divide[2]", "Completed"] == 1
    assert found["one[1]", "Failed"] == 1


def test_a_flow_in_a_flow_is_a_subflow(tmp_path: Path, prefect: Server) -> None:
    code = """
from prefect import flow

inner = pipeline_flow(one, name="inner")

@flow(name="outer")
async def outer() -> float:
    return (await inner(x=8))["share"]

print(json.dumps(asyncio.run(outer())))
"""
    printed, flow_runs = run(tmp_path, code, prefect)
    assert printed == 2.0
    assert sorted(each["parent_task_run_id"] is None for each in flow_runs) == [False, True]


def test_a_flow_has_typed_parameters_and_refuses_wrong_ones(
    tmp_path: Path, prefect: Server
) -> None:
    code = """
from prefect.exceptions import ParameterTypeError
flow = pipeline_flow(one, map_over="xs", name="typed")
try:
    flow(xs=["four"])
except ParameterTypeError as error:
    print(json.dumps([flow.parameters.model_dump(), str(error), flow.description]))
"""
    (schema, message, description), _ = run(tmp_path, code, prefect)
    assert schema["properties"]["xs"]["items"] == {"type": "integer"}
    assert schema["required"] == ["xs"]
    assert schema["properties"]["by"]["default"] == 2
    assert "xs" in message
    assert "halve: Half of it." in description


def test_the_adapter_imports_nothing_that_is_needed_later_or_never(tmp_path: Path) -> None:
    """Each process of a flow imports it."""
    heavy = {"networkx", "numpy", "pandas", "daft", "ray", "dask"}
    script = f"import sys, prefect_hypernodes; print({heavy!r} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr
