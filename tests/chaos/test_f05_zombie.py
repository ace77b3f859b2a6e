"""F5: SIGSTOP for a runner for longer than its lease. When it goes on, others have its runs: it must write no word."""

from __future__ import annotations

import re

import pytest

from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import PROFILE

pytestmark = pytest.mark.chaos

LEASE_SECONDS = float(PROFILE["KUMOS_LEASE_SECONDS"])
REJECTED = re.compile("is not ours any more|ended elsewhere")
"""What a worker logs when the fence has refused its write."""


def rejections(rig: Rig) -> int:
    return sum(len(REJECTED.findall(server.log.read_text())) for server in rig.fleet.runners)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("runs", "pauses"), [(40, 3), pytest.param(300, 60, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_f5_a_runner_stands_still_for_longer_than_its_lease(database: str, runs: int, pauses: int) -> None:
    refused = 0

    async def scenario(rig: Rig) -> None:
        nonlocal refused
        load = rig.load(runs, at_once=12, model="seeded:120:20")

        async def pause() -> None:
            server = rig.injector.choice(rig.fleet.runners)
            server.stop()
            await rig.injector.rest(1.5 * LEASE_SECONDS, 3 * LEASE_SECONDS)
            server.go_on()

        async with rig.working(load) as work:
            await rig.injector.repeat(pauses, (0.5, 1.0), pause, while_true=lambda: not work.done())
        refused = rejections(rig)

    plan = Plan("F5", database, web=1, runners=2, redis=database == "postgresql", settings={"KUMOS_RUN_SLOTS": "8"})
    conduct(plan, scenario, bites=lambda row: row.take_overs and refused)
