"""The scripts of the chat page: whose they are, unchanged, and how much of them the first load fetches."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect

VENDOR = Path(__file__).parents[3] / "kumos_site" / "static" / "vendor"
CHAT = VENDOR.parent / "chat"
FIRST_LOAD = 120_000  # bytes of script, gzipped
HTML_FROM_TEXT = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTMLUnsafe|parseFromString|createContextualFragment"
)


def test_libraries_are_the_files_their_manifest_names() -> None:
    rows = re.findall(r"^\| `([0-9a-f]{64})` \| `([^`]+)` \|", (VENDOR / "MANIFEST.md").read_text(), re.MULTILINE)
    listed = {name: digest for digest, name in rows}
    files = {path.relative_to(VENDOR).as_posix(): path for path in VENDOR.rglob("*") if path.is_file()}
    del files["MANIFEST.md"]
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_no_module_of_the_page_makes_html_from_text() -> None:
    modules = list(CHAT.glob("*.js"))
    assert len(modules) > 15
    assert [path.name for path in modules if re.search(HTML_FROM_TEXT, path.read_text())] == []


def brightness(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_colours_of_code_can_be_read_light_and_dark() -> None:
    """Highlights are no elements, so that axe-core does not see them."""
    pair = r"--(side|code-\w+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);"
    sheets = (CHAT.parent / "palette" / "palette.css", CHAT / "chat.css")
    colours = {name: both for sheet in sheets for name, *both in re.findall(pair, sheet.read_text())}
    grounds = colours.pop("side")
    assert len(colours) == 9
    for name, both in colours.items():
        for colour, ground in zip(both, grounds, strict=True):
            dark, light = sorted([brightness(colour), brightness(ground)])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colour)


@pytest.mark.e2e
@pytest.mark.browser
@pytest.mark.any_database
def test_the_first_load_fetches_little_script(page: Page) -> None:
    scripts: dict[str, int] = {}

    def note(response: Response) -> None:
        if "javascript" in response.headers.get("content-type", ""):
            scripts[response.url] = len(gzip.compress(response.body(), 6))

    page.context.on("response", note)
    page.goto("/chat/")
    expect(page.locator("#empty")).to_be_visible()  # drawn by the script: all of it is here
    assert any("marked" in address for address in scripts)
    assert not any("temml" in address or "highlight" in address for address in scripts)
    assert sum(scripts.values()) <= FIRST_LOAD, scripts
