"""A soak: random pipelines on random engines with random faults, for as long as you like.

    python benchmarks/soak.py --minutes 60 [--seed 1] [--only NUMBER]

A pipeline (nested, mapped, sync and async nodes, retries, timeouts) has nodes that fail for some
values: with errors, exits, interrupts, by standing still, by killing their worker. It is run,
mapped, awaited, cancelled, interrupted by Ctrl-C and left half-way, with caches (whose entries are
broken in between) and callbacks (that raise), on engines that are shut down, dropped, used again.
A plain loop says what has to come of it: the same outputs, or an error that the plain loop has too,
with the same arguments and the node and item on it.

The cases run in a second process. When one of them takes more than two minutes it is a hang: the
stacks of all threads are printed, and a new process goes on with the next case. Case NUMBER of a
seed is the same each time; `--only` runs it alone. Memory, Python's blocks of memory that are in
use, threads, open files and children are counted whenever no engine is left (on Linux); the slopes
leave out the first quarter of the time. What is found out about code is memoized for the last 4,096
functions: a soak of more than ten minutes begins by filling that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import json
import logging
import os
import queue
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from recording import Recorder

from hypernodes import (
    AsyncExecutor,
    DiskCache,
    FailedItem,
    HyperNodesEngine,
    MemoryCache,
    Node,
    NodeTimeoutError,
    Pipeline,
    PipelineCallback,
    WorkerLostError,
    failing_node,
)
from hypernodes.identity import fingerprint

LIMIT = 120.0
"""Seconds after which a case is a hang."""
EPOCH = 40
"""Cases with the same engines; then all of these go, and what is left is counted."""
TIMEOUT = 0.3
STAY = 0.9
"""How long nodes may take, and how long those take that are too late."""

# -- What nodes do -------------------------------------------------------------------------------


class TwoArguments(Exception):
    """An error that cannot be made from its `args`."""

    def __init__(self, name: str, value: int) -> None:
        super().__init__(f"{name} has failed with {value}")
        self.name, self.value = name, value


class FalseError(Exception):
    """An error whose truth value is False."""

    def __bool__(self) -> bool:
        return False


ERRORS: dict[str, type[BaseException]] = {
    each.__name__: each
    for each in (
        ValueError, TwoArguments, FalseError, OSError, StopAsyncIteration, TimeoutError, SystemExit,
        KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, RecursionError, BaseException,
    )
}  # fmt: skip


def mix(salt: int, *values: Any) -> int:
    mixed = salt
    for value in values:
        number = sum(value) + len(value) if isinstance(value, list) else value
        mixed = (mixed * 31 + number) % 1009
    return mixed


def fail(kind: str, name: str, value: int) -> None:
    raise {**ERRORS, "StopIteration": StopIteration}[kind](name, value)


def stay() -> None:
    """Take too long, where nothing interrupts it on a thread."""
    until = time.monotonic() + STAY
    while time.monotonic() < until:
        time.sleep(0.02)


async def stay_async() -> None:
    await asyncio.sleep(STAY)


def kill(main: int) -> None:
    """End a worker process; there is none where this is the main one."""
    if os.getpid() != main:
        os.kill(os.getpid(), signal.SIGKILL)


# -- Pipelines -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A function of numbers and lists: see `mix`.

    Attributes:
        fault: how it fails when the mixed number is a multiple of `one_in`; None if it never does.
    """

    name: str
    inputs: tuple[str, ...]
    salt: int
    is_async: bool
    is_list: bool
    fault: str | None
    one_in: int
    retries: int

    def result(self, mixed: int) -> Any:
        return [mixed + place for place in range(mixed % 4)] if self.is_list else mixed

    def node(self) -> Node[..., Any]:
        parameters = ", ".join(self.inputs)
        bad = {
            None: "pass",
            "late": "await stay_async()" if self.is_async else "stay()",
            "killed": f"kill({os.getpid()})",
        }.get(self.fault, f"fail({self.fault!r}, {self.name!r}, mixed)")
        result = "[mixed + place for place in range(mixed % 4)]" if self.is_list else "mixed"
        source = (
            f"{'async ' * self.is_async}def {self.name}({parameters}):\n"
            f" {'await sleep(0)' if self.is_async else 'pass'}\n"
            f" mixed = mix({self.salt}, {parameters})\n"
            f" if mixed % {self.one_in} == 0: {bad}\n"
            f" return {result}"
        )
        scope: dict[str, Any] = {
            "mix": mix, "fail": fail, "stay": stay, "stay_async": stay_async, "kill": kill,
            "sleep": asyncio.sleep, "__name__": "__main__",
        }  # fmt: skip
        exec(source, scope)
        return Node(
            scope[self.name],
            self.name,
            retries=self.retries,
            timeout_seconds=TIMEOUT if self.fault == "late" else None,
        )


@dataclass(frozen=True)
class Nested:
    """A graph as a node, for each item of the first of its inputs where it is mapped."""

    name: str
    graph: Graph
    inputs: tuple[str, ...]
    is_mapped: bool
    engine: int | None


@dataclass(frozen=True)
class Graph:
    """Steps in an order in which they can be done. The first takes all inputs."""

    inputs: tuple[str, ...]
    steps: tuple[Call | Nested, ...]

    def has_fault(self, fault: str) -> bool:
        return any(
            step.fault == fault if isinstance(step, Call) else step.graph.has_fault(fault)
            for step in self.steps
        )


def random_graph(rng: random.Random, depth: int, prefix: str = "") -> Graph:
    inputs = tuple(f"{prefix}i{place}" for place in range(rng.randint(1, 2)))
    numbers, lists = list(inputs), []
    steps: list[Call | Nested] = []
    for place in range(rng.randint(1, 4)):
        name = f"{prefix}n{place}"
        if depth and place and rng.random() < 0.35:
            graph = random_graph(rng, depth - 1, f"{name}_")
            is_mapped = bool(lists) and rng.random() < 0.7
            outer = [rng.choice(lists)] if is_mapped else []
            if len(numbers) + len(outer) < len(graph.inputs):
                continue
            outer += rng.sample(numbers, len(graph.inputs) - len(outer))
            engine = rng.randrange(100) if rng.random() < 0.2 else None
            steps.append(Nested(name, graph, tuple(outer), is_mapped, engine))
            made = [each.name for each in graph.steps if isinstance(each, Call)]
            (lists if is_mapped else numbers).extend(
                each.name
                for each in graph.steps
                if isinstance(each, Call) and not each.is_list and each.name in made
            )
            continue
        several = numbers + lists
        taken = inputs if not steps else rng.sample(several, rng.randint(1, min(3, len(several))))
        is_async, is_list = rng.random() < 0.4, rng.random() < 0.3
        fault = None
        if rng.random() < 0.3:
            faults = [*ERRORS, "late", "killed", *([] if is_async else ["StopIteration"])]
            fault = rng.choice(faults)
        one_in = rng.choice((2, 3, 7, 20))
        retries = int(rng.random() < 0.15)
        steps.append(
            Call(name, tuple(taken), rng.randrange(1000), is_async, is_list, fault, one_in, retries)
        )
        (lists if is_list else numbers).append(name)
    return Graph(inputs, tuple(steps))


def pipeline_of(graph: Graph, engines: Sequence[HyperNodesEngine], name: str) -> Pipeline:
    nodes: list[Any] = []
    for step in graph.steps:
        if isinstance(step, Call):
            nodes.append(step.node())
            continue
        inner = pipeline_of(step.graph, engines, f"p_{step.name}")
        if step.engine is not None:
            inner = inner.with_engine(engines[step.engine % len(engines)])
        names = dict(zip(step.inputs, step.graph.inputs, strict=True))
        over = step.inputs[0] if step.is_mapped else None
        nodes.append(inner.as_node(name=step.name, input_mapping=names, map_over=over))
    return Pipeline(nodes, name=name)


# -- What has to come of them --------------------------------------------------------------------

Failure = tuple[str, str, int]
"""How a call may fail: the fault, its node, the number."""


@dataclass
class Expected:
    """What a plain loop gives.

    Attributes:
        outputs: where nothing fails, every one.
        must: failures, one of which has to come.
        may: others, one of which can come.
    """

    outputs: dict[str, Any]
    must: set[Failure] = field(default_factory=set)
    may: set[Failure] = field(default_factory=set)

    def fits(self, error: BaseException) -> bool:
        return any(_is(error, failure) for failure in self.must | self.may)


def _is(error: BaseException, failure: Failure) -> bool:
    fault, name, value = failure
    if fault == "killed":
        return isinstance(error, WorkerLostError)
    if failing_node(error) != name:
        return False
    if not any(note.startswith(f"in node {name!r}") for note in error.__dict__["__notes__"]):
        return False
    if fault == "late":
        return isinstance(error, NodeTimeoutError) and repr(name) in str(error)
    kind = ERRORS.get(fault, StopIteration)
    if fault in ("StopIteration", "StopAsyncIteration") and type(error) is RuntimeError:
        assert error.__cause__ is not None  # it was awaited, or came out of an iterator
        error = error.__cause__
    return type(error) is kind and error.args == kind(name, value).args


def plain_loop(graph: Graph, values: Mapping[str, Any]) -> Expected:
    expected = Expected(dict(values))
    known = expected.outputs
    for step in graph.steps:
        if not known.keys() >= set(step.inputs):
            continue  # what makes it has failed
        if isinstance(step, Call):
            mixed = mix(step.salt, *(known[name] for name in step.inputs))
            failure = (step.fault or "", step.name, mixed)
            if step.fault in ("late", "killed"):
                expected.may.add(failure)
            if step.fault and step.fault != "killed" and mixed % step.one_in == 0:
                expected.must.add(failure)
            else:
                known[step.name] = step.result(mixed)
            continue
        given = [known[name] for name in step.inputs]
        items = given[0] if step.is_mapped else [given[0]]
        rows = [
            plain_loop(step.graph, dict(zip(step.graph.inputs, [item, *given[1:]], strict=True)))
            for item in items
        ]
        failed = False
        for row in rows:
            expected.must |= row.must
            expected.may |= row.may
            failed = failed or bool(row.must)
        if not failed:
            for name in _outputs(step.graph):
                made = [row.outputs[name] for row in rows]
                known[name] = made if step.is_mapped else made[0]
    expected.outputs = {name: known[name] for name in _outputs(graph) if name in known}
    return expected


def _outputs(graph: Graph) -> list[str]:
    return [
        name
        for step in graph.steps
        for name in ([step.name] if isinstance(step, Call) else _outputs(step.graph))
    ]


class Differs(Exception):
    """What came is not what a plain loop gives."""


@dataclass
class Case:
    """One pipeline, its inputs, and what has to come of them.

    Attributes:
        also: errors that may come besides, for something is done to the run.
    """

    graph: Graph
    pipeline: Pipeline
    values: dict[str, Any]
    items: list[int]
    also: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        self.mapped = self.graph.inputs[0]
        self.one = plain_loop(self.graph, self.values)
        self.each = [
            plain_loop(self.graph, {**self.values, self.mapped: item}) for item in self.items
        ]

    @property
    def map_inputs(self) -> dict[str, Any]:
        return {**self.values, self.mapped: self.items}

    def check_run(self, outcome: Any) -> None:
        if isinstance(outcome, BaseException):
            # A pool that was handed in may have lost a worker in the run before.
            also = (*self.also, WorkerLostError) if self.may_lose else self.also
            if not self.one.fits(outcome) and not isinstance(outcome, also):
                raise Differs(f"run: {outcome!r}, not {self.one}") from outcome
        elif self.one.must or outcome != self.one.outputs:
            raise Differs(f"run: {outcome!r}, not {self.one}")

    def check_row(self, index: int, row: Any) -> None:
        expected = self.each[index]
        if isinstance(row, FailedItem):
            notes = row.error.__dict__.get("__notes__", ())
            if row.index == index and expected.fits(row.error) and _names_item(notes, index):
                return
        elif not expected.must and row == expected.outputs:
            return
        raise Differs(f"item {index}: {row!r}, not {expected}")

    def check_map(self, outcome: Any, goes_on: bool = False) -> None:
        """Check the rows of a map, or the error in their place."""
        if isinstance(outcome, BaseException):
            self.check_error(outcome, goes_on)
            return
        if len(outcome) != len(self.items):
            raise Differs(f"{len(outcome)} rows for {len(self.items)} items")
        for index, row in enumerate(outcome):
            self.check_row(index, row)

    def check_error(self, error: BaseException, goes_on: bool = False) -> None:
        """Check what ended a map; where it goes on after errors, that is no ordinary one."""
        if isinstance(error, (*self.also, WorkerLostError) if self.may_lose else self.also):
            return
        notes = error.__dict__.get("__notes__", ())
        fitting = [index for index, each in enumerate(self.each) if each.fits(error)]
        ordinary = goes_on and isinstance(error, Exception)
        if ordinary or not any(_names_item(notes, index) for index in fitting):
            raise Differs(f"map: {error!r} with {notes}, not {self.each}") from error

    @property
    def may_lose(self) -> bool:
        return self.graph.has_fault("killed")


def _names_item(notes: Sequence[str], index: int) -> bool:
    return any(note.startswith(f"in item {index} ") for note in notes)


# -- Ways to run them ----------------------------------------------------------------------------


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BaseException as error:
        return error


async def awaited_outcome(awaitable: Any) -> Any:
    try:
        return await awaitable
    except BaseException as error:
        return error


def on_loop(make: Callable[[], Any]) -> Any:
    """Await something in a loop of its own; its error does not go through the loop."""

    async def main() -> Any:
        return await awaited_outcome(make())

    return asyncio.run(main())


def run(case: Case, rng: random.Random) -> None:
    case.check_run(outcome_of(lambda: case.pipeline.run(case.values)))


def run_in_a_loop(case: Case, rng: random.Random) -> None:
    async def main() -> Any:
        ticking = asyncio.create_task(asyncio.sleep(0))
        outcome = outcome_of(lambda: case.pipeline.run(case.values))
        await ticking
        return outcome

    case.check_run(asyncio.run(main()))


def arun(case: Case, rng: random.Random) -> None:
    case.check_run(on_loop(lambda: case.pipeline.arun(case.values)))


def map_all(case: Case, rng: random.Random) -> None:
    case.check_map(outcome_of(lambda: case.pipeline.map(case.map_inputs, case.mapped)))


def map_on(case: Case, rng: random.Random) -> None:
    go_on: Any = {"error_handling": "continue"}
    rows = outcome_of(lambda: case.pipeline.map(case.map_inputs, case.mapped, **go_on))
    case.check_map(rows, goes_on=True)


def amap(case: Case, rng: random.Random) -> None:
    case.check_map(on_loop(lambda: case.pipeline.amap(case.map_inputs, case.mapped)))


def amap_on(case: Case, rng: random.Random) -> None:
    go_on: Any = {"error_handling": "continue"}
    rows = on_loop(lambda: case.pipeline.amap(case.map_inputs, case.mapped, **go_on))
    case.check_map(rows, goes_on=True)


def imap(case: Case, rng: random.Random) -> None:
    """One by one, in any order, and sometimes left half-way."""
    at, taken = 0, rng.randint(1, len(case.items)) if rng.random() < 0.4 else sys.maxsize
    ordered = rng.random() < 0.5
    in_flight = rng.choice((None, 1, 3))
    inputs = {**case.map_inputs, case.mapped: iter(case.items)}
    rows = case.pipeline.imap(inputs, case.mapped, in_flight=in_flight, ordered=ordered)
    try:
        for row in rows:
            case.check_row(*(row if not ordered else (at, row)))
            at += 1
            if at >= taken:
                break
        else:
            if at != len(case.items):
                raise Differs(f"{at} rows for {len(case.items)} items")
    except Differs:
        raise
    except BaseException as error:
        case.check_error(error)
    finally:
        rows.close()


def aimap(case: Case, rng: random.Random) -> None:
    async def main() -> Any:
        at = 0
        inputs = {**case.map_inputs, case.mapped: iter(case.items)}
        async for row in case.pipeline.imap(inputs, case.mapped, in_flight=4):
            case.check_row(at, row)
            at += 1
        return at

    outcome = on_loop(main)
    if isinstance(outcome, Differs):
        raise outcome
    if isinstance(outcome, BaseException):
        case.check_error(outcome)


def cancelled(case: Case, rng: random.Random) -> None:
    """Awaited, and cancelled after a moment."""
    is_map, delay = rng.random() < 0.5, rng.random() * 0.05

    async def main() -> Any:
        make = case.pipeline.amap if is_map else case.pipeline.arun
        arguments = (case.map_inputs, case.mapped) if is_map else (case.values,)
        task = asyncio.ensure_future(awaited_outcome(make(*arguments)))
        await asyncio.sleep(delay)
        task.cancel()
        return await awaited_outcome(task)

    case.also = (asyncio.CancelledError,)
    (case.check_map if is_map else case.check_run)(asyncio.run(main()))


def interrupted(case: Case, rng: random.Random) -> None:
    """Ctrl-C after a moment."""
    is_map = rng.random() < 0.5
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(rng.random() * 0.05, os.kill, (os.getpid(), signal.SIGINT))
    case.also = (KeyboardInterrupt,)
    outcome: Any = None
    try:
        timer.start()
        try:
            call = case.pipeline.map if is_map else case.pipeline.run
            arguments = (case.map_inputs, case.mapped) if is_map else (case.values,)
            outcome = outcome_of(lambda: call(*arguments))
        finally:
            timer.join()
            time.sleep(0)
    except KeyboardInterrupt as late:
        outcome = late if outcome is None else outcome
    finally:
        signal.signal(signal.SIGINT, before)
    (case.check_map if is_map else case.check_run)(outcome)


def crowd(case: Case, rng: random.Random) -> None:
    """From several threads at once."""
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(outcome_of, lambda: case.pipeline.run(case.values))]
        for _ in range(2):
            call = lambda: case.pipeline.map(case.map_inputs, case.mapped)  # noqa: E731
            runs.append(threads.submit(outcome_of, call))
    if case.may_lose:
        case.also = (WorkerLostError,)
    case.check_run(runs[0].result())
    for each in runs[1:]:
        case.check_map(each.result())


WAYS = (
    run, run_in_a_loop, arun, map_all, map_on, amap, amap_on, imap, aimap, cancelled, interrupted,
    crowd,
)  # fmt: skip


# -- Engines, caches, callbacks ------------------------------------------------------------------

ALIASES = ("sequential", "async", "threaded", "parallel")


class Engines:
    """Those of an epoch."""

    def __init__(self) -> None:
        self._pools: list[Any] = []
        self.all: list[HyperNodesEngine] = []
        self._make()

    def _make(self) -> None:
        import loky

        self._pools = [ThreadPoolExecutor(2), AsyncExecutor(3), ProcessPoolExecutor(2)]
        own = [*self._pools, loky.get_reusable_executor(2)]
        self.all = [HyperNodesEngine(nodes, items) for nodes in ALIASES for items in ALIASES]
        self.all += [HyperNodesEngine(pool, pool) for pool in own]
        self.all += [HyperNodesEngine("async", own[0]), HyperNodesEngine(own[1], own[2])]

    def renew(self) -> None:
        """Make all anew: a pool that was handed in has lost its workers, maybe."""
        self.close()
        self._make()

    def close(self) -> None:
        import loky

        for place, engine in enumerate(self.all):
            if place % 3:  # the others are dropped
                engine.shutdown()
        for pool in self._pools:
            pool.shutdown()
        loky.get_reusable_executor(2).shutdown(wait=True)
        self.all, self._pools = [], []


class Raising(PipelineCallback):
    """A callback with a bug."""

    def on_node_start(self, node_id: str, inputs: dict[str, Any], ctx: Any) -> None:
        raise RuntimeError("a bug of a callback")

    def on_error(self, node_id: str, error: BaseException, ctx: Any) -> None:
        raise SystemError("another one")


def break_entries(rng: random.Random, folder: str) -> None:
    """Damage some files of a cache."""
    for file in Path(folder).rglob("*"):
        if not file.is_file() or rng.random() < 0.5:
            continue
        data = bytearray(file.read_bytes())
        damage = rng.choice(("empty", "short", "flipped", "gone"))
        if damage == "gone":
            file.unlink()
            continue
        if damage == "empty":
            data.clear()
        elif damage == "short":
            del data[len(data) // 2 :]
        elif data:
            data[rng.randrange(len(data))] ^= 0xFF
        file.write_bytes(data)


def do_case(number: int, seed: int, engines: Engines) -> int:
    """Do a case.

    Returns:
        How many runs it had.

    Raises:
        Differs: it is not as in a plain loop.
    """
    rng = random.Random(f"{seed} {number}")
    graph = random_graph(rng, depth=2)
    values = {name: rng.randrange(100) for name in graph.inputs}
    items = [rng.randrange(1000) for _ in range(rng.choice((1, 2, 5, 12)))]
    engine = rng.choice(engines.all)
    pipeline = pipeline_of(graph, engines.all, f"p{number}").with_engine(engine)
    recorder = Recorder() if rng.random() < 0.5 else None
    if recorder is not None:
        callbacks: list[Any] = [recorder, Raising()] if rng.random() < 0.3 else [recorder]
        pipeline = pipeline.with_callbacks(callbacks)
    folder = None
    cache = rng.choice((None, None, "memory", "disk"))
    if cache == "memory":
        pipeline = pipeline.with_cache(MemoryCache())
    elif cache == "disk":
        folder = tempfile.mkdtemp(prefix="hypernodes-soak-")
        pipeline = pipeline.with_cache(DiskCache(folder))
    ways = [rng.choice(WAYS) for _ in range(3)]
    what = f"case {number} of seed {seed}: {', '.join(way.__name__ for way in ways)} on {engine!r}"
    what += f", cache {cache}, callbacks {pipeline.callbacks}\n{graph}\n{values} {items}"
    report(case=number, what=what)
    try:
        for way in ways:
            way(Case(graph, pipeline, values, items), rng)
            if folder is not None:
                break_entries(rng, folder)
        if recorder is not None:
            recorder.check_pairs()
    except Exception as error:
        raise Differs(f"{what}\n{error}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if graph.has_fault("killed"):
            engines.renew()
        elif rng.random() < 0.1:
            engine.shutdown()
    return len(ways)


# -- What is left --------------------------------------------------------------------------------


def resources() -> dict[str, float]:
    """This process's memory in MB, its blocks, threads, open files and children."""
    counts = {"threads": float(threading.active_count())}
    counts["blocks"] = float(sys.getallocatedblocks())
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        counts["memory"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        counts["descriptors"] = float(len(os.listdir("/proc/self/fd")))
        counts["processes"] = float(sum(map(_children_of, Path("/proc/self/task").iterdir())))
    return counts


def _children_of(thread: Path) -> int:
    try:
        return len((thread / "children").read_text().split())
    except FileNotFoundError:  # it has just ended
        return 0


def settled(before: dict[str, float] | None) -> dict[str, float]:
    """The counts, once they are as before, or after five seconds."""
    until = time.monotonic() + 5
    while True:
        gc.collect()
        counts = resources()
        as_before = before is not None and all(
            counts[name] <= before[name] for name in counts if name not in ("memory", "blocks")
        )
        if as_before or time.monotonic() > until:
            return counts
        time.sleep(0.1)


def fill_memos() -> None:
    """Let the library see as many functions as it remembers the bytecode of."""
    rng, seen = random.Random(0), 0
    while seen < 5000:
        nodes = [each for each in random_graph(rng, 0).steps if isinstance(each, Call)]
        for each in nodes:
            fingerprint(each.node().func)
        seen += len(nodes)
        report(filled=seen)


def report(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def soak(seed: int, first: int, until: float, last: int) -> None:
    """Do cases; in the process that is watched."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    number, before = first, None
    if until - time.time() > 600:
        fill_memos()
    while number <= last and time.time() < until:
        engines = Engines()
        for number in range(number, min(number + EPOCH, last + 1)):  # noqa: B020
            try:
                report(done=number, runs=do_case(number, seed, engines))
            except Differs as error:
                report(differs=f"{error}\n{traceback.format_exc()}")
        number += 1
        engines.close()
        del engines
        before = settled(before)
        report(counts=before, at=time.time())


# -- The watch -----------------------------------------------------------------------------------


class Watch:
    """Starts the process that does the cases, reads what it reports, and ends it when it hangs."""

    def __init__(self, seed: int, first: int, minutes: float, last: int) -> None:
        self.seed, self.next, self.last, self.what = seed, first, last, ""
        self.begun = self.printed = time.time()
        self.until = self.begun + minutes * 60
        self.counts = Counter[str]()
        self.samples: list[list[tuple[float, dict[str, float]]]] = []

    def watch(self) -> None:
        while self.next <= self.last and time.time() < self.until:
            self._one_process()

    def _one_process(self) -> None:
        command = [sys.executable, __file__, "--seed", str(self.seed), "--first", str(self.next)]
        command += ["--last", str(self.last), "--until", str(self.until)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.samples.append([])
        try:
            for line in self._lines(process):
                self._note(json.loads(line))
            if process.wait(LIMIT):
                self.counts["crashes"] += 1
                print(f"the process ended with {process.returncode} in {self.what}")
        except TimeoutError:
            self.counts["hangs"] += 1
            print(f"this hangs: {self.what}", flush=True)
            process.send_signal(signal.SIGUSR1)
            time.sleep(1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
            process.wait()

    def _lines(self, process: subprocess.Popen[str]) -> Iterator[str]:
        lines: queue.Queue[str | None] = queue.Queue()
        assert process.stdout is not None
        output = process.stdout

        def read() -> None:
            for line in output:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=LIMIT)
            except queue.Empty:
                raise TimeoutError from None
            if line is None:
                return
            yield line

    def _note(self, told: dict[str, Any]) -> None:
        if "case" in told:
            self.next, self.what = told["case"] + 1, told["what"]
        elif "done" in told:
            self.counts["cases"] += 1
            self.counts["runs"] += told["runs"]
        elif "differs" in told:
            self.counts["differences"] += 1
            print(told["differs"], flush=True)
        elif "counts" in told:
            self.samples[-1].append((told["at"], told["counts"]))
            if time.time() - self.printed > 600:
                self.printed = time.time()
                print(self.table(), flush=True)

    def table(self) -> str:
        lines = [f"{'minutes':<14}{(time.time() - self.begun) / 60:.0f}"]
        lines += [
            f"{name:<14}{self.counts[name]}"
            for name in ("cases", "runs", "differences", "hangs", "crashes")
        ]
        samples = max(self.samples, key=len)
        samples = samples[len(samples) // 4 :]
        for name in ("memory", "blocks", "threads", "descriptors", "processes"):
            points = [(at, counts[name]) for at, counts in samples if name in counts]
            if len(points) < 3:
                continue
            slope = statistics.linear_regression(*zip(*points, strict=True)).slope * 3600
            unit = " MB" if name == "memory" else ""
            ends = f"{points[0][1]:.0f} to {points[-1][1]:.0f}{unit}"
            lines.append(f"{name:<14}{slope:+.2f}{unit} an hour ({ends})")
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the case to begin with")
    parser.add_argument("--last", type=int, default=sys.maxsize, help="the case to end with")
    parser.add_argument("--only", type=int, help="do this case alone, here")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only is not None:
        soak(given.seed, given.only, sys.maxsize, given.only)
    elif given.until is not None:
        soak(given.seed, given.first, given.until, given.last)
    else:
        watch = Watch(given.seed, given.first, given.minutes, given.last)
        with contextlib.suppress(KeyboardInterrupt):
            watch.watch()
        print(watch.table())
        bad = watch.counts["differences"] + watch.counts["hangs"] + watch.counts["crashes"]
        sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
