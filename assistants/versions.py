"""Versions of an assistant: every save that changes something is one, whoever made it, and a run says which it used.

The body of a version is what a client could send to make the assistant so (contract 2.2). How two differ is shown by
the admin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from assistants.models import Assistant, AssistantVersion
from assistants.rows import hold

FIELDS = (
    "name",
    "description",
    "model",
    "instructions",
    "tools",
    "tool_resources",
    "metadata",
    "temperature",
    "top_p",
    "response_format",
    "reasoning_effort",
)


def body_of(assistant: Assistant) -> dict[str, Any]:
    """The fields of the assistant that make a version, as they are stored."""
    return {name: getattr(assistant, name) for name in FIELDS}


def record(assistant: Assistant, author: str, note: str = "") -> AssistantVersion | None:
    """Keeps the assistant as it was just saved, as its next version. None where nothing has changed since the last.

    To be called in the transaction of the save. A scratch assistant has no versions.
    """
    if assistant.scratch_of_id is not None:
        return None
    with transaction.atomic():
        hold(Assistant.objects.filter(pk=assistant.pk))
        body = body_of(assistant)
        last = assistant.versions.first()
        if last is not None and same(last.body, body):
            assistant.version = last.number
            return None
        number = last.number + 1 if last else 1
        version = AssistantVersion.objects.create(
            assistant=assistant, number=number, author=author, note=note, body=body
        )
        Assistant.objects.filter(pk=assistant.pk).update(version=number)
        assistant.version = number
    return version


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in FIELDS)
