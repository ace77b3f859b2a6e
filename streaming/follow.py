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
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer

from streaming import broker, journal
from streaming.journal import Entry

logger = logging.getLogger(__name__)

RING_EVENTS = 512
RING_BYTES = 1024 * 1024
POLL_SECONDS = 1.0
POLL_SECONDS_UNHEALTHY = 0.25
REJOIN_SECONDS = 60.0  # memberships may vanish from a layer


class ThreadDeleted(Exception):
    """The followed thread is gone."""


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

    async def changed(self, seconds: float) -> None:
        """Until something was heard, or for `seconds`."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            self.waiters.discard(waiter)


class Hub:
    """Everything that is followed on one event loop. Its tasks start with the first follower and end with the loop."""

    def __init__(self) -> None:
        self.watched: dict[str, Watched] = {}
        self.draining = False
        self.channel = ""
        self.groups: set[str] = set()
        self.opening = asyncio.Lock()
        self.tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def join(self, thread_id: str) -> AsyncIterator[Watched]:
        """Bells for the thread are heard from the moment this is entered, as far as the layer works."""
        watched = self.watched.setdefault(thread_id, Watched(thread_id))
        watched.followers += 1
        try:
            await self._open()
            await self._join_group(broker.shard_of(thread_id))
            yield watched
        finally:
            watched.followers -= 1
            if not watched.followers:
                del self.watched[thread_id]

    def drain(self) -> None:
        """Every follower raises Draining, those to come too."""
        self.draining = True
        for watched in self.watched.values():
            watched.wake()

    async def _open(self) -> None:
        async with self.opening:
            if not self.channel and broker.healthy():
                await self._make_channel()
            if not self.tasks:
                loop = asyncio.get_running_loop()
                for work in (self._poll(), self._listen()):
                    # In a context of their own: they outlive the request that happens to come first.
                    self.tasks.append(loop.create_task(work, context=contextvars.Context()))

    async def _make_channel(self) -> None:
        """A layer that is away costs bells only: `_listen` tries again, and until then followers poll."""
        layer = get_channel_layer()
        assert layer is not None
        try:
            async with asyncio.timeout(broker.LAYER_TIMEOUT):
                self.channel = await layer.new_channel()
        except Exception as error:
            broker.failed(error)

    async def _join_group(self, group: str, *, again: bool = False) -> None:
        if not self.channel or (group in self.groups and not again):
            return
        self.groups.add(group)
        if not await self._ask_layer("group_add", group):
            self.groups.discard(group)

    async def _leave_groups(self) -> None:
        """Leaves the shards of which no thread is watched any more."""
        for group in self.groups - {broker.shard_of(thread_id) for thread_id in self.watched}:
            self.groups.discard(group)
            await self._ask_layer("group_discard", group)

    async def _ask_layer(self, method: str, group: str) -> bool:
        try:
            async with asyncio.timeout(broker.LAYER_TIMEOUT):
                await getattr(get_channel_layer(), method)(group, self.channel)
        except Exception as error:
            broker.failed(error)
            return False
        return True

    async def _listen(self) -> None:
        layer = get_channel_layer()
        assert layer is not None
        while True:
            if not self.channel:
                async with self.opening:
                    await self._make_channel()
                if not self.channel:
                    await asyncio.sleep(broker.BREAK_SECONDS)
                    continue
                for thread_id in list(self.watched):
                    await self._join_group(broker.shard_of(thread_id))
            try:
                message = await layer.receive(self.channel)
                self.hear(orjson.loads(message["rows"]))
            except Exception as error:
                broker.failed(error)
                await asyncio.sleep(broker.BREAK_SECONDS)

    def hear(self, rows: Iterable[Sequence[Any]]) -> None:
        """Takes in a bell (broker.pack) and wakes who waits for it."""
        woken: set[Watched] = set()
        for row in rows:
            watched = self.watched.get(row[0])
            if watched is None:
                continue
            if len(row) == 2:
                watched.last = max(watched.last, row[1])
            else:
                watched.heard(Entry(*row))
            woken.add(watched)
        for watched in woken:
            watched.wake()

    async def _poll(self) -> None:
        ask = database_sync_to_async(journal.last_seqs, thread_sensitive=False)
        rejoin_at = time.monotonic() + REJOIN_SECONDS
        while True:
            await asyncio.sleep(POLL_SECONDS if broker.healthy() else POLL_SECONDS_UNHEALTHY)
            asked = list(self.watched)
            try:
                if asked:
                    self.learn(await ask(asked), asked)
            except Exception as error:
                logger.warning("followers could not poll the journal: %r", error)
            for watched in self.watched.values():
                watched.rest()
            await self._leave_groups()
            if time.monotonic() > rejoin_at:
                rejoin_at = time.monotonic() + REJOIN_SECONDS
                for group in list(self.groups):
                    await self._join_group(group, again=True)

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
                watched.reached(last)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


async def follow(thread_id: str, cursor: int, tick: float) -> AsyncGenerator[Sequence[Entry]]:
    """The thread's events after `cursor`, in batches, for ever. An empty batch says: nothing more for now.

    It comes each time the follower has caught up, and every `tick` seconds while nothing happens. Raises ThreadDeleted
    once the thread is gone, Draining when this process stops. Close it (aclosing) to leave the hub.
    """
    read = database_sync_to_async(journal.read_after, thread_sensitive=False)
    here = hub()
    async with here.join(thread_id) as watched:
        behind = True  # until the journal was read to its end: what came before we joined rang no bell for us
        while not here.draining:
            known = watched.last
            batch = None if behind else watched.after(cursor)
            if batch is None:
                batch = await read(thread_id, cursor)
                behind = journal.is_full(batch)
            if batch:
                cursor = batch[-1].seq
                watched.reached(cursor)
                yield batch
                continue
            if watched.deleted:
                raise ThreadDeleted
            yield ()
            if watched.last == known and not watched.deleted:
                await watched.changed(tick)
    raise Draining
