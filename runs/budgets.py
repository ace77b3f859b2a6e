"""Budgets of projects and keys: US dollars a calendar month (UTC). They warn near the end; at the end no run begins.

What counts is what ended runs have cost (`ledger.py`): runs under way are not counted yet, and are finished. What has
no known price costs nothing here. A sum is one indexed query, kept for KEPT_SECONDS by each process, so a budget may be
overrun by what ends meanwhile. A key that was made in the place of another goes on with what that one has spent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.db.models import Sum

from assistants import clock
from assistants.errors import ApiError
from assistants.models import ApiKey, Project
from runs.models import UsageRecord

logger = logging.getLogger(__name__)

KEPT_SECONDS = 5.0
SPENT = "insufficient_quota"
KEY_WARNS_AT = 80
"""Percent, where a key is near its budget. Projects say themselves when they are."""

_sums: dict[tuple[str, str], tuple[float, datetime, int]] = {}
_told: set[tuple[str, datetime, str]] = set()


class UsedUp(ApiError):
    """A budget has nothing left: no run begins before it is raised, or its next month."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an owner may spend this month, and what is spent of it (in millionths of a dollar)."""

    owner: Project | ApiKey
    limit: Decimal
    warns_at: int
    spent: int
    month: datetime

    @property
    def called(self) -> str:
        kind = "project" if isinstance(self.owner, Project) else "API key"
        return f"{kind} “{self.owner.name}”"

    @property
    def percent(self) -> int:
        """Rounded down: 100 only where nothing is left."""
        return int(self.spent / (self.limit * 10_000)) if self.limit else 100

    @property
    def over(self) -> bool:
        return self.spent >= self.limit * 1_000_000

    @property
    def near(self) -> bool:
        return self.over or self.percent >= self.warns_at

    @property
    def in_words(self) -> str:
        return f"${Decimal(self.spent) / 1_000_000:,.2f} of ${self.limit:,.2f}"

    @property
    def anew(self) -> datetime:
        """When it begins anew."""
        return next_month(self.month)


def month_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def spent(owner: Project | ApiKey, month: datetime) -> int:
    """Since the beginning of `month`; maybe KEPT_SECONDS old."""
    column, id = ("project_id", owner.pk) if isinstance(owner, Project) else ("made_by", owner.succession)
    kept_until, of_month, total = _sums.get((column, id), (0.0, month, 0))
    if kept_until > time.monotonic() and of_month == month:
        return total
    records = UsageRecord.objects.filter(**{column: id}, ended_at__gte=month).order_by()
    total = records.aggregate(total=Sum("cost"))["total"] or 0
    _sums[column, id] = time.monotonic() + KEPT_SECONDS, month, total
    return total


def forget() -> None:
    """Sums are asked for anew, and what was said is said again."""
    _sums.clear()
    _told.clear()


def of(owner: Project | ApiKey, moment: datetime) -> Budget | None:
    """The owner's budget as it stands; None where there is none."""
    if owner.budget is None:
        return None
    warns_at = owner.budget_warns_at if isinstance(owner, Project) else KEY_WARNS_AT
    month = month_of(moment)
    return Budget(owner, owner.budget, warns_at, spent(owner, month), month)


def check(project: Project, key: ApiKey | None = None) -> None:
    """UsedUp, 429, where the budget of the project, or that of the key, is used up. Asked before a run is made."""
    for budget in budgets_of(project, key):
        if budget.near:
            tell(budget)
        if budget.over:
            raise UsedUp(
                f"The budget of the {budget.called} for this month is used up: {budget.in_words}. It begins anew on"
                f" {budget.anew:%Y-%m-%d} at 00:00 UTC. Whoever runs this server can raise it before that.",
                status=429,
                type=SPENT,
                code=SPENT,
                headers={"x-should-retry": "false"},  # the SDKs repeat a 429 otherwise
            )


def budgets_of(project: Project, key: ApiKey | None) -> Iterator[Budget]:
    moment = clock.now()
    for owner in (project, key):
        if owner is not None and (budget := of(owner, moment)):
            yield budget


def tell(budget: Budget) -> None:
    """One line in the log a month, process and state."""
    state = "used up, and new runs are refused" if budget.over else f"used to {budget.percent} %"
    told = (budget.owner.pk, budget.month, "over" if budget.over else "near")
    if told not in _told:
        _told.add(told)
        logger.warning("the budget of the %s is %s: %s", budget.called, state, budget.in_words)
