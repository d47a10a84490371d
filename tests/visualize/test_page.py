"""The interactive diagram, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from hypernodes import MemoryCache, Pipeline, node, record
from hypernodes.visualize.page import diagram


@node(output_name="words")
def split(text: str) -> list[str]:
    """Words in lower case, with <b>no</b> markup & a "quote" </script>."""
    return text.lower().split()


@node(output_name=("count", "longest"))
def measure(words: list[str], at_least: int = 1) -> tuple[int, str]:
    kept = [word for word in words if len(word) >= at_least]
    if not kept:
        raise ValueError("nothing left")
    return len(kept), max(kept, key=len)


@node(output_name="total")
def add(counts: list[int]) -> int:
    """All of them."""
    return sum(counts)


document = Pipeline([split, measure], name="document")
corpus = Pipeline(
    [document.as_node(map_over={"texts": "text"}, output_mapping={"count": "counts"}), add],
    name="corpus",
)


def cards(page: Any) -> list[str]:
    return [each.get_attribute("data-path") for each in page.query_selector_all(".card")]


def texts(page: Any, selector: str) -> list[str]:
    return [each.inner_text() for each in page.query_selector_all(selector)]


def test_it_draws_nodes_inputs_outputs_and_types(browse: Any) -> None:
    page = browse(diagram(corpus))
    assert cards(page) == ["corpus/document/split", "corpus/document/measure", "corpus/add"]
    assert page.locator(".nested[data-path='corpus/document'] .head").inner_text().split() == (
        ["▾", "document", "for", "each", "of", "texts"]
    )
    pills = texts(page, ".pill.input")
    assert "texts: list[str]\nat_least: int = 1" in pills, "those that go together stand together"
    assert "text: str" in pills
    assert "at_least: int = 1" in pills
    assert "total: int" in texts(page, ".pill.output")
    assert sorted(texts(page, ".label")) == ["counts: list[int]", "words: list[str]"]
    assert page.locator("svg.edges path:not(.tip)").count() == 10
    assert "3 nodes · 2 inputs" in page.locator(".about").inner_text()


def test_nothing_overlaps(browse: Any) -> None:
    page = browse(diagram(corpus))
    assert overlaps(page) == 0
    page.click("#turn")
    assert overlaps(page) == 0


def overlaps(page: Any) -> int:
    """How many pairs of siblings, labels apart, cover each other."""
    count: int = page.evaluate(
        """() => {
          let found = 0;
          for (const around of document.querySelectorAll("#stage, .body")) {
            const placed = [...around.children].filter((each) => each.matches(".place"));
            const boxes = placed.map((each) => each.getBoundingClientRect());
            const apart = (a, b) => a.right - 1 <= b.left || a.bottom - 1 <= b.top;
            boxes.forEach((a, at) => boxes.slice(at + 1).forEach((b) => {
              if (!apart(a, b) && !apart(b, a)) found++;
            }));
          }
          return found;
        }"""
    )
    return count


def test_nested_pipelines_fold_and_unfold(browse: Any) -> None:
    page = browse(diagram(corpus))
    page.click(".nested[data-path='corpus/document'] .head")
    assert cards(page) == ["corpus/document", "corpus/add"]
    assert "2 nodes · for each of texts" in page.locator(".card.folded").inner_text()
    page.click(".card[data-path='corpus/document']")
    assert len(cards(page)) == 3
    page.click("#fold")
    assert len(cards(page)) == 2
    page.click("#unfold")
    assert len(cards(page)) == 3


def test_depth_says_what_is_folded_at_first(browse: Any) -> None:
    assert cards(browse(diagram(corpus, depth=0))) == ["corpus/document", "corpus/add"]


def test_searching_marks_what_matches_and_goes_to_it_where_it_is_folded(browse: Any) -> None:
    page = browse(diagram(corpus, depth=0))
    page.keyboard.press("/")
    page.keyboard.type("longest")
    assert page.locator("#found").inner_text() == "2 of 4"  # the node, and the pipeline around it
    assert page.locator(".card.match").get_attribute("data-path") == "corpus/document"
    assert page.locator(".card.dimmed").get_attribute("data-path") == "corpus/add"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    found = page.locator(".card.match[data-path='corpus/document/measure']")
    assert found.is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".dimmed").count() == 0


def test_hovering_shows_docstring_and_source(browse: Any) -> None:
    page = browse(diagram(corpus))
    assert page.locator("#more").is_hidden()
    page.hover(".card[data-path='corpus/document/split']")
    page.wait_for_selector("#more:not([hidden])")
    told = page.locator("#more").inner_text()
    assert '<b>no</b> markup & a "quote" </script>.' in told
    assert "return text.lower().split()" in told
    assert "(text: str) → words: list[str]" in told
    assert "test_page.py:" in told
    page.hover(".bar h1")
    page.wait_for_selector("#more[hidden]", state="attached")
    page.click(".card[data-path='corpus/add']")  # stays
    page.hover(".bar h1")
    assert "All of them." in page.locator("#more").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#more").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_or_dark_as_the_reader_has_it_and_can_be_turned(
    browse: Any, scheme: str
) -> None:
    page = browse(diagram(corpus), color_scheme=scheme)
    background = "() => getComputedStyle(document.body).backgroundColor"
    brightness = sum(map(int, page.evaluate(background)[4:-1].split(",")))
    assert (brightness > 600) == (scheme == "light")
    page.click("#theme")
    turned = sum(map(int, page.evaluate(background)[4:-1].split(",")))
    assert (turned > 600) == (scheme == "dark")


def test_after_a_run_nodes_bear_their_state_and_time(browse: Any) -> None:
    cached = corpus.with_cache(MemoryCache())
    cached.run({"texts": ["a b"]})
    with record() as timeline, pytest.raises(ValueError, match="nothing left"):
        cached.run({"texts": ["a b", "c", ""]})
    page = browse(diagram(cached, timeline))
    state = {
        path: next(
            each
            for each in ("completed", "cached", "failed", "running", "")
            if f" {each}" in page.locator(f"[data-path='{path}']").get_attribute("class")
        )
        for path in ("corpus/document", "corpus/document/split", "corpus/document/measure")
    }
    assert state == {
        "corpus/document": "failed",
        "corpus/document/split": "completed",
        "corpus/document/measure": "failed",
    }
    told = page.locator(".card[data-path='corpus/document/measure']").inner_text()
    assert "2 runs · 1 cached · 1 failed" in told
    assert page.locator(".card[data-path='corpus/add'] .dot").count() == 0, "it never ran"


def test_wheel_and_drag_move_it_and_fit_brings_it_back(browse: Any) -> None:
    page = browse(diagram(corpus))
    where = "() => document.querySelector('#stage').style.transform"
    before = page.evaluate(where)
    page.mouse.move(30, 400)
    page.mouse.wheel(0, 120)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    zoomed = page.evaluate(where)
    assert zoomed != before
    page.mouse.down()
    page.mouse.move(130, 300)
    page.mouse.up()
    assert page.evaluate(where) != zoomed
    page.click("#fit")
    inside = page.evaluate(
        """() => {
          const view = document.querySelector("#view").getBoundingClientRect();
          return [...document.querySelectorAll(".card")].every((each) => {
            const box = each.getBoundingClientRect();
            return box.left >= view.left && box.right <= view.right && box.bottom <= view.bottom;
          });
        }"""
    )
    assert inside


def layered(count: int) -> Pipeline:
    """`count` nodes, each of which takes up to three of the twelve before it."""
    lines = []
    for place in range(count):
        sources = {place - 1 - (place * step) % 11 for step in (0, 3, 7)} if place % 8 else set()
        inputs = [f"v{each}: int" for each in sorted(sources) if each >= 0] or ["start: int"]
        lines.append(f"def v{place}({', '.join(inputs)}) -> int: return {place}")
    scope: dict[str, Any] = {}
    exec("\n".join(lines), scope)
    return Pipeline([node(scope[f"v{place}"]) for place in range(count)], name="large")


def test_200_nodes_can_be_read(browse: Any) -> None:
    page = browse(diagram(layered(200)))
    assert len(cards(page)) == 200
    assert overlaps(page) == 0
    size = page.evaluate(
        """() => {
          const name = document.querySelector(".card .name");
          return name.getBoundingClientRect().height / name.offsetHeight * 13;
        }"""
    )
    assert size >= 6, "letters are high enough to be read where it opens"
    # Labels show where one points.
    page.hover(".card >> nth=0")
    page.wait_for_selector(".label.apart.lit")
    page.fill("#search", "v150")
    page.keyboard.press("Enter")
    assert page.locator(".card.match >> nth=0").is_visible()


def test_hundreds_of_nodes_in_nested_pipelines_open_folded(browse: Any) -> None:
    inner = layered(30)
    parts = [
        inner.as_node(
            name=f"part{place}", output_mapping={name: f"p{place}_{name}" for name in inner.outputs}
        )
        for place in range(7)
    ]
    page = browse(diagram(Pipeline(parts, name="parts")))
    assert len(cards(page)) == 7
    page.click("#unfold")
    assert len(cards(page)) == 210
    assert overlaps(page) == 0


def test_a_notebook_shows_it_in_a_frame_of_its_own(browse: Any) -> None:
    bundle = corpus._repr_mimebundle_()
    assert bundle["text/plain"] == repr(corpus)
    page = browse(f"<html><body>{bundle['text/html']}</body></html>", ready="iframe")
    frame = page.frames[1]
    frame.wait_for_selector("html[data-ready]", state="attached")
    assert frame.locator(".card").count() == 3
