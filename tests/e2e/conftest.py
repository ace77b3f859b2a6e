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


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: script errors, console errors (CSP violations are such), foreign requests."""
    return []


@pytest.fixture
def excused() -> list[str]:
    """Parts of complaints that a test brings about, and that no moment is too late for."""
    return []
