"""Code is followed, declined or vouched for; and packages from a folder are one's own code."""

from __future__ import annotations

import builtins
import enum
import functools
import gc
import importlib
import io
import os
import subprocess
import sys
import textwrap
import time
import traceback
import types
import typing
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic
import pytest

from hypernodes import CacheWarning, MemoryCache, Node, NodeError, Pipeline, node
from hypernodes.identity.code import code_of, fingerprint
from hypernodes.identity.packages import origin
from hypernodes.identity.values import Unidentifiable, sign


def run(func: Any, cache: Any, x: int = 1, **options: Any) -> Any:
    return Pipeline([node(func, output_name="y", **options)], cache=cache).run({"x": x})["y"]


def made(source: str, **names: Any) -> Any:
    """The function `f` of a module of the user's own."""
    scope: dict[str, Any] = {"__name__": "users_module", **names}
    exec(source, scope)
    return scope["f"]


# -- Vouched for -----------------------------------------------------------------------------------


def test_code_that_is_vouched_for_is_not_looked_at() -> None:
    cache = MemoryCache()
    memo: dict[int, int] = {}
    before = made("def f(x):\n    memo[x] = 1\n    return memo[x]", memo=memo)
    after = made("def f(x):\n    memo[x] = 2\n    return memo[x]", memo=memo)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(before, cache, code_version="1") == 1
        assert run(after, cache, code_version="1") == 1
        assert run(after, cache, code_version="2") == 2


def test_two_functions_of_one_version_do_not_share_results() -> None:
    cache = MemoryCache()

    def one(x: int) -> int:
        return x

    def other(x: int) -> int:
        return -x

    assert run(one, cache, code_version="1") == 1
    assert run(other, cache, code_version="1") == -1


def test_data_that_a_method_or_a_partial_is_bound_to_counts_though_its_code_is_vouched_for() -> (
    None
):
    class Scale:
        def __init__(self, by: int) -> None:
            self._by = by

        def go(self, x: int) -> int:
            return self._by * x

    def scaled(by: int, x: int) -> int:
        return by * x

    cache = MemoryCache()
    assert [run(Scale(by).go, cache, code_version="1") for by in (2, 3)] == [2, 3]
    partials = [functools.partial(scaled, by) for by in (4, 5)]
    assert [run(each, cache, code_version="1") for each in partials] == [4, 5]


@pytest.mark.parametrize("func", [lambda x: x, functools.partial(lambda by, x: x, 1)])
def test_a_function_without_a_name_cannot_be_vouched_for(func: Any) -> None:
    with pytest.raises(NodeError, match="its function no name: write it with def"):
        node(func, output_name="y", code_version="1")


def test_a_version_of_code_is_a_text() -> None:
    with pytest.raises(NodeError, match="code_version is 3: expected a text"):
        node(len, output_name="y", code_version=3)  # type: ignore[arg-type]


# -- Declined --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "what", "cure"),
    [
        ("N = 0\ndef f(x):\n    global N\n    N += 1\n    return N", "'N'", "code_version"),
        ("C = {}\ndef f(x):\n    C[x] = 1\n    return C[x]", "users_module.C", "as an input"),
        ("L = [1]\ndef f(x):\n    L.append(x)\n    return len(L)", "users_module.L", "as an input"),
        ("def f(x): return eval('x + ' + str(x))", r"eval\(\)", "code_version"),
        ("import os\ndef f(x): return os.environ.get(str(x))", "environment", "as they are"),
        ("G = (i for i in [1])\ndef f(x): return G", "generator", "__cache_key__"),
        ("class A: pass\na = A()\na._c = open(__file__)\ndef f(x): return a", "_c", "@stateful"),
    ],
)  # fmt: skip
def test_what_is_declined_is_named_with_its_place_and_its_cure(
    source: str, what: str, cure: str
) -> None:
    cache = MemoryCache()
    func = made(source, __file__=__file__)
    with pytest.warns(CacheWarning, match=what) as told:
        run(func, cache)
    message = str(told[0].message)
    assert cure in message
    assert "users_module.f" in message
    assert len(cache) == 0


def test_a_function_that_is_found_to_change_what_it_reads_is_not_kept() -> None:
    cache = MemoryCache()
    func = made(
        "class S:\n    n = 0\n    def next(self):\n        self.n += 1\n        return self.n\n"
        "s = S()\ndef f(x): return s.next()"
    )
    with pytest.warns(CacheWarning, match=r"its code changes users_module.s, which it reads"):
        assert run(func, cache) == 1
    assert len(cache) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert run(func, cache) == 2


def test_a_result_that_is_good_for_a_time_may_depend_on_what_the_function_changes() -> None:
    cache = MemoryCache()
    calls: list[int] = []
    func = made("def f(x):\n    calls.append(x)\n    return len(calls)", calls=calls)
    assert [run(func, cache, ttl=60), run(func, cache, ttl=60)] == [1, 1]


# -- Parameters that are not looked at -------------------------------------------------------------


def test_a_parameter_with_a_default_can_be_added_and_counts_once_it_is_given() -> None:
    cache = MemoryCache()
    ran: list[int] = []
    before = made("def f(x):\n    ran.append(x)\n    return x", ran=ran)
    after = made("def f(x, changed_at=0):\n    ran.append(x)\n    return x", ran=ran)
    run(before, cache)
    run(after, cache)
    assert ran == [1]
    pipeline = Pipeline([node(after, output_name="y")], cache=cache)
    pipeline.run({"x": 1, "changed_at": 7})
    pipeline.run({"x": 1, "changed_at": 7})
    assert ran == [1, 1]


# -- Packages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "is_own"),
    [
        ({}, False),
        ({"direct_url.json": '{"url": "file:///home/me/pack", "dir_info": {}}'}, True),
        ({"direct_url.json": '{"url": "https://example.org/p.git", "vcs_info": {}}'}, True),
        ({"direct_url.json": '{"url": "file:///croot/p"}', "INSTALLER": "conda"}, False),
        (None, True),
    ],
)
def test_a_package_that_did_not_come_from_an_index_is_ones_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str] | None, is_own: bool
) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    name = f"pack_{abs(hash(str(tmp_path)))}"
    (site / f"{name}.py").write_text("def g(x): return x + 1\n")
    if files is not None:
        about = site / f"{name}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        for file, text in files.items():
            (about / file).write_text(text)
    monkeypatch.syspath_prepend(site)
    importlib.import_module(name)
    try:
        assert origin(name) == (None if is_own else f"{name} 1.2")
    finally:
        del sys.modules[name]


def function(source: str, **names: Any) -> Any:
    scope: dict[str, Any] = {"__name__": "users_module", **names}
    exec(textwrap.dedent(source), scope)
    return scope["f"]


BASE = "LIMIT = 3\ndef helper(x):\n    return x + LIMIT\ndef f(x):\n    return helper(x)\n"


@pytest.mark.parametrize(
    "same",
    [
        BASE.replace("return helper", "# a comment\n    return helper"),
        BASE.replace("    return helper", '    """Says what."""\n    return helper'),
        BASE.replace("return x + LIMIT", "return (x\n        + LIMIT)  # wide"),
        "\n\n\n" + BASE.replace("def f(x)", "def f(x: int) -> int"),
        BASE.replace("def f(x)", "def f(x, y=1)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(same: str) -> None:
    assert fingerprint(function(same)) == fingerprint(function(BASE))


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace("x + LIMIT", "x - LIMIT"),
        BASE.replace("LIMIT = 3", "LIMIT = 4"),
        BASE.replace("LIMIT = 3", "LIMIT = 3.0"),
        BASE.replace("def f(x)", "def f(x, y)"),
        BASE.replace("return helper(x)", "return [helper(y) for y in x]"),
    ],
)
def test_what_a_function_does_counts_with_its_helpers_and_constants(changed: str) -> None:
    assert fingerprint(function(changed)) != fingerprint(function(BASE))


def test_a_constant_that_changes_in_place_counts() -> None:
    config = {"limit": 1}
    read = function("def f(x):\n    return x + config['limit']", config=config)
    before = fingerprint(read)
    config["limit"] = 2
    assert fingerprint(read) != before
    config["limit"] = 1
    assert fingerprint(read) == before


def test_a_closure_counts_by_its_values() -> None:
    def scale(factor: Any) -> Any:
        return lambda x: factor * x

    assert fingerprint(scale(2)) == fingerprint(scale(2)) != fingerprint(scale(2.0))


def test_what_a_function_only_writes_to_is_no_constant_of_it() -> None:
    calls: list[int] = []

    def f(x: int) -> int:
        calls.append(x)
        return x

    before = fingerprint(f)
    f(1)
    assert fingerprint(f) == before


def test_a_function_that_changes_what_it_reads_is_refused() -> None:
    state = {"n": 0}

    def f(x: int) -> int:
        state["n"] += 1
        return x

    with pytest.raises(Unidentifiable, match=r"it changes 'state', which it reads.*code_version"):
        fingerprint(f)


def test_monkeypatching_between_runs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, Any] = {"__name__": "users_module"}
    source = """
    import functools

    def helper(x):
        return x + 1

    class Scaler:
        def scale(self, x):
            return 2 * x

    def doubled(function):
        @functools.wraps(function)
        def wrapper(x):
            return 2 * function(x)
        return wrapper

    def f(x):
        return Scaler().scale(helper(x))
    """
    exec(textwrap.dedent(source), scope)
    pipeline = Pipeline([node(scope["f"], "y")], cache=MemoryCache())
    assert pipeline.run({"x": 1}) == {"y": 4}
    monkeypatch.setitem(scope, "helper", lambda x: x + 10)
    assert pipeline.run({"x": 1}) == {"y": 22}
    monkeypatch.setattr(scope["Scaler"], "scale", lambda self, x: -x)
    assert pipeline.run({"x": 1}) == {"y": -11}
    monkeypatch.setitem(scope, "helper", scope["doubled"](scope["helper"]))
    assert pipeline.run({"x": 1}) == {"y": -22}
    monkeypatch.undo()
    assert pipeline.run({"x": 1}) == {"y": 4}


def test_pipelines_of_a_namespace_that_is_dropped_are_dropped_with_it() -> None:
    """A script that is loaded again and again: its functions call each other, and themselves."""
    source = """
    def f(x): return g(x)
    def g(x): return x if x < 0 else f(x - 2)
    class Kept:
        def of(self, x): return g(x)
    def h(y): return Kept().of(y)
    """
    scope = {"__name__": "__main__"}
    exec(textwrap.dedent(source), scope)
    nodes: list[Any] = [Node(scope["f"], "y"), Node(scope["h"], "z", ttl=60)]
    scope["pipeline"] = pipeline = Pipeline(nodes, cache=MemoryCache())
    assert pipeline.run({"x": 3}) == {"y": -1, "z": -1}
    gone = [weakref.ref(scope["f"]), weakref.ref(scope["h"]), weakref.ref(pipeline.cache)]
    del scope, nodes, pipeline
    gc.collect()
    assert [each() for each in gone] == [None, None, None]


def test_the_code_of_a_function_does_not_keep_the_function() -> None:
    def make(number: int) -> Callable[[int], int]:
        def other(x: int) -> int:
            return x + number

        return lambda x: other(x) * number

    func = make(3)
    fingerprint(func)
    gone = weakref.ref(func)
    del func
    gc.collect()
    assert gone() is None


def test_what_can_change_in_place_does_not_keep_the_function_either() -> None:
    def make(numbers: list[object]) -> Callable[[int], object]:
        class Numbers:
            held = {"a": 1}

        return lambda x: (numbers[x], Numbers.held)

    func = make([1, {"b": 2}])
    assert code_of(func) is code_of(func)
    gone = weakref.ref(func)
    del func
    gc.collect()
    assert gone() is None


MADE_BY_OTHERS = {
    "a dataclass": """
        @dataclasses.dataclass(frozen=True, order=True)
        class C:
            a: int = 0
            b: list = dataclasses.field(default_factory=list)
        def f(x): return C(x)""",
    "a dataclass with slots": """
        @dataclasses.dataclass(slots=True)
        class C:
            a: int = 0
        def f(x): return C(x).a""",
    "a named tuple": """
        class C(typing.NamedTuple):
            a: int = 0
        def f(x): return C(x)""",
    "an untyped named tuple": """
        C = collections.namedtuple("C", "a b")
        def f(x): return C(x, x)""",
    "enums": """
        class C(enum.Enum):
            A = 1
        class F(enum.IntFlag):
            A = 1
        def f(x): return C.A, F.A""",
    "a model": """
        class C(pydantic.BaseModel):
            a: int = 1
            @pydantic.field_validator("a")
            @classmethod
            def check(cls, value): return value
        def f(x): return C(a=1), x""",
    "types": """
        U = typing.NewType("U", int)
        T = typing.TypeVar("T")
        V = int | str
        class P(typing.Protocol[T]):
            def of(self) -> T: ...
        class C(P[int]):
            def of(self): return 1
        def f(x): return isinstance(x, V), U(x), C().of()""",
    "values": """
        W, D = numpy.array([1.0, 2.0]), numpy.dtype("f8")
        SETTINGS = {"a": [1, {"b": 2}]}
        class C:
            def __init__(self): self.a = 1
        c = C()
        def f(x): return W.astype(D), SETTINGS[x], c.a""",
}


@pytest.mark.parametrize("source", MADE_BY_OTHERS.values(), ids=MADE_BY_OTHERS)
def test_code_is_looked_through_once(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic")
    head = "import collections, dataclasses, enum, numpy, pydantic, typing\n"
    module = types.ModuleType("looked_through_once")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(head + textwrap.dedent(source), vars(module))
    before = code_of(module.f)
    module.f("a")
    known = code_of(module.f)  # Python has added to some classes by now
    assert known.digest == before.digest
    assert code_of(module.f) is known


CHANGES = {
    "a list": "ITEMS.append(3)",
    "a list in a dict": "SETTINGS['a'][0] = 2",
    "a dict in a list in a dict": "SETTINGS['a'][1]['b'] = 3",
    "a set": "SEEN.add(3)",
    "an array": "WEIGHTS[0] = 5",
    "an object": "model.rate = 0.5",
    "an object in an object": "model.inner.rate = 0.5",
    "what a frozen object holds": "frozen.items.append(1)",
    "a class": "Model.scale = 7",
    "a dict of a class": "Model.table['a'] = 7",
    "a method": "Model.of = lambda self, x: x",
    "a default": "helper.__defaults__[0].append(1)",
    "a keyword's default": "helper.__kwdefaults__['k']['a'] = 1",
    "a variable of a function around it": "cell.append(1)",
    "an attribute of a function": "helper.table['a'] = 1",
    "a function in a dict": "HANDLERS['a'] = len",
    "the code of a function in a dict": "one.__code__ = (lambda x: x + 2).__code__",
    "a global of a function in a dict": "globals().update(STEP=5)",
    "a bound method's object": "model2.rate = 3",
    "a member of another module": "other.LIMITS.append(1)",
    "an array that is a function's attribute": "helper.weights = numpy.array([4, 5])",
    "a keyword's default, assigned": "helper.__kwdefaults__['k'] = 1",
    "a member's value": "Unit.KM.value.append(1)",
    "a member's attribute": "Unit.KM.factor = 3",
    "a field's metadata": "META['unit'] = 'm'",
    "a model's default": "NAMES.append('b')",
    "a partial's keyword": "tripled.keywords['by'] = 4",
    "a partial's attribute": "tripled.note = 'b'",
    "an implementation": "generic.register(int)(lambda x: -x)",
    "a registered class": "Shape.register(int)",
    "the bases of a class": "Square.__bases__ = (Round,)",
    "an attribute of a function with a memo": "remembered.limit = 5",
    "a builtin": "import builtins; builtins.abs = lambda x: 7",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_in_place_is_seen(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic")
    monkeypatch.setattr(builtins, "abs", abs)  # is put back
    source = """
    import abc, dataclasses, enum, functools, numpy, pydantic
    import change_in_place_other as other
    ITEMS, SETTINGS, SEEN = [1, 2], {"a": [1, {"b": 2}]}, {1, 2}
    WEIGHTS, STEP = numpy.array([1, 2]), 1
    class Model:
        scale = 1
        table = {}
        def __init__(self, inner=None):
            self.rate, self.inner = 1, inner
        def of(self, x): return x * self.rate * self.scale
    model, model2 = Model(Model()), Model()
    scaled = model2.of
    @dataclasses.dataclass(frozen=True)
    class Frozen:
        items: list
    frozen = Frozen([])
    def helper(x, seen=[], *, k={}): return x, seen, k, helper.table
    helper.table = {}
    def one(x): return x + STEP
    HANDLERS = {"a": one}
    def around():
        cell = []
        def inner(x): return x, len(cell)
        return inner, cell
    inner, cell = around()
    helper.weights = numpy.array([1, 2])
    class Unit(enum.Enum):
        KM = [1]
    Unit.KM.factor = 2
    META, NAMES = {"unit": "km"}, ["a"]
    @dataclasses.dataclass
    class Length:
        value: int = dataclasses.field(default=1, metadata=META)
    class Model2(pydantic.BaseModel):
        names: list = NAMES
    def times(x, by): return x * by
    tripled = functools.partial(times, by=3)
    tripled.note = "a"
    @functools.singledispatch
    def generic(x): return x
    @generic.register
    def _(x: int): return x
    class Shape(abc.ABC): pass
    class Flat: sides = 4
    class Round: sides = 0
    class Square(Flat): pass
    @functools.cache
    def remembered(x): return remembered.limit
    remembered.limit = 4
    def more(x):
        return (
            helper.weights, Unit.KM, dataclasses.fields(Length), Model2(), tripled(x), tripled.note,
            generic(x), isinstance(x, Shape), Square.sides, remembered(x), abs(x),
        )
    def f(x):
        more(x)
        return (
            ITEMS, SETTINGS, SEEN, WEIGHTS, model.of(x), frozen.items, helper(x), HANDLERS["a"](x),
            inner(x), scaled(x), other.LIMITS, Model.table,
        )
    """
    for name, text in (
        ("change_in_place_other", "LIMITS = [1]"),
        ("change_in_place", textwrap.dedent(source)),
    ):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(text, vars(module))
    before = code_of(module.f)
    assert code_of(module.f) is before
    exec(change, vars(module))
    after = code_of(module.f)
    assert after.digest != before.digest
    assert code_of(module.f) is after


EDITS = {
    "what __new__ of an enum is given": (
        """
        class Unit(str, enum.Enum):
            def __new__(cls, label, factor):
                made = str.__new__(cls, label)
                made._value_, made.factor = label, factor
                return made
            MILE = ("mile", 1.6)
        def f(x): return x * Unit.MILE.factor""",
        "1.6",
        "1.609",
    ),
    "what __new__ of an enum does": (
        """
        class Unit(enum.Enum):
            def __new__(cls, value):
                made = object.__new__(cls)
                made._value_ = value * 2
                return made
            MILE = 1
        def f(x): return Unit(2)""",
        "value * 2",
        "2 * value + value - value",
    ),
    "an attribute of a member": (
        """
        class Unit(enum.Enum):
            MILE = 1
        Unit.MILE.factor = 2
        def f(x): return Unit.MILE.factor""",
        "factor = 2",
        "factor = 3",
    ),
    "a flag's boundary": (
        """
        class Mode(enum.Flag, boundary=enum.KEEP):
            A = 1
        def f(x): return Mode(x)""",
        "KEEP",
        "CONFORM",
    ),
    "an attribute of a partial": (
        """
        def g(x): return x
        p = functools.partial(g)
        p.after = lambda y: y + 1
        def f(x): return p.after(p(x))""",
        "y + 1",
        "y + 2",
    ),
    "the class that a mappingproxy shows": (
        """
        class D(dict):
            def __missing__(self, key): return 1
        M = types.MappingProxyType(D())
        def f(x): return M[x]""",
        "return 1",
        "return 2",
    ),
    "an attribute of a generic function": (
        """
        @functools.singledispatch
        def g(x): return x
        g.k = 1
        def f(x): return g(x) + g.k""",
        "g.k = 1",
        "g.k = 2",
    ),
    "the order of members that code loops over": (
        """
        class Schema:
            one = 1
            two = 2
        def f(x): return [name for name in vars(Schema) if name[0] != "_"]""",
        "one = 1\n    two = 2",
        "two = 2\n    one = 1",
    ),
    "the order of methods that code loops over": (
        """
        class Steps:
            def add(x): return x + 1
            def double(x): return x * 2
        def f(x):
            for name, step in Steps.__dict__.items():
                if name[0] != "_":
                    x = step(x)
            return x""",
        "def add(x): return x + 1\n    def double(x): return x * 2",
        "def double(x): return x * 2\n    def add(x): return x + 1",
    ),
    "a hint of an inner function": (
        """
        def f(x):
            def g(v: int): return v
            return typing.get_type_hints(g)""",
        "v: int",
        "v: float",
    ),
    "the docstring of an inner function": (
        """
        def f(x):
            def g():
                'one'
            return g.__doc__""",
        "'one'",
        "'two'",
    ),
    "the name of an inner function": (
        """
        def f(x):
            def one(): pass
            return (lambda g: g.__name__)(one)""",
        "def one(): pass\n    return (lambda g: g.__name__)(one)",
        "def two(): pass\n    return (lambda g: g.__name__)(two)",
    ),
    "a hint of an inner function that is validated by it": (
        """
        def f(x):
            @pydantic.validate_call
            def g(v: list[int]): return v
            return g(x)""",
        "list[int]",
        "list[float]",
    ),
    "what a hint in a text names": (
        """
        Number = int
        def g(v: "Number"): return v
        def f(x): return typing.get_type_hints(g)""",
        "Number = int",
        "Number = float",
    ),
    "what a hint in a text of an inner function names": (
        """
        Number = int
        def f(x):
            def g(v: "list[Number]"): return v
            return typing.get_type_hints(g)""",
        "Number = int",
        "Number = float",
    ),
    "a variable that a query names": (
        """
        LEAST = 1
        def f(x): return pd.DataFrame({"a": [1, 2]}).query("a > @LEAST")""",
        "LEAST = 1",
        "LEAST = 2",
    ),
    "a variable that a query in a constant names": (
        """
        LEAST = 1
        QUERY = "a > @LEAST"
        def f(x): return pd.DataFrame({"a": [1, 2]}).query(QUERY)""",
        "LEAST = 1",
        "LEAST = 2",
    ),
    "a line that a traceback names": (
        """
        def f(x):
            try:
                return 1 / x
            except ZeroDivisionError:
                return traceback.format_exc()""",
        "try:",
        "try:\n",
    ),
    "the order of members that a metaclass sees": (
        """
        class Ordered(type):
            def __iter__(cls): return iter(cls.__dict__)
        class Schema(metaclass=Ordered):
            one = 1
            two = 2
        def f(x): return [*Schema]""",
        "one = 1\n    two = 2",
        "two = 2\n    one = 1",
    ),
}


@pytest.mark.parametrize(("source", "before", "after"), EDITS.values(), ids=EDITS)
def test_an_edit_of_what_is_made_when_a_module_is_imported_counts(
    source: str, before: str, after: str
) -> None:
    if "boundary" in source and sys.version_info < (3, 11):
        pytest.skip("flags have boundaries from Python 3.11 on")
    names = {
        "enum": enum, "functools": functools, "types": types, "typing": typing,
        "pydantic": pydantic, "pd": pd, "traceback": traceback,
    }  # fmt: skip
    source = textwrap.dedent(source)
    assert before in source
    assert fingerprint(made(source, **names)) == fingerprint(made(source, **names))
    edited = made(source.replace(before, after), **names)
    assert fingerprint(made(source, **names)) != fingerprint(edited)


@pytest.mark.parametrize(
    "hint", ["int", "list[int]", "int | None", "typing.Any", "'Row'", "dict[str, list[int]]"]
)
@pytest.mark.parametrize("more", ["", ", *, k=3", ", k=x"])
def test_a_hint_of_an_inner_function_that_nobody_reads_does_not_count(hint: str, more: str) -> None:
    source = "def f(x):\n    def g(v{}{}): return v, x\n    return g(x)"
    assert fingerprint(made(source.format("", more))) == fingerprint(
        made(source.format(f": {hint}", more))
    )


@pytest.mark.parametrize(
    ("definition", "read"),
    [
        ("class C:\n    v: 'Number'", "typing.get_type_hints(C)"),
        ("class C:\n    v: 'Number'", "pydantic.TypeAdapter(C)"),
        ("@pydantic.validate_call\ndef g(v: 'Number'): return v", "g(x)"),
    ],
)
def test_what_a_hint_in_a_text_names_counts_where_something_reads_it(
    monkeypatch: pytest.MonkeyPatch, definition: str, read: str
) -> None:
    source = f"Number = {{}}\n{definition}\ndef f(x): return {read}"
    found = []
    for kind in ("int", "int", "float"):
        module = types.ModuleType("users_module")
        monkeypatch.setitem(sys.modules, "users_module", module)
        vars(module).update(typing=typing, pydantic=pydantic)
        exec(source.format(kind), vars(module))
        found.append(fingerprint(module.f))
    assert found[0] == found[1] != found[2]


def test_words_of_a_text_are_no_names() -> None:
    """A model has a method `eval`, and a docstring words that some global has for a name."""
    source = """
        class Model:
            def eval(self): return self
        def f(x):
            'The con of it: calls are not free.'
            return Model().eval(), {"calls": x}
        """
    source = textwrap.dedent(source)
    one = fingerprint(made(source, con=object(), calls=[1]))
    assert one == fingerprint(made(source, con=sys.stdout, calls=[1, 2]))


def test_a_class_is_the_same_whoever_has_looked_at_its_hints() -> None:
    class Plain:
        pass

    before = sign(Plain)
    assert Plain.__annotations__ == {}
    assert sign(Plain) == before


def test_the_order_of_submodules_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that in which somebody has imported them first."""
    found = []
    for order in ("ab", "ba"):
        package = types.ModuleType("users_package")
        package.__path__ = []
        monkeypatch.setitem(sys.modules, "users_package", package)
        for name in order:
            inner = types.ModuleType(f"users_package.{name}")
            monkeypatch.setitem(sys.modules, inner.__name__, inner)
            setattr(package, name, inner)
        source = "def g(m): return m.a\ndef f(x): return g(package), vars(x)"
        found.append(fingerprint(made(source, package=package)))
    assert found[0] == found[1]


def test_a_function_that_is_an_input_counts_with_what_it_says_of_itself() -> None:
    """Tools for a language model are given so."""
    source = "def search(query: str): 'Find it.'; return query"
    edits = ["query: bytes", "'Seek it.'", "search(query: str, k: int = 1)", "seek(query: str)"]
    parts = ["query: str", "'Find it.'", "search(query: str)", "search(query: str)"]

    def tool(source: str) -> Any:
        name = source.partition("(")[0].removeprefix("def ")
        scope: dict[str, Any] = {"__name__": "users_module"}
        exec(source, scope)
        return scope[name]

    same = tool(source)
    for part, edit in zip(parts, edits, strict=True):
        other = tool(source.replace(part, edit))
        assert sign(other) != sign(same)
        assert sign([other]) != sign([same])
        assert sign({"tool": other}) != sign({"tool": same})
    assert sign([tool(source)]) == sign([same])


def test_a_class_that_only_says_it_is_a_librarys_counts_by_its_content() -> None:
    def row(name: str) -> Any:
        return next(pd.DataFrame({name: [1]}).itertuples())

    assert sign(row("a")) != sign(row("b"))
    namespaces: list[dict[str, Any]] = [{}, {}]
    exec("class A:\n    k = 1", namespaces[0])
    exec("class A:\n    k = 2", namespaces[1])
    assert sign(namespaces[0]["A"]()) != sign(namespaces[1]["A"]())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement came with Python 3.12")
def test_what_a_type_statement_stands_for_counts() -> None:
    source = "type T = {}\nclass M(BaseModel):\n    a: T\ndef f(x): return M(a=x)"
    found = []
    for kind in ("int", "int", "float"):
        scope: dict[str, Any] = {"__name__": "users_module", "BaseModel": pydantic.BaseModel}
        exec(compile(source.format(kind), "<alias>", "exec", dont_inherit=True), scope)
        found.append(fingerprint(scope["f"]))
    assert found[0] == found[1] != found[2]


def test_values_with_hidden_fields_count_with_them() -> None:
    assert sign(time.localtime(0)) != sign(time.gmtime(0)) or time.timezone == 0
    early, late = (os.stat_result((*range(10), *range(6), at)) for at in (1, 2))
    assert early[:10] == late[:10]
    assert sign(early) != sign(late)
    assert sign(AttributeError("a", name="b")) != sign(AttributeError("a", name="c"))


def test_a_buffer_is_the_same_however_often_it_is_looked_at() -> None:
    for each in (io.BytesIO(b"a"), io.StringIO("a")):
        assert sign(each) == sign(each)


@pytest.mark.parametrize(
    "change", ["g.__doc__ = 'two'", "g.__annotations__['v'] = float", "g.__name__ = 'h'"]
)
def test_what_a_function_says_of_itself_may_change_in_place(change: str) -> None:
    source = "def g(v: int): 'one'\ndef f(x): return g.__doc__, g.__annotations__, g.__name__"
    func = made(source)
    before = code_of(func)
    assert code_of(func) is before
    exec(change, func.__globals__)
    assert code_of(func).digest != before.digest


def test_a_function_that_beartype_checks_counts_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("beartype")
    source = "from beartype import beartype\n@beartype\ndef g(v: int): return v + 1\n"
    source += "def f(x): return g(x)\nfrom hypernodes.identity.code import fingerprint\n"
    source += "print(fingerprint(f).hex())\n"
    found = [
        subprocess.run(
            [sys.executable, "-c", text],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for text, seed in (
            (source, "1"), (source, "2"), (source.replace("+ 1", "+ 2"), "1"),
            (source.replace("v: int", "v: float"), "1"),
        )
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_an_object_of_a_compiled_class_counts_by_what_it_is_pickled_to() -> None:
    regex = pytest.importorskip("regex")
    assert sign(regex.compile("a")) != sign(regex.compile("b"))
    assert sign(regex.compile("a")) == sign(regex.compile("a"))


def test_the_order_of_methods_counts_where_something_can_see_it_alone() -> None:
    source = "class C:\n    def a(self): return 1\n{}\ndef f(x): return C().a() + C().b()"
    method = "    def b(self): return 2"
    after = made(source.format(method))
    before = made(source.replace("class C:\n", "class C:\n{}\n", 1).format(method, ""))
    assert fingerprint(after) == fingerprint(before)


# -- Where it is compiled --------------------------------------------------------------------------

IMPORTS = "import json, math, os\nimport xml.dom.minidom as dom\nfrom collections import abc\n"
CALLING = """
def f(x, *more, **named):
    with os.scandir(x) as entries:
        names = [math.floor(each) for each in entries]
    json.dumps(names, *more, **named)
    inner = lambda y: json.loads(os.path.join(y, "a"))
    return dom.parseString(json.dumps(x)), inner, isinstance(x, abc.Sized), math.pi
"""


def test_a_function_of_a_notebook_is_that_of_a_script() -> None:
    """Python compiles `module.function()` in another way where the import is in the same unit."""
    in_one, by_cell = {"__name__": "users_module"}, {"__name__": "users_module"}
    exec(IMPORTS + CALLING, in_one)
    exec(IMPORTS, by_cell)
    exec(CALLING, by_cell)
    one: Any = in_one["f"]
    other: Any = by_cell["f"]
    assert fingerprint(one) == fingerprint(other)
    changed = dict(by_cell)
    exec(CALLING.replace("json.loads", "json.dumps"), changed)
    assert fingerprint(changed["f"]) != fingerprint(other)


def test_a_print_that_something_has_replaced_is_a_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Prefect does with `log_prints`, in whose flows results of a notebook are to be found."""
    cache, printed = MemoryCache(), []
    source = "def f(x):\n    print(x)\n    return x"
    assert run(made(source), cache) == 1
    monkeypatch.setattr("builtins.print", lambda *values: printed.append(values))
    assert run(made(source), cache) == 1
    assert printed == []
    assert run(made("def f(x):\n    print(x, x)\n    return x"), cache) == 1
    assert printed == [(1, 1)]
