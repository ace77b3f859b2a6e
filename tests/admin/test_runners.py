"""Runners in the admin: what each holds, what hangs, draining. Real ones are drained in tests/runs/test_drain.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from assistants.clock import now
from assistants.models import Project, Thread
from runs.models import Run, RunStatus, Worker

LIST = "/admin/runs/worker/"


def worker(id: str = "worker_a", **fields: Any) -> Worker:
    given = {"host": f"host-of-{id}", "pid": 77, "slots": 4, **fields}
    return Worker.objects.create(id=id, **given)


def run_of(project: Project, **fields: Any) -> Run:
    thread = Thread.objects.create(project=project)
    given = {"status": RunStatus.IN_PROGRESS, "lease_until": now() + timedelta(seconds=20), "started_at": now()}
    return Run.objects.create(
        project=project,
        thread=thread,
        assistant_id="asst_1",
        model="scripted",
        expires_at=now() + timedelta(minutes=5),
        **{**given, **fields},
    )


def page(client: Client, address: str = LIST) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def asked(client: Client, action: str, *workers: Worker) -> str:
    ids = [worker.pk for worker in workers]
    return client.post(LIST, {"action": action, "_selected_action": ids}, follow=True).content.decode()


def test_each_runner_shows_what_it_holds(root: Client, dragons: Project) -> None:
    busy, idle = worker(), worker("worker_b")
    mine = run_of(dragons, worker_id=busy.pk)
    ended = run_of(dragons, worker_id=busy.pk, status=RunStatus.COMPLETED)
    shown = page(root)
    assert "1 of 4" in shown
    assert "0 of 4" in shown
    assert mine.pk in shown
    assert "renewed 10" in shown, "a lease of 30 seconds that has 20 left"
    assert ended.pk not in shown
    assert mine.pk in page(root, f"{LIST}{busy.pk.replace('_', '_5F')}/change/")
    assert mine.pk not in page(root, f"{LIST}{idle.pk.replace('_', '_5F')}/change/")


def test_what_hangs_stands_above_the_list(root: Client, dragons: Project) -> None:
    assert "Stuck" not in page(root)
    assert "Runs wait in the queue until one comes" in page(root)
    taken_over_soon = run_of(dragons, worker_id="worker_gone", lease_until=now() - timedelta(seconds=20))
    stuck = run_of(dragons, worker_id="worker_gone", lease_until=now() - timedelta(minutes=2))
    run_of(dragons, status=RunStatus.QUEUED, lease_until=None, created_at=now() - timedelta(minutes=3))
    shown = page(root)
    assert "Stuck" in shown
    assert stuck.pk in shown
    assert taken_over_soon.pk not in shown
    assert "1 run in the queue; the oldest has waited 3 min" in shown


def test_who_is_silent_is_said_to_be_and_forgotten_after_a_day(root: Client) -> None:
    worker("worker_quiet", beat_at=now() - timedelta(minutes=2))
    worker("worker_old", beat_at=now() - timedelta(days=2))
    shown = page(root)
    assert "kumos-silent" in shown
    assert "host-of-worker_quiet" in shown
    assert "host-of-worker_old" not in shown


def test_draining_and_back(root: Client) -> None:
    one, other = worker(), worker("worker_b")
    assert "1 told to claim nothing more" in asked(root, "drain", one)
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.drain_asked, other.drain_asked) == (True, False)
    assert "kumos-draining" in page(root)
    alone = page(root, f"{LIST}{one.pk.replace('_', '_5F')}/change/")
    assert "Undrain this runner" in alone
    assert "Drain this runner" not in alone
    assert "that is so already" in asked(root, "drain", one)
    assert "no runner claims anything" in asked(root, "drain", other)
    Worker.objects.update(draining=True)  # as each says with its next beat
    assert page(root).count("kumos-drained") == 2
    assert "2 told to claim again" in asked(root, "undrain", one, other)
    one.refresh_from_db()
    assert not one.drain_asked


def test_a_process_for_one_run_is_left_alone(root: Client) -> None:
    alone = worker(slots=0)
    assert "for one run alone" in page(root)
    assert "Nothing to do" in asked(root, "drain", alone)
    alone.refresh_from_db()
    assert not alone.drain_asked


def test_they_are_called_runners_everywhere(root: Client) -> None:
    one = worker()
    for address in ("/admin/", LIST, f"{LIST}{one.pk}/change/", f"{LIST}{one.pk}/history/"):
        text = re.sub(r"<[^>]*>", " ", root.get(address).content.decode()).replace(one.pk, "").replace("runworker", "")
        assert "unner" in text
        assert not re.search(r"\bworkers?\b", text, re.IGNORECASE), address


def test_a_viewer_cannot_drain(staff: Callable[..., Client]) -> None:
    one = worker()
    viewer = staff("view_worker")
    assert "Drain" not in page(viewer)
    asked(viewer, "drain", one)
    one.refresh_from_db()
    assert not one.drain_asked
    assert staff().get(LIST).status_code == 403


@pytest.mark.parametrize("count", [3, 30])
def test_the_list_asks_little_however_many_there_are(
    root: Client, dragons: Project, count: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(count):
        run_of(dragons, worker_id=worker(f"worker_{number}").pk)
    with django_assert_max_num_queries(12):
        assert page(root).count("1 of 4") == count
