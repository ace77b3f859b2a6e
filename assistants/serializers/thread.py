"""The thread on the wire (contract 2.6)."""

from __future__ import annotations

from typing import Literal, TypedDict

from assistants.clock import unix
from assistants.models import Thread
from assistants.serializers.fields import ClosedSerializer, Metadata
from assistants.serializers.message import Messages
from assistants.serializers.tools import NewToolResources, ShownToolResources, ToolResources


class ThreadInput(ClosedSerializer):
    """The body of a creation; everything may be absent."""

    messages = Messages()
    tool_resources = NewToolResources(required=False, allow_null=True)
    metadata = Metadata()


class ThreadChanges(ClosedSerializer):
    tool_resources = ToolResources(required=False, allow_null=True)
    metadata = Metadata()


class ThreadObject(TypedDict):
    id: str
    object: Literal["thread"]
    created_at: int
    metadata: dict[str, str]
    tool_resources: ShownToolResources


def thread_object(thread: Thread, *, long: bool) -> ThreadObject:
    """`long` is the form of GET and of `thread.created`, which fills empty tool resources (contract 10.5)."""
    resources = thread.tool_resources
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": unix(thread.created_at),
        "metadata": thread.metadata,
        "tool_resources": {"code_interpreter": {"file_ids": []}} if long and not resources else resources,
    }
