"""A browser, somebody who is logged in, and their page, which fails its test if the browser complained of anything."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from tests.e2e.chat.browsing import FLAGS, PATIENCE, Api
from tests.process import KumosProcess


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def api(server: KumosProcess) -> Iterator[Api]:
    api = Api(server)
    yield api
    api.http.close()


@pytest.fixture(scope="package")
def person(browser: Browser, server: KumosProcess) -> StorageState:
    """Cookies of somebody who came through the one-time link."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.login_url, timeout=PATIENCE)
    expect(page).to_have_url(re.compile("/chat/"))
    state = context.storage_state()
    context.close()
    return state


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
    context = browser.new_context(storage_state=person, viewport={"width": 1280, "height": 820}, base_url=server.url)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((server.url, "data:", f"blob:{server.url}"))
            else complaints.append(request.url)
        ),
    )
    yield page
    context.close()
    assert [one for one in complaints if not any(part in one for part in excused)] == []
