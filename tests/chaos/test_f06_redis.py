"""F6: Redis is killed, restarted, emptied, cut off from its subscribers, slow, and away: nothing is missed, and every
request that makes a run succeeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis

from tests.chaos.proxy import CLEAR, Fault
from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos


async def told(rig: Rig, command: Callable[[redis.Redis], object]) -> None:
    assert rig.redis is not None
    with redis.Redis.from_url(rig.redis.url) as client:
        await asyncio.to_thread(command, client)


async def kill(rig: Rig) -> None:
    assert rig.redis is not None
    await asyncio.to_thread(rig.redis.kill)
    await asyncio.to_thread(rig.redis.start)


async def restart(rig: Rig) -> None:
    assert rig.redis is not None
    await asyncio.to_thread(rig.redis.restart)


async def flush(rig: Rig) -> None:
    await told(rig, lambda client: client.flushall())


async def cut_subscribers(rig: Rig) -> None:
    await told(rig, lambda client: client.client_kill_filter(_type="pubsub"))


async def freeze(rig: Rig) -> None:
    """Connections stay, and nothing is answered."""
    assert rig.redis is not None
    await asyncio.to_thread(rig.redis.freeze)
    try:
        await rig.injector.rest(1, 3)
    finally:
        await asyncio.to_thread(rig.redis.thaw)


async def slow(rig: Rig) -> None:
    rig.proxies["redis"].fault = Fault(latency=0.2)
    await rig.injector.rest(1, 3)
    rig.proxies["redis"].fault = CLEAR


async def away(rig: Rig, seconds: float) -> None:
    assert rig.redis is not None
    await asyncio.to_thread(rig.redis.kill)
    await rig.injector.rest(seconds, seconds)
    await asyncio.to_thread(rig.redis.start)


FAULTS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "killed": kill,
    "subscribers cut": cut_subscribers,
    "slow": slow,
    "restarted": restart,
    "emptied": flush,
    "frozen": freeze,
}


@pytest.mark.parametrize(
    ("runs", "model", "times", "cuts", "pause", "away_seconds"),
    [
        (60, "seeded:80:40", 1, 1, (0.3, 0.8), 2.0),
        pytest.param(1000, "seeded:120:20", 10, 50, (0.5, 2.5), 60.0, marks=pytest.mark.slow),
    ],
    ids=["short", "full"],
)
def test_f6_redis_in_trouble(
    runs: int, model: str, times: int, cuts: int, pause: tuple[float, float], away_seconds: float
) -> None:
    """Each fault `times` times, subscribers are cut `cuts` times, and once Redis is away."""
    names = ([*FAULTS] * times) + ["subscribers cut"] * (cuts - times)
    faults = len(names)

    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=16, model=model)
        trouble = rig.troubles("redis", FAULTS, names)

        async with rig.working(load) as work:
            await rig.injector.repeat(faults // 2, pause, trouble, while_true=lambda: not work.done())
            rig.injector.note("redis away")
            await away(rig, away_seconds)
            await rig.injector.repeat(faults - faults // 2, pause, trouble, while_true=lambda: not work.done())

    plan = Plan("F6", "postgresql", web=2, runners=2, redis=True, proxied=frozenset({"redis"}))
    conduct(plan, scenario, bites=lambda row: row.injections > faults // 2)
