"""The open streams of this process: how many there may be, and how long each may stay (reliability 2.9 W13, 2.10).

A seat is taken before anything else is done, so that what is refused has no effect. It is left when the request is
over, however it ends. Whoever sits in one is asked for his key or session again from time to time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from channels.db import database_sync_to_async
from django.conf import settings

from assistants.authentication import Reader, still_allowed
from assistants.errors import OVERLOADED, ApiError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
"""When somebody who found no seat may ask again."""
SHARES_RECHECK_SECONDS = 2.0
AGE_SPREAD = 0.1
"""Streams that began together do not all end together: each stays up to this part less than it might."""

_lock = threading.Lock()
_taken: Counter[str] = Counter()
_open: set[Seat] = set()
"""Those that are being written to. Only the loop looks at them."""


class Visit:
    """A request, and the seats that are taken in it. Its threads may outlive it, and then take none."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []
        self.over = False


_visit: ContextVar[Visit | None] = ContextVar("visit", default=None)


@contextmanager
def visit() -> Iterator[None]:
    """Around a request that is served. Outside of one nothing is counted."""
    visit = Visit()
    token = _visit.set(visit)
    try:
        yield
    finally:
        _visit.reset(token)
        with _lock:
            visit.over = True
        for seat in visit.seats:
            seat.leave()


class StreamOver(Exception):
    """The stream is cut; its reader may come back, if he still may read."""


class Seat:
    """A place among the open streams. Made by `take`."""

    def __init__(self, principal: Reader, *, counted: bool) -> None:
        self.principal = principal
        self._counted = counted
        self._limit: asyncio.Timeout | None = None
        self._reason = "it is as old as streams may become"

    def leave(self) -> None:
        """Frees the seat, once."""
        with _lock:
            if self._counted:
                self._counted = False
                _taken[self.principal.owner] -= 1
                if not _taken[self.principal.owner]:
                    del _taken[self.principal.owner]

    def cut(self, reason: str) -> None:
        """Ends the stream now, unless it ends already."""
        if self._limit is not None and not self._limit.expired():
            self._reason = reason
            self._limit.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def occupied(self) -> AsyncIterator[None]:
        """While the stream is written. Raises StreamOver when it is cut."""
        age = settings.KUMOS_STREAM_SECONDS * random.uniform(1 - AGE_SPREAD, 1)
        try:
            async with asyncio.timeout(age or None) as self._limit:
                _open.add(self)
                yield
        except TimeoutError:
            if self._limit is None or not self._limit.expired():
                raise
            raise StreamOver(self._reason) from None
        finally:
            self._limit = None
            _open.discard(self)
            self.leave()


def take(principal: Reader) -> Seat:
    """A seat for one more stream. Raises ApiError 429 where the key has too many, 503 where this process has."""
    visit = _visit.get()
    with _lock:
        if visit is None or visit.over:
            return Seat(principal, counted=False)
        if _taken[principal.owner] >= settings.KUMOS_STREAMS_PER_KEY:
            raise too_many()
        if _taken.total() >= settings.KUMOS_STREAMS_MAX:
            raise full()
        _taken[principal.owner] += 1
        seat = Seat(principal, counted=True)
        visit.seats.append(seat)
        return seat


def too_many() -> ApiError:
    most = settings.KUMOS_STREAMS_PER_KEY
    return ApiError(
        f"Too many open streams: at most {most} at a time with one key. Close those that you do not read.",
        status=429,
        type="requests",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


def full() -> ApiError:
    headers = {"Retry-After": str(RETRY_SECONDS), "x-should-retry": "true"}
    return ApiError(OVERLOADED, status=503, type="server_error", headers=headers)


def count() -> int:
    """How many seats are taken."""
    with _lock:
        return _taken.total()


async def watch() -> None:
    """Cuts the streams of those who may read no more. For ever.

    Every KUMOS_RECHECK_SECONDS; readers of shares are asked for sooner, since who revokes a link is watching.
    """
    seconds: float = settings.KUMOS_RECHECK_SECONDS
    await asyncio.gather(
        _watch(seconds, lambda seat: seat.principal.share is None),
        _watch(min(seconds, SHARES_RECHECK_SECONDS), lambda seat: seat.principal.share is not None),
    )


async def _watch(seconds: float, concerns: Callable[[Seat], bool]) -> None:
    ask = database_sync_to_async(still_allowed, thread_sensitive=False)
    while True:
        await asyncio.sleep(seconds)
        asked = [seat for seat in _open if concerns(seat)]
        if not asked:
            continue
        try:
            allowed = await ask({seat.principal for seat in asked})
            for seat in asked:  # not those that came meanwhile; some may have left
                if seat.principal not in allowed:
                    seat.cut("its key, session or share is no longer valid")
        except Exception as error:  # whatever it is: nobody else would notice that nobody is cut any more
            logger.warning("the readers of streams could not be checked: %r", error)
