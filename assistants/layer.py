"""The channel layer, as far as it can be trusted: every call is bounded, all are behind one breaker, and while anybody
listens, a message a second to ourselves shows whether what is sent arrives.

What fails here costs time and nothing else. `healthy` says how much: while it is false, whoever waits for bells looks
into the database more often.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from channels.layers import InMemoryChannelLayer, get_channel_layer

from assistants import metrics

logger = logging.getLogger(__name__)

CALL_SECONDS = 0.1
"""What a call may take."""
BREAK_SECONDS = 1.0
"""How long the layer is left alone after a failure; then one call tries it."""
ECHO_SECONDS = 1.0
DEAF_ECHOES = 5
"""After so many unheard messages to ourselves the layer is made anew."""
FLUSH_SECONDS = 2.0

_failed_at: float | None = None
_unheard = 0
_one_of_several = False
_places: set[asyncio.Timeout] = set()
_watch: asyncio.Task[None] | None = None


class Away(Exception):
    """The layer did not do what it was asked for, or was not asked, because it failed a moment ago."""


def in_memory() -> bool:
    return isinstance(get_channel_layer(), InMemoryChannelLayer)


def one_of_several() -> None:
    """This process does a part of the work only: without a networked layer, it hears nothing of the others."""
    global _one_of_several
    _one_of_several = True


def is_one_of_several() -> bool:
    return _one_of_several


def healthy() -> bool:
    """Whether bells may be expected to arrive, as far as is known."""
    return _failed_at is None and not _unheard and not (_one_of_several and in_memory())


async def ask(method: str, *args: Any) -> Any:
    """`layer.method(*args)`, or Away after CALL_SECONDS at the latest."""
    global _failed_at
    if _failed_at is not None:
        if time.monotonic() < _failed_at + BREAK_SECONDS:
            raise Away
        _failed_at = time.monotonic()  # this call tries; others still do not
    try:
        async with asyncio.timeout(CALL_SECONDS):
            result = await getattr(get_channel_layer(), method)(*args)
    except Exception as error:
        failed(error)
        raise Away from error
    if _failed_at is not None:
        _failed_at = None
        logger.warning("the channel layer answers again")
    return result


async def knock() -> None:
    """A message to nobody. Raises Away if the layer does not take it."""
    await ask("send", "knock", {"type": "knock"})


def failed(error: Exception) -> None:
    """Notes that the layer did not do its work."""
    global _failed_at
    metrics.LAYER_FAILURES.inc()
    if _failed_at is None:
        logger.warning("the channel layer failed, the database is asked instead: %r", error)
    _failed_at = time.monotonic()


# Hearing --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening() -> AsyncIterator[None]:
    """Where messages are received, channels made and groups joined.

    Raises TimeoutError when the layer had to be made anew: it knows none of those any more, so begin again.
    """
    global _watch
    async with asyncio.timeout(None) as place:
        _places.add(place)
        if not in_memory() and (_watch is None or _watch.done()):
            # In a context of its own: it outlives whoever happens to come first.
            _watch = asyncio.get_running_loop().create_task(Watch().keep(), context=contextvars.Context())
        try:
            yield
        finally:
            _places.discard(place)


async def new_channel() -> str:
    """The name of a channel to receive on. Raises Away. Whoever does not receive on it any more says so (`forget`)."""
    mark = f"kumos.{uuid4().hex}."  # to find it by: a layer may make a channel, and fail before it says its name
    try:
        return str(await ask("new_channel", mark))
    except Away:
        layer: Any = get_channel_layer()
        for channel in [name for name in layer.channels if mark in name]:
            forget(channel)
        raise


def forget(channel: str) -> None:
    """Else all that comes for the channel or its groups would be put by for it, for ever.

    Asks nothing of Redis, which may be away: what it still sends finds nobody. A layer in memory forgets by itself.
    """
    if not in_memory():
        layer: Any = get_channel_layer()
        layer.channels.pop(channel, None)
        for members in layer.groups.values():
            members.discard(channel)


class Watch:
    """Whether anything arrives: a connection can be dead without a word, and a layer may wait on it for ever."""

    def __init__(self) -> None:
        self.channel = ""
        self.ear: asyncio.Task[None] | None = None
        self.sent = self.heard = 0

    async def keep(self) -> None:
        """As long as anybody listens."""
        global _unheard
        try:
            while _places:
                with suppress(Away):
                    await self._send()
                await asyncio.sleep(ECHO_SECONDS)
                _unheard = self.sent - self.heard
                if _unheard >= DEAF_ECHOES:
                    await self._make_anew()
        finally:
            _unheard = 0
            self._forget()

    async def _send(self) -> None:
        if not self.channel:
            self.channel = await new_channel()
            self.ear = asyncio.get_running_loop().create_task(self._hear(self.channel))
        await ask("send", self.channel, {"type": "echo", "number": self.sent + 1})
        self.sent += 1

    async def _hear(self, channel: str) -> None:
        layer: Any = get_channel_layer()
        while True:
            self.heard = max(self.heard, (await layer.receive(channel))["number"])

    async def _make_anew(self) -> None:
        logger.warning("what is sent over the channel layer does not arrive: its connections are made anew")
        layer: Any = get_channel_layer()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await layer.flush()
        except Exception as error:
            failed(error)
        now = asyncio.get_running_loop().time()
        while _places:  # who begins again begins another watch
            _places.pop().reschedule(now)

    def _forget(self) -> None:
        self.channel = ""
        if self.ear is not None:
            self.ear.cancel()
