"""A browser, somebody who is logged in, and their page, which fails its test if the browser complained of anything."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.e2e.chat.browsing import PATIENCE, Api, chromium, watched_page
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
    """Cookies of somebody who came through the one-time link."""
    if server.url in came:
        return came[server.url]
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.login_url, timeout=PATIENCE)
    expect(page).to_have_url(re.compile("/chat/"))
    came[server.url] = context.storage_state()
    context.close()
    return came[server.url]


@pytest.fixture(scope="package")
def searcher(api: Api) -> str:
    return api.assistant("Test Searcher", tools=[{"type": "file_search"}])


@pytest.fixture(scope="package")
def plain(api: Api) -> str:
    return api.assistant("Test Plain")


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: script errors, console errors (CSP violations are such), foreign requests."""
    return []


@pytest.fixture
def excused() -> list[str]:
    """Parts of complaints that a test brings about, and that no moment is too late for."""
    return []


@pytest.fixture
def page(
    browser: Browser, server: KumosProcess, person: StorageState, complaints: list[str], excused: list[str]
) -> Iterator[Page]:
    yield from watched_page(browser, server, person, complaints)
    assert [one for one in complaints if not any(part in one for part in excused)] == []
