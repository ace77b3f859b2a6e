"""Tool calls as cards, citations at a glance, what tools make; and that none of what others wrote in them ever runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.chat.browsing import QUESTION, Api, ask, open_new, thread_of, wait_for_end
from tests.e2e.chat.drops import png

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

HOSTILE = (
    '<img src="https://evil.example/a.png" onerror="window.hit=1"><script>window.hit=2</script>'
    '<svg onload="window.hit=3"></svg>[x](javascript:window.hit=4)\u202egpj.exe\u2066\x1b[2J\x00"><iframe srcdoc="x">'
)
RECORD_ARGUMENTS = """() => {
  window.shown = [];
  new MutationObserver(() => {
    const text = document.querySelector(".card pre")?.textContent;
    if (text !== undefined && text !== window.shown.at(-1)) window.shown.push(text);
  }).observe(document.getElementById("transcript"), { subtree: true, childList: true, characterData: true });
}"""


@pytest.fixture(scope="module")
def weather(api: Api) -> str:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return api.assistant(
        "Test Cards", tools=[{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    )


def test_arguments_are_laid_out_as_they_stream_and_the_output_survives_a_reload(page: Page, weather: str) -> None:
    open_new(page, weather)
    page.evaluate(RECORD_ARGUMENTS)
    arguments = {"days": [1, 2], "city": "Lund", "why": f'{HOSTILE[:40]} and \\ "quotes"'}
    ask(page, f"!slow 8 !call get_weather {json.dumps(arguments)}")
    card = page.locator("details.card")
    expect(card).to_have_attribute("data-status", "waiting")
    shown = page.evaluate("window.shown")
    assert len(shown) > 4
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown)), "nothing flickers"
    assert shown[-1] == json.dumps(arguments, indent=2)
    expect(card.locator(".card-main")).to_have_text("Lund")
    expect(card.locator("summary")).to_contain_text("waits for an answer")
    output = page.get_by_label("Output of get_weather")
    output.fill('{"degrees": 18')
    expect(card.locator(".card-ask .quiet")).to_contain_text("This is no valid JSON and will be sent as text.")
    page.reload()
    expect(output).to_have_value('{"degrees": 18')
    output.fill('{"degrees": 18, "sky": "clear"}')
    expect(card.locator(".card-ask .quiet")).to_have_text("Will be sent as JSON: an object with 2 entries.")
    page.get_by_role("button", name="Send the output").click()
    wait_for_end(page)
    expect(card).to_have_attribute("data-status", "completed")
    expect(card.get_by_role("region", name="Output")).to_have_text('{\n  "degrees": 18,\n  "sky": "clear"\n}')
    run = page.locator(".answer").get_attribute("data-run")
    expect(card.get_by_role("link", name="View in admin")).to_have_attribute("href", f"/admin/runs/run/{run}/change/")


def test_a_citation_shows_its_passage_at_a_glance_and_the_card_its_passages(
    page: Page, api: Api, searcher: str
) -> None:
    open_new(page, searcher)
    ask(page, f"!fast {QUESTION}")
    wait_for_end(page)
    thread = thread_of(page)
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    content = "step_details.tool_calls[*].file_search.results[*].content"
    steps = api.get(f"/threads/{thread}/runs/{run['id']}/steps", order="asc", **{"include[]": content})["data"]
    results = steps[0]["step_details"]["tool_calls"][0]["file_search"]["results"]
    chip = page.locator(".prose a.chip").first
    glance = page.get_by_role("tooltip")
    chip.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(glance.locator("blockquote")).not_to_be_empty()
    expect(chip).to_have_attribute("aria-describedby", "glance")
    quoted = glance.locator("blockquote").inner_text().removesuffix("…").strip()
    assert any(quoted[:60] in result["content"][0]["text"] for result in results)
    page.keyboard.press("Escape")
    expect(glance).to_be_hidden()
    card = page.locator("details.card")
    card.locator("summary").first.click()
    passage = card.locator("details.result").nth(1)
    passage.locator("summary").click()
    expect(passage.locator("blockquote")).to_have_text(results[1]["content"][0]["text"])
    expect(passage.locator(".score")).to_have_text(f"{results[1]['score']:.2f}")
    # Steps that are kept no longer: the citation says so.
    page.route("**/steps?*", lambda route: route.fulfill(json={"object": "list", "data": [], "has_more": False}))
    page.reload()
    page.locator(".prose a.chip").first.click()
    expect(page.get_by_role("complementary")).to_contain_text("The passage behind this statement is no longer kept.")


@pytest.fixture
def cards(page: Page) -> Callable[[list[dict[str, Any]]], None]:
    """Draws the calls of one finished step into the page: what this server's own tools cannot make yet."""
    page.goto("/chat/")

    def draw(calls: list[dict[str, Any]]) -> None:
        page.evaluate(
            """async (calls) => {
              const { Cards } = await import("/static/chat/cards.js");
              const { Pictures } = await import("/static/chat/pictures.js");
              const none = { calls: new Map(), queries: new Map() };
              const cards = new Cards({ pictures: new Pictures(), passages: { of: async () => none } });
              document.getElementById("transcript").append(cards.element);
              const step = { run_id: "r", status: "in_progress", created_at: 100, step_details: { tool_calls: calls } };
              cards.update(step, () => false, null);
              cards.tick(step, 103_400);
              const last_error = { message: calls[0].error ?? "" };
              cards.update({ ...step, status: "failed", failed_at: 165, last_error }, () => false, null);
              document.querySelectorAll("details.card").forEach((card) => (card.open = true));
            }""",
            calls,
        )

    return draw


def test_code_shows_logs_pictures_and_files_and_long_output_is_bounded(
    page: Page, api: Api, cards: Callable[[list[dict[str, Any]]], None]
) -> None:
    upload = api.http.post("/files", data={"purpose": "vision"}, files={"file": ("plot.png", png(60, 40))})
    picture = upload.raise_for_status().json()["id"]
    logs = "\n".join(f"line {number}" for number in range(2_000))
    outputs = [{"type": "logs", "logs": logs}, {"type": "image", "image": {"file_id": picture}}]
    cards(
        [{"id": "call_1", "type": "code_interpreter", "code_interpreter": {"input": "print(1)\n", "outputs": outputs}}]
    )
    card = page.locator("details.card")
    expect(card.locator(".card-clock")).to_have_text("3 s")
    expect(card.locator(".card-main")).to_have_text("print(1)")
    expect(card.locator(".code code")).to_have_text("print(1)\n")
    output = card.get_by_role("region", name="Output")
    assert len(output.inner_text()) < 4_100
    card.get_by_role("button", name="Show all (19 kB)").click()
    expect(output).to_contain_text("line 1999")
    expect(card.get_by_role("img", name="Picture made by code: plot.png")).to_be_visible()


def test_nothing_in_a_card_runs_or_leaves_the_page(page: Page, cards: Callable[[list[dict[str, Any]]], None]) -> None:
    result = {"file_id": "file-1", "file_name": HOSTILE, "score": 0.5, "content": [{"type": "text", "text": HOSTILE}]}
    cards(
        [
            {
                "id": "call_1",
                "error": HOSTILE,
                "type": "function",
                "function": {"name": HOSTILE, "arguments": HOSTILE, "output": HOSTILE},
            },
            {
                "id": "call_2",
                "type": "function",
                "function": {"name": "f", "arguments": json.dumps({HOSTILE: HOSTILE}), "output": json.dumps([HOSTILE])},
            },
            {"id": "call_3", "type": "file_search", "file_search": {"query": HOSTILE, "results": [result]}},
            {
                "id": "call_4",
                "type": "code_interpreter",
                "code_interpreter": {"input": HOSTILE, "outputs": [{"type": "logs", "logs": HOSTILE}]},
            },
            {
                "id": "call_5",
                "type": "mcp",
                "mcp": {
                    "server_label": HOSTILE,
                    "name": HOSTILE,
                    "arguments": HOSTILE,
                    "output": HOSTILE,
                    "error": HOSTILE,
                },
            },
            {"id": "call_6", "type": HOSTILE},
        ]
    )
    expect(page.get_by_role("group", name="6 tool calls at once")).to_be_visible()
    assert page.evaluate("window.hit") is None
    calls = page.locator(".calls")
    expect(calls.locator("img, script, iframe, [onload], [onerror], a[href^=javascript]")).to_have_count(0)
    drawn = calls.evaluate("one => one.textContent")
    assert not set("\u202e\u2066\x1b\x00") & set(drawn)
    assert drawn.count("window.hit=1") > 10
