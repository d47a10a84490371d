"""For runs of every shape the API's task runs are exactly the scopes that callbacks are told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prefect_server import Server, environment, node_name, server

SCRIPT = """
import asyncio, json, os, signal, sys, time
sys.path.insert(0, {here!r})
from scope_recording import Scopes
from prefect import flow, get_run_logger, task
from hypernodes import *
from prefect_hypernodes import *

@node(output_name="half")
def halve(x: int) -> float:
    get_run_logger().info("halving %s", x)
    print("printed", x)
    return x / 2

@node(output_name="share")
async def divide(half: float, by: int = 2) -> float:
    await asyncio.sleep(0)
    get_run_logger().info("dividing %s", half)
    print("printed", half)
    return half / by

@node(output_name="checked")
def check(share: float, bad: float = -1.0) -> float:
    if share == bad:
        raise ValueError(f"{{share}} is bad")
    return share

@node(output_name="total")
def add_up(checked_ones: list[float], offset: int = 0) -> float:
    return sum(checked_ones) + offset

@node(output_name="report")
def report(total: float, offset: int = 0) -> str:
    return f"{{total}} {{offset}}"

@node(output_name="side")
def aside(offset: int = 0) -> int:
    return offset

one = Pipeline([halve, divide, check], name="one")
renamed = {{"checked": "checked_ones"}}
each = one.as_node(name="each", map_over={{"xs": "x"}}, output_mapping=renamed)
many = Pipeline([each, add_up], name="many")
outer = Pipeline([many, report, aside], name="outer")

scopes = Scopes()
def watched(pipeline, engine=None, cache=None):
    return pipeline.with_callbacks([scopes]).with_engine(engine).with_cache(cache)

def say(**more):
    print("SCOPES" + json.dumps({{"scopes": scopes.told(), **more}}))
"""


def run_script(
    folder: Path, code: str, api: str | None, timeout: float = 240, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, as people do."""
    script = folder / "script.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)) + code)
    if api:
        more["PREFECT_API_URL"] = api
    return subprocess.run(
        [sys.executable, str(script)],
        env=environment(folder / "home", **{"PREFECT_LOGGING_LEVEL": "INFO", **more}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the script said of its scopes."""
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SCOPES")]
    found: dict[str, Any] = json.loads(line.removeprefix("SCOPES"))
    return found


def as_scopes(task_runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Task runs in the form of recorded scopes, without those that never started."""
    found = {}
    for each in task_runs:
        if each["state_name"] == "Skipped":
            continue
        linked = each["task_inputs"].items()
        inputs = {name: made_by[0]["id"] for name, made_by in linked if made_by}
        found[each["id"]] = {
            "name": node_name(each),
            "state": each["state_name"],
            "parent": inputs.pop("__parents__", None),
            "inputs": inputs,
        }
    assert len({each["id"] for each in task_runs}) == len(task_runs)
    return found


def new_runs(prefect: Server, before: set[str]) -> list[dict[str, Any]]:
    return [each for each in prefect.flow_runs() if each["id"] not in before]


ENGINES = {
    "sequential": "HyperNodesEngine()",
    "threads": "HyperNodesEngine('threaded', 'threaded')",
    "loop": "HyperNodesEngine('async', 'async')",
    "processes": "HyperNodesEngine('sequential', 'parallel')",
    "nodes on processes": "HyperNodesEngine('parallel', 'threaded')",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_task_runs_states_parents_edges_and_logs_are_those_of_the_scopes(
    tmp_path: Path, prefect: Server, engine: str
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        f"""
if __name__ == "__main__":
    engine = {ENGINES[engine]}
    f = pipeline_flow(watched(outer, engine, DiskCache("cache")), name="shape", log_prints=True)
    print(f(xs=[4, 8, 12]))
    f(xs=[4, 8, 16])
    f(xs=[4, 8, 16])
    failing = pipeline_flow(watched(outer, engine), name="failing", log_prints=True)
    try:
        failing(xs=[4, 8, 12], bad=2.0)
    except ValueError as error:
        assert str(error) == "2.0 is bad"
    mapped = pipeline_flow(
        watched(one, engine), map_over="xs", error_handling="continue", name="mapped",
        log_prints=True)
    results = mapped(xs=[4, 8, 12], bad=2.0)
    assert [type(result).__name__ for result in results] == ["dict", "FailedItem", "dict"]
    say()
""",
        prefect.url,
    )
    scopes = said(done)["scopes"]
    runs = new_runs(prefect, before)
    assert Counter(each["state_name"] for each in runs) == {"Completed": 4, "Failed": 1}
    by_run = {each["id"]: prefect.task_runs(each) for each in runs}
    task_runs = [each for found in by_run.values() for each in found]
    assert as_scopes(task_runs) == scopes
    assert {each["state_type"] for each in task_runs} <= {"COMPLETED", "FAILED", "CANCELLED"}
    assert all(each["start_time"] <= each["end_time"] for each in task_runs)
    (failed,) = [each for each in runs if each["state_name"] == "Failed"]
    skipped = {node_name(each) for each in by_run[failed["id"]] if each["state_name"] == "Skipped"}
    assert {"add_up", "report"} <= skipped
    keys = {each["task_key"] for each in task_runs if node_name(each) == "halve"}
    assert keys == {"outer/many/each/item/halve", "one/item/halve"}
    logged = {
        (log["task_run_id"], log["message"])
        for run in runs
        for log in prefect.logs(run)
        if log["task_run_id"] is not None and log["level"] < logging.ERROR
    }
    # An item may have been called off before its next node was started.
    unrun = ("Cached", "Skipped")
    names = {each["id"]: node_name(each) for each in task_runs if each["state_name"] not in unrun}
    writers = {key for key, name in names.items() if name in ("halve", "divide")}
    assert {key for key, _ in logged} == writers
    assert len(logged) == 2 * len(writers)
    for key, message in logged:
        verb = {"halve": "halving ", "divide": "dividing "}[names[key]]
        assert message.startswith((verb, "printed "))


def test_a_killed_worker_is_a_crash(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
@node(output_name="y")
def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    deadly = Pipeline([die], name="deadly")
    for engine in (HyperNodesEngine("parallel"), HyperNodesEngine(map_executor="parallel")):
        f = pipeline_flow(watched(deadly, engine), name="deadly", map_over="xs")
        try:
            f(xs=[1])
        except WorkerLostError as error:
            pass
    say()
""",
        prefect.url,
    )
    scopes = said(done)["scopes"]
    task_runs = [each for run in new_runs(prefect, before) for each in prefect.task_runs(run)]
    shown = as_scopes(task_runs)
    assert shown | scopes == shown
    assert {each["state_type"] for each in task_runs} == {"CRASHED"}
    names = Counter(node_name(each) for each in task_runs)
    # An item's worker tells of no node that it runs for a moment only: on a busy machine it may.
    assert names == {"die": names["die"], "deadly[0]": 2, "deadly": 2}
    assert names["die"] == 1 + len(shown.keys() - scopes.keys()) <= 2


LOST = """
@node(output_name="xs")
def make(n):
    return [2 * n, 2 * n + 1]

@node(output_name="a")
def first(x):
    return x

@node(output_name="side")
def beside(x):
    return x

@node(output_name="b")
def die(a):
    if a == 3:
        time.sleep(1.5)  # a worker writes down what has run for a moment
        os.kill(os.getpid(), signal.SIGKILL)
    return a

@node(output_name="c")
def after(b, side):
    return b

@node(output_name="total")
def add(cs):
    return sum(cs)

inner = Pipeline([first, die, beside, after], name="inner")
inner = inner.as_node(map_over={"xs": "x"}, output_mapping={"c": "cs"})
outer = Pipeline([make, inner, add], name="outer")

if __name__ == "__main__":
    with HyperNodesEngine(map_executor="parallel") as engine:
        try:
            pipeline_flow(outer.with_engine(engine), map_over="n", name="outer")(n=[0, 1])
        except WorkerLostError:
            say()
"""


def test_what_a_lost_worker_had_done_for_the_node_that_it_ran_is_shown_and_no_more(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    said(run_script(tmp_path, LOST, prefect.url))
    (run,) = new_runs(prefect, before)
    task_runs = prefect.task_runs(run)
    found = as_scopes(task_runs)
    for each in task_runs:
        linked = [made["id"] for made_by in each["task_inputs"].values() for made in made_by]
        assert set(linked) <= {other["id"] for other in task_runs}
    crashed = {each["name"] for each in found.values() if each["state"] == "Crashed"}
    assert crashed == {"outer", "outer[1]", "inner", "inner[1]", "die"}
    nodes = {each["name"]: each["state_name"] for each in task_runs if "node" in each["tags"]}
    of_the_lost_item = {name: state for name, state in nodes.items() if "[0]" not in name}
    assert of_the_lost_item == {
        "make[1]": "Completed", "first[1][3]": "Completed", "die[1][3]": "Crashed",
        "after[1][3]": "Skipped", "add[1]": "Skipped",
    }  # fmt: skip


def test_what_workers_had_run_is_not_lost_when_the_run_is_stopped(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    code = """
@node(output_name="a")
def first(x):
    return x

@node(output_name="b")
def stop(a, run):
    time.sleep(1.5)  # a worker writes down what has run for a moment
    os.kill(run, signal.SIGTERM)
    time.sleep(1_000)

@node(output_name="c")
def after(b):
    return b

if __name__ == "__main__":
    with HyperNodesEngine(map_executor="parallel") as engine:
        p = Pipeline([first, stop, after], name="p", engine=engine)
        pipeline_flow(p, map_over="x", name="stopped")(x=[1], run=os.getpid())
"""
    assert run_script(tmp_path, code, prefect.url).returncode
    (run,) = new_runs(prefect, before)
    task_runs = prefect.task_runs(run)
    found = {each["name"]: each for each in task_runs}
    assert {name: each["state_name"] for name, each in found.items()} == {
        "p": "Cancelled", "p[0]": "Cancelled",
        "first[1]": "Completed", "stop[1]": "Cancelled", "after[1]": "Skipped",
    }  # fmt: skip
    made_by = found["stop[1]"]["task_inputs"]["a"]
    assert [each["id"] for each in made_by] == [found["first[1]"]["id"]]
    assert "0 of 1 items had ended" in found["p"]["state"]["message"]


def test_a_pipeline_called_off_is_cancelled_and_the_rest_skipped(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
@node(output_name="slow")
def wait(x: int) -> int:
    while True:  # it begins after the flow, so that the flow's timeout comes meanwhile
        time.sleep(0.1)

@node(output_name="after")
def after(slow: int) -> int:
    return slow

if __name__ == "__main__":
    inner = Pipeline([wait, after], name="inner")
    slow = Pipeline([inner], name="slow")
    f = pipeline_flow(watched(slow), name="late", timeout_seconds=5)
    try:
        f(x=1)
    except TimeoutError as error:
        print(error)
    say()
""",
        prefect.url,
    )
    scopes = said(done)["scopes"]
    (run,) = new_runs(prefect, before)
    assert run["state_name"] == "TimedOut"
    task_runs = prefect.task_runs(run)
    assert as_scopes(task_runs) == scopes
    assert {each["name"]: each["state_name"] for each in task_runs} == {
        "inner": "Cancelled", "wait": "Cancelled", "after": "Skipped",
    }  # fmt: skip


def test_a_flow_that_is_late_ends_beside_nodes_that_nothing_interrupts(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
from concurrent.futures import ThreadPoolExecutor

@node(output_name="slept")
def sleep(x: int) -> int:
    time.sleep(1_000)
    return x

def late(kind):
    with HyperNodesEngine(kind) as engine:
        pipeline = Pipeline([halve, sleep], name="p", engine=engine)
        try:
            pipeline_flow(pipeline, name=f"late-{kind}", timeout_seconds=15)(x=1)
        except TimeoutError as error:
            return time.time()

if __name__ == "__main__":
    kinds = ["sequential", "threaded", "async", "parallel"]
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(late, kinds))
    print("SCOPES" + json.dumps({"ended": ended}))
""",
        prefect.url,  # the process does not wait for the nodes when it exits, either
    )
    runs = new_runs(prefect, before)
    assert {each["state_name"] for each in runs} == {"TimedOut"}
    for run in runs:
        found = {node_name(each): each["state_name"] for each in prefect.task_runs(run)}
        assert found["sleep"] in ("Cancelled", "Skipped")
        assert found["halve"] == "Completed"
    assert done.stderr.count("left running, since nothing interrupts it") == 3
    assert len(said(done)["ended"]) == 4


def test_flows_in_threads_and_flows_in_flows_keep_their_own(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
from concurrent.futures import ThreadPoolExecutor

if __name__ == "__main__":
    flows = [
        pipeline_flow(outer.with_name(f"p{number}"), name=f"flow-{number}") for number in range(3)
    ]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda f: [f(xs=list(range(20))) for _ in range(2)], flows))

    @flow(name="around")
    def around():
        return flows[0](xs=[1])["report"]

    around()
    say()
""",
        prefect.url,
    )
    said(done)
    runs = new_runs(prefect, before)
    assert len(runs) == 8
    assert {each["state_name"] for each in runs} == {"Completed"}
    for run in runs:
        keys = {each["task_key"].partition("/")[0] for each in prefect.task_runs(run)}
        name = prefect.request("GET", f"flows/{run['flow_id']}").json()["name"]
        if name == "around":
            continue
        assert keys == {f"p{name.removeprefix('flow-')}"}
        expected = 20 if run["parent_task_run_id"] is None else 1
        assert len(prefect.task_runs(run)) == 4 * expected + 5


def test_a_task_encapsulates_the_nodes_of_its_pipeline(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
one_task = pipeline_task(watched(one, HyperNodesEngine("threaded")), retries=1, tags=["mine"])

@node(output_name="y")
def calls_prefect(x: int) -> int:
    return helper(x)

@task
def helper(x: int) -> int:
    return x + 1

@flow
def larger():
    first = one_task.submit(x=8)
    more = one_task.map(x=[4, 12])
    one_task(x=6)
    inside = Pipeline([calls_prefect], callbacks=[PrefectCallback(), scopes], name="plain")
    return [first.result(), [each.result() for each in more], inside.run({"x": 1})]

if __name__ == "__main__":
    print(larger())
    say()
""",
        prefect.url,
    )
    scopes = said(done)["scopes"]
    (run,) = new_runs(prefect, before)
    task_runs = {each["id"]: each for each in prefect.task_runs(run)}
    nodes = as_scopes([each for key, each in task_runs.items() if key in scopes])
    tasks = {key for key, each in task_runs.items() if each["task_key"].startswith("one-")}
    assert len(tasks) == 4
    assert {key: {**each, "parent": None} for key, each in nodes.items()} == scopes
    parents = Counter(each["parent"] for each in nodes.values())
    assert parents.pop(None) == 1
    assert parents == dict.fromkeys(tasks, 3)
    (helper,) = [each for each in task_runs.values() if each["task_key"].startswith("helper")]
    (caller,) = [key for key, each in task_runs.items() if each["name"] == "calls_prefect"]
    assert helper["task_inputs"]["__parents__"][0]["id"] == caller


def test_a_thousand_nodes_are_all_there_after_a_script_on_prefects_own_server(
    tmp_path: Path,
) -> None:
    done = run_script(
        tmp_path,
        """
def chain(count):
    lines = [f"def v{at + 1}(v{at}: int) -> int: return v{at} + 1" for at in range(count)]
    made = {}
    exec("\\n".join(lines), made)
    return Pipeline([node(made[f"v{at + 1}"]) for at in range(count)], name="long")

if __name__ == "__main__":
    f = pipeline_flow(watched(chain(1000)), output_name="v1000", name="exits")
    print(f(v0=0))
    say()
""",
        None,
        timeout=280,
    )
    scopes = said(done)["scopes"]
    assert len(scopes) == 1000
    with server(tmp_path / "home") as again:
        (run,) = again.flow_runs()
        assert run["state_name"] == "Completed"
        assert as_scopes(again.task_runs(run)) == scopes
