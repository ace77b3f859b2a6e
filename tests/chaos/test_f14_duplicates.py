"""F14: ten clients send the same request with the same Idempotency-Key at the same moment, some hang up before the
answer: one run is made, everybody who listens is told of that one; with another body the key is refused.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from tests.chaos.load import at_most
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.subscribers import Poster
from tests.chaos.wire import Lost, ask, opened

pytestmark = pytest.mark.chaos

PARALLEL = 10
CUT = 0.3
"""The share of those who do not wait for their answer."""


@pytest.mark.parametrize(
    ("database", "keys"),
    [
        ("postgresql", 20),
        pytest.param("postgresql", 500, marks=pytest.mark.slow),
        pytest.param("sqlite", 500, marks=pytest.mark.slow),
    ],
    ids=["short-postgresql", "full-postgresql", "full-sqlite"],
)
def test_f14_a_key_makes_one_run(database: str, keys: int) -> None:
    async def scenario(rig: Rig) -> None:
        made = await ask(rig.addresses[0], "POST", "/v1/assistants", AUTHORISED, {"model": "seeded:20:60"})

        async def one(number: int) -> None:
            await duplicates(rig, made.object["id"], number, streamed=number % 2 == 0)

        await at_most(3, one, range(keys))

    plan = Plan("F14", database, web=2, runners=1, redis=database == "postgresql")
    row = conduct(plan, scenario)
    assert row.runs == keys


async def duplicates(rig: Rig, assistant: str, number: int, *, streamed: bool) -> None:
    prompt, model = f"key {number} of {rig.plan.seed}", "seeded:20:60"
    chance = random.Random(prompt)
    headers = {**AUTHORISED, "Idempotency-Key": f"key-{number}-{rig.plan.seed}"}
    messages = [{"role": "user", "content": prompt}]
    body = {"assistant_id": assistant, "thread": {"messages": messages}, "stream": streamed}
    runs: set[str] = set()

    async def hang_up(copy: int) -> None:
        with suppress(Lost):
            async with opened(rig.addresses[copy % 2], "POST", "/v1/threads/runs", headers, body) as response:
                response.abort(reset=chance.random() < 0.5)
        rig.injector.note("hung up", key=number)

    async def read(copy: int) -> None:
        address = rig.addresses[copy % 2]
        while True:
            if streamed:
                reader = Poster(rig.history, rig.addresses, AUTHORISED, f"{copy} {prompt}", "start", chance)
                async with opened(address, "POST", "/v1/threads/runs", headers, body) as response:
                    status = response.status
                    if status == 200:
                        await reader.read(response)
                        await reader.follow()
                        runs.add(reader.run)
                        return
            else:
                answer = await ask(address, "POST", "/v1/threads/runs", headers, body)
                status = answer.status
                if status == 200:
                    runs.add(answer.object["id"])
                    return
            assert status == 409, status  # the first one is still at it
            await asyncio.sleep(chance.uniform(0.02, 0.1))

    cut = [chance.random() < CUT for _ in range(PARALLEL - 1)] + [False]
    async with asyncio.TaskGroup() as group:
        for copy, is_cut in enumerate(cut):
            group.create_task(hang_up(copy) if is_cut else read(copy))
    (run,) = runs
    rig.history.write("accepted", prompt=prompt, run=run, thread="", model=model)
    other = await ask(rig.addresses[0], "POST", "/v1/threads/runs", headers, {**body, "stream": not streamed})
    assert other.status == 422, other.body
