"""F4: the process dies exactly where it hurts: before and after each commit, publication, call and hand-over.

The short form is two chains: each life of a server is armed with one failpoint, and its successor, armed with the
next, picks up what it left. In the full form each failpoint has the server to itself, a few times, on both databases.
"""

from __future__ import annotations

import ast
import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from django.conf import settings

from tests.chaos.load import PATIENCE_SECONDS, Load
from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED, Server
from tests.chaos.upstreams import FUNCTION, TOOL
from tests.chaos.wire import Lost, ask

pytestmark = pytest.mark.chaos

ENDS = ("completed", "cancelled", "expired")
PACKAGES = ("assistants", "streaming", "runs", "kumos_site")
CALLS = {"failpoint", "failpoint_on_commit"}


async def no_more(rig: Rig, load: Load) -> None:
    """A run by itself comes by."""


async def answer_calls(rig: Rig, load: Load) -> None:
    """Gives each run its outputs, once it asks for them, until that is accepted."""
    await until_status(load, "requires_action")
    accepted = load.accepted[0]
    path = f"/v1/threads/{accepted.thread}/runs/{accepted.run}"
    while True:
        with suppress(Lost):
            run = (await ask(load.addresses[0], "GET", path, AUTHORISED)).object
            if run.get("status") != "requires_action":
                return
            calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            outputs = [{"tool_call_id": call["id"], "output": accepted.prompt} for call in calls]
            await ask(load.addresses[0], "POST", f"{path}/submit_tool_outputs", AUTHORISED, {"tool_outputs": outputs})
        await asyncio.sleep(0.05)


async def cancel(rig: Rig, load: Load) -> None:
    """Cancels while the model speaks, until that is answered."""
    await until_status(load, "in_progress")
    accepted = load.accepted[0]
    path = f"/v1/threads/{accepted.thread}/runs/{accepted.run}/cancel"
    while True:
        with suppress(Lost):
            if (await ask(load.addresses[0], "POST", path, AUTHORISED)).status in (200, 400):
                return
        await asyncio.sleep(0.05)


async def drain(rig: Rig, load: Load) -> None:
    """Asks the process to stop while the model speaks."""
    await until_status(load, "in_progress")
    rig.fleet.servers[0].send(signal.SIGTERM)


async def until_status(load: Load, status: str) -> None:
    while True:
        if load.accepted:
            accepted = load.accepted[0]
            path = f"/v1/threads/{accepted.thread}/runs/{accepted.run}"
            with suppress(Lost):
                if (await ask(load.addresses[0], "GET", path, AUTHORISED)).object.get("status") == status:
                    return
        await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Point:
    """A failpoint, and what makes a process come by."""

    name: str
    count: int = 1
    model: str = "seeded:30:60"
    then: Callable[[Rig, Load], Awaitable[None]] = no_more
    posted: bool = False
    body: dict[str, object] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


CLIENT_TOOL = {"model": f"tool:{FUNCTION}:{{}}", "body": {"tools": [TOOL]}}
SERVER_TOOL = {"model": 'tool:file_search:{"query": "dragon"}', "body": {"tools": [{"type": "file_search"}]}}
LONG = "seeded:400:30"
POINTS = [
    # accept
    Point("request.effect.before_answer_kept"),
    Point("run.accepted.before_commit"),
    Point("run.accepted.before_hint"),
    Point("run.stream.before_first_byte", posted=True),
    # claim
    Point("run.claimed.before_commit"),
    Point("run.claimed.after_commit"),
    # generation
    Point("message.opened.before_commit"),
    Point("message.first_delta.before_publish"),
    Point("message.delta.before_commit", count=12),
    Point("events.before_publish", count=9),
    Point("model.finished"),
    Point("message.completed.before_run"),
    Point("run.ended.before_publish"),
    Point("run.ended.after_publish"),
    # tools
    Point("tool.before_call", **SERVER_TOOL),  # type: ignore[arg-type]
    Point("tool.after_call", **SERVER_TOOL),  # type: ignore[arg-type]
    Point("tool.outputs_required.before_publish", then=answer_calls, **CLIENT_TOOL),  # type: ignore[arg-type]
    Point("tool.outputs_accepted.before_queued", then=answer_calls, **CLIENT_TOOL),  # type: ignore[arg-type]
    # cancel
    Point("cancel.accepted.before_hint", model=LONG, then=cancel),
    Point("run.ended.before_commit", model=LONG, then=cancel),
    # sweeper: nobody works on a run that waits for its client
    Point("sweep.picked", settings={"KUMOS_RUN_SECONDS": "2"}, **CLIENT_TOOL),  # type: ignore[arg-type]
    # compaction
    Point("log.compacted.half", settings={"KUMOS_DELTA_KEEP_SECONDS": "1"}),
    # drain
    Point("run.handed_back", model="seeded:90:30", then=drain, settings={"KUMOS_DRAIN_SECONDS": "0.2"}),
    # sweeper again: last, so that nothing is left of the other one
    Point("sweep.ended.before_publish", settings={"KUMOS_RUN_SECONDS": "2"}, **CLIENT_TOOL),  # type: ignore[arg-type]
]


def names_in_the_code() -> set[str]:
    found = set()
    for package in PACKAGES:
        for path in (settings.BASE_DIR / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: a failpoint's name stands there"
                    found.add(str(name.value))
    return found


def test_every_failpoint_of_the_code_is_tripped_here() -> None:
    assert sorted(point.name for point in POINTS) == sorted(names_in_the_code())


async def trip(rig: Rig, server: Server, point: Point, round: int) -> asyncio.Task[None]:
    """A life of the server, up to its death at the failpoint. Returns the work that was under way."""
    armed = {**point.settings, "KUMOS_FAILPOINTS": f"{point.name}:{point.count}:crash"}
    server.launch(**armed)
    await server.ready(or_gone=True)
    load = load_of(rig, point, round)
    work = asyncio.create_task(under_way(rig, load, point))
    dying = asyncio.create_task(server.gone())
    await asyncio.wait({work, dying}, return_when=asyncio.FIRST_COMPLETED)
    if not dying.done():
        work.result()  # raises what went wrong
    assert await dying == -signal.SIGKILL, f"{point.name}: {server.tail()}"
    rig.injector.note("crash", name=server.name, at=point.name)
    return work


async def fail(rig: Rig, server: Server, point: Point) -> None:
    """A life of the server in which it only fails at the failpoint, and goes on."""
    before = server.log.stat().st_size
    server.launch(**point.settings, KUMOS_FAILPOINTS=f"{point.name}:{point.count}:raise")
    await server.ready()
    work = asyncio.create_task(under_way(rig, load_of(rig, point, "raised"), point))
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while f"failpoint {point.name}: raise" not in server.log.read_text(errors="replace")[before:]:
        assert time.monotonic() < give_up_at, f"{point.name} was not passed:\n{server.tail()}"
        await asyncio.sleep(0.05)
    rig.injector.note("raise", name=server.name, at=point.name)
    if point.then is drain:
        await server.gone()
        await server.start()
    await work
    await server.kill()


def load_of(rig: Rig, point: Point, mark: object) -> Load:
    mark = f"{point.name} {mark}"
    return rig.load(1, model=point.model, body=point.body, posted_every=int(point.posted), sdk_every=0, mark=mark)


async def under_way(rig: Rig, load: Load, point: Point) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(load.work())
        group.create_task(point.then(rig, load))  # type: ignore[arg-type]


def plan_of(database: str) -> Plan:
    return Plan("F4", database, ends=ENDS, attempts=2, compacted=True)


@pytest.mark.parametrize("half", [0, 1])
def test_f4_a_chain_of_crashes(half: int) -> None:
    points = POINTS[half::2]  # a test each, so that two cores share the starts of so many servers

    async def scenario(rig: Rig) -> None:
        (server,) = rig.fleet.servers
        await server.kill()
        works = [await trip(rig, server, point, 0) for point in points]
        await server.start()
        await asyncio.gather(*works)

    assert conduct(plan_of("sqlite"), scenario).injections >= len(points)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_f4_each_crash_by_itself(database: str) -> None:
    async def scenario(rig: Rig) -> None:
        (server,) = rig.fleet.servers
        await server.kill()
        for round in range(5):
            for point in POINTS:
                work = await trip(rig, server, point, round)
                await server.start()
                await work
                await server.kill()
        await server.start()

    assert conduct(plan_of(database), scenario).injections >= 5 * len(POINTS)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_f4_each_failure_by_itself(database: str) -> None:
    """An error that nobody expects, instead of a crash: a run may fail for it and say so, and nothing else breaks."""

    async def scenario(rig: Rig) -> None:
        (server,) = rig.fleet.servers
        await server.kill()
        for point in POINTS:
            await fail(rig, server, point)
        await server.start()

    plan = Plan("F4 raise", database, ends=(*ENDS, "failed"), attempts=2, compacted=True, refusals=(500,), errors=True)
    assert conduct(plan, scenario).injections >= len(POINTS)
