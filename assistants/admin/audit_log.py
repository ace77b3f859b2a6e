"""The audit log: who changed what in the admin, and when, with old and new values. Read-only, also for superusers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.text import capfirst

from assistants import clock

from . import audit
from .lists import ReadOnlyAdmin
from .markup import clipped, moment, titled

PEOPLE_OFFERED = 50
PERIODS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


class PersonFilter(admin.SimpleListFilter):
    """Who: those who have entries at all, found through the users, which are fewer."""

    title = "person"
    parameter_name = "who"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        users = get_user_model().objects.filter(logentry__isnull=False).distinct().order_by("username")
        return [(str(pk), name) for pk, name in users.values_list("pk", "username")[:PEOPLE_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        value = self.value()
        return queryset.filter(user_id=int(value)) if value and value.isdecimal() else queryset


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = [(str(one.pk), capfirst(str(one.name))) for one in model_admin.kinds_seen(request)]
        return sorted(kinds, key=lambda kind: kind[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        value = self.value()
        return queryset.filter(content_type_id=int(value)) if value and value.isdecimal() else queryset


class PeriodFilter(admin.SimpleListFilter):
    title = "time"
    parameter_name = "within"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, f"The last {name}") for name in PERIODS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        span = PERIODS.get(self.value() or "")
        return queryset.filter(action_time__gt=clock.now() - span) if span else queryset


@admin.register(LogEntry)
class AuditLogAdmin(ReadOnlyAdmin):
    list_display = ("when", "who", "what", "thing")
    list_display_links = ("when",)
    list_filter = (PeriodFilter, PersonFilter, KindFilter)
    list_select_related = ("user", "content_type")
    # No index helps here; the table has a row for each change that a person made, not for what the machine does.
    search_fields = ("object_id__exact", "object_repr__icontains", "user__username__exact")
    search_help_text = "The whole id of an object, a part of its name, or who changed it."
    ordering = ("-id",)  # as the entries were made, by the only index there is for that
    change_form_template = "admin/audit/page.html"
    empty_hint = "Whatever somebody changes here will be listed, with the old and new values."

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Audit log", **(extra_context or {})})

    def kinds_seen(self, request: HttpRequest) -> list[ContentType]:
        """The kinds of objects whose pages the viewer may see: he sees no entries of others. A superuser sees all."""
        if request.user.is_superuser:
            entries = LogEntry.objects.filter(content_type=OuterRef("pk"))
            return list(ContentType.objects.filter(Exists(entries)))
        pages = self.admin_site._registry.items()
        models = [model for model, page in pages if page.has_view_permission(request)]
        return list(ContentType.objects.get_for_models(*models).values())

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        entries: QuerySet[LogEntry] = super().get_queryset(request)
        if request.user.is_superuser:  # also of what has no page of its own, and of what an earlier release had
            return entries
        return entries.filter(content_type__in=[kind.pk for kind in self.kinds_seen(request)])

    @admin.display(description="Time")
    def when(self, log: LogEntry) -> str:
        return moment(log.action_time)

    @admin.display(description="Who")
    def who(self, log: LogEntry) -> str:
        return str(log.user)

    @admin.display(description="What")
    def what(self, log: LogEntry) -> str:
        return clipped(audit.summary(log), 200)

    @admin.display(description="Object")
    def thing(self, log: LogEntry) -> str:
        kind = capfirst(str(log.content_type.name)) if log.content_type else "–"
        return titled(clipped(log.object_repr, 80), f"{kind} {log.object_id or ''}")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        log: LogEntry = kwargs["obj"]
        context.update(
            title="Audit log",
            entry=log,
            facts=[
                ("Time", moment(log.action_time)),
                ("Who", str(log.user)),
                ("Object", linked(log)),
                ("Kind", capfirst(str(log.content_type.name)) if log.content_type else "–"),
                ("Id", log.object_id),
            ],
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self.change_view(request, object_id)  # an entry has no history


def linked(log: LogEntry) -> str:
    """To the object's page, unless it is gone."""
    address = None if log.is_deletion() else log.get_admin_url()
    return format_html('<a href="{}">{}</a>', address, log.object_repr) if address else log.object_repr
