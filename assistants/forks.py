"""Forks: a new thread that begins with copies of another one's messages (docs/extensions.md).

A conversation never changes its past. Whoever wants another answer, or asks otherwise, goes on in a fork. Threads that
came from each other are a family, named by the thread it began with. The place where a fork parts is named by the
message it stands behind **where that was written**, not where it was copied to: then all that parts at one place has
the same name for it, from whichever member it was forked, and after that one is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from assistants import rows
from assistants.errors import ApiError, not_found
from assistants.models import Message, MessageStatus, Thread
from assistants.retrieval import conversations
from assistants.rows import Vanished
from assistants.serializers.fields import merge_metadata

COPIES_MAX = 5_000
"""How many messages one fork copies. They are stored in one transaction, and others wait for it."""
AT_ONCE = 500
KEPT = [
    *("created_at", "completed_at", "incomplete_at", "role", "status", "incomplete_reason", "content", "attachments"),
    *("metadata", "assistant_id", "run_id"),
]
"""What a copy has of its message. Of all ids only its own and its thread's are new."""


def family_of(threads: QuerySet[Thread], id: str) -> QuerySet[Thread]:
    """Those of `threads` that are of one family with the thread `id`, itself included."""
    family = threads.filter(pk=id).values_list("family", flat=True).first() or id
    return threads.filter(Q(pk=family) | Q(family=family))


@transaction.atomic
def create_fork(source: Thread, data: Mapping[str, Any]) -> Thread:
    """A fork of `source` from a validated `ForkInput`: all its finished messages, or those that the input names.

    A message that a run is still writing is none of them. ApiError 404 for a message that `source` does not have, 400
    for one that is not finished, for too many, and for two ends.
    """
    rows.hold(Thread.objects.filter(pk=source.pk))  # a file that is deleted meanwhile leaves both, or neither
    source = Thread.objects.filter(pk=source.pk).select_related("project").first() or gone()
    wanted = copied(source, data.get("up_to"), data.get("before"))
    count = wanted.count()
    if count > COPIES_MAX:
        raise ApiError(
            f"A fork copies at most {COPIES_MAX} messages, and this one would copy {count}.", code="too_many_messages"
        )
    metadata = data.get("metadata", {})
    fork = Thread(
        project=source.project,
        tool_resources=source.tool_resources,
        metadata=merge_metadata(source.metadata, metadata),
        family=source.family or source.pk,
        forked_from=source.family or source.pk,
    )
    if last := wanted.last():
        fork.forked_from, fork.forked_after = origin_of(last)
    fork.save(force_insert=True)
    conversations.note_title(fork)
    keys = list(wanted.values_list("pk", flat=True))
    for start in range(0, count, AT_ONCE):
        some = Message.objects.bulk_create(copies(wanted.filter(pk__in=keys[start : start + AT_ONCE]), fork))
        conversations.note_messages(some)
    return fork


def gone() -> Thread:
    raise Vanished


def copied(source: Thread, up_to: str | None, before: str | None) -> QuerySet[Message]:
    """The messages of `source` that a fork copies, in their order."""
    if up_to is not None and before is not None:
        raise ApiError("Send either 'up_to' or 'before', not both.", param="before")
    messages = Message.objects.filter(thread=source).order_by("created_at", "pk")
    wanted = messages.filter(superseded=False).exclude(status=MessageStatus.IN_PROGRESS)
    id = before if up_to is None else up_to
    if id is None:
        return wanted
    end = messages.filter(pk=id).first()
    if end is None:
        raise not_found("message", id)
    earlier = Q(created_at__lt=end.created_at) | Q(created_at=end.created_at, pk__lt=end.pk)
    if up_to is None:
        return wanted.filter(earlier)
    if end.status == MessageStatus.IN_PROGRESS:
        raise ApiError(f"Can't fork after message {end.pk} while the run {end.run_id} writes it.", param="up_to")
    return wanted.filter(earlier | Q(pk=end.pk))


def origin_of(message: Message) -> tuple[str, str]:
    """The thread where `message` was written, and its id there."""
    return message.source_thread or message.thread_id, message.source_message or message.pk


def copies(messages: QuerySet[Message], fork: Thread) -> Iterator[Message]:
    """Unsaved. They keep their moments, and with those their order."""
    for message in messages:
        source_thread, source_message = origin_of(message)
        yield Message(
            thread=fork,
            source_thread=source_thread,
            source_message=source_message,
            **{name: getattr(message, name) for name in KEPT},
        )
