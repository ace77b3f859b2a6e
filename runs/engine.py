"""The runner's life in a process: it starts, hears the bells of the Channels name `runs`, is kept alive, and stops.

`serve` has an engine beside its web server, `runworker` has one and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter
from channels.worker import Worker
from django.conf import settings

from assistants import bell, layer
from runs.consumers import RunConsumer
from runs.runner import Runner

logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
STILL_LEASES = 3
"""A writer that has been at one thing for so many leases does not come back from it. Others have its runs by then."""
HAND_OFF_SECONDS = 10.0
"""How long handing back may take once the time to finish is over."""


class Engine:
    """`start()` on the loop that is to run it, `stop()` in the end; `hurry()` cuts a stop short."""

    def __init__(self, only: str | None = None) -> None:
        """`only`: the id of the one run that this process is for (runs/isolation.py)."""
        self.runner = Runner(settings.KUMOS_RUN_SLOTS if only is None else 1)
        self._only = only
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._hurry: asyncio.Task[None] | None = None

    def start(self) -> None:
        loop = asyncio.get_event_loop()
        self._tasks = [
            loop.create_task(self._run()),
            loop.create_task(self._hear()),
        ]

    def state(self) -> str:
        """In a word: "starting", "ok", or "stopped" where the runner ended or gets nothing done. From any thread."""
        if not self._tasks or not self.runner.registered.is_set():
            return "starting"
        return "ok" if self.runner.works() and not self._tasks[0].done() else "stopped"

    def writes(self) -> bool:
        """Whether what the runner has to store is stored, or fails, in a foreseeable time. From any thread."""
        return not self.runner.writer.stands_still(STILL_LEASES * settings.KUMOS_LEASE_SECONDS)

    async def stop(self, seconds: float) -> None:
        """Claims nothing more, lets runs finish for `seconds`, hands the rest back; returns soon after, whatever fails.

        What could not be handed back is taken over like a dead worker's.
        """
        self._stopping = True
        if not self._tasks:
            return
        try:
            async with asyncio.timeout(seconds + HAND_OFF_SECONDS):
                await self.runner.drain(seconds)
                await asyncio.wait(self._tasks[:1])
        except Exception:
            logger.exception("the runner did not stop in order")
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=RESTART_SECONDS)

    def hurry(self) -> None:
        """Hands back at once, in the midst of a `stop`."""
        self._hurry = asyncio.get_running_loop().create_task(self.runner.drain(0))

    async def over(self) -> None:
        """Returns when the runner has ended by itself, as it does after the `only` run."""
        await asyncio.wait(self._tasks[:1])

    async def _run(self) -> None:
        """Starts the runner again whenever it fails: one that is silently dead is the worst state."""
        work = self.runner.run if self._only is None else partial(self.runner.run_alone, self._only)
        while not self._stopping:
            try:
                await work()
                return
            except Exception:
                logger.exception("the runner failed and starts again")
                await asyncio.sleep(RESTART_SECONDS)

    async def _hear(self) -> None:
        """Wakes the runner for as long as the process lives.

        The pub/sub layer brings a message to every worker that listens, so a cancel finds the one that has the run.
        """
        bells: Any = get_channel_layer()
        consumer = RunConsumer.as_asgi(runner=self.runner)
        while True:
            # After a failed subscription the layer would take the channel for subscribed, and wait on it for ever.
            bells.channels.pop(bell.RUNNER_CHANNEL, None)
            worker: Any = Worker(ChannelNameRouter({bell.RUNNER_CHANNEL: consumer}), [bell.RUNNER_CHANNEL], bells)
            try:
                async with layer.listening():
                    await worker.arun()
            except TimeoutError:
                pass  # the layer was made anew
            except Exception as error:
                layer.failed(error)
            await asyncio.sleep(RESTART_SECONDS)
