"""F7: PostgreSQL is killed, restarted, throws everybody out, refuses, makes everybody wait for a lock until there is no
connection left, and connections break in the middle of commits: before them, or after them and before the answer.

Clients make their runs with one Idempotency-Key for all tries, so what became of a request whose answer they never got
is settled: no run is lost, and none is made twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import cycle, islice

import psycopg
import pytest
from psycopg.errors import DeadlockDetected

from tests.chaos.proxy import CLEAR, Fault
from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos

OUTAGE = (500, 503)
"""500 is for a commit of which nobody knows whether it happened."""
EVERYBODY = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'kumos'
"""


async def kill(rig: Rig) -> None:
    assert rig.postgres is not None
    await asyncio.to_thread(rig.postgres.kill)
    await rig.injector.rest(0, 1)
    await asyncio.to_thread(rig.postgres.start)


async def restart(rig: Rig) -> None:
    assert rig.postgres is not None
    await asyncio.to_thread(rig.postgres.restart)


async def throw_out(rig: Rig) -> None:
    assert rig.postgres is not None

    def terminate(address: str) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(EVERYBODY)

    await asyncio.to_thread(terminate, rig.postgres.admin_url)


async def cut(rig: Rig) -> None:
    """Every connection, with whatever is on its way: questions, answers, commits."""
    rig.proxies["postgresql"].reset()


async def refuse(rig: Rig) -> None:
    rig.proxies["postgresql"].refuse()
    rig.proxies["postgresql"].reset()
    await rig.injector.rest(0.5, 3)
    await rig.proxies["postgresql"].accept()


async def leave_unanswered(rig: Rig) -> None:
    """What is asked for happens, commits among it, and the connections break before the answers."""
    rig.proxies["postgresql"].fault = Fault(mute=True)
    await rig.injector.rest(0.1, 0.4)
    rig.proxies["postgresql"].reset()
    rig.proxies["postgresql"].fault = CLEAR


async def exhaust(rig: Rig) -> None:
    """A foreign lock on all that has to do with runs: whoever comes waits, with a connection of the pool."""
    assert rig.postgres is not None
    async with await psycopg.AsyncConnection.connect(rig.postgres.url) as connection:
        for table in ("runs_run", "assistants_thread"):  # in the order in which everybody takes them
            try:
                await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            except DeadlockDetected:  # with who had begun with another: then that is all there was of this fault
                break
        else:
            await rig.injector.rest(1, 4)
        await connection.rollback()


FAULTS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "killed": kill,
    "cut": cut,
    "backends terminated": throw_out,
    "restarted": restart,
    "refuses": refuse,
    "unanswered": leave_unanswered,
    "pool exhausted": exhaust,
}


@pytest.mark.parametrize(
    ("runs", "model", "faults", "pause"),
    [
        (60, "seeded:60:40", 7, (0.2, 0.6)),
        # A fault begins every open step anew: where they come faster than answers, runs expire, and rightly.
        pytest.param(1000, "seeded:75:15", 100, (3.0, 6.0), marks=pytest.mark.slow),
    ],
    ids=["short", "full"],
)
def test_f7_postgresql_in_trouble(runs: int, model: str, faults: int, pause: tuple[float, float]) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=16, model=model, sdk_every=0)  # the SDK sends no key
        trouble = rig.troubles("postgresql", FAULTS, islice(cycle(FAULTS), faults))

        async with rig.working(load) as work:
            await rig.injector.repeat(faults, pause, trouble, while_true=lambda: not work.done())
        prompts = Counter(row["prompt"] for row in await asyncio.to_thread(rig.database.rows, ASKED))
        assert prompts == Counter(accepted.prompt for accepted in load.accepted), "made twice, or not at all"

    plan = Plan(
        "F7",
        "postgresql",
        web=2,
        runners=2,
        redis=True,
        proxied=frozenset({"postgresql"}),
        refusals=OUTAGE,
        errors=True,
        attempts=3,
    )
    conduct(plan, scenario, bites=lambda row: row.injections > faults // 2)


ASKED = """
SELECT (content #>> '{0,text,value}') AS prompt FROM assistants_message WHERE role = 'user'
"""
