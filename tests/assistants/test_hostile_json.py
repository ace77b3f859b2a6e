"""Bodies from people who mean harm: 400 in the contract's shape, never a fault of the server (contract 4.1)."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from assistants.models import Assistant
from assistants.views.assistant import AssistantViewSet
from tests.conftest import ApiClient


def refused(answer: Any) -> bool:
    """Whether it is a 400 with a whole error object."""
    if answer.status_code != 400:
        return False
    error = answer.json()["error"]
    return set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"


def function_with(parameters: str) -> bytes:
    """An assistant whose one free-form place holds `parameters`."""
    function = '{"type":"function","function":{"name":"f","parameters":%s}}' % parameters  # noqa: UP031
    return f'{{"model":"m","tools":[{function}]}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{]",
        b'{"model":"m",}',
        b"'",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"model":"\xff"}',
        b'{"model":"\xed\xa0\x80"}',
        b'{"model":"a\x00b"}',
        b" ",
        b'{"model":"m"}{"model":"m"}',
        rb'{"model":"\ud800"}',
        rb'{"model":"\udc00\ud800"}',
        b'{"model":"m","temperature":NaN}',
        b'{"model":"m","temperature":Infinity}',
        b'{"model":"m","temperature":1e999}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_broken_json(alice: ApiClient, body: bytes) -> None:
    answer = alice.post_raw("/assistants", body)
    assert refused(answer)
    assert answer.json()["error"]["message"].startswith("We could not parse the JSON body of your request.")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"', b"true", b'[{"model":"m"}]'])
def test_a_body_is_an_object(alice: ApiClient, body: bytes) -> None:
    for path in ("/assistants", "/threads", "/vector_stores"):
        assert refused(alice.post_raw(path, body))


@pytest.mark.parametrize(
    "parameters",
    [
        r'{"a":"\u0000"}',
        r'{"\u0000":"a"}',
        '{"a":9223372036854775808}',
        '{"a":[[18446744073709551615]]}',
        '{"a":' * 70 + "1" + "}" * 70,
        '{"a":' + "[" * 70 + "]" * 70 + "}",
    ],
)
def test_what_no_database_holds_is_refused(alice: ApiClient, parameters: str) -> None:
    assert refused(alice.post_raw("/assistants", function_with(parameters)))
    assert not Assistant.objects.exists()


@pytest.mark.parametrize(
    "parameters",
    [
        r'{"a":"\\u0000"}',
        '{"a":9223372036854775807,"b":-9223372036854775808}',
        '{"a":' * 60 + "1" + "}" * 60,
        json.dumps({f"k{index}": {} for index in range(200)}),
        '{"digits":"12345678901234567890123"}',
        r'{"a":"\ud83d\ude00"}',
    ],
)
def test_what_only_looks_hostile_is_kept(alice: ApiClient, parameters: str) -> None:
    answer = alice.post_raw("/assistants", function_with(parameters))
    assert answer.status_code == 200, answer.content
    read = alice.get(f"/assistants/{answer.json()['id']}").json()
    assert read["tools"][0]["function"]["parameters"] == json.loads(parameters)


def test_the_last_of_repeated_keys_counts(alice: ApiClient) -> None:
    assert alice.post_raw("/assistants", b'{"model":"a","model":"b"}').json()["model"] == "b"
    assert refused(alice.post_raw("/assistants", b'{"model":"a","model":1}'))


def test_size_limit(alice: ApiClient, settings: Settings) -> None:
    settings.KUMOS_BODY_BYTES_MAX = 1000
    body = b'{"model":"m"}'
    assert alice.post_raw("/assistants", body.ljust(1000)).status_code == 200
    answer = alice.post_raw("/assistants", body.ljust(1001))
    assert refused(answer)
    assert "too large" in answer.json()["error"]["message"]


def test_a_chunked_body_is_read(alice: ApiClient) -> None:
    """It has no Content-Length, which WSGI's test client cannot leave out."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/assistants",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {alice.secret}".encode()), (b"transfer-encoding", b"chunked")],
    }
    answer = AssistantViewSet.as_view({"post": "create"})(ASGIRequest(scope, BytesIO(b'{"model":"chunked"}')))
    assert answer.data["model"] == "chunked"


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from(["user", "assistant", "auto", "file-x", "vs_x", "file_search", "function", "json_schema", "\0"])
)
WORDS = """
    model name tools tool_resources metadata temperature response_format type function parameters file_search file_ids
    code_interpreter vector_store_ids vector_stores messages role content text image_url image_file url attachments
    file_id expires_after anchor days chunking_strategy static attributes reasoning_effort ranking_options 0 detail
    max_num_results non_field_errors
"""
keys = st.sampled_from(WORDS.split()) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
)
bodies = st.dictionaries(keys, values, max_size=8)

ROUTES = [
    "/assistants",
    "/assistants/{assistant}",
    "/threads",
    "/threads/{thread}",
    "/threads/{thread}/messages",
    "/threads/{thread}/messages/{message}",
    "/vector_stores",
    "/vector_stores/{store}",
    "/vector_stores/{store}/files",
    "/vector_stores/{store}/files/{file}",
    "/files",
]


@pytest.fixture
def routes(alice: ApiClient) -> list[str]:
    """Every POST with a JSON body, at objects that exist."""
    file = alice.make_file()
    thread = alice.make("/threads", {"messages": [{"role": "user", "content": "x"}]})["id"]
    ids = {
        "assistant": alice.make("/assistants", {"model": "m"})["id"],
        "thread": thread,
        "message": alice.get(f"/threads/{thread}/messages").json()["first_id"],
        "store": alice.make("/vector_stores", {"file_ids": [file]})["id"],
        "file": file,
    }
    return [route.format(**ids) for route in ROUTES]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, index=st.integers(0, len(ROUTES) - 1))
def test_any_object_is_answered(alice: ApiClient, routes: list[str], body: dict[str, Any], index: int) -> None:
    answer = alice.post_raw(routes[index], json.dumps(body).encode())
    assert answer.status_code == 200 or refused(answer) or answer.status_code == 404


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=bodies.map(lambda body: json.dumps({"model": "m", "role": "user", "content": "x", **body}).encode()),
    cut=st.integers(0, 400),
    noise=st.binary(max_size=6),
    index=st.integers(0, len(ROUTES) - 1),
)
def test_any_bytes_are_answered(
    alice: ApiClient, routes: list[str], body: bytes, cut: int, noise: bytes, index: int
) -> None:
    place = cut % (len(body) + 1)
    answer = alice.post_raw(routes[index], body[:place] + noise + body[place + len(noise) :])
    assert answer.status_code == 200 or refused(answer) or answer.status_code == 404


@pytest.mark.parametrize("id", ["%00", "%ff", "..%2f..", "a" * 5000, "%F0%9F%98%80", "thread_%00", "thread_%0d%0a"])
def test_any_id_is_answered(alice: ApiClient, id: str) -> None:
    for path in (
        "/assistants/{}",
        "/threads/{}",
        "/threads/{}/messages",
        "/files/{}",
        "/files/{}/content",
        "/vector_stores/{}",
        "/vector_stores/{}/files/{}",
    ):
        for method in ("GET", "POST", "DELETE"):
            answer = alice.client.generic(method, f"/v1{path.replace('{}', id)}", b"")
            assert answer.status_code in (400, 404, 405), (method, path)
            answer.json()
