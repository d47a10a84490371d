"""What a node costs: HyperNodes beside plain Python and its peers, in ratios.

    python benchmarks/overhead.py

Below, what a callback adds to a node of a map. Each peer runs in a process with an environment of
its own (one of them bears our import name),
which is made at the first run and kept under the user's cache folder. The processes take turns,
one measurement each, so that what else the machine does falls on all of them; every process also
measures a plain loop, and the table compares medians.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PEERS = {
    "hypernodes": "",
    "pipefunc": "pipefunc",
    "hamilton": "sf-hamilton",
    "hypernodes 0.4.8": "hypernodes==0.4.8",
    "kedro": "kedro",
    "dagster": "dagster",
}
TIMES = {"hypernodes": 10_000, "kedro": 10, "dagster": 1}
"""Runs of a chain, and items of a map, in one measurement; else 200, and all items."""
ROUNDS = 9
CHAIN = 10
ITEMS = 10_000
ROOT = Path(__file__).resolve().parents[1]

# -- In the measured process ---------------------------------------------------------------------


def functions(count: int) -> list[Callable[..., int]]:
    """Functions n0(v0), n1(v1), ...: each adds 1, and makes the input of the next."""
    lines = [
        f"def v{place + 1}(v{place}: int) -> int: return v{place} + 1" for place in range(count)
    ]
    scope: dict[str, Any] = {}
    exec("\n".join(lines), scope)
    return [scope[f"v{place + 1}"] for place in range(count)]


Run = Callable[[int], object]
"""Runs a chain for an input."""
Map = Callable[[list[int]], object]
"""Maps a chain over inputs."""


def plain(count: int) -> tuple[Run, Map]:
    """A hand-written loop that keeps a dict of results."""
    steps = [(f"v{at}", f"v{at + 1}", func) for at, func in enumerate(functions(count))]

    def run(value: int) -> dict[str, int]:
        values = {"v0": value}
        for source, target, func in steps:
            values[target] = func(values[source])
        return values

    return run, lambda values: [run(value) for value in values]


def hypernodes(count: int) -> tuple[Run, Map]:
    """This library."""
    from hypernodes import Pipeline, node

    pipeline = Pipeline([node(func) for func in functions(count)])
    return (
        lambda value: pipeline.run({"v0": value}),
        lambda values: pipeline.map({"v0": values}, map_over="v0"),
    )


def hypernodes_048(count: int) -> tuple[Run, Map]:
    """The older library of the same name."""
    from hypernodes import Pipeline, node

    made = [node(output_name=func.__name__)(func) for func in functions(count)]
    pipeline = Pipeline(nodes=made)
    return (
        lambda value: pipeline.run(inputs={"v0": value}),
        lambda values: pipeline.map(inputs={"v0": values}, map_over="v0"),
    )


def pipefunc(count: int) -> tuple[Run, Map]:
    """pipefunc's `Pipeline.run` with all outputs, and its sequential `map`."""
    from pipefunc import Pipeline, pipefunc

    made = [pipefunc(output_name=func.__name__)(func) for func in functions(count)]
    pipeline = Pipeline(made)  # type: ignore[arg-type]
    mapped = Pipeline(
        [
            pipefunc(output_name=func.__name__, mapspec=f"v{at}[i] -> v{at + 1}[i]")(func)
            for at, func in enumerate(functions(count))
        ]  # type: ignore[arg-type]
    )
    return (
        lambda value: pipeline.run(f"v{count}", full_output=True, kwargs={"v0": value}),
        lambda values: mapped.map({"v0": values}, parallel=False, show_progress=False),
    )


def hamilton(count: int) -> tuple[Run, Map]:
    """Hamilton's driver with its dict of results; a map is a loop, it has no other in process."""
    from hamilton import ad_hoc_utils, base, driver

    module = ad_hoc_utils.create_temporary_module(*functions(count))
    made = driver.Driver({}, module, adapter=base.DefaultAdapter())
    wanted = [f"v{at + 1}" for at in range(count)]

    def run(value: int) -> object:
        return made.execute(wanted, inputs={"v0": value})

    return run, lambda values: [run(value) for value in values]


def kedro(count: int) -> tuple[Run, Map]:
    """Kedro's `SequentialRunner` with everything in memory; a map is a loop, it has no other."""
    import logging

    from kedro.io import DataCatalog, MemoryDataset
    from kedro.pipeline import node, pipeline
    from kedro.runner import SequentialRunner

    logging.disable(logging.CRITICAL)
    made = pipeline(
        [
            node(func, inputs=f"v{at}", outputs=f"v{at + 1}")
            for at, func in enumerate(functions(count))
        ]
    )

    def run(value: int) -> object:
        return SequentialRunner().run(made, DataCatalog({"v0": MemoryDataset(value)}))

    return run, lambda values: [run(value) for value in values]


def dagster(count: int) -> tuple[Run, Map]:
    """Dagster's `execute_in_process` with everything in memory; a map is a loop."""
    import logging

    from dagster import In, Out, job, mem_io_manager, op

    logging.disable(logging.CRITICAL)
    steps = [
        op(name=func.__name__, ins={f"v{at}": In(int)}, out=Out(int))(func)
        for at, func in enumerate(functions(count))
    ]

    @job(resource_defs={"io_manager": mem_io_manager}, input_values={"v0": 0})
    def chain(v0: Any) -> None:
        for step in steps:
            v0 = step(v0)

    def run(value: int) -> object:
        return chain.execute_in_process(input_values={"v0": value})

    return run, lambda values: [run(value) for value in values]


CHAINS: dict[str, Callable[[int], tuple[Run, Map]]] = {
    "hypernodes": hypernodes,
    "pipefunc": pipefunc,
    "hamilton": hamilton,
    "hypernodes 0.4.8": hypernodes_048,
    "kedro": kedro,
    "dagster": dagster,
}


def seconds(work: Callable[[], object], times: int) -> float:
    """Seconds for one call, from the mean of several."""
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


def serve(peer: str) -> None:
    """Measure once for each line on the standard input, and answer with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # peers may print
    loop, _ = plain(CHAIN)
    run, _ = CHAINS[peer](CHAIN)
    _, map_ = CHAINS[peer](3)
    values = list(range(ITEMS if peer == "hypernodes" else TIMES.get(peer, ITEMS)))
    run(0)
    for _ in sys.stdin:
        figures = {
            "loop": seconds(lambda: loop(1), 10_000) / CHAIN,
            "chain": seconds(lambda: run(1), TIMES.get(peer, 200)) / CHAIN,
            "map": seconds(lambda: map_(values), 1) / len(values),
        }
        if peer == "hypernodes":
            figures |= callbacks(values[: ITEMS // 5])
            figures |= {"build 1,000": build(1000), "build 5,000": build(5000)}
        answers.write(json.dumps(figures) + "\n")
        answers.flush()


def callbacks(values: list[int]) -> dict[str, float]:
    """Seconds that a node of a map takes with each callback, those that are not installed apart."""
    import contextlib

    from hypernodes import Pipeline, PipelineCallback, node, record

    pipeline = Pipeline([node(func) for func in functions(3)])
    watched: dict[str, tuple[list[Any], Any]] = {
        "no hooks": ([PipelineCallback()], contextlib.nullcontext)
    }
    with contextlib.suppress(ImportError):
        from hypernodes import ProgressCallback

        watched["ProgressCallback"] = ([ProgressCallback()], contextlib.nullcontext)
    watched["record()"] = ([PipelineCallback()], record)
    with contextlib.suppress(ImportError):
        from opentelemetry.sdk.trace import TracerProvider

        from hypernodes import TracingCallback

        watched["TracingCallback"] = ([TracingCallback(TracerProvider())], contextlib.nullcontext)
    taken = {}
    for name, (used, around) in watched.items():
        chain = pipeline.with_callbacks(used)
        with around():
            each = seconds(lambda chain=chain: chain.map({"v0": values}, map_over="v0"), 1)
        taken[f"with {name}"] = each / len(values) / 3
    return taken


def build(count: int) -> float:
    """Seconds to build a chain."""
    from hypernodes import Pipeline, node

    nodes = [node(func) for func in functions(count)]
    return seconds(lambda: Pipeline(nodes), 5)


# -- In the process that compares ----------------------------------------------------------------


def environment(peer: str, folder: Path, packages: Mapping[str, str] = PEERS) -> str:
    """The Python with the peer in it; made where it is missing."""
    if not packages[peer]:
        return sys.executable
    home = folder / peer.replace(" ", "-")
    python = home / "bin" / "python"
    if not (home / "made").exists():
        print(f"making an environment for {peer} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", packages[peer]], check=True)
        (home / "made").touch()
    return str(python)


class Server:
    """A process that measures a peer, once each time that it is asked."""

    def __init__(self, python: str, script: str, peer: str) -> None:
        self._process = subprocess.Popen(
            [python, script, "--serve", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def measure(self) -> dict[str, float]:
        """Ask it, and wait for the figures."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        figures: dict[str, float] = json.loads(self._process.stdout.readline())
        return figures

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def import_seconds(module: str) -> float:
    """Seconds that importing a module takes in a fresh process."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "hypernodes-benchmarks"
    servers = {peer: Server(environment(peer, folder), __file__, peer) for peer in PEERS}
    rounds: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
    imports: dict[str, list[float]] = {"networkx": [], "hypernodes": []}
    for _ in range(ROUNDS):
        for peer, server in servers.items():
            rounds[peer].append(server.measure())
        for module, taken in imports.items():
            taken.append(import_seconds(module))
    for server in servers.values():
        server.close()

    def median(peer: str, figure: str) -> float:
        return statistics.median(each[figure] for each in rounds[peer])

    loop = median("hypernodes", "loop")
    own = {figure: median("hypernodes", figure) for figure in ("chain", "map")}
    print(f"\n{'':18} {'chain of 10':>28}   {'map of 3 nodes':>28}")
    heads = f"{'us a node':>10} {'to loop':>8} {'to ours':>8}   {'us an item':>19} {'to ours':>8}"
    print(f"{'':18} {heads}")
    print(f"{'plain loop':18} {loop * 1e6:10.3f} {1:8.2f} {loop / own['chain']:8.2f}")
    for peer in PEERS:
        chain, mapped = median(peer, "chain"), median(peer, "map")
        print(
            f"{peer:18} {chain * 1e6:10.3f} {chain / median(peer, 'loop'):8.2f} "
            f"{chain / own['chain']:8.2f}   {mapped * 1e6:19.2f} {mapped / own['map']:8.2f}"
        )
    print(f"\n{'callback':18} {'us a node of a map':>28} {'more than none':>18}")
    names = [name for name in rounds["hypernodes"][0] if name.startswith("with ")]
    bare = median("hypernodes", "with no hooks")
    for name in names:
        taken_ = median("hypernodes", name)
        print(f"{name[5:]:18} {taken_ * 1e6:28.2f} {(taken_ - bare) * 1e6:18.2f}")
    built = [median("hypernodes", name) for name in ("build 1,000", "build 5,000")]
    taken = {module: statistics.median(each) for module, each in imports.items()}
    print(f"\nbuilding 5,000 nodes to 1,000:      {built[1] / built[0]:.2f}   (limit 6)")
    ratio = taken["hypernodes"] / taken["networkx"]
    print(f"import hypernodes to networkx:      {ratio:.2f}   (limit 1.3)")
    fastest = {f: min(median(peer, f) for peer in list(PEERS)[1:]) / own[f] for f in own}
    print(f"chain, fastest peer to ours:        {fastest['chain']:.1f}   (at least 7)")
    print(f"map, fastest peer to ours:          {fastest['map']:.1f}   (at least 10)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
