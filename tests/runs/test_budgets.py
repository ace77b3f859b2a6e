"""Budgets in the endpoint's terms: what is used up is refused until the month is over, and concerns nobody else."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from assistants import clock, keys
from assistants.errors import ApiError
from assistants.models import ApiKey, Project
from runs import budgets
from runs.models import Run, UsageRecord
from runs.transitions import retry_run
from tests.conftest import ApiClient

DOLLAR = 1_000_000


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    budgets.forget()
    yield
    budgets.forget()


def used(project: Project, cost: int | None, *, made_by: str = "user 1", at: datetime | None = None) -> None:
    UsageRecord.objects.create(
        run_id=f"run_{UsageRecord.objects.count()}",
        project=project,
        thread_id="thread_1",
        assistant_id="asst_1",
        made_by=made_by,
        model="gpt-4o",
        status="completed",
        ended_at=at or clock.now(),
        cost=cost,
    )
    budgets._sums.clear()


def budget(owner: Project | ApiKey, dollars: str | None) -> None:
    owner.budget = None if dollars is None else Decimal(dollars)
    owner.save(update_fields=["budget"])


@pytest.fixture
def assistant(alice: ApiClient) -> str:
    return str(alice.make("/assistants", {"model": "scripted", "instructions": "Be kind."})["id"])


def both_ways(client: ApiClient, assistant: str) -> list[Any]:
    """The answers of the two endpoints that make runs."""
    thread = client.make("/threads")["id"]
    body = {"assistant_id": assistant}
    return [client.post(f"/threads/{thread}/runs", body), client.post("/threads/runs", body)]


def test_what_is_used_up_is_refused_both_ways(alice: ApiClient, assistant: str) -> None:
    budget(alice.project, "1.50")
    used(alice.project, DOLLAR)
    assert [answer.status_code for answer in both_ways(alice, assistant)] == [200, 200]
    before = Run.objects.count()
    used(alice.project, DOLLAR // 2)
    anew = budgets.next_month(budgets.month_of(clock.now()))
    for answer in both_ways(alice, assistant):
        assert answer.status_code == 429
        error = answer.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("insufficient_quota", "insufficient_quota", None)
        assert error["message"] == (
            "The budget of the project “Atlas” for this month is used up: $1.50 of $1.50. It begins anew on"
            f" {anew:%Y-%m-%d} at 00:00 UTC. Whoever runs this server can raise it before that."
        )
        assert answer.headers["x-should-retry"] == "false"
    assert Run.objects.count() == before
    budget(alice.project, "2")
    assert [answer.status_code for answer in both_ways(alice, assistant)] == [200, 200]


def test_refused_with_stream_is_an_ordinary_answer(alice: ApiClient, assistant: str) -> None:
    budget(alice.project, "0")
    answer = alice.post("/threads/runs", {"assistant_id": assistant, "stream": True})
    assert answer.status_code == 429
    assert answer.headers["Content-Type"] == "application/json"


def test_a_budget_concerns_its_project_alone(alice: ApiClient, charlie: ApiClient, assistant: str) -> None:
    theirs = str(charlie.make("/assistants", {"model": "scripted", "instructions": "Be kind."})["id"])
    budget(alice.project, "1")
    budget(charlie.project, "1")
    used(alice.project, 5 * DOLLAR, made_by=alice.key.pk)
    assert [answer.status_code for answer in both_ways(charlie, theirs)] == [200, 200]
    answer = both_ways(alice, assistant)[0]
    assert answer.status_code == 429
    assert "Comet" not in answer.content.decode()
    used(charlie.project, 7 * DOLLAR)
    refused = both_ways(charlie, theirs)[0].json()["error"]["message"]
    assert "$7.00" in refused
    assert "Atlas" not in refused
    assert "$5" not in refused


def test_another_projects_assistant_is_unknown_before_it_is_too_dear(charlie: ApiClient, assistant: str) -> None:
    budget(charlie.project, "0")
    answer = charlie.post("/threads/runs", {"assistant_id": assistant})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, None)


def test_a_keys_budget_is_its_own(alice: ApiClient, bob: ApiClient, assistant: str) -> None:
    budget(alice.key, "1")
    used(alice.project, DOLLAR, made_by=bob.key.pk)
    assert [answer.status_code for answer in both_ways(alice, assistant)] == [200, 200]
    used(alice.project, DOLLAR, made_by=alice.key.pk)
    refused = both_ways(alice, assistant)[0]
    assert refused.status_code == 429
    assert "API key “alice's key”" in refused.json()["error"]["message"]
    assert [answer.status_code for answer in both_ways(bob, assistant)] == [200, 200]


def rotated(key: ApiKey, client: ApiClient) -> ApiClient:
    """Who has the key that takes the place of `key`, which works for another hour."""
    client = ApiClient(client.project, client.user)
    client.key, client.secret = keys.rotate(key, timedelta(hours=1), None)
    client.client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {client.secret}"
    return client


def ended_run(client: ApiClient, assistant: str) -> str:
    thread = client.make("/threads")["id"]
    run = str(client.make(f"/threads/{thread}/runs", {"assistant_id": assistant})["id"])
    assert client.post(f"/threads/{thread}/runs/{run}/cancel").status_code == 200
    return run


def test_a_rotated_key_goes_on_with_what_its_line_has_spent(alice: ApiClient, bob: ApiClient, assistant: str) -> None:
    budget(alice.key, "1")
    first = ended_run(alice, assistant)
    second_key = rotated(alice.key, alice)
    second = ended_run(second_key, assistant)
    third_key = rotated(second_key.key, alice)
    third = ended_run(third_key, assistant)
    entries = UsageRecord.objects.filter(pk__in=[first, second, third])
    assert set(entries.values_list("made_by", flat=True)) == {alice.key.pk}
    assert Run.objects.get(pk=third).made_by == third_key.key.pk
    entries.update(cost=DOLLAR // 3 + 1)
    budgets.forget()
    for client in (alice, second_key, third_key):
        assert {answer.status_code for answer in both_ways(client, assistant)} == {429}
    assert {answer.status_code for answer in both_ways(bob, assistant)} == {200}


def test_last_month_and_what_has_no_price_count_nothing(alice: ApiClient, assistant: str) -> None:
    budget(alice.project, "1")
    month = budgets.month_of(clock.now())
    used(alice.project, 9 * DOLLAR, at=month - timedelta(microseconds=1))
    used(alice.project, None)
    assert [answer.status_code for answer in both_ways(alice, assistant)] == [200, 200]
    used(alice.project, DOLLAR, at=month)
    assert {answer.status_code for answer in both_ways(alice, assistant)} == {429}


def test_a_run_under_way_is_finished(alice: ApiClient, assistant: str) -> None:
    thread = alice.make("/threads")["id"]
    run = alice.make(f"/threads/{thread}/runs", {"assistant_id": assistant})["id"]
    budget(alice.project, "0")
    assert alice.get(f"/threads/{thread}/runs/{run}").json()["status"] == "queued"
    assert alice.post(f"/threads/{thread}/runs/{run}/cancel").json()["status"] == "cancelled"


def test_an_operators_retry_costs_as_much_as_anybodys(alice: ApiClient, assistant: str) -> None:
    thread = alice.make("/threads")["id"]
    run = alice.make(f"/threads/{thread}/runs", {"assistant_id": assistant})["id"]
    alice.post(f"/threads/{thread}/runs/{run}/cancel")
    budget(alice.project, "0")
    with pytest.raises(ApiError, match="is used up"):
        retry_run(Run.objects.get(pk=run), "user 7")
    budget(alice.project, None)
    assert retry_run(Run.objects.get(pk=run), "user 7").run.retry_of == run


def test_the_sum_is_asked_for_once_in_some_seconds(
    alice: ApiClient, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    budget(alice.project, "1")
    with django_assert_num_queries(1):
        budgets.check(alice.project)
        budgets.check(alice.project)
    UsageRecord.objects.create(
        run_id="run_x", project=alice.project, ended_at=clock.now(), cost=DOLLAR, status="completed", model="gpt-4o"
    )
    budgets.check(alice.project)
    later = time.monotonic() + budgets.KEPT_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(Exception, match="used up"):
        budgets.check(alice.project)


def test_a_project_without_a_budget_asks_nothing(alice: ApiClient, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        budgets.check(alice.project, alice.key)


def test_it_is_said_once_in_the_log(alice: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "runs.budgets")
    budget(alice.project, "1")
    used(alice.project, DOLLAR * 79 // 100)
    budgets.check(alice.project)
    assert not caplog.messages
    used(alice.project, DOLLAR // 100)
    for _ in range(2):
        budgets.check(alice.project)
    assert caplog.messages == ["the budget of the project “Atlas” is used to 80 %: $0.80 of $1.00"]
    used(alice.project, DOLLAR)
    for _ in range(2):
        with pytest.raises(Exception, match="used up"):
            budgets.check(alice.project)
    assert caplog.messages[1:] == [
        "the budget of the project “Atlas” is used up, and new runs are refused: $1.80 of $1.00"
    ]


def test_months_follow_each_other() -> None:
    assert budgets.month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2026, 12, 1, tzinfo=UTC)
    assert budgets.next_month(datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert budgets.next_month(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 2, 1, tzinfo=UTC)
