"""What changes of runs while somebody looks at a page of the admin: told as server-sent events, to `live.js`.

One stream a page, of all runs that it shows. It sleeps until a bell rings for one of their threads, looks at most
`1 / PACE_SECONDS` times a second and, where bells get lost, once in LOOK_SECONDS. Between two looks it holds neither a
thread nor a connection. The events of one run for its own page are the public stream's (`run_stream.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from assistants import clock
from assistants.admin.lists import capped_count
from assistants.admin.markup import duration
from assistants.authentication import Operator
from assistants.errors import ApiError
from runs.models import ACTIVE, Run
from streaming import seats
from streaming.follow import Draining, Waiting, hub
from streaming.sse import HEARTBEAT, EventStream

from .outcome import ended, spoke_after, tokens, trouble

logger = logging.getLogger(__name__)

PACE_SECONDS = 0.25
LOOK_SECONDS = 1.0
RUNS_WATCHED = 200
"""More than any page shows."""
NEW_COUNTED = 99

State = dict[str, Any]


def sees_runs(user: User) -> bool:
    return user.has_perm("runs.view_run") or user.has_perm("runs.change_run")


def operator_of(request: HttpRequest, admitted: Callable[[User], bool] = sees_runs) -> Operator:
    """Who watches. Raises PermissionDenied for those who may not."""
    user = request.user
    if not isinstance(user, User) or not admitted(user):
        raise PermissionDenied
    return Operator(user, request.session.session_key or "", admitted)


def watch(request: HttpRequest) -> HttpResponseBase:
    """GET …/live/?runs=run_…&runs=…[&since=MILLISECONDS]: the runs' states, and how many runs were made since then."""
    operator = operator_of(request)
    ids = set(request.GET.getlist("runs"))
    if len(ids) > RUNS_WATCHED:
        return HttpResponse(f"At most {RUNS_WATCHED} runs at a time.", status=400, content_type="text/plain")
    try:
        since = moment_of(request.GET.get("since", ""))
    except (ValueError, OverflowError, OSError):
        return HttpResponse("`since` is a time in milliseconds.", status=400, content_type="text/plain")
    threads = dict(Run.objects.filter(pk__in=ids).values_list("id", "thread_id"))
    try:
        return EventStream(frames(threads, since), seats.take(operator))
    except ApiError as error:  # no seat is left
        return HttpResponse(str(error), status=error.status_code, content_type="text/plain", headers=error.headers)


def moment_of(milliseconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None


async def frames(threads: Mapping[str, str], since: datetime | None = None) -> AsyncGenerator[bytes]:
    """`run` with each state that is new, `new` with a number, `done` when nothing of it can change any more.

    `threads`: the id of each run's thread. The first look tells all states: the page may be older.
    """
    ask = database_sync_to_async(look, thread_sensitive=False)
    told: dict[str, State] = {}
    left = set(threads)
    new, spoke_at = 0, time.monotonic()
    here = hub()
    async with here.join_all(set(threads.values())) as joined:
        while not here.draining:
            looked_at = time.monotonic()
            of_active = {threads[id] for id in left}
            waiting = Waiting(watched for watched in joined if watched.thread_id in of_active)
            try:
                states, count = await ask(left, since)
            except Exception as error:
                waiting.end()
                logger.warning("the runs of an admin page could not be looked at: %r", error)
                raise  # the connection is cut, and the browser comes back
            text = b"".join([frame("run", state) for id, state in states.items() if told.get(id) != state])
            if count != new:
                new = count
                text += frame("new", {"count": count})
            told |= states
            left -= {id for id, state in states.items() if not state["active"]}
            if not left and since is None:
                waiting.end()
                yield text + frame("done", {})
                return
            if text or looked_at - spoke_at >= settings.KUMOS_HEARTBEAT_SECONDS:
                spoke_at = looked_at
                yield text or HEARTBEAT
            await waiting.over(LOOK_SECONDS)
            await asyncio.sleep(looked_at + PACE_SECONDS - time.monotonic())
    raise Draining


def frame(name: str, data: State) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps(data | {"now": round(time.time() * 1000)}) + b"\n\n"


def look(ids: set[str], since: datetime | None) -> tuple[dict[str, State], int]:
    return states_of(ids), new_since(since)


def states_of(ids: set[str]) -> dict[str, State]:
    """What pages show of each run. One that is not there any more, is "deleted"."""
    if not ids:
        return {}
    gone: State = {"status": "deleted", "label": "deleted", "active": False}
    found = {run.pk: state_of(run) for run in Run.objects.filter(pk__in=ids).only(*SHOWN)}
    return {id: {"id": id, **found.get(id, gone)} for id in ids}


SHOWN = (
    "status",
    "created_at",
    "first_token_at",
    "completed_at",
    "failed_at",
    "cancelled_at",
    "expires_at",
    "last_error",
    "incomplete_reason",
    "usage",
)


def state_of(run: Run) -> State:
    """An active run's duration is left to the page: it counts from `created` on."""
    active = run.status in ACTIVE
    return {
        "status": run.status,
        "label": run.status.replace("_", " "),
        "active": active,
        "created": round(run.created_at.timestamp() * 1000),
        "took": "" if active else duration((ended(run) or clock.now()) - run.created_at),
        "first": spoke_after(run),
        "tokens": tokens(run),
        "trouble": trouble(run),
    }


def new_since(since: datetime | None) -> int:
    """How many runs were made after `since`, up to one more than NEW_COUNTED."""
    return capped_count(Run.objects.filter(created_at__gt=since), NEW_COUNTED) if since else 0
