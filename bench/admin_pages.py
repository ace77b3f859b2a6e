"""How long the admin's pages take with 100,000 runs, all of today, and 1,000,000 events (goal G21).

    python -m bench.admin_pages [--postgres] [--runs 100000] [--events 1000000] [--rounds 7]

Fills a database of its own, then asks for each page several times and prints the median beside its goal, which SQLite
may miss by half. The largest run has 10,000 events. Time in the server alone: no network, no browser.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import batched
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import setup_test_environment
from django.urls import reverse

from assistants import clock
from assistants.admin.markup import page_of
from assistants.models import ApiKey, Assistant, Project, Thread
from bench.apart import measure_apart
from runs.admin import error_groups
from runs.models import ModelPrice, Run, UsageRecord
from streaming.models import Event

BATCH = 2_000
LARGEST = 10_000
PROJECTS, ASSISTANTS, KEYS = 5, 50, 20
MODELS = ["gpt-4o", "gpt-4o-mini", "o3", "claude-sonnet-4-5", "scripted", "ollama/llama3.2"]
FAULTS = [
    ("rate_limit_exceeded", "The model server refused more requests (429). Request req_{0} of org-{0}."),
    ("server_error", "The model server answered 500: upstream {0} is gone."),
    ("server_error", "The model server could not be reached: 10.0.{1}.{1}:8000 refused."),
    ("invalid_prompt", "The context of {0} tokens is too long."),
]


def fill(runs: int, events: int) -> str:
    """The id of the largest run."""
    dice = random.Random(7)
    User.objects.create_superuser("bench")
    projects = [
        Project.objects.create(name=f"Project {number}", budget=Decimal(1_000_000)) for number in range(PROJECTS)
    ]
    assistants = [
        Assistant.objects.create(project=projects[number % PROJECTS], model=MODELS[0], name=f"Assistant {number}")
        for number in range(ASSISTANTS)
    ]
    keys = [ApiKey.issue(projects[number % PROJECTS], f"key {number}")[0] for number in range(KEYS)]
    ModelPrice.objects.create(model="gpt-4o", prompt=2, completion=8)
    now = clock.now()
    span = max(now - now.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(hours=1))
    spread = (events - LARGEST) / max(runs - 1, 1)

    def made(number: int) -> tuple[Thread, Run]:
        project = projects[number % PROJECTS]
        created = now - span * ((runs - number) / runs)
        left = runs - number
        status = "completed" if dice.random() > 0.03 else dice.choice(["failed", "failed", "expired", "incomplete"])
        if left <= 40:
            status = "in_progress" if left <= 20 else "queued"
        thread = Thread(project=project, created_at=created)
        fault = dice.choice(FAULTS)
        run = Run(
            project=project,
            thread=thread,
            assistant_id=assistants[number % ASSISTANTS].pk,
            model=dice.choice(MODELS),
            status=status,
            created_at=created,
            instructions="You answer questions of our customers in three sentences. " * 10,
            assistant_version=1 + number % 3,
            made_by=keys[number % KEYS].pk,
            request_id=f"req_{number:032x}",
            started_at=created + timedelta(milliseconds=20),
            first_token_at=created + timedelta(milliseconds=dice.lognormvariate(6, 0.6)),
            expires_at=created + timedelta(minutes=10),
            usage={"prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100},
            completed_at=created + timedelta(seconds=4) if status == "completed" else None,
            failed_at=created + timedelta(seconds=4) if status == "failed" else None,
            last_error={"code": fault[0], "message": fault[1].format(number, number % 256)}
            if status == "failed"
            else None,
        )
        return thread, run

    largest = ""
    for numbers in batched(range(runs), BATCH):
        pairs = [made(number) for number in numbers]
        Thread.objects.bulk_create([thread for thread, _ in pairs])
        Run.objects.bulk_create([run for _, run in pairs])
        over = [run for _, run in pairs if run.status not in ("queued", "in_progress")]
        UsageRecord.objects.bulk_create(record_of(run, dice) for run in over)
        largest = largest or over[0].pk
        for some in batched(events_of(pairs, spread, largest), 5 * BATCH):
            Event.objects.bulk_create(some)
        print(f"\r{numbers[-1] + 1:,} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return largest


def record_of(run: Run, dice: random.Random) -> UsageRecord:
    return UsageRecord(
        run_id=run.pk,
        project_id=run.project_id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        made_by=run.made_by,
        model=run.model,
        status=run.status,
        ended_at=run.created_at + timedelta(seconds=4),
        prompt_tokens=900,
        completion_tokens=200,
        cost=None if run.model == "o3" else dice.randrange(5000),
    )


def events_of(pairs: Iterable[tuple[Thread, Run]], spread: float, largest: str) -> Iterator[Event]:
    """The largest run's events, and of each other its part."""
    data = '{"id":"msg_1","object":"thread.message.delta","delta":{"content":[{"index":0,"type":"text"}]}}'
    owed = 0.0
    for thread, run in pairs:
        owed += LARGEST if run.pk == largest else spread
        count, owed = int(owed), owed - int(owed)
        for seq in range(1, count + 1):
            name = "thread.run.created" if seq == 1 else "thread.message.delta"
            at = run.created_at + timedelta(milliseconds=10 * seq)
            yield Event(thread=thread, seq=seq, run_id=run.pk, name=name, data=data, created_at=at)


def pages(largest: str) -> list[tuple[str, str, float | None]]:
    """Name, address and goal in milliseconds."""
    project, key, assistant = (model.objects.order_by("pk")[0].pk for model in (Project, ApiKey, Assistant))
    request = Run.objects.order_by("created_at").values_list("request_id", flat=True)[1000]
    failed = Run.objects.filter(status="failed").values_list("last_error", flat=True)[0]
    listed = [
        ("run list", "", 300.0),
        ("… failed", "?status=failed", 300),
        ("… failed in the last hour", "?status=failed&since=hour", 300),
        ("… of a project", f"?project={project}", 300),
        ("… of a model", "?model=o3", 300),
        ("… of a key", f"?made_by={key}", 300),
        ("… of an assistant", f"?assistant={assistant}", 300),
        ("… of a request id", f"?q={request}", 300),
        ("… of an error", f"?error={error_groups.group_of(failed).key}", 300),
        ("… of an error that none has", "?error=0", 300),
        ("… without trials", "?trial=no", 300),
        ("… the last of its pages", "?p=20", 300),
    ]
    found = [(name, f"/admin/runs/run/{query}", goal) for name, query, goal in listed]
    found += [
        ("run page, 10,000 events", page_of(Run, largest), 200.0),
        ("dashboard", "/admin/", 500.0),
        ("dashboard, its live part", "/admin/dashboard/", 500.0),
    ]
    usage = [("usage by project", ""), ("… by key, each day", "?by=made_by&over=day"), ("… today", "?period=today")]
    rest: list[tuple[str, str, float | None]] = [(name, f"/admin/usage/{query}", None) for name, query in usage]
    rest.append(("failed runs by error", reverse("admin:runs_run_errors"), None))
    return [*found, *rest]


def count(asked: Counter[str], execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
    asked[sql] += 1
    return execute(sql, *rest)


def measure(runs: int, events: int, rounds: int) -> bool:
    setup_test_environment()
    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    largest = fill(runs, events)
    vendor = connection.vendor
    print(f"{vendor}: filled in {time.perf_counter() - began:.0f} s, {datetime.now(UTC):%H:%M} UTC")
    client = Client()
    client.force_login(User.objects.get())
    good = True
    for name, address, goal in pages(largest):
        asked = Counter[str]()
        with connection.execute_wrapper(partial(count, asked)):
            answer = client.get(address, follow=True)
        assert answer.status_code == 200, (address, answer.status_code)
        took = []
        for _ in range(rounds):
            began = time.perf_counter()
            client.get(address, follow=True)
            took.append((time.perf_counter() - began) * 1000)
        median = statistics.median(took)
        bar = goal and goal * (1 if vendor == "postgresql" else 2)
        verdict = "" if bar is None else f"goal {bar:.0f} ms, {'ok' if median <= bar else 'MISSED'}"
        good = good and (bar is None or median <= bar)
        size = len(answer.content) / 1024
        print(
            f"{name:<28} {median:7.0f} ms (best {min(took):5.0f})  {asked.total():3} queries {size:6.0f} kB  {verdict}"
        )
    connection.close()
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="a private PostgreSQL instead of SQLite")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    measure_apart("bench.admin_pages", lambda: measure(given.runs, given.events, given.rounds), postgres=given.postgres)


if __name__ == "__main__":
    main()
