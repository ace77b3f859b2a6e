"""F8: the SQLite file is locked by somebody else, its disk is full, its checkpoints starve: requests are refused with
503 meanwhile, runs wait or go on later, and the file stays whole.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from itertools import cycle, islice

import pytest

from tests.chaos.databases import Sqlite
from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos


def connected(rig: Rig) -> sqlite3.Connection:
    assert isinstance(rig.database, Sqlite)
    return sqlite3.connect(rig.database.path, timeout=30, isolation_level=None, check_same_thread=False)


async def lock(rig: Rig, seconds: tuple[float, float]) -> None:
    with closing(await asyncio.to_thread(connected, rig)) as connection:
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        await rig.injector.rest(*seconds)
        connection.execute("ROLLBACK")


async def fill_the_disk(rig: Rig, seconds: tuple[float, float]) -> None:
    """Not a byte is free. Where no small disk can be mounted, the files may not grow, which is much the same."""
    (server,) = rig.fleet.servers
    if rig.has_disk:
        assert isinstance(rig.database, Sqlite)
        ballast = rig.database.path.parent / "ballast"
        with ballast.open("wb", buffering=0) as file:
            with suppress(OSError):  # no space left on device
                while True:
                    file.write(bytes(65_536))
            await rig.injector.rest(*seconds)
        ballast.unlink()
        return
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (16_384, before[1]))
    await rig.injector.rest(*seconds)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


async def works_again(rig: Rig) -> None:
    """Within five seconds after a fault something can be written. That is asked for with patience; it is the point."""
    try:
        async with asyncio.timeout(5):
            await rig.load(0).insist(rig.load(0).chance("again", rig.injector.done), "/v1/threads", {})
    except TimeoutError:
        raise AssertionError("five seconds after the fault nothing could be written") from None


async def starve(rig: Rig, seconds: tuple[float, float]) -> None:
    """A reader in the middle of a transaction: the log cannot be taken over into the file, and grows."""
    with closing(await asyncio.to_thread(connected, rig)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM runs_run").fetchall()
        await rig.injector.rest(*seconds)
        connection.execute("COMMIT")


FAULTS: dict[str, Callable[..., Awaitable[None]]] = {
    "locked": lock,
    "full": fill_the_disk,
    "starved": starve,
}


@pytest.mark.parametrize(
    ("runs", "model", "faults", "seconds"),
    [
        (40, "seeded:60:30", 4, (0.5, 2.0)),
        pytest.param(400, "seeded:75:15", 60, (1.0, 8.0), marks=pytest.mark.slow),
    ],
    ids=["short", "full"],
)
def test_f8_sqlite_in_trouble(runs: int, model: str, faults: int, seconds: tuple[float, float]) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=12, model=model, sdk_every=0)
        lasting = {name: partial(fault, seconds=seconds) for name, fault in FAULTS.items()}
        trouble = rig.troubles("sqlite", lasting, islice(cycle(FAULTS), faults))

        async def trouble_and_recovery() -> None:
            await trouble()
            await works_again(rig)

        async with rig.working(load) as work:
            await rig.injector.repeat(faults, (0.3, 1.0), trouble_and_recovery, while_true=lambda: not work.done())

    plan = Plan(
        "F8", "sqlite", disk=64, refusals=(503,), errors=True, attempts=3, settings={"KUMOS_RUN_SECONDS": "120"}
    )
    conduct(plan, scenario, bites=lambda row: row.injections > faults // 2)
