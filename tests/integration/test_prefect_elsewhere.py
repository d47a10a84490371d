"""Nodes in worker processes are shown while they run there."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect_hypernodes import Reporting
from prefect_hypernodes.elsewhere import MOMENT, WATCH, Elsewhere, RunningNode
from prefect_hypernodes.events import FlowRunRef, LogLine, State
from prefect_hypernodes.task_runs import ScopeEvent, Seen, TaskRunTracker
from prefect_server import Server
from test_prefect_scopes import as_scopes, new_runs, node_name, run_script, said
from waiting import wait_until

from hypernodes import Pipeline, PipelineCallback, node


class Scopes(PipelineCallback):
    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def on_map_start(self, total: int | None, ctx: Any) -> None:
        self.found["map"] = ctx

    def on_node_start(self, node_id: str, inputs: dict[str, Any], ctx: Any) -> None:
        self.found["node"] = ctx


def states(events: Any) -> list[str]:
    return [
        event.body["resource"]["prefect.resource.name"] + " " + event.body["event"].split(".")[-1]
        for event in events
        if not isinstance(event, LogLine)
    ]


def test_what_a_worker_writes_down_is_shown_and_not_shown_again_when_it_has_come_back() -> None:
    @node(output_name="y")
    def step(x: int) -> int:
        return x

    scopes, elsewhere = Scopes(), Elsewhere()
    Pipeline([step], name="p", callbacks=[scopes]).map({"x": [1]}, map_over="x")
    around, here = scopes.found["map"], scopes.found["node"]
    there, back = (pickle.loads(pickle.dumps(here)) for _ in range(2))
    there.ended_at = back.ended_at = back.parent.ended_at = around.ended_at = None
    tracker = TaskRunTracker(FlowRunRef(uuid4()), Reporting())
    now = time.time()
    list(tracker.apply(ScopeEvent("start", around, now, total=1)))
    running = RunningNode(elsewhere.folder, here.id, there, "step[north]")
    short = RunningNode(elsewhere.folder, uuid4(), None, "short")
    WATCH.begin(short)
    WATCH.end(short)
    WATCH.begin(running)
    (news,) = wait_until(lambda: list(elsewhere.news()), 30)
    running.retries.append((now, 60.0, State("AwaitingRetry", "SCHEDULED", "attempt 1")))
    (retried,) = wait_until(lambda: list(elsewhere.news()), 30)
    WATCH.end(running)
    assert list(tracker.apply_seen(*news)) == []
    shown = states(tracker.running(time.time()))
    assert shown == ["p Running", "p[0] Running", "step[north] Running"]
    assert states(tracker.apply_seen(*retried)) == ["step[north] AwaitingRetry"]
    back.adopt(back.parent)
    back.parent.adopt(around)
    for what, ctx in (("start", back.parent), ("start", back), ("retry", back)):
        assert list(tracker.apply(ScopeEvent(what, ctx, now))) == []
    assert states(tracker.running(now)) == []
    ended = [tracker.apply(ScopeEvent("end", ctx, now + 90)) for ctx in (back, back.parent)]
    assert [states(each)[0].split()[-1] for each in ended] == ["Completed", "Completed"]
    assert tracker.left_running() == [around]
    folder = Path(elsewhere.folder)
    elsewhere.close()
    assert not folder.exists()
    assert list(elsewhere.news()) == []
    running.write()  # nobody reads it any more


def test_an_item_that_was_seen_and_is_lost_with_its_worker_is_one_task_run() -> None:
    @node(output_name="y")
    def step(x: int) -> int:
        return x

    scopes = Scopes()
    Pipeline([step], name="p", callbacks=[scopes]).map({"x": [1]}, map_over="x")
    around, here = scopes.found["map"], scopes.found["node"].parent
    there = pickle.loads(pickle.dumps(scopes.found["node"]))
    there.identify(uuid4())
    there.parent.identify(uuid4())
    around.ended_at = here.ended_at = there.ended_at = there.parent.ended_at = None
    tracker = TaskRunTracker(FlowRunRef(uuid4()), Reporting())
    now = time.time()
    list(tracker.apply(ScopeEvent("start", around, now, total=1)))
    list(tracker.apply_seen(Seen(there.id, now, [], there, "step[north]"), None))
    list(tracker.running(now + 60))
    list(tracker.apply(ScopeEvent("start", here, now)))
    lost = ScopeEvent("error", here, now + 90, State("Crashed", "CRASHED", "lost"))
    crashed = [event for event in tracker.apply(lost) if not isinstance(event, LogLine)]
    assert [event.completes for event in crashed] == [there.id, there.parent.id]
    assert {ctx.name for ctx in tracker.left_running()} == {"p"}


def seen_on_a_worker() -> tuple[TaskRunTracker, Any, Any]:
    """A tracker that has seen the second of an item's three nodes on a worker, with the map and
    that node's scope as the worker has it."""

    @node(output_name="a")
    def before(x: int) -> int:
        return x

    @node(output_name="b")
    def seen(a: int) -> int:
        if scopes.found["node"].name == "seen":
            scopes.found["seen"] = scopes.found["node"]
        return a

    @node(output_name="c")
    def after(b: int) -> int:
        return b

    scopes = Scopes()
    Pipeline([before, seen, after], name="p", callbacks=[scopes]).map({"x": [1]}, map_over="x")
    around, there = scopes.found["map"], pickle.loads(pickle.dumps(scopes.found["seen"]))
    around.ended_at = there.ended_at = there.parent.ended_at = None
    tracker = TaskRunTracker(FlowRunRef(uuid4()), Reporting())
    list(tracker.apply(ScopeEvent("start", around, around.started_at, total=1)))
    list(tracker.apply_seen(Seen(there.id, there.started_at, [], there, "seen[1]"), None))
    list(tracker.running(time.time() + 60))
    return tracker, around, there


@pytest.mark.parametrize(
    "state",
    [
        State("Cancelled", "CANCELLED", "its process was ended"),
        State("Crashed", "CRASHED", "lost"),
        State("Failed", "FAILED", "a lost worker, as another library says it"),
    ],
    ids=lambda state: state.name,
)
@pytest.mark.parametrize("tells", ["map", "nobody"])
def test_what_a_worker_had_run_is_shown_however_its_item_ends_without_it(
    state: State, tells: str
) -> None:
    tracker, around, there = seen_on_a_worker()
    now = time.time() + 90
    if tells == "map":
        ended = [*tracker.apply(ScopeEvent("error", around, now, state))]
    else:
        ended = [*tracker.end_left(now, state)]
    bodies = [event.body for event in ended if not isinstance(event, LogLine)]
    assert tracker.left_running() == []
    assert states(ended) == [
        "before[1] Completed", f"seen[1] {state.name}", "after[1] Skipped", f"p[0] {state.name}",
        f"p {state.name}",
    ]  # fmt: skip
    known = {body["resource"]["prefect.resource.id"].rpartition(".")[2] for body in bodies}
    assert {str(made.id) for made in there.inputs_from.values()} <= known


@pytest.mark.parametrize("reports", ["the item", "the map"])
def test_a_lost_item_begins_with_its_first_node(reports: str) -> None:
    tracker, around, there = seen_on_a_worker()
    before, late = there.inputs_from["a"], pickle.loads(pickle.dumps(there.parent))
    before.started_at = there.started_at - 5
    around.started_at = there.started_at - 10
    late.identify(uuid4())
    late.adopt(around)
    late.started_at = now = time.time() + 90
    lost = State("Crashed", "CRASHED", "lost")
    ended: list[Any] = []
    if reports == "the item":
        ended += tracker.apply(ScopeEvent("start", late, now))
        ended += tracker.apply(ScopeEvent("error", late, now, lost))
    ended += tracker.apply(ScopeEvent("error", around, now, lost))
    began = {
        event.body["resource"]["prefect.resource.name"]: event.body["payload"]["task_run"][
            "start_time"
        ]
        for event in ended
        if not isinstance(event, LogLine)
    }
    assert began["p[0]"] == began["before[1]"] < began["seen[1]"]


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_comes_back_before_an_item_ends_is_told_once(is_lost: bool) -> None:
    tracker, around, there = seen_on_a_worker()
    back = pickle.loads(pickle.dumps(there))
    before, item = back.inputs_from["a"], back.parent
    item.adopt(around)
    for each in (before, back):
        each.adopt(item)
    now = time.time() + 90
    for what, ctx in (("start", item), ("start", before), ("end", before)):
        list(tracker.apply(ScopeEvent(what, ctx, now)))
    exited = State("Crashed", "CRASHED", "SystemExit")
    if not is_lost:
        list(tracker.apply(ScopeEvent("start", back, now)))
        list(tracker.apply(ScopeEvent("error", back, now, exited)))
    ended = states(tracker.apply(ScopeEvent("error", item, now, exited)))
    assert ended == ["seen[1] Crashed"] * is_lost + ["after[1] Skipped", "p[0] Crashed"]


def test_a_short_node_costs_a_few_microseconds() -> None:
    def begin_and_end(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            running = RunningNode("nowhere", key, None, "short")
            WATCH.begin(running)
            WATCH.end(running)
        return (time.perf_counter() - begun) / count

    key = uuid4()
    assert min(begin_and_end(1_000) for _ in range(20)) < 5e-6
    assert MOMENT < 2


@contextmanager
def states_seen(prefect: Server, names: Collection[str]) -> Iterator[dict[str, set[str]]]:
    """The states in which the nodes of new flow runs are shown, during a block."""
    before = {each["id"] for each in prefect.flow_runs()}
    seen: dict[str, set[str]] = {name: set() for name in names}
    ended = threading.Event()

    def look() -> None:
        for run in new_runs(prefect, before):
            for each in prefect.task_runs(run):
                if (name := node_name(each)) in seen:
                    seen[name].add(each["state_name"])

    def watch() -> None:
        while not ended.wait(0.2):
            look()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()


FLAKY = """
@node(output_name="a", retries=1, retry_delay_seconds=4{options})
def a(x: int) -> int:
    time.sleep(5)
    if not os.path.exists("tried"):
        open("tried", "w").close()
        raise OSError("again")
    return x
"""


@pytest.mark.slow
def test_nodes_on_process_workers_are_running_and_await_their_retry(
    tmp_path: Path, prefect: Server
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    with states_seen(prefect, ["a"]) as seen:
        run_script(
            tmp_path,
            FLAKY.format(options="")
            + """
@node(output_name="b")
def b(x: int) -> int:
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    with HyperNodesEngine("parallel") as engine:
        pipeline_flow(Pipeline([a], name="one", engine=engine), name="shown")(x=1)
    with HyperNodesEngine(map_executor="parallel") as engine:
        try:
            pipeline_flow(Pipeline([b], engine=engine), name="killed", map_over="x")(x=[1])
        except WorkerLostError:
            pass
""",
            prefect.url,
        )
    assert {"Running", "AwaitingRetry"} <= seen["a"]
    found = [each for run in new_runs(prefect, before) for each in prefect.task_runs(run)]
    last = {node_name(each): each["state_name"] for each in found}
    assert (last["a"], last["b"]) == ("Completed", "Crashed")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["", ", daft={'use_process': True}"], ids=["threads", "process"]
)
def test_nodes_inside_daft_are_running_and_await_their_retry(
    tmp_path: Path, prefect: Server, options: str
) -> None:
    pytest.importorskip("daft")
    before = {each["id"] for each in prefect.flow_runs()}
    with states_seen(prefect, ["a", "mapped", "mapped[0]"]) as seen:
        done = run_script(
            tmp_path,
            FLAKY.format(options=options)
            + """
if __name__ == "__main__":
    mapped = Pipeline([a], name="mapped").as_node(map_over={"xs": "x"})
    daft = Pipeline([mapped], name="daft", engine=DaftEngine(), callbacks=[scopes])
    pipeline_flow(daft, name="shown")(xs=[1, 2])
    say()
""",
            prefect.url,
        )
    assert {"Running", "AwaitingRetry"} <= seen["a"]
    assert "Running" in seen["mapped"] & seen["mapped[0]"]
    (run,) = new_runs(prefect, before)
    assert as_scopes(prefect.task_runs(run)) == said(done)["scopes"]
