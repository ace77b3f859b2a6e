"""How many streams may be open, and for how long (reliability 2.9 W13, 2.10): counted exactly, freed by every end."""

from __future__ import annotations

import hashlib
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.events import CUT, SECONDS, Desk, Frame, Watcher, frames, names
from tests.e2e.rawhttp import BEARER, RawConnection
from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

PER_KEY, MOST = 3, 5
ON_AND_ON = "!slow 20 !long 10000"
TOO_MANY = {
    "message": f"Too many open streams: at most {PER_KEY} at a time with one key. Close those that you do not read.",
    "type": "requests",
    "param": None,
    "code": "rate_limit_exceeded",
}
FULL = {
    "message": "The server is overloaded or not ready yet.",
    "type": "server_error",
    "param": None,
    "code": None,
}


class PatientDesk(Desk):
    """Asks again where it finds no seat: that of a stream closed a moment ago may still be taken."""

    def watch(self, path: str, **how: Any) -> Watcher:
        give_up_at = time.monotonic() + SECONDS
        while True:
            try:
                return super().watch(path, **how)
            except AssertionError:
                if time.monotonic() > give_up_at:
                    raise


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    settings = {
        "KUMOS_STREAMS_PER_KEY": str(PER_KEY),
        "KUMOS_STREAMS_MAX": str(MOST),
        "KUMOS_RECHECK_SECONDS": "0.3",
        "KUMOS_HEARTBEAT_SECONDS": "0.2",
    }
    with KumosProcess(tmp_path_factory.mktemp("seats"), **settings) as server:
        yield server


@pytest.fixture
def desk(narrow: KumosProcess) -> Iterator[Desk]:
    with PatientDesk(narrow) as desk:
        assert opened(desk, desk.thread(), PER_KEY) == PER_KEY  # whatever the test before did, it left no seat taken
        yield desk


def shell(server: KumosProcess, code: str) -> str:
    """What Python code in the server's environment prints."""
    names = (
        "from django.contrib.sessions.models import *; from kumos_site.login import *; from assistants.models import *"
    )
    return server.manage("shell", "-v0", "-c", f"{names}; {code}")


def another_key(server: KumosProcess) -> str:
    return server.manage("createkey", "--project", shell(server, "print(Project.objects.first().name)"))


def stream_of(thread: str) -> str:
    return f"/threads/{thread}/runs/stream"


def attempt(desk: Desk, thread: str) -> Watcher:
    """A stream, or the answer that refuses it."""
    return Watcher(desk.server.url, "GET", f"/v1{stream_of(thread)}", desk.headers, None)


def opened(desk: Desk, thread: str, wanted: int) -> int:
    """How many streams can be open at once, tried until they are `wanted`; all are closed again."""
    give_up_at = time.monotonic() + SECONDS
    while True:
        watchers = [
            Watcher(desk.server.url, "GET", f"/v1{stream_of(thread)}", desk.headers, None) for _ in range(wanted)
        ]
        count = sum(watcher.status == 200 for watcher in watchers)
        for watcher in watchers:
            watcher.close()
        if count == wanted or time.monotonic() > give_up_at:
            return count


def fill(desk: Desk, thread: str) -> list[Watcher]:
    """As many streams as the desk's key may have."""
    return [desk.watch(stream_of(thread)) for _ in range(PER_KEY)]


def refused(desk: Desk, path: str, body: Any = None) -> httpx.Response:
    return desk.refused("GET" if body is None else "POST", path, **({} if body is None else {"json": body}))


# Counted --------------------------------------------------------------------------------------------------------------


def test_more_streams_than_a_key_may_have_are_refused_and_the_others_go_on(desk: Desk) -> None:
    thread = desk.thread()
    watchers = fill(desk, thread)
    answer = refused(desk, stream_of(thread))
    assert (answer.status_code, answer.json()["error"]) == (429, TOO_MANY)
    assert int(answer.headers["retry-after"]) > 0
    run = desk.ask("!fast !echo Hello", thread=thread)
    for watcher in watchers:
        watcher.wait_for("thread.run.completed")
        watcher.close()
    assert desk.ended(run)["status"] == "completed"


def test_what_finds_no_seat_has_no_effect(desk: Desk) -> None:
    """Neither a run, nor its message, nor a thread is made; no outputs are taken."""
    weather = {"type": "function", "function": {"name": "get_weather"}}
    assistant = desk.assistant(tools=[weather])
    waiting = desk.ask("!call get_weather {}", assistant=assistant)
    assert desk.ended(waiting)["status"] == "requires_action"
    (call,) = desk.get(waiting)["required_action"]["submit_tool_outputs"]["tool_calls"]
    thread = desk.thread("Hello")
    threads = desk.get("/threads", limit=1)
    watchers = fill(desk, thread)
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain"}], "stream": True}
    body = {"assistant_id": assistant, "stream": True}
    more = [{"role": "user", "content": "More"}]
    for path, posted in (
        (f"/threads/{thread}/runs", {**body, "additional_messages": more}),
        ("/threads/runs", {**body, "thread": {"messages": more}}),
        (f"{waiting}/submit_tool_outputs", outputs),
    ):
        answer = refused(desk, path, posted)
        assert (answer.status_code, answer.json()["error"]) == (429, TOO_MANY)
    assert desk.get(f"/threads/{thread}/runs")["data"] == []
    assert len(desk.get(f"/threads/{thread}/messages")["data"]) == 1
    assert desk.get("/threads", limit=1) == threads
    assert desk.get(waiting)["status"] == "requires_action"
    assert desk.make(f"/threads/{thread}/runs", {"assistant_id": assistant})["status"] == "queued"  # no stream, no seat
    for watcher in watchers:
        watcher.close()


def test_a_refused_run_and_an_unknown_thread_leave_no_seat_taken(desk: Desk) -> None:
    thread = desk.thread()
    desk.ask(ON_AND_ON, thread=thread)
    for _ in range(2 * PER_KEY):
        body = {"assistant_id": desk.assistant(), "stream": True}
        assert refused(desk, f"/threads/{thread}/runs", body).status_code == 400  # it has an active one
        assert refused(desk, stream_of("thread_x")).status_code == 404
    assert opened(desk, thread, PER_KEY) == PER_KEY


def test_the_process_has_a_limit_of_its_own(desk: Desk) -> None:
    project = desk.server.manage(
        "shell", "-v0", "-c", "from assistants.models import *; print(Project.objects.first().name)"
    )
    other = {"Authorization": f"Bearer {desk.server.manage('createkey', '--project', project)}"}
    thread = desk.thread()
    watchers = fill(desk, thread)
    watchers += [desk.watch(stream_of(thread), headers=other) for _ in range(MOST - PER_KEY)]
    answer = desk.refused("GET", stream_of(thread), headers=other)
    assert (answer.status_code, answer.json()["error"]) == (503, FULL)
    assert int(answer.headers["retry-after"]) > 0
    for watcher in watchers:
        watcher.close()


# Freed ----------------------------------------------------------------------------------------------------------------


def test_streams_that_end_by_themselves_free_their_seats(desk: Desk) -> None:
    for _ in range(2 * PER_KEY):
        desk.read(f"{desk.ask('!fast !echo Hello')}/stream")
    thread, assistant = desk.thread("!fast !echo Hello"), desk.assistant()
    for _ in range(2 * PER_KEY):
        story = desk.watch(f"/threads/{thread}/runs", post={"assistant_id": assistant, "stream": True}).end()
        assert names(story)[-1] == "done"


@pytest.mark.parametrize("way", ["close", "reset", "half-close"])
def test_a_reader_that_goes_frees_its_seat(desk: Desk, way: str) -> None:
    thread = desk.thread()
    for _ in range(3 * PER_KEY):
        with RawConnection(desk.server) as connection:
            connection.head(f"GET /v1{stream_of(thread)}", BEARER)
            connection.socket.recv(1)
            if way == "reset":
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif way == "half-close":
                connection.socket.shutdown(socket.SHUT_WR)
    assert opened(desk, thread, PER_KEY) == PER_KEY


def test_a_reader_that_goes_while_its_run_is_made_frees_its_seat(desk: Desk) -> None:
    thread = desk.thread()
    body = b'{"assistant_id": "%b", "stream": true}' % desk.assistant().encode()
    for number in range(3 * PER_KEY):
        with RawConnection(desk.server) as connection:
            head = f"POST /v1/threads/{desk.thread('!fast Hello')}/runs"
            connection.head(head, BEARER, f"Content-Length: {len(body)}").send(body)
            time.sleep(0.005 * number)
    assert opened(desk, thread, PER_KEY) == PER_KEY


def test_a_cancelled_run_and_a_deleted_thread_free_their_seats(desk: Desk) -> None:
    for _ in range(PER_KEY):
        run = desk.ask(ON_AND_ON)
        watcher = desk.watch(f"{run}/stream")
        watcher.wait_for("thread.message.delta")
        desk.make(f"{run}/cancel")
        watcher.end()
        thread = desk.thread()
        watcher = desk.watch(stream_of(thread))
        desk.http.delete(f"/threads/{thread}")
        watcher.end()
    assert opened(desk, desk.thread(), PER_KEY) == PER_KEY


# Cut ------------------------------------------------------------------------------------------------------------------


def is_cut(watcher: Watcher) -> bool:
    """Whether the stream is cut, in the end, and not ended as if it were whole."""
    with pytest.raises(CUT):
        watcher.end()
    watcher.close()
    return True


def test_the_streams_of_a_revoked_key_are_cut_and_no_others(desk: Desk) -> None:
    project = desk.server.manage(
        "shell", "-v0", "-c", "from assistants.models import *; print(Project.objects.first().name)"
    )
    secret = desk.server.manage("createkey", "--project", project)
    revoked = {"Authorization": f"Bearer {secret}"}
    thread = desk.thread()
    run = desk.ask(ON_AND_ON)
    mine = desk.watch(f"{run}/stream")
    idle = desk.watch(stream_of(thread), headers=revoked)
    busy = desk.watch(f"{run}/stream", headers=revoked)
    busy.wait_for("thread.message.delta")
    digest = hashlib.sha256(secret.encode()).hexdigest()
    shell(desk.server, f"ApiKey.objects.filter(digest='{digest}').update(revoked_at='2020-01-01T00:00Z')")
    assert desk.http.get("/assistants", headers=revoked).status_code == 401  # at once
    assert is_cut(idle)
    assert is_cut(busy)
    assert desk.refused("GET", stream_of(thread), headers=revoked).status_code == 401
    mine.wait_for("thread.message.delta", names(mine.frames).count("thread.message.delta") + 3)
    desk.make(f"{run}/cancel")
    mine.end()


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        ("logout", "Session.objects.filter(pk='{session}').delete()", 401),
        ("membership", "Membership.objects.filter(user__username='membership').delete()", 403),
        ("inactive", "User.objects.filter(username='inactive').update(is_active=False)", 401),
    ],
)
def test_the_streams_of_a_session_end_with_it(desk: Desk, end: str, code: str, status: int) -> None:
    made = (
        f"User.objects.create(username='{end}'); Membership.objects.create(project=Project.objects.first(), user=user)"
    )
    link = shell(desk.server, f"user = {made}; print(one_time_path(user))")
    with httpx.Client(base_url=desk.server.url) as browser:
        browser.get(link)
        session = browser.cookies["sessionid"]
    person = {"Cookie": f"sessionid={session}", "Authorization": ""}
    thread = desk.thread()
    watchers = [desk.watch(stream_of(thread), headers=person) for _ in range(PER_KEY)]
    assert desk.refused("GET", stream_of(thread), headers=person).status_code == 429
    desk.watch(stream_of(thread)).close()  # counted under the person: the key has seats of its own
    shell(desk.server, code.format(session=session))
    assert all(is_cut(watcher) for watcher in watchers)
    assert desk.refused("GET", stream_of(thread), headers=person).status_code == status


def test_a_stream_is_cut_when_it_is_old_and_its_reader_goes_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("old")
    with KumosProcess(folder, KUMOS_STREAM_SECONDS="2", KUMOS_STREAMS_PER_KEY="1") as server, Desk(server) as desk:
        run = desk.ask("!slow 20 !long 100")
        seen: list[Frame] = []
        cuts = 0
        while True:
            watcher = desk.watch(f"{run}/stream", after=seen[-1].id if seen else None)
            try:
                seen += watcher.end()
                break
            except CUT:
                seen += watcher.frames
                cuts += 1
            watcher.close()
        assert cuts > 0
        watcher.close()
        assert seen == frames(desk.read(f"{run}/stream"))
