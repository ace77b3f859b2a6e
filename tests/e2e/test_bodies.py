"""Bodies that nobody wants: refused before they are read, whatever their size, their pace and their framing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.rawhttp import BEARER, JSON, RawConnection
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

MEGABYTE = 1024 * 1024
BODY_MAX = 10 * MEGABYTE
FORM = "Content-Type: multipart/form-data; boundary=b"
NO_KEY = "You didn't provide an API key."
TOO_LARGE = f"The request body is too large. Its maximum size is {BODY_MAX} bytes."
FILE_TOO_LARGE = f"The file is too large. Its maximum size is {512 * MEGABYTE} bytes."
PIECE = b"%x\r\n%b\r\n" % (32 * 1024, b"x" * 32 * 1024)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("bodies"), KUMOS_BODY_SECONDS="1") as server:
        yield server


def open_files(server: KumosProcess) -> list[str]:
    """The files that the process holds in its folder for what arrives, with or without a name."""
    found = []
    for handle in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            target = os.readlink(handle)
        except FileNotFoundError:
            continue
        if str(server.data_dir / "incoming") in target and not target.endswith("/lock"):
            found.append(target)
    return found


def pushed(connection: RawConnection, piece: bytes, at_most: int) -> int:
    """Sends pieces until the server has answered, or `at_most` bytes; how many it took."""
    sent, rest = 0, piece
    connection.socket.setblocking(False)
    give_up_at = time.monotonic() + 60
    while sent < at_most and time.monotonic() < give_up_at:
        try:
            taken = connection.socket.send(rest)
            sent, rest = sent + taken, rest[taken:] or piece
        except BlockingIOError:
            time.sleep(0.001)
        try:
            if connection.socket.recv(1, socket.MSG_PEEK):
                break
        except BlockingIOError:
            continue
    connection.socket.settimeout(60)
    return sent


# Too large ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "kind", "length", "message", "param"),
    [
        ("POST /v1/threads", JSON, BODY_MAX + 1, TOO_LARGE, None),
        ("POST /v1/threads", FORM, BODY_MAX + 1, TOO_LARGE, None),
        ("GET /v1/assistants", JSON, 10**12, TOO_LARGE, None),
        ("POST /v1/files", JSON, BODY_MAX + 1, TOO_LARGE, None),
        ("POST /v1/files?x=y", FORM, 514 * MEGABYTE, FILE_TOO_LARGE, "file"),
        ("POST /v1/nowhere", FORM, 10**18, TOO_LARGE, None),
    ],
)
def test_what_says_that_it_is_too_large_is_refused_unread(
    server: KumosProcess, head: str, kind: str, length: int, message: str, param: str | None
) -> None:
    with RawConnection(server) as connection:
        answer = connection.head(head, BEARER, kind, f"Content-Length: {length}").answer()
        assert (answer.status, answer.error["message"], answer.error["param"]) == (400, message, param)
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-request-id"].startswith("req_")
        assert connection.is_closed()


def test_the_largest_that_is_allowed_is_read(server: KumosProcess) -> None:
    body = b'{"messages": [{"role": "user", "content": "'.ljust(BODY_MAX - 4, b"x") + b'"}]}'
    with RawConnection(server) as connection:
        connection.head("POST /v1/threads", BEARER, JSON, f"Content-Length: {BODY_MAX}").send(body)
        assert "maximum length 256000" in connection.answer().error["message"]  # it was read
        assert connection.head("GET /v1/assistants", BEARER).answer().status == 200


def test_a_chunked_body_is_cut_where_it_becomes_too_large(server: KumosProcess) -> None:
    with RawConnection(server) as connection:
        connection.head("POST /v1/threads", BEARER, JSON, "Transfer-Encoding: chunked")
        sent = pushed(connection, PIECE, 64 * MEGABYTE)
        assert BODY_MAX < sent < 64 * MEGABYTE
        assert connection.answer().error["message"] == TOO_LARGE
    assert open_files(server) == []


def test_a_client_that_goes_on_sending_sees_the_answer(server: KumosProcess) -> None:
    """Most clients read nothing before all is sent. Closing at once would destroy the answer that waits for them."""
    with RawConnection(server) as connection:
        connection.head("POST /v1/threads", BEARER, JSON, f"Content-Length: {40 * MEGABYTE}")
        for _ in range(40):
            connection.send(b"x" * MEGABYTE)
        assert connection.answer().error["message"] == TOO_LARGE
        assert connection.is_closed()


def test_nobody_is_told_to_continue_with_what_is_refused(server: KumosProcess) -> None:
    expect = "Expect: 100-continue"
    with RawConnection(server) as connection:
        connection.head("POST /v1/threads", BEARER, JSON, expect, f"Content-Length: {BODY_MAX + 1}")
        assert connection.socket.recv(12) == b"HTTP/1.1 400"
    with RawConnection(server) as connection:
        connection.head("POST /v1/threads", BEARER, JSON, expect, "Content-Length: 2")
        assert connection.socket.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.send(b"{}").answer().status == 200


def test_what_came_with_a_refused_head_is_no_request(server: KumosProcess) -> None:
    smuggled = f"DELETE /v1/assistants/asst_x HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n\r\n".encode()
    with RawConnection(server) as connection:
        connection.head("POST /v1/threads", BEARER, f"Content-Length: {BODY_MAX + 1}").send(smuggled * 5)
        assert connection.answer().status == 400
        assert connection.is_closed()


# No key ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", [f"Content-Length: {2**31}", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    "header", ["X-Nothing: x", "Authorization: Bearer", "Authorization: Digest abc", "Cookie: a=b"]
)
def test_two_gigabytes_without_a_key_are_not_read(server: KumosProcess, framing: str, header: str) -> None:
    piece = PIECE if "chunked" in framing else b"x" * 32 * 1024
    before = server.memory()
    with RawConnection(server) as connection:
        sent = pushed(connection.head("POST /v1/files", FORM, header, framing), piece, 2**31)
        assert sent < 16 * MEGABYTE  # most of which is on its way
        assert open_files(server) == []
        answer = connection.answer()
    assert answer.status == 401
    assert answer.error["message"].startswith(NO_KEY)
    assert server.memory() - before < 16 * MEGABYTE


def test_a_small_body_without_a_key_is_refused_as_ever(server: KumosProcess) -> None:
    with RawConnection(server) as connection:
        answer = connection.head("POST /v1/threads", JSON, "Content-Length: 2").send(b"{}").answer()
        assert (answer.status, answer.error["code"]) == (401, None)
        assert connection.head("GET /v1/assistants", BEARER).answer().status == 200


def test_pages_are_bounded_too(server: KumosProcess) -> None:
    with RawConnection(server) as connection:
        answer = connection.head("POST /admin/login/", "Content-Length: 100000").answer()
        assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    with RawConnection(server) as connection:
        answer = connection.head("POST /admin/", "Cookie: sessionid=x", f"Content-Length: {BODY_MAX + 1}").answer()
        assert (answer.status, answer.body.decode()) == (400, TOO_LARGE)


# Too slow -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 9", f"Content-Length: {BODY_MAX}", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_not_waited_for(impatient: KumosProcess, framing: str) -> None:
    with RawConnection(impatient) as connection:
        answer = connection.head("POST /v1/threads", BEARER, JSON, framing).answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert connection.is_closed()


def test_a_byte_now_and_then_is_no_progress(impatient: KumosProcess) -> None:
    """Neither in a head nor in a body: each goes on for ever, if the server lets it."""
    for start in (
        b"GET /v1/assistants HTTP/1.1\r\nX-Long: ",
        b"POST /v1/threads HTTP/1.1\r\nContent-Length: 9000\r\n\r\n",
    ):
        with RawConnection(impatient) as connection:
            connection.send(start)
            sent = pushed_slowly(connection)
            assert connection.answer().status == 408
        assert sent < 1000


def pushed_slowly(connection: RawConnection) -> int:
    """Sends a byte every 50 ms until the server answers; how many."""
    connection.socket.settimeout(0.05)
    for sent in range(2000):
        connection.send(b"x")
        try:
            connection.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        connection.socket.settimeout(60)
        return sent
    raise AssertionError("the server reads on and on")


def test_a_slow_body_that_goes_on_is_read(impatient: KumosProcess) -> None:
    """For longer than a body may make no progress."""
    body = b'{"metadata": {}}' + b" " * 40 * 1024
    with RawConnection(impatient) as connection:
        connection.head("POST /v1/threads", BEARER, JSON, f"Content-Length: {len(body)}")
        for start in range(0, len(body), 2048):
            connection.send(body[start : start + 2048])
            time.sleep(0.1)
        assert connection.answer().status == 200


def test_an_idle_connection_is_closed_without_a_word(impatient: KumosProcess) -> None:
    with RawConnection(impatient) as connection:
        assert connection.head("GET /v1/assistants", BEARER).answer().status == 200
        assert connection.is_closed()


def test_two_hundred_slow_bodies_disturb_nobody(server: KumosProcess) -> None:
    connections = [RawConnection(server) for _ in range(200)]
    try:
        for connection in connections:
            connection.head("POST /v1/threads", BEARER, JSON, "Content-Length: 90000").send(b'{"metadata": {')
        with server.client() as client:
            for _ in range(20):
                assert client.get("/v1/assistants").status_code == 200
        for connection in connections:
            connection.send(b"}}" + b" " * (90000 - 16))
        assert {connection.answer().status for connection in connections} == {200}
    finally:
        for connection in connections:
            connection.socket.close()


# What lies around -----------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_swept_at_the_next_start(tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    with KumosProcess(tmp_path) as server:
        (incoming / "half.upload.pdf").write_bytes(b"half")
        (incoming / "kumos-abc").mkdir()
        (incoming / "kumos-abc" / "original").write_bytes(b"copy")
        with KumosProcess(tmp_path) as other, other.client() as client:  # a living process may still need them
            assert client.get("/v1/assistants").status_code == 200
            assert (incoming / "half.upload.pdf").exists()
        server.kill()
        server.start()
        assert [path.name for path in incoming.iterdir()] == ["lock"]
