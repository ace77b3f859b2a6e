"""F17: all processes are stopped and started again, one after the other, as for an update, while runs come in: none
fails, none counts as crashed, and clients see nothing but connections that they open again.
"""

from __future__ import annotations

import asyncio
import signal
from itertools import cycle

import pytest

from tests.chaos.rig import HELD, Plan, Rig, conduct
from tests.chaos.servers import Server

pytestmark = pytest.mark.chaos

STOP_SECONDS = 30.0
TAKEOVERS = "kumos_run_takeovers_total"


@pytest.mark.parametrize(
    ("database", "runs", "restarts"),
    [
        ("sqlite", 60, 4),
        pytest.param("sqlite", 1500, 30, marks=pytest.mark.slow),
        pytest.param("postgresql", 1500, 30, marks=pytest.mark.slow),
    ],
    ids=["sqlite-short", "sqlite-full", "postgresql-full"],
)
def test_f17_processes_are_restarted_in_turn(database: str, runs: int, restarts: int) -> None:
    handed_over = 0.0

    async def scenario(rig: Rig) -> None:
        nonlocal handed_over
        # As many at a time as ten a second need; longer than a drain waits, so that some are handed back.
        load = rig.load(runs, at_once=30, pace=10, model="seeded:60:20", subscribers=2)
        workers = rig.fleet.runners
        turns = cycle([server for pair in zip(workers, rig.fleet.web, strict=True) for server in pair])

        async def restart() -> None:
            nonlocal handed_over
            server = next(turns)
            if server in workers:
                await has_work(rig, server, work)
                handed_over += await server.counted(TAKEOVERS)  # in the life that ends here
            server.send(signal.SIGTERM)
            assert await server.gone(STOP_SECONDS) == 0
            await server.start()

        async with rig.working(load) as work:
            await rig.injector.repeat(restarts, (0.1, 0.3), restart, while_true=lambda: not work.done())
        handed_over += sum([await server.counted(TAKEOVERS) for server in workers])

    # A lease so long that no load of the machine ends it: what is handed back needs none to end.
    settings = {"KUMOS_DRAIN_SECONDS": "0.5", "KUMOS_LEASE_SECONDS": "30"}
    plan = Plan("F17", database, web=2, runners=2, redis=database == "postgresql", settings=settings)
    conduct(plan, scenario, bites=lambda row: row.injections >= 2 and handed_over, crashes=False)


async def has_work(rig: Rig, server: Server, work: asyncio.Task[None]) -> None:
    """Waits until a worker has something to hand back, or everything is done."""
    while not work.done() and server.pid not in {
        row["pid"] for row in await asyncio.to_thread(rig.database.rows, HELD)
    }:
        await asyncio.sleep(0.05)
