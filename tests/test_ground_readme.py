"""A newcomer who only pastes: what README.md shows and what `serve` prints, followed word by word."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from kumos_site.settings import VARIABLES

pytestmark = pytest.mark.e2e

START_SECONDS = 60.0
PASTE_SECONDS = 60.0
EVENT = re.compile(r"^event: (.+)$", re.MULTILINE)
HEADERS = {"Authorization": "Bearer sk-test-001"}


@dataclass(frozen=True, slots=True)
class Served:
    port: int
    process: subprocess.Popen[bytes]
    printed_to: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def printed(self) -> str:
        return self.printed_to.read_text()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.address}/v1/assistants", headers=HEADERS).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)  # between two looks at another process, for want of anything to wait on
        raise AssertionError(f"not served after {START_SECONDS} s:\n{self.printed()}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A fresh start with nothing set but where to be, as `make serve` does it."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=settings.BASE_DIR,
            env=environment | {"KUMOS_DATA_DIR": str(folder / "data"), "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    running = Served(port, process, folder / "printed")
    try:
        running.wait_until_ready()
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0, running.printed()
    finally:
        process.kill()
        process.wait()


def blocks(language: str) -> list[str]:
    readme = (settings.BASE_DIR / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def block_with(language: str, words: str) -> str:
    (block,) = [block for block in blocks(language) if words in block]
    return block


def paste(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PASTE_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_walk_with_curl_streams_the_run_and_shows_it_again(served: Served) -> None:
    walk = block_with("sh", "Document Searcher").replace("http://localhost:3000", served.address)
    watch = walk.strip().splitlines()[-1]
    pasted = paste("\necho '--- cut ---'\n".join([walk.removesuffix(f"{watch}\n"), watch, watch]))
    _, first, second = pasted.split("--- cut ---\n")
    assert first == second
    assert first.endswith("event: done\ndata: [DONE]\n\n")
    events = EVENT.findall(first)
    assert events[:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert events[-2] == "thread.run.completed"
    assert events.count("thread.message.delta") > 5
    searched, answered = events.index("thread.run.step.completed"), events.index("thread.message.created")
    assert searched < answered


def test_the_python_example_prints_a_cited_answer(served: Served) -> None:
    example = block_with("python", "AssistantEventHandler").replace("http://localhost:3000", served.address)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", example],
        capture_output=True,
        text=True,
        timeout=PASTE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "Dragon" in done.stdout
    assert "【" in done.stdout


def test_the_printed_curl_line_streams(served: Served) -> None:
    (line,) = [line.strip() for line in served.printed().splitlines() if line.strip().startswith("curl ")]
    assert "sk-test-001" in line
    assert EVENT.findall(paste(line))[-1] == "done"


def test_the_printed_link_logs_in_once(served: Served) -> None:
    (link,) = re.findall(r"http://\S+/login/\S+", served.printed())
    first = httpx.get(link, follow_redirects=True)
    assert first.status_code == 200
    assert first.url.path.startswith("/chat/")
    assert httpx.get(link, follow_redirects=True).status_code == 410


def test_the_admin_link_is_printed_and_answers(served: Served) -> None:
    (link,) = re.findall(r"http://\S+/admin/", served.printed())
    assert httpx.get(link, follow_redirects=True).status_code == 200


def test_the_first_page_is_the_chat(served: Served) -> None:
    answer = httpx.get(f"{served.address}/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/chat/")
