"""The overview: its numbers, what needs attention with what to do about it, and only what its viewer may see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape

from assistants import clock
from assistants.admin.markup import page_of
from assistants.models import ApiKey, File, Project, Thread, VectorStore, VectorStoreFile
from kumos_site import dashboard_figures
from runs import budgets
from runs.models import Run, RunStatus, UsageRecord, Worker

from .conftest import HOSTILE, SHOWN
from .manyruns import TIMEOUT, failed, trial_of

LIVE = "/admin/dashboard/"
DOLLAR = 1_000_000


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    budgets.forget()
    yield
    budgets.forget()


def run_of(project: Project, status: str, *, age: float = 0, first_token: float | None = None, **fields: Any) -> Run:
    """A run made `age` seconds ago that spoke after `first_token` seconds."""
    made = clock.now() - timedelta(seconds=age)
    spoke = None if first_token is None else made + timedelta(seconds=first_token)
    return Run.objects.create(
        project=project,
        thread=Thread.objects.create(project=project),
        assistant_id="asst_1",
        model="scripted",
        status=status,
        created_at=made,
        first_token_at=spoke,
        expires_at=made + timedelta(minutes=10),
        **fields,
    )


def used(project: Project, *, cost: int | None = 0, tokens: int = 0, ago: float = 0, status: str = "completed") -> None:
    UsageRecord.objects.create(
        run_id=f"run_{UsageRecord.objects.count()}",
        project=project,
        model="gpt-4o",
        status=status,
        ended_at=clock.now() - timedelta(seconds=ago),
        prompt_tokens=tokens,
        cost=cost,
    )


def number(page: str, label: str) -> tuple[str, str]:
    """What stands at a figure: its number and what is under it."""
    found = re.search(
        rf'kumos-figure-label">{label}</span><strong>(.*?)</strong><span class="kumos-figure-detail">(.*?)</span>', page
    )
    assert found, label
    return found[1], found[2]


def text(client: Client, address: str = LIVE) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


# Numbers --------------------------------------------------------------------------------------------------------------


def test_active_runs(root: Client, dragons: Project) -> None:
    assert number(text(root), "Active runs")[0] == "0"
    for status in (RunStatus.QUEUED, RunStatus.QUEUED, RunStatus.IN_PROGRESS, RunStatus.COMPLETED, RunStatus.FAILED):
        run_of(dragons, status)
    assert number(text(root), "Active runs") == ("3", "1 running · 2 queued")


def test_time_to_the_first_token(root: Client, dragons: Project) -> None:
    assert number(text(root), "First token, p95") == ("–", "nothing spoke in the last hour")
    for tenths in range(1, 21):
        run_of(dragons, RunStatus.COMPLETED, age=60, first_token=tenths / 10)
    run_of(dragons, RunStatus.COMPLETED, age=3700, first_token=50)
    run_of(dragons, RunStatus.FAILED, age=60)
    assert number(text(root), "First token, p95") == ("1.9 s", "p50 1.0 s · 20 runs")


@pytest.mark.parametrize(
    ("waits", "percent", "expected"), [([], 95, 0), ([3], 50, 3), ([1, 2], 50, 1), ([1, 2], 95, 2), ([1, 2, 3], 50, 2)]
)
def test_percentiles_are_waits_that_were(waits: list[float], percent: int, expected: float) -> None:
    assert dashboard_figures.percentile(waits, percent) == expected


def test_first_tokens_are_read_of_the_newest_runs_alone(
    root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard_figures, "FIRST_TOKENS_READ", 2)
    for wait in (9, 2, 1):
        run_of(dragons, RunStatus.COMPLETED, age=60 * wait, first_token=wait)
    assert number(text(root), "First token, p95") == ("2.0 s", "p50 1.0 s · 2 runs")


def test_errors_of_the_last_hour(root: Client, dragons: Project) -> None:
    assert number(text(root), "Errors, last hour") == ("0", "no run ended")
    for ago, status in ((10, "failed"), (600, "failed"), (20, "completed"), (30, "completed"), (3700, "failed")):
        used(dragons, ago=ago, status=status)
    assert number(text(root), "Errors, last hour") == ("2", "50.0% of 4 runs")


def test_tokens_and_cost_of_today(root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = clock.now().replace(hour=12, minute=30)
    monkeypatch.setattr(clock, "now", lambda: noon)
    assert number(text(root), "Cost today") == ("$0.00", "0 tokens")
    used(dragons, cost=1_250_000, tokens=1000)
    used(dragons, cost=1_000_000, tokens=500, ago=12 * 3600)
    used(dragons, cost=None, tokens=70, ago=60)
    used(dragons, cost=9_000_000, tokens=7, ago=13 * 3600)  # yesterday
    assert number(text(root), "Cost today") == ("$2.25", "1,570 tokens · 1 run without a known price")


def test_charts_are_drawn_and_said(root: Client, dragons: Project) -> None:
    used(dragons, ago=120)
    used(dragons, ago=120, status="failed")
    page = text(root)
    assert 'aria-label="Runs that ended, by the minute of the last hour: 2, at most 2 in a minute."' in page
    assert re.search(r'y="0.0" width="3" height="40.0" class="kumos-bar-plain"><title>\d\d:\d\d 2 ended', page)
    assert re.search(r'<rect x="[\d.]+" y="20.0" width="3" height="20.0" class="kumos-bar-bad">', page)


# Attention ------------------------------------------------------------------------------------------------------------


def lines(page: str) -> list[str]:
    """The text of each line, its action in brackets."""
    found = re.findall(r'<li id="concern-[^"]*".*?</li>', page, re.S)
    texts = [re.sub(r"<a class=\"button\"[^>]*>(.*?)</a>", r"[\1]", line, flags=re.S) for line in found]
    return [" ".join(re.sub(r"<[^>]+>", "", line).split()) for line in texts]


def test_nothing_needs_attention(root: Client, dragons: Project) -> None:
    run_of(dragons, RunStatus.IN_PROGRESS, age=500)
    run_of(dragons, RunStatus.QUEUED, age=5)
    run_of(dragons, RunStatus.REQUIRES_ACTION, age=5)
    Worker.objects.create(id="w", host="here", pid=1, slots=4)
    ApiKey.issue(dragons, "long", expires_at=clock.now() + timedelta(days=15))
    page = text(root)
    assert lines(page) == []
    assert "All is well" in page


def test_failures_of_trials_are_one_calm_line(root: Client, dragons: Project) -> None:
    trial = trial_of(dragons, User.objects.get(username="root"))
    thread = Thread.objects.get(pk=trial.thread)
    for _ in range(2):
        failed(dragons, TIMEOUT, 1, thread=thread, assistant_id=trial.assistant.pk)
    (line,) = lines(text(root))
    assert line.startswith("2 runs of trials failed in 24 hours")
    assert line.endswith("[Show]")
    assert 'class="kumos-soon"' in text(root)
    assert 'class="kumos-bad"' not in text(root)
    failed(dragons, TIMEOUT, 1)
    first, second = lines(text(root))
    assert first.startswith("1 run failed in 24 hours")
    assert second == line


def test_runs_that_wait_too_long(root: Client, dragons: Project) -> None:
    run_of(dragons, RunStatus.QUEUED, age=100)
    run_of(dragons, RunStatus.REQUIRES_ACTION, age=300)
    run_of(dragons, RunStatus.REQUIRES_ACTION, age=200)
    assert lines(text(root)) == [
        "1 run in the queue for more than a minute the oldest since 1 minute ago [Look at runners]",
        "2 runs wait for a client&#x27;s tool outputs the oldest was made 5 minutes ago [Show]",
    ]


def test_files_that_could_not_be_indexed(root: Client, dragons: Project) -> None:
    store = VectorStore.objects.create(project=dragons, name=HOSTILE)
    error = {"code": "invalid_file", "message": HOSTILE}
    for status in ("failed", "completed"):
        file = File.objects.create(project=dragons, filename=f"{status}.txt", purpose="assistants")
        VectorStoreFile.objects.create(vector_store=store, file=file, status=status, last_error=error)
    page = text(root)
    (line,) = lines(page)
    assert line.startswith(f"“failed.txt” could not be indexed: File cannot be read: {SHOWN}")
    assert page_of(VectorStore, store.pk) in page
    assert HOSTILE not in page


def test_keys_that_expire(root: Client, dragons: Project) -> None:
    for name, days in (("soon", 3.5), ("today", 0.5), ("later", 14.5), ("gone", -1)):
        ApiKey.issue(dragons, name, expires_at=clock.now() + timedelta(days=days))
    revoked, _ = ApiKey.issue(dragons, "revoked", expires_at=clock.now() + timedelta(days=1))
    ApiKey.objects.filter(pk=revoked.pk).update(revoked_at=clock.now())
    assert lines(text(root)) == [
        "The API key “today” expires today Dragons [Open the key]",
        "The API key “soon” expires in 3 days Dragons [Open the key]",
    ]


def test_runners_that_stopped_beating(root: Client) -> None:
    silent = clock.now() - timedelta(seconds=settings.KUMOS_LEASE_SECONDS + 60)
    Worker.objects.create(id="w1", host="alive", pid=1, slots=4)
    Worker.objects.create(id="w2", host="silent", pid=2, slots=4, beat_at=silent)
    (line,) = lines(text(root))
    assert line.startswith("The runner silent:2 has stopped beating")


def test_budgets_near_their_end(root: Client, staff: Callable[..., Client], dragons: Project) -> None:
    Project.objects.filter(pk=dragons.pk).update(budget=Decimal("2"), budget_warns_at=50)
    other = Project.objects.create(name="Elves", budget=Decimal("100"))
    key, _ = ApiKey.issue(dragons, "spender")
    ApiKey.objects.filter(pk=key.pk).update(budget=Decimal("0.5"))
    used(dragons, cost=DOLLAR)
    used(other, cost=DOLLAR)
    UsageRecord.objects.filter(project=dragons).update(made_by=key.pk)
    anew = budgets.next_month(budgets.month_of(clock.now()))
    page = text(root)
    assert lines(page) == [
        "The budget of the API key “spender” is used up: new runs are refused"
        f" $1.00 of $0.50, anew on {anew:%Y-%m-%d} [Change the budget]",
        f"The budget of the project “Dragons” is used to 50 % $1.00 of $2.00, anew on {anew:%Y-%m-%d}"
        " [Change the budget]",
    ]
    assert page_of(Project, dragons.pk) in page
    assert lines(text(staff("view_run", "view_project"))) == []


def test_of_many_of_a_kind_some_are_shown(root: Client, dragons: Project) -> None:
    for index in range(8):
        ApiKey.issue(dragons, f"key {index}", expires_at=clock.now() + timedelta(days=5, hours=index))
    found = lines(text(root))
    assert len(found) == 6
    assert found[-1] == "… and more of this kind [Show all]"


# Who sees what --------------------------------------------------------------------------------------------------------


def test_only_what_the_viewer_may_see(staff: Callable[..., Client], dragons: Project) -> None:
    run_of(dragons, RunStatus.FAILED, last_error={"code": "server_error", "message": "It broke."})
    ApiKey.issue(dragons, "expiring", expires_at=clock.now() + timedelta(days=1))
    for permissions, seen in (
        ((), ()),
        (("view_run",), ("Active runs", "First token", "Errors", "It broke")),
        (("view_usagerecord",), ("Cost today",)),
        (("view_apikey",), ("“expiring”",)),
    ):
        client = staff(*permissions)
        for page in (text(client), text(client, "/admin/")):
            for word in ("Active runs", "First token", "Errors", "It broke", "Cost today", "“expiring”"):
                assert (word in page) == (word in seen), (permissions, word)


def test_the_live_part_is_the_same_and_for_staff_alone(root: Client, client: Client, dragons: Project) -> None:
    run_of(dragons, RunStatus.QUEUED)
    whole, part = text(root, "/admin/"), text(root)
    assert "<html" not in part
    assert number(whole, "Active runs") == number(part, "Active runs")
    assert 'data-source="/admin/dashboard/"' in whole
    assert client.get(LIVE).headers["Location"].startswith("/admin/login/")


def test_every_page_stays_one_click_away(root: Client) -> None:
    page = text(root, "/admin/")
    folded = page[page.index("<details") : page.index("</details>")]
    assert "<summary>All pages</summary>" in folded
    assert "/admin/runs/run/" in folded
    assert "/admin/auth/user/" in folded


def test_it_asks_little(root: Client, dragons: Project, django_assert_max_num_queries: Any) -> None:
    """However much there is to tell."""
    for index in range(12):
        run_of(dragons, RunStatus.FAILED, last_error={"code": "server_error", "message": f"{index} {'x' * index}"})
        run_of(dragons, RunStatus.QUEUED, age=100)
        used(dragons, cost=DOLLAR, ago=60 * index)
        ApiKey.issue(dragons, f"key {index}", expires_at=clock.now() + timedelta(days=1))
        Worker.objects.create(id=f"w{index}", host="h", pid=index, slots=1, beat_at=clock.now() - timedelta(days=1))
    with django_assert_max_num_queries(18):
        text(root)


def test_errors_of_others_are_shown_as_text(root: Client, dragons: Project) -> None:
    run_of(dragons, RunStatus.FAILED, last_error={"code": "server_error", "message": HOSTILE})
    page = text(root)
    assert HOSTILE not in page
    assert escape("<script>alert(") in page
