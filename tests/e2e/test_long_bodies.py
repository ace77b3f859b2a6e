"""The longest texts that the contract allows, on their whole way: in, to the model, streamed back, kept, and listed."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from tests.e2e.events import SECONDS, Desk, text_of
from tests.pictures import PNG, Pictures
from tests.process import KEY, KumosProcess
from tests.upstream import Upstream, expected_text

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

LONGEST = 256_000
WORD = "ä🐉x" * 170 + "y"
TEXT = " ".join([WORD] * 500)
"""500 words of 511 characters, which come back as so many deltas; most take two or four bytes."""
INSTRUCTIONS = "Be brief. " * 25_600


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def desk(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    settings = {"OPENAI_BASE_URL": upstream.base_url, "KUMOS_HEARTBEAT_SECONDS": "0.2"}
    with KumosProcess(tmp_path_factory.mktemp("long"), **settings) as server, Desk(server) as desk:
        yield desk


def test_the_longest_message_and_instructions_go_all_the_way(desk: Desk, upstream: Upstream) -> None:
    text = TEXT + "!" * (LONGEST - len(TEXT))
    assert len(text) == len(INSTRUCTIONS) == LONGEST
    assistant = desk.assistant(model="ok", instructions=INSTRUCTIONS)
    assert desk.get(f"/assistants/{assistant}")["instructions"] == INSTRUCTIONS
    thread = desk.thread(text)
    story = desk.watch(f"/threads/{thread}/runs", post={"assistant_id": assistant, "stream": True}).end()
    assert story[-2].name == "thread.run.completed"
    assert story[-2].object["instructions"] == INSTRUCTIONS
    assert text_of(story) == expected_text(text)
    (asked,) = [call for call in upstream.calls if call.body["model"] == "ok"]
    assert [message["content"] for message in asked.body["messages"]] == [INSTRUCTIONS, text]
    shown = desk.get(f"/threads/{thread}/messages", order="asc")["data"]
    assert [message["content"][0]["text"]["value"] for message in shown] == [text, expected_text(text)]
    again = desk.read(f"/threads/{thread}/runs/{story[-2].object['id']}/stream")
    assert again.count(b"event: thread.message.delta") == sum(frame.name == "thread.message.delta" for frame in story)


def test_instructions_that_come_with_the_run_may_be_as_long(desk: Desk, upstream: Upstream) -> None:
    assistant = desk.assistant(model="ok:3", instructions="Short.")
    body = {"assistant_id": assistant, "instructions": INSTRUCTIONS, "additional_instructions": INSTRUCTIONS}
    thread = desk.thread("Hello")
    run = desk.make(f"/threads/{thread}/runs", body)
    assert desk.ended(f"/threads/{thread}/runs/{run['id']}")["status"] == "completed"
    (asked,) = [call for call in upstream.calls if call.body["model"] == "ok:3"]
    assert len(asked.body["messages"][0]["content"]) == 2 * LONGEST + 1


def test_a_thread_of_long_messages_is_made_and_listed_at_once(desk: Desk) -> None:
    texts = [f"{number:02} {'x' * (LONGEST - 3)}" for number in range(38)]
    thread = desk.make("/threads", {"messages": [{"role": "user", "content": text} for text in texts]})["id"]
    page = desk.get(f"/threads/{thread}/messages", order="asc", limit=100)
    assert [message["content"][0]["text"]["value"] for message in page["data"]] == texts
    assert page["has_more"] is False
    answer = desk.http.post("/threads", json={"messages": [{"role": "user", "content": "x" * 11 * 1024 * 1024}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == ("The request body is too large. Its maximum size is 10485760 bytes.")


@pytest.mark.parametrize("kind", [None, "application/json", "text/plain"])
def test_a_thread_of_an_empty_body(desk: Desk, kind: str | None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", desk.server.port, timeout=SECONDS)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Length": "0"}
    connection.request("POST", "/v1/threads", headers={**headers, **({"Content-Type": kind} if kind else {})})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    assert answer.read().startswith(b'{"id":"thread_')
    connection.close()


def test_a_chunked_body_is_read(desk: Desk) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"messages": [{"role": "user", "content": "'
        for _ in range(250):
            yield b"x" * 1000
        yield b'"}]}'

    answer = desk.http.post("/threads", content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    (message,) = desk.get(f"/threads/{answer.json()['id']}/messages")["data"]
    assert message["content"][0]["text"]["value"] == "x" * 250_000


def test_an_image_reaches_the_upstream_of_a_real_server(desk: Desk, upstream: Upstream) -> None:
    """With the default settings: loopback is no place for images, and the run says so; a stored one arrives."""
    upload = desk.http.post("/files", data={"purpose": "vision"}, files={"file": ("cat.png", PNG)})
    stored = {"type": "image_file", "image_file": {"file_id": upload.json()["id"]}}
    assistant = desk.assistant(model="ok:4")
    thread = desk.make("/threads", {"messages": [{"role": "user", "content": [stored]}]})["id"]
    run = desk.make(f"/threads/{thread}/runs", {"assistant_id": assistant})
    assert desk.ended(f"/threads/{thread}/runs/{run['id']}")["status"] == "completed"
    (asked,) = [call for call in upstream.calls if call.body["model"] == "ok:4"]
    (part,) = asked.body["messages"][0]["content"]
    assert part["image_url"]["url"].startswith("data:image/png;base64,")

    with Pictures() as pictures:
        away = {"type": "image_url", "image_url": {"url": pictures.url("/cat.png")}}
        thread = desk.make("/threads", {"messages": [{"role": "user", "content": [away]}]})["id"]
        run = desk.make(f"/threads/{thread}/runs", {"assistant_id": assistant})
        ended = desk.ended(f"/threads/{thread}/runs/{run['id']}")
        assert pictures.asked == []
    assert ended["status"] == "failed"
    assert "not on the public internet" in ended["last_error"]["message"]
