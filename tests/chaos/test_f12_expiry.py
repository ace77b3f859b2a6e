"""F12: runs whose time is over: their model server is silent, their client gives no outputs, or their worker is dead.
They expire soon after, say so, leave an honest message, and their thread is free at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from tests.chaos.load import Accepted, Load
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.upstreams import FUNCTION, TOOL
from tests.chaos.wire import Lost, ask

pytestmark = pytest.mark.chaos

LATE_SECONDS = 10.0
AT_ONCE = 20
"""Of each kind: sixty that all speak until the same moment are what two cores can end in time."""
ACTIVE = ("queued", "in_progress", "requires_action")


def plan_of(database: str, seconds: int, late: float = LATE_SECONDS) -> Plan:
    settings = {"KUMOS_RUN_SECONDS": str(seconds), "KUMOS_UPSTREAM_IDLE_SECONDS": str(2 * seconds)}
    return Plan("F12", database, web=1, runners=1, ends=("expired",), late_seconds=late, settings=settings)


def loads_of(rig: Rig, runs: int, patience: float) -> list[Load]:
    """A third whose model server falls silent, a third whose answer is too long for its time, a third that waits."""
    how = {"at_once": min(runs, AT_ONCE), "subscribers": 2, "sdk_every": 0, "patience": patience}

    def load(mark: str, model: str, reason: str | None, **body: object) -> Load:
        owes = rig.owing("expired", reason=reason)
        return rig.load(runs // 3, mark=mark, model=model, body=body, after_accept=owes, **how)

    return [
        load("silent", "stall:4", "run_expired"),
        load("long", "seeded:9000:10", "run_expired"),
        load("waits", f"tool:{FUNCTION}:{{}}", None, tools=[TOOL]),
    ]


async def threads_are_free(rig: Rig, loads: Sequence[Load]) -> None:
    """A message is taken at once. It says what the first one said, by which the checker knows the run."""
    for accepted in [accepted for load in loads for accepted in load.accepted]:
        message = {"role": "user", "content": accepted.prompt}
        answer = await ask(rig.addresses[0], "POST", f"/v1/threads/{accepted.thread}/messages", AUTHORISED, message)
        assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("database", "seconds", "runs"),
    [
        ("sqlite", 6, 18),
        pytest.param("sqlite", 5, 180, marks=pytest.mark.slow),
        pytest.param("postgresql", 5, 180, marks=pytest.mark.slow),
        # Once with a time like that of real runs; half of it, so that it ends within the time of a test.
        pytest.param("sqlite", 300, 21, marks=pytest.mark.slow),
    ],
    ids=["sqlite-short", "sqlite-full", "postgresql-full", "long-full"],
)
def test_f12_runs_expire(database: str, seconds: int, runs: int) -> None:
    """By their worker's deadline, or, where nobody works on them, by the sweep."""

    async def scenario(rig: Rig) -> None:
        loads = loads_of(rig, runs, patience=seconds + 120)
        rig.injector.note("silence", runs=runs)
        await asyncio.gather(*[load.work() for load in loads])
        await threads_are_free(rig, loads)

    conduct(plan_of(database, seconds), scenario)


@pytest.mark.parametrize(
    ("database", "runs"),
    [
        ("sqlite", 12),
        pytest.param("sqlite", 60, marks=pytest.mark.slow),
        pytest.param("postgresql", 60, marks=pytest.mark.slow),
    ],
    ids=["sqlite-short", "sqlite-full", "postgresql-full"],
)
def test_f12_nobody_is_left_to_work_on_them(database: str, runs: int) -> None:
    """The worker is dead. Who reads a run ends it; the others are ended by the next worker's start."""

    async def scenario(rig: Rig) -> None:
        (runner,) = rig.fleet.runners
        loads = loads_of(rig, runs, patience=120)
        works = [asyncio.create_task(load.work()) for load in loads]
        try:
            await until_all_began(rig, runs)
            await runner.kill()
            accepted = [accepted for load in loads for accepted in load.accepted]
            await asyncio.gather(*[expired(rig, one) for one in accepted[::2]])
            await runner.start()
            await asyncio.gather(*works)
        finally:
            for work in works:
                work.cancel()
        await threads_are_free(rig, loads)

    # Those that nobody reads wait for the next worker, and that for its start.
    conduct(plan_of(database, seconds=8, late=LATE_SECONDS + 20), scenario)


async def until_all_began(rig: Rig, runs: int) -> None:
    begun = "SELECT id FROM runs_run WHERE status <> 'queued'"
    while len(await asyncio.to_thread(rig.database.rows, begun)) < runs:
        await asyncio.sleep(0.05)


async def expired(rig: Rig, accepted: Accepted) -> None:
    """Reads a run until it is over: expired, by nothing but that."""
    path = f"/v1/threads/{accepted.thread}/runs/{accepted.run}"
    while True:
        with suppress(Lost):
            status = (await ask(rig.addresses[0], "GET", path, AUTHORISED)).object["status"]
            if status not in ACTIVE:
                assert status == "expired"
                return
        await asyncio.sleep(0.2)
