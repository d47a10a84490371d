"""A nightly ingest: CSV files that arrive, checked row by row, into a database, with a report.

    python flows/nightly_ingest.py                              # on files that it makes
    python flows/nightly_ingest.py inbox --database levels.db

Rows are checked by pydantic. Good ones go into SQLite, where a row that comes again replaces
itself; bad ones go to `quarantine/`, each with the reason. When more than a given share is bad, the
flow emits an event for an automation to act on. A file that was seen before costs a look at its
size and time.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import random
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

import polars as pl
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect_hypernodes import pipeline_flow
from pydantic import BaseModel, Field, ValidationError

from hypernodes import Pipeline, node


class Reading(BaseModel):
    """A row as it has to be."""

    station: str = Field(min_length=1)
    at: datetime
    level: float = Field(ge=0, le=30, description="metres above the gauge's zero")


@dataclass(frozen=True)
class Refused:
    """A row that is no reading.

    Attributes:
        line: its line in the file; 0 is the file as a whole.
        row: the row as it stood there.
        why: what pydantic says of it.
    """

    line: int
    row: dict[str, str]
    why: str


@dataclass(frozen=True)
class File:
    """A file as it is now: another time or size is another file to the cache."""

    path: str
    size: int
    modified: int


# -- One file ------------------------------------------------------------------------------------


@node(output_name=("readings", "refused"))
def check(file: File) -> tuple[pl.DataFrame, list[Refused]]:
    """The rows that are readings, and those that are not, with the reason."""
    good: list[Reading] = []
    refused: list[Refused] = []
    try:
        text = Path(file.path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _frame([]), [Refused(0, {}, f"not UTF-8: {error.reason}")]
    rows = csv.DictReader(io.StringIO(text))
    missing = set(Reading.model_fields).difference(rows.fieldnames or ())
    if missing:
        return _frame([]), [Refused(0, {}, f"no column {', '.join(sorted(missing))}")]
    for row in rows:
        try:
            good.append(Reading.model_validate(row))
        except ValidationError as error:
            why = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
            refused.append(Refused(rows.line_num, {k: str(v) for k, v in row.items() if k}, why))
    return _frame(good), refused


def _frame(readings: list[Reading]) -> pl.DataFrame:
    schema = {"station": pl.String, "at": pl.Datetime("us"), "level": pl.Float64}
    return pl.DataFrame([each.model_dump() for each in readings], schema=schema)


@node(output_name="quarantined", cache=False)
def quarantine(file: File, refused: list[Refused], quarantine_folder: str) -> int:
    """Write the refused rows beside their reasons; how many there are."""
    target = Path(quarantine_folder) / Path(file.path).name
    if not refused:
        target.unlink(missing_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as out:
        names = list(dict.fromkeys(name for each in refused for name in each.row))
        writer = csv.DictWriter(out, ["line", *names, "why"])
        writer.writeheader()
        writer.writerows({"line": each.line, **each.row, "why": each.why} for each in refused)
    return len(refused)


each_file = Pipeline([check, quarantine], name="file")

# -- All files -----------------------------------------------------------------------------------


@node(output_name="files", cache=False)
def look(inbox: str) -> list[File]:
    """The CSV files that are there.

    Args:
        inbox: the folder in which files arrive.
    """
    if not Path(inbox).is_dir():
        raise FileNotFoundError(f"no folder {inbox!r}")
    found = sorted(Path(inbox).glob("*.csv"))
    stats = [(path, path.stat()) for path in found]
    return [File(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


@node(output_name="table")
def join(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """All readings; of two for one station and time the one of the later file."""
    rows = pl.concat([_frame([]), *tables])
    return rows.unique(["station", "at"], keep="last", maintain_order=True).sort("station", "at")


@node(output_name="stored", cache=False)
def store(table: pl.DataFrame, database: str) -> int:
    """Put the readings into the database, in one transaction; how many it has then.

    Args:
        database: an SQLite file; made if it is not there.
    """
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    rows = [(station, at.isoformat(), level) for station, at, level in table.iter_rows()]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "create table if not exists level"
            " (station text, at text, level real, primary key (station, at))"
        )
        connection.executemany("insert or replace into level values (?, ?, ?)", rows)
        (count,) = connection.execute("select count(*) from level").fetchone()
        return int(count)


@node(output_name="daily")
def summarise(table: pl.DataFrame) -> pl.DataFrame:
    """Each station's last day: readings, mean and highest level."""
    days = table.with_columns(day=pl.col("at").dt.date())
    last = days.filter(pl.col("day") == pl.col("day").max().over("station"))
    return (
        last.group_by("station", "day")
        .agg(
            pl.len().alias("readings"),
            pl.col("level").mean(),
            pl.col("level").max().alias("highest"),
        )
        .sort("station")
    )


@node(output_name="summary", cache=False)
def report(
    files: list[File],
    table: pl.DataFrame,
    daily: pl.DataFrame,
    counts: list[int],
    stored: int,
    alert_share: float = 0.05,
) -> dict[str, float]:
    """Write the report; emit an event where too much was refused.

    Args:
        alert_share: refused rows, as a share of all, from which on somebody is to be told.
    """
    refused = sum(counts)
    share = refused / max(1, refused + table.height)
    lines = [f"**{table.height}** readings of {len(files)} files, **{refused}** rows refused "
             f"({share:.1%}); the database has {stored}.", "",
             "| station | day | readings | mean | highest |",
             "| --- | --- | ---: | ---: | ---: |"]  # fmt: skip
    lines += [
        f"| {name} | {day} | {count} | {mean:.2f} | {top:.2f} |"
        for name, day, count, mean, top in daily.iter_rows()
    ]
    create_markdown_artifact("\n".join(lines), key="ingest", description="Levels")
    if share > alert_share:
        worst = files[max(range(len(counts)), key=counts.__getitem__)].path
        get_run_logger().warning("%.1f %% of all rows are refused, most in %s", 100 * share, worst)
        emit_event(
            "ingest.refused",
            resource={"prefect.resource.id": "hypernodes.ingest"},
            payload={"share": share, "worst": worst},
        )
    return {"files": len(files), "readings": table.height, "refused": refused, "stored": stored}


ingest = Pipeline(
    [
        look,
        each_file.as_node(
            map_over={"files": "file"},
            output_mapping={"readings": "tables", "quarantined": "counts"},
        ),
        join,
        store,
        summarise,
        report,
    ],
    name="ingest",
)
nightly_ingest = pipeline_flow(ingest, output_name="summary", name="nightly-ingest", retries=1)


# -- Files to try it on --------------------------------------------------------------------------


def make_inbox(folder: Path, stations: int = 5, days: int = 3) -> None:
    """Files of hourly readings, with the faults that such files have."""
    random.seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    begin = datetime(2026, 1, 1)
    for station in range(stations):
        rows = [
            [f"station-{station}", (begin + timedelta(hours=hour)).isoformat(),
             round(3 + station + random.random(), 2)]
            for hour in range(24 * days)
        ]  # fmt: skip
        rows[7][2], rows[20][2], rows[30][1] = "-999", "", "31/01/2026"
        with (folder / f"station-{station}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["station", "at", "level"], *rows])
    (folder / "station-9.csv").write_bytes(b"station;at;level\n")


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("inbox", nargs="?", help="folder with CSV files (made, in the output)")
    parser.add_argument("--database", help="SQLite file (levels.db in the output)")
    parser.add_argument("--output", default="reports", help="folder for results ('reports')")
    options = parser.parse_args(arguments)
    output = Path(options.output)
    if options.inbox is None:
        options.inbox = str(output / "inbox")
        if not Path(options.inbox).exists():
            make_inbox(Path(options.inbox))
    if not Path(options.inbox).is_dir():
        parser.error(f"no folder {options.inbox!r}")
    os.environ.setdefault("HYPERNODES_CACHE", str((output / "cache").absolute()))
    told = nightly_ingest(
        inbox=options.inbox,
        database=options.database or str(output / "levels.db"),
        quarantine_folder=str(output / "quarantine"),
    )
    print(f"{told}   database: {options.database or output / 'levels.db'}")


if __name__ == "__main__":
    main(sys.argv[1:])
