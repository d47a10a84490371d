"""The store in memory."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from hypernodes import MemoryCache


def test_an_empty_cache_is_one() -> None:
    assert MemoryCache()


def test_a_memory_cache_stays_under_its_limit() -> None:
    cache = MemoryCache(max_bytes=2_000)
    for place in range(50):
        cache.store(f"{place:04x}", b"x" * 200)
    assert len(cache) < 10
    assert "0031" in cache
    assert "0000" not in cache


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_can_use_a_cache_that_a_thread_uses_as_it_is_forked() -> None:
    cache, ended = MemoryCache(max_bytes=20_000), threading.Event()

    def work() -> None:
        while not ended.is_set():
            for place in range(100):
                cache.store(f"{place:04x}", b"x" * 500)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                cache.store("ffff", b"x")
                os._exit(0 if "ffff" in cache else 1)
            until = time.monotonic() + 30
            while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
                time.sleep(0.002)
            if done == (0, 0):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            assert done == (child, 0)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
