"""The four numbers of the overview and the charts below them. Each is one query, bounded or by an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from assistants.admin.lists import COUNT_CAP, spoken
from runs import usage
from runs.admin.outcome import dollars
from runs.models import ACTIVE, Run, RunStatus
from runs.usage import Used

from .dashboard_charts import Bar, bars

MINUTES = 60
HOURS = 24
FIRST_TOKENS_READ = 2_000
"""The newest runs of the last hour, whose time to the first token is looked at."""
SPANS = 12
"""Parts of the hour, of five minutes each, that have a bar for it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, what it is made of, and a chart; it leads to what is behind it."""

    key: str
    label: str
    number: str
    detail: str
    href: str
    chart: SafeString
    begins: str
    ends: str = "now"
    is_bad: bool = False


def figures(request: HttpRequest, now: datetime) -> list[Figure]:
    """Those that the viewer may see."""
    from .admin import may_view

    shown = []
    if may_view(request, "runs.run"):
        minutes = by_minute(now)
        shown += [active(minutes), first_tokens(now), errors(minutes)]
    if may_view(request, "runs.usagerecord"):
        shown.append(costs(now))
    return shown


# Runs -----------------------------------------------------------------------------------------------------------------


def by_minute(now: datetime) -> list[tuple[datetime, Used]]:
    """The last hour, minute by minute."""
    last = now.replace(second=0, microsecond=0)
    moments = [last - timedelta(minutes=back) for back in reversed(range(MINUTES))]
    found = usage.in_time(usage.ended(moments[0]), "minute")
    return [(moment, found.get(moment, Used())) for moment in moments]


def active(minutes: Sequence[tuple[datetime, Used]]) -> Figure:
    statuses = Counter(
        Run.objects.filter(status__in=ACTIVE).order_by().values_list("status", flat=True)[: COUNT_CAP + 1]
    )
    words = {RunStatus.IN_PROGRESS: "running", RunStatus.QUEUED: "queued", RunStatus.REQUIRES_ACTION: "waiting"}
    parts = [f"{statuses[status]:,} {word}" for status, word in words.items() if statuses[status]]
    total = sum(used.runs for _, used in minutes)
    most = max(used.runs for _, used in minutes)
    chart = bars(
        f"Runs that ended, by the minute of the last hour: {total:,}, at most {most:,} in a minute.",
        [
            Bar(f"{at:%H:%M} {used.runs:,} ended, {used.failed:,} failed", used.runs, used.failed)
            for at, used in minutes
        ],
    )
    return Figure(
        "active",
        "Active runs",
        spoken(statuses.total()),
        " · ".join(parts) or f"{total:,} ended in the last hour",
        f"{runs_list()}?status=active",
        chart,
        "runs ended, 60 min",
    )


def first_tokens(now: datetime) -> Figure:
    """p50 and p95 from a run's making to its first word or call, of the newest runs of the last hour."""
    hour_ago = now - timedelta(hours=1)
    newest = Run.objects.filter(created_at__gt=hour_ago).order_by("-created_at", "-id")
    spans: list[list[float]] = [[] for _ in range(SPANS)]
    for created, spoke in newest.values_list("created_at", "first_token_at")[:FIRST_TOKENS_READ]:
        if spoke is not None:
            part = int((created - hour_ago) / timedelta(hours=1) * SPANS)
            spans[max(0, min(part, SPANS - 1))].append(max((spoke - created).total_seconds(), 0))
    waits = sorted(wait for span in spans for wait in span)
    slowest = [p95(span) for span in spans]
    chart = bars(
        f"Time to the first token, p95 of each five minutes of the last hour: at most {seconds(max(slowest))}.",
        [
            Bar(f"{hour_ago + timedelta(minutes=5 * index):%H:%M} p95 {seconds(wait)}", wait)
            for index, wait in enumerate(slowest)
        ],
    )
    return Figure(
        "first-token",
        "First token, p95",
        seconds(p95(waits)) if waits else "–",
        f"p50 {seconds(percentile(waits, 50))} · {len(waits):,} runs" if waits else "nothing spoke in the last hour",
        f"{runs_list()}?since=hour",
        chart,
        "p95, 60 min",
    )


def percentile(waits: Sequence[float], percent: int) -> float:
    """The nearest rank of ascending `waits`; 0 of none."""
    return waits[max(0, -(-len(waits) * percent // 100) - 1)] if waits else 0.0


def p95(waits: Sequence[float]) -> float:
    return percentile(sorted(waits), 95)


def seconds(span: float) -> str:
    return f"{span * 1000:.0f} ms" if span < 1 else f"{span:.1f} s"


def errors(minutes: Sequence[tuple[datetime, Used]]) -> Figure:
    failed, ended = sum(used.failed for _, used in minutes), sum(used.runs for _, used in minutes)
    chart = bars(
        f"Failed runs, by the minute of the last hour: {failed:,}.",
        [Bar(f"{at:%H:%M} {used.failed:,} failed", used.failed) for at, used in minutes],
        bad_only=True,
    )
    return Figure(
        "errors",
        "Errors, last hour",
        f"{failed:,}",
        f"{failed / ended:.1%} of {ended:,} runs" if ended else "no run ended",
        f"{runs_list()}?status=failed&since=hour",
        chart,
        "failed, 60 min",
        is_bad=failed > 0,
    )


def runs_list() -> str:
    return reverse("admin:runs_run_changelist")


# Tokens and cost ------------------------------------------------------------------------------------------------------


def costs(now: datetime) -> Figure:
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    moments = [this_hour - timedelta(hours=back) for back in reversed(range(HOURS))]
    found = usage.in_time(usage.ended(moments[0]), "hour")
    midnight = this_hour.replace(hour=0)
    today = sum((used for at, used in found.items() if at >= midnight), Used())
    by_cost = any(used.spent for used in found.values())
    data = []
    for at in moments:
        used = found.get(at, Used())
        label = f"{at:%H}:00 {used.tokens:,} tokens, {dollars(used.spent)}"
        data.append(Bar(label, used.spent if by_cost else used.tokens))
    what = "Cost" if by_cost else "Tokens"
    runs = "run" if today.unpriced == 1 else "runs"
    unpriced = f" · {today.unpriced:,} {runs} without a known price" if today.unpriced else ""
    return Figure(
        "cost",
        "Cost today",
        dollars(today.spent),
        f"{tokens(today.tokens)} tokens{unpriced}",
        f"{reverse('admin:usage')}?period=today",
        bars(f"{what} by the hour, last 24 hours. Today (UTC): {today.tokens:,} tokens, {dollars(today.spent)}.", data),
        f"{what.lower()}, 24 h",
    )


def tokens(count: int) -> str:
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (size if size != 10_000 else 1000):.1f} {letter}"
    return f"{count:,}"
