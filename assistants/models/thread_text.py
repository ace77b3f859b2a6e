"""What can be searched of threads (assistants/retrieval/conversations.py): their titles and their finished messages."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from .thread import Thread


class ThreadText(models.Model):
    """The title of a thread, or, where `message_id` is not null, a message of it. Newer texts have greater keys.

    A plain id, because Django would read every message of a thread that is deleted, to see who points at it.
    """

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    message_id = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 (null: the title)
    text = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["thread"], condition=Q(message_id=None), name="one_title")]

    def __str__(self) -> str:
        return self.message_id or f"title of {self.thread_id}"
