"""The uploaded file: its bytes are in Django's storage under a random name, the user's name is only a label."""

from __future__ import annotations

from django.db import models

from assistants import clock, ids

from .project import Project


class Purpose(models.TextChoices):
    FINE_TUNE = "fine-tune"
    ASSISTANTS = "assistants"
    BATCH = "batch"
    USER_DATA = "user_data"
    VISION = "vision"
    EVALS = "evals"
    ASSISTANTS_OUTPUT = "assistants_output"


def storage_name(instance: File, filename: str) -> str:
    return f"{instance.project_id}/{instance.id}"


class File(models.Model):
    id = models.CharField(primary_key=True, max_length=64, default=ids.new_file_id, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="files")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    filename = models.CharField(max_length=512)
    bytes = models.BigIntegerField(default=0)
    purpose = models.CharField(max_length=32, choices=Purpose.choices)
    blob = models.FileField(upload_to=storage_name, max_length=256)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["project", "created_at", "id"])]

    def __str__(self) -> str:
        return self.filename
