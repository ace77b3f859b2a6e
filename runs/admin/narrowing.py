"""Which runs an operator asks for: the filters of the list, read from an address and written into one.

The same narrowing serves the list, which must be quick, and what is done to everything that matches, which must be
exact. The list looks through an index for what has one: status, project, assistant, time, ids. The model, the version,
who asked and the error have none; for these it looks at the newest `WINDOW` of the runs that the others leave.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from assistants import clock, trials
from assistants.admin.lists import may_see
from assistants.models import ApiKey, Assistant, Project
from runs.models import ACTIVE, Run, RunStatus

from .error_groups import group_of

WINDOW = 20_000
ERRORS_READ = 5_000
"""Of the list's failed runs: their errors are read one by one to find those of a group."""
LISTED = 1001
ROWS_AT_ONCE = 500

PERIODS = {
    "hour": ("the last hour", timedelta(hours=1)),
    "day": ("the last 24 hours", timedelta(days=1)),
    "week": ("the last 7 days", timedelta(days=7)),
}
STATUSES: Mapping[str, tuple[str, ...]] = {"active": ACTIVE, **{str(status): (status,) for status in RunStatus}}
TRIALS = {"no": "Without trials", "only": "Trials only"}
"""Runs of assistants that somebody tries in their form (assistants/trials.py)."""

USER = re.compile(r"user [0-9]{1,9}")
VERSION = re.compile(r"[0-9]{1,10}")

PARAMETERS = ("status", "project", "since", "assistant", "version", "model", "made_by", "error", "trial", "q")


@dataclass(frozen=True)
class Narrowing:
    """What is asked for; "" where nothing is."""

    status: str = ""
    project: str = ""
    since: str = ""
    assistant: str = ""
    version: str = ""
    model: str = ""
    made_by: str = ""
    error: str = ""
    trial: str = ""
    q: str = ""
    at: datetime | None = None
    """The moment it was asked, which "the last hour" is counted from. None: now."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Narrowing:
        given: dict[str, Any] = {name: query.get(name, "").strip() for name in PARAMETERS}
        given["status"] = given["status"] or query.get("status__exact", "").strip()
        given["q"] = given["q"].split()[-1] if given["q"] else ""  # pasted with "x-request-id:" before it
        return cls(**given)

    @property
    def given(self) -> dict[str, str]:
        return {name: value for name in PARAMETERS if (value := getattr(self, name))}

    def __bool__(self) -> bool:
        return bool(self.given)

    @cached_property
    def is_sound(self) -> bool:
        """Whether anything can match: an unknown status is not the same as none, least of all for what acts on many."""
        return (
            self.status in ("", *STATUSES)
            and self.since in ("", *PERIODS)
            and self.trial in ("", *TRIALS)
            and (not self.version or (VERSION.fullmatch(self.version) is not None and int(self.version) < 2**31))
        )

    @cached_property
    def asked_at(self) -> datetime:
        return self.at or clock.now()

    @property
    def href(self) -> str:
        """The address of the list that is narrowed so."""
        return self._behind(reverse("admin:runs_run_changelist"))

    def action_href(self, action: str) -> str:
        """The address of the page that asks whether to do `action` to all of them."""
        return self._behind(reverse("admin:runs_run_all", args=[action]))

    def _behind(self, address: str) -> str:
        return f"{address}?{urlencode(self.given)}" if self else address

    # What matches -------------------------------------------------------------------------------------------------

    def found(self) -> Q:
        """By an id: of a run, of a thread, of the request that made a run. Each has an index; one of the three hits."""
        if not self.q:
            return Q()
        # "not empty" is said twice, or SQLite would not see that the partial index has all of them
        asked = Run.objects.filter(request_id=self.q).extra(where=["NOT (request_id = '')"])
        return Q(pk__in=[self.q, *asked.order_by().values_list("pk", flat=True)[:10]]) | Q(thread_id=self.q)

    def indexed(self) -> Q:
        condition = self.found()
        if self.since:
            condition &= Q(created_at__gt=self.asked_at - PERIODS[self.since][1])
        if self.assistant:
            return condition & Q(assistant_id=self.assistant)
        return condition & self._status_and_project()

    def _status_and_project(self) -> Q:
        condition = Q(project_id=self.project) if self.project else Q()
        return condition & Q(status__in=STATUSES[self.status]) if self.status else condition

    def others(self) -> Q:
        """What no index answers behind `indexed`, without the error."""
        condition = self._status_and_project() if self.assistant else Q()
        if self.version:
            condition &= Q(assistant_version=int(self.version))
        if self.model:
            condition &= Q(model=self.model)
        if self.made_by:
            condition &= Q(made_by=self.made_by)
        if self.error:
            condition &= Q(status=RunStatus.FAILED)
        if self.trial:
            tried = Q(thread_id__in=trials.conversations())
            condition &= tried if self.trial == "only" else ~tried
        return condition

    def exactly(self) -> QuerySet[Run]:
        """All of them, but for the error, which `of_error` tells."""
        return Run.objects.filter(self.indexed(), self.others()) if self.is_sound else Run.objects.none()

    def of_error(self, last_error: object) -> bool:
        return not self.error or group_of(last_error).key == self.error

    def ids(self, runs: QuerySet[Run]) -> Iterator[str]:
        """The ids of those of `runs` that are of the error, if one is asked for."""
        rows = runs.values_list("pk", "last_error").iterator(chunk_size=ROWS_AT_ONCE)
        return (pk for pk, last_error in rows if self.of_error(last_error))

    def count(self, runs: QuerySet[Run]) -> int:
        """How many of `runs` match, exactly, however long that takes."""
        return sum(1 for _ in self.ids(runs.order_by())) if self.error else runs.order_by().count()

    def quickly(self, runs: QuerySet[Run]) -> tuple[QuerySet[Run], datetime | None]:
        """Of `runs`, newest first, those for the list; and since when it looked, if older ones were left out."""
        if not self.is_sound:
            return runs.none(), None
        runs = runs.filter(self.indexed())
        others = self.others()
        if not others or self.q:
            return runs.filter(others), None
        newest = runs.order_by("-created_at", "-id").values_list("created_at", flat=True)
        edge: datetime | None = newest[WINDOW : WINDOW + 1].first()
        if edge is not None:
            runs = runs.filter(created_at__gt=edge)
        runs = runs.filter(others)
        if not self.error:
            return runs, edge
        read = list(runs.order_by("-created_at", "-id").values_list("pk", "last_error", "created_at")[:ERRORS_READ])
        found = [(pk, last_error) for pk, last_error, _ in read if self.of_error(last_error)]
        ids = [pk for pk, _ in found]
        self.__dict__["error_in_words"] = told(found[0][1]) if found else self.error  # not looked for once more
        if len(read) == ERRORS_READ:
            edge = read[-1][2]
        return runs.filter(pk__in=ids[:LISTED]), edge

    # In words -----------------------------------------------------------------------------------------------------

    def words(self, maker: Callable[[str], str] = str) -> list[str]:
        """The filters for people: "status: active", "project: Dragons". `maker` names who made the runs to whom it may;
        the audit log, which others read, has his id."""
        told = {
            "status": self.status.replace("_", " "),
            "project": name_of(Project, self.project),
            "created in": PERIODS[self.since][0] if self.since in PERIODS else self.since,
            "assistant": name_of(Assistant, self.assistant),
            "version": self.version,
            "model": self.model,
            "made by": maker(self.made_by),
            "error": self.error and self.error_in_words,
            "trials": TRIALS.get(self.trial, self.trial).lower(),
            "id": self.q,
        }
        return [f"{name}: {value}" for name, value in told.items() if value]

    @cached_property
    def error_in_words(self) -> str:
        """The message of the group, as one of its newest runs has it."""
        failed = Run.objects.filter(status=RunStatus.FAILED).order_by("-created_at", "-id")
        for last_error in failed.values_list("last_error", flat=True)[:ERRORS_READ].iterator(chunk_size=ROWS_AT_ONCE):
            if self.of_error(last_error):
                return told(last_error)
        return self.error


def told(last_error: object) -> str:
    group = group_of(last_error)
    return f"{group.code}: {group.message}"


def name_of(model: type[Project] | type[Assistant], id: str) -> str:
    """What people call a thing, its id where it has no name or is gone."""
    return (id and model.objects.filter(pk=id).values_list("name", flat=True).first()) or id


def maker_of(request: HttpRequest, made_by: str) -> str:
    return makers(request, [made_by]).get(made_by, made_by)


def makers(request: HttpRequest, several: list[str]) -> dict[str, str]:
    """Who they are that `Run.made_by` names, for people: a key by its name, a person by theirs. Two queries.

    Nobody for whom may not see the pages of keys, or of people: for him they have ids.
    """
    people = {one: int(one[5:]) for one in several if USER.fullmatch(one)}
    keys = {one for one in several if one and one not in people} if may_see(request, ApiKey) else set()
    known = ApiKey.objects.filter(pk__in=keys).values_list("pk", "name") if keys else ()
    names = {pk: f"key “{name}”" for pk, name in known}
    if people and may_see(request, get_user_model()):
        users = get_user_model().objects.in_bulk(set(people.values()))
        names |= {one: users[pk].get_username() for one, pk in people.items() if pk in users}
    return names
