"""The tools that runs can use: what a model is offered, trying one, and who called it lately.

There are no tables behind this page: tools are registered in the code (runs/tools). kumos_site/admin.py gives it its
address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from assistants.admin import content
from assistants.admin.lists import ProjectFilter
from assistants.admin.markup import badge, duration, json_block, moment, page_of, pretty
from assistants.masking import masked
from assistants.models import Project, VectorStore
from runs.models import Run, RunStep, StepType
from runs.tools import file_search, registry

from .timeline import Hit, hit_of
from .timeline import ended as end_of

RUNS_READ = 100
"""How many of the newest runs are looked through for calls: steps have no index on time."""
STEPS_READ = 100
CALLS_SHOWN = 20
RESULTS = 20


@dataclass(frozen=True, slots=True)
class RecentCall:
    when: str
    href: str
    run_id: str
    state: SafeString
    took: str
    asked: str
    found: str


@dataclass(frozen=True, slots=True)
class ToolCard:
    """One tool as the page shows it: the function that the model sees, and its calls, newest first."""

    type: str
    description: str
    schema: SafeString
    calls: Sequence[RecentCall]


class SearchForm(forms.Form):
    """Tries file_search: the arguments a model would write, and where it would look."""

    query = forms.CharField(max_length=2000, label="Query", help_text="What a model would look for, in key words.")
    project = forms.ChoiceField(label="All files of the project", required=False)
    store = forms.CharField(max_length=64, label="Or one vector store", required=False, help_text="Its id: vs_…")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = Project.objects.order_by("name").values_list("pk", "name")[: ProjectFilter.SHOWN]
        choices = self.fields["project"]
        assert isinstance(choices, forms.ChoiceField)
        choices.choices = [("", "–"), *names]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if bool(data.get("project")) == bool(data.get("store")):
            raise ValidationError("Choose a project, or name a vector store.")
        stores = VectorStore.objects.order_by()
        if id := data.get("store"):
            stores = stores.filter(pk=id)
        else:
            stores = stores.filter(project_id=data["project"], covers_project=True)
        data["stores"] = list(stores.values_list("pk", flat=True)[:1])
        if data.get("store") and not data["stores"]:
            self.add_error("store", "There is no such vector store.")
        return data


def tools_page(request: HttpRequest) -> HttpResponse:
    """Seen with the right to see runs. Trying a search needs the right to read content, too: it shows passages."""
    if not request.user.has_perm("runs.view_run"):
        raise PermissionDenied
    may_try = content.may_read(request) and request.user.has_perm("assistants.view_vectorstore")
    asked = may_try and "query" in request.GET
    form = SearchForm(request.GET if asked else None)
    hits: list[Hit] | None = None
    told = ""
    if asked and form.is_valid():
        hits, told = tried(form.cleaned_data["stores"], form.cleaned_data["query"])
    calls = recent_calls(request)
    cards = [
        ToolCard(type, **described(tool.function()["function"]), calls=calls.get(type, ()))
        for type, tool in registry.items()
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Tools",
        "tools": cards,
        "form": form,
        "may_try": may_try,
        "hidden": content.HIDDEN,
        "hits": hits,
        "told": told,
        "runs_read": RUNS_READ,
    }
    return TemplateResponse(request, "admin/tools.html", context)


def described(function: Any) -> dict[str, Any]:
    return {"description": function["description"], "schema": json_block(function["parameters"])}


def tried(store_ids: Sequence[str], query: str) -> tuple[list[Hit], str]:
    """What a run's search would find there, and the text that its model would be told."""
    passages = file_search.best_passages(store_ids, query, RESULTS, 0.0)
    details = {"results": [file_search.result(passage) for passage in passages]}
    told = file_search.FileSearch().told(details, 0, 0)
    return [hit_of(found, readable=True) for found in details["results"]], pretty(masked(told))


def recent_calls(request: HttpRequest) -> dict[str, list[RecentCall]]:
    """The calls of the newest runs, by the tool's type."""
    newest = list(Run.objects.order_by("-created_at", "-id").values_list("pk", flat=True)[:RUNS_READ])
    steps = RunStep.objects.filter(run_id__in=newest, type=StepType.TOOL_CALLS).order_by("-created_at", "-id")
    found: dict[str, list[RecentCall]] = {type: [] for type in registry}
    reads = content.may_read(request)
    for step in steps.only("run_id", "created_at", "status", "step_details", "call_arguments", *ENDS)[:STEPS_READ]:
        for call in step.step_details.get("tool_calls", ()):
            if call.get("type") in found:
                found[call["type"]].append(recent(step, call, reads))
    return {type: list(islice(calls, CALLS_SHOWN)) for type, calls in found.items()}


ENDS = ("completed_at", "failed_at", "cancelled_at", "expired_at")


def recent(step: RunStep, call: dict[str, Any], reads: bool) -> RecentCall:
    end = end_of(step)
    arguments = step.call_arguments.get(call.get("id", "")) or ""
    results = (call.get(call["type"]) or {}).get("results")
    return RecentCall(
        when=moment(step.created_at),
        href=page_of(Run, step.run_id),
        run_id=step.run_id,
        state=badge(step.status),
        took=duration(end - step.created_at if end else None),
        asked=str(masked(arguments))[:200] if reads else content.HIDDEN,
        found="" if results is None else f"{len(results)} passage{'s' if len(results) != 1 else ''}",
    )
