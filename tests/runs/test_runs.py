"""/threads/{id}/runs: what a run takes over and shows, what is refused, lists, metadata (contract 2.5, 2.8, 2.10)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from assistants.errors import ApiError
from assistants.models import Thread
from runs import transitions
from runs.models import Run, RunStatus
from runs.serializers import INCLUDE_CONTENT
from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER, ask

RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}


@pytest.fixture
def thread_id(alice: ApiClient) -> str:
    return str(alice.make("/threads", {"messages": [{"role": "user", "content": "Hello"}]})["id"])


@pytest.fixture
def assistant_id(alice: ApiClient) -> str:
    return str(alice.make("/assistants", {"model": "scripted"})["id"])


def error_of(response: Any) -> tuple[int, str, str | None, str | None]:
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return response.status_code, error["message"], error["param"], error["code"]


def end(run_id: str) -> None:
    failed = transitions.Ending(RunStatus.FAILED)
    assert transitions.end_run(Run.objects.get(pk=run_id), failed, only_from=[RunStatus.QUEUED])


def test_a_run_shows_every_field_with_its_default(alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    response = alice.post(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id})
    run = response.json()
    assert response.status_code == 200
    assert response.headers["openai-poll-after-ms"].isdigit()
    assert run["id"].startswith("run_")
    assert len(run["id"]) == len("run_") + 24
    assert run == {
        "id": run["id"],
        "object": "thread.run",
        "created_at": run["created_at"],
        "thread_id": thread_id,
        "assistant_id": assistant_id,
        "status": "queued",
        "required_action": None,
        "last_error": None,
        "expires_at": run["created_at"] + 600,
        "started_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": None,
        "model": "scripted",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "usage": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": "auto",
        "reasoning_effort": None,
    }
    assert alice.get(f"/threads/{thread_id}/runs/{run['id']}").json() == run


FUNCTION = {**GET_WEATHER["function"], "strict": False}
ASSISTANT = {
    "model": "scripted",
    "instructions": "Be brief.",
    "tools": [{"type": "file_search"}, GET_WEATHER],
    "temperature": 0.25,
    "top_p": 0.5,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "metadata": {"not": "taken over"},
}


def test_what_a_run_does_not_say_is_the_assistants(alice: ApiClient, thread_id: str) -> None:
    assistant = alice.make("/assistants", ASSISTANT)
    run = alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant["id"], "temperature": None})
    names = ("model", "instructions", "tools", "temperature", "top_p", "response_format", "reasoning_effort")
    assert {name: run[name] for name in names} == {name: assistant[name] for name in names}
    assert run["metadata"] == {}


def test_what_a_run_says_wins_over_the_assistant(alice: ApiClient, thread_id: str) -> None:
    assistant = alice.make("/assistants", ASSISTANT)
    said = {
        "model": "default",
        "instructions": "Be long.",
        "metadata": {"a": "b"},
        "temperature": 0,
        "top_p": 0.0,
        "max_prompt_tokens": 256,
        "max_completion_tokens": 300,
        "truncation_strategy": {"type": "last_messages", "last_messages": 3},
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "reasoning_effort": "high",
        "tools": [{"type": "code_interpreter"}, {"type": "function", "function": FUNCTION}],
    }
    run = alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant["id"], **said})
    assert {name: run[name] for name in said} == said


def test_tools_are_echoed_with_their_defaults(alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    tools = [
        {"type": "code_interpreter"},
        {"type": "file_search"},
        {"type": "file_search", "file_search": {"max_num_results": 5}},
        {"type": "function", "function": {"name": "now"}},
    ]
    run = alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, "tools": tools})
    function = {"name": "now", "parameters": {"type": "object", "properties": {}}, "strict": False}
    assert run["tools"] == [
        {"type": "code_interpreter"},
        {"type": "file_search", "file_search": {"ranking_options": RANKING}},
        {"type": "file_search", "file_search": {"max_num_results": 5, "ranking_options": RANKING}},
        {"type": "function", "function": function},
    ]


@pytest.mark.parametrize(
    ("own", "instructions", "additional", "shown"),
    [
        ("Be kind.", None, "Be brief.", "Be kind. Be brief."),
        ("Be kind.", "Be rude.", "Be brief.", "Be rude. Be brief."),
        (None, None, "Be brief.", "Be brief."),
        ("Be kind.", None, None, "Be kind."),
        ("Be kind.", "Be rude.", None, "Be rude."),
        (None, None, None, None),
    ],
)
def test_additional_instructions_are_joined_by_one_space(
    own: str | None,
    instructions: str | None,
    additional: str | None,
    shown: str | None,
    alice: ApiClient,
    thread_id: str,
) -> None:
    assistant = alice.make("/assistants", {"model": "scripted", "instructions": own})
    body = {"assistant_id": assistant["id"], "instructions": instructions, "additional_instructions": additional}
    assert alice.make(f"/threads/{thread_id}/runs", body)["instructions"] == shown


def test_a_run_keeps_what_its_assistant_was(alice: ApiClient, thread_id: str) -> None:
    assistant = alice.make("/assistants", {"model": "scripted", "instructions": "Old."})
    run = alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant["id"]})
    alice.make(f"/assistants/{assistant['id']}", {"instructions": "New."})
    alice.delete(f"/assistants/{assistant['id']}")
    shown = alice.get(f"/threads/{thread_id}/runs/{run['id']}").json()
    assert (shown["instructions"], shown["assistant_id"]) == ("Old.", assistant["id"])


def test_additional_messages_join_the_thread_before_the_run(
    alice: ApiClient, thread_id: str, assistant_id: str
) -> None:
    more = [
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "text", "text": "Tell me."}], "metadata": {"n": "2"}},
    ]
    alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, "additional_messages": more})
    messages = alice.get(f"/threads/{thread_id}/messages", {"order": "asc"}).json()["data"]
    assert [message["content"][0]["text"]["value"] for message in messages] == ["Hello", "Hi.", "Tell me."]
    assert [message["metadata"] for message in messages] == [{}, {}, {"n": "2"}]
    assert [message["run_id"] for message in messages] == [None, None, None]


def test_a_refused_run_leaves_no_additional_message(alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    body = {"assistant_id": assistant_id, "additional_messages": [{"role": "user", "content": "More"}]}
    active = alice.make(f"/threads/{thread_id}/runs", body)
    again = alice.post(f"/threads/{thread_id}/runs", body)
    assert error_of(again) == (400, f"Thread {thread_id} already has an active run {active['id']}.", None, None)

    end(active["id"])
    part = {"type": "image_file", "image_file": {"file_id": "file-missing"}}
    lost = [body["additional_messages"][0], {"role": "user", "content": [part]}]
    refused = alice.post(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, "additional_messages": lost})
    assert error_of(refused)[:2] == (404, "No such File object: file-missing")
    assert len(alice.get(f"/threads/{thread_id}/messages").json()["data"]) == 2
    assert Run.objects.count() == 1
    assert alice.post(f"/threads/{thread_id}/messages", {"role": "user", "content": "?"}).status_code == 200


def test_unknown_things_are_404(alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    ghost = "asst_" + "x" * 24
    for path in (f"/threads/{thread_id}/runs", "/threads/runs"):
        refused = alice.post(path, {"assistant_id": ghost})
        assert error_of(refused) == (404, f"No assistant found with id '{ghost}'.", None, None)
    refused = alice.post("/threads/thread_x/runs", {"assistant_id": assistant_id})
    assert error_of(refused) == (404, "No thread found with id 'thread_x'.", None, None)
    refused = alice.get(f"/threads/{thread_id}/runs/run_x")
    assert error_of(refused) == (404, "No run found with id 'run_x'.", None, None)
    refused = alice.post("/threads/new/runs", {"assistant_id": assistant_id})
    text = "Invalid 'thread_id': 'new'. Expected an ID that begins with 'thread'."
    assert error_of(refused) == (400, text, "thread_id", "invalid_value")
    assert not Run.objects.exists()


def test_an_unknown_model_is_refused_before_the_run_exists(
    alice: ApiClient, thread_id: str, assistant_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"assistant_id": assistant_id, "model": "openai/none"}
    refused = error_of(alice.post(f"/threads/{thread_id}/runs", body))
    assert refused == (400, "The requested model 'openai/none' does not exist.", "model", "model_not_found")
    assert "OPENAI_BASE_URL" in caplog.text, "whoever runs the server learns what to set"
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({"assistant_id": None}, "Invalid type for 'assistant_id': expected a string, but got null instead.",
         "assistant_id", "invalid_type"),
        ({"thread": {}}, "Unknown parameter: 'thread'.", "thread", "unknown_parameter"),
        ({"tool_resources": {}}, "Unknown parameter: 'tool_resources'.", "tool_resources", "unknown_parameter"),
        ({"temperature": 3}, "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3"
         " instead.", "temperature", "decimal_above_max_value"),
        ({"temperature": -0.5}, "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got"
         " -0.5 instead.", "temperature", "decimal_below_min_value"),
        ({"top_p": 2.5}, "Invalid 'top_p': decimal above maximum value. Expected a value <= 1, but got 2.5 instead.",
         "top_p", "decimal_above_max_value"),
        ({"max_prompt_tokens": 10}, "Invalid 'max_prompt_tokens': integer below minimum value. Expected a value >= 256,"
         " but got 10 instead.", "max_prompt_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": 255}, "Invalid 'max_completion_tokens': integer below minimum value. Expected a"
         " value >= 256, but got 255 instead.", "max_completion_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": "300"}, "Invalid type for 'max_completion_tokens': expected an integer, but got a"
         " string instead.", "max_completion_tokens", "invalid_type"),
        ({"stream": "yes"}, "Invalid type for 'stream': expected a boolean, but got a string instead.",
         "stream", "invalid_type"),
        ({"tool_choice": "maybe"}, "Invalid value: 'maybe'. Supported values are: 'none', 'auto', and 'required'.",
         "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "function"}}, "Missing required parameter: 'tool_choice.function'.",
         "tool_choice.function", "missing_required_parameter"),
        ({"truncation_strategy": {"type": "last_messages", "last_messages": 0}}, "Invalid"
         " 'truncation_strategy.last_messages': integer below minimum value. Expected a value >= 1, but got 0 instead.",
         "truncation_strategy.last_messages", "integer_below_min_value"),
        ({"truncation_strategy": {"type": "some"}}, "Invalid value: 'some'. Supported values are: 'auto' and"
         " 'last_messages'.", "truncation_strategy.type", "invalid_value"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "Missing required parameter:"
         " 'response_format.json_schema.name'.", "response_format.json_schema.name", "missing_required_parameter"),
        ({"response_format": "text"}, "Invalid value: 'text'. Supported values are: 'auto'.",
         "response_format", "invalid_value"),
        ({"tools": [{"type": "function", "function": {}}]}, "Missing required parameter: 'tools[0].function.name'.",
         "tools[0].function.name", "missing_required_parameter"),
        ({"tools": [{"type": "code_interpreter"}] * 21}, "Invalid 'tools': array too long. Expected an array with"
         " maximum length 20, but got an array with length 21 instead.", "tools", "array_above_max_length"),
        ({"additional_messages": [{"role": "user", "content": "a"}, {"role": "user"}]}, "Missing required parameter:"
         " 'additional_messages[1].content'.", "additional_messages[1].content", "missing_required_parameter"),
        ({"metadata": {"k": 1}}, "Invalid type for 'metadata.k': expected a string, but got an integer instead.",
         "metadata.k", "invalid_type"),
        ({"instructions": "x" * 256_001}, "Invalid 'instructions': string too long. Expected a string with maximum"
         " length 256000, but got a string with length 256001 instead.", "instructions", "string_above_max_length"),
        ({"reasoning_effort": "huge"}, "Invalid value: 'huge'. Supported values are: 'none', 'minimal', 'low',"
         " 'medium', 'high', 'xhigh', and 'max'.", "reasoning_effort", "invalid_value"),
    ],
)  # fmt: skip
def test_bad_options_say_where_and_what(
    body: dict[str, Any], message: str, param: str, code: str, alice: ApiClient, thread_id: str, assistant_id: str
) -> None:
    refused = alice.post(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, **body})
    assert error_of(refused) == (400, message, param, code)
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"type": "function", "function": {"name": "f"}}, "no function named 'f' was specified in the 'tools'"
         " parameter."),
        ({"type": "file_search"}, "no tool of type 'file_search' was specified in the 'tools' parameter."),
        ({"type": "code_interpreter"}, "the tool 'code_interpreter' is not available on this server."),
    ],
)  # fmt: skip
def test_a_choice_that_no_tool_can_meet_is_refused(
    choice: dict[str, Any], reason: str, alice: ApiClient, thread_id: str
) -> None:
    """Whether the tools are the assistant's or the run's."""
    tools = [{"type": "code_interpreter"}, GET_WEATHER]
    assistant_id = alice.make("/assistants", {"model": "scripted", "tools": tools})["id"]
    text = f"Invalid value for 'tool_choice': {reason}"
    bodies: list[dict[str, Any]] = [{}, {"tools": tools}]
    for body in bodies:
        body |= {"assistant_id": assistant_id, "tool_choice": choice}
        for path in (f"/threads/{thread_id}/runs", "/threads/runs"):
            assert error_of(alice.post(path, body)) == (400, text, "tool_choice", "invalid_value")
    assert not Run.objects.exists()


@pytest.mark.parametrize("choice", ["none", "auto", "required"])
def test_words_for_a_choice_need_no_tools(choice: str, alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    run = alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, "tool_choice": choice})
    assert run["tool_choice"] == choice


def test_the_assistant_must_be_named(alice: ApiClient, thread_id: str) -> None:
    refused = alice.post(f"/threads/{thread_id}/runs", {})
    expected = "Missing required parameter: 'assistant_id'."
    assert error_of(refused) == (400, expected, "assistant_id", "missing_required_parameter")


def test_an_assistant_with_more_than_twenty_tools_can_be_run(alice: ApiClient, thread_id: str) -> None:
    tools = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(30)]
    assistant = alice.make("/assistants", {"model": "scripted", "tools": tools})
    assert len(alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant["id"]})["tools"]) == 30


def test_a_run_needs_a_user_message_or_instructions(alice: ApiClient, assistant_id: str) -> None:
    thread = alice.make("/threads", {"messages": [{"role": "assistant", "content": "Hello?"}]})
    path = f"/threads/{thread['id']}/runs"
    text = "Run creation requires a Thread with a user message or an assistant with instructions."
    assert error_of(alice.post(path, {"assistant_id": assistant_id})) == (400, text, None, "invalid_thread")
    assert error_of(alice.post("/threads/runs", {"assistant_id": assistant_id}))[3] == "invalid_thread"
    assert not Run.objects.exists()
    assert alice.make(path, {"assistant_id": assistant_id, "instructions": "Greet."})["status"] == "queued"


def test_a_user_message_that_comes_with_the_run_is_enough(alice: ApiClient, assistant_id: str) -> None:
    thread = alice.make("/threads")
    body = {"assistant_id": assistant_id, "additional_messages": [{"role": "user", "content": "Hello"}]}
    assert alice.make(f"/threads/{thread['id']}/runs", body)["status"] == "queued"


def test_empty_additional_messages_are_accepted(alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    body: dict[str, Any] = {"assistant_id": assistant_id, "additional_messages": [], "tools": None, "metadata": None}
    assert alice.make(f"/threads/{thread_id}/runs", body)["metadata"] == {}


def test_an_active_run_locks_its_thread(alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    run = alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id})
    message = alice.post(f"/threads/{thread_id}/messages", {"role": "user", "content": "?"})
    assert error_of(message) == (
        400, f"Can't add messages to {thread_id} while a run {run['id']} is active.", None, None
    )  # fmt: skip
    second = alice.post(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id})
    assert error_of(second) == (400, f"Thread {thread_id} already has an active run {run['id']}.", None, None)
    assert alice.get(f"/threads/{thread_id}/messages").status_code == 200
    assert alice.post(f"/threads/{thread_id}", {"metadata": {"a": "b"}}).status_code == 200


def test_a_run_that_cannot_be_stored_is_refused_after_some_tries(alice: ApiClient, assistant_id: str) -> None:
    """The database refuses it each time, and nobody has the thread: its id is another's."""
    _, first = ask(alice, "Hello")
    other = Thread.objects.get(pk=alice.make("/threads")["id"])
    again = Run(pk=first.pk, project=alice.project, thread=other, assistant_id=assistant_id, instructions="Hi.")
    with (
        pytest.raises(ApiError, match="overloaded or not ready") as refused,
        CaptureQueriesContext(connection) as asked,
    ):
        transitions.create_run(other, again)
    assert (refused.value.status_code, refused.value.headers["Retry-After"]) == (503, "1")
    assert isinstance(refused.value.__cause__, IntegrityError)
    inserts = [query for query in asked.captured_queries if query["sql"].startswith("INSERT")]
    assert len(inserts) == transitions.CREATED_WITHIN


@pytest.mark.parametrize("name", ["include[]", "include"])
def test_the_one_value_of_include_is_accepted_in_both_spellings(
    name: str, alice: ApiClient, thread_id: str, assistant_id: str
) -> None:
    path = f"/v1/threads/{thread_id}/runs"
    body = {"assistant_id": assistant_id}
    good = alice.client.post(path, body, content_type="application/json", query_params={name: INCLUDE_CONTENT})
    assert good.status_code == 200
    assert Run.objects.get().include == [INCLUDE_CONTENT]


def test_other_values_of_include_are_refused(alice: ApiClient, thread_id: str, assistant_id: str) -> None:
    path = f"/v1/threads/{thread_id}/runs"
    query = {"include[]": [INCLUDE_CONTENT, "everything"]}
    bad = alice.client.post(path, {"assistant_id": assistant_id}, content_type="application/json", query_params=query)
    text = f"Invalid value: 'everything'. Supported values are: '{INCLUDE_CONTENT}'."
    assert error_of(bad) == (400, text, "include[1]", "invalid_value")
    assert not Run.objects.exists()


def test_runs_are_listed_page_by_page(alice: ApiClient, bob: ApiClient, thread_id: str, assistant_id: str) -> None:
    ids = []
    for _ in range(5):
        ids.append(alice.make(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id})["id"])
        end(ids[-1])
    _, elsewhere = ask(alice, "Hello")

    path = f"/threads/{thread_id}/runs"
    newest = bob.get(path).json()
    assert [run["id"] for run in newest["data"]] == ids[::-1]
    assert (newest["first_id"], newest["last_id"], newest["has_more"]) == (ids[4], ids[0], False)
    seen: list[str] = []
    page = {"limit": 2, "order": "asc"}
    while True:
        answer = alice.get(path, page).json()
        seen += [run["id"] for run in answer["data"]]
        if not answer["has_more"]:
            break
        page["after"] = answer["last_id"]
    assert seen == ids
    assert [run["id"] for run in alice.get(path, {"order": "asc", "before": ids[2]}).json()["data"]] == ids[:2]
    assert error_of(alice.get(path, {"after": elsewhere.pk}))[0] == 400
    assert error_of(alice.get(path, {"limit": 101}))[1:3] == (
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.", "limit"
    )  # fmt: skip


def test_an_empty_list_has_no_ids(alice: ApiClient, thread_id: str) -> None:
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert alice.get(f"/threads/{thread_id}/runs").json() == empty


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
def test_metadata_of_an_active_run_stays(status: str, alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello", metadata={"a": "1"})
    Run.objects.filter(pk=run.pk).update(status=status)
    refused = alice.post(f"/threads/{thread.pk}/runs/{run.pk}", {"metadata": {"a": "2"}})
    assert error_of(refused) == (400, f"Cannot update run with status '{status}'.", None, None)
    assert Run.objects.get(pk=run.pk).metadata == {"a": "1"}


def test_metadata_of_a_finished_run_is_merged(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello", metadata={"a": "1", "b": "1"})
    end(run.pk)
    path = f"/threads/{thread.pk}/runs/{run.pk}"
    changed = alice.make(path, {"metadata": {"b": "2", "c": "2"}})
    assert changed["metadata"] == {"a": "1", "b": "2", "c": "2"}
    assert alice.get(path).json() == changed
    assert alice.make(path, {}) == changed
    assert alice.make(path, {"metadata": None})["metadata"] == {}
    refused = alice.post(path, {"status": "queued"})
    assert error_of(refused) == (400, "Unknown parameter: 'status'.", "status", "unknown_parameter")


def test_merged_metadata_has_no_more_than_sixteen_pairs(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello", metadata={f"k{number}": "v" for number in range(16)})
    end(run.pk)
    refused = alice.post(f"/threads/{thread.pk}/runs/{run.pk}", {"metadata": {"one": "more"}})
    text = (
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties,"
        " but got an object with 17 properties instead."
    )
    assert error_of(refused) == (400, text, "metadata", "object_above_max_properties")
    assert len(Run.objects.get(pk=run.pk).metadata) == 16


def test_a_run_is_found_through_its_own_thread_only(alice: ApiClient, charlie: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    other, _ = ask(alice, "Hello")
    assert alice.get(f"/threads/{other.pk}/runs/{run.pk}").status_code == 404
    assert charlie.get(f"/threads/{thread.pk}/runs/{run.pk}").status_code == 404
    assert charlie.get(f"/threads/{thread.pk}/runs").status_code == 404


def test_wrong_methods_are_405(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    for path in (f"/threads/{thread.pk}/runs", f"/threads/{thread.pk}/runs/{run.pk}"):
        assert error_of(alice.delete(path))[0] == 405
    assert error_of(alice.get(f"/threads/{thread.pk}/runs/{run.pk}/cancel"))[0] == 405
