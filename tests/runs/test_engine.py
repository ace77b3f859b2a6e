"""The runner's life in a process, and its bells, on a real Redis that may be away (design, section 7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from channels.layers import channel_layers, get_channel_layer
from pytest_django.fixtures import Settings

from assistants import bell, layer
from kumos_site.settings import layers
from runs import engine, queue, runner
from runs.engine import Engine
from runs.models import Run, Worker
from tests.backends import Redis, has_redis
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS, run_async, until
from tests.runs.conftest import ask
from tests.runs.test_runner import has, streams

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not has_redis(), reason="needs redis-server"),
]


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(autouse=True)
def bells(settings: Settings, tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a bell does not start, no poll will."""
    settings.DATA_DIR = tmp_path
    settings.KUMOS_BEAT_SECONDS = settings.KUMOS_SWEEP_SECONDS = 1000
    settings.CHANNEL_LAYERS = layers(redis.url)
    channel_layers.backends.clear()
    for name in ("POLL_SECONDS", "POLL_SECONDS_UNHEALTHY"):
        monkeypatch.setattr(runner, name, 1000)
    monkeypatch.setattr(layer, "_failed_at", None)
    yield
    channel_layers.backends.clear()


def with_engines(work: Callable[[list[Engine]], Awaitable[None]], *, count: int = 1, drain: float = 0) -> None:
    """`work` while engines are running, all on one loop; stopped afterwards."""

    async def on_loop() -> None:
        engines = [Engine() for _ in range(count)]
        for one in engines:
            one.start()
        try:
            for one in engines:
                await one.runner.registered.wait()
            await work(engines)
        finally:
            for one in engines:
                await one.stop(drain)
            layer_: Any = get_channel_layer()
            await layer_.flush()

    run_async(on_loop)


async def rung_until(condition: Callable[[], bool]) -> None:
    """Rings the runner's bell, again and again, until that is heard."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up_at, "no bell was heard"
        with suppress(layer.Away):
            await bell.send({"type": "run.queued"})
        await asyncio.sleep(0.1)


def test_a_worker_that_starts_without_redis_hears_its_bells_later(alice: ApiClient, redis: Redis) -> None:
    async def work(engines: list[Engine]) -> None:
        await until(lambda: not layer.healthy(), on_loop=True)
        _, run = await asyncio.to_thread(ask, alice, "!fast Hello")
        await asyncio.to_thread(redis.start)
        await rung_until(has(run, "completed"))

    redis.kill()
    with_engines(work)


def test_bells_are_heard_again_after_redis_was_gone(alice: ApiClient, redis: Redis) -> None:
    async def work(engines: list[Engine]) -> None:
        _, first = await asyncio.to_thread(ask, alice, "!fast Hello")
        await rung_until(has(first, "completed"))
        await asyncio.to_thread(redis.kill)
        _, second = await asyncio.to_thread(ask, alice, "!fast Hello")
        await asyncio.to_thread(redis.start)
        await rung_until(has(second, "completed"))

    with_engines(work)


def test_a_layer_that_went_deaf_is_made_anew(alice: ApiClient, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody follows anything here: the worker has to notice it by itself."""
    monkeypatch.setattr(layer, "ECHO_SECONDS", 0.2)

    async def work(engines: list[Engine]) -> None:
        _, first = await asyncio.to_thread(ask, alice, "!fast Hello")
        await rung_until(has(first, "completed"))
        layer_: Any = get_channel_layer()
        for shard in layer_._get_layer()._shards:
            shard._receive_task.cancel()
        _, second = await asyncio.to_thread(ask, alice, "!fast Hello")
        await rung_until(has(second, "completed"))

    with_engines(work)


def test_a_runner_that_cannot_register_starts_again(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where its folder should be: it must not end in silence."""
    queue.locks().write_text("in the way")
    monkeypatch.setattr(engine, "RESTART_SECONDS", 0.05)

    async def clear(one: Engine) -> None:
        await asyncio.sleep(0.2)
        assert not one.runner.registered.is_set()
        queue.locks().unlink()
        await one.runner.registered.wait()
        assert await asyncio.to_thread(Worker.objects.count) == 1

    async def on_loop() -> None:
        one = Engine()
        one.start()
        try:
            await clear(one)
        finally:
            await one.stop(0)
            layer_: Any = get_channel_layer()
            await layer_.flush()

    run_async(on_loop)


def test_a_stop_ends_although_the_database_does_not_let_it_hand_back(
    alice: ApiClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process must be gone in time; what it had is taken over like a dead worker's."""
    monkeypatch.setattr(engine, "HAND_OFF_SECONDS", 0.5)
    _, run = ask(alice, "!stall")
    held = asyncio.Event()

    async def work(engines: list[Engine]) -> None:
        (one,) = engines
        await until(streams(run))
        loop = asyncio.get_running_loop()

        def hold() -> None:
            asyncio.run_coroutine_threadsafe(held.wait(), loop).result(PATIENCE_SECONDS)

        holding = asyncio.create_task(one.runner.writer.run(hold))
        await one.stop(0)
        assert "did not stop in order" in caplog.text
        assert (await asyncio.to_thread(Run.objects.get, pk=run.pk)).status == "in_progress"
        held.set()
        await holding

    with_engines(work)
