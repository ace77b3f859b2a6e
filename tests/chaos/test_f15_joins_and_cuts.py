"""F15: readers join anywhere in a run, cut their connections at random bytes and go on by header or by query. With F19
the deltas of ended runs go at the same time: texts and states stay whole for whoever comes.

F23: clients leave at the very first event: the run is made and goes on all the same.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.chaos.load import Accepted, Load
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.subscribers import Subscriber
from tests.chaos.wire import Lost, opened

pytestmark = pytest.mark.chaos

READERS = 10


@pytest.mark.parametrize("compacted", [False, True], ids=["f15", "f19"])
@pytest.mark.parametrize("runs", [20, pytest.param(200, marks=pytest.mark.slow)], ids=["short", "full"])
def test_f15_readers_come_and_go(runs: int, compacted: bool) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=6, model="seeded:80:60", cuts=5)
        late: set[asyncio.Task[None]] = set()

        def join(accepted: Accepted) -> None:
            for number in range(READERS - load.subscribers):
                late.add(asyncio.create_task(come(rig, accepted, number)))

        load.after_accept = join
        async with rig.working(load):
            pass
        await asyncio.gather(*late)

    settings = {"KUMOS_DELTA_KEEP_SECONDS": "0.2"} if compacted else {}
    plan = Plan("F19" if compacted else "F15", "sqlite", compacted=compacted, settings=settings)
    conduct(plan, scenario, bites=lambda row: row.streams > runs * (READERS - 2))


async def come(rig: Rig, accepted: Accepted, number: int) -> None:
    """A reader that joins at any moment of a run's life, its end included, and cuts five times."""
    chance = rig.load(0).chance("join", accepted.prompt, number)
    reader = Subscriber(
        rig.history, rig.addresses, AUTHORISED, f"{number} {accepted.prompt}", "join", chance, cuts=5, cut_bytes=2500
    )
    reader.aim(accepted.thread, accepted.run)
    await asyncio.sleep(chance.uniform(0, 2))
    await reader.follow()


@pytest.mark.parametrize("runs", [60, pytest.param(500, marks=pytest.mark.slow)], ids=["short", "full"])
def test_f23_whoever_asks_leaves_at_the_first_event(runs: int) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(1, model="seeded:20:60", sdk_every=0)
        await load.work()  # it has made the assistant
        slots = asyncio.Semaphore(10)

        async def one(number: int) -> None:
            async with slots:
                await leave(rig, load, number)

        await asyncio.gather(*[one(number) for number in range(runs)])

    conduct(Plan("F23", "sqlite"), scenario, bites=lambda row: row.runs == runs + 1)


async def leave(rig: Rig, load: Load, number: int) -> None:
    prompt = f"left {number} of {rig.plan.seed}"
    chance = load.chance("left", number)
    with suppress(Lost):
        body = load.request(prompt, stream=True)
        async with opened(rig.addresses[0], "POST", "/v1/threads/runs", AUTHORISED, body) as response:
            assert response.status == 200
            async for piece in response.pieces():
                if b"\n\n" in piece:
                    break
            response.abort(reset=chance.random() < 0.5)
    rig.injector.note("left")
    rig.history.write("accepted", prompt=prompt, run="", thread="", model=load.model)
