"""What tells one value from another: signatures, and what has none."""

from __future__ import annotations

import copy
import functools
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law import examples

from hypernodes import DiskCache, Pipeline, node
from hypernodes.identity.values import Unidentifiable, sign

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


def exactly_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(exactly_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(exactly_equal(one[k], other[k]) for k in one)
    return repr(one) == repr(other)


@examples(200, shrink=True)
@given(VALUES, VALUES)
def test_signatures_are_equal_when_and_only_when_the_values_are(one: Any, other: Any) -> None:
    assert (sign(one) == sign(other)) == exactly_equal(one, other)


def test_values_that_compare_equal_never_share_an_entry(tmp_path: Path) -> None:
    pipeline = Pipeline([node(lambda x: repr(x), "seen")], cache=DiskCache(tmp_path))
    values = [1, 1.0, "1", True, None, "None", "True", [1], (1,), {1}, frozenset({1}), b"1", 0.0,
              -0.0, {"a": 1}, [("a", 1)]]  # fmt: skip
    for _ in range(2):
        assert [pipeline.run({"x": value})["seen"] for value in values] == list(map(repr, values))


@pytest.mark.slow
def test_deep_and_cyclic_values_have_signatures() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    again: list[Any] = [1]
    again.append(again)
    assert sign(deep) != sign([deep])
    assert sign(cyclic) == sign(again)


def test_what_cannot_be_identified_says_so(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as opened, pytest.raises(Unidentifiable, match="Wrapper"):
        sign(opened)
    with pytest.raises(Unidentifiable, match="generator"):
        sign(x for x in [1])


def test_private_attributes_count_and_a_cache_key_wins() -> None:
    class Encoder:
        def __init__(self, size: int) -> None:
            self.size = size
            self._used = 0

    class Keyed:
        def __init__(self, key: str) -> None:
            self.noise = object()
            self.key = key

        def __cache_key__(self) -> str:
            return self.key

    one, other = Encoder(3), Encoder(3)
    assert sign(one) == sign(other) != sign(Encoder(4))
    other._used = 99
    assert sign(one) != sign(other)
    assert sign(Keyed("a")) == sign(Keyed("a")) != sign(Keyed("b"))


def test_a_type_of_the_users_is_identified_as_its_registered_function_says() -> None:
    from hypernodes.identity import Parts, identify

    class Connection:
        def __init__(self, url: str, opened: float) -> None:
            self._url, self.opened = url, opened

    @identify.register(Connection)
    def _(value: Connection) -> Parts:
        return Parts("tests.Connection", [value._url])

    assert sign(Connection("a", 1.0)) == sign(Connection("a", 2.0)) != sign(Connection("b", 1.0))


def test_pickling_an_object_does_not_change_what_its_class_is() -> None:
    class Scale:
        factor = 2

    before = sign(Scale)
    pickle.loads(cloudpickle.dumps(Scale()))
    copy.copy(Scale())
    assert sign(Scale) == before


def says(doc: str) -> Any:
    def tool() -> None: ...

    tool.__doc__ = doc
    return tool


class Toolbox:
    def __init__(self, tool: Any) -> None:
        self.tool = tool


@pytest.mark.parametrize(
    "held",
    [
        lambda f: f,
        lambda f: [f],
        lambda f: {"all": [f]},
        lambda f: ((f, 1), 2),
        lambda f: {f},
        lambda f: Toolbox(f),
        lambda f: [Toolbox({"tool": f})],
        lambda f: functools.partial(f),
        lambda f: functools.lru_cache(f),
        lambda f: {"tools": [1.5] * 2_000, "all": {"f": f}},
    ],
)
def test_what_functions_inside_a_value_say_of_themselves_counts(held: Any) -> None:
    """A node may show them to a language model."""
    one, again, other = (sign(held(says(doc))) for doc in ("a", "a", "b"))
    assert one == again != other
