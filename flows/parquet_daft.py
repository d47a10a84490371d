"""Millions of weather readings: cleaned, enriched and aggregated with Daft, as a Prefect flow.

    python flows/parquet_daft.py data                    # 3 million rows, made at the first run
    python flows/parquet_daft.py data --rows 100000

The rows are a pipeline of functions for one reading. `DaftEngine` runs it from Parquet to Parquet
without holding the data in memory; what comes of each region is a pipeline that `PrefectEngine`
reports and Daft runs.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")

import daft
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from daft import col
from prefect_hypernodes import PrefectEngine, pipeline_flow

from hypernodes import DaftEngine, Pipeline, node

REGIONS = ("north", "east", "south", "west")
ROWS_A_FILE = 500_000

# -- One reading ---------------------------------------------------------------------------------


@node(output_name="celsius")
def parse(reading: str | None) -> float | None:
    """The temperature in degrees Celsius; None for what cannot be read."""
    if reading is None:
        return None
    text, _, unit = reading.strip().partition(" ")
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    celsius = (value - 32) / 1.8 if unit.upper() == "F" else value
    return round(celsius, 2) if -90 <= celsius <= 60 else None


@node(output_name=("region", "height"))
def locate(station: str) -> tuple[str, int]:
    """Where a station is: its name holds the region's letter and the height in metres."""
    letter, _, height = station.partition("-")
    return next(name for name in REGIONS if name[0] == letter.lower()), int(height)


@node(output_name="sea_level")
def reduce_to_sea_level(celsius: float | None, height: int) -> float | None:
    """The temperature at sea level: 6.5 K per 1,000 m (International Standard Atmosphere)."""
    return None if celsius is None else round(celsius + 0.0065 * height, 2)


@node(output_name="month", batch="numpy")
def month_of(seconds: Any) -> list[int]:
    """The month of each moment, from 1."""
    return [
        int(each)
        for each in seconds.astype("datetime64[s]").astype("datetime64[M]").view("i8") % 12 + 1
    ]


reading = Pipeline([parse, locate, reduce_to_sea_level, month_of], name="reading")

# -- One region ----------------------------------------------------------------------------------


@node(output_name="months")
def sort_months(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The region's months in order."""
    return sorted(rows, key=lambda row: row["month"])


@node(output_name="line")
def describe(region: str, months: list[dict[str, Any]]) -> str:
    """A line of the report."""
    count = sum(row["count"] for row in months)
    warmest = max(months, key=lambda row: row["mean"])
    coldest = min(months, key=lambda row: row["mean"])
    return (
        f"| {region} | {count:,} | {coldest['mean']:.1f} (month {coldest['month']}) | "
        f"{warmest['mean']:.1f} (month {warmest['month']}) |"
    )


region_report = Pipeline([sort_months, describe], name="region", engine=PrefectEngine(DaftEngine()))

# -- All of them ---------------------------------------------------------------------------------


@node(output_name="raw")
def make_data(folder: str, rows: int = 3_000_000, seed: int = 7) -> str:
    """Parquet files of readings as they come, with units mixed and some of them broken."""
    target = Path(folder) / f"readings-{rows}-{seed}"
    if target.is_dir():
        return str(target)
    writing = target.with_suffix(".writing")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    random = np.random.default_rng(seed)
    stations = [
        f"{region[0].upper()}-{height}" for region in REGIONS for height in range(0, 2000, 50)
    ]
    for file, start in enumerate(range(0, rows, ROWS_A_FILE)):
        count = min(ROWS_A_FILE, rows - start)
        places = random.integers(0, len(stations), count)
        seconds = random.integers(1_700_000_000, 1_731_536_000, count)
        season = -np.cos((seconds - 1_704_067_200) / 31_557_600 * 2 * np.pi)
        heights = places % 40 * 50
        celsius = 10 + 12 * season - 0.0065 * heights + random.normal(0, 4, count)
        readings: list[str | None] = [f"{value:.1f} C" for value in celsius]
        for place in random.choice(count, count // 5, replace=False):
            readings[place] = f" {celsius[place] * 1.8 + 32:.1f} f".replace(".", ",")
        for place in random.choice(count, count // 100, replace=False):
            readings[place] = ("n/a", "999 C", None)[place % 3]
        table = pa.table(
            {
                "station": [stations[place] for place in places],
                "seconds": seconds,
                "reading": pa.array(readings, type=pa.string()),
            }
        )
        pq.write_table(table, writing / f"part-{file:04}.parquet")
    writing.rename(target)
    return str(target)


@node(output_name=("cleaned", "seconds_taken"))
def clean(raw: str, folder: str) -> tuple[str, float]:
    """Every reading through the pipeline of one, from Parquet to Parquet."""
    begun = time.perf_counter()
    target = Path(folder) / "cleaned"
    shutil.rmtree(target, ignore_errors=True)
    rows = reading.with_engine(DaftEngine(collect=False)).map(
        daft.read_parquet(f"{raw}/*.parquet"), map_over=["station", "seconds", "reading"]
    )
    rows.select("station", "seconds", "celsius", "region", "sea_level", "month").write_parquet(
        str(target)
    )
    return str(target), time.perf_counter() - begun


@node(output_name=("regions", "rows_of_regions", "unread"))
def aggregate(cleaned: str, folder: str) -> tuple[list[str], list[list[dict[str, Any]]], int]:
    """Mean temperature at sea level by region and month, which is written to Parquet too."""
    frame = daft.read_parquet(f"{cleaned}/*.parquet")
    unread = frame.where(col("sea_level").is_null()).count_rows()
    means = (
        frame.where(col("sea_level").not_null())
        .groupby("region", "month")
        .agg(col("sea_level").mean().alias("mean"), col("sea_level").count().alias("count"))
        .collect()
    )
    target = Path(folder) / "by_month"
    shutil.rmtree(target, ignore_errors=True)
    means.write_parquet(str(target))
    rows = means.to_pylist()
    regions = sorted({row["region"] for row in rows})
    return regions, [[row for row in rows if row["region"] == name] for name in regions], unread


@node(output_name="report")
def write_report(line: list[str], unread: int, folder: str) -> str:
    """The report as Markdown, beside the data."""
    text = "\n".join(
        [
            "# Temperatures at sea level",
            "",
            "| region | readings | coldest | warmest |",
            "| --- | ---: | ---: | ---: |",
            *line,
            "",
            f"Left out: {unread:,} readings that cannot be read.",
        ]
    )
    (Path(folder) / "temperatures.md").write_text(text + "\n", encoding="utf-8")
    return text


@node(output_name="plot")
def draw(regions: list[str], months: list[list[dict[str, Any]]], folder: str) -> str:
    """The course of the year in each region, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, rows in zip(regions, months, strict=True):
        axes.plot([row["month"] for row in rows], [row["mean"] for row in rows], label=name)
    axes.set(xlabel="month", ylabel="°C at sea level")
    axes.legend()
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    target = Path(folder) / "temperatures.png"
    target.write_bytes(buffer.getvalue())
    return str(target)


weather = Pipeline(
    [
        make_data,
        clean,
        aggregate,
        region_report.as_node(map_over={"regions": "region", "rows_of_regions": "rows"}),
        write_report,
        draw,
    ],
    name="weather",
)

parquet_daft = pipeline_flow(
    weather, name="parquet-daft", output_name=["report", "plot", "seconds_taken"]
)


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="where the data set is, or is to be made")
    parser.add_argument("--rows", type=int, default=3_000_000, help="readings (3 million)")
    parser.add_argument("--seed", type=int, default=7, help="of the data set (7)")
    options = parser.parse_args(arguments)
    if options.rows < 1:
        parser.error(f"--rows is {options.rows}: expected at least 1")
    if Path(options.folder).is_file():
        parser.error(f"{options.folder} is a file: give a folder")
    result = parquet_daft(**vars(options))
    print(f"\n{result['report']}\n")
    print(f"{options.rows:,} rows cleaned in {result['seconds_taken']:.1f} s")
    print(f"plot: {result['plot']}")


if __name__ == "__main__":
    main(sys.argv[1:])
