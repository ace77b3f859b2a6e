"""What is done with an API key after it was made: another one in its place, with time to change over.

Keys that follow each other are one line: what one has used counts for all (`ApiKey.succession`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from assistants import clock
from assistants.models import ApiKey
from assistants.rows import hold

EXPIRES_SOON = timedelta(days=14)


class NotUsable(Exception):
    """The key is revoked or has expired: there is nothing to change over from."""


@transaction.atomic
def rotate(key: ApiKey, grace: timedelta, expires_at: datetime | None) -> tuple[ApiKey, str]:
    """A new key with the properties of `key`, and its secret. The old one works for `grace`, or at once no more."""
    hold(ApiKey.objects.filter(pk=key.pk))
    moment = clock.now()
    now = ApiKey.objects.usable(moment).select_related("project").filter(pk=key.pk).first()
    if now is None:
        raise NotUsable(key.pk)
    made = ApiKey.issue(
        now.project, now.name, expires_at=expires_at, scopes=now.scopes, budget=now.budget, line=now.succession
    )
    if grace:
        key.expires_at = min(filter(None, (now.expires_at, moment + grace)))
    else:
        key.revoked_at = moment
    key.save(update_fields=["expires_at", "revoked_at"])
    return made


def lines_of(successions: Iterable[str]) -> dict[str, list[ApiKey]]:
    """The keys of each line, the newest first. One query."""
    asked = list(successions)
    found: dict[str, list[ApiKey]] = {}
    for key in ApiKey.objects.filter(Q(pk__in=asked) | Q(line__in=asked)).order_by("-created_at", "-id"):
        found.setdefault(key.succession, []).append(key)
    return found


def succession_of(id: str) -> str:
    """The line of the key of that id; `id` itself where it is nobody's, or no longer."""
    key = ApiKey.objects.filter(pk=id).only("line").first()
    return key.succession if key else id


def expires_soon(key: ApiKey, moment: datetime) -> bool:
    """Whether a key that still works will stop within EXPIRES_SOON."""
    if key.revoked_at or key.expires_at is None:
        return False
    return moment < key.expires_at <= moment + EXPIRES_SOON
