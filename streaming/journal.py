"""The log itself: append inside the caller's transaction, read from a cursor. Nothing here waits or is asynchronous.

Order (P3): a thread's numbers are taken under its row lock, so they commit in order and without gaps. Visibility (P1):
bells ring on commit, and readers read committed rows only. What is kept for how long is `retention.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import batched
from typing import Any

import orjson
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Count, Max, QuerySet

from assistants import shared
from assistants.clock import now, shared_now
from assistants.models import Thread
from assistants.rows import Vanished
from streaming import broker
from streaming.models import TERMINAL_RUN_EVENTS, EndedRun, Event

# What line splitters of clients take for a line's end besides CR and LF, and the C1 controls around it.
UNSAFE = re.compile("[\u007f-\u009f\u2028\u2029]")


def encode(data: Mapping[str, Any]) -> str:
    """`data` as the one line of JSON that is stored, rung, sent and replayed."""
    text = orjson.dumps(data).decode()
    return text if text.isascii() else UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that is to be logged: the wire's name, its encoded data, the run it belongs to ("" for none)."""

    name: str
    data: str
    run_id: str = ""


@dataclass(frozen=True)
class Entry:
    """An event that is in the log."""

    thread_id: str
    seq: int
    run_id: str
    name: str
    data: str
    at: float = 0.0
    """When it was appended, in seconds since the epoch; 0.0 where a bell does not say."""

    @cached_property
    def frame(self) -> bytes:
        """The event on the wire, made once for all its readers."""
        return self._frame(self.data)

    @cached_property
    def shared_frame(self) -> bytes:
        """The same for the readers of a share. Pieces of text, which are most of all events, say nothing else."""
        is_text = self.name == "thread.message.delta"
        return self.frame if is_text else self._frame(encode(shared.event(orjson.loads(self.data))))

    def _frame(self, data: str) -> bytes:
        return f"id: {self.seq}\nevent: {self.name}\ndata: {data}\n\n".encode()

    @property
    def dated_frame(self) -> bytes:
        """The same behind a comment line that says when: the form of a heartbeat, which every SDK passes over."""
        return self.date + self.frame

    @property
    def date(self) -> bytes:
        return f": created_at {self.at:.3f}\n".encode()


class ThreadGone(Vanished):
    """The thread was deleted: there is nothing to append to."""


_COLUMNS = "INSERT INTO streaming_event (thread_id, seq, run_id, name, data, created_at) VALUES "
_ROW = "(%s, %s, %s, %s, %s, %s)"
ROWS_PER_STATEMENT = 100
"""Few enough for the parameters that a statement may have in any database."""


def _insert(cursor: CursorWrapper, rows: Sequence[Sequence[Any]]) -> None:
    """In statements of many rows, not by executemany: after psycopg's, PostgreSQL never ends an idle transaction."""
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        some = rows[start : start + ROWS_PER_STATEMENT]
        cursor.execute(_COLUMNS + ", ".join([_ROW] * len(some)), [value for row in some for value in row])


def append(thread_id: str, drafts: Sequence[Draft]) -> list[Entry]:
    """Numbers and stores `drafts`; the bell rings when the surrounding transaction commits. Raises ThreadGone.

    The thread's row stays locked until that commit. By hand, in one statement: this runs once per streamed token.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE assistants_thread SET last_seq = last_seq + %s WHERE id = %s AND departed_at IS NULL"
            " RETURNING last_seq",
            [len(drafts), thread_id],
        )
        row = cursor.fetchone()
        if row is None:
            raise ThreadGone(thread_id)
        first = row[0] - len(drafts) + 1
        return _store(cursor, [(thread_id, seq, draft) for seq, draft in enumerate(drafts, start=first)])


def append_to_each(drafts: Mapping[str, Draft]) -> list[Entry]:
    """`append` of one event to each of several threads, in as many statements as for one. Deleted ones are left out."""
    if not drafts:
        return []
    with connection.cursor() as cursor:
        places = ", ".join(["%s"] * len(drafts))
        cursor.execute(
            f"UPDATE assistants_thread SET last_seq = last_seq + 1 WHERE id IN ({places}) AND departed_at IS NULL"
            " RETURNING id, last_seq",
            list(drafts),
        )
        return _store(cursor, [(thread_id, seq, drafts[thread_id]) for thread_id, seq in cursor.fetchall()])


def _store(cursor: CursorWrapper, numbered: Sequence[tuple[str, int, Draft]]) -> list[Entry]:
    appended = now()
    at = appended.timestamp()
    entries = [Entry(thread_id, seq, draft.run_id, draft.name, draft.data, at) for thread_id, seq, draft in numbered]
    moment = connection.ops.adapt_datetimefield_value(appended)
    _insert(cursor, [(e.thread_id, e.seq, e.run_id, e.name, e.data, moment) for e in entries])
    for entry in entries:
        if entry.name in TERMINAL_RUN_EVENTS:
            EndedRun.objects.create(run_id=entry.run_id, thread_id=entry.thread_id, ended_at=shared_now())
    # Robust: a bell that fails must not look like a commit that failed.
    transaction.on_commit(partial(broker.ring, entries), robust=True)
    return entries


PAGE_EVENTS = 500
PAGE_BYTES = 64 * 1024
ROWS_AT_ONCE = 8  # what is fetched behind the end of a page is wasted


def page(entries: Iterable[Entry]) -> list[Entry]:
    """What a reader takes at once: the first of `entries`, until one of them makes the page full.

    It stays in memory until the reader's client has taken it, and an event may hold a run's 256,000 characters.
    """
    taken: list[Entry] = []
    size = 0
    for entry in entries:
        taken.append(entry)
        size += _size(entry)
        if size >= PAGE_BYTES or len(taken) == PAGE_EVENTS:
            break
    return taken


def is_full(entries: Sequence[Entry]) -> bool:
    """Whether a page was ended by its limits, so that more may follow."""
    return len(entries) == PAGE_EVENTS or sum(map(_size, entries)) >= PAGE_BYTES


def _size(entry: Entry) -> int:
    """Its bytes, which PostgreSQL knows of a text without reading it."""
    return len(entry.data) if entry.data.isascii() else len(entry.data.encode())


_PAGE = f"""
    SELECT seq, run_id, name, data, created_at FROM (
        SELECT *, SUM(OCTET_LENGTH(data)) OVER (ORDER BY seq) - OCTET_LENGTH(data) AS size_before FROM (
            SELECT seq, run_id, name, data, created_at FROM streaming_event
            WHERE thread_id = %s AND seq > %s ORDER BY seq LIMIT {PAGE_EVENTS}
        ) AS following
    ) AS measured
    WHERE size_before < {PAGE_BYTES} ORDER BY seq
"""
"""Long texts lie beside PostgreSQL's rows: those behind the end of the page are not fetched from there."""


def read_after(thread_id: str, cursor: int) -> list[Entry]:
    """A page of the committed events after `cursor`, in order; empty only if there are none."""
    rows: Iterable[tuple[Any, ...]]
    if connection.vendor == "postgresql":  # an iterator would have all rows copied, whole, before the first one comes
        with connection.cursor() as reading:
            reading.execute(_PAGE, [thread_id, cursor])
            rows = reading.fetchall()
    else:
        following = Event.objects.filter(thread_id=thread_id, seq__gt=cursor).order_by("seq")
        columns = following.values_list("seq", "run_id", "name", "data", "created_at")
        rows = columns[:PAGE_EVENTS].iterator(chunk_size=ROWS_AT_ONCE)
    return page(
        Entry(thread_id, seq, run_id, name, data, created_at.timestamp())
        for seq, run_id, name, data, created_at in rows
    )


IDS_PER_STATEMENT = 10_000


def last_seqs(thread_ids: Iterable[str]) -> dict[str, int]:
    """The newest number of each thread; deleted threads are missing from the answer.

    One query for all of them, as long as a statement may have so many parameters.
    """
    found: dict[str, int] = {}
    for some in batched(thread_ids, IDS_PER_STATEMENT):
        found.update(Thread.objects.filter(pk__in=some).values_list("pk", "last_seq"))
    return found


def first_seq(run_id: str) -> int | None:
    """The number of a run's first event; None if no such run was ever logged."""
    return Event.objects.filter(run_id=run_id).order_by("seq").values_list("seq", flat=True).first()


def ended_runs(thread_id: str, seq: int) -> QuerySet[Event, str]:
    """The ids of the runs that were over with the event `seq`."""
    ends = Event.objects.filter(thread_id=thread_id, seq__lte=seq, name__in=TERMINAL_RUN_EVENTS)
    return ends.values_list("run_id", flat=True)


def is_whole(thread_id: str, seq: int, run_id: str = "") -> bool:
    """Whether all events after `seq` are kept (retention.py): those of the thread, or of one run of it."""
    events = Event.objects.filter(thread_id=thread_id, seq__gt=seq)
    if run_id:  # a thread has one active run at a time, so the numbers of a run follow each other
        events = events.filter(run_id=run_id)
        seq = max(seq, (first_seq(run_id) or 0) - 1)
    found = events.aggregate(count=Count("seq"), last=Max("seq"))
    return not found["count"] or bool(found["count"] == found["last"] - seq)


def last_name(run_id: str, seq: int) -> str:
    """The name of a run's last event up to `seq`; "" before its first."""
    names = Event.objects.filter(run_id=run_id, seq__lte=seq).order_by("-seq").values_list("name", flat=True)
    return names.first() or ""
