"""What was used although nobody reported it: of runs that were ended from elsewhere, and of workers that are gone."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Message
from runs import progress, prompt, queue, transitions
from runs.executor import Stop
from runs.models import Run, UsageRecord
from runs.story import Piece
from runs.writer import Writer
from tests.conftest import ApiClient
from tests.loops import until
from tests.runs.conftest import GET_WEATHER, Execute, ask, make_overdue
from tests.runs.model import USAGE, Model, call
from tests.runs.observed import Live, check, live, searching, worked

pytestmark = pytest.mark.django_db(transaction=True)

WORDS, WORDS_TOKENS = "Once upon a time", 4
PROMPT_TOKENS = 1 + 4
"""Of "Hello" as the only message."""
CALL: dict[str, Any] = {
    "id": "call_a",
    "type": "function",
    "function": {"name": "get_weather", "arguments": "", "output": None},
}


def speaking(run: Run) -> Run:
    """A worker has begun to answer."""
    mine = queue.claim_one(Run.objects.get(pk=run.pk), "worker_a")
    assert mine is not None
    progress.open_message(mine, [Piece(WORDS)])
    return mine


def crash(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(lease_until=now() - timedelta(seconds=1))


def entered(run: Run) -> tuple[str, int, int]:
    record = UsageRecord.objects.get(pk=run.pk)
    return record.status, record.prompt_tokens, record.completion_tokens


def test_of_an_overdue_run_that_a_sweep_ends(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    speaking(run)
    make_overdue(run)
    queue.sweep()
    assert entered(run) == ("expired", PROMPT_TOKENS, WORDS_TOKENS)
    check(alice, run)


def test_of_an_overdue_run_whose_model_has_said_nothing_yet(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    queue.claim_one(run, "worker_a")
    make_overdue(run)
    queue.sweep()
    assert entered(run) == ("expired", PROMPT_TOKENS, 0)


def test_of_an_overdue_run_that_nobody_began(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    make_overdue(run)
    queue.sweep()
    assert entered(run) == ("expired", 0, 0)


def test_of_a_cancelled_run_whose_worker_is_gone(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    speaking(run)
    transitions.cancel_run(Run.objects.get(pk=run.pk))
    crash(run)
    queue.claim("worker_b", 4)
    assert entered(run) == ("cancelled", PROMPT_TOKENS, WORDS_TOKENS)
    check(alice, run)


def test_of_a_run_that_is_given_up(alice: ApiClient, settings: Settings) -> None:
    settings.INTERRUPTED_RUN = "fail"
    _, run = ask(alice, "Hello")
    speaking(run)
    crash(run)
    queue.claim("worker_b", 4)
    assert entered(run) == ("failed", PROMPT_TOKENS, WORDS_TOKENS)
    check(alice, run)


def test_of_calls_their_arguments(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", tools=[GET_WEATHER])
    mine = queue.claim_one(run, "worker_a")
    assert mine is not None
    progress.open_tool_step(mine, [{"index": 0, **CALL, "function": {**CALL["function"], "arguments": WORDS}}])
    make_overdue(run)
    queue.sweep()
    status, prompt_tokens, completion_tokens = entered(run)
    assert (status, completion_tokens) == ("expired", WORDS_TOKENS)
    assert prompt_tokens > PROMPT_TOKENS  # with the function


def test_of_a_run_that_was_taken_over_both_attempts(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "Hello", max_completion_tokens=300)
    speaking(run)
    crash(run)
    second = queue.claim_one(Run.objects.get(pk=run.pk), "worker_b")
    assert second is not None
    assert prompt.build(second).request.max_completion_tokens == 300, "the client does not pay for our crashes"
    crash(run)
    ended = execute(run.pk)
    assert ended.usage is not None
    last = ended.steps.get(status="completed").usage
    assert last is not None
    assert entered(run) == (
        "completed",
        PROMPT_TOKENS + last["prompt_tokens"],
        WORDS_TOKENS + last["completion_tokens"],
    )
    check(alice, run)


def test_a_run_that_cannot_be_estimated_ends_all_the_same(alice: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    thread, run = ask(alice, "Hello")
    speaking(run)
    message: dict[str, Any] = {"role": "user", "content": [{"type": "of a later release"}]}
    broken = Message.objects.create(thread=thread, **message)
    make_overdue(run)
    queue.sweep()
    assert entered(run) == ("expired", 0, WORDS_TOKENS)
    assert "could not be estimated" in caplog.text
    broken.delete()


# Answers of which nothing was seen ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stop", "status"), [(Stop.CANCELLED, "cancelled"), (Stop.EXPIRED, "expired")])
def test_what_was_asked_costs_something_although_nothing_was_said(
    alice: ApiClient, model: Model, writer: Writer, stop: Stop, status: str
) -> None:
    silence = threading.Event()
    model.will(silence)
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await until(model.asked.is_set)
        if stop is Stop.CANCELLED:
            await asyncio.to_thread(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        live.executor.stop(stop)
        await task

    ended = live(run, writer, work)
    assert entered(run) == (status, PROMPT_TOKENS, 0)
    assert ended.usage is not None
    assert ended.usage["total_tokens"] == 0, "what the steps add up to"
    check(alice, run)


def test_a_second_turn_counts_beside_the_first_and_the_first_once(
    alice: ApiClient, model: Model, writer: Writer
) -> None:
    silence = threading.Event()
    model.will(call("file_search", '{"query": "tide"}'), finish="tool_calls")
    model.will(silence)
    run = searching(alice)

    async def work(live: Live) -> None:
        task = await live.start()
        await until(lambda: len(model.requests) == 2)
        turn = live.executor._turn
        assert turn is not None
        await asyncio.to_thread(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        live.executor.stop(Stop.CANCELLED)
        await task
        asked.append(prompt.estimate(turn.prompt.request))

    asked: list[int] = []
    live(run, writer, work)
    assert entered(run) == ("cancelled", USAGE["prompt_tokens"] + asked[0], USAGE["completion_tokens"])


def test_a_server_that_reports_nothing_but_noughts_has_reported_nothing(
    alice: ApiClient, model: Model, writer: Writer
) -> None:
    model.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    model.will(WORDS)
    _, run = ask(alice, "Hello", model="m")
    worked(run, writer)
    assert entered(run) == ("completed", PROMPT_TOKENS, WORDS_TOKENS)


def test_a_model_that_refuses_costs_nothing(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "!fail server_error after 0")
    execute(run.pk)
    assert entered(run) == ("failed", 0, 0)
