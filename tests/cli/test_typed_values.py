"""A value from a file has the input's type, and is the one that the command line makes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from command_line import call

pytest.importorskip("cyclopts", reason="needs cyclopts: hypernodes[cli]")

from hypernodes.cli import rows
from hypernodes.cli.values import from_text, is_plain, value_of


class Colour(Enum):
    RED = "r"


@dataclass
class Point:
    x: int
    y: int = 2


@dataclass
class Tree:
    when: date
    trees: list[Tree] = field(default_factory=list)


class Model:
    """As pydantic's are asked."""

    def __init__(self, held: object) -> None:
        self.held = held

    @classmethod
    def model_validate(cls, held: object) -> Model:
        return cls(held)


class Own:
    pass


DAY = date(2026, 1, 2)


@pytest.mark.parametrize(
    ("kind", "held", "expected"),
    [
        (Any, "2", "2"),
        (Own, [1], [1]),
        (str, "2", "2"),
        (int, 2.0, 2),
        (int, "2", 2),
        (float, 2, 2.0),
        (bool, "false", False),
        (Decimal, 1.1, Decimal("1.1")),
        (Path, "a/b", Path("a/b")),
        (timedelta, "3s", timedelta(seconds=3)),
        (datetime, datetime(2026, 1, 2), datetime(2026, 1, 2)),
        (Colour, "red", Colour.RED),
        (Colour, "r", Colour.RED),
        (Literal["a", 1], 1, 1),
        (Literal["a", 1], "1", 1),
        (list[date], ["2026-01-02"], [DAY]),
        (list[list[int]], [[1], []], [[1], []]),
        (Sequence[date], ["2026-01-02"], [DAY]),
        (set[int], [1, 1], {1}),
        (frozenset[int], [1, 1], frozenset({1})),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (tuple, [1, "a"], (1, "a")),
        (dict[int, date], {"1": "2026-01-02"}, {1: DAY}),
        (Mapping[str, set[int]], {"a": [1]}, {"a": {1}}),
        (Point, {"x": "1"}, Point(1)),
        (list[Point], [{"x": 1, "y": 3}], [Point(1, 3)]),
        (Tree, {"when": "2026-01-02", "trees": [{"when": DAY}]}, Tree(DAY, [Tree(DAY)])),
        (Point | None, None, None),
        (Point | None, {"x": 1}, Point(1)),
        (str | None, "", ""),
        (int | str, "5", "5"),
        (list[str] | list[int], [1], [1]),
        (Annotated[int, ["anything"]], "2", 2),
    ],
)  # fmt: skip
def test_a_value_from_json_gets_the_inputs_type(kind: Any, held: Any, expected: Any) -> None:
    made = value_of(kind, held)
    assert (type(made), made) == (type(expected), expected)
    assert repr(made) == repr(expected)


def test_a_model_checks_its_own_values() -> None:
    assert value_of(Model, {"a": 1}).held == {"a": 1}
    assert from_text(Model | None, '{"a": 1}').held == {"a": 1}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Any, "2", 2),
        (Any, "two", "two"),
        (Own, '{"a": [1]}', {"a": [1]}),
        (str, "2", "2"),
        (list, "[1, 2]", [1, 2]),
        (list[int], "1", [1]),
        (list[str], "1", ["1"]),
        (list[str], "[draft] text", ["[draft] text"]),
        (set[int], "[1, 1]", {1}),
        (list[int] | None, "[1]", [1]),
        (list[int] | None, "", None),
        (str | None, "", None),
        (int | str, "5", 5),
        (str | int, "5", "5"),
        (Point, '{"x": 1}', Point(1)),
        (dict, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_text_from_csv_gets_the_inputs_type(kind: Any, text: str, expected: Any) -> None:
    made = from_text(kind, text)
    assert (type(made), made) == (type(expected), expected)


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        (int, "x"),
        (int, 2.5),
        (int, None),
        (str, 5),
        (bool, 1),
        (float, True),
        (list[int], 1),
        (list[int], ["x"]),
        (dict, '"text"'),
        (tuple[int, str], [1]),
        (Point, {}),
        (Point, {"x": 1, "z": 2}),
        (Point, [1]),
        (Colour, "blue"),
        (Literal["a", 1], True),
        (int | None, "x"),
    ],
)
def test_what_is_no_value_of_the_type_is_refused(kind: Any, held: Any) -> None:
    with pytest.raises(ValueError, match="expected "):
        value_of(kind, held)


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (list[int] | None, True),
        (dict[str, list[int]], True),
        (list[tuple[int, str]], True),
        (list[Point], True),
        (Point, True),
        (list[list[int]], False),
        (list[list[int]] | None, False),
        (list[bool], False),
        (dict[int, int], False),
        (dict[str, Point], False),
        (int | list[int], False),
        (Tree, False),
        (list, False),
        (Any, False),
    ],
)
def test_types_that_words_cannot_give_are_given_as_json(kind: Any, plain: bool) -> None:
    assert is_plain(kind) is plain


PIPELINE = """
from dataclasses import dataclass
from datetime import date
from typing import Optional, Union
from hypernodes import Pipeline, node

@dataclass
class Point:
    x: int
    y: int = 2

def shown(
    anything, bare: list, numbers: list[int], maybe: Optional[list[int]], lists: list[list[int]],
    a_set: set[int], pair: tuple[int, str], point: Point, days: list[date], flags: list[bool],
    union: Union[int, list[int]],
):
    return [repr(each) for each in (
        anything, bare, numbers, maybe, lists, a_set, pair, point, days, flags, union
    )]

pipeline = Pipeline([node(shown, "out")])
"""

VALUES: dict[str, tuple[list[str], Any, str]] = {
    # how it is given on run, what a file holds, what the node gets
    "anything": (["2"], 2, "2"),
    "bare": (["[1, 2]"], [1, 2], "[1, 2]"),
    "numbers": (["1", "2"], [1, 2], "[1, 2]"),
    "maybe": (["1"], [1], "[1]"),
    "lists": (["[[1], []]"], [[1], []], "[[1], []]"),
    "a_set": (["1", "1"], [1, 1], "{1}"),
    "pair": (["1", "a"], [1, "a"], "(1, 'a')"),
    "point": (['{"x": 1}'], {"x": 1}, "Point(x=1, y=2)"),
    "days": (["2026-01-02"], ["2026-01-02"], "[datetime.date(2026, 1, 2)]"),
    "flags": (["[true]"], [True], "[True]"),
    "union": (["[1, 2]"], [1, 2], "[1, 2]"),
}


def test_a_value_is_the_same_on_run_and_from_each_file(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(PIPELINE)
    expected = [text for _, _, text in VALUES.values()]
    given: list[str] = []
    for name, (words, _, _) in VALUES.items():
        given += [f"--{name.replace('_', '-')}", *words]
    ran, _ = call(tmp_path, "run", "made.py:pipeline", *given)
    assert json.loads(ran) == {"out": expected}
    row = {name: held for name, (_, held, _) in VALUES.items()}
    for file in ("rows.csv", "rows.jsonl"):
        rows.write(str(tmp_path / file), [row])
        mapped, _ = call(tmp_path, "map", "made.py:pipeline", file)
        assert json.loads(mapped)["out"] == expected
