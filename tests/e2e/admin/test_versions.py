"""An assistant is saved, broken, compared and rolled back without leaving its page."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Dialog, Locator, Page, expect

from tests.e2e.chat.browsing import Api

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

GOOD = "You search our documents.\nAnswer kindly, in three sentences.\nCite what you found."
BROKEN = "You search our documents.\nAnswer rudely, in three sentences.\nCite what you found."

TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth)
    .map((one) => one.outerHTML.slice(0, 80))"""


def address_of(id: str) -> str:
    return f"/admin/assistants/assistant/{id.replace('_', '_5F')}/change/"


def save(page: Page, instructions: str, note: str) -> None:
    """On the page, which is then shown again."""
    page.get_by_label("Instructions").fill(instructions)
    page.get_by_label("Note").fill(note)
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()


def versions(page: Page) -> Locator:
    return page.get_by_role("region", name="Versions", exact=True)


def open_page(page: Page, id: str) -> str:
    page.goto(address_of(id))
    return page.url


def test_saved_broken_compared_and_rolled_back(page: Page, api: Api) -> None:
    id = api.assistant("Test Versions", instructions="You search.")
    address = open_page(page, id)
    save(page, GOOD, "Kind answers")
    save(page, BROKEN, "Tired of it")
    rows = versions(page).locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("Tired of it")
    expect(rows.first).to_contain_text("Instructions: 1 line added, 1 line removed")

    versions(page).get_by_role("button", name="Compare the two").click()
    expect(page.get_by_role("heading", name="From version 2 to version 3")).to_be_focused()
    expect(versions(page).locator("del")).to_have_text("kindly")
    expect(versions(page).locator("ins")).to_have_text("rudely")
    expect(page).to_have_url(address)

    versions(page).get_by_role("button", name="Roll back to version 2").click()
    expect(page.get_by_text("It is again what it was in version 2. That is version 4.")).to_be_visible()
    expect(page).to_have_url(address)
    expect(page.get_by_label("Instructions")).to_have_value(GOOD)
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("Back to version 2")
    assert api.get(f"/assistants/{id}")["instructions"] == GOOD


def test_what_is_typed_is_not_lost_without_a_word(page: Page, api: Api) -> None:
    id = api.assistant("Test Unsaved", instructions="First.")
    api.post(f"/assistants/{id}", {"instructions": "Second."})
    open_page(page, id)
    page.get_by_label("Instructions").fill("Third, not saved.")
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    versions(page).get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_label("Instructions")).to_have_value("Third, not saved.")
    assert len(asked) == 1
    page.once("dialog", lambda dialog: dialog.accept())
    versions(page).get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_label("Instructions")).to_have_value("First.")


def test_one_version_is_seen_whole_in_its_place(page: Page, api: Api) -> None:
    id = api.assistant("Test Whole", instructions="First.")
    api.post(f"/assistants/{id}", {"instructions": "Second."})
    address = open_page(page, id)
    versions(page).get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_role("heading", name="Version 1", exact=True)).to_be_focused()
    expect(versions(page).locator("pre")).to_contain_text("instructions: First.")
    expect(page).to_have_url(address)


def test_the_links_lead_there_without_the_script(page: Page, api: Api) -> None:
    """What somebody without scripts, or with a link from a run, sees."""
    id = api.assistant("Test Links", instructions="First.")
    api.post(f"/assistants/{id}", {"instructions": "Second."})
    page.goto(address_of(id).replace("/change/", "/versions/"))
    page.get_by_role("button", name="Compare the two").click()
    expect(page.get_by_role("heading", name="From version 1 to version 2")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/versions/\?to=2&from=1$"))
    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page).to_have_url(re.compile(r"/change/$"))
    expect(page.get_by_label("Instructions")).to_have_value("First.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_comparison_can_be_read_by_everybody(page: Page, api: Api, scheme: str) -> None:
    id = api.assistant("Test Readable", instructions=GOOD)
    api.post(f"/assistants/{id}", {"instructions": BROKEN, "temperature": 2})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(address_of(id).replace("/change/", "/versions/") + "?from=1&to=2")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate(TOO_WIDE) == []


def test_on_a_phone_the_versions_are_one_below_the_other(page: Page, api: Api) -> None:
    id = api.assistant("Test Small", instructions=GOOD)
    for number in range(3):
        api.post(
            f"/assistants/{id}",
            {"instructions": f"{BROKEN} {number}", "metadata": {"a long name of a label": "x" * 60}},
        )
    page.set_viewport_size({"width": 360, "height": 740})
    for address in (address_of(id), address_of(id).replace("/change/", "/versions/")):
        page.goto(address)
        box = page.get_by_role("region", name="List of versions")
        expect(box.get_by_role("button")).to_have_count(3)
        assert box.evaluate("(one) => one.scrollWidth - one.clientWidth") == 0
        for part in box.locator("input, button, li, td > a").all():
            found = part.bounding_box()
            assert found is not None
            assert found["x"] >= 0
            assert found["x"] + found["width"] <= 360
        assert page.evaluate(TOO_WIDE) == []


def test_a_file_is_shown_and_then_imported(page: Page, api: Api) -> None:
    id = api.assistant("Test Import", instructions=GOOD)
    page.goto("/admin/assistants/assistant/")
    page.get_by_role("link", name="Import YAML").click()
    page.get_by_label("Project", exact=False).select_option(label="Demo")  # other tests may have made another
    page.get_by_label("Or its text").fill(f"id: {id}\nname: Test Import\nmodel: scripted\ninstructions: Short.\n")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("heading", name="This would be done: 1 changed")).to_be_visible()
    assert api.get(f"/assistants/{id}")["instructions"] == GOOD
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("Imported: 1 changed.")).to_be_visible()
    assert api.get(f"/assistants/{id}")["instructions"] == "Short."
