"""Each kind of run that ends well, told frame by frame as the contract has it (3.4–3.7, 3.9).

tests/runs/grammar.py reads all its streams, tests/runs/witness.py compares every commit with GET.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER
from tests.runs.interpreter import Interpreter
from tests.runs.model import USAGE, Model, call
from tests.runs.observed import tides
from tests.runs.witness import BEGINNING, CALLED, SPOKEN, Conversation, question

pytestmark = pytest.mark.django_db(transaction=True)

AGAIN = ["run.step.completed", "run.queued", "run.in_progress"]
SEARCHED = [*CALLED, "run.step.completed"]
END = "run.completed"


def test_text(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will("Hello ", "wide ", "world")
    talk.tell(*question(alice))
    assert talk.names() == [*BEGINNING, *SPOKEN, END]


def test_an_answer_without_a_word(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will()
    talk.tell(*question(alice))
    assert talk.names() == [*BEGINNING, *SPOKEN, END]
    assert talk.grammar.messages[0]["content"] == [{"type": "text", "text": {"value": "", "annotations": []}}]


def test_create_thread_and_run(alice: ApiClient, model: Model, talk: Conversation) -> None:
    assistant = alice.make("/assistants", {"model": "m"})
    thread = {"messages": [{"role": "user", "content": "Hello"}]}
    talk.tell("/threads/runs", {"assistant_id": assistant["id"], "thread": thread})
    assert talk.names() == ["thread.created", *BEGINNING, *SPOKEN, END]


def test_parallel_calls(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will(
        call("get_weather", '{"city":', '"Rome"}', id="call_r"),
        call("get_weather", '{"city":', '"Oslo"}', id="call_o", index=1),
        call("get_weather", id="call_n", index=2),
        finish="tool_calls",
    )
    talk.tell(*question(alice, tools=[GET_WEATHER]))
    assert talk.names() == [*BEGINNING, *CALLED, "run.requires_action", *AGAIN, *SPOKEN, END]
    (calls, _) = [step["step_details"] for step in talk.grammar.ended_steps]
    assert [(one["id"], one["function"]["arguments"]) for one in calls["tool_calls"]] == [
        ("call_r", '{"city":"Rome"}'), ("call_o", '{"city":"Oslo"}'), ("call_n", "")
    ]  # fmt: skip


def test_several_rounds_of_calls(alice: ApiClient, model: Model, talk: Conversation) -> None:
    for _ in range(3):
        model.will(call("get_weather", "{}"), finish="tool_calls")
    talk.tell(*question(alice, tools=[GET_WEATHER]))
    assert talk.names() == [*BEGINNING, *[*CALLED, "run.requires_action", *AGAIN] * 3, *SPOKEN, END]
    assert talk.grammar.run["usage"]["total_tokens"] == 4 * USAGE["total_tokens"]


def test_text_then_calls(alice: ApiClient, model: Model, talk: Conversation) -> None:
    """Each has its step, each step its usage, and together they are what the model reported."""
    model.will("Let me ", "look.", call("get_weather", "{}"), finish="tool_calls")
    talk.tell(*question(alice, tools=[GET_WEATHER]))
    assert talk.names() == [*BEGINNING, *SPOKEN, *CALLED, "run.requires_action", *AGAIN, *SPOKEN, END]
    said, called = (step["usage"] for step in talk.grammar.ended_steps[:2])
    assert 0 < said["completion_tokens"] < USAGE["completion_tokens"]
    assert {key: said[key] + called[key] for key in USAGE} == USAGE


def searching(client: ApiClient, **fields: Any) -> tuple[str, dict[str, Any]]:
    resources = {"file_search": {"vector_store_ids": [tides(client.project)]}}
    return question(client, assistant={"tools": [{"type": "file_search"}], "tool_resources": resources}, **fields)


def test_file_search(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will(call("file_search", '{"query":', '"high tide"}'), finish="tool_calls")
    model.will("Twice ", "a day【0", ":0†sou", "rce】", ", they say【0:1†source】【5:5†source】.")
    talk.tell(*searching(alice))
    assert talk.names() == [*BEGINNING, *SEARCHED, *SPOKEN, END]
    assert len(talk.grammar.messages[0]["content"][0]["text"]["annotations"]) == 2


def test_two_searches_in_one_turn(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will(
        call("file_search", '{"query":"tide"}'), call("file_search", '{"query":"table"}', index=1), finish="tool_calls"
    )
    talk.tell(*searching(alice))
    assert talk.names() == [*BEGINNING, *SEARCHED, *SPOKEN, END]
    (calls, _) = [step["step_details"] for step in talk.grammar.ended_steps]
    assert all(one["file_search"]["results"] for one in calls["tool_calls"])


def test_file_search_and_functions(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will(
        call("file_search", '{"query": "tide"}', id="call_s"),
        call("get_weather", "{}", id="call_w", index=1),
        finish="tool_calls",
    )
    model.will("Done【0:0†source】.")
    talk.tell(*searching(alice, tools=[{"type": "file_search"}, GET_WEATHER]))
    assert talk.names() == [*BEGINNING, *CALLED, "run.requires_action", *AGAIN, *SPOKEN, END]


def test_code_interpreter(alice: ApiClient, model: Model, talk: Conversation, interpreter: Interpreter) -> None:
    """Text first, then code in fragments, logs and an image: steps keep all of it, the model is told of it."""
    model.will(
        "Let me count. ",
        call(
            "code_interpreter", '{"code": "print 1\\npr', "int t\\u00", 'fc\\nplot file-a\\nprint 3"', "}", id="call_c"
        ),
        finish="tool_calls",
    )
    talk.tell(*question(alice, tools=[{"type": "code_interpreter"}]))
    assert talk.names() == [*BEGINNING, *SPOKEN, *CALLED, "run.step.completed", *SPOKEN, END]
    said, counted, _ = talk.grammar.ended_steps
    (shown,) = counted["step_details"]["tool_calls"]
    assert shown["code_interpreter"] == {
        "input": "print 1\nprint tü\nplot file-a\nprint 3",
        "outputs": [
            {"type": "logs", "logs": "1\ntü\n"},
            {"type": "image", "image": {"file_id": "file-a"}},
            {"type": "logs", "logs": "3\n"},
        ],
    }
    assert {key: said["usage"][key] + counted["usage"][key] for key in USAGE} == USAGE
    *_, turn, output = model.requests[1]["messages"]
    assert turn["content"] == "Let me count. "
    assert turn["tool_calls"][0]["function"]["name"] == "code_interpreter"
    assert (output["tool_call_id"], output["content"]) == ("call_c", "1\ntü\n[image]\n3\n")


def test_the_interpreter_twice_in_one_turn_and_a_function(
    alice: ApiClient, model: Model, talk: Conversation, interpreter: Interpreter
) -> None:
    model.will(
        call("code_interpreter", '{"code":"print 1"}'),
        call("code_interpreter", '{"code":"print 2"}', index=1),
        call("get_weather", "{}", index=2),
        finish="tool_calls",
    )
    talk.tell(*question(alice, tools=[{"type": "code_interpreter"}, GET_WEATHER]))
    assert talk.names() == [*BEGINNING, *CALLED, "run.requires_action", *AGAIN, *SPOKEN, END]


def test_two_runs_of_a_thread(alice: ApiClient, model: Model, talk: Conversation) -> None:
    model.will(call("get_weather", "{}"), finish="tool_calls")
    path, body = question(alice, tools=[GET_WEATHER])

    async def work() -> None:
        await talk.whole(path, body)
        await talk.whole(path, {**body, "additional_messages": [{"role": "user", "content": "And now?"}]})

    talk.play(work)
    assert talk.names() == [*BEGINNING, *SPOKEN, END]
    assert len(talk.grammars) == 2
