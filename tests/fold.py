"""What a client knows that only listened: the objects that a thread's events add up to (P2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from streaming.models import Event

FINISHED = ("completed", "incomplete")


def fold(events: Iterable[Event], known: dict[str, dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    """Id → run, step or message: `known`, and what `events` add to it.

    Events carry whole objects; what deltas add to a step, no event repeats until it ends.

    Two rules are the contract's own: steps lose `expires_at` when their run is completed or incomplete (10.8), and a
    run's `tool_resources` are empty in one way in events, in another over REST (10.4).
    """
    objects: dict[str, dict[str, Any]] = known or {}
    for event in events:
        data = orjson.loads(event.data)
        if data["object"] == "thread.run.step.delta":
            add_calls(objects[data["id"]], data["delta"]["step_details"]["tool_calls"])
        elif data["object"] in ("thread.run", "thread.run.step", "thread.message"):
            objects[data["id"]] = data
        if data["object"] == "thread.run":
            assert data["tool_resources"] == {"code_interpreter": {"file_ids": []}}
            data["tool_resources"] = {}
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
            append(calls[index], entry)


def append(known: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, str) and key != "type":
            known[key] += value
        elif isinstance(value, dict):
            append(known[key], value)
        elif isinstance(value, list):
            for item in value:
                index = item.pop("index")
                if index == len(known[key]):
                    known[key].append(item)
                else:
                    append(known[key][index], item)


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
