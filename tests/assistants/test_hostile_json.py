"""Bodies from people who mean harm: 400 in the contract's shape, never a fault of the server (contract 4.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from assistants.models import Assistant
from assistants.views.assistant import AssistantViewSet
from tests.conftest import ApiClient
from tests.routes import BODIES, ROUTES, Route, example, kind_of, places
from tests.world import World, world_of


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


@pytest.fixture
def world(alice: ApiClient) -> World:
    return world_of(alice)


def is_answered(answer: Any) -> bool:
    """Whether it is a success, or an error that blames the client in the contract's shape."""
    return answer.status_code == 200 or refused(answer) or (answer.status_code == 404 and "error" in answer.json())


def post_and_forget(world: World, route: Route, body: bytes) -> Any:
    """The answer; what the request has changed is undone."""
    with transaction.atomic():
        answer = world.client.post_raw(route.at(world.ids_for(route)), body)
        transaction.set_rollback(True)
    return answer


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, route=st.sampled_from(BODIES))
def test_any_object_is_answered(world: World, body: dict[str, Any], route: Route) -> None:
    assert is_answered(post_and_forget(world, route, json.dumps(body).encode()))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extra=bodies, cut=st.integers(0, 400), noise=st.binary(max_size=6), route=st.sampled_from(BODIES))
def test_any_bytes_are_answered(world: World, extra: dict[str, Any], cut: int, noise: bytes, route: Route) -> None:
    assert route.body is not None
    usual = example(route.body(), "", world.ids_for(route))
    body = json.dumps({**usual, **extra}).encode()
    place = cut % (len(body) + 1)
    assert is_answered(post_and_forget(world, route, body[:place] + noise + body[place + len(noise) :]))


UNSTORABLE = {
    "NUL": r'"a\u0000b"',
    "NUL in a key": r'{"a\u0000b":"c"}',
    "NUL, raw": '"a\0b"',
    "half a surrogate pair": r'"\ud800"',
    "half a pair in a key": r'{"\udfff":"c"}',
    "beyond 64 bits": str(2**64),
    "just beyond 64 bits": str(-(2**63) - 1),
    "400 digits": str(10**400),
    "no number": "NaN",
    "infinity": "-Infinity",
    "overflow": "1e999",
    "depth": "[" * 70 + "]" * 70,
    "great depth": '{"a":' * 5000 + "1" + "}" * 5000,
}
STORABLE = {
    "a long text": json.dumps("x" * 300_000),
    "strange text": json.dumps("\uffff\u2028\u202e\ufeff{param}\U0010ffff%00\\"),
    "the greatest integer": str(2**63 - 1),
    "the least integer": str(-(2**63)),
    "beyond 32 bits": str(2**31),
    "a great number": "1.7e308",
    "a small number": "-5e-324",
    "many keys": json.dumps(dict.fromkeys(map(str, range(5000)), "")),
    "many items": json.dumps([{}] * 5000),
}


def each_place_with_some(world: World, values: dict[str, str]) -> Iterator[tuple[Route, str, bytes]]:
    """Every place of every body, each with a third of the values in turn: route, path of the place, and body."""
    number = 0
    for route in BODIES:
        assert route.body is not None
        for place in places(route.body, world.ids_for(route)):
            around = json.dumps(place.fill("HERE"))
            for value in list(values.values())[number % 3 :: 3]:
                yield route, place.path, around.replace('"HERE"', value).encode()
            number += 1


def test_what_cannot_be_kept_is_refused_in_every_place(world: World) -> None:
    for route, path, body in each_place_with_some(world, UNSTORABLE):
        answer = world.client.post_raw(route.at(world.ids_for(route)), body)
        assert refused(answer), (str(route), path, body[:200], answer.content)


def test_what_is_only_unusual_is_answered_in_every_place(world: World) -> None:
    for route, path, body in each_place_with_some(world, STORABLE):
        answer = post_and_forget(world, route, body)
        assert is_answered(answer), (str(route), path, body[:200], answer.content)


def test_no_text_in_another_encoding(world: World) -> None:
    for route in BODIES:
        assert route.body is not None
        text = json.dumps(example(route.body(), "", world.ids_for(route)))
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
            answer = world.client.post_raw(route.at(world.ids_for(route)), text.encode(encoding))
            assert refused(answer), (str(route), encoding)
        assert refused(world.client.post_raw(route.at(world.ids_for(route)), text.encode() + b"\xff"))


def test_any_address_is_answered(world: World) -> None:
    """Whatever stands in the path or in the query, on every route."""
    strange = [
        "%00",
        "%ff",
        "..%2f..",
        "a" * 5000,
        "%F0%9F%98%80",
        "thread_%00",
        "thread_%0d%0a",
        "%ed%a0%80",
        "{param}",
    ]
    for route in ROUTES:
        kinds = [kind_of(name) or name for name in route.path_names]
        for text in strange:
            for kind in kinds:
                path = route.at({**world.ids_for(route), kind: text})
                answer = world.client.client.generic(route.method, f"/v1{path}", b"")
                assert answer.status_code in (400, 404), (str(route), text, answer.content)
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            if route.is_list:
                for name in ("limit", "order", "after", "before", "run_id", "purpose", "filter", "include[]", text):
                    path = route.at(world.ids_for(route))
                    answer = world.client.client.get(f"/v1{path}?{name}={text}&limit=1")
                    assert is_answered(answer), (str(route), name, text, answer.content)
        if route.is_list:
            flood = "&".join(f"a{number}=b" for number in range(3000))
            assert refused(world.client.client.get(f"/v1{route.at(world.ids_for(route))}?{flood}"))


FORM = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\nText.\r\n'
END = b"--b--\r\n"


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"nonsense",
        END,
        PART % b"a.txt",
        PART % b"a.txt" + FORM % (b"purpose", b"assist\0ants") + END,
        PART % b"a.txt" + FORM % (b"pur\0pose", b"assistants") + END,
        PART % b"a.txt" + FORM % (b"purpose", b"\xff\xfe") + END,
        PART % b"a.txt" + FORM % (b"expires_after[seconds]", b"9" * 400) + FORM % (b"purpose", b"assistants") + END,
        PART % b"a.txt" + FORM % (b"purpose[a]", b"assistants") + END,
        FORM % (b"file", b"Text.") + FORM % (b"purpose", b"assistants") + END,
        PART % b"a.txt" + b"".join(FORM % (b"a%d" % number, b"") for number in range(2000)) + END,
        (PART % b"a.txt") * 500 + END,
        b"--b\r\nContent-Disposition: form-data\r\n\r\n\r\n" + END,
        b"--b\r\nContent-Disposition: form-data; name*=utf-8''%ff\r\n\r\nx\r\n" + END,
        b"--b\r\nContent-Transfer-Encoding: base64\r\n" + (PART % b"a.txt")[5:] + END,
    ],
)
def test_any_form_is_answered(alice: ApiClient, form: bytes) -> None:
    answer = alice.client.generic("POST", "/v1/files", form, content_type="multipart/form-data; boundary=b")
    assert refused(answer), answer.content


def test_any_name_of_a_file_is_kept_as_a_label(alice: ApiClient) -> None:
    for name in (b"a\0b.txt", b"../../etc/passwd", b"\xff\xfe.txt", b"a" * 5000, b".", b"C:\\x.txt", b"%00", b" "):
        form = FORM % (b"purpose", b"assistants") + PART % name + END
        answer = alice.client.generic("POST", "/v1/files", form, content_type="multipart/form-data; boundary=b")
        assert is_answered(answer), (name, answer.content)
        if answer.status_code == 200:
            assert not set("/\\\0") & set(answer.json()["filename"])


def test_a_form_without_a_boundary(alice: ApiClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b"):
        assert refused(alice.client.generic("POST", "/v1/files", PART % b"a.txt" + END, content_type=kind))
