"""The cache under violence: kills, many processes, damage, full disks, folders that go away.

HYPERNODES_STRESS scales the two long ones: 1 is what the project's own figures are (200 killed
runs, 30 seconds), which takes about two minutes; by default it is 0.15.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from hypernodes import CacheWarning, DiskCache, Pipeline, node

SCALE = float(os.environ.get("HYPERNODES_STRESS", "0.15"))
KILLS = max(10, round(200 * SCALE))
SECONDS = max(3.0, 30 * SCALE)
PROCESSES = 8
ENTRIES = 10_000

# -- Killed runs ---------------------------------------------------------------------------------

CHAIN = 12
KILLED = """
import os, sys, time
from hypernodes import DiskCache, Pipeline, node

folder, seed = sys.argv[1], int(sys.argv[2])
log = os.open(os.path.join(folder, f"log-{seed}"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def make(place):
    def run(value):
        os.write(log, b"%d\\n" % place)
        time.sleep(0.002)
        if place == CHAIN - 2 and os.path.exists(folder + "/hold"):
            time.sleep(60)  # the kill comes before the end, however late it is
        return [value[0] * 31 + place] + list(range(3000))

    scope = {"run": run}
    exec(f"def v{place + 1}(v{place}):\\n    return run(v{place})", scope)
    return node(scope[f"v{place + 1}"])

pipeline = Pipeline([make(place) for place in range(CHAIN)], cache=DiskCache(folder + "/cache"))
print(pipeline.run({"v0": [seed]}, f"v{CHAIN}")[f"v{CHAIN}"][0], flush=True)
"""


def expected(seed: int) -> int:
    value = seed
    for place in range(CHAIN):
        value = value * 31 + place
    return value


def test_killed_runs_are_finished_without_computing_again_what_had_finished(
    tmp_path: Path,
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED.replace("CHAIN", str(CHAIN)))
    dice = random.Random(4)
    once = [sys.executable, "-W", "error", str(script), str(tmp_path)]
    done = subprocess.run([*once, "0"], capture_output=True, text=True, check=True)
    assert int(done.stdout) == expected(0)
    cut = 0
    hold = tmp_path / "hold"
    for seed in range(1, KILLS + 1):
        hold.touch()
        first = subprocess.Popen([*once, str(seed)], stdout=subprocess.DEVNULL)
        log = tmp_path / f"log-{seed}"
        wait_until(lambda: log.exists() and log.stat().st_size, every=0.001)  # noqa: B023
        time.sleep(dice.uniform(0, CHAIN * 0.003))
        first.send_signal(signal.SIGKILL)
        first.wait()
        hold.unlink()
        before = log.read_text().split()
        cut += 0 < len(before) < CHAIN
        done = subprocess.run([*once, str(seed)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == expected(seed)
        after = log.read_text().split()[len(before) :]
        # Each node runs once, but for the one that was running when the kill came.
        assert after == [str(place) for place in range(CHAIN)][CHAIN - len(after) :]
        assert len(before) + len(after) in (CHAIN, CHAIN + 1)
    assert cut == KILLS, "all are killed in the middle"


# -- Many processes ------------------------------------------------------------------------------


def value_of(key: str) -> list[Any]:
    return [key, "x" * (int(key[-2:], 16) * 20)]


def hammer(folder: str, seed: int, everybody: Any, problems: Any) -> None:
    everybody.wait(120)
    until = time.time() + SECONDS
    warnings.simplefilter("error")
    dice = random.Random(seed)
    cache = DiskCache(folder, max_bytes=300_000)
    done = 0
    try:
        while time.time() < until:
            key = f"{dice.randrange(400):08x}"
            choice = dice.random()
            if choice < 0.45:
                cache.store(key, value_of(key), {"node": f"n{key[-1]}"})
            elif choice < 0.95:
                loader = cache.find(key)
                try:
                    if loader is not None and loader() != value_of(key):
                        problems.put(f"wrong value of {key}")
                except KeyError:
                    pass  # removed in the meantime
            elif choice < 0.97:
                cache.prune(max_bytes=100_000)
            elif choice < 0.98:
                cache.clear(node=f"n{dice.randrange(16):x}")
            elif choice < 0.99:
                cache.stats()
            elif choice < 0.995:
                cache.clear()
            else:
                cache.remove(key)
            done += 1
    except BaseException as error:
        problems.put(repr(error))
    problems.put(done)


def test_many_processes_read_write_evict_and_clear_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    problems = context.Queue()
    everybody = context.Barrier(PROCESSES)
    workers = [
        context.Process(target=hammer, args=(str(tmp_path / "cache"), seed, everybody, problems))
        for seed in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    told = [problems.get(timeout=SECONDS + 120) for _ in workers]
    for worker in workers:
        worker.join(60)
    while not problems.empty():
        told.append(problems.get())
    assert [each for each in told if not isinstance(each, int)] == []
    assert sum(told) > 1000
    cache = DiskCache(tmp_path / "cache")
    assert all(cache.load(entry.key) == value_of(entry.key) for entry in cache.entries())
    assert not list((tmp_path / "cache").rglob(".writing-*"))


# -- Damage --------------------------------------------------------------------------------------


def test_ten_thousand_damaged_entries_are_ten_thousand_misses(tmp_path: Path) -> None:
    dice = random.Random(2)
    cache = DiskCache(tmp_path)
    keys = [f"{place * 7919 % (1 << 32):08x}" for place in range(ENTRIES)]
    for key in keys:
        cache.store(key, {"key": key, "data": [1.5] * 20}, {"node": "n", "duration": 0.1})
    for at, key in enumerate(keys):
        file = tmp_path / key[:2] / key
        data = bytearray(file.read_bytes())
        kind = at % 3
        if kind == 0:
            for _ in range(dice.randrange(1, 4)):
                place = dice.randrange(len(data))
                data[place] ^= 1 << dice.randrange(8)
            if bytes(data) == file.read_bytes():  # the same bit twice
                data[0] ^= 1
            file.write_bytes(data)
        elif kind == 1:
            file.write_bytes(data[: dice.randrange(len(data))])
        else:
            other = tmp_path / keys[at - 1][:2] / keys[at - 1]
            aside = tmp_path / "aside"
            file.rename(aside)  # swapped with one that is damaged as well
            other.rename(file)
            aside.rename(other)
    assert sum(1 for _ in cache.entries()) == ENTRIES
    cache.stats()
    for key in keys:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            loader = cache.find(key)
            assert loader is not None
            with pytest.raises(KeyError):
                loader()
        assert len(told) == 1
        assert issubclass(told[0].category, CacheWarning)
    assert len(cache) == 0


def test_whole_entries_in_each_others_place_are_misses(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    keys = [f"{place:08x}" for place in range(1000)]
    for key in keys:
        cache.store(key, key)
    for one, other in zip(keys[::2], keys[1::2], strict=True):
        files = [tmp_path / key[:2] / key for key in (one, other)]
        files[0].rename(tmp_path / "aside")
        files[1].rename(files[0])
        (tmp_path / "aside").rename(files[1])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for key in keys:
            with pytest.raises(KeyError):
                cache.load(key)
    assert len(told) == len(keys)


# -- Disks and folders ---------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root on Linux")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def long_pipeline(folder: Path, at_half: Any = None) -> tuple[Pipeline, list[int]]:
    calls: list[int] = []

    @node(output_name="big")
    def make(x: int) -> list[int]:
        calls.append(x)
        if x == 20 and at_half is not None:
            at_half()
        return [x] * 20_000

    @node(output_name="size")
    def measure(big: list[int]) -> int:
        return sum(big)

    return Pipeline([make, measure], cache=DiskCache(folder)), calls


def check_run(pipeline: Pipeline, warns: int) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows = pipeline.map({"x": list(range(40))}, map_over="x", output_name="size")
    assert [row["size"] for row in rows] == [x * 20_000 for x in range(40)]
    assert [each.category for each in told] == [CacheWarning] * warns, [str(e) for e in told]


def test_a_full_disk_costs_the_caching_with_one_warning(small_disk: Path) -> None:
    pipeline, calls = long_pipeline(small_disk / "cache")
    check_run(pipeline, warns=1)
    assert len(calls) == 40
    check_run(pipeline, warns=1)  # what fitted is a hit
    assert 40 < len(calls) < 80
    assert not list(small_disk.rglob(".writing-*"))


def test_a_disk_that_turns_read_only_in_a_run_costs_the_caching_with_one_warning(
    small_disk: Path,
) -> None:
    def lock() -> None:
        subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    pipeline, calls = long_pipeline(small_disk / "cache", at_half=lock)
    check_run(pipeline, warns=1)
    del calls[:]
    check_run(pipeline, warns=1)
    assert calls == list(range(20, 40))


def test_a_folder_that_vanishes_in_a_run_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    pipeline, calls = long_pipeline(folder, at_half=lambda: shutil.rmtree(folder))
    check_run(pipeline, warns=0)
    assert calls == list(range(40))
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_a_folder_that_becomes_something_else_costs_the_caching_with_one_warning(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "cache"

    def replace() -> None:
        shutil.rmtree(folder)
        folder.write_text("not a folder any more")

    pipeline, calls = long_pipeline(folder, at_half=replace)
    check_run(pipeline, warns=1)
    assert calls == list(range(40))
