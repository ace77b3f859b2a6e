"""The runner of a process: claims runs and files up to its slots, executes them as tasks, keeps their leases, drains.

A bell only wakes it (runs/consumers.py); a poll every second is the net. Each of its loops survives whatever happens in
it: a runner that stopped silently would be the worst state.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from channels.db import database_sync_to_async
from django.conf import settings

from assistants import conversation, idempotency, layer, metrics, storage
from assistants.failpoints import failpoint
from runs import ingest, queue
from runs.completers.openai_compatible import close_client
from runs.executor import Executor, Stop
from runs.isolation import AT_ONCE, Isolation
from runs.models import Run
from runs.writer import Writer
from streaming import retention

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
POLL_SECONDS_UNHEALTHY = 0.25
RECLAIM_SECONDS = 2.0
"""How soon the runs of a worker of this host that died are taken over, at most."""


def poll_seconds() -> float:
    """How soon to look for work although no bell rang."""
    return POLL_SECONDS if layer.healthy() else POLL_SECONDS_UNHEALTHY


class Runner:
    """`run()` works until `drain()`; all methods are for the loop it runs on."""

    def __init__(self, slots: int) -> None:
        self.id = f"worker_{uuid.uuid4().hex}"
        self.slots = slots
        self.writer = Writer()
        self.executors: dict[str, Executor] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.file_tasks: dict[asyncio.Task[None], ingest.FileClaim] = {}
        self.isolation = Isolation()
        self.stopping = False
        self.resting = False
        """An operator asked it to claim nothing more; unlike a stopping one it lives on, and may be asked back."""
        self.registered = asyncio.Event()
        self._rounds: dict[str, float] = {}
        """Name of each loop → when it last did its work without an error, on the monotonic clock."""
        self._run_bell = asyncio.Event()
        self._file_bell = asyncio.Event()
        self._drained = asyncio.Event()

    # What bells ask for -------------------------------------------------------------------------------------------

    def wake(self) -> None:
        self._run_bell.set()
        self._file_bell.set()

    def cancel(self, run_id: str) -> None:
        """Stops the run if it is one of ours; others learn of a cancel from their own flush, look or beat."""
        if executor := self.executors.get(run_id):
            executor.stop(Stop.CANCELLED)

    def works(self) -> bool:
        """Whether it claims and beats: otherwise others have its runs by now, or soon will. From any thread."""
        last = min(self._rounds["claim"], self._rounds["beat"])
        return time.monotonic() - last <= settings.KUMOS_LEASE_SECONDS + settings.KUMOS_BEAT_SECONDS

    # Life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Works until `drain`. What its loops do not survive it raises, and may then be run again."""
        async with self._registered(self.slots):
            await self._database(queue.reclaim_dead, self.id)
            await self._database(queue.reclaim_files, self.id)
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._every(poll_seconds, self._claim, self._run_bell))
                loops.create_task(self._every(poll_seconds, self._claim_files, self._file_bell))
                loops.create_task(self._every(poll_seconds, self._notice_cancels, self._drained))
                loops.create_task(self._every(lambda: settings.KUMOS_BEAT_SECONDS, self._beat, self._drained))
                loops.create_task(self._every(lambda: RECLAIM_SECONDS, self._reclaim, self._drained))
                loops.create_task(self._every(lambda: settings.KUMOS_SWEEP_SECONDS, self._sweep, self._drained))
                loops.create_task(self._every(lambda: settings.KUMOS_SWEEP_SECONDS, self._compact, self._drained))
            # A claim that was under way when the draining began: its runs go back, too.
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self._close()

    async def run_alone(self, run_id: str) -> None:
        """Works on that run and on nothing else, until it is over or `drain` (runs/isolation.py)."""
        async with self._registered(slots=0):
            run = await self.writer.run(partial(queue.claim_alone, self.id, run_id))
            if run is not None:
                self._start(run)
                beats = asyncio.create_task(self._every(lambda: settings.KUMOS_BEAT_SECONDS, self._beat, self._drained))
                await asyncio.gather(*self.tasks.values(), return_exceptions=True)
                beats.cancel()
        await self._close()

    @asynccontextmanager
    async def _registered(self, slots: int) -> AsyncIterator[None]:
        """The lock file stays open, and locked, for as long: that this worker lives."""
        with await self._database(queue.register, self.id, slots):
            self._rounds = dict.fromkeys(("claim", "beat"), time.monotonic())
            self.registered.set()
            try:
                yield
            finally:
                await self._database(queue.unregister, self.id)

    async def _close(self) -> None:
        await asyncio.to_thread(self.writer.stop)
        await close_client()

    async def drain(self, seconds: float) -> None:
        """Claims nothing more, lets what runs finish for `seconds`, hands the rest back."""
        self.stopping = True
        self.wake()
        apart = asyncio.create_task(self.isolation.drain())  # those processes have the same time, from now on
        if self.tasks and seconds > 0:
            told = asyncio.create_task(self._beat())  # that it is draining
            await asyncio.wait(self.tasks.values(), timeout=seconds)
            told.cancel()
        for executor in list(self.executors.values()):
            executor.stop(Stop.HANDED_BACK)
        files = dict(self.file_tasks)
        for task in files:
            task.cancel()
        await asyncio.gather(*self.tasks.values(), *files, apart, return_exceptions=True)
        for claim in files.values():
            await self.writer.run(partial(ingest.release, claim))
        self._drained.set()
        self.wake()  # the loops that wait for work

    async def _every(
        self, seconds: Callable[[], float], work: Callable[[], Awaitable[None]], bell: asyncio.Event
    ) -> None:
        """Does `work` when the bell rings and every `seconds()` or so, until everything is drained."""
        name = work.__name__.strip("_")
        while not self._drained.is_set():
            bell.clear()
            try:
                await work()
                self._rounds[name] = time.monotonic()
            except Exception:
                metrics.RUNNER_ERRORS.labels(name).inc()
                logger.exception("the runner could not %s", name)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds() * random.uniform(0.9, 1.1)):
                    await bell.wait()

    async def _database[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await database_sync_to_async(work, thread_sensitive=False)(*args, **kwargs)

    # Loops --------------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        while self._takes() and (free := self.slots - len(self.executors)) > 0:
            runs = await self.writer.run(partial(queue.claim, self.id, free, set(self.executors)))
            if runs:
                failpoint("run.claimed.after_commit")
            for run in runs:
                self._start(run)
            if len(runs) < free:
                return

    def _takes(self) -> bool:
        return not (self.stopping or self.resting)

    def _start(self, run: Run) -> None:
        executor = self.executors[run.pk] = Executor(run, self.writer)
        task = self.tasks[run.pk] = asyncio.create_task(executor.execute(), name=run.pk)
        if self.stopping:
            executor.stop(Stop.HANDED_BACK)

        def done(task: asyncio.Task[None]) -> None:
            # A run may be claimed again by us before its first task is gone.
            if self.executors.get(run.pk) is executor:
                del self.executors[run.pk], self.tasks[run.pk]
            if not task.cancelled() and (error := task.exception()):
                logger.error("run %s ended with an error", run.pk, exc_info=error)
            self._run_bell.set()

        task.add_done_callback(done)

    async def _claim_files(self) -> None:
        free = ingest.FILE_SLOTS - len(self.file_tasks)
        if free <= 0 or not self._takes():
            return
        for claim in await self.writer.run(partial(ingest.claim_files, self.id, free)):
            if self.stopping:  # meanwhile: `drain` does not know of this one
                await self.writer.run(partial(ingest.release, claim))
                continue
            task = asyncio.create_task(ingest.process(claim))
            self.file_tasks[task] = claim
            task.add_done_callback(self._file_done)

    def _file_done(self, task: asyncio.Task[None]) -> None:
        self.file_tasks.pop(task, None)
        self._file_bell.set()

    async def _notice_cancels(self) -> None:
        """The net below the bells of cancels, as `_claim` is below those of work. Beats are too far apart for one."""
        if self.executors:
            for run_id in await self._database(queue.cancelled_among, list(self.executors)):
                self.cancel(run_id)

    async def _beat(self) -> None:
        held = dict(self.executors)
        runs = [executor.run for executor in held.values()]
        asked_at = time.monotonic()
        pulse = await self.writer.run(partial(queue.beat, self.id, runs, self.stopping))
        for executor in held.values():
            executor.pen.held_at = asked_at  # lost or not, it has been asked
        self._rest(pulse.drain_asked)
        for run_id in pulse.cancelled:
            self.cancel(run_id)
        for run_id in pulse.lost:
            metrics.FENCE_REJECTIONS.labels("beat").inc()
            held[run_id].stop(Stop.LOST)  # not one that has claimed the run again meanwhile

    def _rest(self, asked: bool) -> None:
        if asked != self.resting:
            logger.warning("worker %s %s", self.id, "was asked to claim nothing more" if asked else "claims again")
            self.resting = asked
            self.wake()

    async def _reclaim(self) -> None:
        if await self._database(queue.reclaim_dead, self.id):
            self._run_bell.set()
        # It asks for more than can be begun: some may have their process already, which takes a moment to claim them.
        waiting = await self._database(queue.on_last_chance, 2 * AT_ONCE, set(self.executors))
        if self._takes():
            self.isolation.start(waiting)

    async def _sweep(self) -> None:
        await self._database(queue.sweep)
        await self._database(storage.delete_expired_files)
        await self._database(idempotency.forget_old)

    async def _compact(self) -> None:
        await self._database(retention.compact)
        await self._database(conversation.remove_departed)
