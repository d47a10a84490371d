"""Flows as Prefect's users know them: parameters, options, limits, artifacts, signals."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from prefect_hypernodes import Reporting
from prefect_hypernodes.api import Api
from prefect_hypernodes.artifacts import Artifacts
from prefect_hypernodes.events import FlowRunRef
from prefect_hypernodes.task_runs import Progress, TaskRunTracker
from prefect_server import Server, node_name
from test_prefect_outage import begin, wait_for_task_runs
from test_prefect_scopes import as_scopes, new_runs, run_script, said
from waiting import wait_until

from hypernodes import CallbackContext
from hypernodes.callbacks import ScopeInfo


def test_a_large_map_is_counted_and_its_failures_are_listed(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
@node(output_name="y")
def fails_at(x: int) -> int:
    if x in (7, 1500):
        raise ValueError(f"no {x}")
    if x == 1600:
        time.sleep(2.5)
    return x

@node(output_name="z")
def after(y: int) -> int:
    return y

if __name__ == "__main__":
    large = Pipeline([fails_at, after], name="large")
    for number, reporting in enumerate([None, Reporting(items="failures"), Reporting(items=10)]):
        f = pipeline_flow(watched(large), map_over="xs", error_handling="continue",
                          name=f"large-{number}", reporting=reporting)
        results = f(xs=list(range(2000)))
        assert sum(isinstance(result, FailedItem) for result in results) == 2
    say()
""",
        prefect.url,
    )
    scopes = said(done)["scopes"]
    limited, failures, sample = new_runs(prefect, before)

    def is_recorded() -> bool:
        """Whether a busy server has written down what it was sent, too."""
        return as_scopes(prefect.task_runs(limited)).items() <= scopes.items() and all(
            sum(each["state_type"] == "FAILED" for each in prefect.task_runs(run)) == 4
            for run in (limited, failures, sample)
        )

    wait_until(is_recorded)
    found = prefect.task_runs(limited)
    assert 1000 <= len(found) <= 1010
    assert as_scopes(found).items() <= scopes.items()
    for run in (limited, failures, sample):
        found = prefect.task_runs(run)
        failed = Counter(each["name"] for each in found if each["state_type"] == "FAILED")
        assert failed == {f"fails_at[{x}]": 1 for x in (7, 1500)} | {
            "large[7]": 1,
            "large[1500]": 1,
        }
        (item,) = [each for each in found if each["name"] == "large[1500]"]
        (inside,) = [
            each
            for each in found
            if each["task_inputs"].get("__parents__", [{}])[0].get("id") == item["id"]
            and each["state_type"] == "FAILED"
        ]
        assert "ValueError: no 1500" in inside["state"]["message"]
    assert len(prefect.task_runs(failures)) == 1 + 4
    listed = {node_name(each) for each in prefect.task_runs(sample)}
    listed -= {"fails_at", "after", "large"}
    assert listed >= {f"large[{index}]" for index in range(0, 2000, 200)}
    assert len(listed) == 12

    made = prefect.artifacts(limited)
    assert set(made) == {"large-progress", "large-diagram", "large-summary", "large-failures"}
    assert made["large-progress"]["data"] == 100.0
    picture = re.fullmatch(
        r"!\[large\]\(data:image/svg\+xml;base64,(\S+)\)\n", made["large-diagram"]["data"]
    )
    assert picture is not None
    svg = base64.b64decode(picture[1]).decode()
    assert all(text in svg for text in ("fails_at", "1,998 done · 2 failed", "2 skipped"))
    table = {each["node"]: each for each in json.loads(made["large-summary"]["data"])}
    assert {key: table["large/item/fails_at"][key] for key in ("executed", "cached", "failed")} == {
        "executed": 2000, "cached": 0, "failed": 2,
    }  # fmt: skip
    assert table["large/item/after"]["executed"] == 1998
    assert table["large/item/after"]["skipped"] == 2
    assert table["large/item/fails_at"]["total s"] >= 2.5
    assert "large/large[1500]/fails_at" in made["large-failures"]["data"]


def test_the_limit_is_the_flow_runs_however_many_pipelines_run_in_it(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
@node(output_name="y")
def step(x: int) -> int:
    return x

@flow
def several():
    pipeline = Pipeline([step], name="many", callbacks=[PrefectCallback(Reporting(limit=10))])
    for _ in range(2):
        pipeline.map({"xs": range(8)}, map_over="xs")
        pipeline.run({"x": 1})

if __name__ == "__main__":
    several()
""",
        prefect.url,
    )
    (run,) = new_runs(prefect, before)
    names = Counter(each["name"].partition("[")[0] for each in prefect.task_runs(run))
    assert names == {"step": 5 + 2, "many": 5 + 2}  # each map is one, too


def test_parameters_have_types_defaults_and_descriptions(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        '''
from pydantic import BaseModel

class Options(BaseModel):
    size: int = 3
    word: str

class Opaque:
    def __init__(self, name):
        self.name = name

@node(output_name="y")
def work(options: Options, thing: Opaque, xs: list[float], note: str | None = None) -> str:
    """Do it.

    Args:
        options: how it is done.
        xs: the numbers,
            many of them.
    """
    return f"{options.word} {options.size} {thing.name} {len(xs)}"

@node(output_name="z")
def shout(y: str, mark: str = "!") -> str:
    """Say it aloud."""
    return y + mark

if __name__ == "__main__":
    f = pipeline_flow(Pipeline([work, shout], name="typed"), output_name="z", name="typed")
    print(f(options={"word": "a"}, thing=Opaque("o"), xs=range(300_000)))
    schema = f.parameters.model_dump()
    try:
        f(options={"word": 1}, thing=Opaque("o"), xs=[])
    except Exception as error:
        refused = f"{type(error).__name__} {error}"
    say(schema=schema, description=f.description, refused=refused)
''',
        prefect.url,
    )
    told = said(done)
    properties = told["schema"]["properties"]
    assert set(told["schema"]["required"]) == {"options", "thing", "xs"}
    assert properties["options"]["description"] == "how it is done."
    assert properties["xs"]["description"] == "the numbers, many of them."
    assert properties["xs"]["items"] == {"type": "number"}
    assert properties["mark"]["default"] == "!"
    assert told["schema"]["definitions"]["Options"]["properties"]["size"]["default"] == 3
    assert "- shout: Say it aloud." in told["description"]
    assert "word" in told["refused"]
    assert "a 3 o 300000!" in done.stdout
    run = new_runs(prefect, before)[0]
    assert run["parameters"] == {
        "options": {"word": "a"}, "thing": "<Opaque>", "xs": "<range of 300000>", "note": None,
        "mark": "!",
    }  # fmt: skip


def test_options_hooks_states_results_and_subflows_are_prefects_own(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
seen = []

@node(output_name="y")
def flaky(x: int, share: int) -> int:
    if not os.path.exists("tried"):
        open("tried", "w").close()
        raise ConnectionError("once")
    return x + share

@node(output_name="share")
def prepare(x: int) -> int:
    return 10 * x

pipeline = Pipeline([prepare, flaky], name="resuming", cache=DiskCache("cache"))
f = pipeline_flow(watched(pipeline, cache=DiskCache("cache")), retries=1, persist_result=True,
                  on_completion=[lambda flow, run, state: seen.append(state.name)])

@task
def in_a_task(x: int):
    return f(x=x)["y"]

@flow
def around():
    return in_a_task.submit(3).result()

async def awaited():
    return (await f(x=4))["y"]

if __name__ == "__main__":
    state = f(x=1, return_state=True)
    assert state.is_completed() and state.result()["y"] == 11, state
    renamed = f.with_options(name="renamed", retries=0, on_completion=[])
    assert renamed(x=2)["y"] == 22
    assert asyncio.run(awaited()) == 44
    assert around() == 33
    assert seen == ["Completed"] * 4
    from prefect.utilities.visualization import TaskVizTracker
    with TaskVizTracker() as tracker:
        f()
    edges = [(each.name, [up.name for up in each.upstream_tasks]) for each in tracker.tasks]
    say(edges=edges, f=f.name, name=renamed.name)
""",
        prefect.url,
    )
    told = said(done)
    assert told["edges"] == [["prepare-0", []], ["flaky-0", ["prepare-0"]]]
    assert (told["f"], told["name"]) == ("resuming", "renamed")
    runs = new_runs(prefect, before)
    assert {each["state_name"] for each in runs} == {"Completed"}
    assert len(runs) == 5
    assert [each["run_count"] for each in runs] == [2, 1, 1, 1, 1]
    assert as_scopes([t for run in runs for t in prefect.task_runs(run)]).items() >= (
        told["scopes"].items()
    )
    states = Counter((t["name"], t["state_name"]) for t in prefect.task_runs(runs[0]))
    assert states == {
        ("prepare", "Completed"): 1, ("prepare", "Cached"): 1,
        ("flaky", "Failed"): 1, ("flaky", "Completed"): 1,
    }  # fmt: skip


def test_the_context_of_a_node_is_prefects_own_wherever_it_is_looked_at(
    tmp_path: Path, prefect: Server
) -> None:
    """What a node sees, copies, and sends to a thread or process by Prefect's own functions."""
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
import copy
import cloudpickle
from prefect.context import (
    FlowRunContext, TaskRunContext, get_run_context, hydrated_context, serialize_context)
from prefect.runtime import task_run

def names(context):
    return [context.task_run.name, context.task.name, str(context.task_run.id)]

@node(output_name="seen")
def look(x: int):
    copied = get_run_context().model_copy()
    sent = cloudpickle.loads(cloudpickle.dumps(serialize_context()))
    with hydrated_context(sent):
        there = names(TaskRunContext.get())
    try:
        get_run_context().nothing
    except AttributeError as error:
        missing = str(error)
    return [names(copied), there, names(get_run_context()), missing,
            [task_run.name, task_run.task_name, task_run.id]]

WAYS = {
    "copy": lambda context: copy.copy(context).task_run.name,
    "update": lambda context: context.model_copy(update={"log_prints": True}).task_run.name,
    "iterate": lambda context: dict(context)["task_run"].name,
    "dump": lambda context: context.model_dump()["task_run"]["name"],
    "show": lambda context: "peek" * (repr(context).count("peek") > 0),
    "fields": lambda context: "peek" * ("task" in context.model_fields_set),
}

@node(output_name="name")
def peek(way: str):
    return WAYS[way](get_run_context())  # nothing has looked at it before

@node(output_name="asked")
def ask(x: int):
    flow_run, client = FlowRunContext.get().flow_run, FlowRunContext.get().client
    return ["_client" in vars(client), client.read_flow_run(flow_run.id).name]

if __name__ == "__main__":
    f = pipeline_flow(Pipeline([look], name="contexts"))
    in_process = Pipeline([ask], name="elsewhere", engine=HyperNodesEngine("parallel"))
    peeks = pipeline_flow(Pipeline([peek], name="ways"), map_over="way")(way=list(WAYS))
    say(
        ways=[each["name"] for each in peeks],
        seen=f(x=1)["seen"],
        asked=pipeline_flow(in_process)(x=1)["asked"],
    )
""",
        prefect.url,
    )
    copied, there, here, missing, runtime = said(done)["seen"]
    ways = said(done)["ways"]
    assert ways == ["peek[copy]", "peek[update]", "peek[iterate]", "peek[dump]", "peek", "peek"]
    _, run, elsewhere = new_runs(prefect, before)
    assert said(done)["asked"] == [False, elsewhere["name"]]  # OpenSSL may hang in a fork
    (listed,) = prefect.task_runs(run)
    assert here == copied == there == runtime == ["look", "look", listed["id"]]
    assert "nothing" in missing


def test_prefects_runtime_tells_a_node_the_truth_on_processes_too(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
from prefect import runtime, tags

@task
def add_one(x):
    return x + 1

def large(values):
    try:
        return len(values["large"])
    except HyperNodesError as error:
        return str(error)

@node(output_name="seen", retries=2, tags=["mine"])
async def look(x: int, large: list):
    own, run = runtime.task_run, runtime.flow_run
    if own.run_count < 3:
        raise OSError("try again")
    return [own.run_count, own.parameters["x"], own.tags, run.name, run.parameters["x"], run.tags,
            [own.task_name, own.ui_url.count("//"), sorted(run.parameters)]]

@node(output_name="sums")
def submit(x: int, large: list):
    submitted = add_one.submit(x)
    return [submitted.result(), *add_one.map([x, x + 1]).result(),
            large_parameter(runtime.flow_run.parameters)]

large_parameter = large

if __name__ == "__main__":
    looks = Pipeline([look, submit], name="looks")
    found = []
    for engine in (HyperNodesEngine(), HyperNodesEngine("parallel"),
                   HyperNodesEngine(map_executor="parallel")):
        f = pipeline_flow(looks.with_engine(engine), map_over={"x": "x"}, name="truth")
        with tags("outer"):
            found += f(x=[4], large=list(range(70_000)))
    say(found=[[each["seen"], each["sums"]] for each in found])
""",
        prefect.url,
    )
    runs = sorted(new_runs(prefect, before), key=lambda run: run["created"])
    here, *elsewhere = said(done)["found"]
    tags = ["hypernodes", "node", "mine", "outer"]
    for (seen, sums), run in zip([here, *elsewhere], runs, strict=True):
        named = ["look", 1, ["large", "x"]]
        assert seen == [3, 4, tags, run["name"], [4], ["outer"], named]
        assert sums[:3] == [5, 5, 6]
    assert here[1][3] == 70_000
    assert all("'large' of the flow run is too large" in sums[3] for _, sums in elsewhere)


def test_nodes_on_process_workers_have_all_settings_of_the_run(
    tmp_path: Path, prefect: Server
) -> None:
    done = run_script(
        tmp_path,
        """
from prefect.settings import (
    PREFECT_API_AUTH_STRING, PREFECT_CLIENT_CUSTOM_HEADERS, PREFECT_TASKS_DEFAULT_RETRIES,
    get_current_settings, temporary_settings,
)

@node(output_name="seen")
def look(x: int):
    settings = get_current_settings()
    return [settings.api.auth_string.get_secret_value(), settings.client.custom_headers,
            settings.tasks.default_retries, settings.api.url]

if __name__ == "__main__":
    found = []
    own = {PREFECT_API_AUTH_STRING: "some:one", PREFECT_CLIENT_CUSTOM_HEADERS: {"X-Team": "a"},
           PREFECT_TASKS_DEFAULT_RETRIES: 2}
    for engine in (HyperNodesEngine(), HyperNodesEngine("parallel"),
                   HyperNodesEngine(map_executor="parallel")):
        f = pipeline_flow(Pipeline([look], engine=engine), map_over={"x": "x"}, name="settings")
        with temporary_settings(own):
            found += f(x=[4])
    say(found=[each["seen"] for each in found])
""",
        prefect.url,
    )
    here, *elsewhere = said(done)["found"]
    assert here == ["some:one", {"X-Team": "a"}, 2, prefect.url]
    assert elsewhere == [here, here]


def is_alive(pid: str) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


LONG = """
@node(output_name="y")
def step(x: int) -> int:
    time.sleep(0.5)
    return x

def crashed(flow, run, state):
    print("CRASHED HOOK", state.name, flush=True)

if __name__ == "__main__":
    f = pipeline_flow(
        watched(Pipeline([step], name="long"), HyperNodesEngine(map_executor={executor!r})),
        map_over="xs", name="long", on_crashed=[crashed])
    try:
        f(xs=list(range(400)))
    finally:
        say()
"""


def test_a_terminated_run_closes_every_scope_and_leaves_no_process(
    tmp_path: Path, prefect: Server
) -> None:
    for executor in ("threaded", "parallel"):
        before = {each["id"] for each in prefect.flow_runs()}
        count = prefect.ask("task_runs/count")
        running = begin(tmp_path, LONG.format(executor=executor), prefect.url)
        wait_for_task_runs(prefect, 4, count)
        children = subprocess.run(
            ["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        running.send_signal(signal.SIGTERM)
        output, _ = running.communicate(timeout=90)
        assert running.returncode != 0
        assert "CRASHED HOOK Crashed" in output
        (run,) = new_runs(prefect, before)
        assert run["state_type"] == "CRASHED"
        line = next(line for line in output.splitlines() if line.startswith("SCOPES"))
        scopes = json.loads(line.removeprefix("SCOPES"))["scopes"]
        task_runs = prefect.task_runs(run)
        shown = as_scopes(task_runs)
        assert shown | scopes == shown
        # What was seen to begin in a process that was killed: no hook has been called for it.
        others = [each for key, each in shown.items() if key not in scopes]
        assert not others or executor == "parallel"
        for each in others:
            assert each["state"] == "Cancelled"
            place = f"{shown[each['parent']]['name']} > {each['name']}"
            assert re.fullmatch(r"long\[\d+\] > step|long > long\[\d+\]", place)
        assert {each["state_type"] for each in task_runs} <= {"COMPLETED", "CANCELLED"}
        wait_until(lambda: not any(map(is_alive, children)))  # noqa: B023


DEAF = """
@node(output_name="y", cache=False)
def deaf(x: int) -> int:
    print("READY", flush=True)
    time.sleep(600)
    return x

if __name__ == "__main__":
    pipeline = Pipeline([deaf], name="deaf", engine=HyperNodesEngine({executor!r}))
    pipeline_flow(pipeline, name="deaf")(x=1)
"""


@pytest.mark.parametrize("executor", ["async", "threaded"])
def test_a_terminated_process_does_not_wait_for_what_nothing_interrupts(
    tmp_path: Path, prefect: Server, executor: str
) -> None:
    running = begin(tmp_path, DEAF.format(executor=executor), prefect.url)
    assert running.stdout is not None
    assert any("READY" in line for line in running.stdout)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=120)
    assert running.returncode != 0


def test_the_environment_names_the_cache_and_what_is_reported(
    tmp_path: Path, prefect: Server
) -> None:
    done = run_script(
        tmp_path,
        """
if __name__ == "__main__":
    f = pipeline_flow(one, name="configured")
    f(x=4)
    one.with_engine(PrefectEngine()).run({"x": 5})
    os.environ["HYPERNODES_CACHE"] = "nowhere://bucket/folder"
    try:
        f(x=4)
    except Exception as error:
        told = str(error)
    say(entries=len(list(DiskCache("shared").path.glob("??/*"))), told=told,
        limit=Reporting().limit)
""",
        prefect.url,
        HYPERNODES_CACHE="shared",
        HYPERNODES_REPORTING_LIMIT="none",
    )
    told = said(done)
    assert told["entries"] == 2 * 3
    assert "nowhere" in told["told"]
    assert told["limit"] is None


def test_a_node_that_takes_too_long_is_timed_out(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
@node(output_name="y", timeout_seconds=0.2)
def hang(x: int) -> int:
    time.sleep(2)

if __name__ == "__main__":
    try:
        pipeline_flow(Pipeline([hang], name="hanging"))(x=1)
    except NodeTimeoutError:
        pass
""",
        prefect.url,
    )
    (run,) = new_runs(prefect, before)
    (hang,) = prefect.task_runs(run)
    assert (hang["state_name"], hang["state_type"]) == ("TimedOut", "FAILED")
    assert "longer than 0.2 s" in hang["state"]["message"]
    assert run["state_name"] == "TimedOut"  # as Prefect calls a flow that raises a TimeoutError


def test_the_tries_of_a_node_are_states_of_its_one_task_run(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
tries = []

@node(output_name="y", retries=3, retry_delay_seconds=0.2)
def flaky(x: int) -> int:
    tries.append(x)
    if len(tries) < 3:
        raise ConnectionError(f"try {len(tries)}")
    return x

if __name__ == "__main__":
    assert pipeline_flow(Pipeline([flaky], name="retried"))(x=1) == {"y": 1}
""",
        prefect.url,
    )
    (run,) = new_runs(prefect, before)
    (flaky,) = prefect.task_runs(run)
    assert (flaky["name"], flaky["state_name"], flaky["run_count"]) == ("flaky", "Completed", 3)
    answer = prefect.request("GET", f"task_run_states/?task_run_id={flaky['id']}")
    answer.raise_for_status()
    states = sorted(answer.json(), key=lambda state: str(state["timestamp"]))
    told = [(state["name"], state["message"]) for state in states if state["name"] != "Running"]
    assert told == [
        ("AwaitingRetry", "attempt 1: ConnectionError: try 1"),
        ("AwaitingRetry", "attempt 2: ConnectionError: try 2"),
        ("Completed", None),
    ]


def test_a_node_that_is_called_off_while_it_waits_for_its_next_try_ends_then(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
@node(output_name="y", retries=2, retry_delay_seconds=600)
def flaky(x: int) -> int:
    raise ConnectionError("down")

if __name__ == "__main__":
    try:
        pipeline_flow(Pipeline([flaky], name="late"), timeout_seconds=5)(x=1)
    except TimeoutError:
        pass
""",
        prefect.url,
    )
    (run,) = new_runs(prefect, before)
    (flaky,) = prefect.task_runs(run)
    assert (flaky["state_name"], flaky["run_count"]) == ("Cancelled", 1)
    assert str(flaky["end_time"]) <= str(run["end_time"])
    assert flaky["total_run_time"] < 60


def test_pipelines_and_tasks_in_nodes_of_process_workers_are_reported_as_elsewhere(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
from prefect import task

@task
def native(x: int) -> int:
    return x

@node(output_name="leaf", cache=False)
def leaf(x: int) -> int:
    return native(x)

inside = Pipeline([leaf], name="inside", callbacks=[PrefectCallback()])

@node(output_name="work", cache=False)
def work(x: int) -> int:
    return inside.run({"x": x})["leaf"]

if __name__ == "__main__":
    for option in ("node_executor", "map_executor"):
        with HyperNodesEngine(**{option: "parallel"}) as engine:
            pipeline = Pipeline([work], name="p", engine=engine)
            flow = pipeline_flow(pipeline, name=option, map_over="x", tags=["nightly"])
            flow(x=[1, 2])
""",
        prefect.url,
    )
    for run in new_runs(prefect, before):
        runs = prefect.task_runs(run)
        assert {each["state_name"] for each in runs} == {"Completed"}
        names = Counter(re.split(r"[^a-z]", each["name"])[0] for each in runs)
        assert (names["work"], names["leaf"], names["native"]) == (2, 2, 2)
        assert all("nightly" in each["tags"] for each in runs)


def test_what_is_shown_of_an_input_is_not_taken_from_the_nodes(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
@node(output_name="n")
def count(rows, more: dict) -> int:
    return len(list(rows)) + len(list(more["rows"]))

if __name__ == "__main__":
    rows, more = (x for x in range(3)), {"rows": iter([1, 2])}
    result = Pipeline([count], engine=PrefectEngine()).run({"rows": rows, "more": more})
    say(result=result)
""",
        prefect.url,
    )
    assert said(done)["result"] == {"n": 5}
    (run,) = new_runs(prefect, before)
    shown = {"rows": "<generator>", "more": {"rows": "<list_iterator>"}}
    assert run["parameters"] == {"inputs": shown}


def test_a_flow_has_the_parameters_of_its_outputs_and_the_version_of_its_file(
    tmp_path: Path,
) -> None:
    done = run_script(
        tmp_path,
        """
from prefect.utilities.hashing import file_hash

@node(output_name="y")
def wanted(x: int, by: int = 2) -> int:
    return x * by

@node(output_name="other")
def unwanted(big: str, small: str = "s") -> str:
    return big + small

if __name__ == "__main__":
    f = pipeline_flow(Pipeline([wanted, unwanted], name="two"), output_name="y")
    say(names=list(f.parameters.properties), same=f.version == file_hash(__file__))
""",
        None,
    )
    told = said(done)
    assert told["names"] == ["x", "by"]
    assert told["same"]


def test_what_prefect_offers_twice_is_awaited_in_async_nodes_and_called_in_hooks(
    tmp_path: Path, prefect: Server
) -> None:
    done = run_script(
        tmp_path,
        """
from prefect.variables import Variable

@node(output_name="y")
async def ask(x: int) -> str:
    return await Variable.get("nowhere", default="awaited")

@node(output_name="z")
def ask_again(y: str) -> list[str]:
    return [y, Variable.get("nowhere", default="called")]

told = []

def alert(flow, flow_run, state):
    told.append(Variable.get("nowhere", default="by a hook"))

if __name__ == "__main__":
    both = Pipeline([ask, ask_again], name="both")
    f = pipeline_flow(both, name="both", on_completion=[alert])

    @f.on_completion
    def another(flow, flow_run, state):
        told.append(state.name)

    found = [f(x=1)["z"], both.with_engine(PrefectEngine(on_completion=[alert])).run({"x": 1})["z"]]
    say(found=found, told=told)
""",
        prefect.url,
    )
    assert said(done)["found"] == [["awaited", "called"]] * 2
    assert said(done)["told"] == ["by a hook", "Completed", "by a hook"]


def test_no_message_of_an_error_is_too_long_or_too_broken_to_be_told(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
@node(output_name="y")
def fail(x: int) -> int:
    raise ValueError("caf\\udce9 " + "long " * 500_000 + "end")

if __name__ == "__main__":
    inner = Pipeline([fail], name="inner")
    outer = Pipeline([inner.as_node()], name="outer")
    try:
        pipeline_flow(watched(outer), name="loud")(x=1)
    except ValueError:
        pass
    say()
""",
        prefect.url,
    )
    assert "could not be reported" not in done.stderr
    (run,) = new_runs(prefect, before)
    found = {each["name"]: each["state"]["message"] for each in prefect.task_runs(run)}
    assert found.keys() == {"inner", "fail"}
    assert found["inner"].startswith("ValueError: caf? long")
    assert all("long long end" in each and len(each) < 30_000 for each in found.values())


def test_a_run_that_is_not_awaited_any_more_starts_no_more_items(
    tmp_path: Path, prefect: Server
) -> None:
    done = run_script(
        tmp_path,
        """
ran = []

@node(output_name="y")
def step(x: int) -> int:
    time.sleep(0.2)
    ran.append(x)
    return x

inner = Pipeline([step], name="inner").with_engine(PrefectEngine())
outer = Pipeline([inner.as_node(map_over={"xs": "x"}, output_mapping={"y": "ys"})], name="outer")

async def called_off(work):
    ran.clear()
    running = asyncio.ensure_future(work)
    while not ran and not running.done():
        await asyncio.sleep(0.02)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        return len(ran)

if __name__ == "__main__":
    xs = list(range(100))
    say(ran=[asyncio.run(called_off(inner.amap({"x": xs}, "x"))),
             asyncio.run(called_off(outer.arun({"xs": xs})))])
""",
        prefect.url,
    )
    assert all(0 < count < 40 for count in said(done)["ran"])


def test_a_subflow_is_not_skipped_and_who_waits_hides_nobody(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
import threading
tries, stepped = [], threading.Event()

@node(output_name="a", retries=1, retry_delay_seconds=5)
def flaky(start: int) -> int:
    tries.append(start)
    if len(tries) == 2:  # it fails for good when all others have run
        stepped.wait(60)
    raise ConnectionError("try later")

@node(output_name="b")
def slow(start: int) -> int:
    time.sleep(4)
    return start

@node(output_name="y")
def step(b: int) -> int:
    stepped.set()
    return b

@node(output_name="end")
def after(a: int, y: int) -> int:
    return a + y

if __name__ == "__main__":
    sub = Pipeline([step], name="sub").with_engine(PrefectEngine())
    broken = Pipeline([flaky, slow, sub.as_node(), after], name="broken")
    try:
        pipeline_flow(broken.with_engine(HyperNodesEngine("threaded")), name="broken")(start=1)
    except ConnectionError:
        pass
""",
        prefect.url,
    )
    run, sub = new_runs(prefect, before)
    assert sub["state_name"] == "Completed"
    found = {each["name"]: each for each in prefect.task_runs(run)}
    states = {name: each["state_name"] for name, each in found.items() if name != sub["name"]}
    assert states.pop("flaky") == "Failed"
    assert states.pop("slow") == "Completed"
    assert states.pop("after") == "Skipped"
    assert "sub" not in states
    answer = prefect.request("GET", f"task_run_states/?task_run_id={found['slow']['id']}")
    assert {state["name"] for state in answer.json()} == {"Running", "Completed"}


def test_a_map_that_ends_while_its_share_is_on_its_way_is_shown_as_done() -> None:
    progress = Progress("large", total=10, since=0.0, done=5)
    shares = []

    class SlowApi:
        def ask(self, method: str, path: str, content: bytes) -> dict[str, str]:
            shares.append(json.loads(content)["data"])
            progress.done, progress.ended = 10, True
            return {"id": "1"}

    flow_run = FlowRunRef(uuid4())
    tracker = TaskRunTracker(flow_run, Reporting())
    tracker.maps[CallbackContext("map", "large", None, ScopeInfo("large"))] = progress
    artifacts = Artifacts(flow_run, tracker, "large", None, None)
    artifacts.show(cast("Api", SlowApi()), at_end=False)
    artifacts.show(cast("Api", SlowApi()), at_end=True)
    assert shares == [50.0, 100.0]


def test_tags_and_prints_are_those_of_the_task_around(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
from prefect import tags

@node(output_name="y")
def talk(x: int):
    print("hello")
    return x

@flow
def own():
    with tags("inner"):
        Pipeline([talk], name="p").with_callbacks([PrefectCallback()]).run({"x": 1})
    pipeline_task(Pipeline([talk], name="q"), log_prints=True)(x=1)

if __name__ == "__main__":
    own()
    say()
""",
        prefect.url,
    )
    assert done.returncode == 0, done.stderr
    (run,) = new_runs(prefect, before)
    nodes = [each for each in prefect.task_runs(run) if each["name"] == "talk"]
    assert sorted("inner" in each["tags"] for each in nodes) == [False, True]
    hello = [each for each in prefect.logs(run) if each["message"] == "hello"]
    (listed,) = [each["id"] for each in nodes if "inner" not in each["tags"]]
    assert [each["task_run_id"] for each in hello] == [listed]
