"""A run that goes well: which events, in which order, with what in them (contract 3.4–3.9)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from assistants.models import File, Message
from runs.models import Run
from runs.writer import Writer
from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER, Execute, ask
from tests.runs.model import USAGE, Model, call
from tests.runs.observed import (
    ANSWERED,
    BEGINNING,
    DELTA,
    MESSAGE,
    OPENED,
    STEP_DELTA,
    check,
    data_of,
    events_of,
    names,
    searching,
    submit,
    worked,
)

pytestmark = pytest.mark.django_db(transaction=True)


# Text -----------------------------------------------------------------------------------------------------------------


def test_a_text_run_is_told_in_the_contracts_order(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "!fast !echo Hello wide world")
    assert execute(run.pk).status == "completed"
    assert names(run) == [*BEGINNING, *MESSAGE, DELTA, *ANSWERED]
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert message["content"][0]["text"]["value"] == "Hello wide world"
    (created,) = data_of(run, "thread.message.created")
    assert (created["status"], created["content"], created["completed_at"]) == ("in_progress", [], None)
    (step,) = data_of(run, "thread.run.step.created")
    assert (step["status"], step["usage"]) == ("in_progress", None)
    assert step["step_details"] == {"type": "message_creation", "message_creation": {"message_id": message["id"]}}
    assert objects[run.pk]["expires_at"] is None
    assert objects[run.pk]["usage"]["completion_tokens"] == 3


def test_an_answer_without_a_word_is_still_an_answer(alice: ApiClient, execute: Execute) -> None:
    """Clients that add up deltas need one: they have no content part otherwise."""
    _, run = ask(alice, "!echo")
    assert execute(run.pk).status == "completed"
    assert names(run) == [*BEGINNING, *MESSAGE, DELTA, *ANSWERED]
    check(alice, run)


def test_a_long_answer_arrives_whole(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "!fast !long 400")
    execute(run.pk)
    check(alice, run)
    text = Message.objects.get(run_id=run.pk).text
    assert [word for word in text.split() if word[0].isdigit()] == [f"{number}." for number in range(10, 401, 10)]


def test_model_text_of_any_kind_survives(alice: ApiClient, model: Model, writer: Writer) -> None:
    said = ["Line\nend\r\n", "\u2028\u0085", "𝄞 ", "【", "0:0†", "】", '"quoted" \\ ']
    model.will(*said)
    _, run = ask(alice, "Hello", model="m")
    assert worked(run, writer).status == "completed"
    check(alice, run)
    assert Message.objects.get(run_id=run.pk).text == "".join(said)
    assert all("\n" not in event.data and "\u2028" not in event.data for event in events_of(run))


# Functions ------------------------------------------------------------------------------------------------------------


def test_a_function_call_is_told_in_the_contracts_order(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", '{"city"', ': "Par', 'is"}', id="call_1"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    assert worked(run, writer).status == "requires_action"
    assert names(run) == [*BEGINNING, *OPENED, STEP_DELTA, "thread.run.requires_action"]
    assert data_of(run, "thread.run.step.created")[0]["step_details"] == {"type": "tool_calls", "tool_calls": []}
    entries = [entry for delta in data_of(run, STEP_DELTA) for entry in delta["delta"]["step_details"]["tool_calls"]]
    opening = {"name": "get_weather", "arguments": "", "output": None}
    assert entries[0] == {"index": 0, "id": "call_1", "type": "function", "function": opening}
    assert all(entry.keys() == {"index", "type", "function"} for entry in entries[1:])
    assert all(entry["function"].keys() == {"arguments"} for entry in entries[1:])
    arguments = '{"city": "Paris"}'
    assert "".join(entry["function"]["arguments"] for entry in entries) == arguments
    (required,) = data_of(run, "thread.run.requires_action")
    function = {"name": "get_weather", "arguments": arguments}
    assert required["required_action"]["submit_tool_outputs"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": function}
    ]
    assert required["usage"] is None
    check(alice, run)


def test_after_the_outputs_the_run_goes_on(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", "{}"), finish="tool_calls")
    model.will(call("get_weather", "[]"), finish="tool_calls")
    model.will("It rains.")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    first = worked(run, writer)
    submit(alice, run)
    assert worked(run, writer).status == "requires_action"
    submit(alice, run, "snow")
    last = worked(run, writer)
    assert last.status == "completed"
    called = [*OPENED, STEP_DELTA, "thread.run.requires_action"]
    again = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
    assert names(run) == [*BEGINNING, *called, *again, *called, *again, *MESSAGE, DELTA, *ANSWERED]
    objects = check(alice, run)
    assert objects[run.pk]["usage"]["total_tokens"] == 3 * USAGE["total_tokens"]
    assert last.started_at is not None
    assert first.started_at is not None
    assert last.started_at > first.started_at
    told = model.requests[2]["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [message["content"] for message in told if message["role"] == "tool"] == ["rain", "snow"]


def test_a_function_that_nobody_has_is_answered_here(alice: ApiClient, model: Model, writer: Writer) -> None:
    """The model made it up: a client that was asked for it would have no answer, and its run would expire."""
    model.will(call("get_tides", '{"at":', '"noon"}'), finish="tool_calls")
    model.will("I cannot tell.")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    assert worked(run, writer).status == "completed"
    check(alice, run)
    step = run.steps.get(type="tool_calls")
    (made,) = step.step_details["tool_calls"]
    assert (step.status, made["function"]["arguments"]) == ("completed", '{"at":"noon"}')
    assert made["function"]["output"].startswith("Error: ")
    asked = model.requests[1]["messages"]
    assert asked[-2]["tool_calls"][0]["function"]["name"] == "get_tides"
    assert (asked[-1]["role"], asked[-1]["content"]) == ("tool", made["function"]["output"])


def test_beside_one_that_the_client_has_it_is_not_asked_for(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_tides", "{}", index=0), call("get_weather", "{}", index=1), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    assert worked(run, writer).status == "requires_action"
    submit(alice, run)
    assert worked(run, writer).status == "completed"
    check(alice, run)
    outputs = [one["content"] for one in model.requests[1]["messages"] if one["role"] == "tool"]
    assert [outputs[0].startswith("Error: "), outputs[1]] == [True, "rain"]


def test_calls_of_one_turn_share_a_step(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(
        call("get_weather", '{"city":', '"Rome"}', id="call_r"),
        call("get_weather", '{"city":', '"Oslo"}', id="call_o", index=1),
        finish="tool_calls",
    )
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    worked(run, writer)
    assert names(run) == [*BEGINNING, *OPENED, STEP_DELTA, "thread.run.requires_action"]
    check(alice, run)
    seen: dict[int, dict[str, Any]] = {}
    for delta in data_of(run, STEP_DELTA):
        entries = delta["delta"]["step_details"]["tool_calls"]
        assert len({entry["index"] for entry in entries}) == len(entries)
        for entry in entries:
            assert entry["index"] <= len(seen), "introduced in order, without gaps"
            known = seen.setdefault(entry["index"], {"id": entry.get("id"), "arguments": ""})
            known["arguments"] += entry["function"]["arguments"]
    assert seen == {
        0: {"id": "call_r", "arguments": '{"city":"Rome"}'},
        1: {"id": "call_o", "arguments": '{"city":"Oslo"}'},
    }


def test_ids_that_are_no_ids_are_replaced(alice: ApiClient, model: Model, writer: Writer) -> None:
    strange = ["fine", "white space", "x" * 65]
    model.will(*[call("get_weather", "{}", id=id, index=n) for n, id in enumerate(strange)], finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    worked(run, writer)
    required = data_of(run, "thread.run.requires_action")[0]["required_action"]["submit_tool_outputs"]["tool_calls"]
    ids = [one["id"] for one in required]
    assert ids[0] == "fine"
    assert len(set(ids)) == 3
    assert all(id.startswith("call_") for id in ids[1:])
    check(alice, run)


def test_text_before_a_call_is_a_step_of_its_own(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will("Let me ", "look.", call("get_weather", "{}"), "ignored", finish="tool_calls")
    model.will("It rains.")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    worked(run, writer)
    spoken = [*MESSAGE, DELTA, "thread.message.completed", "thread.run.step.completed"]
    called = [*OPENED, STEP_DELTA, "thread.run.requires_action"]
    assert names(run) == [*BEGINNING, *spoken, *called]
    check(alice, run)
    submit(alice, run)
    assert worked(run, writer).status == "completed"
    objects = check(alice, run)
    assert objects[run.pk]["usage"]["total_tokens"] == 2 * USAGE["total_tokens"]
    assert [message.text for message in Message.objects.filter(run_id=run.pk).order_by("created_at")] == [
        "Let me look.", "It rains."
    ]  # fmt: skip
    question, turn, output = model.requests[1]["messages"]
    assert (question["role"], turn["role"], turn["content"]) == ("user", "assistant", "Let me look.")
    assert (turn["tool_calls"][0]["id"], output["content"]) == (output["tool_call_id"], "rain")


def test_a_model_that_never_stops_calling_is_stopped(alice: ApiClient, execute: Execute, settings: Settings) -> None:
    settings.KUMOS_TURNS_MAX = 3
    _, run = ask(alice, '!fast !loop file_search {"query": "tide"}', tools=[{"type": "file_search"}])
    ended = execute(run.pk)
    assert ended.status == "failed"
    assert ended.last_error == {"code": "server_error", "message": "The run did not come to an end in 3 turns."}
    assert ended.steps.count() == 3
    check(alice, run)


# file_search ----------------------------------------------------------------------------------------------------------


def test_a_search_is_told_in_the_contracts_order(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("file_search", '{"query":', '"high tide"}', id="call_s"), finish="tool_calls")
    model.will("Twice ", "a day【0", ":0†sou", "rce】", ", they say【0:1†source】【5:5†source】.")
    run = searching(alice)
    assert worked(run, writer).status == "completed"
    searched = [*OPENED, STEP_DELTA, "thread.run.step.completed"]
    assert names(run) == [*BEGINNING, *searched, *MESSAGE, DELTA, *ANSWERED]
    (opening,) = data_of(run, STEP_DELTA)
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    entry = {"index": 0, "id": "call_s", "type": "file_search"}
    details = {"ranking_options": ranking, "results": []}
    assert opening["delta"]["step_details"]["tool_calls"] == [{**entry, "file_search": details}]
    step = data_of(run, "thread.run.step.completed")[0]
    (found,) = step["step_details"]["tool_calls"]
    assert found["file_search"]["ranking_options"] == ranking
    file_id = File.objects.get().pk
    results = found["file_search"]["results"]
    assert [(one["file_id"], one["file_name"]) for one in results] == [(file_id, "tides.txt")] * 2
    assert all(one.keys() == {"file_id", "file_name", "score", "attributes"} for one in results)
    objects = check(alice, run)
    assert objects[run.pk]["usage"]["total_tokens"] == 2 * USAGE["total_tokens"]

    (message,) = Message.objects.filter(run_id=run.pk)
    text = message.content[0]["text"]
    assert text["value"] == "Twice a day【0:0†source】, they say【0:1†source】【5:5†source】."
    assert [text["value"][one["start_index"] : one["end_index"]] for one in text["annotations"]] == [
        "【0:0†source】", "【0:1†source】"
    ]  # fmt: skip
    assert {one["file_citation"]["file_id"] for one in text["annotations"]} == {file_id}
    told = json.loads(model.requests[1]["messages"][-1]["content"])["results"]
    assert [one["marker"] for one in told] == ["【0:0†source】", "【0:1†source】"]
    assert "twice a day" in told[0]["text"]


@pytest.mark.parametrize("included", [True, False])
def test_passages_are_streamed_if_the_run_was_made_so(
    included: bool, alice: ApiClient, model: Model, writer: Writer
) -> None:
    model.will(call("file_search", '{"query": "tide"}'), finish="tool_calls")
    run = searching(alice)
    content = "step_details.tool_calls[*].file_search.results[*].content"
    Run.objects.filter(pk=run.pk).update(include=[content] if included else [])
    worked(run, writer)
    (call_,) = data_of(run, "thread.run.step.completed")[0]["step_details"]["tool_calls"]
    assert {"content" in result for result in call_["file_search"]["results"]} == {included}


def test_a_search_and_a_function_in_one_turn(alice: ApiClient, model: Model, writer: Writer) -> None:
    """The search is done, then the client is asked for the rest; its answer completes the step."""
    model.will(
        call("file_search", '{"query": "tide"}', id="call_s"),
        call("get_weather", "{}", id="call_w", index=1),
        finish="tool_calls",
    )
    model.will("Done【0:0†source】.")
    run = searching(alice, tools=[{"type": "file_search"}, GET_WEATHER])
    assert worked(run, writer).status == "requires_action"
    required = data_of(run, "thread.run.requires_action")[0]["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [one["id"] for one in required] == ["call_w"]
    submit(alice, run)
    assert worked(run, writer).status == "completed"
    check(alice, run)
    told = model.requests[1]["messages"]
    assert [message.get("tool_call_id") for message in told] == [None, None, "call_s", "call_w"]
    assert json.loads(told[1]["tool_calls"][0]["function"]["arguments"]) == {"query": "tide"}
    assert len(Message.objects.get(run_id=run.pk).content[0]["text"]["annotations"]) == 1
