"""What Prefect's users expect of flows and tasks: tags, names, forms, positional arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_hypernodes import PipelineFlow, PrefectEngine, pipeline_flow, pipeline_task
from prefect_server import Server
from test_prefect_scopes import new_runs, run_script, said

from hypernodes import HyperNodesError, Pipeline, node


@node(output_name="rows")
def read(path: str, limit: int = 10) -> list[int]:
    """Read rows.

    Parameters
    ----------
    path : str
        the folder
        of the readings
    limit : int, optional
        rows that are read at most
    """
    return [1] * limit


@node(output_name="level")
def measure(rows: list[int], unit: str = "m", plain: int = 0) -> float:
    """Measure.

    :param str unit: the unit: metres, usually
    """
    return 1.0


@node(output_name="shown")
def show(level: float, title: str = "") -> str:
    """Show it.

    Args:
        title (str): what is written above
    """
    return title


levels = Pipeline([read, measure, show], name="levels")


def described(flow: PipelineFlow) -> dict[str, str]:
    found = flow.parameters.properties
    return {name: each["description"] for name, each in found.items() if "description" in each}


@pytest.mark.parametrize(
    "flow", [pipeline_flow(levels), pipeline_flow(Pipeline([levels.as_node(name="inside")]))]
)
def test_the_form_says_what_docstrings_of_any_style_say(flow: PipelineFlow) -> None:
    assert described(flow) == {
        "path": "the folder of the readings",
        "limit": "rows that are read at most",
        "unit": "the unit: metres, usually",
        "title": "what is written above",
    }


def test_the_form_says_that_a_mapped_parameter_is_a_list() -> None:
    told = described(pipeline_flow(levels, map_over=["paths", "plain"]))
    assert told["paths"] == "one path for each item: the folder of the readings"
    assert "plain" not in told


def test_positional_arguments_are_bound_as_python_binds_them() -> None:
    flow = pipeline_flow(levels)
    kinds = {name: each.kind.name for name, each in flow.fn.__signature__.parameters.items()}
    assert set(kinds.values()) == {"POSITIONAL_OR_KEYWORD"}
    assert pipeline_task(levels).fn("docs", 3, unit="cm")["rows"] == [1, 1, 1]

    @node(output_name="sum")
    def add(rows: list[int], more: int) -> int:
        return sum(rows) + more

    task = pipeline_task(Pipeline([read, add]))
    assert task.fn("docs", 3, more=1)["sum"] == 4
    with pytest.raises(TypeError, match="too many positional arguments"):
        task.fn("docs", 3, 1)  # a required one after an optional one is given by name
    with pytest.raises(TypeError, match="pth"):
        task.fn("docs", pth=1, more=2)


@pytest.mark.parametrize("tags", ["nightly", 7, [1]])
def test_tags_are_a_list_of_texts(tags: object) -> None:
    with pytest.raises(TypeError, match="tags"):
        pipeline_flow(levels, tags=tags)
    with pytest.raises(TypeError, match="tags"):
        PrefectEngine(tags=tags)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: pipeline_flow(read), r"write Pipeline\(\[\.\.\.\]\)"),
        (lambda: pipeline_task([read]), r"write Pipeline\(\[\.\.\.\]\)"),
        (lambda: pipeline_flow(levels, cron="0 3 * * *"), r"write flow\.serve"),
        (lambda: pipeline_flow(levels, cache=None), "with_cache"),
        (lambda: pipeline_flow(levels, reporting="all"), r"expected Reporting\("),
    ],
)
def test_a_flow_of_something_else_and_an_option_that_belongs_elsewhere(
    make: Callable[[], object], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        make()


def test_tags_and_positional_arguments_reach_flow_and_task_runs(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
from uuid import UUID
from prefect import tags
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

@node(output_name="y")
def double(x: int) -> int:
    return 2 * x

pipeline = Pipeline([double], name="doubling")
tagged = pipeline_flow(pipeline, name="tagged", tags=["nightly", "team-x"])
by_engine = pipeline.with_engine(PrefectEngine(tags=["by-engine"]))

async def deployed():
    # A worker runs what a deployment has made, without calling the flow.
    async with get_client() as client:
        run = await client.create_flow_run(tagged, parameters={"x": 5}, tags=["from-ui"])
    return await run_flow(tagged, flow_run=run)

if __name__ == "__main__":
    with tags("outer"):
        got = [tagged(1), tagged.with_options(name="renamed")(2)]
    tagged.with_options(name="other", tags=["other"])(3)
    by_engine.run({"x": 4})
    deployment = tagged.to_deployment("d", tags=["more"])
    say(got=got, more=[asyncio.run(deployed())], deployment=list(deployment.tags))
""",
        prefect.url,
    )
    told = said(done)
    assert told["got"] == [{"y": 2}, {"y": 4}]
    assert told["more"] == [{"y": 10}]
    assert told["deployment"] == ["nightly", "team-x", "more"]
    tags = {}
    for run in new_runs(prefect, before):
        (task_run,) = prefect.task_runs(run)
        name = str(run["parameters"].get("x") or run["parameters"]["inputs"]["x"])
        tags[name] = set(run["tags"])
        assert set(task_run["tags"]) == {"hypernodes", "node", *run["tags"]}
    own = {"nightly", "team-x"}
    assert tags == {
        "1": {"outer", *own},
        "2": {"outer", *own},
        "3": {"other"},
        "4": {"by-engine"},
        "5": {"from-ui", *own},
    }


def test_a_parameter_names_nodes_to_compute_anew(tmp_path: Path, prefect: Server) -> None:
    with pytest.raises(HyperNodesError, match="'limit' cannot be a flow's parameter"):
        pipeline_flow(levels, refresh_parameter="limit")
    with pytest.raises(HyperNodesError, match="expected a name such as 'refresh'"):
        pipeline_flow(levels, refresh_parameter="wait_for")
    flow = pipeline_flow(levels, refresh_parameter="refresh")
    shown = flow.parameters.properties["refresh"]
    assert shown["anyOf"][0]["items"]["enum"][:3] == ["read", "measure", "show"]
    assert "computed anew" not in shown["description"]
    assert "compute anew" in shown["description"]
    assert "refresh" not in flow.parameters.required
    assert "refresh" not in pipeline_flow(levels).parameters.properties

    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
@node(output_name="data")
def load(x: int) -> int:
    return x

@node(output_name="model")
def train(data: int) -> int:
    return data + 1

@node(output_name="report")
def show(model: int) -> str:
    return str(model)

training = Pipeline([load, train, show], name="training", cache=DiskCache("cache"))
f = pipeline_flow(training, name="training", refresh_parameter="refresh")
many = pipeline_flow(training, map_over="x", name="many", refresh_parameter="refresh")

if __name__ == "__main__":
    f(1)
    f(x=1, refresh=["train"])
    many(x=[1, 1])
    many(x=[1, 2], refresh=["model"])
    try:
        f(x=1, refresh=["trian"])
    except RefreshError as error:
        say(refused=str(error))
""",
        prefect.url,
    )
    assert "Did you mean 'train'" in said(done)["refused"]
    states = []
    for run in new_runs(prefect, before)[:-1]:
        found = [each for each in prefect.task_runs(run) if "node" in each["tags"]]
        states.append({each["name"]: each["state_name"] for each in found})
    assert states[1] == {"load": "Cached", "train": "Completed", "show": "Completed"}
    assert set(states[2].values()) == {"Cached"}
    assert states[3] == {
        "load[1]": "Cached", "train[1]": "Completed", "show[1]": "Completed",
        "load[2]": "Completed", "train[2]": "Completed", "show[2]": "Completed",
    }  # fmt: skip
    assert new_runs(prefect, before)[1]["parameters"] == {"x": 1, "refresh": ["train"]}


def test_task_runs_of_nodes_are_named_and_tagged(tmp_path: Path, prefect: Server) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    done = run_script(
        tmp_path,
        """
from pathlib import Path

@node(output_name="page", task_run_name="fetch {url} to {depth:03d}", tags=["web", "slow"])
def fetch(url: str, depth: int = 1) -> str:
    import prefect.runtime
    return prefect.runtime.task_run.name

@node(output_name="size", tags=["small"])
def size(page: str, parts: list) -> int:
    if parts == [3]:
        raise ValueError("three")
    return len(page)

@node(output_name="shown")
def show(size: int) -> int:
    return size

pages = Pipeline([fetch, size, show], name="pages")

@node(output_name="read", cache=False)
def read(folder: Path, year: int) -> str:
    return f"{folder} {year}"

readings = Pipeline([read], name="readings")
by_year = readings.as_node(name="years", map_over={"years": "year"})
by_folder = Pipeline([by_year], name="folders").as_node(name="all", map_over={"folders": "folder"})

if __name__ == "__main__":
    with HyperNodesEngine(map_executor="parallel") as engine:
        f = pipeline_flow(pages.with_engine(engine), map_over=["url", "parts"], name="pages",
                          error_handling="continue")
        got = f(url=["a.org", "b.org"], parts=[[1], [3]])
        nested = Pipeline([by_folder], name="nested", engine=engine)
        pipeline_flow(nested, name="nested")(folders=[Path("a/b"), Path("c")], years=[2023, 2024])
    say(got=got[0]["page"])
""",
        prefect.url,
    )
    assert said(done)["got"] == "fetch a.org to 001"
    pages, nested = new_runs(prefect, before)
    tags = {each["name"]: set(each["tags"]) for each in prefect.task_runs(pages)}
    assert tags == {
        "fetch a.org to 001": {"hypernodes", "node", "web", "slow"},
        "fetch b.org to 001": {"hypernodes", "node", "web", "slow"},
        "size[0]": {"hypernodes", "node", "small"},
        "size[1]": {"hypernodes", "node", "small"},
        "show[0]": {"hypernodes", "node"},
        "show[1]": {"hypernodes", "node"},  # skipped
        "pages": {"hypernodes", "map"},
        "pages[0]": {"hypernodes", "map-item"},
        "pages[1]": {"hypernodes", "map-item"},
    }
    names = {each["name"] for each in prefect.task_runs(nested) if "node" in each["tags"]}
    assert names == {f"read[{path}][{year}]" for path in ("a/b", "c") for year in (2023, 2024)}


def test_a_global_limit_bounds_calls_on_threads_processes_and_loops(
    tmp_path: Path, prefect: Server
) -> None:
    name = "test-users-api"
    limit = {"name": name, "limit": 1, "active": True}
    prefect.request("POST", "v2/concurrency_limits/", **limit).raise_for_status()
    done = run_script(
        tmp_path,
        """
def mark(what):
    with open("log", "a") as file:
        file.write(f"{time.time():.6f} {what}\\n")

@node(output_name="y", concurrency_limit="test-users-api")
def work(x: int) -> int:
    mark("+")
    time.sleep(0.1)
    mark("-")
    return x

@node(output_name="y", concurrency_limit=["test-users-api"])
async def work_async(x: int) -> int:
    mark("+")
    await asyncio.sleep(0.1)
    mark("-")
    return x

def peak():
    running = most = 0
    for line in sorted(open("log").read().splitlines()):
        running += 1 if line.endswith("+") else -1
        most = max(most, running)
    assert running == 0
    return most

if __name__ == "__main__":
    peaks = {}
    for kind, function in [("threaded", work), ("parallel", work), ("async", work_async)]:
        open("log", "w").close()
        with HyperNodesEngine(map_executor=kind) as engine:
            pipeline = Pipeline([function], name="limited", engine=engine)
            if kind == "threaded":
                pipeline.map({"x": [1, 2, 3, 4]}, "x")  # without Prefect it is ignored
                peaks["without"] = peak()
                open("log", "w").close()
            pipeline_flow(pipeline, map_over="x", name="limited")(x=[1, 2, 3])
        peaks[kind] = peak()
    say(peaks=peaks)
""",
        prefect.url,
    )
    assert said(done)["peaks"] == {"without": 2, "threaded": 1, "parallel": 1, "async": 1}


AS_A_TASK = """
import multiprocessing
from prefect import get_run_logger, task
from prefect.runtime import task_run

def child(_: int) -> str:
    return task_run.id

@node(output_name="ids")
def fork(x: int) -> list:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return [task_run.id, *pool.map(child, range(2), chunksize=1)]

@node(output_name="late")
def wait(x: int) -> int:
    raise TimeoutError("the sensor does not answer")

@node(output_name="told")
def tell(x: int) -> int:
    get_run_logger().info("a secret")
    return x

if __name__ == "__main__":
    say(ids=pipeline_flow(Pipeline([fork], name="forks"), name="forks")(x=1)["ids"])
    try:
        pipeline_flow(Pipeline([wait], name="late"), name="late")(x=1)
    except TimeoutError:
        pass
    for kind in ("sequential", "parallel"):
        with HyperNodesEngine(kind) as engine:
            pipeline_flow(Pipeline([tell], name=kind, engine=engine), name=kind)(x=1)
"""


def test_forks_a_users_timeout_and_logs_that_are_switched_off_are_as_of_a_task(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    off = {"PREFECT_LOGGING_TO_API_ENABLED": "false"}
    done = run_script(tmp_path, AS_A_TASK, prefect.url, **off)
    ids = said(done)["ids"]
    by_flow = {
        prefect.request("GET", f"flows/{run['flow_id']}").json()["name"]: run
        for run in new_runs(prefect, before)
    }
    (forked,) = [t for t in prefect.task_runs(by_flow["forks"]) if "node" in t["tags"]]
    assert set(ids) == {forked["id"]}
    (late,) = [t for t in prefect.task_runs(by_flow["late"]) if "node" in t["tags"]]
    assert late["state_name"] == "TimedOut"
    for kind in ("sequential", "parallel"):
        assert prefect.logs(by_flow[kind]) == []
