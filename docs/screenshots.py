"""Makes the pictures of docs/chat.md anew: `.venv/bin/python -m docs.screenshots`. Needs Chromium.

A served demo is asked its first question, and photographed in the states that the docs show.
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

from tests.e2e.chat.browsing import FLAGS, QUESTION, Api, ask, wait_for_end, wait_for_words  # noqa: E402
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


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, KumosProcess(Path(folder)) as server, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page(base_url=server.url, color_scheme="light")
        size(page, WIDE)
        page.goto(server.login_url)
        expect(page.locator(".starter").first).to_be_visible()
        typing(page)
        cited(page)
        inspected(page)
        rich(page, Api(server))
        chromium.close()


if __name__ == "__main__":
    main()
