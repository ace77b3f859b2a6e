"""Who asks, and for which project: a bearer key, the session of somebody logged in (the chat page, with CSRF), or the
token of a share, which reaches one thread and only reads (shared.py).

Contract 1.1 and 4.3. The key's project is the only one a request can reach (P10).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest, QueryDict
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.permissions import BasePermission

from assistants import clock, ids, scopes, shared
from assistants.errors import ApiError
from assistants.models import ApiKey, Project, Share
from assistants.models.project import digest_of

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth"
    " (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API"
    " from your browser and are prompted for a username and password."
)
NO_BETA = (
    "You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by setting the header"
    " 'OpenAI-Beta: assistants=v2'."
)
OLD_BETA = (
    "The v1 Assistants API has been deprecated. Please use v2 instead by setting the header"
    " 'OpenAI-Beta: assistants=v2'."
)
NO_SCOPE = (
    "You have insufficient permissions for this operation. Missing scopes: {}. Check that the API key has the necessary"
    " scopes: whoever runs this server can change them in its admin."
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The project a request acts in, and on whose behalf: a key, a person who is logged in with a session, or whoever
    was given a share's link."""

    project: Project
    key: ApiKey | None = None
    share: Share | None = None
    user: AbstractBaseUser | None = None
    session_key: str = ""
    scope: str = ""
    """What the request needed of its key (scopes.py): a stream is cut when the key has it no longer."""

    @property
    def owner(self) -> str:
        """Who is counted where something is limited: the key, the person, or all readers of a share together."""
        if self.share:
            return self.share.pk
        return self.key.pk if self.key else f"user {self.user.pk if self.user else ''}"

    @property
    def called(self) -> str:
        """The same for people to read, where something says who made it."""
        return f"key “{self.key.name}”" if self.key else str(self.user or "")


@dataclass(frozen=True, slots=True)
class Operator:
    """Staff who watches in the admin, across all projects. His streams are counted with those he reads as a member."""

    user: User
    session_key: str
    admitted: Callable[[User], bool]
    """Whether somebody may see what he sees there."""

    @property
    def key(self) -> None:
        return None

    @property
    def share(self) -> None:
        return None

    @property
    def owner(self) -> str:
        return f"user {self.user.pk}"


type Reader = Principal | Operator


def bearer(header: str) -> str:
    """The secret of an Authorization header; the empty string where there is none. Basic: key as password."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:  # no base64, or no text in it
            return ""
    return ""


def masked(secret: str) -> str:
    return f"{secret[:3]}***{secret[-4:]}" if len(secret) > 8 else "***"


def by_key(secret: str) -> Principal:
    moment = clock.now()
    key = ApiKey.objects.usable(moment).select_related("project").filter(digest=digest_of(secret)).first()
    if key is None:
        raise ApiError(
            f"Incorrect API key provided: {masked(secret)}. Ask whoever runs this server for a key,"
            " or make one in its admin.",
            status=401,
            code="invalid_api_key",
        )
    note_use(key, moment)
    return Principal(key.project, key=key)


def within_scopes(request: HttpRequest, principal: Principal) -> Principal:
    """Raises ApiError 403 where its key lacks the scope that the request needs."""
    wanted = scopes.needed(request)
    if principal.key and not scopes.allows(principal.key.scopes, wanted):
        raise ApiError(NO_SCOPE.format(wanted), status=403, code="missing_scope")
    return replace(principal, scope=wanted)


def by_share(request: HttpRequest, token: str) -> Principal:
    """Raises ApiError 401 for a token that is no longer good, 404 for a request that is not there for it."""
    moment = clock.now()
    share = Share.objects.select_related("thread__project").filter(digest=digest_of(token)).first()
    if refusal := shared.refused(share, moment):
        raise refusal
    assert share is not None
    shared.admit(request, share)
    note_use(share, moment)
    return Principal(share.thread.project, share=share)


def note_use(used: ApiKey | Share, moment: datetime) -> None:
    minute_ago = moment - timedelta(minutes=1)
    if used.last_used_at is None or used.last_used_at < minute_ago:
        # Conditional, so that of many requests at once one writes.
        rows = type(used).objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=minute_ago), pk=used.pk)
        rows.update(last_used_at=moment)


def user_of(request: HttpRequest, session_key: str) -> AbstractBaseUser | None:
    """Who is logged in; `request` gets the session, which /v1 has no middleware for."""
    if not hasattr(request, "session"):
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    return user if isinstance(user, AbstractBaseUser) and user.is_active else None


def by_session(request: HttpRequest) -> Principal | None:
    session_key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if session_key is None:
        return None
    user = user_of(request, session_key)
    if user is None:
        return None
    refused = CSRFCheck(lambda _: None)  # type: ignore[arg-type]
    shown = copy(request)
    shown._post = QueryDict()  # type: ignore[attr-defined]  # in a form it would look first, and read all of an upload
    refused.process_request(shown)
    if reason := refused.process_view(shown, None, (), {}):  # type: ignore[arg-type]
        raise ApiError(f"CSRF check failed: {reason}", status=403)
    projects = Project.objects.filter(memberships__user_id=user.pk).order_by("memberships__created_at")
    wanted = request.headers.get("OpenAI-Project")
    project = (projects.filter(pk=wanted) if wanted else projects).first()
    if project is None:
        raise ApiError("You are not a member of a project. Ask an administrator to add you to one.", status=403)
    return Principal(project, user=user, session_key=session_key)


def still_allowed(readers: Collection[Reader]) -> set[Reader]:
    """Those of `readers` whose key, share or session would still be accepted. One query for all of a kind."""
    moment = clock.now()
    keys = [who.key.pk for who in readers if who.key]
    shares = [who.share.pk for who in readers if who.share]
    good = ApiKey.objects.usable(moment)
    scopes_of = dict(good.filter(pk__in=keys).values_list("pk", "scopes")) if keys else {}
    linked = set(Share.objects.usable(moment).filter(pk__in=shares).values_list("pk", flat=True)) if shares else set()

    def is_allowed(who: Reader) -> bool:
        if isinstance(who, Operator):
            return still_there(who)
        if who.key:
            return who.key.pk in scopes_of and scopes.allows(scopes_of[who.key.pk], who.scope)
        return who.share.pk in linked if who.share else still_there(who)

    return set(filter(is_allowed, readers))


def still_there(person: Reader) -> bool:
    """Whether somebody's session lives, and he is still of the project, or of the staff that may see what he sees."""
    user = user_of(HttpRequest(), person.session_key)
    if isinstance(person, Operator):
        return isinstance(user, User) and user.is_staff and person.admitted(user)
    return user is not None and person.project.memberships.filter(user_id=user.pk).exists()


def check_beta_header(request: HttpRequest) -> None:
    """`assistants=v1` is refused; absence is fine unless KUMOS_REQUIRE_BETA_HEADER restores the old strictness."""
    if not request.path.startswith(("/v1/assistants", "/v1/threads")):
        return
    values = [part.strip() for part in request.headers.get("OpenAI-Beta", "").split(",")]
    if "assistants=v2" in values:
        return
    if "assistants=v1" in values:
        raise ApiError(OLD_BETA, code="invalid_beta")
    if settings.KUMOS_REQUIRE_BETA_HEADER and not request.path.endswith("/stream"):  # our own need none (3.10)
        raise ApiError(NO_BETA, code="invalid_beta")


def authenticate(request: HttpRequest) -> Principal:
    """The request's principal. Raises ApiError 401 without a usable key or session, 403 for a failed CSRF check."""
    secret = bearer(request.headers.get("Authorization", ""))
    if secret.startswith(ids.SHARE_PREFIX):
        principal: Principal | None = by_share(request, secret)
    else:
        principal = within_scopes(request, by_key(secret)) if secret else by_session(request)
    if principal is None:
        raise ApiError(NO_KEY, status=401)
    check_beta_header(request)
    if principal.share is None:  # its readers need not know which project it is
        request.META["KUMOS_PROJECT_ID"] = principal.project.id
    return principal


class ProjectAuthentication(BaseAuthentication):
    """DRF's face of `authenticate`: `request.auth` is the Principal."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser | None, Principal]:
        principal = authenticate(request._request)
        return principal.user, principal


class HasProject(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, Principal)


def project_of(request: Request) -> Project:
    return principal_of(request).project


def principal_of(request: Request) -> Principal:
    assert isinstance(request.auth, Principal)
    return request.auth


def share_of(request: Request) -> Share | None:
    """The share whose reader asks; None for those who belong to the project."""
    return request.auth.share if isinstance(request.auth, Principal) else None
