"""A run that ends early or changes hands: cancel, expiry, failure, limits (contract 2.9, 3.8)."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn

import pytest
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Message, Thread, VectorStore
from runs import progress, queue, transitions
from runs.completers.openai_compatible import close_client
from runs.executor import Executor, Stop
from runs.models import Run
from runs.scribe import Pen
from runs.writer import Writer
from streaming import journal
from streaming.models import Event
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS, run_async, until
from tests.runs.conftest import GET_WEATHER, Execute, ask
from tests.runs.model import USAGE, Model, call
from tests.runs.observed import (
    BEGINNING,
    DELTA,
    MESSAGE,
    Live,
    check,
    live,
    names,
    searching,
    submit,
    worked,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_cancel_reaches_the_worker_by_bell(alice: ApiClient, model: Model, writer: Writer) -> None:
    hold = threading.Event()
    model.will("Once ", "upon ", hold)
    thread, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        live.executor.stop(Stop.CANCELLED)
        await task

    assert live(run, writer, work).status == "cancelled"
    hold.set()
    assert names(run) == [
        *BEGINNING, *MESSAGE, DELTA, "thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled",
        "thread.run.cancelled",
    ]  # fmt: skip
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_cancelled"})
    assert message["content"][0]["text"]["value"] in ("Once ", "Once upon ")
    assert Thread.objects.get(pk=thread.pk).active_run_id is None


def test_a_cancel_reaches_the_worker_with_its_next_flush(alice: ApiClient, model: Model, writer: Writer) -> None:
    """No bell and no beat: the database alone says it, and at once, though the model falls silent."""
    more, silence = threading.Event(), threading.Event()
    model.will("Once ", more, "upon ", silence)
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        more.set()
        await task

    assert live(run, writer, work).status == "cancelled"
    silence.set()
    assert Message.objects.get(run_id=run.pk).text == "Once "
    usage = check(alice, run)[run.pk]["usage"]
    assert usage["prompt_tokens"] > 0, "what the model had no time to report is estimated"
    assert usage["completion_tokens"] > 0


def test_a_worker_that_heard_nothing_of_its_run_asks_before_it_reads_on(
    alice: ApiClient, model: Model, writer: Writer, settings: Settings
) -> None:
    """By its own clock: the database was away, or the process was frozen, for two thirds of the lease."""
    _, run = ask(alice, "Hello")
    mine = queue.claim_one(Run.objects.get(pk=run.pk), "worker_a")
    assert mine is not None
    pen = Pen(mine, writer)

    def lease() -> datetime | None:
        return Run.objects.values_list("lease_until", flat=True).get(pk=run.pk)

    run_async(pen.check)
    assert lease() == mine.lease_until, "it was heard of a moment ago"
    pen.held_at -= settings.KUMOS_LEASE_SECONDS * 0.7
    run_async(pen.check)
    renewed = lease()
    assert renewed is not None
    assert mine.lease_until is not None
    assert renewed > mine.lease_until
    run_async(pen.check)
    assert lease() == renewed
    Run.objects.filter(pk=run.pk).update(epoch=7)
    pen.held_at -= settings.KUMOS_LEASE_SECONDS * 0.7
    with pytest.raises(progress.Fenced):
        run_async(pen.check)


def test_a_cancel_while_the_last_words_are_written(alice: ApiClient, model: Model, writer: Writer) -> None:
    """The executor waits for its text to be committed; stopped there, it must still end the run."""
    more, busy, go = threading.Event(), threading.Event(), threading.Event()
    model.will("Once ", more, "upon ")
    _, run = ask(alice, "Hello", model="m")

    def block() -> None:
        busy.set()
        assert go.wait(PATIENCE_SECONDS)

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await live.writer.run(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        blocked = asyncio.create_task(live.writer.run(block))
        await asyncio.to_thread(busy.wait, PATIENCE_SECONDS)
        more.set()
        await until(lambda: bool(live.executor._turn and live.executor._turn.finish), on_loop=True)
        await asyncio.sleep(0)
        live.executor.stop(Stop.CANCELLED)
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(blocked, task)

    assert live(run, writer, work).status == "cancelled"
    check(alice, run)


def test_a_run_expires_in_the_middle_of_an_answer(alice: ApiClient, model: Model, writer: Writer) -> None:
    hold = threading.Event()
    model.will("Once ", hold)
    _, run = ask(alice, "Hello", model="m")
    Run.objects.filter(pk=run.pk).update(expires_at=now() + timedelta(seconds=5))  # time enough for the words before
    assert worked(run, writer).status == "expired"
    hold.set()
    assert names(run)[-3:] == ["thread.message.incomplete", "thread.run.step.expired", "thread.run.expired"]
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert message["incomplete_details"] == {"reason": "run_expired"}
    assert objects[run.pk]["expires_at"] is not None


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", "invalid_prompt"])
@pytest.mark.parametrize("words", [0, 3])
def test_a_failing_model_fails_the_run(code: str, words: int, alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, f"!fast !fail {code} after {words}")
    ended = execute(run.pk)
    error = {"code": code, "message": f"The scripted model was told to fail: {code}."}
    assert (ended.status, ended.last_error) == ("failed", error)
    tail = ["thread.message.incomplete", "thread.run.step.failed"] if words else []
    assert names(run)[-1 - len(tail) :] == [*tail, "thread.run.failed"]
    objects = check(alice, run)
    if words:
        (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
        assert message["incomplete_details"] == {"reason": "run_failed"}
        assert len(message["content"][0]["text"]["value"].split()) == 3


@pytest.mark.parametrize(
    ("directive", "reason", "of_message"),
    [("!length 5", "max_completion_tokens", "max_tokens"), ("!filter 5", "content_filter", "content_filter")],
)
def test_a_model_that_is_cut_short(
    directive: str, reason: str, of_message: str, alice: ApiClient, execute: Execute
) -> None:
    _, run = ask(alice, f"!fast {directive}")
    ended = execute(run.pk)
    assert (ended.status, ended.incomplete_reason) == ("incomplete", reason)
    assert names(run)[-3:] == ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert message["incomplete_details"] == {"reason": of_message}
    assert len(message["content"][0]["text"]["value"].split()) == 5, "all of the text"
    assert objects[run.pk]["completed_at"] is not None
    assert objects[run.pk]["usage"]["completion_tokens"] == 5


def test_the_budget_of_a_run_covers_all_its_turns(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", "{}"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER], max_completion_tokens=300)
    worked(run, writer)
    submit(alice, run)
    worked(run, writer)
    assert [request["max_tokens"] for request in model.requests] == [300, 300 - USAGE["completion_tokens"]]


def test_a_run_without_budget_left_ends_without_asking(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", "{}"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER], max_completion_tokens=300)
    worked(run, writer)
    submit(alice, run)
    Run.objects.filter(pk=run.pk).update(max_completion_tokens=USAGE["completion_tokens"])
    ended = worked(run, writer)
    assert (ended.status, ended.incomplete_reason) == ("incomplete", "max_completion_tokens")
    assert len(model.requests) == 1
    check(alice, run)


def test_a_prompt_that_does_not_fit_ends_the_run(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "word " * 600, max_prompt_tokens=256)
    ended = execute(run.pk)
    assert (ended.status, ended.incomplete_reason) == ("incomplete", "max_prompt_tokens")
    assert names(run) == [*BEGINNING, "thread.run.incomplete"]
    check(alice, run)


def test_an_expired_store_fails_the_run(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("file_search", '{"query": "tide"}'), finish="tool_calls")
    run = searching(alice)
    VectorStore.objects.filter(covers_project=False).update(
        expires_after_days=1, last_active_at=now() - timedelta(days=2)
    )
    ended = worked(run, writer)
    assert ended.status == "failed"
    assert ended.last_error is not None
    assert "expired" in ended.last_error["message"]
    assert names(run)[-2:] == ["thread.run.step.failed", "thread.run.failed"]
    check(alice, run)


def test_a_thread_that_is_deleted_ends_its_run_without_a_word(
    alice: ApiClient, model: Model, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    more = threading.Event()
    model.will("Once ", more, *["upon "] * 30)
    thread, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: alice.delete(f"/threads/{thread.pk}"))
        more.set()
        await task

    async def on_loop() -> None:
        try:
            await work(Live(run.pk, writer))
        finally:
            await close_client()

    run_async(on_loop)
    assert not Run.objects.exists()
    assert not Event.objects.exists()
    assert not Message.objects.exists()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_message_that_is_deleted_while_it_is_written_fails_nothing(
    alice: ApiClient, model: Model, writer: Writer
) -> None:
    hold = threading.Event()
    model.will("Once ", hold, "upon")
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: Message.objects.filter(run_id=run.pk).delete())
        hold.set()
        await task

    assert live(run, writer, work).status == "completed"
    assert names(run)[-3:] == ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]


def test_a_run_that_is_handed_back_ends_nothing(alice: ApiClient, model: Model, writer: Writer) -> None:
    hold = threading.Event()
    model.will("Once ", hold)
    model.will("Twice.")
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        live.executor.stop(Stop.HANDED_BACK)
        await task

    left = live(run, writer, work)
    hold.set()
    assert (left.status, left.lease_until, left.worker_id) == ("in_progress", None, "")
    assert names(run)[-1] == DELTA
    ended = worked(run, writer)
    assert (ended.status, ended.crash_attempts) == ("completed", 0)
    check(alice, run)


def test_a_stop_before_the_start_is_a_stop(alice: ApiClient, writer: Writer) -> None:
    _, run = ask(alice, "!stall")

    async def work() -> None:
        mine = await writer.run(lambda: queue.claim_one(run, "worker_test"))
        assert mine is not None
        executor = Executor(mine, writer)
        executor.stop(Stop.HANDED_BACK)
        await executor.execute()

    run_async(work)
    assert Run.objects.get(pk=run.pk).lease_until is None


def test_a_run_that_was_lost_is_left_alone(alice: ApiClient, model: Model, writer: Writer) -> None:
    more = threading.Event()
    model.will("Once ", more, *["upon "] * 30)
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await live.writer.run(partial(Run.objects.filter(pk=run.pk).update, epoch=7))
        seen = await asyncio.to_thread(journal.last_seqs, [run.thread_id])
        more.set()
        await task
        assert await asyncio.to_thread(journal.last_seqs, [run.thread_id]) == seen

    assert live(run, writer, work).status == "in_progress"


def test_a_cancellation_that_nobody_asked_for_is_a_fault(
    alice: ApiClient, execute: Execute, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a library cancels its own work: handed back, the run would meet it again and again."""

    async def cancelled(*args: object, **kwargs: object) -> NoReturn:
        raise asyncio.CancelledError

    monkeypatch.setattr("httpx.AsyncClient.send", cancelled)
    monkeypatch.setattr("django.conf.settings.OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    _, run = ask(alice, "Hello", model="m")
    assert execute(run.pk).status == "failed"
    assert "nobody had asked for it" in caplog.text


def test_a_fault_of_ours_ends_the_run_without_showing_it(
    alice: ApiClient, execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    _, run = ask(alice, "!fast Hello", tools=[{"type": "file_search"}])
    Run.objects.filter(pk=run.pk).update(tool_resources=["not", "an", "object"])
    ended = execute(run.pk)
    assert ended.status == "failed"
    assert ended.last_error == {"code": "server_error", "message": "Sorry, something went wrong."}
    assert "AttributeError" in caplog.text
    with pytest.raises(progress.Fenced):
        progress.hold(ended)
