"""The processes that run runs, as they report themselves."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib import admin

from assistants import clock
from assistants.admin.lists import ReadOnlyAdmin
from assistants.admin.markup import ago, badge
from runs.models import Worker


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("id", "host", "pid", "slots", "state", "last_beat", "started_at")
    list_display_links = None

    @admin.display(description="State")
    def state(self, worker: Worker) -> str:
        if worker.beat_at < clock.now() - timedelta(seconds=settings.KUMOS_LEASE_SECONDS):
            return badge("silent")
        return badge("draining" if worker.draining else "alive")

    @admin.display(description="Last beat")
    def last_beat(self, worker: Worker) -> str:
        return ago(worker.beat_at)
