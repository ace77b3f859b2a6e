"""How long a reload in mid-answer takes until all so far is drawn, from the start of the page's script (goal G6).

`python -m bench.page_reload [ROUNDS]` prints milliseconds; the goal is 300. One browser, one tab, a run that goes on.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.chat.browsing import FLAGS, PATIENCE, PROSE, Api, open_thread, wait_for_words
from tests.process import KumosProcess

WORDS = 400
WATCH = """(() => {
  window.drawn = [];
  document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(() => {
      const prose = [...document.querySelectorAll(".answer .prose")].at(-1);
      window.drawn.push([performance.now(), prose?.textContent.length ?? 0]);
    }).observe(document.getElementById("transcript"), { subtree: true, childList: true, characterData: true });
  });
})()"""
# The page's script starts when the last of its modules is there: nothing of it runs before that.
START = """() => {
  const scripts = performance.getEntriesByType("resource").filter((one) => one.name.endsWith(".js"));
  return Math.max(...scripts.filter((one) => !one.name.includes("worker")).map((one) => one.responseEnd));
}"""


def main(rounds: int) -> None:
    with KumosProcess(Path(tempfile.mkdtemp())) as server, sync_playwright() as playwright:
        api = Api(server)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page(base_url=server.url)
        page.set_default_timeout(PATIENCE)
        page.goto(server.login_url)
        page.wait_for_url("**/chat/**")
        thread = api.post("/threads", {})["id"]
        open_thread(page, thread)
        api.ask(thread, api.assistant("Bench"), "!slow 40 !long 20000")
        wait_for_words(page, WORDS)
        page.add_init_script(WATCH)
        took = []
        for _ in range(rounds):
            before = len(page.evaluate(PROSE))
            page.reload()
            page.wait_for_function("length => window.drawn?.at(-1)?.[1] >= length", arg=before)
            at = page.evaluate("length => window.drawn.find((one) => one[1] >= length)[0]", before)
            took.append(at - page.evaluate(START))
            print(f"{took[-1]:.0f} ms for {before} characters")
        print(f"median {statistics.median(took):.0f} ms, worst {max(took):.0f} ms; the goal is 300 ms")
        chromium.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
