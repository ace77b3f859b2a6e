"""What pages of the admin are told while they are looked at: states of runs when they change, and how many are new."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import Client

from assistants.authentication import Operator, still_allowed
from assistants.models import Project, Thread
from runs.admin import live
from runs.models import Run
from runs.transitions import cancel_run, create_run
from streaming import broker, journal
from tests.loops import run_async

from .conftest import HOSTILE, Talk

ADDRESS = "/admin/runs/run/live/"
SOON = 20.0
"""Far beyond what a slow machine needs."""


def waiting(project: Project, **fields: Any) -> Run:
    thread = Thread.objects.create(project=project)
    run = Run(project=project, thread=thread, assistant_id="asst_gone", model="scripted", instructions="W.", **fields)
    return create_run(thread, run).run


async def told(frames: AsyncGenerator[bytes], name: str) -> list[dict[str, Any]]:
    """What the next frames of this name say that come at once."""
    async with asyncio.timeout(SOON):
        async for text in frames:
            found = [
                json.loads(lines[1].removeprefix(b"data: "))
                for block in text.split(b"\n\n")
                if len(lines := block.split(b"\n")) == 2 and lines[0] == b"event: " + name.encode()
            ]
            if found:
                return found
    raise AssertionError(f"the stream ended without {name!r}")


in_thread = sync_to_async(thread_sensitive=False)


@pytest.mark.django_db(transaction=True)
def test_a_state_is_told_at_first_and_when_it_changes(dragons: Project) -> None:
    run, other = waiting(dragons), waiting(dragons)

    async def scenario() -> None:
        async with aclosing(live.frames({run.pk: run.thread_id, other.pk: other.thread_id})) as frames:
            first = await told(frames, "run")
            assert {state["id"]: state["status"] for state in first} == {run.pk: "queued", other.pk: "queued"}
            await in_thread(cancel_run)(run)
            (state,) = await told(frames, "run")
            assert (state["id"], state["label"], state["active"]) == (run.pk, "cancelled", False)
            assert state["took"].endswith(" s")
            await in_thread(cancel_run)(other)
            assert await told(frames, "done")

    run_async(scenario)


@pytest.mark.django_db(transaction=True)
def test_a_bell_wakes_it_and_nothing_else_does_meanwhile(dragons: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll is out of the way: only the bell can tell."""
    monkeypatch.setattr(live, "LOOK_SECONDS", 1000.0)
    monkeypatch.setattr("streaming.follow.POLL_SECONDS", 1000.0)
    run = waiting(dragons)

    async def scenario() -> None:
        async with aclosing(live.frames({run.pk: run.thread_id})) as frames:
            await told(frames, "run")
            news = asyncio.create_task(told(frames, "run"))
            await in_thread(cancel_run)(run)
            assert (await news)[0]["status"] == "cancelled"

    run_async(scenario)


@pytest.mark.django_db(transaction=True)
def test_a_lost_bell_costs_a_second(dragons: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run = waiting(dragons)

    async def scenario() -> None:
        async with aclosing(live.frames({run.pk: run.thread_id})) as frames:
            await told(frames, "run")
            monkeypatch.setattr(broker, "ring", lambda entries: None)
            await in_thread(cancel_run)(run)
            assert (await told(frames, "run"))[0]["status"] == "cancelled"

    run_async(scenario)


@pytest.mark.django_db(transaction=True)
def test_new_runs_are_counted(dragons: Project) -> None:
    since = datetime.now(UTC) - timedelta(milliseconds=1)
    waiting(dragons)

    async def scenario() -> None:
        async with aclosing(live.frames({}, since)) as frames:
            assert (await told(frames, "new"))[0]["count"] == 1
            await in_thread(waiting)(dragons)
            assert (await told(frames, "new"))[0]["count"] == 2

    run_async(scenario)


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_deleted_is_told_so(dragons: Project) -> None:
    run = waiting(dragons)

    async def scenario() -> None:
        async with aclosing(live.frames({run.pk: run.thread_id})) as frames:
            await told(frames, "run")
            await in_thread(Thread.objects.filter(pk=run.thread_id).delete)()
            assert (await told(frames, "run"))[0]["status"] == "deleted"

    run_async(scenario)


@pytest.mark.django_db(transaction=True)
def test_many_bells_are_few_looks(dragons: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run = waiting(dragons)
    looks: list[float] = []
    states_of = live.states_of

    def counted(ids: set[str]) -> dict[str, live.State]:
        looks.append(time.monotonic())
        return states_of(ids)

    monkeypatch.setattr(live, "states_of", counted)
    began = time.monotonic()

    async def scenario() -> None:
        async with aclosing(live.frames({run.pk: run.thread_id})) as frames:
            await told(frames, "run")
            news = asyncio.create_task(told(frames, "run"))
            for _ in range(20):
                await in_thread(touch)(run)
            await in_thread(cancel_run)(run)
            await news

    def touch(run: Run) -> None:
        journal.append(run.thread_id, [journal.Draft("thread.message.delta", "{}", run.pk)])

    run_async(scenario)
    assert 2 <= len(looks) <= (time.monotonic() - began) / live.PACE_SECONDS + 1


def test_the_answer_is_a_stream_for_those_who_see_runs(root: Client, staff: Callable[..., Client], talk: Talk) -> None:
    for client in (root, staff("view_run"), staff("change_run")):
        answer = client.get(ADDRESS, {"runs": talk.run.pk})
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert staff("view_thread").get(ADDRESS, {"runs": talk.run.pk}).status_code == 403
    assert Client().get(ADDRESS, {"runs": talk.run.pk}).status_code == 302


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"since": "9" * 30}, {"runs": [f"run_{number}" for number in range(201)]}]
)
def test_what_it_does_not_understand_it_refuses(root: Client, query: dict[str, Any]) -> None:
    answer = root.get(ADDRESS, query)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "text/plain"


def test_ids_that_nobody_knows_are_no_fault(root: Client) -> None:
    assert root.get(ADDRESS, {"runs": ["", "run_x", HOSTILE]}).status_code == 200


def test_pages_carry_the_script_for_those_who_may_ask(root: Client, staff: Callable[..., Client], talk: Talk) -> None:
    assert f'data-run="{talk.run.pk}"' in root.get("/admin/runs/run/").content.decode()
    assert f'data-address="{ADDRESS}"' in root.get("/admin/runs/run/").content.decode()
    assert ADDRESS not in staff("view_thread").get("/admin/").content.decode()


def test_who_lost_the_right_is_no_reader_any_more(staff: Callable[..., Client], talk: Talk) -> None:
    client = staff("view_run")
    user = User.objects.get(username="staff-view_run")
    watcher = Operator(user, client.session.session_key or "", live.sees_runs)
    assert still_allowed([watcher]) == {watcher}
    user.user_permissions.clear()
    assert still_allowed([watcher]) == set()
    user.user_permissions.set(Permission.objects.filter(codename="view_run"))
    assert still_allowed([watcher]) == {watcher}
    User.objects.filter(pk=user.pk).update(is_staff=False)
    assert still_allowed([watcher]) == set()
    User.objects.filter(pk=user.pk).update(is_staff=True)
    client.logout()
    assert still_allowed([watcher]) == set()
