"""DaftEngine: the shape of its plans. What is copied, what runs, and what state a frame keeps."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from hypernodes import (
    DaftEngine,
    FailedItem,
    GraphError,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    PipelineCallback,
    SerializationError,
    node,
)

daft = pytest.importorskip("daft")

ENGINE = DaftEngine()
LAZY = DaftEngine(collect=False)


@node(output_name="parts")
def parts(x: int) -> list[int]:
    return list(range(x, x + x % 3))


@node(output_name="y")
def ask(part: int) -> int:
    if part == 7:
        raise TimeoutError("no answer")
    return part * 10


inner = Pipeline([ask], name="inner").as_node(
    map_over={"parts": "part"}, output_mapping={"y": "ys"}
)
nested = Pipeline([parts, inner], name="nested")


def expected(x: int) -> list[int]:
    return [part * 10 for part in range(x, x + x % 3)]


# -- Nested maps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[0, 200, 1, 0, 37], [5000], [0], [1] * 300])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_lists_of_any_length_give_what_the_native_engine_gives(
    sizes: list[int], told: bool, cached: bool
) -> None:
    @node(output_name="z")
    def shift(n: int, by: int, factor: int) -> int:
        return n * factor + by

    @node(output_name="total")
    def total(ns: list[int], zs: list[int]) -> int:
        return sum(zs) - len(ns)

    deep = Pipeline([shift], name="deep").as_node(map_over={"ns": "n"}, output_mapping={"z": "zs"})
    pipeline = Pipeline([deep, total], name="p").bind(factor=3)
    given = {"lists": [list(range(size)) for size in sizes], "by": list(range(len(sizes)))}
    over = {"lists": "ns", "by": "by"}
    right = pipeline.map(given, over)
    if told:
        pipeline = pipeline.with_callbacks([PipelineCallback()])
    if cached:
        pipeline = pipeline.with_cache(MemoryCache())
    assert pipeline.with_engine(ENGINE).map(given, over) == right


MEMORY = """
import resource, sys
from hypernodes import DaftEngine, Pipeline, PipelineCallback, node

@node(output_name="chunks")
def chunk(doc: str) -> list[str]:
    return [doc[at : at + 1000] for at in range(0, len(doc), 1000)]

@node(output_name="size")
def embed(chunk: str) -> int:
    return len(chunk)

@node(output_name="index")
def index(chunks: list[str], sizes: list[int]) -> int:
    return sum(len(each) == size for each, size in zip(chunks, sizes, strict=True))

inner = Pipeline([embed]).as_node(map_over={"chunks": "chunk"}, output_mapping={"size": "sizes"})
rag = Pipeline([chunk, inner, index], engine=DaftEngine(), callbacks=eval(sys.argv[1]))
def run(count):
    docs = {"doc": ["x" * 1000 * count] * 2}
    assert rag.map(docs, "doc", output_name="index") == [{"index": count}] * 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
base = run(2)
print(run(1000) - base)
"""


@pytest.mark.slow
@pytest.mark.parametrize("callbacks", ["None", "[PipelineCallback()]"])
def test_a_chunk_carries_no_copy_of_its_document(callbacks: str) -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY, callbacks], capture_output=True, text=True)
    assert int(done.stdout) < 300, done.stderr


@pytest.mark.slow
def test_nodes_of_a_nested_map_run_in_processes_with_those_beside_them() -> None:
    there = Node(lambda y: y + 1, "z", name="there", daft={"use_process": True})
    apart = Pipeline([ask, there], name="apart").as_node(
        map_over={"parts": "part"}, output_mapping={"z": "zs"}
    )
    pipeline = Pipeline([parts, apart], name="p")
    rows = pipeline.with_engine(ENGINE).map({"x": [1, 2, 3]}, "x")
    assert rows == pipeline.map({"x": [1, 2, 3]}, "x")


# -- Chains --------------------------------------------------------------------------------------


def chain(length: int, **options: Any) -> Pipeline:
    nodes = []
    for at in range(length):
        scope: dict[str, Any] = {}
        exec(f"def f{at}(x{at}: int) -> int: return x{at} + 1", scope)
        nodes.append(Node(scope[f"f{at}"], f"x{at + 1}", **options))
    return Pipeline(nodes, name="chain")


@pytest.mark.parametrize("told", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_chain_of_500_nodes_runs(told: bool) -> None:
    pipeline = chain(500).with_engine(ENGINE).with_callbacks([PipelineCallback()] if told else None)
    assert pipeline.map({"x0": [1, 2]}, "x0", output_name="x500") == [{"x500": 501}, {"x500": 502}]


def test_a_chain_of_nodes_that_daft_calls_apart_is_cut_into_few_functions() -> None:
    pipeline = chain(150, daft={"concurrency": 2}).with_engine(ENGINE)
    assert pipeline.run({"x0": 1}, "x150") == {"x150": 151}


def alternating(length: int, called: Counter[int] | None = None) -> Pipeline:
    """A chain in which no two neighbours can be one function of Daft's."""

    def add(at: int, x: int) -> int:
        if called is not None:
            called[at] += 1
        if x == 1000:
            raise ValueError("too large")
        return x + 1

    def link(at: int) -> Node[..., Any]:
        scope: dict[str, Any] = {"add": add}
        exec(f"def f{at}(x{at}: int) -> int: return add({at}, x{at})", scope)
        options: dict[str, Any] = {"daft": {"gpus": 0.1}} if at % 2 else {}
        return Node(scope[f"f{at}"], f"x{at + 1}", **options)

    return Pipeline([link(at) for at in range(length)], name="chain")


def test_a_chain_that_cannot_be_one_query_is_computed_part_by_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    called: Counter[int] = Counter()
    pipeline = alternating(100, called).with_engine(DaftEngine(show_plan=True))
    frame = daft.from_pydict({"x0": [0, 1000 - 90, 1000 - 5]})
    made = pipeline.map(frame, "x0", output_name=["x1", "x100"], error_handling="continue")
    assert made[0] == {"x1": 1, "x100": 100}
    assert [failed.node for failed in made[1:]] == ["f90", "f5"]
    assert called == Counter({at: 3 - (at > 5) - (at > 90) for at in range(100)})
    assert capsys.readouterr().out.count("Source") == 3
    called.clear()
    with pytest.raises(ValueError, match="too large") as caught:
        pipeline.map(frame, "x0")
    assert "in item 1 of a map of pipeline 'chain'" in caught.value.__notes__
    assert called[6] == 2
    assert called[95] == 1
    assert pipeline.map(frame.where(frame["x0"] < 0), "x0") == []
    watched = pipeline.with_callbacks([PipelineCallback()])
    assert watched.map({"x0": [0, 1]}, "x0", output_name="x100") == [{"x100": 100}, {"x100": 101}]


def test_a_lazy_chain_that_cannot_be_one_query_is_refused_before_anything_runs() -> None:
    called: Counter[int] = Counter()
    frame = daft.from_pydict({"x0": [1]})
    lazy = alternating(60).with_engine(LAZY).map(frame, "x0")
    assert lazy.to_pydict()["x60"] == [61]
    with pytest.raises(GraphError, match="61 functions one after the other"):
        alternating(61, called).with_engine(LAZY).map(frame, "x0")
    assert not called


def test_what_cannot_be_sent_at_the_end_of_a_long_chain_is_refused_before_anything_runs() -> None:
    called: Counter[int] = Counter()
    lock = threading.Lock()
    there = Node(lambda x100: bool(lock), "last", name="there", daft={"use_process": True})
    pipeline = Pipeline([*alternating(100, called).nodes, there], engine=ENGINE)
    with pytest.raises(SerializationError, match="'there'"):
        pipeline.map({"x0": [1]}, "x0", output_name="last")
    assert not called


def test_a_lazy_chain_with_all_of_its_outputs_runs() -> None:
    lazy = chain(150).with_engine(LAZY).map({"x0": [1]}, "x0")
    assert lazy.select("x150").to_pydict() == {"x150": [151]}


# -- Lazy frames ---------------------------------------------------------------------------------


def test_a_lazy_nested_map_keeps_order_and_runs_what_is_asked_for() -> None:
    ran: Counter[str] = Counter()

    @node(output_name="parts")
    def split(x: int) -> list[int]:
        ran["split"] += 1
        return [x] * (x % 3)

    @node(output_name="w")
    def work(part: int) -> int:
        ran["work"] += 1
        return part + 1

    @node(output_name="other")
    def other(x: int) -> int:
        ran["other"] += 1
        return x

    each = Pipeline([work], name="each").as_node(
        map_over={"parts": "part"}, output_mapping={"w": "ws"}
    )
    frame = daft.from_pydict({"x": list(range(3000))})
    pipeline = Pipeline([split, each, other], name="p", engine=LAZY)
    made = pipeline.map(frame, "x").to_pydict()  # it keeps what it was asked for
    assert made["x"] == list(range(3000))
    assert made["ws"] == [[x + 1] * (x % 3) for x in made["x"]]

    def costs(work: Callable[[], object]) -> Counter[str]:
        ran.clear()
        with contextlib.redirect_stdout(io.StringIO()):
            work()
        return Counter(ran)

    lazy = pipeline.map(frame, "x")
    assert costs(lambda: lazy.count_rows()) == {}
    assert max(costs(lambda: lazy.limit(5).to_pydict()).values()) <= 64
    assert max(costs(lambda: lazy.show(3)).values()) <= 64
    assert costs(lambda: lazy.where(lazy["x"] < 4).to_pydict()) == {
        "split": 4, "work": 3, "other": 4
    }  # fmt: skip
    assert costs(lambda: lazy.select("other").to_pydict()) == {"other": 3000}


@pytest.mark.parametrize("error", [TimeoutError, ConnectionError, SystemExit, StopIteration])
def test_a_lazy_frame_that_failed_can_be_asked_again(error: type[BaseException]) -> None:
    down = [True]

    @node(output_name="y")
    def fetch(part: int) -> int:
        if down[0] and part == 4:
            raise error("down")
        return part * 10

    each = Pipeline([fetch], name="each").as_node(
        map_over={"parts": "part"}, output_mapping={"y": "ys"}
    )
    frame = daft.from_pydict({"x": list(range(200))})
    lazy = Pipeline([parts, each], name="p", engine=LAZY).map(frame, "x", output_name="ys")
    raised = error if issubclass(error, OSError) else RuntimeError
    for ask_it in (lambda: lazy.to_pydict(), lambda: lazy.where(lazy["x"] < 5).to_pydict()):
        with pytest.raises(raised, match="down") as caught:
            ask_it()
        notes = caught.value.__notes__
        assert notes[0] == "in node 'fetch' of pipeline 'each'"
        assert notes[-1] == "in item 4 of a map of pipeline 'p'"
    down[0] = False
    for _ in range(2):
        assert lazy.to_pydict()["ys"] == [expected(x) for x in range(200)]


def test_a_frames_own_steps_run_once_with_callbacks_as_without() -> None:
    ran: Counter[str] = Counter()

    @daft.func(return_dtype=daft.DataType.bool())
    def keep(x: int) -> bool:
        ran["keep"] += 1
        return x % 2 == 0

    class Totals(PipelineCallback):
        def on_map_start(self, total_items: int | None, ctx: Any) -> None:
            ran[f"of {total_items}"] += 1

    @node(output_name="z")
    def same(x: int) -> int:
        ran["same"] += 1
        return x

    pipeline = Pipeline([same], name="p", engine=ENGINE, callbacks=[Totals()])
    frame = daft.from_pydict({"x": list(range(200))})
    assert len(pipeline.map(frame.where(keep(daft.col("x"))), "x")) == 100
    assert ran == {"keep": 200, "same": 100, "of None": 1}
    pipeline.map(frame, "x")
    assert ran["of 200"] == 1


# -- A query in a node ---------------------------------------------------------------------------


def test_a_query_in_a_node_is_refused_and_runs_under_another_engine() -> None:
    def total(n: int) -> int:
        frame = daft.from_pydict({"a": list(range(n))})
        return frame.agg(daft.col("a").sum()).to_pydict()["a"][0]

    pipeline = Pipeline([Node(total, "total")], name="p")
    with pytest.raises(RuntimeError, match="runs a Daft query") as caught:
        pipeline.with_engine(ENGINE).map({"n": [3, 4, 5, 6]}, "n")
    assert "in node 'total' of pipeline 'p'" in caught.value.__notes__
    rows = pipeline.with_engine(HyperNodesEngine()).map({"n": [3, 4]}, "n")
    assert rows == [{"total": 3}, {"total": 6}]


@pytest.mark.parametrize("inner_goes_on", ["raise", "continue"])
@pytest.mark.parametrize(
    "more", [{}, {"callbacks": [PipelineCallback()]}, {"cache": MemoryCache()}]
)
def test_what_failed_before_a_nested_map_fails_the_row_and_not_its_items(
    inner_goes_on: Any, more: Any
) -> None:
    def fail(x: int) -> int:
        if x == 1:
            raise ValueError("of 1")
        return x

    inner = Pipeline([Node(lambda part, k: part + k, "w")], name="inner")
    middle = inner.as_node(
        map_over={"parts": "part"}, output_mapping={"w": "ws"}, error_handling=inner_goes_on
    )
    deeper = Pipeline([middle], name="deeper").as_node(
        map_over={"lists": "parts"}, output_mapping={"ws": "wss"}, error_handling=inner_goes_on
    )
    pipeline = Pipeline([Node(fail, "k"), middle, deeper], name="p", **more)
    inputs = {"x": [0, 1, 2], "parts": [[10, 20], [10], []], "lists": [[[1], []], [[1]], []]}
    names = list(inputs)

    def seen(engine: Any, wanted: Any, handling: Any) -> Any:
        try:
            rows = pipeline.with_engine(engine).map(inputs, names, "zip", wanted, handling)
        except ValueError as error:
            return str(error), error.__notes__
        return [repr(row.error) if isinstance(row, FailedItem) else row for row in rows]

    for wanted in (None, "ws", "wss"):
        for handling in ("raise", "continue"):
            expected = seen(HyperNodesEngine(), wanted, handling)
            assert seen(DaftEngine(), wanted, handling) == expected
    lazy = pipeline.with_engine(DaftEngine(collect=False))
    with pytest.raises(ValueError, match="of 1"):
        lazy.map(daft.from_pydict(inputs), names, output_name="ws").to_pydict()


def test_what_a_node_does_to_a_list_of_a_nested_map_is_not_in_the_result() -> None:
    def spoil(all: list[Any]) -> int:
        all.append("more")
        return len(all)

    nested = Pipeline([Node(lambda x: [x], "made")]).as_node(
        map_over={"xs": "x"}, output_mapping={"made": "all"}
    )
    pipeline = Pipeline([nested, Node(spoil, "size")], engine=ENGINE)
    for each in (pipeline, pipeline.with_callbacks([PipelineCallback()])):
        made = each.map({"xs": [[1, 2], [], [3]]}, "xs")
        assert made == [
            {"all": [[1], [2]], "size": 3}, {"all": [], "size": 1}, {"all": [[3]], "size": 2},
        ]  # fmt: skip
