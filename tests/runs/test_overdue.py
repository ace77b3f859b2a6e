"""A run whose time is over, and which no sweep has met yet: whoever needs its thread ends it (design, section 4)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from runs import transitions
from runs.models import Run, RunStatus
from streaming.models import Event
from tests.conftest import ApiClient
from tests.runs.conftest import ask, make_overdue

pytestmark = pytest.mark.django_db


def test_an_overdue_run_does_not_hold_its_thread(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    make_overdue(run)
    alice.make(f"/threads/{run.thread_id}/runs", {"assistant_id": run.assistant_id})
    assert Run.objects.get(pk=run.pk).status == "expired"


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling"])
def test_an_overdue_run_keeps_no_message_out(status: str, alice: ApiClient) -> None:
    """Whoever comes before the sweep ends it: its own worker may be gone."""
    thread, run = ask(alice, "Hello")
    Run.objects.filter(pk=run.pk).update(status=status)
    make_overdue(run)
    alice.make(f"/threads/{thread.pk}/messages", {"role": "user", "content": "And now?"})
    assert Run.objects.get(pk=run.pk).status == "expired"
    assert Event.objects.filter(run_id=run.pk).latest("seq").name == "thread.run.expired"


def test_a_run_that_ends_beside_another_one_makes_no_thread_missing(alice: ApiClient) -> None:
    """It was active when the unique index was asked, and over when it was looked for."""
    thread, run = ask(alice, "Hello")

    def ending(execute: Any, sql: str, *rest: Any) -> Any:
        done = execute(sql, *rest)
        if sql.startswith("ROLLBACK TO SAVEPOINT"):
            failed = transitions.Ending(RunStatus.FAILED)
            assert transitions.end_run(run, failed, only_from=[RunStatus.QUEUED])
        return done

    with connection.execute_wrapper(ending):
        alice.make(f"/threads/{thread.pk}/runs", {"assistant_id": run.assistant_id})


def test_a_list_shows_no_overdue_run_as_active(alice: ApiClient, charlie: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    make_overdue(run)
    assert charlie.get(f"/threads/{thread.pk}/runs").status_code == 404
    assert Run.objects.get(pk=run.pk).status == "queued"
    (shown,) = alice.get(f"/threads/{thread.pk}/runs").json()["data"]
    assert (shown["id"], shown["status"]) == (run.pk, "expired")
    assert alice.post(f"/threads/{thread.pk}/messages", {"role": "user", "content": "?"}).status_code == 200
