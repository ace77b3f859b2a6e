"""A thread is deleted while a run is active in it: the run ends, and what it has used by then counts all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from assistants import conversation, trials
from assistants.models import Assistant, Message, Thread
from runs.completers.openai_compatible import close_client
from runs.models import Run, UsageRecord
from runs.runner import Runner
from runs.writer import Writer
from streaming.models import EndedRun, Event
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS, run_async, until
from tests.runs.at_work import running
from tests.runs.conftest import GET_WEATHER, ask
from tests.runs.model import USAGE, Model, call
from tests.runs.observed import DELTA, Live, submit, worked

pytestmark = pytest.mark.django_db(transaction=True)


def waiting(alice: ApiClient, model: Model, writer: Writer) -> tuple[Thread, Run]:
    """A run that has had an answer, and waits for its client."""
    model.will(call("get_weather", "{}"), finish="tool_calls")
    thread, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    assert worked(run, writer).status == "requires_action"
    return thread, run


def entered(run: Run) -> UsageRecord:
    """What the ledger has of a run, of which nothing else is left."""
    assert not Run.objects.filter(pk=run.pk).exists()
    assert not Thread.objects.filter(pk=run.thread_id).exists()
    assert not Event.objects.filter(thread_id=run.thread_id).exists()
    assert not EndedRun.objects.exists()
    assert not Message.objects.filter(thread_id=run.thread_id).exists()
    record = UsageRecord.objects.get(pk=run.pk)
    assert (record.status, record.made_by, record.project_id) == ("cancelled", run.made_by, run.project_id)
    return record


def test_a_run_that_waits_for_its_client_is_counted(alice: ApiClient, model: Model, writer: Writer) -> None:
    thread, run = waiting(alice, model, writer)
    assert alice.delete(f"/threads/{thread.pk}").status_code == 200
    record = entered(run)
    assert (record.prompt_tokens, record.completion_tokens) == (USAGE["prompt_tokens"], USAGE["completion_tokens"])


def test_a_queued_run_that_goes_on_is_counted_with_its_first_turn(
    alice: ApiClient, model: Model, writer: Writer
) -> None:
    thread, run = waiting(alice, model, writer)
    submit(alice, run)
    alice.delete(f"/threads/{thread.pk}")
    assert entered(run).prompt_tokens == USAGE["prompt_tokens"]


def test_what_was_streamed_is_counted_and_its_worker_stops(
    alice: ApiClient, model: Model, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker learns of it with its next flush."""
    more, silence = threading.Event(), threading.Event()
    model.will("Once upon a time ", more, "there ", silence)
    thread, run = ask(alice, "Hello", model="m")

    async def on_loop() -> None:
        live = Live(run.pk, writer)
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: alice.delete(f"/threads/{thread.pk}"))
        more.set()
        await task
        await close_client()

    run_async(on_loop)
    record = entered(run)
    assert record.completion_tokens == 5
    assert record.prompt_tokens > 0
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("words", [["Once "], []])
@pytest.mark.parametrize("by", ["bell", "beat"])
def test_a_silent_model_is_left(alice: ApiClient, model: Model, settings: Settings, by: str, words: list[str]) -> None:
    """Neither a word nor a flush tells the worker; and what was asked costs something, although nothing was said."""
    settings.KUMOS_BEAT_SECONDS = 0.1 if by == "beat" else 600
    silence = threading.Event()
    model.will(*words, silence, *["upon "] * 30)
    thread, run = ask(alice, "Hello", model="m")

    async def work(runner: Runner) -> None:
        await until(model.asked.is_set)
        if words:
            await until(lambda: Event.objects.filter(run_id=run.pk, name=DELTA).exists())
        await asyncio.to_thread(lambda: alice.delete(f"/threads/{thread.pk}"))
        await until(lambda: not runner.executors, on_loop=True)

    running(work, hears=by == "bell")
    silence.set()
    assert model.gone.wait(PATIENCE_SECONDS), "nobody listens any more"
    assert entered(run).prompt_tokens > 0


@pytest.mark.parametrize("fresh", [True, False])
def test_a_trial_is_counted(alice: ApiClient, model: Model, writer: Writer, fresh: bool) -> None:
    tools = alice.make("/assistants", {"model": "m", "tools": [GET_WEATHER]})["tools"]
    body: dict[str, Any] = {"model": "m", "tools": tools}
    trial = trials.prepare(alice.user, alice.project, body)
    model.will(call("get_weather", "{}"), finish="tool_calls")
    question = {"role": "user", "content": "Hello"}
    made = {"assistant_id": trial.assistant.pk, "additional_messages": [question]}
    run = Run.objects.get(pk=alice.make(f"/threads/{trial.thread}/runs", made)["id"])
    worked(run, writer)
    if fresh:
        trials.prepare(alice.user, alice.project, body, known=trial.assistant.pk, fresh=True)
    else:
        trials.forget(Assistant.objects.get(pk=trial.assistant.pk))
    assert entered(run).completion_tokens == USAGE["completion_tokens"]


def test_an_operators_deletion_is_counted(alice: ApiClient, model: Model, writer: Writer) -> None:
    thread, run = waiting(alice, model, writer)
    conversation.delete_thread(thread)
    assert entered(run).completion_tokens == USAGE["completion_tokens"]


def test_a_run_that_is_over_is_counted_once(alice: ApiClient, model: Model, writer: Writer) -> None:
    thread, run = ask(alice, "Hello", model="m")
    worked(run, writer)
    before = UsageRecord.objects.values().get()
    alice.delete(f"/threads/{thread.pk}")
    assert UsageRecord.objects.values().get() == before


def test_a_deletion_that_fails_leaves_the_run_as_it_was(
    alice: ApiClient, model: Model, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, run = waiting(alice, model, writer)

    def refuse(threads: Collection[str]) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(conversation, "end_with_threads", [*conversation.end_with_threads, refuse])
    assert alice.delete(f"/threads/{thread.pk}").status_code == 500
    assert Run.objects.get(pk=run.pk).status == "requires_action"
    assert not UsageRecord.objects.exists()
