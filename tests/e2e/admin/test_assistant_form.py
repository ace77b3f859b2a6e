"""An assistant is made in the admin: written, tried before anything is saved, saved, compared with what was saved."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.admin.utils import unquote
from playwright.sync_api import FrameLocator, Page, expect

from tests.e2e.chat.browsing import Api, assert_drawn_as_stored
from tests.e2e.chat.lines import hide, streams, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

ADD = "/admin/assistants/assistant/add/"
FRAME = "#trial-frame"
SAVED_FRAME = "#trial-frame-saved"


def ask(frame: FrameLocator, text: str) -> None:
    frame.get_by_label("Your message").fill(text)
    frame.get_by_label("Your message").press("Enter")


def expect_answers(frame: FrameLocator, count: int) -> None:
    """So many whole answers, and nothing under way."""
    expect(frame.locator(".answer[data-status=completed]")).to_have_count(count)
    expect(frame.get_by_role("button", name="Send", exact=True)).to_be_visible()


@pytest.fixture
def threads_listed(api: Api) -> Callable[[], set[str]]:
    """Ids of the threads that people see in their list."""

    def listed() -> set[str]:
        threads = api.get("/threads", limit="100")["data"]
        return {thread["id"] for thread in threads if "kumos.purpose" not in thread["metadata"]}

    return listed


def test_made_tried_saved(page: Page, api: Api, excused: list[str], threads_listed: Callable[[], set[str]]) -> None:
    excused.append("status of 400")
    before = threads_listed()
    page.goto(ADD)
    frame = page.frame_locator(FRAME)
    page.get_by_label("Name", exact=False).first.fill("Dragon guide")
    page.get_by_label("Model").fill("scripted")
    page.get_by_label("Instructions").fill("You know everything about dragons.")
    expect(page.locator(".kumos-length")).to_have_text(re.compile(r"About \d+ tokens · 255,966 characters left"))

    # What would be refused on saving is refused here, beside its field, and the question is not lost.
    page.get_by_label("Temperature").fill("9")
    ask(frame, "!fast Who guards the hoard?")
    expect(frame.get_by_role("alert")).to_contain_text("The form cannot be tried so. Temperature")
    expect(page.locator(".field-temperature .errorlist").first).to_contain_text("<= 2")
    expect(frame.get_by_label("Your message")).to_have_value("!fast Who guards the hoard?")
    page.get_by_label("Temperature").fill("1")

    frame.get_by_label("Your message").press("Enter")
    expect_answers(frame, 1)
    expect(page.locator(".errorlist")).to_have_count(0)
    expect(frame.locator(".who").first).to_have_text("Dragon guide")
    assert "Dragon guide" not in [one["name"] for one in api.get("/assistants", limit="100")["data"]]
    assert threads_listed() == before

    # The same question once more, of the form as it is now, from within the form.
    page.get_by_label("Name", exact=False).first.fill("Dragon expert")
    page.get_by_label("Instructions").press("Control+Enter")
    expect(frame.locator(".who").first).to_have_text("Dragon expert")
    expect_answers(frame, 1)
    expect(page.get_by_label("Instructions")).to_be_focused()

    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    made = [one for one in api.get("/assistants", limit="100")["data"] if one["name"] == "Dragon expert"]
    assert [one["instructions"] for one in made] == ["You know everything about dragons."]

    # Compared with what is saved: one question, two answers.
    page.get_by_label("Name", exact=False).first.fill("Dragon sceptic")
    page.get_by_label("Compare with the saved version").check()
    saved = page.frame_locator(SAVED_FRAME)
    expect(saved.get_by_label("Your message")).to_be_visible()
    ask(frame, "!fast Are there dragons?")
    expect_answers(frame, 1)
    expect_answers(saved, 1)
    expect(frame.locator(".who")).to_have_text("Dragon sceptic")
    expect(saved.locator(".who")).to_have_text("Dragon expert")
    expect(saved.locator(".bubble")).to_have_text("!fast Are there dragons?")
    assert threads_listed() == before

    # Leaving the form ends the trial.
    trials = [thread for thread in api.get("/threads", limit="100")["data"] if thread["metadata"]]
    ids = [thread["id"] for thread in trials if thread["metadata"].get("kumos.purpose") == "trial"]
    assert len(ids) == 2
    page.goto("/chat/")
    expect(page.get_by_label("Assistant").locator("option", has_text="Dragon expert")).to_have_count(1)
    expect(page.get_by_label("Assistant").locator("option", has_text="sceptic")).to_have_count(0)
    excused.append("status of 404")
    page.wait_for_function(
        """async ids => {
          const answers = await Promise.all(ids.map((id) => fetch(`/v1/threads/${id}`)));
          return answers.every(({ status }) => status === 404);
        }""",
        arg=ids,
    )


def test_functions_have_editors_of_their_own(page: Page, api: Api) -> None:
    page.goto(ADD)
    page.get_by_label("Name", exact=False).first.fill("Caller")
    page.get_by_label("Model").fill("scripted")
    page.get_by_label("Insert an example of a function").select_option("Look something up")
    weather = page.get_by_label("get_weather, as JSON")
    expect(weather).to_be_focused()
    page.get_by_role("button", name="Add a function").click()
    second = page.get_by_label("Function 2, as JSON")
    second.fill('{"name": "roll",\n  "parameters": nothing}')
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_text("✓ get_weather: nothing is wrong with it.")).to_be_visible()
    place = page.get_by_role("button", name=re.compile("This is not JSON.* at line 2, column 17"))
    place.click()
    cursor = page.evaluate("() => document.activeElement.value.slice(document.activeElement.selectionStart)")
    assert cursor == "nothing}"

    second.fill(json.dumps({"name": "roll", "parameters": {"type": "objekt"}}))
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_text("parameters: type: 'objekt' is not valid")).to_be_visible()
    page.get_by_label("roll, as JSON").fill(json.dumps({"name": "roll", "parameters": {"type": "object"}}))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    (made,) = [one for one in api.get("/assistants", limit="100")["data"] if one["name"] == "Caller"]
    assert [tool["function"]["name"] for tool in made["tools"]] == ["get_weather", "roll"]

    page.goto(f"/admin/assistants/assistant/{made['id']}/change/")
    page.get_by_role("button", name="Remove get_weather").click()
    page.get_by_role("button", name="Save", exact=True).click()
    assert [tool["function"]["name"] for tool in api.get(f"/assistants/{made['id']}")["tools"]] == ["roll"]


def test_dropped_files_are_read_and_searched(page: Page, api: Api, tmp_path: Path) -> None:
    handbook = tmp_path / "handbook.txt"
    handbook.write_text("The vault opens at noon with the green key.")
    assistant = api.assistant("Librarian", tools=[{"type": "file_search"}])
    page.goto(f"/admin/assistants/assistant/{assistant}/change/")
    page.get_by_label("Drop files here to search in them").set_input_files([handbook])
    row = page.locator(".kumos-drop li", has_text="handbook.txt")
    expect(row).to_contain_text("ready")
    expect(page.get_by_label("Vector store")).to_have_value(re.compile("^vs_"))
    assert api.get(f"/assistants/{assistant}")["tool_resources"]["file_search"]["vector_store_ids"] == []
    frame = page.frame_locator(FRAME)
    ask(frame, "!fast When does the vault open?")
    expect_answers(frame, 1)
    expect(frame.locator(".sources")).to_contain_text("handbook.txt")
    page.get_by_role("button", name="Save and continue editing").click()
    store = api.get(f"/assistants/{assistant}")["tool_resources"]["file_search"]["vector_store_ids"][0]
    assert api.get(f"/vector_stores/{store}")["name"] == "Files of Librarian"
    expect(page.locator(".kumos-drop li", has_text="handbook.txt")).to_contain_text("ready")


def test_the_talk_is_with_the_project_of_the_form_once_one_is_a_member(page: Page, excused: list[str]) -> None:
    excused.append("status of 409")
    page.goto("/admin/assistants/project/add/")
    page.get_by_label("Name", exact=False).first.fill("Elves")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Elves", exact=True).first.click()
    page.wait_for_url("**/change/")
    project = unquote(page.url.split("/")[-3])
    page.goto(f"{ADD}?project={project}")
    page.get_by_label("Name", exact=False).first.fill("Elf")
    page.get_by_label("Model").fill("scripted")
    frame = page.frame_locator(FRAME)
    ask(frame, "!fast Who are you?")
    expect(frame.get_by_role("alert")).to_contain_text("Only members of the project")
    page.get_by_role("button", name="Join the project").click()
    expect_answers(frame, 1)  # the question was still there
    expect(frame.locator(".who")).to_have_text("Elf")
    frame.get_by_role("button", name="Copy answer").wait_for()
    # The end of the answer is in sight, also after what comes late: its sources, the line under it.
    page.wait_for_function(
        """selector => {
          const scroller = document.querySelector(selector).contentDocument.getElementById("scroller");
          return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 4;
        }""",
        arg=FRAME,
    )


def test_a_function_that_is_called_is_answered_in_the_frame(page: Page, api: Api) -> None:
    tool = {"type": "function", "function": {"name": "roar", "parameters": {"type": "object", "properties": {}}}}
    assistant = api.assistant("Roarer", tools=[tool], model="tool:roar:{}")
    page.goto(f"/admin/assistants/assistant/{assistant}/change/")
    frame = page.frame_locator(FRAME)
    ask(frame, "Roar!")
    frame.get_by_label("Output of roar").fill("Rooar")
    frame.get_by_role("button", name="Send the output").click()
    expect_answers(frame, 1)


def test_a_talk_that_nobody_sees_gives_its_line_back_and_goes_on_where_it_was(page: Page, api: Api) -> None:
    assistant = api.assistant("Sleeper")
    page.clock.install()
    page.goto(f"/admin/assistants/assistant/{assistant}/change/")
    talk = page.frame_locator(FRAME)
    with page.expect_response(re.compile("/v1/threads/[^/]+/runs$")) as asked:
        ask(talk, "!slow 15 !long 80")
    run = asked.value.json()
    expect(talk.locator(".answer .prose")).to_have_text(re.compile(r"(\S+\s+){8}"))
    (frame,) = [frame for frame in page.frames if frame.parent_frame]
    hide(frame, hidden=True)
    page.clock.fast_forward(21_000)
    wait_until(lambda: streams(api) == 0, "a hidden talk gives its connection back")
    api.recorded(run["thread_id"], run["id"])  # to its end
    expect(talk.locator(".answer[data-status=completed]")).to_have_count(0)
    hide(frame, hidden=False)
    expect_answers(talk, 1)
    assert_drawn_as_stored(frame, api.answers(run["thread_id"]))
