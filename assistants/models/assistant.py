"""The assistant: a model with instructions and tools (contract 2.2), and each state it was ever saved in."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from assistants import clock, ids

from .project import Project
from .resources import HoldsResources


def auto() -> str:
    return "auto"


class Assistant(HoldsResources):
    id = models.CharField(primary_key=True, max_length=64, default=ids.new_assistant_id, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="assistants")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    model = models.CharField(max_length=256)
    name = models.CharField(max_length=256, null=True, blank=True)  # noqa: DJ001 (null and "" differ on the wire)
    description = models.CharField(max_length=512, null=True, blank=True)  # noqa: DJ001
    instructions = models.TextField(max_length=256_000, null=True, blank=True)  # noqa: DJ001
    tools = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    temperature = models.FloatField(default=1.0)
    top_p = models.FloatField(default=1.0)
    response_format = models.JSONField(default=auto, blank=True)
    reasoning_effort = models.CharField(max_length=16, null=True, blank=True)  # noqa: DJ001
    version = models.PositiveIntegerField(default=0, editable=False)
    """The number of the AssistantVersion that it is; assistants/versions.py alone moves it. 0: none was recorded."""
    scratch_of = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, editable=False, related_name="+"
    )
    """Whose trial of an unsaved form it is. Such a one is in no list and has no versions."""

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["project", "created_at", "id"])]

    def __str__(self) -> str:
        return self.name or self.id


class AssistantVersion(models.Model):
    """What an assistant was after one save: `body` has the fields that a client may send (contract 2.2)."""

    assistant = models.ForeignKey(Assistant, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=clock.now, editable=False)
    author = models.CharField(max_length=160, blank=True, default="")
    note = models.CharField(max_length=200, blank=True, default="")
    body = models.JSONField()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["assistant", "number"], name="assistant_version_once")]

    def __str__(self) -> str:
        return f"version {self.number}"
