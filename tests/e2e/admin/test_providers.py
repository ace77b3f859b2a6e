"""Providers, runners, tools and the system page as an operator uses them, in a browser that allows nothing inline."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

KEY = "sk-of-acme-0123456789"


def test_a_provider_is_entered_tried_and_asked_where_it_leads(page: Page, upstream: Upstream) -> None:
    page.goto("/admin/runs/provider/")
    expect(page.get_by_role("row", name=re.compile("every other name"))).to_contain_text(upstream.base_url)
    page.get_by_role("link", name=re.compile("add provider", re.IGNORECASE)).first.click()
    page.get_by_label("Name").fill("acme")
    page.get_by_label("Base URL").fill(upstream.base_url)
    page.get_by_label("Key:", exact=True).fill(KEY)
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("One is kept")).to_be_visible()
    assert KEY not in page.content()
    page.get_by_label(re.compile("^Model")).fill("ok:3")
    page.get_by_role("button", name="Test acme").click()
    expect(page.get_by_text("answered", exact=True)).to_be_visible()
    assert upstream.calls[-1].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in page.content()
    page.get_by_label("Model").fill("401")
    page.get_by_role("button", name="Test again").click()
    expect(page.get_by_text("refused the key (401)")).to_be_visible()
    page.goto("/admin/runs/provider/")
    page.get_by_label("Where does a name lead?").fill("acme/ok")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("as “ok”")


def test_a_runner_is_drained_and_brought_back(page: Page) -> None:
    page.goto("/admin/runs/worker/")
    page.locator("#result_list tbody th a").first.click()
    page.get_by_role("button", name="Drain this runner", exact=True).click()
    expect(page.get_by_text(re.compile("told to claim nothing more"))).to_be_visible()
    expect(page.get_by_text("draining", exact=True).or_(page.get_by_text("drained", exact=True))).to_be_visible()
    page.get_by_role("button", name="Undrain this runner").click()
    expect(page.get_by_text(re.compile("told to claim again"))).to_be_visible()


def test_system_and_tools_are_found_from_the_overview(page: Page) -> None:
    page.goto("/admin/runs/")
    page.get_by_role("main").get_by_role("link", name="System", exact=True).click()
    expect(page.get_by_role("heading", name="Findings")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Data directory")).to_contain_text("can be written")
    page.goto("/admin/tools/")
    page.get_by_label("Query").fill("Project Dragon")
    page.get_by_label("All files of the project").select_option(index=1)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_contain_text("best first")
