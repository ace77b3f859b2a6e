"""Which runs the reader of a share sees; what he sees of them is the business of assistants/shared.py."""

from __future__ import annotations

from django.db.models import QuerySet

from assistants.models import Share, Thread
from runs.models import Run
from streaming import journal


def runs_of(thread: Thread, share: Share | None) -> QuerySet[Run]:
    """The runs of `thread`; with a frozen share of it, those that had ended by then.

    Of another thread there are only runs that wrote what the shared one, a fork, has copies of (assistants/shared.py).
    """
    runs = Run.objects.filter(thread=thread)
    if share is None or share.frozen_seq is None or share.thread_id != thread.pk:
        return runs
    return runs.filter(pk__in=journal.ended_runs(thread.pk, share.frozen_seq))


def has_worked(share: Share, assistant_id: str) -> bool:
    """Whether the assistant has a run there, which may have said nothing yet."""
    return runs_of(share.thread, share).filter(assistant_id=assistant_id).exists()
