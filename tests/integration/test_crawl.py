"""The crawl on a site whose pages, faults and rules are known."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from prefect_server import Server, environment

FLOW = Path(__file__).parents[2] / "flows" / "crawl.py"
PAGES = {
    "": '<a href="a.html#part">a</a> <a href="/b.html">b</a> <a href="secret/c.html">c</a>',
    "a.html": '<title>Page A</title>one two <a href="b.html">b</a> <a href="gone.html">?</a>',
    "b.html": '<script>var x = "three"</script>one <a href="http://elsewhere.invalid/">out</a>',
    "secret/c.html": "nobody is to see this",
}


class Site:
    """What was asked for, and when; `down` answers 503 for ever, other pages the first time."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.pages = dict(PAGES)
        self.at_once = self.most = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        name = request.path.lstrip("/")
        self.asked.append((time.monotonic(), name))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.02)
        self.at_once -= 1
        if name == "robots.txt":
            return web.Response(text="User-agent: *\nDisallow: /secret/\n")
        if name not in self.pages:
            return web.Response(status=404)
        first = sum(each == name for _, each in self.asked) == 1
        if name == "down.html" or (name == "a.html" and first):
            return web.Response(status=503)
        return web.Response(text=self.pages[name], content_type="text/html")


@pytest.fixture
def site() -> Iterator[tuple[Site, str]]:
    known, loop = Site(), asyncio.new_event_loop()

    async def start() -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(known.answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield known, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def crawl(folder: Path, api: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FLOW), *arguments],
        cwd=folder,
        env=environment(folder / "home", PREFECT_API_URL=api, COLUMNS="160"),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_crawl_asks_again_keeps_to_the_rules_and_reads_nothing_twice(
    tmp_path: Path, prefect: Server, site: tuple[Site, str]
) -> None:
    known, url = site
    done = crawl(tmp_path, prefect.url, url, "--at-once", "2")
    assert done.returncode == 0, done.stderr
    assert "4 pages, 1 dead links; asked again 1 times" in done.stdout
    asked = Counter(name for _, name in known.asked)
    assert asked == {"robots.txt": 1, "": 1, "a.html": 2, "b.html": 1, "gone.html": 1}
    assert known.most <= 2
    rows = [json.loads(line) for line in (tmp_path / "reports/pages.jsonl").open()]
    found = {row["url"].removeprefix(url): row for row in rows}
    assert found["a.html"]["title"] == "Page A"
    assert found["a.html"]["words"] == 4
    assert found["b.html"]["words"] == 2
    report = (tmp_path / "reports/crawl.md").read_text()
    assert f"| {url}gone.html | 404 | {url}a.html |" in report

    known.pages["b.html"] += " two"
    again = crawl(tmp_path, prefect.url, url)
    assert again.returncode == 0, again.stderr
    assert "1 pages read, 3 from the cache" in again.stdout


def test_a_page_that_stays_down_is_reported_and_ends_nothing(
    tmp_path: Path, prefect: Server, site: tuple[Site, str]
) -> None:
    known, url = site
    known.pages["b.html"] = '<a href="down.html">down</a>'
    known.pages["down.html"] = ""
    done = crawl(tmp_path, prefect.url, url, "--pause", "0.2")
    assert done.returncode == 0, done.stderr
    assert "5 pages, 2 dead links; asked again 5 times" in done.stdout
    assert "Busy" in (tmp_path / "reports/crawl.md").read_text()
    times = [at for at, name in known.asked if name != "robots.txt"]
    assert all(after - before > 0.02 for before, after in itertools.pairwise(times))


def test_what_is_no_address_is_told_before_anything_starts(tmp_path: Path) -> None:
    done = crawl(tmp_path, "", "nowhere")
    assert done.returncode == 2
    assert "nowhere is no address" in done.stderr
