"""Several threads on one connection (docs/extensions.md): P7, P8 and P10 hold for each of them as for one alone."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from assistants.models import Project, Thread
from runs.writer import Writer
from streaming import journal, sse
from streaming.follow import ThreadDeleted, follow, follow_several, hub
from streaming.journal import Draft, Entry
from tests.conftest import ApiClient
from tests.e2e.events import HEARTBEAT
from tests.loops import PATIENCE_SECONDS, run_async
from tests.streaming.conftest import RUN, drafts

pytestmark = pytest.mark.django_db(transaction=True)

SHORT = 0.05
NEVER = 1000.0
ADDRESS = "/threads/runs/stream"


@pytest.fixture
def threads(transactional_db: None) -> list[Thread]:
    project = Project.objects.create(name="Atlas")
    return [Thread.objects.create(project=project) for _ in range(4)]


def append(thread: Thread, new: list[Draft]) -> list[Entry]:
    with transaction.atomic():
        return journal.append(thread.pk, new)


async def in_thread[T](work: Callable[[], T]) -> T:
    return await sync_to_async(work, thread_sensitive=False)()


async def text_until(frames: AsyncGenerator[bytes], *ends: bytes) -> bytes:
    """What is sent until all of `ends` were."""
    said = b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not all(end in said for end in ends):
            said += await anext(frames)
    return said


# P8 -------------------------------------------------------------------------------------------------------------------

TOTAL = 120


@pytest.mark.parametrize(
    ("layer", "config"),
    [
        pytest.param("channels.layers.InMemoryChannelLayer", {"capacity": 10_000}, id="good"),
        pytest.param("tests.lossy.LossyChannelLayer", {"seed": 1}, id="lossy"),
        pytest.param("tests.lossy.LossyChannelLayer", {"seed": 2, "drop": 1.0}, id="silent"),
    ],
)
def test_p8_each_event_of_each_thread_once_in_order(
    threads: list[Thread], use_layer: Callable[..., None], layer: str, config: dict[str, float]
) -> None:
    """Readers of several threads come, leave and go on behind what they saw of each, beside readers of a single one."""
    use_layer(layer, **config)
    chance = random.Random(7)
    everything = {thread.pk: list(range(1, TOTAL + 1)) for thread in threads}

    async def produce(writer: Writer) -> None:
        left = dict.fromkeys(everything, TOTAL)
        while left:
            thread = chance.choice(list(left))
            count = min(chance.choice([1, 1, 2, 5, 30]), left[thread])
            await writer.run(partial(journal.append, thread, drafts(count)), urgent=False)
            left[thread] -= count
            if not left[thread]:
                del left[thread]
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01]))

    async def consume(patience: int) -> dict[str, list[int]]:
        """Reads `patience` batches at a time, then drops the connection and resumes."""
        seen: dict[str, list[int]] = {thread: [] for thread in everything}
        while any(len(numbers) < TOTAL for numbers in seen.values()):
            cursors = {thread: numbers[-1] if numbers else 0 for thread, numbers in seen.items()}
            async with aclosing(follow_several(cursors, SHORT)) as batches:
                for _ in range(patience):
                    batch = await anext(batches)
                    assert isinstance(batch, list)
                    assert len({entry.thread_id for entry in batch}) <= 1, "a batch is of one thread"
                    for entry in batch:
                        seen[entry.thread_id].append(entry.seq)
                    await asyncio.sleep(0)
                    if all(len(numbers) >= TOTAL for numbers in seen.values()):
                        break
        return seen

    async def alone(thread: str) -> dict[str, list[int]]:
        seen: list[int] = []
        async with aclosing(follow(thread, 0, SHORT)) as batches:
            while len(seen) < TOTAL:
                seen += [entry.seq for entry in await anext(batches)]
        return {thread: seen}

    async def scenario() -> list[dict[str, list[int]]]:
        writer = Writer()
        producing = asyncio.create_task(produce(writer))
        readers = []
        for patience in (1, 3, 7, 1000, 1000):
            readers.append(asyncio.create_task(consume(patience)))
            await asyncio.sleep(chance.choice([0, 0.005, 0.02]))
        readers += [asyncio.create_task(alone(thread)) for thread in everything]
        await producing
        readers.append(asyncio.create_task(consume(1000)))
        result = await asyncio.gather(*readers)
        await in_thread(writer.stop)
        assert hub().watched == {}, "who left is forgotten"
        return result

    for seen in run_async(scenario):
        assert seen == {thread: everything[thread] for thread in seen}


def test_p8_events_between_asking_and_listening_are_not_lost(
    threads: list[Thread], use_layer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seam: of threads at rest the log is not read, so what is committed right after must come by its bell."""
    monkeypatch.setattr("streaming.follow.POLL_SECONDS", NEVER)
    use_layer("channels.layers.InMemoryChannelLayer", capacity=10_000)
    for thread in threads:
        append(thread, drafts(2))
    behind = {threads[0].pk: 0, threads[1].pk: 2}

    async def scenario() -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        async with aclosing(follow_several(behind, NEVER)) as batches:
            while batch := await anext(batches):
                assert isinstance(batch, list)
                seen += [(entry.thread_id, entry.seq) for entry in batch]
            assert seen == [(threads[0].pk, 1), (threads[0].pk, 2)], "what is there already waits for no bell"
            for thread in threads:
                await in_thread(partial(append, thread, drafts(1)))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(seen) < 4:
                    batch = await anext(batches)
                    assert isinstance(batch, list)
                    seen += [(entry.thread_id, entry.seq) for entry in batch]
        return seen

    first, second = threads[0].pk, threads[1].pk
    assert sorted(run_async(scenario)) == sorted([(first, 1), (first, 2), (first, 3), (second, 3)])


def test_a_busy_thread_does_not_keep_the_others_waiting(threads: list[Thread]) -> None:
    """They take turns, a page each."""
    long = [Draft("thread.message.delta", '"' + "x" * journal.PAGE_BYTES + '"', RUN)]
    for thread in threads:
        append(thread, long * 5)

    async def scenario() -> list[str]:
        order: list[str] = []
        async with aclosing(follow_several({thread.pk: 0 for thread in threads}, NEVER)) as batches:
            while len(order) < 5 * len(threads):
                batch = await anext(batches)
                assert isinstance(batch, list)
                order += [entry.thread_id for entry in batch]
        return order

    order = run_async(scenario)
    for start in range(0, len(order), len(threads)):
        assert set(order[start : start + len(threads)]) == {thread.pk for thread in threads}


# P7 -------------------------------------------------------------------------------------------------------------------


def test_p7_a_deleted_thread_ends_with_an_event_of_its_own_and_the_last_one_with_done(threads: list[Thread]) -> None:
    first, second, *_ = threads
    ids = [first.pk, second.pk]

    async def scenario() -> tuple[bytes, bytes]:
        async with aclosing(sse.several_frames(dict.fromkeys(ids, 0), set())) as frames:
            await anext(frames)
            await in_thread(first.delete)
            gone = await text_until(frames, b"thread.deleted\n")
            await in_thread(partial(append, second, drafts(1)))
            gone += await text_until(frames, b"thread.message.delta")
            await in_thread(second.delete)
            return gone, b"".join([frame async for frame in frames])

    gone, rest = (text.replace(HEARTBEAT, b"") for text in run_async(scenario))
    deletion = 'event: thread.deleted\ndata: {{"id":"{}","object":"thread.deleted","deleted":true}}\n\n'
    event = f'id: {ids[1]}:1\nevent: thread.message.delta\ndata: {{"n":0}}\n\n'
    assert gone.decode() == deletion.format(ids[0]) + event
    assert rest.decode() == deletion.format(ids[1]) + "event: done\ndata: [DONE]\n\n"


def test_p8_deletion_reaches_a_waiting_follower_of_several(threads: list[Thread]) -> None:
    gone = threads[0].pk

    async def scenario() -> str:
        async with aclosing(follow_several({thread.pk: 0 for thread in threads}, NEVER)) as batches:
            assert await anext(batches) == []
            await in_thread(threads[0].delete)
            async with asyncio.timeout(PATIENCE_SECONDS):
                deleted = await anext(batches)
            assert isinstance(deleted, ThreadDeleted)
            return deleted.thread_id

    assert run_async(scenario) == gone


# What is said ---------------------------------------------------------------------------------------------------------


def test_of_some_threads_only_the_status_of_runs_is_told_and_silence_has_its_heartbeats(
    threads: list[Thread], settings: Settings
) -> None:
    settings.KUMOS_HEARTBEAT_SECONDS = SHORT
    whole, marked, *_ = threads
    story = [Draft("thread.run.created", "{}", RUN), *drafts(1), Draft("thread.run.step.created", "{}", RUN)]

    async def scenario() -> bytes:
        async with aclosing(sse.several_frames({whole.pk: 0, marked.pk: 0}, {marked.pk})) as frames:
            for thread in (whole, marked):
                await in_thread(partial(append, thread, [*story, Draft("thread.created", "{}")]))
            said = await text_until(frames, f"id: {whole.pk}:3".encode(), f"id: {marked.pk}:1".encode())
            # Much happens, and nothing of it is told: it is silence for the reader.
            beats = said.count(HEARTBEAT)
            while said.count(HEARTBEAT) < beats + 3:
                await in_thread(partial(append, marked, drafts(1)))
                said += await anext(frames)
            await in_thread(partial(append, marked, [Draft("thread.run.completed", "{}", RUN)]))
            return said + await text_until(frames, b"thread.run.completed")

    said = run_async(scenario).replace(HEARTBEAT, b"").decode()
    told: dict[str, list[str]] = defaultdict(list)
    for block in said.split("\n\n")[:-1]:
        id, event, _ = block.split("\n")
        told[id.partition(":")[2].rpartition(":")[0].strip()].append(event.removeprefix("event: "))
    assert told == {
        whole.pk: ["thread.run.created", "thread.message.delta", "thread.run.step.created"],
        marked.pk: ["thread.run.created", "thread.run.completed"],
    }


def advance(thread: str, seq: int) -> None:
    """As if so many events had been logged, and were kept no longer."""
    Thread.objects.filter(pk=thread).update(last_seq=seq)


# What is asked --------------------------------------------------------------------------------------------------------


def test_each_thread_begins_where_its_cursor_says_and_the_answer_says_where(alice: ApiClient) -> None:
    assistant = alice.make("/assistants", {"model": "scripted"})["id"]
    idle, active = (alice.make("/threads", {})["id"] for _ in range(2))
    advance(idle, 3)
    advance(active, 2)
    alice.make(f"/threads/{active}/runs", {"assistant_id": assistant, "instructions": "Be brief."})

    def starts(**query: str) -> str:
        answer = alice.get(ADDRESS, {name.replace("__", "[") + "]": cursor for name, cursor in query.items()})
        assert answer.status_code == 200, answer.content
        answer.close()
        return str(answer.headers["Kumos-Cursors"])

    by_thread = {f"starting_after__{idle}": "", f"starting_after__{active}": ""}
    assert starts(**by_thread) == f"{idle}=3, {active}=2"
    assert starts(**{**by_thread, f"starting_after__{idle}": "1"}) == f"{idle}=1, {active}=2"
    assert starts(**{f"status_after__{active}": ""}) == f"{active}=2"
    assert starts(**by_thread, **{f"status_after__{idle}": "2"}) == f"{idle}=3, {active}=2", "the whole goes before"


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({}, "starting_after", "missing_required_parameter"),
        ({"starting_after": "3"}, "starting_after", "missing_required_parameter"),
        ({"starting_after[{own}]": "x"}, "starting_after[{own}]", "invalid_value"),
        ({"starting_after[{own}]": "-1"}, "starting_after[{own}]", "invalid_value"),
        ({"status_after[{own}]": "1" * 30}, "status_after[{own}]", "invalid_value"),
        ({"starting_after[{own}]": "4"}, "starting_after[{own}]", "cursor_out_of_range"),
        ({"starting_after[]": ""}, "starting_after[]", "invalid_value"),
        ({"starting_after[run_x]": ""}, "starting_after[run_x]", "invalid_value"),
        ({f"starting_after[thread_{n}]": "" for n in range(65)}, "starting_after", "object_above_max_properties"),
        ({"starting_after[{own}]": "", "starting_after[thread_x\0]": ""}, None, None),
    ],
)
def test_what_cannot_be_followed_is_refused(
    alice: ApiClient, query: dict[str, str], param: str | None, code: str | None
) -> None:
    own = alice.make("/threads", {})["id"]
    advance(own, 3)
    answer = alice.get(ADDRESS, {name.replace("{own}", own): cursor for name, cursor in query.items()})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param and param.replace("{own}", own), code)


def test_one_missing_thread_refuses_all_and_is_named(alice: ApiClient) -> None:
    own = alice.make("/threads", {})["id"]
    answer = alice.get(ADDRESS, {f"starting_after[{own}]": "", "status_after[thread_missing]": ""})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["message"] == "No thread found with id 'thread_missing'."
    assert error["param"] == "status_after[thread_missing]"


def test_the_last_id_of_a_browser_goes_before_the_cursor_of_its_thread(alice: ApiClient) -> None:
    first, second = (alice.make("/threads", {})["id"] for _ in range(2))
    for thread in (first, second):
        advance(thread, 5)
    query = {f"starting_after[{first}]": "1", f"status_after[{second}]": "1"}

    def asked(last_id: str) -> tuple[int, str]:
        answer = alice.client.get(f"/v1{ADDRESS}", query, headers={"Last-Event-ID": last_id})
        answer.close()
        return answer.status_code, answer.headers.get("Kumos-Cursors") or answer.json()["error"]["param"]

    assert asked(f"{first}:4") == (200, f"{second}=1, {first}=4")
    assert asked(f"{second}:3") == (200, f"{second}=3, {first}=1")
    for bad in ("4", "thread_x:4", f"{first}:", f"{first}:x", f"{first}:6"):
        assert asked(bad) == (400, "Last-Event-ID")


@pytest.mark.parametrize(("kind", "table"), [("messages", "assistants_message"), ("runs", "runs_run")])
def test_p7_who_follows_from_where_a_list_was_read_misses_nothing(alice: ApiClient, kind: str, table: str) -> None:
    """Something happens in the thread just after its list was read."""
    thread = alice.make("/threads", {})["id"]
    advance(thread, 3)
    interruptions = []

    def interrupted(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if sql.startswith("SELECT") and f'FROM "{table}"' in sql:
            interruptions.append(sql)
            advance(thread, 4)
        return result

    with connection.execute_wrapper(interrupted):
        answer = alice.get(f"/threads/{thread}/{kind}")
    assert len(interruptions) == 1
    assert answer.headers["Kumos-Cursors"] == f"{thread}=3"


def test_many_threads_are_polled_in_several_queries(threads: list[Thread], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.journal.IDS_PER_STATEMENT", 3)
    append(threads[3], drafts(2))
    assert journal.last_seqs([*(thread.pk for thread in threads), "thread_missing"]) == {
        **{thread.pk: 0 for thread in threads},
        threads[3].pk: 2,
    }
