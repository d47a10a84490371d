"""The timeline's waterfall, in a real browser and as PNG."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pytest

from hypernodes import HyperNodesEngine, MemoryCache, Pipeline, Timeline, node, record


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    def read(x: int) -> int:
        time.sleep(0.005)
        if x == 77:
            raise ValueError("broken <b>")
        return x

    inner = Pipeline([node(read, "y"), node(lambda y: y, "z", name="keep")], name="inner")
    pipeline = Pipeline(
        [inner.as_node(map_over={"xs": "x"}), node(lambda z: len(z), "total", name="total")],
        name="outer",
        cache=MemoryCache(),
    )
    pipeline.run({"xs": [0, 1]})
    with HyperNodesEngine(map_executor="threaded") as engine, record() as timeline:
        pipeline.with_engine(engine).map(
            {"xs": [list(range(20)), [77]]}, "xs", error_handling="continue"
        )
    return timeline


def rows(page: Any) -> list[str]:
    return [each.get_attribute("data-name") for each in page.query_selector_all(".row")]


def test_it_draws_a_row_for_each_scope_and_folds_large_maps(
    browse: Any, timeline: Timeline
) -> None:
    page = browse(timeline.html())
    assert rows(page)[:3] == ["outer", "outer[0]", "inner"]
    assert "inner[3]" not in rows(page), "a map of 20 items is folded at first"
    assert page.locator(".row.merged .lane i").count() > 0
    page.click(".row[data-name='inner'] .fold >> nth=0")
    assert "inner[3]" in rows(page)
    page.click("#fold")
    assert rows(page) == ["outer", "outer[0]", "outer[1]"]
    assert "1 failed" in page.locator(".about").inner_text()


def test_search_unfolds_what_matches(browse: Any, timeline: Timeline) -> None:
    page = browse(timeline.html())
    page.fill("#search", "broken")
    assert page.locator(".row.hit").count() >= 1
    page.hover(".row.hit[data-name='read'] .lane")
    assert "ValueError: broken <b>" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".row.miss").count() == 0


def test_it_tells_the_slowest_nodes_and_the_workers(browse: Any, timeline: Timeline) -> None:
    page = browse(timeline.html())
    page.click("#nodes")
    first = page.locator("#panel tbody tr >> nth=0").inner_text().split()
    assert first[:4] == ["outer/inner/read", "19", "2", "1"]
    page.click("#workers")
    assert len(rows(page)) == len(timeline.workers())
    assert "% busy" in page.locator(".row >> nth=0").inner_text()


def test_zooming_in_makes_the_lanes_wider(browse: Any, timeline: Timeline) -> None:
    page = browse(timeline.html())
    width = "() => document.querySelector('.lane').offsetWidth"
    before = page.evaluate(width)
    page.click("[aria-label='Zoom in']")
    assert page.evaluate(width) > 1.5 * before


def test_thousands_of_rows_are_drawn_only_where_they_are_seen(browse: Any) -> None:
    pipeline = Pipeline([node(lambda x: x, "y", name="work")], name="many")
    with record() as timeline:
        pipeline.map({"x": list(range(5_000))}, "x")
    page = browse(timeline.html())
    page.click("#unfold")
    assert 20 < page.locator(".row").count() < 100
    page.evaluate("document.querySelector('#scroll').scrollTop = 120000")
    page.wait_for_selector(".row[data-name='many[2500]']")


def test_a_notebook_shows_it(browse: Any, timeline: Timeline) -> None:
    page = browse(f"<html><body>{timeline._repr_html_()}</body></html>", ready="iframe")
    frame = page.frames[1]
    frame.wait_for_selector("html[data-ready]", state="attached")
    assert frame.locator(".row").count() > 3


def test_times_are_told_in_units_that_tell_them_apart(browse: Any, timeline: Timeline) -> None:
    page = browse(timeline.html())
    seconds = [0, 0.0005, 0.0015, 0.9997, 9.99, 59.7, 119.6]
    assert page.evaluate("times => times.map(each => time(each))", seconds) == [
        "0 µs", "500 µs", "2 ms", "1.0 s", "10 s", "60 s", "2 min 0 s",
    ]  # fmt: skip
    told = page.evaluate("times => times.map(each => time(each, 0.0005))", [0.001, 0.0015, 0.002])
    assert told == ["1.0 ms", "1.5 ms", "2.0 ms"]


def test_an_empty_timeline_is_a_page_too(browse: Any) -> None:
    page = browse(Timeline().html())
    assert page.locator(".row").count() == 0
    assert page.title() == "nothing ran"


def test_a_page_can_be_written_to_a_file(tmp_path: Path, timeline: Timeline) -> None:
    html = timeline.html(tmp_path / "ran.html")
    assert (tmp_path / "ran.html").read_text(encoding="utf-8") == html


@pytest.mark.slow
def test_a_png_has_a_row_for_each_scope_or_for_each_node(
    tmp_path: Path, timeline: Timeline
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: hypernodes[viz]")
    many = timeline.png(tmp_path / "ran.png", rows=200)
    assert (tmp_path / "ran.png").read_bytes() == many
    few = timeline.png(rows=10)

    def height(png: bytes) -> int:
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        return int(struct.unpack(">I", png[20:24])[0])

    assert height(many) > 3 * height(few)
    with pytest.raises(ValueError, match="rows is 0"):
        timeline.png(rows=0)


def test_a_legend_says_what_colours_and_outlines_mean(browse: Any, timeline: Timeline) -> None:
    page = browse(timeline.html())
    told = page.locator("#legend").inner_text()
    for each in ("completed", "cached", "failed", "on the critical path", "pipeline, map or item"):
        assert each in told
    assert "critical path: " in page.locator(".about").inner_text()


def test_two_runs_stand_side_by_side_on_one_scale(browse: Any, timeline: Timeline) -> None:
    pipeline = Pipeline([node(lambda x: time.sleep(x), "y", name="wait")], name="outer")
    with record() as other:
        pipeline.run({"x": 0.05})
    page = browse(other.html(beside=timeline))
    cells = [row.inner_text().split("\t") for row in page.query_selector_all("#panel tbody tr")]
    none = ["\u2013"] * 3
    by_node = {row[0]: row[1:] for row in cells}
    assert by_node["outer/wait"][:2] == ["1", "0"]
    assert by_node["outer/wait"][3:6] == none
    assert by_node["outer/inner/read"][:3] == none
    assert by_node["outer/inner/read"][4] != "0"  # hits of the second run
    left, right = (frame for frame in page.frames if frame != page.main_frame)
    for frame in (left, right):
        # Drawn again when the frame has its width.
        frame.locator(".tick").nth(1).wait_for(state="attached")
    ticks = [frame.locator(".tick").last.inner_text() for frame in (left, right)]
    assert ticks[0] == ticks[1]
