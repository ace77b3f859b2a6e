"""What axe-core says of every page of the admin: light and dark, on a phone and on a wide screen. It must say nothing.

The pages are those that links lead to, so later ones come by themselves; a view that nothing leads to is a fault, too.
"""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, StorageState

from tests.e2e.admin.crawling import Crawl, all_views, kind_of
from tests.e2e.chat.browsing import QUESTION, Api
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
"""What may differ in the dark."""
AT_ONCE = "document.getAnimations().forEach((animation) => animation.finish())"
"""Colours that change little by little are not looked at on their way."""
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth)
    .slice(0, 5).map((one) => one.outerHTML.slice(0, 120))"""
CUT_OFF = """() => [...document.querySelectorAll("table")].filter((table) => {
    if (table.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let box = table.parentElement; box; box = box.parentElement) {
      const beyond = getComputedStyle(box).overflowX;
      if (beyond === "auto" || beyond === "scroll") return box.getBoundingClientRect().right > innerWidth + 1;
      if (beyond !== "visible") return true;
    }
    return true;
  }).map((table) => table.outerHTML.slice(0, 120))"""
"""Tables of which a part cannot be reached: they are to scroll in a box of their own."""
NOT_LINKED = {
    # What the server alone writes, cannot be added.
    *(f"{name}_add" for name in ("admin_logentry", "assistants_message", "assistants_share", "assistants_thread")),
    *(f"{name}_add" for name in ("runs_run", "runs_worker", "streaming_event")),
    # What scripts and forms ask for.
    *(f"assistants_assistant_{name}" for name in ("check", "models", "roll_back", "tokens", "upload", "uploads")),
    *(f"assistants_assistant_trial{name}" for name in ("", "_end", "_join")),
    # Nobody has changed anything here yet, no picture was sent, and this operator came without a password.
    *("admin_logentry_change", "assistants_file_image", "auth_user_password_change", "password_change"),
}
FILLING = """
from django.contrib.auth.models import Group, User
from assistants.models import ApiKey, Project
from assistants.clock import now
from runs.models import McpServer, ModelPrice, Provider
project = Project.objects.order_by("created_at").first()
Group.objects.create(name="Some")
Provider.objects.get_or_create(name="elsewhere", base_url="http://127.0.0.1:9/v1")
schema = {"type": "object", "properties": {"train": {"type": "string"}}}
tools = [{"name": "book", "description": "Books a seat.", "parameters": schema, "idempotent": False}]
McpServer.objects.get_or_create(
    name="trains", base_url="http://127.0.0.1:9/mcp", tools=tools, listed_at=now(), checked_at=now()
)
ModelPrice.objects.get_or_create(model="elsewhere/large", prompt="1", completion="2")
"""


@pytest.fixture(scope="module")
def seeds(server: KumosProcess, api: Api) -> list[str]:
    """Something of everything, and the addresses where it is seen best."""
    server.manage("shell", "--no-imports", "-c", FILLING)
    searcher = api.assistant("Searcher", tools=[{"type": "file_search"}])
    store = api.post("/vector_stores", {"name": "Lore"})["id"]
    for name, data in (("lore.txt", b"Dragons sleep at noon."), ("broken.pdf", b"%PDF-1.7 broken")):
        sent = api.http.post("/files", data={"purpose": "assistants"}, files={"file": (name, data)})
        api.post(f"/vector_stores/{store}/files", {"file_id": sent.raise_for_status().json()["id"]})
    thread = api.post("/threads", {"metadata": {"title": "All there is"}})["id"]
    run = api.ask(thread, searcher, f"!fast {QUESTION}")
    api.recorded(thread, run)
    broken = api.post("/threads", {})["id"]
    failed = api.ask(broken, searcher, "!fast !fail")
    api.recorded(broken, failed)
    api.post(f"/threads/{thread}/shares", {})
    lists = "/admin/assistants/"
    return [
        "/admin/",
        f"{lists}vectorstore/{store}/change/",
        f"{lists}vectorstore/{store}/search/?q=dragons&threshold=0.5",
        f"{lists}thread/{thread}/change/",
        f"{lists}message/?q={thread}",
        f"/admin/streaming/event/?q={thread}",
        f"/admin/runs/run/{failed}/change/",
        f"/admin/runs/run/{run}/change/",
    ]


@pytest.fixture(scope="module")
def crawl(server: KumosProcess, operator: StorageState, seeds: list[str]) -> Crawl:
    cookies = {str(cookie.get("name")): str(cookie.get("value")) for cookie in operator.get("cookies", [])}
    return Crawl(server, cookies, seeds)


def test_links_lead_to_every_page_and_none_leads_nowhere(crawl: Crawl) -> None:
    assert not crawl.faults, "\n".join(crawl.faults)
    reached = crawl.others | set(crawl.pages)
    missed = {name for name in all_views() - NOT_LINKED if name not in reached and kind_of(name) not in reached}
    assert not missed, " ".join(sorted(missed))


def violations(page: Page, options: dict[str, Any] | None = None) -> list[str]:
    found = Axe().run(page, options=options).response["violations"]
    return [f"{one['id']}: {node['target']}: {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize(
    ("screen", "wholly"),
    [
        ((360, 740), False),
        *(pytest.param(screen, True, marks=pytest.mark.slow) for screen in ((360, 740), (1440, 900))),
    ],
    ids=["short", "phone", "wide"],
)
def test_axe_finds_nothing_on_any_page(
    page: Page, crawl: Crawl, seeds: list[str], screen: tuple[int, int], wholly: bool
) -> None:
    """In the short form only the pages with most on them are looked at in the dark, too."""
    page.set_viewport_size({"width": screen[0], "height": screen[1]})
    found = []
    for address in [*crawl.pages.values(), "/admin/assistants/file/?q=nothing"]:
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        found += [f"{address}: {fault}" for fault in violations(page)]
        if wholly or address in seeds:
            page.emulate_media(color_scheme="dark")
            page.evaluate(AT_ONCE)
            found += [f"{address} in the dark: {fault}" for fault in violations(page, COLOURS)]
        found += [f"{address}: wider than the screen: {one}" for one in page.evaluate(TOO_WIDE)]
        found += [f"{address}: cut off: {one}" for one in page.evaluate(CUT_OFF)]
    assert not found, "\n".join(found)
