"""The list of assistants and their page. What a good assistant is, `assistant_form.py` asks the API's serializer."""

from __future__ import annotations

from typing import Any

import orjson
from django.contrib import admin
from django.contrib.admin import ActionLocation
from django.contrib.admin.utils import unquote
from django.forms import Script
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from assistants import versions
from assistants.masking import masked
from assistants.models import Assistant, Project

from . import assistant_versions, assistant_yaml, suggestions, trial, workbench
from .assistant_form import AssistantForm, shown
from .lists import BoundedAdmin, ProjectFilter
from .markup import chat_link, clipped, json_block, link, titled


@admin.register(Assistant)
class AssistantAdmin(BoundedAdmin):
    form = AssistantForm
    save_as = True
    empty_hint = "An assistant is a model with instructions and tools. Everything people ask is answered by one."
    empty_shell = ("/assistants", '{"model": "scripted", "name": "First"}')
    list_display = ("title", "model", "tool_names", "project", "created_at", "try_it", "clone")
    list_filter = (ProjectFilter,)
    list_select_related = ("project",)
    list_defer = ("instructions", "tool_resources", "metadata", "response_format")
    search_fields = ("id__exact", "name")
    search_help_text = "A part of the name, or a whole id: looked for in every project."
    autocomplete_fields = ("project",)
    actions = ("export_yaml",)
    change_list_template = "admin/assistants/assistant_list.html"
    change_form_template = "admin/assistants/assistant_page.html"

    class Media:
        js = (Script("admin_kumos/assistant.js", type="module"),)

    edited = (
        (None, {"fields": ("project", "name", "description", "model", "instructions")}),
        (
            "Tools",
            {
                "fields": (
                    "file_search",
                    ("max_num_results", "score_threshold"),
                    "vector_store",
                    "code_interpreter",
                    "code_files",
                    "functions",
                )
            },
        ),
        ("Answers", {"fields": (("temperature", "top_p"), "response_kind", "response_schema", "reasoning_effort")}),
        ("Metadata", {"fields": ("metadata",)}),
        ("Version", {"fields": ("version_note",)}),
    )
    only_seen = (
        (None, {"fields": ("in_project", "name", "description", "model", "instructions")}),
        ("Tools", {"fields": ("tools_shown", "tool_resources_shown")}),
        ("Answers", {"fields": ("temperature", "top_p", "response_format_shown", "reasoning_effort")}),
        ("Metadata", {"fields": ("metadata_shown",)}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Assistant | None = None) -> Any:
        if obj is None:
            return self.edited
        if not self.has_change_permission(request, obj):
            return self.only_seen
        return ((None, {"fields": ("in_project", "based_on")}), *self.edited)

    def get_readonly_fields(self, request: HttpRequest, obj: Assistant | None = None) -> tuple[str, ...]:
        return ("in_project",) if obj is not None else ()

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        own = [
            *assistant_versions.urls(self),
            *assistant_yaml.urls(self),
            *workbench.urls(self, wrap),
            *trial.urls(self, wrap),
        ]
        return [*own, *super().get_urls()]

    def get_list_display(self, request: HttpRequest) -> Any:
        return [name for name in self.list_display if name != "clone" or self.has_add_permission(request)]

    def original(self, request: HttpRequest) -> Assistant | None:
        """The assistant that a new one is a copy of: a clone, or what was “saved as new” on its page."""
        pk = request.GET.get("clone")
        if "_saveasnew" in request.POST and request.resolver_match is not None:
            pk = unquote(request.resolver_match.kwargs.get("object_id", ""))
        original = self.get_object(request, pk) if pk else None
        return original if original and self.has_view_permission(request, original) else None

    def get_form(self, request: HttpRequest, obj: Assistant | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        original = self.original(request) if obj is None else None
        return type(form.__name__, (form,), {"original": original}) if original else form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        if original := self.original(request):
            name = f"Copy of {original.name or original.pk}"[:256]
            return {**versions.body_of(original), **shown(original), "project": original.project_id, "name": name}
        projects = list(Project.objects.order_by("name")[:2])
        names = suggestions.models()
        return {
            "model": names[0][0] if names else "",
            **({"project": projects[0].pk} if len(projects) == 1 else {}),
            **super().get_changeform_initial_data(request),
        }

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(scratch_of=None)

    def save_model(self, request: HttpRequest, obj: Assistant, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        versions.record(obj, str(request.user), form.cleaned_data.get("version_note", ""))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        assistant = kwargs.get("obj")
        if assistant is not None:
            context["chat_link"] = chat_link(assistant=assistant.pk)
            context["versions_address"] = assistant_versions.address_of(assistant.pk)
            context["clone_link"] = self.clone(assistant) if self.has_add_permission(request) else ""
        allowed = self.has_change_permission(request, assistant) if assistant else self.has_add_permission(request)
        context["may_try"] = allowed
        functions = suggestions.functions(assistant.project_id if assistant else "") if allowed else []
        context["functions"] = orjson.dumps(functions).decode()
        context["may_upload"] = allowed and request.user.has_perm("assistants.add_file")
        return super().render_change_form(request, context, *args, **kwargs)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        return assistant_versions.deleted_objects(objs, self.delete_confirmation_max_display)

    @admin.action(permissions=["view"], description="Export as YAML", location=[ActionLocation.CHANGE_LIST])
    def export_yaml(self, request: HttpRequest, assistants: Any) -> HttpResponse | None:
        return assistant_yaml.download(self, request, assistants)

    @admin.display(description="Name")
    def title(self, assistant: Assistant) -> str:
        return titled(assistant.name or "(unnamed)", assistant.id)

    @admin.display(description="Tools")
    def tool_names(self, assistant: Assistant) -> str:
        names = [
            tool["function"]["name"] if tool["type"] == "function" else tool["type"].replace("_", " ")
            for tool in assistant.tools
        ]
        return clipped(", ".join(names), 80) or "–"

    @admin.display(description="Try it")
    def try_it(self, assistant: Assistant) -> str:
        return chat_link(assistant=assistant.id)

    @admin.display(description="Clone")
    def clone(self, assistant: Assistant) -> str:
        address = f"{reverse('admin:assistants_assistant_add')}?{urlencode({'clone': assistant.pk})}"
        return format_html('<a href="{}">Clone</a>', address)

    @admin.display(description="Project")
    def in_project(self, assistant: Assistant) -> str:
        return link(Project, assistant.project_id, str(assistant.project)) if assistant.project_id else "–"

    @admin.display(description="Tools")
    def tools_shown(self, assistant: Assistant) -> str:
        return json_block(assistant.tools)

    @admin.display(description="Tool resources")
    def tool_resources_shown(self, assistant: Assistant) -> str:
        return json_block(assistant.tool_resources)

    @admin.display(description="Response format")
    def response_format_shown(self, assistant: Assistant) -> str:
        return json_block(assistant.response_format)

    @admin.display(description="Metadata")
    def metadata_shown(self, assistant: Assistant) -> str:
        return json_block(masked(assistant.metadata))
