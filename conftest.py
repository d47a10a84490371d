"""The blocks of README.md and of docs/ are tests, and one Prefect server serves all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

import law  # noqa: E402
from pages import FileParser, PythonParser, begin, end, run_shell  # noqa: E402
from prefect_server import Server, server  # noqa: E402

PARSERS = [PythonParser(), CodeBlockParser("sh", run_shell), FileParser(), SkipParser()]
#: What asks for one of these fixtures starts a server or a browser.
SLOW_FIXTURES = {"prefect", "on_prefect", "chromium", "browse"}
#: Pages that start clusters or notebooks, or import other libraries of this kind.
SLOW_PAGES = ["daft", "executors", "jupyter", "migration", "modal"]
SLOW = [
    ROOT / "tests" / "integration",
    *(ROOT / "docs" / f"{script}.py" for script in ("images", "docstrings")),
    *(ROOT / "docs" / "guides" / f"{page}.md" for page in SLOW_PAGES),
]
NEED_PREFECT = ["README.md", "docs/tutorial.md", "docs/guides/prefect.md", "docs/guides/testing.md"]

pytest_collect_file = (
    Sybil(PARSERS, patterns=["docs/*.md", "docs/*/*.md"], excludes=NEED_PREFECT,
          setup=begin, teardown=end)
    + Sybil(PARSERS, patterns=NEED_PREFECT, setup=begin, teardown=end, fixtures=["on_prefect"])
).pytest()  # fmt: skip


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("prefect")) as running:
        yield running


@pytest.fixture(scope="module")
def on_prefect(prefect: Server) -> Iterator[Server]:
    """What runs in this process and in those that it starts reports to the server."""
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, temporary_settings

    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = prefect.url
    try:
        with temporary_settings({PREFECT_API_URL: prefect.url}):
            yield prefect
            APILogWorker.drain_all()
    finally:
        os.environ.pop("PREFECT_API_URL")
        if before is not None:
            os.environ["PREFECT_API_URL"] = before


def pytest_configure(config: pytest.Config) -> None:
    law.QUICK = config.option.markexpr == "not slow"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """In a quick run, don't import what only slow tests need: that takes seconds."""
    return True if law.QUICK and collection_path in SLOW else None


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what needs a server, a browser, or programs that run on their own."""
    for item in items:
        needs = SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if needs or any(item.path.is_relative_to(place) for place in SLOW):
            item.add_marker(pytest.mark.slow)
