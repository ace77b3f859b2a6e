"""The page's line to the server: shared by all tabs of a browser, cut, killed, and taken up again (line.js)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.e2e.chat.browsing import (
    PATIENCE,
    PROSE,
    RECORD_GROWTH,
    Api,
    ask,
    assert_drawn_as_stored,
    open_new,
    open_thread,
    thread_of,
    wait_for_end,
    wait_for_line,
    wait_for_words,
)
from tests.e2e.chat.lines import LIST, bad_network, streams, wait_until
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

ON_AND_ON = "!slow 8 !long 10000"


@pytest.fixture
def tabs(browser: Browser, server: KumosProcess, person: StorageState) -> Iterator[Callable[[], Page]]:
    """Makes tabs of one browser."""
    context = browser.new_context(storage_state=person, base_url=server.url)
    context.set_default_timeout(PATIENCE)
    yield context.new_page
    context.close()


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
        assert_drawn_as_stored(page, api.answers(thread))
    for page in pages[2:]:
        page.close()
    admin.close()
    wait_until(lambda: streams(api) == 0, "the connection ends with the last tab")


def words(page: Page) -> int:
    """How many of the answer the page shows so far."""
    return len(page.evaluate(PROSE).split())


def shown(page: Page) -> set[str]:
    return set(page.evaluate(LIST))


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
        assert_drawn_as_stored(one, api.answers(thread))


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
    assert_drawn_as_stored(page, api.answers(thread_of(page)))


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
    assert_drawn_as_stored(page, api.answers(thread))


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
            assert_drawn_as_stored(page, api.answers(thread))
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
    assert_drawn_as_stored(other, api.answers(threads[1]))
