"""Liveness and readiness, without a key. What a served Kumos says when something dies: tests/e2e/test_operations.py."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django.fixtures import Settings

from assistants import bell
from assistants.clock import now
from kumos_site import health
from runs.engine import Engine
from runs.models import Worker
from tests.loops import run_async

PROBE = """
import django; django.setup()
from django.test import Client
for path in ("/health/live", "/health/ready"):
    answer = Client(headers={"Host": "localhost"}).get(path)
    print(answer.status_code, answer.content.decode())
"""
WELL = {"database": "ok", "migrations": "ok", "runner": "ok", "layer": "ok"}


@pytest.fixture
def worker(db: None) -> Worker:
    """One that beats, somewhere."""
    return Worker.objects.create(id="worker_1", host="elsewhere", pid=1, slots=1)


def test_ready_when_the_database_is_migrated_and_a_worker_beats(client: Client, worker: Worker) -> None:
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": WELL})


@pytest.mark.parametrize("change", [{"beat_at": now() - timedelta(seconds=31)}, {"draining": True}, {"slots": 0}])
def test_a_web_server_without_workers_is_degraded_and_serves(
    client: Client, worker: Worker, change: dict[str, Any]
) -> None:
    Worker.objects.update(**change)
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "degraded", "checks": {**WELL, "runner": "none"}})


def test_not_ready_while_a_migration_is_missing(client: Client, worker: Worker) -> None:
    ((app, newest),) = MigrationLoader(connection).graph.leaf_nodes("runs")
    MigrationRecorder(connection).record_unapplied(app, newest)
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "down", "checks": {**WELL, "migrations": "missing"}})


def test_alive_but_not_ready_without_a_database(tmp_path: Path) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "kumos_site.settings",
        "KUMOS_DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/no/such/folder/kumos.sqlite3",
    }
    probe = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True
    )
    live, ready = probe.stdout.splitlines()
    assert live == '200 {"status": "ok"}'
    assert ready.startswith("503 ")
    checks = {"database": "down", "migrations": "unknown", "runner": "unknown", "layer": "ok"}
    assert json.loads(ready[4:]) == {"status": "down", "checks": checks}


# The runner of this process -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_engine() -> Iterator[None]:
    yield
    health.attach(None)


def asked(path: str) -> tuple[int, Any]:
    answer = Client().get(path)
    return answer.status_code, answer.json()


def with_engine(work: Callable[[Engine], Awaitable[None]]) -> None:
    async def on_loop() -> None:
        engine = Engine()
        health.attach(engine)
        try:
            await work(engine)
        finally:
            await engine.stop(0)

    run_async(on_loop)


async def until_the_runner_is(word: str) -> tuple[int, Any]:
    """The answer that says so."""
    while (found := await asyncio.to_thread(asked, "/health/ready"))[1]["checks"]["runner"] != word:
        await asyncio.sleep(0.02)
    return found


@pytest.mark.django_db(transaction=True)
def test_a_runner_that_ended_is_not_ready(settings: Settings, tmp_path: Path) -> None:
    """At once: its silence would be noticed a lease later."""
    settings.DATA_DIR = tmp_path
    settings.KUMOS_LEASE_SECONDS = 1000

    async def work(engine: Engine) -> None:
        assert (await until_the_runner_is("starting"))[0] == 503
        engine.start()
        assert await until_the_runner_is("ok") == (200, {"status": "ok", "checks": WELL})
        engine._tasks[0].cancel()
        dead = {"status": "down", "checks": {**WELL, "runner": "stopped"}}
        assert await until_the_runner_is("stopped") == (503, dead)

    with_engine(work)


@asynccontextmanager
async def standing_still(engine: Engine) -> AsyncIterator[None]:
    """Its writer is at one thing all the time."""
    held, loop = asyncio.Event(), asyncio.get_running_loop()
    writing = asyncio.create_task(
        engine.runner.writer.run(lambda: asyncio.run_coroutine_threadsafe(held.wait(), loop).result())
    )
    try:
        yield
    finally:
        held.set()
        await writing


@pytest.mark.django_db(transaction=True)
def test_a_runner_that_gets_nothing_done_is_not_ready(settings: Settings, tmp_path: Path) -> None:
    """The thread that writes for it stands still: its loops wait for it, and do not end."""
    settings.DATA_DIR = tmp_path
    settings.KUMOS_LEASE_SECONDS, settings.KUMOS_BEAT_SECONDS = 1.5, 0.5

    async def work(engine: Engine) -> None:
        engine.start()
        await until_the_runner_is("ok")
        async with standing_still(engine):
            code, _ = await until_the_runner_is("stopped")
            assert code == 503
        assert (await until_the_runner_is("ok"))[0] == 200

    with_engine(work)


@pytest.mark.django_db(transaction=True)
def test_a_runner_whose_writer_stands_still_is_not_alive(settings: Settings, tmp_path: Path) -> None:
    """Its loops turn, and nothing that it does is stored any more."""
    settings.DATA_DIR = tmp_path
    settings.KUMOS_LEASE_SECONDS, settings.KUMOS_BEAT_SECONDS = 0.4, 0.1

    async def until_it_is(word: str) -> tuple[int, Any]:
        while (found := await asyncio.to_thread(asked, "/health/live"))[1]["status"] != word:
            await asyncio.sleep(0.02)
        return found

    async def work(engine: Engine) -> None:
        engine.start()
        await until_the_runner_is("ok")
        async with standing_still(engine):
            assert (await until_it_is("stuck"))[0] == 503
        assert (await until_it_is("ok"))[0] == 200

    with_engine(work)


def test_a_loop_that_stands_still_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOP_SECONDS", 0.1)
    standing = asyncio.new_event_loop()  # nobody runs it
    bell.attach(standing)
    try:
        assert asked("/health/live") == (503, {"status": "stuck"})
    finally:
        bell.attach(None)
        for task in asyncio.all_tasks(standing):
            task.cancel()
        standing.run_until_complete(asyncio.sleep(0))
        standing.close()


@pytest.mark.django_db
def test_the_checks_of_a_start_ask_the_database_nothing(django_assert_num_queries: Any) -> None:
    """Another process may be writing just then: Django takes a locked SQLite for one that has no JSON."""
    vars(connection.features).pop("supports_json_field", None)
    with django_assert_num_queries(0):
        run_checks(databases=[DEFAULT_DB_ALIAS])
