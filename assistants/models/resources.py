"""Tool resources (contract 2.4), as assistants and threads hold them, and the files they name as rows to be found.

A file must be able to leave all of them when it is deleted, however many there are, without reading each one's JSON.
"""

from __future__ import annotations

from typing import Any

from django.db import models

from .file import File


class HoldsResources(models.Model):
    """`named_files` follows `tool_resources` whenever that is saved."""

    tool_resources = models.JSONField(default=dict, blank=True)
    named_files = models.ManyToManyField(File, related_name="+", editable=False)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        is_new = self._state.adding
        super().save(*args, **kwargs)
        changed = kwargs.get("update_fields")
        if changed is None or "tool_resources" in changed:
            ids = self.tool_resources.get("code_interpreter", {}).get("file_ids", [])
            if ids or not is_new:
                self.named_files.set(File.objects.filter(pk__in=ids))
