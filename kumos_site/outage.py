"""What a page says while the database is away. /v1 says it in its own words (assistants/errors.py)."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from assistants.faults import is_passing, outcome_is_unknown

logger = logging.getLogger(__name__)

AWAY = "The database cannot be reached just now. Nothing was changed. Try again in a moment."
UNKNOWN = "The database was lost while it stored this: it may have been done, or not. Look before you do it again."


class OutageMiddleware(MiddlewareMixin):
    """Innermost, so that it sees what a view raises before it becomes a page about an error of the server's own."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not is_passing(error):
            return None
        logger.warning("database not available for %s: %s", request.path, error)
        if outcome_is_unknown(error) and request.method == "POST":
            return HttpResponse(UNKNOWN, status=500, content_type="text/plain")
        return HttpResponse(AWAY, status=503, content_type="text/plain", headers={"Retry-After": "1"})
