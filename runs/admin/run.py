"""The list of runs. The page of one run is put together in `run_page.py`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ActionLocation
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from assistants.admin.lists import ReadOnlyAdmin
from assistants.admin.markup import clipped, moment, page_of, titled
from assistants.errors import ApiError
from assistants.models import Assistant, Thread
from runs.models import ACTIVE, Run
from runs.transitions import cancel_run

from . import live, run_page
from .outcome import tokens, told, took, trouble

RUNS_BESIDE = 50
CANCELLED_AT_ONCE = 500


def runs_of_thread(thread: Thread) -> SafeString:
    """The newest runs of a thread, for the thread's page."""
    runs = thread.runs.defer(*RunAdmin.list_defer).order_by("-created_at", "-id")[:RUNS_BESIDE]
    rows = [
        (page_of(Run, run.id), run.id, told(run, "status"), told(run, "took"), tokens(run), trouble(run))
        for run in runs
    ]
    return mark_safe(render_to_string("admin/runs/run/beside.html", {"rows": rows}))


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "assistant", "created", "cost")
    list_filter = ("status",)
    list_select_related = ("thread",)
    list_defer = (
        "instructions",
        "tools",
        "tool_resources",
        "metadata",
        "response_format",
        "tool_choice",
        "truncation_strategy",
        "include",
        "required_action",
    )
    search_fields = ("id__exact", "thread_id__exact")
    search_help_text = "The whole id of a run or of a thread."
    change_form_template = "admin/runs/run/page.html"
    actions = ("cancel",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        name = Assistant.objects.filter(pk=OuterRef("assistant_id")).order_by().values("name")
        return Run.objects.annotate(assistant_name=Subquery(name))

    def get_urls(self) -> list[Any]:
        live_address = path("live/", self.admin_site.admin_view(live.watch), name="runs_run_live")
        return [live_address, *super().get_urls()]

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("runs.change_run")

    @admin.action(
        permissions=["cancel"],
        description="Cancel this run",
        description_plural="Cancel selected runs",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def cancel(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        active = list(runs.filter(status__in=ACTIVE)[:CANCELLED_AT_ONCE])
        cancelled = 0
        for run in active:
            try:
                cancel_run(run)
            except ApiError as error:  # it ended meanwhile
                self.message_user(request, f"{run.pk}: {error}", messages.WARNING)
            else:
                cancelled += 1
                self.log_change(request, run, "Cancelled.")
        if len(active) == CANCELLED_AT_ONCE:
            text = f"The first {CANCELLED_AT_ONCE} of them; there may be more."
            self.message_user(request, text, messages.WARNING)
        if cancelled:
            self.message_user(request, f"{cancelled} told to stop.", messages.SUCCESS)
        elif not active:
            self.message_user(request, "Nothing to cancel: it has ended already.", messages.WARNING)

    @admin.display(description="Status")
    def state(self, run: Run) -> str:
        reason = clipped(trouble(run), 120)
        return format_html('{}<br><span class="kumos-trouble">{}</span>', told(run, "status"), reason)

    @admin.display(description="Assistant and model")
    def assistant(self, run: Any) -> str:
        name = clipped(run.assistant_name or run.assistant_id, 40)
        return titled(name, clipped(run.model, 40))

    @admin.display(description="Created")
    def created(self, run: Run) -> str:
        return moment(run.created_at)

    @admin.display(description="Duration and tokens")
    def cost(self, run: Run) -> str:
        return titled(took(run), f"{tokens(run)} tokens")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context.update(run_page.shown(request, kwargs["obj"]))
        return super().render_change_form(request, context, *args, **kwargs)
