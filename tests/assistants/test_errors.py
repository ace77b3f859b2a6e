"""The error object: its shape, its exact texts, and which method answers where (contract 4)."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from assistants.models import Assistant
from tests.conftest import ApiClient

SCHEMA: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "x"}}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "code_interpreter"}, {"type": "function", "function": function}]}


@pytest.mark.parametrize(
    ("changes", "message", "param", "code"),
    [
        (
            {"model": None},
            "Invalid type for 'model': expected a string, but got null instead.",
            "model",
            "invalid_type",
        ),
        (
            {"model": ""},
            "Invalid 'model': empty string. Expected a string with minimum length 1, but got an empty string instead.",
            "model",
            "empty_string",
        ),
        (
            {"model": " \t"},
            "Invalid 'model': string does not match pattern. Expected a string that matches the pattern"
            r" '^[\s\S]*\S[\s\S]*$'.",
            "model",
            "invalid_value",
        ),
        (
            tool(name="file_search"),
            "Invalid 'tools[1].function.name': 'file_search' is the name of a tool of the server. Choose another name.",
            "tools[1].function.name",
            "invalid_value",
        ),
        ({"foo": 1}, "Unknown parameter: 'foo'.", "foo", "unknown_parameter"),
        ({"id": "asst_mine"}, "Unknown parameter: 'id'.", "id", "unknown_parameter"),
        (
            {"name": 7},
            "Invalid type for 'name': expected a string, but got an integer instead.",
            "name",
            "invalid_type",
        ),
        (
            {"name": "x" * 300},
            "Invalid 'name': string too long. Expected a string with maximum length 256,"
            " but got a string with length 300 instead.",
            "name",
            "string_above_max_length",
        ),
        (
            {"tools": [{"type": "code_interpreter"}] * 129},
            "Invalid 'tools': array too long. Expected an array with maximum length 128,"
            " but got an array with length 129 instead.",
            "tools",
            "array_above_max_length",
        ),
        (
            {"tools": {}},
            "Invalid type for 'tools': expected an array of objects, but got an object instead.",
            "tools",
            "invalid_type",
        ),
        (
            {"tools": [{}]},
            "Missing required parameter: 'tools[0].type'.",
            "tools[0].type",
            "missing_required_parameter",
        ),
        (
            {"tools": [{"type": "retrieval"}]},
            "Invalid value: 'retrieval'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
            "tools[0].type",
            "invalid_value",
        ),
        (
            tool(),
            "Missing required parameter: 'tools[1].function.name'.",
            "tools[1].function.name",
            "missing_required_parameter",
        ),
        (
            tool(name="a b"),
            "Invalid 'tools[1].function.name': string does not match pattern."
            " Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            "tools[1].function.name",
            "invalid_value",
        ),
        (
            tool(name="a", parameters=[]),
            "Invalid type for 'tools[1].function.parameters': expected an object, but got an array instead.",
            "tools[1].function.parameters",
            "invalid_type",
        ),
        (
            tool(name="a", strict="yes"),
            "Invalid type for 'tools[1].function.strict': expected a boolean, but got a string instead.",
            "tools[1].function.strict",
            "invalid_type",
        ),
        (
            {"temperature": 3},
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
        (
            {"temperature": 2.5},
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
        (
            {"top_p": -1},
            "Invalid 'top_p': decimal below minimum value. Expected a value >= 0, but got -1 instead.",
            "top_p",
            "decimal_below_min_value",
        ),
        (
            {"temperature": True},
            "Invalid type for 'temperature': expected a decimal, but got a boolean instead.",
            "temperature",
            "invalid_type",
        ),
        (
            {"temperature": "1"},
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
            "temperature",
            "invalid_type",
        ),
        (
            {"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
            "Invalid 'tools[0].file_search.max_num_results': integer above maximum value."
            " Expected a value <= 50, but got 51 instead.",
            "tools[0].file_search.max_num_results",
            "integer_above_max_value",
        ),
        (
            {"tools": [{"type": "file_search", "file_search": {"max_num_results": 5.0}}]},
            "Invalid type for 'tools[0].file_search.max_num_results': expected an integer, but got a decimal number"
            " instead.",
            "tools[0].file_search.max_num_results",
            "invalid_type",
        ),
        (
            {"response_format": "json"},
            "Invalid value: 'json'. Supported values are: 'auto'.",
            "response_format",
            "invalid_value",
        ),
        (
            {"response_format": {**SCHEMA, "json_schema": {}}},
            "Missing required parameter: 'response_format.json_schema.name'.",
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
        (
            {"metadata": {f"k{index}": "v" for index in range(17)}},
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties,"
            " but got an object with 17 properties instead.",
            "metadata",
            "object_above_max_properties",
        ),
        (
            {"metadata": {"k" * 65: "v"}},
            f"Invalid property name in 'metadata': '{'k' * 65}' is too long. Expected a string with maximum length 64,"
            " but got a string with length 65 instead.",
            "metadata." + "k" * 65,
            "property_name_above_max_length",
        ),
        (
            {"metadata": {"k": "v" * 600}},
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512,"
            " but got a string with length 600 instead.",
            "metadata.k",
            "string_above_max_length",
        ),
        (
            {"metadata": {"k": 1}},
            "Invalid type for 'metadata.k': expected a string, but got an integer instead.",
            "metadata.k",
            "invalid_type",
        ),
        (
            {"response_format": 1},
            "Invalid type for 'response_format': expected one of one of 'auto' or object, but got an integer instead.",
            "response_format",
            "invalid_type",
        ),
        (
            {"reasoning_effort": "{param}"},
            "Invalid value: '{param}'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and"
            " 'max'.",
            "reasoning_effort",
            "invalid_value",
        ),
        ({"non_field_errors": 1}, "Unknown parameter: 'non_field_errors'.", "non_field_errors", "unknown_parameter"),
        (
            {"metadata": {"non_field_errors": []}},
            "Invalid type for 'metadata.non_field_errors': expected a string, but got an array instead.",
            "metadata.non_field_errors",
            "invalid_type",
        ),
        (
            {"tool_resources": {"file_search": {"vector_stores": [{"metadata": {"k" * 65: ""}}]}}},
            "Invalid property name in 'tool_resources.file_search.vector_stores[0].metadata':"
            f" '{'k' * 65}' is too long. Expected a string with maximum length 64, but got a string with length 65"
            " instead.",
            "tool_resources.file_search.vector_stores[0].metadata." + "k" * 65,
            "property_name_above_max_length",
        ),
        (
            {"tool_resources": {"code_interpreter": {"file_ids": ["{holder}"]}}},
            "Invalid 'tool_resources.code_interpreter.file_ids[0]': '{holder}'. Expected an ID that begins with"
            " 'file'.",
            "tool_resources.code_interpreter.file_ids[0]",
            "invalid_value",
        ),
        (
            {"tool_resources": {"code_interpreter": {"file_ids": ["x"]}}},
            "Invalid 'tool_resources.code_interpreter.file_ids[0]': 'x'. Expected an ID that begins with 'file'.",
            "tool_resources.code_interpreter.file_ids[0]",
            "invalid_value",
        ),
    ],
)
def test_exact_text(alice: ApiClient, changes: dict[str, Any], message: str, param: str, code: str) -> None:
    answer = alice.post("/assistants", {"model": "m", **changes})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    }
    assert not Assistant.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x" * 256, "description": "x" * 512, "instructions": "x" * 256_000},
        {"tools": [{"type": "code_interpreter"}] * 128},
        {"metadata": {"k" * 64: "v" * 512} | {f"k{index}": "" for index in range(15)}},
        {"temperature": 2, "top_p": 1},
        {"temperature": 0, "top_p": 0},
        {"response_format": SCHEMA},
        tool(name="a" * 64),
        {"name": "", "description": "", "instructions": ""},
    ],
)
def test_limits_are_inclusive(alice: ApiClient, fields: dict[str, Any]) -> None:
    assistant = alice.make("/assistants", {"model": "m", **fields})
    for name in fields.keys() - {"tools"}:
        assert assistant[name] == fields[name]


def test_missing_field(alice: ApiClient) -> None:
    for answer in (alice.post("/assistants", {}), alice.post("/assistants")):
        assert answer.status_code == 400
        assert answer.json()["error"] == {
            "message": "Missing required parameter: 'model'.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "missing_required_parameter",
        }


def test_nested_path(alice: ApiClient) -> None:
    good = {"role": "user", "content": "x"}
    bad = {**good, "attachments": [{"file_id": "x", "tools": []}]}
    error = alice.post("/threads", {"messages": [good, bad]}).json()["error"]
    assert error["message"] == (
        "Invalid 'messages[1].attachments[0].file_id': 'x'. Expected an ID that begins with 'file'."
    )
    assert error["param"] == "messages[1].attachments[0].file_id"
    assert error["code"] == "invalid_value"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
def test_other_methods_are_405(alice: ApiClient, method: str) -> None:
    assistant = alice.make("/assistants", {"model": "m"})
    for path in ("/assistants", f"/assistants/{assistant['id']}", "/files"):
        answer = alice.client.generic(method, f"/v1{path}", b"{}", content_type="application/json")
        assert answer.status_code == 405
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert alice.get(f"/assistants/{assistant['id']}").json() == assistant


def test_accept_and_content_type_decide_nothing(alice: ApiClient) -> None:
    body = b'{"model": "m"}'
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        answer = alice.client.generic("POST", "/v1/assistants", body, content_type=kind)
        assert answer.status_code == 200, kind
    for accept in ("text/event-stream", "text/html", "image/png;q=0.1", "nonsense"):
        answer = alice.client.get("/v1/assistants", headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"


def test_the_old_strictness_about_the_beta_header(alice: ApiClient, settings: Settings) -> None:
    settings.KUMOS_REQUIRE_BETA_HEADER = True
    for path in ("/threads", "/threads/thread_x/runs", "/assistants/asst_x"):
        answer = alice.get(path)
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            {
                "message": "You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by"
                " setting the header 'OpenAI-Beta: assistants=v2'.",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_beta",
            },
        )
        assert alice.client.get(f"/v1{path}", headers={"OpenAI-Beta": "x, assistants=v2"}).status_code in (200, 404)
    for path in ("/files", "/vector_stores"):
        assert alice.get(path).status_code == 200
    streams = ("/threads/thread_x/runs/stream", "/threads/thread_x/runs/run_x/stream")
    assert [alice.get(path).status_code for path in streams] == [404, 404], "our own streams never ask for it"


END_CONNECTIONS = """
    SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
    WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def end_connections() -> int:
    """What a restart of PostgreSQL does to connections that stand; returns to how many."""
    place = connection.get_connection_params()
    with psycopg.connect(
        **{name: place[name] for name in ("host", "port", "user", "password", "dbname") if name in place}
    ) as direct:
        row = direct.execute(END_CONNECTIONS, [place["dbname"]]).fetchone()
    assert row
    return int(row[0])


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_connections_that_died_in_the_pool_are_not_handed_out(alice: ApiClient) -> None:
    assert alice.get("/assistants").status_code == 200
    connection.close()  # back into the pool, as at the end of a request
    assert end_connections() > 0
    assert alice.get("/assistants").status_code == 200


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_connection_lost_on_the_way_is_503_and_may_be_tried_again(alice: ApiClient) -> None:
    assert Assistant.objects.count() == 0  # the connection is taken, and the request goes on with it
    assert end_connections() > 0
    answer = alice.get("/assistants")
    assert answer.status_code == 503
    assert (answer.headers["Retry-After"], answer.headers["x-should-retry"]) == ("1", "true")
    connection.close()
    assert alice.get("/assistants").status_code == 200
