"""Failed runs by error: which failures there are, how many of each, since when, and whom they concern.

Read from the newest failed runs of a period, at most `FAILED_READ` of them: more are said to be more, not counted. What
is the same failure is decided in `error_groups.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from assistants import trials
from assistants.admin.lists import capped_count, spoken
from assistants.admin.markup import ago, error_in_words, page_of
from assistants.models import Assistant, Project
from runs.models import Run, RunStatus

from .actions import PERMISSION
from .error_groups import ErrorGroup, group_of
from .narrowing import PERIODS, ROWS_AT_ONCE, Narrowing

FAILED_READ = 5_000
GROUPS_SHOWN = 100
NAMED = 3
"""Models and assistants that a group names; of others it tells how many."""


@dataclass
class Failures:
    """The runs that failed in the same way, and where that leads. What failed in trials is apart from all others."""

    group: ErrorGroup
    narrowing: Narrowing
    is_trial: bool = False
    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    example: str = ""
    models: Counter[str] = field(default_factory=Counter)
    assistants: Counter[str] = field(default_factory=Counter)

    def add(self, id: str, created_at: datetime, model: str, assistant_id: str) -> None:
        """Called from the newest to the oldest."""
        self.count += 1
        self.first = created_at
        self.last = self.last or created_at
        self.example = self.example or id
        self.models[model] += 1
        self.assistants[assistant_id] += 1

    @property
    def words(self) -> str:
        return error_in_words({"code": self.group.code, "message": self.group.message})

    @property
    def href(self) -> str:
        """The list of these runs."""
        return self.narrowing.href

    @property
    def retry_href(self) -> str:
        """The page that tells how many can be retried, and asks."""
        return self.narrowing.action_href("retry")

    @property
    def example_href(self) -> str:
        return page_of(Run, self.example)

    @property
    def first_ago(self) -> str:
        return ago(self.first)

    @property
    def last_ago(self) -> str:
        return ago(self.last)


@dataclass(frozen=True)
class Triage:
    """The groups, the largest first, those of trials last. `read` runs were looked at; `is_all` says that there were no
    more."""

    groups: Sequence[Failures]
    read: int
    is_all: bool

    @property
    def spoken(self) -> str:
        return f"{self.read:,}" if self.is_all else f"{self.read:,}+"


def groups(since: str = "day", project: str = "", limit: int = FAILED_READ) -> Triage:
    """The failures of a period (one of PERIODS), of one project or of all: one query, through an index."""
    asked = Narrowing(status=RunStatus.FAILED, since=since, project=project)
    failed = asked.exactly().order_by("-created_at", "-id")
    rows = failed.values_list("last_error", "pk", "thread_id", "created_at", "model", "assistant_id")[: limit + 1]
    tried = trials.conversations()
    found: dict[tuple[ErrorGroup, bool], Failures] = {}
    read = 0
    for last_error, id, thread_id, created_at, model, assistant_id in rows.iterator(chunk_size=ROWS_AT_ONCE):
        if read == limit:
            return Triage(ranked(found), read, is_all=False)
        read += 1
        group, is_trial = group_of(last_error), thread_id in tried
        if (group, is_trial) not in found:
            which = ("only" if is_trial else "no") if tried else ""
            narrowing = Narrowing(RunStatus.FAILED, project, since, error=group.key, trial=which)
            found[group, is_trial] = Failures(group, narrowing, is_trial)
        found[group, is_trial].add(id, created_at, model, assistant_id)
    return Triage(ranked(found), read, is_all=True)


def ranked(found: Mapping[Any, Failures]) -> list[Failures]:
    return sorted(found.values(), key=lambda failures: (failures.is_trial, -failures.count))


def href(since: str = "day") -> str:
    return f"{reverse('admin:runs_run_errors')}?since={since}"


def page(admin: Any, request: HttpRequest) -> HttpResponse:
    if not admin.has_view_permission(request):
        raise PermissionDenied
    asked = Narrowing.of(request.GET)
    since = asked.since if asked.since in PERIODS else "day"
    project = Project.objects.filter(pk=asked.project).first() if asked.project and asked.is_sound else None
    found = groups(since, project.pk if project else "")
    shown = found.groups[:GROUPS_SHOWN]
    named_ids = {id for one in shown for id, _ in one.assistants.most_common(NAMED)}
    assistants = Assistant.objects.filter(pk__in=named_ids).values_list("pk", "name", "scratch_of")
    names = {id: (name or id) if scratch_of is None else trials.called(name) for id, name, scratch_of in assistants}
    others = [
        (status.replace("_", " "), narrowing.href, spoken(count))
        for status in (RunStatus.EXPIRED, RunStatus.INCOMPLETE)
        for narrowing in [Narrowing(status, project.pk if project else "", since)]
        if (count := capped_count(narrowing.exactly()))
    ]
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "title": "Failed runs by error",
        "found": found,
        "rows": [(one, named(one.models, {}), named(one.assistants, names)) for one in shown],
        "left_out": len(found.groups) - len(shown),
        "others": others,
        "project": project,
        "since": since,
        "period": PERIODS[since][0],
        "periods": [(key, name) for key, (name, _) in PERIODS.items()],
        "may_retry": request.user.has_perm(PERMISSION),
    }
    return TemplateResponse(request, "admin/runs/run/errors.html", context)


def named(counted: Counter[str], names: dict[str, str]) -> str:
    """ "gpt-5 (12), llama3 (3) and 2 more"."""
    shown = [f"{names.get(key, key)} ({count:,})" for key, count in counted.most_common(NAMED)]
    more = len(counted) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
