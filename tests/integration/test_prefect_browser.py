"""What people see: the pages of a flow run in Prefect's UI, in a real browser.

`HYPERNODES_SCREENSHOTS=docs/images pytest tests/integration/test_prefect_browser.py` writes the
pictures for the documentation.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_server import Server
from test_prefect_scopes import new_runs, run_script, said
from waiting import wait_until

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

RUN = """
if __name__ == "__main__":
    f = pipeline_flow(watched(outer, cache=DiskCache("cache")), name="browsed")
    f(xs=[4, 8, 12])
    f(xs=[4, 8, 16])
    say()
"""


@pytest.fixture
def page() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1400, "height": 900})
        browser.close()


def picture(page: Any, folder: Path, name: str) -> bytes:
    """A screenshot; kept where the environment says."""
    kept = Path(os.environ.get("HYPERNODES_SCREENSHOTS", folder))
    kept.mkdir(parents=True, exist_ok=True)
    taken: bytes = page.screenshot(path=str(kept / f"{name}.png"))
    return taken


def is_drawn(canvas: Any) -> bool:
    """Whether there is a picture that does not change any more; the page's text says nothing."""
    first = canvas.screenshot()
    canvas.page.wait_for_timeout(500)
    return len(first) > 5_000 and bool(canvas.screenshot() == first)


def test_nodes_cached_states_graph_and_artifacts_are_on_the_page(
    tmp_path: Path, prefect: Server, page: Any
) -> None:
    before = {each["id"] for each in prefect.flow_runs()}
    said(run_script(tmp_path, RUN, prefect.url))
    run = new_runs(prefect, before)[-1]
    expect = sync_api.expect
    expect.set_options(timeout=60_000)
    address = f"{prefect.url.removesuffix('/api')}/runs/flow-run/{run['id']}"

    page.goto(address)
    expect(page.get_by_text(run["name"]).first).to_be_visible()
    canvas = page.locator("canvas").first
    expect(canvas).to_be_visible()
    wait_until(lambda: is_drawn(canvas), every=0.5)
    picture(page, tmp_path, "prefect-flow-run")

    page.goto(f"{address}?tab=Task+Runs")
    page.get_by_text("Task Runs", exact=True).first.click()
    for name in ("each[1]", "report"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"^halve\[")).first).to_be_visible()  # with its item
    expect(page.get_by_text("Cached", exact=True).first).to_be_visible()
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    picture(page, tmp_path, "prefect-task-runs")

    page.get_by_text("Artifacts", exact=True).first.click()
    expect(page.get_by_text(re.compile("outer-summary|outer-diagram", re.I)).first).to_be_visible()
    picture(page, tmp_path, "prefect-artifacts")

    made = prefect.artifacts(run)["outer-summary"]
    page.goto(f"{prefect.url.removesuffix('/api')}/artifacts/artifact/{made['id']}")
    expect(page.get_by_text("outer/many/each/item/halve").first).to_be_visible()
    picture(page, tmp_path, "prefect-summary")
