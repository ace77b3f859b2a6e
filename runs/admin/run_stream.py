"""The events of one run for its own page: the public stream (streaming/sse.py), with the operator's rights.

The same frames, numbers and ends, so a page goes on where it was. The page is told of each event its name and size; of
the data alone the answer's text, and only those who may read content get it: pieces of arguments cannot be masked.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from assistants.admin import content
from assistants.errors import ApiError
from runs.models import Run
from runs.story import MESSAGE_DELTA
from streaming import seats, sse
from streaming.journal import Entry, encode
from streaming.views import run_cursor

from .live import operator_of, sees_runs


def reads_runs(user: User) -> bool:
    return sees_runs(user) and user.has_perm("assistants.read_content")


def outline(entry: Entry) -> bytes:
    """The event without its data."""
    return replace(entry, data=encode(measures(entry))).frame


def readable(entry: Entry) -> bytes:
    """The same, with a piece of the answer's text where the event is one."""
    if entry.name != MESSAGE_DELTA:
        return outline(entry)
    delta = orjson.loads(entry.data)
    text = "".join(part["text"]["value"] for part in delta["delta"]["content"])
    return replace(entry, data=encode({**measures(entry), "message": delta["id"], "text": text})).frame


def measures(entry: Entry) -> dict[str, int]:
    return {"size": len(entry.data), "at": round(entry.at * 1000)}


def follow(request: HttpRequest, run_id: str) -> HttpResponseBase:
    """GET …/{run_id}/stream/?starting_after=SEQ"""
    reads = content.may_read(request)
    operator = operator_of(request, reads_runs if reads else sees_runs)
    run = None if "\0" in run_id else Run.objects.select_related("thread").filter(pk=run_id).first()
    if run is None:
        raise Http404
    try:
        start, whole = run_cursor(request, run.thread, run.pk)
        frames = sse.run_frames(start, readable if reads else outline)
        return sse.EventStream(frames, seats.take(operator), whole=whole)
    except ApiError as error:
        return HttpResponse(str(error), status=error.status_code, content_type="text/plain", headers=error.headers)
