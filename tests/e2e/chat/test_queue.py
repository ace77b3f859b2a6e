"""Messages sent while a run is active: they wait above the box, can be changed, and are sent once, in their order."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.chat.browsing import Api, ask, open_new, open_thread, thread_of, wait_for_end, wait_for_words

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def waiting(page: Page) -> Locator:
    return page.get_by_role("region", name="Queued messages").get_by_role("listitem")


def asked(api: Api, thread: str) -> list[str]:
    messages = api.get(f"/threads/{thread}/messages", order="asc", limit="100")["data"]
    return [one["content"][0]["text"]["value"] for one in messages if one["role"] == "user"]


def test_messages_wait_their_turn_and_each_is_sent_once(page: Page, api: Api) -> None:
    """The run waits for a tool's output, so nothing is sent before somebody gives it."""
    assistant = api.assistant("Test Queue", tools=[{"type": "function", "function": WEATHER}])
    refused: list[str] = []
    page.context.on("response", lambda one: refused.append(one.url) if one.status >= 400 else None)
    open_new(page, assistant)
    ask(page, '!call get_weather {"city": "Paris"}')
    expect(page.locator(".answer .state")).to_have_text("waiting for a tool's answer")
    thread = thread_of(page)
    for text in ("!fast !echo one", "!fast !echo two", "!fast !echo three", "!fast !echo four"):
        ask(page, text)
        expect(waiting(page).last).to_contain_text(text)
    expect(page.get_by_label("Your message")).to_have_value("")
    expect(page.get_by_role("region", name="Queued messages")).to_contain_text("until the run has its tool's output")

    waiting(page).nth(1).get_by_role("button", name="Edit").click()
    page.get_by_label("Queued message", exact=True).fill("given up")
    page.keyboard.press("Escape")
    expect(waiting(page).nth(1)).to_contain_text("!fast !echo two")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    waiting(page).nth(1).get_by_role("button", name="Edit").click()
    page.get_by_label("Queued message", exact=True).fill("!fast !echo second")
    page.keyboard.press("Enter")
    waiting(page).nth(2).get_by_role("button", name="Remove").click()
    expect(waiting(page)).to_have_count(3)

    other = page.context.new_page()
    for one in (page, other):
        one.goto(f"/chat/{thread}")
        expect(waiting(one)).to_have_count(3)
    assert asked(api, thread) == ['!call get_weather {"city": "Paris"}']
    page.get_by_label("Output of get_weather").fill("18 degrees")
    page.get_by_role("button", name="Send the output").click()
    for one in (page, other):
        expect(waiting(one)).to_have_count(0)
        expect(one.locator(".answer").last.locator(".prose")).to_have_text("four")
        wait_for_end(one)
    assert asked(api, thread)[1:] == ["!fast !echo one", "!fast !echo second", "!fast !echo four"]
    assert page.get_by_role("alert").is_hidden()
    assert [url for url in refused if not url.endswith("/runs")] == []


def test_send_now_stops_the_answer_and_sends(page: Page, api: Api, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!slow 20 !long 2000")
    wait_for_words(page, 5)
    ask(page, "!fast !echo later")
    ask(page, "!fast !echo now")
    waiting(page).nth(1).get_by_role("button", name="Stop the answer and send").click()
    expect(page.locator(".answer .state").first).to_have_text("stopped")
    expect(page.locator(".answer")).to_have_count(3)
    wait_for_end(page)
    assert asked(api, thread_of(page)) == ["!slow 20 !long 2000", "!fast !echo now", "!fast !echo later"]
    assert len(api.get(f"/threads/{thread_of(page)}/runs")["data"]) == 3


def test_what_waits_is_sent_while_another_thread_is_open(page: Page, api: Api, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!slow 20 !long 60")
    wait_for_words(page, 5)
    thread = thread_of(page)
    ask(page, "!fast !echo later")
    expect(waiting(page)).to_have_count(1)
    with page.expect_response(lambda one: one.url.endswith(f"{thread}/runs") and one.request.method == "POST"):
        page.get_by_role("link", name="New chat").click()
        expect(waiting(page)).to_have_count(0)
    assert asked(api, thread) == ["!slow 20 !long 60", "!fast !echo later"]


def test_a_run_of_somebody_else_makes_a_message_wait_and_is_never_an_error(
    page: Page, api: Api, plain: str, excused: list[str]
) -> None:
    """It begins between the page's request and the server, whose 400 is never shown."""
    excused.append("status of 400")
    thread = api.post("/threads", {})["id"]
    open_thread(page, thread)
    page.get_by_label("Assistant").select_option(plain)
    runs: list[str] = []

    def come_first(route: Route) -> None:
        if route.request.method == "POST" and not runs:
            runs.append(api.ask(thread, plain, "!stall"))
        route.continue_()

    page.route("**/runs", come_first)
    with page.expect_response(lambda one: one.status == 400):
        ask(page, "!fast !echo patience")
    expect(waiting(page)).to_contain_text("!fast !echo patience")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_label("Your message")).to_have_value("")
    api.post(f"/threads/{thread}/runs/{runs[0]}/cancel", {})
    expect(page.locator(".answer").last.locator(".prose")).to_have_text("patience")
    expect(waiting(page)).to_have_count(0)
    assert asked(api, thread) == ["!stall", "!fast !echo patience"]


def test_what_could_not_be_sent_stays_in_the_queue(page: Page, api: Api, plain: str, excused: list[str]) -> None:
    """Neither a lost request nor a lost answer loses the message or says it twice."""
    excused.append("net::ERR_FAILED")
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, plain, "!stall")
    open_thread(page, thread)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    ask(page, "!fast !echo once")
    lost: list[str] = []

    def lose(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
        elif lost:
            route.abort()
        else:
            lost.append(route.request.post_data or "")
            route.fetch()  # the server has it, the page never hears of it
            route.abort()

    page.route("**/runs", lose)
    api.post(f"/threads/{thread}/runs/{run}/cancel", {})
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(waiting(page)).to_contain_text("!fast !echo once")
    page.unroute("**/runs")
    page.get_by_role("button", name="Retry").first.click()
    expect(waiting(page)).to_have_count(0)
    wait_for_end(page)
    assert asked(api, thread) == ["!stall", "!fast !echo once"]
    assert len(api.get(f"/threads/{thread}/runs")["data"]) == 2
