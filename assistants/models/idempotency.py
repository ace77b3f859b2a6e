"""Requests with an Idempotency-Key, and what was answered to them (assistants/idempotency.py)."""

from __future__ import annotations

from django.db import models

from assistants import clock

from .project import Project


class Answered(models.Model):
    """Committed together with what the request did, so a row that can be seen is always whole.

    `fingerprint` tells the request from others with its key. `stream` is where a streamed answer began, and null for
    the others, whose text is in `body`.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=clock.now, db_index=True)
    status = models.PositiveSmallIntegerField(default=200)
    headers = models.JSONField(default=dict)
    body = models.TextField(default="")
    stream = models.JSONField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "key"], name="idempotency_key_once_per_project")]

    def __str__(self) -> str:
        return self.key
