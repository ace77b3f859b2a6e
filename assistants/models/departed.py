"""Where deleted objects stood in their lists, so that a client can go on walking a list whose objects it deletes."""

from __future__ import annotations

from django.db import models

from assistants import clock

from .project import Project


class Departed(models.Model):
    """`list` is the address of the list below the host; `created_at` and `key` are what the list is sorted by."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    list = models.CharField(max_length=255)
    object_id = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    key = models.CharField(max_length=64)
    departed_at = models.DateTimeField(default=clock.now, db_index=True)

    class Meta:
        indexes = [models.Index(fields=["project", "list", "object_id"])]

    def __str__(self) -> str:
        return f"{self.object_id} of {self.list}"
