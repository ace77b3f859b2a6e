"""What the tests of the chat page do in a browser, and the public API as another client uses it beside them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from tests.process import KumosProcess

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # milliseconds
QUESTION = "Summarize 'Project Dragon' based on all available files"

# Notes the length of the newest answer each time it changes, and whether the log was ever busy: so that neither depends
# on when a test looks.
RECORD_GROWTH = """() => {
  window.growth = [];
  window.busy = false;
  new MutationObserver(() => {
    const prose = [...document.querySelectorAll(".answer .prose")].at(-1);
    const length = prose?.textContent.length ?? 0;
    if (length !== (window.growth.at(-1) ?? 0)) window.growth.push(length);
    window.busy ||= document.querySelector("[role=log]").ariaBusy === "true";
  }).observe(document.querySelector("[role=log]"), {
    subtree: true, childList: true, characterData: true, attributeFilter: ["aria-busy"],
  });
}"""
DRAWING = (Path(__file__).parent / "drawing.js").read_text()
PROSE = """() => {
  const proses = [...document.querySelectorAll(".answer .prose")].map((prose) => prose.cloneNode(true));
  proses.forEach((prose) => prose.querySelectorAll(".chip").forEach((chip) => chip.remove()));
  return proses.map((prose) => prose.textContent).join("");
}"""


def chromium() -> Iterator[Browser]:
    """A browser for the tests of one package: while it is open, its loop runs in their thread."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def arrived(browser: Browser, server: KumosProcess) -> StorageState:
    """Cookies of somebody who came through the one-time link, which works once: the superuser of that server."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.login_url, timeout=PATIENCE)
    expect(page).to_have_url(re.compile("/chat/"))
    state = context.storage_state()
    context.close()
    return state


def watched_page(browser: Browser, server: KumosProcess, person: StorageState, complaints: list[str]) -> Iterator[Page]:
    """A page of `person`; what the browser complains of is added to `complaints`."""
    context = browser.new_context(storage_state=person, viewport={"width": 1280, "height": 820}, base_url=server.url)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((server.url, "data:", f"blob:{server.url}"))
            else complaints.append(request.url)
        ),
    )
    yield page
    context.close()


class Evaluates(Protocol):
    """A page, or a tab that is driven otherwise (targets.py)."""

    def evaluate(self, expression: str, arg: Any = None) -> Any: ...


class Api:
    """The public API as another client uses it."""

    def __init__(self, server: KumosProcess) -> None:
        self.http = httpx.Client(
            base_url=f"{server.url}/v1", headers={"Authorization": f"Bearer {server.key}"}, timeout=60, trust_env=False
        )

    def get(self, path: str, **params: str) -> Any:
        return self.http.get(path, params=params).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.http.post(path, json=body).raise_for_status().json()

    def assistant(self, name: str, **fields: Any) -> str:
        return str(self.post("/assistants", {"model": "scripted", "name": name, **fields})["id"])

    def ask(self, thread: str, assistant: str, text: str) -> str:
        self.post(f"/threads/{thread}/messages", {"role": "user", "content": text})
        return str(self.post(f"/threads/{thread}/runs", {"assistant_id": assistant})["id"])

    def recorded(self, thread: str, run: str) -> bytes:
        return self.http.get(f"/threads/{thread}/runs/{run}/stream").raise_for_status().content

    def answers(self, thread: str) -> list[Any]:
        messages = self.get(f"/threads/{thread}/messages", order="asc", limit="100")["data"]
        return [message for message in messages if message["role"] == "assistant"]


def open_new(page: Page, assistant: str) -> None:
    page.goto("/chat/")
    page.get_by_label("Assistant").select_option(assistant)
    page.evaluate(RECORD_GROWTH)


def open_thread(page: Page, thread: str) -> None:
    """Returns once the page follows the thread: what happens from now on must show."""
    page.goto(f"/chat/{thread}")
    wait_for_line(page, thread)
    page.evaluate(RECORD_GROWTH)


def wait_for_line(page: Page, thread: str) -> None:
    """The connection is not the page's but that of a worker, so the page says when it stands."""
    page.wait_for_function("thread => document.body.dataset.following === thread", arg=thread)


def ask(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def thread_of(page: Page) -> str:
    expect(page).to_have_url(re.compile(r"/chat/thread_"))
    return page.url.rpartition("/")[2]


def wait_for_words(page: Page, count: int) -> None:
    page.wait_for_function(
        "count => (document.querySelector('.answer .prose')?.textContent.split(/\\s+/).length ?? 0) >= count", arg=count
    )


def wait_for_end(page: Page) -> None:
    """The newest thing in the transcript is a finished answer, the log is at rest, Send is back in Stop's place."""
    over = "completed failed cancelled expired incomplete"
    page.wait_for_function(
        "over => over.split(' ').includes(document.querySelector('.transcript > li:last-child')?.dataset.status)",
        arg=over,
    )
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def assert_drawn_as_stored(page: Evaluates, answers: list[Any]) -> None:
    """The finished answers on the page are, node for node and letter for letter, what these messages of the API are
    drawn as at once. Two things are left out, for they come when they can: formulas (Temml), and the names on chips."""
    page.evaluate(DRAWING)
    drawn = page.evaluate("answers => drawing.asStored(answers)", answers)
    assert drawn["shown"] == drawn["wanted"]
    assert any(drawn["wanted"]), "something was said"


def stored(message: Any) -> str:
    return "".join(part["text"]["value"] for part in message["content"])
