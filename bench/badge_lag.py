"""How long after an event the admin's badge of its run says so: on the list of runs, and on the run's own page.

`python -m bench.badge_lag [ROUNDS]` prints milliseconds from the time that the log gives the event (its transaction's)
to the change in the document; the goal is 1,000. Both clocks are of this machine.
"""

from __future__ import annotations

import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from assistants.admin.markup import page_of
from runs.models import Run
from tests.e2e.chat.browsing import FLAGS, PATIENCE, Api
from tests.process import KumosProcess
from tests.upstream import Upstream

RECORD = """id => {
  // Looked for each time: what is around it may be drawn anew, and the badge with it.
  const badge = () => document.querySelector(`.kumos-badge[data-run="${id}"]`);
  window.shown = {};
  const note = () => { window.shown[badge()?.textContent] ??= Date.now(); };
  new MutationObserver(note).observe(document.body, { childList: true, characterData: true, subtree: true });
}"""
ENDED = re.compile(rb"^: created_at ([\d.]+)\nid: \d+\nevent: thread\.run\.completed$", re.MULTILINE)


def lags(page: Page, api: Api, upstream: Upstream, rounds: int, *, own_page: bool) -> Iterator[float]:
    assistant = api.assistant("Bench", model="gated:1")
    for _ in range(rounds):
        thread = api.post("/threads", {})["id"]
        calls = len(upstream.calls)
        run = api.ask(thread, assistant, "Say a word.")
        upstream.wait_for_calls(calls + 1)
        with page.expect_response(lambda response: "/live/" in response.url or "/stream" in response.url):
            page.goto(page_of(Run, run) if own_page else "/admin/runs/run/")
        page.evaluate(RECORD, run)
        upstream.release(1)
        page.wait_for_function("() => window.shown.completed")
        query = {"include_created_at": "true"}
        log = api.http.get(f"/threads/{thread}/runs/{run}/stream", params=query).raise_for_status().content
        (ended,) = ENDED.findall(log)
        yield page.evaluate("window.shown.completed") - 1000 * float(ended)


def main(rounds: int) -> None:
    settings = {"OPENAI_API_KEY": "sk-upstream"}
    with (
        Upstream() as upstream,
        KumosProcess(Path(tempfile.mkdtemp()), OPENAI_BASE_URL=upstream.base_url, **settings) as server,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page(base_url=server.url)
        page.set_default_timeout(PATIENCE)
        page.goto(server.login_url)
        page.wait_for_url("**/chat/**")
        for name, own_page in (("list of runs", False), ("page of the run", True)):
            took = list(lags(page, Api(server), upstream, rounds, own_page=own_page))
            print(f"{name}: median {statistics.median(took):.0f} ms, worst {max(took):.0f} ms; the goal is 1,000 ms")
        chromium.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
