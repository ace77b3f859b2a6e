"""What needs an operator's attention, each with what to do about it beside it. Every search is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.conf import settings
from django.db.models import Max
from django.http import HttpRequest
from django.urls import reverse

from assistants.admin.lists import COUNT_CAP, capped_count, spoken
from assistants.admin.markup import ago, clipped, error_in_words, list_of, page_of
from assistants.models import ApiKey, File, Project, VectorStore, VectorStoreFile
from assistants.models.vector_store import FileStatus
from runs import budgets
from runs.admin import triage
from runs.admin.narrowing import Narrowing
from runs.models import Run, RunStatus, Worker

from .admin import may_view

SHOWN = 5
"""Lines of one kind; then one more says that there are others."""
FAILURES_READ = 1_000
QUEUED_LONG = timedelta(minutes=1)
WAITED_LONG = timedelta(minutes=3)
KEYS_EXPIRE_IN = timedelta(days=14)
FILES_READ = 10_000
FILES_AGE = timedelta(days=7)
BUDGETS_READ = 100


@dataclass(frozen=True, slots=True)
class Concern:
    """One line: what is the matter, more about it, and the link that does something about it."""

    key: str
    """Stays the same as long as it is the same concern."""
    text: str
    detail: str
    href: str
    action: str
    action_href: str
    is_bad: bool = True


def concerns(request: HttpRequest, now: datetime) -> list[Concern]:
    """What concerns the viewer: only of what he may see. The worst first."""
    found: list[Concern] = []
    for look, model in LOOKS:
        if may_view(request, model):
            lines = list(islice(look(request, now), SHOWN + 1))
            found += lines[:SHOWN]
            if len(lines) > SHOWN:
                found.append(more(lines[SHOWN]))
    return sorted(found, key=lambda concern: not concern.is_bad)


def more(next: Concern) -> Concern:
    """Instead of the line that is one too many."""
    kind = next.key.partition(" ")[0]
    address = {
        "failed": triage.href(),
        "file": list_of(VectorStore),
        "key": list_of(ApiKey),
        "runner": list_of(Worker),
        "budget": list_of(Project),
    }[kind]
    return Concern(f"{kind} more", "… and more of this kind", "", address, "Show all", address, next.is_bad)


def failed_groups(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    """By their error, the most frequent first."""
    found = triage.groups("day", limit=FAILURES_READ)
    may_retry = request.user.has_perm("runs.change_run")
    for failures in [one for one in found.groups if not one.is_trial][: SHOWN + 1]:
        count = f"{failures.count:,}{'' if found.is_all else ' or more'}"
        yield Concern(
            f"failed {failures.group.key}",
            f"{count} run{'' if failures.count == 1 else 's'} failed in 24 hours: {clipped(failures.words, 200)}",
            f"the last {failures.last_ago}",
            failures.href,
            "Retry all" if may_retry else "Show",
            failures.retry_href if may_retry else failures.href,
        )


def failed_trials(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    """One calm line: whoever tries an assistant has its failures before his eyes."""
    narrowing = Narrowing(RunStatus.FAILED, since="day", trial="only", at=now)
    newest = narrowing.exactly().order_by("-created_at", "-id").values_list("created_at", "last_error")
    if rows := list(newest[: COUNT_CAP + 1]):
        text = f"{spoken(len(rows))} run{' of a trial' if len(rows) == 1 else 's of trials'} failed in 24 hours"
        detail = f"the last {ago(rows[0][0])}: {clipped(error_in_words(rows[0][1]), 200)}"
        yield Concern("tried", text, detail, narrowing.href, "Show", narrowing.href, is_bad=False)


def queued_long(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    runs = Run.objects.filter(status=RunStatus.QUEUED, created_at__lt=now - QUEUED_LONG)
    if count := capped_count(runs):
        oldest = runs.order_by("created_at").values_list("created_at", flat=True).first()
        text = f"{spoken(count)} run{'s' if count > 1 else ''} in the queue for more than a minute"
        address = f"{list_of(Run)}?status=queued"
        yield Concern("queue", text, f"the oldest since {ago(oldest)}", address, "Look at runners", list_of(Worker))


def waiting_long(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    """Runs whose client owes the outputs of its tools: they expire if it does not come back."""
    runs = Run.objects.filter(status=RunStatus.REQUIRES_ACTION, created_at__lt=now - WAITED_LONG)
    if count := capped_count(runs):
        oldest = runs.order_by("created_at").values_list("created_at", flat=True).first()
        address = f"{list_of(Run)}?status=requires_action"
        text = f"{spoken(count)} run{'s wait' if count > 1 else ' waits'} for a client's tool outputs"
        yield Concern("waiting", text, f"the oldest was made {ago(oldest)}", address, "Show", address, is_bad=False)


def failed_files(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    """Among the newest entries of stores: their status has no index."""
    newest = VectorStoreFile.objects.aggregate(newest=Max("pk"))["newest"] or 0
    rows = VectorStoreFile.objects.filter(
        pk__gt=newest - FILES_READ, status=FileStatus.FAILED, created_at__gt=now - FILES_AGE
    )
    for entry in rows.select_related("file", "vector_store").order_by("-pk")[: SHOWN + 1]:
        store = entry.vector_store
        yield Concern(
            f"file {entry.pk}",
            f"“{clipped(entry.file.filename, 80)}” could not be indexed: {error_in_words(entry.last_error)}",
            f"in {clipped(str(store), 60)}, {ago(entry.created_at)}",
            page_of(File, entry.file_id),
            "Open the store",
            page_of(VectorStore, store.pk),
        )


def expiring_keys(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    keys = ApiKey.objects.usable(now).filter(expires_at__lt=now + KEYS_EXPIRE_IN).select_related("project")
    for key in keys.order_by("expires_at")[: SHOWN + 1]:
        assert key.expires_at is not None
        left = (key.expires_at - now).days
        when = "today" if left < 1 else "tomorrow" if left < 2 else f"in {left} days"
        text, page = f"The API key “{clipped(key.name, 60)}” expires {when}", page_of(ApiKey, key.pk)
        yield Concern(f"key {key.pk}", text, str(key.project), page, "Open the key", page, is_bad=left < 2)


def silent_runners(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    silent = Worker.objects.filter(beat_at__lt=now - timedelta(seconds=settings.KUMOS_LEASE_SECONDS))
    for worker in silent.order_by("-beat_at")[: SHOWN + 1]:
        text = f"The runner {worker} has stopped beating"
        yield Concern(
            f"runner {worker.pk}",
            text,
            f"last heard of {ago(worker.beat_at)}",
            list_of(Worker),
            "Look at runners",
            list_of(Worker),
        )


def tight_budgets(request: HttpRequest, now: datetime) -> Iterator[Concern]:
    owners: list[Project | ApiKey] = list(Project.objects.exclude(budget=None)[:BUDGETS_READ])
    if may_view(request, "assistants.apikey"):
        usable = ApiKey.objects.usable(now).exclude(budget=None)[:BUDGETS_READ]
        owners += {key.succession: key for key in reversed(usable)}.values()  # of one line the newest
    found = [budget for owner in owners if (budget := budgets.of(owner, now)) and budget.near]
    for budget in sorted(found, key=lambda budget: -budget.percent):
        what = "is used up: new runs are refused" if budget.over else f"is used to {budget.percent} %"
        column = "project" if isinstance(budget.owner, Project) else "made_by"
        yield Concern(
            f"budget {budget.owner.pk}",
            f"The budget of the {budget.called} {what}",
            f"{budget.in_words}, anew on {budget.anew:%Y-%m-%d}",
            f"{reverse('admin:usage')}?period=month&{column}={budget.owner.pk}",
            "Change the budget",
            page_of(type(budget.owner), budget.owner.pk),
            is_bad=budget.over,
        )


LOOKS: list[tuple[Callable[[HttpRequest, datetime], Iterator[Concern]], str]] = [
    (failed_groups, "runs.run"),
    (failed_trials, "runs.run"),
    (queued_long, "runs.run"),
    (tight_budgets, "runs.usagerecord"),
    (silent_runners, "runs.worker"),
    (failed_files, "assistants.vectorstore"),
    (waiting_long, "runs.run"),
    (expiring_keys, "assistants.apikey"),
]
"""What is looked at, and what one must be allowed to view for it."""
