"""Bells between processes: new events go out over one Channels group, many events in one message.

One group, not one per thread and no shards of threads: every message costs its sender and each process that listens a
fixed price, and a process that serves a few threads listens to all shards anyway (docs/architecture.md has figures).

`ring` may be called from any thread. One message is under way at a time; what is rung meanwhile leaves together, so an
idle system adds no delay and a busy one batches by itself. Everything here may be lost: followers check the sequence
numbers and read the journal (streaming/follow.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from assistants import bell, layer, metrics
from assistants.failpoints import failpoint

if TYPE_CHECKING:
    from streaming.journal import Entry

GROUP = "threads"
ROWS_BYTES = 64 * 1024
"""About the size of a bell. Of a longer event it only says that there is one."""

_lock = threading.Lock()
_waiting: list[Entry] = []
_flushed_on: asyncio.AbstractEventLoop | None = None
"""The loop that is about to send what waits, so that a busy process rings once for many commits."""


def ring(entries: Iterable[Entry]) -> None:
    """Tells every process that `entries` are in the log. Called after their commit."""
    global _flushed_on
    failpoint("events.before_publish")
    loop = bell.attached_loop()
    with _lock:
        _waiting.extend(entries)
        if loop is not None and _flushed_on is loop:
            return
        _flushed_on = loop
    if not bell.ring(_flush):
        _take()  # nobody can hear


def _take() -> list[Entry]:
    """All that waits; with nothing left, the next `ring` starts a new flush."""
    global _flushed_on
    with _lock:
        taken = _waiting.copy()
        _waiting.clear()
        if not taken:
            _flushed_on = None
    return taken


async def _flush() -> None:
    global _flushed_on
    try:
        while entries := _take():
            for rows in packed(entries):
                await layer.ask("group_send", GROUP, {"type": "events", "rows": rows})
                metrics.BELLS.labels("sent").inc()
    except layer.Away:
        metrics.BELLS.labels("lost").inc()
        _take()  # by the time it answers again, everybody will have read them in the journal
    finally:
        _flushed_on = None  # at worst one flush too many


def packed(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Bells of rows `[thread, seq, run, name, data, at]`, or `[thread, seq]` for an event too long for a bell."""
    rows: list[list[Any]] = []
    size = 0
    for entry in entries:
        row = [entry.thread_id, entry.seq, entry.run_id, entry.name, entry.data, entry.at]
        length = len(entry.data)
        if length > ROWS_BYTES:
            row, length = row[:2], 0
        if size + length > ROWS_BYTES:
            yield orjson.dumps(rows)
            rows, size = [], 0
        rows.append(row)
        size += length
    if rows:
        yield orjson.dumps(rows)
