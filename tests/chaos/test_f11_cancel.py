"""F11: cancels at random moments, alone and five at once, some with the worker killed right after: each one that is
accepted ends its run as cancelled, nothing comes after that, and the model server is hung up on. Again without Redis,
when no bell rings.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.chaos.load import Accepted
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.wire import ask

pytestmark = pytest.mark.chaos

WORDS, RATE = 60, 20
AT_ONCE = 5
"""So many cancels are sent together for every fifth run. After the cancel of another fifth a worker is killed, unless
one is just being started again."""


class Canceller:
    """Cancels each run of the load once it is accepted, at a moment at which it is queued, speaks, or is just over."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.tasks: list[asyncio.Task[None]] = []
        self.killing = asyncio.Lock()

    def __call__(self, accepted: Accepted) -> None:
        self.tasks.append(asyncio.create_task(self.one(accepted, len(self.tasks))))

    async def one(self, accepted: Accepted, number: int) -> None:
        await self.rig.injector.rest(0, 1.1 * WORDS / RATE)
        await asyncio.gather(*[self.cancel(accepted) for _ in range(AT_ONCE if number % 5 == 0 else 1)])
        if number % 5 == 1 and not self.killing.locked():
            async with self.killing:
                await self.kill()

    async def cancel(self, accepted: Accepted) -> None:
        path = f"/v1/threads/{accepted.thread}/runs/{accepted.run}/cancel"
        began = time.monotonic()
        answer = await ask(self.rig.injector.choice(self.rig.addresses), "POST", path, AUTHORISED)
        history = self.rig.history
        history.write("answer", method="POST", path=path, status=answer.status, seconds=time.monotonic() - began)
        history.write("cancel", prompt=accepted.prompt, run=accepted.run, status=answer.status)

    async def kill(self) -> None:
        if busy := await self.rig.at_work():  # all may be over by now
            await busy[0].kill()
            await busy[0].start()


@pytest.mark.parametrize(
    ("database", "broker", "runs", "at_once"),
    [
        pytest.param("sqlite", "none", 24, 12, marks=pytest.mark.slow),
        ("postgresql", "down", 24, 12),
        pytest.param("sqlite", "none", 1000, 30, marks=pytest.mark.slow),
        pytest.param("postgresql", "up", 1000, 30, marks=pytest.mark.slow),
        pytest.param("postgresql", "down", 1000, 30, marks=pytest.mark.slow),
    ],
    ids=["sqlite-short", "down-short", "sqlite-full", "up-full", "down-full"],
)
def test_f11_runs_are_cancelled(database: str, broker: str, runs: int, at_once: int) -> None:
    async def scenario(rig: Rig) -> None:
        if broker == "down":
            assert rig.redis is not None
            await asyncio.to_thread(rig.redis.kill)
            rig.injector.note("redis killed")
        canceller = Canceller(rig)
        load = rig.load(
            runs, at_once=at_once, model=f"seeded:{WORDS}:{RATE}", subscribers=2, sdk_every=0, after_accept=canceller
        )
        async with rig.working(load):
            pass
        await asyncio.gather(*canceller.tasks)

    plan = Plan(
        f"F11{' without Redis' * (broker == 'down')}",
        database,
        web=1,
        runners=2,
        redis=broker != "none",
        ends=("completed", "cancelled"),
        hang_up_seconds=1.0 if runs == 1000 else 2.0,  # the short form runs where other things run, too
    )
    conduct(plan, scenario, bites=lambda row: row.injections and row.cancel[2])
