"""F23: clients go at the very first event of their run, by FIN or by RST: the run neither waits for them nor ends with
them. Nothing else is asked of the servers until all are over, since a reader could wake what had been forgotten.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial

import pytest

from tests.chaos.load import Load, at_most
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.subscribers import Subscriber
from tests.chaos.wire import Response, opened

pytestmark = pytest.mark.chaos

PATH = "/v1/threads/runs"
AT_ONCE = 16


class Leaver(Subscriber):
    """Reads the answer to `stream: true` until its first event is whole, and is gone; later it reads all of the run."""

    thread = ""

    async def read(self, response: Response) -> None:
        if self.thread:
            return await super().read(response)
        self.history.write("open", who=self.who, after=self.last)
        buffer = b""
        async for piece in response.pieces():
            buffer += piece
            if b"\n\n" in buffer:
                break
        self.take(buffer.partition(b"\n\n")[0])
        response.abort(reset=self.chance.random() < 0.5)
        self.history.write("end", who=self.who, how="left")
        return None

    def saw(self, name: str, data: str) -> None:
        if not self.thread:
            assert name == "thread.created"
            self.thread = json.loads(data)["id"]


async def begin_and_leave(rig: Rig, load: Load, number: int) -> Leaver:
    prompt = f"left {number} of {rig.plan.seed}"
    leaver = load.subscriber(Leaver, prompt, "start")
    body = load.request(prompt, stream=True)
    began = time.monotonic()
    async with opened(load.address(leaver.chance), "POST", PATH, AUTHORISED, body) as response:
        load.answered("POST", PATH, response.status, began)
        rig.history.write("accepted", prompt=prompt, run="", thread="", model=load.model)
        await leaver.read(response)
    rig.injector.note("client gone", thread=leaver.thread)
    return leaver


@pytest.mark.parametrize(
    ("database", "runs"),
    [
        ("sqlite", 100),
        pytest.param("sqlite", 500, marks=pytest.mark.slow),
        pytest.param("postgresql", 500, marks=pytest.mark.slow),
    ],
    ids=["sqlite-short", "sqlite-full", "postgresql-full"],
)
def test_f23_clients_go_at_the_first_event(database: str, runs: int) -> None:
    async def scenario(rig: Rig) -> None:
        load = rig.load(runs, model="seeded:20:40")
        await load.begin()
        left = await at_most(AT_ONCE, partial(begin_and_leave, rig, load), range(runs))
        await rig.over()
        rows = {row["thread_id"]: row for row in await asyncio.to_thread(rig.database.rows, RUNS)}
        for leaver in left:
            leaver.aim(leaver.thread, rows[leaver.thread]["id"])
        assert {rows[leaver.thread]["status"] for leaver in left} == {"completed"}, "a run waited for its client"
        await at_most(AT_ONCE, to_the_end, left)  # the rest is there for each of them

    patient = {"KUMOS_RUN_SECONDS": "600"}  # all of them wait in one line
    plan = Plan("F23", database, web=1, runners=1, redis=database == "postgresql", settings=patient)
    conduct(plan, scenario, bites=lambda row: row.injections == runs)


async def to_the_end(reader: Subscriber) -> None:
    async with asyncio.timeout(60):
        await reader.follow()


RUNS = "SELECT id, thread_id, status FROM runs_run"
