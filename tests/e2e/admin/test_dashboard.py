"""The overview in a browser: it changes while somebody looks, rests while nobody does, and disturbs no one."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.e2e.chat.browsing import Api
from tests.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

LIVE = re.compile("/admin/dashboard/$")
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def figure(page: Page, key: str) -> Locator:
    return page.locator(f"#figure-{key} strong")


def asks_of(page: Page) -> list[Request]:
    """The requests for the live part, from now on."""
    asks: list[Request] = []
    page.on("request", lambda request: asks.append(request) if request.url.endswith("/admin/dashboard/") else None)
    return asks


def test_a_number_changes_while_somebody_looks(page: Page, api: Api, upstream: Upstream) -> None:
    page.goto("/admin/")
    expect(figure(page, "active")).to_have_text("0")
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, api.assistant("Slow", model="stall:1"), "Hello")
    expect(figure(page, "active")).to_have_text("1")
    expect(page.locator("#figure-active")).to_contain_text("1 running")
    api.post(f"/threads/{thread}/runs/{run}/cancel", {})
    expect(figure(page, "active")).to_have_text("0")


def test_a_failure_appears_with_what_to_do_about_it(page: Page, api: Api, upstream: Upstream) -> None:
    page.goto("/admin/")
    errors = figure(page, "errors")
    before = int(errors.inner_text())
    thread = api.post("/threads", {})["id"]
    api.ask(thread, api.assistant("Broken", model="400"), "Hello")
    expect(errors).to_have_text(str(before + 1))
    line = page.locator(".kumos-attention li").filter(has_text="failed").first
    line.locator(".button").click()
    expect(page).to_have_url(re.compile("/admin/runs/run/"))


def test_focus_and_place_stay_where_they_are(page: Page, api: Api) -> None:
    page.set_viewport_size({"width": 800, "height": 400})
    page.goto("/admin/")
    page.get_by_text("All pages").click()
    link = page.locator("#figure-errors a")
    link.focus()
    page.evaluate("window.held = document.activeElement; window.scrollTo(0, 150)")
    time = page.locator(".kumos-asof time")
    before = time.inner_text()
    expect(time).not_to_have_text(before)
    assert page.evaluate("document.activeElement === window.held")
    assert page.evaluate("window.scrollY") == 150
    expect(page.locator("details.kumos-pages")).to_have_attribute("open", "")


def test_it_rests_in_a_hidden_tab(page: Page) -> None:
    page.clock.install()
    page.goto("/admin/")
    asks = asks_of(page)
    with page.expect_response(LIVE):
        page.clock.run_for(5_000)
    page.evaluate(HIDE, True)
    count = len(asks)
    page.clock.run_for(600_000)
    assert len(asks) == count
    with page.expect_response(LIVE):
        page.evaluate(HIDE, False)
    with page.expect_response(LIVE):
        page.clock.run_for(5_000)


def test_it_says_when_one_is_logged_out(page: Page) -> None:
    page.goto("/admin/")
    page.context.clear_cookies()
    expect(page.get_by_role("status")).to_have_text("You are logged out. Load this page again.")


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits(page: Page, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    for address in ("/admin/", "/admin/usage/?over=day"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
