"""What a person sees of a run, beside the same functions as Prefect tasks: the guide's table.

Every situation is run both ways on one server. The cells of the table are made of what the API then
has, so that a test says which line of the guide is not true any more.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_server import Server, environment
from waiting import wait_until

TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "prefect.md"
HEAD = "| situation | HyperNodes | `@task` |"

FLOWS = '''
import json, os, signal, sys, threading, time
from pathlib import Path
from prefect import flow, get_run_logger, serve, tags, task
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.concurrency.sync import concurrency
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.utilities.callables import parameter_schema
from prefect_hypernodes import pipeline_flow
from hypernodes import HyperNodesEngine, MemoryCache, Pipeline, node

def read(station: str) -> str:
    """Read a station.

    Args:
        station: where it stands.
    """
    return station

def parse(raw: str) -> int:
    return len(raw)

def broken(station: str) -> str:
    raise ValueError(f"{station} is broken")

def measure(sensor: str) -> int:
    if sensor == "west":
        raise ValueError("west is broken")
    return len(sensor)

def die(sensor: str) -> int:
    if sensor == "west":
        time.sleep(2)  # long enough to be seen as running
        os.kill(os.getpid(), signal.SIGKILL)
    return len(sensor)

def wait(raw: str) -> str:
    if Path(raw).is_dir():
        Path(raw, "pid").write_text(str(os.getpid()))
    for _ in range(6000):
        time.sleep(0.1)
    return raw

def talk(station: str) -> str:
    get_run_logger().info("reading")
    print("printed")
    return station

tried = []

def flaky(raw: str) -> str:
    tried.append(raw)
    if len(tried) % 2:
        raise ValueError("try again")
    return raw

inside, most = [0], [0]

def ask(sensor: str) -> str:
    inside[0] += 1
    most[0] = max(most[0], inside[0])
    time.sleep(0.2)
    inside[0] -= 1
    return sensor

def ask_in_a_slot(sensor: str) -> str:
    with concurrency("beside-tasks", occupy=1):
        return ask(sensor)

def pipeline(*functions, name="report", options={}, **more):
    outputs = dict(zip(functions, ("raw", "rows")))
    nodes = [node(each, output_name=outputs[each], **options.get(each, {})) for each in functions]
    return Pipeline(nodes, name=name, **more)

def tasks(*functions, **options):
    return [task(each, **options) for each in functions]

SENSORS = ["north", "west", "south"]
FLOWS = {}

def situation(name, ours, native, *calls, **parameters):
    """Note two flows, and with what they are called, once for each of `calls`."""
    FLOWS[name] = (ours, native, calls or ({},), parameters)

def chain(name, first, second, options={}, **flow_options):
    """Two functions, the second of which takes the first one's result."""
    one, two = task(first, **options.get(first, {})), task(second, **options.get(second, {}))

    @flow(name=f"{name}: task", **flow_options)
    def native(station: str):
        return two(one(station))

    both = pipeline(first, second, options=options)
    ours = pipeline_flow(both, name=f"{name}: node", **flow_options)
    situation(name, ours, native, station="north")
    return ours, native

def mapped(name, function, native_result=lambda f: f.result(), **options):
    step = task(function)

    @flow(name=f"{name}: task")
    def native(sensor: list[str]):
        return [native_result(each) for each in step.map(sensor)]

    ours = pipeline_flow(
        pipeline(function, name="levels"), map_over="sensor", name=f"{name}: node", **options
    )
    situation(name, ours, native, sensor=SENSORS)

chain("A run that succeeds", read, parse)
chain("A node fails", broken, parse)
chain("It is tried again, and fails again", broken, parse, {broken: {"retries": 1}})
chain("A node's own timeout", read, wait, {wait: {"timeout_seconds": 0.3}})
chain("The flow's `timeout_seconds`", read, wait, timeout_seconds=1)
chain("`get_run_logger()` and `print` in a node", talk, parse, log_prints=True)

cached = pipeline(read, parse, cache=MemoryCache())
t_read, t_parse = tasks(read, parse, cache_policy=INPUTS, persist_result=True)

@flow(name="The second run, with a cache: task")
def again(station: str):
    return t_parse(t_read(station))

ours = pipeline_flow(cached, name="The second run, with a cache: node")
situation("The second run, with a cache", ours, again, {}, {}, station="north")

@flow(name="Run again from `parse`: task")
def from_parse(station: str):
    return t_parse(t_read(station))

ours = pipeline_flow(cached, name="Run again from `parse`: node", refresh_parameter="refresh")
situation("Run again from `parse`", ours, from_parse, station="north")

resumed = pipeline(read, flaky, cache=MemoryCache())
u_read, u_flaky = tasks(read, flaky)

@flow(name="The flow is tried again: task", retries=1)
def tried_again(station: str):
    return u_flaky(u_read(station))

ours = pipeline_flow(resumed, name="The flow is tried again: node", retries=1)
situation("The flow is tried again", ours, tried_again, station="north")

t_broken, t_after = tasks(broken, parse)

@flow(name="A node after one that failed: task")
def after(station: str):
    return t_after.submit(t_broken.submit(station))

ours = pipeline_flow(pipeline(broken, parse), name="A node after one that failed: node")
situation("A node after one that failed", ours, after, station="north")

mapped("A map is the whole flow", ask)
mapped(
    "An item fails, and the map goes on", measure, error_handling="continue",
    native_result=lambda f: f.result(raise_on_failure=False),
)

inner = pipeline(read, parse, name="clean")
v_read, v_parse = tasks(read, parse)

@flow(name="clean")
def subflow(station: str):
    return v_parse(v_read(station))

@flow(name="A pipeline in a pipeline: task")
def outer(station: str):
    return subflow(station)

ours = pipeline_flow(
    Pipeline([inner.as_node(name="clean")], name="outer"), name="A pipeline in a pipeline: node"
)
situation("A pipeline in a pipeline", ours, outer, station="north")

@flow(name="A map in a flow: task")
def with_map(stations: list[str]):
    return [each.result() for each in v_parse.map(v_read.map(stations))]

each = inner.as_node(name="each", map_over={"stations": "station"}, output_mapping={"rows": "all"})
ours = pipeline_flow(Pipeline([each], name="outer"), name="A map in a flow: node")
situation("A map in a flow", ours, with_map, stations=SENSORS)

named = {"task_run_name": "read {station}", "tags": ["web"]}
t_named = task(read, **named)

@flow(name="Names and tags: task")
def names(station: str):
    return t_named(station)

ours = pipeline_flow(pipeline(read, options={read: named}), name="Names and tags: node")
situation("Names and tags", ours, names, station="north")

w_ask = task(ask_in_a_slot)

@flow(name="A limit that all runs share: task")
def limited(sensor: list[str]):
    return [each.result() for each in w_ask.map(sensor)]

ours = pipeline_flow(
    pipeline(ask, name="asked", options={ask: {"concurrency_limit": "beside-tasks"}},
             engine=HyperNodesEngine(map_executor="threaded")),
    map_over="sensor", name="A limit that all runs share: node",
)
situation("A limit that all runs share", ours, limited, sensor=SENSORS)

x_read, x_wait = tasks(read, wait)

@flow(name="stopped: task")
def stopped_task(station: str):
    return x_wait(x_read(station))

stopped_node = pipeline_flow(pipeline(read, wait), name="stopped: node")

die_task = task(die)

@flow(name="A worker process is killed: task", task_runner=ProcessPoolTaskRunner(max_workers=1))
def killed_task(sensor: list[str]):
    return [each.result() for each in die_task.map(sensor)]

def outcome(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return error

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "serve":
        serve(*[each.to_deployment(name="served") for each in (stopped_node, stopped_task)])
    elif what in ("node", "task"):
        (stopped_node if what == "node" else stopped_task)(station=sys.argv[2])
    else:
        facts = {}
        for name, (ours, native, calls, parameters) in FLOWS.items():
            for way, made in (("node", ours), ("task", native)):
                most[0], form = 0, parameter_schema(made).properties
                more = {"refresh": ["parse"]} if "refresh" in form else {}
                for _ in calls:
                    outcome(made, **parameters, **more)
                facts[f"{name}: {way}"] = {
                    "most": most[0],
                    "described": [
                        key for key, each in form.items()
                        if "where it stands" in each.get("description", "")
                    ],
                }
        with HyperNodesEngine(map_executor="parallel") as engine:
            killed = pipeline(die, name="levels", engine=engine)
            name = "A worker process is killed: node"
            outcome(pipeline_flow(killed, map_over="sensor", name=name), sensor=["west"])
        outcome(killed_task, sensor=["west"])
        print("FACTS" + json.dumps(facts))
'''


class Seen:
    """What the API has of a run, in words.

    Args:
        prefect: the server.
        run: the flow run.
        facts: what the script has noted.
    """

    def __init__(self, prefect: Server, run: dict[str, Any], facts: dict[str, Any]) -> None:
        self.prefect, self.run, self.facts = prefect, run, facts
        self.task_runs = sorted(
            prefect.task_runs(run), key=lambda each: (str(each["start_time"]), each["name"])
        )
        self.by_id = {each["id"]: each for each in self.task_runs}
        is_ours = any("hypernodes" in each["tags"] for each in self.task_runs)
        self.nodes = [
            each
            for each in self.task_runs
            if not is_ours or "node" in each["tags"] or is_lost_item(each)
        ]
        self.logs = prefect.logs(run)

    def states(self) -> str:
        """The flow run with its message, and its nodes."""
        state = self.run["state"]
        text = f"flow {state['name']}"
        message = (state["message"] or "").removeprefix("Flow run encountered an exception: ")
        message = message.partition(". ")[0]
        if state["type"] in ("COMPLETED", "FAILED") and message != "All states completed.":
            text += f", `{message}`" if message else ""
        found = Counter((name(each), each["state_name"], each["run_count"]) for each in self.nodes)
        order = [called for called, *_ in found]
        for (called, state_name, attempts), count in sorted(
            found.items(), key=lambda each: (order.index(each[0][0]), each[0])
        ):
            text += f"; `{called}` " + (f"{count} times " if count > 1 else "") + state_name
            text += f" at attempt {attempts}" if attempts > 1 else ""
        return text

    def with_log(self) -> str:
        """The same, and what is in the logs where people look for it."""
        found = set()
        for each in self.logs:
            on = self.by_id.get(each["task_run_id"])
            if on is not None and "Traceback" in each["message"]:
                found.add(f"traceback in the log of `{name(on)}`")
            elif each["level"] == logging.WARNING:
                place = f"`{name(on)}`" if on else "the flow run"
                found.add(f"warning in the log of {place}")
        return "; ".join([self.states(), *sorted(found)])

    def boxes(self) -> str:
        """The same, and which task runs are drawn around others."""
        inside = Counter(
            around["id"] for each in self.prefect.graph(self.run).values()
            for around in each["encapsulating"]
        )  # fmt: skip
        boxes = {(re.sub(r"\d+", "i", self.by_id[key]["name"]), n) for key, n in inside.items()}
        said = [f"box `{called}` around {count}" for called, count in sorted(boxes)]
        return "; ".join([self.states(), *(said or ["no box"])])

    def subflow(self) -> str:
        """The same, where a run inside may be one of its own."""
        kinds = {each["kind"] for each in self.prefect.graph(self.run).values()}
        return self.boxes() + ("; a flow run of its own" if "flow-run" in kinds else "")

    def own_logs(self) -> str:
        """How many of the two lines that a node writes are in its task run's log."""
        said = [each for each in self.logs if each["message"].strip() in ("reading", "printed")]
        found = sum(each["task_run_id"] in self.by_id for each in said)
        return f"{found} lines in the log of the task run"

    def names(self) -> str:
        """Names and tags as they are."""
        (node,) = self.nodes
        return f"`{node['name']}`, tags {', '.join(sorted(node['tags']))}"

    def most(self) -> str:
        """How many calls there were at once."""
        return f"{self.facts['most']} of {len(self.nodes)} at once"

    def form(self) -> str:
        """What the run form says of the parameters."""
        described = self.facts["described"]
        return f"`{described[0]}` described by the docstring" if described else "not described"

    def artifacts(self) -> str:
        """Which artifacts there are."""
        keys = self.prefect.artifacts(self.run)
        kinds = sorted(key.rpartition("-")[2] for key in keys if key)
        return ", ".join(kinds) or "none"


#: Each row of the table: the situation, the flow that shows it, and which of its facts.
ROWS = {
    "A run that succeeds": ("A run that succeeds", Seen.states),
    "The second run, with a cache": ("The second run, with a cache", Seen.states),
    "A node fails": ("A node fails", Seen.with_log),
    "It is tried again, and fails again": ("It is tried again, and fails again", Seen.with_log),
    "A node after one that failed": ("A node after one that failed", Seen.states),
    "An item fails, and the map goes on": ("An item fails, and the map goes on", Seen.with_log),
    "A worker process is killed": ("A worker process is killed", Seen.states),
    "A node's own timeout": ("A node's own timeout", Seen.states),
    "The flow's `timeout_seconds`": ("The flow's `timeout_seconds`", Seen.states),
    "`prefect flow-run cancel`": ("cancelled", Seen.states),
    "SIGTERM": ("terminated", Seen.states),
    "`kill -9` under a worker": ("killed", Seen.states),
    "The flow is tried again": ("The flow is tried again", Seen.states),
    "Run again from `parse`": ("Run again from `parse`", Seen.states),
    "A pipeline in a pipeline": ("A pipeline in a pipeline", Seen.subflow),
    "A map in a flow": ("A map in a flow", Seen.boxes),
    "A map is the whole flow": ("A map is the whole flow", Seen.boxes),
    "`get_run_logger()` and `print` in a node": (
        "`get_run_logger()` and `print` in a node",
        Seen.own_logs,
    ),
    "Names and tags": ("Names and tags", Seen.names),
    "A limit that all runs share": ("A limit that all runs share", Seen.most),
    "The run form": ("A run that succeeds", Seen.form),
    "Artifacts of a map with a failure": ("An item fails, and the map goes on", Seen.artifacts),
}


def is_lost_item(task_run: dict[str, Any]) -> bool:
    """Whether it is an item that was lost with its worker, before it told of a node."""
    return "map-item" in task_run["tags"] and task_run["state_name"] == "Crashed"


def name(task_run: dict[str, Any]) -> str:
    """What a task run is of: without its item, or what Prefect adds to tell them apart."""
    if is_lost_item(task_run):
        return str(task_run["name"])
    return re.sub(r"\[.*\]$|-[0-9a-f]{3}$", "", task_run["name"])


Found = dict[str, dict[str, Seen]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beside-tasks")


@pytest.fixture(scope="module")
def start(prefect: Server, folder: Path) -> Iterator[Start]:
    """Starts the script, in as many processes as are asked for."""
    (folder / "both.py").write_text(FLOWS)
    env = environment(
        folder / "home",
        PREFECT_API_URL=prefect.url,
        PREFECT_LOGGING_LEVEL="INFO",
        PREFECT_RUNNER_POLL_FREQUENCY="1",
    )
    prefect.request("POST", "v2/concurrency_limits/", name="beside-tasks", limit=1)
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "both.py", *arguments]
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def ended(prefect: Server, start: Start) -> Found:
    """What was seen of the flows that end by themselves, by situation and way."""
    done = start("all")
    said, _ = done.communicate(timeout=540)
    assert done.returncode == 0, said
    (line,) = [line for line in said.splitlines() if line.startswith("FACTS")]
    facts = json.loads(line.removeprefix("FACTS"))
    found: Found = {}
    for flow, run in runs_by_flow(prefect):
        situation, _, way = flow.partition(": ")
        seen = Seen(prefect, run, facts.get(flow, {}))
        found.setdefault(situation, {})[way] = seen
    return found


@pytest.fixture(scope="module")
def stopped(prefect: Server, start: Start, folder: Path) -> Found:
    """What was seen of the flows that were stopped from outside, while a node was running."""
    start("serve")
    runs: dict[str, tuple[str, str]] = {}
    direct = []
    for way in ("node", "task"):
        for what in ("terminated", "killed", "cancelled"):
            place = folder / f"{what}-{way}"
            place.mkdir()
            if what == "terminated":
                direct.append(start(way, str(place)))
                continue
            address = f"deployments/name/stopped: {way}/served"
            served = wait_until(
                lambda at=address: prefect.request("GET", at).json().get("id"), 240, 0.3
            )
            made = prefect.ask(
                f"deployments/{served}/create_flow_run",
                parameters={"station": str(place)},
                state={"type": "SCHEDULED"},
            )
            runs[made["id"]] = (what, way)

    def all_runs() -> list[tuple[str, str, dict[str, Any]]]:
        named = [each for each in runs_by_flow(prefect) if each[0].startswith("stopped: ")]
        return [
            (*runs.get(run["id"], ("terminated", flow.removeprefix("stopped: "))), run)
            for flow, run in named
        ]

    def open_task_runs(run: dict[str, Any], *states: str) -> int:
        return sum(each["state_type"] in states for each in prefect.task_runs(run))

    wait_until(
        lambda: len([run for *_, run in all_runs() if open_task_runs(run, "RUNNING")]) == 6, 400, 1
    )
    for what, way, run in all_runs():
        if what == "cancelled":  # as the command does it
            prefect.ask(f"flow_runs/{run['id']}/set_state", state={"type": "CANCELLING"})
        else:
            process = int((folder / f"{what}-{way}" / "pid").read_text())
            os.kill(process, signal.SIGTERM if what == "terminated" else signal.SIGKILL)
    for process in direct:
        process.wait(60)
    wait_until(lambda: all(run["state_type"] in TERMINAL for *_, run in all_runs()), 60, 0.5)
    wait_until(
        lambda: (
            not any(
                open_task_runs(run, "RUNNING", "PENDING")
                for what, way, run in all_runs()
                if what != "killed" and way == "node"
            )
        ),
        60,
    )
    found: Found = {}
    for what, way, run in all_runs():
        found.setdefault(what, {})[way] = Seen(prefect, run, {})
    return found


def runs_by_flow(prefect: Server) -> list[tuple[str, dict[str, Any]]]:
    """The names of flows with their runs, the oldest first."""
    situations = {*(situation for situation, _ in ROWS.values()), "stopped"}
    names = [f"{situation}: {way}" for situation in situations for way in ("node", "task")]
    ours = {"name": {"any_": names}}
    flows = {each["id"]: each["name"] for each in prefect.ask("flows/filter", flows=ours)}
    runs = prefect.ask("flow_runs/filter", flows=ours)
    return [(flows[run["flow_id"]], run) for run in sorted(runs, key=lambda run: run["created"])]


def in_guide() -> dict[str, str]:
    """The lines of the guide's table by their situation."""
    _, _, rest = GUIDE.read_text(encoding="utf-8").partition(HEAD)
    lines = rest.split("\n\n")[0].splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


@pytest.mark.parametrize("row", ROWS)
def test_the_guides_table_says_what_is_seen(row: str, request: pytest.FixtureRequest) -> None:
    situation, words = ROWS[row]
    is_stopped = situation in ("terminated", "killed", "cancelled")
    ways = request.getfixturevalue("stopped" if is_stopped else "ended")[situation]
    assert in_guide().get(row) == f"| {row} | {words(ways['node'])} | {words(ways['task'])} |"


def test_the_guides_table_has_no_other_row() -> None:
    assert list(in_guide()) == list(ROWS)
