"""What a delta costs the page's main thread while an answer grows to 20 kB (the bar: p95 within 1 ms).

    python -m bench.page_delta [--size 20000] [--delta 4] [--rounds 3]

Chromium draws answers of several kinds, delta by delta (`--delta` characters each), as transcript.js does: `update` is
what the prose takes to read and change, `layout` what the browser takes to lay the change out afterwards. Each answer
is drawn in several rounds, and of every delta the quickest counts: what is left out is what else the machine did. The
clock of a page counts in steps of 0.1 ms. Code is coloured and formulas are drawn aside, at leisure: not in here.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.chat.browsing import FLAGS
from tests.process import KumosProcess

SENTENCE = (
    "The dragon sleeps on **eleven thousand** coins, `weighs` 4 t, costs $5, reads [a map](https://example.org/m). "
)
PARAGRAPH = SENTENCE * 4 + "\n\n"
LIST = "- A first item with **bold words** and some more, then `code`.\n  - An inner one, short\n  - Another, *soft*\n"
TABLE = "| a name | **four** | `x = 1` | some words that fill the cell |\n"
CODE = "    result[key] = compute(value, other)  # and why it does so\n"
KINDS = {
    "mixed": (
        "",
        f"## A heading\n\n{PARAGRAPH}{LIST * 3}\n```python\ndef f():\n{CODE * 6}```\n\n"
        f"| a | b | c | d |\n|---|---|---|---|\n{TABLE * 4}\n> {SENTENCE}\n\n\\(x^2\\) and $y_1$ in words.\n\n",
    ),
    "paragraphs": ("", PARAGRAPH),
    "one paragraph": ("", SENTENCE),
    "one list": ("", LIST),
    "one deep list": ("1. All of it\n", "".join(f"   {line}\n" for line in LIST.splitlines())),
    "one table": ("| a | b | c | d |\n|---|---|---|---|\n", TABLE),
    "one block of code": ("```python\n", CODE),
    "one quote": ("", "".join(f"> {line}\n" for line in LIST.splitlines())),
}
MEASURE = """async ({ text, delta, rounds }) => {
  const { Prose } = await import("/static/chat/prose.js");
  document.getElementById("empty").hidden = true;
  const update = [];
  const layout = [];
  for (let round = 0; round < rounds; round += 1) {
    const prose = new Prose({ chip: () => document.createElement("a") });
    document.getElementById("transcript").replaceChildren(prose.element);
    for (let end = delta, at = 0; end <= text.length; end += delta, at += 1) {
      const begin = performance.now();
      prose.update(text.slice(0, end), [], true);
      const drawn = performance.now();
      void prose.element.offsetHeight;
      layout[at] = Math.min(layout[at] ?? Infinity, performance.now() - drawn);
      update[at] = Math.min(update[at] ?? Infinity, drawn - begin);
    }
  }
  const part = (all, share) => all.sort((one, other) => one - other)[Math.floor(all.length * share)];
  return [part(update, 0.5), part(update, 0.95), part(update, 0.999), part(layout, 0.5), part(layout, 0.95)];
}"""


def answer(kind: str, size: int) -> str:
    head, piece = KINDS[kind]
    return (head + piece * (size // len(piece) + 1))[:size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--delta", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, KumosProcess(Path(folder)) as server, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page()
        page.set_default_timeout(0)
        page.goto(server.login_url)
        print(f"{'milliseconds':18}  update p50    p95  p99.9   layout p50    p95")
        for kind in KINDS:
            given = {"text": answer(kind, options.size), "delta": options.delta, "rounds": options.rounds}
            figures = page.evaluate(MEASURE, given)
            p50, p95, p999, layout50, layout95 = figures
            print(f"{kind:18}  {p50:10.2f} {p95:6.2f} {p999:6.2f}   {layout50:10.2f} {layout95:6.2f}", flush=True)
        chromium.close()


if __name__ == "__main__":
    main()
