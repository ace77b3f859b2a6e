"""How a model is asked: response format, truncation, reasoning effort, sampling (contract 2.2, 2.5)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, NotRequired, TypedDict

from assistants.serializers.fields import (
    AnyObject,
    Boolean,
    ClosedSerializer,
    Enum,
    Integer,
    Number,
    String,
    Variant,
)
from assistants.serializers.tools import NAME_MAX, NAME_PATTERN


class Effort(StrEnum):
    """How hard a model thinks (contract 2.2)."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class JsonSchema(ClosedSerializer):
    name = String(max=NAME_MAX, min=1, pattern=NAME_PATTERN)
    description = String(required=False, allow_null=True)
    schema = AnyObject(required=False, allow_null=True)
    strict = Boolean(required=False, allow_null=True)


class JsonSchemaFormat(ClosedSerializer):
    json_schema = JsonSchema()


def ResponseFormat() -> Variant:
    """ "auto" or an object; null stands for "auto"."""
    shapes = {"text": None, "json_object": None, "json_schema": JsonSchemaFormat}
    return Variant(shapes, words=("auto",), required=False, allow_null=True)


class AutoTruncation(ClosedSerializer):
    last_messages = Integer(min=1, required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        super().to_internal_value(data)
        return {"last_messages": None}


class LastMessages(ClosedSerializer):
    last_messages = Integer(min=1)


def TruncationStrategy() -> Variant:
    """Always `{"type", "last_messages"}` (contract 2.5); null stands for auto."""
    return Variant({"auto": AutoTruncation, "last_messages": LastMessages}, required=False, allow_null=True)


def ReasoningEffort() -> Enum:
    return Enum(*(effort.value for effort in Effort), required=False, allow_null=True)


def Temperature() -> Number:
    return Number(min=0, max=2, required=False, allow_null=True)


def TopP() -> Number:
    return Number(min=0, max=1, required=False, allow_null=True)


# What answers show ---------------------------------------------------------------------------------------------------


class ShownPlainFormat(TypedDict):
    type: Literal["text", "json_object"]


class ShownJsonSchema(TypedDict):
    name: str
    description: NotRequired[str | None]
    schema: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


class ShownSchemaFormat(TypedDict):
    type: Literal["json_schema"]
    json_schema: ShownJsonSchema


ShownResponseFormat = Literal["auto"] | ShownPlainFormat | ShownSchemaFormat


class ShownTruncation(TypedDict):
    type: Literal["auto", "last_messages"]
    last_messages: int | None
