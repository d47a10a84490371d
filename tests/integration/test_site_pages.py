"""The pages of the site as people see them: what the Markdown has, in the HTML and in Chromium."""

from __future__ import annotations

import re
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from test_site import ROOT, site  # noqa: F401  a fixture

PAGES = sorted(
    page
    for page in (ROOT / "docs").rglob("*.md")
    if "--8<--" not in page.read_text(encoding="utf-8")
)
FENCE = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)


class Written:
    """What a page of Markdown has: headings, tables, highlighted blocks."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
        self.blocks = len(FENCE.findall(text))
        prose = FENCE.sub("", text)
        self.tables = len(re.findall(r"^\|[ :|-]+\|$", prose, re.MULTILINE))
        self.headings = [
            re.sub(r"\[(.*?)\]\(.*?\)", r"\1", each).replace("`", "").replace("*", "").strip()
            for each in re.findall(r"^#{1,4} +(.+)$", prose, re.MULTILINE)
        ]
        self.rows = len(re.findall(r"^\|.*\|$", prose, re.MULTILINE)) - self.tables


class Shown(HTMLParser):
    """What a page of HTML has, in the same terms, and the text that is no code."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks = self.tables = self.rows = 0
        self.headings: list[str] = []
        self.prose = ""
        self._open: list[str] = []
        body = html[html.index("<article") : html.index("</article>")]
        self.feed(re.sub(r'<a class="headerlink".*?</a>', "", body))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        self.blocks += tag == "div" and "highlight" in classes
        self.tables += tag == "table"
        self.rows += tag == "tr"
        if tag in ("h1", "h2", "h3", "h4", "pre", "code", "style", "script"):
            self._open.append(tag)
        if tag.startswith("h") and tag[1:].isdigit():
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if any(tag.startswith("h") for tag in self._open):
            self.headings[-1] += data
        if not {"pre", "code", "style", "script"}.intersection(self._open):
            self.prose += data


def address(page: Path) -> str:
    """Where the site has a page, from its root."""
    place = page.relative_to(ROOT / "docs").with_suffix("")
    return f"{place}/".removesuffix("index/") if place.name == "index" else f"{place}/"


@pytest.mark.parametrize("page", PAGES, ids=address)
def test_a_page_is_rendered_as_it_is_written(site: Path, page: Path) -> None:  # noqa: F811
    written = Written(page.read_text(encoding="utf-8"))
    shown = Shown((site / address(page) / "index.html").read_text(encoding="utf-8"))
    headings = [each.strip() for each in shown.headings]
    assert [each for each in written.headings if each not in headings] == []
    if page.name != "api.md":  # which has more, out of the docstrings
        assert (shown.blocks, shown.tables, shown.rows) == (
            written.blocks,
            written.tables,
            written.rows,
        )
    assert "```" not in shown.prose
    assert "| ---" not in shown.prose
    assert "](" not in shown.prose


@pytest.fixture(scope="module")
def served(site: Path) -> Any:  # noqa: F811
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways(chromium: Any, served: str, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    wrong = {}
    for each in PAGES:
        page.goto(f"{served}/{address(each)}", wait_until="domcontentloaded")
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            wrong[address(each)] = f"{wide} px too wide"
        broken = page.evaluate(
            "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        if broken:
            wrong[address(each)] = f"pictures do not load: {broken}"
        colours = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.body).color].map(c => c.match(/\\d+/g).slice(0, 3))"
        )
        ground, ink = (sum(map(int, colour)) for colour in colours)
        if (ground < ink) != (scheme == "dark"):
            wrong[address(each)] = f"is not {scheme}: {colours}"
    context.close()
    assert wrong == {}
    assert problems == []


def test_every_figure_of_a_comparison_names_its_benchmark() -> None:
    """A table of times stands under a line that says which benchmark prints it."""
    benchmarks = {path.name for path in (ROOT / "benchmarks").glob("*.py")}
    unnamed = []
    for page in [ROOT / "README.md", *PAGES]:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for part in re.split(r"^#+ ", text, flags=re.MULTILINE):
            figures = re.findall(r"\d[\d,.]* (?:µs|ms|MB|MiB|GiB)\b", part)
            named = re.findall(r"(\w+\.py)", part)
            if figures and not benchmarks.intersection(named):
                unnamed.append(f"{page.name}: {part.splitlines()[0]}: {figures[:3]}")
            missing = [
                name for name in re.findall(r"benchmarks/(\w+\.py)", part) if name not in benchmarks
            ]
            unnamed += [f"{page.name}: no benchmarks/{name}" for name in missing]
    assert unnamed == []
