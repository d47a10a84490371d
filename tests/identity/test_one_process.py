"""What changes between two runs of one process is noticed, as it is between two processes."""

from __future__ import annotations

import enum
import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypernodes import (
    CacheWarning,
    HyperNodesEngine,
    MemoryCache,
    Node,
    Pipeline,
    PipelineCallback,
    node,
)


class Table:
    """What a constant of a module looks up."""

    def __init__(self, by: dict[str, int]) -> None:
        self.by = by

    def get(self, key: str) -> int:
        return self.by[key]


class Cells:
    """A notebook: cells are run in one module, and nodes are made of its functions."""

    def __init__(self) -> None:
        self.space: dict[str, Any] = {"__name__": "__main__"}
        self.cache = MemoryCache()

    def run(self, text: str) -> None:
        exec(compile(text, "<cell>", "exec"), self.space)

    def ask(self, x: Any = 3) -> Any:
        """What a cached pipeline gives for `f`, which has to be what `f` gives by itself."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            pipeline = Pipeline([node(self.space["f"], "out")], cache=self.cache)
            given = pipeline.run({"x": x})["out"]
        assert given == self.space["f"](x)
        return given


@pytest.fixture
def cells() -> Cells:
    return Cells()


CHANGES: dict[str, tuple[str, str]] = {
    "a helper that is defined again": (
        "def g(x): return x + 1\ndef f(x): return g(x)",
        "def g(x): return x + 2",
    ),
    "the helper of a helper that is defined again": (
        "def h(x): return x + 1\ndef g(x): return h(x)\ndef f(x): return g(x)",
        "def h(x): return x + 2",
    ),
    "a constant that is set again": (
        "K = 1\ndef f(x): return x + K",
        "K = 2",
    ),
    "a name that is missing at first": (
        "def f(x):\n    try: return x + K\n    except NameError: return 0",
        "K = 1",
    ),
    "a builtin that is covered": (
        "def f(x): return len([x])",
        "def len(x): return 5",
    ),
    "a builtin that is uncovered": (
        "def len(x): return 5\ndef f(x): return len([x])",
        "del len",
    ),
    "an item of a dict": (
        "D = {'a': 1}\ndef f(x): return D['a'] + x",
        "D['a'] = 2",
    ),
    "an item of a nested list": (
        "D = {'a': [1]}\ndef f(x): return D['a'][0] + x",
        "D['a'][0] = 2",
    ),
    "a method of a dict that is kept, and the dict": (
        "T = {'a': 1}\nget = T.get\ndef f(x): return get('a') + x",
        "T['a'] = 2",
    ),
    "a method of a list that is kept, and the list": (
        "L = [1]\ncount = L.count\ndef f(x): return count(1)",
        "L.append(1)",
    ),
    "a method of an own object that is kept, and the object": (
        "class T: pass\nclass A:\n    def __init__(self): self.t = {'a': 1}\n"
        "    def get(self, k): return self.t[k]\na = A()\nget = a.get\n"
        "def f(x): return get('a') + x",
        "a.t['a'] = 2",
    ),
    "a partial's function's constant": (
        "import functools\nK = [1]\ndef g(k, x): return k[0] + x\n"
        "p = functools.partial(g, K)\ndef f(x): return p(x)",
        "K[0] = 2",
    ),
    "an attribute of a class": (
        "class A: k = 1\ndef f(x): return A.k + x",
        "A.k = 2",
    ),
    "an attribute of a base class": (
        "class B: k = 1\nclass A(B): pass\ndef f(x): return A().k + x",
        "B.k = 2",
    ),
    "a method that is put on a class": (
        "class A:\n    def go(self): return 1\ndef f(x): return A().go() + x",
        "A.go = lambda self: 2",
    ),
    "a private attribute of an object": (
        "class A:\n    def __init__(self): self._k = 1\na = A()\ndef f(x): return a._k + x",
        "a._k = 2",
    ),
    "an attribute of a function": (
        "def g(x): return x + g.k\ng.k = 1\ndef f(x): return g(x)",
        "g.k = 2",
    ),
    "the defaults of a function": (
        "def g(x, k=1): return x + k\ndef f(x): return g(x)",
        "g.__defaults__ = (2,)",
    ),
    "the code of a function": (
        "def a(x): return x * 5\ndef g(x): return x + 1\ndef f(x): return g(x)",
        "g.__code__ = a.__code__",
    ),
    "a default list": (
        "L = [1]\ndef f(x, k=L): return x + k[0]",
        "L[0] = 2",
    ),
    "a registry that grows": (
        "BY = []\ndef register(fn):\n    BY.append(fn)\n    return fn\n"
        "@register\ndef g(x): return x + 1\ndef f(x): return [g(x) for g in BY]",
        "@register\ndef h(x): return x * 2",
    ),
    "a subclass that is new": (
        "class B: pass\nclass A(B): k = 1\n"
        "def f(x): return sorted(c.k for c in B.__subclasses__())",
        "class C(B): k = 2",
    ),
    "a type that single dispatch learns": (
        "import functools\n@functools.singledispatch\ndef g(x): return 0\ndef f(x): return g(x)",
        "@g.register(int)\ndef _(x): return x + 1",
    ),
    "a cell of a closure": (
        "def make():\n    k = 1\n    def g(x): return x + k\n    def put(v):\n"
        "        nonlocal k\n        k = v\n    return g, put\ng, put = make()\n"
        "def f(x): return g(x)",
        "put(2)",
    ),
    "an array of which an item is set": (
        "import numpy as np\nA = np.array([1, 2])\ndef f(x): return int(A[0]) + x",
        "A[0] = 5",
    ),
    "a view's base": (
        "import numpy as np\nB = np.array([1, 2])\nA = B[:1]\ndef f(x): return int(A[0]) + x",
        "B[0] = 5",
    ),
    "a frame of which a column is set": (
        "import pandas as pd\nT = pd.DataFrame({'a': [1]})\ndef f(x): return int(T['a'][0]) + x",
        "T['a'] = [2]",
    ),
    "an environment variable": (
        "import os\nos.environ['OWN_SHADE'] = 'red'\ndef f(x): return os.environ['OWN_SHADE']",
        "os.environ['OWN_SHADE'] = 'blue'",
    ),
    "an environment variable that is taken away": (
        "import os\nos.environ['OWN_SHADE'] = 'red'\n"
        "def f(x): return os.environ.get('OWN_SHADE', 'none')",
        "del os.environ['OWN_SHADE']",
    ),
    "a name in globals": (
        "def g(x): return x + 1\ndef f(x): return globals()['g'](x)",
        "def g(x): return x + 2",
    ),
    "a wrapper put around a helper": (
        "def g(x): return x + 1\ndef f(x): return g(x)",
        "def wrap(fn): return lambda x: fn(x) * 2\ng = wrap(g)",
    ),
    "a class that is defined again": (
        "class A:\n    def go(self): return 1\ndef f(x): return A().go() + x",
        "class A:\n    def go(self): return 2",
    ),
    "an alias that is bound again": (
        "def one(x): return x + 1\ndef two(x): return x + 2\ng = one\ndef f(x): return g(x)",
        "g = two",
    ),
    "a context variable": (
        "import contextvars\nV = contextvars.ContextVar('v', default=1)\n"
        "def f(x): return V.get() + x",
        "V.set(2)",
    ),
    "a function that reads another module's constant": (
        "import types\nm = types.ModuleType('m')\nm.K = 1\ndef f(x): return m.K + x",
        "m.K = 2",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_two_runs_is_noticed(
    cells: Cells, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_SHADE", "red")  # what it was is put back
    define, change = CHANGES[name]
    cells.run(define)
    first = cells.ask()
    assert cells.ask() == first
    cells.run(change)
    assert cells.ask() != first


def test_a_change_that_is_taken_back_is_found_again(cells: Cells) -> None:
    cells.run("K = 1\ndef f(x): return x + K")
    first = cells.ask()
    cells.run("K = 2")
    assert cells.ask() != first
    cells.run("K = 1")
    assert cells.ask() == first


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Writes a module of one's own, and imports or reloads it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> Any:
        (tmp_path / "own_helper.py").write_text(text)
        importlib.invalidate_caches()
        module = sys.modules.get("own_helper")
        return importlib.reload(module) if module else importlib.import_module("own_helper")

    yield write
    sys.modules.pop("own_helper", None)


def test_a_module_that_is_reloaded_is_looked_at_again(
    cells: Cells, helper: Callable[[str], Any]
) -> None:
    helper("def g(x): return x + 1\n")
    cells.run("import own_helper\ndef f(x): return own_helper.g(x)")
    assert cells.ask() == 4
    helper("def g(x): return x + 2  # again\n")
    assert cells.ask() == 5


def test_a_module_that_the_function_imports_may_be_reloaded(
    cells: Cells, helper: Callable[[str], Any]
) -> None:
    helper("def g(x): return x + 1\n")
    cells.run("def f(x):\n    from own_helper import g\n    return g(x)")
    assert cells.ask() == 4
    helper("def g(x): return x + 2  # again\n")
    assert cells.ask() == 5


def test_a_function_that_a_test_patches_counts_as_patched(
    cells: Cells, helper: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = helper("def g(x): return x + 1\ndef h(x): return g(x)\n")
    cells.run("import own_helper\ndef f(x): return own_helper.h(x)")
    assert cells.ask() == 4
    with monkeypatch.context() as patch:
        patch.setattr(module, "g", lambda x: 0)
        assert cells.ask() == 0
    assert cells.ask() == 4


def test_a_name_that_a_module_begins_to_have_is_noticed(
    cells: Cells, helper: Callable[[str], Any]
) -> None:
    module = helper("J = 1\n")
    cells.run("import own_helper\ndef f(x): return getattr(own_helper, 'K', 0) + x")
    assert cells.ask() == 3
    module.K = 5
    assert cells.ask() == 8


def test_a_module_that_can_be_imported_only_later_is_noticed(
    cells: Cells, helper: Callable[[str], Any]
) -> None:
    cells.run(
        "def f(x):\n    try:\n        from own_helper import g\n    except ImportError:\n"
        "        return 0\n    return g(x)"
    )
    assert cells.ask() == 0
    helper("def g(x): return x + 1\n")
    assert cells.ask() == 4


def test_one_pipeline_object_notices_what_changes_around_it() -> None:
    table = {"a": 1}
    get = table.get
    pipeline = Pipeline([node(lambda x: get("a") + x, "out")], cache=MemoryCache())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert pipeline.run({"x": 3})["out"] == 4
        table["a"] = 2
        assert pipeline.run({"x": 3})["out"] == 5


def test_a_memoised_helper_does_not_hide_its_own_helper(cells: Cells) -> None:
    cells.run(
        "import functools\nK = 1\n@functools.lru_cache\ndef g(x): return x + K\n"
        "def f(x): return g(x)"
    )
    assert cells.ask() == 4
    cells.run("K = 2\ng.cache_clear()")
    assert cells.ask() == 5


def test_an_object_that_is_an_input_is_identified_anew_in_each_run(cells: Cells) -> None:
    cells.run("def f(x): return x.get('a')")
    table = Table({"a": 1})
    assert cells.ask(table) == 1
    table.by["a"] = 2
    assert cells.ask(table) == 2


def test_a_method_of_an_input_s_class_counts(cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    cells.run("def f(x): return x.get('a')")
    assert cells.ask(Table({"a": 1})) == 1
    monkeypatch.setattr(Table, "get", lambda self, key: self.by[key] + 1)
    assert cells.ask(Table({"a": 1})) == 2


def test_a_bound_method_as_a_node_follows_its_object() -> None:
    table = Table({"a": 1})
    cache = MemoryCache()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        for value in (1, 2):
            table.by["a"] = value
            assert Pipeline([node(table.get, "out")], cache=cache).run({"key": "a"})["out"] == value


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor, self.more = factor, [0]
        self.calls = 0

    def of(self, x: int) -> int:
        return x * self.factor + sum(self.more)

    def __call__(self, x: int) -> int:
        return self.of(x)

    def counted(self, x: int) -> int:
        self.calls += 1
        return self.calls


@pytest.mark.parametrize("ttl", [None, 60])
@pytest.mark.parametrize("engine", [None, "threaded", "async"])
@pytest.mark.parametrize(
    "function_of",
    [
        lambda scale: scale.of,
        lambda scale: scale,
        lambda scale: functools.partial(Scale.of, scale),
        lambda scale: functools.partial(scale.of),
        lambda scale: functools.partial(lambda x, scales: scales[0].of(x), scales=[scale]),
    ],
    ids=["method", "callable", "partial", "partial of a method", "partial of a list"],
)
def test_what_a_node_itself_holds_may_change_between_two_runs(
    function_of: Any, engine: Any, ttl: int | None
) -> None:
    scale = Scale(3)
    own = None if engine is None else HyperNodesEngine(engine)
    pipeline = Pipeline([Node(function_of(scale), "y", name="n", ttl=ttl)], cache=MemoryCache())
    nested = Pipeline([pipeline.as_node(map_over={"xs": "x"})], name="outer", engine=own)
    for each, given, expected in (
        (pipeline.with_engine(own), {"x": 2}, lambda of: of(2)),
        (nested.with_cache(MemoryCache()), {"xs": [1, 2]}, lambda of: [of(1), of(2)]),
    ):
        for change in (lambda: None, lambda: setattr(scale, "factor", scale.factor + 1),
                       lambda: scale.more.append(5)):  # fmt: skip
            change()
            assert each.run(given) == {"y": expected(scale.of)}
            assert each.run(given) == {"y": expected(scale.of)}


def test_a_method_that_changes_its_object_is_not_cached() -> None:
    pipeline = Pipeline([Node(Scale(1).counted, "n")], cache=MemoryCache())
    with pytest.warns(CacheWarning, match="its code changes its own object"):
        made = [pipeline.run({"x": x})["n"] for x in (1, 2, 1)]
    assert made == [1, 2, 3]


def test_enums_and_types_of_one_name_are_told_apart(cells: Cells) -> None:
    cells.run("def f(x): return x.name")
    one = enum.Enum("Colour", {"RED": 1})
    other = enum.Enum("Colour", {"BLUE": 1})
    assert [cells.ask(one(1)), cells.ask(other(1))] == ["RED", "BLUE"]


def test_functions_of_one_name_and_text_differ_by_what_they_close_over(cells: Cells) -> None:
    def make(k: Any) -> Callable[[int], int]:
        return lambda x: x + int(k[0])

    for k in ([1], [2]):
        cells.space["f"] = make(k)
        assert cells.ask() == 3 + k[0]


def test_a_node_that_changes_its_input_does_not_poison_the_others() -> None:
    def sort(words: list[str]) -> list[str]:
        words.sort()
        return words

    def first(words: list[str]) -> str:
        return words[0]

    cache = MemoryCache()
    pipeline = Pipeline([node(sort, "in_order"), node(first, "first")], cache=cache)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        pipeline.run({"words": ["b", "a"]})
        alone = Pipeline([node(first, "first")], cache=cache)
        assert alone.run({"words": ["b", "a"]})["first"] == "b"
        assert alone.run({"words": ["a", "b"]})["first"] == "a"


def test_what_does_not_change_is_not_computed_again(cells: Cells) -> None:
    class Started(PipelineCallback):
        ran = 0

        def on_node_start(self, *args: Any, **kwargs: Any) -> None:
            self.ran += 1

    cells.run("K = {'a': [1]}\ndef g(x): return x + K['a'][0]\ndef f(x): return g(x)")
    started = Started()
    pipeline = Pipeline([node(cells.space["f"], "out")], cache=cells.cache, callbacks=[started])
    pipeline.run({"x": 3})
    cells.run("UNUSED = 1\ndef other(): return UNUSED")
    pipeline.run({"x": 3})
    assert started.ran == 1
