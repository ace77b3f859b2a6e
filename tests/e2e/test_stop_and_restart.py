"""Stops that are asked for and stops that are not: no accepted run is lost (P6), and its readers see each event once.

One server on one data directory for the whole module: every test leaves it running.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.e2e.events import CUT, DONE, SECONDS, Desk, Frame, ends_of, frames, last_id, names, text_of
from tests.e2e.test_operations import eventually
from tests.process import KEY, KumosProcess

pytestmark = pytest.mark.e2e

DRAIN_SECONDS = 1
CLAIM_SECONDS = 60
"""How long a file is its reader's without a sign of life."""
NINE_WORDS = ["Clouds", "gather", "over", "the", "valley", "and", "drift", "slowly", "past"]


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    """A server that is stopped and killed a lot, and gives up on no run for that."""
    settings = {
        "KUMOS_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "KUMOS_CRASH_CAP": "1000",
        "KUMOS_LEASE_SECONDS": "1000",  # what is taken over is taken over because its worker is known to be dead
    }
    with KumosProcess(tmp_path_factory.mktemp("mortal"), **settings) as process:
        yield process


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[KumosProcess]:
    """A server that gives its runs all the time they need to end."""
    with KumosProcess(tmp_path, KUMOS_DRAIN_SECONDS="600") as process:
        yield process


@pytest.fixture
def web(tmp_path: Path) -> Iterator[KumosProcess]:
    """A server with no runs of its own, which would have to write before it stops."""
    with KumosProcess(tmp_path, command=("serve", "--web")) as process:
        yield process


@pytest.fixture
def desk(mortal: KumosProcess) -> Iterator[Desk]:
    with Desk(mortal) as desk:
        yield desk


def long_text(words: int) -> str:
    """What the scripted model says to `!long N`."""
    return " ".join(f"{n}." if n % 10 == 0 else NINE_WORDS[n % 10 - 1] for n in range(1, words + 1))


def assert_begun_again(desk: Desk, path: str, words: int) -> list[Frame]:
    """The story of a run that was interrupted once in mid-answer: the half message, closed, and then all of it."""
    story = frames(desk.read(f"{path}/stream"))
    assert [frame.id for frame in story[:-1]] == sorted({frame.id for frame in story[:-1] if frame.id is not None})
    assert ends_of(story) == ["thread.run.completed"]
    assert story[-1] == DONE
    (half,) = [frame.object for frame in story if frame.name == "thread.message.incomplete"]
    (full,) = [frame.object for frame in story if frame.name == "thread.message.completed"]
    assert half["incomplete_details"] == {"reason": "run_failed"}
    begun = half["content"][0]["text"]["value"]
    assert begun
    assert long_text(words).startswith(begun)
    assert text_of(story, half["id"]) == begun
    assert text_of(story, full["id"]) == full["content"][0]["text"]["value"] == long_text(words)
    order = [
        name for name in names(story) if name.startswith(("thread.message.", "thread.run.step")) and "delta" not in name
    ]
    opening = ["run.step.created", "run.step.in_progress", "message.created", "message.in_progress"]
    endings = [["message.incomplete", "run.step.failed"], ["message.completed", "run.step.completed"]]
    assert [name.removeprefix("thread.") for name in order] == [*opening, *endings[0], *opening, *endings[1]]
    assert desk.get(path)["status"] == "completed"
    return story


def test_a_run_goes_on_after_sigterm_and_what_was_kept_is_there(mortal: KumosProcess, desk: Desk) -> None:
    """Exit code 0 in time; the open stream is cut and does not end; its reader goes on from its last id."""
    path = desk.ask("!slow 50 !long 300")
    watcher = desk.watch(f"{path}/stream")
    watcher.wait_for("thread.message.delta", 3)
    asked_at = time.monotonic()
    assert mortal.terminate() == 0
    assert time.monotonic() - asked_at < 15
    with pytest.raises(CUT):
        watcher.end()
    seen = watcher.frames
    assert DONE not in seen
    assert "error" not in names(seen)

    mortal.start()
    rest = frames(desk.read(f"{path}/stream", after=last_id(seen)))
    assert seen + rest == assert_begun_again(desk, path, 300)


def test_a_run_that_ends_in_time_is_not_interrupted(patient: KumosProcess) -> None:
    with Desk(patient) as desk:
        path = desk.ask("!slow 10 !long 30")
        watcher = desk.watch(f"{path}/stream")
        watcher.wait_for("thread.message.delta", 2)
        assert patient.terminate() == 0
        assert watcher.end()[-2].name == "thread.run.completed"
        patient.start()
        story = frames(desk.read(f"{path}/stream"))
        assert story == watcher.frames
        assert text_of(story) == long_text(30)


def test_no_run_is_taken_and_no_request_hangs_while_it_stops(mortal: KumosProcess, desk: Desk) -> None:
    holding = desk.ask("!slow 1 !long 500")
    desk.watch(f"{holding}/stream").wait_for("thread.message.delta")
    assert mortal.process is not None
    mortal.process.send_signal(signal.SIGTERM)
    try:
        late = desk.ask("!fast !echo late")
    except httpx.TransportError:
        late = ""
    assert mortal.process.wait(SECONDS) == 0
    mortal.start()
    if late:
        assert desk.ended(late)["status"] == "completed"
    assert desk.make(f"{holding}/cancel")["status"] in ("cancelling", "cancelled")
    assert desk.ended(holding)["status"] == "cancelled"


@contextmanager
def no_thread_can_be_made(server: KumosProcess) -> Iterator[None]:
    """Until the end of the block another transaction is in the way: of all writers, or of those to that table."""
    if server.database_url.startswith("sqlite:"):
        with closing(sqlite3.connect(server.data_dir / "kumos.sqlite3", isolation_level=None)) as lite:
            lite.execute("BEGIN IMMEDIATE")
            yield
            lite.execute("ROLLBACK")
    else:
        with psycopg.connect(server.database_url) as postgres:
            postgres.execute("LOCK TABLE assistants_thread IN EXCLUSIVE MODE")
            yield
            postgres.rollback()


def test_a_request_under_way_is_answered(patient: KumosProcess) -> None:
    """Its client would take a cut connection for a failure, and make the same thing again."""
    with socket.create_connection(("127.0.0.1", patient.port), timeout=SECONDS) as connection:
        with no_thread_can_be_made(patient):
            head = f"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 0"
            connection.sendall(f"{head}\r\n\r\n".encode())
            httpx.get(f"{patient.url}/health/live")  # what came before it is under way
            assert patient.process is not None
            patient.process.send_signal(signal.SIGTERM)
        assert connection.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
    assert patient.process.wait(SECONDS) == 0


def test_a_streamed_answer_under_way_has_begun_when_it_is_cut(web: KumosProcess) -> None:
    """It may be committed: a client that got nothing of it would make the same run again."""
    with Desk(web) as desk, socket.create_connection(("127.0.0.1", web.port), timeout=SECONDS) as connection:
        thread = {"messages": [{"role": "user", "content": "Hello"}]}
        body = json.dumps({"assistant_id": desk.assistant(), "thread": thread, "stream": True}).encode()
        head = f"POST /v1/threads/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        before = {one["id"] for one in desk.get("/threads")["data"]}
        with no_thread_can_be_made(web):
            connection.sendall(f"{head}\r\n\r\n".encode() + body)
            desk.http.get("/assistants")  # what came before it is under way
            assert web.process is not None
            web.process.send_signal(signal.SIGTERM)
            eventually(lambda: is_shut(web.port), bool)
        with connection.makefile("rb") as received:
            assert received.readline() == b"HTTP/1.1 200 OK\r\n"
            with suppress(ConnectionError):
                assert DONE.data.encode() not in received.read()
        assert web.process.wait(SECONDS) == 0
        web.start()
        (made,) = [one["id"] for one in desk.get("/threads")["data"] if one["id"] not in before]
        assert len(desk.get(f"/threads/{made}/runs")["data"]) == 1


def is_shut(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
    except ConnectionError:
        return True
    return False


def test_asked_twice_it_stops_at_once(patient: KumosProcess) -> None:
    """Minutes to drain, and nobody waits for them: within the time that `terminate` gives it."""
    with Desk(patient) as desk:
        path = desk.ask("!stall")
        desk.watch(f"{path}/stream").wait_for("thread.message.delta")
        assert patient.process is not None
        patient.process.send_signal(signal.SIGTERM)
        with pytest.raises(AssertionError, match="waited"):  # it is draining, and still there
            desk.watch(f"{path}/stream").wait(lambda watcher: bool(watcher.error), 1.0)
        assert patient.terminate() == 0


def test_a_killed_servers_run_is_taken_over_and_its_reader_sees_each_event_once(
    mortal: KumosProcess, desk: Desk
) -> None:
    path = desk.ask("!slow 30 !long 150")
    thread = path.split("/runs/")[0]
    one, all_runs = desk.watch(f"{path}/stream"), desk.watch(f"{thread}/runs/stream")
    for watcher in (one, all_runs):
        watcher.wait_for("thread.message.delta", 5)
    assert mortal.kill() == -signal.SIGKILL
    for watcher in (one, all_runs):
        with pytest.raises(CUT):
            watcher.end()

    started_at = time.monotonic()
    mortal.start()
    ready_at = time.monotonic()
    seen = one.frames
    again = desk.watch(f"{path}/stream", after=last_id(seen))
    again.wait_for("thread.message.delta")
    taken_at = time.monotonic()
    print(f"ready {ready_at - started_at:.1f} s after the start, answering {taken_at - ready_at:.1f} s later")  # noqa: T201
    rest = again.end()
    story = assert_begun_again(desk, path, 150)
    assert seen + rest == story
    followed = desk.watch(f"{thread}/runs/stream", after=last_id(all_runs.frames))
    rest = followed.wait(lambda watcher: bool(ends_of(watcher.frames)))
    assert [*all_runs.frames, *rest, DONE] == story


def test_a_file_that_was_being_read_when_the_server_died_is_read_again(mortal: KumosProcess, desk: Desk) -> None:
    """Enough text to be killed amidst its passages; then they are read again before the claim on it could run out."""
    pages = "\n\n".join(f"Paragraph {n} tells of nothing in particular and of marker{n}x." for n in range(8_000))
    asked_at = time.monotonic()
    uploaded = desk.http.post("/files", data={"purpose": "assistants"}, files={"file": ("long.txt", pages.encode())})
    store = desk.make("/vector_stores", {"file_ids": [uploaded.json()["id"]]})["id"]
    address = f"/vector_stores/{store}"
    assert desk.get(address)["file_counts"]["in_progress"] == 1
    mortal.kill()
    mortal.start()
    while desk.get(address)["file_counts"]["in_progress"]:
        assert time.monotonic() < asked_at + CLAIM_SECONDS, "the file waits for its dead reader"
        time.sleep(0.1)
    assert desk.get(address)["file_counts"]["completed"] == 1


def test_p6_no_accepted_run_is_lost_however_often_the_server_dies(mortal: KumosProcess, desk: Desk) -> None:
    """Twenty runs, a kill -9 at a random moment five times, and at the end each has been completed, once."""
    seed = time.time_ns()
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    assistant = desk.assistant()
    threads = {f"{chance.randrange(10**9)}": desk.thread() for _ in range(20)}
    accepted: dict[str, str] = {}
    stopped = threading.Event()

    def go_on_asking() -> None:
        """While the server dies: what was refused or never answered is asked again."""
        with Desk(mortal) as other:
            for mark, thread in threads.items():
                while mark not in accepted and not stopped.wait(0.05):
                    message = {"role": "user", "content": f"!slow 60 !echo {mark} {long_text(90)}"}
                    body = {"assistant_id": assistant, "additional_messages": [message]}
                    try:
                        answer = other.http.post(f"/threads/{thread}/runs", json=body)
                        if answer.status_code == 200:
                            accepted[mark] = answer.json()["id"]
                        else:  # committed, but the answer did not reach us
                            assert "already has an active run" in answer.text
                            accepted[mark] = other.get(f"/threads/{thread}/runs")["data"][0]["id"]
                    except httpx.TransportError:
                        continue

    asking = threading.Thread(target=go_on_asking, daemon=True)
    asking.start()
    try:
        for _ in range(5):
            time.sleep(chance.uniform(0.0, 1.5))  # the moment is the point of it
            mortal.kill()
            mortal.start()
        asking.join(SECONDS)
    finally:
        stopped.set()
        asking.join(SECONDS)
    assert len(accepted) == 20
    for mark, run in accepted.items():
        path = f"/threads/{threads[mark]}/runs/{run}"
        assert desk.ended(path)["status"] == "completed"
        story = frames(desk.read(f"{path}/stream"))
        assert ends_of(story) == ["thread.run.completed"]
        (full,) = [frame.object for frame in story if frame.name == "thread.message.completed"]
        assert full["content"][0]["text"]["value"] == f"{mark} {long_text(90)}" == text_of(story, full["id"])


def test_every_start_keeps_what_was_there(mortal: KumosProcess, desk: Desk) -> None:
    path = desk.ask("!fast !echo Remember this")
    desk.ended(path)
    story, assistants = desk.read(f"{path}/stream"), desk.get("/assistants", limit=100)
    files = desk.get("/files")
    mortal.restart()
    assert desk.read(f"{path}/stream") == story
    assert desk.get("/assistants", limit=100) == assistants
    assert desk.get("/files") == files
