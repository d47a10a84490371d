"""Looking ahead: a node whose entry is gone runs only where somebody needs what it makes."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import Call, Graph, Nested, by_hand, examples, graphs, inputs_of, pipeline_of
from recording import Recorder

from hypernodes import CacheWarning, DiskCache, HyperNodesEngine, MemoryCache, Node, Pipeline, node

ENGINES = {
    "sequential": HyperNodesEngine(),
    "threaded": HyperNodesEngine("threaded", "threaded"),
    "async": HyperNodesEngine("async", "async"),
    "threaded nodes": HyperNodesEngine("threaded", "sequential"),
}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> HyperNodesEngine:
    return ENGINES[request.param]


class Ran:
    """Nodes that write down that they ran; each adds up its inputs, and one."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def node(self, source: str, **options: Any) -> Node[..., Any]:
        """The node of a signature like `b(a, x)`; its output has its name."""
        name, _, parameters = source.rstrip(")").partition("(")
        scope: dict[str, Any] = {"ran": self.names}
        wait = " await sleep(0)\n" if options.pop("is_async", False) else ""
        scope["sleep"] = asyncio.sleep
        body = f" note({name!r})\n{wait} return add({parameters or '0'})"
        exec(f"{'async ' * bool(wait)}def {name}({parameters}):\n{body}", scope)
        scope["note"], scope["add"] = _Note(self.names), add
        return node(output_name=name, **options)(scope[name])

    def of(self, *sources: str, **options: Any) -> Pipeline:
        return Pipeline([self.node(source) for source in sources], **options)

    def in_run(self, pipeline: Pipeline, output: Any, **inputs: Any) -> tuple[Any, list[str]]:
        """What a run gives, and which nodes ran."""
        self.names.clear()
        result = pipeline.run(inputs, output)
        return (result[output] if isinstance(output, str) else result), sorted(self.names)


class _Note:
    def __init__(self, names: list[str]) -> None:
        self._names = names

    def __call__(self, name: str) -> None:
        self._names.append(name)

    def __cache_key__(self) -> str:
        return "note"


def add(*values: Any) -> int:
    return 1 + sum(sum(each) if isinstance(each, list) else each for each in values)


@pytest.fixture
def ran() -> Ran:
    return Ran()


# -- One pipeline --------------------------------------------------------------------------------


def test_an_evicted_intermediate_is_not_made_for_an_output_that_is_there(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    pipeline = ran.of("a(x)", "b(a)", "c(b)", cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "c", x=1)
    for gone in (["a"], ["b"], ["a", "b"]):
        for name in gone:
            cache.clear(node=name)
        assert ran.in_run(pipeline, "c", x=1) == (expected, [])


def test_what_is_asked_for_and_gone_is_made_of_what_is_there(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    pipeline = ran.of("a(x)", "b(a)", cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, None, x=1)
    cache.clear(node="b")
    assert ran.in_run(pipeline, None, x=1) == (expected, ["b"])
    cache.clear(node="a")
    assert ran.in_run(pipeline, None, x=1) == (expected, ["a"])


def test_an_output_that_cannot_be_kept_is_not_made_again(
    ran: Ran, engine: HyperNodesEngine, tmp_path: Any
) -> None:
    made = _Note([])

    @node(output_name="connection")
    def connect(x: int) -> Any:
        made("connect")
        return threading.Lock()

    last = node(output_name="y")(lambda connection: 1)
    pipeline = Pipeline([connect, last], cache=DiskCache(tmp_path), engine=engine)
    with pytest.warns(CacheWarning, match="connection"):
        assert pipeline.run({"x": 1}, "y") == {"y": 1}
    assert pipeline.run({"x": 1}, "y") == {"y": 1}
    assert len(made._names) == 1


def test_a_node_runs_for_the_one_reader_that_is_gone(ran: Ran, engine: HyperNodesEngine) -> None:
    cache = MemoryCache()
    pipeline = ran.of("a(x)", "b(a)", "c(a)", "d(b, c)", cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "d", x=1)
    for gone, runs in (
        ("abc", []), ("ad", ["d"]), ("abd", ["a", "b", "d"]), ("bd", ["b", "d"]),
        ("abcd", ["a", "b", "c", "d"]), ("ab", []), ("bcd", ["b", "c", "d"]),
    ):  # fmt: skip
        pipeline.run({"x": 1})
        for name in gone:
            cache.clear(node=name)
        assert ran.in_run(pipeline, "d", x=1) == (expected, runs), gone


def test_a_reader_without_a_cache_needs_what_it_reads(ran: Ran, engine: HyperNodesEngine) -> None:
    cache = MemoryCache()
    nodes = [ran.node("a(x)"), ran.node("b(a)", cache=False), ran.node("c(b)")]
    pipeline = Pipeline(nodes, cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "c", x=1)
    cache.clear(node="a")
    assert ran.in_run(pipeline, "c", x=1) == (expected, ["a", "b"])


def test_behind_a_node_without_a_cache_its_value_tells_what_is_needed(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    nodes = [ran.node("u(x)", cache=False), ran.node("a(u)"), ran.node("b(a)")]
    pipeline = Pipeline(nodes, cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "b", x=1)
    cache.clear(node="a")
    assert ran.in_run(pipeline, "b", x=1) == (expected, ["u"])


def test_what_is_made_again_each_time_needs_what_it_reads(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    nodes = [ran.node("a(x)"), ran.node("b(a)", cache="refresh"), ran.node("c(b)")]
    pipeline = Pipeline(nodes, cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "c", x=1)
    cache.clear(node="a")
    assert ran.in_run(pipeline, "c", x=1) == (expected, ["a", "b", "c"])


def test_a_result_that_lives_for_a_time_spares_what_it_was_made_of_while_it_does(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    nodes = [ran.node("a(x)"), ran.node("b(a)", ttl=1000), ran.node("c(b)")]
    pipeline = Pipeline(nodes, cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "c", x=1)
    cache.clear(node="a")
    assert ran.in_run(pipeline, "c", x=1) == (expected, [])
    cache.clear(node="b")  # one that is made now is another one than that which c was made from
    assert ran.in_run(pipeline, "c", x=1) == (expected, ["a", "b", "c"])


def test_callbacks_are_told_nothing_of_what_does_not_run(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache, recorder = MemoryCache(), Recorder()
    pipeline = ran.of("a(x)", "b(a)", "c(b)", cache=cache, engine=engine)
    pipeline.run({"x": 1}, "c")
    cache.clear(node="b")
    pipeline.with_callbacks([recorder]).run({"x": 1}, "c")
    recorder.check_pairs()
    assert Counter(recorder.names("on_node_cached")) == {"a": 1, "c": 1}
    assert recorder.names("on_node_start") == []


class Leaky(MemoryCache):
    """A cache that has some entries until they are to be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.leaks: set[str] = set()

    def load(self, key: str) -> Any:
        if self._about.get(key, {}).get("node") in self.leaks:
            self.remove(key)
        return super().load(key)


def test_what_was_skipped_is_made_where_it_is_needed_after_all(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache, recorder = Leaky(), Recorder()
    pipeline = ran.of("a(x)", "b(a)", "c(b)", cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "c", x=1)
    cache.clear(node="a")
    cache.clear(node="b")
    cache.leaks = {"c"}
    told = pipeline.with_callbacks([recorder])
    assert ran.in_run(told, "c", x=1) == (expected, ["a", "b", "c"])
    recorder.check_pairs()
    assert recorder.names("on_node_start") == ["a", "b", "c"]


@pytest.mark.slow
def test_a_chain_that_was_skipped_can_be_longer_than_the_stack_is_deep(ran: Ran) -> None:
    cache = Leaky()
    names = [f"n{place}" for place in range(600)]
    sources = [f"{name}({before})" for before, name in zip(["x", *names], names)]  # noqa: B905
    pipeline = ran.of(*sources, cache=cache)
    expected, _ = ran.in_run(pipeline, names[-1], x=1)
    for name in names[:-1]:
        cache.clear(node=name)
    assert ran.in_run(pipeline, names[-1], x=1) == (expected, [])
    cache.leaks = {names[-1]}
    assert ran.in_run(pipeline, names[-1], x=1) == (expected, sorted(names))


def test_of_two_outputs_one_that_is_needed_is_enough(ran: Ran, engine: HyperNodesEngine) -> None:
    cache, made = MemoryCache(), _Note([])

    @node(output_name=("low", "high"))
    def split(x: int) -> tuple[int, int]:
        made("split")
        return x, x + 1

    pipeline = Pipeline(
        [split, ran.node("a(low)"), ran.node("b(high)")], cache=cache, engine=engine
    )
    expected, _ = ran.in_run(pipeline, ["a", "b"], x=1)
    cache.clear(node="split")
    assert ran.in_run(pipeline, ["a", "b"], x=1) == (expected, [])
    assert len(made._names) == 1
    cache.clear(node="b")
    cache.clear(node="split")
    assert ran.in_run(pipeline, ["a", "b"], x=1) == (expected, ["b"])
    assert len(made._names) == 2


def test_each_step_is_looked_up_at_most_once_more_in_a_cold_run(ran: Ran) -> None:
    class Counting(MemoryCache):
        looked_up = 0

        def find(self, key: str) -> Any:
            self.looked_up += 1
            return super().find(key)

    cache = Counting()
    names = [f"n{place}" for place in range(50)]
    sources = [f"{name}({before})" for before, name in zip(["x", *names], names)]  # noqa: B905
    pipeline = ran.of(*sources, cache=cache)
    ran.in_run(pipeline, names[-1], x=1)
    assert cache.looked_up <= 100
    cache.looked_up = 0
    ran.in_run(pipeline, None, x=2)
    assert cache.looked_up == 50 + 1  # once for code that is taken for other code


# -- Nested pipelines ----------------------------------------------------------------------------


def nested(ran: Ran, cache: MemoryCache, engine: HyperNodesEngine, **options: Any) -> Pipeline:
    """x -> before -> [first -> second] -> after, the middle ones in a pipeline of their own."""
    inner = ran.of("first(before)", "second(first)", name="inner").as_node(**options)
    return Pipeline(
        [ran.node("before(x)"), inner, ran.node("after(second)")], cache=cache, engine=engine
    )


@pytest.mark.parametrize(
    ("gone", "runs"),
    [
        (["first"], []),
        (["second"], []),
        (["before"], []),
        (["before", "first", "second"], []),
        (["second", "after"], ["after", "second"]),
        (["before", "first", "after"], ["after"]),
        (["first", "second", "after"], ["after", "first", "second"]),
    ],
)
def test_it_is_looked_into_nested_pipelines_through_them_and_out_of_them(
    ran: Ran, engine: HyperNodesEngine, gone: list[str], runs: list[str]
) -> None:
    cache = MemoryCache()
    pipeline = nested(ran, cache, engine)
    expected, _ = ran.in_run(pipeline, "after", x=1)
    for name in gone:
        cache.clear(node=name)
    assert ran.in_run(pipeline, "after", x=1) == (expected, runs)


def test_an_output_of_a_nested_pipeline_that_is_asked_for_is_made(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    pipeline = nested(ran, cache, engine)
    expected, _ = ran.in_run(pipeline, ["second", "after"], x=1)
    cache.clear(node="second")
    cache.clear(node="before")
    assert ran.in_run(pipeline, ["second", "after"], x=1) == (expected, ["second"])


def test_in_a_nested_pipeline_without_a_cache_all_that_it_reads_is_needed(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    inner = ran.of("first(before)", name="inner", cache=False).as_node()
    pipeline = Pipeline(
        [ran.node("before(x)"), inner, ran.node("after(first)")], cache=cache, engine=engine
    )
    expected, _ = ran.in_run(pipeline, "after", x=1)
    cache.clear(node="before")
    assert ran.in_run(pipeline, "after", x=1) == (expected, ["before", "first"])


def test_two_pipelines_deep_it_is_still_told_that_nobody_needs_it(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    deep = ran.of("a(x)", "b(a)", name="deep").as_node()
    middle = Pipeline([deep, ran.node("c(b)")], name="middle").as_node()
    pipeline = Pipeline([middle, ran.node("d(c)")], cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "d", x=1)
    for name in "abc":
        cache.clear(node=name)
    assert ran.in_run(pipeline, "d", x=1) == (expected, [])


def mapped(ran: Ran, cache: Any, engine: Any) -> Pipeline:
    inner = ran.of("first(x, shared)", "second(first)", name="inner").as_node(map_over={"xs": "x"})
    return Pipeline(
        [ran.node("shared(y)"), inner, ran.node("total(second)")], cache=cache, engine=engine
    )


def remove_one(cache: MemoryCache, name: str, which: int = 1) -> None:
    """Remove one of a node's entries."""
    cache.remove(sorted(each.key for each in cache.entries() if each.node == name)[which])


def test_nothing_runs_for_an_item_of_a_nested_map_while_what_is_made_of_all_is_there(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    pipeline = mapped(ran, cache, engine)
    expected, _ = ran.in_run(pipeline, "total", xs=[1, 2, 3], y=1)
    remove_one(cache, "first")
    assert ran.in_run(pipeline, "total", xs=[1, 2, 3], y=1) == (expected, [])
    remove_one(cache, "second")
    cache.clear(node="shared")
    assert ran.in_run(pipeline, "total", xs=[1, 2, 3], y=1) == (expected, [])
    cache.clear(node="first")
    cache.clear(node="second")
    assert ran.in_run(pipeline, "total", xs=[1, 2, 3], y=1) == (expected, [])


def test_only_the_item_that_is_gone_runs_where_it_is_needed(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    pipeline = mapped(ran, cache, engine)
    expected, _ = ran.in_run(pipeline, "total", xs=[1, 2, 3], y=1)
    cache.clear(node="total")
    remove_one(cache, "second")
    cache.clear(node="shared")
    assert ran.in_run(pipeline, "total", xs=[1, 2, 3], y=1) == (expected, ["second", "total"])
    cache.clear(node="total")
    remove_one(cache, "first")
    remove_one(cache, "second")
    told, runs = ran.in_run(pipeline, "total", xs=[1, 2, 3], y=1)
    assert told == expected
    assert Counter(runs)["second"] == 1


def test_the_list_of_a_nested_map_is_made_where_it_is_gone(
    ran: Ran, engine: HyperNodesEngine
) -> None:
    cache = MemoryCache()
    inner = ran.of("first(x)", name="inner").as_node(map_over={"xs": "x"})
    xs = node(output_name="xs")(lambda n: list(range(n)))
    pipeline = Pipeline([xs, inner, ran.node("total(first)")], cache=cache, engine=engine)
    expected, _ = ran.in_run(pipeline, "total", n=3)
    cache.clear(node=xs.name)
    cache.clear(node="first")
    assert ran.in_run(pipeline, "total", n=3) == (expected, [])


def test_each_item_of_a_map_is_a_run_of_its_own(ran: Ran, engine: HyperNodesEngine) -> None:
    cache = MemoryCache()
    pipeline = ran.of("a(x)", "b(a)", "c(b)", cache=cache, engine=engine)
    expected = pipeline.map({"x": [1, 2, 3]}, "x", output_name="c")
    ran.names.clear()
    remove_one(cache, "a")
    remove_one(cache, "b", 0)
    assert pipeline.map({"x": [1, 2, 3]}, "x", output_name="c") == expected
    assert ran.names == []
    cache.clear(node="c")
    remove_one(cache, "a")
    assert pipeline.map({"x": [1, 2, 3]}, "x", output_name="c") == expected
    assert Counter(ran.names)["c"] == 3
    assert "a" not in ran.names or "b" in ran.names


def plus(x: int) -> int:
    return x + 1


def twice(first: int, log: str) -> int:
    with open(log, "a") as file:
        file.write("twice\n")
    return 2 * first


def test_what_runs_in_other_processes_is_told_what_nobody_needs(tmp_path: Any) -> None:
    cache = DiskCache(tmp_path / "cache")
    log = tmp_path / "log"
    inner = Pipeline([Node(plus, "first"), Node(twice, "second")], name="inner")
    total = node(output_name="total")(lambda second: sum(second))
    with HyperNodesEngine(map_executor="parallel") as engine:
        pipeline = Pipeline([inner.as_node(map_over="x"), total], cache=cache, engine=engine)
        inputs = {"x": [1, 2, 3], "log": str(log)}
        expected = pipeline.run(inputs, "total")
        assert log.read_text().count("twice") == 3
        assert cache.clear(node="twice") + cache.clear(node="plus") == 6
        assert pipeline.run(inputs, "total") == expected
        assert log.read_text().count("twice") == 3
        cache.clear(node=total.name)
        assert pipeline.run(inputs, "total") == expected
        assert log.read_text().count("twice") == 6


# -- The law -------------------------------------------------------------------------------------


class Oracle:
    """Which node runs may take place: a plain recursion over a graph and what is in the cache.

    Args:
        there: the paths of the node runs whose entries are in the cache.
    """

    def __init__(self, there: set[str], items: Mapping[str, int]) -> None:
        self._there = there
        self._items = items
        self.may_run: set[str] = set()

    def look(
        self, graph: Graph, at: str, wanted: set[str], told: set[str], lists: set[str], cached: bool
    ) -> tuple[set[str], set[str], set[str]]:
        """What is needed, whose identity can be told, and whose value is there.

        Args:
            graph: the graph.
            at: the path of its scope.
            wanted: outputs that somebody needs.
            told: inputs whose identity can be told.
            lists: inputs whose value is there.
            cached: whether it has a cache.
        """
        told, lists = set(told), set(lists)
        for step in graph.steps:
            if isinstance(step, Call):
                if cached and told.issuperset(step.inputs):
                    told.update(step.outputs)
                    if f"{at}/{step.outputs[0]}" in self._there:
                        lists.update(step.outputs)
            else:
                _, outputs, made = self._inside(step, at, set(), told, lists, cached, dry=True)
                told.update(outputs)
                lists.update(made)
        read = set(wanted)
        for step in reversed(graph.steps):
            if isinstance(step, Call):
                path = f"{at}/{step.outputs[0]}"
                can_tell = cached and told.issuperset(step.inputs)
                if can_tell and (path in self._there or read.isdisjoint(step.outputs)):
                    continue
                self.may_run.add(path)
                read.update(step.inputs)
            else:
                needed, *_ = self._inside(step, at, read, told, lists, cached)
                read.update(needed)
        return read, told, lists

    def _inside(
        self,
        step: Nested,
        at: str,
        wanted: set[str],
        told: set[str],
        lists: set[str],
        cached: bool,
        dry: bool = False,
    ) -> tuple[set[str], set[str], set[str]]:
        before = set(self.may_run)
        outer = {inner: name for name, inner in step.inputs.items()}
        names = {inner: outer.get(inner, inner) for inner in inputs_of(step.graph)}
        path = f"{at}/p_{next(iter(step.outputs.values()))}"
        inside = [path]
        if step.mapped:
            name = path.rpartition("/")[2]
            inside = [f"{path}/{name}[{place}]" for place in range(self._items.get(path, 0))]
        own = {inner for inner, name in step.outputs.items() if name in wanted}
        known = {inner for inner, name in names.items() if name in told or name in step.mapped}
        here = {inner for inner, name in names.items() if name in lists}
        can_tell = lists.issuperset(step.mapped)
        read, outputs = set(step.mapped), set(step.outputs.values())
        values = set(outputs)
        # A map loads all that its items share, be there none; how many there will be is not known
        # before its lists are there.
        if step.uncached or not cached or (own and not can_tell):
            read.update(names.values())
        for each in inside:
            needed, made, there = self.look(
                step.graph, each, own, known, here, cached and not step.uncached
            )
            read.update(name for inner, name in names.items() if inner in needed)
            outputs &= {name for inner, name in step.outputs.items() if inner in made}
            values &= {name for inner, name in step.outputs.items() if inner in there}
        if dry:
            self.may_run = before
        return (read, outputs, values) if can_tell else (read, set(), set())


def paths(recorder: Recorder, *hooks: str) -> Iterator[tuple[str, Any]]:
    for hook, path, ctx in recorder.events:
        if hook in hooks:
            yield path, ctx


@examples(300)
@given(graphs(), st.sampled_from(sorted(ENGINES)), st.data())
def test_a_run_gives_the_same_and_runs_nothing_that_nobody_needs(
    graph: Graph, engine: str, data: st.DataObject
) -> None:
    values = {name: place + 3 for place, name in enumerate(inputs_of(graph))}
    expected = by_hand(graph, values)
    cache = MemoryCache()
    pipeline = pipeline_of(graph).with_cache(cache)
    pipeline.run(values)
    warm = Recorder()
    pipeline.with_callbacks([warm]).run(values)
    keys: dict[str, str] = {}
    items: Counter[str] = Counter()
    for path, _ in paths(warm, "on_map_item_start", "on_map_item_cached"):
        items[path.rpartition("/")[0]] += 1
    told: list[tuple[str, str]] = []

    class Keys(Recorder):
        def on_node_cached(self, node_id: str, signature: str, ctx: Any) -> None:
            told.append((ctx.hierarchy_path, signature))

    pipeline.with_callbacks([Keys()]).run(values)
    keys = dict(told)
    everything = sorted(set(keys.values()))
    gone = data.draw(st.sets(st.sampled_from(everything))) if keys else set()
    if data.draw(st.booleans()):  # as where the oldest entries go: few are left
        gone = set(everything) - gone
    last = graph.outputs[-1:]
    outputs = set(data.draw(st.just(last) | st.sets(st.sampled_from(graph.outputs), min_size=1)))
    for key in gone:
        cache.remove(key)
    recorder = Recorder()
    second = pipeline.with_callbacks([recorder]).with_engine(ENGINES[engine])
    wanted = sorted(outputs)
    assert second.run(values, wanted) == {name: expected[name] for name in wanted}
    oracle = Oracle({path for path, key in keys.items() if key not in gone}, items)
    oracle.look(graph, "law", set(wanted), set(values), set(values), True)
    ran = {path for path, _ in paths(recorder, "on_node_start")}
    assert ran <= oracle.may_run
