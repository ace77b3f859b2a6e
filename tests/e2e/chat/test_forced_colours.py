"""Where the reader's system forces its colours (Windows: contrast themes), what grounds and shadows say is said anyway.

Such a browser takes away every ground but those in the system's own colours. Looked at is what it really draws.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat.browsing import QUESTION, Api, ask, open_new, open_thread, thread_of, wait_for_end, wait_for_words

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

DRAWN = """(one, part) => {
  // As forced: the ground, the lines around it, and what they stand on.
  const style = getComputedStyle(one, part);
  const ground = getComputedStyle(document.body).backgroundColor;
  const line = (name) => style[`${name}Style`] !== "none" && parseFloat(style[`${name}Width`]) > 0;
  const clear = ["rgba(0, 0, 0, 0)", "transparent", ground];
  return {
    filled: !clear.includes(style.backgroundColor),
    bordered: line("borderTop") || line("borderBottom"),
    outlined: line("outline") && style.outlineColor !== ground,
  };
}"""


def drawn(place: Locator, part: str | None = None) -> Any:
    expect(place.first).to_be_attached()
    return place.first.evaluate(DRAWN, part)


@pytest.fixture(params=["light", "dark"])
def forced(page: Page, request: pytest.FixtureRequest) -> Page:
    page.emulate_media(forced_colors="active", color_scheme=request.param)
    return page


def test_what_is_under_way_and_where_the_focus_is_stay_visible(forced: Page, api: Api, plain: str) -> None:
    open_new(forced, plain)
    ask(forced, "!slow 8 !long 10000")
    wait_for_words(forced, 4)
    thread = thread_of(forced)
    assert drawn(forced.locator(f'.row:has(a[href$="{thread}"]) .dot'))["filled"], "the dot of a run"
    assert drawn(forced.locator(".answer .prose > p"), "::after")["filled"], "the cursor"
    assert drawn(forced.locator(".square"))["filled"], "the sign of Stop"
    assert drawn(forced.locator(".question .bubble"))["bordered"], "what somebody said"
    assert drawn(forced.locator(".row:has([aria-current])"))["outlined"], "the thread that is open"
    for name in ("Stop", "Event inspector"):
        button = forced.get_by_role("button", name=name, exact=True)
        assert not drawn(button)["outlined"]
        button.focus()
        forced.keyboard.press("Shift+Tab")
        forced.keyboard.press("Tab")
        expect(button).to_be_focused()
        assert drawn(button)["outlined"], f"the focus on {name}"
    forced.get_by_role("button", name="Stop", exact=True).click()
    wait_for_end(forced)


def test_bars_badges_and_what_is_chosen_stay_visible(forced: Page, api: Api, searcher: str) -> None:
    thread = api.post("/threads", {})["id"]
    api.recorded(thread, api.ask(thread, searcher, f"!fast {QUESTION}"))
    api.recorded(thread, api.ask(thread, searcher, "!fast !fail"))
    open_thread(forced, thread)
    assert drawn(forced.locator(".prose .chip"))["bordered"], "a citation"
    forced.get_by_role("button", name="Event inspector").click()
    inspector = forced.get_by_role("complementary", name="Event inspector")
    events = inspector.get_by_role("listbox", name="Events")
    events.get_by_role("option").last.click()
    assert drawn(events.locator('[aria-selected="true"]'))["outlined"], "the event that is chosen"
    steps = inspector.get_by_role("tab", name="Steps")
    grounds = [
        tab.evaluate("one => getComputedStyle(one).backgroundColor") for tab in inspector.get_by_role("tab").all()
    ]
    assert grounds[0] not in grounds[1:], "the tab that is open"
    steps.click()
    assert drawn(inspector.locator(".track"))["bordered"]
    assert drawn(inspector.locator('[data-status="completed"] .bar'))["filled"], "what came to its end"
    failed = drawn(inspector.locator('[data-status="failed"] .bar'))
    assert (failed["filled"], failed["bordered"]) == (False, True), "what did not"
    forced.get_by_role("button", name="Share", exact=True).click()
    share = forced.get_by_role("dialog", name="Share this thread")
    share.get_by_role("button", name="Create link").click()
    code = share.get_by_role("img", name=re.compile("QR code"))
    assert code.evaluate("one => [getComputedStyle(one).backgroundColor, getComputedStyle(one).fill]") == [
        "rgb(255, 255, 255)",
        "rgb(0, 0, 0)",
    ], "cameras read black on white"
