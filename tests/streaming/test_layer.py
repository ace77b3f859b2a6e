"""The channel layer of several processes, on a real Redis that is restarted, emptied, frozen, slow, or silent.

Followers see each event once and in order meanwhile (P8), and hear bells again afterwards.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest
import redis
from channels.layers import channel_layers, get_channel_layer
from channels_redis.pubsub import RedisSingleShardConnection
from django.db import transaction
from pytest_django.fixtures import Settings

from assistants import bell, layer
from assistants.models import Thread
from kumos_site.settings import layers
from runs import runner
from runs.writer import Writer
from streaming import broker, journal
from streaming.follow import follow, hub
from streaming.journal import Entry
from tests.backends import Redis, has_redis
from tests.chaos.proxy import CLEAR, Fault, Proxy
from tests.loops import PATIENCE_SECONDS, run_async, until
from tests.streaming.conftest import RUN, drafts

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not has_redis(), reason="needs redis-server"),
]

TICK = 0.05
NEVER = 1000.0


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def client(server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an earlier layer did is not this one's fault."""
    monkeypatch.setattr(layer, "_failed_at", None)
    yield
    channel_layers.backends.clear()


@pytest.fixture
def use(settings: Settings) -> Callable[[str], None]:
    def use(address: str) -> None:
        settings.CHANNEL_LAYERS = layers(address)
        channel_layers.backends.clear()

    return use


@asynccontextmanager
async def behind_proxy(server: Redis, use: Callable[[str], None]) -> AsyncIterator[Proxy]:
    """The layer, over a network that the test can spoil. In the end it must be let go in good order."""
    async with Proxy(("127.0.0.1", server.port)) as proxy:
        use(f"redis://127.0.0.1:{proxy.address[1]}/0")
        try:
            yield proxy
        finally:
            bells: Any = get_channel_layer()
            await bells.flush()


def append(thread: Thread, count: int = 1) -> list[Entry]:
    with transaction.atomic():
        return journal.append(thread.pk, drafts(count))


async def in_thread[T](work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


async def bells_ring(thread: Thread) -> None:
    """Until a bell brings an event to whoever follows `thread` here, past the journal."""
    watched = hub().watched[thread.pk]
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not watched.ring:
        assert time.monotonic() < give_up_at, "no bell was heard"
        await in_thread(partial(append, thread))
        await asyncio.sleep(0.1)


async def nothing(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    await asyncio.sleep(0.5)


async def killed(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    await in_thread(server.kill)
    await until(lambda: not layer.healthy(), on_loop=True)
    await in_thread(server.start)


async def restarted(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    for _ in range(3):
        await in_thread(server.restart)


async def emptied(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    for _ in range(10):
        await in_thread(client.flushall)


async def subscribers_killed(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    for _ in range(20):
        await in_thread(lambda: client.client_kill_filter(_type="pubsub"))
        await asyncio.sleep(0.05)


async def frozen(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    server.freeze()
    await until(lambda: not layer.healthy(), on_loop=True)
    await asyncio.sleep(0.5)
    server.thaw()


async def slow(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    proxy.fault = Fault(latency=2 * layer.CALL_SECONDS)
    await until(lambda: not layer.healthy(), on_loop=True)
    await asyncio.sleep(0.5)
    proxy.fault = CLEAR


async def cut_off(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    proxy.fault = Fault(hole=True)
    await until(lambda: not layer.healthy(), on_loop=True)
    proxy.fault = CLEAR
    proxy.reset()


async def deaf(server: Redis, client: redis.Redis, proxy: Proxy) -> None:
    """Sending works, and nothing arrives any more: the layer's task that receives is gone."""
    bells: Any = get_channel_layer()
    for shard in bells._get_layer()._shards:
        shard._receive_task.cancel()
    await until(lambda: not layer.healthy(), on_loop=True)


Trouble = Callable[[Redis, redis.Redis, Proxy], Awaitable[None]]


@pytest.mark.parametrize(
    "trouble", [nothing, killed, restarted, emptied, subscribers_killed, frozen, slow, cut_off, deaf]
)
def test_p8_trouble_with_redis_costs_time_and_nothing_else(
    server: Redis,
    client: redis.Redis,
    thread: Thread,
    use: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    trouble: Trouble,
) -> None:
    """Events go on while the trouble lasts; every follower sees them all; afterwards bells ring again."""
    monkeypatch.setattr(layer, "ECHO_SECONDS", 0.2)

    async def produce(writer: Writer, over: asyncio.Event) -> int:
        appended = 0
        while not over.is_set():
            await writer.run(partial(journal.append, thread.pk, drafts(2)))
            appended += 2
            await asyncio.sleep(0.01)
        return appended

    async def scenario() -> tuple[int, list[list[int]]]:
        writer, over = Writer(), asyncio.Event()
        seen: list[list[int]] = [[] for _ in range(3)]

        async def watch(mine: list[int]) -> None:
            async with aclosing(follow(thread.pk, 0, TICK)) as batches:
                async for batch in batches:
                    mine += [entry.seq for entry in batch]

        async with behind_proxy(server, use) as proxy:
            watching = [asyncio.create_task(watch(mine)) for mine in seen]
            await until(lambda: hub().joined.is_set(), on_loop=True)
            producing = asyncio.create_task(produce(writer, over))
            await until(lambda: all(seen), on_loop=True)
            await trouble(server, client, proxy)
            over.set()
            total = await producing
            await until(lambda: all(mine[-1] >= total for mine in seen), on_loop=True)
            shown = [mine.copy() for mine in seen]
            hub().watched[thread.pk].ring.clear()
            await until(layer.healthy, on_loop=True)
            await bells_ring(thread)
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        await in_thread(writer.stop)
        return total, shown

    total, shown = run_async(scenario)
    assert shown == [list(range(1, total + 1))] * 3


def test_one_membership_for_all_followers(
    server: Redis,
    client: redis.Redis,
    thread: Thread,
    use: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixty followers of thirty threads: Redis knows of one listener."""
    monkeypatch.setattr(layer, "CALL_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("streaming.follow.JOIN_SECONDS", PATIENCE_SECONDS)
    threads = [thread, *(Thread.objects.create(project=thread.project) for _ in range(29))]

    async def scenario() -> None:
        async with behind_proxy(server, use) as proxy, AsyncExitStack() as stack:
            for one in threads * 2:
                batches = await stack.enter_async_context(aclosing(follow(one.pk, 0, NEVER)))
                assert await anext(batches) == []
            name = f"kumos__group__{broker.GROUP}"
            assert await in_thread(lambda: client.pubsub_numsub(name)) == [(name.encode(), 1)]
            # That one, the hub's channel and the watch's: not one more for all the followers.
            channels: list[bytes] = await in_thread(client.pubsub_channels)  # type: ignore[arg-type]
            assert len(channels) <= 3
            assert proxy.connections == 2  # one sends, one listens

    run_async(scenario)


@pytest.mark.parametrize("refused", ["__group__", ""], ids=["the group", "everything"])
def test_a_layer_that_fails_again_and_again_puts_nothing_by(
    server: Redis, thread: Thread, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Each new beginning makes a channel; one that nobody receives on would collect every bell, for ever."""
    monkeypatch.setattr(layer, "BREAK_SECONDS", 0.02)
    monkeypatch.setattr(layer, "ECHO_SECONDS", 0.02)
    monkeypatch.setattr(layer, "DEAF_ECHOES", 10**9)  # to make it anew would hide what it has put by
    subscribe, fails, failures = RedisSingleShardConnection.subscribe, True, 0

    async def subscribing(connection: RedisSingleShardConnection, name: str) -> None:
        nonlocal failures
        if fails and refused in name:
            failures += 1
            raise ConnectionError
        await subscribe(connection, name)

    monkeypatch.setattr(RedisSingleShardConnection, "subscribe", subscribing)

    async def scenario() -> None:
        nonlocal fails
        async with behind_proxy(server, use), aclosing(follow(thread.pk, 0, NEVER)) as batches:
            assert await anext(batches) == []
            await until(lambda: failures >= 5, on_loop=True)
            fails = False
            await bells_ring(thread)
            bells: Any = get_channel_layer()
            assert len(bells.channels) <= 2  # the hub's, and the watch's
            assert list(bells.groups.values()) == [{hub().channel}]

    run_async(scenario)


def test_a_bell_that_nobody_understands_is_let_go(server: Redis, thread: Thread, use: Callable[[str], None]) -> None:
    """A newer release's rows may say more: the journal is read for them, and the next bell is heard as before."""

    async def scenario() -> tuple[list[int], bool]:
        async with behind_proxy(server, use), aclosing(follow(thread.pk, 0, NEVER)) as batches:
            assert await anext(batches) == []
            await until(lambda: hub().joined.is_set(), on_loop=True)
            channel = hub().channel
            newer = orjson.dumps([[thread.pk, 1, RUN, "name", "{}", 0.0, "more"]])
            for rows in (b"{", orjson.dumps([{}]), newer):
                await layer.ask("group_send", broker.GROUP, {"type": "events", "rows": rows})
            await bells_ring(thread)
            seen = [entry.seq for entry in await anext(batches)]
            return seen, hub().channel == channel and hub().joined.is_set()

    seen, heard_on = run_async(scenario)
    assert seen[0] == 1
    assert heard_on


def test_nobody_waits_for_a_bell_that_does_not_come_through(server: Redis, use: Callable[[str], None]) -> None:
    """Redis takes the bell and never answers; the transaction that rang it is long over."""
    use(server.url)
    committed = threading.Event()

    def work() -> None:
        with transaction.atomic():
            bell.ring_runner("run.queued")
            bell.ring_runner("file.waiting")
        committed.set()

    async def scenario() -> None:
        server.freeze()
        try:
            ringing = asyncio.create_task(asyncio.to_thread(work))
            await until(committed.is_set, on_loop=True)
            await ringing
            assert bell._ringing, "the bells should be on their way still"
        finally:
            server.thaw()
        await until(lambda: not bell._ringing, on_loop=True)
        bells: Any = get_channel_layer()
        await bells.flush()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "CALL_SECONDS", NEVER)
        run_async(scenario)


def test_while_the_layer_fails_one_call_a_while_tries_it(server: Redis, use: Callable[[str], None]) -> None:
    """However many bells there are to ring, and whoever rings them."""

    async def scenario() -> int:
        async with behind_proxy(server, use) as proxy:
            ring = partial(layer.ask, "send", "somebody", {"type": "x"})
            await ring()
            proxy.refuse()
            proxy.reset()
            with pytest.raises(layer.Away):
                await ring()
            assert not layer.healthy()
            await proxy.accept()
            refused = 0
            while not layer.healthy():
                try:
                    await ring()
                except layer.Away:
                    refused += 1
            return refused

    # The one that tried, too, was answered: it ended the loop.
    assert run_async(scenario) > 100


def test_one_of_several_processes_expects_no_bells_without_redis(
    server: Redis, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it looks into the database more often, for runs and for events."""
    monkeypatch.setattr(layer, "_one_of_several", False)
    use("")
    assert layer.healthy()
    alone = runner.poll_seconds()
    layer.one_of_several()
    assert not layer.healthy()
    assert runner.poll_seconds() < alone
    use(server.url)
    assert layer.healthy()


def entries(*lengths: int) -> Sequence[Entry]:
    return [Entry("thread_a", seq, RUN, "thread.message.delta", "x" * length) for seq, length in enumerate(lengths, 1)]


def rows_of(*lengths: int) -> list[list[tuple[int, int]]]:
    """For each bell: the numbers in it, and how many fields each row has."""
    return [[(row[1], len(row)) for row in orjson.loads(bell)] for bell in broker.packed(entries(*lengths))]


def test_a_batch_is_one_bell() -> None:
    assert rows_of(*[100] * 300) == [[(seq, 6) for seq in range(1, 301)]]


def test_a_long_event_does_not_keep_the_others_out_of_the_bell() -> None:
    assert rows_of(10, broker.ROWS_BYTES + 1, 10) == [[(1, 6), (2, 2), (3, 6)]]


def test_a_large_batch_is_several_bells() -> None:
    half = broker.ROWS_BYTES // 2
    assert rows_of(half, half, half, 1) == [[(1, 6), (2, 6)], [(3, 6), (4, 6)]]
