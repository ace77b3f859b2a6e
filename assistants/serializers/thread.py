"""The thread on the wire (contract 2.6)."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from assistants.clock import unix
from assistants.models import Thread
from assistants.retrieval.conversations import ThreadMatch
from assistants.serializers.fields import ClosedSerializer, Metadata, String
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


class ForkInput(ClosedSerializer):
    """The body of a fork; of `up_to` and `before` at most one (assistants/forks.py)."""

    up_to = String(required=False, allow_null=True)
    before = String(required=False, allow_null=True)
    metadata = Metadata()


class ForkedFrom(TypedDict):
    """Where a fork's own part begins: after `message_id` of `thread_id`, or before the first message."""

    thread_id: str
    message_id: str | None
    family: str


class ThreadObject(TypedDict):
    id: str
    object: Literal["thread"]
    created_at: int
    metadata: dict[str, str]
    tool_resources: ShownToolResources
    forked_from: NotRequired[ForkedFrom]


class ListedThread(ThreadObject):
    """`match` is there where a search found the thread."""

    match: NotRequired[ThreadMatch]


def thread_object(thread: Thread, *, long: bool) -> ThreadObject:
    """`long` is the form of GET and of `thread.created`, which fills empty tool resources (contract 10.5)."""
    resources = thread.tool_resources
    shown: ThreadObject = {
        "id": thread.id,
        "object": "thread",
        "created_at": unix(thread.created_at),
        "metadata": thread.metadata,
        "tool_resources": {"code_interpreter": {"file_ids": []}} if long and not resources else resources,
    }
    if thread.forked_from and thread.family:  # other threads are as the API has them
        shown["forked_from"] = {
            "thread_id": thread.forked_from,
            "message_id": thread.forked_after,
            "family": thread.family,
        }
    return shown
