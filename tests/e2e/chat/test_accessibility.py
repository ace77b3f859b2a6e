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

from tests.e2e.chat.browsing import QUESTION, Api, ask, open_new, wait_for_end
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


def examine(page: Page) -> None:
    """The page as it is now, in both themes and both widths."""
    found = []
    for theme, (width, height) in product(("light", "dark"), SCREENS):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": height})
        for violation in Axe().run(page).response["violations"]:
            nodes = [f"{node['target']}: {node['failureSummary']}" for node in violation["nodes"]]
            found.append(f"{theme} {width}: {violation['id']}: {'; '.join(nodes)}")
    assert not found, "\n".join(found)


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


@pytest.mark.parametrize("state", [started, missing, answered, failed])
def test_axe_finds_nothing(
    page: Page, api: Api, searcher: str, excused: list[str], state: Callable[[Page, Api, str], None]
) -> None:
    excused.append("404")
    state(page, api, searcher)
    examine(page)


def test_axe_finds_nothing_where_one_logs_in(browser: Browser, server: KumosProcess) -> None:
    page = browser.new_page(base_url=server.url)
    page.goto("/login/nobody/nothing/")
    examine(page)
    page.close()


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
