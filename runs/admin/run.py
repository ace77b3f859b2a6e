"""The list of runs and the page of one run. What the page tells is put together in `timeline.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ActionLocation
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from assistants import clock
from assistants.admin.lists import ReadOnlyAdmin
from assistants.admin.markup import (
    badge,
    chat_link,
    clipped,
    duration,
    error_in_words,
    json_block,
    link,
    list_of,
    moment,
    page_of,
    titled,
)
from assistants.errors import ApiError
from assistants.models import Assistant, Message, Project, Thread
from runs.models import ACTIVE, Run, RunStatus
from runs.transitions import cancel_run

from .timeline import STEPS_SHOWN, log_of, steps_of

RUNS_BESIDE = 50
CANCELLED_AT_ONCE = 500


def ended(run: Run) -> datetime | None:
    return run.completed_at or run.failed_at or run.cancelled_at or (None if run.status in ACTIVE else run.expires_at)


def took(run: Run) -> str:
    """From creation to the end, or until now."""
    return duration((ended(run) or clock.now()) - run.created_at)


def tokens(run: Run) -> str:
    return f"{run.usage.get('total_tokens', 0):,}" if run.usage else "–"


def trouble(run: Run) -> str:
    """Why a run did not simply complete, in words; nothing for one that did."""
    if run.last_error:
        return error_in_words(run.last_error)
    if run.incomplete_reason:
        return f"Stopped early: {run.incomplete_reason.replace('_', ' ')}"
    if run.status == RunStatus.EXPIRED:
        return "Not finished within its time"
    return ""


def runs_of_thread(thread: Thread) -> SafeString:
    """The newest runs of a thread, for the thread's page."""
    runs = thread.runs.defer(*RunAdmin.list_defer).order_by("-created_at", "-id")[:RUNS_BESIDE]
    rows = [(page_of(Run, run.id), run.id, badge(run.status), took(run), tokens(run), trouble(run)) for run in runs]
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
        return format_html('{}<br><span class="kumos-trouble">{}</span>', badge(run.status), reason)

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
        run = kwargs["obj"]
        steps = steps_of(run)
        if run.status not in ACTIVE:
            context["action_form"] = None  # nothing left to cancel
        context.update(
            title="Run",
            state=badge(run.status),
            trouble=trouble(run),
            facts=header_of(run),
            asked=asked_of(run),
            steps=steps,
            steps_shown=STEPS_SHOWN if len(steps) == STEPS_SHOWN else 0,
            log=log_of(run),
            chat_link=chat_link(thread=run.thread_id),
        )
        return super().render_change_form(request, context, *args, **kwargs)


def header_of(run: Any) -> list[tuple[str, object]]:
    """Who ran what, when, how long and at what price."""
    usage = run.usage or {}
    spent = (
        f"{usage.get('prompt_tokens', 0):,} in + {usage.get('completion_tokens', 0):,} out"
        f" = {usage.get('total_tokens', 0):,}"
        if usage
        else "–"
    )
    return [
        ("Id", run.id),
        ("Thread", link(Thread, run.thread_id)),
        (
            "Assistant",
            link(Assistant, run.assistant_id, run.assistant_name) if run.assistant_name else run.assistant_id,
        ),
        ("Project", link(Project, run.project_id, str(run.project))),
        ("Model", run.model),
        ("Messages", format_html('<a href="{}">written by this run</a>', list_of(Message, q=run.id))),
        ("Created", moment(run.created_at)),
        ("Started", moment(run.started_at)),
        ("Ended", moment(ended(run))),
        ("Duration", took(run)),
        ("Tokens", spent),
        ("Worker", f"{run.worker_id} (attempt {run.epoch}, {run.crash_attempts} crashes)" if run.worker_id else "–"),
    ]


def asked_of(run: Run) -> list[tuple[str, object]]:
    """The assistant and the overrides as they were when the run was made."""
    facts: list[tuple[str, object]] = [
        ("Instructions", format_html('<div class="kumos-text">{}</div>', clipped(run.instructions or "–"))),
        ("Tools", json_block(run.tools)),
        ("Tool choice", json_block(run.tool_choice)),
        ("Temperature", run.temperature),
        ("Top p", run.top_p),
        ("Response format", json_block(run.response_format)),
        ("Truncation", json_block(run.truncation_strategy)),
        ("Token budgets", f"in {run.max_prompt_tokens or '–'}, out {run.max_completion_tokens or '–'}"),
        ("Metadata", json_block(run.metadata)),
    ]
    if run.required_action:
        facts.insert(0, ("Waits for", json_block(run.required_action)))
    return facts
