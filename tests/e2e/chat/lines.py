"""Lines between a browser and the server, for the tests: how many there are, a bad network, a tab that is hidden."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Frame, Page

from tests.chaos.proxy import Proxy
from tests.e2e.chat.browsing import PATIENCE, Api
from tests.process import KumosProcess

LIST = """() => new Promise((resolve) => {
  const { port } = new SharedWorker("/static/chat/exchange-worker.js", { type: "module", name: "kumos-1" });
  port.onmessage = ({ data }) => {
    if (data.list) resolve(data.list.filter((one) => !one.marks).map((one) => one.thread));
  };
  port.postMessage({ do: "list" });
})"""
"""The threads that the browser's one connection follows, marks of the sidebar apart."""


def streams(api: Api) -> float:
    """How many the server has open."""
    page = api.http.get(str(api.http.base_url).replace("/v1/", "/metrics")).raise_for_status().text
    match = re.search(r"^kumos_streams (\S+)$", page, re.MULTILINE)
    assert match
    return float(match[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.1)


def hide(page: Page | Frame, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


@contextmanager
def bad_network(server: KumosProcess) -> Iterator[tuple[Proxy, Callable[[Callable[[], Any]], Any]]]:
    """A proxy before the server, and how to do something to it: it lives in a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = Proxy(("127.0.0.1", server.port))

    def do(work: Callable[[], Any]) -> Any:
        async def on_loop() -> Any:
            done = work()
            return await done if isinstance(done, Coroutine) else done

        return asyncio.run_coroutine_threadsafe(on_loop(), loop).result(PATIENCE / 1000)

    do(proxy.accept)
    try:
        yield proxy, do
    finally:
        do(lambda: proxy.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
