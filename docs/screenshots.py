"""Makes the pictures of docs/chat.md and docs/admin.md anew: `.venv/bin/python -m docs.screenshots`. Needs Chromium.

A served demo is asked its first question, and photographed in the states that the docs show. For the admin it then has
some more runs, some of which fail.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kumos_site.settings")
os.environ.setdefault("KUMOS_DATA_DIR", tempfile.mkdtemp(prefix="kumos-screenshots-"))
django.setup()

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402 (the tests' modules read Django's settings)

from tests.e2e.chat.browsing import FLAGS, PATIENCE, QUESTION, Api, ask, wait_for_end, wait_for_words  # noqa: E402
from tests.process import KumosProcess  # noqa: E402

PICTURES = Path(__file__).parent / "pictures"
WIDE = (1280, 800)
PHONE = (390, 844)
RICH = r"""!fast !echo ## Compound interest

After $n$ years, a deposit $P$ at rate $r$ has grown to

$$A = P \left(1 + \frac{r}{100}\right)^n$$

so that $1,000 at 5 % become $1,628.89 in ten years:

| Years | At 3 % | At 5 % |
| ---: | ---: | ---: |
| 5 | $1,159.27 | $1,276.28 |
| 10 | $1,343.92 | $1,628.89 |

```python
def grown(deposit: float, rate: float, years: int) -> float:
    return deposit * (1 + rate / 100) ** years  # compounded yearly
```

More of it: [compound interest](https://en.wikipedia.org/wiki/Compound_interest)."""


def shoot(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png")


def size(page: Page, of: tuple[int, int]) -> None:
    page.set_viewport_size({"width": of[0], "height": of[1]})


def typing(page: Page) -> None:
    shoot(page, "empty")
    ask(page, QUESTION)
    wait_for_words(page, 60)
    shoot(page, "typing")
    wait_for_end(page)


def cited(page: Page) -> None:
    page.locator(".prose .chip").first.click()
    expect(page.locator("#panel blockquote").first).to_be_visible()
    shoot(page, "citation")
    page.keyboard.press("Escape")


def inspected(page: Page) -> None:
    page.locator("#inspect").click()
    rows = page.locator("#inspector [role=option], #inspector [role=row]")
    expect(rows.nth(5)).to_be_visible()
    rows.nth(4).click()
    shoot(page, "inspector")
    page.locator("#inspect").click()


def rich(page: Page, api: Api) -> None:
    thread = api.post("/threads", {"metadata": {"title": "Compound interest"}})["id"]
    api.recorded(thread, api.ask(thread, api.assistant("Echo"), RICH))
    page.goto(f"/chat/{thread}")
    expect(page.locator(".prose math").first).to_be_visible()
    page.emulate_media(color_scheme="dark")
    shoot(page, "dark")
    page.emulate_media(color_scheme="light")
    size(page, PHONE)
    expect(page.locator("#sidebar")).to_be_hidden()  # it slides away
    shoot(page, "phone")


# The admin ------------------------------------------------------------------------------------------------------------


def admin(page: Page, api: Api) -> None:
    size(page, (1280, 900))
    assistants = api.get("/assistants", limit="100")["data"]
    run = worked(
        api, next(one["id"] for one in assistants if any(tool["type"] == "file_search" for tool in one["tools"]))
    )
    page.goto("/admin/")
    page.wait_for_load_state("networkidle")
    shoot(page, "admin-overview")
    page.goto("/admin/runs/run/")
    shoot(page, "admin-runs")
    page.goto(f"/admin/runs/run/{run}/change/")
    page.wait_for_load_state("networkidle")
    shoot(page, "admin-run")
    assistant(page, api)
    search(page, api)


def worked(api: Api, searcher: str) -> str:
    """Some runs of some days of work; the id of one that searched."""
    helper = api.assistant("Helpdesk")
    for number in range(12):
        thread = api.post("/threads", {})["id"]
        text = f"!fast !fail {number}" if number % 4 == 3 else f"!fast Question {number}: how do I reset my password?"
        api.recorded(thread, api.ask(thread, helper, text))
    thread = api.post("/threads", {"metadata": {"title": "Project Dragon"}})["id"]
    run = api.ask(thread, searcher, QUESTION)
    api.recorded(thread, run)
    return run


def assistant(page: Page, api: Api) -> None:
    """Tried beside its form, then two of its versions compared."""
    kind = "You answer questions about our travel rules.\nBe kind, and answer in three sentences.\nCite the rule."
    id = api.assistant("Travel desk", instructions=kind, tools=[{"type": "file_search"}])
    api.post(f"/assistants/{id}", {"instructions": kind.replace("three sentences", "one sentence")})
    page.goto(f"/admin/assistants/assistant/{id.replace('_', '_5F')}/change/")
    frame = page.frame_locator("#trial-frame")
    frame.get_by_label("Your message").fill("!fast What may a hotel cost?")
    frame.get_by_label("Your message").press("Enter")
    expect(frame.locator(".answer[data-status=completed]")).to_have_count(1)
    page.evaluate("scrollTo(0, 0)")
    shoot(page, "admin-assistant")
    versions = page.get_by_role("region", name="Versions", exact=True)
    versions.get_by_role("button", name="Compare the two").click()
    expect(versions.locator("del").first).to_be_visible()
    versions.screenshot(path=PICTURES / "admin-versions.png")


def search(page: Page, api: Api) -> None:
    """A store with the demo's documents is asked."""
    store = api.post("/vector_stores", {"name": "Project reports"})["id"]
    files = [file["id"] for file in api.get("/files", purpose="assistants")["data"]]
    api.post(f"/vector_stores/{store}/file_batches", {"file_ids": files})
    page.goto(f"/admin/assistants/vectorstore/{store.replace('_', '_5F')}/change/")
    expect(page.locator("#store-files .kumos-completed")).to_have_count(len(files) + 1)  # and their number above
    page.get_by_label("Question").fill("When does Project Dragon end?")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_label("Threshold").fill("0.5")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".kumos-threshold")).to_be_visible()
    shoot(page, "admin-search")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, KumosProcess(Path(folder)) as server, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page(base_url=server.url, color_scheme="light")
        expect.set_options(timeout=PATIENCE)
        size(page, WIDE)
        page.goto(server.login_url)
        expect(page.locator(".starter").first).to_be_visible()
        typing(page)
        cited(page)
        inspected(page)
        rich(page, Api(server))
        admin(page, Api(server))
        chromium.close()


if __name__ == "__main__":
    main()
