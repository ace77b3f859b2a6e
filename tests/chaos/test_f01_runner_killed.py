"""F1: SIGKILL for a random runner, again and again, while others serve and watch: all runs are completed."""

from __future__ import annotations

import pytest

from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"])
@pytest.mark.parametrize(
    ("runs", "kills", "at_once", "pause"),
    [
        (24, 4, 12, (0.5, 1.5)),
        # Longer: where only the one who works is killed, again before an answer can be through, no run ever ends.
        pytest.param(1000, 200, 40, (1.5, 4.5), marks=pytest.mark.slow),
    ],
    ids=["short", "full"],
)
def test_f1_a_random_runner_is_killed(
    database: str, runs: int, kills: int, at_once: int, pause: tuple[float, float]
) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=at_once, model="seeded:60:30")

        async def kill() -> None:
            server = rig.injector.choice(await rig.busy())
            await server.kill()
            await server.start()

        async with rig.working(load) as work:
            await rig.injector.repeat(kills, pause, kill, while_true=lambda: not work.done())

    settings = {"KUMOS_RUN_SLOTS": str(at_once // 2 + 2)}  # so that both have some of the work
    plan = Plan("F1", database, web=1, runners=2, redis=database == "postgresql", settings=settings)
    conduct(plan, scenario, bites=lambda row: row.take_overs)
