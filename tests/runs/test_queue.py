"""Who gets which run, and what becomes of those whose worker is gone (design, section 4)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Project, Thread
from runs import progress, queue, transitions
from runs.models import HELD, Run, RunStatus, Worker
from runs.story import Piece
from streaming.models import Event
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS
from tests.runs.conftest import GET_WEATHER, ask

pytestmark = pytest.mark.django_db


def queued(project: Project, count: int = 1) -> list[str]:
    """Ids of new queued runs of `project`, oldest first, each on its own thread."""
    made = []
    for _ in range(count):
        thread = Thread.objects.create(project=project)
        run = Run(project=project, thread=thread, assistant_id="asst_a", model="scripted", instructions="Hi.")
        made.append(transitions.create_run(thread, run).run.pk)
    return made


@pytest.fixture
def atlas(db: None) -> Project:
    return Project.objects.create(name="Atlas")


@pytest.fixture
def comet(db: None) -> Project:
    return Project.objects.create(name="Comet")


def claim(limit: int, worker: str = "worker_a") -> list[str]:
    return [run.pk for run in queue.claim(worker, limit)]


def run_out(run_id: str) -> None:
    """The worker has not been heard of for too long."""
    Run.objects.filter(pk=run_id).update(lease_until=now() - timedelta(seconds=1))


def status_of(run_id: str) -> tuple[str, dict[str, str] | None]:
    run = Run.objects.get(pk=run_id)
    return run.status, run.last_error


def names(run_id: str) -> list[str]:
    return list(Event.objects.filter(run_id=run_id).order_by("seq").values_list("name", flat=True))


# Claims ---------------------------------------------------------------------------------------------------------------


def test_oldest_first_up_to_the_limit_each_once(atlas: Project) -> None:
    ids = queued(atlas, 5)
    assert claim(2) == ids[:2]
    assert claim(2, "worker_b") == ids[2:4]
    assert claim(9) == ids[4:]
    assert claim(9) == []


def test_a_run_that_cannot_be_claimed_holds_up_nobody(atlas: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = queued(atlas, 2)
    Run.objects.filter(pk=bad).update(thread_id="thread_gone")
    with connection.constraint_checks_disabled():
        assert claim(2) == [good]
    Run.objects.filter(pk=bad).delete()


def test_a_worker_does_not_take_over_what_it_works_on(atlas: Project) -> None:
    """After a long pause of the whole process its leases have run out; whoever else looks first gets the run."""
    (id,) = queued(atlas)
    claim(1)
    run_out(id)
    assert queue.claim("worker_a", 1, {id}) == []
    assert claim(1, "worker_b") == [id]


def test_a_claim_starts_the_run(atlas: Project) -> None:
    (id,) = queued(atlas)
    (run,) = queue.claim("worker_a", 1)
    assert (run.status, run.worker_id, run.epoch, run.crash_attempts) == ("in_progress", "worker_a", 1, 0)
    assert run.started_at is not None
    assert run.lease_until is not None
    assert run.lease_until > now() + timedelta(seconds=25)
    assert names(id)[-1] == "thread.run.in_progress"


def test_a_flood_of_one_project_does_not_starve_another(atlas: Project, comet: Project) -> None:
    flood = queued(atlas, 50)
    late = queued(comet, 3)
    assert claim(6) == [flood[0], late[0], flood[1], late[1], flood[2], late[2]]


def test_nor_does_it_when_slots_become_free_one_by_one(atlas: Project, comet: Project) -> None:
    """The usual case under load: all slots are taken, and each claim is for a single one."""
    flood = queued(atlas, 12)
    assert claim(4) == flood[:4]
    late = queued(comet, 3)
    picked = [claim(1)[0] for _ in range(4)]
    assert picked[:3] == late
    assert picked[3] == flood[4]


def test_an_interrupted_run_comes_before_the_queue(atlas: Project) -> None:
    first, second = queued(atlas, 2)
    assert claim(1) == [first]
    run_out(first)
    assert claim(1, "worker_b") == [first]
    assert claim(1, "worker_b") == [second]


def test_a_run_with_a_lease_is_nobody_elses(atlas: Project) -> None:
    queued(atlas)
    claim(1)
    assert claim(5, "worker_b") == []


def test_an_overdue_run_is_ended_instead_of_started(atlas: Project) -> None:
    (id,) = queued(atlas)
    Run.objects.filter(pk=id).update(expires_at=now() - timedelta(seconds=1))
    assert claim(1) == []
    assert status_of(id)[0] == "expired"
    assert names(id)[-1] == "thread.run.expired"


# Leases ---------------------------------------------------------------------------------------------------------------


def test_a_crash_is_counted_and_raises_the_epoch(atlas: Project) -> None:
    (id,) = queued(atlas)
    claim(1)
    run_out(id)
    (run,) = queue.claim("worker_b", 1)
    assert (run.epoch, run.crash_attempts, run.worker_id) == (2, 1, "worker_b")
    assert names(id).count("thread.run.in_progress") == 1


def test_a_run_that_was_handed_back_is_no_crash(atlas: Project) -> None:
    (id,) = queued(atlas)
    (mine,) = queue.claim("worker_a", 1)
    queue.release(mine)
    (run,) = queue.claim("worker_b", 1)
    assert (run.pk, run.epoch, run.crash_attempts) == (id, 2, 0)


def test_a_beat_that_comes_after_the_handing_back_takes_nothing_back(atlas: Project) -> None:
    """It began before: nobody works on the run, and with a lease nobody would for as long as that lasts."""
    (id,) = queued(atlas)
    (mine,) = queue.claim("worker_a", 1)
    queue.release(mine)
    assert queue.beat("worker_a", [mine]) == queue.Pulse([], [id], drain_asked=False)
    (run,) = queue.claim("worker_b", 1)
    assert (run.pk, run.crash_attempts) == (id, 0)


def test_too_many_crashes_end_the_run(atlas: Project, settings: Settings) -> None:
    settings.KUMOS_CRASH_CAP = 3
    (id,) = queued(atlas)
    claim(1)
    run_out(id)
    assert claim(1) == [id]
    run_out(id)
    assert queue.claim_alone("worker_alone", id)
    run_out(id)
    assert claim(1) == []
    assert status_of(id) == ("failed", {"code": "server_error", "message": queue.EXHAUSTED})
    assert names(id)[-1] == "thread.run.failed"


def test_on_its_last_chance_a_run_is_left_to_a_worker_of_its_own(atlas: Project, settings: Settings) -> None:
    settings.KUMOS_CRASH_CAP = 3
    suspect, other = queued(atlas, 2)
    claim(2)
    for id in (suspect, other):
        run_out(id)
    assert claim(2) == [suspect, other]
    run_out(suspect)
    assert claim(2) == []
    assert queue.on_last_chance(9) == [suspect]
    assert queue.on_last_chance(9, {suspect}) == [], "this worker has it, and was only slow"

    alone = queue.claim_alone("worker_alone", suspect)
    assert alone is not None
    assert (alone.worker_id, alone.crash_attempts) == ("worker_alone", 2)
    assert queue.on_last_chance(9) == []
    assert queue.claim_alone("worker_late", suspect) is None

    queue.release(alone)  # handed back, it is on its last chance as before
    assert claim(2) == []
    assert queue.on_last_chance(9) == [suspect]


def test_on_its_last_chance_a_run_is_cancelled_by_anybody(atlas: Project, settings: Settings) -> None:
    settings.KUMOS_CRASH_CAP = 2
    (id,) = queued(atlas)
    (mine,) = queue.claim("worker_a", 1)
    transitions.cancel_run(mine)
    run_out(id)
    claim(1)
    assert status_of(id) == ("cancelled", None)


def test_with_a_single_life_there_is_no_last_chance(atlas: Project, settings: Settings) -> None:
    settings.KUMOS_CRASH_CAP = 1
    (id,) = queued(atlas)
    claim(1)
    run_out(id)
    assert queue.on_last_chance(9) == []
    assert claim(1) == []
    assert status_of(id)[0] == "failed"


def test_an_interrupted_run_may_be_set_to_fail(atlas: Project, settings: Settings) -> None:
    settings.INTERRUPTED_RUN = "fail"
    (id,) = queued(atlas)
    (mine,) = queue.claim("worker_a", 1)
    progress.open_message(mine, [Piece("Once ")])
    run_out(id)
    assert claim(1) == []
    assert status_of(id) == ("failed", {"code": "server_error", "message": queue.INTERRUPTED})
    assert names(id)[-3:] == ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed"]


def test_set_to_fail_a_run_that_was_handed_back_still_goes_on(atlas: Project, settings: Settings) -> None:
    settings.INTERRUPTED_RUN = "fail"
    (id,) = queued(atlas)
    (mine,) = queue.claim("worker_a", 1)
    queue.release(mine)
    assert claim(1) == [id]


def test_a_beat_renews_and_reports(atlas: Project) -> None:
    Worker.objects.create(id="worker_a", host="h", pid=1, slots=5, beat_at=now() - timedelta(hours=1))
    well, cancelled, lost, over = queued(atlas, 4)
    mine = queue.claim("worker_a", 4)
    transitions.cancel_run(mine[1])
    run_out(lost)
    run_out(well)  # late, but nobody has taken it
    taken = queue.claim_one(Run.objects.get(pk=lost), "worker_b")
    assert taken is not None
    progress.fail(mine[3], "server_error", "No.")

    assert queue.beat("worker_a", mine) == queue.Pulse([cancelled], [lost, over], drain_asked=False)

    soon = now() + timedelta(seconds=25)
    assert set(Run.objects.filter(lease_until__gt=soon).values_list("pk", flat=True)) == {well, cancelled, lost}
    leases = dict(Run.objects.values_list("pk", "lease_until"))
    assert leases[lost] == taken.lease_until
    assert leases[over] is None
    assert Worker.objects.get().beat_at > now() - timedelta(minutes=1)


def test_the_sweep_ends_what_is_overdue_in_every_status(alice: ApiClient) -> None:
    overdue: dict[str, Run] = {}
    for status in ("queued", "in_progress", "requires_action", "cancelling"):
        _, run = ask(alice, "Hello", tools=[GET_WEATHER])
        overdue[status] = run
        if status == "queued":
            continue
        mine = queue.claim_one(run, "worker_a")
        assert mine is not None
        progress.open_message(mine, [Piece("Once ")])
        if status == "cancelling":
            transitions.cancel_run(mine)
        else:
            Run.objects.filter(pk=run.pk).update(status=status)
    Run.objects.update(expires_at=now() - timedelta(seconds=1))
    _, fresh = ask(alice, "Hello")

    queue.sweep()
    queue.sweep()

    assert status_of(fresh.pk)[0] == "queued"
    for status, run in overdue.items():
        assert status_of(run.pk)[0] == "expired", status
        assert names(run.pk)[-1] == "thread.run.expired"
        assert Thread.objects.get(pk=run.thread_id).active_run_id is None
        if status != "queued":
            assert names(run.pk)[-3:-1] == ["thread.message.incomplete", "thread.run.step.expired"]
            shown = alice.get(f"/threads/{run.thread_id}/messages", {"run_id": run.pk}).json()["data"][0]
            assert shown["incomplete_details"] == {"reason": "run_expired"}


# Workers of this host -------------------------------------------------------------------------------------------------

HOLD = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def holder(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real process that holds the lock of `worker_old`, as a worker does while it lives."""
    settings.DATA_DIR = tmp_path
    path = queue.lock_path("worker_old")
    path.parent.mkdir()
    Worker.objects.create(id="worker_old", host=queue.host(), pid=1, slots=5)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_runs_of_a_killed_worker_are_free_at_once(holder: subprocess.Popen[str], atlas: Project) -> None:
    queued(atlas, 3)
    held = claim(2, "worker_old")
    (others,) = claim(1, "worker_other")

    assert queue.reclaim_dead("worker_new") == 0
    assert claim(5, "worker_new") == []
    assert Worker.objects.filter(pk="worker_old").exists()

    holder.kill()
    holder.wait()

    assert queue.reclaim_dead("worker_new") == 2
    assert not Worker.objects.filter(pk="worker_old").exists()
    assert not queue.lock_path("worker_old").exists()
    taken = queue.claim("worker_new", 5)
    assert [run.pk for run in taken] == held
    assert [run.crash_attempts for run in taken] == [1, 1]
    assert Run.objects.get(pk=others).worker_id == "worker_other"
    assert queue.reclaim_dead("worker_new") == 0


def test_a_worker_of_another_host_is_left_to_its_lease(holder: subprocess.Popen[str], atlas: Project) -> None:
    queued(atlas)
    claim(1, "worker_old")
    Worker.objects.update(host="elsewhere")
    holder.kill()
    holder.wait()
    assert queue.reclaim_dead("worker_new") == 0
    assert Worker.objects.filter(pk="worker_old").exists()


def test_hosts_are_told_apart_by_their_data_not_by_their_names(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    settings.DATA_DIR = tmp_path / "a"
    first = queue.host()
    settings.DATA_DIR = tmp_path / "b"
    assert queue.host() != first
    settings.DATA_DIR = tmp_path / "a"
    assert queue.host() == first


def test_a_worker_of_a_host_that_is_no_more_is_forgotten(atlas: Project) -> None:
    for id, hours in (("worker_gone", 1), ("worker_quiet", 0)):
        Worker.objects.create(id=id, host="elsewhere", pid=1, slots=5, beat_at=now() - timedelta(hours=hours))
    queue.reclaim_dead("worker_new")
    assert [worker.pk for worker in Worker.objects.all()] == ["worker_quiet"]


def test_a_worker_of_this_host_is_not_forgotten_while_it_lives(holder: subprocess.Popen[str]) -> None:
    """After a pause of the whole machine nobody has given a sign of life for long, the asking worker neither."""
    Worker.objects.create(id="worker_new", host=queue.host(), pid=2, slots=5)
    Worker.objects.update(beat_at=now() - timedelta(hours=1))
    queue.reclaim_dead("worker_new")
    assert {worker.pk for worker in Worker.objects.all()} == {"worker_old", "worker_new"}


def test_a_worker_is_alive_while_its_file_is_open(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    with queue.register("worker_a", 5):
        worker = Worker.objects.get(pk="worker_a")
        assert not queue.is_dead(worker)
    assert queue.is_dead(worker)
    queue.unregister("worker_a")
    assert queue.is_dead(worker)
    assert not Worker.objects.exists()
    queue.unregister("worker_a")


def test_every_claimed_run_has_one_holder(atlas: Project, comet: Project) -> None:
    queued(atlas, 7)
    queued(comet, 7)
    taken = [*claim(5, "worker_a"), *claim(5, "worker_b"), *claim(5, "worker_c")]
    assert len(set(taken)) == len(taken) == 14
    holders = Counter(Run.objects.filter(status__in=HELD).values_list("worker_id", flat=True))
    assert holders == {"worker_a": 5, "worker_b": 5, "worker_c": 4}
    assert not Run.objects.filter(status=RunStatus.QUEUED).exists()


@pytest.mark.django_db(transaction=True)
def test_a_row_that_a_stopped_worker_locks_stops_no_claim() -> None:
    """As when a process is frozen in the midst of a transaction: its run waits, those of others do not."""
    if connection.vendor == "sqlite":
        return  # it has one writer at a time
    atlas = Project.objects.create(name="Atlas")
    frozen, interrupted, waiting = queued(atlas, 3)
    assert claim(2) == [frozen, interrupted]
    for id in (frozen, interrupted):
        run_out(id)
    locked, done = threading.Event(), threading.Event()

    def freeze() -> None:
        try:
            with transaction.atomic():
                Run.objects.filter(pk=frozen).update(lease_until=now())
                locked.set()
                assert done.wait(PATIENCE_SECONDS)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(freeze)
        assert locked.wait(PATIENCE_SECONDS)
        try:
            with transaction.atomic():
                assert claim(5, "worker_b") == [interrupted, waiting]
        finally:
            done.set()
        task.result()


def test_a_run_that_its_worker_holds_is_not_taken_over_however_it_was_come_upon(atlas: Project) -> None:
    """Who chose it while it was queued may come to it only after another has taken it."""
    [run_id] = queued(atlas)
    assert claim(1, "worker_a") == [run_id]
    held = Run.objects.get(pk=run_id)
    assert queue.claim_one(held, "worker_b") is None
    after = Run.objects.get(pk=run_id)
    assert (after.worker_id, after.epoch, after.crash_attempts) == ("worker_a", held.epoch, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres  # SQLite has one writer
def test_two_workers_that_claim_at_once_never_take_a_run_from_each_other(atlas: Project, settings: Settings) -> None:
    """Many claims at once, of runs whose leases hold: each run is begun once, and none counts as crashed."""
    settings.KUMOS_LEASE_SECONDS = 3600
    both = threading.Barrier(2)

    def work(worker: str, rounds: int) -> None:
        for _ in range(rounds):
            both.wait(PATIENCE_SECONDS)
            queue.claim(worker, 3)
        connection.close()

    for _ in range(10):
        queued(atlas, 6)
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(work, worker, 6) for worker in ("worker_a", "worker_b")]:
                done.result()
    runs = Run.objects.values_list("status", "epoch", "crash_attempts")
    assert Counter(runs) == {("in_progress", 1, 0): 60}
