"""What Kumos counts, for Prometheus. Every package counts where things happen; the names stand here, together.

Labels have few values, known beforehand: never an id, a name or a text of anybody's. Nothing is counted per token, but
per commit, batch, run, stream or request. What has to be asked for, such as the queue's age, and the answer to
`/metrics` are in kumos_site/metrics.py; docs/operations.md says what each metric means.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from django.db import transaction
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

REGISTRY = CollectorRegistry()
"""Of Kumos alone: the library's own also holds what other libraries of the process put there."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for


def _counter(name: str, meaning: str, label: str = "", values: Iterable[str] = ()) -> Counter:
    """A counter whose `values` all begin at 0, so that the first increase is seen as one."""
    counter = Counter(name, meaning, [label] if label else [], namespace="kumos", registry=REGISTRY)
    for value in values:
        counter.labels(value)
    return counter


def _histogram(name: str, meaning: str, buckets: Iterable[float], label: str = "") -> Histogram:
    labels = [label] if label else []
    return Histogram(name, meaning, labels, namespace="kumos", registry=REGISTRY, buckets=tuple(buckets))


def after_commit(counter: Counter, amount: float = 1) -> None:
    """Counts once the caller's transaction has committed; what is taken back was never there."""
    transaction.on_commit(partial(counter.inc, amount), robust=True)


# Runs -----------------------------------------------------------------------------------------------------------------

RUNS_CREATED = _counter("runs_created", "Runs that were accepted.")
RUNS_ENDED = _counter(
    "runs_ended",
    "Runs that reached a terminal status.",
    "status",
    ["completed", "failed", "cancelled", "expired", "incomplete"],
)
RUN_SECONDS = _histogram(
    "run_seconds", "From the creation of a run to its end.", (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
)
FIRST_TOKEN_SECONDS = _histogram(
    "first_token_seconds",
    "From the creation of a run to the commit of its first delta.",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
TOKENS = _counter("tokens", "Tokens that ended runs have used.", "kind", ["prompt", "completion"])

# Who works on them ----------------------------------------------------------------------------------------------------

CLAIMS = _counter("run_claims", "Queued runs that a worker took.")
TAKEOVERS = _counter("run_takeovers", "Runs that went on with another worker.", "reason", ["crash", "hand_off"])
GIVEN_UP = _counter("runs_given_up", "Runs that failed because their workers died.")
FENCE_REJECTIONS = _counter(
    "fence_rejections", "Runs that a worker lost, by how it noticed.", "noticed", ["write", "beat"]
)
RUNNER_ERRORS = _counter(
    "runner_errors",
    "Rounds of the runner's loops that failed.",
    "loop",
    ["claim", "claim_files", "beat", "reclaim", "sweep", "compact"],
)
COMMIT_SECONDS = _histogram(
    "writer_commit_seconds",
    "What a transaction of the writer takes, its commit included.",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
BATCH_JOBS = _histogram("writer_batch_jobs", "Transitions that one transaction held.", (1, 2, 4, 8, 16, 32, 64, 128))

# Model servers --------------------------------------------------------------------------------------------------------

UPSTREAM_CALLS = _counter("upstream_calls", "Requests to model servers, repetitions included.")
UPSTREAM_ERRORS = Counter(
    "upstream_errors",
    "Requests to model servers that failed, by what it means to the run and by the HTTP status, if there was one.",
    ["code", "status"],
    namespace="kumos",
    registry=REGISTRY,
)
UPSTREAM_RETRIES = _counter("upstream_retries", "Requests to model servers that were repeated.")

# Streams and bells ----------------------------------------------------------------------------------------------------

STREAMS = Gauge("streams", "Event streams that are open.", namespace="kumos", registry=REGISTRY)
STREAMS_ENDED = _counter(
    "streams_ended",
    "Event streams that ended, by why.",
    "reason",
    ["done", "left", "drained", "deleted", "failed"],
)
FOLLOWER_LAG_SECONDS = _histogram(
    "follower_lag_seconds",
    "Age of an event when it was sent; at most one sample a second of each stream, and none of replays.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30),
)
BELLS = _counter(
    "bells",
    "Bells to the followers and to the runner, by what became of them.",
    "outcome",
    ["sent", "lost"],
)
LOG_READS = _counter("log_reads", "Pages that followers read in the log, not having heard them: replays, and gaps.")
BELLS_MISSED = _counter("bells_missed", "Threads whose new events were found by the poll, before any bell.")
LAYER_FAILURES = _counter("layer_failures", "Calls of the channel layer that failed or took too long.")

# Requests -------------------------------------------------------------------------------------------------------------

REQUESTS = Counter(
    "requests",
    "Requests that were answered, by method, the route's template and the class of the status.",
    ["method", "route", "status"],
    namespace="kumos",
    registry=REGISTRY,
)
REQUEST_SECONDS = _histogram(
    "request_seconds",
    "From a request's arrival to the beginning of its answer.",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    "route",
)
IDEMPOTENCY = _counter(
    "idempotent_requests",
    "Requests whose Idempotency-Key was known, by what they were answered.",
    "outcome",
    ["replayed", "attached", "conflict", "mismatch"],
)
