"""Who works on which run: claims, leases, and what becomes of the runs of workers that died (design, section 4).

A claim is one conditional UPDATE that raises `epoch`, so it works alike on every database and two workers never share a
run: the loser's UPDATE finds nothing. All of it is plain SQL through Django, one transaction a call.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from assistants import bell, metrics
from assistants.clock import now, shared_now
from assistants.failpoints import failpoint, failpoint_on_commit
from assistants.faults import is_lock_wait, is_passing
from assistants.kept import kept
from assistants.models import FileStatus, Thread, VectorStoreFile
from assistants.rows import unlocked
from runs import recovery, story
from runs.models import ACTIVE, HELD, Run, RunStatus, Worker
from runs.transitions import Ending, end_run, expire_run, fresh
from streaming import journal

logger = logging.getLogger(__name__)

EXHAUSTED = "The run was interrupted too often."
INTERRUPTED = "The run was interrupted: its worker died."


@transaction.atomic(savepoint=False)
def claim(worker_id: str, limit: int, working_on: Collection[str] = ()) -> list[Run]:
    """Up to `limit` runs for `worker_id`: interrupted ones, then queued ones, oldest first, fair over projects.

    The runs it is `working_on` are not interrupted, even if a long pause of the process has let their leases run out.
    Those on their last chance are not among them: `claim_alone`.
    """
    claimed: list[Run] = []
    for run in _candidates(limit, working_on):
        if len(claimed) == limit:
            break
        with apart(run, "claimed"):
            if (mine := claim_one(run, worker_id)) is not None:
                claimed.append(mine)
                failpoint("run.claimed.before_commit")
    return claimed


PASSED_OVER_MAX = 100


def _candidates(limit: int, working_on: Collection[str]) -> list[Run]:
    """Those whose rows and threads nobody holds: `limit` of them, as long as no more than PASSED_OVER_MAX are held.

    The first whose thread is held comes last: that may be over in a moment, and one may be waited for.
    """
    asked = limit
    while True:
        runs = [*_interrupted(asked, working_on), *_queued(asked)]
        free = _unhindered(runs)
        hindered = [run for run in runs if run not in free]
        if asked >= min(limit + len(hindered), limit + PASSED_OVER_MAX):
            return [*free, *hindered[:1]]
        asked = min(limit + 2 * len(hindered), limit + PASSED_OVER_MAX)


def _unhindered(runs: Sequence[Run]) -> list[Run]:
    """Those of `runs` whose threads nobody holds, held now: to tell something of a run takes its thread's row."""
    if not runs:
        return []
    threads = Thread.objects.filter(pk__in=[run.thread_id for run in runs])
    free = set(unlocked(threads).order_by().values_list("pk", flat=True))
    return [run for run in runs if run.thread_id in free]


@contextmanager
def apart(run: Run, done: str) -> Iterator[None]:
    """A savepoint: what is wrong with one run takes back nothing of the others'. So it is with a row that is held; the
    database's other faults pass through.
    """
    try:
        with transaction.atomic():
            yield
    except Exception as error:
        if is_lock_wait(error):
            logger.warning("run %s could not be %s yet, somebody holds a row of it", run.pk, done)
            return
        if is_passing(error):
            raise
        logger.exception("run %s could not be %s", run.pk, done)


def _interrupted(limit: int, working_on: Collection[str]) -> list[Run]:
    held = _abandoned(HELD).exclude(_last_chance(), status=RunStatus.IN_PROGRESS).exclude(pk__in=working_on)
    return list(unlocked(held).order_by("created_at")[:limit])


def _abandoned(statuses: Collection[str]) -> QuerySet[Run]:
    return Run.objects.filter(Q(lease_until=None) | Q(lease_until__lt=shared_now()), status__in=statuses)


def _last_chance() -> Q:
    """Of abandoned runs: those that one more crash would end. A lease that has run out is a crash not yet counted."""
    counted = settings.KUMOS_CRASH_CAP - 1
    if counted < 1:
        return Q(pk__in=())  # they have none
    return Q(crash_attempts=counted, lease_until=None) | Q(crash_attempts=counted - 1, lease_until__isnull=False)


def on_last_chance(limit: int, working_on: Collection[str] = ()) -> list[str]:
    """The ids of runs that wait for a process of their own (runs/isolation.py). `working_on`: see `claim`."""
    waiting = _abandoned([RunStatus.IN_PROGRESS]).filter(_last_chance()).exclude(pk__in=working_on)
    return list(waiting.order_by("created_at").values_list("pk", flat=True)[:limit])


def claim_alone(worker_id: str, run_id: str) -> Run | None:
    """One of `on_last_chance` for the worker that does nothing else, or None if it is not to be had any more."""
    with transaction.atomic(savepoint=False):
        run = unlocked(_abandoned(HELD)).filter(pk=run_id).first()
        return run and claim_one(run, worker_id)


_OLDEST_QUEUED = """
WITH RECURSIVE line (project_id) AS (
    SELECT MIN(project_id) FROM runs_run WHERE status = 'queued'
    UNION ALL
    SELECT (SELECT MIN(project_id) FROM runs_run WHERE status = 'queued' AND project_id > line.project_id)
    FROM line WHERE line.project_id IS NOT NULL
)
SELECT project_id, (SELECT MIN(created_at) FROM runs_run WHERE status = 'queued' AND project_id = line.project_id)
FROM line WHERE project_id IS NOT NULL
"""
"""The projects with queued runs. It steps over the index from one to the next, however many wait in each."""


def _queued(limit: int) -> list[Run]:
    """The oldest queued runs of each project in turn, so that a flood of one does not starve the others.

    A project's running ones have had their turn: with few slots free at a time, its line would always be the oldest.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_QUEUED)
        waiting = cursor.fetchall()
    if not waiting:
        return []
    running = Counter(Run.objects.filter(status__in=HELD).order_by().values_list("project_id", flat=True))
    first = sorted(waiting, key=lambda line: (running[line[0]], line[1]))[:limit]  # no other project's turn comes
    queued = Run.objects.filter(status=RunStatus.QUEUED)
    turns: list[tuple[int, datetime, str]] = []
    for project_id, _ in first:
        line = queued.filter(project_id=project_id).order_by("created_at", "pk").values_list("created_at", "pk")[:limit]
        turns += [(turn, *waits) for turn, waits in enumerate(line, start=running[project_id])]
    chosen = [id for _, _, id in sorted(turns)[:limit]]
    # Asked again: another worker may have taken one since it was chosen, and a run that is worked on waits for nobody.
    runs = {run.pk: run for run in unlocked(queued.filter(pk__in=chosen))}
    return [runs[id] for id in chosen if id in runs]


@transaction.atomic(savepoint=False)
def end_cancelled(limit: int) -> int:
    """Ends up to `limit` runs that are to be cancelled and that nobody holds. Returns how many.

    Who claims does that too, but only as far as slots are free, and where there is a runner at all.
    """
    ended = 0
    runs = list(unlocked(_abandoned([RunStatus.CANCELLING])).order_by("created_at")[:limit])
    for run in _unhindered(runs):
        with apart(run, "ended"):
            ended += end_run(run, Ending(RunStatus.CANCELLED), only_from=[RunStatus.CANCELLING], epoch=run.epoch)
    return ended


def claim_one(run: Run, worker_id: str) -> Run | None:
    """The run as this worker's, or None if it was lost to another or ended here: overdue, cancelled, hopeless."""
    with transaction.atomic(savepoint=False):
        if run.expires_at <= shared_now():
            expire_run(run)
            return None
        if run.status == RunStatus.CANCELLING:
            # Nobody who worked on it is left; `_interrupted` looked at the lease.
            end_run(run, Ending(RunStatus.CANCELLED), only_from=[RunStatus.CANCELLING], epoch=run.epoch)
            return None
        if run.status == RunStatus.QUEUED:
            return _start(run, worker_id)
        return _take_over(run, worker_id)


def _lease() -> datetime:
    return shared_now() + timedelta(seconds=settings.KUMOS_LEASE_SECONDS)


def _start(run: Run, worker_id: str) -> Run | None:
    moved = Run.objects.filter(pk=run.pk, status=RunStatus.QUEUED, epoch=run.epoch).update(
        status=RunStatus.IN_PROGRESS,
        epoch=F("epoch") + 1,
        worker_id=worker_id,
        lease_until=_lease(),
        started_at=now(),
    )
    if not moved:
        return None
    started = fresh(run)
    journal.append(started.thread_id, [story.run_event(started)])
    metrics.after_commit(metrics.CLAIMS)
    return started


def _take_over(run: Run, worker_id: str) -> Run | None:
    """One that was handed back has no lease any more, and that was no crash. Where a lease holds, a run stays."""
    crashed = run.lease_until is not None
    left = _abandoned([RunStatus.IN_PROGRESS])
    moved = left.filter(pk=run.pk, epoch=run.epoch, lease_until=run.lease_until).update(
        epoch=F("epoch") + 1,
        crash_attempts=F("crash_attempts") + int(crashed),
        worker_id=worker_id,
        lease_until=_lease(),
    )
    if not moved:
        return None
    metrics.after_commit(metrics.TAKEOVERS.labels("crash" if crashed else "hand_off"))
    taken = fresh(run)
    if taken.crash_attempts >= settings.KUMOS_CRASH_CAP:
        _give_up(taken, EXHAUSTED)
        return None
    if crashed and settings.INTERRUPTED_RUN == "fail":
        _give_up(taken, INTERRUPTED)
        return None
    recovery.close_interrupted_work(taken)
    logger.info("run %s taken over, attempt %s", taken.pk, taken.crash_attempts)
    return taken


def _give_up(run: Run, message: str) -> None:
    metrics.after_commit(metrics.GIVEN_UP)
    failed = Ending(RunStatus.FAILED, last_error={"code": "server_error", "message": message})
    end_run(run, failed, only_from=[RunStatus.IN_PROGRESS], epoch=run.epoch)


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a worker learns when it beats: ids of its runs that are to be cancelled, of those that it lost, and whether
    an operator wants it to claim nothing more."""

    cancelled: list[str]
    lost: list[str]
    drain_asked: bool


def beat(worker_id: str, runs: Sequence[Run], stopping: bool = False) -> Pulse:
    """Renews the leases of a worker's runs.

    One that was just handed back is not its own any more: with a new lease, everybody would wait for that to run out.
    """
    me = Worker.objects.filter(pk=worker_id)
    me.update(beat_at=shared_now(), draining=True if stopping else F("drain_asked"))
    drain_asked = me.values_list("drain_asked", flat=True).first() or False
    with transaction.atomic(savepoint=False):
        epochs = {run.pk: run.epoch for run in runs}
        mine = [
            run
            for run in Run.objects.filter(pk__in=epochs, worker_id=worker_id, status__in=HELD).only("epoch", "status")
            if run.epoch == epochs[run.pk]
        ]
        # One whose row somebody holds has its lease renewed by what it writes, or by the next beat.
        free = unlocked(Run.objects.filter(pk__in=[run.pk for run in mine])).values_list("pk", flat=True)
        for pk in list(free):
            Run.objects.filter(pk=pk, epoch=epochs[pk], worker_id=worker_id, status__in=HELD).update(
                lease_until=_lease()
            )
    held = {run.pk for run in mine}
    cancelled = [run.pk for run in mine if run.status == RunStatus.CANCELLING]
    return Pulse(cancelled, [pk for pk in epochs if pk not in held], drain_asked)


def cancelled_among(ids: Sequence[str]) -> list[str]:
    """Those of these runs that somebody has asked to be cancelled."""
    return list(Run.objects.filter(pk__in=ids, status=RunStatus.CANCELLING).values_list("pk", flat=True))


def ask_to_drain(worker: Worker, asked: bool) -> bool:
    """Has a worker claim nothing more, or claim again, from its next beat on; what it has it ends. False where that is
    so already, or it is gone. A worker that is started anew has not been asked."""
    return bool(Worker.objects.filter(pk=worker.pk, drain_asked=not asked).update(drain_asked=asked))


def release(run: Run, *, crashed: bool = False) -> None:
    """Hands a run back so that anybody may go on with it at once. Its status stays, so nothing is to be told.

    A `crashed` one counts as such: a lease that has run out, instead of none.
    """
    lease = shared_now() - timedelta(seconds=1) if crashed else None
    Run.objects.filter(pk=run.pk, epoch=run.epoch, status__in=HELD).update(lease_until=lease, worker_id="")
    bell.ring_runner("run.queued")


def sweep() -> None:
    """Ends what is overdue, whoever held it. Harmless when several processes do it."""
    overdue = Run.objects.filter(status__in=ACTIVE, expires_at__lte=shared_now()).order_by("expires_at")[:100]
    for run in overdue:
        failpoint("sweep.picked")
        with apart(run, "ended"):
            failpoint_on_commit("sweep.ended.before_publish")
            expire_run(run)


# Workers of this host -------------------------------------------------------------------------------------------------


def locks() -> Path:
    return Path(settings.DATA_DIR) / "workers"


def host() -> str:
    """The name of this data directory: processes that share it can see each other's locks.

    It is kept there, since names of machines come twice where machines are copies, and change where they are made anew.
    """
    return kept(locks() / "host", lambda: f"{socket.gethostname()}:{uuid.uuid4().hex[:12]}")


def lock_path(worker_id: str) -> Path:
    return locks() / worker_id


def register(worker_id: str, slots: int) -> IO[str]:
    """Enters a worker into the register. The returned file's lock says that it lives: keep it open until the end."""
    path = lock_path(worker_id)
    locks().mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        Worker.objects.update_or_create(id=worker_id, defaults={"host": host(), "pid": os.getpid(), "slots": slots})
    except BaseException:
        file.close()  # or the next try would wait for this one's lock
        raise
    return file


def unregister(worker_id: str) -> None:
    Worker.objects.filter(pk=worker_id).delete()
    lock_path(worker_id).unlink(missing_ok=True)


def is_dead(worker: Worker) -> bool:
    """Whether a worker of this host has ended, however it ended: the system lets go of its lock."""
    try:
        with lock_path(worker.pk).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def reclaim_dead(worker_id: str) -> int:
    """Ends at once the leases of this host's dead workers, so that `claim` finds their runs. Returns how many runs."""
    count = 0
    here = host()
    # Nobody can ask the lock of another host: whoever has been silent there for so long is dead. Here the lock decides,
    # also after a pause of the whole machine.
    silent_since = shared_now() - timedelta(seconds=10 * settings.KUMOS_LEASE_SECONDS)
    Worker.objects.exclude(host=here).filter(beat_at__lt=silent_since).delete()
    for worker in Worker.objects.filter(host=here).exclude(pk=worker_id):
        if is_dead(worker):
            with transaction.atomic():
                count += Run.objects.filter(worker_id=worker.pk, status__in=HELD, lease_until__isnull=False).update(
                    lease_until=shared_now() - timedelta(seconds=1)
                )
                unregister(worker.pk)
    return count


def reclaim_files(worker_id: str) -> int:
    """Ends the claims on files if no other worker is there to hold one: a claim does not say whose it is."""
    if Worker.objects.filter(slots__gt=0).exclude(pk=worker_id).exists():
        return 0
    held = VectorStoreFile.objects.filter(status=FileStatus.IN_PROGRESS, claimed_until__gt=shared_now())
    return held.update(claimed_until=shared_now() - timedelta(seconds=1))
