"""Runners: the processes that run runs, as they report themselves; what each holds, and having one claim nothing more.

Above the list is what hangs: runs whose worker is silent, and the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import ActionLocation
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from assistants.admin import audit
from assistants.admin.lists import ReadOnlyAdmin, capped_count, spoken
from assistants.admin.markup import badge, duration, moment, page_of
from assistants.clock import shared_now
from runs import queue
from runs.models import HELD, Run, RunStatus, Worker

FORGOTTEN_AFTER = timedelta(days=1)
"""A runner that was silent for longer is not listed. Any runner that lives strikes dead ones off; here none may."""
HELD_READ = 2000
NAMED = 5
STUCK_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Held:
    """A run that a runner works on. `lease` says how long ago it was renewed, in words."""

    id: str
    href: str
    model: str
    state: SafeString
    since: str
    lease: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The queue: how many runs wait, and for how long the oldest has."""

    count: str
    oldest: str


def held_by(workers: Sequence[str], moment: datetime) -> dict[str, list[Held]]:
    """What each of the `workers` holds, by the index over what is held by anybody."""
    found: dict[str, list[Held]] = {worker: [] for worker in workers}
    runs = Run.objects.filter(status__in=HELD, worker_id__in=workers).order_by("started_at")
    for run in runs.only("id", "model", "status", "worker_id", "started_at", "lease_until")[:HELD_READ]:
        found[run.worker_id].append(held(run, moment))
    return found


def look_at(workers: Sequence[Any]) -> None:
    """Notes with each what it holds, and when that was: the shared clock costs a query where others share it."""
    moment = shared_now()
    found = held_by([worker.pk for worker in workers], moment)
    for worker in workers:
        worker.held, worker.seen_at = found[worker.pk], moment


def held(run: Run, moment: datetime) -> Held:
    return Held(
        run.pk,
        page_of(Run, run.pk),
        run.model,
        badge(run.status),
        duration(moment - run.started_at if run.started_at else None),
        lease_of(run, moment),
    )


def lease_of(run: Run, moment: datetime) -> str:
    if run.lease_until is None:
        return "handed back"
    if run.lease_until < moment:
        return f"ran out {duration(moment - run.lease_until)} ago"
    renewed = run.lease_until - timedelta(seconds=settings.KUMOS_LEASE_SECONDS)
    return f"renewed {duration(moment - renewed)} ago"


def stuck_runs(moment: datetime) -> QuerySet[Run]:
    """Those whose lease ran out more than another lease ago, and that nobody took over."""
    given_up = moment - timedelta(seconds=settings.KUMOS_LEASE_SECONDS)
    return Run.objects.filter(status__in=HELD, lease_until__lt=given_up).order_by("lease_until")


def waiting() -> Waiting:
    queued = Run.objects.filter(status=RunStatus.QUEUED)
    oldest = queued.order_by("created_at").values_list("created_at", flat=True).first()
    return Waiting(spoken(capped_count(queued)), duration(shared_now() - oldest) if oldest else "")


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    empty_hint = (
        "Runs wait in the queue until one comes. “manage.py serve” has one inside; “manage.py runworker” is one beside"
        " “serve --web”."
    )
    list_display = ("runner", "state", "in_use", "holds", "last_beat", "started")
    change_list_template = "admin/runs/worker/change_list.html"
    change_form_template = "admin/runs/worker/page.html"
    actions = ("drain", "undrain")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Worker.objects.filter(beat_at__gt=shared_now() - FORGOTTEN_AFTER)

    # What is shown ------------------------------------------------------------------------------------------------

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        look_at(changelist.result_list)
        return changelist

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = dict(extra_context or {})
        if self.has_view_permission(request):
            moment = shared_now()
            context["stuck"] = [held(run, moment) for run in stuck_runs(moment)[:STUCK_SHOWN]]
            context["waiting"] = waiting()
        return super().changelist_view(request, context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        worker = kwargs["obj"]
        look_at([worker])
        if (form := context.get("action_form")) is not None:
            useless = "drain" if worker.drain_asked else "undrain"
            action = form.fields["action"]
            action.choices = [choice for choice in action.choices if choice[0] != useless]
        context.update(
            title="Runner",
            state=self.state(worker),
            held=worker.held,
            facts=[
                ("Host", worker.host),
                ("Process", worker.pid),
                ("Slots", self.in_use(worker)),
                ("Last beat", f"{self.last_beat(worker)} ({moment(worker.beat_at)})"),
                ("Started", moment(worker.started_at)),
                ("Id", worker.pk),
            ],
        )
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="Runner")
    def runner(self, worker: Worker) -> str:
        return format_html('{}<br><span class="kumos-id">process {}</span>', worker.host, worker.pid)

    @admin.display(description="State")
    def state(self, worker: Any) -> SafeString:
        if worker.beat_at < worker.seen_at - timedelta(seconds=settings.KUMOS_LEASE_SECONDS):
            return badge("silent")
        if worker.drain_asked:  # it hears of that with its next beat
            return badge("draining" if worker.held or not worker.draining else "drained")
        return badge("draining" if worker.draining else "alive")

    @admin.display(description="Slots in use")
    def in_use(self, worker: Any) -> str:
        if not worker.slots:
            return "for one run alone"
        return f"{len(worker.held):,} of {worker.slots:,}"

    @admin.display(description="Holds")
    def holds(self, worker: Any) -> SafeString | str:
        if not worker.held:
            return "–"
        rows = ((one.href, one.id, one.lease) for one in worker.held[:NAMED])
        listed = format_html_join("", '<a href="{}">{}</a> <span class="kumos-id">{}</span><br>', rows)
        more = len(worker.held) - NAMED
        return format_html("{}{}", listed, f"and {more:,} more" if more > 0 else "")

    @admin.display(description="Last beat")
    def last_beat(self, worker: Any) -> str:
        return f"{duration(worker.seen_at - worker.beat_at)} ago"

    @admin.display(description="Started")
    def started(self, worker: Worker) -> str:
        return moment(worker.started_at)

    # Draining -----------------------------------------------------------------------------------------------------

    def has_drain_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("runs.change_worker")

    @admin.action(
        permissions=["drain"],
        description="Drain this runner",
        description_plural="Drain selected runners",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def drain(self, request: HttpRequest, workers: QuerySet[Worker]) -> None:
        self._ask(request, workers, True, "told to claim nothing more", "It ends what it has; others take the queue.")

    @admin.action(
        permissions=["drain"],
        description="Undrain this runner",
        description_plural="Undrain selected runners",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def undrain(self, request: HttpRequest, workers: QuerySet[Worker]) -> None:
        self._ask(request, workers, False, "told to claim again", "")

    def _ask(self, request: HttpRequest, workers: QuerySet[Worker], drain: bool, told: str, then: str) -> None:
        done = 0
        for worker in workers.filter(slots__gt=0):  # one with a single run claims nothing anyhow
            if queue.ask_to_drain(worker, drain):
                was = audit.values_of(worker)
                worker.drain_asked = drain
                self.log_change(request, worker, audit.told(f"{told.capitalize()}.", was, worker))
                done += 1
        if not done:
            self.message_user(request, "Nothing to do: that is so already.", messages.WARNING)
            return
        seconds = f"Within {settings.KUMOS_BEAT_SECONDS:g} seconds, with the next beat."
        self.message_user(request, " ".join(filter(None, [f"{done} {told}.", seconds, then])), messages.SUCCESS)
        if drain and not Worker.objects.filter(slots__gt=0, drain_asked=False, draining=False).exists():
            self.message_user(request, "Now no runner claims anything: new runs wait in the queue.", messages.WARNING)
