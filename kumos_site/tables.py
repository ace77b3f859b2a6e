"""The tables: whether they are as this release wants them, and making them so, by one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections
from django.db.migrations.executor import MigrationExecutor

from assistants.models import Project
from kumos_site.demo import Demo, find_demo, make_demo

ADVISORY_LOCK = 0x6B756D6F73
"""What processes of one PostgreSQL database agree on: "kumos"."""
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def missing_migrations() -> int:
    """How many migrations are not applied. DatabaseError where the database does not answer."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def set_up() -> Demo | None:
    """Makes the tables and, where there is no project yet, the demo data. Two that start at once take turns."""
    call_command("migrate", verbosity=0)  # ours, which is alone
    with alone():
        return find_demo() if Project.objects.exists() else make_demo()


@contextmanager
def alone(database: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Holds the lock of the database: in PostgreSQL itself, for SQLite beside the file, which is on this host."""
    connection = connections[database]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for limit in LIMITS:  # of what a request may take: tables, and others' tables, take longer
                cursor.execute(f"SET {limit} = 0")
            cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
            try:
                yield
            finally:
                # The connection may go back to a pool, and live on; one that broke has let go of everything.
                with suppress(OperationalError):
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])
                    for limit in LIMITS:
                        cursor.execute(f"RESET {limit}")
        return
    with (settings.DATA_DIR / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
