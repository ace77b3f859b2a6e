"""What readers say of the stream they want, in a header or in the query: where it goes on, with times or without.

Which events these numbers stand for, and where a stream begins without one, is the business of views.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from django.http import HttpRequest

from assistants.errors import ApiError, not_found
from assistants.models import Thread
from assistants.serializers.fields import WireField
from assistants.serializers.refusals import at, wrong_id

THREADS_MAX = 64
"""Followed by one request. A browser with more than that on show has several."""
HEADER = "Last-Event-ID"
PARAM = "starting_after"
STATUS_PARAM = "status_after"
_DIGITS_MAX = 18


class Cursors(WireField):
    """`name[thread_…]=13`, once for each thread; without a value it says the thread alone."""

    expected = "an object"


def cursor_of(request: HttpRequest, newest: int) -> int | None:
    """The id after which the reader wants to go on: `Last-Event-ID`, else `starting_after`. None if it has none.

    Raises ApiError 400 for anything but a number that the log has reached (contract 3.10).
    """
    header = request.headers.get(HEADER, "")
    return number(header or request.GET.get(PARAM, ""), HEADER if header else PARAM, newest)


def is_dated(request: HttpRequest) -> bool:
    """Whether the reader wants the time of each event, too. Raises ApiError 400."""
    raw = request.GET.get("include_created_at", "false")
    if raw not in ("true", "false"):
        raise ApiError(
            f"Invalid 'include_created_at': '{raw[:64]}'. Expected 'true' or 'false'.",
            param="include_created_at",
            code="invalid_value",
        )
    return raw == "true"


def number(raw: str, param: str, newest: int) -> int | None:
    """A cursor as it was given, "" for none. Raises ApiError 400."""
    if not raw:
        return None
    if not (raw.isascii() and raw.isdigit() and len(raw) <= _DIGITS_MAX):
        raise ApiError(
            f"Invalid '{param}': '{raw[:64]}'. Expected the id of an event.", param=param, code="invalid_value"
        )
    if int(raw) > newest:
        raise ApiError(
            f"Invalid '{param}': {int(raw)} is ahead of the last event, {newest}.",
            param=param,
            code="cursor_out_of_range",
        )
    return int(raw)


@dataclass(frozen=True, slots=True)
class Named:
    """A thread that a request names, by which parameter, and its cursor as it was given."""

    thread_id: str
    param: str
    raw: str
    only_statuses: bool

    def of(self, thread: Thread) -> int | None:
        return number(self.raw, self.param, thread.last_seq)

    def missing(self) -> Exception:
        """What is said where the project has no such thread."""
        if not self.thread_id.startswith("thread"):
            return at(self.param, wrong_id(self.thread_id, "thread"))
        return not_found("thread", self.thread_id, param=self.param)


def named(request: HttpRequest) -> list[Named]:
    """The threads of a request; one that is named by both parameters is followed as a whole.

    Raises ApiError 400 for none, for too many, or for a `Last-Event-ID` of none of them.
    """
    threads: dict[str, Named] = {}
    for name in (STATUS_PARAM, PARAM):
        for key in request.GET:
            if match := re.fullmatch(rf"{name}\[(.*)\]", key, re.DOTALL):
                raw = request.GET.get(key, "")
                threads[match[1]] = Named(match[1], key, raw, only_statuses=name == STATUS_PARAM)
    if not threads:
        raise ApiError(
            f"Missing required parameter: '{PARAM}'. Name each thread, as in '{PARAM}[thread_abc]='.",
            param=PARAM,
            code="missing_required_parameter",
        )
    if len(threads) > THREADS_MAX:
        raise ApiError(
            f"Invalid '{PARAM}': too many properties. Expected an object with at most {THREADS_MAX} properties,"
            f" but got an object with {len(threads)} properties instead.",
            param=PARAM,
            code="object_above_max_properties",
        )
    if header := request.headers.get(HEADER, ""):
        thread_id, _, cursor = header.rpartition(":")
        if thread_id not in threads or not cursor:
            raise ApiError(
                f"Invalid '{HEADER}': '{header[:64]}'. Expected the id of an event of these threads.",
                param=HEADER,
                code="invalid_value",
            )
        threads[thread_id] = replace(threads[thread_id], param=HEADER, raw=cursor)
    return list(threads.values())
