"""Bells between processes: new events go out over Channels groups, a few shards of them, many events in one message.

`ring` may be called from any thread. One message is under way at a time; what is rung meanwhile leaves together, so an
idle system adds no delay and a busy one batches by itself. Everything here may be lost: followers check the sequence
numbers and read the journal (streaming/follow.py).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from channels.layers import InMemoryChannelLayer, get_channel_layer

from assistants import bell

if TYPE_CHECKING:
    from streaming.journal import Entry

logger = logging.getLogger(__name__)

LAYER_TIMEOUT = 0.1  # seconds a layer call may take
BREAK_SECONDS = 1.0  # how long the layer is left alone after a failure
ROWS_BYTES = 64 * 1024  # above this a bell says only how far the thread's log has come

_lock = threading.Lock()
_waiting: list[Entry] = []
_flushed_on: asyncio.AbstractEventLoop | None = None
"""The loop that is about to send what waits, so that a busy process rings once for many commits."""
_broken_until = 0.0


def shard_of(thread_id: str) -> str:
    """The Channels group of a thread. In one process one group is enough."""
    shards = 1 if isinstance(get_channel_layer(), InMemoryChannelLayer) else 16
    return f"threads.{zlib.crc32(thread_id.encode()) % shards}"


def healthy() -> bool:
    return time.monotonic() >= _broken_until


def failed(error: Exception) -> None:
    """Notes that the layer did not do its work; followers poll faster until it is healthy again."""
    global _broken_until
    if healthy():
        logger.warning("channel layer failed, followers poll: %r", error)
    _broken_until = time.monotonic() + BREAK_SECONDS


def ring(entries: Iterable[Entry]) -> None:
    """Tells every process that `entries` are in the log. Called after their commit."""
    global _flushed_on
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
            await _send(entries)
    finally:
        _flushed_on = None  # at worst one flush too many


async def _send(entries: Sequence[Entry]) -> None:
    layer = get_channel_layer()
    if layer is None or not healthy():
        return
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(shard_of(entry.thread_id), []).append(entry)
    for group, rung in groups.items():
        try:
            async with asyncio.timeout(LAYER_TIMEOUT):
                await layer.group_send(group, {"type": "events", "rows": pack(rung)})
        except Exception as error:
            failed(error)


def pack(entries: Sequence[Entry]) -> bytes:
    """Rows `[thread, seq, run, name, data]`, or `[thread, last seq]` where the rows would be too much for a bell."""
    rows: list[list[Any]] = [[e.thread_id, e.seq, e.run_id, e.name, e.data] for e in entries]
    packed = orjson.dumps(rows)
    if len(packed) <= ROWS_BYTES:
        return packed
    return orjson.dumps([list(pair) for pair in {e.thread_id: e.seq for e in entries}.items()])
