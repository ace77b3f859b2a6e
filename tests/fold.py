"""What a client knows that only listened: the objects that a thread's events add up to (P2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from streaming.models import Event

FINISHED = ("completed", "incomplete")


def fold(events: Iterable[Event]) -> dict[str, dict[str, Any]]:
    """Id → run, step or message. Events carry whole objects; what deltas add to a step, no event repeats until it ends.

    One rule is the contract's own: steps lose `expires_at` when their run is completed or incomplete (10.8).
    """
    objects: dict[str, dict[str, Any]] = {}
    for event in events:
        data = orjson.loads(event.data)
        if data["object"] == "thread.run.step.delta":
            add_calls(objects[data["id"]], data["delta"]["step_details"]["tool_calls"])
        elif data["object"] in ("thread.run", "thread.run.step", "thread.message"):
            objects[data["id"]] = data
        if data["object"] == "thread.run" and data["status"] in FINISHED:
            for other in objects.values():
                if other["object"] == "thread.run.step" and other["run_id"] == data["id"]:
                    other["expires_at"] = None
    return objects


def add_calls(step: dict[str, Any], entries: Iterable[dict[str, Any]]) -> None:
    """As the SDKs do it: a call is introduced once, strings of later entries are appended."""
    calls = step["step_details"]["tool_calls"]
    for entry in entries:
        index = entry.pop("index")
        if index == len(calls):
            calls.append(entry)
        else:
            calls[index]["function"]["arguments"] += entry["function"]["arguments"]


def fetched(client: Any, thread_id: str, run_id: str) -> dict[str, dict[str, Any]]:
    """The same objects as GET returns them now."""
    run = client.get(f"/threads/{thread_id}/runs/{run_id}").json()
    steps = client.get(f"/threads/{thread_id}/runs/{run_id}/steps", {"limit": 100}).json()["data"]
    objects = {run["id"]: run, **{step["id"]: step for step in steps}}
    for step in steps:
        if step["type"] == "message_creation":
            message_id = step["step_details"]["message_creation"]["message_id"]
            objects[message_id] = client.get(f"/threads/{thread_id}/messages/{message_id}").json()
    return objects
