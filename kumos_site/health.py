"""Liveness and readiness for whoever supervises the process. Neither needs a key; neither says more than a word."""

from __future__ import annotations

import logging

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from kumos_site import drain
from kumos_site.tables import missing_migrations

logger = logging.getLogger(__name__)


@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ok"}` while the process answers at all; a restart is the cure for anything else."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ok"}` when requests can be served, else 503 with what is in the way: "draining" (this process
    was asked to stop), "database" or "migrations"."""
    if drain.begun.is_set():
        return JsonResponse({"status": "draining"}, status=503)
    try:
        missing = missing_migrations()
    except DatabaseError as error:
        logger.warning("not ready, the database does not answer: %s", error)
        return JsonResponse({"status": "database"}, status=503)
    if missing:
        logger.warning("not ready, %d migrations are not applied", missing)
        return JsonResponse({"status": "migrations"}, status=503)
    return JsonResponse({"status": "ok"})
