"""The stream of several threads against a served Kumos: live, cut anywhere, one seat (docs/extensions.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.e2e.events import TERMINAL, Desk, Watcher, frames
from tests.process import KumosProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def desk(server: KumosProcess) -> Iterator[Desk]:
    with Desk(server) as desk:
        yield desk


def address(threads: dict[str, int | None]) -> str:
    cursors = (f"starting_after[{thread}]={'' if after is None else after}" for thread, after in threads.items())
    return f"/threads/runs/stream?{'&'.join(cursors)}"


def by_thread(raw: bytes) -> dict[str, bytes]:
    """What of a stream is of each thread, as the thread's own stream says it."""
    told: dict[str, bytes] = {}
    for block in raw.replace(b": keep-alive\n", b"").split(b"\n\n")[:-1]:
        match = re.match(rb"id: (thread_\w+):", block)
        assert match, block
        told[match[1].decode()] = told.get(match[1].decode(), b"") + block.replace(match[0], b"id: ", 1) + b"\n\n"
    return told


def ended(watcher: Watcher, runs: int) -> bool:
    return sum(watcher.raw.count(f"event: {name}\n".encode()) for name in TERMINAL) >= runs


def test_several_threads_on_one_connection(desk: Desk) -> None:
    """Each tells what its own stream tells, in the same bytes; cut and taken up again nothing is missing or doubled."""
    assistant = desk.assistant()
    threads = [desk.thread() for _ in range(3)]
    watcher = desk.watch(address(dict.fromkeys(threads)))
    assert watcher.headers["kumos-cursors"] == ", ".join(f"{thread}=0" for thread in threads)
    runs = [desk.ask("!slow 40 !long 20", thread=thread, assistant=assistant) for thread in threads]
    watcher.wait(lambda watcher: len(watcher.raw) > 4000)
    watcher.close()
    cut = by_thread(watcher.raw[:4000])
    last = {thread: frames(cut[thread])[-1].id if thread in cut else 0 for thread in threads}
    watcher = desk.watch(address(last))
    watcher.wait(lambda watcher: ended(watcher, 3))
    rest = by_thread(watcher.raw)
    for thread, run in zip(threads, runs, strict=True):
        story = (
            desk.read(f"{run}/stream").replace(b": keep-alive\n", b"").removesuffix(b"event: done\ndata: [DONE]\n\n")
        )
        assert cut.get(thread, b"") + rest.get(thread, b"") == story
