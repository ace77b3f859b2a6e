"""Versions of an assistant: every save that changes something is one, whoever made it, and a run says which it used.

The body of a version is what a client could send to make the assistant so (contract 2.2). `differences.py` tells how
two of them differ, `assistant_files.py` keeps them outside of Kumos.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from rest_framework.exceptions import ValidationError

from assistants import stores
from assistants.errors import from_validation
from assistants.models import Assistant, AssistantVersion
from assistants.rows import hold
from assistants.serializers.assistant import WholeAssistant, columns

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
    return all(same_value(name, one.get(name), other.get(name)) for name in FIELDS)


def same_value(name: str, one: Any, other: Any) -> bool:
    """Whether a field says the same twice. A tool that has an empty list of files or stores has none."""
    if name == "tool_resources":
        one, other = (held_by(value or {}) for value in (one, other))
    return bool(one == other)


def held_by(resources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {tool: held for tool, held in resources.items() if any(held.values())}


def become(assistant: Assistant, body: Mapping[str, Any]) -> None:
    """Makes of the assistant what `body` says, all of it, and leaves saving to the caller.

    The API's serializer judges it, and what it names must be there: else ApiError, and nothing is changed.
    """
    serializer = WholeAssistant(data=body)
    try:
        serializer.is_valid(raise_exception=True)
    except ValidationError as error:
        raise from_validation(error) from None
    data = columns({**dict.fromkeys(FIELDS), **serializer.validated_data})
    data["metadata"] = data["metadata"] or {}
    data["tool_resources"] = stores.resolve_tool_resources(assistant.project, data["tool_resources"])
    for name, value in data.items():
        setattr(assistant, name, value)


@transaction.atomic
def roll_back(assistant: Assistant, number: int, author: str) -> AssistantVersion | None:
    """Makes the assistant what it was, as a new version. None where it is so already.

    ApiError where a file or a store of that time is gone; AssistantVersion.DoesNotExist where there is no such version.
    """
    hold(Assistant.objects.filter(pk=assistant.pk))
    assistant.refresh_from_db()
    version = assistant.versions.get(number=number)
    if same(version.body, body_of(assistant)):
        return None
    become(assistant, version.body)
    assistant.save()
    return record(assistant, author, f"Back to version {number}")
