"""What keys and links have in common in the admin: whether one is good now, and how some are revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from assistants import clock, keys
from assistants.models import ApiKey, Share

from . import audit
from .lists import BoundedAdmin
from .markup import badge


def state_of(credential: ApiKey | Share) -> str:
    if credential.revoked_at:
        return "revoked"
    if credential.expires_at and credential.expires_at <= clock.now():
        return "expired"
    return "usable"


def state_badges(key: ApiKey) -> SafeString:
    """The state of a key, and when it stops if that is soon."""
    state, moment = state_of(key), clock.now()
    if state == "usable" and keys.expires_soon(key, moment) and key.expires_at:
        return format_html("{} {}", badge(state), soon(key.expires_at - moment))
    return badge(state)


def soon(left: timedelta) -> SafeString:
    words = f"{left.days} days" if left.days > 1 else f"{max(1, round(left.total_seconds() / 3600))} h"
    return format_html('<span class="kumos-badge kumos-expires-soon">expires in {}</span>', words)


def revoke_all(admin: BoundedAdmin, request: HttpRequest, credentials: Any, consequence: str) -> None:
    """Revokes those of the queryset that are not, enters each in the log, and says what comes of it."""
    wanted = list(credentials.filter(revoked_at=None))
    moment = clock.now()
    credentials.filter(revoked_at=None).update(revoked_at=moment)
    for credential in wanted:
        was = audit.values_of(credential)
        credential.revoked_at = moment
        admin.log_change(request, credential, audit.told("Revoked.", was, credential))
    admin.message_user(request, f"{len(wanted)} revoked. {consequence}", messages.SUCCESS)
