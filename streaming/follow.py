"""Following threads: one hub per event loop, and followers that are only a cursor and a wake-up.

A follower (P8): 1 joins the hub, 2 reads the journal after its cursor, 3 takes what the hub hears, as long as it is
contiguous with the cursor, 4 on any gap reads the journal again, 5 with nothing left waits. Nothing is queued for it:
all followers of a thread share one ring of recent events, and one who falls behind the ring reads the journal.

The hub hears bells over one channel of the layer, however many followers there are, and asks the journal once a second
how far its threads have come, in one query. So a lost bell costs at most that second.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer

from assistants import layer, metrics
from streaming import broker, journal
from streaming.journal import Entry

logger = logging.getLogger(__name__)

RING_EVENTS = 512
RING_BYTES = 1024 * 1024
POLL_SECONDS = 1.0
POLL_SECONDS_UNHEALTHY = 0.25
REJOIN_SECONDS = 60.0  # memberships may vanish from a layer
JOIN_SECONDS = 2 * layer.CALL_SECONDS


class ThreadDeleted(Exception):
    """The followed thread is gone."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(thread_id)
        self.thread_id = thread_id


class Draining(Exception):
    """This process is about to stop: the stream is cut so that its reader comes back elsewhere."""


class Watched:
    """A thread somebody follows here: its recent events, how far its log is known to have come, who waits for more."""

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.ring: deque[Entry] = deque()
        self.size = 0
        self.last = 0
        self.rested_at = 0
        self.deleted = False
        self.followers = 0
        self.waiters: set[asyncio.Future[None]] = set()

    def heard(self, entry: Entry) -> None:
        if self.ring and entry.seq != self.ring[-1].seq + 1:
            if entry.seq <= self.ring[-1].seq:
                return  # heard before
            self.ring.clear()  # a gap: what is older is in the journal
            self.size = 0
        self.ring.append(entry)
        self.size += len(entry.data)
        while len(self.ring) > RING_EVENTS or (self.size > RING_BYTES and len(self.ring) > 1):
            self.size -= len(self.ring.popleft().data)
        self.last = max(self.last, entry.seq)

    def after(self, cursor: int) -> list[Entry] | None:
        """A page of the events right after `cursor`, [] if there are none, or None if only the journal can tell."""
        if self.last <= cursor:
            return []
        if not self.ring or self.ring[0].seq > cursor + 1 or self.ring[-1].seq <= cursor:
            return None
        skip = cursor + 1 - self.ring[0].seq
        return journal.page(islice(self.ring, skip, None))

    def reached(self, seq: int) -> None:
        """The log goes at least to `seq`. Whoever waits is told: the bell for it may have been lost."""
        if seq > self.last:
            self.last = seq
            self.wake()

    def rest(self) -> None:
        """Empties the ring if nothing came since the last call: the journal has it, and streams are open for days."""
        if self.last == self.rested_at:
            self.ring.clear()
            self.size = 0
        self.rested_at = self.last

    def wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    def waiter(self) -> asyncio.Future[None]:
        """Done once something was heard. Whoever gives it up discards it."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        return waiter

    async def changed(self, seconds: float) -> None:
        """Until something was heard, or for `seconds`."""
        waiter = self.waiter()
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            self.waiters.discard(waiter)


class Waiting:
    """Until something is heard of any of several threads. It hears from the moment it is made: look after that."""

    def __init__(self, watched: Iterable[Watched]) -> None:
        self._waiters = [(one, one.waiter()) for one in watched]

    async def over(self, seconds: float) -> None:
        """Returns with the first bell, or after `seconds`."""
        waiters = [waiter for _, waiter in self._waiters]
        try:
            if waiters:
                await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(seconds)
        finally:
            self.end()

    def end(self) -> None:
        for watched, waiter in self._waiters:
            watched.waiters.discard(waiter)
            waiter.cancel()


class Hub:
    """Everything that is followed on one event loop. Its tasks start with the first follower and end with the loop."""

    def __init__(self) -> None:
        self.watched: dict[str, Watched] = {}
        self.draining = False
        self.puzzled = False
        self.channel = ""
        self.joined = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def join(self, thread_id: str) -> AsyncIterator[Watched]:
        """`join_all` for one thread."""
        async with self.join_all([thread_id]) as (watched,):
            yield watched

    @asynccontextmanager
    async def join_all(self, thread_ids: Iterable[str]) -> AsyncIterator[list[Watched]]:
        """Bells for the threads are heard from the moment this is entered, as far as the layer works."""
        joined = [self.watched.setdefault(thread_id, Watched(thread_id)) for thread_id in thread_ids]
        for watched in joined:
            watched.followers += 1
        try:
            await self._open()
            yield joined
        finally:
            for watched in joined:
                watched.followers -= 1
                if not watched.followers:
                    del self.watched[watched.thread_id]

    def drain(self) -> None:
        """Every follower raises Draining, those to come too."""
        self.draining = True
        for watched in self.watched.values():
            watched.wake()

    async def _open(self) -> None:
        """Until the bells are heard; a layer that is away is not waited for."""
        if not self.tasks:
            loop = asyncio.get_running_loop()
            for work in (self._poll(), self._listen()):
                # In a context of their own: they outlive the request that happens to come first.
                self.tasks.append(loop.create_task(work, context=contextvars.Context()))
        if not self.joined.is_set() and layer.healthy():
            with suppress(TimeoutError):
                async with asyncio.timeout(JOIN_SECONDS):
                    await self.joined.wait()

    async def _listen(self) -> None:
        bells: Any = get_channel_layer()
        while True:
            try:
                async with layer.listening():
                    self.channel = await layer.new_channel()
                    await self._join()
                    while True:
                        message = await bells.receive(self.channel)
                        if self.watched:
                            self.hear(message)
            except (layer.Away, TimeoutError):
                pass  # it has said so
            except Exception as error:
                layer.failed(error)
            self.joined.clear()
            layer.forget(self.channel)
            await asyncio.sleep(layer.BREAK_SECONDS)

    async def _join(self) -> None:
        await layer.ask("group_add", broker.GROUP, self.channel)
        self.joined.set()

    def hear(self, bell: Mapping[str, Any]) -> None:
        """Takes in a bell (broker.packed) and wakes who waits for it. One that is not understood, another release's
        perhaps, is let go: the journal has what was in it."""
        woken: set[Watched] = set()
        try:
            for row in orjson.loads(bell["rows"]):
                watched = self.watched.get(row[0])
                if watched is None:
                    continue
                woken.add(watched)
                watched.last = max(watched.last, row[1])
                if len(row) > 2:
                    watched.heard(Entry(*row))
        except Exception as error:
            if not self.puzzled:  # once: all of the other's bells may be so
                logger.warning("a bell was not understood: %r", error)
            self.puzzled = True
        for watched in woken:
            watched.wake()

    async def _poll(self) -> None:
        ask = database_sync_to_async(journal.last_seqs, thread_sensitive=False)
        rejoin_at = time.monotonic() + REJOIN_SECONDS
        while True:
            await asyncio.sleep(POLL_SECONDS if layer.healthy() else POLL_SECONDS_UNHEALTHY)
            asked = list(self.watched)
            try:
                if asked:
                    self.learn(await ask(asked), asked)
            except Exception as error:
                logger.warning("followers could not poll the journal: %r", error)
            for watched in self.watched.values():
                watched.rest()
            if time.monotonic() > rejoin_at and self.joined.is_set():
                rejoin_at = time.monotonic() + REJOIN_SECONDS
                with suppress(layer.Away):
                    await self._join()

    def learn(self, lasts: dict[str, int], asked: Iterable[str]) -> None:
        """What the journal said of the threads that were asked for. One that it does not know was deleted."""
        for thread_id in asked:
            watched = self.watched.get(thread_id)
            if watched is None:
                continue
            last = lasts.get(thread_id)
            if last is None:
                watched.deleted = True
                watched.wake()
            else:
                if 0 < watched.last < last:
                    metrics.BELLS_MISSED.inc()
                watched.reached(last)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


class Follower:
    """A cursor in the log of a thread that is watched (P8)."""

    __slots__ = ("_behind", "_known", "_read", "cursor", "watched")

    def __init__(self, watched: Watched, cursor: int, *, behind: bool = True) -> None:
        self.watched = watched
        self.cursor = cursor
        self._behind = behind  # until the journal was read to its end: what came before we joined rang no bell for us
        self._known = 0
        self._read = database_sync_to_async(journal.read_after, thread_sensitive=False)

    async def batch(self) -> list[Entry]:
        """The events after the cursor, which then lies behind them; none if there are none for now.

        Raises ThreadDeleted once the thread is gone.
        """
        watched = self.watched
        self._known = watched.last
        batch = None if self._behind else watched.after(self.cursor)
        if batch is None:
            metrics.LOG_READS.inc()
            batch = await self._read(watched.thread_id, self.cursor)
            self._behind = journal.is_full(batch)
        if batch:
            self.cursor = batch[-1].seq
            watched.reached(self.cursor)
        elif watched.deleted:
            raise ThreadDeleted(watched.thread_id)
        return batch

    @property
    def may_wait(self) -> bool:
        """Whether nothing was heard since the last batch was asked for."""
        return self.watched.last == self._known and not self.watched.deleted


async def follow(thread_id: str, cursor: int, tick: float) -> AsyncGenerator[list[Entry]]:
    """The thread's events after `cursor`, in batches, for ever. An empty batch says: nothing more for now.

    It comes each time the follower has caught up, and every `tick` seconds while nothing happens. Raises ThreadDeleted
    once the thread is gone, Draining when this process stops, but never before the first batch: whoever got no byte in
    answer to a POST would do it once more. Close it (aclosing) to leave the hub.
    """
    here = hub()
    async with here.join(thread_id) as watched:
        follower = Follower(watched, cursor)
        drained = False
        while not drained:
            batch = await follower.batch()
            is_last = not batch  # asked before it is handed out: whoever takes a batch empties it
            yield batch
            if is_last and follower.may_wait and not here.draining:
                await watched.changed(tick)
            drained = here.draining
    raise Draining


async def follow_several(cursors: Mapping[str, int], tick: float) -> AsyncGenerator[list[Entry] | ThreadDeleted]:
    """`follow` for several threads at once, by their ids: each batch is of one thread, and they take turns.

    A thread that is gone is told of by a ThreadDeleted, and the others go on; after the last one this ends.
    """
    ask = database_sync_to_async(journal.last_seqs, thread_sensitive=False)
    here = hub()
    async with here.join_all(cursors) as joined:
        lasts = await ask(cursors)  # most of many threads are at rest: one question for all
        turn = Turn(
            Follower(watched, cursor, behind=lasts.get(watched.thread_id) != cursor)
            for watched, cursor in zip(joined, cursors.values(), strict=True)
        )
        try:
            while turn.followers and not here.draining:
                follower = turn.next()
                if follower is None:
                    yield []
                    await turn.changed(tick)
                    continue
                try:
                    batch = await follower.batch()
                except ThreadDeleted as deleted:
                    turn.followers.discard(follower)
                    yield deleted
                    continue
                turn.back(follower, waits=not batch and follower.may_wait)
                if batch:
                    yield batch
        finally:
            turn.end()
    if here.draining:
        raise Draining


class Turn:
    """Which of several followers is next: those with news, one after the other. The others wait for their bells."""

    def __init__(self, followers: Iterable[Follower]) -> None:
        self.followers = set(followers)
        self._ready = deque(self.followers)
        self._waiting: dict[Follower, asyncio.Future[None]] = {}
        self._news = asyncio.Event()

    def next(self) -> Follower | None:
        self._news.clear()
        return self._ready.popleft() if self._ready else None

    def back(self, follower: Follower, *, waits: bool) -> None:
        """Takes back the one that was next: at the end of the line, or among those that wait."""
        if not waits:
            self._ready.append(follower)
            return
        waiter = self._waiting[follower] = follower.watched.waiter()
        waiter.add_done_callback(partial(self._woken, follower))

    def _woken(self, follower: Follower, waiter: asyncio.Future[None]) -> None:
        if not waiter.cancelled():
            del self._waiting[follower]
            self._ready.append(follower)
            self._news.set()

    async def changed(self, seconds: float) -> None:
        """Until one of them heard something, or for `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def end(self) -> None:
        for follower, waiter in self._waiting.items():
            follower.watched.waiters.discard(waiter)
            waiter.cancel()
