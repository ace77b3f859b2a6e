"""A newcomer who only pastes: what README.md shows and what `serve` prints, followed word by word."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from django.conf import settings

from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

PASTE_SECONDS = 60.0
EVENT = re.compile(r"^event: (.+)$", re.MULTILINE)
CURL_COMMAND = re.compile(r"^ *(curl (?:.*\\\n)*.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    """A fresh start of its own: its login link is not used yet."""
    with KumosProcess(tmp_path_factory.mktemp("readme")) as process:
        yield process


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


def test_the_walk_with_curl_streams_the_run_and_shows_it_again(served: KumosProcess) -> None:
    walk = block_with("sh", "Document Searcher").replace("http://localhost:3000", served.url)
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


def test_the_python_example_prints_a_cited_answer(served: KumosProcess) -> None:
    example = block_with("python", "AssistantEventHandler").replace("http://localhost:3000", served.url)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", example],
        capture_output=True,
        text=True,
        timeout=PASTE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "Dragon" in done.stdout
    assert "【" in done.stdout


def test_the_printed_curl_command_streams(served: KumosProcess) -> None:
    (command,) = CURL_COMMAND.findall(served.output())
    assert EVENT.findall(paste(command))[-1] == "done"


def test_the_printed_link_logs_in_once(served: KumosProcess) -> None:
    (link,) = re.findall(r"http://\S+/login/\S+", served.output())
    first = httpx.get(link, follow_redirects=True)
    assert first.status_code == 200
    assert first.url.path.startswith("/chat/")
    with httpx.Client(follow_redirects=True) as stranger:
        assert stranger.get(link).status_code == 410
        assert stranger.get(f"{served.url}/chat/").url.path == "/admin/login/"


def test_the_admin_link_is_printed_and_answers(served: KumosProcess) -> None:
    (link,) = re.findall(r"http://\S+/admin/", served.output())
    assert httpx.get(link, follow_redirects=True).status_code == 200


def test_the_first_page_is_the_chat(served: KumosProcess) -> None:
    answer = httpx.get(f"{served.url}/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/chat/")
