"""Who has a run, as the database knows it: what no client is told."""

from __future__ import annotations

from tests.chaos.databases import Database

HOLDER = "SELECT w.pid FROM runs_worker w JOIN runs_run r ON r.worker_id = w.id WHERE r.id = '{}'"


def holder_pid(database: Database, path: str) -> int | None:
    """The process of the worker that has the run at `path`; None if nobody has it."""
    rows = database.rows(HOLDER.format(path.rpartition("/")[2]))
    return int(rows[0]["pid"]) if rows else None
