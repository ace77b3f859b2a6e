"""Refusals: their classes, what they carry, and which of them the SDK tries again."""

from __future__ import annotations

import os
from pathlib import Path

import openai

from tests.contract import outage
from tests.contract.python.stage import FILE_SEARCH, Kumos, refusal, scenario

INVALID = "invalid_request_error"


@scenario
def what_does_not_exist(kumos: Kumos) -> None:
    error = refusal(openai.NotFoundError, kumos.client.beta.threads.retrieve, "thread_missing")
    assert (error.status_code, error.type, error.code, error.param) == (404, INVALID, None, None)
    assert "No thread found with id 'thread_missing'." in error.message
    assert error.request_id
    assert error.request_id.startswith("req_")
    thread = kumos.client.beta.threads.create().id
    refusal(openai.NotFoundError, kumos.client.beta.threads.runs.retrieve, "run_missing", thread_id=thread)
    refusal(openai.NotFoundError, kumos.client.beta.threads.messages.retrieve, "msg_missing", thread_id=thread)
    refusal(openai.NotFoundError, kumos.client.beta.threads.runs.create, thread, assistant_id="asst_missing")


@scenario
def what_is_not_valid(kumos: Kumos) -> None:
    client = kumos.client
    hot = refusal(openai.BadRequestError, client.beta.assistants.create, model="scripted", temperature=3)
    assert (hot.type, hot.code, hot.param) == (INVALID, "decimal_above_max_value", "temperature")
    assert "Expected a value <= 2, but got 3 instead." in hot.message
    assert hot.request_id
    long = refusal(openai.BadRequestError, client.beta.assistants.create, model="scripted", name="x" * 257)
    assert (long.code, long.param) == ("string_above_max_length", "name")
    odd = refusal(
        openai.BadRequestError,
        client.beta.threads.create,
        messages=[{"role": "system", "content": "Hello"}],
    )
    assert (odd.code, odd.param) == ("invalid_value", "messages[0].role")
    unknown = refusal(
        openai.BadRequestError, client.beta.assistants.create, model="scripted", extra_body={"colour": "red"}
    )
    assert (unknown.code, unknown.param) == ("unknown_parameter", "colour")
    asked = kumos.ask("!stall")
    nameless = refusal(openai.BadRequestError, client.beta.threads.runs.create, **asked, model="")
    assert nameless.param == "model"


@scenario
def a_key_that_is_wrong(kumos: Kumos) -> None:
    error = refusal(openai.AuthenticationError, kumos.connect(api_key="sk-wrong-key-1234").beta.assistants.list)
    assert (error.status_code, error.type, error.code) == (401, INVALID, "invalid_api_key")
    assert "sk-wrong-key-1234" not in error.message
    assert error.request_id


@scenario
def what_belongs_to_others(kumos: Kumos) -> None:
    asked = kumos.ask("!fast !echo Hello", tools=[FILE_SEARCH])
    other = kumos.connect(api_key=os.environ["CONTRACT_DEMO_KEY"])
    refusal(openai.NotFoundError, other.beta.threads.retrieve, asked["thread_id"])
    refusal(openai.NotFoundError, other.beta.assistants.retrieve, asked["assistant_id"])
    refusal(openai.NotFoundError, other.beta.threads.runs.create, **asked)
    assert asked["assistant_id"] not in [assistant.id for assistant in other.beta.assistants.list()]


@scenario
def the_first_version_of_the_api(kumos: Kumos) -> None:
    error = refusal(
        openai.BadRequestError,
        kumos.client.beta.assistants.list,
        extra_headers={"OpenAI-Beta": "assistants=v1"},
    )
    assert error.code == "invalid_beta"
    assert "v1" in error.message


@scenario
def locks_are_not_tried_again(kumos: Kumos) -> None:
    """The SDK repeats 408, 409, 429 and everything from 500 on; a lock must not be repeated behind the user's back."""
    seen: list[int] = []
    client = kumos.connect_counting(seen.append)
    asked = kumos.ask("!stall")
    thread = asked["thread_id"]
    run = client.beta.threads.runs.create(**asked)
    del seen[:]
    locked = refusal(openai.BadRequestError, client.beta.threads.runs.create, **asked)
    assert f"already has an active run {run.id}." in locked.message
    closed = refusal(openai.BadRequestError, client.beta.threads.messages.create, thread, role="user", content="Hi")
    assert f"Can't add messages to {thread} while a run {run.id} is active." in closed.message
    assert (locked.type, locked.code, locked.param) == (INVALID, None, None)
    refusal(openai.NotFoundError, client.beta.threads.retrieve, "thread_missing")
    assert seen == [400, 400, 404]
    client.beta.threads.runs.cancel(run.id, thread_id=thread)
    assert client.beta.threads.runs.poll(run.id, thread_id=thread).status == "cancelled"


@scenario
def an_outage_is_tried_again(kumos: Kumos) -> None:
    """The server whose database fails says `x-should-retry`; the SDK comes again, and by then all is well."""
    seen: list[int] = []

    def mended(status: int) -> None:
        seen.append(status)
        outage.end(os.environ["CONTRACT_FRAGILE_DATABASE"])

    client = kumos.connect_counting(
        mended, base_url=os.environ["CONTRACT_FRAGILE_URL"], api_key=os.environ["CONTRACT_DEMO_KEY"]
    )
    with outage.turn(os.environ["CONTRACT_FRAGILE_DATABASE"], Path(os.environ["CONTRACT_FRAGILE_LOCK"])):
        assert client.beta.threads.create().object == "thread"
    assert seen == [503, 200]
