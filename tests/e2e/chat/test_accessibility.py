"""What axe-core says of each state of the page: light and dark, on a phone and on a wide screen. It must say nothing.

And what a screen reader says of an answer: that it begins, each tool call, that it is over; never its words one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chat.browsing import QUESTION, Api, ask, open_new, open_thread, wait_for_end
from tests.e2e.chat.drops import payload, png
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

SCREENS = [(360, 740), (1440, 900)]
RICH = """!fast !echo # Ways to say it

A paragraph with **strong words**, `code`, a [link](https://example.org/a) and a list:

1. one
2. two

| Name | Value |
| --- | --- |
| a | 1 |

```python
def answer() -> int:
    return 42  # always
```"""


Examine = Callable[[Page], None]
LOOKS = [*product(("light", "dark"), SCREENS)]


@pytest.fixture(
    params=[
        pytest.param([LOOKS[0], LOOKS[-1]], id="two-looks"),
        pytest.param(LOOKS, id="all-looks", marks=pytest.mark.slow),
    ]
)
def examine(request: pytest.FixtureRequest) -> Examine:
    """Has axe look at the page as it is now: light on a phone and dark on a wide screen, or each on both."""

    def examine(page: Page) -> None:
        found = []
        for theme, (width, height) in request.param:
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": height})
            for violation in Axe().run(page).response["violations"]:
                nodes = [f"{node['target']}: {node['failureSummary']}" for node in violation["nodes"]]
                found.append(f"{theme} {width}: {violation['id']}: {'; '.join(nodes)}")
        assert not found, "\n".join(found)

    return examine


def started(page: Page, api: Api, assistant: str) -> None:
    page.goto("/chat/")
    expect(page.get_by_role("heading", level=2)).to_be_visible()


def missing(page: Page, api: Api, assistant: str) -> None:
    page.goto("/chat/thread_gone")
    expect(page.get_by_role("alert")).to_be_visible()


def answered(page: Page, api: Api, assistant: str) -> None:
    thread = api.post("/threads", {"metadata": {"title": "All there is"}})["id"]
    api.recorded(thread, api.ask(thread, assistant, RICH))
    api.recorded(thread, api.ask(thread, assistant, f"!fast {QUESTION}"))
    page.goto(f"/chat/{thread}")
    page.locator("details.card > summary").first.click()
    page.locator(".prose .chip").last.click()
    expect(page.locator("#panel blockquote").first).to_be_visible()


def failed(page: Page, api: Api, assistant: str) -> None:
    thread = api.post("/threads", {})["id"]
    api.recorded(thread, api.ask(thread, assistant, "!fast !fail"))
    page.goto(f"/chat/{thread}")
    expect(page.locator('.state[data-state="failed"]')).to_be_visible()


def inspected(page: Page, api: Api, assistant: str) -> None:
    """The inspector with one event open, and a replay that is under way."""
    thread = api.post("/threads", {})["id"]
    api.recorded(thread, api.ask(thread, assistant, f"!fast {QUESTION}"))
    open_thread(page, thread)
    page.get_by_role("button", name="Event inspector").click()
    panel = page.get_by_role("complementary", name="Event inspector")
    last = panel.get_by_role("option", name=re.compile(r" run\.completed "))  # all are there
    expect(last).to_be_visible()
    panel.get_by_role("listbox", name="Events").press("End")
    expect(last).to_have_attribute("aria-selected", "true")
    panel.get_by_role("listbox", name="Events").press("Enter")
    expect(panel.get_by_role("region", name="Data")).to_be_visible()


def waiting(page: Page, api: Api, assistant: str) -> None:
    """A run that asks for a tool's output, a message that waits for it, one that is edited, files that wait, too."""
    weather = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    caller = api.assistant("Test Caller", tools=[{"type": "function", "function": weather}, {"type": "file_search"}])
    open_new(page, caller)
    ask(page, '!call get_weather {"city": "Paris"}')
    expect(page.get_by_label("Output of get_weather")).to_be_visible()
    for text in ("the first to wait", "the second to wait"):
        ask(page, text)
    queue = page.get_by_role("region", name="Queued messages").get_by_role("listitem")
    queue.last.get_by_role("button", name="Edit").click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Attach files").click()
    chosen.value.set_files([payload("notes.md", b"# Notes"), payload("quay.png", png(64, 40), "image/png")])
    expect(page.locator(".attachment[data-phase=ready]")).to_have_count(2)


@pytest.mark.parametrize("state", [started, missing, answered, failed, inspected, waiting])
def test_axe_finds_nothing(
    page: Page, api: Api, searcher: str, excused: list[str], state: Callable[[Page, Api, str], None], examine: Examine
) -> None:
    excused.append("404")
    state(page, api, searcher)
    examine(page)


def test_axe_finds_nothing_where_one_logs_in(browser: Browser, server: KumosProcess, examine: Examine) -> None:
    page = browser.new_page(base_url=server.url)
    page.goto("/login/nobody/nothing/")
    examine(page)
    page.close()


def test_axe_finds_nothing_in_what_opens_over_the_page(page: Page, api: Api, plain: str, examine: Examine) -> None:
    thread = api.post("/threads", {"metadata": {"title": "Walrus watch"}})["id"]
    api.recorded(thread, api.ask(thread, plain, "!fast !echo Tusks."))
    open_thread(page, thread)
    page.keyboard.press("Control+K")
    page.keyboard.type("walrus")
    expect(page.locator("#found-note")).to_be_visible()
    examine(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Share", exact=True).click()
    share = page.get_by_role("dialog", name="Share this thread")
    share.get_by_role("button", name="Create link").click()
    expect(share.get_by_role("img", name=re.compile("QR code"))).to_be_visible()
    examine(page)
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_role("button", name="Keyboard").click()
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    examine(page)
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_label("Search threads").fill("")
    row = page.locator(f'#threads a[href$="{thread}"]')
    expect(row).to_be_visible()
    row.focus()
    page.keyboard.press("Delete")
    expect(page.get_by_role("alertdialog", name="Delete this thread?")).to_be_visible()
    examine(page)
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1440, "height": 900})
    row.focus()
    page.keyboard.press("F2")
    expect(page.get_by_label("Title")).to_be_focused()
    examine(page)


def test_axe_finds_nothing_on_a_shared_page(
    page: Page, api: Api, searcher: str, excused: list[str], examine: Examine
) -> None:
    excused += ["401", "net::ERR_"]  # a link that is revoked cuts its readers off
    thread = api.post("/threads", {"metadata": {"title": "All there is"}})["id"]
    api.recorded(thread, api.ask(thread, searcher, f"!fast {QUESTION}"))
    share = api.post(f"/threads/{thread}/shares", {})
    page.goto(share["url"])
    page.locator(".prose .chip").first.click()
    expect(page.locator("#panel blockquote").first).to_be_visible()
    examine(page)
    api.http.delete(f"/threads/{thread}/shares/{share['id']}").raise_for_status()
    expect(page.get_by_role("heading", name="This link was revoked")).to_be_visible()
    examine(page)


HEAR = """() => {
  window.heard = [];
  const status = document.getElementById("status");
  const hear = () => window.heard.push(status.textContent);
  new MutationObserver(hear).observe(status, { childList: true, characterData: true, subtree: true });
}"""


def test_a_screen_reader_hears_the_boundaries_and_no_words(page: Page, searcher: str) -> None:
    open_new(page, searcher)
    live: Any = page.locator("[aria-live]:not([aria-live=off]), [role=status], [role=alert]")
    expect(live).to_have_count(3)  # the line that speaks, how much a search found, and the place for problems
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")
    page.evaluate(HEAR)
    ask(page, QUESTION)
    wait_for_end(page)
    page.wait_for_function("() => window.heard.length >= 3")
    heard = page.evaluate("window.heard")
    assert heard[0] == "The assistant is answering."
    assert re.search("[Ss]earch", heard[1])
    assert heard[-1] == "The answer is complete."
    assert len(heard) == 3
