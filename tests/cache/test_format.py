"""The bytes of an entry: what is written from where it lies, and what is not trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypernodes import CacheWarning, DiskCache, MemoryCache, Pipeline, node


def test_pyarrow_tables_are_written_from_where_they_lie(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": np.arange(500_000), "b": np.ones(500_000)})
    parts, _ = __import__("hypernodes.cache.format", fromlist=["encode"]).encode(
        "k", table, {}, 0.0
    )
    assert sum(len(part) for part in parts if isinstance(part, bytes)) < table.nbytes / 10
    cache = DiskCache(tmp_path)
    cache.store("aa11", table)
    assert cache.load("aa11").equals(table)


def test_an_entry_whose_class_is_not_here_is_a_miss_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    module = types.ModuleType("passing_module")
    monkeypatch.setitem(sys.modules, "passing_module", module)
    exec("class Thing:\n    pass", vars(module))
    cache = DiskCache(tmp_path)
    cache.store("aa11", module.Thing())
    monkeypatch.delitem(sys.modules, "passing_module")
    with pytest.warns(CacheWarning, match="cannot be loaded here"), pytest.raises(KeyError):
        cache.load("aa11")
    assert "aa11" in cache


class Exploit:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("forged", ["unsigned", "other key", "changed", "moved"])
def test_unsigned_and_forged_entries_are_misses_that_are_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    if forged != "unsigned":
        monkeypatch.setenv("HYPERNODES_CACHE_KEY", "wrong" if forged == "other key" else "right")
    DiskCache(tmp_path / "c").store("aa11", Exploit(tmp_path / "mark"))
    file, key = tmp_path / "c" / "aa" / "aa11", "aa11"
    if forged == "changed":
        data = bytearray(file.read_bytes())
        data[-40] ^= 1
        file.write_bytes(data)
    elif forged == "moved":
        key = "aa22"
        file.rename(file.with_name(key))
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "right")
    with pytest.warns(CacheWarning, match="not trusted"), pytest.raises(KeyError):
        DiskCache(tmp_path / "c").load(key)
    assert not (tmp_path / "mark").exists()


def test_a_signed_entry_is_a_miss_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "right")
    cache = DiskCache(tmp_path)
    cache.store("aa11", 1)
    assert cache.load("aa11") == 1
    monkeypatch.delenv("HYPERNODES_CACHE_KEY")
    with pytest.warns(CacheWarning, match="HYPERNODES_CACHE_KEY"), pytest.raises(KeyError):
        DiskCache(tmp_path).load("aa11")
    assert cache.load("aa11") == 1


@pytest.mark.parametrize("make", [lambda path: memoryview(bytearray(b"ab")), open])
def test_what_would_come_back_as_something_else_is_not_kept(make: Any, tmp_path: Path) -> None:
    """Cloudpickle makes `bytes` of a memoryview, and a `StringIO` of a text file."""
    path = tmp_path / "text"
    path.write_text("abc")
    made: list[Any] = []

    def value(path: Path) -> Any:
        made.append(make(path))
        return made[-1]

    pipeline = Pipeline([node(value, "y", code_version="1")], cache=MemoryCache())
    for _ in range(2):
        with pytest.warns(CacheWarning, match="as what it is"):
            assert pipeline.run({"path": path})["y"] is made[-1]
    assert len(made) == 2
    made[0].close() if hasattr(made[0], "close") else None
    made[1].close() if hasattr(made[1], "close") else None


CODES = """
import sys
from hypernodes import DiskCache
def limit():
    class Limit:
        def __call__(self, value):
            return value > 5
    return Limit()
values = {"aa11": lambda value: value > 5, "bb22": limit(), "cc33": [1, 2]}
cache = DiskCache(sys.argv[1])
for key, value in values.items():
    cache.store(key, value)
"""


def other_release() -> str | None:
    """Another release of Python on this machine, with what a cache needs."""
    for python in map(str, sorted(Path.home().glob(".pyenv/versions/3.1?.*/bin/python"))):
        look = "import sys; print(sys.version_info[:2])"
        said = subprocess.run([python, "-c", look], stdout=subprocess.PIPE, text=True).stdout
        if said.strip() not in ("", str(sys.version_info[:2])):
            return python
    return None


@pytest.mark.slow
def test_code_in_an_entry_is_used_by_the_release_that_compiled_it_alone(tmp_path: Path) -> None:
    """Another one would run bytecode that it does not know, and end with a segmentation fault."""
    python = other_release()
    if python is None:
        pytest.skip("there is no other Python by pyenv")
    venv, script = tmp_path / "venv", tmp_path / "store.py"
    script.write_text(CODES)
    subprocess.run([python, "-m", "venv", venv], check=True)
    root = Path(__file__).parents[2]
    install = [venv / "bin" / "python", "-m", "pip", "install", "-q", "--no-compile", root]
    subprocess.run(install, check=True)
    subprocess.run([venv / "bin" / "python", script, tmp_path / "cache"], check=True)
    cache = DiskCache(tmp_path / "cache")
    assert cache.load("cc33") == [1, 2]
    for key in ("aa11", "bb22"):
        with (
            pytest.warns(CacheWarning, match=r"its code was compiled by Python 3\.\d+"),
            pytest.raises(KeyError),
        ):
            cache.load(key)
    here = DiskCache(tmp_path / "here")
    subprocess.run([sys.executable, script, tmp_path / "here"], check=True)
    assert here.load("aa11")(6)
    assert here.load("bb22")(6)
