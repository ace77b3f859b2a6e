"""Projects: their people, keys and limits, and what is in them. What limits do is the business of the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from assistants import clock
from assistants.models import ApiKey, Assistant, File, Membership, Project, Thread, VectorStore
from assistants.scopes import in_words

from .credentials import state_badges
from .lists import BoundedAdmin, capped_count, may_see, spoken
from .markup import ago, link, list_of

if TYPE_CHECKING:
    StockInline = admin.TabularInline[Any, Any]
else:
    StockInline = admin.TabularInline

KEYS_SHOWN = 20
CONTENTS: tuple[type[Model], ...] = (Assistant, Thread, File, VectorStore)


class MembershipInline(StockInline):
    model = Membership
    autocomplete_fields = ("user",)
    extra = 0
    verbose_name = "member"
    verbose_name_plural = "members: people who may use this project in the chat page"


def counted(rows: QuerySet[Any]) -> Any:
    """How many of `rows` a project has: as many as people made, and found by an index."""
    of_project = rows.filter(project=OuterRef("pk")).order_by().values("project")
    return Coalesce(Subquery(of_project.annotate(count=Count("pk")).values("count")), 0)


@admin.register(Project)
class ProjectAdmin(BoundedAdmin):
    empty_hint = "Everything belongs to one: assistants, threads, files, keys of programs. Make one to begin."
    list_display = ("name", "id", "people", "usable_keys", "default_model", "budget", "created_at")
    search_fields = ("name", "id__exact")
    search_help_text = "A part of the name, or the whole id."
    inlines = (MembershipInline,)

    class Media:
        css = {"all": ("admin_kumos/keys.css",)}

    limits = ("default_model", ("budget", "budget_warns_at"))

    def get_fieldsets(self, request: HttpRequest, obj: Project | None = None) -> Any:
        limits = ("Models and limits", {"fields": self.limits})
        if obj is None:
            return ((None, {"fields": ("name",)}), limits)
        held = ("contents", "keys") if may_see(request, ApiKey) else ("contents",)
        return (
            (None, {"fields": ("name", "id", "created_at")}),
            limits,
            ("In this project", {"fields": held}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> tuple[str, ...]:
        return () if obj is None else ("id", "created_at", "contents", "keys")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # it would take every thread and run along; that is not a click's work

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        projects: QuerySet[Any] = super().get_queryset(request)
        counts: QuerySet[Any] = projects.annotate(
            people_count=counted(Membership.objects.all()), key_count=counted(ApiKey.objects.usable(clock.now()))
        )
        return counts

    @admin.display(description="Members")
    def people(self, project: Any) -> int:
        return int(project.people_count)

    @admin.display(description="Usable keys")
    def usable_keys(self, project: Any) -> int:
        return int(project.key_count)

    @admin.display(description="Contents")
    def contents(self, project: Project) -> SafeString:
        return format_html_join(
            " · ",
            '<a href="{}">{} {}</a>',
            (
                (
                    list_of(model, project=project.id),
                    spoken(count := capped_count(model._default_manager.filter(project=project))),
                    model._meta.verbose_name if count == 1 else model._meta.verbose_name_plural,
                )
                for model in CONTENTS
            ),
        )

    @admin.display(description="API keys")
    def keys(self, project: Project) -> SafeString:
        """The newest, and where the others and a new one are."""
        newest = list(project.keys.order_by("-created_at")[:KEYS_SHOWN])
        rows = (
            (link(ApiKey, key.pk, str(key)), in_words(key.scopes), state_badges(key), ago(key.last_used_at))
            for key in newest
        )
        lines = format_html_join("", "<li>{} · {} · {} · used {}</li>", rows) or mark_safe("<li>None yet.</li>")
        return format_html(
            '<ul class="kumos-keys">{}</ul><a href="{}">All keys of it</a> · <a href="{}?project={}">New key</a>',
            lines,
            list_of(ApiKey, project=project.id),
            reverse("admin:assistants_apikey_add"),
            project.id,
        )
