"""The message: content in the wire's response form (contract 2.7), so that reading it never rewrites it."""

from __future__ import annotations

from django.db import models

from assistants import clock, ids

from .thread import Thread


class Role(models.TextChoices):
    USER = "user"
    ASSISTANT = "assistant"


class MessageStatus(models.TextChoices):
    IN_PROGRESS = "in_progress"
    INCOMPLETE = "incomplete"
    COMPLETED = "completed"


class Message(models.Model):
    """`assistant_id` and `run_id` are plain ids: a message outlives its assistant, and `runs` is not known here."""

    id = models.CharField(primary_key=True, max_length=64, default=ids.new_message_id, editable=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="messages")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    role = models.CharField(max_length=16, choices=Role.choices)
    status = models.CharField(max_length=16, choices=MessageStatus.choices, default=MessageStatus.COMPLETED)
    incomplete_reason = models.CharField(max_length=32, blank=True, default="")
    completed_at = models.DateTimeField(null=True, blank=True)
    incomplete_at = models.DateTimeField(null=True, blank=True)
    content = models.JSONField(default=list)
    attachments = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    assistant_id = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001 (null on the wire)
    run_id = models.CharField(max_length=64, null=True, blank=True, db_index=True)  # noqa: DJ001
    source_thread = models.CharField(  # noqa: DJ001 (null: written here)
        max_length=64, null=True, blank=True, editable=False, help_text="Where a copy was written, and its run is kept."
    )
    source_message = models.CharField(  # noqa: DJ001
        max_length=64, null=True, blank=True, editable=False, help_text="What a copy was called there."
    )
    superseded = models.BooleanField(
        default=False, help_text="An interrupted attempt that a later message of the same run replaced."
    )

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["thread", "created_at", "id"])]

    def __str__(self) -> str:
        return self.id

    @property
    def text(self) -> str:
        """The text parts, joined: for titles, prompts of text-only models and the admin."""
        return "\n".join(part["text"]["value"] for part in self.content if part.get("type") == "text")
