"""A streamed POST that comes again with its Idempotency-Key joins the stream of the one run, from its beginning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.events import HEARTBEAT, Desk, names
from tests.process import KumosProcess

pytestmark = pytest.mark.e2e

TEXT = "!slow 20 !long 60"
GET_WEATHER = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture
def desk(server: KumosProcess) -> Iterator[Desk]:
    with Desk(server) as desk:
        yield desk


def keyed(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def body_of(desk: Desk, **fields: Any) -> dict[str, Any]:
    """Of POST /threads/runs."""
    thread = {"messages": [{"role": "user", "content": TEXT}]}
    return {"assistant_id": desk.assistant(), "thread": thread, "stream": True, **fields}


def test_a_duplicate_joins_the_stream_from_its_start(desk: Desk) -> None:
    body = body_of(desk)
    first = desk.watch("/threads/runs", post=body, headers=keyed("joins"))
    first.wait_for("thread.message.delta", 3)

    joined = desk.watch("/threads/runs", post=body, headers=keyed("joins"))
    assert first.end() == joined.end()
    late = desk.watch("/threads/runs", post=body, headers=keyed("joins"))
    late.end()

    told = [watcher.raw.replace(HEARTBEAT, b"") for watcher in (first, joined, late)]
    assert told[0] == told[1] == told[2]
    assert names(first.frames)[0] == "thread.created"
    assert names(first.frames)[-2:] == ["thread.run.completed", "done"]
    assert ["idempotent-replayed" in watcher.headers for watcher in (first, joined, late)] == [False, True, True]


def test_a_reader_that_was_cut_comes_back_with_its_key(desk: Desk) -> None:
    thread, assistant = desk.thread(TEXT), desk.assistant()
    body = {"assistant_id": assistant, "stream": True}
    first = desk.watch(f"/threads/{thread}/runs", post=body, headers=keyed("cut"))
    first.wait_for("thread.message.delta")
    first.close()

    again = desk.watch(f"/threads/{thread}/runs", post=body, headers=keyed("cut"))
    assert names(again.end())[-2:] == ["thread.run.completed", "done"]
    assert again.raw.replace(HEARTBEAT, b"").startswith(
        first.raw[: first.raw.rfind(b"\n\n") + 2].replace(HEARTBEAT, b"")
    )
    assert len(desk.get(f"/threads/{thread}/runs")["data"]) == 1


def test_outputs_are_taken_once(desk: Desk) -> None:
    """And the answer to them goes on from where they were taken, not from the run's first event."""
    call = {"type": "function", "function": {"name": "get_weather"}}
    path = desk.ask("What is the weather in Lund?", tools=[GET_WEATHER], tool_choice=call)
    waiting = desk.ended(path)
    (asked,) = waiting["required_action"]["submit_tool_outputs"]["tool_calls"]
    body = {"tool_outputs": [{"tool_call_id": asked["id"], "output": "Rain."}], "stream": True}

    told = [desk.watch(f"{path}/submit_tool_outputs", post=body, headers=keyed("outputs")) for _ in range(2)]

    assert told[0].end() == told[1].end()
    assert "thread.run.created" not in names(told[0].frames)


def test_another_body_is_refused_before_anything_is_streamed(desk: Desk) -> None:
    body = body_of(desk)
    desk.watch("/threads/runs", post=body, headers=keyed("mismatch"))
    answer = desk.refused("POST", "/threads/runs", json={**body, "stream": False}, headers=keyed("mismatch"))
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "idempotency_key_reused"
