"""What it takes to cancel many active runs at once from the admin (the bar: 1,000 within 5 seconds).

    python -m bench.bulk_cancel [--runs 1000] [--postgres]

Half of the runs wait in the queue, half are held by a worker with a lease. The page is asked for and its button is
pressed until it says that all is done, as a browser would; then every run has to be "cancelling" or "cancelled".
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta

BAR_SECONDS = 5.0
BAR_RUNS = 1000


def fill(count: int) -> None:
    """`count` active runs, each in a thread of its own."""
    from assistants.models import Project, Thread
    from runs.models import Run, RunStatus
    from runs.queue import claim_one, register
    from runs.transitions import create_run

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


def cancel_all() -> tuple[float, float, int]:
    """Seconds of the page that asks, seconds of the work, requests it took."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    address = "/admin/runs/run/all/cancel/?status=active"
    client.get("/admin/runs/run/")  # what a process loads once
    began = time.perf_counter()
    answer = client.get(address)
    asked = time.perf_counter()
    requests = 0
    while answer.status_code == 200:
        answer = client.post(address, {"state": answer.context["state"]})
        requests += 1
    return asked - began, time.perf_counter() - asked, requests


def measure(count: int) -> bool:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.test.utils import setup_test_environment

    from runs.models import Run

    setup_test_environment()
    call_command("migrate", verbosity=0)
    fill(count)
    asked, took, requests = cancel_all()
    ended = Counter(Run.objects.values_list("status", flat=True))
    good = sum(ended.values()) == count == ended["cancelling"] + ended["cancelled"]
    within = took <= BAR_SECONDS * max(1, count / BAR_RUNS)
    print(
        f"{connection.vendor}: {count:,} active runs, asked in {asked:.2f} s, cancelled in {took:.2f} s by {requests}"
        f" requests: {dict(ended)} {'ok' if good and within else 'MISSED'}"
    )
    connection.close()
    return good and within


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=BAR_RUNS)
    parser.add_argument("--postgres", action="store_true", help="a private PostgreSQL instead of SQLite")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ |= {"KUMOS_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "kumos_site.settings", "DATABASE_URL": ""}
        if given.postgres:
            from tests.backends import Postgres

            server = stack.enter_context(Postgres())
            os.environ["DATABASE_URL"] = server.url
        sys.exit(0 if measure(given.runs) else 1)


if __name__ == "__main__":
    main()
