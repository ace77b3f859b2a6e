"""A cancel reaches its worker in four ways, and a time limit is enforced in three. Each is enough by itself: in each
test here all the others are switched off.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Message
from runs import queue, runner
from runs.models import Run
from runs.runner import Runner
from streaming.models import Event
from tests.conftest import ApiClient
from tests.loops import until
from tests.runs.at_work import running
from tests.runs.conftest import GET_WEATHER, ask, make_overdue
from tests.runs.model import Model

pytestmark = pytest.mark.django_db(transaction=True)

NEVER, SOON = 1000, 0.05


@pytest.fixture(autouse=True)
def silence(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No beat, no sweep, no look for runs that were left, for as long as a test takes; bells are for those who hear."""
    settings.DATA_DIR = tmp_path
    settings.KUMOS_BEAT_SECONDS = settings.KUMOS_SWEEP_SECONDS = NEVER
    settings.KUMOS_LEASE_SECONDS = 10 * NEVER
    monkeypatch.setattr(runner, "POLL_SECONDS", NEVER)
    monkeypatch.setattr(runner, "RECLAIM_SECONDS", NEVER)
    channel_layers.backends.clear()


def status_of(run: Run) -> str:
    """As it is stored: a request would be one of the ways."""
    return str(Run.objects.values_list("status", flat=True).get(pk=run.pk))


def speaks(run: Run) -> bool:
    return Event.objects.filter(run_id=run.pk, name="thread.message.delta").exists()


def cancel(client: ApiClient, run: Run) -> None:
    assert client.make(f"/threads/{run.thread_id}/runs/{run.pk}/cancel")["status"] == "cancelling"


def reason_of(run: Run) -> str:
    return str(Message.objects.get(run_id=run.pk).incomplete_reason)


# A cancel -------------------------------------------------------------------------------------------------------------


def test_a_cancel_comes_by_bell(alice: ApiClient) -> None:
    _, run = ask(alice, "!stall")

    async def work(_: Runner) -> None:
        await until(partial(speaks, run))
        await asyncio.to_thread(cancel, alice, run)
        await until(lambda: status_of(run) == "cancelled")

    running(work)
    assert reason_of(run) == "run_cancelled"


def test_a_cancel_comes_with_the_next_flush(alice: ApiClient, model: Model) -> None:
    more, hold = threading.Event(), threading.Event()
    model.will("Once ", more, "upon ", hold)
    _, run = ask(alice, "Hello", model="m")

    async def work(_: Runner) -> None:
        await until(partial(speaks, run))
        await asyncio.to_thread(cancel, alice, run)
        more.set()
        await until(lambda: status_of(run) == "cancelled")

    running(work, hears=False)
    hold.set()
    assert reason_of(run) == "run_cancelled"


def test_a_cancel_comes_with_the_next_beat(alice: ApiClient, settings: Settings) -> None:
    settings.KUMOS_BEAT_SECONDS = SOON
    _, run = ask(alice, "!stall")

    async def work(_: Runner) -> None:
        await until(partial(speaks, run))
        await asyncio.to_thread(cancel, alice, run)
        await until(lambda: status_of(run) == "cancelled")

    running(work, hears=False)
    assert reason_of(run) == "run_cancelled"


def test_a_cancel_is_carried_out_by_others_where_the_worker_is_dead(
    alice: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "POLL_SECONDS", SOON)
    _, run = ask(alice, "!stall")
    assert queue.claim_one(run, "worker_dead") is not None
    cancel(alice, run)

    async def work(_: Runner) -> None:
        assert await asyncio.to_thread(status_of, run) == "cancelling", "its lease is left to it"
        await asyncio.to_thread(lambda: Run.objects.filter(pk=run.pk).update(lease_until=now() - timedelta(seconds=1)))
        await until(lambda: status_of(run) == "cancelled")

    running(work, hears=False)


# A time limit ---------------------------------------------------------------------------------------------------------


def test_a_run_expires_by_its_workers_deadline(alice: ApiClient) -> None:
    _, run = ask(alice, "!stall")
    Run.objects.filter(pk=run.pk).update(expires_at=now() + timedelta(seconds=3))  # time enough for the words before

    async def work(_: Runner) -> None:
        await until(lambda: status_of(run) == "expired")

    running(work, hears=False)
    assert reason_of(run) == "run_expired"


def test_a_run_expires_by_the_sweep(alice: ApiClient, settings: Settings) -> None:
    """The deadline is the worker's, and this run has none: it waits for its client."""
    settings.KUMOS_SWEEP_SECONDS = SOON
    _, run = ask(alice, "!call get_weather {}", tools=[GET_WEATHER])

    async def work(_: Runner) -> None:
        await until(lambda: status_of(run) == "requires_action")
        await asyncio.to_thread(make_overdue, run)
        await until(lambda: status_of(run) == "expired")

    running(work, hears=False)


def test_a_run_expires_when_it_is_read(alice: ApiClient) -> None:
    """Nobody works here at all."""
    thread, run = ask(alice, "!stall")
    assert queue.claim_one(run, "worker_dead") is not None
    make_overdue(run)
    assert status_of(run) == "in_progress"
    assert alice.get(f"/threads/{thread.pk}/runs/{run.pk}").json()["status"] == "expired"
    assert status_of(run) == "expired"
    assert alice.post(f"/threads/{thread.pk}/messages", {"role": "user", "content": "?"}).status_code == 200
