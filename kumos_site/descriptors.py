"""Open files: each connection is one, and a process begins with fewer than it may have."""

from __future__ import annotations

import resource
from contextlib import suppress

OTHERS = 200
"""Files, database connections, model servers: what is open beside the readers' connections, generously."""


def allow_all() -> int:
    """Raises the limit of this process as far as the system lets it. Returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS may name no limit, and refuse to have none
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def shortage(streams: int, limit: int) -> str:
    """In words, what is wrong with so many streams under that limit; "" if nothing is."""
    if limit == resource.RLIM_INFINITY or streams + OTHERS <= limit:
        return ""
    return (
        f"KUMOS_STREAMS_MAX={streams} needs some {streams + OTHERS} open files, and this process may have {limit}"
        " (`ulimit -Hn`): beyond that it takes no connection."
    )
