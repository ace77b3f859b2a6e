"""Nothing a model writes acts in its reader's browser: no script, no dialog, no request to elsewhere, no other address.

Every payload is drawn whole, piece by piece, and once as a message of a thread, as the page itself draws it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.e2e.chat.browsing import Api
from tests.e2e.chat.payloads import PAYLOADS

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

DRAWING = (Path(__file__).parent / "drawing.js").read_text()
AT_ONCE = 20
ALLOWED = """
A BLOCKQUOTE BR BUTTON CODE DEL DIV EM FIGURE H3 H4 H5 H6 HR INPUT LI OL P PRE SPAN STRONG TABLE TBODY TD TH THEAD TR UL
SVG PATH MATH MROW MI MN MO MS MTEXT MSPACE MFRAC MSQRT MROOT MSUB MSUP MSUBSUP MUNDER MOVER MUNDEROVER MTABLE MTR MTD
MSTYLE MPADDED MPHANTOM MENCLOSE MMULTISCRIPTS MPRESCRIPTS NONE SEMANTICS ANNOTATION
"""
FOUND = """(allowed) => {
  const known = new Set(allowed.trim().split(/\\s+/));
  const bad = [];
  for (const prose of document.querySelectorAll(".prose")) for (const node of prose.querySelectorAll("*")) {
    if (!known.has(node.nodeName.toUpperCase())) bad.push(node.nodeName);
    for (const { name, value } of node.attributes) {
      if (/^on|^(?:id|name|src|srcset|srcdoc|action|formaction|poster|background|ping)$/.test(name)) bad.push(name);
      if (name === "style" && /url|position|expression/.test(value)) bad.push(value);
      if (/href/.test(name) && !/^(?:https?:|mailto:)/.test(value)) bad.push(value);
    }
    if (node.href && node.rel !== "noopener noreferrer nofollow") bad.push(node.outerHTML);
    if (node.nodeName === "INPUT" && !(node.type === "checkbox" && node.disabled)) bad.push(node.outerHTML);
  }
  return { bad, hit: window.__hit ?? null, drawn: document.querySelectorAll(".prose").length };
}"""
STREAM = """(payloads) => {
  const list = document.getElementById("transcript");
  document.getElementById("empty").hidden = true;
  list.replaceChildren();
  const differing = [];
  for (const text of payloads) {
    const whole = drawing.make();
    list.append(whole.element);
    whole.update(text, [], false);
    const pieces = drawing.make();
    list.append(pieces.element);
    const step = Math.max(1, Math.ceil(text.length / 60));
    for (let end = step; end < text.length; end += step) pieces.update(text.slice(0, end), [], true);
    pieces.update(text, [], false);
    if (drawing.formed(pieces.element) !== drawing.formed(whole.element)) differing.push(text);
  }
  return differing;
}"""


@pytest.fixture
def watched(page: Page, complaints: list[str]) -> Page:
    """Dialogs, windows and downloads are complaints too; requests to elsewhere are in any case."""

    def refuse(dialog: Dialog) -> None:
        complaints.append(f"dialog {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)
    page.on("download", lambda download: complaints.append(f"download {download.url}"))
    page.context.on("page", lambda other: complaints.append(f"window {other.url}"))
    return page


def found(page: Page) -> Any:
    page.wait_for_function(
        "() => [...document.querySelectorAll('.prose .maths')].every((one) => one.childNodes.length)"
    )
    return page.evaluate(FOUND, ALLOWED)


def test_payloads_are_many() -> None:
    assert len(set(PAYLOADS)) >= 120


def test_no_payload_acts_drawn_whole_or_in_pieces(watched: Page) -> None:
    watched.goto("/chat/")
    watched.evaluate(DRAWING)
    for start in range(0, len(PAYLOADS), AT_ONCE):
        some = PAYLOADS[start : start + AT_ONCE]
        assert watched.evaluate(STREAM, some) == []
        result = found(watched)
        assert (result["bad"], result["hit"], result["drawn"]) == ([], None, 2 * len(some))
        # What a reader does: point at everything, focus everything.
        watched.evaluate(
            """() => document.querySelectorAll(".prose *").forEach((node) => {
              for (const type of ["mouseover", "mouseenter", "focus", "toggle", "error", "load", "begin"]) {
                node.dispatchEvent(new Event(type));
              }
              node.focus?.();
            })"""
        )
        assert watched.evaluate("() => window.__hit ?? null") is None


def test_no_payload_acts_as_a_message_of_a_thread(watched: Page, api: Api) -> None:
    every = len(PAYLOADS) // 100 + 1  # the page shows a hundred at once
    written = [payload for payload in PAYLOADS if "\x00" not in payload][::every]
    thread = api.post("/threads", {"messages": [{"role": "assistant", "content": text} for text in written]})["id"]
    watched.goto(f"/chat/{thread}")
    expect(watched.locator(".prose")).to_have_count(len(written))
    result = found(watched)
    assert (result["bad"], result["hit"]) == ([], None)
    assert watched.url.endswith(thread)
