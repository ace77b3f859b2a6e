"""Failed runs by error: groups, where they lead, and that a page of many failures stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks

from assistants import trials
from assistants.admin.markup import page_of
from assistants.models import Assistant, Project, Thread
from runs.admin import triage
from runs.admin.narrowing import Narrowing
from runs.models import Run, RunStatus

from .conftest import HOSTILE, SHOWN
from .manyruns import LIMIT, TIMEOUT, assistant, ended, failed, made_at, queued, trial_of

PAGE = "/admin/runs/run/errors/"


def test_runs_that_failed_alike_are_one_group(db: None, dragons: Project) -> None:
    old = failed(dragons, TIMEOUT, 1, model="m1")
    made_at(old, timedelta(hours=5))
    new = failed(dragons, TIMEOUT, 2, model="m2")
    failed(dragons, LIMIT, 3)
    ended(dragons, RunStatus.COMPLETED)
    queued(dragons)
    found = triage.groups()
    assert (found.read, found.is_all) == (3, True)
    timeout, limit = found.groups
    assert (timeout.count, limit.count) == (2, 1)
    assert timeout.example == new.pk
    assert timeout.first is not None
    assert timeout.last is not None
    assert timeout.last - timeout.first >= timedelta(hours=4)
    assert set(timeout.models) == {"m1", "m2"}
    assert timeout.words == "Server error: The model server at <address> did not answer."
    assert [one.count for one in triage.groups("hour").groups] == [1, 1]


def test_what_failed_in_trials_is_apart(
    root: Client, dragons: Project, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    user = User.objects.get(username="root")
    trial = trial_of(dragons, user)
    draft, saved = (Thread.objects.get(pk=id) for id in (trial.thread, trial.saved_thread))
    production = {failed(dragons, TIMEOUT, number).pk for number in range(2)}
    tried = {
        failed(dragons, TIMEOUT, 2, thread=draft, assistant_id=trial.assistant.pk).pk,
        failed(dragons, TIMEOUT, 3, thread=saved).pk,
        failed(dragons, TIMEOUT, 4, thread=draft, assistant_id=trial.assistant.pk).pk,
    }
    answer = root.get(PAGE)
    (first, _, _), (second, _, names) = answer.context["rows"]
    assert [(one.is_trial, one.count) for one in (first, second)] == [(False, 2), (True, 3)]
    assert "a trial of Searcher (2)" in names
    assert answer.content.decode().count("in trials, server_error") == 1
    for group, runs in ((first, production), (second, tried)):
        listed = root.get(group.href)
        assert {run.pk for run in listed.context["cl"].result_list} == runs
        assert root.get(group.retry_href).context["progress"].total == 2  # of a thread the last alone
        assert (
            f"trials: {'trials only' if group.is_trial else 'without trials'}"
            in Narrowing.of(dict(parse_qsl(urlsplit(group.href).query))).words()
        )
    assert "a trial of Searcher" in listed.content.decode()
    assert not root.get("/admin/runs/run/?trial=bogus").context["cl"].result_list
    page = root.get(page_of(Run, min(tried, key=lambda id: id != second.example))).content.decode()
    assert "a trial of Searcher" in page
    assert page_of(Assistant, trial.assistant.pk) not in page  # which nobody would find
    with django_capture_on_commit_callbacks(execute=True):
        trials.forget(trial.assistant)
    assert [one.count for one in triage.groups().groups] == [2]
    assert "trial=" not in triage.groups().groups[0].href


def test_a_client_makes_no_failure_of_others_a_trial(root: Client, dragons: Project) -> None:
    """Metadata is anybody's to write: what counts is named by a scratch of the same project, and bears the mark."""
    scratch = trial_of(dragons, User.objects.get(username="root")).assistant
    elves = Project.objects.create(name="Elves")
    theirs = Thread.objects.create(project=elves, metadata={trials.PURPOSE: trials.TRIAL})
    plain = Thread.objects.create(project=dragons)
    Thread.objects.create(project=dragons, metadata={trials.PURPOSE: trials.TRIAL})
    for named in (theirs.pk, plain.pk, 7, None):
        Assistant.objects.filter(pk=scratch.pk).update(metadata={trials.DRAFT: named})
        assert trials.conversations() == set()


def test_groups_lead_to_their_runs_and_to_a_retry(root: Client, dragons: Project) -> None:
    runs = {failed(dragons, TIMEOUT, number).pk for number in range(3)}
    failed(dragons, LIMIT, 3)
    page = root.get(PAGE)
    (group, _, _), _ = page.context["rows"]
    text = page.content.decode()
    for address in (group.href, group.retry_href):
        assert address.replace("&", "&amp;") in text
    assert {run.pk for run in root.get(group.href).context["cl"].result_list} == runs
    assert root.get(group.retry_href).context["progress"].total == 3
    assert root.get(group.example_href).status_code == 200


def test_the_list_leads_to_the_groups(root: Client) -> None:
    assert f'href="{PAGE}"' in root.get("/admin/runs/run/").content.decode()


def test_the_page_names_models_and_assistants_and_runs_nothing(root: Client, dragons: Project) -> None:
    made = assistant(dragons, name=f"Keeper {HOSTILE}")
    failed(dragons, {"code": "server_error", "message": f"It broke {HOSTILE}"}, 0, assistant_id=made.pk, model=HOSTILE)
    for number in range(5):
        failed(dragons, {"code": "server_error", "message": f"It broke {HOSTILE}"}, 0, model=f"m{number}")
    page = root.get(PAGE).content.decode()
    assert f"Keeper {SHOWN} (1)" in page
    assert "and 3 more" in page
    assert HOSTILE not in page


def test_one_project_alone(root: Client, dragons: Project) -> None:
    elves = Project.objects.create(name="Elves")
    failed(dragons, TIMEOUT, 1)
    failed(elves, LIMIT, 1)
    page = root.get(PAGE, {"project": elves.pk})
    assert [row[0].group.code for row in page.context["rows"]] == ["rate_limit_exceeded"]
    assert len(root.get(PAGE).context["rows"]) == 2


def test_what_expired_or_stopped_early_is_not_forgotten(root: Client, dragons: Project) -> None:
    ended(dragons, RunStatus.EXPIRED)
    ended(dragons, RunStatus.INCOMPLETE)
    page = root.get(PAGE).content.decode()
    assert "1 expired" in page
    assert "1 incomplete" in page


def test_without_failures_it_says_so(root: Client, db: None) -> None:
    assert "Nothing failed in the last 24 hours" in root.get(PAGE).content.decode()
    for query in ("?since=bogus", "?project=proj_unknown"):
        assert root.get(PAGE + query).status_code == 200


def test_more_failures_than_are_read_are_said_to_be_more(root: Client, dragons: Project, monkeypatch: Any) -> None:
    newest = [failed(dragons, TIMEOUT, number) for number in range(4)][-1]
    found = triage.groups(limit=3)
    assert (found.read, found.is_all, found.spoken) == (3, False, "3+")
    assert (found.groups[0].count, found.groups[0].example) == (3, newest.pk)
    assert triage.groups(limit=4).is_all
    monkeypatch.setattr(triage.groups, "__defaults__", ("day", "", 3))
    assert "Only the newest 3 were looked at" in root.get(PAGE).content.decode()


def test_errors_are_for_those_who_see_runs_and_retries_for_those_who_make_them(
    staff: Callable[..., Client], dragons: Project
) -> None:
    failed(dragons, TIMEOUT, 1)
    assert staff("view_thread").get(PAGE).status_code == 403
    assert "Retry all" not in staff("view_run").get(PAGE).content.decode()
    assert "Retry all" in staff("view_run", "change_run").get(PAGE).content.decode()


def test_the_page_asks_little(root: Client, dragons: Project, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        failed(dragons, {"code": "server_error", "message": "ab" * number}, 0, assistant_id=assistant(dragons).pk)
    root.get(PAGE)
    with django_assert_max_num_queries(8):
        root.get(PAGE)
