"""Executors against the ideal: what waiting and computing at once gives of what it could.

    python benchmarks/parallel.py [--rounds 5] [--starts]

Everything runs in one process, interleaved: in each round every measurement and what it is
compared with are taken one after the other, and the table shows medians. The ideal is the time
that the work itself takes on so many workers; where one is named, a peer does the same work.

With --starts: what it takes from an engine to the results of a map of two items, in fresh processes
that take turns: its first pool, one whose engine was made three seconds before, and its second.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from hypernodes import AsyncExecutor, HyperNodesEngine, Pipeline, node

WAIT = 0.010
TRIVIAL = 10_000
Case = tuple[str, Callable[[], object], Callable[[], float], str]


@node(output_name="waited")
def wait(x: int) -> int:
    time.sleep(WAIT)
    return x


@node(output_name="awaited")
async def wait_async(x: int) -> int:
    await asyncio.sleep(WAIT)
    return x


def count(x: int, steps: int) -> int:
    for number in range(steps):
        x ^= number
    return x


def increment(x: int) -> int:
    return x + 1


def branch(place: int) -> Any:
    def sleep_50(x: int) -> int:
        time.sleep(0.05)
        return x + place

    return node(sleep_50, f"branch_{place}")


def join(place_count: int) -> Any:
    names = ", ".join(f"branch_{place}" for place in range(place_count))
    scope: dict[str, Any] = {}
    exec(f"def total({names}): return sum([{names}])", scope)
    return node(scope["total"])


def timed(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def steps_for(seconds: float) -> int:
    """How many steps of `count` take so long here."""
    known = 200_000
    return int(known * seconds / min(timed(lambda: count(1, known)) for _ in range(3)))


def cases() -> list[Case]:
    """Name, what is measured, what it is compared with in seconds, and what is asked for."""
    threads, processes = ThreadPoolExecutor(16), ProcessPoolExecutor(2)
    ten = ThreadPoolExecutor(10)
    waiting = Pipeline([wait], engine=HyperNodesEngine(map_executor=threads))
    awaiting = Pipeline([wait_async], engine=HyperNodesEngine(map_executor=AsyncExecutor(50)))
    computing = Pipeline([node(count)], engine=HyperNodesEngine(map_executor=processes))
    trivial = Pipeline([node(increment)], engine=HyperNodesEngine(map_executor=processes))
    diamond = Pipeline(
        [*(branch(place) for place in range(10)), join(10)],
        engine=HyperNodesEngine(node_executor=ten),
    )
    # What two processes make of the same work, with nothing of ours: the machine's own ideal.
    steps = steps_for(0.25)

    def plain_pool() -> float:
        return timed(lambda: list(processes.map(count, range(8), [steps] * 8)))

    items = list(range(TRIVIAL))
    chunk = math.ceil(TRIVIAL / (4 * 2))
    return [
        (
            "threads: 200 waits of 10 ms on 16",
            lambda: waiting.map({"x": list(range(200))}, "x"),
            lambda: math.ceil(200 / 16) * WAIT,
            "ideal, at least 90 %",
        ),
        (
            "async: 500 waits of 10 ms, 50 at a time",
            lambda: awaiting.map({"x": list(range(500))}, "x"),
            lambda: math.ceil(500 / 50) * WAIT,
            "ideal, at least 85 %",
        ),
        (
            "processes: 8 of 0.25 s CPU on 2",
            lambda: computing.map({"x": list(range(8)), "steps": steps}, "x"),
            plain_pool,
            "a bare pool, at least 90 %",
        ),
        (
            "threads: 10 independent nodes of 50 ms",
            lambda: diamond.run({"x": 1}),
            lambda: 0.05,
            "ideal, at least 90 %",
        ),
        (
            f"processes: {TRIVIAL:,} trivial items",
            lambda: trivial.map({"x": items}, "x"),
            lambda: timed(lambda: list(processes.map(increment, items, chunksize=chunk))),
            "pool.map(chunksize), at least 50 %",
        ),
        (
            f"processes: {TRIVIAL:,} trivial items",
            lambda: trivial.map({"x": items}, "x"),
            pipefunc_map(processes, items),
            "pipefunc, at least 300 %",
        ),
    ]


def pipefunc_map(processes: ProcessPoolExecutor, items: list[int]) -> Callable[[], float]:
    """pipefunc's map of the same items on the same pool."""
    from pipefunc import Pipeline as Pipefunc
    from pipefunc import pipefunc

    made = pipefunc(output_name="y", mapspec="x[i] -> y[i]")(increment)
    pipeline = Pipefunc([made])  # type: ignore[arg-type]
    return lambda: timed(
        lambda: pipeline.map({"x": items}, executor=processes, show_progress=False)
    )


STARTS = """
import sys, time
from hypernodes import HyperNodesEngine, Pipeline, node

@node(output_name="y")
def increment(x): return x + 1

def start(seconds):
    begun = time.perf_counter()
    with HyperNodesEngine(map_executor=sys.argv[1]) as engine:
        time.sleep(seconds)
        Pipeline([increment], engine=engine).map({"x": [1, 2]}, "x")
        print(time.perf_counter() - begun - seconds)

start(float(sys.argv[2]))
start(0)
"""


def starts(rounds: int) -> None:
    """Print what pools of processes take to start."""
    taken: dict[str, list[list[float]]] = {"parallel": [], "fork": []}
    for _ in range(rounds):
        for kind, figures in taken.items():
            runs = [
                subprocess.run(
                    [sys.executable, "-c", STARTS, kind, seconds],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                for seconds in ("0", "3")
            ]
            (first, second), (ahead, _) = ([float(t) for t in run.stdout.split()] for run in runs)
            figures.append([first, ahead, second])
    print(f"{'ms':12}{'first pool':>12}{'made ahead':>12}{'second':>12}")
    for kind, figures in taken.items():
        each = (statistics.median(column) * 1e3 for column in zip(*figures, strict=True))
        print(f"{kind:12}" + "".join(f"{figure:12.0f}" for figure in each))


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", action="store_true")
    options = parser.parse_args()
    rounds = options.rounds
    if options.starts:
        starts(rounds)
        return
    measured = cases()
    for _, run, compare, _ in measured:  # pools start, plans are compiled
        run(), compare()
    figures: list[list[tuple[float, float]]] = [[] for _ in measured]
    for _ in range(rounds):
        for place, (_, run, compare, _) in enumerate(measured):
            figures[place].append((timed(run), compare()))
    print(f"{'':45}{'ms':>9}{'compared':>10}{'%':>7}")
    for (name, _, _, against), pairs in zip(measured, figures, strict=True):
        own = statistics.median(pair[0] for pair in pairs)
        other = statistics.median(pair[1] for pair in pairs)
        percent = 100 * statistics.median(pair[1] / pair[0] for pair in pairs)
        print(f"{name:45}{own * 1e3:9.1f}{other * 1e3:10.1f}{percent:7.0f}   {against}")


if __name__ == "__main__":
    main()
