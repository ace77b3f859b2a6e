"""The events of one run for its own page: the public stream (streaming/sse.py), with the operator's rights.

The same frames, numbers and ends, so a page goes on where it was. The page is told of each event its name and size; of
the data alone the answer's text, and only those who may read content get it, up to the first secret in it: pieces of
arguments cannot be masked. What follows is on the page when that asks for itself again, masked as a whole.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from assistants.admin import content
from assistants.errors import ApiError
from assistants.masking import Unfolding
from runs.models import Run
from runs.story import MESSAGE_DELTA
from streaming import seats, sse
from streaming.journal import Entry, encode
from streaming.models import Event
from streaming.views import run_cursor

from .live import operator_of, sees_runs


def reads_runs(user: User) -> bool:
    return sees_runs(user) and user.has_perm("assistants.read_content")


def outline(entry: Entry) -> bytes:
    """The event without its data."""
    return replace(entry, data=encode(measures(entry))).frame


class Reader:
    """Somebody who reads along from the event behind `seq` on. What was said before is judged along with the rest."""

    def __init__(self, run_id: str, seq: int = 0) -> None:
        self.message, self.text = "", Unfolding()
        before = Event.objects.filter(run_id=run_id, name=MESSAGE_DELTA, seq__lte=seq).order_by("seq")
        said: list[str] = []
        for data in before.values_list("data", flat=True).iterator() if seq else ():
            id, piece = piece_of(data)
            if id != self.message:
                self.message, said = id, []
            said.append(piece)
        self.text.shown("".join(said))

    def readable(self, entry: Entry) -> bytes:
        """The event without its data, but with the piece of the answer's text where it is one that may be shown."""
        if entry.name != MESSAGE_DELTA:
            return outline(entry)
        id, piece = piece_of(entry.data)
        if id != self.message:
            self.message, self.text = id, Unfolding()
        text = self.text.shown(piece)
        if not text:
            return outline(entry)
        return replace(entry, data=encode({**measures(entry), "message": id, "text": text})).frame


def piece_of(data: str) -> tuple[str, str]:
    """The message that a delta is of, and its text."""
    delta = orjson.loads(data)
    return delta["id"], "".join(part["text"]["value"] for part in delta["delta"]["content"])


def measures(entry: Entry) -> dict[str, int]:
    return {"size": len(entry.data), "at": round(entry.at * 1000)}


def follow(request: HttpRequest, run_id: str) -> HttpResponseBase:
    """GET …/{run_id}/stream/?starting_after=SEQ"""
    reads = content.may_read(request)
    operator = operator_of(request, reads_runs if reads else sees_runs)
    run = Run.objects.select_related("thread").filter(pk=run_id).first()
    if run is None:
        raise Http404
    try:
        start, whole = run_cursor(request, run.thread, run.pk)
        show = Reader(run.pk, start.seq).readable if reads else outline
        frames = sse.run_frames(start, show)
        return sse.EventStream(frames, seats.take(operator), whole=whole)
    except ApiError as error:
        return HttpResponse(str(error), status=error.status_code, content_type="text/plain", headers=error.headers)
