"""The store in memory."""

from __future__ import annotations

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
