"""In a flow of one's own, edges lead from native tasks to nodes, through maps, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect_hypernodes import PrefectCallback
from prefect_server import Server
from test_prefect_scopes import new_runs, run_script, said

MIXED = """
from prefect.context import TaskRunContext

@task
def fetch():
    return {"a": [1, 2, 3]}

@task
def names():
    return ["north", "south"]

@task
def publish(text):
    return text

@node(output_name="count")
def count(data):
    return len(data) * 1000

@node(output_name="text")
def write(count, other, data):
    own = TaskRunContext.get()
    assert own.task.fn is write.func
    assert abs(own.task_run.start_time.timestamp() - time.time()) < 30
    return f"{count} {other}"

@node(output_name="loud")
def shout(text, data):
    if "bad" in text:
        raise ValueError("bad")
    return text.upper()

@node(output_name="last")
def after(loud, data):
    return f"{loud} {data}"

@node(output_name="page")
def page(name):
    print("page of", name)
    return name * 2

def nested(*nodes, **how):
    return Pipeline(nodes, name="inner").as_node(input_mapping={"raw": "data"}, **how)

watched_by_prefect = [PrefectCallback(Reporting(artifacts=False))]
mixed = Pipeline([nested(count), write, nested(shout, after, name="deep")], name="mixed")
mixed = mixed.with_callbacks(watched_by_prefect)
pages = Pipeline([page], name="pages", callbacks=watched_by_prefect)

as_task = pipeline_task(Pipeline([page], name="as_task"))

@flow(log_prints=True)
def own():
    as_task(name="task")
    data = fetch()
    made = mixed.run({"raw": data, "data": data, "other": "good"})
    publish(made["text"])
    publish(made["last"])
    pages.map({"name": names()}, map_over="name")
    try:
        mixed.run({"raw": data, "data": data, "other": "bad"})
    except ValueError:
        pass

if __name__ == "__main__":
    own()
    say()
"""


def runs_of(folder: Path, prefect: Server, code: str) -> list[dict[str, Any]]:
    """The flow runs that a script makes, which ends well."""
    before = {each["id"] for each in prefect.flow_runs()}
    said(run_script(folder, code, prefect.url))
    return new_runs(prefect, before)


def names_of(task_runs: list[dict[str, Any]]) -> dict[str, str]:
    """The names of task runs by id, without the numbers of native ones."""
    return {each["id"]: each["name"].partition("-")[0] for each in task_runs}


def test_edges_lead_from_native_tasks_to_nodes_and_back(tmp_path: Path, prefect: Server) -> None:
    (run,) = runs_of(tmp_path, prefect, MIXED)
    task_runs = prefect.task_runs(run)
    names = names_of(task_runs)

    def edges(each: dict[str, Any]) -> dict[str, str]:
        linked = each["task_inputs"].items()
        found = {name: names[made[0]["id"]] for name, made in linked if made}
        found.pop("__parents__", None)
        return found

    found = [(names[each["id"]], each["state_name"], edges(each)) for each in task_runs]
    fed = {"data": "fetch"}
    outer = {"raw": "fetch"}
    for expected in (
        ("inner", "Completed", outer),
        ("count", "Completed", fed),
        ("write", "Completed", {"count": "inner", **fed}),
        ("deep", "Completed", {"text": "write", **outer}),
        ("shout", "Completed", {"text": "write", **fed}),
        ("after", "Completed", {"loud": "shout", **fed}),
        ("publish", "Completed", {"text": "write"}),
        ("publish", "Completed", {"text": "deep"}),
        ("page[north]", "Completed", {"name": "names"}),
        ("deep", "Failed", {"text": "write", **outer}),
        ("after", "Skipped", {"loud": "shout", **fed}),
    ):
        assert expected in found
    printed = {each["message"] for each in prefect.logs(run) if each["task_run_id"] in names}
    assert {"page of north", "page of south", "page of task"} <= printed


def test_what_is_no_option_of_a_callback_is_told_where_it_is() -> None:
    for option, hint in (
        ("tags", "prefect.tags"),
        ("limit", r"Reporting\("),
        ("on", "nothing else"),
    ):
        with pytest.raises(TypeError, match=f"no option '{option}'.*{hint}"):
            PrefectCallback(**{option: 1})  # type: ignore[arg-type]


def test_a_node_that_waited_for_its_next_attempt_did_not_run_meanwhile(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    said(
        run_script(
            tmp_path,
            """
@node(output_name="y", retries=1, retry_delay_seconds=3)
def flaky(x):
    if not os.path.exists("failed"):
        open("failed", "w").close()
        raise ValueError("at first")
    return x

if __name__ == "__main__":
    pipeline_flow(Pipeline([flaky], name="waits"))(x=1)
    say()
""",
            prefect.url,
        )
    )
    (run,) = new_runs(prefect, before)
    (task_run,) = prefect.task_runs(run)
    assert task_run["run_count"] == 2
    assert task_run["total_run_time"] < 2.5


def test_an_edge_leads_from_a_subflow_to_the_node_that_reads_its_result(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    run_script(
        tmp_path,
        """
from prefect import flow

@node(output_name="page")
def page(name):
    return name * 2

pages = Pipeline([page], name="pages", callbacks=[PrefectCallback()])
made_by_nodes = pipeline_flow(Pipeline([page], name="named"), name="named")

@flow
def native():
    return "north"

@flow
def own():
    pages.run({"name": native()})
    pages.run({"name": made_by_nodes(name="south")["page"]})

if __name__ == "__main__":
    own()
""",
        prefect.url,
    )
    runs = {each["id"]: each for each in new_runs(prefect, before)}
    (own,) = [each for each in runs.values() if each["parent_task_run_id"] is None]
    nodes = [each for each in prefect.task_runs(own) if each["name"] == "page"]
    (first,), (second,) = [each["task_inputs"]["name"] for each in nodes]
    assert first["input_type"] == second["input_type"] == "flow_run"
    assert {first["id"], second["id"]} == set(runs) - {own["id"]}
    drawn = prefect.graph(own)
    assert all(drawn[each["id"]]["parents"] for each in nodes)


def test_edges_in_a_flow_that_a_node_calls_are_those_of_any_flow_of_ones_own(
    tmp_path: Path, prefect: Server
) -> None:
    runs = runs_of(
        tmp_path,
        prefect,
        """
@task
def fetch():
    return ["north", "south"]

@task
def publish(text):
    return text

@node(output_name="page")
def page(names):
    return {"of": len(names)}

pages = Pipeline([page], name="pages", callbacks=[PrefectCallback()])

@flow
def inside():
    publish(pages.run({"names": fetch()})["page"])
    return 1

@node(output_name="y")
def calls(x):
    return inside()

if __name__ == "__main__":
    pipeline_flow(Pipeline([calls], name="calls"))(x=1)
    say()
""",
    )
    (run,) = [each for each in runs if each["parent_task_run_id"]]
    task_runs = prefect.task_runs(run)
    names = names_of(task_runs)
    edges = {
        (names[each["id"]], name, names[made_by["id"]])
        for each in task_runs
        for name, made in each["task_inputs"].items()
        for made_by in made
        if name != "__parents__"
    }
    assert edges == {("page", "names", "fetch"), ("publish", "text", "page")}


def test_edges_lead_from_native_tasks_to_the_flow_run_of_an_engine(
    tmp_path: Path, prefect: Server
) -> None:
    runs = runs_of(
        tmp_path,
        prefect,
        """
@task
def fetch():
    return ["north", "south"]

@task
def table():
    return {"large": list(range(100_000))}

@task
def each_of(x):
    return f"part {x}"

@node(output_name="page")
def page(names, parts, data=None):
    return len(names)

pages = Pipeline([page], name="pages", engine=PrefectEngine())

@flow
def own():
    pages.run({"names": fetch(), "parts": [each_of(1), "none", each_of(2)], "data": table()})

if __name__ == "__main__":
    own()
    say()
""",
    )
    (own,) = [each for each in runs if not each["parent_task_run_id"]]
    task_runs = prefect.task_runs(own)
    names = names_of(task_runs)
    (box,) = [each for each in task_runs if each["name"].startswith("pages")]
    made_by = [names[made["id"]] for given in box["task_inputs"].values() for made in given]
    assert sorted(made_by) == ["each_of", "each_of", "fetch", "table"]
