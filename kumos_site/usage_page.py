"""What was used, by whom and at what cost, as a page and as CSV. The sums are made by `runs/usage.py`.

Bounded: a page sums up to ROWS_SUMMED runs, and asks for a shorter time where there are more.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import TextIOWrapper
from itertools import batched
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from assistants import clock, keys
from assistants.admin.lists import capped_count
from assistants.admin.markup import list_of
from runs import usage
from runs.admin.outcome import dollars
from runs.models import ModelPrice, RunStatus, UsageRecord
from runs.usage import Used

from .admin import may_view
from .usage_names import BY, Named, names_of, offer

ROWS_SHOWN = 200
ROWS_SUMMED = 2_000_000
DAYS_MAX = 400
NAMED_AT_ONCE = 500
MEMORY_BYTES = 1024 * 1024

COLUMNS = {"project": "project_id", "made_by": "made_by", "assistant": "assistant_id", "model": "model"}
OVER = [("", "The whole time"), ("day", "Each day"), ("month", "Each month")]
PERIODS = [
    ("today", "Today"),
    ("yesterday", "Yesterday"),
    ("week", "Last 7 days"),
    ("month", "This month"),
    ("last-month", "Last month"),
    ("other", "From … to …"),
]


class UsageForm(forms.Form):
    """The query of the page. Everything may be missing: then it is this month, by project."""

    by = forms.ChoiceField(choices=BY, required=False, label="Sum by")
    over = forms.ChoiceField(choices=OVER, required=False, label="And by")
    period = forms.ChoiceField(choices=PERIODS, required=False, label="Time (UTC)")
    since = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, label="To, with that day", widget=forms.DateInput(attrs={"type": "date"}))
    project = forms.CharField(required=False, max_length=64, label="Project (id)")
    made_by = forms.CharField(required=False, max_length=64, label="Key (id) or person (“user 7”)")
    assistant = forms.CharField(required=False, max_length=64, label="Assistant (id)")
    model = forms.CharField(required=False, max_length=256, label="Model")
    failed = forms.BooleanField(required=False, label="Failed runs only")

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if self.errors:
            return data
        data["by"] = data["by"] or "project"
        data["period"] = data["period"] or "month"
        today = clock.now().astimezone(UTC).date()
        since, until = days_of(data["period"], today, data["since"], data["until"])
        if since > until:
            raise forms.ValidationError("The time ends before it begins.")
        if until > today + timedelta(days=DAYS_MAX):
            raise forms.ValidationError("The time ends in the future.")
        if (until - since).days >= DAYS_MAX:
            raise forms.ValidationError(f"At most {DAYS_MAX} days at once.")
        data["since"], data["until"] = since, until
        return data


def days_of(period: str, today: date, since: date | None, until: date | None) -> tuple[date, date]:
    """The first and the last day."""
    month = today.replace(day=1)
    match period:
        case "today":
            return today, today
        case "yesterday":
            return today - timedelta(days=1), today - timedelta(days=1)
        case "week":
            return today - timedelta(days=6), today
        case "last-month":
            last = month - timedelta(days=1)
            return last.replace(day=1), last
        case "other":
            return since or (until or today).replace(day=1), until or max(today, since or today)
    return month, today


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the page: `narrowed` is the address of the same page about this key alone."""

    at: str
    name: str
    used: Used
    href: str = ""
    narrowed: str = ""

    @property
    def numbers(self) -> list[str]:
        used = self.used
        counts = [used.runs, used.failed, used.prompt, used.cached, used.completion]
        return [*(f"{count:,}" for count in counts), cost_of(used), f"{used.unpriced:,}" if used.unpriced else "–"]


def cost_of(used: Used) -> str:
    """Not "$0.00" where nobody knows."""
    return "unknown" if used.unpriced and used.unpriced == used.runs else dollars(used.spent)


def page(request: HttpRequest) -> HttpResponseBase:
    if not may_view(request, "runs.usagerecord"):
        raise PermissionDenied
    given = request.GET.copy()
    given.setdefault("period", "other" if given.get("since") or given.get("until") else "month")
    form = UsageForm(given, label_suffix="")
    if request.GET.get("format") != "csv":
        offer(request, form)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "Usage", "form": form}
    if form.is_valid():
        asked = form.cleaned_data
        records = records_of(asked)
        if capped_count(records, ROWS_SUMMED) > ROWS_SUMMED:
            form.add_error(None, f"More than {ROWS_SUMMED:,} runs ended in that time: ask for a shorter one.")
        elif request.GET.get("format") == "csv":
            return as_csv(request, records, asked)
        else:
            context.update(shown(request, records, asked))
    return TemplateResponse(request, "admin/usage/page.html", context, status=400 if form.errors else 200)


def records_of(asked: dict[str, Any]) -> QuerySet[UsageRecord]:
    records = usage.ended(midnight(asked["since"]), midnight(asked["until"] + timedelta(days=1)))
    for name, column in COLUMNS.items():
        if value := asked[name]:
            if name == "made_by":
                value = keys.succession_of(value)
            records = records.filter(**{column: value})
    return records.filter(status=RunStatus.FAILED) if asked["failed"] else records


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def shown(request: HttpRequest, records: QuerySet[UsageRecord], asked: dict[str, Any]) -> dict[str, Any]:
    """One query for the total, one for the rows, and one or two for their names."""
    by = asked["by"]
    found = list(usage.grouped(records, COLUMNS[by], asked["over"])[: ROWS_SHOWN + 1])
    names = names_of(request, by, {row["key"] for row in found[:ROWS_SHOWN]})
    query = {name: value for name, value in request.GET.items() if value and name != "format"}
    next_by = next((name for name in COLUMNS if name != by and not asked[name]), by)
    rows = [
        Row(
            at_of(row, asked["over"]),
            named.name or "(nobody known)",
            usage.used(row),
            named.href,
            f"?{urlencode({**query, by: row['key'], 'by': next_by})}" if row["key"] and not asked[by] else "",
        )
        for row in found[:ROWS_SHOWN]
        for named in [names.get(row["key"], Named(row["key"]))]
    ]
    total = Row("", "Together", usage.used(records.aggregate(**usage.SUMS)))
    return {
        "rows": rows,
        "total": total,
        "left_out": len(found) > ROWS_SHOWN,
        "rows_shown": ROWS_SHOWN,
        "by": dict(BY)[by],
        "next_by": dict(BY)[next_by].lower(),
        "over": asked["over"],
        "since": asked["since"],
        "until": asked["until"],
        "csv": f"?{urlencode({**query, 'format': 'csv'})}",
        "prices": list_of(ModelPrice) if may_view(request, "runs.modelprice") else "",
    }


def at_of(row: dict[str, Any], over: str) -> str:
    return f"{usage.moment(row['at']):{'%Y-%m' if over == 'month' else '%Y-%m-%d'}}" if over else ""


# As a file ------------------------------------------------------------------------------------------------------------

HEADER = ["id", "name", "runs", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd"]
UNPRICED = "runs_without_known_price"


def as_csv(request: HttpRequest, records: QuerySet[UsageRecord], asked: dict[str, Any]) -> FileResponse:
    """All rows, written to a file and sent from it piece by piece, so that their number costs no memory."""
    file = SpooledTemporaryFile[bytes](MEMORY_BYTES)
    text = TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow([*([asked["over"]] if asked["over"] else []), *HEADER, UNPRICED])
    writer.writerows(csv_rows(request, records, asked))
    text.detach()
    file.seek(0)
    name = f"kumos-usage-{asked['since']}-{asked['until']}-by-{asked['by']}.csv"
    return FileResponse(file, as_attachment=True, filename=name, content_type="text/csv; charset=utf-8")


def csv_rows(request: HttpRequest, records: QuerySet[UsageRecord], asked: dict[str, Any]) -> Iterator[list[object]]:
    rows = usage.grouped(records, COLUMNS[asked["by"]], asked["over"]).iterator(chunk_size=NAMED_AT_ONCE)
    for some in batched(rows, NAMED_AT_ONCE):
        names = names_of(request, asked["by"], {row["key"] for row in some})
        for row in some:
            used = usage.used(row)
            yield [
                *([at_of(row, asked["over"])] if asked["over"] else []),
                plain(row["key"]),
                plain(names.get(row["key"], Named(row["key"])).name),
                used.runs,
                used.failed,
                used.prompt,
                used.cached,
                used.completion,
                "" if used.unpriced == used.runs else f"{Decimal(used.spent) / 1_000_000:.6f}",
                used.unpriced,
            ]


def plain(text: str) -> str:
    """What a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
