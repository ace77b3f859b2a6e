"""How Kumos holds its connections to PostgreSQL: few, checked, each with limits on what it may wait for.

The pool alone would meet a restart badly: it hands out what died, tries again ever more rarely, and makes every request
wait for its whole time-out while nothing answers. What it calls here mends that: the first dead connection clears them
all away, and once the server is known to be away, requests are refused at once until a connection stands again.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from assistants.faults import OutcomeUnknown

WAIT_SECONDS = 3.0
"""For a connection, and for a lock. Whoever waits longer is told to come again (503)."""
AWAY_WAIT_SECONDS = 0.1
AWAY_AFTER_SECONDS = 2.0
SILENCE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""When a connection is given up whose other end does not even acknowledge: after 20 seconds where nothing was sent, and
after 15 (here in milliseconds) where something was.

All other limits are kept by the server, and a host that vanished keeps none. Left to the system, that is found out
after a quarter of an hour, or after two hours."""

Pool = ConnectionPool[psycopg.Connection[Any]]


class CommitLost(OutcomeUnknown, psycopg.OperationalError):
    """The connection broke before a commit was answered. What PostgreSQL refuses to commit it says; that is known."""


class Connection(psycopg.Connection[Any]):
    """One that tells a commit of which nobody knows the outcome from everything else that may go wrong."""

    def commit(self) -> None:
        try:
            super().commit()
        except psycopg.OperationalError as error:
            if self.broken:
                raise CommitLost(str(error)) from error
            raise


def options(size: int, statement_seconds: float, idle_seconds: float, given: dict[str, Any]) -> dict[str, Any]:
    """Django's OPTIONS: at most `size` connections; `given` is what the address says, and wins where it can."""
    limits = {
        "statement_timeout": f"{statement_seconds:g}s",
        "lock_timeout": f"{WAIT_SECONDS:g}s",
        "idle_in_transaction_session_timeout": f"{idle_seconds:g}s",
    }
    words = [f"-c {name}={value}" for name, value in limits.items()]
    return {
        "application_name": "kumos",
        "connect_timeout": round(WAIT_SECONDS),
        **SILENCE,
        **given,
        "options": " ".join([*words, given.get("options", "")]).strip(),
        "pool": {
            "connection_class": Connection,
            "min_size": 1,
            "max_size": size,
            "timeout": WAIT_SECONDS,
            "reconnect_timeout": AWAY_AFTER_SECONDS,
            "reconnect_failed": expect_nothing,
            "check": check,
        },
    }


def check(connection: psycopg.Connection[Any]) -> None:
    """Called with each connection before the pool hands it out; raises where it is dead."""
    pool: Pool = connection._pool  # type: ignore[assignment]
    try:
        ConnectionPool.check_connection(connection)
    except Exception:
        pool.drain()  # the others died with it
        raise
    pool.timeout = WAIT_SECONDS


def expect_nothing(pool: Pool) -> None:
    """Called when the server has not answered for AWAY_AFTER_SECONDS. Each request still makes the pool try again."""
    pool.timeout = AWAY_WAIT_SECONDS
