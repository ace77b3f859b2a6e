"""A share on the wire: an extension in the style of the contract (docs/extensions.md)."""

from __future__ import annotations

from typing import Literal, TypedDict

from assistants.clock import unix
from assistants.models import Share
from assistants.serializers.fields import Boolean, ClosedSerializer, Enum, Integer

SECONDS_MAX = 366 * 24 * 3600


class ShareExpiry(ClosedSerializer):
    anchor = Enum("created_at")
    seconds = Integer(min=1, max=SECONDS_MAX)


class ShareInput(ClosedSerializer):
    """The body of a creation; everything may be absent: a live link that never expires."""

    expires_after = ShareExpiry(required=False, allow_null=True)
    frozen = Boolean(required=False, allow_null=True)


class ShareObject(TypedDict):
    """`url` holds the token, and is there in the answer to the creation alone."""

    id: str
    object: Literal["thread.share"]
    created_at: int
    thread_id: str
    expires_at: int | None
    last_used_at: int | None
    frozen: bool
    url: str | None


def share_object(share: Share, url: str | None = None) -> ShareObject:
    return {
        "id": share.pk,
        "object": "thread.share",
        "created_at": unix(share.created_at),
        "thread_id": share.thread_id,
        "expires_at": unix(share.expires_at),
        "last_used_at": unix(share.last_used_at),
        "frozen": share.is_frozen,
        "url": url,
    }
