"""What it takes to cancel many active runs at once from the admin (the bar: 1,000 within 5 seconds).

    python -m bench.bulk_cancel [--runs 1000] [--postgres]

Half of the runs wait in the queue, half are held by a worker with a lease. The page is asked for and its button is
pressed until it says that all is done, as a browser would. What counts is when every run is "cancelling" or
"cancelled"; that those nobody holds are ended, too, takes the rest of the time.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import setup_test_environment

from assistants.models import Project, Thread
from bench.apart import measure_apart
from runs.models import Run, RunStatus
from runs.queue import claim_one, register
from runs.transitions import CANCELLED_FROM, create_run

BAR_SECONDS = 5.0
BAR_RUNS = 1000


def fill(count: int) -> None:
    """`count` active runs, each in a thread of its own."""
    project = Project.objects.create(name="Bench")
    register("worker_bench", count).close()
    for number in range(count):
        thread = Thread.objects.create(project=project)
        run = Run(project=project, thread=thread, assistant_id="asst_bench", model="scripted", instructions="Wait.")
        made = create_run(thread, run).run
        if number % 2:
            claimed = claim_one(made, "worker_bench")
            assert claimed is not None
            assert claimed.status == RunStatus.IN_PROGRESS
            Run.objects.filter(pk=made.pk).update(lease_until=made.created_at + timedelta(hours=1))


@dataclass(frozen=True)
class Took:
    """By the clock: the page that asks; the work until all are told to stop; all of it. `cpu` is what it used here."""

    asked: float
    told: float
    seconds: float
    cpu: float
    requests: int


def cancel_all() -> Took:
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    address = "/admin/runs/run/all/cancel/?status=active"
    client.get("/admin/runs/run/")  # what a process loads once
    began = time.perf_counter()
    answer = client.get(address)
    asked, cpu = time.perf_counter(), time.process_time()
    requests, told = 0, 0.0
    while answer.status_code == 200:
        answer = client.post(address, {"state": answer.context["state"]})
        requests += 1
        if not told and not Run.objects.filter(status__in=CANCELLED_FROM).exists():
            told = time.perf_counter()
    return Took(asked - began, told - asked, time.perf_counter() - asked, time.process_time() - cpu, requests)


def measure(count: int) -> bool:
    setup_test_environment()
    call_command("migrate", verbosity=0)
    fill(count)
    took = cancel_all()
    ended = Counter(Run.objects.values_list("status", flat=True))
    good = sum(ended.values()) == count == ended["cancelling"] + ended["cancelled"]
    verdict = "ok" if good and took.told <= BAR_SECONDS * max(1, count / BAR_RUNS) else "MISSED"
    print(
        f"{connection.vendor}: {count:,} active runs, asked in {took.asked:.2f} s, told to stop in {took.told:.2f} s,"
        f" all done after {took.seconds:.2f} s"
        f" ({took.cpu:.2f} s of CPU here) by {took.requests} requests: {dict(ended)} {verdict}"
    )
    return verdict == "ok"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=BAR_RUNS)
    parser.add_argument("--postgres", action="store_true", help="a private PostgreSQL instead of SQLite")
    given = parser.parse_args()
    measure_apart("bench.bulk_cancel", lambda: measure(given.runs), postgres=given.postgres)


if __name__ == "__main__":
    main()
