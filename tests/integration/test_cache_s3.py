"""A cache in a bucket: a real S3 server (moto's) on the loopback interface."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypernodes import CacheWarning, FsspecCache, HyperNodesEngine, Pipeline, node

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    settings = {
        "key": "testing",
        "secret": "testing",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}", "region_name": "eu-west-1"},
    }
    import s3fs

    s3fs.S3FileSystem(**settings).mkdir("results")
    yield settings
    running.stop()


@pytest.fixture
def cache(options: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[FsspecCache]:
    name = request.node.name.replace("[", "-").replace("]", "")
    made = FsspecCache(f"s3://results/{name}", **options)
    yield made
    made.clear()


def test_a_bucket_keeps_what_it_is_given(cache: FsspecCache) -> None:
    assert list(cache.entries()) == []
    assert "aa11" not in cache
    values = [None, {"a": [1, 2]}, np.arange(300_000.0)]
    for place, value in enumerate(values):
        key = f"aa1{place}"
        cache.store(key, value, {"node": f"n{place}", "duration": 0.5, "time": 1.75e9})
        assert key in cache
        np.testing.assert_equal(cache.load(key), value)
    assert cache.stats().nodes["n2"].bytes > 2_400_000
    assert cache.entry("aa10").made == 1.75e9
    assert cache.clear(node="n1") == 1
    assert "aa11" not in cache
    cache.store("bb11", 1, {"node": "new"})
    assert cache.prune(max_age=3600) == 2
    assert [entry.key for entry in cache.entries()] == ["bb11"]
    with pytest.raises(KeyError):
        cache.load("aa11")


def test_headers_longer_than_what_is_read_at_first_are_read_whole(cache: FsspecCache) -> None:
    cache.store("aa11", 1, {"node": "n", "code": {f"module.function_{n}": "x" for n in range(999)}})
    assert [entry.node for entry in cache.entries()] == ["n"]
    assert len(cache.entry("aa11").about["code"]) == 999


def test_a_pipeline_finds_in_a_bucket_what_another_process_has_made(
    cache: FsspecCache, options: dict[str, Any], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from hypernodes import FsspecCache, Pipeline, node

@node(output_name="y")
def work(x):
    print("computed", x)
    return x + 1

pipeline = Pipeline([work], cache=FsspecCache({cache.url!r}, **{options!r}))
print([row["y"] for row in pipeline.map({{"x": [1, 2]}}, "x")])
"""
    )

    def run() -> str:
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, env=dict(os.environ)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run().split("\n")[:3] == ["computed 1", "computed 2", "[2, 3]"]
    assert run() == "[2, 3]\n"


def test_workers_in_other_processes_use_the_bucket(cache: FsspecCache) -> None:
    def square(x: int) -> int:
        return x * x

    with HyperNodesEngine(map_executor="parallel") as engine:
        pipeline = Pipeline([node(square)], cache=cache, engine=engine)
        for _ in range(2):
            rows = pipeline.map({"x": list(range(8))}, "x")
            assert [row["square"] for row in rows] == [x * x for x in range(8)]
    assert cache.stats().nodes["square"].entries == 8


def test_a_broken_object_is_a_miss_and_forged_ones_are_not_unpickled(
    cache: FsspecCache, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store("aa11", [1] * 100)
    cache.store("bb22", [2] * 100)
    fs, place = cache._place
    data = bytearray(fs.cat_file(f"{place}/aa/aa11"))
    data[60] ^= 4
    fs.pipe_file(f"{place}/aa/aa11", bytes(data))
    with pytest.warns(CacheWarning, match="broken"), pytest.raises(KeyError):
        cache.load("aa11")
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "a secret")
    signing = FsspecCache(cache.url, **options)
    with pytest.warns(CacheWarning, match="not signed"), pytest.raises(KeyError):
        signing.load("bb22")


def test_a_bucket_that_is_out_of_reach_costs_the_caching_and_not_the_run() -> None:
    settings = {
        "key": "testing",
        "secret": "testing",
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-west-1"},
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    pipeline = Pipeline(
        [node(lambda x: x + 1, "y")], cache=FsspecCache("s3://results/none", **settings)
    )
    started = time.monotonic()
    with pytest.warns(CacheWarning) as told:
        assert pipeline.run({"x": 1}) == {"y": 2}
    assert len([each for each in told if each.category is CacheWarning]) <= 2
    assert time.monotonic() - started < 60


def test_a_server_that_is_not_there_costs_the_caching_and_one_wait() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    where = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "eu-west-1"}
    cache = FsspecCache("s3://results/away", key="a", secret="b", client_kwargs=where)
    pipeline = Pipeline([double], cache=cache)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = pipeline.map({"x": list(range(40))}, "x")  # a wait takes seconds
    assert rows == [{"y": 2 * x} for x in range(40)]
    assert [each.category for each in caught] == [CacheWarning] * 2
    assert all("s3://results/away cannot be used" in str(each.message) for each in caught)


@node(output_name="y")
def double(x: int) -> int:
    return 2 * x
