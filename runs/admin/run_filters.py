"""What stands beside the list of runs to narrow it. What each filter means is said by `narrowing.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest

from assistants.admin.lists import capped_count, may_see, spoken
from assistants.models import ApiKey, Assistant, Project
from runs.models import Run

from .narrowing import PERIODS, STATUSES, TRIALS, Narrowing, maker_of, name_of

PROPOSED = 50


class Narrows(admin.SimpleListFilter):
    """A filter that the list's `Narrowing` applies, all at once."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset


class StatusFilter(Narrows):
    """With how many there are of each, as far as lists count; not where that would need another index."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status, status.replace("_", " ").capitalize()) for status in STATUSES]

    def choices(self, changelist: Any) -> Iterator[Any]:
        narrowing: Narrowing = changelist.narrowing
        all_of_them, *choices = super().choices(changelist)
        yield {**all_of_them, "selected": not narrowing.status}
        is_counted = narrowing.is_sound and not set(narrowing.given) - {"status", "project", "since"}
        for status, choice in zip(STATUSES, choices, strict=True):
            choice["selected"] = narrowing.status == status
            if is_counted:
                rows = Run.objects.filter(Narrowing(status, narrowing.project, narrowing.since).indexed())
                choice["display"] = f"{choice['display']} ({spoken(capped_count(rows))})"
            yield choice


class PeriodFilter(Narrows):
    title = "creation"
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, name.capitalize()) for key, (name, _) in PERIODS.items()]


class ProjectFilter(Narrows):
    title = "project"
    parameter_name = "project"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Project.objects.order_by("name").values_list("id", "name")[:PROPOSED])


class ErrorFilter(Narrows):
    """There once somebody came from the page of groups, to be taken off again."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        asked = Narrowing.of(request.GET)
        return [(asked.error, asked.error)] if asked.error else []

    def choices(self, changelist: Any) -> Iterator[Any]:
        all_of_them, this = super().choices(changelist)
        yield all_of_them
        yield {**this, "display": changelist.narrowing.error_in_words}


class TrialFilter(Narrows):
    """Likewise."""

    title = "trials"
    parameter_name = "trial"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(TRIALS.items()) if Narrowing.of(request.GET).trial else []


class TypedFilter(Narrows):
    """A field to type into, with proposals: nobody reads a list of a thousand names."""

    template = "admin/runs/run/typed_filter.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        without = (self.parameter_name, "p", "e")
        self.kept = [(name, value) for name, value in request.GET.items() if name not in without]
        self.asked = Narrowing.of(request.GET)
        self.request = request

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: Any) -> Iterator[Any]:
        for value, name in self.proposals():
            yield {"value": value, "display": name}

    def proposals(self) -> list[tuple[str, str]]:
        return []

    @property
    def chosen(self) -> str:
        """What is typed in, in words."""
        return str(self.value() or "")

    def assistants(self) -> QuerySet[Assistant]:
        """The newest ones of the project that is chosen."""
        found = Assistant.objects.filter(scratch_of=None).order_by("-created_at", "-id")
        return found.filter(project=self.asked.project) if self.asked.project and self.asked.is_sound else found


class AssistantFilter(TypedFilter):
    title = "assistant"
    parameter_name = "assistant"

    def proposals(self) -> list[tuple[str, str]]:
        return [(id, name or id) for id, name in self.assistants().values_list("id", "name")[:PROPOSED]]

    @property
    def chosen(self) -> str:
        return name_of(Assistant, str(self.value() or ""))


class VersionFilter(TypedFilter):
    """Of one assistant: alone, a version says nothing."""

    title = "version of the assistant"
    parameter_name = "version"

    def has_output(self) -> bool:
        return bool(self.asked.assistant or self.asked.version)


class ModelFilter(TypedFilter):
    title = "model"
    parameter_name = "model"

    def proposals(self) -> list[tuple[str, str]]:
        models = dict.fromkeys(self.assistants().values_list("model", flat=True)[: 4 * PROPOSED])
        return [(model, model) for model in list(models)[:PROPOSED]]


class MakerFilter(TypedFilter):
    title = "key or person"
    parameter_name = "made_by"

    def proposals(self) -> list[tuple[str, str]]:
        found = []
        if may_see(self.request, ApiKey):
            keys = ApiKey.objects.order_by("-created_at").values_list("id", "name", "project__name")[:PROPOSED]
            found += [(id, f"key “{name}” of {project}") for id, name, project in keys]
        if may_see(self.request, get_user_model()):
            people = get_user_model().objects.order_by("username").values_list("pk", "username")[:PROPOSED]
            found += [(f"user {pk}", name) for pk, name in people]
        return found

    @property
    def chosen(self) -> str:
        return maker_of(self.request, str(self.value() or ""))


FILTERS = (
    StatusFilter,
    PeriodFilter,
    ProjectFilter,
    AssistantFilter,
    VersionFilter,
    ModelFilter,
    MakerFilter,
    ErrorFilter,
    TrialFilter,
)
