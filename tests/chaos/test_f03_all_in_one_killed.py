"""F3: SIGKILL for the process that is everything, again and again, on SQLite: its runs go on in the next one."""

from __future__ import annotations

import pytest

from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize(
    ("runs", "kills", "pause"),
    [(36, 4, (1.0, 2.0)), pytest.param(300, 100, (2.0, 6.0), marks=pytest.mark.slow)],  # an answer takes two seconds
    ids=["short", "full"],
)
def test_f3_the_process_that_is_everything_is_killed(runs: int, kills: int, pause: tuple[float, float]) -> None:
    async def scenario(rig: Rig) -> None:
        (server,) = rig.fleet.servers
        load = rig.load(runs, at_once=12, model="seeded:60:30")

        async def kill() -> None:
            await server.kill()
            await server.start()

        async with rig.working(load) as work:
            await rig.injector.repeat(kills, pause, kill, while_true=lambda: not work.done())

    conduct(Plan("F3", from_start=True), scenario, bites=lambda row: row.take_overs)
