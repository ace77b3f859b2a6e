"""A thread that is deleted is gone at once, and what belongs to it in small steps, whoever is at work in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path

import pytest
from channels.layers import channel_layers
from django.db import transaction
from django.test import Client
from pytest_django.fixtures import Settings

from assistants import conversation
from assistants.models import Message, Share, Thread
from runs import transitions
from runs.models import Run, RunStep
from runs.runner import Runner
from streaming import journal
from streaming.follow import ThreadDeleted, follow
from streaming.journal import Draft
from streaming.models import Event
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS, run_async, until
from tests.runs.at_work import running
from tests.runs.conftest import ask
from tests.runs.model import Model
from tests.runs.test_held_rows import elsewhere, until_somebody_waits

pytestmark = pytest.mark.django_db(transaction=True)

DELTA = '{"id":"msg_a","object":"thread.message.delta","delta":{"content":[]}}'


def log(thread: Thread, events: int) -> None:
    journal.append(thread.pk, [Draft("thread.message.delta", DELTA, "run_long_ago")] * events)


def left(thread: Thread) -> list[int]:
    """How many rows there still are of a thread's events, messages and runs, and of itself."""
    rows = [model._base_manager.filter(thread=thread.pk) for model in (Event, Message, Run)]
    return [found.count() for found in (*rows, Thread._base_manager.filter(pk=thread.pk))]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes has no time to remove anything."""
    monkeypatch.setattr(conversation, "REMOVAL_SECONDS", -1.0)


@pytest.mark.usefixtures("slow")
def test_it_is_gone_before_its_rows_are(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    here = f"/threads/{thread.pk}"
    message = thread.messages.get()
    token = alice.make(f"{here}/shares", {})["url"].rpartition("/")[2]
    reader = Client(headers={"Authorization": f"Bearer {token}"})
    assert reader.get(f"/v1{here}").status_code == 200

    async def followed() -> None:
        async with aclosing(follow(thread.pk, 0, 0.05)) as batches:
            await anext(batches)
            assert (await asyncio.to_thread(lambda: alice.delete(here))).status_code == 200
            with suppress(ThreadDeleted):
                async for batch in batches:
                    told.extend(entry.name for entry in batch)

    told: list[str] = []
    run_async(followed)
    assert told[-1] == "thread.run.cancelled"
    assert left(thread) == [3, 1, 1, 1]
    for path in ("", "/messages", f"/messages/{message.pk}", "/runs", f"/runs/{run.pk}", "/runs/stream"):
        assert alice.get(here + path).status_code == 404, path
    assert alice.get("/threads").json()["data"] == []
    assert alice.delete(here).status_code == 404
    assert alice.post(here, {"metadata": {}}).status_code == 404
    assert alice.post(f"{here}/messages", {"role": "user", "content": "More"}).status_code == 404
    assert alice.post(f"{here}/runs", {"assistant_id": run.assistant_id}).status_code == 404
    assert reader.get(f"/v1{here}").status_code == 401
    assert not Share.objects.exists()
    conversation.remove_departed()
    assert left(thread) == [0, 0, 0, 0]
    assert not RunStep.objects.exists()


def test_it_is_removed_in_small_steps(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "REMOVAL_SECONDS", -1.0)
    thread, _ = ask(alice, "Hello")
    log(thread, 2 * conversation.ROWS_MAX)
    alice.delete(f"/threads/{thread.pk}")
    before = left(thread)[0]
    conversation._remove_some(Event.objects.filter(thread=thread.pk), conversation.ROWS_MAX)
    assert left(thread)[0] == before - conversation.ROWS_MAX, "what was removed before the process died stays removed"
    conversation.remove_departed()
    assert left(thread) == [0, 0, 0, 0]


@pytest.mark.usefixtures("slow")
def test_the_runner_removes_what_is_left(alice: ApiClient, settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.KUMOS_SWEEP_SECONDS = 0.1
    channel_layers.backends.clear()
    thread, _ = ask(alice, "Hello")
    alice.delete(f"/threads/{thread.pk}")
    running(lambda here: until(lambda: left(thread) == [0, 0, 0, 0]))


def test_a_run_that_begins_while_it_departs_is_ended(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, run = ask(alice, "Hello")
    transitions.cancel_run(run)
    late = Run(project=alice.project, thread=thread, assistant_id=run.assistant_id, model="scripted")
    late.truncation_strategy = run.truncation_strategy

    def begin(threads: Collection[str]) -> None:
        monkeypatch.setattr(conversation, "end_with_threads", ending)
        transitions.create_run(thread, late)

    ending = conversation.end_with_threads
    monkeypatch.setattr(conversation, "end_with_threads", [*ending, begin])
    monkeypatch.setattr(conversation, "REMOVAL_SECONDS", -1.0)
    assert alice.delete(f"/threads/{thread.pk}").status_code == 200
    late.refresh_from_db()
    assert late.status == "cancelled"


def test_a_mirror_of_no_run_does_not_keep_it(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    run.delete()
    assert alice.delete(f"/threads/{thread.pk}").status_code == 200
    assert left(thread) == [0, 0, 0, 0]


@pytest.mark.postgres
def test_a_run_that_begins_too_late_finds_no_thread(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    transitions.cancel_run(run)
    begin = partial(alice.post, f"/threads/{thread.pk}/runs", {"assistant_id": run.assistant_id})
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            conversation.delete_thread(thread)
            answer = pool.submit(elsewhere, begin)
            until_somebody_waits()
        assert answer.result(PATIENCE_SECONDS).status_code == 404
    assert left(thread) == [0, 0, 0, 0]


def test_a_long_thread_is_deleted_in_the_midst_of_a_run(
    alice: ApiClient, model: Model, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATA_DIR = tmp_path
    channel_layers.backends.clear()
    never = threading.Event()
    model.will(*["word "] * 2_000, never)
    thread, run = ask(alice, "Tell me a story.", model="story")
    log(thread, 3_000)

    async def work(here: Runner) -> None:
        await until(lambda: Event.objects.filter(run_id=run.pk, name="thread.message.delta").exists())
        answer = await asyncio.to_thread(lambda: alice.delete(f"/threads/{thread.pk}"))
        assert answer.status_code == 200, answer.content
        await until(lambda: not here.executors, on_loop=True)
        await until(lambda: left(thread) == [0, 0, 0, 0])

    settings.KUMOS_SWEEP_SECONDS = 0.1
    running(work)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
