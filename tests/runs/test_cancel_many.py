"""Many runs are cancelled in a few statements, and each as if it were alone."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from assistants.models import Thread
from runs import queue
from runs.models import Run, RunStatus
from runs.story import run_event
from runs.transitions import Ending, cancel_run, cancel_runs, end_run
from streaming import journal
from streaming.models import EndedRun, Event
from tests.conftest import ApiClient
from tests.runs.conftest import ask

pytestmark = pytest.mark.django_db(transaction=True)


def held(alice: ApiClient) -> Run:
    """A run that a worker has begun."""
    _, run = ask(alice, "Hello")
    claimed = queue.claim_one(run, "worker_test")
    assert claimed is not None
    return claimed


def story(run: Run) -> list[tuple[int, str]]:
    rows = Event.objects.filter(run_id=run.pk).order_by("seq").values_list("seq", "name")
    return [(seq, name.removeprefix("thread.run.")) for seq, name in rows]


def test_many_end_as_one_does(alice: ApiClient) -> None:
    alone_waits, alone_held = ask(alice, "Hello")[1], held(alice)
    waits, works = ask(alice, "Hello")[1], held(alice)
    for run in (alone_waits, alone_held):
        cancel_run(run)
    assert cancel_runs([waits.pk, works.pk]) == 2
    assert queue.end_cancelled(10) == 1
    for one, other in ((alone_waits, waits), (alone_held, works)):
        one.refresh_from_db()
        other.refresh_from_db()
        assert story(one) == story(other)
        assert one.status == other.status
        threads = Thread.objects.filter(pk__in=[one.thread_id, other.thread_id])
        assert len(set(threads.values_list("last_seq", flat=True))) == 1
    assert Thread.objects.get(pk=waits.thread_id).active_run_id is None
    assert EndedRun.objects.filter(pk=waits.pk).exists()
    assert Thread.objects.get(pk=works.thread_id).active_run_id == works.pk


def test_what_is_over_or_cancelled_already_is_left_alone(alice: ApiClient) -> None:
    done, stopping = ask(alice, "Hello")[1], held(alice)
    assert end_run(done, Ending(RunStatus.COMPLETED), only_from=[RunStatus.QUEUED])
    cancel_run(stopping)
    before = [story(done), story(stopping)]
    assert cancel_runs([done.pk, stopping.pk, "run_unknown"]) == 0
    assert cancel_runs([]) == 0
    assert [story(done), story(stopping)] == before
    assert queue.end_cancelled(10) == 0  # its worker does


def test_a_worker_that_died_leaves_its_cancelled_runs_to_whoever_comes(alice: ApiClient) -> None:
    run = held(alice)
    cancel_runs([run.pk])
    queue.release(run, crashed=True)
    assert queue.end_cancelled(10) == 1
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_pending_calls_are_taken_back(alice: ApiClient) -> None:
    run = held(alice)
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}}
    Run.objects.filter(pk=run.pk).update(
        status="requires_action", required_action=action, lease_until=None, worker_id=""
    )
    cancel_runs([run.pk])
    run.refresh_from_db()
    assert (run.status, run.required_action) == ("cancelling", None)
    assert queue.end_cancelled(10) == 1


def test_as_many_statements_for_many_as_for_few(alice: ApiClient) -> None:
    runs = [ask(alice, "Hello")[1].pk for _ in range(12)]
    counts = []
    for some in (runs[:2], runs[2:]):
        with CaptureQueriesContext(connection) as captured:
            assert cancel_runs(some) == len(some)
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 8


def test_an_event_of_a_deleted_thread_is_left_out(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    draft = run_event(run, "in_progress")
    (entry,) = journal.append_to_each({thread.pk: draft, "thread_gone": draft})
    assert (entry.thread_id, entry.seq, entry.run_id) == (thread.pk, 3, run.pk)
    assert Event.objects.get(thread=thread, seq=3).data == draft.data
    assert journal.append_to_each({}) == []
