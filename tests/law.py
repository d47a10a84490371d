"""Random pipelines, and the plain loop that says what they have to give.

A `Graph` is a description that knows nothing of HyperNodes: `by_hand` interprets it with Python's
own loops, `pipeline_of` builds the pipeline that has to agree.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from hypernodes import CacheWarning, FailedItem, Node, Pipeline

#: Nothing slow is run: `conftest.py` sets this before any test module is imported.
QUICK = False
#: Other cases at each run, in place of the same ones: to look for faults, not to judge a change.
RANDOM = bool(os.environ.get("HYPERNODES_RANDOM"))


def examples(count: int, quick: int | None = None, shrink: bool = False) -> settings:
    """How many random cases a test tries: in a quick run a few; the same ones unless `RANDOM`.

    Args:
        count: their number when everything is run.
        quick: their number in a quick run; by default a fifteenth, but ten at least.
        shrink: look for a smaller case that fails; graphs are small, and it takes minutes.
    """
    few = quick or max(10, count // 15)
    return settings(
        max_examples=few if QUICK else count,
        derandomize=QUICK or not RANDOM,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[each for each in Phase if shrink or each not in (Phase.shrink, Phase.explain)],
    )


#: How long lists are at most, where nothing else is asked for.
SHORT = 3


@dataclass(frozen=True)
class Call:
    """A function: mixes its arguments to a number, to two, or to a list of numbers.

    Attributes:
        longest: how long its list is at most; 0 for one that makes no list.
        fails: whether it raises for some arguments.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    salt: int
    is_async: bool
    longest: int
    fails: bool = False

    @property
    def is_list(self) -> bool:
        return self.longest > 0

    def result(self, *values: Any) -> Any:
        return mix(self.salt, self.outputs, self.longest, self.fails, *values)


@dataclass(frozen=True)
class Nested:
    """A graph as a node.

    Attributes:
        mapped: the outer inputs that are lists.
        engine: the engine of its own that it has, by number.
        uncached: whether it does without the cache of what it is in.
        goes_on: whether it is a map that goes on after failed items.
    """

    graph: Graph
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    mapped: tuple[str, ...]
    mode: str
    engine: int | None
    uncached: bool
    goes_on: bool = False


@dataclass(frozen=True)
class Lost:
    """What stands in a list for an item that failed."""

    index: int
    inputs: Mapping[str, Any]


def seen(value: Any) -> Any:
    """A result with `Lost` for each `FailedItem`, to be compared with what `by_hand` gives."""
    if isinstance(value, FailedItem):
        assert type(value.error) is ValueError
        return Lost(value.index, seen(value.inputs))
    if isinstance(value, dict):
        return {name: seen(each) for name, each in value.items()}
    return [seen(each) for each in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Graph:
    """Steps in an order in which they can be done, over some inputs."""

    inputs: tuple[str, ...]
    steps: tuple[Call | Nested, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(name for step in self.steps for name in _made_by(step))


def _made_by(step: Call | Nested) -> tuple[str, ...]:
    return step.outputs if isinstance(step, Call) else tuple(step.outputs.values())


def _lists_made_by(step: Call | Nested) -> list[str]:
    if isinstance(step, Call):
        return list(step.outputs) if step.is_list else []
    if step.mapped:
        return list(step.outputs.values())
    inside = {name for each in step.graph.steps for name in _lists_made_by(each)}
    return [outer for inner, outer in step.outputs.items() if inner in inside]


def mix(salt: int, outputs: tuple[str, ...], longest: int, fails: bool, *values: Any) -> Any:
    """What a call makes."""
    mixed = salt
    for value in values:
        mixed = (mixed * 31 + _number(value)) % 1009
    if fails and mixed % 3 == 0:
        raise ValueError(f"{mixed} is divisible by 3")
    if longest:
        return [mixed + place for place in range(mixed % (longest + 1))]
    return mixed if len(outputs) == 1 else tuple(range(mixed, mixed + len(outputs)))


def _number(value: Any) -> int:
    if isinstance(value, list):
        return sum(_number(item) * place for place, item in enumerate(value, 1)) + len(value)
    return int(value.index if isinstance(value, (FailedItem, Lost)) else value)


@st.composite
def graphs(
    draw: st.DrawFn,
    depth: int = 2,
    prefix: str = "",
    engines: int = 0,
    longest: int = SHORT,
    fragile: bool = False,
    fails: bool = False,
) -> Graph:
    """Graphs of numbers and lists, nested and mapped down to `depth`.

    Args:
        depth: how deep pipelines are nested at most.
        prefix: of all names.
        engines: a nested pipeline may have one of so many engines of its own.
        longest: how long lists are at most; those inside nested pipelines stay short.
        fragile: there are maps that go on after failed items, and calls in them that raise.
        fails: this one is in such a map.
    """
    inputs = tuple(f"{prefix}i{place}" for place in range(draw(st.integers(1, 2))))
    numbers, lists = list(inputs), []
    long: set[str] = set()
    steps: list[Call | Nested] = []
    for place in range(draw(st.integers(1, 4))):
        name = f"{prefix}n{place}"
        if depth and draw(st.booleans()):
            step: Call | Nested = draw(
                _nested(depth, name, numbers, lists, long, engines, fragile, fails)
            )
        else:
            step = draw(_calls(name, numbers + lists, longest, fails))
        made = _lists_made_by(step)
        if step.longest > SHORT if isinstance(step, Call) else not long.isdisjoint(step.mapped):
            long.update(made)
        lists += made
        numbers += [each for each in _made_by(step) if each not in made]
        steps.append(step)
    return Graph(inputs, tuple(steps))


@st.composite
def _calls(draw: st.DrawFn, name: str, names: list[str], longest: int, fails: bool) -> Call:
    is_list = draw(st.booleans())
    several = not is_list and draw(st.booleans())
    outputs = (f"{name}_a", f"{name}_b") if several else (f"{name}_list" if is_list else name,)
    return Call(
        inputs=tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))),
        outputs=outputs,
        salt=draw(st.integers(0, 1000)),
        is_async=draw(st.booleans()),
        longest=draw(st.sampled_from([SHORT, longest])) if is_list else 0,
        fails=fails and draw(st.booleans()),
    )


@st.composite
def _nested(
    draw: st.DrawFn,
    depth: int,
    name: str,
    numbers: list[str],
    lists: list[str],
    long: set[str],
    engines: int,
    fragile: bool,
    fails: bool,
) -> Nested:
    goes_on = fragile and bool(lists) and draw(st.booleans())
    inside = graphs(depth - 1, f"{name}_", engines, fragile=fragile, fails=fails or goes_on)
    graph = draw(inside)
    mode = draw(st.sampled_from(["zip", "product"]))
    needed = inputs_of(graph)
    over = draw(st.integers(0, len(needed))) if lists else 0
    if mode == "zip":
        over = min(over, 1)  # random lists differ in length
    if goes_on:
        over = 1
    if over > 1:
        lists = [each for each in lists if each not in long]
    inputs: dict[str, str] = {}
    mapped = []
    for place, inner in enumerate(needed):
        free = [each for each in (lists if place < over else numbers) if each not in inputs]
        outer = draw(st.sampled_from(free)) if free else inner
        if place < over and free:
            mapped.append(outer)
        inputs[outer] = inner
    outputs = {inner: f"out_{inner}" for inner in graph.outputs}
    engine = draw(st.none() | st.integers(0, engines - 1)) if engines else None
    uncached = draw(st.booleans())
    return Nested(graph, inputs, outputs, tuple(mapped), mode, engine, uncached, goes_on)


def inputs_of(graph: Graph) -> tuple[str, ...]:
    """What has to be given: the graph's inputs, and those of nested ones that nothing makes."""
    made = set(graph.outputs)
    read = [
        name
        for step in graph.steps
        for name in (step.inputs if isinstance(step, Call) else _inputs_of_nested(step))
    ]
    return tuple(dict.fromkeys(name for name in read if name not in made))


def _inputs_of_nested(step: Nested) -> tuple[str, ...]:
    outer = {inner: outer for outer, inner in step.inputs.items()}
    return tuple(outer.get(inner, inner) for inner in inputs_of(step.graph))


def by_hand(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the graph gives: every output, computed by a plain loop."""
    known = dict(values)
    for step in graph.steps:
        if isinstance(step, Call):
            result = step.result(*(known[name] for name in step.inputs))
            known.update(
                zip(step.outputs, result if len(step.outputs) > 1 else [result], strict=True)
            )
            continue
        inner = {step.inputs.get(name, name): known[name] for name in _inputs_of_nested(step)}
        mapped = [step.inputs[name] for name in step.mapped]
        if not mapped:
            rows: Any = by_hand(step.graph, inner)
            known.update({outer: rows[name] for name, outer in step.outputs.items()})
            continue
        combine: Callable[..., Any] = zip if step.mode == "zip" else itertools.product
        rows = []
        for index, row in enumerate(combine(*(inner[name] for name in mapped))):
            own = dict(zip(mapped, row, strict=True))
            try:
                rows.append(by_hand(step.graph, {**inner, **own}))
            except ValueError:
                if not step.goes_on:
                    raise
                rows.append(dict.fromkeys(step.graph.outputs, Lost(index, own)))
        known.update({outer: [row[name] for row in rows] for name, outer in step.outputs.items()})
    return {name: known[name] for name in graph.outputs}


def hold_with_failures(graph: Graph, pipeline: Pipeline, rounds: int) -> None:
    """Hold the pipeline of a fragile graph against the plain loop, as often as `rounds` says."""
    values = {name: place + 3 for place, name in enumerate(inputs_of(graph))}
    first, *_ = values
    several = list(range(5))
    expected = [by_hand(graph, {**values, first: value}) for value in several]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # of what is made from failed items
        for _ in range(rounds):
            assert seen(pipeline.map({**values, first: several}, first)) == expected
            assert seen(pipeline.run(values)) == by_hand(graph, values)


def pipeline_of(
    graph: Graph,
    engines: Any = (),
    name: str = "law",
    apart: Callable[[Call], bool] = lambda call: False,
) -> Pipeline:
    """The pipeline that the graph describes; `apart` says of which calls Daft has processes."""
    nodes: list[Any] = []
    for step in graph.steps:
        if isinstance(step, Call):
            nodes.append(_node(step, apart(step)))
            continue
        engine = None if step.engine is None else engines[step.engine]
        inner = pipeline_of(step.graph, engines, f"p_{next(iter(step.outputs.values()))}", apart)
        nodes.append(
            inner.with_engine(engine)
            .with_cache(False if step.uncached else None)
            .as_node(
                input_mapping=step.inputs,
                output_mapping=step.outputs,
                map_over=step.mapped or None,
                map_mode=step.mode,  # type: ignore[arg-type]
                error_handling="continue" if step.goes_on else "raise",
            )
        )
    return Pipeline(nodes, name=name)


@lru_cache(maxsize=1_000)
def _node(call: Call, is_apart: bool) -> Node[..., Any]:
    # The same one in each pipeline of a graph: most of a law's time would go into its code.
    parameters = ", ".join(call.inputs)
    keyword = "async def" if call.is_async else "def"
    # Like a real one it gives way to others; like a function of __main__ it crosses by value.
    awaits = " await sleep(0)\n" if call.is_async else ""
    # With its own names in it no two of them are the same code: one is not the other's cache hit.
    mixed = f"mix({call.salt}, {call.outputs}, {call.longest}, {call.fails}, {parameters})"
    source = f"{keyword} {call.outputs[0]}({parameters}):\n{awaits} return {mixed}"
    import asyncio

    scope: dict[str, Any] = {"mix": mix, "sleep": asyncio.sleep, "__name__": "__main__"}
    exec(source, scope)
    options: Any = {"daft": {"use_process": True}} if is_apart else {}
    return Node(scope[call.outputs[0]], call.outputs, **options)
