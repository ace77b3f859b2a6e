"""A key in the browser: what it may do is chosen by a preset or by ticks, and another one takes its place."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]


def secret_on(page: Page) -> str:
    return page.locator("#secret").inner_text()


def status(server: KumosProcess, secret: str, path: str) -> int:
    return httpx.get(f"{server.url}/v1{path}", headers={"Authorization": f"Bearer {secret}"}).status_code


def test_a_key_is_limited_made_and_rotated(page: Page, server: KumosProcess) -> None:
    page.goto(f"{server.url}/admin/assistants/project/")
    page.locator("#result_list th a").first.click()
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name:").fill("reporting")
    ticks = page.locator("input[name=scopes]")
    expect(ticks.first).to_be_checked()
    expect(ticks.first).to_be_disabled()
    page.get_by_label("Only what is ticked").check()
    expect(ticks.first).to_be_enabled()
    page.get_by_label("Read only").check()
    expect(page.get_by_label("Upload and delete files", exact=False)).not_to_be_checked()
    page.get_by_label("Only what is ticked").check()
    expect(page.get_by_label("Read threads", exact=False)).to_be_checked()
    page.get_by_label("Read threads", exact=False).uncheck()
    page.get_by_label("Read files", exact=False).uncheck()
    page.get_by_role("button", name="Save", exact=True).click()
    old = secret_on(page)
    assert (status(server, old, "/assistants"), status(server, old, "/files")) == (200, 403)

    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("no longer").check()
    page.get_by_role("button", name="Make the new key").click()
    new = secret_on(page)
    assert (status(server, old, "/assistants"), status(server, new, "/assistants")) == (401, 200)
    assert status(server, new, "/files") == 403
