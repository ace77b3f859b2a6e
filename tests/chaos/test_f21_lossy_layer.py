"""F21: a channel layer that drops 30 %, doubles 10 %, delays by up to half a second and so swaps: no stream is wrong.

F24: one that brings nothing at all. Everything is found by looking into the database, within a second or so.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos


def conduct_over(
    layer: str, test: str, database: str, runs: int, at_once: int, *, drop: float, double: float, delay: float
) -> None:
    """One process with its layer in memory, or several around Redis."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.chaos.lossy_settings"}
    settings |= {"CHAOS_DROP": str(drop), "CHAOS_DOUBLE": str(double), "CHAOS_DELAY": str(delay)}
    plan = Plan(test, database, settings=settings)
    if database == "postgresql":
        plan = replace(plan, web=2, runners=2, redis=True)
    found_late = 0.0

    async def scenario(rig: Rig) -> None:
        nonlocal found_late
        rig.injector.note(layer)
        async with rig.working(rig.load(runs, at_once=at_once, model="seeded:40:40")):
            pass
        found_late = await missed(rig)

    conduct(plan, scenario, bites=lambda row: found_late)


async def missed(rig: Rig) -> float:
    """News that a poll found before any bell did: so the layer really was as bad as it was told to be."""
    return sum([await server.counted("kumos_bells_missed_total") for server in rig.fleet.web])


@pytest.mark.parametrize(
    ("database", "runs"),
    [
        ("postgresql", 60),
        pytest.param("postgresql", 1000, marks=pytest.mark.slow),
        pytest.param("sqlite", 1000, marks=pytest.mark.slow),
    ],
    ids=["short-postgresql", "full-postgresql", "full-sqlite"],
)
def test_f21_bells_are_lost_doubled_late_and_in_disorder(database: str, runs: int) -> None:
    conduct_over("lossy layer", "F21", database, runs, 20, drop=0.3, double=0.1, delay=0.3)


@pytest.mark.parametrize(
    ("database", "runs"),
    [
        ("sqlite", 40),
        pytest.param("sqlite", 200, marks=pytest.mark.slow),
        pytest.param("postgresql", 200, marks=pytest.mark.slow),
    ],
    ids=["short-sqlite", "full-sqlite", "full-postgresql"],
)
def test_f24_no_bell_ever_rings(database: str, runs: int) -> None:
    conduct_over("silent layer", "F24", database, runs, 16, drop=1.0, double=0.0, delay=0.0)
