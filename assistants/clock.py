"""The one clock: UTC, microseconds, never twice the same, and not backwards where the system's was only adjusted.

Lists are ordered by `(created_at, id)`, so objects made one after the other keep their order even within a second. A
system clock that was set back further is followed: otherwise no lease and no time limit would end until it caught up.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import overload

from django.db import connection

ADJUSTED_MICROSECONDS = 5_000_000

_lock = threading.Lock()
_last = 0


def now() -> datetime:
    global _last
    with _lock:
        moment = time.time_ns() // 1000
        _last = moment if moment < _last - ADJUSTED_MICROSECONDS else max(moment, _last + 1)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=_last)


def shared_now() -> datetime:
    """The moment by the clock that all processes share, for leases and limits that one sets and another checks.

    It is PostgreSQL's own, so that a host whose clock is wrong neither loses its runs nor takes those of others; with
    SQLite there is only this machine.
    """
    if connection.vendor != "postgresql":
        return now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


@overload
def unix(moment: datetime) -> int: ...
@overload
def unix(moment: datetime | None) -> int | None: ...
def unix(moment: datetime | None) -> int | None:
    """Integer unix seconds, the only form of time on the wire (contract 1.2)."""
    return None if moment is None else int(moment.timestamp())
