"""Holding rows: what is read, changed and written back must not lose what somebody else wrote in between."""

from __future__ import annotations

from django.db.models import F, Model, QuerySet


class Vanished(Exception):
    """A row that was there a moment ago was deleted by somebody else."""


def hold[M: Model](rows: QuerySet[M]) -> None:
    """Keeps `rows`, which have a `created_at`, until the caller's transaction ends; read them after this.

    Whoever else wants to hold one waits, and then sees what was written. An UPDATE does that on every database.
    """
    rows.update(created_at=F("created_at"))


def unlocked[M: Model](rows: QuerySet[M]) -> QuerySet[M]:
    """Those that nobody holds, held until the caller's transaction ends: whoever was stopped in the middle of his must
    not stop the others, too.

    PostgreSQL ends such a transaction after a while (settings); SQLite has one writer, and this says nothing there.
    """
    return rows.select_for_update(skip_locked=True)
