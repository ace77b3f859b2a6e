"""What the versions of an assistant did lately, for their list in the assistant's page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Count, Q

from assistants import clock
from assistants.admin.assistant_versions import Use
from runs.models import Run, RunStatus

from .narrowing import Narrowing

LATELY = timedelta(days=7)


def use_of_versions(assistant_id: str, numbers: Sequence[int]) -> dict[int, Use]:
    """Version → its runs of the last seven days; a version without any is left out. One look at one index."""
    lately = Run.objects.filter(
        assistant_id=assistant_id, created_at__gt=clock.now() - LATELY, assistant_version__in=numbers
    )
    failed = Count("id", filter=Q(status=RunStatus.FAILED))
    counts = lately.order_by().values_list("assistant_version").annotate(all=Count("id"), failed=failed)
    return {
        number: Use(runs, failed, Narrowing(assistant=assistant_id, version=str(number), since="week").href)
        for number, runs, failed in counts
        if number is not None
    }
