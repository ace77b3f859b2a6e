"""What keys and links have in common in the admin: whether one is good now, and how some are revoked."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest

from assistants import clock
from assistants.models import ApiKey, Share

from .lists import BoundedAdmin


def state_of(credential: ApiKey | Share) -> str:
    if credential.revoked_at:
        return "revoked"
    if credential.expires_at and credential.expires_at <= clock.now():
        return "expired"
    return "usable"


def revoke_all(admin: BoundedAdmin, request: HttpRequest, credentials: Any, consequence: str) -> None:
    """Revokes those of the queryset that are not, enters each in the log, and says what comes of it."""
    wanted = list(credentials.filter(revoked_at=None))
    credentials.filter(revoked_at=None).update(revoked_at=clock.now())
    for credential in wanted:
        admin.log_change(request, credential, "Revoked.")
    admin.message_user(request, f"{len(wanted)} revoked. {consequence}", messages.SUCCESS)
