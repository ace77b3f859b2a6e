"""The served process itself: what it prints, what it answers beside the API's resources, who may be slow or go."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.events import SECONDS, Desk, Frame, Watcher, frames, names
from tests.process import KEY, ROOT, START_SECONDS, KumosProcess

pytestmark = pytest.mark.e2e

MEGABYTE = 1024 * 1024


@pytest.fixture
def desk(server: KumosProcess) -> Iterator[Desk]:
    with Desk(server) as desk:
        yield desk


# What it prints and answers -------------------------------------------------------------------------------------------


def test_what_it_prints_leads_somewhere(server: KumosProcess) -> None:
    printed = server.output()
    assert f"key {KEY}" in printed
    assert re.search(rf"http://localhost:{server.port}/login/\S+", printed)
    (admin,) = set(re.findall(r"http://localhost:\d+(/admin/)", printed))  # others may have started it again
    with httpx.Client(base_url=server.url, verify=False, follow_redirects=True) as browser:
        assert "/admin/login/" in str(browser.get(admin).url)
        assert browser.get("/").url.path in ("/chat/", "/admin/login/")
        page = browser.get("/admin/login/").text
        styles = re.findall(r'href="(/static/[^"]+\.css)"', page)
        assert styles
        for address in styles:
            answer = browser.get(address)
            assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/css")
        assert browser.get("/static/missing.css").status_code == 404


def test_it_may_open_as_many_files_as_the_system_lets_it(server: KumosProcess) -> None:
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.mark.parametrize("path", ["/unknown", "/threads/", "/assistants/x/y/z", "/threads/t/runs/r/stream/more", "/"])
def test_an_unknown_address_below_v1_is_a_404_in_json(desk: Desk, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = desk.http.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        assert answer.json()["error"]["message"] == f"Invalid URL ({method} /v1{path})"
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["openai-version"] == "2020-10-01"


@pytest.mark.parametrize(("method", "path"), [("PUT", "/assistants"), ("DELETE", "/threads"), ("PATCH", "/files")])
def test_a_method_that_is_not_there_is_a_405_in_json(desk: Desk, method: str, path: str) -> None:
    answer = desk.http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/json")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"].startswith("req_")


def test_another_host_name_is_refused_everywhere(server: KumosProcess) -> None:
    """Else any page could have its own name point here, and use a key that it knows."""
    with server.client() as client:
        answer = client.get("/v1/assistants", headers={"Host": "elsewhere.example"})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
        assert "ALLOWED_HOSTS" in answer.json()["error"]["message"]
        assert client.get("/v1/assistants", headers={"Host": f"localhost:{server.port}"}).status_code == 200


def test_a_websocket_is_refused_and_nothing_breaks(server: KumosProcess) -> None:
    before = server.output()
    with server.client() as client:
        wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        wanted["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        answer = httpx.get(f"{server.url}/v1/assistants", headers=wanted)
        assert answer.status_code == 403
        assert client.get("/v1/assistants").status_code == 200
    assert "Traceback" not in server.output().removeprefix(before)


def test_two_that_start_at_once_make_the_tables_once(tmp_path: Path) -> None:
    first = KumosProcess.without_tables(tmp_path)
    second = KumosProcess.without_tables(tmp_path, TMPDIR=str(tmp_path))
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        for started in [pool.submit(stack.enter_context, one) for one in (first, second)]:
            started.result()
        for one in (first, second):
            with one.client() as client:
                assert len(client.get("/v1/assistants").json()["data"]) == 3


def test_a_port_that_is_taken_is_said_in_one_line(server: KumosProcess, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env={"KUMOS_DATA_DIR": str(tmp_path), "PORT": str(server.port)},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert str(server.port) in line
    assert "ready" not in done.stdout


# P9: watching never changes the run -----------------------------------------------------------------------------------


def test_p9_a_disconnect_is_no_cancel(desk: Desk) -> None:
    thread = desk.thread("!slow 10 !long 60")
    posted = desk.watch(f"/threads/{thread}/runs", post={"assistant_id": desk.assistant(), "stream": True})
    run = posted.wait_for("thread.message.delta", 2)[0].object["id"]
    watching = desk.watch(f"/threads/{thread}/runs/{run}/stream")
    watching.wait_for("thread.message.delta", 2)
    posted.close()
    watching.close()
    assert desk.get(f"/threads/{thread}/runs/{run}")["status"] == "in_progress"
    assert desk.ended(f"/threads/{thread}/runs/{run}")["status"] == "completed"


def test_p9_a_reader_that_takes_nothing_costs_constant_memory_and_slows_nobody(desk: Desk) -> None:
    """Five of them, on 15 MB of large events that wait in the log, not in memory."""
    server, thread, runs = desk.server, desk.thread(), 15
    assistant = desk.assistant(instructions="x" * 250_000)  # every event of a run carries them
    for _ in range(runs):
        desk.ended(desk.ask("!fast !echo Hello", thread=thread, assistant=assistant))
    address = f"/threads/{thread}/runs/stream?starting_after=0"

    def is_whole(watcher: Watcher) -> bool:
        """The last frame's name comes long before its end: it is as large as the others."""
        return watcher.raw.count(b"event: thread.run.completed") == runs and watcher.raw.endswith(b"\n\n")

    def all_of_it() -> list[Frame]:
        watcher = desk.watch(address)
        story = watcher.wait(is_whole)
        watcher.close()
        assert len(watcher.raw) > 14_000_000
        return story

    alone = all_of_it()
    before = own_memory(server)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(stuck_reader(server, address))
        assert all_of_it() == alone
        live = desk.ask("!fast !echo Hello", thread=thread)
        assert desk.ended(live)["status"] == "completed"
        grown = own_memory(server) - before
    print(f"grown by {grown / MEGABYTE:.1f} MB")  # noqa: T201
    assert grown < 30 * MEGABYTE


def test_p9_a_reader_that_comes_to_its_senses_gets_everything(desk: Desk) -> None:
    """Live: it takes nothing while the run floods its socket, and then all, in order."""
    path = desk.ask("!slow 3000 !long 20000")
    with stuck_reader(desk.server, f"{path}/stream") as late:
        story = frames(desk.read(f"{path}/stream"))
        received = bytearray()
        while b"data: [DONE]" not in received[-100:]:
            piece = late.recv(65536)
            assert piece, "cut"
            received += piece
    assert names(story)[-2:] == ["thread.run.completed", "done"]
    body = received.split(b"\r\n\r\n", 1)[1]
    assert frames(unchunked(bytes(body))) == story


def unchunked(body: bytes) -> bytes:
    """What the chunks of a body hold."""
    whole = b""
    while body:
        size, body = body.split(b"\r\n", 1)
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole


def own_memory(server: KumosProcess) -> int:
    """Resident bytes without those of mapped files: SQLite maps the database, once per connection."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def stuck_reader(server: KumosProcess, path: str) -> socket.socket:
    """Asks for the stream and takes nothing of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(SECONDS)
    sock.connect(("127.0.0.1", server.port))
    sock.sendall(f"GET /v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    return sock
