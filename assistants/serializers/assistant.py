"""The assistant on the wire (contract 2.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

from assistants.clock import unix
from assistants.models import Assistant
from assistants.models.assistant import auto
from assistants.serializers.fields import INSTRUCTIONS_MAX, ClosedSerializer, Metadata, String
from assistants.serializers.options import (
    Effort,
    ReasoningEffort,
    ResponseFormat,
    ShownResponseFormat,
    Temperature,
    TopP,
)
from assistants.serializers.tools import (
    NewToolResources,
    ShownTool,
    ShownToolResources,
    ToolResources,
    Tools,
)

MODEL_MAX = 256
NOT_BLANK = r"[\s\S]*\S[\s\S]*"


def ModelName(**kwargs: Any) -> String:
    return String(max=MODEL_MAX, min=1, pattern=NOT_BLANK, **kwargs)


class AssistantFields(ClosedSerializer):
    """What creation and modification share."""

    name = String(max=256, required=False, allow_null=True)
    description = String(max=512, required=False, allow_null=True)
    instructions = String(max=INSTRUCTIONS_MAX, required=False, allow_null=True)
    tools = Tools(required=False, allow_null=True)
    metadata = Metadata()
    temperature = Temperature()
    top_p = TopP()
    response_format = ResponseFormat()
    reasoning_effort = ReasoningEffort()


class AssistantInput(AssistantFields):
    """The body of a creation. Which model names can be run is the business of `runs`."""

    model = ModelName()
    tool_resources = NewToolResources(required=False, allow_null=True)


class AssistantChanges(AssistantFields):
    """The body of a modification: nothing is required, no store is made."""

    model = ModelName(required=False)
    tool_resources = ToolResources(required=False, allow_null=True)


class WholeAssistant(AssistantFields):
    """All that an assistant is, as a version or a file keeps it: what is absent is at its default, no store is made."""

    model = ModelName()
    tool_resources = ToolResources(required=False, allow_null=True)


def columns(data: dict[str, Any]) -> dict[str, Any]:
    """Validated fields as columns: null stands for the default of those that the wire never shows as null."""
    defaults = {"tools": [], "temperature": 1.0, "top_p": 1.0, "response_format": auto()}
    return {name: defaults.get(name) if value is None else value for name, value in data.items()}


def shown_tool_resources(tools: Iterable[Mapping[str, Any]], stored: ShownToolResources) -> ShownToolResources:
    """`stored`, with the empty list of every enabled tool that works on something and has nothing yet."""
    shown = stored.copy()
    for tool in tools:
        if tool["type"] == "code_interpreter":
            shown.setdefault("code_interpreter", {"file_ids": []})
        elif tool["type"] == "file_search":
            shown.setdefault("file_search", {"vector_store_ids": []})
    return shown


class AssistantObject(TypedDict):
    id: str
    object: Literal["assistant"]
    created_at: int
    name: str | None
    description: str | None
    model: str
    instructions: str | None
    tools: list[ShownTool]
    tool_resources: ShownToolResources
    metadata: dict[str, str]
    temperature: float
    top_p: float
    response_format: ShownResponseFormat
    reasoning_effort: Effort | None


def assistant_object(assistant: Assistant) -> AssistantObject:
    return {
        "id": assistant.id,
        "object": "assistant",
        "created_at": unix(assistant.created_at),
        "name": assistant.name,
        "description": assistant.description,
        "model": assistant.model,
        "instructions": assistant.instructions,
        "tools": assistant.tools,
        "tool_resources": shown_tool_resources(assistant.tools, assistant.tool_resources),
        "metadata": assistant.metadata,
        "temperature": assistant.temperature,
        "top_p": assistant.top_p,
        "response_format": assistant.response_format,
        "reasoning_effort": Effort(assistant.reasoning_effort) if assistant.reasoning_effort else None,
    }
