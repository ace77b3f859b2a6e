"""The list of runs, and what is done to those that are ticked. The page of one run is put together in `run_page.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ActionLocation
from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from assistants import clock, trials
from assistants.admin import audit
from assistants.admin.lists import BoundedChangeList, ReadOnlyAdmin
from assistants.admin.markup import clipped, moment, page_of, titled
from assistants.errors import ApiError
from assistants.models import Assistant, Thread
from runs.models import ACTIVE, Run, UsageRecord
from runs.transitions import cancel_run, retry_run

from . import actions_page, bundle, live, run_page, run_stream, triage
from .actions import ACTIONS, PERMISSION
from .narrowing import PARAMETERS, Narrowing, maker_of, makers
from .outcome import dollars, tokens, told, trouble
from .run_filters import FILTERS

RUNS_BESIDE = 50
DONE_AT_ONCE = 500
LOGGED = ("status", "assistant_id", "model", "made_by", "retry_of", "cancelled_at")


def runs_of_thread(thread: Thread) -> SafeString:
    """The newest runs of a thread, for the thread's page."""
    runs = thread.runs.defer(*RunAdmin.list_defer).order_by("-created_at", "-id")[:RUNS_BESIDE]
    rows = [
        (page_of(Run, run.id), run.id, told(run, "status"), told(run, "took"), tokens(run), trouble(run))
        for run in runs
    ]
    return mark_safe(render_to_string("admin/runs/run/beside.html", {"rows": rows}))


def logged(run: Run) -> dict[str, Any]:
    """What the audit log keeps of a run: nothing that people or models wrote, for not everybody may read that."""
    return {name: getattr(run, name) for name in LOGGED}


class RunChangeList(BoundedChangeList):
    """Narrowed by `narrowing.py`; who made the runs of the page and what they cost is asked once for all of them."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        self.narrowing = Narrowing.of(request.GET)
        self.words = partial(self.narrowing.words, partial(maker_of, request))  # asked by the template, after the rows
        rows, self.looked_since = self.narrowing.quickly(super().get_queryset(request, exclude_parameters))
        return rows

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page: list[Any] = list(self.result_list)
        names = makers(request, [run.made_by for run in page])
        ended = [run.pk for run in page if run.status not in ACTIVE]
        costs = dict(UsageRecord.objects.filter(pk__in=ended).order_by().values_list("run_id", "cost"))
        for run in page:
            run.maker = names.get(run.made_by, run.made_by)
            run.price = dollars(costs[run.pk]) if run.pk in costs else "–"
        self.result_list = page


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ("made", "state", "assistant", "made_for", "lasted", "cost")
    list_filter = FILTERS
    list_select_related = ("project",)
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
    search_fields = ("id__exact", "thread_id__exact", "request_id__exact")
    search_help_text = "The whole id of a run, of a thread or of a request (x-request-id)."
    change_form_template = "admin/runs/run/page.html"
    actions = ("cancel", "retry")

    def get_urls(self) -> list[Any]:
        site = self.admin_site.admin_view
        return [
            path("live/", site(live.watch), name="runs_run_live"),
            path("errors/", site(self.errors), name="runs_run_errors"),
            path("all/<str:action>/", site(self.act_on_all), name="runs_run_all"),
            path("<path:run_id>/stream/", site(run_stream.follow), name="runs_run_stream"),
            path("<path:run_id>/bundle/", site(self.bundle), name="runs_run_bundle"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        row = Assistant.objects.filter(pk=OuterRef("assistant_id")).order_by()
        name = row.values(called=Coalesce(NullIf("name", Value("")), "id"))
        return Run.objects.annotate(
            assistant_name=Subquery(name), is_trial=Exists(row.filter(scratch_of__isnull=False))
        )

    # The list -----------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RunChangeList]:
        return RunChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return lookup in (*PARAMETERS, "status__exact")  # any other column could be slow

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return queryset, False  # the narrowing looks for ids

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        narrowing = Narrowing.of(request.GET)
        if narrowing.q and narrowing.is_sound and request.method == "GET" and self.has_view_permission(request):
            found = Run.objects.filter(narrowing.found()).order_by().values_list("pk", "thread_id")[:2]
            if len(found) == 1 and narrowing.q != found[0][1]:  # a thread's only run may not be the one that is meant
                return HttpResponseRedirect(page_of(Run, found[0][0]))
        given = {
            "all_actions": [
                (narrowing.action_href(action.name), action.title)
                for action in ACTIONS.values()
                if request.user.has_perm(PERMISSION)
            ],
            "errors_href": reverse("admin:runs_run_errors"),
            "empty": self.first_steps(request),
            "asked_at": round(clock.now().timestamp() * 1000),
        }
        return super().changelist_view(request, {**given, **(extra_context or {})})

    def first_steps(self, request: HttpRequest) -> dict[str, str]:
        """What an empty list proposes."""
        newest = Assistant.objects.filter(scratch_of=None).order_by("-created_at")
        return {
            "base": request.build_absolute_uri("/v1"),
            "assistant": newest.values_list("pk", flat=True).first() or "",
            "add": reverse("admin:assistants_assistant_add"),
        }

    @admin.display(description="Run")
    def made(self, run: Run) -> str:
        return titled(moment(run.created_at), run.pk)

    @admin.display(description="Status")
    def state(self, run: Run) -> str:
        return format_html('{}<br><span class="kumos-trouble">{}</span>', told(run, "status"), told(run, "trouble"))

    @admin.display(description="Assistant, model")
    def assistant(self, run: Any) -> str:
        name = trials.called(run.assistant_name) if run.is_trial else run.assistant_name or run.assistant_id
        version = f" v{run.assistant_version}" if run.assistant_version else ""
        return titled(f"{clipped(name, 40)}{version}", clipped(run.model, 40))

    @admin.display(description="Project, made by")
    def made_for(self, run: Any) -> str:
        return titled(clipped(str(run.project), 40), clipped(run.maker, 40))

    @admin.display(description="Duration")
    def lasted(self, run: Run) -> str:
        return titled(told(run, "took"), format_html("first {}", told(run, "first")))

    @admin.display(description="Tokens, cost")
    def cost(self, run: Any) -> str:
        return titled(told(run, "tokens"), run.price)

    # What is done to those that are ticked, or to the one of a page ------------------------------------------------

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(PERMISSION)

    @admin.action(
        permissions=["act"],
        description="Cancel this run",
        description_plural="Cancel selected runs",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def cancel(self, request: HttpRequest, runs: QuerySet[Run]) -> HttpResponse | None:
        if request.POST.get("select_across") == "1":
            return HttpResponseRedirect(Narrowing.of(request.GET).action_href("cancel"))
        active = list(runs.filter(status__in=ACTIVE)[:DONE_AT_ONCE])
        cancelled = self.each(request, active, cancel_run, "Cancelled.")
        if cancelled:
            self.message_user(request, f"{len(cancelled)} told to stop.", messages.SUCCESS)
        elif not active:
            self.message_user(request, "Nothing to cancel: it has ended already.", messages.WARNING)
        return None

    @admin.action(
        permissions=["act"],
        description="Retry this run",
        description_plural="Retry selected runs",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def retry(self, request: HttpRequest, runs: QuerySet[Run]) -> HttpResponse | None:
        """Ends on the page of the new run, if it was the page of the old one that it began on."""
        if request.POST.get("select_across") == "1":
            return HttpResponseRedirect(Narrowing.of(request.GET).action_href("retry"))
        made_by = f"user {request.user.pk}"
        created = self.each(
            request, list(runs[:DONE_AT_ONCE]), lambda run: retry_run(run, made_by).run, "Retried.", "Retry of {}."
        )
        if not created:
            return None
        self.message_user(request, f"{len(created)} begun anew.", messages.SUCCESS)
        is_page = request.resolver_match is not None and request.resolver_match.url_name == "runs_run_change"
        return HttpResponseRedirect(page_of(Run, created[0].pk)) if is_page else None

    def each(
        self, request: HttpRequest, runs: list[Run], act: Callable[[Run], Run], done: str, made: str = ""
    ) -> list[Run]:
        """What became of those that `act` did not refuse; `made` is noted of what is a run of its own."""
        became = []
        for run in runs:
            was = logged(run)
            try:
                now = act(run)
            except ApiError as error:
                self.message_user(request, f"{run.pk}: {error}", messages.WARNING)
                continue
            became.append(now)
            if made:
                self.log_change(request, run, audit.said(done, Run, {}, {"retried by": now.pk}))
                self.log_addition(request, now, audit.made(made.format(run.pk), now, logged(now)))
            else:
                self.log_change(request, run, audit.said(done, Run, was, logged(now)))
        return became

    # Pages of their own -------------------------------------------------------------------------------------------

    def errors(self, request: HttpRequest) -> HttpResponse:
        return triage.page(self, request)

    def act_on_all(self, request: HttpRequest, action: str) -> HttpResponse:
        return actions_page.page(self, request, action)

    def bundle(self, request: HttpRequest, run_id: str) -> FileResponse:
        return bundle.download(self, request, run_id)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context.update(run_page.shown(request, kwargs["obj"], context))
        return super().render_change_form(request, context, *args, **kwargs)
