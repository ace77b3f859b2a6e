"""The runner of a process: woken by bells, within its slots, drained without a loss (design, sections 2, 4, 7)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import channel_layers
from django.db import DatabaseError, connection
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Message, VectorStoreFile
from runs import ingest, queue, runner, transitions
from runs.models import Run, Worker
from runs.runner import Runner
from streaming.models import Event
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS, run_async, until
from tests.runs.at_work import running
from tests.runs.conftest import GET_WEATHER, EndlessChild, ask

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quiet(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bell does not start within a test, no poll, beat or sweep will."""
    settings.DATA_DIR = tmp_path
    settings.KUMOS_BEAT_SECONDS = settings.KUMOS_SWEEP_SECONDS = 1000
    monkeypatch.setattr(runner, "POLL_SECONDS", 1000)
    channel_layers.backends.clear()


def has(run: Run, status: str) -> Callable[[], bool]:
    return lambda: Run.objects.filter(pk=run.pk, status=status).exists()


def streams(run: Run) -> Callable[[], bool]:
    return lambda: Event.objects.filter(run_id=run.pk, name="thread.message.delta").exists()


def statuses() -> list[str]:
    return list(Run.objects.order_by("created_at").values_list("status", flat=True))


def test_what_waits_is_started_with_the_runner(alice: ApiClient) -> None:
    _, run = ask(alice, "!fast Hello")
    running(lambda here: until(has(run, "completed")))
    assert not Worker.objects.exists()


def test_a_bell_starts_a_run(alice: ApiClient) -> None:
    async def work(here: Runner) -> None:
        await idle(here)
        _, run = await asyncio.to_thread(ask, alice, "!fast Hello")
        await until(has(run, "completed"))

    running(work)


async def idle(here: Runner) -> None:
    """The runner has looked for work and waits: from now on only a bell can tell it of some."""
    await until(lambda: bool(here._run_bell._waiters and here._file_bell._waiters), on_loop=True)


def test_a_bell_cancels_a_run(alice: ApiClient) -> None:
    _, run = ask(alice, "!stall")

    async def work(here: Runner) -> None:
        await until(streams(run))
        await asyncio.to_thread(lambda: transitions.cancel_run(run))
        await until(has(run, "cancelled"))

    running(work)


def test_without_a_bell_the_beat_tells_of_a_cancel(alice: ApiClient) -> None:
    _, run = ask(alice, "!stall")

    async def work(here: Runner) -> None:
        await until(streams(run))
        await here.writer.run(lambda: Run.objects.filter(pk=run.pk).update(status="cancelling"))
        await here._beat()
        await until(has(run, "cancelled"))

    running(work)


def test_without_a_bell_and_between_two_beats_a_look_tells_of_a_cancel(
    alice: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.1)
    _, run = ask(alice, "!stall")

    async def work(here: Runner) -> None:
        await until(streams(run))
        await here.writer.run(lambda: Run.objects.filter(pk=run.pk).update(status="cancelling"))
        await until(has(run, "cancelled"))

    running(work)


def test_the_beat_stops_what_was_lost(alice: ApiClient) -> None:
    _, run = ask(alice, "!stall")

    async def work(here: Runner) -> None:
        await until(streams(run))
        task = here.tasks[run.pk]
        await here.writer.run(lambda: Run.objects.filter(pk=run.pk).update(epoch=9, worker_id="worker_other"))
        await here._beat()
        await task
        assert here.executors == {}

    running(work)
    assert Run.objects.get(pk=run.pk).status == "in_progress"


def test_a_late_beat_does_not_stop_a_run_that_was_claimed_again(alice: ApiClient) -> None:
    """Between the beat's question and its answer the run waited for outputs, got them, and is ours again."""
    _, run = ask(alice, "!call get_weather {}", tools=[GET_WEATHER])

    async def work(here: Runner) -> None:
        await until(has(run, "requires_action"))
        await until(lambda: not here.executors)
        old = await asyncio.to_thread(lambda: Run.objects.get(pk=run.pk))
        await asyncio.to_thread(submit, old)
        # The answer to the second turn stalls, so that the run stays ours.
        await until(lambda: run.pk in here.executors)
        again = here.executors[run.pk]
        here.executors[run.pk] = type(again)(old, here.writer)  # as it was when the beat asked
        beat = asyncio.create_task(here._beat())
        await asyncio.sleep(0)
        here.executors[run.pk] = again
        await beat
        assert again._reason is None

    def submit(old: Run) -> None:
        Message.objects.filter(thread_id=old.thread_id, role="user").update(
            content=[{"type": "text", "text": {"value": "!stall", "annotations": []}}]
        )
        call = (old.required_action or {})["submit_tool_outputs"]["tool_calls"][0]
        transitions.submit_tool_outputs(old, [{"tool_call_id": call["id"], "output": "rain"}])

    running(work)


def test_slots_are_respected_and_used_again(alice: ApiClient) -> None:
    stalled = [ask(alice, "!stall")[1] for _ in range(2)]
    waiting = [ask(alice, "!fast Hello")[1] for _ in range(3)]

    async def work(here: Runner) -> None:
        for run in stalled:
            await until(streams(run))
        here.wake()
        await here._claim()
        assert len(here.executors) == 2
        assert await asyncio.to_thread(statuses) == ["in_progress"] * 2 + ["queued"] * 3
        await asyncio.to_thread(lambda: transitions.cancel_run(stalled[0]))
        for run in waiting:
            await until(has(run, "completed"))
        # A slot is free a moment after its run's end has committed.
        await until(lambda: set(here.executors) == {stalled[1].pk})

    running(work, slots=2)


def test_draining_hands_back_what_does_not_end_in_time(alice: ApiClient) -> None:
    _, run = ask(alice, "!stall")
    running(lambda here: until(streams(run)))
    left = Run.objects.get(pk=run.pk)
    assert (left.status, left.lease_until, left.worker_id) == ("in_progress", None, "")
    assert not Worker.objects.exists()
    (again,) = queue.claim("worker_b", 5)
    assert again.crash_attempts == 0


def test_draining_lets_finish_what_can(alice: ApiClient) -> None:
    _, run = ask(alice, "!slow 40 !long 12")
    running(lambda here: until(streams(run)), drain=PATIENCE_SECONDS)
    assert Run.objects.get(pk=run.pk).status == "completed"


def test_a_draining_runner_starts_nothing(alice: ApiClient) -> None:
    async def work(here: Runner) -> None:
        await here.drain(0)
        await asyncio.to_thread(ask, alice, "!fast Hello")
        here.wake()
        await here._claim()

    running(work)
    assert statuses() == ["queued"]


def drained_while_it_claims(make: Callable[[], object]) -> Runner:
    """A runner that is drained while its claims of what `make` makes are under way in the writer's thread.

    The answers come when all the rest is drained.
    """
    busy, go = threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        assert go.wait(PATIENCE_SECONDS)

    async def work() -> Runner:
        here = Runner(4)
        life = asyncio.create_task(here.run())
        await idle(here)
        await asyncio.to_thread(make)
        blocked = asyncio.create_task(here.writer.run(block))
        await asyncio.to_thread(busy.wait, PATIENCE_SECONDS)
        here.wake()
        await until(lambda: len(here.writer._jobs) == 2, on_loop=True)  # a claim of runs and one of files
        await here.drain(0)
        go.set()
        await asyncio.gather(blocked, life)
        return here

    return run_async(work)


def test_what_is_claimed_while_the_draining_begins_goes_back(alice: ApiClient) -> None:
    assert drained_while_it_claims(lambda: ask(alice, "!stall")).executors == {}
    left = Run.objects.get()
    assert (left.status, left.lease_until, left.epoch) == ("in_progress", None, 1)


def test_the_runs_of_the_last_process_are_taken_over_at_the_start(alice: ApiClient) -> None:
    _, run = ask(alice, "!fast Hello")
    queue.register("worker_old", 4).close()
    assert queue.claim_one(run, "worker_old") is not None
    running(lambda here: until(has(run, "completed")))
    assert Run.objects.get(pk=run.pk).crash_attempts == 1


def test_a_loop_survives_what_happens_in_it(alice: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    async def work(here: Runner) -> None:
        await idle(here)
        slots, here.slots = here.slots, "many"  # type: ignore[assignment]
        here.wake()
        await until(lambda: "could not claim" in caplog.text)
        here.slots = slots
        _, run = await asyncio.to_thread(ask, alice, "!fast Hello")
        await until(has(run, "completed"))

    running(work)


def test_the_sweep_ends_overdue_runs(alice: ApiClient) -> None:
    _, run = ask(alice, "!call get_weather {}", tools=[GET_WEATHER])

    async def work(here: Runner) -> None:
        await until(has(run, "requires_action"))
        overdue = partial(Run.objects.filter(pk=run.pk).update, expires_at=now() - timedelta(seconds=1))
        await here.writer.run(overdue)
        await here._sweep()
        assert await asyncio.to_thread(has(run, "expired"))

    running(work)


# Files ----------------------------------------------------------------------------------------------------------------


def stored(client: ApiClient, content: bytes = b"High tide comes twice a day.") -> VectorStoreFile:
    store: dict[str, Any] = client.make("/vector_stores", {"file_ids": [client.make_file("tides.txt", content)]})
    return VectorStoreFile.objects.get(vector_store_id=store["id"])


def test_a_bell_starts_the_reading_of_a_file(alice: ApiClient) -> None:
    async def work(here: Runner) -> None:
        await idle(here)
        file = await asyncio.to_thread(stored, alice)
        await until(lambda: VectorStoreFile.objects.filter(pk=file.pk, status="completed").exists())

    running(work)


def test_draining_hands_back_files_at_once(alice: ApiClient, endless_child: EndlessChild) -> None:
    """Otherwise their next reader would wait until the claim runs out, a minute."""
    file = stored(alice)

    async def work(here: Runner) -> None:
        await endless_child.started()
        assert here.file_tasks

    running(work)
    left = VectorStoreFile.objects.get(pk=file.pk)
    assert (left.status, left.claimed_until) == ("in_progress", None)
    assert [claim.store_file_id for claim in ingest.claim_files("worker_b", 9)].count(file.pk) == 1


def test_files_that_are_claimed_while_the_draining_begins_go_back(alice: ApiClient) -> None:
    assert drained_while_it_claims(lambda: stored(alice)).file_tasks == {}
    left = set(VectorStoreFile.objects.values_list("status", "claimed_until", "epoch"))
    assert left == {("in_progress", None, 1)}


def rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


@pytest.mark.parametrize("table", ["runs_worker", "assistants_vectorstorefile"])
def test_a_runner_whose_start_failed_can_be_run_again(alice: ApiClient, table: str) -> None:
    """A table is not there, really: the first run raises, before or after it has entered the register."""
    _, run = ask(alice, "!fast\nHello")

    async def scenario() -> None:
        here = Runner(2)
        await database_sync_to_async(rename, thread_sensitive=False)(table, "hidden")
        try:
            with pytest.raises(DatabaseError):
                await here.run()
        finally:
            await database_sync_to_async(rename, thread_sensitive=False)("hidden", table)
        working = asyncio.create_task(here.run())
        await until(lambda: Run.objects.filter(pk=run.pk, status="completed").exists())
        await here.drain(5)
        await working

    run_async(scenario)
