"""The event log of a thread: one row per event, numbered without gaps, holding the exact JSON that goes on the wire."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from assistants.clock import now
from assistants.models import Thread

TERMINAL_RUN_EVENTS = (
    "thread.run.completed",
    "thread.run.failed",
    "thread.run.cancelled",
    "thread.run.expired",
    "thread.run.incomplete",
)
DELTAS = ("thread.message.delta", "thread.run.step.delta")


class Event(models.Model):
    """`run_id` is a plain id, empty for events of the thread itself: the log does not know the tables of `runs`."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="events")
    seq = models.BigIntegerField()
    run_id = models.CharField(max_length=64, blank=True, default="")
    name = models.CharField(max_length=64)
    data = models.TextField()
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["thread", "seq"]
        constraints = [
            models.UniqueConstraint(fields=["thread", "seq"], name="event_seq_once"),
            models.UniqueConstraint(
                fields=["run_id"], condition=Q(name__in=TERMINAL_RUN_EVENTS), name="one_terminal_event_per_run"
            ),
        ]
        indexes = [models.Index(fields=["run_id", "seq"])]

    def __str__(self) -> str:
        return f"{self.thread_id}/{self.seq} {self.name}"


class EndedRun(models.Model):
    """A run that is over while its deltas are still in the log: what `retention.py` has left to do."""

    run_id = models.CharField(primary_key=True, max_length=64)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    ended_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.run_id
