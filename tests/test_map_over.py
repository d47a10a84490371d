"""What can be mapped over, and what is told about what cannot."""

from __future__ import annotations

import array
from concurrent.futures import Future
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from hypernodes import MapOverError, Pipeline, node

same = Pipeline([node(lambda row: row, output_name="y")])
nested = Pipeline([same.as_node(map_over="rows")])


def ways(values: Any) -> list[Any]:
    """A map, an imap and a nested map over values."""
    return [
        lambda: same.map({"row": values}, "row"),
        lambda: list(same.imap({"rows": values}, "rows")),
        lambda: nested.run({"rows": values}),
    ]


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"a": [1, 2], "b": [3, 4]}), pl.DataFrame({"a": [1, 2], "b": [3, 4]})]
)
def test_a_frame_is_refused_and_told_how_to_give_its_rows(frame: Any) -> None:
    for way in ways(frame):
        with pytest.raises(MapOverError, match=r"'rows?' is a DataFrame.* One item a row: rows?\."):
            way()
    rows = frame.to_dict("records") if isinstance(frame, pd.DataFrame) else frame.to_dicts()
    assert nested.run({"rows": rows}) == {"y": [{"a": 1, "b": 3}, {"a": 2, "b": 4}]}
    assert nested.run({"rows": frame["a"]}) == {"y": [1, 2]}


def test_a_future_is_refused_with_what_to_write() -> None:
    for way in ways(Future()):
        with pytest.raises(MapOverError, match=r"Give its result, rows?\.result\(\)"):
            way()


@pytest.mark.parametrize(
    "values", [np.array(3), np.array("text"), np.float64(3), 5, "text", {1: 2}]
)
def test_one_value_is_refused_by_the_name_of_the_input(values: Any) -> None:
    for way in ways(values):
        with pytest.raises(MapOverError, match=r"map_over='rows?' needs a list of values"):
            way()


@pytest.mark.parametrize(
    "values", [np.array([1, 2]), pd.Series([1, 2]), (1, 2), range(1, 3), array.array("i", [1, 2])]
    + [pl.Series([1, 2]), {1: 0, 2: 0}.keys(), memoryview(b"\x01\x02")],
)  # fmt: skip
def test_every_iterable_of_items_is_taken(values: Any) -> None:
    assert nested.run({"rows": values}) == {"y": [1, 2]}
    assert same.map({"row": values}, "row") == [{"y": 1}, {"y": 2}]


def test_an_arrow_table_is_refused_too() -> None:
    with pytest.raises(MapOverError, match=r"One item a row: row\.to_pylist\(\)"):
        same.map({"row": pa.table({"a": [1]})}, "row")


def test_a_frame_that_gives_its_rows_is_mapped_over_them() -> None:
    daft = pytest.importorskip("daft")
    frame = daft.from_pydict({"a": [1, 2]})
    assert same.map({"row": frame}, "row") == [{"y": {"a": 1}}, {"y": {"a": 2}}]


def test_a_mapped_node_reads_names_as_python_does() -> None:
    @node(output_name="y")
    def double(file: int) -> int:
        return 2 * file

    inner = Pipeline([double], name="inner")
    for name in ("\ufb01le", "\ufb01les"):  # the first two letters are one character
        outer = Pipeline([inner.as_node(map_over=name), node(lambda y: sum(y), "total")])
        assert outer.run({name.replace("\ufb01", "fi"): [1, 2]}, "total") == {"total": 6}


def test_arrays_and_series_where_one_value_is_annotated_are_noted_like_lists() -> None:
    @node(output_name="y")
    def upper(path: str) -> str:
        return path.upper()

    for several in (np.array(["a"]), pd.Series(["a"]), ("a",), {"a"}):
        with pytest.raises(AttributeError) as caught:
            Pipeline([upper]).run({"path": several})
        assert f"input 'path' was a {type(several).__name__}" in str(
            caught.value.__dict__["__notes__"]
        )
