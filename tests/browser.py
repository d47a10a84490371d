"""A headless Chromium that writes down errors and requests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs Chromium: `apt-get install chromium`, or CHROMIUM=path")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page and waits until it is drawn.

    When the test is over, there must have been no error and no request but for the page itself.
    """
    problems: list[str] = []
    contexts = []

    def browse(html: str, ready: str = "html[data-ready]", **options: Any) -> Any:
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(html, encoding="utf-8")
        context = chromium.new_context(viewport={"width": 1280, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url == file.as_uri() or request.url.startswith(("data:", "about:"))
                else problems.append(f"request: {request.url}")
            ),
        )
        page.goto(file.as_uri())
        if ready:
            page.wait_for_selector(ready, state="attached")
        return page

    yield browse
    for each in contexts:
        each.close()
    assert problems == []
