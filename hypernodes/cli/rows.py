"""Rows in files: JSONL, CSV and Parquet."""

from __future__ import annotations

import base64
import codecs
import csv
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hypernodes.cli.targets import UsageError
from hypernodes.errors import listing, needs

if TYPE_CHECKING:
    from rich.console import Group

FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")

Row = dict[str, Any]


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


ESCAPED = "hypernodes.escaped"
"""How what an encoding cannot say is written: as in JSON, so that JSON stays what it is."""
codecs.register_error(ESCAPED, _escaped)


def check_file(path: str | Path) -> None:
    """Refuse a file that cannot be written, before anything is run for it.

    Raises:
        UsageError: its folder is not there, it is a folder, or it may not be written.
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {file.parent}")
    if file.is_dir():
        raise UsageError(f"{path} cannot be written: it is a folder")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written: you have no permission")


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
        return _read_parquet(path)
    text = _text(path)
    if suffix == ".csv":
        return _read_csv(path, text)
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # a text may hold other ends of lines
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


def _text(path: str) -> str:
    if path == "-" and not sys.stdin:  # as after `<&-`
        raise UsageError("the standard input is closed")
    read = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        return read.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None


def _read_parquet(path: str) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path} cannot be read as Parquet: {reason}") from error
    return rows


def _read_csv(path: str, text: str) -> list[Row]:
    csv.field_size_limit(2**31 - 1)  # the most that Windows takes
    table = csv.reader(StringIO(text, newline=""))
    rows = []
    try:
        names = next(table, [])
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UsageError(f"{path} has more than one column named {listing(twice)}")
        for cells in table:
            if cells and len(cells) != len(names):
                raise UsageError(
                    f"{path}, line {table.line_num}: a row of {len(cells)} cells, and there are "
                    f"{len(names)} columns: {', '.join(cells):.80}"
                )
            if cells:
                rows.append(dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise UsageError(f"{path}, line {table.line_num}: not CSV ({error})") from None
    return rows


def columns(rows: Sequence[Row]) -> list[str]:
    """The names that any row has, in the order in which they appear.

    Args:
        rows: the rows.
    """
    return list(dict.fromkeys(name for row in rows for name in row))


def write(path: str, rows: Sequence[Row]) -> None:
    """Write rows to a file; values that its format has no form for as JSON or as text.

    Args:
        path: the file, or "-" for the standard output.
        rows: the rows.
    """
    suffix = check_format(path)
    if suffix == ".parquet":
        _write_parquet(path, rows)
        return
    if path == "-":
        _write_text(sys.stdout, suffix, rows)
        return
    with Path(path).open("w", encoding="utf-8", errors=ESCAPED, newline="") as opened:
        _write_text(opened, suffix, rows)


def _write_parquet(path: str, rows: Sequence[Row]) -> None:
    import pyarrow
    import pyarrow.parquet

    def column(name: str) -> Any:
        """The values in a form of Parquet's own where it has one for all of them, else as text."""
        values = [_plain(row.get(name)) for row in rows]
        try:
            made = pyarrow.array(values)
            none = pyarrow.table({name: made[:0]})
            pyarrow.parquet.write_table(none, pyarrow.BufferOutputStream())
            return made
        except (pyarrow.ArrowException, OverflowError, UnicodeError):
            return pyarrow.array([None if each is None else _as_text(each) for each in values])

    table = pyarrow.table({name: column(name) for name in columns(rows)})
    pyarrow.parquet.write_table(table, path)


def _as_text(plain: Any) -> str:
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return text.encode(errors=ESCAPED).decode()


def _write_text(opened: TextIO, suffix: str, rows: Sequence[Row]) -> None:
    if suffix != ".csv":
        for row in rows:
            opened.write(dumps(row) + "\n")
        return
    table = csv.DictWriter(opened, columns(rows), restval="")
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
    from rich.text import Text

    height, width = value.shape
    table = Table()  # of Text: a str would be read as markup
    for name in value.columns:
        table.add_column(Text(str(name)))
    for row in _plain(value.head(most)):
        table.add_row(*(Text(str(each)) for each in row.values()))
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
