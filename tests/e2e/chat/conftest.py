"""A browser, somebody who is logged in, and their page, which fails its test if the browser complained of anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState

from tests.e2e.chat.browsing import Api, arrived, chromium, watched_page
from tests.process import KumosProcess


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    yield from chromium()


@pytest.fixture(scope="package")
def api(server: KumosProcess) -> Iterator[Api]:
    api = Api(server)
    yield api
    api.http.close()


@pytest.fixture(scope="package")
def person(browser: Browser, server: KumosProcess, came: dict[str, StorageState]) -> StorageState:
    if server.url not in came:
        came[server.url] = arrived(browser, server)
    return came[server.url]


@pytest.fixture(scope="package")
def searcher(api: Api) -> str:
    return api.assistant("Test Searcher", tools=[{"type": "file_search"}])


@pytest.fixture(scope="package")
def plain(api: Api) -> str:
    return api.assistant("Test Plain")


@pytest.fixture
def page(
    browser: Browser, server: KumosProcess, person: StorageState, complaints: list[str], excused: list[str]
) -> Iterator[Page]:
    yield from watched_page(browser, server, person, complaints)
    assert [one for one in complaints if not any(part in one for part in excused)] == []
