"""A runner at work beside a test, as `serve` and `runworker` have one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress

from channels.layers import get_channel_layer

from assistants import bell
from runs.consumers import RunConsumer
from runs.models import Worker
from runs.runner import Runner
from tests.loops import run_async, until


async def hear(consumer: RunConsumer) -> None:
    """What `serve` does with the channel `runs`: one message after the other."""
    layer = get_channel_layer()
    assert layer is not None
    while True:
        await consumer.dispatch(await layer.receive(bell.RUNNER_CHANNEL))


@asynccontextmanager
async def hearing(runner: Runner) -> AsyncIterator[None]:
    ears = asyncio.create_task(hear(RunConsumer(runner)))
    try:
        yield
    finally:
        ears.cancel()
        with suppress(asyncio.CancelledError):
            await ears


def running(work: Callable[[Runner], Awaitable[None]], *, slots: int = 4, drain: float = 0, hears: bool = True) -> None:
    """`work` beside a runner that has claimed what there was; drained afterwards. With `hears` bells reach it."""

    async def on_loop() -> None:
        here = Runner(slots)
        life = asyncio.create_task(here.run())
        async with hearing(here) if hears else nullcontext():
            try:
                await until(lambda: Worker.objects.filter(pk=here.id).exists())
                await work(here)
            finally:
                await here.drain(drain)
                await life

    run_async(on_loop)
