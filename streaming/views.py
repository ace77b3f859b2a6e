"""The two GET stream endpoints (contract 3.10). Whether a run exists is read from the log: its first event is."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import MethodNotAllowed

from assistants.authentication import authenticate
from assistants.conversation import find_thread
from assistants.errors import error_response, not_found
from assistants.models import Thread
from assistants.parsers import check_address
from assistants.serializers.fields import Integer
from assistants.views.resource import takes
from streaming import journal, sse

CURSOR = {"starting_after": Integer(min=0, max=None, required=False)}


def thread_of(request: HttpRequest, thread_id: str) -> Thread:
    """The thread, if the request may see it. Raises ApiError 400, 401 or 404."""
    if request.method != "GET":
        raise MethodNotAllowed(request.method or "")
    project = authenticate(request).project
    check_address(request.path)
    return find_thread(project, thread_id)


def open_run(request: HttpRequest, thread_id: str, run_id: str) -> tuple[sse.RunCursor, bool]:
    """Where the stream begins, and whether everything from there on is kept."""
    thread = thread_of(request, thread_id)
    first = journal.first_seq(run_id)
    if first is None or not thread.events.filter(seq=first, run_id=run_id).exists():
        raise not_found("run", run_id)
    cursor = sse.cursor_of(request, thread.last_seq)
    if cursor is None:
        return sse.RunCursor(thread_id=thread.id, run_id=run_id, seq=first - 1), True
    last_name = journal.last_name(run_id, cursor)
    start = sse.RunCursor(thread_id=thread.id, run_id=run_id, seq=cursor, last_name=last_name)
    return start, journal.is_whole(thread.id, cursor, run_id)


def open_thread(request: HttpRequest, thread_id: str) -> tuple[int, bool]:
    """As `open_run`. Without a cursor: from the first event of the active run, or from now."""
    thread = thread_of(request, thread_id)
    cursor = sse.cursor_of(request, thread.last_seq)
    if cursor is not None:
        return cursor, journal.is_whole(thread.id, cursor)
    first = journal.first_seq(thread.active_run_id) if thread.active_run_id else None
    return thread.last_seq if first is None else first - 1, True


@takes(query=CURSOR)
async def run_stream(request: HttpRequest, thread_id: str, run_id: str) -> sse.EventStream | HttpResponse:
    """GET /v1/threads/{thread_id}/runs/{run_id}/stream"""
    try:
        start, whole = await sync_to_async(open_run)(request, thread_id, run_id)
    except Exception as error:
        return error_response(error, request)
    return sse.EventStream(sse.run_frames(start), whole=whole)


@takes(query=CURSOR)
async def thread_stream(request: HttpRequest, thread_id: str) -> sse.EventStream | HttpResponse:
    """GET /v1/threads/{thread_id}/runs/stream"""
    try:
        cursor, whole = await sync_to_async(open_thread)(request, thread_id)
    except Exception as error:
        return error_response(error, request)
    return sse.EventStream(sse.thread_frames(thread_id, cursor), whole=whole)
