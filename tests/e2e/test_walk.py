"""The walk of the first page, with the curl binary and no header but the key: contract 3.6 on the wire."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.events import DONE, Desk, Frame, as_streamed, frames, names, text_of
from tests.process import KumosProcess

pytestmark = pytest.mark.e2e

QUESTION = "Summarize 'Project Dragon' based on all available files"
ORDER = re.compile(
    r"run\.created run\.queued run\.in_progress "
    r"run\.step\.created run\.step\.in_progress run\.step\.delta run\.step\.completed "
    r"run\.step\.created run\.step\.in_progress message\.created message\.in_progress (message\.delta )+"
    r"message\.completed run\.step\.completed run\.completed done"
)


@pytest.fixture
def desk(server: KumosProcess) -> Iterator[Desk]:
    with Desk(server) as desk:
        yield desk


def curl(server: KumosProcess, path: str, body: str | None = None, *, post: bool = False) -> subprocess.Popen[bytes]:
    command = ["curl", "-sS", "-N", "--max-time", "60", "-H", "Authorization: Bearer sk-test-001"]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", body]
    elif post:
        command += ["-X", "POST"]
    return subprocess.Popen([*command, f"http://localhost:{server.port}/v1{path}"], stdout=subprocess.PIPE)


def answer(called: subprocess.Popen[bytes]) -> bytes:
    output, _ = called.communicate(timeout=60)
    assert called.returncode == 0, output
    return output


def made(called: subprocess.Popen[bytes]) -> dict[str, Any]:
    return dict(json.loads(answer(called)))


def assert_searched_and_answered(story: list[Frame]) -> None:
    assert ORDER.fullmatch(" ".join(name.removeprefix("thread.") for name in names(story))), names(story)
    ids = [frame.id for frame in story[:-1]]
    assert ids == list(range(1, len(ids) + 1))
    assert story[-1] == DONE


def test_the_walk_and_the_same_bytes_during_and_after_the_run(server: KumosProcess) -> None:
    assistant = made(curl(server, "/assistants", '{"model": "scripted", "tools": [{"type": "file_search"}]}'))
    thread = made(curl(server, "/threads", post=True))
    message = json.dumps({"role": "user", "content": f"!slow 30 {QUESTION}"})
    made(curl(server, f"/threads/{thread['id']}/messages", message))
    run = made(curl(server, f"/threads/{thread['id']}/runs", json.dumps({"assistant_id": assistant["id"]})))
    stream = f"/threads/{thread['id']}/runs/{run['id']}/stream"

    first, during = curl(server, stream), curl(server, stream)
    assert made(curl(server, stream.removesuffix("/stream")))["status"] in ("queued", "in_progress")
    seen = answer(first)
    assert answer(during) == seen
    assert answer(curl(server, stream)) == seen

    assert seen.endswith(b"event: done\ndata: [DONE]\n\n")
    assert_searched_and_answered(frames(seen))


def test_the_objects_of_the_walk_are_what_get_returns(desk: Desk) -> None:
    """The search has its results, the answer its citations, and both are the objects that are kept."""
    path = desk.ask(f"!fast {QUESTION}", assistant=desk.assistant(tools=[{"type": "file_search"}]))
    story = frames(desk.read(f"{path}/stream"))
    assert_searched_and_answered(story)

    searched, _ = [frame.object for frame in story if frame.name == "thread.run.step.completed"]
    (call,) = searched["step_details"]["tool_calls"]
    (opened,) = [frame.object for frame in story if frame.name == "thread.run.step.delta"]
    (entry,) = opened["delta"]["step_details"]["tool_calls"]
    assert (entry["id"], entry["type"], entry["file_search"]["results"]) == (call["id"], "file_search", [])
    found = call["file_search"]["results"]
    assert any("dragon" in result["file_name"].lower() for result in found)
    assert all("content" not in result for result in found)

    (message,) = [frame.object for frame in story if frame.name == "thread.message.completed"]
    text = message["content"][0]["text"]
    assert text_of(story) == text["value"]
    assert text["annotations"]
    for annotation in text["annotations"]:
        assert text["value"][annotation["start_index"] : annotation["end_index"]] == annotation["text"]
        assert annotation["file_citation"]["file_id"] in {result["file_id"] for result in found}

    thread = path.split("/runs/")[0]
    assert desk.get(f"{thread}/messages/{message['id']}") == message
    assert as_streamed(desk.get(path)) == story[-2].object
    assert desk.get(f"{path}/steps/{searched['id']}") == {**searched, "expires_at": None}


def test_the_printed_command_streams_when_it_is_pasted(server: KumosProcess) -> None:
    command = server.output().split("in another terminal:", 1)[1].split("Ctrl-C", 1)[0]
    pasted = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60)
    assert pasted.returncode == 0, pasted.stderr
    story = frames(pasted.stdout)
    assert names(story)[:2] == ["thread.created", "thread.run.created"]
    assert_searched_and_answered(story[1:] and [Frame(f.id and f.id - 1, f.name, f.data) for f in story[1:]])
