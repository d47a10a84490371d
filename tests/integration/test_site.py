"""The site as it is built: no dead link, and a search that finds every public name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import prefect_hypernodes
import pytest

import hypernodes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """A page's anchors, and what it links to or shows."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def test_no_internal_link_is_dead_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    assert len(pages) >= 20
    dead, foreign = [], []
    for file, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if urlsplit(address).scheme or address.startswith("//"):
                continue
            target = (file.parent / unquote(address)).resolve() if address else file
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                anchor and target in pages and unquote(anchor) not in pages[target].anchors
            ):
                dead.append(f"{file.relative_to(site)}: {link}")
        text = file.read_text(encoding="utf-8")
        foreign += [f"{file.name}: {each}" for each in ('src="http', "fonts.g") if each in text]
    assert dead == []
    assert foreign == []


def test_the_search_knows_every_public_name(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    titles = [entry["title"] for entry in index["docs"] if "api/#" in entry["location"]]
    told = " ".join(titles)
    names = [*hypernodes.__all__, *prefect_hypernodes.__all__]
    names += [name for name in vars(hypernodes.Pipeline) if not name.startswith("_")]
    hidden = {"plan", "check_inputs", "check_items"}  # what engines call
    assert [name for name in names if name not in told and name not in hidden] == []


def test_every_page_is_in_the_search(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].split("#")[0] for entry in index["docs"]}
    sources = (ROOT / "docs").rglob("*.md")
    expected = {
        f"{page.relative_to(ROOT / 'docs').with_suffix('')}/".removesuffix("index/")
        for page in sources
    }
    assert found == expected
