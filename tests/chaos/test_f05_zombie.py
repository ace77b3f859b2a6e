"""F5: SIGSTOP for a runner for longer than its lease. When it goes on, others have its runs: it must write no word."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import PROFILE

pytestmark = pytest.mark.chaos

LEASE_SECONDS = float(PROFILE["KUMOS_LEASE_SECONDS"])
REJECTIONS = "kumos_fence_rejections_total"
NOTICE_SECONDS = 10.0
"""How long a worker that stood still may take to see what it has lost: its next write or beat says so."""


async def rejections(rig: Rig) -> float:
    """How often the fence has stopped a worker; waits until it has."""
    with suppress(TimeoutError):
        async with asyncio.timeout(NOTICE_SECONDS):
            while not (found := sum([await server.counted(REJECTIONS) for server in rig.fleet.runners])):
                await asyncio.sleep(0.1)
            return found
    return 0


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"])
@pytest.mark.parametrize(
    ("runs", "pauses", "leases", "rests"),
    # Many pauses one after the other leave no run the time that its answer takes, and it expires: rightly.
    [(16, 1, 2, (0.5, 1.0)), pytest.param(300, 60, 3, (2.0, 3.0), marks=pytest.mark.slow)],
    ids=["short", "full"],
)
def test_f5_a_runner_stands_still_for_longer_than_its_lease(
    database: str, runs: int, pauses: int, leases: int, rests: tuple[float, float]
) -> None:
    rejected = 0.0

    async def scenario(rig: Rig) -> None:
        nonlocal rejected
        load = rig.load(runs, at_once=10, model="seeded:80:20")

        async def pause() -> None:
            server = (await rig.busy())[0]
            while True:
                server.stop()
                if database == "postgresql" or await asyncio.to_thread(rig.database.is_free):
                    break
                server.go_on()  # in the middle of a transaction it would stop everybody: that is another test
            await rig.injector.rest(1.5 * LEASE_SECONDS, leases * LEASE_SECONDS)
            server.go_on()

        async with rig.working(load) as work:
            await rig.injector.repeat(pauses, rests, pause, while_true=lambda: not work.done())
        rejected = await rejections(rig)

    plan = Plan("F5", database, web=1, runners=2, redis=database == "postgresql")
    conduct(plan, scenario, bites=lambda row: row.take_overs and rejected)


def test_f5_a_runner_stands_still_in_the_middle_of_a_transaction() -> None:
    """It has rows locked, and PostgreSQL must not let the others wait: they end all runs while it still stands."""

    async def scenario(rig: Rig) -> None:
        zombie, _ = rig.fleet.runners
        await zombie.kill()
        await zombie.start(KUMOS_FAILPOINTS="message.delta.before_commit:40:stall")
        async with rig.working(rig.load(16, at_once=8, model="seeded:60:30")) as work:
            while not zombie.stopped:
                await asyncio.sleep(0.02)
            rig.injector.note("stall", name=zombie.name)
            await work
        zombie.go_on()
        assert await zombie.terminate() == 0  # it has come to its senses

    plan = Plan("F5 in a transaction", "postgresql", web=1, runners=2, redis=True)
    conduct(plan, scenario, bites=lambda row: row.take_overs)
