"""One Prefect server for all integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect_server import Server, server


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("prefect")) as running:
        yield running
