"""What the tests of the scripted model ask it, and what they read out of its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from asgiref.sync import async_to_sync

from runs.completers import CompleterEvent, CompletionRequest, TextDelta, ToolCallDelta
from runs.completers.scripted import ScriptedCompleter
from tests.loops import PATIENCE_SECONDS


def function(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


FILE_SEARCH = function("file_search", query={"type": "string"})
WEATHER = function("get_weather", location={"type": "string"}, unit={"type": "string", "enum": ["celsius", "kelvin"]})


def asked(text: str, *more: Mapping[str, Any], **fields: Any) -> CompletionRequest:
    return CompletionRequest(model="scripted", messages=[{"role": "user", "content": text}, *more], **fields)


@async_to_sync
async def events_of(request: CompletionRequest) -> list[CompleterEvent]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [event async for event in ScriptedCompleter().stream(request)]


def text_of(events: Sequence[CompleterEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def said(text: str, *more: Mapping[str, Any], **fields: Any) -> str:
    return text_of(events_of(asked(text, *more, **fields)))


def calls_in(events: Sequence[CompleterEvent]) -> list[tuple[str, Any]]:
    """(name, arguments) of each call. Id and name must come once, with the first piece."""
    found: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            assert bool(event.id and event.name) == (event.index not in found)
            found.setdefault(event.index, [event.name]).append(event.arguments)
    return [(name, json.loads("".join(pieces))) for name, *pieces in found.values()]


def calls(text: str, *more: Mapping[str, Any], **fields: Any) -> list[tuple[str, Any]]:
    return calls_in(events_of(asked(text, *more, **fields)))


def after_call(name: str, output: str, arguments: str = "{}") -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": output},
    ]


def passage(number: int, file_name: str, text: str, score: float = 0.9) -> dict[str, Any]:
    return {"marker": f"【4:{number}†source】", "file_name": file_name, "score": score, "text": text}


def found(*passages: dict[str, Any]) -> list[dict[str, Any]]:
    return after_call("file_search", json.dumps({"results": passages}))


BRIEF = passage(
    0,
    "dragon_brief.md",
    "# Brief\n\nProject Dragon renews the billing system. Its budget is 4 million euros\nfor two years.",
)
PLAN = passage(
    1, "plan.pdf", "Plan of Project Dragon. Phase one of the work starts in March. Dr. Lin leads the team of nine.", 0.8
)
INSECTS = passage(2, "dragonfly.txt", "Project Dragonfly counts insects at the lake. It is far older.", 0.85)
