"""F10: the network between clients and servers is bad: connections are reset, swallow everything without a word, come
in slices of one byte, crawl, stand still. Readers that come back have each event once, in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import cycle, islice

import pytest

from tests.chaos.proxy import CLEAR, Fault
from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos


async def disturb(rig: Rig, fault: Fault) -> None:
    """A while of it. What was in a hole is reset afterwards: nobody would ever tell those clients."""
    proxy = rig.injector.choice([*rig.proxies.values()])
    proxy.fault = fault
    await rig.injector.rest(0.2, 1.0)
    proxy.fault = CLEAR
    if fault.hole:
        proxy.reset()


async def reset(rig: Rig) -> None:
    rig.injector.choice([*rig.proxies.values()]).reset()
    await rig.injector.rest(0.2, 1.0)


FAULTS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "sliced": partial(disturb, fault=Fault(slice=1)),
    "slow": partial(disturb, fault=Fault(rate=7_000)),  # 56 kbit/s
    "late": partial(disturb, fault=Fault(latency=0.3)),
    "reset": reset,
    "hole": partial(disturb, fault=Fault(hole=True)),
}


@pytest.mark.parametrize(
    ("runs", "faults"), [(40, 10), pytest.param(200, 200, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_f10_a_bad_network_before_the_servers(runs: int, faults: int) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=12, model="seeded:80:40", cuts=4)
        trouble = rig.troubles("network", FAULTS, islice(cycle(FAULTS), faults))

        async with rig.working(load) as work:
            await rig.injector.repeat(faults, (0.0, 0.3), trouble, while_true=lambda: not work.done())

    plan = Plan("F10", "sqlite", web=2, runners=1, proxied=frozenset({"web"}))
    conduct(plan, scenario, bites=lambda row: row.injections >= min(faults, 8))
