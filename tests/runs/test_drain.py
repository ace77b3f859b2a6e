"""A runner that an operator drained: it ends what it has, claims nothing more, lives on, and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from runs import queue, runner
from runs.models import Run, Worker
from runs.runner import Runner
from tests.conftest import ApiClient
from tests.loops import until
from tests.runs.at_work import running
from tests.runs.conftest import ask

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def brisk(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATA_DIR = tmp_path
    settings.KUMOS_BEAT_SECONDS = 0.1
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.1)


def told(here: Runner, drain: bool) -> None:
    assert queue.ask_to_drain(Worker.objects.get(pk=here.id), drain)


def has(run: Run, status: str, worker: str | None = None) -> bool:
    found = Run.objects.get(pk=run.pk)
    return found.status == status and worker in (None, found.worker_id)


def test_it_ends_what_it_has_and_claims_nothing_more(alice: ApiClient) -> None:
    _, first = ask(alice, "!slow 20 !long 60")

    async def work(here: Runner) -> None:
        await until(lambda: has(first, "in_progress", here.id))
        await asyncio.to_thread(told, here, True)
        await until(lambda: Worker.objects.filter(pk=here.id, draining=True).exists())
        _, second = await asyncio.to_thread(ask, alice, "!fast Hello")
        await until(lambda: has(first, "completed"))
        for _ in range(3):  # it looks for work, and takes none
            looked = here._rounds["claim"]
            await until(lambda looked=looked: here._rounds["claim"] > looked, on_loop=True)  # type: ignore[misc]
        assert await asyncio.to_thread(has, second, "queued")
        assert here.works(), "it is as well as before"
        await asyncio.to_thread(told, here, False)
        await until(lambda: has(second, "completed"))
        assert await asyncio.to_thread(Worker.objects.filter(pk=here.id, draining=False).exists)

    running(work)


def test_another_takes_the_queue(alice: ApiClient) -> None:
    async def work(here: Runner) -> None:
        await asyncio.to_thread(told, here, True)
        await until(lambda: here.resting, on_loop=True)
        _, run = await asyncio.to_thread(ask, alice, "!stall")
        other = Runner(4)
        life = asyncio.create_task(other.run())
        try:
            await until(lambda: has(run, "in_progress", other.id))
        finally:
            await other.drain(0)
            await life

    running(work)
