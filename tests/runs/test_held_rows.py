"""A row that somebody holds, for whatever reason, keeps waiting whoever wants it, and nobody else (PostgreSQL)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from channels.layers import channel_layers
from django.db import connection, connections, transaction
from django.db.models import Model as Row
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Thread
from runs import queue, transitions
from runs.models import Run
from runs.runner import Runner
from runs.story import run_event
from runs.writer import Writer
from streaming import journal
from streaming.models import Event
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS, run_async, until, where
from tests.runs.at_work import running
from tests.runs.conftest import ask
from tests.runs.model import Model

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def alone(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.KUMOS_LEASE_SECONDS = 1000  # nothing is given up
    channel_layers.backends.clear()


@contextmanager
def held(*rows: Row) -> Iterator[None]:
    """Somebody has changed `rows`, and does not end his transaction."""
    holds, leave = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                for row in rows:
                    assert type(row)._base_manager.filter(pk=row.pk).update(created_at=now())
                holds.set()
                assert leave.wait(2 * PATIENCE_SECONDS)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        try:
            assert holds.wait(PATIENCE_SECONDS)
            yield
        finally:
            leave.set()
            holder.result(PATIENCE_SECONDS)


@asynccontextmanager
async def holding(*rows: Row) -> AsyncIterator[None]:
    with held(*rows):  # a moment that the loop stands still
        yield


def elsewhere[T](work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        connections.close_all()


def until_somebody_waits() -> None:
    """Returns when a session waits for a lock of this one."""

    def somebody_waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_stat_clear_snapshot(), EXISTS (SELECT 1 FROM pg_stat_activity"
                " WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
            )
            return bool(cursor.fetchone()[1])

    until_it_is(somebody_waits)


def until_it_is(true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < give_up_at, where(true)
        time.sleep(0.01)


def claimed(limit: int) -> list[str]:
    return [run.pk for run in queue.claim("worker_a", limit)]


def deltas(run: Run) -> int:
    return Event.objects.filter(run_id=run.pk, name="thread.message.delta").count()


def append(thread: Thread, run: Run) -> int:
    return journal.append(thread.pk, [run_event(run)])[0].seq


def test_what_waits_for_a_row_is_done_after_the_others(alice: ApiClient, writer: Writer) -> None:
    (first, one), (second, other) = ask(alice, "Hello"), ask(alice, "Hello")

    async def work() -> None:
        async with holding(first):
            waiting = asyncio.create_task(writer.run(partial(append, first, one)))
            for seq in range(3, 8):
                assert await writer.run(partial(append, second, other)) == seq
            assert not waiting.done()
        assert await waiting == 3

    run_async(work)


def test_a_run_whose_thread_is_held_keeps_no_other_waiting(alice: ApiClient, model: Model) -> None:
    """Nor a new one from being claimed. And when the row is free, it goes on as if nothing had been."""
    speak = threading.Event()
    for _ in range(2):
        model.will("Once ", speak, "upon a time.")
    (first, one), (_, other) = (ask(alice, "Tell me a story.", model="story") for _ in range(2))

    async def work(here: Runner) -> None:
        await until(lambda: deltas(one) == deltas(other) == 1)
        working = here.executors[one.pk]
        async with holding(first):
            speak.set()
            await until(lambda: deltas(other) == 2)
            _, third = await asyncio.to_thread(ask, alice, "!fast Hello")
            await until(lambda: Run.objects.filter(pk=third.pk, status="completed").exists())
            assert here.executors[one.pk] is working, "it was given up"
            assert await asyncio.to_thread(deltas, one) == 1
        await until(lambda: Run.objects.filter(pk=one.pk, status="completed").exists())

    running(work)
    one.refresh_from_db()
    assert (one.epoch, one.crash_attempts) == (1, 0)


def test_whoever_gives_up_waiting_has_not_crashed(alice: ApiClient, model: Model, settings: Settings) -> None:
    settings.KUMOS_LEASE_SECONDS, settings.KUMOS_BEAT_SECONDS = 1.5, 0.5
    speak = threading.Event()
    model.will("Once ", speak, "upon a time.")
    thread, run = ask(alice, "Tell me a story.", model="story")

    async def work(here: Runner) -> None:
        await until(lambda: deltas(run) == 1)
        async with holding(thread):
            speak.set()
            await until(lambda: Run.objects.filter(pk=run.pk, worker_id="").exists())
        await until(lambda: Run.objects.filter(pk=run.pk, status="completed").exists())

    running(work)
    run.refresh_from_db()
    assert (run.epoch, run.crash_attempts) == (2, 0)


def test_a_queued_run_whose_thread_is_held_is_passed_over(alice: ApiClient) -> None:
    (first, one), (second, two), (_, three) = (ask(alice, "Hello") for _ in range(3))
    with held(first, second):
        assert claimed(1) == [three.pk]
        assert claimed(1) == []
    assert claimed(5) == [one.pk, two.pk]


def test_a_thread_that_is_held_for_a_moment_is_waited_for(alice: ApiClient) -> None:
    """A title that is changed while a run begins: the run must not wait for the next look."""
    thread, run = ask(alice, "Hello")
    rows = Thread.objects.filter(pk=thread.pk)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            rows.update(metadata={"title": "Hello"})
            claiming = pool.submit(elsewhere, partial(claimed, 1))
            until_somebody_waits()
        assert claiming.result(PATIENCE_SECONDS) == [run.pk]


def test_cancelling_many_waits_for_nobody_who_may_wait_for_it(alice: ApiClient) -> None:
    """A worker's transaction has one run and wants another; whoever cancels both has that, and wants the first."""
    one, other = (ask(alice, "Hello")[1] for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert Run.objects.filter(pk=one.pk).update(worker_id="worker_a")
            cancelling = pool.submit(elsewhere, lambda: transitions.cancel_runs([other.pk, one.pk]))
            until_it_is(lambda: Run.objects.filter(pk=other.pk, status="cancelling").exists())
            assert Run.objects.filter(pk=other.pk).update(worker_id="worker_a")
        assert cancelling.result(PATIENCE_SECONDS) == 2
    assert set(Run.objects.values_list("status", flat=True)) == {"cancelling"}


def test_cancelling_many_leaves_what_is_held_for_long(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "HELD_SECONDS", 0.1)
    (_, one), (thread, two), (_, three) = (ask(alice, "Hello") for _ in range(3))
    with held(one, thread):
        assert transitions.cancel_runs([one.pk, two.pk, three.pk]) == 1
    assert transitions.cancel_runs([one.pk, two.pk, three.pk]) == 2


def test_a_beat_does_not_wait_for_a_row(alice: ApiClient) -> None:
    one, other = (ask(alice, "Hello")[1] for _ in range(2))
    runs = queue.claim("worker_a", 2)
    Run.objects.update(lease_until=now() + timedelta(seconds=1))
    with held(one):
        pulse = queue.beat("worker_a", runs)
        assert (pulse.cancelled, pulse.lost) == ([], [])
        other.refresh_from_db()
    assert other.lease_until is not None
    assert other.lease_until > now() + timedelta(seconds=500)
