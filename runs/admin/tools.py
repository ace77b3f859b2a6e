"""The tools that runs can use: what a model is offered, trying a search, and who called what lately.

Most are registered in the code (runs/tools), those of MCP servers are kept with these. kumos_site/admin.py gives the
page its address; calling a function by hand is tool_trial.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
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
from runs.models import McpServer, Run, RunStep, StepType
from runs.tools import file_search, mcp, python, registry

from . import tool_trial
from .timeline import Hit, hit_of
from .timeline import ended as end_of

RUNS_READ = 100
"""How many of the newest runs are looked through for calls: steps have no index on time."""
STEPS_READ = 100
CALLS_SHOWN = 20
RESULTS = 20
FUNCTIONS_SHOWN = 100


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

    name: str
    place: str
    """Where it comes from, in words."""
    description: str
    schema: SafeString
    calls: Sequence[RecentCall]
    is_function: bool = True


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
    functions = functions_of(request)
    calls = recent_calls(request, {card.name for card in functions[:FUNCTIONS_SHOWN]})
    cards = [
        ToolCard(type, "built in", **described(tool.function()["function"]), calls=calls[type], is_function=False)
        for type, tool in registry.items()
    ]
    cards += [replace(card, calls=calls[card.name]) for card in functions[:FUNCTIONS_SHOWN]]
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
        "sees_servers": sees_servers(request),
        "may_call": request.user.has_perm(tool_trial.PERMISSION),
        "more": max(len(functions) - FUNCTIONS_SHOWN, 0),
    }
    return TemplateResponse(request, "admin/tools.html", context)


def sees_servers(request: HttpRequest) -> bool:
    return any(request.user.has_perm(f"runs.{right}_mcpserver") for right in ("view", "change"))


def functions_of(request: HttpRequest) -> list[ToolCard]:
    """Those that the server carries out: Python's, and those of MCP servers for whoever may see these."""
    cards = [
        ToolCard(one.name, f"Python, {one.function.__module__}", one.description, json_block(one.parameters()), ())
        for one in python.functions.values()
    ]
    if not sees_servers(request):
        return cards
    for server in McpServer.objects.select_related("project"):
        whose = f"for the project {server.project}" if server.project else "for all projects"
        place = f"MCP server {server}, {whose}" if server.enabled else f"MCP server {server}, which is switched off"
        cards += [
            ToolCard(one.name, place, one.description, json_block(one.parameters()), ()) for one in mcp.offered(server)
        ]
    return cards


def described(function: Any) -> dict[str, Any]:
    return {"description": function["description"], "schema": json_block(function["parameters"])}


def tried(store_ids: Sequence[str], query: str) -> tuple[list[Hit], str]:
    """What a run's search would find there, and the text that its model would be told."""
    passages = file_search.best_passages(store_ids, query, RESULTS, 0.0)
    details = {"results": [file_search.result(passage) for passage in passages]}
    told = file_search.FileSearch().told(details, 0, 0)
    return [hit_of(found, readable=True) for found in details["results"]], pretty(masked(told))


def recent_calls(request: HttpRequest, functions: Collection[str]) -> dict[str, list[RecentCall]]:
    """The calls of the newest runs, by the tool's type or the function's name."""
    newest = list(Run.objects.order_by("-created_at", "-id").values_list("pk", flat=True)[:RUNS_READ])
    steps = RunStep.objects.filter(run_id__in=newest, type=StepType.TOOL_CALLS).order_by("-created_at", "-id")
    found: dict[str, list[RecentCall]] = {name: [] for name in [*registry, *functions]}
    reads = content.may_read(request)
    for step in steps.only("run_id", "created_at", "status", "step_details", "call_arguments", *ENDS)[:STEPS_READ]:
        for call in step.step_details.get("tool_calls", ()):
            name = name_of(call)
            if name in found:
                found[name].append(recent(step, call, reads))
    return {type: list(islice(calls, CALLS_SHOWN)) for type, calls in found.items()}


ENDS = ("completed_at", "failed_at", "cancelled_at", "expired_at")


def name_of(call: dict[str, Any]) -> str:
    return str(call["function"]["name"] if call.get("type") == "function" else call.get("type"))


def found_by(details: dict[str, Any], reads: bool) -> str:
    if "results" in details:
        count = len(details["results"])
        return f"{count} passage{'s' if count != 1 else ''}"
    output = str(details.get("output") or "")
    return str(masked(output[:2000]))[:200] if reads or not output else content.HIDDEN


def recent(step: RunStep, call: dict[str, Any], reads: bool) -> RecentCall:
    end = end_of(step)
    details = call.get(call["type"]) or {}
    arguments = details.get("arguments") or step.call_arguments.get(call.get("id", "")) or ""
    return RecentCall(
        when=moment(step.created_at),
        href=page_of(Run, step.run_id),
        run_id=step.run_id,
        state=badge(step.status),
        took=duration(end - step.created_at if end else None),
        asked=str(masked(arguments))[:200] if reads else content.HIDDEN,
        found=found_by(details, reads),
    )
