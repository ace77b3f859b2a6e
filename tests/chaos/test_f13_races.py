"""F13: many ask for a run on the same thread at the same moment, at two web processes, while others add messages to it:
one gets the run, the others are told that there is one, nobody sees a 5xx (P5).
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.wire import Answer, ask

pytestmark = pytest.mark.chaos

MODEL = "gated:1"
"""It says its word when it is told to: no run may be over before all of a round have their answer."""
AT_ONCE = 40
MESSAGES = 6


async def race(rig: Rig, assistant: str, thread: str, prompt: str) -> Counter[str]:
    """One round. What the answers were; a message that was accepted after the run began would be "message 200 late"."""
    path = f"/v1/threads/{thread}"

    async def run(number: int) -> Answer:
        address = rig.addresses[number % len(rig.addresses)]
        question = [{"role": "user", "content": prompt}]
        body = {"assistant_id": assistant, "additional_messages": question}
        answer = await ask(address, "POST", f"{path}/runs", AUTHORISED, body)
        rig.history.write("answer", method="POST", path=f"{path}/runs", status=answer.status, seconds=0)
        return answer

    async def say(number: int) -> Answer:
        address = rig.addresses[number % len(rig.addresses)]
        body = {"role": "user", "content": f"{prompt}, and {number}"}
        answer = await ask(address, "POST", f"{path}/messages", AUTHORISED, body)
        rig.history.write("answer", method="POST", path=f"{path}/messages", status=answer.status, seconds=0)
        return answer

    runs, said = await asyncio.gather(
        asyncio.gather(*[run(number) for number in range(AT_ONCE)]),
        asyncio.gather(*[say(number) for number in range(MESSAGES)]),
    )
    seen = Counter(f"run {answer.status}" for answer in runs)
    seen.update(f"message {answer.status}" for answer in said if answer.status not in (200, 400))
    for answer in runs:
        if answer.status == 400:
            assert "already has an active run" in answer.object["error"]["message"]
        elif answer.status == 200:
            rig.history.write("accepted", prompt="", run=answer.object["id"], thread=thread, model=MODEL)
            await rig.upstream.tell(release=1)
            await ended(rig, f"{path}/runs/{answer.object['id']}")
    return seen


async def ended(rig: Rig, path: str) -> None:
    while (await ask(rig.addresses[0], "GET", path, AUTHORISED)).object["status"] in ("queued", "in_progress"):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("database", "threads", "rounds"),
    [
        pytest.param("sqlite", 4, 3, marks=pytest.mark.slow),
        ("postgresql", 4, 3),
        pytest.param("sqlite", 20, 20, marks=pytest.mark.slow),
        pytest.param("postgresql", 20, 20, marks=pytest.mark.slow),
    ],
    ids=["short-sqlite", "short-postgresql", "full-sqlite", "full-postgresql"],
)
def test_f13_one_of_forty_gets_the_run(database: str, threads: int, rounds: int) -> None:
    async def scenario(rig: Rig) -> None:
        made = await ask(rig.addresses[0], "POST", "/v1/assistants", AUTHORISED, {"model": MODEL})

        async def on_one_thread(number: int) -> None:
            thread = (await ask(rig.addresses[0], "POST", "/v1/threads", AUTHORISED, {})).object["id"]
            for round in range(rounds):
                seen = await race(rig, made.object["id"], thread, f"race {number} {round}")
                rig.injector.note("race", answers=AT_ONCE)
                assert seen == {"run 200": 1, "run 400": AT_ONCE - 1}, seen

        for number in range(threads):  # one after the other: a release is for whoever waits for one
            await on_one_thread(number)

    plan = Plan("F13", database, web=2, runners=1, redis=database == "postgresql")
    conduct(plan, scenario, bites=lambda row: row.runs == threads * rounds)
