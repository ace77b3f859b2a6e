"""The chat page in Chromium against a served Kumos: what a person sees, and what goes over the wire meanwhile."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Route, StorageState, expect

from tests.e2e.chat.browsing import (
    QUESTION,
    Api,
    ask,
    assert_drawn_as_stored,
    open_new,
    open_thread,
    stored,
    thread_of,
    wait_for_end,
    wait_for_words,
)
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

# A person asks -------------------------------------------------------------------------------------------------------


def test_the_dragon_question_types_itself_with_citations(page: Page, api: Api, searcher: str) -> None:
    open_new(page, searcher)
    ask(page, QUESTION)
    wait_for_end(page)
    assert page.evaluate("window.busy")
    growth = page.evaluate("window.growth")
    assert len(growth) >= 5
    assert growth == sorted(growth)

    thread = thread_of(page)
    [answer] = api.answers(thread)
    assert_drawn_as_stored(page, [answer])
    annotations = answer["content"][0]["text"]["annotations"]
    assert annotations
    expect(page.locator(".prose .chip")).to_have_count(len(annotations))
    expect(page.locator("details.card")).to_have_count(1)
    names = {api.get(f"/files/{one['file_citation']['file_id']}")["filename"] for one in annotations}
    expect(page.get_by_role("list", name="Sources").get_by_role("listitem")).to_have_count(len(names))
    expect(page.get_by_role("heading", name="Project Dragon", exact=True)).to_be_visible()


def test_a_citation_opens_the_passage_it_stands_for(page: Page, api: Api, searcher: str) -> None:
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, searcher, f"!fast {QUESTION}")
    api.recorded(thread, run)
    [answer] = api.answers(thread)
    page.goto(f"/chat/{thread}")
    cited = answer["content"][0]["text"]["annotations"][-1]
    page.locator(".prose .chip").last.click()
    file = api.get(f"/files/{cited['file_citation']['file_id']}")
    panel = page.get_by_role("complementary", name=file["filename"])
    expect(panel).to_be_visible()
    content = "step_details.tool_calls[*].file_search.results[*].content"
    steps = api.get(f"/threads/{thread}/runs/{run}/steps", order="asc", **{"include[]": content})["data"]
    marker = re.match(r"【(\d+):(\d+)†", cited["text"])
    assert marker is not None
    [call] = steps[int(marker[1])]["step_details"]["tool_calls"]
    passage = call["file_search"]["results"][int(marker[2])]
    assert passage["file_id"] == cited["file_citation"]["file_id"]
    expect(panel.locator("blockquote").first).to_have_text(passage["content"][0]["text"])
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator(".prose .chip").last).to_be_focused()


def test_a_citation_opens_before_the_steps_of_its_run_are_here(page: Page, api: Api, searcher: str) -> None:
    """The page draws messages first; who clicks at once is not told that the passage is gone."""
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, searcher, f"!fast {QUESTION}")
    api.recorded(thread, run)
    held: list[Route] = []
    page.route("**/steps?order=asc&limit=100", lambda route: held.append(route))
    with page.expect_request("**/steps?order=asc&limit=100"):
        page.goto(f"/chat/{thread}")
    page.locator(".prose .chip").last.click()
    expect(page.get_by_role("complementary").locator("blockquote").first).not_to_be_empty()
    for route in held:
        route.continue_()


@pytest.mark.parametrize("way", ["button", "escape"])
def test_stop_keeps_what_was_said(page: Page, api: Api, plain: str, way: str) -> None:
    open_new(page, plain)
    ask(page, "!slow 30 !long 2000")
    wait_for_words(page, 12)
    if way == "button":
        page.get_by_role("button", name="Stop", exact=True).click()
    else:
        page.keyboard.press("Escape")
    wait_for_end(page)
    expect(page.locator(".answer .state")).to_have_text("stopped")
    [answer] = api.answers(thread_of(page))
    assert answer["incomplete_details"]["reason"] == "run_cancelled"
    assert len(stored(answer)) > 40
    assert_drawn_as_stored(page, [answer])


def test_a_function_call_waits_for_its_output_in_the_page(page: Page, api: Api) -> None:
    weather = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    assistant = api.assistant("Test Weather", tools=[{"type": "function", "function": weather}])
    open_new(page, assistant)
    ask(page, '!call get_weather {"city": "Paris"}')
    expect(page.locator(".answer .state")).to_have_text("waiting for a tool's answer")
    expect(page.locator("details.card summary")).to_contain_text("Paris")
    page.get_by_label("Output of get_weather").fill("18 degrees and light rain")
    page.get_by_role("button", name="Send the output").click()
    wait_for_end(page)
    expect(page.locator(".answer .prose")).to_contain_text("18 degrees")
    expect(page.get_by_label("Output of get_weather")).to_have_count(0)


def test_a_failed_run_says_why(page: Page, api: Api, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!fail rate_limit_exceeded after 4 words")
    wait_for_end(page)
    thread = thread_of(page)
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    expect(page.locator(".answer .state")).to_have_text(f"failed: {run['last_error']['message']}")
    assert_drawn_as_stored(page, api.answers(thread))


def test_markup_in_an_answer_stays_text(page: Page, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!echo <img src=x onerror=alert(1)><b>bold</b> **strong** `code`")
    wait_for_end(page)
    expect(page.locator(".prose")).to_have_text("<img src=x onerror=alert(1)><b>bold</b> strong code")
    expect(page.locator(".prose img, .prose b")).to_have_count(0)
    expect(page.locator(".prose strong")).to_have_text("strong")


# Keyboard and failures -----------------------------------------------------------------------------------------------


def test_enter_sends_but_not_while_an_input_method_composes(page: Page, plain: str) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    open_new(page, plain)
    box = page.get_by_label("Your message")
    box.fill("!fast !echo かな")
    for composing in ({"isComposing": True}, {"keyCode": 229}):
        box.dispatch_event("keydown", {"key": "Enter", "bubbles": True, "cancelable": True, **composing})
    box.press("Shift+Enter")
    expect(box).to_have_value("!fast !echo かな\n")
    assert sent == []
    box.press("Enter")
    wait_for_end(page)
    expect(page.locator(".question")).to_have_text("!fast !echo かな")
    expect(box).to_have_value("")


def test_a_text_that_could_not_be_sent_stays_and_retry_sends_it_once(
    page: Page, api: Api, plain: str, excused: list[str]
) -> None:
    thread = api.post("/threads", {})["id"]
    open_thread(page, thread)
    page.get_by_label("Assistant").select_option(plain)

    def cut(route: Route) -> None:
        if route.request.method == "POST":
            route.abort()
        else:
            route.continue_()

    page.route("**/runs", cut)
    ask(page, "!fast !long 5")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_label("Your message")).to_have_value("!fast !long 5")
    excused.append("net::ERR_FAILED")
    page.unroute("**/runs")
    page.get_by_role("button", name="Retry").click()
    wait_for_words(page, 5)
    wait_for_end(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    roles = [message["role"] for message in api.get(f"/threads/{thread}/messages", order="asc")["data"]]
    assert roles == ["user", "assistant"]


def test_a_missing_thread_is_named_with_the_request_id(page: Page, excused: list[str]) -> None:
    excused.append("status of 404")  # Chromium logs every one
    page.goto("/chat/thread_missing0000000000000000")
    expect(page.get_by_role("alert")).to_contain_text("No thread found with id 'thread_missing0000000000000000'.")
    expect(page.get_by_role("alert")).to_contain_text(re.compile("req_[0-9a-f]{32}"))


def test_logged_out_people_are_sent_to_the_login_page(browser: Browser, server: KumosProcess) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/chat/")
    expect(page).to_have_url(re.compile(r"/admin/login/\?next=/chat/"))
    context.close()


def test_who_was_logged_out_meanwhile_keeps_what_was_written_and_is_led_to_the_login(
    browser: Browser, server: KumosProcess, person: StorageState, api: Api, plain: str
) -> None:
    """The session ends on the server, as after "Log out" in another browser: the page learns of it by asking."""
    context = browser.new_context(storage_state=person, base_url=server.url)
    page = context.new_page()
    thread = api.post("/threads", {"metadata": {"title": "Before the log out"}})["id"]
    open_thread(page, thread)
    page.get_by_label("Assistant").select_option(plain)
    context.clear_cookies(name="sessionid")
    ask(page, "Is anybody there?")
    expect(page.get_by_role("alert")).to_contain_text("You didn't provide an API key")
    expect(page.get_by_label("Your message")).to_have_value("Is anybody there?")
    expect(page.get_by_role("link", name="Log in again")).to_have_attribute(
        "href", f"/admin/login/?next=/chat/{thread}"
    )
    assert api.get(f"/threads/{thread}/messages")["data"] == []
    context.close()
