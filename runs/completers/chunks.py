"""What a /chat/completions server streams, read with suspicion: bytes → lines → chunks → our events.

Bounded in every direction, tolerant of the ways in which servers differ, deaf to fields it does not know. The
connection, its time limits and its retries are `openai_compatible.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from assistants.ids import new_call_id
from runs.completers import CompleterEvent, Finish, FinishReason, TextDelta, ToolCallDelta, Usage

LINE_BYTES_MAX = 1024 * 1024
TEXT_CHARS_MAX = 10 * 1024 * 1024
CALLS_MAX = 128
DONE = object()
"""The chunk behind which a well-behaved server closes."""

REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class Malformed(Exception):
    """The answer cannot be used. The text says why, for `last_error.message`."""


class Cut(Malformed):
    """The answer ended before its end."""


class Lines:
    """Lines of a byte stream, split at LF with or without CR; at most LINE_BYTES_MAX are held."""

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        head, newline, tail = data.rpartition(b"\n")
        if not newline:
            self.rest += data
            lines = []
        else:
            lines = (bytes(self.rest) + head).split(b"\n")
            self.rest = bytearray(tail)
        if len(self.rest) > LINE_BYTES_MAX or any(len(line) > LINE_BYTES_MAX for line in lines):
            raise Malformed("The model server sent a line of more than 1 MB.")
        return [line.removesuffix(b"\r") for line in lines]


def chunk_in(line: bytes) -> Any:
    """The JSON of a `data:` line, DONE, or None for comments, other fields and blank lines."""
    if not line.startswith(b"data:"):
        return None
    data = line[5:].strip()
    if data == b"[DONE]":
        return DONE
    return parsed(data) if data else None


def parsed(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        chunk = None
    if not isinstance(chunk, dict):
        raise Malformed("The model server sent something that is not a JSON object.")
    return chunk


@dataclass(slots=True)
class Call:
    """A tool call under way. Arguments wait in `held` until the name is known."""

    index: int
    id: str
    name: str = ""
    held: str = ""


class Answer:
    """Folds the chunks of one turn into events. `Usage` and `Finish` come from `ending`, however they came in."""

    def __init__(self) -> None:
        self.reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.calls: list[Call] = []
        self.by_key: dict[int | str, Call] = {}
        self.chars = 0

    def events(self, chunk: Mapping[str, Any]) -> list[CompleterEvent]:
        """Events of a `chat.completion.chunk`, or of a whole `chat.completion`. Raises Malformed at a limit."""
        if usage := usage_in(chunk):
            self.usage = usage
        choice = first(chunk.get("choices"))
        delta = mapping(choice.get("delta")) or mapping(choice.get("message"))
        events: list[CompleterEvent] = []
        if text := text_in(delta.get("content")) + text_in(delta.get("refusal")):
            self.count(text)
            events.append(TextDelta(text))
        calls = delta.get("tool_calls")
        for piece in calls if isinstance(calls, list) else ():
            events += self.call_events(mapping(piece))
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self.reason = REASONS.get(reason, "stop")
        return events

    def call_events(self, piece: Mapping[str, Any]) -> list[CompleterEvent]:
        function = mapping(piece.get("function"))
        call = self.call_of(piece)
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        elif not isinstance(arguments, str):  # the object itself, where its JSON was due
            arguments = orjson.dumps(arguments).decode()
        self.count(arguments)
        if call.name:
            return [ToolCallDelta(call.index, arguments)] if arguments else []
        call.held += arguments
        if not isinstance(name := function.get("name"), str) or not name:
            return []
        call.name = name
        return [ToolCallDelta(call.index, call.held, id=call.id, name=name)]

    def call_of(self, piece: Mapping[str, Any]) -> Call:
        """The call a piece belongs to. Servers leave out the index, give every call index 0, or repeat id and name."""
        given = piece.get("id") if isinstance(piece.get("id"), str) else ""
        index = piece.get("index") if isinstance(piece.get("index"), int) else None
        if given and given in self.by_key:
            return self.by_key[given]
        known = self.by_key.get(index) if index is not None else self.calls[-1] if self.calls else None
        if known and not given:
            return known
        if len(self.calls) == CALLS_MAX:
            raise Malformed(f"The model called more than {CALLS_MAX} tools in one turn.")
        call = Call(len(self.calls), given or new_call_id())
        self.calls.append(call)
        self.by_key[call.id] = call
        if index is not None:
            self.by_key[index] = call
        return call

    def count(self, text: str) -> None:
        self.chars += len(text)
        if self.chars > TEXT_CHARS_MAX:
            raise Malformed("The model sent more than 10 MB of text.")

    def ending(self) -> list[CompleterEvent]:
        """`Usage` where it was reported, and `Finish`. Raises Cut, or Malformed for a call without a name."""
        if self.reason is None:
            raise Cut("The model server's answer was cut: it ended without a finish reason.")
        if any(not call.name for call in self.calls):
            raise Malformed("The model called a function without naming it.")
        reason = self.reason
        if reason in {"stop", "tool_calls"}:  # some servers say stop behind tool calls
            reason = "tool_calls" if self.calls else "stop"
        return [*([self.usage] if self.usage else []), Finish(reason)]


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def first(value: Any) -> Mapping[str, Any]:
    return mapping(value[0]) if isinstance(value, list) and value else {}


def text_in(content: Any) -> str:
    """Text of a content field: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(text for part in content if isinstance(text := mapping(part).get("text"), str))


def usage_in(chunk: Mapping[str, Any]) -> Usage | None:
    """None also where all of it is 0, as some servers say that do not count: no turn costs nothing."""
    usage = mapping(chunk.get("usage"))
    if not (tokens(usage, "prompt_tokens") or tokens(usage, "completion_tokens")):
        return None
    return Usage(
        prompt_tokens=tokens(usage, "prompt_tokens"),
        completion_tokens=tokens(usage, "completion_tokens"),
        cached_tokens=tokens(mapping(usage.get("prompt_tokens_details")), "cached_tokens"),
        reasoning_tokens=tokens(mapping(usage.get("completion_tokens_details")), "reasoning_tokens"),
    )


def tokens(usage: Mapping[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
