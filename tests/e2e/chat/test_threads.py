"""The list of threads: titles, search, renaming, deleting and dots, by mouse, by keyboard and from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.e2e.chat.browsing import Api, ask, open_new, open_thread, thread_of, wait_for_end, wait_for_words

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

REFRESH = "window.dispatchEvent(new Event('focus'))"


def make(api: Api, title: str, *texts: str) -> str:
    messages = [{"role": "user", "content": text} for text in texts]
    return str(api.post("/threads", {"metadata": {"title": title}, "messages": messages})["id"])


def title_of(api: Api, thread: str) -> str:
    return str(api.get(f"/threads/{thread}")["metadata"]["title"])


def link(page: Page, thread: str) -> Locator:
    return page.locator(f"#threads a[data-thread={thread}]")


def menu_of(page: Page, thread: str) -> Locator:
    return page.locator(f"#threads .row:has(a[data-thread={thread}])").get_by_role("button")


def head(page: Page) -> Locator:
    return page.locator("#title")


# Titles --------------------------------------------------------------------------------------------------------------


def test_the_model_makes_a_title_once_and_only_for_who_asked(
    page: Page, api: Api, plain: str, excused: list[str]
) -> None:
    excused.append("status of 404")
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/v1/threads/runs"):
            asked.append(request.url)

    page.context.on("request", note)
    open_new(page, plain)
    ask(page, "!slow 8 !echo Where do the puffins of Iceland breed in summer, and what do they eat")
    thread = thread_of(page)
    expect(head(page)).to_have_text(re.compile("^!slow 8 !echo Where do the puffins of .*…$"))
    beside = page.context.new_page()
    beside.goto(f"/chat/{thread}")
    expect(beside.locator(".question")).to_be_visible()
    expect(head(page)).to_have_text("Puffins of Iceland breed in summer", timeout=60_000)
    expect(link(page, thread)).to_have_text(re.compile("^Puffins of Iceland breed in summer"))
    assert title_of(api, thread) == "Puffins of Iceland breed in summer"
    expect(beside.locator(".answer")).to_have_attribute("data-status", "completed")
    beside.evaluate(REFRESH)
    expect(head(beside)).to_have_text("Puffins of Iceland breed in summer")
    beside.close()
    ask(page, "!fast !long 5")
    page.wait_for_function("() => document.querySelectorAll('.answer').length === 2")
    wait_for_end(page)
    assert len(asked) == 1

    listed = [one for one in api.get("/threads", limit="100")["data"] if "kumos.purpose" in one["metadata"]]
    for left in listed:  # what the page deletes behind the title is not long about it
        page.wait_for_function(
            "id => fetch(`/v1/threads/${id}`).then((answer) => answer.status === 404)", arg=left["id"]
        )


def test_a_name_that_was_given_stays(page: Page, api: Api, plain: str) -> None:
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    open_new(page, plain)
    ask(page, "!slow 20 !long 60")
    thread = thread_of(page)
    head(page).click()
    field = page.get_by_label("Title", exact=True)
    expect(field).to_be_focused()
    field.fill("  Nine   words ")
    field.press("Enter")
    expect(head(page)).to_have_text("Nine words")
    expect(head(page)).to_be_focused()
    wait_for_end(page)
    page.wait_for_function("() => sessionStorage.getItem('kumos.untitled') === '{}'")
    page.evaluate("() => fetch('/v1/assistants?limit=1')")
    assert title_of(api, thread) == "Nine words"
    assert not [url for url in posted if url.endswith("/threads/runs")]


def test_threads_that_are_not_for_people_are_hidden_and_swept(page: Page, api: Api, excused: list[str]) -> None:
    excused.append("status of 404")
    scratch = api.post("/threads", {"metadata": {"kumos.purpose": "title"}})["id"]
    shown = make(api, "For people")
    page.goto("/chat/")
    expect(link(page, shown)).to_be_visible()
    expect(link(page, scratch)).to_have_count(0)
    page.evaluate(
        """async (id) => {
          const { Titles } = await import("/static/chat/titles.js");
          const now = Date.now() / 1000;
          const metadata = { "kumos.purpose": "title" };
          const threads = [{ id, created_at: now - 200, metadata }, { id: "thread_young", created_at: now, metadata }];
          new Titles({ onTitle() {} }).sweep([...threads, { id: "thread_other", created_at: 0, metadata: {} }]);
        }""",
        scratch,
    )
    page.wait_for_function("id => fetch(`/v1/threads/${id}`).then((answer) => answer.status === 404)", arg=scratch)


def test_titles_are_cut_and_cleaned_and_days_are_named(page: Page) -> None:
    page.goto("/chat/")
    said = page.evaluate(
        """async (given) => {
          const { cleaned, titleFrom } = await import("/static/chat/titles.js");
          const { dayOf } = await import("/static/chat/sidebar.js");
          const { marked, wordsOf } = await import("/static/chat/search.js");
          const now = new Date(2026, 2, 10, 9);
          const day = (...date) => dayOf(new Date(...date).getTime() / 1000, now);
          const text = (nodes) => nodes.map((node) => node.outerHTML ?? node).join("");
          return {
            cleaned: given.map(cleaned),
            cut: [titleFrom("word ".repeat(40)), titleFrom("x".repeat(99)), titleFrom(" a\\n b ")],
            days: [day(2026, 2, 10, 0), day(2026, 2, 9, 23), day(2026, 2, 9, 0), day(2026, 2, 8, 23), day(2026, 2, 3),
              day(2026, 2, 2, 23), day(2026, 1, 8), day(2026, 0, 8)],
            marked: text(marked("Zürich is in <b> Zurichberg", wordsOf("ZURICH,b"))),
          };
        }""",
        ['"Heat pumps."', "**Title: Heat pumps**\n\nIt says …", "„Wärmepumpen“", "Wait...", "", "# A"],
    )
    assert said["cleaned"] == ["Heat pumps", "Heat pumps", "Wärmepumpen", "Wait...", "", "A"]
    assert said["cut"] == [("word " * 12).strip() + "…", "x" * 60 + "…", "a b"]
    lately = ["Today", "Yesterday", "Yesterday", "Previous 7 days", "Previous 7 days"]
    assert said["days"] == [*lately, "Previous 30 days", "Previous 30 days", "January 2026"]
    assert said["marked"] == "<mark>Zürich</mark> is in <<mark>b</mark>> <mark>Zurichberg</mark>"


# Search --------------------------------------------------------------------------------------------------------------


def test_search_answers_while_somebody_types(page: Page, api: Api, plain: str) -> None:
    told = make(api, "Beasts of Rottnest", "The quokkas of the island smile")
    named = make(api, "Quokka budget", "Nothing here")
    answered = make(api, "Echo")
    api.recorded(answered, api.ask(answered, plain, "!fast !echo a quokka was heard"))
    stopped = make(api, "Cut short")
    run = api.ask(stopped, plain, "!slow 40 !echo a quokka " + "and another " * 2000)
    page.goto(f"/chat/{stopped}")
    wait_for_words(page, 8)
    page.keyboard.press("Escape")
    wait_for_end(page)
    assert api.get(f"/threads/{stopped}/runs/{run}")["status"] == "cancelled"
    matches = {one["id"]: one["match"]["message_id"] for one in api.get("/threads", query="quokka")["data"]}
    assert list(matches) == [stopped, answered, named, told]
    assert matches[named] is None
    assert [matches[one] for one in (answered, stopped)] == [api.answers(one)[0]["id"] for one in (answered, stopped)]

    held: list[Route] = []
    page.route("**/v1/threads?*query=quok", lambda route: held.append(route))
    page.get_by_label("Your message").focus()
    page.keyboard.press("Control+k")
    box = page.get_by_role("searchbox", name="Search threads")
    expect(box).to_be_focused()
    with page.expect_request("**/v1/threads?*query=quok"):
        page.keyboard.type("quok")
    page.keyboard.type("ka")
    found = page.locator("#found a")
    expect(found).to_have_count(4)
    expect(page.locator("#found-note")).to_have_text("4 found")
    expect(page.locator("#threads")).to_be_hidden()
    expect(found.nth(2).locator(".title mark")).to_have_text("Quokka")
    expect(found.nth(3).locator(".snippet")).to_have_text("The quokkas of the island smile")
    expect(found.nth(3).locator(".snippet mark")).to_have_text("quokkas")

    page.keyboard.press("ArrowDown")
    expect(found.nth(0)).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(told))
    expect(head(page)).to_have_text("Beasts of Rottnest")
    expect(found.nth(3)).to_have_attribute("aria-current", "page")
    for route in held:  # the answer to less than was asked for in the end comes last, and changes nothing
        route.continue_()
    page.keyboard.press("Escape")
    expect(box).to_be_focused()
    expect(found).to_have_count(4)
    page.keyboard.type("xyz")
    expect(page.locator("#found-note")).to_have_text("Nothing was found.")
    page.keyboard.press("Escape")
    expect(box).to_have_value("")
    expect(page.locator("#threads")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Your message")).to_be_focused()


# Renaming and deleting -----------------------------------------------------------------------------------------------


def test_rows_are_renamed_and_deleted_by_keyboard_and_mouse(page: Page, api: Api) -> None:
    older, middle, newest = (make(api, f"{name} walrus") for name in ("Older", "Middle", "Newest"))
    page.goto(f"/chat/{middle}")
    link(page, newest).focus()
    page.keyboard.press("ArrowDown")
    expect(link(page, middle)).to_be_focused()
    page.keyboard.press("Tab")
    expect(menu_of(page, middle)).to_be_focused()
    page.keyboard.press("Enter")
    menu = page.get_by_role("menu", name="Actions for Middle walrus")
    expect(menu.get_by_role("menuitem", name="Rename")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(menu_of(page, middle)).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    page.keyboard.type("Tusks")
    page.keyboard.press("Enter")
    expect(link(page, middle)).to_be_focused()
    expect(head(page)).to_have_text("Tusks")
    page.wait_for_function(
        "id => fetch(`/v1/threads/${id}`).then((one) => one.json()).then((one) => one.metadata.title === 'Tusks')",
        arg=middle,
    )

    page.keyboard.press("F2")
    page.keyboard.type("not this")
    page.keyboard.press("Escape")
    expect(link(page, middle)).to_have_text(re.compile("^Tusks"))
    link(page, older).dblclick()
    expect(page).to_have_url(re.compile(older))
    page.keyboard.type("Old tusks")
    page.get_by_label("Your message").click()  # leaving the field keeps what it holds
    expect(head(page)).to_have_text("Old tusks")

    link(page, middle).focus()
    page.keyboard.press("Delete")
    dialog = page.get_by_role("alertdialog", name="Delete this thread?")
    expect(dialog).to_contain_text("“Tusks”")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(link(page, middle)).to_be_focused()
    page.keyboard.press("Delete")
    dialog.get_by_role("button", name="Delete").click()
    expect(link(page, middle)).to_have_count(0)
    expect(link(page, older)).to_be_focused()
    assert api.http.get(f"/threads/{middle}").status_code == 404
    expect(page).to_have_url(re.compile(older))

    link(page, older).hover()
    menu_of(page, older).click()
    page.get_by_role("menuitem", name="Delete…").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile("/chat/$"))  # it was the open one
    expect(head(page)).to_have_text("New chat")
    expect(page.locator("#status")).to_have_text("The thread was deleted.")
    assert api.http.get(f"/threads/{older}").status_code == 404


def test_what_other_clients_do_shows(page: Page, api: Api, plain: str) -> None:
    opened, gone = make(api, "Open otter", "hello"), make(api, "Gone otter")
    open_thread(page, opened)
    expect(link(page, gone)).to_be_visible()
    new = make(api, "New otter")
    api.http.delete(f"/threads/{gone}")
    page.evaluate(REFRESH)
    expect(link(page, new)).to_be_visible()
    expect(link(page, gone)).to_have_count(0)

    dot = link(page, new).locator(".dot")
    expect(dot).to_be_hidden()
    run = api.ask(new, plain, "!slow 10 !long 2000")
    expect(dot).to_be_visible()
    api.post(f"/threads/{new}/runs/{run}/cancel", {})
    expect(dot).to_be_hidden()

    page.get_by_label("Assistant", exact=True).select_option(plain)
    api.http.delete(f"/threads/{opened}")
    expect(page.locator("#banner")).to_contain_text("This thread was deleted.")
    expect(link(page, opened)).to_have_count(0)
    expect(page.locator(".question")).to_have_text("hello")
    ask(page, "!fast !long 3")
    expect(page).not_to_have_url(re.compile(opened))
    wait_for_end(page)
    assert len(api.answers(thread_of(page))) == 1


def test_versions_of_a_conversation_are_one_row(page: Page, api: Api) -> None:
    first = make(api, "Lynx", "one")
    second = api.post(f"/threads/{first}/fork", {})["id"]
    other = api.post(f"/threads/{first}/fork", {"metadata": {"title": "Another lynx"}})["id"]
    page.goto("/chat/")
    expect(link(page, second)).to_be_visible()
    expect(link(page, other)).to_be_visible()
    expect(link(page, first)).to_have_count(0)
    page.goto(f"/chat/{first}")  # the row is that of the version that is open
    expect(link(page, first)).to_have_attribute("aria-current", "page")
    expect(link(page, second)).to_have_count(0)
    head(page).click()
    page.keyboard.type("Bobcat")
    page.keyboard.press("Enter")
    expect(link(page, first)).to_have_text(re.compile("^Bobcat"))
    expect(link(page, second)).to_have_count(0)
    link(page, first).focus()
    page.keyboard.press("Delete")
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("in all 2 versions")
    dialog.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile("/chat/$"))
    expect(link(page, other)).to_be_visible()
    assert [api.http.get(f"/threads/{one}").status_code for one in (first, second, other)] == [404, 404, 200]


def test_a_rename_that_fails_is_taken_back_and_may_be_tried_again(page: Page, api: Api, excused: list[str]) -> None:
    thread = make(api, "Before")
    page.goto(f"/chat/{thread}")

    def cut(route: Route) -> Any:
        return route.abort() if route.request.method == "POST" else route.continue_()

    page.route(f"**/v1/threads/{thread}", cut)
    excused.append("net::ERR_FAILED")
    link(page, thread).focus()
    page.keyboard.press("F2")
    page.keyboard.type("After")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(link(page, thread)).to_have_text(re.compile("^Before"))
    page.unroute(f"**/v1/threads/{thread}")
    page.get_by_role("button", name="Retry").click()
    expect(link(page, thread)).to_have_text(re.compile("^After"))
    expect(head(page)).to_have_text("After")
    assert title_of(api, thread) == "After"
