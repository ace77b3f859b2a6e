"""Tabs that are hidden, frozen or asleep in mid-answer, and lines that say nothing any more (stream.js, exchange.js).

Whatever happened meanwhile, the answer is whole afterwards, nothing of it stands there twice, and nobody reloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.chaos.proxy import CLEAR, Fault, Proxy
from tests.e2e.chat.browsing import (
    PATIENCE,
    PROSE,
    RECORD_GROWTH,
    Api,
    assert_drawn_as_stored,
    open_thread,
    stored,
    wait_for_words,
)
from tests.e2e.chat.lines import bad_network, hide, streams, wait_until
from tests.e2e.chat.targets import Tab, Target
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

OWN_LINE = "delete window.SharedWorker"
"""As in Chrome on Android: the tab has a line of its own."""
ASK = "!slow 15 !long 80"
FOLLOWS = "thread => document.body?.dataset.following === thread"
SAYS = "count => (document.querySelector('.answer .prose')?.textContent.split(/\\s+/).length ?? 0) >= count"
ENDED = "() => document.querySelector('.transcript > li:last-child')?.dataset.status === 'completed'"
EXCHANGE = "/static/chat/exchange.js"
PINGS = 5
"""One more than a tab may leave unanswered."""
CLOCK = """() => {
  // setTimeout as it is, and jump(): whatever was due within so many milliseconds happens now.
  const { setTimeout, clearTimeout } = self;
  const waiting = new Map();
  self.setTimeout = (work, milliseconds, ...given) => {
    const id = setTimeout(() => waiting.delete(id) && work(...given), milliseconds);
    waiting.set(id, { due: performance.now() + milliseconds, work: () => work(...given) });
    return id;
  };
  self.clearTimeout = (id) => {
    waiting.delete(id);
    clearTimeout(id);
  };
  self.jump = (milliseconds) => {
    for (const [id, { due, work }] of [...waiting]) {
      if (due > performance.now() + milliseconds) continue;
      self.clearTimeout(id);
      work();
    }
  };
}"""
JUMP = "milliseconds => jump(milliseconds)"


class Network:
    """Between the browser and the server."""

    def __init__(self, proxy: Proxy, do: Callable[[Callable[[], Any]], Any]) -> None:
        self.origin = f"http://127.0.0.1:{proxy.address[1]}"
        self.proxy = proxy
        self.do = do

    def mute(self) -> None:
        """What the server says is swallowed, and nothing breaks."""
        self.do(lambda: setattr(self.proxy, "fault", Fault(mute=True)))

    def heal(self) -> None:
        self.do(lambda: setattr(self.proxy, "fault", CLEAR))

    def cut(self) -> None:
        self.do(self.proxy.reset)


@pytest.fixture
def network(server: KumosProcess) -> Iterator[Network]:
    with bad_network(server) as (proxy, do):
        yield Network(proxy, do)


@pytest.fixture
def alone(browser: Browser, network: Network, person: StorageState) -> Iterator[Page]:
    """A page with a line of its own, and with no clock but the test's."""
    context = browser.new_context(storage_state=person, base_url=network.origin)
    context.set_default_timeout(PATIENCE)
    context.add_init_script(OWN_LINE)
    context.clock.install()
    yield context.new_page()
    context.close()


Opening = Callable[[Page, Api, str], None]


def chat(page: Page, api: Api, thread: str) -> None:
    open_thread(page, thread)


def shared(page: Page, api: Api, thread: str) -> None:
    link = urlsplit(api.post(f"/threads/{thread}/shares", {})["url"])
    page.goto(f"{link.path}#{link.fragment}")
    expect(page.locator("#kind")).to_have_text("Live")
    page.evaluate(RECORD_GROWTH)


# Frozen ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["briefly", "until it is forgotten", "with a line of its own"])
def test_a_tab_that_was_frozen_in_mid_answer_shows_all_of_it_once(
    browser: Browser, network: Network, person: StorageState, api: Api, plain: str, how: str
) -> None:
    """Chromium itself hides and freezes it. Meanwhile the answer ends; a line of its own breaks as well."""
    thread = api.post("/threads", {})["id"]
    script = OWN_LINE if how == "with a line of its own" else ""
    with Tab(browser, person, f"{network.origin}/chat/{thread}", script=script) as tab:
        tab.wait_for(FOLLOWS, thread)
        tab.evaluate(RECORD_GROWTH)
        tab.evaluate("() => { window.resumed = 0; document.addEventListener('resume', () => (window.resumed += 1)) }")
        run = api.ask(thread, plain, ASK)
        tab.wait_for(SAYS, 8)
        tab.freeze()
        if how == "until it is forgotten":  # so that nothing of what follows waits for it at its end of the port
            forget(tab.worker())
            wait_until(lambda: streams(api) == 0, "nothing is followed for a tab that is frozen")
        api.recorded(thread, run)  # to its end
        if how == "with a line of its own":
            network.cut()
        tab.thaw()
        tab.wait_for(ENDED)
        growth = tab.evaluate("() => window.growth")
        assert tab.evaluate("() => window.resumed") == 1, "it was frozen"
        assert growth == sorted(growth)
        assert_drawn_as_stored(tab, api.answers(thread))


def forget(worker: Target) -> None:
    """What becomes of a tab that answers no ping for minutes; here they come at once."""
    exchange = worker.instances(EXCHANGE, "Exchange")
    for _ in range(PINGS):
        assert worker.call(exchange, "exchange => exchange.list().length") > 0
        worker.call(exchange, "exchange => exchange.ping()")
    assert worker.call(exchange, "exchange => exchange.list()") == []


# Hidden ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", [chat, shared])
def test_a_hidden_tab_gives_its_own_line_back_and_goes_on_where_it_was(
    alone: Page, api: Api, plain: str, opened: Opening
) -> None:
    thread = api.post("/threads", {})["id"]
    opened(alone, api, thread)
    run = api.ask(thread, plain, ASK)
    wait_for_words(alone, 5)
    hide(alone, hidden=True)
    alone.clock.fast_forward(15_000)
    hide(alone, hidden=False)
    alone.clock.fast_forward(15_000)
    assert streams(api) > 0, "it was hidden for a moment only"
    hide(alone, hidden=True)
    alone.clock.fast_forward(21_000)
    wait_until(lambda: streams(api) == 0, "a hidden tab gives its connection back")
    api.recorded(thread, run)
    [answer] = api.answers(thread)
    assert len(alone.evaluate(PROSE)) < len(stored(answer)), "it ends while nobody looks"
    hide(alone, hidden=False)
    expect(alone.get_by_role("log")).to_have_attribute("aria-busy", "false")
    growth = alone.evaluate("window.growth")
    assert growth == sorted(growth)
    assert_drawn_as_stored(alone, [answer])


# Asleep ---------------------------------------------------------------------------------------------------------------

SLEEP = "milliseconds => { const now = Date.now; Date.now = () => now() + milliseconds; }"


def test_after_sleep_the_line_that_all_tabs_share_is_renewed_at_once(
    browser: Browser, network: Network, person: StorageState, api: Api, plain: str
) -> None:
    """What came while the machine slept is lost, and the line, as far as anybody can tell, is in order."""
    thread = api.post("/threads", {})["id"]
    with Tab(browser, person, f"{network.origin}/chat/{thread}") as tab:
        tab.wait_for(FOLLOWS, thread)
        run = api.ask(thread, plain, ASK)
        tab.wait_for(SAYS, 8)
        network.mute()
        api.recorded(thread, run)
        network.heal()
        tab.worker().evaluate(SLEEP, 30_000)  # its next look at the clock, within five seconds, finds it that late
        tab.wait_for(ENDED)
        assert_drawn_as_stored(tab, api.answers(thread))


def test_after_sleep_the_line_of_one_tab_is_renewed_at_once(
    alone: Page, network: Network, api: Api, plain: str
) -> None:
    thread = api.post("/threads", {})["id"]
    open_thread(alone, thread)
    run = api.ask(thread, plain, ASK)
    wait_for_words(alone, 8)
    network.mute()
    api.recorded(thread, run)
    network.heal()
    alone.clock.fast_forward(30_000)  # not yet a silence that gives a line up
    expect(alone.get_by_role("log")).to_have_attribute("aria-busy", "false")
    assert_drawn_as_stored(alone, api.answers(thread))


# Silent ---------------------------------------------------------------------------------------------------------------


def test_a_silent_line_that_all_tabs_share_is_given_up_after_three_heartbeats(
    browser: Browser, network: Network, person: StorageState, api: Api, plain: str
) -> None:
    """No connection breaks: only that it is silent tells."""
    thread = api.post("/threads", {})["id"]
    with Tab(browser, person, f"{network.origin}/chat/{thread}") as tab:
        tab.wait_for(FOLLOWS, thread)
        worker = tab.worker()
        worker.evaluate(CLOCK)  # for the timers that are set from now on
        run = api.ask(thread, plain, ASK)
        tab.wait_for(SAYS, 8)
        network.mute()
        api.recorded(thread, run)
        worker.evaluate(JUMP, 20_000)
        assert tab.evaluate("() => document.getElementById('banner').hidden"), "two heartbeats may be missed"
        worker.evaluate(JUMP, 46_000)
        tab.wait_for("() => document.getElementById('banner').textContent.includes('reconnecting…')")
        network.heal()
        worker.evaluate(JUMP, 46_000)  # the answer to the first try was swallowed, too, perhaps
        tab.wait_for(ENDED)
        tab.wait_for("() => document.getElementById('banner').hidden")
        assert_drawn_as_stored(tab, api.answers(thread))


@pytest.mark.parametrize("opened", [chat, shared])
def test_a_silent_line_of_one_tab_is_given_up_after_three_heartbeats(
    alone: Page, network: Network, api: Api, plain: str, opened: Opening
) -> None:
    thread = api.post("/threads", {})["id"]
    opened(alone, api, thread)
    run = api.ask(thread, plain, ASK)
    wait_for_words(alone, 8)
    network.mute()
    api.recorded(thread, run)
    alone.clock.fast_forward(46_000)
    expect(alone.locator("#banner")).to_contain_text("econnecting…")
    network.heal()
    alone.clock.fast_forward(46_000)
    expect(alone.get_by_role("log")).to_have_attribute("aria-busy", "false")
    expect(alone.locator("#banner")).to_be_hidden()
    assert_drawn_as_stored(alone, api.answers(thread))
