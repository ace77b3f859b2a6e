"""From "a user says it failed" to its cause and its end: the list of runs, its search, errors, many at once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.admin.utils import quote
from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat.browsing import Api
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

LIST = "/admin/runs/run/"


class Clicks:
    """A person's clicks, counted: typing is none, and Enter in a field is one."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def on(self, what: Locator) -> None:
        self.count += 1
        what.click()

    def enter(self) -> None:
        self.count += 1
        self.page.keyboard.press("Enter")


def failing(api: Api, model: str = "400") -> tuple[Any, str]:
    """A run that has failed at the model server, and the request id that its client was told."""
    assistant = api.assistant("Failing", model=model)
    body = {"assistant_id": assistant, "thread": {"messages": [{"role": "user", "content": "Hello"}]}}
    answer = api.http.post("/threads/runs", json=body).raise_for_status()
    run = answer.json()
    api.recorded(run["thread_id"], run["id"])  # which ends with the run
    run = api.get(f"/threads/{run['thread_id']}/runs/{run['id']}")
    assert run["status"] == "failed"
    return run, answer.headers["x-request-id"]


@pytest.mark.parametrize("begin", ["overview", "list"])
def test_from_a_request_id_to_the_cause_of_a_failure_in_three_clicks(page: Page, api: Api, begin: str) -> None:
    run, request_id = failing(api)
    page.goto("/admin/")
    clicks = Clicks(page)
    if begin == "overview":
        page.get_by_label("Find a run").fill(request_id)
    else:
        clicks.on(page.get_by_text("All pages"))
        clicks.on(page.locator(f'#content a[href="{LIST}"]').first)
        page.get_by_label("Search runs").fill(request_id)
    clicks.enter()
    expect(page).to_have_url(re.compile(f"{quote(run['id'])}/change/"))
    expect(page.locator("#content")).to_contain_text(run["last_error"]["message"])
    expect(page.get_by_text(run["last_error"]["message"]).first).to_be_visible()
    assert clicks.count <= 3


def test_failures_of_a_kind_are_found_together_and_retried(page: Page, api: Api) -> None:
    runs = {failing(api, "html")[0]["id"] for _ in range(3)}  # no other test fails like that
    page.goto(LIST)
    page.get_by_role("link", name="Failed runs by error").click()
    group = page.locator(".runs-groups tbody tr", has_text="html")
    expect(group.locator(".kumos-number")).to_have_text("3")
    group.get_by_role("link", name="Retry all…").click()
    expect(page.get_by_text("3 will be retried.")).to_be_visible()
    page.get_by_role("button", name="Yes, retry 3 runs").click()
    expect(page.get_by_text("Retried 3 of 3 runs.")).to_be_visible()
    expect(page.locator("#result_list tbody tr").first).to_be_visible()
    shown = set(page.locator("#result_list tbody th .kumos-id").all_inner_texts())
    assert runs <= shown  # the new ones join them as they fail


def test_many_are_cancelled_without_another_press(page: Page, api: Api, server: KumosProcess) -> None:
    """The page goes on by itself from request to request; at its end nothing of them is active."""
    assistant = api.assistant("Endless", model="stall:1")
    made = [
        api.post(
            "/threads/runs", {"assistant_id": assistant, "thread": {"messages": [{"role": "user", "content": "?"}]}}
        )
        for _ in range(5)
    ]
    page.goto(f"{LIST}?assistant={assistant}&status=active")
    page.get_by_role("link", name="Cancel all that match…").click()
    page.get_by_role("button", name="Yes, cancel 5 runs").click()
    expect(page.get_by_text("Cancelled 5 of 5 runs.")).to_be_visible()
    for run in made:
        assert api.get(f"/threads/{run['thread_id']}/runs/{run['id']}")["status"] in ("cancelling", "cancelled")


def test_a_filter_is_typed_with_proposals(page: Page, api: Api) -> None:
    run, _ = failing(api, "404")
    page.goto(LIST)
    page.locator(".kumos-filter > summary", has_text="Model").click()
    assert page.locator('#proposed-model option[value="404"]').count() == 1
    page.get_by_role("combobox", name="Model").fill("404")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"model=404"))
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.get_by_text(run["id"])).to_be_visible()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (360, "light"),
        (1280, "dark"),
        *(pytest.param(*look, marks=pytest.mark.slow) for look in ((360, "dark"), (1280, "light"))),
    ],
)
def test_lists_and_errors_fit_and_axe_finds_nothing(page: Page, api: Api, width: int, scheme: Any) -> None:
    failing(api)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    for address in ("/admin/", LIST, f"{LIST}errors/", f"{LIST}all/retry/?status=failed", f"{LIST}?q=req_unknown"):
        page.goto(address)
        expect(page.locator("#content h1, #content h2").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
        found = Axe().run(page)
        assert found.violations_count == 0, f"{address}: {found.generate_report()}"
