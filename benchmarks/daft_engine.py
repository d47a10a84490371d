"""What DaftEngine costs: beside Daft by hand, a plain loop, the native engine and its predecessor.

    python benchmarks/daft_engine.py                          # a few minutes
    python benchmarks/daft_engine.py --quick
    python benchmarks/daft_engine.py --peer-python PATH       # with hypernodes==0.4.8 there
    python benchmarks/daft_engine.py --only floor nested      # beside batch UDFs by hand
    python benchmarks/daft_engine.py --only text --text 5     # 5 GB of text in chunks, on disk

The ways take turns, one measurement each, so that what else the machine does falls on all of
them, and medians are compared. The peer runs in a process of its own, with an environment made by
`pip install hypernodes==0.4.8 getdaft==0.6.14` or `daft==0.6.14`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
os.environ.setdefault("DAFT_SHOW_QUERY_ID", "0")
os.environ.setdefault("DO_NOT_TRACK", "1")


def first(x: int) -> int:
    return x + 1


def second(a: int) -> int:
    return a * 2


def third(b: int) -> int:
    return b - 3


def seconds(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def rounds(ways: dict[str, Callable[[], float]], count: int) -> dict[str, float]:
    """The median of each way's seconds; the first round only warms up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for place in range(count + 1):
        for name, way in ways.items():
            figure = way()
            if place:
                taken[name].append(figure)
    return {name: statistics.median(each) for name, each in taken.items()}


def report(title: str, rows: list[tuple[str, str, str]]) -> None:
    """Print a table of a few lines."""
    print(f"\n{title}")
    for name, figure, note in rows:
        print(f"  {name:38} {figure:>14}   {note}")


# -- Three trivial nodes -------------------------------------------------------------------------


def serve_peer(rows: int) -> None:
    """In the peer's environment: a measurement for each line on the standard input."""
    from hypernodes import Pipeline, node  # type: ignore[attr-defined]

    try:
        from hypernodes.engines import DaftEngine
    except ImportError:
        from hypernodes.integrations.daft.engine import DaftEngine  # type: ignore

    named = {"a": first, "b": second, "c": third}
    nodes = [node(output_name=name)(func) for name, func in named.items()]
    pipeline = Pipeline(nodes=nodes, engine=DaftEngine())
    given = {"x": list(range(rows))}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for _ in sys.stdin:
        taken = seconds(lambda: pipeline.map(inputs=given, map_over="x"))
        answers.write(json.dumps(taken) + "\n")
        answers.flush()


def trivial(rows: int, count: int, peer_python: str | None) -> None:
    """A map of three trivial nodes."""
    import daft

    from hypernodes import DaftEngine, MemoryCache, Node, Pipeline, PipelineCallback

    class Counting(PipelineCallback):
        told = 0

        def on_node_start(self, *_: Any) -> None:
            self.told += 1

        def on_node_end(self, *_: Any) -> None:
            self.told += 1

        def on_map_item_end(self, *_: Any) -> None:
            self.told += 1

    nodes = [Node(first, "a"), Node(second, "b"), Node(third, "c")]
    pipeline = Pipeline(nodes, engine=DaftEngine())
    values = list(range(rows))
    columns = {"a": ("x", first), "b": ("a", second), "c": ("b", third)}

    def loop() -> object:
        results = []
        for x in values:
            a = first(x)
            b = second(a)
            results.append({"a": a, "b": b, "c": third(b)})
        return results

    def by_hand() -> object:
        frame = daft.from_pydict({"x": values})
        for name, (read, func) in columns.items():
            frame = frame.with_column(name, daft.func(func)(daft.col(read)))
        return frame.select("a", "b", "c").to_pylist()

    def reported() -> object:
        told = pipeline.with_cache(MemoryCache()).with_callbacks([Counting()])
        return told.map({"x": values}, "x")

    ways: dict[str, Callable[[], float]] = {
        "plain loop": lambda: seconds(loop),
        "by hand, row UDFs": lambda: seconds(by_hand),
        "DaftEngine": lambda: seconds(lambda: pipeline.map({"x": values}, "x")),
        "DaftEngine, cache misses and callbacks": lambda: seconds(reported),
    }
    server: subprocess.Popen[str] | None = None
    if peer_python:
        server = subprocess.Popen(
            [peer_python, __file__, "--serve-peer", str(rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=tempfile.gettempdir(),
        )

        def ask() -> float:
            assert server is not None
            assert server.stdin
            assert server.stdout
            server.stdin.write("\n")
            server.stdin.flush()
            return float(json.loads(server.stdout.readline()))

        ways["hypernodes 0.4.8"] = ask
    taken = rounds(ways, count)
    if server is not None:
        server.communicate()
    own, hand = taken["DaftEngine"], taken["by hand, row UDFs"]
    notes = {
        "DaftEngine": f"{own / hand:.2f} of by hand (below 1)",
        "DaftEngine, cache misses and callbacks": (
            f"{taken['DaftEngine, cache misses and callbacks'] / hand:.1f} of by hand (at most 5), "
            f"{taken['DaftEngine, cache misses and callbacks'] / own:.1f} of without"
        ),
    }
    if peer_python:
        notes["hypernodes 0.4.8"] = f"{taken['hypernodes 0.4.8'] / own:.1f} of ours (at least 10)"
    table = [
        (name, f"{each / rows * 1e6:.2f} us a row", notes.get(name, ""))
        for name, each in taken.items()
    ]
    report(f"map of 3 trivial nodes over {rows:,} rows", table)


# -- Beside batch UDFs by hand -------------------------------------------------------------------


def floor_ways(rows: int) -> dict[str, Callable[[], object]]:
    """Three trivial nodes in each of three ways, by hand and by the engine."""
    import daft

    from hypernodes import DaftEngine, Node, Pipeline

    int64 = daft.DataType.int64()
    columns = {"a": ("x", first), "b": ("a", second), "c": ("b", third)}
    values = list(range(rows))
    frame = daft.from_pydict({"x": values}).collect()
    pipeline = Pipeline([Node(func, name) for name, (_, func) in columns.items()])
    collected = pipeline.with_engine(DaftEngine())
    lazy = pipeline.with_engine(DaftEngine(collect=False))

    def batch(func: Callable[[int], int]) -> Any:
        @daft.func.batch(return_dtype=int64)
        def call(series: daft.Series) -> daft.Series:
            made = [func(value) for value in series.to_pylist()]
            return daft.Series.from_pylist(made, dtype=int64)

        return call

    batches = {name: (read, batch(func)) for name, (read, func) in columns.items()}

    def by_hand(frame: Any) -> Any:
        for name, (read, function) in batches.items():
            frame = frame.with_column(name, function(daft.col(read)))
        return frame.select(*columns)

    return {
        "list, by hand": lambda: by_hand(daft.from_pydict({"x": values})).to_pylist(),
        "list": lambda: collected.map({"x": values}, "x"),
        "frame, by hand": lambda: by_hand(frame).to_pylist(),
        "frame": lambda: collected.map(frame, "x"),
        "lazy, by hand": lambda: by_hand(frame).collect(),
        "lazy": lambda: lazy.map(frame, "x").select(*columns).collect(),
    }


def vector(chunk: str) -> list[float]:
    """What stands for an embedding."""
    return [float(len(chunk)), 1.0]


def nested_ways(documents: int, chunks: int) -> dict[str, Callable[[], object]]:
    """A nested map over the chunks of documents."""
    import daft
    from daft import DataType, Series, col

    from hypernodes import DaftEngine, Node, Pipeline, PipelineCallback

    class Counting(PipelineCallback):
        heard = 0

        def on_node_end(self, *_: Any) -> None:
            self.heard += 1

    vectors = DataType.list(DataType.float64())
    texts = [[f"{i} {j} " + "x" * 90 for j in range(chunks)] for i in range(documents)]
    inner = Pipeline([Node(vector, "vector")], name="embed")
    each = inner.as_node(map_over={"chunks": "chunk"}, output_mapping={"vector": "vectors"})
    pipeline = Pipeline([each, Node(len_of, "count")], name="index", engine=DaftEngine())

    @daft.func.batch(return_dtype=vectors)
    def embed(series: daft.Series) -> daft.Series:
        return Series.from_pylist([vector(chunk) for chunk in series.to_pylist()], dtype=vectors)

    @daft.func.batch(return_dtype=DataType.int64())
    def count(series: daft.Series) -> daft.Series:
        return Series.from_pylist([len(each) for each in series.to_pylist()])

    def by_hand() -> object:
        frame = daft.from_pydict({"place": list(range(documents)), "chunks": texts})
        frame = frame.explode("chunks").with_column("vector", embed(col("chunks")))
        frame = frame.groupby("place").agg(col("vector").list_agg().alias("vectors"))
        return frame.sort("place").with_column("count", count(col("vectors"))).to_pylist()

    return {
        "by hand": by_hand,
        "DaftEngine": lambda: pipeline.map({"chunks": texts}, "chunks"),
        "DaftEngine, a callback": lambda: pipeline.with_callbacks([Counting()]).map(
            {"chunks": texts}, "chunks"
        ),
    }


def len_of(vectors: list[list[float]]) -> int:
    """How many vectors there are."""
    return len(vectors)


def ways_of(kind: str, size: list[int]) -> dict[str, Callable[[], object]]:
    """The ways of a table by its name."""
    return floor_ways(*size) if kind == "floor" else nested_ways(*size)


def peak(kind: str, size: list[int], way: str) -> float:
    """How many MiB a way takes above what the process has before it."""
    command = [sys.executable, __file__, "--peak", kind, json.dumps(size), way]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure_peak(kind: str, size: list[int], way: str) -> None:
    """In a process of its own: run a way once, and print what it took at most."""
    run = ways_of(kind, size)[way]
    ways_of(kind, [10] * len(size))[way]()  # imports, threads
    before = high_water()
    run()
    print(high_water() - before)


def high_water() -> float:
    """The most memory that this process has had, in MiB; nan where Linux does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    # Not `getrusage`: that begins with what the process had that started this one.
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def beside_batches(kind: str, size: list[int], count: int) -> None:
    """Time and memory of ways, each beside the one by hand."""
    ways = ways_of(kind, size)
    taken = rounds({name: (lambda w=way: seconds(w)) for name, way in ways.items()}, count)
    items, table = 1, []
    for number in size:
        items *= number
    for name, each in taken.items():
        hand = name if "by hand" in name else f"{name}, by hand"
        note = f"{each / taken[hand if hand in taken else 'by hand']:.2f} of by hand"
        memory = f"{peak(kind, size, name):.0f} MiB"
        table.append((name, f"{each / items * 1e6:.2f} us", f"{memory:>9}   {note}"))
    sizes = " x ".join(f"{number:,}" for number in size)
    what = "3 trivial nodes" if kind == "floor" else "a nested map of chunks"
    report(f"{what}, {sizes}: time for each, memory, beside batch UDFs by hand", table)


# -- Work ----------------------------------------------------------------------------------------


def burn(x: int) -> int:
    """Pure Python that takes about 50 ms."""
    total = x
    for place in range(800_000):
        total = (total * 31 + place) % 1_000_003
    return total


def cpu_bound(items: int, count: int) -> None:
    """A CPU-bound node in Daft's processes."""
    from hypernodes import DaftEngine, Node, Pipeline

    apart = {"use_process": True, "batch_size": max(1, items // 16)}
    pipeline = Pipeline([Node(burn, "y", daft=apart)])
    values = {"x": list(range(items))}
    on_daft = pipeline.with_engine(DaftEngine())

    def bare() -> object:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(burn, values["x"], chunksize=apart["batch_size"]))

    taken = rounds(
        {
            "native, sequential": lambda: seconds(lambda: pipeline.map(values, "x")),
            "DaftEngine, use_process": lambda: seconds(lambda: on_daft.map(values, "x")),
            "a bare ProcessPoolExecutor": lambda: seconds(bare),
        },
        count,
    )
    alone = taken["native, sequential"]
    notes = {"DaftEngine, use_process": " (at least 1.6)"}
    report(
        f"a CPU-bound node, {items} items, {os.cpu_count()} CPUs",
        [
            (name, f"{each:.2f} s", f"{alone / each:.2f} times faster{notes.get(name, '')}")
            for name, each in taken.items()
        ],
    )


def waiting(items: int, at_once: int, count: int) -> None:
    """An async node that waits for 10 ms."""
    from hypernodes import DaftEngine, Node, Pipeline

    running, peak = 0, 0

    async def wait(x: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01)
        running -= 1
        return x

    pipeline = Pipeline([Node(wait, "y", daft={"concurrency": at_once})], engine=DaftEngine())
    values = {"x": list(range(items))}

    async def bare() -> None:
        gate = asyncio.Semaphore(at_once)

        async def one(x: int) -> int:
            async with gate:
                return await wait(x)

        await asyncio.gather(*[one(x) for x in values["x"]])

    taken = rounds(
        {
            "DaftEngine": lambda: seconds(lambda: pipeline.map(values, "x")),
            "asyncio with a semaphore": lambda: seconds(lambda: asyncio.run(bare())),
        },
        count,
    )
    ideal = items / at_once * 0.01
    notes = {"DaftEngine": " (at least 80 %)"}
    report(
        f"an async node of 10 ms, {items:,} rows, {at_once} at a time",
        [
            (name, f"{each:.3f} s", f"{ideal / each:.0%} of ideal{notes.get(name, '')}")
            for name, each in taken.items()
        ]
        + [
            ("most in flight", str(peak), f"(at most {at_once})"),
        ],
    )


def vectors(rows: int, count: int) -> None:
    """A batch node over a column of numbers."""
    import daft
    import numpy as np
    from numpy.typing import NDArray

    from hypernodes import DaftEngine, Node, Pipeline

    def scale(x: Any) -> Any:
        return np.sqrt(np.abs(np.sin(x))) * 2 + np.log1p(x)

    scale.__annotations__ = dict.fromkeys(("x", "return"), NDArray[np.float64])

    @daft.func.batch(return_dtype=daft.DataType.float64())
    def plain(x: daft.Series) -> daft.Series:
        return daft.Series.from_numpy(scale(x.to_arrow().to_numpy()))

    frame = daft.from_pydict({"x": np.arange(rows, dtype=np.float64)}).collect()
    pipeline = Pipeline([Node(scale, "y", batch="numpy")], engine=DaftEngine(collect=False))

    def total(column: Any) -> object:
        return column.sum("y").to_pydict()

    taken = rounds(
        {
            "plain Daft": lambda: seconds(
                lambda: total(frame.select(plain(daft.col("x")).alias("y")))
            ),
            "DaftEngine": lambda: seconds(lambda: total(pipeline.map(frame, "x"))),
        },
        count,
    )
    ratio = taken["DaftEngine"] / taken["plain Daft"]
    report(
        f"a batch node over {rows:,} rows",
        [(name, f"{each:.3f} s", "") for name, each in taken.items()]
        + [("ratio", f"{ratio:.2f}", "(at most 1.2)")],
    )


def cached(items: int) -> None:
    """The second map of what is in the cache."""
    from hypernodes import DaftEngine, DiskCache, Node, Pipeline

    calls = 0

    def slow(x: int) -> int:
        nonlocal calls
        calls += 1
        time.sleep(0.001)
        return x + 1

    def slower(y: int) -> int:
        return slow(y)

    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            [Node(slow, "y"), Node(slower, "z")], engine=DaftEngine(), cache=DiskCache(folder)
        )
        values = {"x": list(range(items))}
        once = seconds(lambda: pipeline.map(values, "x", output_name="z"))
        before = calls
        again = seconds(lambda: pipeline.map(values, "x", output_name="z"))
    report(
        f"all cached, {items:,} items, 2 nodes of 1 ms",
        [
            ("first map", f"{once:.2f} s", ""),
            ("second map", f"{again:.2f} s", f"{once / again:.1f} times faster (at least 10)"),
            ("calls in the second map", str(calls - before), "(none)"),
        ],
    )


def parquet(rows: int, folder: str) -> None:
    """In a process of its own: from Parquet to Parquet, and the peak of its memory."""
    import resource

    import daft

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "flows"))
    from parquet_daft import make_data, reading

    from hypernodes import DaftEngine

    raw = make_data(folder, rows)
    frame = daft.read_parquet(f"{raw}/*.parquet")
    lazy = reading.with_engine(DaftEngine(collect=False)).map(
        frame, map_over=["station", "seconds", "reading"], output_name=["celsius", "month"]
    )
    taken = seconds(lambda: lazy.write_parquet(f"{folder}/out", write_mode="overwrite"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    count = daft.read_parquet(f"{folder}/out/*.parquet").count_rows()
    assert count == rows, count
    report(
        f"{rows:,} rows from Parquet to Parquet, 2 nodes",
        [("seconds", f"{taken:.1f}", ""), ("peak memory", f"{peak:.2f} GiB", "(below 2 GB)")],
    )


def chunks_of(text: str) -> list[str]:
    """A document in chunks of 1,000 characters."""
    return [text[at : at + 1000] for at in range(0, len(text), 1000)]


def words_of(chunk: str) -> int:
    """How many words a chunk has."""
    return len(chunk.split())


def text_parquet(gigabytes: float, folder: str) -> None:
    """In a process of its own: a nested map over texts, Parquet to Parquet, and its memory."""
    import random

    import daft

    from hypernodes import DaftEngine, Node, Pipeline

    random.seed(25)
    size, each, files = 100_000, 200, max(1, round(gigabytes * 1e9 / 100_000 / 200))
    pool = " ".join(f"{random.getrandbits(40):x}" for _ in range(2_000_000))
    for _ in range(files):  # of 20 MB each
        starts = [random.randrange(len(pool) - size) for _ in range(each)]
        texts = [pool[start : start + size] for start in starts]
        daft.from_pydict({"text": texts}).write_parquet(f"{folder}/texts")
    before = high_water() / 1024
    inner = Pipeline([Node(words_of, "words")], name="chunk")
    counted = inner.as_node(map_over={"chunks": "chunk"}, output_mapping={"words": "counts"})
    pipeline = Pipeline(
        [Node(chunks_of, "chunks"), counted, Node(sum_of, "total")],
        name="documents",
        engine=DaftEngine(collect=False),
    )
    frame = daft.read_parquet(f"{folder}/texts/*.parquet")
    lazy = pipeline.map(frame, map_over="text", output_name=["counts", "total"])
    taken = seconds(lambda: lazy.exclude("text").write_parquet(f"{folder}/out"))
    peak = high_water() / 1024
    done = daft.read_parquet(f"{folder}/out/*.parquet")
    assert done.count_rows() == files * each
    total = files * each * size
    report(
        f"{total / 1e9:.2f} GB of text from Parquet, {total // 1000:,} chunks in nested maps",
        [
            ("seconds", f"{taken:.1f}", f"{total / 1e6 / taken:.0f} MB a second"),
            ("peak memory", f"{peak:.2f} GiB", f"{before:.2f} before (at most 1.5)"),
        ],
    )


def sum_of(counts: list[int]) -> int:
    """The words of a document."""
    return sum(counts)


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, few rounds")
    parser.add_argument("--peer-python", help="a Python that has hypernodes==0.4.8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="these tables")
    parser.add_argument("--text", type=float, default=1.0, help="gigabytes of text (default: 1)")
    parser.add_argument("--text-parquet", help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve-peer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parquet", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve_peer:
        serve_peer(options.serve_peer)
        return
    if options.parquet:
        parquet(int(options.parquet[0]), options.parquet[1])
        return
    if options.peak:
        kind, size, way = options.peak
        measure_peak(kind, json.loads(size), way)
        return
    if options.text_parquet:
        text_parquet(options.text, options.text_parquet)
        return
    part = 10 if options.quick else 1
    count = 3 if options.quick else options.rounds

    def apart(*arguments: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, __file__, *arguments, folder], check=True)

    text = options.text / part
    tables: dict[str, Callable[[], None]] = {
        "trivial": lambda: trivial(100_000 // part, count, options.peer_python),
        "floor": lambda: beside_batches("floor", [100_000 // part], count),
        "nested": lambda: beside_batches("nested", [200, 50 // min(part, 5)], count),
        "cpu": lambda: cpu_bound(640 if part == 1 else 64, min(count, 3)),
        "waiting": lambda: waiting(1000, 50, count),
        "vectors": lambda: vectors(10_000_000 // part, count),
        "cached": lambda: cached(10_000 // part),
        "parquet": lambda: apart("--parquet", str(10_000_000 // part)),
        "text": lambda: apart("--text", str(text), "--text-parquet"),
    }
    for name in TABLES:
        if name in options.only:
            tables[name]()


TABLES = ("trivial", "floor", "nested", "cpu", "waiting", "vectors", "cached", "parquet", "text")


if __name__ == "__main__":
    main(sys.argv[1:])
