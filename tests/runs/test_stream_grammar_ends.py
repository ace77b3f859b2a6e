"""Each kind of run that ends early or changes hands, told frame by frame as the contract has it (2.9, 3.8, 3.9)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from pytest_django.fixtures import Settings

from assistants.clock import now
from runs.executor import Stop
from runs.models import Run
from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER
from tests.runs.interpreter import Interpreter
from tests.runs.model import USAGE, Model, call
from tests.runs.witness import BEGINNING, CALLED, SPEAKING, SPOKEN, Conversation, question

pytestmark = pytest.mark.django_db(transaction=True)

CODE = [{"type": "code_interpreter"}]
CANCELLED = ["run.step.cancelled", "run.cancelled"]
FAILED = ["run.step.failed", "run.failed"]
EXPIRED = ["run.step.expired", "run.expired"]
WAITING = ["run.requires_action"]
TEXT_DELTA, CALL_DELTA = "thread.message.delta", "thread.run.step.delta"


def interrupted(
    talk: Conversation, asked: tuple[str, dict[str, object]], when: str, then: Callable[[], Awaitable[None]]
) -> None:
    """Does `then` to a run as soon as an event of that name is in its log."""

    async def work() -> None:
        reading = await talk.start(*asked)
        working = await talk.claim()
        await talk.until(when)
        await then()
        await working
        await reading

    talk.play(work)


async def cancelled(talk: Conversation) -> None:
    """By an API call and the bell that rings for it."""
    await talk.cancel()
    talk.executor.stop(Stop.CANCELLED)


# Cancel ---------------------------------------------------------------------------------------------------------------


def test_cancelled_in_text(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Once ", "upon ", threading.Event())
    interrupted(talk, question(alice), TEXT_DELTA, lambda: cancelled(talk))
    assert talk.names() == [*BEGINNING, *SPEAKING, "run.cancelling", "message.incomplete", *CANCELLED]
    assert talk.grammar.messages[0]["incomplete_details"] == {"reason": "run_cancelled"}


def test_cancelled_in_a_call(alice: ApiClient, model: Model, talk: Conversation) -> None:
    """The step keeps what was seen of the call."""
    model.will(call("get_weather", '{"city', id="call_w"), threading.Event())
    interrupted(talk, question(alice, tools=[GET_WEATHER]), CALL_DELTA, lambda: cancelled(talk))
    assert talk.names() == [*BEGINNING, *CALLED, "run.cancelling", *CANCELLED]
    (shown,) = talk.grammar.ended_steps[0]["step_details"]["tool_calls"]
    assert (shown["id"], shown["function"]["output"]) == ("call_w", None)


def test_cancelled_behind_text_and_in_a_call(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Hm. ", call("get_weather", "{"), threading.Event())
    interrupted(talk, question(alice, tools=[GET_WEATHER]), CALL_DELTA, lambda: cancelled(talk))
    assert talk.names() == [*BEGINNING, *SPOKEN, *CALLED, "run.cancelling", *CANCELLED]


def test_cancelled_while_the_interpreter_works(
    alice: ApiClient, model: Model, talk: Conversation, interpreter: Interpreter
) -> None:
    model.will(call("code_interpreter", '{"code": "print 1\\nwait\\nprint 2"}'), finish="tool_calls")

    async def then() -> None:
        await interpreter.waiting.wait()
        await cancelled(talk)

    interrupted(talk, question(alice, tools=CODE), CALL_DELTA, then)
    assert talk.names() == [*BEGINNING, *CALLED, "run.cancelling", *CANCELLED]
    (shown,) = talk.grammar.ended_steps[0]["step_details"]["tool_calls"]
    assert shown["code_interpreter"] == {
        "input": "print 1\nwait\nprint 2", "outputs": [{"type": "logs", "logs": "1\n"}]
    }  # fmt: skip


def test_cancelled_while_it_waits_for_outputs(alice: ApiClient, model: Model, talk: Conversation) -> None:
    """The stream of the POST ended with `requires_action`; the run's own stream has the rest."""
    model.will(call("get_weather", "{}"), finish="tool_calls")

    async def work() -> None:
        reading = await talk.start(*question_)
        await (await talk.claim())
        await reading
        await talk.cancel()
        await talk.read_on()

    question_ = question(alice, tools=[GET_WEATHER])
    talk.play(work)
    assert talk.names() == [*BEGINNING, *CALLED, *WAITING, "run.cancelling", *CANCELLED]


def test_cancelled_in_the_queue(alice: ApiClient, model: Model, talk: Conversation) -> None:
    asked = question(alice)

    async def work() -> None:
        reading = await talk.start(*asked)
        await talk.cancel()
        await reading

    talk.play(work)
    assert talk.names() == ["run.created", "run.queued", "run.cancelling", "run.cancelled"]
    assert model.requests == []


# Failure --------------------------------------------------------------------------------------------------------------


def test_failed_before_a_word(alice: ApiClient, model: Model, talk: Conversation, settings: Settings) -> None:
    settings.KUMOS_UPSTREAM_ATTEMPTS = 1
    model.will(finish=None)
    talk.tell(*question(alice))
    assert talk.names() == [*BEGINNING, "run.failed"]


def test_failed_in_text(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Once ", "upon ", finish=None)
    talk.tell(*question(alice))
    assert talk.names() == [*BEGINNING, *SPEAKING, "message.incomplete", *FAILED]
    (message,) = talk.grammar.messages
    assert message["content"][0]["text"]["value"] == "Once upon "
    assert message["incomplete_details"] == {"reason": "run_failed"}


def test_failed_in_a_call(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will(call("get_weather", '{"city": ', id="call_w"), finish=None)
    talk.tell(*question(alice, tools=[GET_WEATHER]))
    assert talk.names() == [*BEGINNING, *CALLED, *FAILED]
    (shown,) = talk.grammar.ended_steps[0]["step_details"]["tool_calls"]
    assert (shown["id"], shown["function"]["arguments"]) == ("call_w", '{"city": ')


def test_failed_in_a_tool(alice: ApiClient, model: Model, talk: Conversation, interpreter: Interpreter) -> None:
    model.will(call("code_interpreter", '{"code": "print 1\\nfail"}'), finish="tool_calls")
    talk.tell(*question(alice, tools=CODE))
    assert talk.names() == [*BEGINNING, *CALLED, *FAILED]
    assert talk.grammar.run["last_error"] == {"code": "server_error", "message": "The interpreter broke."}


def test_failed_in_the_second_turn(alice: ApiClient, model: Model, talk: Conversation, settings: Settings) -> None:
    settings.KUMOS_UPSTREAM_ATTEMPTS = 1
    model.will(call("get_weather", "{}"), finish="tool_calls")
    model.will(finish=None)
    talk.tell(*question(alice, tools=[GET_WEATHER]))
    assert talk.names()[-4:] == ["run.step.completed", "run.queued", "run.in_progress", "run.failed"]
    assert talk.grammar.run["usage"]["total_tokens"] == USAGE["total_tokens"]


# Expiry ---------------------------------------------------------------------------------------------------------------


def test_expired_in_the_queue(alice: ApiClient, model: Model, talk: Conversation) -> None:
    asked = question(alice)

    async def work() -> None:
        reading = await talk.start(*asked)
        await Run.objects.filter(pk=talk.run_id).aupdate(expires_at=now() - timedelta(seconds=1))
        await talk.expired()
        await reading

    talk.play(work)
    assert talk.names() == ["run.created", "run.queued", "run.expired"]


def test_expired_in_text(alice: ApiClient, model: Model, talk: Conversation, settings: Settings) -> None:
    settings.KUMOS_RUN_SECONDS = 5  # time enough for the words before
    model.will("Once ", threading.Event())
    talk.tell(*question(alice))
    assert talk.names() == [*BEGINNING, *SPEAKING, "message.incomplete", *EXPIRED]
    assert talk.grammar.messages[0]["incomplete_details"] == {"reason": "run_expired"}


def test_expired_while_it_waits_for_outputs(
    alice: ApiClient, model: Model, talk: Conversation, settings: Settings
) -> None:
    settings.KUMOS_RUN_SECONDS = 5
    model.will(call("get_weather", "{}"), finish="tool_calls")
    asked = question(alice, tools=[GET_WEATHER])

    async def work() -> None:
        reading = await talk.start(*asked)
        await (await talk.claim())
        await reading
        await talk.expired()
        await talk.read_on()

    talk.play(work)
    assert talk.names() == [*BEGINNING, *CALLED, *WAITING, *EXPIRED]
    assert talk.grammar.ended_steps[0]["usage"]["total_tokens"] == USAGE["total_tokens"]


# Limits ---------------------------------------------------------------------------------------------------------------

LIMITS = [("length", "max_completion_tokens", "max_tokens"), ("content_filter", "content_filter", "content_filter")]


@pytest.mark.parametrize(("finish", "reason", "of_message"), LIMITS)
@pytest.mark.parametrize("words", [["Once ", "upon "], []])
def test_cut_short_by_the_model(
    words: list[str], finish: str, reason: str, of_message: str, alice: ApiClient, model: Model, talk: Conversation
) -> None:
    """With and without a word: the step has the usage, and the message a part that clients can point at."""
    model.will(*words, finish=finish)
    talk.tell(*question(alice))
    assert talk.names() == [*BEGINNING, *SPEAKING, "message.incomplete", "run.step.completed", "run.incomplete"]
    assert talk.grammar.run["incomplete_details"] == {"reason": reason}
    (message,) = talk.grammar.messages
    assert message["incomplete_details"] == {"reason": of_message}
    assert message["content"] == [{"type": "text", "text": {"value": "".join(words), "annotations": []}}]
    assert talk.grammar.run["usage"]["total_tokens"] == USAGE["total_tokens"]


def test_cut_short_in_a_call(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Hm. ", call("get_weather", '{"ci'), finish="length")
    talk.tell(*question(alice, tools=[GET_WEATHER]))
    assert talk.names() == [*BEGINNING, *SPOKEN, *CALLED, "run.step.completed", "run.incomplete"]
    assert talk.grammar.run["usage"]["total_tokens"] == USAGE["total_tokens"]


def test_cut_short_without_a_word_behind_a_whole_message(alice: ApiClient, model: Model, talk: Conversation) -> None:
    """Clients point at a part of the empty message as if it had one (3.9)."""
    model.will("Let me look. ", call("file_search", '{"query": "tide"}'), finish="tool_calls")
    model.will(finish="length")
    talk.tell(*question(alice, tools=[{"type": "file_search"}]))
    searched = [*SPOKEN, *CALLED, "run.step.completed"]
    assert talk.names() == [
        *BEGINNING, *searched, *SPEAKING, "message.incomplete", "run.step.completed", "run.incomplete"
    ]  # fmt: skip


def test_the_prompt_does_not_fit(alice: ApiClient, model: Model, talk: Conversation) -> None:
    talk.tell(*question(alice, max_prompt_tokens=256, instructions="word " * 400))
    assert talk.names() == [*BEGINNING, "run.incomplete"]
    assert talk.grammar.run["incomplete_details"] == {"reason": "max_prompt_tokens"}
    assert model.requests == []


@pytest.mark.parametrize("limit", ["max_prompt_tokens", "max_completion_tokens"])
def test_the_limit_that_bites_in_the_second_turn_is_named(
    limit: str, alice: ApiClient, model: Model, talk: Conversation
) -> None:
    model.usage = {"prompt_tokens": 250, "completion_tokens": 300, "total_tokens": 550}
    model.will("Let me look. ", call("file_search", '{"query": "tide"}'), finish="tool_calls")
    path, body = question(alice, tools=[{"type": "file_search"}])
    talk.tell(path, {**body, limit: 256})
    assert talk.names() == [*BEGINNING, *SPOKEN, *CALLED, "run.step.completed", "run.incomplete"]
    assert talk.grammar.run["incomplete_details"] == {"reason": limit}
    assert len(model.requests) == 1


# Take-over ------------------------------------------------------------------------------------------------------------


def taken_over(talk: Conversation, asked: tuple[str, dict[str, object]], when: Callable[[], Awaitable[object]]) -> None:
    """The worker dies `when`; another goes on once its lease has run out."""

    async def work() -> None:
        reading = await talk.start(*asked)
        working = await talk.claim("worker_a")
        await when()
        talk.executor.stop(Stop.LOST)
        await working
        await talk.lease_runs_out()
        await (await talk.claim("worker_b"))
        await reading

    talk.play(work)


def test_taken_over_in_text(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Once ", threading.Event())
    model.will("Twice.")
    taken_over(talk, question(alice), lambda: talk.until(TEXT_DELTA))
    assert talk.names() == [*BEGINNING, *SPEAKING, "message.incomplete", "run.step.failed", *SPOKEN, "run.completed"]


def test_taken_over_before_a_word(alice: ApiClient, model: Model, talk: Conversation) -> None:
    """Nobody notices."""
    model.will(threading.Event())
    taken_over(talk, question(alice), lambda: asyncio.to_thread(model.wait_for_request))
    assert talk.names() == [*BEGINNING, *SPOKEN, "run.completed"]


def test_taken_over_in_a_call(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Hm. ", call("get_weather", "{"), threading.Event())
    model.will(call("get_weather", "{}"), finish="tool_calls")
    taken_over(talk, question(alice, tools=[GET_WEATHER]), lambda: talk.until(CALL_DELTA))
    assert talk.names() == [*BEGINNING, *SPOKEN, *CALLED, "run.step.failed", *CALLED, *WAITING]


def test_taken_over_while_the_interpreter_works(
    alice: ApiClient, model: Model, talk: Conversation, interpreter: Interpreter
) -> None:
    model.will(call("code_interpreter", '{"code": "print 1\\nwait"}'), finish="tool_calls")
    taken_over(talk, question(alice, tools=CODE), interpreter.waiting.wait)
    assert talk.names() == [*BEGINNING, *CALLED, "run.step.failed", *SPOKEN, "run.completed"]


def test_cancelled_when_nobody_is_left_to_hear_of_it(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Once ", threading.Event())
    asked = question(alice)

    async def work() -> None:
        reading = await talk.start(*asked)
        working = await talk.claim("worker_a")
        await talk.until(TEXT_DELTA)
        talk.executor.stop(Stop.HANDED_BACK)
        await working
        await talk.cancel()
        await reading

    talk.play(work)
    assert talk.names() == [*BEGINNING, *SPEAKING, "run.cancelling", "message.incomplete", *CANCELLED]
