"""Pages of the admin that follow what happens, in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.chat.browsing import Api
from tests.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

LIST = "/admin/runs/run/"
# Notes when each text of the badge came, by the clock that the server has, too: both are of this machine.
RECORD = """id => {
  const badge = document.querySelector(`[data-run="${id}"]`);
  window.badge = [];
  const note = () => window.badge.push([badge.textContent, Date.now() / 1000]);
  new MutationObserver(note).observe(badge, { childList: true, characterData: true, subtree: true });
}"""
LAG_SECONDS = 15.0
"""One second is what a machine at rest is asked for; this one may be under the load of all tests."""


def waiting_run(api: Api, upstream: Upstream) -> tuple[str, str]:
    """A thread and its run, which waits for `upstream.release`."""
    assistant = api.assistant("Waiter", model="gated:3")
    thread = api.post("/threads", {})["id"]
    calls = len(upstream.calls)
    run = api.ask(thread, assistant, "Say three words.")
    upstream.wait_for_calls(calls + 1)
    return thread, run


def test_a_badge_follows_its_run(page: Page, api: Api, upstream: Upstream) -> None:
    thread, run = waiting_run(api, upstream)
    with page.expect_response(lambda response: "/run/live/" in response.url and run in response.url):
        page.goto(LIST)
    badge = page.locator(f'.kumos-badge[data-run="{run}"]')
    expect(badge).to_have_text("in progress")
    page.evaluate(RECORD, run)
    upstream.release(3)
    expect(badge).to_have_text("completed")
    expect(badge).to_have_class(re.compile("kumos-completed"))
    ended = api.get(f"/threads/{thread}/runs/{run}")["completed_at"]
    shown = dict(page.evaluate("window.badge"))["completed"]
    assert shown - ended < LAG_SECONDS + 1  # `completed_at` is in whole seconds


def test_a_hidden_page_asks_for_nothing_and_catches_up(page: Page, api: Api, upstream: Upstream) -> None:
    thread, run = waiting_run(api, upstream)
    with page.expect_response(lambda response: "/run/live/" in response.url and run in response.url):
        page.goto(LIST)
    badge = page.locator(f'.kumos-badge[data-run="{run}"]')
    expect(badge).to_have_text("in progress")
    page.evaluate("""() => {
      window.opened = 0;
      const Stock = window.EventSource;
      window.EventSource = class extends Stock { constructor(...args) { super(...args); window.opened += 1; } };
      const { close } = Stock.prototype;
      Stock.prototype.close = function () { window.shut = true; close.call(this); };
      Object.defineProperty(document, "hidden", { configurable: true, get: () => window.away });
      window.away = true;
      document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.wait_for_function("() => window.shut")
    upstream.release(3)
    api.recorded(thread, run)  # to its end
    assert badge.text_content() == "in progress"
    assert page.evaluate("window.opened") == 0
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(badge).to_have_text("completed")
    assert page.evaluate("window.opened") == 1
