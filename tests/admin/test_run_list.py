"""The list of runs: what it tells of each, how it is narrowed, and what it says where it is empty."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.asserts import assertHTMLEqual

from assistants.admin import markup
from assistants.models import ApiKey, Project
from runs.admin import narrowing
from runs.admin.error_groups import group_of
from runs.models import Run, RunStatus, UsageRecord

from .conftest import HOSTILE
from .manyruns import LIMIT, TIMEOUT, assistant, ended, failed, made_at, queued

LIST = "/admin/runs/run/"
QUERIES_MAX = 32


def page_of(run: Run) -> str:
    return markup.page_of(Run, run.pk)


def listed(client: Client, query: str = "") -> set[str]:
    """The ids of the runs in the list."""
    answer = client.get(LIST + query)
    assert answer.status_code == 200
    return {run.pk for run in answer.context["cl"].result_list}


def test_a_row_tells_who_ran_what_how_long_and_at_what_price(root: Client, dragons: Project) -> None:
    key, _ = ApiKey.issue(dragons, "tariff robot")
    made = assistant(dragons, name="Keeper")
    run = ended(dragons, RunStatus.COMPLETED, assistant_id=made.pk, assistant_version=3, made_by=key.pk, model="m1")
    Run.objects.filter(pk=run.pk).update(
        first_token_at=run.created_at + timedelta(seconds=0.42),
        completed_at=run.created_at + timedelta(seconds=12.3),
        usage={"prompt_tokens": 1000, "completion_tokens": 234, "total_tokens": 1234},
    )
    UsageRecord.objects.filter(pk=run.pk).update(cost=1_100)
    page = root.get(LIST).content.decode()
    row = re.search(rf'<tr><td class="action-checkbox">.*?{run.pk}.*?</tr>', page, re.DOTALL)
    assert row
    for text in ("Keeper v3", "m1", "Dragons", "key “tariff robot”", "12.3 s", "0.42 s", "1,234", "$0.0011"):
        assert text in row[0], text
    assert f'data-run="{run.pk}"' in row[0]


def test_a_box_to_tick_is_djangos_own(root: Client, dragons: Project) -> None:
    for name in (HOSTILE, "O'Hara {0} & Ö"):
        project = Project(name=name)
        page = admin.site._registry[Project]
        assertHTMLEqual(page.action_checkbox(project), admin.ModelAdmin.action_checkbox(page, project))
    assert root.get(LIST).context["cl"].list_display[0] == "action_checkbox"
    queued(dragons)
    assert root.get(LIST).content.decode().count('id="action-toggle"') == 1


@pytest.mark.parametrize(("cost", "told"), [(None, "no price known"), (0, "$0.00"), (12_300_000, "$12.30")])
def test_an_unknown_price_is_not_nothing(root: Client, dragons: Project, cost: int | None, told: str) -> None:
    run = ended(dragons)
    UsageRecord.objects.filter(pk=run.pk).update(cost=cost)
    assert told in root.get(LIST).content.decode()


def test_who_made_a_run_is_told_also_where_the_key_is_gone(root: Client, dragons: Project) -> None:
    ended(dragons, made_by="key_gone")
    ended(dragons, made_by=f"user {User.objects.get(username='root').pk}")
    ended(dragons, made_by="user 99999999999999999999")
    page = root.get(LIST).content.decode()
    for who in ("key_gone", '<span class="kumos-id">root</span>', "user 99999999999999999999"):
        assert who in page


def test_each_filter_leaves_what_it_says(root: Client, dragons: Project) -> None:
    elves = Project.objects.create(name="Elves")
    made = assistant(dragons)
    key, _ = ApiKey.issue(dragons, "k")
    plain = queued(dragons)
    runs = {
        "?status=active": {plain},
        "?status=failed": {failed(dragons, TIMEOUT, 1)},
        "?status=cancelled": {ended(dragons, RunStatus.CANCELLED)},
        f"?project={elves.pk}": {ended(elves, RunStatus.COMPLETED)},
        f"?assistant={made.pk}&version=2": {
            ended(dragons, RunStatus.COMPLETED, assistant_id=made.pk, assistant_version=2)
        },
        "?model=m2": {ended(dragons, RunStatus.COMPLETED, model="m2")},
        f"?made_by={key.pk}": {ended(dragons, RunStatus.COMPLETED, made_by=key.pk)},
    }
    ended(dragons, RunStatus.COMPLETED, assistant_id=made.pk, assistant_version=1)
    for query, expected in runs.items():
        assert listed(root, query) == {run.pk for run in expected}, query
    assert len(listed(root, f"?assistant={made.pk}")) == 2
    assert listed(root, "?status__exact=failed") == listed(root, "?status=failed")
    assert listed(root, f"?project={dragons.pk}&status=failed&model=m2") == set()
    assert len(listed(root)) == 8


def test_periods_count_from_now(root: Client, dragons: Project) -> None:
    new, older, old = (ended(dragons) for _ in range(3))
    made_at(older, timedelta(hours=2))
    made_at(old, timedelta(days=3))
    assert listed(root, "?since=hour") == {new.pk}
    assert listed(root, "?since=day") == {new.pk, older.pk}
    assert listed(root, "?since=week") == {new.pk, older.pk, old.pk}


def test_the_error_of_a_run_leads_to_those_that_failed_alike(root: Client, dragons: Project) -> None:
    alike = {failed(dragons, TIMEOUT, port).pk for port in (8000, 8001)}
    other = failed(dragons, LIMIT, 3)
    key = group_of(TIMEOUT | {"message": TIMEOUT["message"].format(1)}).key
    assert listed(root, f"?error={key}") == listed(root, f"?status=failed&error={key}") == alike
    page = root.get(f"{LIST}?error={key}").content.decode()
    assert "The model server at &lt;address&gt; did not answer." in page
    assert other.pk not in page
    assert listed(root, "?error=nonsense") == set()
    for query in (f"?error={key}", "?error=nonsense"):
        with CaptureQueriesContext(connection) as asked:
            root.get(LIST + query)
        read = [sql for query in asked.captured_queries if 'AS "last_error"' in (sql := query["sql"])]
        assert len(read) == 1, read  # the errors are read once, whether one is found or not


@pytest.mark.parametrize(
    "query",
    ["?status=bogus", "?since=ever", "?version=x", "?version=-1", "?version=99999999999", "?version=" + "9" * 5000],
)
def test_a_filter_that_nothing_can_match_is_not_taken_for_none(root: Client, dragons: Project, query: str) -> None:
    ended(dragons)
    assert listed(root, query) == set()
    assert "No run matches" in root.get(LIST + query).content.decode()


def test_no_other_column_can_be_filtered_from_the_address(root: Client, dragons: Project) -> None:
    ended(dragons)
    assert root.get(f"{LIST}?instructions__contains=a").status_code == 400


def test_what_has_no_index_is_looked_for_among_the_newest(
    root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrowing, "WINDOW", 3)
    ids = [ended(dragons, model="m2" if index % 2 else "m1").pk for index in range(6)]
    assert listed(root, "?model=m2") == {ids[3], ids[5]}
    assert "Looked at the newest runs only" in root.get(f"{LIST}?model=m2").content.decode()
    assert listed(root) == set(ids)
    assert "Looked at the newest runs only" not in root.get(LIST).content.decode()


@pytest.mark.parametrize("field", ["id", "request_id"])
def test_an_id_typed_into_the_search_leads_straight_to_the_run(root: Client, dragons: Project, field: str) -> None:
    run = ended(dragons, request_id="req_0123456789abcdef0123456789abcdef")
    ended(dragons)
    id = getattr(run, field)
    for typed in (id, f"  {id} ", f"x-request-id: {id}"):
        answer = root.get(LIST, {"q": typed})
        assert (answer.status_code, answer.headers["Location"]) == (302, page_of(run))


def test_the_id_of_a_thread_lists_its_runs(root: Client, dragons: Project) -> None:
    run = ended(dragons)
    ended(dragons)
    assert listed(root, f"?q={run.thread_id}") == {run.pk}


def test_runs_without_a_request_are_not_found_by_nothing(root: Client, dragons: Project) -> None:
    runs = {ended(dragons).pk, ended(dragons).pk}
    assert listed(root, "?q=") == listed(root, "?q=%20") == runs
    assert listed(root, "?q=req_unknown") == set()
    assert "An id must be whole" in root.get(f"{LIST}?q=req_unknown").content.decode()


def test_a_search_shows_nobody_what_he_may_not_see(staff: Callable[..., Client], dragons: Project) -> None:
    run = ended(dragons)
    assert staff("view_thread").get(f"{LIST}?q={run.pk}").status_code == 403


def test_an_empty_list_says_how_to_make_the_first_run(root: Client, dragons: Project) -> None:
    page = root.get(LIST).content.decode()
    assert "curl http://testserver/v1/threads/runs" in page
    assert "/admin/assistants/assistant/add/" in page
    made = assistant(dragons)
    page = root.get(LIST).content.decode()
    assert f"&quot;assistant_id&quot;: &quot;{made.pk}&quot;" in page or f'"assistant_id": "{made.pk}"' in page


def test_filters_say_how_many_runs_there_are(root: Client, dragons: Project) -> None:
    for _ in range(2):
        failed(dragons, LIMIT, 1)
    queued(dragons)
    page = root.get(LIST).content.decode()
    assert "Failed (2)" in page
    assert "Active (1)" in page
    assert "Failed (2)" not in root.get(f"{LIST}?model=m1").content.decode()


SEARCHES: list[tuple[str, str]] = [
    ("", "SCAN runs_run USING INDEX runs_run_created"),
    ("?status=failed", "status="),
    ("?status=failed&project=PROJECT", "status= AND project_id="),
    ("?project=PROJECT", "run_of_project"),
    ("?assistant=asst_gone", "run_of_assistant"),
    ("?q=req_1", "run_request"),
    ("?q=thread_1", "thread_id="),
]


@pytest.mark.any_database  # EXPLAIN QUERY PLAN is SQLite's
@pytest.mark.parametrize(("query", "uses"), SEARCHES, ids=[query for query, _ in SEARCHES])
def test_every_search_goes_through_an_index(root: Client, dragons: Project, query: str, uses: str) -> None:
    ended(dragons)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        root.get(LIST + query.replace("PROJECT", dragons.pk))
    plans = [plan_of(one["sql"]) for one in captured.captured_queries if 'FROM "runs_run"' in one["sql"]]
    assert plans
    for plan in plans:
        for line in plan:
            assert not re.match(r"SCAN runs_run($| (?!USING))", line), plan
    assert any(re.sub(r"[()?]", "", uses) in re.sub(r"[()?]", "", line) for plan in plans for line in plan), plans


def plan_of(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql.replace('%', '%%')}", [])
        return [str(row[3]) for row in cursor.fetchall()]


def test_the_list_costs_the_same_number_of_queries(
    root: Client, dragons: Project, django_assert_max_num_queries: Any
) -> None:
    for index in range(30):
        key, _ = ApiKey.issue(dragons, f"key {index}")
        ended(dragons, made_by=key.pk, assistant_id=assistant(dragons).pk)
    root.get(LIST)
    for query in ("", "?status=failed", "?model=scripted&since=day", f"?project={dragons.pk}&error=0"):
        with django_assert_max_num_queries(QUERIES_MAX):
            root.get(LIST + query)
