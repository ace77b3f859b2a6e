"""Pictures and files in answers: what is kept here is shown and handed out, what lies elsewhere is named, not fetched.

That nothing is fetched from elsewhere is held by `page`: a request that leaves the server fails its test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chat.browsing import PATIENCE, Api
from tests.e2e.chat.drops import png
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

TABLE = b"month,rain\nMay,31\n"
PATH = "sandbox:/mnt/data/rain in May.csv"
WRITTEN = (
    f"It is here: [the table]({PATH}), that is {PATH}, made by `{PATH}`; nobody made [this](sandbox:/mnt/data/no.csv)."
)
ANNOTATE = """
import json, sys
from assistants.models import Message
message = Message.objects.get(pk={message!r})
message.content[0]["text"]["annotations"] = json.loads({annotations!r})
message.save(update_fields=["content"])
"""
LOADED = "() => [...document.querySelectorAll('.answer img')].every((one) => one.naturalWidth > 0)"


def kept(api: Api, name: str, content: bytes, purpose: str) -> str:
    answer = api.http.post("/files", data={"purpose": purpose}, files={"file": (name, content)})
    return str(answer.raise_for_status().json()["id"])


def answered(api: Api, *parts: dict[str, Any]) -> tuple[str, str]:
    """A thread with one answer, and the answer's id."""
    messages = [{"role": "assistant", "content": list(parts)}]
    thread = api.post("/threads", {"messages": messages})["id"]
    return thread, api.answers(thread)[0]["id"]


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def pointing(file: str) -> list[dict[str, Any]]:
    """The annotations of an answer that names `file` by PATH."""
    found: list[dict[str, Any]] = []
    at = WRITTEN.find(PATH)
    while at >= 0:
        place = {"start_index": at, "end_index": at + len(PATH), "file_path": {"file_id": file}}
        found.append({"type": "file_path", "text": PATH, **place})
        at = WRITTEN.find(PATH, at + 1)
    return found


def test_a_picture_of_an_answer_is_shown_in_a_box_opens_large_and_is_said_to_be_gone(
    page: Page, api: Api, excused: list[str]
) -> None:
    picture = kept(api, "plot.png", png(1600, 1200), "vision")
    thread, _ = answered(api, text("Look:"), {"type": "image_file", "image_file": {"file_id": picture}})
    with page.expect_response(f"**/v1/files/{picture}/content") as fetched:
        page.goto(f"/chat/{thread}")
    assert "authorization" not in fetched.value.request.all_headers()
    image = page.get_by_role("img", name="Picture from Assistant: plot.png")
    page.wait_for_function(LOADED)
    size = image.bounding_box()
    assert size is not None
    assert size["width"] <= 26 * 16
    assert size["height"] <= 17 * 16
    button = page.get_by_role("button", name="Picture from Assistant: plot.png. Open large")
    button.click()
    viewer = page.get_by_role("dialog", name="plot.png")
    large = viewer.get_by_role("img", name="Picture from Assistant: plot.png").bounding_box()
    assert large is not None
    assert large["width"] > size["width"]
    page.keyboard.press("Escape")
    expect(button).to_be_focused()

    api.http.delete(f"/files/{picture}").raise_for_status()
    excused.append("status of 404")
    page.reload()
    expect(page.locator(".answer .picture-gone")).to_contain_text("This picture was deleted.")
    expect(page.locator(".answer img")).to_have_count(0)


def test_a_picture_elsewhere_is_named_by_its_host_and_not_fetched(page: Page, api: Api) -> None:
    address = "https://img.example/chart.png?who=reads"
    thread, _ = answered(api, text("Look:"), {"type": "image_url", "image_url": {"url": address}})
    page.goto(f"/chat/{thread}")
    link = page.locator(".answer").get_by_role("link", name="Picture at img.example")
    expect(link).to_have_attribute("href", address)
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(page.locator(".answer img")).to_have_count(0)


def test_a_file_that_a_tool_made_is_downloaded_from_the_words_that_name_it_and_from_its_chip(
    page: Page, api: Api, server: KumosProcess, browser: Browser, excused: list[str]
) -> None:
    """No tool of this server makes files yet; answers that were kept elsewhere may have some."""
    file = kept(api, "rain in May.csv", TABLE, "assistants")
    thread, message = answered(api, text(WRITTEN))
    server.manage("shell", "-c", ANNOTATE.format(message=message, annotations=json.dumps(pointing(file))))
    page.goto(f"/chat/{thread}")
    named = page.locator(".prose .made-file")
    expect(named).to_have_text(["the table", "rain in May.csv", "rain in May.csv"])
    expect(page.locator(".prose .dead-link")).to_have_text("thissandbox:/mnt/data/no.csv")
    chip = page.locator(".answer .file")
    expect(chip).to_have_text("rain in May.csv18 bytes")
    for way in (named.first, named.last, chip):
        with page.expect_download() as download:
            way.click()
        assert download.value.suggested_filename == "rain in May.csv"
        assert Path(download.value.path()).read_bytes() == TABLE

    # Who reads by a link has no session to show at a download: the names are there, and lead nowhere.
    reader = browser.new_page()
    reader.set_default_timeout(PATIENCE)
    reader.goto(api.post(f"/threads/{thread}/shares", {})["url"])
    expect(reader.locator(".prose .made-file")).to_have_text(["the table", "rain in May.csv", "rain in May.csv"])
    expect(reader.locator(".answer .file")).to_have_text("rain in May.csv18 bytes")
    expect(reader.locator(".answer a[href]")).to_have_count(0)
    reader.close()

    api.http.delete(f"/files/{file}").raise_for_status()
    excused.append("status of 404")
    page.reload()
    expect(chip).to_have_text("rain in May.csvno longer kept")
    expect(page.locator(".answer a.file[href]")).to_have_count(0)
