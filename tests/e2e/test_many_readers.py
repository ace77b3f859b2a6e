"""Readers of one thread on one process: many of them, and some that take nothing (P8, P9; reliability 2.8, 2.10)."""

from __future__ import annotations

import asyncio
import http.client
import re
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.backends import Redis, has_redis
from tests.e2e.events import HEARTBEAT, SECONDS, Desk
from tests.e2e.rawhttp import BEARER, RawConnection
from tests.e2e.test_uploads import MEGABYTE, Peak
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

WORD = "ä🐉x" * 170 + "y"
SPEECH = f"!fast !echo {' '.join([WORD] * 200)}"
"""What comes back of it is about half a megabyte of events."""
COMPLETED = b"event: thread.run.completed\n"
FOLLOWERS = 500


class Reader:
    """Reads a thread's stream from its first event, as soon as it is told to, until it has seen so many runs end."""

    def __init__(self, server: KumosProcess, thread: str) -> None:
        self.connection = RawConnection(server)
        self.connection.head(f"GET /v1/threads/{thread}/runs/stream?starting_after=0", BEARER)
        self.story = bytearray()
        self._thread: threading.Thread | None = None

    def start(self, runs: int) -> None:
        self._thread = threading.Thread(target=self._read, args=(runs,))
        self._thread.start()

    def _read(self, runs: int) -> None:
        response = http.client.HTTPResponse(self.connection.socket)
        response.begin()
        ended = 0
        while ended < runs:
            piece = response.read1(256 * 1024)
            assert piece, "the stream ended"
            ended += (self.story[-len(COMPLETED) :] + piece).count(COMPLETED)
            self.story += piece

    def events(self) -> bytes:
        """What it read, once it has read all; without the last frame's end, which may be still on its way."""
        assert self._thread is not None
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), f"{len(self.story)} bytes so far"
        story = bytes(self.story).replace(HEARTBEAT, b"")
        return story[: story.rindex(COMPLETED)]

    def close(self) -> None:
        self.connection.socket.close()


def speak(desk: Desk, thread: str, assistant: str, runs: int) -> list[float]:
    """So many runs, one after the other; how long each took a client that streams it, in seconds."""
    took = []
    for _ in range(runs):
        started = time.monotonic()
        desk.make(f"/threads/{thread}/messages", {"role": "user", "content": SPEECH})
        # Only what was said last: else each prompt holds all of the thread, in the memory that is measured.
        brief = {"truncation_strategy": {"type": "last_messages", "last_messages": 1}}
        post = {"assistant_id": assistant, "stream": True, **brief}
        desk.watch(f"/threads/{thread}/runs", post=post).close_when_done()
        took.append(time.monotonic() - started)
    return took


def check_memory(folder: Path, *, runs: int, idle: int, seconds: float) -> tuple[list[float], list[float]]:
    """Runs without and with readers that take nothing for at least so long. How long they took, in seconds."""
    settings = {"KUMOS_STALL_SECONDS": str(2 * SECONDS + 10 * seconds), "KUMOS_HEARTBEAT_SECONDS": "0.5"}
    with KumosProcess(folder, **settings) as server, Desk(server) as desk, ExitStack() as stack:
        assistant = desk.assistant()

        def reader(thread: str) -> Reader:
            reader = Reader(server, thread)
            stack.callback(reader.close)
            return reader

        quiet = desk.thread()  # also what is loaded once, is
        healthy = reader(quiet)
        healthy.start(runs)
        alone = speak(desk, quiet, assistant, runs)
        healthy.events()
        thread = desk.thread()
        with Peak(server) as peak:
            healthy = reader(thread)
            healthy.start(runs)
            idlers = [reader(thread) for _ in range(idle)]
            until = time.monotonic() + seconds
            beside = speak(desk, thread, assistant, runs)
            while time.monotonic() < until:
                assert server.answers()
                time.sleep(0.1)
            story = healthy.events()
        streamed = len(story) / MEGABYTE
        print(f"{streamed:.0f} MB, {idle} idle readers: memory +{peak.growth / MEGABYTE:.1f} MB")  # noqa: T201
        for idler in idlers:
            idler.start(runs)
        for idler in idlers:
            assert idler.events() == story, "a slow reader missed something"
    assert peak.growth < 30 * MEGABYTE
    assert streamed * idle > 60, "else buffering all of it would not show"
    return alone, beside


def test_p9_readers_that_take_nothing_cost_no_memory_and_miss_nothing(tmp_path: Path) -> None:
    check_memory(tmp_path, runs=12, idle=12, seconds=0)


@pytest.mark.slow
def test_p9_a_reader_that_takes_nothing_for_a_minute_while_50_megabytes_are_streamed(tmp_path: Path) -> None:
    alone, beside = check_memory(tmp_path, runs=100, idle=2, seconds=60)
    for name, part in (("median", statistics.median), ("p95", lambda took: statistics.quantiles(took, n=20)[-1])):
        print(f"{name} of the others: {part(beside) / part(alone):.2f} of what it was")  # noqa: T201


def test_a_reader_that_takes_nothing_is_cut_and_can_go_on(tmp_path: Path) -> None:
    with KumosProcess(tmp_path, KUMOS_STALL_SECONDS="1") as server, Desk(server) as desk:
        thread, assistant = desk.thread(), desk.assistant()
        speak(desk, thread, assistant, 12)
        reader = Reader(server, thread)
        give_up_at = time.monotonic() + SECONDS
        while "took nothing" not in server.output():
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            reader._read(12)
        got = bytes(reader.story)
        last = int(re.findall(rb"^id: (\d+)$", got[: got.rindex(b"\n\n")], re.MULTILINE)[-1])
        reader.close()
        rest = desk.watch(f"/threads/{thread}/runs/stream", after=last)
        rest.wait(lambda watcher: watcher.raw.count(COMPLETED) + got.count(COMPLETED) >= 12)
        ids = re.findall(rb"^id: (\d+)$", got[: got.rindex(b"\n\n") + 2] + rest.raw, re.MULTILINE)
        assert ids == sorted(ids, key=int)
        assert len(set(ids)) == len(ids)


# Five hundred ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.skipif(not has_redis(), reason="no Redis"))])
def crowded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[KumosProcess, redis.Redis | None]]:
    """A server that may have all these readers, and the Redis that carries its bells, if one does."""
    with ExitStack() as stack:
        settings, client = {"REDIS_URL": ""}, None
        if request.param == "redis":
            backend = stack.enter_context(Redis())
            settings["REDIS_URL"] = backend.url
            client = redis.Redis.from_url(backend.url)
            stack.callback(client.close)
        limits = {"KUMOS_STREAMS_PER_KEY": str(FOLLOWERS + 1), "KUMOS_HEARTBEAT_SECONDS": "2"}
        yield stack.enter_context(KumosProcess(tmp_path, **limits, **settings)), client


async def follow(port: int, path: str, here: asyncio.Semaphore) -> bytes:
    """A run's whole stream, as a client without any library reads it; `here` is released once the stream is open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1{path} HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    story = bytearray()
    while size := int(await reader.readline(), 16):
        story += await reader.readexactly(size)
        await reader.readexactly(2)
        here.release()
    writer.close()
    await writer.wait_closed()
    return bytes(story).replace(HEARTBEAT, b"")


def channels(client: redis.Redis | None) -> set[bytes]:
    """What the process listens to."""
    found: Any = [] if client is None else client.pubsub_channels()
    return set(found)


def test_p8_five_hundred_followers_of_one_run(crowded: tuple[KumosProcess, redis.Redis | None]) -> None:
    server, client = crowded
    with Desk(server) as desk:
        run = desk.ask("!slow 20 !long 20000")
        desk.watch(f"{run}/stream").wait_for("thread.message.delta")
        of_one = channels(client)

        async def all_of_them() -> tuple[list[bytes], set[bytes]]:
            here = asyncio.Semaphore(0)
            async with asyncio.timeout(2 * SECONDS), asyncio.TaskGroup() as group:
                followers = [group.create_task(follow(server.port, f"{run}/stream", here)) for _ in range(FOLLOWERS)]
                for _ in range(5 * FOLLOWERS):  # all are there, and hear it live
                    await here.acquire()
                of_all = await asyncio.to_thread(channels, client)
                await asyncio.to_thread(desk.make, f"{run}/cancel")
            return [follower.result() for follower in followers], of_all

        stories, of_all = asyncio.run(all_of_them())
        log = desk.read(f"{run}/stream").replace(HEARTBEAT, b"")
    assert len(stories) == FOLLOWERS
    assert set(stories) == {log}
    assert len(of_all) <= len(of_one) + 4, (
        "each follower has a channel of its own"
    )  # a layer may be made anew meanwhile
