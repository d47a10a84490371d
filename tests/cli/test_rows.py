"""Files of rows: what is written can be read back, and what cannot be read is said."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cyclopts", reason="needs cyclopts: hypernodes[cli]")

from hypernodes.cli import rows
from hypernodes.cli.targets import UsageError

LINE_ENDS = "a\u2028b\u2029c\x85d\ve\ff\x1cg\x1dh\x1ei\rj\r\nk"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_texts_with_ends_of_lines_are_read_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow: hypernodes[parquet]")
    file = str(tmp_path / f"rows.{suffix}")
    written: list[rows.Row] = [{"text": LINE_ENDS, "other": ""}, {"text": "é😄", "other": '"'}]
    rows.write(file, written)
    assert rows.read(file) == written


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb\ue000", "\u2028"])
def test_jsonl_is_read_back_exactly_even_where_utf_8_has_no_form(tmp_path: Path, text: str) -> None:
    file = str(tmp_path / "rows.jsonl")
    rows.write(file, [{text: [text, 1.5, None]}])
    assert rows.read(file) == [{text: [text, 1.5, None]}]


def test_blank_lines_and_windows_lines_are_no_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')
    assert rows.read(str(file)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_all_columns_are_written_whichever_row_has_them(tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow: hypernodes[parquet]")
    file = str(tmp_path / f"rows.{suffix}")
    rows.write(file, [{"a": "1"}, {"c": "2", "a": "3"}, {"b": "4"}])
    found = rows.read(file)
    assert [row.get("b") or None for row in found] == [None, None, "4"]
    assert rows.columns(found) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 2.5], [1.0, None, 2.5]),
        ([1, "a", None, [1], {"b": 2}, True], ["1", "a", None, "[1]", '{"b": 2}', "true"]),
        ([[1], ["a"]], ["[1]", '["a"]']),
        ([2**70, 1], [str(2**70), "1"]),
        ([{}, None], ["{}", None]),
        ([[{"a": {}}]], ['[{"a": {}}]']),
        (["\ud800", "b"], ["\\ud800", "b"]),
        ([None, None], [None, None]),
    ],
)
def test_a_column_that_parquet_has_no_form_for_is_json_or_text(
    tmp_path: Path, values: list[Any], expected: list[Any]
) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow: hypernodes[parquet]")
    file = str(tmp_path / "rows.parquet")
    rows.write(file, [{"id": at, "made": value} for at, value in enumerate(values)])
    assert [row["made"] for row in rows.read(file)] == expected
    assert [row["id"] for row in rows.read(file)] == list(range(len(values)))


def test_no_rows_are_no_rows_in_each_format(tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv", "parquet"):
        if suffix == "parquet":
            pytest.importorskip("pyarrow", reason="needs pyarrow: hypernodes[parquet]")
        rows.write(str(tmp_path / f"rows.{suffix}"), [])
        assert rows.read(str(tmp_path / f"rows.{suffix}")) == []


def test_a_csv_has_cells_of_any_size_and_a_column_without_a_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f",text\n\n0,{'a' * 300_000}\n")  # as pandas' `to_csv` has its index
    assert rows.read(str(file)) == [{"": "0", "text": "a" * 300_000}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("twice.csv", b"a,b,a\n1,2,3\n", "more than one column named 'a'"),
        ("short.csv", b"a,b\n1,2\n\n3\n", "line 4: a row of 1 cells, and there are 2 columns"),
        ("long.csv", b"a,b\n1,2,3\n", "line 2: a row of 3 cells, and there are 2 columns"),
        ("latin.csv", b"a\n\xe9\n", "latin.csv: not UTF-8 (invalid continuation byte at byte 2)"),
        ("latin.jsonl", b'{"a": "\xff"}', "not UTF-8"),
        ("array.jsonl", b"[1]", "line 1: expected an object"),
        ("broken.parquet", b"PAR1", "broken.parquet cannot be read as Parquet: "),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="needs pyarrow: hypernodes[parquet]")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as raised:
        rows.read(str(tmp_path / name))
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: hypernodes[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"])
    parquet.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        rows.read(str(tmp_path / "twice.parquet"))


def test_a_file_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        rows.check_file(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        rows.check_file(tmp_path / "x" / "y")
    rows.check_file(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_without_permission_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    (tmp_path / "old").chmod(0o400)
    tmp_path.chmod(0o500)
    for name in ("old", "new"):
        with pytest.raises(UsageError, match="you have no permission"):
            rows.check_file(tmp_path / name)


def test_json_stays_json_in_an_encoding_that_cannot_say_it() -> None:
    text = json.dumps("é😄\ud800", ensure_ascii=False)
    assert json.loads(text.encode("ascii", rows.ESCAPED)) == "é😄\ud800"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_table_is_shown_by_its_first_rows(library: str) -> None:
    from rich.console import Console

    frame = pytest.importorskip(library).DataFrame({"city": ["Oslo"] * 30, "level": range(30)})
    console = Console(width=60, record=True)
    console.print(rows.head(frame))
    told = console.export_text()
    assert "city" in told
    assert "Oslo" in told
    assert "30 rows, 2 columns" in told
    assert told.count("Oslo") == 10
    assert rows.head([1, 2]) is None
    assert rows.head({"columns": 1}) is None


def test_a_table_shows_brackets_and_colons_as_they_are() -> None:
    from rich.console import Console

    frame = pytest.importorskip("pandas").DataFrame({"[a]": ["list[str] x", "[/]", ":smile:"]})
    console = Console(width=60, record=True)
    console.print(rows.head(frame))
    shown = console.export_text()
    for text in ("[a]", "list[str] x", "[/]", ":smile:"):
        assert text in shown
