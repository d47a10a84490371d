"""A polite crawl of one web site: dead links, what links to what, and the pages' text.

    python flows/crawl.py                                   # a site made from the standard library
    python flows/crawl.py http://127.0.0.1:8000/ --limit 500 --at-once 4 --pause 0.2

Every page goes through a pipeline of its own. Fetching is tried again when the server is busy, is
limited in how much it asks for at once and how often, and is done anew in each run; what is made
of a page's text comes from the cache as long as the text is the same.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import html
import json
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

import aiohttp
from aiohttp import web
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect_hypernodes import PrefectCallback, configured_cache
from rich.console import Console

from hypernodes import (
    CallbackContext,
    DiskCache,
    HyperNodesEngine,
    Pipeline,
    PipelineCallback,
    Retry,
    exponential_backoff,
    node,
)

AGENT = "hypernodes-crawl"

# -- One page ------------------------------------------------------------------------------------


class Busy(Exception):
    """The server says: later."""


class Visitor:
    """A session that keeps to a site's rules.

    Args:
        session: who asks.
        at_once: requests that are under way at the same time.
        pause: seconds between the starts of two requests.
    """

    def __init__(self, session: aiohttp.ClientSession, at_once: int, pause: float) -> None:
        self._session = session
        self._free = asyncio.Semaphore(at_once)
        self._turn = asyncio.Lock()
        self._pause = pause

    def __cache_key__(self) -> str:
        return AGENT

    async def get(self, url: str) -> tuple[int, str, str]:
        """Status, final address and text of a page, when it is its turn."""
        async with self._free:
            async with self._turn:
                await asyncio.sleep(self._pause)
            async with self._session.get(url) as answer:
                if answer.status in (429, 502, 503, 504):
                    raise Busy(f"{url} answers {answer.status}")
                is_text = answer.content_type in ("text/html", "text/plain")
                text = await answer.text(errors="replace") if is_text else ""
                return answer.status, str(answer.url), text


@node(
    output_name=("status", "address", "body"),
    cache=False,  # the web changes
    retries=4,
    retry_delay_seconds=exponential_backoff(0.1),
    retry_jitter_factor=0.5,
    retry_condition_fn=lambda error: isinstance(error, (Busy, aiohttp.ClientError, TimeoutError)),
    timeout_seconds=30,
)
async def fetch(url: str, visitor: Visitor) -> tuple[int, str, str]:
    """Status, final address and text; tried again while the server is busy."""
    return await visitor.get(url)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title, self.words = "", 0
        self.links: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]
        if tag in ("title", "script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if "title" in self._inside:
            self.title += data
        elif not self._inside:
            self.words += len(data.split())


@node(output_name=("title", "hrefs", "words"))
def read(body: str) -> tuple[str, list[str], int]:
    """Title, links as they are written, and number of words."""
    reader = _Reader()
    reader.feed(body)
    return " ".join(reader.title.split()), list(dict.fromkeys(reader.links)), reader.words


@node(output_name="links", cache=False)
def resolve(address: str, hrefs: list[str]) -> list[str]:
    """Links as addresses, each once, without fragments."""
    found = (urldefrag(urljoin(address, href.strip())).url for href in hrefs)
    return list(dict.fromkeys(url for url in found if urlsplit(url).scheme in ("http", "https")))


page = Pipeline([fetch, read, resolve], name="page")

# -- What was found ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """A page that was asked for; `status` 0 is one that could not be had, `title` says why."""

    url: str
    status: int
    title: str
    words: int
    links: tuple[str, ...]


@node(output_name="dead")
def find_dead(pages: list[Page]) -> list[tuple[str, str, list[str]]]:
    """Pages that are not there: address, what was answered, and who links to them."""
    bad = {each.url: each for each in pages if each.status != 200}
    linked: dict[str, list[str]] = {url: [] for url in bad}
    for each in pages:
        for link in each.links:
            if link in linked:
                linked[link].append(each.url)
    return [(u, str(p.status or p.title), linked[u]) for u, p in sorted(bad.items())]


@node(output_name="most_linked")
def rank(pages: list[Page], shown: int = 15) -> list[tuple[str, int]]:
    """The pages that most others link to."""
    known = {each.url for each in pages if each.status == 200}
    counts = Counter(link for each in pages for link in each.links if link in known)
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:shown]


@node(output_name="markdown")
def write_report(
    pages: list[Page], dead: list[tuple[str, str, list[str]]], most_linked: list[tuple[str, int]]
) -> str:
    """The report as Markdown."""
    good = [each for each in pages if each.status == 200]
    titles = {each.url: each.title for each in good}
    lines = ["# Crawl", "", f"**{len(good)}** pages, **{sum(each.words for each in good):,}** "
             f"words, **{len(dead)}** dead links.", "", "## Most linked", "",
             "| links | page |", "| ---: | --- |"]  # fmt: skip
    lines += [f"| {count} | [{titles[url] or url}]({url}) |" for url, count in most_linked]
    if dead:
        lines += ["", "## Dead links", "", "| page | answer | linked from |", "| --- | --- | --- |"]
        lines += [f"| {url} | {why} | {', '.join(by[:3])} |" for url, why, by in dead]
    return "\n".join(lines) + "\n"


summary = Pipeline([find_dead, rank, write_report], name="summary")

# -- The flow ------------------------------------------------------------------------------------


class Counts(PipelineCallback):
    """How often a page was asked for again, and what came from the cache."""

    def __init__(self) -> None:
        self.retries = self.read = self.cached = 0

    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
        self.retries += 1

    def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
        self.read += node_id == "read"

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        self.cached += node_id == "read"


@flow(name="crawl")
async def crawl(
    start: str, limit: int = 300, at_once: int = 8, pause: float = 0.005, output: str = "reports"
) -> dict[str, int]:
    """Crawl a site, breadth first, from one of its pages.

    Args:
        start: the address to begin at; links to other hosts are not followed.
        limit: at most this many pages.
        at_once: requests that are under way at the same time.
        pause: seconds between the starts of two requests.
        output: the folder for the report, the pages' list and the cache.
    """
    target, counts = Path(output), Counts()
    target.mkdir(parents=True, exist_ok=True)
    callbacks = [counts, PrefectCallback()]
    pages: dict[str, Page] = {}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(headers={"User-Agent": AGENT}, timeout=timeout) as session:
        allowed = await rules(session, start)
        visit = (
            page.bind(visitor=Visitor(session, at_once, pause))
            .with_cache(configured_cache() or DiskCache(target / "cache"))
            .with_callbacks(callbacks)
            .with_engine(HyperNodesEngine(map_executor="async"))
        )
        level = [urldefrag(start).url]
        while level and len(pages) < limit:
            level = level[: limit - len(pages)]
            rows = await visit.amap({"urls": level}, map_over="urls", error_handling="continue")
            for url, row in zip(level, rows, strict=True):
                pages[url] = _page(url, row)
            links = (link for url in level for link in pages[url].links)
            host = urlsplit(start).netloc
            level = [
                link
                for link in dict.fromkeys(links)
                if link not in pages and urlsplit(link).netloc == host and allowed(link)
            ]
    found = list(pages.values())
    result = await summary.with_callbacks(callbacks).arun({"pages": found})
    (target / "crawl.md").write_text(result["markdown"], encoding="utf-8")
    with (target / "pages.jsonl").open("w", encoding="utf-8") as listed:
        listed.writelines(json.dumps(vars(each)) + "\n" for each in found)
    made = create_markdown_artifact(result["markdown"], key="crawl", description=start)
    if asyncio.iscoroutine(made):
        await made
    Console().print(
        f"\n[bold]{start}[/bold]: {len(found)} pages, {len(result['dead'])} dead links; "
        "asked again "
        f"{counts.retries} times; {counts.read} pages read, {counts.cached} from the cache\n"
        f"report: {target / 'crawl.md'}   pages: {target / 'pages.jsonl'}\n"
    )
    return {"pages": len(found), "dead": len(result["dead"]), "retries": counts.retries,
            "read": counts.read, "cached": counts.cached}  # fmt: skip


def _page(url: str, row: Any) -> Page:
    if isinstance(row, dict):
        return Page(url, row["status"], row["title"], row["words"], tuple(row["links"]))
    return Page(url, 0, f"{type(row.error).__name__}: {row.error}".splitlines()[0], 0, ())


async def rules(session: aiohttp.ClientSession, start: str) -> Any:
    """Which addresses the site's robots.txt allows; all of them where there is none."""
    robots = RobotFileParser()
    async with session.get(urljoin(start, "/robots.txt")) as answer:
        robots.parse((await answer.text()).splitlines() if answer.status == 200 else [])
    return lambda url: robots.can_fetch(AGENT, url)


# -- A site to try it on -------------------------------------------------------------------------


def _module_page(path: Path) -> str:
    """A module's docstring, and links to what it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    imported = set()
    for each in ast.walk(tree):
        if isinstance(each, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in each.names}
        elif isinstance(each, ast.ImportFrom) and each.module and not each.level:
            imported.add(each.module.split(".")[0])
    links = " ".join(f'<a href="{name}.html">{name}</a>' for name in sorted(imported))
    told = html.escape(ast.get_docstring(tree) or "")
    return f"<title>{path.stem}</title><h1>{path.stem}</h1><pre>{told}</pre><p>{links}</p>"


@contextlib.asynccontextmanager
async def library_site(busy_every: int = 10) -> AsyncIterator[str]:
    """The standard library as a site on this machine, which is busy now and then.

    Args:
        busy_every: every so many-th page answers 503 when it is asked for the first time.
    """
    modules = {path.stem: path for path in Path(sysconfig.get_path("stdlib")).glob("*.py")}
    asked: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in modules:
            raise web.HTTPNotFound
        if name not in asked:
            asked.add(name)
            if sum(name.encode()) % busy_every == 0:
                raise web.HTTPServiceUnavailable
        return web.Response(text=_module_page(modules[name]), content_type="text/html")

    async def index(request: web.Request) -> web.Response:
        links = " ".join(f'<a href="{name}.html">{name}</a>' for name in sorted(modules))
        return web.Response(text=f"<title>Library</title>{links}", content_type="text/html")

    async def robots(request: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /antigravity.html\n")

    site = web.Application()
    site.add_routes([web.get("/", index), web.get("/robots.txt", robots)])
    site.add_routes([web.get("/{name}.html", answer)])
    runner = web.AppRunner(site)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def run(options: dict[str, Any]) -> None:
    """The flow, on the site that was named or on the one to try it on."""
    async with contextlib.AsyncExitStack() as stack:
        if not options["start"]:
            options["start"] = await stack.enter_async_context(library_site())
        await crawl(**options)


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("start", nargs="?", default="", help="where to begin (a site made here)")
    parser.add_argument("--limit", type=int, default=300, help="at most this many pages (300)")
    parser.add_argument("--at-once", type=int, default=8, help="requests at the same time (8)")
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between requests")
    parser.add_argument("--output", default="reports", help="folder for results ('reports')")
    options = parser.parse_args(arguments)
    if options.start and urlsplit(options.start).scheme not in ("http", "https"):
        parser.error(f"{options.start} is no address: expected http://... or https://...")
    for name in ("limit", "at_once"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1")
    asyncio.run(run(vars(options)))


if __name__ == "__main__":
    main(sys.argv[1:])
