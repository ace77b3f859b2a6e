"""The Share dialog in Chromium, and what somebody sees who opens its link in a browser without a login."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.e2e.chat.browsing import (
    PATIENCE,
    QUESTION,
    RECORD_GROWTH,
    Api,
    assert_drawn_as_stored,
    open_thread,
    wait_for_words,
)
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

Guests = Callable[[str], Page]
"""Opens a link in a browser that has never been here."""


class Witness:
    """Every request of the guests' pages, and what their browser complained about."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.requests: list[Request] = []
        self.complaints: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)

    def check(self) -> None:
        """Nothing but GET, nothing elsewhere, no cookie, and the token in no address."""
        for request in self.requests:
            assert request.method == "GET", request.url
            assert request.url.startswith((self.origin, "data:")), request.url
            headers = request.all_headers()
            assert "cookie" not in headers
            referer = headers.get("referer", "")
            assert not referer or referer.startswith(f"{self.origin}/static/")  # that of a module for another
            if "/v1/" in request.url:
                assert headers["authorization"].startswith("Bearer share_")
            assert "share_" not in request.url or re.search(r"/shares/share_\w+$", request.url), request.url
        expected = ("status of 401", "status of 404", "net::ERR_")  # of what is refused, and of streams that are cut
        assert [one for one in self.complaints if not any(part in one for part in expected)] == []


@pytest.fixture
def guest(browser: Browser, server: KumosProcess) -> Iterator[Guests]:
    contexts = []
    witness = Witness(server.url)

    def come(url: str) -> Page:
        context = browser.new_context(viewport={"width": 390, "height": 780})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        witness.watch(page)
        page.goto(url)
        return page

    yield come
    witness.check()
    for context in contexts:
        assert context.cookies() == []
        context.close()


def link_to(api: Api, thread: str, **how: Any) -> tuple[str, str]:
    """A share's id and its link."""
    share = api.post(f"/threads/{thread}/shares", how)
    return str(share["id"]), str(share["url"])


def test_a_link_made_in_the_dialog_shows_the_answer_live_until_it_is_revoked(
    page: Page, api: Api, plain: str, guest: Guests
) -> None:
    thread = api.post("/threads", {"metadata": {"title": "Holiday plans"}})["id"]
    open_thread(page, thread)
    page.get_by_role("button", name="Share", exact=True).click()
    dialog = page.get_by_role("dialog", name="Share this thread")
    dialog.get_by_label("Expires after").select_option("never")
    dialog.get_by_role("button", name="Create link").click()
    expect(dialog.get_by_role("img", name=re.compile("QR code"))).to_be_visible()
    expect(dialog.get_by_role("listitem")).to_contain_text(["Live since"])
    url = dialog.get_by_role("textbox", name="Link").input_value()

    viewer = guest(url)
    expect(viewer.get_by_role("heading", name="Holiday plans")).to_be_visible()
    expect(viewer.locator("#kind")).to_have_text("Live")
    expect(viewer.get_by_text("Nothing was said here yet.")).to_be_visible()
    viewer.evaluate(RECORD_GROWTH)
    api.recorded(thread, api.ask(thread, plain, "!slow 15 !long 40"))
    wait_for_words(viewer, 40)
    expect(viewer.get_by_role("log")).to_have_attribute("aria-busy", "false")
    assert len(viewer.evaluate("window.growth")) >= 5, "it typed itself"
    assert_drawn_as_stored(viewer, api.answers(thread))
    expect(viewer.locator(".who")).to_have_text("Test Plain")
    expect(viewer.locator("textarea, input, nav, button[type=submit]").filter(visible=True)).to_have_count(0)
    viewer.reload()
    wait_for_words(viewer, 40)

    dialog.get_by_role("button", name=re.compile("^Revoke")).click()
    expect(dialog.get_by_role("listitem")).to_have_count(0)
    expect(viewer.get_by_role("heading", name="This link was revoked")).to_be_focused()
    expect(viewer.locator(".answer, .question")).to_have_count(0)
    viewer.reload()
    expect(viewer.get_by_role("heading", name="This link was revoked")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Share", exact=True)).to_be_focused()
    page.get_by_role("button", name="Share", exact=True).click()
    expect(dialog.get_by_role("textbox", name="Link")).to_have_count(0)  # it was shown once


def test_a_frozen_link_shows_what_was_there_with_its_citations(api: Api, searcher: str, guest: Guests) -> None:
    thread = api.post("/threads", {})["id"]
    api.recorded(thread, api.ask(thread, searcher, f"!fast {QUESTION}"))
    _, url = link_to(api, thread, frozen=True)
    api.recorded(thread, api.ask(thread, searcher, "!fast !echo Later."))
    viewer = guest(url)
    expect(viewer.locator("#kind")).to_have_text("Frozen")
    expect(viewer.locator(".transcript > li")).to_have_count(2)
    assert_drawn_as_stored(viewer, api.answers(thread)[:1])
    expect(viewer.locator("details.card")).to_have_count(1)
    viewer.locator(".prose .chip").first.click()
    panel = viewer.locator("#panel")
    expect(panel.locator("blockquote").first).not_to_be_empty()
    viewer.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_links_that_are_over_say_why(api: Api, server: KumosProcess, guest: Guests) -> None:
    thread = api.post("/threads", {})["id"]
    _, brief = link_to(api, thread, expires_after={"anchor": "created_at", "seconds": 4})
    viewer = guest(brief)
    expect(viewer.get_by_role("heading", name="This link has expired")).to_be_visible()  # also where it was open
    _, url = link_to(api, thread)
    open_to_the_end = guest(url)
    expect(open_to_the_end.locator("#kind")).to_have_text("Live")
    api.http.delete(f"/threads/{thread}").raise_for_status()
    expect(open_to_the_end.get_by_role("heading", name="This conversation was deleted")).to_be_visible()
    for broken in (url, f"{server.url}/shared/", f"{server.url}/shared/#{thread}/share_x.y"):
        expect(guest(broken).get_by_role("heading", name="This link leads nowhere")).to_be_visible()
