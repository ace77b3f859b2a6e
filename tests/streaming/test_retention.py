"""Deltas go a while after their run's end, everything else stays, and no reader is worse off for it (F19)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Thread
from runs import progress, queue
from runs.models import Run
from runs.story import Piece
from runs.transitions import usage_of
from runs.writer import Writer
from streaming import journal, retention, sse
from streaming.journal import Draft
from streaming.models import DELTAS, EndedRun, Event
from tests.conftest import ApiClient
from tests.fold import fetched, fold
from tests.loops import run_async
from tests.runs.conftest import ask

pytestmark = pytest.mark.django_db(transaction=True)

TICK = 1000.0
DELTA = "thread.message.delta"


def opening(run_id: str) -> list[Draft]:
    return [Draft(f"thread.run.{name}", "{}", run_id) for name in ("created", "queued", "in_progress")]


def closing(run_id: str) -> list[Draft]:
    return [Draft("thread.message.completed", "{}", run_id), Draft("thread.run.completed", "{}", run_id)]


def deltas(run_id: str, count: int) -> list[Draft]:
    return [Draft(DELTA, f'{{"n":{number}}}', run_id) for number in range(count)]


def log(thread: Thread, drafts: list[Draft]) -> None:
    with transaction.atomic():
        journal.append(thread.pk, drafts)


def ended_long_ago(*run_ids: str) -> None:
    EndedRun.objects.filter(pk__in=run_ids).update(ended_at=now() - timedelta(hours=2))


def kept(thread: Thread) -> list[tuple[int, str]]:
    return list(Event.objects.filter(thread=thread).order_by("seq").values_list("seq", "name"))


def test_the_deltas_of_a_run_go_an_hour_after_its_end_and_nothing_else(thread: Thread) -> None:
    for run_id in ("run_old", "run_new"):
        log(thread, [*opening(run_id), *deltas(run_id, 3), *closing(run_id)])
    log(thread, [*opening("run_open"), *deltas("run_open", 3)])
    ended_long_ago("run_old", "run_open")
    before = kept(thread)

    assert retention.compact() == 3
    assert kept(thread) == [row for row in before if not (row[1] in DELTAS and row[0] <= 8)]
    assert retention.compact() == 0
    assert list(EndedRun.objects.values_list("pk", flat=True)) == ["run_new"]
    assert journal.last_seqs([thread.pk]) == {thread.pk: 22}
    assert (journal.first_seq("run_old"), journal.last_name("run_old", 5)) == (1, "thread.run.in_progress")


def test_a_long_run_goes_backwards_in_transactions_of_a_thousand_rows(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads meanwhile has the beginning of its text, and then the whole of it."""
    log(thread, [*opening("run_old"), *deltas("run_old", 2_500), *closing("run_old")])
    ended_long_ago("run_old")
    monkeypatch.setattr(retention, "TRANSACTIONS", 1)
    assert retention.compact() == 1_000
    left = [seq for seq, name in kept(thread) if name == DELTA]
    assert left == list(range(4, 4 + 1_500))
    assert [retention.compact(), retention.compact(), retention.compact()] == [1_000, 500, 0]
    assert len(kept(thread)) == 5


def test_many_short_runs_share_a_transaction(thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"run_{number}" for number in range(60)]
    for run_id in ids:
        log(thread, [*deltas(run_id, 2), *closing(run_id)])
    ended_long_ago(*ids)
    monkeypatch.setattr(retention, "TRANSACTIONS", 1)
    assert [retention.compact(), retention.compact()] == [100, 20]
    assert not EndedRun.objects.exists()


def test_a_deleted_thread_leaves_nothing_to_do(thread: Thread) -> None:
    log(thread, [*deltas("run_old", 2), *closing("run_old")])
    thread.delete()
    assert not EndedRun.objects.exists()
    assert retention.compact() == 0


# Readers --------------------------------------------------------------------------------------------------------------


def answered(run: Run, *words: str) -> None:
    """The run, begun and completed with that answer."""
    mine = queue.claim_one(run, "worker_test")
    assert mine is not None
    opened = progress.open_message(mine, [Piece(words[0])])
    for word in words[1:]:
        progress.say(mine, opened.message.pk, [Piece(word)], first=False, annotations=0)
    content = [{"type": "text", "text": {"value": "".join(words), "annotations": []}}]
    progress.complete(mine, opened, content, usage_of(1, len(words)))


def replayed(client: ApiClient, path: str, **headers: str) -> tuple[list[tuple[int, str, Any]], Any]:
    """The events of a stream that ends, and its headers."""

    async def read() -> tuple[bytes, Any]:
        response: Any = await sync_to_async(client.client.get)(f"/v1{path}", headers=headers)
        assert response.status_code == 200, response.content
        async with aclosing(aiter(response)) as pieces:
            return b"".join([piece async for piece in pieces]), response.headers

    body, answered = run_async(read)
    return list(events_in(body)), answered


def events_in(body: bytes) -> Iterable[tuple[int, str, Any]]:
    for block in body.decode().replace(": keep-alive\n", "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "id" in fields:
            yield int(fields["id"]), fields["event"], orjson.loads(fields["data"])


def test_a_late_reader_and_an_old_cursor_get_the_state_and_are_told(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    answered(run, *"abcdef")
    path = f"/threads/{thread.pk}/runs/{run.pk}/stream"
    whole, headers = replayed(alice, path, **{"Last-Event-ID": "2"})
    assert "Last-Event-ID" not in headers
    first_delta = next(seq for seq, name, _ in whole if name == DELTA)
    EndedRun.objects.update(ended_at=now() - timedelta(hours=2))
    assert retention.compact() == sum(name == DELTA for _, name, _ in whole) > 0

    for cursor in ("2", str(first_delta)):
        events, headers = replayed(alice, path, **{"Last-Event-ID": cursor})
        assert headers["Last-Event-ID"] == "earliest"
        assert events == [event for event in whole if event[0] > int(cursor) and event[1] != DELTA]
    last_delta = max(seq for seq, name, _ in whole if name == DELTA)
    events, headers = replayed(alice, f"{path}?starting_after={last_delta}")
    assert "Last-Event-ID" not in headers
    assert [name for _, name, _ in events] == [
        "thread.message.completed", "thread.run.step.completed", "thread.run.completed"
    ]  # fmt: skip
    everything, _ = replayed(alice, path)
    assert [seq for seq, _, _ in everything] == [1, 2, *[seq for seq, name, _ in whole if name != DELTA]]
    assert fold(Event.objects.filter(run_id=run.pk).order_by("seq")) == fetched(alice, thread.pk, run.pk)


def test_the_thread_stream_tells_of_holes_behind_its_cursor_only(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    answered(run, *"abc")
    EndedRun.objects.update(ended_at=now() - timedelta(hours=2))
    newest = Event.objects.filter(thread=thread).order_by("-seq")[0].seq
    assert journal.is_whole(thread.pk, 0)
    retention.compact()
    assert not journal.is_whole(thread.pk, 0)
    assert journal.is_whole(thread.pk, newest)
    assert journal.is_whole(thread.pk, newest - 1)


def test_readers_at_every_moment_of_a_log_that_is_compacted_all_the_time(thread: Thread, settings: Settings) -> None:
    """Runs follow each other, deltas vanish as soon as they may; readers join, leave, resume, are quick or slow.

    Each of them sees rising numbers, every life-cycle event exactly once, of each text a beginning without a gap, and
    an end.
    """
    settings.KUMOS_DELTA_KEEP_SECONDS = 1e-6
    settings.KUMOS_HEARTBEAT_SECONDS = TICK
    chance = random.Random(19)
    run_ids = [f"run_{number}" for number in range(12)]
    over = asyncio.Event()

    async def produce(writer: Writer) -> None:
        for run_id in run_ids:
            await writer.run(partial(journal.append, thread.pk, opening(run_id)))
            left = chance.choice([3, 40, 700])
            for number in range(0, left, 7):
                some = [Draft(DELTA, f'{{"n":{n}}}', run_id) for n in range(number, min(number + 7, left))]
                await writer.run(partial(journal.append, thread.pk, some), urgent=False)
            await writer.run(partial(journal.append, thread.pk, closing(run_id)))
        over.set()

    async def compact() -> int:
        gone = 0
        while not over.is_set() or await sync_to_async(EndedRun.objects.exists)():
            gone += await sync_to_async(retention.compact, thread_sensitive=False)()
        return gone

    async def read(run_id: str) -> list[tuple[int, str, int]]:
        """The run's stream, cut and resumed now and then."""
        seen: list[tuple[int, str, int]] = []
        while await sync_to_async(journal.first_seq)(run_id) is None:
            await asyncio.sleep(0)
        while True:
            cursor = seen[-1][0] if seen else 0
            last_name = await sync_to_async(journal.last_name)(run_id, cursor)
            start = sse.RunCursor(thread_id=thread.pk, run_id=run_id, seq=cursor, last_name=last_name)
            patience = chance.choice([1, 2, 1000])
            async with aclosing(sse.run_frames(start)) as frames:
                async for frame in frames:
                    seen += [(seq, name, data.get("n", -1)) for seq, name, data in events_in(frame)]
                    if b"[DONE]" in frame:
                        return seen
                    await asyncio.sleep(chance.choice([0, 0, 0.002]))
                    patience -= 1
                    if not patience:
                        break

    async def scenario() -> tuple[int, list[list[tuple[int, str, int]]]]:
        writer = Writer()
        readers = [asyncio.create_task(read(chance.choice(run_ids))) for _ in range(24)]
        compacting = asyncio.create_task(compact())
        await produce(writer)
        await over.wait()
        readers += [asyncio.create_task(read(run_id)) for run_id in run_ids]
        seen = await asyncio.gather(*readers)
        await asyncio.to_thread(writer.stop)
        return await compacting, seen

    gone, seen = run_async(scenario)
    assert gone > 100
    lifecycle = [draft.name for draft in [*opening(""), *closing("")]]
    for events in seen:
        numbers = [seq for seq, _, _ in events]
        assert numbers == sorted(set(numbers))
        assert [name for _, name, _ in events if name != DELTA] == lifecycle
        texts = [n for _, name, n in events if name == DELTA]
        assert texts == list(range(len(texts)))
    assert not Event.objects.filter(name=DELTA).exists()
