"""What the cache costs, beside joblib.Memory, hypernodes 0.4.8 and NumPy's own files.

    python benchmarks/caching.py [--quick] [--million] [--stores]

The peers run in processes with environments of their own, made at the first run and kept under
the user's cache folder; the processes take turns, one measurement each, and the table compares
medians. `--million` measures a hit among 1,000,000 entries (it writes 8 GB of small files);
`--stores` compares what could hold the entries: plain files, SQLite, LMDB and diskcache.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overhead import Server, environment, seconds

PEERS = {"hypernodes": "", "joblib": "joblib", "hypernodes 0.4.8": "hypernodes==0.4.8"}
CHAIN = 10
ROOT = Path(__file__).resolve().parents[1]

# -- A chain of small nodes, in the measured process ---------------------------------------------


def functions(folder: str) -> list[Callable[[int], int]]:
    """Functions of a real file, whose source all peers can read."""
    lines = [f"def v{at + 1}(v{at}: int) -> int:\n    return v{at} + 1\n" for at in range(CHAIN)]
    (Path(folder) / "chain_functions.py").write_text("\n".join(lines))
    sys.path.insert(0, folder)
    module = __import__("chain_functions")
    return [getattr(module, f"v{at + 1}") for at in range(CHAIN)]


Run = Callable[[int, "str | None"], object]
"""Runs the chain for an input; all outputs, or one."""


def hypernodes(folder: str) -> Run:
    """This library."""
    from hypernodes import DiskCache, Pipeline, node

    cache = DiskCache(f"{folder}/cache")
    pipeline = Pipeline([node(func) for func in functions(folder)], cache=cache)
    return lambda value, output: pipeline.run({"v0": value}, output)


def hypernodes_048(folder: str) -> Run:
    """The older library of the same name."""
    from hypernodes import DiskCache, Pipeline, SeqEngine, node

    made = [node(output_name=func.__name__)(func) for func in functions(folder)]
    engine = SeqEngine(cache=DiskCache(path=f"{folder}/cache"))
    pipeline = Pipeline(nodes=made, engine=engine)
    return lambda value, output: pipeline.run(inputs={"v0": value}, output_name=output)


def joblib(folder: str) -> Run:
    """joblib.Memory around each function."""
    from joblib import Memory

    memory = Memory(f"{folder}/cache", verbose=0)
    steps = [memory.cache(func) for func in functions(folder)]

    def run(value: int, output: str | None) -> dict[str, int]:
        values = {}
        for at, step in enumerate(steps):
            values[f"v{at + 1}"] = value = step(value)
        return values

    return run


CHAINS = {"hypernodes": hypernodes, "joblib": joblib, "hypernodes 0.4.8": hypernodes_048}


def serve(peer: str) -> None:
    """Measure once for each line on the standard input, and answer with a line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        run = CHAINS[peer](folder)
        run(0, None)
        run(0, f"v{CHAIN}")
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # peers may print
        fresh = iter(range(1000, 10**9, 1000))
        for _ in sys.stdin:
            figures = {
                "first": seconds(lambda: run(next(fresh), None), 20) / CHAIN,
                "hits": seconds(lambda: run(0, None), 200) / CHAIN,
                "last": seconds(lambda: run(0, f"v{CHAIN}"), 200) / CHAIN,
            }
            answers.write(json.dumps(figures) + "\n")
            answers.flush()


def compare_chains(rounds: int) -> None:
    """Print the table of the chain."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = home / "hypernodes-benchmarks"
    servers = {peer: Server(environment(peer, folder, PEERS), __file__, peer) for peer in PEERS}
    measured: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
    for _ in range(rounds):
        for peer, server in servers.items():
            measured[peer].append(server.measure())
    for server in servers.values():
        server.close()

    def median(peer: str, figure: str) -> float:
        return statistics.median(each[figure] for each in measured[peer])

    print(f"\n{'chain of 10, us a node':28} {'first run':>10} {'all hits':>10} {'last alone':>10}")
    for peer in PEERS:
        told = [f"{median(peer, figure) * 1e6:10.1f}" for figure in ("first", "hits", "last")]
        print(f"{peer:28} {' '.join(told)}")
    for figure, peer, limit in (
        ("hits", "joblib", 5),
        ("hits", "hypernodes 0.4.8", 1),
        ("first", "joblib", 3),
        ("first", "hypernodes 0.4.8", 3),
    ):
        ratio = median(peer, figure) / median("hypernodes", figure)
        print(f"{figure + ', ' + peer + ' to ours':44} {ratio:6.1f}   (at least {limit})")


# -- A large array -------------------------------------------------------------------------------


def compare_arrays(rounds: int) -> None:
    """Print what 100 MB cost, in ratios to NumPy's own files."""
    import numpy as np

    from hypernodes import DiskCache
    from hypernodes.identity.values import sign

    array = np.random.default_rng(0).random(12_500_000)
    taken: dict[str, list[float]] = {}

    def measure(name: str, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        result = work()
        taken.setdefault(name, []).append(time.perf_counter() - begun)
        del result

    with tempfile.TemporaryDirectory() as folder:
        cache = DiskCache(f"{folder}/cache")
        mapped = DiskCache(f"{folder}/cache", memory_mapped=True)
        for at in range(rounds):
            key = f"{at:04x}"
            file = f"{folder}/{at}.npy"
            measure("np.save", lambda file=file: np.save(file, array))  # type: ignore[misc]
            measure("store", lambda key=key: cache.store(key, array))  # type: ignore[misc]
            measure("np.load", lambda file=file: np.load(file))  # type: ignore[misc]
            measure("load", lambda key=key: cache.load(key))  # type: ignore[misc]
            measure("load, mapped", lambda key=key: mapped.load(key))  # type: ignore[misc]
            measure("hash", lambda: sign(array))
            os.unlink(file)
            cache.remove(key)
    middle = {name: statistics.median(each) for name, each in taken.items()}
    print("\nan array of 100 MB, ms")
    for name, value in middle.items():
        print(f"{name:28} {value * 1e3:10.1f}")
    print(f"{'store to np.save':44} {middle['store'] / middle['np.save']:6.2f}   (at most 1.3)")
    print(f"{'load to np.load':44} {middle['load'] / middle['np.load']:6.2f}   (at most 1.3)")
    print(f"{'hash (BLAKE2b), GB/s':44} {0.1 / middle['hash']:6.2f}")


# -- Code ----------------------------------------------------------------------------------------


def compare_signing(rounds: int) -> None:
    """Print what it costs to identify code, in ratios to reading the functions' own source."""
    import importlib
    import inspect
    from hashlib import blake2b

    from hypernodes import Node
    from hypernodes.identity import code, code_of

    sys.path.insert(0, str(ROOT / "flows"))
    flows = [importlib.import_module(file.stem) for file in sorted((ROOT / "flows").glob("*.py"))]
    nodes = [each.func for flow in flows for each in vars(flow).values() if isinstance(each, Node)]
    taken: dict[str, list[float]] = {}

    def measure(name: str, each: Callable[[Any], object]) -> None:
        begun = time.perf_counter()
        for func in nodes:
            each(func)
        taken.setdefault(name, []).append((time.perf_counter() - begun) / len(nodes))

    def by_source(func: Any) -> object:
        return blake2b(inspect.getsource(func).encode()).digest()

    measure("the first time", code_of)  # with the versions of packages, which are kept
    for _ in range(rounds):
        measure("its own source", by_source)
        measure("unchanged", code_of)
        code._memo.clear()
        measure("anew", code_of)
    middle = {name: statistics.median(each) for name, each in taken.items()}
    print(f"\nidentifying the code of a node, us ({len(nodes)} nodes of the flows)")
    for name, value in middle.items():
        print(f"{name:28} {value * 1e6:10.1f}")
    ratio = middle["unchanged"] / middle["its own source"]
    print(f"{'unchanged to reading its own source':44} {ratio:6.2f}   (at most 1)")


OF_PEOPLE = """
from dataclasses import dataclass
from pydantic import BaseModel

SETTINGS = {"rate": 0.1, "names": ["a", "b"]}

@dataclass(frozen=True)
class Point:
    x: int = 1
    label: str = "a"

class Reading(BaseModel):
    value: int = 1

def plain(x): return x
def as_people_write(x): return Reading(value=Point(x).x), SETTINGS["rate"]
"""


def compare_definitions(rounds: int) -> None:
    """Print what a warm run costs whose nodes use a dataclass, a model and a dict of settings."""
    from types import ModuleType

    from hypernodes import MemoryCache, Pipeline, node

    module = sys.modules["of_people"] = ModuleType("of_people")
    exec(OF_PEOPLE, vars(module))
    taken: dict[str, list[float]] = {}
    pipelines = {}
    for name in ("plain", "as_people_write"):
        source = "".join(f"def {name}{at}(x): return {name}(x)\n" for at in range(CHAIN))
        exec(source, vars(module))
        nodes = [node(getattr(module, f"{name}{at}"), output_name=f"v{at}") for at in range(CHAIN)]
        pipelines[name] = Pipeline(nodes, cache=MemoryCache())
        for _ in range(3):  # Python adds to some classes when they are first used
            pipelines[name].run({"x": 1})
    for _ in range(rounds):
        for name, pipeline in pipelines.items():
            run = seconds(lambda pipeline=pipeline: pipeline.run({"x": 1}), 10)
            taken.setdefault(name, []).append(run / CHAIN)
    plain, written = (statistics.median(taken[name]) for name in pipelines)
    print("\na node from the cache whose code uses a dataclass, a model and a dict")
    print(f"{'us':28} {written * 1e6:10.1f}   (plain code {plain * 1e6:.1f})")


# -- Many entries --------------------------------------------------------------------------------


def compare_sizes(counts: list[int], rounds: int) -> None:
    """Print what a hit costs among few and many entries, of known ones and of new ones."""
    from hypernodes import DiskCache

    with tempfile.TemporaryDirectory() as folder:
        caches = {}
        for count in counts:
            cache = DiskCache(f"{folder}/{count}")
            begun = time.perf_counter()
            for at in range(count):
                cache.store(key_of(at), at, {"node": f"n{at % 7}"})
            print(f"stored {count:,} entries in {time.perf_counter() - begun:.0f} s", flush=True)
            caches[count] = cache
        dice = random.Random(1)
        again: dict[int, list[float]] = {count: [] for count in counts}
        new: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(rounds):
            for count in counts:
                keys = [key_of(dice.randrange(count)) for _ in range(500)]
                fresh = DiskCache(f"{folder}/{count}")  # has nothing in memory
                new[count] += hit_seconds(fresh, keys)
                again[count] += hit_seconds(fresh, keys)
        few, many = counts
        print(f"\na hit among many entries, us{'':10} {few:>12,} {many:>12,}")
        for name, taken in (("not read before", new), ("read before", again)):
            for what, average in (("median", statistics.median), ("mean", statistics.fmean)):
                middle = [average(taken[count]) for count in counts]
                told = " ".join(f"{each * 1e6:12.2f}" for each in middle)
                limit = "   (at most 2)" if what == "median" else "   (waits for the disk, too)"
                print(f"{f'{name}, {what}':38} {told} {middle[1] / middle[0]:6.2f}{limit}")


def key_of(at: int) -> str:
    """A key that is spread as signatures are."""
    return f"{(at * 0x9E3779B97F4A7C15 + 0x1234) % 2**128:032x}"[::-1]


def hit_seconds(cache: Any, keys: list[str]) -> list[float]:
    """Seconds to find and load each entry."""
    taken = []
    for key in keys:
        begun = time.perf_counter()
        cache.find(key)()
        taken.append(time.perf_counter() - begun)
    return taken


# -- What could hold the entries -----------------------------------------------------------------


@contextmanager
def plain_files(folder: str) -> Iterator[tuple[Any, Any]]:
    """`DiskCache`'s way, without its headers and checksums."""
    for at in range(256):
        os.makedirs(f"{folder}/{at:02x}", exist_ok=True)

    def put(key: str, data: bytes) -> None:
        aside = f"{folder}/{key[:2]}/.{os.urandom(8).hex()}"
        with open(aside, "xb", buffering=0) as file:
            file.write(data)
        os.replace(aside, f"{folder}/{key[:2]}/{key}")

    def get(key: str) -> bytes:
        with open(f"{folder}/{key[:2]}/{key}", "rb", buffering=0) as file:
            return file.read()

    yield put, get


@contextmanager
def sqlite(folder: str) -> Iterator[tuple[Any, Any]]:
    """One table, write-ahead log, one transaction an entry."""
    import sqlite3

    made = sqlite3.connect(f"{folder}/entries.db", isolation_level=None, timeout=60)
    made.execute("pragma journal_mode=wal")
    made.execute("pragma synchronous=normal")
    made.execute("create table if not exists entries (key text primary key, data blob)")

    def put(key: str, data: bytes) -> None:
        made.execute("insert or replace into entries values (?, ?)", (key, data))

    def get(key: str) -> bytes:
        row = made.execute("select data from entries where key = ?", (key,)).fetchone()
        return bytes(row[0])

    yield put, get
    made.close()


@contextmanager
def lmdb(folder: str) -> Iterator[tuple[Any, Any]]:
    """One transaction an entry; no sync, as nothing is synced to the disk by the others."""
    import lmdb as library

    made = library.open(folder, map_size=8 << 30, sync=False, metasync=False)

    def put(key: str, data: bytes) -> None:
        with made.begin(write=True) as transaction:
            transaction.put(key.encode(), data)

    def get(key: str) -> bytes:
        with made.begin() as transaction:
            return bytes(transaction.get(key.encode()))

    yield put, get
    made.close()


@contextmanager
def diskcache(folder: str) -> Iterator[tuple[Any, Any]]:
    """Its defaults: SQLite with large values in files, and an eviction policy."""
    import diskcache as library

    made = library.Cache(folder, size_limit=8 << 30)
    yield made.set, made.get
    made.close()


STORES = {"plain files": plain_files, "sqlite": sqlite, "lmdb": lmdb, "diskcache": diskcache}


def write_many(name: str, folder: str, seed: int, count: int) -> None:
    """What each of several processes does at once."""
    with STORES[name](folder) as (put, get):
        for at in range(count):
            key = f"{random.Random(at * 31 + seed).getrandbits(128):032x}"
            put(key, pickle.dumps(at))
            get(key)


def compare_stores(rounds: int) -> None:
    """Print what each of the ways to hold entries costs, and what a flipped bit costs."""
    from concurrent.futures import ProcessPoolExecutor

    sizes = {"200 B": 200, "100 kB": 100_000, "50 MB": 50_000_000}
    print(f"\n{'what could hold entries':16} " + " ".join(f"{n + ' w/r':>19}" for n in sizes))
    for name, open_ in STORES.items():
        told = []
        with tempfile.TemporaryDirectory() as folder, open_(folder) as (put, get):
            for size in sizes.values():
                data = os.urandom(size)
                count = max(3, min(1000, 20_000_000 // size)) if rounds > 3 else 3
                keys = [f"{random.getrandbits(128):032x}" for _ in range(count)]
                begun = time.perf_counter()
                for key in keys:
                    put(key, data)
                written = time.perf_counter()
                for key in keys:
                    assert len(get(key)) == size
                read = time.perf_counter()
                told.append(
                    f"{(written - begun) / count * 1e6:9.0f}/{(read - written) / count * 1e6:9.0f}"
                )
        with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(4) as pool:
            with open_(folder):
                pass
            begun = time.perf_counter()
            errors = 0
            for work in [pool.submit(write_many, name, folder, s, 500) for s in range(4)]:
                try:
                    work.result()
                except Exception:
                    errors += 1
            together = (time.perf_counter() - begun) / 2000 * 1e6
        lost = survivors(open_)
        print(
            f"{name:16} {' '.join(told)} us; 4 processes: {together:5.0f} us, {errors} errors; "
            f"a damaged page loses {lost} of 1000"
        )


def survivors(open_: Any) -> str:
    """How many of 1,000 entries are lost where 4 kB in the middle of the largest file are."""
    with tempfile.TemporaryDirectory() as folder:
        keys = [f"{random.getrandbits(128):032x}" for _ in range(1000)]
        with open_(folder) as (put, _):
            for key in keys:
                put(key, pickle.dumps([key] * 10))
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        with open(largest, "r+b") as file:
            for place in (0, largest.stat().st_size // 2):
                file.seek(place)
                file.write(b"\xff" * min(4096, largest.stat().st_size))
        lost = 0
        try:
            with open_(folder) as (_, get):
                for key in keys:
                    try:
                        lost += pickle.loads(get(key)) != [key] * 10
                    except Exception:
                        lost += 1
        except Exception:
            return "all"
        return str(lost)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What the cache costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--million", action="store_true", help="a hit among 1,000,000 entries")
    parser.add_argument("--stores", action="store_true", help="what could hold the entries")
    parser.add_argument("--serve", metavar="PEER", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve)
        return
    rounds = 3 if chosen.quick else 15
    compare_chains(rounds)
    compare_signing(rounds)
    compare_definitions(rounds)
    compare_arrays(max(3, rounds // 2))
    compare_sizes([1_000, 1_000_000 if chosen.million else 20_000], rounds)
    if chosen.stores:
        compare_stores(rounds)


if __name__ == "__main__":
    main()
