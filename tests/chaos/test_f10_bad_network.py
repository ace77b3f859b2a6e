"""F10: the network between clients and servers is bad: connections are reset, swallow everything without a word, come
in slices of one byte, crawl, stand still. Readers that come back have each event once, in order.
"""

from __future__ import annotations

import pytest

from tests.chaos.proxy import CLEAR, Fault
from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos

FAULTS = {
    "sliced": Fault(slice=1),
    "slow": Fault(rate=7_000),  # 56 kbit/s
    "late": Fault(latency=0.3),
    "reset": CLEAR,
    "hole": Fault(hole=True),
}
"""What is done to a proxy for a while. What was in a hole is reset afterwards: nobody would ever tell those clients."""


@pytest.mark.parametrize(
    ("runs", "faults"), [(40, 10), pytest.param(200, 200, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_f10_a_bad_network_before_the_servers(runs: int, faults: int) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, at_once=12, model="seeded:80:40", cuts=4)
        names = [*FAULTS] * (faults // len(FAULTS) + 1)
        rig.injector.chance.shuffle(names)

        async def trouble() -> None:
            name = names.pop()
            proxy = rig.injector.choice([*rig.proxies.values()])
            rig.injector.note(f"network {name}")
            proxy.fault = FAULTS[name]
            if name == "reset":
                proxy.reset()
            await rig.injector.rest(0.2, 1.0)
            proxy.fault = CLEAR
            if name == "hole":
                proxy.reset()

        async with rig.working(load) as work:
            await rig.injector.repeat(faults, (0.0, 0.3), trouble, while_true=lambda: not work.done())

    plan = Plan("F10", "sqlite", web=2, runners=1, proxied=frozenset({"web"}))
    conduct(plan, scenario, bites=lambda row: row.injections >= min(faults, 8))
