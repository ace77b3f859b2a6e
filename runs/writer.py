"""Group commit: one thread per process that runs the runner's transitions, all that wait in one transaction (P1).

Idle, a transition is committed at once. When commits crowd, the thread paces itself: the time it leaves between two
commits lets more work gather, which costs a fraction of the CPU. A future resolves only after its commit.

On PostgreSQL a row may be somebody else's for long. Work that wants it is put aside at once, so that the others need
not wait for it, and tried again now and then.

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
from assistants.faults import is_lock_wait, is_passing

logger = logging.getLogger(__name__)

PACE_SECONDS = 0.005
CROWDED_COMMITS = 20  # within the last tenth of a second
ATTEMPTS = 3
AWAY_SECONDS = 0.25  # between two tries to reach a database that is away
LOCK_SECONDS = 0.05  # for a row that somebody holds: all the others wait meanwhile
ASIDE_SECONDS = 0.1  # until work that did not get its row is tried again


class OutcomeUnknown(Exception):
    """The commit itself failed, so the work may be stored or not. To do it again could do it twice."""


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    urgent: bool
    result: Any = None
    error: Exception | None = None
    again_at: float = 0.0
    give_up_at: float = 0.0
    """Both for work that was put aside, on the monotonic clock."""


class Writer:
    """`await writer.run(work)` returns what `work()` returns, or raises what it raises, once that is committed."""

    def __init__(self) -> None:
        self._jobs: deque[_Job] = deque()
        self._aside: deque[_Job] = deque()
        """Work that waits for rows of somebody else's. The thread's own."""
        self._moved_at: float | None = None
        """When the thread last began something; None while nothing waits."""
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

    def stands_still(self, seconds: float) -> bool:
        """Whether one and the same thing has been under way for longer than that. From any thread.

        A database that is away does not make it stand still: it fails again and again.
        """
        moved_at = self._moved_at
        return moved_at is not None and time.monotonic() - moved_at > seconds

    def _loop(self) -> None:
        try:
            while jobs := self._next():
                self._do(jobs)
                if self._aside and self._due() <= 0:
                    self._do([self._aside.popleft()])  # last, and one at a time: it may keep the others waiting again
        finally:
            connection.close()

    def _do(self, jobs: Sequence[_Job]) -> None:
        began = time.monotonic()
        self._commit(jobs)
        ended = time.monotonic()
        self._commits.append(ended)
        metrics.BATCH_JOBS.observe(len(jobs))
        metrics.COMMIT_SECONDS.observe(ended - began)
        _resolve([job for job in jobs if job not in self._aside])
        _tidy(close_old_connections)

    def _next(self) -> list[_Job]:
        """What is to be done now; nothing when the writer has stopped and all is done."""
        with self._some:
            self._moved_at = None
            while not self._jobs and not self._stopping and (pause := self._due()) > 0:
                self._some.wait(pause if self._aside else None)
            while not self._urgent and not self._stopping and self._jobs and (pause := self._pause()) > 0:
                self._some.wait(pause)
            self._moved_at = time.monotonic()
            jobs = list(self._jobs)
            self._jobs.clear()
            self._urgent = False
            if not jobs and self._aside:
                jobs.append(self._aside.popleft())
            return jobs

    def _due(self) -> float:
        """Seconds until work that was put aside is tried again, which all of it is once the writer is to stop."""
        if not self._aside:
            return 1.0
        return 0.0 if self._stopping else self._aside[0].again_at - time.monotonic()

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
        patience = LOCK_SECONDS
        while left:
            try:
                self._transact(left, patience)
                return
            except OutcomeUnknown as error:
                for job in left:
                    job.error = error
                return
            except Exception as error:
                culprit = next((job for job in left if job.error is error), None)
                waits = is_lock_wait(error)
                if culprit is None or (is_passing(error) and not waits):
                    break
                left.remove(culprit)
                if waits:
                    patience /= 2  # whoever holds many rows keeps the others waiting no longer than twice that
                    self._put_aside(culprit)
        give_up_at = time.monotonic() + settings.KUMOS_LEASE_SECONDS * 2 / 3
        for job in left:
            self._commit_alone(job, give_up_at)

    def _put_aside(self, job: _Job) -> None:
        """To be tried again, for as long as leases may hold; then what it met is its error."""
        moment = time.monotonic()
        job.give_up_at = job.give_up_at or moment + settings.KUMOS_LEASE_SECONDS * 2 / 3
        if not self._stopping and moment < job.give_up_at:
            job.error = None
            job.again_at = moment + ASIDE_SECONDS
            self._aside.append(job)

    def _commit_alone(self, job: _Job, give_up_at: float) -> None:
        """In a transaction of its own, ATTEMPTS times. A lost connection is no fault of the work and does not count:
        a restart of the database is waited out, as long as leases may still hold.
        """
        attempts = 0
        while True:
            job.error = None
            try:
                self._transact([job], LOCK_SECONDS)
                return
            except Exception as error:
                job.error = error
                if is_lock_wait(error):
                    self._put_aside(job)
                    return
                attempts += self._stopping or _is_connected()
                if not is_passing(error) or attempts == ATTEMPTS or time.monotonic() > give_up_at:
                    return
                logger.warning("a transaction is tried again: %r", error)
                _tidy(connection.close)  # it may be what is wrong
                time.sleep(0.05 * max(attempts, 1))
                self._await_database(give_up_at)

    def _transact(self, jobs: Sequence[_Job], patience: float) -> None:
        """The work of `jobs` in one transaction. Raises what one of them raises, or OutcomeUnknown."""
        self._moved_at = time.monotonic()
        done = False
        try:
            with transaction.atomic():
                _wait_for_rows(patience)
                for job in jobs:
                    _work(job)
                done = True
        except Exception as error:
            if done and is_passing(error) and not is_lock_wait(error):
                raise OutcomeUnknown(repr(error)) from error
            raise

    def _await_database(self, give_up_at: float) -> None:
        while not self._stopping and time.monotonic() < give_up_at:
            self._moved_at = time.monotonic()
            try:
                connection.ensure_connection()
                return
            except Exception as error:
                logger.warning("the writer waits for the database: %r", error)
                time.sleep(AWAY_SECONDS)


def _is_connected() -> bool:
    return connection.connection is not None and connection.is_usable()


def _wait_for_rows(seconds: float) -> None:
    """How long each statement of this transaction waits for a row that somebody else holds."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {max(1, round(1000 * seconds))}")


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
