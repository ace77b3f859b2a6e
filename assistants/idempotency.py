"""Idempotency-Key: a POST that comes twice is done once (draft-ietf-httpapi-idempotency-key-header-07).

The key, what the request did and the answer are one transaction, and the key goes in first. So a key that can be seen
has its answer, and whoever comes with the same key meanwhile waits for the end of that transaction: there is no state
in which something was done whose answer is not known. What was refused did nothing and is not kept; it may be sent
again, put right, with the same key. Which requests come this way is the business of views/resource.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol, cast

import orjson
from django.db import OperationalError, connection, transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from assistants import metrics
from assistants.clock import now
from assistants.errors import ApiError
from assistants.failpoints import failpoint
from assistants.faults import sqlstate
from assistants.headers import IDEMPOTENCY_KEY as HEADER
from assistants.models import Answered, Project

KEY_MAX = 255
KEY = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""Printable ASCII, as draft-07 has it. Its quotes are welcome and need not be there; they are part of the key."""
KEPT = timedelta(hours=24)
FORGOTTEN_AT_ONCE = 1_000
WAIT_SECONDS = 3
"""How long a duplicate waits for the first to be done; then 409, and its client asks again."""
LOCK_NOT_AVAILABLE = "55P03"


class Begun(Protocol):
    """A streamed answer: `beginning` is all it takes to begin it once more."""

    beginning: dict[str, Any]


Reopen = Callable[[dict[str, Any]], HttpResponseBase]


def key_of(request: Request) -> str | None:
    """The request's key, None where it has none. ApiError 400 for one that cannot be a key."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if len(key) > KEY_MAX or not KEY.fullmatch(key):
        raise ApiError(
            f"Invalid '{HEADER}': expected 1 to {KEY_MAX} printable ASCII characters.",
            param=HEADER,
            code="invalid_idempotency_key",
        )
    return key


def fingerprint(request: Request) -> str:
    """SHA-256 of what is asked for. Of the body as it was understood: the parts of a form are divided anew each time.

    Files are read piece by piece and left at their beginning.
    """
    sent = hashlib.sha256()
    assert isinstance(request.data, dict)  # all our parsers make one
    body = {name: value for name, value in request.data.items() if name not in request.FILES}
    asked = [request.method, request.path, request.META.get("QUERY_STRING", ""), body]
    sent.update(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS))
    for name, upload in sorted(request.FILES.items()):
        sent.update(orjson.dumps([name, upload.name, upload.size]))
        for piece in upload.chunks():
            sent.update(piece)
        upload.seek(0)
    return sent.hexdigest()


def known(project: Project, key: str, print: str) -> Answered | None:
    """What was answered to the request with that key. ApiError 422 where that was another request."""
    answered = Answered.objects.filter(project=project, key=key, created_at__gt=now() - KEPT).first()
    if answered is not None:
        check(answered, print)
    return answered


def check(answered: Answered, print: str) -> None:
    if answered.fingerprint != print:
        metrics.IDEMPOTENCY.labels("mismatch").inc()
        raise ApiError(
            f"The {HEADER} '{answered.key}' was used with another request before. A new request needs a new key.",
            status=422,
            param=HEADER,
            code="idempotency_key_reused",
        )


def enter(project: Project, key: str, print: str) -> tuple[Answered, bool]:
    """The key's row, and whether it is new: then the caller's transaction is the one that does what is asked.

    Waits for a transaction that has entered the same key. ApiError 409 where that takes too long, 422 as in `known`.
    """
    Answered.objects.filter(project=project, key=key, created_at__lte=now() - KEPT).delete()
    limit_waiting(f"'{WAIT_SECONDS}s'")
    try:
        answered, is_new = Answered.objects.get_or_create(project=project, key=key, defaults={"fingerprint": print})
    except OperationalError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        metrics.IDEMPOTENCY.labels("conflict").inc()
        raise ApiError(
            f"The request with the {HEADER} '{key}' is still being worked on. Try again in a moment.",
            status=409,
            param=HEADER,
            code="idempotency_key_in_use",
            headers={"Retry-After": "1", "x-should-retry": "true"},
        ) from None
    limit_waiting("DEFAULT")
    if not is_new:
        check(answered, print)
    return answered, is_new


def limit_waiting(limit: str) -> None:
    """For the rest of the transaction. On SQLite everybody waits for the one writer, and that has its own limit."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {limit}")


def once(
    project: Project, key: str, print: str, act: Callable[[], HttpResponseBase], reopen: Reopen
) -> HttpResponseBase:
    """The answer of `act`, which is called if no request with that key was answered yet, in one transaction with it.

    `reopen` begins a streamed answer again. Errors of `act` pass through and leave no trace.
    """
    with transaction.atomic():
        answered, is_new = enter(project, key, print)
        if not is_new:
            return replay(answered, reopen)
        answer = act()
        failpoint("request.effect.before_answer_kept")
        if not isinstance(answer, Response):
            answered.stream = cast(Begun, answer).beginning
            answered.save(update_fields=["stream"])
            return answer
        answered.status = answer.status_code
        answered.headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-type"}
        kept = getattr(answer, "kept", answer.data)
        answered.body = orjson.dumps(kept).decode()
        answered.save(update_fields=["status", "headers", "body"])
    return shown(answered) if kept is answer.data else answer


def replay(answered: Answered, reopen: Reopen) -> HttpResponseBase:
    """The answer once more: its bytes, or the same stream from its beginning."""
    answer = shown(answered) if answered.stream is None else reopen(answered.stream)
    metrics.IDEMPOTENCY.labels("replayed" if answered.stream is None else "attached").inc()
    answer.headers["idempotent-replayed"] = "true"
    return answer


def shown(answered: Answered) -> HttpResponse:
    headers: Mapping[str, str] = answered.headers
    return HttpResponse(answered.body, status=answered.status, headers=headers, content_type="application/json")


def forget_old() -> None:
    """Forgets the oldest keys whose time is over; meant for the runner's sweep."""
    over = Answered.objects.filter(created_at__lte=now() - KEPT).order_by("created_at")
    Answered.objects.filter(pk__in=list(over.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])).delete()
