"""What people are shown of a run that fails: logs, states, edges and the list of failures."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from prefect_server import Server
from test_prefect_scopes import new_runs, run_script

CODE = """
import contextvars, functools, threading

@node(output_name="level", retries=1)
def measure(sensor: str) -> float:
    get_run_logger().info("measuring")
    raise ValueError(f"sensor {sensor} is broken")

@node(output_name="level")
def answer(sensor: str) -> str:
    if sensor == "west-end":
        raise ValueError("no answer\\n  for a `minute` | or so")
    if sensor == "old-town":
        raise KeyError("unit")
    return sensor

@node(output_name="raw")
def read(path: str) -> str:
    raise OSError(f"{path} is not there")

@node(output_name="rows")
def parse(raw: str) -> list:
    return raw.split()

@node(output_name="count")
def count(rows: list, raw: str) -> int:
    return len(rows)

@node(output_name="y")
def die(x: int) -> int:
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

@node(output_name="inverse")
def invert(v: int) -> float:
    return 1 / v

@node(output_name="words")
def count_words(level: str) -> int:
    return len(level)

class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text")

@node(output_name="z")
def silent(x: int) -> int:
    raise NoText()

tries = []

@node(output_name="tried")
def flaky(x: int) -> int:
    tries.append(x)
    if len(tries) == 1:
        raise ConnectionError("the first time")
    return x

@node(output_name="y", cache=False)
def die_later(x: int) -> int:
    time.sleep(0.6)  # long enough to be seen as running
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

@node(output_name="size", task_run_name="size of {path}")
def open_file(path: str) -> int:
    raise OSError(f"no file {path}")

class NoRepr(Exception):
    def __repr__(self):
        raise RuntimeError("no repr")

@node(output_name="r")
def unshown(x: int) -> int:
    raise NoRepr("it has a text")

@node(output_name="level", retries=1)
def weak(v: int) -> int:
    if v == 0:
        raise ValueError("weak")
    return v

@node(output_name="y")
async def cancels_itself(x: int) -> int:
    raise asyncio.CancelledError("of its own")

@node(output_name="y")
def long(x: int) -> int:
    time.sleep(4)
    return x

class Hasty(HyperNodesEngine):
    # Gives up on a run, without a word to anybody.

    def run(self, *args, **kwargs):
        context = contextvars.copy_context()
        call = functools.partial(super().run, *args, **kwargs)
        thread = threading.Thread(target=context.run, args=(call,), daemon=True)
        thread.start()
        thread.join(1)
        raise RuntimeError("too slow")

told = []

def called(name):
    async def hook(flow, flow_run, state):
        told.append(name)
    return hook

class AsObject:
    async def __call__(self, flow, flow_run, state):
        told.append("an object")

def stops(flow, flow_run, state):
    next(iter(()))

def run(pipeline, name, engine=None, inputs=(), **options):
    try:
        return pipeline_flow(pipeline.with_engine(engine), name=name, **options)(**dict(inputs))
    except (Exception, asyncio.CancelledError) as error:
        return error

if __name__ == "__main__":
    sensors = ["north", "west-end", "south", "old-town"]
    levels = Pipeline([answer], name="levels")
    mapped = dict(map_over="sensor", error_handling="continue", inputs={"sensor": sensors})
    with HyperNodesEngine(map_executor="parallel") as items, HyperNodesEngine("parallel") as nodes:
        run(Pipeline([measure], name="one"), "retried", inputs={"sensor": "north"})
        run(Pipeline([measure], name="measure"), "of one name", inputs={"sensor": "north"})
        run(Pipeline([silent], name="silent"), "without a text", inputs={"x": 1})
        rows = Pipeline([invert], name="inner").as_node(
            map_over={"vs": "v"}, error_handling="continue")
        rows = Pipeline([rows], name="row").as_node(map_over={"vss": "vs"})
        run(Pipeline([rows], name="table"), "very often", inputs={"vss": [[0, 1]] * 4})
        within = Pipeline([answer, Pipeline([count_words], name="inside").as_node()], name="lines")
        run(within, "on Daft", DaftEngine(), **mapped)
        run(Pipeline([measure], name="one"), "on a worker", nodes, inputs={"sensor": "north"})
        results = run(levels, "continued", **mapped)
        assert [type(each).__name__ for each in results] == ["dict", "FailedItem"] * 2, results
        run(levels, "continued on workers", items, **mapped)
        each = levels.as_node(map_over={"sensors": "sensor"}, error_handling="continue")
        results = run(Pipeline([each], name="site"), "nested", inputs={"sensors": sensors})
        assert [type(each).__name__ for each in results["level"]] == ["str", "FailedItem"] * 2
        run(Pipeline([read, parse, count], name="report"), "skipped", inputs={"path": "a.txt"})
        run(Pipeline([die], name="deadly"), "killed", items, map_over="x", inputs={"x": [0, 1, 2]})
        results = run(Pipeline([die_later], name="deadly"), "killed, going on", items,
                      map_over="x", error_handling="continue", inputs={"x": [0, 1, 2]})
        assert [type(each).__name__ for each in results] == ["dict", "FailedItem", "dict"], results
        odd = b"caf\\xe9.csv".decode("utf-8", "surrogateescape")
        run(Pipeline([open_file], name="open"), "no UTF-8", inputs={"path": odd})
        run(Pipeline([unshown], name="unshown"), "no repr", inputs={"x": 1})
        few = Reporting(items="failures")
        rows = Pipeline([weak], name="inner").as_node(
            map_over={"vs": "v"}, error_handling="continue")
        run(Pipeline([rows], name="row"), "not listed", map_over="vs", reporting=few,
            inputs={"vs": [[1, 2], [0, 1]]})
        hooks = [stops, called("async"), lambda *given: called("returned")(*given), AsObject()]
        run(Pipeline([silent], name="hooked"), "hooked", inputs={"x": 1}, on_failure=hooks)
        assert told == ["async", "returned", "an object"], told
        inner = Pipeline([weak], name="sub", engine=PrefectEngine())
        inner = inner.as_node(map_over={"vs": "v"}, error_handling="continue")
        run(Pipeline([inner], name="around"), "around a flow", inputs={"vs": [0, 1]})
    run(Pipeline([flaky], name="again"), "resumed", retries=1, inputs={"x": 1})
    run(Pipeline([cancels_itself], name="own"), "cancels itself", inputs={"x": 1})
    nothing = node(lambda day: None, output_name="vs", name="nothing")
    each = Pipeline([invert], name="each").as_node(map_over={"vs": "v"})
    run(Pipeline([nothing, each], name="day"), "no list", inputs={"day": "today"})
    run(Pipeline([long], name="long"), "given up", Hasty(), inputs={"x": 1})

    @flow(name="by a task")
    def by_a_task():
        return pipeline_task(levels, map_over="sensor", error_handling="continue")(sensor=sensors)

    assert len(by_a_task()) == 4
    again = pipeline_flow(levels, name="state", map_over="sensor", error_handling="continue")
    state = again(sensor=sensors, return_state=True)
    assert state.message == "2 of 4 items failed" and len(state.result()) == 4
"""


class Runs:
    """The flow runs of the script, by their flow's name."""

    def __init__(self, prefect: Server, runs: list[dict[str, Any]]) -> None:
        self.prefect = prefect
        flows = {each["id"]: each["name"] for each in prefect.ask("flows/filter", limit=200)}
        self.runs = {flows[each["flow_id"]]: each for each in runs}

    def task_runs(self, flow: str) -> list[dict[str, Any]]:
        return self.prefect.task_runs(self.runs[flow])

    def named(self, flow: str, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.task_runs(flow) if each["name"] == name]
        return found

    def logs(self, flow: str, task_run: dict[str, Any] | None = None) -> list[tuple[int, str]]:
        """Level and message of the logs of a task run, or of the flow run itself."""
        key = None if task_run is None else task_run["id"]
        found = [each for each in self.prefect.logs(self.runs[flow]) if each["task_run_id"] == key]
        found.sort(key=lambda log: str(log["timestamp"]))
        return [(each["level"], each["message"]) for each in found]

    def failures(self, flow: str) -> list[str]:
        """The lines of the artifact that lists what failed."""
        made = self.prefect.artifacts(self.runs[flow])
        (text,) = [each["data"] for key, each in made.items() if key and key.endswith("-failures")]
        return str(text).splitlines()


@pytest.fixture(scope="module")
def runs(prefect: Server, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(tmp_path_factory.mktemp("failures"), CODE, prefect.url, timeout=480)
    assert done.returncode == 0, done.stderr
    return Runs(prefect, new_runs(prefect, before))


@pytest.mark.parametrize("flow", ["retried", "on a worker"])
def test_a_failed_node_logs_its_retry_and_its_traceback(runs: Runs, flow: str) -> None:
    node = runs.named(flow, "measure")
    assert node["state"]["message"] == "ValueError: sensor north is broken"
    assert runs.runs[flow]["state"]["message"].endswith(": ValueError: sensor north is broken")
    levels = [level for level, _ in runs.logs(flow, node)]
    # As of when they happened, whenever the reporter came to them.
    assert levels == [logging.INFO, logging.WARNING, logging.INFO, logging.ERROR]
    (retry,) = [text for level, text in runs.logs(flow, node) if level == logging.WARNING]
    assert "attempt 1: ValueError: sensor north is broken" in retry
    (text,) = [text for level, text in runs.logs(flow, node) if level == logging.ERROR]
    said, begun, frame, line, error, *_ = text.splitlines()
    assert said == "Failed at attempt 2 with ValueError: sensor north is broken"
    assert begun.startswith("Traceback")
    assert frame.endswith("in measure")  # the user's own is the first
    assert line.strip() == 'raise ValueError(f"sensor {sensor} is broken")'
    assert error == "ValueError: sensor north is broken"
    (row,) = [line for line in runs.failures(flow) if "measure" in line]
    assert row.endswith("| `ValueError: sensor north is broken` | 2 |")


@pytest.mark.parametrize("flow", ["continued", "continued on workers", "nested", "by a task"])
def test_failed_items_are_counted_and_listed_with_index_value_and_link(
    runs: Runs, flow: str
) -> None:
    assert runs.runs[flow]["state_name"] == "Completed"
    if flow == "by a task":
        (task,) = [each for each in runs.task_runs(flow) if each["task_key"].startswith("levels-")]
        assert (logging.WARNING, "levels: 2 of 4 items failed") in runs.logs(flow, task)
    else:
        assert runs.runs[flow]["state"]["message"] == "2 of 4 items failed"
        assert (logging.WARNING, "levels: 2 of 4 items failed") in runs.logs(flow)
    first, *lines = runs.failures(flow)
    assert first == "2 of 4 items failed."
    failed = {}
    for each in runs.task_runs(flow):
        if each["state_name"] == "Failed" and each["name"].startswith("answer"):
            failed[each["state"]["message"]] = each
            (text,) = [text for level, text in runs.logs(flow, each) if level == logging.ERROR]
            assert re.search(r"^Traceback.*\n.*in answer\n", text, re.M)
    wanted = {
        "ValueError: no answer for a `minute` | or so": (1, "west-end"),
        "KeyError: 'unit'": (3, "old-town"),
    }
    assert failed.keys() == wanted.keys()
    for message, (index, sensor) in wanted.items():
        (line,) = [each for each in lines if message.split("`")[0] in each]
        assert f"/runs/task-run/{failed[message]['id']})" in line
        assert f"| {index}: `sensor='{sensor}'` |" in line
        assert message.replace("|", "\\|") in line


def test_a_cancellation_of_a_nodes_own_is_in_its_log(runs: Runs) -> None:
    node = runs.named("cancels itself", "cancels_itself")
    assert node["state_name"] == "Crashed"
    assert runs.runs["cancels itself"]["state_name"] == "Crashed"
    (text,) = [text for level, text in runs.logs("cancels itself", node) if level == logging.ERROR]
    assert text.startswith("Crashed with CancelledError: of its own")
    assert "in cancels_itself" in text


def test_a_map_over_what_is_no_list_is_what_failed(runs: Runs) -> None:
    each = runs.named("no list", "each")
    assert each["state_name"] == "Failed"
    assert [level for level, _ in runs.logs("no list", each)] == [logging.ERROR]
    (line,) = [line for line in runs.failures("no list") if "MapOverError" in line]
    assert f"/runs/task-run/{each['id']})" in line
    drawn = runs.prefect.graph(runs.runs["no list"])
    (parent,) = drawn[each["id"]]["parents"]
    assert parent["id"] == runs.named("no list", "nothing")["id"]


def test_what_an_engine_leaves_running_when_it_fails_does_not_stay_so(runs: Runs) -> None:
    assert runs.runs["given up"]["state_name"] == "Failed"
    node = runs.named("given up", "long")
    assert node["state_type"] == "CANCELLED"
    assert "left running" in node["state"]["message"]


def test_skipped_nodes_hang_on_what_they_waited_for(runs: Runs) -> None:
    graph = runs.prefect.graph(runs.runs["skipped"])
    label = {key: each["label"] for key, each in graph.items()}
    edges = {
        (label[parent["id"]], label[key])
        for key, each in graph.items()
        for parent in each["parents"]
    }
    assert edges == {("read", "parse"), ("parse", "count"), ("read", "count")}


def test_items_of_a_killed_worker_are_crashed_task_runs(runs: Runs) -> None:
    found = {each["name"]: each for each in runs.task_runs("killed")}
    assert found["deadly"]["state_name"] == found["deadly[1]"]["state_name"] == "Crashed"
    assert "while item 1 was on its way" in found["deadly[1]"]["state"]["message"]
    (text,) = [text for level, text in runs.logs("killed", found["deadly[1]"])]
    assert "WorkerLostError" in text
    assert any("deadly[1]" in line and "`x=1`" in line for line in runs.failures("killed"))


def test_a_flows_second_attempt_is_that_of_its_task_runs_too(runs: Runs) -> None:
    found = {each["state_name"]: each for each in runs.task_runs("resumed")}
    assert {name: each["flow_run_run_count"] for name, each in found.items()} == {
        "Failed": 1, "Completed": 2,
    }  # fmt: skip


def test_a_map_of_the_flow_is_one_box_with_its_items(runs: Runs) -> None:
    graph = runs.prefect.graph(runs.runs["continued"])
    outermost = [each for each in graph.values() if not each["encapsulating"]]
    assert [each["label"] for each in outermost] == ["levels"]
    assert outermost[0]["state_type"] == "COMPLETED"
    inside = [e for e in graph.values() if e["encapsulating"] and e["label"].startswith("levels[")]
    assert {each["encapsulating"][0]["id"] for each in inside} == {outermost[0]["id"]}
    assert len(inside) == 4


def test_a_pipeline_with_the_name_of_its_node_tells_a_failure_once(runs: Runs) -> None:
    first, *lines = runs.failures("of one name")
    assert first == "1 failed."
    assert len([line for line in lines if "sensor north is broken" in line]) == 1
    node = runs.named("of one name", "measure")
    told = [level for level, _ in runs.logs("of one name", node)]
    assert told.count(logging.ERROR) == 1


def test_an_error_without_a_text_ends_the_flow_run(runs: Runs) -> None:
    assert runs.runs["without a text"]["state_name"] == "Failed"
    assert "NoText" in runs.runs["without a text"]["state"]["message"]


def test_maps_in_the_items_of_another_one_are_counted_together(runs: Runs) -> None:
    assert runs.runs["very often"]["state"]["message"] == "4 of 8 items failed"
    warnings = [text for level, text in runs.logs("very often") if level == logging.WARNING]
    assert warnings == [
        "inner: 1 of 2 items failed",
        "table/row/inner: 4 of 8 items failed, in 4 maps",
    ]


def test_on_daft_a_nested_pipeline_that_did_not_run_is_skipped(runs: Runs) -> None:
    states = sorted(
        (each["state_name"], each["tags"][1])
        for each in runs.task_runs("on Daft")
        if each["name"] == "inside"
    )
    assert states == [("Completed", "pipeline")] * 2 + [("Skipped", "pipeline")] * 2


def test_an_item_that_kills_its_worker_is_the_one_that_crashed(runs: Runs) -> None:
    flow = "killed, going on"
    assert runs.runs[flow]["state"]["message"] == "1 of 3 items failed"
    found = sorted((each["name"], each["state_name"]) for each in runs.task_runs(flow))
    assert found == [
        ("deadly", "Completed"),
        *((f"deadly[{x}]", "Crashed" if x == 1 else "Completed") for x in range(3)),
        *((f"die_later[{x}]", "Crashed" if x == 1 else "Completed") for x in range(3)),
    ]
    (text,) = [text for _, text in runs.logs(flow, runs.named(flow, "die_later[1]"))]
    assert "WorkerLostError" in text
    (line,) = [line for line in runs.failures(flow) if "WorkerLostError" in line]
    assert "`x=1`" in line


def test_what_is_no_text_is_shown_as_far_as_it_can_be(runs: Runs) -> None:
    assert runs.runs["no UTF-8"]["state_name"] == "Failed"
    assert runs.runs["no UTF-8"]["parameters"] == {"path": "caf?.csv"}
    node = runs.named("no UTF-8", "size of caf?.csv")
    assert node["state"]["message"] == "OSError: no file caf?.csv"
    assert runs.runs["no repr"]["state_name"] == "Failed"


def test_a_failure_in_items_that_are_not_listed_hangs_in_a_box_that_is(runs: Runs) -> None:
    found = {each["id"]: each for each in runs.task_runs("not listed")}
    names = {each["name"]: each for each in found.values()}
    assert {name.partition("[")[0] for name in names} == {"row", "inner", "weak"}
    for name, each in names.items():
        parents = [parent["id"] for parent in each["task_inputs"].get("__parents__", ())]
        assert (name == "row") == (not parents)
        assert all(parent in found for parent in parents)
    (failed,) = [each for name, each in names.items() if name.startswith("weak")]
    told = [text.splitlines()[0] for _, text in runs.logs("not listed", failed)]
    assert told == [
        "Failed at attempt 1: ValueError: weak - Retry 1 follows",
        "Failed at attempt 2 with ValueError: weak",
    ]
    assert runs.runs["not listed"]["state"]["message"] == "1 of 4 items failed"


def test_a_nested_flow_runs_failed_items_are_those_of_the_flow_around_too(runs: Runs) -> None:
    assert runs.runs["around a flow"]["state"]["message"] == "1 of 2 items failed"


def test_a_nested_pipeline_with_callbacks_of_its_own_is_not_called_skipped(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
from hypernodes import PipelineCallback

class Own(PipelineCallback):
    __hash__ = None  # as of a dataclass

@node(output_name="rows")
def parse(x: int) -> int:
    if x < 0:
        raise ValueError("cannot parse")
    return x

@node(output_name="n")
def count(rows: int) -> int:
    return rows

inner = Pipeline([parse], name="inner", callbacks=[Own()])
flow = pipeline_flow(Pipeline([inner, count], name="p"), name="apart")

if __name__ == "__main__":
    flow(x=1)
    flow(x=-1, return_state=True)
""",
        prefect.url,
    )
    worked, failed = new_runs(prefect, before)
    (count,) = prefect.task_runs(worked)
    assert (count["name"], count["state_name"]) == ("count", "Completed")
    assert not count["task_inputs"].get("rows")  # nothing that is not there
    (count,) = prefect.task_runs(failed)
    assert (count["name"], count["state_name"]) == ("count", "Skipped")
    assert "cannot parse" in failed["state"]["message"]
