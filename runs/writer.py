"""Group commit: one thread per process that runs the runner's transitions, all that wait in one transaction (P1).

Idle, a transition is committed at once. When commits crowd, the thread paces itself: the time it leaves between two
commits lets more work gather, which costs a fraction of the CPU. A future resolves only after its commit.

Every commit waits for the disk, those of streamed text too: what a reader has seen is never taken back, not even by a
power cut, and no event's number is ever given to another one. In a group that costs some 10 µs an event.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.db import close_old_connections, connection, transaction

from assistants import metrics
from assistants.faults import is_passing

logger = logging.getLogger(__name__)

PACE_SECONDS = 0.005
CROWDED_COMMITS = 20  # within the last tenth of a second
ATTEMPTS = 3
AWAY_SECONDS = 0.25  # between two tries to reach a database that is away


class OutcomeUnknown(Exception):
    """The commit itself failed, so the work may be stored or not. To do it again could do it twice."""


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    urgent: bool
    result: Any = None
    error: Exception | None = None


class Writer:
    """`await writer.run(work)` returns what `work()` returns, or raises what it raises, once that is committed."""

    def __init__(self) -> None:
        self._jobs: deque[_Job] = deque()
        self._some = threading.Condition()
        self._urgent = False
        self._stopping = False
        self._commits: deque[float] = deque(maxlen=CROWDED_COMMITS)
        self._thread = threading.Thread(target=self._loop, name="kumos-writer", daemon=True)
        self._thread.start()

    async def run[T](self, work: Callable[[], T], *, urgent: bool = True) -> T:
        """`urgent` work does not wait for the pace: everything but streamed text."""
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future(), loop, urgent)
        # Whoever asked may be cancelled meanwhile; an error that nobody waits for any more is no news.
        job.future.add_done_callback(lambda future: future.cancelled() or future.exception())
        with self._some:
            if self._stopping:
                raise RuntimeError("the writer has stopped")
            self._jobs.append(job)
            self._urgent |= urgent
            self._some.notify()
        # A caller that is cancelled does not undo the work: it is committed, or not, as a whole.
        return cast(T, await asyncio.shield(job.future))

    def stop(self) -> None:
        """Commits what waits, then ends the thread. Blocks until it has."""
        with self._some:
            self._stopping = True
            self._some.notify()
        self._thread.join()

    def _loop(self) -> None:
        try:
            while jobs := self._next():
                began = time.monotonic()
                self._commit(jobs)
                ended = time.monotonic()
                self._commits.append(ended)
                metrics.BATCH_JOBS.observe(len(jobs))
                metrics.COMMIT_SECONDS.observe(ended - began)
                _resolve(jobs)
                _tidy(close_old_connections)
        finally:
            connection.close()

    def _next(self) -> list[_Job]:
        with self._some:
            while not self._jobs and not self._stopping:
                self._some.wait()
            while not self._urgent and not self._stopping and (pause := self._pause()) > 0:
                self._some.wait(pause)
            jobs = list(self._jobs)
            self._jobs.clear()
            self._urgent = False
            return jobs

    def _pause(self) -> float:
        """Seconds until the next commit may begin."""
        if len(self._commits) < CROWDED_COMMITS:
            return 0
        moment = time.monotonic()
        if moment - self._commits[0] > 0.1:
            return 0
        return self._commits[-1] + PACE_SECONDS - moment

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """All in one transaction. What one of them raises takes the others' work back: they go again without it."""
        left = list(jobs)
        while left:
            try:
                _transact(left)
                return
            except OutcomeUnknown as error:
                for job in left:
                    job.error = error
                return
            except Exception as error:
                if is_passing(error) or (culprit := next((job for job in left if job.error is error), None)) is None:
                    break
                left.remove(culprit)
        give_up_at = time.monotonic() + settings.KUMOS_LEASE_SECONDS * 2 / 3
        for job in left:
            self._commit_alone(job, give_up_at)

    def _commit_alone(self, job: _Job, give_up_at: float) -> None:
        """In a transaction of its own, ATTEMPTS times. A lost connection is no fault of the work and does not count:
        a restart of the database is waited out, as long as leases may still hold.
        """
        attempts = 0
        while True:
            job.error = None
            try:
                _transact([job])
                return
            except Exception as error:
                job.error = error
                attempts += self._stopping or _is_connected()
                if not is_passing(error) or attempts == ATTEMPTS or time.monotonic() > give_up_at:
                    return
                logger.warning("a transaction is tried again: %r", error)
                _tidy(connection.close)  # it may be what is wrong
                time.sleep(0.05 * max(attempts, 1))
                self._await_database(give_up_at)

    def _await_database(self, give_up_at: float) -> None:
        while not self._stopping and time.monotonic() < give_up_at:
            try:
                connection.ensure_connection()
                return
            except Exception as error:
                logger.warning("the writer waits for the database: %r", error)
                time.sleep(AWAY_SECONDS)


def _is_connected() -> bool:
    return connection.connection is not None and connection.is_usable()


def _transact(jobs: Sequence[_Job]) -> None:
    """The work of `jobs` in one transaction. Raises what one of them raises, or OutcomeUnknown."""
    done = False
    try:
        with transaction.atomic():
            for job in jobs:
                _work(job)
            done = True
    except Exception as error:
        if done and is_passing(error):
            raise OutcomeUnknown(repr(error)) from error
        raise


def _work(job: _Job) -> None:
    try:
        job.result = job.work()
    except Exception as error:
        job.error = error  # says whose work it was
        raise


def _tidy(close: Callable[[], None]) -> None:
    """That a broken connection cannot even be closed is no reason for the thread to end."""
    try:
        close()
    except Exception as error:
        logger.warning("a broken connection could not be closed: %r", error)


def _resolve(jobs: Sequence[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, done in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, done)


def _settle(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
