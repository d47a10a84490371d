"""Stores on file systems of fsspec; `integration/test_cache_s3.py` has a real S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypernodes import CacheWarning, FsspecCache


def test_a_broken_entry_on_a_file_system_is_a_miss_with_a_warning() -> None:
    pytest.importorskip("fsspec")
    cache = FsspecCache("memory://tests/broken")
    cache.store("aa11", [1] * 100)
    fs, place = cache._place
    fs.pipe_file(f"{place}/aa/aa11", fs.cat_file(f"{place}/aa/aa11")[:-1])
    with pytest.warns(CacheWarning, match="broken"), pytest.raises(KeyError):
        cache.load("aa11")
    assert "aa11" not in cache


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(TypeError, match="s3://"):
        FsspecCache(Path("folder"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nonsense"):
        FsspecCache("nonsense://place")
