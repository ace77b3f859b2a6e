"""The bytes of a real run, cut anywhere and taken up again: no character is lost or doubled, in model or transcript.

Compared is everything: the text exactly, and of the transcript every node, attribute and character (cutting.js).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.e2e.chat.browsing import QUESTION, Api, stored

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

CUTTING = (Path(__file__).parent / "cutting.js").read_text()


@pytest.mark.parametrize("rounds", [150, pytest.param(1_000, marks=pytest.mark.slow)], ids=["short", "full"])
def test_random_cuts_lose_and_double_no_character(page: Page, api: Api, searcher: str, rounds: int) -> None:
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, searcher, f"{QUESTION} 🐉 ä 【")
    stream = api.recorded(thread, run).removesuffix(b"event: done\ndata: [DONE]\n\n")
    page.goto("/chat/")
    result = page.evaluate(CUTTING, {"bytes": list(stream), "seed": 7, "rounds": rounds})
    assert result["wrong"] == []
    assert result["drawings"] > 40, "it was about something"
    assert result["said"] == "".join(stored(answer) for answer in api.answers(thread)) != ""
