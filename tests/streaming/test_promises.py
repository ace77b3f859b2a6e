"""P1, P3, P7, P8 (design, section 3) by their names: the log, the hub and the followers, without a server."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from pytest_django.fixtures import Settings

from assistants.models import Thread
from runs.writer import Writer
from streaming import broker, journal, sse
from streaming.follow import Draining, ThreadDeleted, Watched, follow, hub
from streaming.journal import Draft, Entry
from streaming.models import Event
from tests.loops import PATIENCE_SECONDS, run_async
from tests.streaming.conftest import RUN, drafts

pytestmark = pytest.mark.django_db(transaction=True)

SHORT = 0.05
NEVER = 1000.0
WAIT = 20.0


def append(thread: Thread, new: list[Draft]) -> list[Entry]:
    with transaction.atomic():
        return journal.append(thread.pk, new)


async def in_thread[T](work: Callable[[], T]) -> T:
    return await sync_to_async(work, thread_sensitive=False)()


# P1 -------------------------------------------------------------------------------------------------------------------


def test_p1_durable_before_visible(thread: Thread) -> None:
    """While the transaction is open nobody hears of its events; a rolled back one is never heard of."""
    appended, commit = threading.Event(), threading.Event()

    def slow_transaction() -> None:
        journal.append(thread.pk, drafts(3))
        appended.set()
        assert commit.wait(PATIENCE_SECONDS)

    def failing_transaction() -> None:
        journal.append(thread.pk, drafts(2))
        raise ValueError("taken back")

    async def scenario() -> list[int]:
        writer = Writer()
        seen: list[int] = []
        async with aclosing(follow(thread.pk, 0, SHORT)) as batches:
            assert await anext(batches) == []
            with pytest.raises(ValueError, match="taken back"):
                await writer.run(failing_transaction)
            writing = asyncio.create_task(writer.run(slow_transaction))
            await in_thread(partial(appended.wait, PATIENCE_SECONDS))
            for _ in range(5):
                assert await anext(batches) == [], "seen before its commit"
            commit.set()
            await writing
            async for batch in batches:
                seen += [entry.seq for entry in batch]
                if seen and seen[-1] == 3:
                    break
        await in_thread(writer.stop)
        return seen

    assert run_async(scenario) == [1, 2, 3]


def test_p1_a_bell_carries_only_what_is_committed(thread: Thread) -> None:
    """The bell is what could be early: it brings the rows themselves, past the journal.

    Bells keep their order, so whoever has heard a later one would have heard it.
    """
    heard = threading.Event()

    async def listen(later: Watched) -> None:
        while not later.last:
            await later.changed(SHORT)
        heard.set()

    async def scenario() -> bool:
        here = hub()
        async with here.join(thread.pk) as watched, here.join("thread_later") as later:
            listening = asyncio.create_task(listen(later))

            def work() -> int:
                with transaction.atomic():
                    journal.append(thread.pk, drafts(1))
                    broker.ring([Entry("thread_later", 1, "", "thread.created", "{}", 0.0)])
                    assert heard.wait(PATIENCE_SECONDS)
                    return watched.last

            assert await in_thread(work) == 0
            await listening
            while not watched.ring:
                await watched.changed(SHORT)
            return [entry.seq for entry in watched.ring] == [1]

    assert run_async(scenario)


# P3 -------------------------------------------------------------------------------------------------------------------


def test_p3_one_order_without_gaps(thread: Thread) -> None:
    """Many writers, some of whom fail after they took their numbers: 1…n in the log, in commit order."""
    gate = threading.Barrier(8, timeout=PATIENCE_SECONDS)

    def write(worker: int) -> int:
        chance = random.Random(worker)
        gate.wait()
        kept = 0
        try:
            for number in range(20):
                count = chance.randint(1, 4)
                try:
                    with transaction.atomic():
                        journal.append(thread.pk, [Draft("x", f"{worker}.{number}", RUN)] * count)
                        if chance.random() < 0.3:
                            raise ValueError
                    kept += count
                except ValueError:
                    pass
        finally:
            connections.close_all()
        return kept

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(write, range(8)))

    rows = list(Event.objects.filter(thread=thread).order_by("seq").values_list("seq", "data"))
    assert [seq for seq, _ in rows] == list(range(1, total + 1))
    assert Thread.objects.get(pk=thread.pk).last_seq == total
    for worker in range(8):
        mine = [data.split(".")[1] for _, data in rows if data.startswith(f"{worker}.")]
        assert mine == sorted(mine, key=int), "a writer's events are out of order"


# P7 -------------------------------------------------------------------------------------------------------------------


async def read_all(start: sse.RunCursor) -> list[bytes]:
    async with aclosing(sse.run_frames(start)) as frames:
        return [frame async for frame in frames]


@pytest.mark.parametrize("last", ["completed", "failed", "cancelled", "expired", "incomplete", "requires_action"])
def test_p7_every_stream_ends_with_done_after_the_end_of_its_run(thread: Thread, last: str) -> None:
    append(thread, [*drafts(2), Draft(f"thread.run.{last}", "{}", RUN)])
    start = partial(sse.RunCursor, thread_id=thread.pk, run_id=RUN)

    frames = run_async(lambda: read_all(start(seq=0)))
    assert frames[-1] == b"event: done\ndata: [DONE]\n\n"
    assert re.findall(rb"^id: (\d+)$", b"".join(frames), re.MULTILINE) == [b"1", b"2", b"3"]
    # A cursor at the very end: nothing but done. In the middle: the rest, and done.
    assert run_async(lambda: read_all(start(seq=3, last_name=f"thread.run.{last}"))) == [frames[-1]]
    rest = b"".join(run_async(lambda: read_all(start(seq=2, last_name="thread.message.delta"))))
    assert rest == f"id: 3\nevent: thread.run.{last}\ndata: {{}}\n\n".encode() + frames[-1]


def test_p7_a_replay_goes_through_an_earlier_requires_action(thread: Thread) -> None:
    append(
        thread, [Draft("thread.run.requires_action", "{}", RUN), *drafts(1), Draft("thread.run.completed", "{}", RUN)]
    )
    frames = b"".join(run_async(lambda: read_all(sse.RunCursor(thread_id=thread.pk, run_id=RUN, seq=0))))
    assert frames.count(b"event: done") == 1
    assert frames.index(b"thread.run.completed") < frames.index(b"event: done")


@pytest.mark.parametrize("with_thread", [False, True])
def test_p7_the_answer_to_a_post_ends_with_requires_action_whatever_follows(thread: Thread, with_thread: bool) -> None:
    """Somebody may have submitted the outputs before the first answer was read, even in the same batch."""
    action, rest = Draft("thread.run.requires_action", "{}", RUN), Draft("thread.run.completed", "{}", RUN)
    append(thread, [*drafts(2), action, *drafts(1), action, *drafts(1), rest])
    turn = partial(sse.RunCursor, thread_id=thread.pk, run_id=RUN, with_thread=with_thread, one_turn=True)
    for first, ids in ((0, [b"1", b"2", b"3"]), (3, [b"4", b"5"]), (5, [b"6", b"7"])):
        frames = b"".join(run_async(lambda: read_all(turn(seq=first))))  # noqa: B023
        assert re.findall(rb"^id: (\d+)$", frames, re.MULTILINE) == ids
        assert frames.endswith(b"data: {}\n\nevent: done\ndata: [DONE]\n\n")


def test_p7_a_fault_is_an_error_event_and_no_clean_end(thread: Thread) -> None:
    """The log becomes unreadable in mid-stream: really, its table is gone."""
    append(thread, drafts(1))

    async def scenario() -> list[bytes]:
        async with aclosing(sse.run_frames(sse.RunCursor(thread_id=thread.pk, run_id=RUN, seq=0))) as frames:
            read = [await anext(frames)]
            await in_thread(partial(rename, "streaming_event", "hidden_event"))
            # More than the bell carries, so that the follower must ask the journal.
            await in_thread(partial(Thread.objects.filter(pk=thread.pk).update, last_seq=9))
            async for frame in frames:
                read.append(frame)
        return read

    try:
        frames = run_async(scenario)
    finally:
        rename("hidden_event", "streaming_event")
    assert frames[0].startswith(b"id: 1\n")
    assert frames[-1].startswith(b'event: error\ndata: {"error":{"message":')
    assert b"done" not in b"".join(frames)


def rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_p7_a_deleted_thread_ends_its_streams(thread: Thread) -> None:
    append(thread, drafts(1))
    id = thread.pk

    async def scenario() -> tuple[list[bytes], list[bytes]]:
        run = sse.run_frames(sse.RunCursor(thread_id=id, run_id=RUN, seq=0))
        all_runs = sse.thread_frames(id, 0)
        async with aclosing(run), aclosing(all_runs):
            first = [await anext(run)], [await anext(all_runs)]
            await in_thread(thread.delete)
            return [*first[0], *[frame async for frame in run]], [*first[1], *[frame async for frame in all_runs]]

    of_run, of_thread = run_async(scenario)
    assert of_run[-1].startswith(b"event: error\n")
    assert of_thread[-1] == b"event: done\ndata: [DONE]\n\n"


# P8 -------------------------------------------------------------------------------------------------------------------


def test_p8_who_takes_a_page_may_empty_it(thread: Thread) -> None:
    """As streams do before they wait for their clients: what comes behind a full page comes at once all the same."""
    total = 2 * journal.PAGE_EVENTS + 1

    async def scenario() -> int:
        writer = Writer()
        seen = 0
        async with asyncio.timeout(WAIT), aclosing(follow(thread.pk, 0, NEVER)) as batches:
            assert await anext(batches) == []
            await writer.run(partial(journal.append, thread.pk, drafts(total)))  # a bell tells of all of it
            while seen < total:
                batch = await anext(batches)
                seen += len(batch)
                batch.clear()
        await in_thread(writer.stop)
        return seen

    assert run_async(scenario) == total


TOTAL = 240


@pytest.mark.parametrize(
    ("layer", "config"),
    [
        pytest.param("channels.layers.InMemoryChannelLayer", {"capacity": 10_000}, id="good"),
        pytest.param("channels.layers.InMemoryChannelLayer", {"capacity": 1}, id="tiny"),
        pytest.param("tests.lossy.LossyChannelLayer", {"seed": 1}, id="lossy"),
        pytest.param("tests.lossy.LossyChannelLayer", {"seed": 2, "drop": 1.0}, id="silent"),
    ],
)
def test_p8_each_follower_sees_each_event_once_in_order(
    thread: Thread, use_layer: Callable[..., None], layer: str, config: dict[str, float]
) -> None:
    """Followers join at any time, leave and come back with their last id, and are slow or quick, over any layer."""
    use_layer(layer, **config)
    chance = random.Random(7)

    async def produce(writer: Writer) -> None:
        appended = 0
        while appended < TOTAL:
            count = min(chance.choice([1, 1, 2, 5, 30]), TOTAL - appended)
            await writer.run(partial(journal.append, thread.pk, drafts(count)), urgent=False)
            appended += count
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01]))

    async def consume(patience: int) -> list[int]:
        """Reads `patience` batches at a time, then drops the connection and resumes."""
        seen: list[int] = []
        while not seen or seen[-1] < TOTAL:
            async with aclosing(follow(thread.pk, seen[-1] if seen else 0, SHORT)) as batches:
                for _ in range(patience):
                    seen += [entry.seq for entry in await anext(batches)]
                    if seen and seen[-1] >= TOTAL:
                        break
                    await asyncio.sleep(0)
        return seen

    async def scenario() -> list[list[int]]:
        writer = Writer()
        producing = asyncio.create_task(produce(writer))
        followers = []
        for patience in (1, 2, 3, 7, 1000, 1000, 1000, 1000):
            followers.append(asyncio.create_task(consume(patience)))
            await asyncio.sleep(chance.choice([0, 0.005, 0.02]))
        await producing
        followers.append(asyncio.create_task(consume(1000)))
        result = await asyncio.gather(*followers)
        await in_thread(writer.stop)
        return result

    for seen in run_async(scenario):
        assert seen == list(range(1, TOTAL + 1))


def test_p8_events_between_reading_and_listening_are_not_lost(
    thread: Thread, use_layer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seam: what is committed right after the follower's first read must come without a poll.

    The layer works and nothing polls: it is the order, join before read, that brings the event.
    """
    monkeypatch.setattr("streaming.follow.POLL_SECONDS", 1000)
    use_layer("channels.layers.InMemoryChannelLayer", capacity=10_000)
    append(thread, drafts(1))

    async def scenario() -> list[int]:
        async with aclosing(follow(thread.pk, 0, 1000)) as batches:
            seen = [entry.seq for entry in await anext(batches)]
            await in_thread(partial(append, thread, drafts(1)))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while seen[-1] < 2:
                    seen += [entry.seq for entry in await anext(batches)]
        return seen

    assert run_async(scenario) == [1, 2]


async def seen_by_a_lone_follower(thread: Thread) -> list[int]:
    """The numbers of three events that are logged once it follows."""
    seen: list[int] = []
    async with aclosing(follow(thread.pk, 0, SHORT)) as batches:
        assert await anext(batches) == []
        await in_thread(partial(append, thread, drafts(3)))
        while len(seen) < 3:
            seen += [entry.seq for entry in await anext(batches)]
    return seen


def test_p8_a_silent_layer_costs_a_lone_follower_time_and_nothing_else(
    thread: Thread, use_layer: Callable[..., None]
) -> None:
    use_layer("tests.lossy.LossyChannelLayer", drop=1.0)

    assert run_async(partial(seen_by_a_lone_follower, thread)) == [1, 2, 3]


def test_p8_what_one_follower_reads_wakes_the_others(thread: Thread, use_layer: Callable[..., None]) -> None:
    """The bell is lost, and the poll finds that the hub knows already: a newcomer has read it from the journal."""
    use_layer("tests.lossy.LossyChannelLayer", drop=1.0)

    async def first_of(batches: AsyncGenerator[Sequence[Entry]]) -> int:
        async for batch in batches:
            if batch:
                return batch[0].seq
        raise AssertionError("the stream ended")

    async def scenario() -> list[int]:
        async with aclosing(follow(thread.pk, 0, NEVER)) as waiting, aclosing(follow(thread.pk, 0, NEVER)) as newcomer:
            assert await anext(waiting) == []
            reading = asyncio.create_task(first_of(waiting))
            while not hub().watched[thread.pk].waiters:
                await asyncio.sleep(0)
            hub().tasks[0].cancel()  # the poll: it would hide what is tested
            await in_thread(partial(append, thread, drafts(1)))
            async with asyncio.timeout(WAIT):
                return [await first_of(newcomer), await reading]

    assert run_async(scenario) == [1, 1]


def test_p8_a_layer_that_is_away_costs_time_and_nothing_else(thread: Thread, use_layer: Callable[..., None]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"redis://127.0.0.1:{taken.getsockname()[1]}"
        use_layer("channels_redis.pubsub.RedisPubSubChannelLayer", hosts=[address])
        assert run_async(partial(seen_by_a_lone_follower, thread)) == [1, 2, 3]


@pytest.mark.parametrize("events", [0, 2])
def test_whoever_begins_to_follow_during_a_stop_is_told_something_first(thread: Thread, events: int) -> None:
    """Who got no byte in answer to a POST would do it once more; so there is a batch, and then the end at once."""
    append(thread, drafts(events))

    async def scenario() -> list[int]:
        hub().drain()
        async with aclosing(follow(thread.pk, 0, NEVER)) as batches:
            seen = [entry.seq for entry in await anext(batches)]
            with pytest.raises(Draining):
                await anext(batches)
        return seen

    assert run_async(scenario) == list(range(1, events + 1))


def test_a_ring_is_emptied_once_it_is_quiet(thread: Thread) -> None:
    """A stream may be open for days: what it has shown is in the journal, and needs no memory."""

    async def scenario() -> list[int]:
        async with aclosing(follow(thread.pk, 0, NEVER)) as batches:
            assert await anext(batches) == []
            watched = hub().watched[thread.pk]
            await in_thread(partial(append, thread, drafts(2)))
            seen = [entry.seq for entry in await anext(batches)]
            async with asyncio.timeout(WAIT):
                while watched.ring or watched.size:
                    await asyncio.sleep(0.01)
            await in_thread(partial(append, thread, drafts(1)))
            while seen[-1] < 3:
                seen += [entry.seq for entry in await anext(batches)]
        return seen

    assert run_async(scenario) == [1, 2, 3]


def test_p8_deletion_reaches_a_waiting_follower(thread: Thread) -> None:
    id = thread.pk

    async def scenario() -> None:
        async with aclosing(follow(id, 0, 20)) as batches:
            assert await anext(batches) == []
            await in_thread(thread.delete)
            with pytest.raises(ThreadDeleted):
                await anext(batches)

    run_async(scenario)


def test_heartbeats_are_single_lines_in_silence_only(thread: Thread, settings: Settings) -> None:
    settings.KUMOS_HEARTBEAT_SECONDS = SHORT

    async def scenario() -> list[bytes]:
        read: list[bytes] = []
        async with aclosing(sse.thread_frames(thread.pk, 0)) as frames:
            while len(read) < 3:
                read.append(await anext(frames))
            await in_thread(partial(append, thread, drafts(1)))
            while not read[-1].startswith(b"id: "):
                read.append(await anext(frames))
        return read

    frames = run_async(scenario)
    assert set(frames[:3]) == {b": keep-alive\n"}
    assert frames[-1] == b'id: 1\nevent: thread.message.delta\ndata: {"n":0}\n\n'
