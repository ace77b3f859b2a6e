"""Versions of a conversation in the chat page: edit, regenerate, fork, ‹1/2›, copy, and what an answer cost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, StorageState, expect

from tests.e2e.chat.browsing import QUESTION, Api, ask, open_new, open_thread, thread_of, wait_for_end
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]


def talk(api: Api, assistant: str, *questions: str, **fields: Any) -> str:
    """A thread in which these were asked and answered."""
    thread = str(api.post("/threads", fields)["id"])
    for question in questions:
        api.recorded(thread, api.ask(thread, assistant, question))
    return thread


def texts(api: Api, thread: str) -> list[str]:
    messages = api.get(f"/threads/{thread}/messages", order="asc", limit="100")["data"]
    return ["".join(part["text"]["value"] for part in message["content"]).strip() for message in messages]


def question(page: Page, number: int) -> Locator:
    return page.locator(".question").nth(number)


def shown(page: Page) -> list[str]:
    return [text.strip() for text in page.locator(".bubble, .answer .prose").all_text_contents()]


def edit(page: Page, number: int, text: str) -> None:
    question(page, number).get_by_role("button", name="Edit question").click()
    page.get_by_label("Your question, edited").fill(text)


def gone_to_another(page: Page, thread: str) -> str:
    expect(page).not_to_have_url(re.compile(thread))
    return thread_of(page)


def test_an_edited_question_is_a_version_and_the_old_one_stays(
    page: Page, api: Api, plain: str, browser: Browser, person: StorageState, server: KumosProcess
) -> None:
    original = talk(api, plain, "!fast !echo One", "!fast !echo Two", metadata={"title": "Counting"})
    open_thread(page, original)
    expect(page.locator(".answer")).to_have_count(2)
    expect(page.locator(".versions:visible")).to_have_count(0)

    edit(page, 1, "given up")
    page.keyboard.press("Escape")
    expect(question(page, 1)).to_have_text("!fast !echo Two")
    edit(page, 1, "!fast !echo Three")
    box = page.get_by_label("Your question, edited")
    for composing in ({"isComposing": True}, {"keyCode": 229}):
        box.dispatch_event("keydown", {"key": "Enter", "bubbles": True, "cancelable": True, **composing})
    expect(page).to_have_url(re.compile(original))
    page.keyboard.press("Enter")
    edited = gone_to_another(page, original)
    expect(page.locator(".answer .prose").nth(1)).to_have_text("Three")
    wait_for_end(page)
    assert shown(page) == ["!fast !echo One", "One", "!fast !echo Three", "Three"]
    assert texts(api, edited) == shown(page)
    assert texts(api, original) == ["!fast !echo One", "One", "!fast !echo Two", "Two"]
    expect(page.get_by_role("heading", name="Counting")).to_be_visible()

    # There and back with the keyboard alone: the switch of the other version has the focus.
    expect(question(page, 1).locator(".versions")).to_have_text("2/2")
    question(page, 1).get_by_role("link", name="Previous version").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(original))
    expect(question(page, 1).locator(".versions")).to_have_text("1/2")
    expect(question(page, 1).get_by_role("link", name="Next version")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(edited))
    expect(question(page, 1).get_by_role("link", name="Previous version")).to_be_focused()

    # A third version, from the second one: all three are versions of one place. The first question can be edited, too.
    page.get_by_label("Your message").focus()
    page.keyboard.press("ArrowUp")
    page.get_by_label("Your question, edited").fill("!fast !echo Four")
    page.keyboard.press("Enter")
    third = gone_to_another(page, edited)
    wait_for_end(page)
    expect(question(page, 1).locator(".versions")).to_have_text("3/3")
    edit(page, 0, "!fast !echo Zero")
    page.keyboard.press("Enter")
    first = gone_to_another(page, third)
    wait_for_end(page)
    assert texts(api, first) == ["!fast !echo Zero", "Zero"]
    expect(question(page, 0).locator(".versions")).to_have_text("2/2")

    # The list has the family once, and it leads to the member that is open.
    family = page.get_by_role("navigation", name="Threads").get_by_role("link", name="Counting")
    expect(family).to_have_count(1)
    expect(family).to_have_attribute("aria-current", "page")
    expect(family).to_have_attribute("href", f"/chat/{first}")

    # After a reload, and in another browser.
    page.goto(f"/chat/{third}")
    expect(question(page, 1).locator(".versions")).to_have_text("3/3")
    expect(question(page, 0).locator(".versions")).to_have_text("1/2")
    elsewhere = browser.new_context(storage_state=person, base_url=server.url).new_page()
    elsewhere.goto(f"/chat/{original}")
    expect(question(elsewhere, 1).locator(".versions")).to_have_text("1/3")
    question(elsewhere, 1).get_by_role("link", name="Next version").click()
    expect(elsewhere).to_have_url(re.compile(edited))
    elsewhere.context.close()


def test_an_answer_is_regenerated_forked_and_copied(page: Page, api: Api, searcher: str) -> None:
    thread = talk(api, searcher, f"!fast {QUESTION}", "!fast !echo **Two**")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_thread(page, thread)
    cited = page.locator(".answer").first
    expect(cited.locator(".chip").first).to_be_visible()
    cited.get_by_role("button", name="Copy answer").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    [source, *_] = api.answers(thread)
    assert copied.splitlines()[0].split()[0] in source["content"][0]["text"]["value"]
    assert "【" not in copied
    assert "[1]" in copied
    page.locator(".answer").last.get_by_role("button", name="Copy answer").click()
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()").strip() == "**Two**"

    page.locator(".answer").last.get_by_role("button", name="Regenerate").click()
    again = gone_to_another(page, thread)
    wait_for_end(page)
    expect(page.locator(".question")).to_have_count(2)
    expect(page.locator(".answer").last.locator(".versions").first).to_have_text("2/2")
    assert texts(api, again) == texts(api, thread)
    # What was copied has its tool card, its costs and its passages, which are kept in the thread where it was written.
    expect(page.locator(".answer").first.locator("details.card")).to_have_count(1)
    expect(page.locator(".answer").first.locator(".usage")).to_contain_text("tokens")
    page.locator(".answer").first.locator(".prose .chip").last.click()
    expect(page.get_by_role("complementary").locator("blockquote").first).not_to_be_empty()
    page.keyboard.press("Escape")

    page.locator(".answer").first.get_by_role("button", name="Fork from here").click()
    fork = gone_to_another(page, again)
    expect(page.locator(".answer")).to_have_count(1)
    expect(page.locator(".answer .versions").last).to_have_text("Parted here2/2")
    ask(page, "!fast !echo Elsewhere")
    expect(page.locator(".question")).to_have_count(2)  # or the end would be that of the copied answer
    wait_for_end(page)
    expect(page.locator(".question").last.locator(".versions")).to_have_text("2/2")
    assert texts(api, fork)[-1] == "Elsewhere"
    assert len(texts(api, thread)) == 4


def test_an_edit_that_fails_loses_nothing(page: Page, api: Api, plain: str, excused: list[str]) -> None:
    thread = talk(api, plain, "!fast !echo One")
    open_thread(page, thread)
    excused += ["net::ERR_FAILED"]
    page.route("**/fork", lambda route: route.abort())
    edit(page, 0, "!fast !echo Another")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_label("Your question, edited")).to_have_value("!fast !echo Another")
    page.unroute("**/fork")
    page.route("**/runs", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    page.get_by_role("button", name="Retry").click()
    fork = gone_to_another(page, thread)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_label("Your message")).to_have_value("!fast !echo Another")
    page.unroute("**/runs")
    page.get_by_role("button", name="Retry").click()
    wait_for_end(page)
    expect(page.get_by_label("Your message")).to_have_value("")
    assert texts(api, fork) == ["!fast !echo Another", "Another"]
    assert len(api.get("/threads", family=thread)["data"]) == 2


def test_a_line_says_what_an_answer_cost_and_a_click_says_all(page: Page, api: Api, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!slow 20 !long 30")
    wait_for_end(page)
    thread = thread_of(page)
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    tokens = f"{run['usage']['total_tokens']:,} tokens"
    line = page.locator(".usage")
    seconds = r"\d+(\.\d)? s"  # whole ones, too, where the line came later than the first word
    expect(line).to_have_text(re.compile(rf"^{seconds} to first word · {seconds} · {tokens} · scripted$"))
    line.click()
    sheet = page.get_by_role("dialog", name="About this answer")
    for text in (
        f"Prompt tokens{run['usage']['prompt_tokens']:,}",
        f"Run{run['id']}",
        "AssistantTest Plain",
        "Truncationauto",
    ):
        expect(sheet).to_contain_text(text)
    expect(sheet).to_contain_text(re.compile("Requestreq_[0-9a-f]{32}"))
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(line).to_be_focused()
    # Whoever did not see it happen has the whole seconds of the API, and nothing that is not known.
    page.reload()
    expect(line).to_have_text(re.compile(rf"^(\d+|under 1) s to first word · (\d+|under 1) s · {tokens} · scripted$"))
    line.click()
    expect(sheet).not_to_contain_text("Request")


def test_an_answer_that_is_not_whole_says_why_and_can_be_tried_again(page: Page, api: Api, plain: str) -> None:
    thread = talk(api, plain, "!fail rate_limit_exceeded after 4 words")
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    open_thread(page, thread)
    failed = page.locator(".answer").first
    expect(failed.locator(".state")).to_have_text(f"failed: {run['last_error']['message']}")
    expect(failed.locator(".remedy")).to_contain_text("takes no more requests at the moment")
    expect(failed.locator(".remedy")).to_contain_text(run["id"])
    kept = failed.locator(".prose").text_content()
    assert kept
    failed.get_by_role("button", name="Retry").click()
    expect(page.locator(".answer")).to_have_count(2)
    wait_for_end(page)
    expect(failed.locator(".prose")).to_have_text(kept)
    expect(failed.get_by_role("button", name="Retry")).to_be_hidden()  # it is the newest answer's business now
    expect(page.locator(".answer").last.get_by_role("button", name="Retry")).to_be_visible()
    assert len(api.get(f"/threads/{thread}/runs")["data"]) == 2
    assert [text for text in texts(api, thread) if text.startswith("!fail")] == texts(api, thread)[:1]

    ask(page, "!fast !length 6")
    wait_for_end(page)
    cut = page.locator(".answer").last
    expect(cut.locator(".state")).to_have_text("cut short: it reached the limit for an answer")
    cut.get_by_role("button", name="Continue").click()
    expect(page.locator(".question").last).to_have_text("Continue where you stopped.")
    wait_for_end(page)
    expect(page.locator(".answer").last).to_have_attribute("data-status", "completed")
    expect(page.locator(".remedy:visible").get_by_role("button")).to_have_count(0)
