"""Rows in files: JSONL, CSV and Parquet."""

from __future__ import annotations

import base64
import csv
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hypernodes.cli.targets import UsageError
from hypernodes.errors import listing, needs

if TYPE_CHECKING:
    from rich.console import Group

FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")

Row = dict[str, Any]


def check_folder(path: str | Path) -> None:
    """Refuse a file that cannot be written, before anything is run for it.

    Raises:
        UsageError: its folder is not there.
    """
    if not Path(path).parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {Path(path).parent}")


def check_format(path: str) -> str:
    """The suffix of a file of rows; that of "-", the standard input or output, is JSONL's.

    Raises:
        UsageError: no file of rows has such a suffix.
    """
    suffix = ".jsonl" if path == "-" else Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: expected a file that ends in {listing(FORMATS)}, or - for JSONL")
    if suffix == ".parquet":
        needs("pyarrow", "parquet", "Parquet")
    return suffix


def read(path: str) -> list[Row]:
    """The rows of a file.

    Raises:
        UsageError: it is not there, or not what its suffix says.
    """
    suffix = check_format(path)
    if path != "-" and not Path(path).is_file():
        raise UsageError(f"there is no file {path}")
    if suffix == ".parquet":
        import pyarrow.parquet

        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    if suffix == ".csv":
        return _read_csv(path, text)
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UsageError(f'{path}, line {number}: expected an object such as {{"text": ...}}')
        rows.append(row)
    return rows


def _read_csv(path: str, text: str) -> list[Row]:
    table = csv.DictReader(text.splitlines(keepends=True), restkey="", restval=None)
    rows = list(table)
    for row in rows:
        if "" in row or None in row.values():
            raise UsageError(
                f"{path}: a row has another number of cells than the {len(table.fieldnames or ())} "
                f"columns: {row!s:.80}"
            )
    return rows


def write(path: str, rows: Sequence[Row]) -> None:
    """Write rows to a file; values that its format has no form for as JSON or as text.

    Args:
        path: the file, or "-" for the standard output.
        rows: the rows.
    """
    suffix = check_format(path)
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_pylist([_plain(row) for row in rows])
        pyarrow.parquet.write_table(table, path)
        return
    if path == "-":
        _write_text(sys.stdout, suffix, rows)
        return
    with Path(path).open("w", encoding="utf-8", newline="") as opened:
        _write_text(opened, suffix, rows)


def _write_text(opened: TextIO, suffix: str, rows: Sequence[Row]) -> None:
    if suffix != ".csv":
        for row in rows:
            opened.write(dumps(row) + "\n")
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(opened, columns, restval="")
    table.writeheader()
    for row in rows:
        table.writerow({name: _cell(value) for name, value in row.items()})


def head(value: Any, most: int = 10) -> Group | None:
    """The first rows of a DataFrame as a table for a terminal; None for anything else.

    Args:
        value: a frame of pandas or Polars, or anything else.
        most: at most so many rows.
    """
    if not (hasattr(value, "columns") and hasattr(value, "head") and hasattr(value, "shape")):
        return None
    from rich.console import Group
    from rich.table import Table

    height, width = value.shape
    table = Table()
    for name in value.columns:
        table.add_column(str(name))
    for row in _plain(value.head(most)):
        table.add_row(*(str(each) for each in row.values()))
    if height > most:
        table.add_row(*["…"] * width)
    return Group(table, f"{height:,} rows, {width:,} columns")


def _cell(value: object) -> object:
    plain = _plain(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, (list, dict)) else plain


def dumps(value: object, indent: int | None = None) -> str:
    """A value as JSON: bytes in base 64, and what JSON has no form for as text.

    Args:
        value: anything.
        indent: spaces for each level; None for one line.
    """
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    for method in ("model_dump", "to_dicts", "tolist", "to_pylist", "isoformat"):
        made = getattr(value, method, None)
        if callable(made):
            return _plain(made())
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict("records") if hasattr(value, "columns") else value.to_dict())
    return str(value)
