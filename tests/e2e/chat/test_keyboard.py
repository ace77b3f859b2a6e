"""The keyboard, the colours and the narrow page: what can be done without a mouse, and by a finger."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.e2e.chat.browsing import Api, ask, open_new, thread_of, wait_for_end, wait_for_words
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

INSIDE = "() => document.getElementById('sidebar').contains(document.activeElement)"


def test_keys_do_nothing_while_an_input_method_composes(page: Page, plain: str) -> None:
    """With the events of a real composition: what the keys mean until it ends is the input method's business."""
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    open_new(page, plain)
    box = page.get_by_label("Your message")
    box.fill("!fast !echo ")
    page.evaluate(
        """() => {
          window.keys = [];
          document.addEventListener("keydown", (event) => window.keys.push([event.key, event.isComposing]), true);
        }"""
    )
    protocol = page.context.new_cdp_session(page)
    protocol.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    for key, code in (("Enter", 13), ("Escape", 27)):
        for kind in ("rawKeyDown", "keyUp"):
            pressed = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            protocol.send("Input.dispatchKeyEvent", pressed)
    assert page.evaluate("window.keys") == [["Enter", True], ["Escape", True]]
    protocol.send("Input.imeSetComposition", {"text": "日本", "selectionStart": 2, "selectionEnd": 2})
    protocol.send("Input.insertText", {"text": "日本"})
    expect(box).to_have_value("!fast !echo 日本")
    assert posted == []
    box.press("Enter")
    wait_for_end(page)
    expect(page.locator(".question")).to_have_text("!fast !echo 日本")

    page.locator("#title").click()
    field = page.get_by_label("Title", exact=True)
    field.fill("")
    protocol.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    pressed = {"type": "rawKeyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    protocol.send("Input.dispatchKeyEvent", pressed)
    expect(field).to_be_visible()
    protocol.send("Input.insertText", {"text": "日本"})
    field.press("Enter")
    expect(page.locator("#title")).to_have_text("日本")


def test_one_table_has_the_keys_and_the_list_of_them(page: Page, api: Api, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!slow 12 !long 2000")
    wait_for_words(page, 3)
    thread = thread_of(page)
    box = page.get_by_label("Your message")
    box.fill("what?/i")
    expect(box).to_have_value("what?/i")
    box.press("?")  # in a field keys are letters
    box.fill("")
    page.locator("#scroller").focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    listed = dialog.locator("dl > div")
    for words in ("Send it", "Begin a new line", "stop the answer", "New chat", "Search", "This list"):
        expect(listed.filter(has_text=words)).to_have_count(1)
    expect(listed.filter(has_text="Search").locator("kbd")).to_have_text(["Ctrl", "K", "/"])
    page.keyboard.press("Control+k")  # covered: the dialog answers for its keys
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#scroller")).to_be_focused()
    assert api.get(f"/threads/{thread}/runs")["data"][0]["status"] == "in_progress", "Esc closed the dialog only"

    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Search threads")
    expect(search).to_be_focused()
    expect(search).to_have_value("")
    page.keyboard.press("Escape")
    expect(box).to_be_focused()
    assert api.get(f"/threads/{thread}/runs")["data"][0]["status"] == "in_progress", "Esc left the search box only"
    page.keyboard.press("Escape")
    wait_for_end(page)
    expect(page.locator(".answer .state").first).to_contain_text("stopped")

    page.keyboard.press("Control+b")
    expect(page.locator("#sidebar")).to_be_hidden()
    expect(page.get_by_role("button", name="Show the threads")).to_be_focused()
    page.reload()
    expect(page.locator("#title")).to_be_visible()
    expect(page.locator("#sidebar")).to_be_hidden()
    page.keyboard.press("Control+k")
    expect(search).to_be_focused()
    page.keyboard.press("Control+Shift+o")
    expect(page).to_have_url(re.compile("/chat/$"))
    expect(box).to_be_focused()

    page.get_by_role("button", name="Keyboard").click()
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.locator("#scroller").focus()
    page.keyboard.press("/")
    page.keyboard.press("?")
    expect(search).not_to_be_focused()
    expect(dialog).to_be_hidden()
    page.keyboard.press("Control+k")
    expect(search).to_be_focused()


def test_colours_follow_the_system_or_the_choice(page: Page) -> None:
    paper = "() => getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(25, 26, 28)", "rgb(253, 252, 250)"
    page.emulate_media(color_scheme="dark")
    page.goto("/chat/")
    assert page.evaluate(paper) == dark
    page.get_by_role("group", name="Colours").get_by_label("Light", exact=True).check()
    assert page.evaluate(paper) == light
    other = page.context.new_page()
    other.emulate_media(color_scheme="dark")
    other.add_init_script(
        """addEventListener("DOMContentLoaded", () => {
          const theme = document.querySelector("script[src*='theme']");
          const sheet = document.querySelector("link[rel=stylesheet]");
          const before = theme.compareDocumentPosition(sheet) & Node.DOCUMENT_POSITION_FOLLOWING;
          window.early = [document.documentElement.dataset.theme, !theme.async && !theme.defer && before > 0];
        });"""
    )
    other.goto("/chat/")
    assert other.evaluate("window.early") == ["light", True]
    assert other.evaluate(paper) == light
    page.get_by_role("group", name="Colours").get_by_label("As the system").check()
    assert page.evaluate(paper) == dark
    expect(other.locator("html")).not_to_have_attribute("data-theme", "light")  # the other tab follows
    expect(other.get_by_role("group", name="Colours").get_by_label("As the system")).to_be_checked()
    other.close()


def test_the_drawer_of_a_narrow_page(browser: Browser, server: KumosProcess, person: StorageState, api: Api) -> None:
    threads = [api.post("/threads", {"metadata": {"title": f"Narrow {number}"}})["id"] for number in range(2)]
    context = browser.new_context(
        storage_state=person,
        viewport={"width": 360, "height": 740},
        base_url=server.url,
        has_touch=True,
        is_mobile=True,
    )
    page = context.new_page()
    page.goto("/chat/")
    drawer = page.locator("#sidebar")
    expect(drawer).to_be_hidden()
    page.get_by_role("button", name="Show the threads").tap()
    expect(drawer).to_be_visible()
    expect(page.locator(f"a[data-thread={threads[0]}]")).to_be_visible()
    for _ in range(2):
        stops = 0
        while not page.evaluate("() => document.activeElement.id === 'new'"):
            page.keyboard.press("Tab")
            assert page.evaluate(INSIDE)
            stops += 1
            assert stops < 500
        page.keyboard.press("Tab")
    page.get_by_role("button", name="Hide the threads").focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(INSIDE)
    small = page.evaluate(
        """() => {
          const inside = "#sidebar :is(a, button, input:not([type=radio]), label:has(input))";
          return [...document.querySelectorAll(`${inside}, .head button`)]
            .filter((node) => node.checkVisibility() && !node.disabled)
            .map((node) => [node.textContent.trim() || node.id, node.getBoundingClientRect()])
            .filter(([, box]) => box.height < 43.9 || box.width < 43.9)
            .map(([name, box]) => [name, box.width, box.height]);
        }"""
    )
    assert small == []
    tiny = page.evaluate(
        """() => [...document.querySelectorAll("textarea, select, input")]
          .filter((field) => !["radio", "checkbox", "range"].includes(field.type))
          .filter((field) => parseFloat(getComputedStyle(field).fontSize) < 16).map((field) => field.outerHTML)"""
    )
    assert tiny == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")

    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("button", name="Show the threads")).to_be_focused()
    page.get_by_role("button", name="Show the threads").tap()
    page.locator(f".row:has(a[data-thread={threads[1]}])").get_by_role("button").tap()
    page.get_by_role("menuitem", name="Rename").tap()
    page.get_by_label("Title", exact=True).fill("Narrow and new")
    page.get_by_label("Title", exact=True).press("Enter")
    page.locator(f"a[data-thread={threads[1]}]").tap()
    expect(drawer).to_be_hidden()
    expect(page).to_have_url(re.compile(threads[1]))
    expect(page.locator("#title")).to_have_text("Narrow and new")
    assert page.evaluate("() => [...document.querySelectorAll('[inert]')].length") == 0
    context.close()
