"""One served demo for all tests over HTTP; those that kill or configure servers make their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import StorageState

from tests.process import KumosProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("kumos")) as process:
        yield process


@pytest.fixture(scope="session")
def came() -> dict[str, StorageState]:
    """Who came through a server's one-time link, by the server's address: it works once, and a package that a worker
    leaves and comes back to is set up twice."""
    return {}
