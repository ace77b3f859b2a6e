"""The thread: messages in order, and the counter of its event log (contract 2.6; design P3)."""

from __future__ import annotations

from django.db import models

from assistants import clock, ids

from .project import Project
from .resources import HoldsResources


class Threads(models.Manager["Thread"]):
    """Those that have not departed."""

    def get_queryset(self) -> models.QuerySet[Thread]:
        return super().get_queryset().filter(departed_at=None)


class Thread(HoldsResources):
    id = models.CharField(primary_key=True, max_length=64, default=ids.new_thread_id, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="threads")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    metadata = models.JSONField(default=dict, blank=True)
    last_seq = models.BigIntegerField(
        default=0, editable=False, help_text="Sequence number of the newest event. Its row lock orders the log."
    )

    active_run_id = models.CharField(  # noqa: DJ001 (null: none)
        max_length=64,
        null=True,
        blank=True,
        editable=False,
        help_text="The run that locks this thread. A mirror for message creation; the runs' own unique index decides.",
    )

    # Plain ids: a fork outlives what it was forked from. What they say exactly: assistants/forks.py.
    family = models.CharField(  # noqa: DJ001 (null: no fork)
        max_length=64, null=True, blank=True, editable=False, help_text="The thread all forks around it began with."
    )
    forked_from = models.CharField(  # noqa: DJ001
        max_length=64, null=True, blank=True, editable=False, help_text="The thread it shares its beginning with."
    )
    forked_after = models.CharField(  # noqa: DJ001 (null: before the first)
        max_length=64, null=True, blank=True, editable=False, help_text="The last message they share, by its id there."
    )

    departed_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="It was deleted, and what belonged to it is being removed. Its row goes last.",
    )

    objects = Threads()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["project", "created_at", "id"]),
            models.Index(fields=["family"], condition=models.Q(family__isnull=False), name="thread_family"),
            models.Index(fields=["departed_at"], condition=models.Q(departed_at__isnull=False), name="thread_departed"),
        ]
        permissions = [("read_content", "Can read what people and models wrote")]

    def __str__(self) -> str:
        return self.id
