"""How long the log keeps deltas: until a run has been over for KUMOS_DELTA_KEEP_SECONDS. All other events stay.

Life-cycle events carry the whole state (`thread.message.completed` the whole text), so whoever comes later loses
nothing but the typing. A run that is not over keeps all its events: readers follow it, and a worker that takes it over
reads what was streamed. A run's deltas go from the last one backwards, so a reader who meets this sees the beginning of
a text and then the whole of it. The numbers of what is gone are not used again: the log then has holes.
"""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from assistants.clock import shared_now
from assistants.failpoints import failpoint
from streaming.models import DELTAS, EndedRun, Event

ROWS_PER_TRANSACTION = 1_000
RUNS_PER_TRANSACTION = 50
TRANSACTIONS = 50


def compact() -> int:
    """Deletes what is due, as much as one call should. Returns how many events; harmless in several processes at once.

    Writers get their turn between its short transactions.
    """
    total = 0
    for _ in range(TRANSACTIONS):
        began = time.monotonic()
        count, more = _compact_some()
        total += count
        if not more:
            break
        time.sleep(time.monotonic() - began)
    return total


@transaction.atomic
def _compact_some() -> tuple[int, bool]:
    """How many events are gone, and whether more are due."""
    due = EndedRun.objects.filter(ended_at__lt=shared_now() - timedelta(seconds=settings.KUMOS_DELTA_KEEP_SECONDS))
    run_ids = list(due.order_by("ended_at").values_list("pk", flat=True)[:RUNS_PER_TRANSACTION])
    left = ROWS_PER_TRANSACTION
    for run_id in run_ids:
        last = Event.objects.filter(run_id=run_id, name__in=DELTAS).order_by("-seq").values("pk")[:left]
        count, _ = Event.objects.filter(pk__in=last).delete()
        failpoint("log.compacted.half")
        left -= count
        if not left:  # this run may have more of them
            return ROWS_PER_TRANSACTION, True
        EndedRun.objects.filter(pk=run_id).delete()
    return ROWS_PER_TRANSACTION - left, len(run_ids) == RUNS_PER_TRANSACTION
