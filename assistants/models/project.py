"""Who owns what: a project holds every resource, people belong to it, API keys act for it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from assistants import clock, ids

no_less_than_nothing = MinValueValidator(
    Decimal(0), "A budget is 0 or more: 0 allows no run at all, and without one there is no limit."
)


def budget_field() -> models.DecimalField[Decimal | None, Decimal | None]:
    """What may be spent by all that a project does, or that a key asks for (runs/budgets.py)."""
    return models.DecimalField(
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[no_less_than_nothing],
        help_text="US dollars a calendar month (UTC).",
    )


class Project(models.Model):
    id = models.CharField(primary_key=True, max_length=64, default=ids.new_project_id, editable=False)
    name = models.CharField(max_length=128, unique=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="projects")
    default_model = models.CharField(
        max_length=256,
        blank=True,
        default="",
        help_text="What the model name “default” means here. Empty: the server's.",
    )
    budget = budget_field()
    budget_warns_at = models.PositiveSmallIntegerField(default=80, help_text="Percent of the budget.")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership")]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}"


def digest_of(secret: str) -> str:
    """SHA-256 of a key's secret. The secret has 256 random bits, so a slow hash would only cost every request time."""
    return hashlib.sha256(secret.encode()).hexdigest()


def usable_at(moment: datetime) -> Q:
    """What holds for a credential that is good at `moment`: neither revoked nor expired."""
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=moment))


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self, moment: datetime) -> ApiKeyQuerySet:
        return self.filter(usable_at(moment))


class ApiKey(models.Model):
    """A bearer key of one project. Only its digest is kept; the secret is shown once, by `issue`."""

    id = models.CharField(primary_key=True, max_length=64, default=ids.new_key_id, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="keys")
    name = models.CharField(max_length=128)
    prefix = models.CharField(max_length=12, editable=False, help_text="The first characters, to tell keys apart.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    scopes = models.JSONField(default=list, blank=True)
    """What it may do (assistants/scopes.py). Empty: everything."""
    budget = budget_field()
    line = models.CharField(max_length=64, blank=True, default="", editable=False)
    """The id of the first key, where this one was made in the place of another. Empty: it is the first itself."""

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        indexes = [models.Index(fields=["line"], condition=~Q(line=""), name="key_of_line")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def succession(self) -> str:
        """What it has in common with the keys that it took the place of, and with those that take its own."""
        return self.line or self.pk

    @classmethod
    def issue(
        cls,
        project: Project,
        name: str,
        *,
        expires_at: datetime | None = None,
        scopes: Sequence[str] = (),
        budget: Decimal | None = None,
        line: str = "",
        secret: str = "",
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which nobody can read again. `secret` is for demo data and imports only."""
        secret = secret or "sk-" + secrets.token_urlsafe(32)
        key = cls.objects.create(
            project=project,
            name=name,
            prefix=secret[:7],
            digest=digest_of(secret),
            expires_at=expires_at,
            scopes=list(scopes),
            budget=budget,
            line=line,
        )
        return key, secret
