"""What no client should send, by raw sockets (reliability 4.2, S3): never a 5xx, never a hang, nothing stays behind.

CI sends about a thousand; the seed is printed.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.rawhttp import BEARER, RawConnection
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

ROUNDS = 28
MEGABYTE = 1024 * 1024
HOST = "Host: localhost"
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
SMUGGLED = f"DELETE /v1/threads/thread_smuggled HTTP/1.1\r\n{HOST}\r\n{BEARER}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    """Impatient, so that what waits for more is answered soon."""
    with KumosProcess(tmp_path_factory.mktemp("odd"), KUMOS_BODY_SECONDS="1") as server:
        yield server


ESTABLISHED, CLOSE_WAIT = "01", "08"  # of /proc/net/tcp
CLOSE = "Connection: close"
SPELLINGS = [
    *("Transfer-Encoding: xchunked", "Transfer-Encoding : chunked", "Transfer-Encoding: chunked, identity"),
    *("Transfer-Encoding:\x0bchunked", "Content-Length: 0x10", "Content-Length: +2", "Content-Length: \u0662"),
]
ADDRESSES = [
    *("/v1/\xe9", "/v1/%ff%00", "////", "*", "/v1/../../etc", "http://elsewhere/v1/x", "/v1/x?%zz=%00", "/v1", "/v1?x"),
]


def request(line: str, *headers: str, body: bytes = b"", last: bool = True) -> bytes:
    more = [CLOSE] if last else []
    return "\r\n".join([line, HOST, BEARER, *more, *headers, "", ""]).encode() + body


def post(*headers: str, body: bytes = b"") -> bytes:
    return request("POST /v1/threads HTTP/1.1", *headers, body=body)


CHUNKED = "Transfer-Encoding: chunked"
KINDS: dict[str, Callable[[random.Random], bytes]] = {
    # Chunks
    "chunk size is no number": lambda chance: post(CHUNKED, body=b"%d-\r\n{}\r\n0\r\n\r\n" % chance.randrange(99)),
    "chunk size is signed": lambda chance: post(CHUNKED, body=b"+2\r\n{}\r\n0\r\n\r\n"),
    "chunk size has no end": lambda chance: post(CHUNKED, body=b"1" * chance.randrange(5000, 9000)),
    "chunk is longer than it says": lambda chance: post(CHUNKED, body=b"2\r\n{}xx\r\n0\r\n\r\n"),
    "chunk is shorter than it says": lambda chance: post(CHUNKED, body=b"%x\r\n{}\r\n0" % chance.randrange(9, 99)),
    "chunk extension": lambda chance: post(CHUNKED, body=b"2;a=\x00\xff\r\n{}\r\n0\r\n\r\n"),
    "chunks end with bare newlines": lambda chance: post(CHUNKED, body=b"2\n{}\n0\n\n"),
    "trailers without end": lambda chance: post(CHUNKED, body=b"0\r\n" + b"X-A: b\r\n" * chance.randrange(9000, 12000)),
    "chunked and 2**64 bytes": lambda chance: post(CHUNKED, body=b"10000000000000000\r\n{}"),
    # Smuggling
    "length and chunks": lambda chance: post("Content-Length: 4", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length": lambda chance: post(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED),
    "two lengths": lambda chance: post("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED),
    "two lengths in one": lambda chance: post(f"Content-Length: 0, {len(SMUGGLED)}", body=SMUGGLED),
    "other spellings": lambda chance: post(chance.choice(SPELLINGS), body=SMUGGLED),
    "a folded header": lambda chance: post("X-A: b\r\n Content-Length: 5", body=b"hello"),
    # Heads
    "a header of 100 kB": lambda chance: post(f"X-Long: {'x' * 100_000}"),
    "10,000 headers": lambda chance: post(*[f"X-{number}: x" for number in range(10_000)]),
    "600 headers": lambda chance: post(*[f"X-{number}: x" for number in range(600)]),
    "an address of 100 kB": lambda chance: request(f"GET /v1/{'x' * 100_000} HTTP/1.1"),
    "an address that is none": lambda chance: request(f"GET {chance.choice(ADDRESSES)} HTTP/1.1"),
    "a method that is none": lambda chance: request(
        f"{''.join(chance.choices('ABC{}()<>', k=chance.randrange(1, 40)))} / HTTP/1.1"
    ),
    "a version that is none": lambda chance: request(f"GET /v1/x HTTP/{chance.choice('0379')}.{chance.choice('0379')}"),
    "HTTP/1.0": lambda chance: b"GET /v1/assistants HTTP/1.0\r\n\r\n",
    "HTTP/0.9": lambda chance: b"GET /v1/assistants\r\n\r\n",
    "no host": lambda chance: f"GET /v1/assistants HTTP/1.1\r\n{BEARER}\r\n{CLOSE}\r\n\r\n".encode(),
    "another host besides": lambda chance: request("GET /v1/assistants HTTP/1.1", "Host: elsewhere"),
    "bare newlines": lambda chance: request("GET /v1/assistants HTTP/1.1").replace(b"\r\n", b"\n"),
    "nothing but newlines": lambda chance: b"\r\n" * chance.randrange(1, 100),
    "an upgrade": lambda chance: request("GET /v1/x HTTP/1.1", f"Upgrade: {chance.choice(['h2c', 'websocket', 'x'])}"),
    # Bytes
    "garbage": lambda chance: chance.randbytes(chance.randrange(1, 5000)),
    "TLS": lambda chance: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(500),
    "HTTP/2": lambda chance: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + chance.randbytes(50),
    "a request with a broken byte": lambda chance: broken(chance, post("Content-Length: 2", body=b"{}")),
    "a pipeline": lambda chance: pipeline(chance.randrange(2, 40)) + request("GET /v1/x HTTP/1.1"),
    "a pipeline with an end": lambda chance: pipeline(5) + chance.randbytes(200),
}


def pipeline(length: int) -> bytes:
    return request("GET /v1/assistants HTTP/1.1", last=False) * length


def broken(chance: random.Random, whole: bytes) -> bytes:
    place = chance.randrange(len(whole))
    return whole[:place] + chance.randbytes(1) + whole[place + 1 :]


def told(server: KumosProcess, data: bytes, *, abruptly: bool) -> list[int]:
    """The statuses of all answers to `data`, until the server closes the connection, or we do `abruptly`."""
    received = bytearray()
    with RawConnection(server, 30) as connection, suppress(ConnectionError):
        connection.send(data)
        while not abruptly and (piece := connection.socket.recv(65536)):
            received += piece
    return [int(status) for status in STATUS.findall(received)]


def connections(server: KumosProcess) -> int:
    """How many clients have one with the server, as the system knows it. Those to its database are not among them."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{server.port:04X}") and row[3] in (ESTABLISHED, CLOSE_WAIT) for row in rows)


def test_s3_a_thousand_oddities(odd: KumosProcess) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    sent = [(kind, make(chance), chance.random() < 0.2) for kind, make in KINDS.items() for _ in range(ROUNDS)]
    chance.shuffle(sent)
    told(odd, request("GET /v1/assistants HTTP/1.1"), abruptly=False)
    memory = odd.memory()
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda one: (one[0], told(odd, one[1], abruptly=one[2])), sent)
        seen = {(kind, status) for kind, statuses in answers for status in statuses}
    assert {(kind, status) for kind, status in seen if status >= 500} <= {("a version that is none", 505)}
    assert {kind for kind, _ in seen} > {"a pipeline", "length and chunks", "HTTP/1.0", "10,000 headers"}
    for kind in ("length and chunks", "chunks and length", "two lengths", "two lengths in one"):
        assert {status for of, status in seen if of == kind} == {400}, "nothing behind it was taken for a request"
    assert odd.answers()
    give_up_at = time.monotonic() + 60
    while left := connections(odd):
        assert time.monotonic() < give_up_at, f"{left} connections are left open"
        time.sleep(0.1)
    assert odd.memory() - memory < 50 * MEGABYTE
    assert "Traceback" not in odd.output()


def test_a_request_that_never_ends_is_ended(odd: KumosProcess) -> None:
    """Without the client's end: only time can tell."""
    for data in (b"G", b"GET /v1/assistants HT", post(CHUNKED, body=b"2\r\n{"), post("Content-Length: 9", body=b"{}")):
        with RawConnection(odd) as connection:
            connection.send(data)
            while connection.socket.recv(65536):
                pass


def test_a_pipeline_is_answered_in_order(odd: KumosProcess) -> None:
    with RawConnection(odd) as connection:
        connection.send(b"".join(request(f"GET /v1/{number} HTTP/1.1", last=False) for number in range(50)))
        for number in range(50):
            assert connection.answer().error["message"] == f"Invalid URL (GET /v1/{number})"
