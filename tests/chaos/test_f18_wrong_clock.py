"""F18: the workers' clocks are an hour off, one before and one behind, and one jumps while it works: nothing expires
early or late, and nobody takes the runs of a worker that lives.

Leases and limits go by PostgreSQL's clock. No such test on SQLite: all its processes share the clock of one machine.
"""

from __future__ import annotations

import asyncio
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import Server

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
"""It stands between a process and its clock (Debian's package faketime)."""

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")]

SPEAKS, STALLS = "seeded:40:20", "stall:4"
RUN_SECONDS = 10


def set_clock(file: Path, offset: str) -> None:
    file.write_text(offset)


async def start(server: Server, file: Path, offset: str) -> None:
    """With a clock that is so many seconds off, and off otherwise once `file` says so. Time that passes is the same."""
    set_clock(file, offset)
    await server.start(
        LD_PRELOAD=str(LIBRARIES[0]),
        FAKETIME_TIMESTAMP_FILE=str(file),
        FAKETIME_CACHE_DURATION="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )


AT_ONCE = 18
"""As many as two workers can do within their time."""


@pytest.mark.parametrize("runs", [18, pytest.param(198, marks=pytest.mark.slow)], ids=["short", "full"])
def test_f18_clocks_are_wrong(runs: int) -> None:
    async def scenario(rig: Rig) -> None:
        early, late = rig.fleet.runners
        clock = rig.history.directory / "early"
        await asyncio.gather(early.kill(), late.kill())
        await asyncio.gather(start(early, clock, "+3600"), start(late, rig.history.directory / "late", "-3600"))
        rig.injector.note("wrong clocks")
        how: dict[str, Any] = {"subscribers": 2, "sdk_every": 0}
        completed, expired = rig.owing("completed"), rig.owing("expired", reason="run_expired")
        speaks = rig.load(2 * runs // 3, model=SPEAKS, at_once=2 * AT_ONCE // 3, after_accept=completed, **how)
        stalls = rig.load(runs // 3, model=STALLS, mark="stalls", at_once=AT_ONCE // 3, after_accept=expired, **how)
        async with rig.working(stalls) as work, rig.working(speaks):
            async with asyncio.timeout(RUN_SECONDS):  # both have some of it, or the work is over and they never will
                while len(await rig.busy()) < 2:
                    await asyncio.sleep(0.05)
            offsets = cycle(("-3600", "+0", "+7200"))

            async def jump() -> None:
                set_clock(clock, offset := next(offsets))
                rig.injector.note("clock jumps", name=early.name, to=offset)

            # It looks once a second.
            await rig.injector.repeat(runs // 6, (1.1, 1.5), jump, while_true=lambda: not work.done())

    plan = Plan(
        "F18",
        "postgresql",
        web=1,
        runners=2,
        redis=True,
        ends=("completed", "expired"),
        late_seconds=10.0,
        clocks=False,
        # A lease so long that no load of the machine ends it: an hour would.
        settings={
            "KUMOS_RUN_SECONDS": str(RUN_SECONDS),
            "KUMOS_RUN_SLOTS": str(AT_ONCE // 2 + 2),
            "KUMOS_LEASE_SECONDS": "30",
        },
    )
    conduct(plan, scenario, crashes=False)
