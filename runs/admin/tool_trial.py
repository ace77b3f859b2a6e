"""Trying a function that the server carries out: arguments as a model would write them, and what it would be told.

It is a real call, with whatever effect that has. So it takes the right to change MCP servers, and is in the audit log
before it begins.
"""

from __future__ import annotations

import asyncio
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import CHANGE
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from assistants.admin import audit
from assistants.admin.inputs import JSONText
from assistants.admin.lists import ProjectFilter
from assistants.admin.markup import clipped, json_block, pretty
from assistants.ids import new_call_id
from assistants.masking import masked
from assistants.models import Project
from runs.completers.arguments import instance_of
from runs.models import McpServer
from runs.tools import CallContext, ServerFunction, mcp, named, python
from runs.tools.function import carried_out

PERMISSION = "runs.change_mcpserver"
LOGGED = 1000
"""Characters of the arguments that the audit log keeps."""


class TrialForm(forms.Form):
    project = forms.ChoiceField(label="Project", help_text="For which the function is called.")
    arguments = JSONText(rows=8, blank=dict, label="Arguments", help_text="JSON, as a model would write it.")

    def __init__(self, *args: Any, projects: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = self.fields["project"]
        assert isinstance(choices, forms.ChoiceField)
        choices.choices = projects

    def clean_arguments(self) -> dict[str, Any]:
        given = self.cleaned_data["arguments"]
        if not isinstance(given, dict):
            raise ValidationError("Expected a JSON object.")
        return given


def projects_of(server: McpServer | None) -> list[tuple[str, str]]:
    projects = Project.objects.order_by("name")
    if server is not None and server.project_id:
        projects = projects.filter(pk=server.project_id)
    return list(projects.values_list("pk", "name")[: ProjectFilter.SHOWN])


def function_called(name: str) -> tuple[ServerFunction, McpServer | None]:
    """Raises Http404."""
    if name in python.functions:
        return python.functions[name], None
    slug, _, tool = name.partition(mcp.SEPARATOR)
    server = McpServer.objects.select_related("project").filter(name=slug).first()
    if server is None or not tool:
        raise Http404("There is no such function.")
    return mcp.McpFunction(server, tool), server


def try_page(request: HttpRequest) -> HttpResponse:
    """May take as long as a call may: see kumos_site/asgi.py."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    name = (request.POST.get("tool") or request.GET.get("tool", ""))[:64]
    function, server = function_called(name)
    asked = request.method == "POST" and "arguments" in request.POST
    schema = function.parameters()
    first = {"arguments": pretty(instance_of(schema, "…"))}
    form = TrialForm(request.POST if asked else None, initial=first, projects=projects_of(server))
    output = None
    if asked and form.is_valid():
        output = tried(request, name, server, form.cleaned_data["project"], form.cleaned_data["arguments"])
    context = {
        **admin.site.each_context(request),
        "title": f"Try {name}",
        "name": name,
        "function": function,
        "schema": json_block(schema),
        "form": form,
        "output": output,
    }
    return TemplateResponse(request, "admin/tool_try.html", context)


def tried(request: HttpRequest, name: str, server: McpServer | None, project_id: str, arguments: Any) -> str:
    """What a model of that project would be told."""
    function = named([name], project_id).get(name)
    if function is None:
        raise Http404("That project has no such function.")
    project = Project.objects.get(pk=project_id)
    words = f"Tried {name} for the project “{project}” with {clipped(str(masked(pretty(arguments))), LOGGED)}."
    audit.entry(server or project, CHANGE, [{"changed": {}, "words": words, "values": []}], request.user.pk).save()
    context = CallContext(project_id, "", "", "", new_call_id())
    text = pretty(arguments) if arguments else "{}"
    return pretty(masked(asyncio.run(carried_out(function, context, text))))
