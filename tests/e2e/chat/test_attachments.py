"""Files with a message: chosen, dropped and pasted; their progress, their failures, and what becomes of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat.browsing import Api, ask, open_new, thread_of, wait_for_end
from tests.e2e.chat.drops import hand_over, payload, png

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

NOTES = payload(
    "Harbour notes.md",
    b"# Harbour notes\n\nThe lighthouse keeper of Skagen is called Torvald Brandt. He keeps eleven geese.\n",
    "text/markdown",
)


def choose(page: Page, *files: Any) -> None:
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Attach files").click()
    chosen.value.set_files(list(files))


def chip(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Attached files").get_by_role("listitem").filter(has_text=name)


def test_files_come_by_button_drop_and_paste_and_the_answer_knows_them(page: Page, api: Api, searcher: str) -> None:
    open_new(page, searcher)
    page.get_by_role("button", name="Attach files").hover()
    expect(page.locator("#attach-limits")).to_have_css("opacity", "1")
    expect(page.locator("#attach-limits")).to_contain_text("Up to 10 files for a message: pictures")
    choose(page, NOTES)
    expect(page.get_by_text("Drop files to attach them")).to_be_hidden()
    picture = payload("quay.png", png(640, 400), "image/png")
    assert not hand_over(page, "dragenter", picture)
    expect(page.get_by_text("Drop files to attach them")).to_be_visible()
    expect(page.locator("#drop-limits")).to_contain_text("Up to 10 files for a message")
    assert hand_over(page, "dragover", picture)
    assert hand_over(page, "drop", picture)
    expect(page.get_by_text("Drop files to attach them")).to_be_hidden()
    page.get_by_label("Your message").focus()
    assert hand_over(page, "paste", payload("image.png", png(30, 30, (168, 50, 42)), "image/png"))
    assert not hand_over(page, "paste", picture, text="words from a document, and their picture")
    expect(page.locator(".attachment")).to_have_count(3)
    expect(page.locator(".attachment[data-phase=ready]")).to_have_count(3)
    page.get_by_label("Your message").fill("Who is the lighthouse keeper of Skagen?")
    page.reload()
    expect(page.locator(".attachment[data-phase=ready]")).to_have_count(3)
    expect(chip(page, "Harbour notes.md")).to_contain_text("98 bytes")
    expect(page.get_by_label("Your message")).to_have_value("Who is the lighthouse keeper of Skagen?")
    page.get_by_role("button", name="Send", exact=True).click()
    wait_for_end(page)
    expect(page.locator(".answer .prose")).to_contain_text("Torvald Brandt")
    expect(page.locator(".attachment")).to_have_count(0)
    expect(page.locator(".answer .sources")).to_contain_text("Harbour notes.md")

    thread = thread_of(page)
    [question] = [one for one in api.get(f"/threads/{thread}/messages")["data"] if one["role"] == "user"]
    assert [part["type"] for part in question["content"]] == ["text", "image_file", "image_file"]
    [attached] = question["attachments"]
    assert attached["tools"] == [{"type": "file_search"}]
    files = [api.get(f"/files/{part['image_file']['file_id']}") for part in question["content"][1:]]
    assert [(file["filename"], file["purpose"]) for file in files] == [("quay.png", "vision"), ("image.png", "vision")]
    assert api.get(f"/files/{attached['file_id']}")["filename"] == "Harbour notes.md"
    [store] = api.get(f"/threads/{thread}")["tool_resources"]["file_search"]["vector_store_ids"]
    assert api.get(f"/vector_stores/{store}")["file_counts"]["completed"] == 1

    expect(page.locator(".question .file")).to_have_text(re.compile(r"^Harbour notes\.md\s*98 bytes$"))
    with page.expect_download() as download:
        page.locator(".question .file").click()
    assert download.value.suggested_filename == "Harbour notes.md"
    large = page.get_by_role("button", name="Attached picture: quay.png. Open large")
    page.wait_for_function("() => [...document.querySelectorAll('.question img')].every((one) => one.naturalWidth > 0)")
    large.click()
    viewer = page.get_by_role("dialog", name="quay.png")
    expect(viewer.get_by_role("img", name="Attached picture: quay.png")).to_be_visible()
    expect(viewer.get_by_role("link", name="Download")).to_have_attribute("href", f"/v1/files/{files[0]['id']}/content")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(large).to_be_focused()


def test_an_upload_shows_how_far_it_is_and_can_be_cancelled_removed_and_tried_again(
    page: Page, api: Api, searcher: str, excused: list[str]
) -> None:
    excused.append("net::ERR_")
    open_new(page, searcher)
    before = {file["id"] for file in api.get("/files")["data"]}
    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    slow.send("Network.emulateNetworkConditions", limits)
    choose(
        page,
        payload("large.txt", b"word " * 400_000),
        payload("second.txt", b"The second file has one line.\n" * 20_000),
    )
    expect(chip(page, "large.txt")).to_contain_text(re.compile(r"[1-9]0 % of 2\.0 MB"))
    assert 0 < float(page.get_by_role("progressbar", name="Upload of large.txt").evaluate("one => one.value")) < 1
    page.get_by_role("button", name="Cancel large.txt").click()
    expect(chip(page, "large.txt")).to_have_count(0)

    # A message that is sent meanwhile waits for the file, and is no longer sent by itself where somebody writes on.
    ask(page, "What has")
    expect(page.locator("[data-note]")).to_have_text("Sent as soon as second.txt is there.")
    page.get_by_label("Your message").press_sequentially(" one line?")
    expect(page.locator("[data-note]")).to_be_empty()
    page.keyboard.press("Enter")
    slow.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})
    wait_for_end(page)
    expect(page.locator(".question .bubble")).to_have_text("What has one line?")
    [uploaded] = [file for file in api.get("/files")["data"] if file["id"] not in before]
    assert uploaded["filename"] == "second.txt"

    # What fails says why and is not sent; Retry mends it; removing deletes what was uploaded.
    page.route("**/v1/files", lambda route: route.abort())
    choose(page, NOTES)
    expect(chip(page, "Harbour notes.md")).to_contain_text("The server cannot be reached.")
    ask(page, "Who keeps geese?")
    expect(page.locator("[data-note]")).to_contain_text("Harbour notes.md could not be attached.")
    assert len(api.get(f"/threads/{thread_of(page)}/messages")["data"]) == 2
    page.unroute("**/v1/files")
    page.get_by_role("button", name="Retry Harbour notes.md").click()
    expect(page.locator(".attachment[data-phase=ready]")).to_have_count(1)
    [notes] = [
        file["id"]
        for file in api.get("/files")["data"]
        if file["filename"] == "Harbour notes.md" and file["id"] not in before
    ]
    with page.expect_response(lambda response: response.request.method == "DELETE" and response.ok):
        page.get_by_role("button", name="Remove Harbour notes.md").click()
    assert api.http.get(f"/files/{notes}").status_code == 404
    expect(page.get_by_role("button", name="Attach files")).to_be_focused()


def test_what_cannot_be_attached_is_refused_in_words(page: Page, api: Api, searcher: str, plain: str) -> None:
    open_new(page, searcher)
    note = page.locator("[data-note]")
    choose(page, payload("tool.exe", b"MZ"), payload("empty.md", b""), payload("liar.png", b"<svg onload=alert(1)>"))
    expect(note).to_contain_text("“tool.exe” is not attached. Files of the kind “exe” can be neither read nor seen.")
    expect(note).to_contain_text("“empty.md” is not attached. It is empty, or a folder.")
    expect(note).to_contain_text("“liar.png” is not attached. It is not the picture that its name says.")
    choose(page, *(payload(f"{number}.png", png(2, 2)) for number in range(12)))
    expect(note).to_have_text("A message takes up to 10 files.")
    expect(page.locator(".attachment[data-phase=ready]")).to_have_count(10)
    for _ in range(9):
        page.locator(".attachment-remove").first.click()
    choose(page, payload("damaged.pdf", b"%PDF-1.4 nothing"))
    expect(chip(page, "damaged.pdf")).to_contain_text("The file is damaged or not what its name says.")
    page.get_by_role("button", name="Remove damaged.pdf").click()
    choose(page, NOTES)
    expect(page.locator(".attachment[data-phase=ready]")).to_have_count(2)
    page.get_by_label("Assistant").select_option(plain)
    ask(page, "Read this")
    expect(note).to_have_text(
        "This assistant has no tool that reads files. Choose another one, or remove Harbour notes.md."
    )
    page.get_by_role("button", name="Remove Harbour notes.md").click()
    page.get_by_label("Your message").fill("")
    page.get_by_role("button", name="Send", exact=True).click()  # a picture speaks for itself
    wait_for_end(page)
    expect(page.locator(".question .picture")).to_have_count(1)
    expect(page.locator(".question .bubble")).to_be_hidden()
    expect(page.get_by_role("heading", name="9.png")).to_be_visible()
