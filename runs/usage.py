"""Sums over what ended runs have used (`ledger.py`): by when, whose and what. How they are shown is others' business.

Every sum begins with a time, which has an index, alone and behind the project and behind whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import Count, Expression, F, Q, QuerySet, Sum
from django.db.models.functions import Substr, TruncDay, TruncHour, TruncMinute, TruncMonth

from runs.models import RunStatus, UsageRecord

UNITS = {"minute": (TruncMinute, 16), "hour": (TruncHour, 13), "day": (TruncDay, 10), "month": (TruncMonth, 7)}
"""How a database cuts a time, and how much of SQLite's text of it is left: its own function is Python, row by row."""

SUMS = {
    "runs": Count("pk"),
    "failed": Count("pk", filter=Q(status=RunStatus.FAILED)),
    "prompt": Sum("prompt_tokens", default=0),
    "cached": Sum("cached_tokens", default=0),
    "completion": Sum("completion_tokens", default=0),
    "spent": Sum("cost", default=0),
    "unpriced": Count("pk", filter=Q(cost=None)),
}


@dataclass(frozen=True, slots=True)
class Used:
    """What some runs have used together. `spent` in millionths of a dollar, without the `unpriced` runs."""

    runs: int = 0
    failed: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    spent: int = 0
    unpriced: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.runs + other.runs,
            self.failed + other.failed,
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.spent + other.spent,
            self.unpriced + other.unpriced,
        )

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion


def used(row: Mapping[str, Any]) -> Used:
    return Used(**{name: row[name] for name in SUMS})


def ended(since: datetime, until: datetime | None = None) -> QuerySet[UsageRecord]:
    records = UsageRecord.objects.filter(ended_at__gte=since).order_by()
    return records if until is None else records.filter(ended_at__lt=until)


def cut(unit: str) -> Expression | Substr:
    """The minute, hour, day or month (UTC) in which a run ended; `moment` reads it."""
    trunc, length = UNITS[unit]
    return Substr("ended_at", 1, length) if connection.vendor == "sqlite" else trunc("ended_at", tzinfo=UTC)


def moment(cut: str | datetime) -> datetime:
    if isinstance(cut, datetime):
        return cut.astimezone(UTC)
    return datetime.fromisoformat(cut if len(cut) > 7 else f"{cut}-01").replace(tzinfo=UTC)


def in_time(records: QuerySet[UsageRecord], unit: str) -> dict[datetime, Used]:
    """By the minute, the hour …; those in which nothing ended are missing."""
    rows = records.values(at=cut(unit)).annotate(**SUMS)
    return {moment(row["at"]): used(row) for row in rows}


def grouped(records: QuerySet[UsageRecord], column: str, unit: str = "") -> QuerySet[UsageRecord, Any]:
    """Rows of `key`, `at` (with `unit`) and the sums: the newest time first, then the dearest, then the largest."""
    keys = {"key": F(column), **({"at": cut(unit)} if unit else {})}
    order = [*(["-at"] if unit else []), "-spent", "-prompt", "key"]
    return records.values(**keys).annotate(**SUMS).order_by(*order)
