"""@node: every kind of function, and what is refused."""

from __future__ import annotations

import asyncio
import functools
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle
import pytest

from hypernodes import Node, NodeError, Pipeline, ResultError, node


class Scaler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def scale(self, x: int) -> int:
        return self.factor * x

    def __call__(self, x: int) -> int:
        return -self.factor * x

    @node(output_name="halved")
    def halve(self, x: int) -> float:
        return x / self.factor


def plain(x: int, y: int = 10) -> int:
    return x + y


async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x * 100


@node(output_name="shouted")
def shout(text: str) -> str:
    return text.upper()


def run(each: object, **inputs: object) -> object:
    (value,) = Pipeline([each]).run(inputs).values()
    return value


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (node(plain), 13),
        (node(plain, output_name="z"), 13),
        (node(functools.partial(plain, y=1), output_name="z"), 4),
        (node(lambda x: x * 7, output_name="z"), 21),
        (node(Scaler(2).scale), 6),
        (node(Scaler(2), output_name="z"), -6),
        (node(later), 300),
        (Scaler(2).halve, 1.5),
    ],
)
def test_every_kind_of_callable_runs(made: object, expected: object) -> None:
    assert run(made, x=3) == expected


def test_a_bare_decorator_names_the_output_after_the_function() -> None:
    @node
    def total(x: int) -> int:
        return x + 1

    assert total.outputs == ("total",)
    assert total(1) == 2


def test_a_plain_function_among_the_nodes_becomes_a_node() -> None:
    assert Pipeline([plain]).run({"x": 1}) == {"plain": 11}


def test_positional_only_and_keyword_only_parameters_are_passed_as_they_must_be() -> None:
    def mixed(a: int, /, b: int, *, c: int = 5) -> tuple[int, int, int]:
        return a, b, c

    assert run(node(mixed), a=1, b=2) == (1, 2, 5)
    assert run(node(mixed), a=1, b=2, c=3) == (1, 2, 3)


@pytest.mark.parametrize("func", [lambda *args: 1, lambda **options: 1])
def test_variadic_parameters_are_refused_with_the_fix(func: object) -> None:
    with pytest.raises(NodeError, match="write out the parameters"):
        node(func, output_name="z")  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["", "two words", "class", 3, (), ("a", "a")])
def test_wrong_output_names_are_refused(name: object) -> None:
    with pytest.raises(NodeError, match="output_name"):
        node(plain, output_name=name)  # type: ignore[call-overload]


def test_something_that_is_no_function_is_refused() -> None:
    with pytest.raises(NodeError, match="made from a function, not from 42"):
        Pipeline([42])
    with pytest.raises(NodeError, match=r"@node\(output_name='x'\)"):
        node("x")  # type: ignore[call-overload]


@pytest.mark.parametrize("returned", [(1,), (1, 2, 3), 7, "ab"])
def test_a_result_of_the_wrong_length_is_an_error_that_counts(returned: object) -> None:
    pair = node(lambda x: returned, output_name=("a", "b"))
    with pytest.raises(ResultError, match="2"):
        Pipeline([pair]).run({"x": 1})


def test_several_outputs_come_apart() -> None:
    pair = node(lambda x: (x, -x), output_name=("a", "b"))
    assert Pipeline([pair]).run({"x": 1}) == {"a": 1, "b": -1}


def test_types_come_from_the_annotations() -> None:
    def parts(text: str, n: int = 2) -> tuple[str, list[int]]:
        return text, [n]

    made = node(parts, output_name=("a", "b"))
    assert made.inputs["text"].type is str
    assert made.inputs["text"].required
    assert made.inputs["n"].default == 2
    assert made.output_types == (str, list[int])


def test_a_node_of_a_module_pickles_by_name() -> None:
    assert pickle.loads(pickle.dumps(shout)) is shout
    assert isinstance(pickle.loads(pickle.dumps(node(plain, output_name="q"))), Node)


def test_one_annotation_that_cannot_be_evaluated_leaves_the_others() -> None:
    def load(path: str, into: Missing) -> int: ...  # type: ignore[name-defined]  # noqa: F821

    taken = node(load)
    assert {name: each.type for name, each in taken.inputs.items()} == {
        "path": str,
        "into": "Missing",
    }
    assert taken.output_types == (int,)


def timed(func: Any) -> Any:
    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return inner


@pytest.mark.parametrize(
    "wrap",
    [timed, functools.lru_cache, lambda each: timed(timed(each))]
    + [lambda each: functools.partial(each, x=1), lambda each: functools.partial(timed(each), x=1)],
)
@pytest.mark.parametrize("options", [{"output_name": "now"}, {"cache": False}, {"retries": 2}])
def test_a_decorator_above_a_node_is_refused_where_something_would_be_lost(
    wrap: Any, options: Any
) -> None:
    with pytest.raises(NodeError, match="write @node above the other decorator"):
        Pipeline([wrap(node(clock, **options))])


def clock(x: int) -> int:
    return x


def test_a_decorator_above_a_node_that_loses_nothing_and_one_below_it_are_taken() -> None:
    assert Pipeline([timed(node(clock))]).run({"x": 1}) == {"clock": 1}
    named = node(timed(node(clock, output_name="now")), output_name="then")
    assert Pipeline([named]).run({"x": 1}) == {"then": 1}
    below = node(timed(clock), output_name="now", cache=False)
    assert Pipeline([below]).run({"x": 1}) == {"now": 1}


def _with_own_attributes(func: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(x: int) -> int:
        result: int = func(x) * 10
        return result

    for name in names:
        setattr(wrapper, name, func)
    return wrapper


def test_attributes_of_a_function_do_not_take_the_place_of_a_nodes() -> None:
    names = sorted(name for name in dir(Node) if not name.startswith("__"))
    assert {"call", "guarded", "inputs", "output_types", "original", "varied"} <= set(names)
    made = Node(_with_own_attributes(lambda x: x + 1, [*names, "mine"]), "y")
    assert made(1) == 20
    assert Pipeline([made]).run({"x": 1}) == {"y": 20}
    assert made.__dict__["mine"](1) == 2
    assert cloudpickle.loads(cloudpickle.dumps(made))(1) == 20
