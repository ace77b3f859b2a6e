"""`/metrics`: what this process counts (assistants/metrics.py), with what has to be asked for, such as the queue's age.

docs/operations.md says what each metric means and which to watch; a test holds that table and the registry together.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

from django.conf import settings
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from assistants import layer
from assistants.authentication import bearer
from assistants.clock import shared_now
from assistants.metrics import REGISTRY, REQUEST_SECONDS, REQUESTS
from runs.models import ACTIVE, Run, RunStatus, Worker

ROWS_COUNTED = 10_000
"""Of each status; where there are more, this is the number."""
KEPT_SECONDS = 2.0
"""How long one look at the database answers everybody who asks."""
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
"""Headers by which a proxy shows that the one who asks is somewhere else."""
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})


# The database, as it is now -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Census:
    """One look at the database. `queue_age` in seconds, 0.0 where nothing waits; `workers`: those that beat."""

    runs: dict[str, int]
    queue_age: float
    workers: int


def runs_of(status: str) -> QuerySet[Run]:
    """As many as are counted. An index serves it, and it reads no more of it than that."""
    return Run.objects.filter(status=status).order_by()[:ROWS_COUNTED]


def oldest_queued() -> QuerySet[Run]:
    return Run.objects.filter(status=RunStatus.QUEUED).order_by("created_at")[:1]


def beating_workers() -> QuerySet[Worker]:
    """Those that take runs, as far as anybody can tell: not asked to stop, and heard of within a lease."""
    heard_since = shared_now() - timedelta(seconds=settings.KUMOS_LEASE_SECONDS)
    return Worker.objects.filter(beat_at__gt=heard_since, draining=False, slots__gt=0)


def census() -> Census:
    """Terminal runs are not counted: they are history, however many there are. DatabaseError if it does not answer."""
    oldest = oldest_queued().values_list("created_at", flat=True).first()
    return Census(
        runs={status: runs_of(status).count() for status in ACTIVE},
        queue_age=max(0.0, (shared_now() - oldest).total_seconds()) if oldest else 0.0,
        workers=beating_workers().count(),
    )


class State(Collector):
    """What is so at the moment, in the database and with the bells. Every process tells the same of the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: Census | None = None
        self._kept_until = 0.0

    def census(self) -> Census | None:
        """One that is a moment old at most; None while the database does not answer."""
        with self._lock:
            if time.monotonic() >= self._kept_until:
                try:
                    self._kept = census()
                except DatabaseError:
                    self._kept = None
                self._kept_until = time.monotonic() + KEPT_SECONDS
            return self._kept

    def describe(self) -> Iterable[Metric]:
        """The names, without a look at the database."""
        return self._families(None, healthy=True)

    def collect(self) -> Iterable[Metric]:
        return self._families(self.census(), healthy=layer.healthy())

    def _families(self, found: Census | None, *, healthy: bool) -> Iterator[Metric]:
        runs = GaugeMetricFamily(
            "kumos_runs", f"Runs that are not over, up to {ROWS_COUNTED} of each status.", labels=["status"]
        )
        age = GaugeMetricFamily("kumos_queue_age_seconds", "Age of the oldest queued run; 0 if none waits.")
        workers = GaugeMetricFamily("kumos_workers", "Workers of the whole installation that are heard of.")
        if found is not None:
            for status, count in found.runs.items():
                runs.add_metric([status], count)
            age.add_metric([], found.queue_age)
            workers.add_metric([], found.workers)
        yield runs
        yield age
        yield workers
        yield GaugeMetricFamily("kumos_database_up", "1 while the database answers.", value=found is not None)
        yield GaugeMetricFamily("kumos_layer_up", "1 while bells may be expected to arrive.", value=healthy)


REGISTRY.register(State())
ProcessCollector(registry=REGISTRY)


# Requests -------------------------------------------------------------------------------------------------------------


def count_request(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Under the route's template, never under what was asked for: paths hold ids, and anybody can make up more."""
    match = request.resolver_match
    route = f"/{match.route}" if match else "none"
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(method, route, f"{response.status_code // 100}xx").inc()
    REQUEST_SECONDS.labels(route).observe(seconds)


# Who may read them ----------------------------------------------------------------------------------------------------


def may_read(request: HttpRequest) -> bool:
    """Whoever shows KUMOS_METRICS_TOKEN. Without that setting, who asks from this very machine, and through no proxy.

    A proxy on this machine that says nothing of those behind it cannot be told from somebody here: where there is one
    (KUMOS_BEHIND_PROXY), only the token counts.
    """
    if token := settings.KUMOS_METRICS_TOKEN:
        shown = bearer(request.headers.get("Authorization", ""))
        return hmac.compare_digest(shown.encode(), token.encode())
    if settings.SECURE_PROXY_SSL_HEADER or any(name in request.headers for name in FORWARDED):
        return False
    request.get_host()  # or a page elsewhere, whose name was made to point here, could read them in a browser here
    return is_loopback(request.META.get("REMOTE_ADDR", ""))


def is_loopback(peer: str) -> bool:
    try:
        return ip_address(peer).is_loopback
    except ValueError:
        return False


@require_safe
@never_cache
def exposition(request: HttpRequest) -> HttpResponse:
    """200 with Prometheus' text format; 401 where a token is asked for and not shown, 403 where there is none."""
    if may_read(request):
        return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
    if settings.KUMOS_METRICS_TOKEN:
        told = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("Metrics need their token.", status=401, content_type="text/plain", headers=told)
    refusal = "Metrics are for this machine only, unless KUMOS_METRICS_TOKEN is set."
    return HttpResponse(refusal, status=403, content_type="text/plain")
