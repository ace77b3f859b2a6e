"""F2: SIGKILL for a web process, again and again: readers come back to it or to the other one and miss nothing, and no
run was accepted that is not there.
"""

from __future__ import annotations

import pytest

from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize(
    ("database", "runs", "kills"),
    [
        ("postgresql", 40, 6),
        pytest.param("postgresql", 500, 50, marks=pytest.mark.slow),
        pytest.param("sqlite", 500, 50, marks=pytest.mark.slow),
    ],
    ids=["short-postgresql", "full-postgresql", "full-sqlite"],
)
def test_f2_a_web_process_is_killed(database: str, runs: int, kills: int) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=16, model="seeded:60:40")

        async def kill() -> None:
            server = rig.injector.choice(rig.fleet.web)
            await server.kill()
            await server.start()

        async with rig.working(load) as work:
            await rig.injector.repeat(kills, (0.2, 0.8), kill, while_true=lambda: not work.done())

    plan = Plan("F2", database, web=2, runners=1, redis=database == "postgresql")
    conduct(plan, scenario, bites=lambda row: row.injections >= min(kills, 3))
