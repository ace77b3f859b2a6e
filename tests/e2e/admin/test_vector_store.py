"""A vector store is made, filled and asked in the browser, and says by itself what becomes of its files."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.chat.browsing import Api
from tests.e2e.chat.drops import payload

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

LORE = "Dragons sleep at noon and hunt at dusk."


def test_a_store_is_made_filled_and_asked(page: Page) -> None:
    page.goto("/admin/assistants/vectorstore/add/")
    page.get_by_label("Name:").fill("Lore of dragons")
    page.get_by_role("button", name="Make it").click()
    page.evaluate("window.stayed = true")
    page.get_by_label("Files to upload").set_input_files(
        [payload("lore.txt", LORE.encode()), payload("broken.pdf", b"%PDF-1.7 broken")]
    )
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.locator(".kumos-upload-completed")).to_have_count(2)
    rows = page.locator("#store-files tbody tr")
    expect(rows.filter(has_text="lore.txt").locator(".kumos-completed")).to_be_visible()
    expect(rows.filter(has_text="broken.pdf").locator(".kumos-failed")).to_be_visible()
    expect(rows.filter(has_text="broken.pdf").locator(".kumos-trouble")).to_contain_text("File cannot be read")
    assert page.evaluate("window.stayed"), "it was loaded anew"

    page.get_by_label("Passages of lore.txt").click()
    expect(page.locator(".kumos-passages")).to_contain_text(LORE)
    page.get_by_role("link", name="Lore of dragons").click()
    page.get_by_label("Question").fill("When do dragons hunt?")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".kumos-found > li")).to_have_count(1)
    expect(page.locator(".kumos-scores dt")).to_have_text(["Final", "Text", "Name"])


def test_what_is_dropped_goes_up_and_what_failed_is_read_again(page: Page, api: Api) -> None:
    store = api.post("/vector_stores", {"name": "Drops"})["id"]
    page.goto(f"/admin/assistants/vectorstore/{store}/change/")
    carried = page.evaluate_handle("""() => {
      const carried = new DataTransfer();
      carried.items.add(new File(["%PDF-1.7 broken"], "dropped.pdf"));
      return carried;
    }""")
    page.dispatch_event(".kumos-drop", "drop", {"dataTransfer": carried})
    row = page.locator("#store-files tbody tr").filter(has_text="dropped.pdf")
    expect(row.locator(".kumos-failed")).to_be_visible()
    page.get_by_label("Read dropped.pdf again").click()
    expect(page.locator(".messagelist")).to_contain_text("1 file read once more")
    expect(row.locator(".kumos-failed")).to_be_visible()  # it is still broken
    page.get_by_label("Detach dropped.pdf").click()
    expect(page.locator("#store-files")).to_contain_text("No file yet")


def test_without_its_script_the_form_is_an_ordinary_one(page: Page, api: Api, excused: list[str]) -> None:
    store = api.post("/vector_stores", {"name": "Plain"})["id"]
    excused.append("net::ERR_FAILED")
    page.route("**/uploads.*", lambda route: route.abort())
    page.goto(f"/admin/assistants/vectorstore/{store}/change/")
    page.get_by_label("Files to upload").set_input_files([payload("lore.txt", LORE.encode())])
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("1 file uploaded")
