"""The message on the wire (contract 2.7): what a client may send, and the form in which it is kept and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from django.db.models import TextChoices

from assistants.clock import unix
from assistants.models import Message, MessageStatus
from assistants.models.message import Role
from assistants.serializers.fields import Array, ClosedSerializer, Enum, Id, Metadata, String, Variant, WireField
from assistants.serializers.refusals import check_length, wrong_type

TEXT_MAX = 256_000
MESSAGES_MAX = 512
"""How many come in one request. A bound of this server: they are stored in one transaction, and others wait for it."""


def Detail() -> Enum:
    return Enum("auto", "low", "high", required=False, allow_null=True)


class ImageUrl(ClosedSerializer):
    url = String(pattern=r"(https?://|data:image/).+")  # fetched by the run (runs/images.py)
    detail = Detail()


class ImageFile(ClosedSerializer):
    file_id = Id("file")
    detail = Detail()


class TextPart(ClosedSerializer):
    text = String(max=TEXT_MAX, min=1)


class ImageUrlPart(ClosedSerializer):
    image_url = ImageUrl()


class ImageFilePart(ClosedSerializer):
    image_file = ImageFile()


PARTS = Array(Variant({"text": TextPart, "image_url": ImageUrlPart, "image_file": ImageFilePart}), min=1)


class Content(WireField):
    """A string or an array of parts; the outcome is always the parts as answers show them."""

    expected = "one of a string or array of objects"

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if isinstance(data, str):
            return [text_part(check_length(data, TEXT_MAX, 1))]
        if not isinstance(data, list):
            raise wrong_type(self.expected, data)
        return [kept_part(part) for part in PARTS.run_validation(data)]


def text_part(value: str) -> dict[str, Any]:
    return {"type": "text", "text": {"value": value, "annotations": []}}


def kept_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """A validated request part in the response's form."""
    kind = part["type"]
    if kind == "text":
        return text_part(part["text"])
    return {"type": kind, kind: {**part[kind], "detail": part[kind].get("detail") or "auto"}}


class Attachment(ClosedSerializer):
    file_id = Id("file")
    tools = Array(Variant({"code_interpreter": None, "file_search": None}), required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {"file_id": attrs["file_id"], "tools": attrs.get("tools") or []}


class MessageInput(ClosedSerializer):
    """The body of a creation, also inside `messages` and `additional_messages`."""

    role = Enum("user", "assistant")
    content = Content()
    attachments = Array(Attachment(), required=False, allow_null=True)
    metadata = Metadata()


def Messages() -> Array:
    return Array(MessageInput(), max=MESSAGES_MAX, required=False, allow_null=True)


class MetadataChanges(ClosedSerializer):
    """The body of every modification that may only change metadata."""

    metadata = Metadata()


class CitedFile(TypedDict):
    file_id: str


class FileCitation(TypedDict):
    type: Literal["file_citation"]
    text: str
    start_index: int
    end_index: int
    file_citation: CitedFile


class FilePath(TypedDict):
    type: Literal["file_path"]
    text: str
    start_index: int
    end_index: int
    file_path: CitedFile


class ShownText(TypedDict):
    value: str
    annotations: list[FileCitation | FilePath]


class ShownTextPart(TypedDict):
    type: Literal["text"]
    text: ShownText


class ShownImageUrl(TypedDict):
    url: str
    detail: Literal["auto", "low", "high"]


class ShownImageUrlPart(TypedDict):
    type: Literal["image_url"]
    image_url: ShownImageUrl


class ShownImageFile(TypedDict):
    file_id: str
    detail: Literal["auto", "low", "high"]


class ShownImageFilePart(TypedDict):
    type: Literal["image_file"]
    image_file: ShownImageFile


class ShownRefusalPart(TypedDict):
    type: Literal["refusal"]
    refusal: str


ShownPart = ShownTextPart | ShownImageUrlPart | ShownImageFilePart | ShownRefusalPart


class ShownAttachmentTool(TypedDict):
    type: Literal["code_interpreter", "file_search"]


class ShownAttachment(TypedDict):
    file_id: str
    tools: list[ShownAttachmentTool]


class IncompleteReason(TextChoices):
    CONTENT_FILTER = "content_filter"
    MAX_TOKENS = "max_tokens"
    RUN_CANCELLED = "run_cancelled"
    RUN_EXPIRED = "run_expired"
    RUN_FAILED = "run_failed"


class IncompleteMessage(TypedDict):
    reason: IncompleteReason


class CopiedFrom(TypedDict):
    """Where a message of a fork was written; its run, if it has one, is there."""

    thread_id: str
    message_id: str


class MessageObject(TypedDict):
    id: str
    object: Literal["thread.message"]
    created_at: int
    thread_id: str
    status: MessageStatus
    incomplete_details: IncompleteMessage | None
    completed_at: int | None
    incomplete_at: int | None
    role: Role
    content: list[ShownPart]
    assistant_id: str | None
    run_id: str | None
    attachments: list[ShownAttachment]
    metadata: dict[str, str]
    copied_from: NotRequired[CopiedFrom]


def message_object(message: Message) -> MessageObject:
    """All fields always, as in stream events. On the streaming path: a dict, no serializer."""
    reason = message.incomplete_reason
    shown: MessageObject = {
        "id": message.id,
        "object": "thread.message",
        "created_at": unix(message.created_at),
        "thread_id": message.thread_id,
        "status": MessageStatus(message.status),
        "incomplete_details": {"reason": IncompleteReason(reason)} if reason else None,
        "completed_at": unix(message.completed_at),
        "incomplete_at": unix(message.incomplete_at),
        "role": Role(message.role),
        "content": message.content,
        "assistant_id": message.assistant_id,
        "run_id": message.run_id,
        "attachments": message.attachments,
        "metadata": message.metadata,
    }
    if message.source_thread and message.source_message:  # others are as the API has them
        shown["copied_from"] = {"thread_id": message.source_thread, "message_id": message.source_message}
    return shown
