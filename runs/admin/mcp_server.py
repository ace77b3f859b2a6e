"""MCP servers: their list with a light for each, their form, and asking one for its tools.

Trying one of its tools, and who called it lately, is on the page of tools (tools.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from assistants.admin.markup import ago, json_block, page_of
from runs.models import McpServer
from runs.tools import mcp

from .keyed_form import KeyedAdmin, KeyedForm

OF_HTTP = {"host", "accept", "accept-encoding", "content-type", "content-length", "connection", "transfer-encoding"}
"""Headers that the client sets itself."""


class McpServerForm(KeyedForm):
    key_prefix = mcp.KEY_PREFIX
    keeps_slash = True

    base_url = forms.CharField(
        label="URL",
        max_length=512,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="Its address for “streamable HTTP”, mostly ending in /mcp: https://tools.example.org/mcp",
    )

    class Meta:
        model = McpServer
        fields = ("name", "project", "base_url", "header", "key_variable", "enabled")
        help_texts = {
            "name": "Its tools are the functions NAME__tool: with “github”, github__search. It stays as it is.",
            "project": "Whose assistants may use it. Empty: those of all projects.",
            "header": "Which header the key is sent in. As Authorization it is sent as “Bearer KEY”.",
            "enabled": "Switched off, it is not called: the model is told so.",
        }

    def keys(self) -> Mapping[str, str]:
        found: Mapping[str, str] = settings.KUMOS_MCP_KEYS
        return found

    def clean_header(self) -> str:
        header = str(self.cleaned_data["header"])
        if not re.fullmatch(r"[A-Za-z0-9-]+", header) or header.lower() in OF_HTTP or header.lower()[:4] == "mcp-":
            raise ValidationError("This is no header that a key can be sent in.")
        return header


@admin.register(McpServer)
class McpServerAdmin(KeyedAdmin):
    form = McpServerForm
    empty_hint = (
        "Enter one with its address and key. Its tools are functions that assistants may have, and this server calls"
        " them."
    )
    list_display = ("called", "address", "whose", "light", "count")
    list_defer = ("sealed_key",)
    list_select_related = ("project",)
    autocomplete_fields = ("project",)
    change_form_template = "admin/runs/mcpserver/change_form.html"
    unaudited = ("tools", "listed_at", "checked_at", "error")
    actions = None

    def get_fieldsets(self, request: HttpRequest, obj: McpServer | None = None) -> Any:
        if not self.may_write(request, obj):
            return [(None, {"fields": ("name", "whose", "base_url", "key", "enabled", "light", "created_at")})]
        kept = ("forget_key",) if obj is not None and obj.sealed_key else ()
        after = () if obj is None else ("light",)
        fields = ("name", "project", "base_url", "header", "api_key", *kept, "key_variable", "enabled", *after)
        return [(None, {"fields": fields})]

    def get_readonly_fields(self, request: HttpRequest, obj: McpServer | None = None) -> tuple[str, ...]:
        if not self.may_write(request, obj):
            return ("name", "whose", "base_url", "key", "enabled", "light", "created_at")
        return () if obj is None else ("name", "light")

    @admin.display(description="Tools named")
    def called(self, server: McpServer) -> str:
        return f"{server.name}{mcp.SEPARATOR}…"

    @admin.display(description="URL")
    def address(self, server: McpServer) -> str:
        return server.base_url  # as text: nobody reads there

    @admin.display(description="Project")
    def whose(self, server: McpServer) -> str:
        return str(server.project) if server.project else "all"

    @admin.display(description="Key")
    def key(self, server: McpServer) -> str:
        if server.key_variable:
            return f"from {server.key_variable}"
        return "kept, sealed" if server.sealed_key else "none"

    @admin.display(description="Connection")
    def light(self, server: McpServer) -> str:
        """Green or red, since when and why: what a test or a run has found last. Nobody is asked for it."""
        if not server.enabled:
            return "switched off"
        if server.checked_at is None:
            return "not tested yet"
        colour, words = ("failed", "fails") if server.error else ("completed", "answers")
        return format_html(
            '<span class="kumos-badge kumos-{}">{}</span> {}{}',
            colour,
            words,
            ago(server.checked_at),
            f": {server.error}" if server.error else "",
        )

    @admin.display(description="Tools")
    def count(self, server: McpServer) -> str:
        return str(len(server.tools)) if server.listed_at else "–"

    @method_decorator(sensitive_post_parameters("api_key"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        own = self.admin_site.admin_view
        return [path("test/", own(require_POST(self.test)), name="runs_mcpserver_test"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        server = kwargs.get("obj")
        if server is not None:
            context["may_test"] = self.has_change_permission(request)
            context["functions"] = [
                {"name": one.name, "description": one.description, "schema": json_block(one.parameters())}
                for one in mcp.offered(server)
            ]
        return super().render_change_form(request, context, *args, **kwargs)

    def test(self, request: HttpRequest) -> HttpResponse:
        """Asks the server for its tools. Takes seconds: see kumos_site/asgi.py."""
        if not self.has_change_permission(request):
            raise PermissionDenied  # it sends the key
        name = request.POST.get("server", "")
        server = McpServer.objects.filter(name=name).first()
        if server is None:
            raise Http404("There is no such MCP server.")
        if fault := mcp.refresh(server):
            self.message_user(request, f"The server {name} cannot be used: {fault}", messages.ERROR)
        else:
            server.refresh_from_db()
            count = len(server.tools)
            self.message_user(request, f"The server {name} answers, and has {count} tool{'s' if count != 1 else ''}.")
        return HttpResponseRedirect(page_of(McpServer, server.pk))
