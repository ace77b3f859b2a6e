"""A read-only link to one thread, for people without a login: live, or frozen at the moment it was made.

Only the digest of its token is kept; the token is shown once, by `issue`. What may be seen with it is `shared.py`'s.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.db import models, transaction

from assistants import clock, ids
from assistants.rows import Vanished, hold

from .project import digest_of, usable_at
from .thread import Thread


class ShareQuerySet(models.QuerySet["Share"]):
    def usable(self, moment: datetime) -> ShareQuerySet:
        return self.filter(usable_at(moment))


class Share(models.Model):
    """A revoked one stays as long as its thread, so that who opens the link can be told, and the admin shows it."""

    id = models.CharField(primary_key=True, max_length=64, default=ids.new_share_id, editable=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="shares")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    created_by = models.CharField(max_length=160, blank=True, default="", editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    frozen_seq = models.BigIntegerField(
        null=True, blank=True, editable=False, help_text="The thread's last event when it was frozen. Empty: live."
    )

    objects = ShareQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["thread", "created_at", "id"]),
            models.Index(fields=["created_at", "id"]),  # the admin's list
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def is_frozen(self) -> bool:
        return self.frozen_seq is not None

    @classmethod
    @transaction.atomic
    def issue(
        cls, thread: Thread, *, expires_after: int | None = None, frozen: bool = False, created_by: str = ""
    ) -> tuple[Share, str]:
        """A new share and its token, which nobody can read again. Raises Vanished where the thread is gone.

        The thread's row is held: what a frozen link shows was committed before, and nothing of what comes after.
        """
        hold(Thread.objects.filter(pk=thread.pk))
        last_seq = Thread.objects.filter(pk=thread.pk).values_list("last_seq", flat=True).first()
        if last_seq is None:
            raise Vanished(thread.pk)
        id = ids.new_share_id()
        token = f"{id}.{secrets.token_urlsafe(32)}"
        moment = clock.now()
        share = cls.objects.create(
            id=id,
            thread=thread,
            digest=digest_of(token),
            created_at=moment,
            created_by=created_by[:160],
            expires_at=None if expires_after is None else moment + timedelta(seconds=expires_after),
            frozen_seq=last_seq if frozen else None,
        )
        return share, token
