"""F15: readers join anywhere in a run, cut their connections at random bytes and go on by header or by query. With F19
the deltas of ended runs go at the same time: texts and states stay whole for whoever comes.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.load import Accepted
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.subscribers import Subscriber

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
