"""The GET stream endpoints (contract 3.10): of a run, of a thread, and of several threads at once.

Whether a run exists is read from the log: its first event is.
"""

from __future__ import annotations

from operator import attrgetter

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import MethodNotAllowed

from assistants.answers import CURSORS
from assistants.authentication import Principal, authenticate
from assistants.conversation import find_thread
from assistants.errors import error_response, not_found
from assistants.models import Share, Thread
from assistants.parsers import check_address
from assistants.scopes import Area, within
from assistants.serializers.fields import Boolean, Integer
from assistants.views.resource import takes
from streaming import cursors, journal, seats, sse
from streaming.cursors import Cursors

DATED = {"include_created_at": Boolean(required=False)}
QUERY = {cursors.PARAM: Integer(min=0, max=None, required=False), **DATED}
SEVERAL = {cursors.PARAM: Cursors(required=False), cursors.STATUS_PARAM: Cursors(required=False), **DATED}


def reader_of(request: HttpRequest) -> Principal:
    """Raises ApiError 400 or 401."""
    if request.method != "GET":
        raise MethodNotAllowed(request.method or "")
    principal = authenticate(request)
    check_address(request.path)
    return principal


def open_run(request: HttpRequest, thread_id: str, run_id: str) -> sse.EventStream:
    """Raises ApiError 400, 401, 404, 429 or 503."""
    reader = reader_of(request)
    thread = find_thread(reader.project, thread_id)
    hide_frozen(thread, run_id, reader.share)
    start, whole = run_cursor(request, thread, run_id)
    return sse.EventStream(sse.run_frames(start, shown_to(thread, reader.share)), seats.take(reader), whole=whole)


def open_thread(request: HttpRequest, thread_id: str) -> sse.EventStream:
    reader = reader_of(request)
    thread = find_thread(reader.project, thread_id)
    until = reader.share.frozen_seq if reader.share else None
    if until is not None:
        thread.last_seq, thread.active_run_id = until, None
    cursor, whole = thread_cursor(thread, cursors.cursor_of(request, thread.last_seq))
    dated, show = cursors.is_dated(request), shown_to(thread, reader.share)
    frames = sse.thread_frames(thread_id, cursor, dated=dated, show=show, until=until)
    return sse.EventStream(frames, seats.take(reader), whole=whole)


def shown_to(thread: Thread, share: Share | None) -> sse.Show | None:
    """How the reader sees an entry: None for all of it. A frozen share shows the runs that were over by then."""
    if share is None:
        return None
    if share.frozen_seq is None:
        return attrgetter("shared_frame")
    ended, last = set(journal.ended_runs(thread.pk, share.frozen_seq)), share.frozen_seq
    return lambda entry: entry.shared_frame if entry.seq <= last and entry.run_id in ended else b""


def hide_frozen(thread: Thread, run_id: str, share: Share | None) -> None:
    """ApiError 404 for a run that a frozen share does not show."""
    frozen_at = share.frozen_seq if share else None
    if frozen_at is not None and run_id not in journal.ended_runs(thread.pk, frozen_at):
        raise not_found("run", run_id)


def open_several(request: HttpRequest) -> sse.EventStream:
    reader = reader_of(request)
    named = cursors.named(request)
    check_address(*request.GET)
    found = Thread.objects.filter(project=reader.project).in_bulk([one.thread_id for one in named])
    starts: dict[str, int] = {}
    whole = True
    for one in named:
        thread = found.get(one.thread_id)
        if thread is None:
            raise one.missing()
        starts[thread.id], has_all = thread_cursor(thread, one.of(thread))
        whole = whole and (has_all or one.only_statuses)
    statuses = {one.thread_id for one in named if one.only_statuses}
    said = {CURSORS: ", ".join(f"{id}={cursor}" for id, cursor in starts.items())}
    frames = sse.several_frames(starts, statuses, dated=cursors.is_dated(request))
    return sse.EventStream(frames, seats.take(reader), whole=whole, extra=said)


def run_cursor(request: HttpRequest, thread: Thread, run_id: str) -> tuple[sse.RunCursor, bool]:
    """Where the stream begins, and whether everything from there on is kept."""
    first = journal.first_seq(run_id)
    if first is None or not thread.events.filter(seq=first, run_id=run_id).exists():
        raise not_found("run", run_id)
    cursor, dated = cursors.cursor_of(request, thread.last_seq), cursors.is_dated(request)
    if cursor is None:
        return sse.RunCursor(thread_id=thread.id, run_id=run_id, seq=first - 1, dated=dated), True
    last_name = journal.last_name(run_id, cursor)
    start = sse.RunCursor(thread_id=thread.id, run_id=run_id, seq=cursor, last_name=last_name, dated=dated)
    return start, journal.is_whole(thread.id, cursor, run_id)


def thread_cursor(thread: Thread, cursor: int | None) -> tuple[int, bool]:
    """As `run_cursor`. Without a cursor: from the first event of the active run, or from now."""
    if cursor is not None:
        return cursor, cursor == thread.last_seq or journal.is_whole(thread.id, cursor)
    first = journal.first_seq(thread.active_run_id) if thread.active_run_id else None
    return thread.last_seq if first is None else first - 1, True


@within(Area.THREADS)
@takes(query=QUERY)
async def run_stream(request: HttpRequest, thread_id: str, run_id: str) -> sse.EventStream | HttpResponse:
    """GET /v1/threads/{thread_id}/runs/{run_id}/stream"""
    try:
        return await sync_to_async(open_run)(request, thread_id, run_id)
    except Exception as error:
        return error_response(error, request)


@within(Area.THREADS)
@takes(query=QUERY)
async def thread_stream(request: HttpRequest, thread_id: str) -> sse.EventStream | HttpResponse:
    """GET /v1/threads/{thread_id}/runs/stream"""
    try:
        return await sync_to_async(open_thread)(request, thread_id)
    except Exception as error:
        return error_response(error, request)


@within(Area.THREADS)
@takes(query=SEVERAL)
async def threads_stream(request: HttpRequest) -> sse.EventStream | HttpResponse:
    """GET /v1/threads/runs/stream"""
    try:
        return await sync_to_async(open_several)(request)
    except Exception as error:
        return error_response(error, request)
