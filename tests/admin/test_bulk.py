"""What is done to everything that matches: asked with the exact number, done in batches, noted once."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from assistants.admin import audit
from assistants.admin.lists import COUNT_CAP
from assistants.models import Message, Project, Thread
from runs.admin import actions
from runs.admin.error_groups import group_of
from runs.models import Run, RunStatus
from runs.transitions import cancel_run

from .manyruns import LIMIT, TIMEOUT, ended, failed, queued

CANCEL = "/admin/runs/run/all/cancel/"
RETRY = "/admin/runs/run/all/retry/"
LIST = "/admin/runs/run/"


def asked(client: Client, address: str) -> tuple[int, str]:
    """The number the page asks about, and the state its form has."""
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.context["progress"].total, answer.context["state"]


def confirm(client: Client, address: str, state: str = "", rounds: int = 100) -> int:
    """Presses the button until it is done; how often that was."""
    state = state or asked(client, address)[1]
    for number in range(1, rounds + 1):
        answer = client.post(address, {"state": state})
        if answer.status_code == 302:
            return number
        assert answer.status_code == 200
        state = answer.context["state"]
    raise AssertionError("it goes on and on")


def statuses() -> dict[str, int]:
    runs = list(Run.objects.values_list("status", flat=True))
    return {status: runs.count(status) for status in set(runs)}


def test_everything_that_matches_is_cancelled_and_nothing_else(root: Client, dragons: Project) -> None:
    elves = Project.objects.create(name="Elves")
    mine = [queued(dragons).pk for _ in range(3)]
    other = queued(elves)
    done = ended(dragons, RunStatus.COMPLETED)
    address = f"{CANCEL}?status=active&project={dragons.pk}"
    page = root.get(address).content.decode()
    assert "Yes, cancel 3 runs" in page
    assert "project: Dragons" in page
    assert all(pk in page for pk in mine)
    assert other.pk not in page
    confirm(root, address)
    assert set(Run.objects.filter(status="cancelled").values_list("pk", flat=True)) == set(mine)
    assert not Thread.objects.filter(pk__in=Run.objects.filter(pk__in=mine).values("thread")).exclude(
        active_run_id=None
    )
    for run, status in ((other, "queued"), (done, "completed")):
        run.refresh_from_db()
        assert run.status == status
    assert "Cancelled 3 of 3 runs." in root.get(LIST).content.decode()


def test_the_number_is_exact_where_lists_stop_counting(root: Client, dragons: Project) -> None:
    count = COUNT_CAP + 5
    Thread.objects.bulk_create(Thread(pk=f"thread_{index}", project=dragons) for index in range(count))
    moment = ended(dragons)
    Run.objects.bulk_create(
        Run(
            project=dragons,
            thread_id=f"thread_{index}",
            assistant_id="asst_gone",
            model="scripted",
            expires_at=moment.expires_at,
            created_at=moment.created_at,
        )
        for index in range(count)
    )
    assert "1,000+" in root.get(f"{LIST}?status=active").content.decode()
    assert asked(root, f"{CANCEL}?status=active")[0] == count


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_it_goes_on_from_request_to_request(
    root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Each request does one batch. Runs of one moment are not lost where a batch ends between them."""
    monkeypatch.setattr(actions, "SECONDS", 0.0)
    monkeypatch.setattr(actions, "BATCH", batch)
    runs = [queued(dragons) for _ in range(5)]
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(created_at=runs[0].created_at)
    rounds = 5 // batch + 1
    assert confirm(root, CANCEL) == rounds + rounds - 1  # they are told to stop, then they end; one request does both
    assert statuses() == {"cancelled": 5}
    entry = LogEntry.objects.get()
    assert entry.change_message == "Cancelled 5 of 5 runs (no filter)."


def test_what_is_under_way_shows_how_far_it_came(
    root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "SECONDS", 0.0)
    monkeypatch.setattr(actions, "BATCH", 2)
    for _ in range(5):
        queued(dragons)
    page = root.post(CANCEL, {"state": asked(root, CANCEL)[1]}).content.decode()
    assert '<progress max="5" value="2"' in page
    assert "goes_on.js" in page
    assert statuses() == {"cancelling": 2, "queued": 3}
    assert LogEntry.objects.get().change_message == "Cancelled 2 of 5 runs (no filter)."


def test_runs_that_came_since_the_number_was_shown_are_left(root: Client, dragons: Project) -> None:
    queued(dragons)
    total, state = asked(root, CANCEL)
    late = queued(dragons)
    assert total == 1
    confirm(root, CANCEL, state)
    late.refresh_from_db()
    assert late.status == "queued"


def test_runs_that_ended_meanwhile_are_not_counted_as_done(root: Client, dragons: Project) -> None:
    runs = [queued(dragons) for _ in range(3)]
    _, state = asked(root, CANCEL)
    cancel_run(runs[0])
    confirm(root, CANCEL, state)
    assert "Cancelled 2 of 3 runs." in LogEntry.objects.get().change_message.replace(" (no filter)", "")


def test_those_that_are_being_cancelled_are_told_apart(root: Client, dragons: Project) -> None:
    queued(dragons)
    Run.objects.filter(pk=queued(dragons).pk).update(status="cancelling")
    page = root.get(f"{CANCEL}?status=active")
    assert (page.context["concerned"], page.context["impossible"], page.context["progress"].total) == (2, 1, 1)
    assert "1 of them are being cancelled already" in page.content.decode()


def test_a_kind_of_error_is_retried_as_a_whole_and_once(root: Client, dragons: Project) -> None:
    runs = [failed(dragons, TIMEOUT, number) for number in range(4)]
    limit = failed(dragons, LIMIT, 1)
    gone_on = failed(dragons, TIMEOUT, 9)
    Message.objects.create(thread=gone_on.thread, role="user", content=[])
    key = group_of(runs[0].last_error).key
    address = f"{RETRY}?status=failed&error={key}"
    page = root.get(address)
    assert page.context["progress"].total == 4
    assert "1 of them cannot be retried: their threads went on since" in page.content.decode()
    state = page.context["state"]
    confirm(root, address, state)
    user = User.objects.get(username="root")
    again = Run.objects.filter(status="queued")
    assert set(again.values_list("retry_of", flat=True)) == {run.pk for run in runs}
    assert set(again.values_list("made_by", flat=True)) == {f"user {user.pk}"}
    assert not Run.objects.filter(retry_of=limit.pk).exists()
    confirm(root, address, state)
    assert again.count() == 4


def test_retrying_all_stops_where_a_budget_is_used_up_and_says_so(root: Client, dragons: Project) -> None:
    """In the middle of a batch: what was begun anew by then stays so, what comes behind it was not tried."""
    elves = Project.objects.create(name="Elves", budget=Decimal(0))
    first, poor, last = (failed(project, TIMEOUT, 1) for project in (dragons, elves, dragons))
    assert confirm(root, RETRY) == 1
    assert list(Run.objects.filter(status="queued").values_list("retry_of", flat=True)) == [first.pk]
    stopped = (
        "Retried 1 of 3 runs{}. It stopped there: The budget of the project “Elves” for this month is used up: $0.00 of"
        " $0.00."
    )
    assert stopped.format("") in root.get(LIST).content.decode()
    assert stopped.format(" (no filter)") in LogEntry.objects.get().change_message
    confirm(root, f"{RETRY}?project={dragons.pk}")
    assert set(Run.objects.filter(status="queued").values_list("retry_of", flat=True)) == {first.pk, last.pk}
    assert asked(root, f"{RETRY}?project={elves.pk}")[0] == 1
    assert not Run.objects.filter(retry_of=poor.pk).exists()


def test_the_audit_log_has_one_entry_with_numbers_and_filter(root: Client, dragons: Project) -> None:
    failed(dragons, TIMEOUT, 1)
    confirm(root, f"{RETRY}?status=failed&project={dragons.pk}&since=hour")
    entry = LogEntry.objects.get()
    assert entry.change_message == (
        "Retried 1 of 1 runs (status: failed, project: Dragons, created in: the last hour)."
    )
    assert entry.content_type is not None
    assert (entry.user.username, entry.content_type.model, entry.object_repr) == ("root", "run", "1 run")
    assert root.get("/admin/").status_code == 200  # its list of recent actions


@pytest.mark.parametrize("query", ["?status=bogus", "?since=ever", "?version=" + "9" * 5000])
def test_a_filter_that_nothing_can_match_does_nothing(root: Client, dragons: Project, query: str) -> None:
    queued(dragons)
    assert asked(root, CANCEL + query)[0] == 0
    assert "Yes, cancel" not in root.get(CANCEL + query).content.decode()
    confirm(root, CANCEL + query)
    assert statuses() == {"queued": 1}
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("state", ["", "nonsense", "eyJhIjoxfQ:abc:def"])
def test_a_form_that_was_not_made_here_does_nothing(root: Client, dragons: Project, state: str) -> None:
    queued(dragons)
    root.post(CANCEL, {"state": state})
    assert statuses() == {"queued": 1}
    assert "nothing was done" in root.get(LIST).content.decode()


def test_a_form_is_good_for_its_action_and_its_user_alone(
    root: Client, staff: Callable[..., Client], dragons: Project
) -> None:
    queued(dragons)
    _, state = asked(root, CANCEL)
    root.post(RETRY, {"state": state})
    staff("view_run", "change_run").post(CANCEL, {"state": state})
    assert statuses() == {"queued": 1}


def test_looking_is_not_enough(staff: Callable[..., Client], dragons: Project) -> None:
    queued(dragons)
    failed(dragons, LIMIT, 1)
    viewer = staff("view_run")
    for address in (CANCEL, RETRY):
        assert viewer.get(address).status_code == 403
        assert viewer.post(address, {"state": "x"}).status_code == 403
        assert address not in viewer.get(LIST).content.decode()
    actor = staff("view_run", "change_run")
    for address in (CANCEL, RETRY):
        assert address in actor.get(LIST).content.decode()
        assert actor.get(address).status_code == 200
    assert staff("change_run").get("/admin/runs/run/all/explode/").status_code == 404
    assert Client().get(CANCEL).status_code == 302


def test_ticked_runs_are_retried_from_the_list_and_the_rest_says_why_not(root: Client, dragons: Project) -> None:
    run, done = failed(dragons, LIMIT, 1), ended(dragons, RunStatus.COMPLETED)
    root.post(LIST, {"action": "retry", "_selected_action": [run.pk, done.pk]})
    again = Run.objects.get(retry_of=run.pk)
    page = root.get(LIST).content.decode()
    assert "1 begun anew." in page
    assert "Cannot retry run with status &#x27;completed&#x27;" in page
    told = {(entry.object_id, audit.parts_of(entry)[0].words) for entry in LogEntry.objects.all()}
    assert told == {(run.pk, "Retried."), (again.pk, f"Retry of {run.pk}.")}


def test_all_that_match_may_be_ticked_at_once_and_are_asked_about(root: Client, dragons: Project) -> None:
    run = queued(dragons)
    post = {"action": "cancel", "select_across": "1", "index": "0", "_selected_action": [run.pk]}
    answer = root.post(f"{LIST}?status=active", post)
    assert answer.headers["Location"] == f"{CANCEL}?status=active"
    assert statuses() == {"queued": 1}


def test_a_long_list_offers_all_that_match_without_a_number_it_did_not_count(root: Client, dragons: Project) -> None:
    for _ in range(51):
        queued(dragons)
    page = root.get(LIST).content.decode()
    assert "Select all that match" in page
    assert not re.search(r"Select all \d", page)
