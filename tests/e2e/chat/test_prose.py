"""The text of answers, drawn in Chromium from a server's files: whole, in pieces, with citations, links, formulas."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.chat.writing import Writer

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

DRAWING = (Path(__file__).parent / "drawing.js").read_text()
AT_ONCE = 25


@pytest.fixture
def draw(page: Page) -> Callable[..., Any]:
    """Runs `code` in the page, where `drawing` draws prose (drawing.js) and `given` is what is given."""
    page.goto("/chat/")
    page.evaluate(DRAWING)
    return lambda code, given=None: page.evaluate(f"async (given) => {{ {code} }}", given)


SHOW = """
  const prose = drawing.make();
  prose.update(given.text, given.annotations ?? [], given.growing ?? false);
  document.getElementById("empty").hidden = true;
  document.getElementById("transcript").replaceChildren(prose.element);
"""


def html(draw: Callable[..., Any], text: str, growing: bool = False) -> str:
    return str(draw(f"{SHOW} return drawing.formed(prose.element)", {"text": text, "growing": growing}))


@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.slow)], ids=["short", "full"])
def test_documents_cut_at_random_are_drawn_as_at_once_and_nothing_finished_is_touched(
    draw: Callable[..., Any], count: int
) -> None:
    seed = int(os.environ.get("KUMOS_PROSE_SEED", random.randrange(10**6)))
    sys.stdout.write(f"KUMOS_PROSE_SEED={seed}\n")
    totals = {"frozen": 0, "chips": 0, "blocks": 0}
    for start in range(0, count, AT_ONCE):
        documents = []
        for number in range(start, start + AT_ONCE):
            writer = Writer(seed * 1000 + number)
            text = writer.document()
            cuts = sorted(writer.random.sample(range(len(text) + 1), min(len(text), writer.random.randint(1, 50))))
            annotations = writer.annotations(text)
            documents.append({"text": text, "annotations": annotations, "cuts": cuts, "late": number % 3 == 0})
        for document, result in zip(documents, draw("return drawing.compareAll(given)", documents), strict=True):
            about = f"seed {seed}: {json.dumps([document, result], ensure_ascii=False)}"
            assert result["removed"] == 0, about
            assert "error" not in result, about
            for name in totals:
                totals[name] += result[name]
    assert min(totals.values()) > count // 4, totals  # it was about something


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("one **bo", '<p dir="auto">one <strong>bo</strong></p>'),
        ("one **bold*", '<p dir="auto">one <strong>bold</strong></p>'),
        ("one *", '<p dir="auto">one </p>'),
        ("2 * 3 and a_b", '<p dir="auto">2 * 3 and a_b</p>'),
        ("run `ls -l", '<p dir="auto">run <code>ls -l</code></p>'),
        ("see [the do", '<p dir="auto">see the do</p>'),
        ("see [the docs](https://exam", '<p dir="auto">see the docs</p>'),
        ("see https://exam", '<p dir="auto">see https://exam</p>'),
        ("a **b `c", '<p dir="auto">a <strong>b <code>c</code></strong></p>'),
        ("said 【0:1†so", '<p dir="auto">said </p>'),
        ("Title\n-", '<p dir="auto">Title</p>'),
        ("one\n\n- a\n- ", '<p dir="auto">one</p><ul dir="auto"><li><p dir="auto">a</p></li></ul>'),
        ("one\n``", '<p dir="auto">one</p>'),
    ],
)
def test_half_of_a_mark_looks_like_what_it_becomes(draw: Callable[..., Any], text: str, looks: str) -> None:
    assert html(draw, text, growing=True) == looks


def test_half_a_fence_is_a_block_and_half_a_table_is_a_table(draw: Callable[..., Any], page: Page) -> None:
    html(draw, "so:\n\n```py\nprint(1)\n``", growing=True)
    expect(page.locator(".prose pre")).to_have_text("print(1)")
    html(draw, "so:\n\n| name | pri", growing=True)
    expect(page.locator(".prose th")).to_have_text(["name", "pri"])
    html(draw, "so:\n\n| name | price |\n|---|-", growing=True)
    expect(page.locator(".prose th")).to_have_text(["name", "price"])
    html(draw, "so:\n\n| name | price |\n|---|---|\n| a | **fi", growing=True)
    expect(page.locator(".prose td strong")).to_have_text("fi")


def test_growing_text_grows_in_its_nodes(draw: Callable[..., Any]) -> None:
    same = draw(
        """
        const prose = drawing.make();
        const text = "one **two three** four\\n\\n```py\\nx = 1\\ny = 2\\n";
        prose.update(text.slice(0, 9), [], true);
        const word = prose.element.querySelector("strong").firstChild;
        prose.update(text.slice(0, 14), [], true);
        const grown = prose.element.querySelector("strong").firstChild;
        prose.update(text.slice(0, 40), [], true);
        const code = prose.element.querySelector("code").firstChild;
        prose.update(text, [], true);
        prose.update(text, [], false);
        return [word === grown, code === prose.element.querySelector("code").firstChild, code.data];
        """
    )
    assert same == [True, True, "x = 1\ny = 2"]


def test_a_run_that_begins_anew_draws_anew(draw: Callable[..., Any]) -> None:
    again = draw(
        """
        const prose = drawing.make();
        prose.update("# One\\n\\ntwo\\n\\nthree\\n\\nfour", [], true);
        prose.update("Other", [], true);
        return drawing.formed(prose.element);
        """
    )
    assert again == '<p dir="auto">Other</p>'


# Citations -----------------------------------------------------------------------------------------------------------


def cited(text: str, marker: str = "【0:1†a】") -> list[dict[str, Any]]:
    found, at = [], text.find(marker)
    while at >= 0:
        citation = {"type": "file_citation", "text": marker, "start_index": at, "end_index": at + len(marker)}
        found.append({**citation, "file_citation": {"file_id": "file-1"}})
        at = text.find(marker, at + 1)
    return found


CITED = (
    "🐉 first【0:1†a】 and **bold【0:1†a】**, `code【0:1†a】`\r\n\r\n- item【0:1†a】\n  1. inner【0:1†a】\n\n"
    "| a | b【0:1†a】 |\n|---|---|\n| c【0:1†a】 | d |\n\n> quote【0:1†a】\n\n# head【0:1†a】\n\n[words【0:1†a】](https://e.example)\n\n"
    "```\nblock【0:1†a】\n```\n\n$x【0:1†a】$ end"
)
PLACES = ["P", "STRONG", "CODE", "P", "P", "TH", "TD", "P", "H3", "P"]


@pytest.mark.parametrize("late", [False, True])
def test_citations_land_where_they_belong(draw: Callable[..., Any], late: bool) -> None:
    landed = draw(
        """
        const prose = drawing.make();
        if (given.late) prose.update(given.text, [], true);
        const before = [...prose.element.children];
        prose.update(given.text, given.annotations, true);
        prose.update(given.text, given.annotations, false);
        const chips = [...prose.element.querySelectorAll(".chip")];
        return {
          places: chips.map((chip) => chip.parentNode.nodeName),
          before: chips.map((chip) => (chip.previousSibling.textContent.match(/\\w+/g) ?? []).at(-1)),
          kept: before.every((node, index) => prose.element.children[index] === node),
          code: prose.element.querySelector("pre").textContent,
        };
        """,
        {"text": CITED, "annotations": cited(CITED), "late": late},
    )
    assert landed["places"] == PLACES
    assert landed["before"][:-1] == ["first", "bold", "code", "item", "inner", "b", "c", "quote", "head"]
    assert landed["kept"]
    assert landed["code"] == "block【0:1†a】"


# Links, images, characters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "href", "shown"),
    [
        ("[bank.com](https://evil.example/x)", "https://evil.example/x", "bank.com evil.example"),
        ("[https://bank.com/evil.example](https://evil.example)", "https://evil.example/", "evil.example"),
        ("[evil.example](https://evil.example/x)", "https://evil.example/x", None),
        ("https://evil.example/x", "https://evil.example/x", None),
        ("<https://bank.com@evil.example/>", "https://bank.com@evil.example/", "evil.example"),
        ("[аррӏе.com](https://xn--80ak6aa92e.com/)", "https://xn--80ak6aa92e.com/", "xn--80ak6aa92e.com"),
        ("[аррӏе.com](https://аррӏе.com/)", "https://xn--80ak6aa92e.com/", "xn--80ak6aa92e.com"),
        ("[write](mailto:a@b.example)", "mailto:a@b.example", "a@b.example"),
        ("a@b.example", "mailto:a@b.example", None),
        ("[](https://evil.example)", "https://evil.example/", "evil.example"),
        ("[a](https://e.example/?b=1&amp;c=2)", "https://e.example/?b=1&c=2", "e.example"),
    ],
)
def test_links_say_where_they_lead(
    draw: Callable[..., Any], page: Page, text: str, href: str, shown: str | None
) -> None:
    html(draw, text)
    link = page.locator(".prose a")
    expect(link).to_have_attribute("href", href)
    expect(link).to_have_attribute("target", "_blank")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    if shown is None:
        expect(page.locator(".prose .host")).to_have_count(0)
    else:
        expect(link.locator(".host")).to_have_text(shown.split(" ")[-1])


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "/admin/", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "//e.example"]
)
def test_addresses_of_another_kind_are_no_links(draw: Callable[..., Any], page: Page, target: str) -> None:
    html(draw, f"[words]({target})")
    expect(page.locator(".prose a")).to_have_count(0)
    expect(page.locator(".prose .dead-link")).to_have_text(f"words{target}")


def test_images_are_not_loaded_and_say_where_they_are(draw: Callable[..., Any], page: Page) -> None:
    html(
        draw,
        "![a cat](https://img.example/cat.png?secret=1) ![b](data:image/svg+xml,x) [![c](https://i.example/)](https://l.example)",
    )
    expect(page.locator(".prose img")).to_have_count(0)
    cat = page.get_by_role("link", name="a cat")
    expect(cat).to_have_attribute("href", "https://img.example/cat.png?secret=1")
    expect(cat).to_contain_text("img.example")
    expect(page.locator(".prose a")).to_have_count(2)


def test_misleading_characters_show(draw: Callable[..., Any]) -> None:
    shown = html(draw, "a\u202eb\u2066c\x00d\x1b[0m\x7f &#x202e; &#0; `\u202e` 【\ufdd00】")
    assert shown == '<p dir="auto">a�b�c␀d␛[0m␡ � � <code>�</code> 【�0】</p>'


# Formulas ------------------------------------------------------------------------------------------------------------

PRICES = [
    "It costs $5 and $10.",
    "$5, or 5$ each, or $3.50/month",
    "between $5-$10 or US$5 and A$6",
    "set $HOME and $PATH, or $HOME/$USER",
    "$100 (was $200), $1,000$ for all",
    "he has $a lot of money$ today",
    "$AAPL up, $TSLA$ down; \\$5 and \\$6",
    "`$x$` and $5 \\cdot $6",
]
FORMULAS = {
    r"\(x^2\)": ["x^2"],
    "\\[\na\\\\[2pt] b\n\\]": ["a\\\\[2pt] b"],
    "$$\nE = mc^2\n$$": ["E = mc^2"],
    "so $x$ and $y_1$, $5 = 2 + 3$": ["x", "y_1", "5 = 2 + 3"],
    r"$\text{price} = \$5$": [r"\text{price} = \$5"],
    "- $f(x)$\n- $$a+b$$ and": ["f(x)", "a+b"],
    "it costs $5, so $n = 5$.": ["n = 5"],
}


def test_prices_are_no_formulas_and_formulas_are_drawn(draw: Callable[..., Any], page: Page) -> None:
    for text in PRICES:
        assert "maths" not in html(draw, text), text
    for text, sources in FORMULAS.items():
        html(draw, text)
        expect(page.locator(".prose .maths math")).to_have_count(len(sources))
        written = page.locator(".prose .maths").evaluate_all("all => all.map(one => one.dataset.source)")
        assert written == sources
        expect(page.locator(".prose annotation")).to_have_text(sources)
    html(draw, r"\(\frac{1\)")
    expect(page.locator(".prose .maths code")).to_have_text(r"\frac{1")


# Code ----------------------------------------------------------------------------------------------------------------


def test_code_has_its_language_colours_and_a_button_that_copies(draw: Callable[..., Any], page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    html(draw, "```python\ndef f(x):\n    return 'a'  # why\n```\n\n```brainfuck\n+++\n```")
    first = page.get_by_role("figure", name="Code, python")
    expect(first.locator(".code-head")).to_have_attribute("data-language", "python")
    page.wait_for_function(
        "() => CSS.highlights.get('code-keyword')?.size === 2 && CSS.highlights.get('code-comment').size === 1"
    )
    first.get_by_role("button", name="Copy code").click()
    expect(first.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "def f(x):\n    return 'a'  # why"
    assert page.evaluate("document.querySelector('.prose code').childNodes.length") == 1
    draw('document.getElementById("transcript").replaceChildren()')
    page.wait_for_function(
        "() => [...CSS.highlights.values()].every((one) => one.size === 0)"
    )  # nothing is left behind


def test_wide_code_and_tables_scroll_by_keyboard(draw: Callable[..., Any], page: Page) -> None:
    wide = " | ".join(f"column number {number}" for number in range(20))
    html(draw, f"| {wide} |\n|{'---|' * 20}\n| {wide} |\n\n```\n{'x' * 500}\n```")
    for place in (page.get_by_role("region", name="Table"), page.locator(".prose pre")):
        place.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => document.activeElement.scrollLeft > 0")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_task_lists_and_headings_without_gaps(draw: Callable[..., Any], page: Page) -> None:
    html(draw, "### A\n\n##### B\n\n# C\n\n> # no heading\n\n- [x] done\n- [ ] open\n\n7. seven")
    assert page.locator(".prose :is(h3, h4, h5, h6)").evaluate_all("all => all.map(one => one.tagName)") == [
        "H3",
        "H4",
        "H3",
    ]
    expect(page.get_by_role("checkbox", name="Done")).to_be_checked()
    expect(page.get_by_role("checkbox", name="To do")).not_to_be_checked()
    expect(page.locator(".prose ol")).to_have_attribute("start", "7")
