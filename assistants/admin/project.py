"""Projects and the people in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from assistants.models import ApiKey, Assistant, Membership, Project, Thread

from .lists import BoundedAdmin
from .markup import list_of

if TYPE_CHECKING:
    StockInline = admin.TabularInline[Any, Any]
else:
    StockInline = admin.TabularInline


class MembershipInline(StockInline):
    model = Membership
    autocomplete_fields = ("user",)
    extra = 0
    verbose_name = "member"
    verbose_name_plural = "members: people who may use this project in the chat page"


@admin.register(Project)
class ProjectAdmin(BoundedAdmin):
    list_display = ("name", "id", "created_at")
    search_fields = ("name", "id__exact")
    inlines = (MembershipInline,)

    def get_fields(self, request: HttpRequest, obj: Project | None = None) -> tuple[str, ...]:
        return ("name",) if obj is None else ("name", "id", "created_at", "contents")

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> tuple[str, ...]:
        return () if obj is None else ("id", "created_at", "contents")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # it would take every thread and run along; that is not a click's work

    @admin.display(description="In this project")
    def contents(self, project: Project) -> str:
        return format_html(
            '<a href="{}">Assistants</a> · <a href="{}">Threads</a> · <a href="{}">API keys</a>',
            list_of(Assistant, project=project.id),
            list_of(Thread, project=project.id),
            list_of(ApiKey),
        )
