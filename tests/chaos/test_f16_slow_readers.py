"""F16: many readers take a kilobyte a second, while others of the same runs read as fast as they can: the server holds
nothing for the slow ones, and each of them all sees every event once, in order. What the fast ones wait is printed
beside what they wait when they are alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.chaos.databases import seconds
from tests.chaos.load import Load, at_most
from tests.chaos.report import spread
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.subscribers import Subscriber
from tests.chaos.wire import SECONDS, Response

pytestmark = pytest.mark.chaos

RATE = 1_000
"""Bytes a second of the slow ones."""
SLOW = 5
"""Slow readers of each run."""
GROWTH = 30 << 20
"""Bytes that the server's memory may be above what it was when warm, at any moment."""


class Fast(Subscriber):
    """Remembers when each event came."""

    def aim(self, thread: str, run: str) -> None:
        super().aim(thread, run)
        self.thread, self.came = thread, dict[int, float]()

    def saw(self, name: str, data: str) -> None:
        super().saw(name, data)
        assert self.last is not None
        self.came[self.last] = time.time()


class Slow(Subscriber):
    """Takes RATE bytes a second, until `hurry` is set."""

    buffer = 4096
    hurry: asyncio.Event

    async def read(self, response: Response) -> None:
        await super().read(Trickle(response, self.hurry))


class Trickle(Response):
    def __init__(self, response: Response, hurry: asyncio.Event) -> None:
        super().__init__(response._reader, response._writer)
        self.status, self.headers, self.hurry = response.status, response.headers, hurry

    async def pieces(self, patience: float = SECONDS) -> AsyncIterator[bytes]:
        async for piece in super().pieces(patience):
            yield piece
            with suppress(TimeoutError):
                async with asyncio.timeout(len(piece) / RATE):
                    await self.hurry.wait()


async def watch(rig: Rig, load: Load, number: int, slow: int) -> Fast:
    """One run with its readers. The slow ones hurry once it is over: what they missed till then is still there."""
    prompt = f"{load.mark} {number} of {rig.plan.seed}"
    accepted = await load.create(prompt, load.chance(number))
    fast, hurry = load.subscriber(Fast, prompt, "start"), asyncio.Event()
    followers = [load.subscriber(Slow, prompt, f"slow {place}") for place in range(slow)]
    for reader in (fast, *followers):
        reader.aim(accepted.thread, accepted.run)
    for follower in followers:
        follower.hurry = hurry
    async with asyncio.TaskGroup() as group:
        for follower in followers:
            group.create_task(follower.follow())
        await fast.follow()
        for follower in followers:
            if not follower.ended:
                rig.injector.note("slow reader", who=follower.who, at=follower.last, behind=fast.last)
        hurry.set()
    return fast


async def latencies(rig: Rig, load: Load, at_once: int, slow: int) -> list[float]:
    """All runs of a load, at their end: what each event took from the database to its fast reader."""
    await load.begin()

    async def one(number: int) -> Fast:
        async with asyncio.timeout(load.patience):
            return await watch(rig, load, number, slow)

    readers = await at_most(at_once, one, range(load.runs))
    rows = await asyncio.to_thread(rig.database.rows, STORED)
    stored = {(row["thread_id"], row["seq"]): seconds(row["created_at"]) for row in rows}
    return [came - stored[reader.thread, seq] for reader in readers for seq, came in reader.came.items()]


async def highest(rig: Rig) -> None:
    """Looks at the server's memory until cancelled. Raises AssertionError when it is too much."""
    (server,) = rig.fleet.servers
    warm = server.usage()["memory"]
    while True:
        await asyncio.sleep(0.2)  # a look now and then
        memory = server.usage()["memory"]
        assert memory <= warm + GROWTH, f"{warm} bytes have become {memory}"


@pytest.mark.parametrize(
    ("runs", "at_once", "model"),
    [(8, 4, "seeded:200:80"), pytest.param(100, 20, "seeded:400:40", marks=pytest.mark.slow)],
    ids=["short", "full"],
)
def test_f16_slow_readers_cost_nothing(runs: int, at_once: int, model: str) -> None:
    async def scenario(rig: Rig) -> None:
        alone = await latencies(rig, rig.load(at_once, model=model, mark="alone"), at_once, slow=0)
        looking = asyncio.create_task(highest(rig))
        beside = await latencies(rig, rig.load(runs, model=model, mark="beside"), at_once, SLOW)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking  # raises what it found
        print(f"Fast readers alone {spread(alone)} s, beside slow ones {spread(beside)} s (p50, p95, max)")  # noqa: T201

    settings = {"KUMOS_STREAMS_PER_KEY": "1000", "KUMOS_RUN_SLOTS": str(at_once)}
    conduct(Plan("F16", "sqlite", settings=settings), scenario, bites=lambda row: row.injections >= runs * SLOW)


STORED = "SELECT thread_id, seq, created_at FROM streaming_event"
