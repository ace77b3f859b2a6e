"""The page of one run in a browser: watched while the run works, read when it has failed, copied as code."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.chat.browsing import Api
from tests.process import KumosProcess
from tests.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]


def started(api: Api, model: str, **fields: object) -> tuple[str, str]:
    assistant = api.assistant("Subject", model=model, **fields)
    thread = api.post("/threads", {})["id"]
    return thread, api.ask(thread, assistant, "Say something.")


def ended(api: Api, thread: str, run: str) -> str:
    """Its status, once its stream is over."""
    api.recorded(thread, run)
    return str(api.get(f"/threads/{thread}/runs/{run}")["status"])


def visit(page: Page, run: str) -> None:
    page.goto(f"/admin/runs/run/{run}/change/")


def test_a_run_is_watched_while_it_works(page: Page, api: Api, upstream: Upstream) -> None:
    calls = len(upstream.calls)
    thread, run = started(api, "gated:6")
    upstream.wait_for_calls(calls + 1)
    visit(page, run)
    headline = page.locator(".run-headline .kumos-badge")
    expect(headline).to_have_text("in progress")
    code = page.locator("summary", has_text="Python")
    code.focus()
    page.keyboard.press("Enter")
    upstream.release(3)
    talk = page.locator("#run-talk")
    expect(talk).to_contain_text("w1 w2 w3")
    expect(page.locator("#run-events")).to_contain_text("thread.message.delta")
    expect(page.locator("#run-axis")).to_contain_text("Model call 1")
    assert "w4" not in (talk.text_content() or "")
    upstream.release(3)
    expect(headline).to_have_text("completed")
    expect(talk).to_contain_text("w1 w2 w3 w4 w5 w6")
    expect(page.locator("#run-events")).to_contain_text("thread.run.completed")
    expect(page.get_by_role("button", name="Cancel this run")).to_have_count(0)
    # What the reader did has outlived all of it, and nothing is told twice.
    expect(code).to_be_focused()
    expect(page.locator("#run-code-python")).to_have_attribute("open", "")
    numbers = page.locator("#run-events tr td:first-child").all_text_contents()
    assert numbers == sorted(set(numbers), key=int)
    assert (talk.text_content() or "").count("w5") == 1
    assert ended(api, thread, run) == "completed"


def test_a_watched_run_waits_for_its_client_and_goes_on(page: Page, api: Api) -> None:
    function = {"name": "roar", "parameters": {"type": "object", "properties": {}}}
    thread, run = started(api, 'tool:roar:{"how": "loudly"}', tools=[{"type": "function", "function": function}])
    assert ended(api, thread, run) == "requires_action"
    visit(page, run)
    expect(page.get_by_role("heading", name="Waits for its client")).to_be_visible()
    expect(page.locator("#run-axis")).to_contain_text("Waiting for the client")
    call = api.get(f"/threads/{thread}/runs/{run}")["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    outputs = {"tool_outputs": [{"tool_call_id": call, "output": "ROAR"}]}
    api.post(f"/threads/{thread}/runs/{run}/submit_tool_outputs", outputs)
    expect(page.locator(".run-headline .kumos-badge")).to_have_text("completed")
    expect(page.locator("#run-steps")).to_contain_text("ROAR")
    expect(page.locator("#run-axis")).to_contain_text("Model call 2")


def test_a_failure_is_explained_and_retried(page: Page, api: Api, upstream: Upstream) -> None:
    thread, run = started(api, "401")
    assert ended(api, thread, run) == "failed"
    visit(page, run)
    expect(page.get_by_role("heading", name=re.compile("refused the key"))).to_be_visible()
    expect(page.locator(".run-cause")).to_contain_text("What to do:")
    upstream.queue("ok:5")
    page.get_by_role("button", name="Retry this run").click()
    expect(page).not_to_have_url(re.compile(run))
    expect(page.locator(".run-headline .kumos-badge")).to_have_text("completed")
    expect(page.locator("#run-facts")).to_contain_text(run)


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")
def test_the_code_of_a_run_makes_another(
    page: Page, api: Api, server: KumosProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    thread, run = started(api, "ok:4", temperature=0.5)
    assert ended(api, thread, run) == "completed"
    visit(page, run)
    page.locator("summary", has_text="Python").click()
    code = page.locator("#run-code-python-text").text_content() or ""
    monkeypatch.setenv("KUMOS_API_KEY", server.key)
    exec(code, {})
    assert "completed" in capsys.readouterr().out
    runs = api.get(f"/threads/{thread}/runs")["data"]
    assert len(runs) == 2
    assert [one["temperature"] for one in runs] == [0.5, 0.5]


def test_a_row_of_the_axis_leads_to_its_step_by_keyboard(page: Page, api: Api, upstream: Upstream) -> None:
    thread, run = started(api, "ok:4")
    ended(api, thread, run)
    visit(page, run)
    link = page.locator("#run-axis a").first
    link.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"#step_"))
