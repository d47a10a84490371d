"""The README: its length, and the figures that no benchmark prints."""

from __future__ import annotations

import re
from pathlib import Path

from hypernodes import FailedItem, MemoryCache, Pipeline, node

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_bad_items_of_a_map_are_the_only_ones_that_are_computed_again() -> None:
    calls = []

    @node(output_name="level", code_version="1")
    def measure(sensor: int) -> float:
        calls.append(sensor)
        if sensor in (77, 200, 431):
            raise ValueError(f"sensor {sensor} is broken")
        return sensor / 2

    levels = Pipeline([measure], name="levels", cache=MemoryCache())
    inputs = {"sensors": range(500)}
    rows = levels.map(inputs, map_over="sensors", error_handling="continue")

    failed = [row for row in rows if isinstance(row, FailedItem)]
    assert len(rows) - len(failed) == 497
    assert [row.index for row in failed] == [77, 200, 431]
    assert failed[0].node == "measure"
    assert failed[0].inputs == {"sensor": 77}

    calls.clear()
    levels.map(inputs, map_over="sensors", error_handling="continue")
    assert calls == [77, 200, 431]


def test_it_is_short() -> None:
    prose = re.sub(r"```.*?```|<!---.*?-->", "", README, flags=re.DOTALL)
    assert len(prose.split()) <= 900
    assert README.count("![") == 1
