"""The headers of every request and every reply, as a real server reads and sends them (contract 0, 1.1, 4.3, 10.15)."""

from __future__ import annotations

import base64
import http.client
import re
import socket
from collections.abc import Iterator, Mapping

import orjson
import pytest

from tests.e2e.events import SECONDS, Desk
from tests.e2e.rawhttp import RawAnswer
from tests.process import KEY, KumosProcess
from tests.routes import ROUTES

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {KEY}"}
NO_KEY = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth"


@pytest.fixture
def desk(server: KumosProcess) -> Iterator[Desk]:
    with Desk(server) as desk:
        yield desk


def ask(
    server: KumosProcess,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str | bytes] = BEARER,
) -> RawAnswer:
    """A request with these headers and no others; a body is sent with its length, an empty one without."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    try:
        connection.putrequest(method, f"/v1{path}", skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        return RawAnswer.read(connection.getresponse())
    finally:
        connection.close()


def check_headers(reply: RawAnswer) -> None:
    assert re.fullmatch(r"req_[0-9a-f]{32}", reply.headers["x-request-id"])
    assert re.fullmatch(r"[0-9]+", reply.headers["openai-processing-ms"])
    assert reply.headers["openai-version"] == "2020-10-01"
    assert reply.headers["openai-organization"]
    assert "openai-project" in reply.headers


# What every reply carries --------------------------------------------------------------------------------------------


def test_every_route_when_it_fails(server: KumosProcess) -> None:
    """Each with ids that nobody has, or a body that is none."""
    seen = set()
    for route in ROUTES:
        path = route.path.format(**dict.fromkeys(route.path_names, "x"))
        for headers in ({**BEARER, **JSON}, JSON):
            reply = ask(server, route.method, path, b"{" if route.method == "POST" else b"", headers)
            if reply.status != 200:
                assert reply.error["message"]
            assert reply.headers["content-type"] == "application/json"
            check_headers(reply)
            seen.add(reply.headers["x-request-id"])
    assert len(seen) == 2 * len(ROUTES)


def test_every_method_that_is_not_there(server: KumosProcess) -> None:
    there = {(route.method, route.path) for route in ROUTES}
    for path in {route.path for route in ROUTES}:
        address = path.format(**dict.fromkeys(re.findall(r"{(\w+)}", path), "x"))
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            if (method, path) not in there:
                reply = ask(server, method, address)
                assert reply.status == 405, (method, path)
                assert reply.error == {
                    "message": f"Invalid method for URL ({method} /v1{address})",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
                check_headers(reply)


def test_a_head_is_a_get_without_a_body(desk: Desk) -> None:
    assistant = desk.assistant()
    for path, status in ((f"/assistants/{assistant}", 200), ("/assistants", 200), ("/assistants/asst_x", 404)):
        reply = ask(desk.server, "HEAD", path)
        assert (reply.status, reply.body) == (status, b"")
        assert reply.headers["content-type"] == "application/json"
        check_headers(reply)


def test_streams(desk: Desk) -> None:
    run = desk.ask("!fast !echo Hello")
    assert desk.ended(run)["status"] == "completed"
    thread = desk.thread("Hello")
    body = orjson.dumps({"assistant_id": desk.assistant(), "stream": True})
    replies = [
        ask(desk.server, "GET", f"{run}/stream"),
        ask(desk.server, "POST", f"/threads/{thread}/runs", body, {**BEARER, **JSON}),
    ]
    for reply in replies:
        assert reply.status == 200
        check_headers(reply)
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-cache" in reply.headers["cache-control"]
        assert reply.headers["x-accel-buffering"] == "no"
        assert reply.headers["openai-project"].startswith("proj_")


def test_a_download(desk: Desk) -> None:
    file = desk.http.post("/files", data={"purpose": "vision"}, files={"file": ("a.txt", b"Text.")}).json()["id"]
    reply = ask(desk.server, "GET", f"/files/{file}/content")
    assert (reply.status, reply.body) == (200, b"Text.")
    check_headers(reply)
    assert ask(desk.server, "HEAD", f"/files/{file}/content").body == b""


# What decides nothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept", ["application/xml", "text/event-stream", "application/binary", "nonsense", "", "a/b;q"]
)
def test_accept(desk: Desk, accept: str) -> None:
    run = desk.ask("!fast !echo Hello")
    desk.ended(run)
    file = desk.http.post("/files", data={"purpose": "vision"}, files={"file": ("a.txt", b"Text.")}).json()["id"]
    for path, kind in (
        ("/assistants", "application/json"),
        (f"/files/{file}/content", "application/octet-stream"),
        (f"{run}/stream", "text/event-stream; charset=utf-8"),
        ("/unknown", "application/json"),
    ):
        reply = ask(desk.server, "GET", path, headers={**BEARER, "Accept": accept})
        assert reply.status == (404 if path == "/unknown" else 200)
        assert reply.headers["content-type"] == kind


@pytest.mark.parametrize("charset", ["rot13", "base64", "undefined", "idna", "utf-16", "latin-1", "none", "\xff"])
def test_the_charset_that_a_client_claims(desk: Desk, charset: str) -> None:
    kind = {"Content-Type": f"application/json; charset={charset}".encode("latin-1")}
    body = '{"model":"scripted","name":"Zoë"}'.encode()
    reply = ask(desk.server, "POST", "/assistants?limit=1%41", body, {**BEARER, **kind})
    assert (reply.status, orjson.loads(reply.body)["name"]) == (200, "Zoë")
    assert (
        ask(desk.server, "GET", "/assistants?order=%C3%AB", headers={**BEARER, **kind})
        .error["message"]
        .startswith("Invalid value: 'ë'.")
    )


def test_organization_and_project(desk: Desk) -> None:
    others = {"OpenAI-Organization": "org-x", "OpenAI-Project": "proj_x", "X-Stainless-Lang": "python"}
    plain, named = (ask(desk.server, "GET", "/assistants", headers={**BEARER, **more}) for more in ({}, others))
    assert (named.status, named.headers["openai-project"]) == (200, plain.headers["openai-project"])


# Content types and bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, JSON, {"Content-Type": "text/plain"}, {"Content-Length": "0"}])
def test_no_body_is_an_empty_one(desk: Desk, kind: dict[str, str]) -> None:
    assert ask(desk.server, "POST", "/threads", headers={**BEARER, **kind}).status == 200
    assert ask(desk.server, "POST", "/vector_stores", headers={**BEARER, **kind}).status == 200
    run = desk.ask("!slow 30 !long 40")
    assert ask(desk.server, "POST", f"{run}/cancel", headers={**BEARER, **kind}).status == 200
    assert ask(desk.server, "POST", "/assistants", headers={**BEARER, **kind}).error == {
        "message": "Missing required parameter: 'model'.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "missing_required_parameter",
    }


def test_a_form_where_json_belongs(server: KumosProcess) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = ask(server, "POST", "/assistants", b"--b--\r\n", {**BEARER, **kind})
    assert reply.status == 400
    assert reply.error == {
        "message": "Unsupported content type: 'multipart/form-data'. This API method only accepts 'application/json'"
        " requests, but you specified the header 'Content-Type: multipart/form-data'. Please try again with a"
        " supported content type.",
        "type": "invalid_request_error",
        "param": None,
        "code": "unsupported_content_type",
    }


@pytest.mark.parametrize(
    "line",
    [
        b"X-A: a\0b",
        b"X A: a",
        b"Authorization: Bearer \0",
        b"Content-Length: abc",
        b"Content-Length: -1",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\n\r\nzz",
    ],
)
def test_what_is_no_http_is_refused_before_it_is_a_request(server: KumosProcess, line: bytes) -> None:
    """By Twisted, which knows nothing of errors in JSON; the server goes on."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as sock:
        sock.sendall(b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert ask(server, "GET", "/assistants").status == 200


# Keys ----------------------------------------------------------------------------------------------------------------


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "value", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER   {KEY} ", basic(f":{KEY}"), basic(f"x:{KEY}")]
)
def test_a_key_is_accepted(server: KumosProcess, value: str) -> None:
    assert ask(server, "GET", "/assistants", headers={"Authorization": value}).status == 200


@pytest.mark.parametrize(
    "value",
    [None, b"", b"Bearer", b"Bearer ", KEY.encode(), b"Digest x", b"Basic", b"Basic \xe9", b"Basic !!", b"\xff\xfe"],
)
def test_no_key(server: KumosProcess, value: bytes | None) -> None:
    reply = ask(server, "GET", "/assistants", headers={} if value is None else {"Authorization": value})
    assert reply.status == 401
    assert reply.error["message"].startswith(NO_KEY)
    assert (reply.error["type"], reply.error["param"], reply.error["code"]) == ("invalid_request_error", None, None)
    check_headers(reply)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"Bearer sk-wrong-0123", "sk-***0123"),
        (b"Bearer short", "***"),
        (f"Bearer {KEY} {KEY}".encode(), "sk-***-001"),
        (b"Bearer sk-\xe9\xff-wrong", "sk-***rong"),
        (b"Bearer " + b"x" * 5000, "xxx***xxxx"),
    ],
)
def test_a_wrong_key(server: KumosProcess, value: bytes, shown: str) -> None:
    reply = ask(server, "GET", "/assistants", headers={"Authorization": value})
    assert reply.status == 401
    assert reply.error["message"].startswith(f"Incorrect API key provided: {shown}. ")
    assert (reply.error["type"], reply.error["param"]) == ("invalid_request_error", None)
    assert reply.error["code"] == "invalid_api_key"


# The beta header -----------------------------------------------------------------------------------------------------

V1 = "The v1 Assistants API has been deprecated."


@pytest.mark.parametrize("value", [None, "", "assistants=v2", "realtime=v1, assistants=v2", "assistants=v2,x", "x"])
def test_a_beta_header_that_is_accepted(server: KumosProcess, value: str | None) -> None:
    beta = {} if value is None else {"OpenAI-Beta": value}
    for path in ("/assistants", "/threads", "/vector_stores", "/files"):
        assert ask(server, "GET", path, headers={**BEARER, **beta}).status == 200


def test_the_old_version_is_refused(server: KumosProcess) -> None:
    old = {**BEARER, "OpenAI-Beta": "assistants=v1"}
    for path in ("/assistants", "/threads/thread_x", "/threads/thread_x/runs/stream"):
        reply = ask(server, "GET", path, headers=old)
        assert reply.status == 400
        assert reply.error["message"].startswith(V1)
        assert (reply.error["param"], reply.error["code"]) == (None, "invalid_beta")
    for path in ("/files", "/vector_stores"):
        assert ask(server, "GET", path, headers=old).status == 200
