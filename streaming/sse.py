"""Server-sent events on the wire (design, section 5; contract 3.2): frames, heartbeats, ends, headers, cursors.

Measured with the official SDKs, held by tests: `id` + `event` + one `data` line per frame; a heartbeat is one comment
line that no blank line follows; no `retry:`; `done` has no id; a stream never ends cleanly without `done` or `error`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Literal

import orjson
from django.conf import settings
from django.http import StreamingHttpResponse

from assistants import metrics
from assistants.answers import Deletion
from assistants.errors import SERVER_FAULT, ErrorFields
from assistants.failpoints import failpoint
from streaming.follow import Draining, ThreadDeleted, follow, follow_several
from streaming.journal import Entry
from streaming.models import TERMINAL_RUN_EVENTS
from streaming.seats import Seat

logger = logging.getLogger(__name__)

HEARTBEAT = b": keep-alive\n"
DONE = b"event: done\ndata: [DONE]\n\n"
LAG_SAMPLE_SECONDS = 1.0
REQUIRES_ACTION = "thread.run.requires_action"


class ErrorEvent(ErrorFields):
    """A fault of the server. Nested for the SDKs that raise only then, and flat for the documented shape (3.8)."""

    error: ErrorFields


def error_frame(message: str) -> bytes:
    fields: ErrorFields = {"message": message, "type": "server_error", "param": None, "code": None}
    event: ErrorEvent = {"error": fields, **fields}
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCursor:
    """Where a stream of one run goes on. `last_name` is the run's last event up to `seq`, "" before its first.

    `with_thread` lets the thread's own events through too: `thread.created` opens the stream of POST /threads/runs.
    `one_turn`: ends with the next `requires_action`, whatever follows it: the answer to a POST.
    `dated`: each event comes with its time (docs/extensions.md).
    """

    thread_id: str
    run_id: str
    seq: int
    last_name: str = ""
    with_thread: bool = False
    one_turn: bool = False
    dated: bool = False


@dataclass(slots=True)
class Ending:
    """Why a stream ended, as /metrics counts it. Its reader has left, unless something else is known."""

    reason: str = "left"


Show = Callable[[Entry], bytes]
"""An entry as its reader sees it: the frame, or nothing."""


async def run_frames(start: RunCursor, show: Show | None = None) -> AsyncGenerator[bytes]:
    """One run: replay, then live, then `done` once it is terminal, or waits for tool outputs and nothing follows."""
    failpoint("run.stream.before_first_byte")
    runs = {start.run_id, ""} if start.with_thread else {start.run_id}
    last_name = start.last_name
    end = Ending()
    async with aclosing(_batches(start.thread_id, start.seq, end)) as batches:
        async for batch in batches:
            if isinstance(batch, bytes):
                yield batch
                continue
            mine: Sequence[Entry] = [entry for entry in batch if entry.run_id in runs]
            if start.one_turn:
                mine = first_turn(mine)
            nothing_follows = start.one_turn or not batch
            if mine:
                last_name = mine[-1].name
                text = text_of(mine, dated=start.dated, show=show)
                del mine
                batch.clear()
                yield text
            if last_name in TERMINAL_RUN_EVENTS or (last_name == REQUIRES_ACTION and nothing_follows):
                end.reason = "done"
                yield DONE
                return


def first_turn(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Up to the first `requires_action`, which somebody may have answered before it was read."""
    for index, entry in enumerate(entries, start=1):
        if entry.name == REQUIRES_ACTION:
            return entries[:index]
    return entries


def text_of(entries: Sequence[Entry], *, dated: bool, show: Show | None = None) -> bytes:
    if show is None:
        return b"".join([entry.dated_frame if dated else entry.frame for entry in entries])
    shown = ((entry, show(entry)) for entry in entries)
    return b"".join([entry.date + frame if dated else frame for entry, frame in shown if frame])


async def thread_frames(
    thread_id: str, cursor: int, *, dated: bool = False, show: Show | None = None, until: int | None = None
) -> AsyncGenerator[bytes]:
    """All runs of a thread, one after the other. Stays open; `done` only when the thread is deleted.

    With `until` it goes up to that event, which is in the log, and then says `done`.
    """
    end = Ending()
    async with aclosing(_batches(thread_id, cursor, end, deletion=DONE)) as batches:
        async for batch in batches:
            if isinstance(batch, bytes):
                yield batch
                continue
            over = until is not None and (not batch or batch[-1].seq >= until)
            if text := text_of([entry for entry in batch if entry.run_id], dated=dated, show=show):
                batch.clear()
                yield text
            if over:
                end.reason = "done"
                yield DONE
                return


async def several_frames(
    cursors: Mapping[str, int], statuses: Container[str], *, dated: bool = False
) -> AsyncGenerator[bytes]:
    """`thread_frames` of several threads on one connection; each id says the thread, too: `thread_A:13`.

    Of the threads in `statuses` only what changes a run's status. One that is deleted ends with an event of its own,
    and the others go on.
    """
    async with aclosing(_spoken(_wanted(cursors, statuses), f"{len(cursors)} threads", Ending())) as batches:
        async for batch in batches:
            if isinstance(batch, bytes):
                yield batch
            elif isinstance(batch, ThreadDeleted):
                yield deletion_frame(batch.thread_id)
            elif batch:
                id = f"id: {batch[0].thread_id}:".encode()
                frames = [text_of([entry], dated=dated).replace(b"id: ", id, 1) for entry in batch]
                batch.clear()
                yield b"".join(frames)


async def _wanted(cursors: Mapping[str, int], statuses: Container[str]) -> AsyncGenerator[list[Entry] | ThreadDeleted]:
    """What happens in the threads, without what is not shown: events of no run, and in `statuses` most of a run."""
    async with aclosing(follow_several(cursors, settings.KUMOS_HEARTBEAT_SECONDS)) as batches:
        async for batch in batches:
            if isinstance(batch, list):
                batch[:] = [
                    entry
                    for entry in batch
                    if entry.run_id and (entry.thread_id not in statuses or is_status(entry.name))
                ]
            yield batch


def is_status(name: str) -> bool:
    """Whether an event of this name tells that a run has another status."""
    return name.startswith("thread.run.") and not name.startswith("thread.run.step.")


def deletion_frame(thread_id: str) -> bytes:
    """In a stream of several threads: this one was deleted. Without an id, for there is nothing to go on behind."""
    deletion: Deletion[Literal["thread.deleted"]] = {"id": thread_id, "object": "thread.deleted", "deleted": True}
    return b"event: thread.deleted\ndata: " + orjson.dumps(deletion) + b"\n\n"


def _batches(
    thread_id: str, cursor: int, end: Ending, *, deletion: bytes | None = None
) -> AsyncGenerator[list[Entry] | bytes]:
    """The events of one thread; what is sent in their place when it is deleted, if need be."""
    follower = follow(thread_id, cursor, settings.KUMOS_HEARTBEAT_SECONDS)
    return _spoken(follower, thread_id, end, deletion=deletion)


async def _spoken[News: list[Entry] | ThreadDeleted](
    follower: AsyncGenerator[News], followed: str, end: Ending, *, deletion: bytes | None = None
) -> AsyncGenerator[News | bytes]:
    """The follower's batches, with heartbeats in its silence and an `error` frame for what goes wrong.

    Who takes a batch empties it before he waits for his client: events take several times the memory of their text.
    """
    tick: float = settings.KUMOS_HEARTBEAT_SECONDS
    spoke_at = -math.inf  # at once, if there is nothing to say: a server sends the headers with the first byte
    sampled_at, opened_at = -math.inf, time.time()
    metrics.STREAMS.inc()
    try:
        async with aclosing(follower) as batches:
            async for batch in batches:
                newest_at = batch[-1].at if isinstance(batch, list) and batch else 0.0
                yield batch
                moment = time.monotonic()
                if newest_at:
                    spoke_at = moment
                    if moment - sampled_at >= LAG_SAMPLE_SECONDS and newest_at >= opened_at:
                        sampled_at = moment
                        metrics.FOLLOWER_LAG_SECONDS.observe(max(0.0, time.time() - newest_at))
                elif moment - spoke_at >= tick * 0.9:
                    spoke_at = moment
                    yield HEARTBEAT
        end.reason = "deleted"  # all that was followed
        yield DONE
    except Draining:
        end.reason = "drained"
        raise  # the server cuts the connection, and the reader comes back with its last id
    except ThreadDeleted:
        end.reason = "deleted"
        yield deletion or error_frame("The thread was deleted.")
    except Exception:
        end.reason = "failed"
        logger.exception("a stream of %s failed", followed)
        yield error_frame(SERVER_FAULT)
    finally:
        metrics.STREAMS.dec()
        metrics.STREAMS_ENDED.labels(end.reason).inc()


class EventStream(StreamingHttpResponse):
    """The answer that consists of `frames`, for whoever has the `seat`.

    `whole` is False where deltas that the reader asked for are no longer kept: then a header tells it so (3.10).
    """

    def __init__(
        self, frames: AsyncIterator[bytes], seat: Seat, *, whole: bool = True, extra: Mapping[str, str] | None = None
    ) -> None:
        headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **(extra or {})}
        if not whole:
            headers["Last-Event-ID"] = "earliest"
        super().__init__(frames, content_type="text/event-stream; charset=utf-8", headers=headers)
        self.seat = seat


class RunStream(EventStream):
    """The stream of one run; from its `beginning` it is made again, byte for byte while its deltas are kept."""

    def __init__(self, start: RunCursor, seat: Seat, *, whole: bool = True) -> None:
        super().__init__(run_frames(start), seat, whole=whole)
        self.beginning = asdict(start)
