"""A run's own process around the run itself: how it is started, told of a stop, and what happens where it cannot begin.

What becomes of the run is in tests/e2e/test_poison.py and tests/runs/test_queue.py.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from runs import engine
from runs.engine import Engine
from runs.isolation import Isolation
from tests.loops import PATIENCE_SECONDS, run_async, until


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database without tables, where such a process waits until it is told to stop."""
    monkeypatch.setenv("KUMOS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.usefixtures("nowhere")
def test_a_stop_reaches_a_process_that_is_being_started() -> None:
    async def scenario() -> None:
        isolation = Isolation()
        isolation.start(["run_early"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await isolation.drain()
        assert not isolation.tasks

    run_async(scenario)


@pytest.mark.usefixtures("nowhere")
def test_a_signal_to_the_group_of_the_worker_is_for_the_worker_alone() -> None:
    async def scenario() -> None:
        isolation = Isolation()
        isolation.start(["run_apart"])
        await until(lambda: bool(isolation._processes))
        (process,) = isolation._processes.values()
        try:
            assert os.getpgid(process.pid) != os.getpgid(0)
        finally:
            await isolation.drain()

    run_async(scenario)


def test_a_process_that_cannot_be_started_is_told_and_not_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def scenario() -> None:
        isolation = Isolation()
        isolation.start(["run_never"])
        await until(lambda: "gets no process of its own now" in caplog.text)
        isolation.start(["run_never"])  # as at the next look
        async with asyncio.timeout(PATIENCE_SECONDS):
            await isolation.drain()
        assert not isolation.tasks

    run_async(scenario)
    assert caplog.text.count("run run_never gets no process of its own now") == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_for_one_run_that_cannot_register_tries_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(engine, "RESTART_SECONDS", 0.05)
    in_the_way = tmp_path / "workers"
    in_the_way.touch()

    async def scenario() -> None:
        alone = Engine("run_gone")
        alone.start()
        await until(lambda: "starts again" in caplog.text)
        in_the_way.unlink()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await alone.over()
        assert alone.runner.registered.is_set()
        await alone.stop(0)

    run_async(scenario)
