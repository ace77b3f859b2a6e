"""Liveness and readiness for whoever supervises the process. Neither needs a key, or says more than a word a check.

Not ready is only what cannot serve: a load balancer takes such a process out. What works without its bells, or while no
worker is there, is degraded, and answers 200: to take all web servers out would make it worse.
"""

from __future__ import annotations

import asyncio
import logging

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from assistants import bell, layer
from kumos_site import drain
from kumos_site.metrics import beating_workers
from kumos_site.tables import missing_migrations
from runs.engine import Engine

logger = logging.getLogger(__name__)

OK = "ok"
DOWN = {"down", "missing", "unknown", "starting", "stopped"}
"""Words of a check that mean that nothing can be served here. Any other word than "ok" means degraded."""
LOOP_SECONDS = 2.0
"""How long the event loop may take to turn once. It does everything here; a loop that stands still needs a restart."""

_engine: Engine | None = None


def attach(engine: Engine | None) -> None:
    """The engine of this process; None where it has none."""
    global _engine
    _engine = engine


@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ok"}` while the process's loop turns, and its runner's writer does, else 503: a restart is the
    cure for that, and for nothing that readiness speaks of."""
    turns = loop_turns() and (_engine is None or _engine.writes())
    return JsonResponse({"status": OK if turns else "stuck"}, status=200 if turns else 503)


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """`{"status": …, "checks": {…}}`, a word each: 200 "ok" or "degraded", 503 "down". 503 `{"status": "draining"}`
    once this process was asked to stop. docs/operations.md has the words."""
    if drain.begun.is_set():
        return JsonResponse({"status": "draining"}, status=503)
    tables = database()
    checks = {**tables, "runner": runner(asks=tables["database"] == OK), "layer": bells()}
    words = set(checks.values())
    status = "down" if words & DOWN else OK if words == {OK} else "degraded"
    if status == "down":
        logger.warning("not ready: %s", checks)
    return JsonResponse({"status": status, "checks": checks}, status=503 if status == "down" else 200)


def database() -> dict[str, str]:
    try:
        missing = missing_migrations()
    except DatabaseError as error:
        logger.warning("the database does not answer: %s", error)
        return {"database": "down", "migrations": "unknown"}
    return {"database": OK, "migrations": "missing" if missing else OK}


def runner(*, asks: bool) -> str:
    """That of this process; where it has none, whether any worker beats anywhere, if the database can be asked."""
    if _engine is not None:
        return _engine.state()
    if not asks:
        return "unknown"
    try:
        return OK if beating_workers().exists() else "none"
    except DatabaseError:
        return "unknown"  # there is no such table yet, or no database any more


def bells() -> str:
    """Asks the layer itself: a web server that nobody follows would not know."""
    loop = bell.attached_loop()
    if loop is not None and not layer.in_memory():
        try:
            asyncio.run_coroutine_threadsafe(layer.knock(), loop).result(LOOP_SECONDS)
        except (layer.Away, TimeoutError):
            return "degraded"
    return OK if layer.healthy() else "degraded"


def loop_turns() -> bool:
    """Whether the loop answers another thread. True where there is none yet: a worker that begins."""
    loop = bell.attached_loop()
    if loop is None:
        return True
    try:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(LOOP_SECONDS)
    except TimeoutError:
        return False
    return True
