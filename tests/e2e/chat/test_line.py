"""The page's line to the server: shared by all tabs of a browser, cut, killed, and taken up again (line.js)."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.chaos.proxy import Proxy
from tests.e2e.chat.browsing import (
    PATIENCE,
    PROSE,
    QUESTION,
    RECORD_GROWTH,
    Api,
    ask,
    bare,
    open_new,
    open_thread,
    stored,
    thread_of,
    wait_for_end,
    wait_for_line,
    wait_for_words,
)
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

ON_AND_ON = "!slow 8 !long 10000"
LIST = """() => new Promise((resolve) => {
  const { port } = new SharedWorker("/static/chat/exchange-worker.js", { type: "module", name: "kumos-1" });
  port.onmessage = ({ data }) => {
    if (data.list) resolve(data.list.filter((one) => !one.marks).map((one) => one.thread));
  };
  port.postMessage({ do: "list" });
})"""
"""The threads that the browser's one connection follows, marks of the sidebar apart."""


@pytest.fixture
def tabs(browser: Browser, server: KumosProcess, person: StorageState) -> Iterator[Callable[[], Page]]:
    """Makes tabs of one browser."""
    context = browser.new_context(storage_state=person, base_url=server.url)
    context.set_default_timeout(PATIENCE)
    yield context.new_page
    context.close()


def streams(api: Api) -> float:
    """How many the server has open."""
    page = api.http.get(str(api.http.base_url).replace("/v1/", "/metrics")).raise_for_status().text
    match = re.search(r"^kumos_streams (\S+)$", page, re.MULTILINE)
    assert match
    return float(match[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.1)


def said(api: Api, thread: str) -> str:
    return bare("".join(stored(answer) for answer in api.answers(thread)))


# One connection -------------------------------------------------------------------------------------------------------


def test_ten_tabs_share_one_connection_and_leave_nothing_behind(tabs: Callable[[], Page], api: Api, plain: str) -> None:
    """Over HTTP/1.1, where a browser allows six to a host. Each tab types its own answer, and the admin still loads."""
    threads = [api.post("/threads", {})["id"] for _ in range(10)]
    runs = [api.ask(thread, plain, ON_AND_ON) for thread in threads]
    pages = [tabs() for _ in threads]
    for page, thread in zip(pages, threads, strict=True):
        open_thread(page, thread)
    for page in pages:  # all have been there for a while now, and all go on
        wait_for_words(page, words(page) + 4)
    admin = tabs()
    admin.goto("/admin/")
    expect(admin).to_have_url(re.compile("/admin/$"))
    wait_until(lambda: streams(api) == 1, "one stream for ten tabs")
    assert set(admin.evaluate(LIST)) >= set(threads)

    # One tab closes, one goes without a word as in a crash, one shows another thread: nobody follows for them any more.
    pages[0].close()
    pages[1].evaluate("MessagePort.prototype.postMessage = () => {}")
    pages[1].close()
    pages[2].goto(f"/chat/{threads[3]}")
    wait_for_line(pages[2], threads[3])
    gone = {*threads[:3]}
    wait_until(lambda: not gone & shown(admin), "what nobody shows is not followed")
    assert shown(admin) >= {*threads[3:]}
    for page in pages[2:]:
        wait_for_words(page, words(page) + 4)
    for thread, run in zip(threads, runs, strict=True):
        api.post(f"/threads/{thread}/runs/{run}/cancel", {})
    for page, thread in zip(pages[2:], threads[3:4] + threads[3:], strict=True):
        wait_for_end(page)
        assert bare(page.evaluate(PROSE)) == said(api, thread)
    for page in pages[2:]:
        page.close()
    admin.close()
    wait_until(lambda: streams(api) == 0, "the connection ends with the last tab")


def words(page: Page) -> int:
    """How many of the answer the page shows so far."""
    return len(page.evaluate(PROSE).split())


def shown(page: Page) -> set[str]:
    return set(page.evaluate(LIST))


def test_a_browser_without_shared_workers_has_a_line_for_each_tab_and_gives_it_back_while_hidden(
    browser: Browser, server: KumosProcess, person: StorageState, api: Api, plain: str
) -> None:
    context = browser.new_context(storage_state=person, base_url=server.url)
    context.set_default_timeout(PATIENCE)
    context.add_init_script("delete window.SharedWorker")
    page = context.new_page()
    page.clock.install()
    thread = api.post("/threads", {})["id"]
    open_thread(page, thread)
    assert streams(api) == 1
    hide(page, hidden=True)
    page.clock.fast_forward(21_000)
    wait_until(lambda: streams(api) == 0, "a hidden tab gives its connection back")
    api.recorded(thread, api.ask(thread, plain, "!fast !long 30"))
    hide(page, hidden=False)
    wait_for_end(page)
    assert bare(page.evaluate(PROSE)) == said(api, thread)
    context.close()


def hide(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


# In step --------------------------------------------------------------------------------------------------------------


def test_a_run_of_curl_types_itself_into_two_browsers_and_either_stops_it(
    tabs: Callable[[], Page], page: Page, api: Api, plain: str
) -> None:
    """Two tabs of one browser and a second browser; one of the tabs came in mid-answer."""
    thread = api.post("/threads", {})["id"]
    first, late = tabs(), tabs()
    for one in (first, page):
        open_thread(one, thread)
    api.ask(thread, plain, ON_AND_ON)
    for one in (first, page):
        wait_for_words(one, 10)
    open_thread(late, thread)
    wait_for_words(late, 20)
    late.get_by_role("button", name="Stop", exact=True).click()
    for one in (first, late, page):
        wait_for_end(one)
        expect(one.locator(".answer .state")).to_have_text("stopped")
        expect(one.locator(".question")).to_have_text(ON_AND_ON)
        assert bare(one.evaluate(PROSE)) == said(api, thread) != ""


def test_a_reload_in_mid_answer_draws_everything_so_far_at_once_and_goes_on(page: Page, api: Api, plain: str) -> None:
    page.add_init_script(f"document.addEventListener('DOMContentLoaded', {RECORD_GROWTH})")
    open_new(page, plain)
    ask(page, "!slow 10 !long 120")
    wait_for_words(page, 40)
    before = len(page.evaluate(PROSE))
    page.reload()
    page.wait_for_function("() => window.growth?.length > 3")
    growth = page.evaluate("window.growth")
    assert growth[0] >= before, "all at once, and not typed again"
    assert growth == sorted(growth)
    wait_for_end(page)
    assert bare(page.evaluate(PROSE)) == said(api, thread_of(page))


# Lost -----------------------------------------------------------------------------------------------------------------


def test_a_server_killed_in_mid_answer_is_waited_for_and_the_answer_ends_without_a_reload(
    page: Page, api: Api, server: KumosProcess, plain: str, excused: list[str]
) -> None:
    excused.append("net::ERR_")
    open_new(page, plain)
    page.evaluate("window.sameDocument = true")
    ask(page, "!slow 12 !long 120")
    wait_for_words(page, 15)
    server.kill()
    expect(page.locator("#banner")).to_contain_text("reconnecting…")
    assert len(page.evaluate(PROSE)) > 0, "what was said stays"
    server.start()
    expect(page.locator("#banner")).to_be_hidden()
    wait_for_end(page)
    assert page.evaluate("window.sameDocument")
    thread = thread_of(page)
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    assert run["status"] == "completed"
    assert bare(page.evaluate(PROSE)) == said(api, thread)


@contextmanager
def bad_network(server: KumosProcess) -> Iterator[tuple[Proxy, Callable[[Callable[[], Any]], Any]]]:
    """A proxy before the server, and how to do something to it: it lives in a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = Proxy(("127.0.0.1", server.port))

    def do(work: Callable[[], Any]) -> Any:
        async def on_loop() -> Any:
            done = work()
            return await done if isinstance(done, Coroutine) else done

        return asyncio.run_coroutine_threadsafe(on_loop(), loop).result(PATIENCE / 1000)

    do(proxy.accept)
    try:
        yield proxy, do
    finally:
        do(lambda: proxy.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_cut_line_is_said_and_taken_up_again_in_all_tabs(
    browser: Browser, server: KumosProcess, person: StorageState, api: Api, plain: str
) -> None:
    with bad_network(server) as (proxy, do):
        context = browser.new_context(storage_state=person, base_url=f"http://127.0.0.1:{proxy.address[1]}")
        context.set_default_timeout(PATIENCE)
        pages = [context.new_page(), context.new_page()]
        threads = [api.post("/threads", {})["id"] for _ in pages]
        for page, thread in zip(pages, threads, strict=True):
            open_thread(page, thread)
            api.ask(thread, plain, "!slow 15 !long 150")
            wait_for_words(page, 5)
        for _ in range(3):
            do(proxy.refuse)
            do(proxy.reset)
            for page in pages:
                expect(page.locator("#banner")).to_contain_text("reconnecting…")
            do(proxy.accept)
            for page in pages:
                expect(page.locator("#banner")).to_be_hidden()
        for page, thread in zip(pages, threads, strict=True):
            wait_for_end(page)
            assert bare(page.evaluate(PROSE)) == said(api, thread)
        context.close()


def test_a_deleted_or_missing_thread_ends_for_its_tab_alone(tabs: Callable[[], Page], api: Api, plain: str) -> None:
    doomed, other = tabs(), tabs()
    threads = [api.post("/threads", {})["id"] for _ in range(2)]
    open_thread(doomed, threads[0])
    open_thread(other, threads[1])
    api.http.delete(f"/threads/{threads[0]}").raise_for_status()
    expect(doomed.locator("#banner")).to_contain_text("was deleted")
    api.recorded(threads[1], api.ask(threads[1], plain, "!fast !long 5"))
    wait_for_end(other)
    expect(other.locator("#banner")).to_be_hidden()
    missing = tabs()
    missing.goto("/chat/thread_missing0000000000000000")
    expect(missing.get_by_role("alert")).to_contain_text("No thread found with id 'thread_missing0000000000000000'.")
    api.recorded(threads[1], api.ask(threads[1], plain, "!fast !long 5"))
    expect(other.locator(".transcript > li")).to_have_count(4)
    wait_for_end(other)
    assert bare(other.evaluate(PROSE)) == said(api, threads[1])


# Anywhere -------------------------------------------------------------------------------------------------------------


def test_a_thousand_random_cuts_lose_and_double_no_character(page: Page, api: Api, searcher: str) -> None:
    """The page's own modules, with the bytes of a real run, cut anywhere and taken up behind the last id."""
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, searcher, f"!fast {QUESTION} 🐉 ä 【")
    stream = api.recorded(thread, run).removesuffix(b"event: done\ndata: [DONE]\n\n")
    page.goto("/chat/")
    result = page.evaluate(
        """async ({ bytes: given, seed }) => {
          const { FrameParser } = await import("/static/chat/stream.js");
          const { Thread } = await import("/static/chat/thread.js");
          const bytes = Uint8Array.from(given);
          let state = seed;
          const random = (below) => (state = (state * 48271) % 2147483647) % below;
          // Where the stream goes on behind each id, as the server would send it.
          const behind = new Map([["", 0]]);
          const text = new TextDecoder("latin1").decode(bytes);
          for (const match of text.matchAll(/id: (\\d+)\\n[^]*?\\n\\n/g)) {
            behind.set(match[1], match.index + match[0].length);
          }
          const host = document.createElement("div");
          const draw = (model) => {
            const node = document.createElement("p");
            for (const message of model.messages.values()) {
              if (message.role !== "assistant") continue;
              node.append(...message.content.map((part) => part.text.value));
            }
            host.replaceChildren(node);
            return host.textContent;
          };
          const read = (model, from, to, last) => {
            const parser = new FrameParser((frame) => {
              if (frame.event !== "thread.message.completed") model.apply(frame); // it would mend what was lost
              last = frame.id;
            });
            while (from < to) {
              const piece = Math.min(to - from, 1 + random(900));
              parser.push(bytes.slice(from, from + piece));
              from += piece;
            }
            return last;
          };
          const whole = new Thread("t");
          read(whole, 0, bytes.length, "");
          const expected = draw(whole);
          const wrong = [];
          for (let round = 0; round < 1000; round += 1) {
            const model = new Thread("t");
            let last = "";
            let at = 0;
            const cuts = [];
            for (let count = 1 + random(4); count > 0; count -= 1) {
              const cut = at + random(bytes.length - at);
              cuts.push(cut);
              last = read(model, at, cut, last);
              if (!expected.startsWith(draw(model))) wrong.push(cuts);
              at = behind.get(last);
            }
            read(model, at, bytes.length, last);
            if (draw(model) !== expected) wrong.push(cuts);
          }
          return { expected, wrong, ids: behind.size };
        }""",
        {"bytes": list(stream), "seed": 7},
    )
    assert result["wrong"] == []
    assert result["ids"] > 20
    assert result["expected"] == "".join(stored(answer) for answer in api.answers(thread)) != ""
