"""That the streams which the SDKs read are the hard ones: events with ids, and heartbeats between them.

Read here without an SDK, from the same server at the same pace. A heartbeat is a comment line with no blank line after
it; with one, every Python SDK would die of it once an event had an id (contract 3.2).
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.process import KumosProcess

pytestmark = pytest.mark.contract

HEARTBEAT = b": keep-alive\n"
GET_WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("!long 12", {}),
    "slow text": ("!slow 5 !long 4", {}),
    "search": ("Summarize 'Project Dragon' based on all available files", {"tools": [{"type": "file_search"}]}),
    "call": ("What is the weather in Paris and Rome?", {"tools": [GET_WEATHER]}),
    "failure": ("!fail server_error after 4", {}),
    "token limit": ("!length 6", {}),
}


def streamed(client: httpx.Client, path: str, body: dict[str, Any]) -> bytes:
    answer = client.post(f"/v1{path}", json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    return answer.content


def assert_hard(raw: bytes) -> None:
    assert HEARTBEAT in raw[raw.index(b"id: ") :], "no heartbeat after an event with an id"
    assert HEARTBEAT + b"\n" not in raw
    assert raw.endswith(b"event: done\ndata: [DONE]\n\n")


@pytest.mark.parametrize("name", STREAMS)
def test_heartbeats_come_between_events_with_ids(kumos: KumosProcess, name: str) -> None:
    question, fields = STREAMS[name]
    with kumos.client() as client:
        assistant = client.post("/v1/assistants", json={"model": "scripted", **fields}).json()["id"]
        thread = client.post("/v1/threads", json={"messages": [{"role": "user", "content": question}]}).json()["id"]
        assert_hard(streamed(client, f"/threads/{thread}/runs", {"assistant_id": assistant}))
        run = client.get(f"/v1/threads/{thread}/runs").json()["data"][0]
        if run["required_action"]:
            calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            outputs = [{"tool_call_id": call["id"], "output": "Mild, with rain towards the evening."} for call in calls]
            path = f"/threads/{thread}/runs/{run['id']}/submit_tool_outputs"
            assert_hard(streamed(client, path, {"tool_outputs": outputs}))
