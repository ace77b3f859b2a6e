"""The exact errors of contract 4.3, one test a row: status, message, type, param and code.

Where a row holds for several kinds of object, all of them are asked. tests/test_refusals.py has the places of every
body, tests/e2e/test_headers.py keys and headers; docs/contract.md says which test proves which row.
"""

from __future__ import annotations

from typing import Any

import pytest

from assistants.models import File
from runs.models import Run
from tests.conftest import ApiClient
from tests.world import QUESTION, World, world_of


@pytest.fixture
def world(alice: ApiClient) -> World:
    return world_of(alice)


def check(
    answer: Any,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    status: int = 400,
    type: str = "invalid_request_error",
) -> None:
    """That `answer` is exactly this error."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json() == {"error": {"message": message, "type": type, "param": param, "code": code}}


# What is not there ----------------------------------------------------------------------------------------------------


def test_unknown_objects(world: World) -> None:
    ids, client = world.ids, world.client
    thread, run = f"/threads/{ids['thread']}", f"/threads/{ids['thread']}/runs/{ids['run']}"
    for path, kind, id in (
        ("/assistants/asst_x", "assistant", "asst_x"),
        ("/threads/thread_x", "thread", "thread_x"),
        (f"{thread}/messages/msg_x", "message", "msg_x"),
        (f"{thread}/runs/run_x", "run", "run_x"),
        (f"{run}/steps/step_x", "run step", "step_x"),
        ("/vector_stores/vs_x", "vector store", "vs_x"),
    ):
        check(client.get(path), f"No {kind} found with id '{id}'.", status=404)


def test_what_was_deleted_is_unknown(world: World) -> None:
    ids, client = world.ids, world.client
    for path, kind, id in (
        (f"/threads/{ids['thread']}/messages/{ids['message']}", "message", ids["message"]),
        (f"/threads/{ids['thread']}", "thread", ids["thread"]),
        (f"/assistants/{ids['assistant']}", "assistant", ids["assistant"]),
        (f"/vector_stores/{ids['vector_store']}", "vector store", ids["vector_store"]),
    ):
        assert client.delete(path).json()["deleted"] is True
        for answer in (client.get(path), client.delete(path), client.post(path, {})):
            check(answer, f"No {kind} found with id '{id}'.", status=404)


def test_what_is_elsewhere_is_unknown(world: World) -> None:
    """A message, run or step through another thread, a file through another store."""
    ids, other, client = world.ids, world.waiting, world.client
    for path, kind, id in (
        (f"/threads/{other['thread']}/messages/{ids['message']}", "message", ids["message"]),
        (f"/threads/{other['thread']}/runs/{ids['run']}", "run", ids["run"]),
        (f"/threads/{ids['thread']}/runs/{ids['run']}/steps/{other['step']}", "run step", other["step"]),
        (f"/threads/{other['thread']}/runs/{ids['run']}/steps", "run", ids["run"]),
        (f"/threads/{other['thread']}/runs/{ids['run']}/stream", "run", ids["run"]),
    ):
        check(client.get(path), f"No {kind} found with id '{id}'.", status=404)


def test_an_unknown_assistant_of_a_run(world: World) -> None:
    for path in (f"/threads/{world.ids['thread']}/runs", "/threads/runs"):
        for more in ({}, {"stream": True}):
            answer = world.client.post(path, {"assistant_id": "asst_x", **more})
            check(answer, "No assistant found with id 'asst_x'.", status=404)


def test_an_unknown_file(world: World) -> None:
    client = world.client
    for answer in (
        client.get("/files/file-x"),
        client.delete("/files/file-x"),
        client.get("/files/file-x/content"),
        client.post("/vector_stores", {"file_ids": ["file-x"]}),
        client.post(f"/vector_stores/{world.ids['vector_store']}/files", {"file_id": "file-x"}),
        client.post("/threads", {"tool_resources": {"code_interpreter": {"file_ids": ["file-x"]}}}),
    ):
        check(answer, "No such File object: file-x", status=404, param="id")


def test_a_malformed_id(world: World) -> None:
    """Of a thread. A malformed id of an assistant is an unknown one (contract 10.16), as are those of the others."""
    message = "Invalid 'thread_id': 'new'. Expected an ID that begins with 'thread'."
    paths = ("/threads/new", "/threads/new/messages", "/threads/new/runs", "/threads/new/runs/run_x/steps")
    for path in (*paths, "/threads/new/runs/stream", "/threads/new/runs/run_x/stream"):
        check(world.client.get(path), message, param="thread_id", code="invalid_value")
    for name in ("starting_after[new]", "status_after[new]"):
        answer = world.client.get("/threads/runs/stream", {f"starting_after[{world.ids['thread']}]": "", name: ""})
        check(answer, message.replace("thread_id", name), param=name, code="invalid_value")
    answer = world.client.post("/threads/new/runs", {"assistant_id": "asst_x"})
    check(answer, message, param="thread_id", code="invalid_value")
    for path, kind, id in (
        ("/assistants/invalid-assistant-id", "assistant", "invalid-assistant-id"),
        ("/vector_stores/x", "vector store", "x"),
        (f"/threads/{world.ids['thread']}/runs/x", "run", "x"),
        (f"/threads/{world.ids['thread']}/messages/x", "message", "x"),
    ):
        check(world.client.get(path), f"No {kind} found with id '{id}'.", status=404)
    check(world.client.get("/files/x"), "No such File object: x", status=404, param="id")


def test_a_nested_malformed_id(alice: ApiClient) -> None:
    attached = {**QUESTION, "attachments": [{"file_id": "x", "tools": [{"type": "file_search"}]}]}
    for body, path, kind in (
        ({"messages": [attached]}, "messages[0].attachments[0].file_id", "file"),
        (
            {"tool_resources": {"file_search": {"vector_store_ids": ["x"]}}},
            "tool_resources.file_search.vector_store_ids[0]",
            "vs",
        ),
    ):
        message = f"Invalid '{path}': 'x'. Expected an ID that begins with '{kind}'."
        check(alice.post("/threads", body), message, param=path, code="invalid_value")


def test_an_unknown_url(alice: ApiClient) -> None:
    for method, path in (("POST", "/foo"), ("GET", "/assistants/a/b"), ("DELETE", "/threads/")):
        answer = alice.client.generic(method, f"/v1{path}")
        check(answer, f"Invalid URL ({method} /v1{path})", status=404)


# What cannot be done now ----------------------------------------------------------------------------------------------


def test_a_run_without_input(alice: ApiClient) -> None:
    message = "Run creation requires a Thread with a user message or an assistant with instructions."
    assistant = alice.make("/assistants", {"model": "scripted"})["id"]
    thread = alice.make("/threads")["id"]
    for path in (f"/threads/{thread}/runs", "/threads/runs"):
        for more in ({}, {"stream": True}):
            check(alice.post(path, {"assistant_id": assistant, **more}), message, code="invalid_thread")
    assert not Run.objects.exists()


def test_the_modification_of_an_active_run(world: World) -> None:
    path = f"/threads/{world.waiting['thread']}/runs/{world.waiting['run']}"
    answer = world.client.post(path, {"metadata": {"a": "b"}})
    check(answer, "Cannot update run with status 'requires_action'.")
    assert world.client.get(path).json()["metadata"] == {}


def test_the_lock_for_messages(world: World) -> None:
    thread, run = world.waiting["thread"], world.waiting["run"]
    answer = world.client.post(f"/threads/{thread}/messages", QUESTION)
    check(answer, f"Can't add messages to {thread} while a run {run} is active.")


def test_the_lock_for_runs(world: World) -> None:
    thread, run = world.waiting["thread"], world.waiting["run"]
    for more in ({}, {"stream": True}, {"additional_messages": [QUESTION]}):
        answer = world.client.post(f"/threads/{thread}/runs", {"assistant_id": world.ids["assistant"], **more})
        check(answer, f"Thread {thread} already has an active run {run}.")


def test_the_cancel_of_a_run_that_is_over(world: World) -> None:
    answer = world.client.post(f"/threads/{world.ids['thread']}/runs/{world.ids['run']}/cancel")
    check(answer, "Cannot cancel run with status 'cancelled'.")


def test_outputs_that_nobody_waits_for(world: World) -> None:
    path = f"/threads/{world.ids['thread']}/runs/{world.ids['run']}/submit_tool_outputs"
    for more in ({}, {"stream": True}):
        answer = world.client.post(path, {"tool_outputs": [], **more})
        check(answer, 'Runs in status "cancelled" do not accept tool outputs.')


def test_outputs_of_the_wrong_calls(world: World) -> None:
    path = f"/threads/{world.waiting['thread']}/runs/{world.waiting['run']}"
    call = world.waiting["tool_call"]
    for got in ([], ["call_x"], [call, "call_x"], [call, call]):
        body = {"tool_outputs": [{"tool_call_id": id, "output": ""} for id in got]}
        answer = world.client.post(f"{path}/submit_tool_outputs", body)
        check(answer, f"Expected tool outputs for call_ids ['{call}'], got {got}")
    assert world.client.get(path).json()["status"] == "requires_action"


# Fields ---------------------------------------------------------------------------------------------------------------


def refuse(client: ApiClient, body: dict[str, Any], message: str, param: str, code: str) -> None:
    """That an assistant with these fields is refused at its creation and at a modification."""
    assistant = client.make("/assistants", {"model": "scripted"})
    for path in ("/assistants", f"/assistants/{assistant['id']}"):
        check(client.post(path, {"model": "scripted", **body}), message, param=param, code=code)
    assert client.get(f"/assistants/{assistant['id']}").json() == assistant


def test_a_missing_field(alice: ApiClient) -> None:
    missing = "Missing required parameter: 'model'."
    check(alice.post("/assistants", {}), missing, param="model", code="missing_required_parameter")


def test_an_unknown_field(alice: ApiClient) -> None:
    refuse(alice, {"foo": 1}, "Unknown parameter: 'foo'.", "foo", "unknown_parameter")


def test_a_wrong_type(alice: ApiClient) -> None:
    message = "Invalid type for 'name': expected a string, but got an integer instead."
    refuse(alice, {"name": 7}, message, "name", "invalid_type")


def test_a_value_that_is_not_one_of_a_few(alice: ApiClient) -> None:
    message = "Invalid value: 'system'. Supported values are: 'user' and 'assistant'."
    thread = alice.make("/threads")["id"]
    answer = alice.post(f"/threads/{thread}/messages", {**QUESTION, "role": "system"})
    check(answer, message, param="role", code="invalid_value")
    answer = alice.post("/threads", {"messages": [{**QUESTION, "role": "system"}]})
    check(answer, message, param="messages[0].role", code="invalid_value")


def test_a_string_that_is_too_long(alice: ApiClient) -> None:
    for name, maximum in (("name", 256), ("description", 512), ("instructions", 256_000)):
        message = (
            f"Invalid '{name}': string too long. Expected a string with maximum length {maximum},"
            f" but got a string with length {maximum + 44} instead."
        )
        refuse(alice, {name: "x" * (maximum + 44)}, message, name, "string_above_max_length")


def test_an_array_that_is_too_long(alice: ApiClient) -> None:
    message = (
        "Invalid 'tools': array too long. Expected an array with maximum length 128,"
        " but got an array with length 129 instead."
    )
    refuse(alice, {"tools": [{"type": "code_interpreter"}] * 129}, message, "tools", "array_above_max_length")


def test_a_number_out_of_its_range(alice: ApiClient) -> None:
    for name, value, text, code in (
        ("temperature", 3, "above maximum value. Expected a value <= 2, but got 3", "decimal_above_max_value"),
        ("temperature", 2.5, "above maximum value. Expected a value <= 2, but got 2.5", "decimal_above_max_value"),
        ("temperature", -1, "below minimum value. Expected a value >= 0, but got -1", "decimal_below_min_value"),
        ("top_p", 1.01, "above maximum value. Expected a value <= 1, but got 1.01", "decimal_above_max_value"),
    ):
        refuse(alice, {name: value}, f"Invalid '{name}': decimal {text} instead.", name, code)


def test_an_integer_out_of_its_range(world: World) -> None:
    too_many = "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead."
    check(world.client.get("/assistants", {"limit": 101}), too_many, param="limit", code="integer_above_max_value")
    for name in ("max_prompt_tokens", "max_completion_tokens"):
        answer = world.client.post("/threads/runs", {"assistant_id": world.ids["assistant"], name: 10})
        message = f"Invalid '{name}': integer below minimum value. Expected a value >= 256, but got 10 instead."
        check(answer, message, param=name, code="integer_below_min_value")


def test_an_unknown_model(world: World) -> None:
    message = "The requested model 'nobody/x' does not exist."
    body = {"assistant_id": world.ids["assistant"], "model": "nobody/x"}
    for path in (f"/threads/{world.ids['thread']}/runs", "/threads/runs"):
        check(world.client.post(path, body), message, param="model", code="model_not_found")


def test_the_description_of_an_unknown_model(alice: ApiClient) -> None:
    message = "The model 'nobody/x' does not exist"
    check(alice.get("/models/nobody/x"), message, status=404, param="model", code="model_not_found")


# Files, bodies, faults ------------------------------------------------------------------------------------------------


def test_a_purpose_that_is_not_one(alice: ApiClient) -> None:
    message = "'x' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'"
    check(alice.upload(purpose="x"), message, param="purpose")
    assert not File.objects.exists()


def test_no_download_is_refused(alice: ApiClient) -> None:
    """Where the old service did so: whoever may use this server's files owns them (contract 5.1)."""
    for purpose in ("assistants", "user_data", "vision", "batch"):
        answer = alice.get(f"/files/{alice.make_file(purpose=purpose)}/content")
        assert (answer.status_code, b"".join(answer)) == (200, b"Notes.")


def test_broken_json(alice: ApiClient) -> None:
    message = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library"
        " correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
    )
    for body in (b"{", b"model=scripted", b"{'model': 'scripted'}"):
        check(alice.post_raw("/assistants", body), message)


def test_a_fault_of_the_server(alice: ApiClient) -> None:
    """Somebody has removed the bytes of a file behind the server's back."""
    file = File.objects.get(pk=alice.make_file())
    file.blob.storage.delete(str(file.blob.name))
    message = "The server had an error processing your request. Sorry about that! You can retry your request."
    check(alice.get(f"/files/{file.pk}/content"), message, status=500, type="server_error")
