"""What happens in a run, as events: their names (contract 3.3), what they carry (3.4–3.9), what they add up to.

Every event of a run is made here; `transitions.py` and `progress.py` decide when. Deltas are built by hand: they are
the hot path, and never resend a value, since clients add up whatever repeats (3.9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from assistants.models import Message
from assistants.serializers.message import message_object
from runs.models import Run, RunStep
from runs.serializers import INCLUDE_CONTENT, run_object, step_object
from streaming.journal import Draft, encode
from streaming.models import Event

MESSAGE_DELTA = "thread.message.delta"
STEP_DELTA = "thread.run.step.delta"

EMPTY_TEXT: dict[str, Any] = {"type": "text", "text": {"value": "", "annotations": []}}


def run_event(run: Run, name: str = "") -> Draft:
    """`thread.run.<status>` (or `thread.run.<name>`) with the run as it is."""
    return Draft(f"thread.run.{name or run.status}", encode(run_object(run, streamed=True)), run.id)


def step_event(step: RunStep, run: Run, name: str = "") -> Draft:
    shown = step_object(step, run, with_content=INCLUDE_CONTENT in run.include)
    return Draft(f"thread.run.step.{name or step.status}", encode(shown), run.id)


def message_event(message: Message, run: Run, name: str = "") -> Draft:
    return Draft(f"thread.message.{name or message.status}", encode(message_object(message)), run.id)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of streamed text. With an annotation it is the whole marker that the annotation is about."""

    text: str
    annotation: Mapping[str, Any] | None = None


def text_deltas(run: Run, message_id: str, pieces: Sequence[Piece], *, first: bool, annotations: int) -> list[Draft]:
    """`pieces` as few deltas as possible: plain text is merged, a marker comes alone with its annotation.

    `first` says that nothing of the message was streamed yet, `annotations` how many of its annotations were.
    """
    drafts: list[Draft] = []
    plain: list[str] = []

    def delta(value: str, added: list[dict[str, Any]]) -> None:
        text: dict[str, Any] = {"value": value}
        if added or (first and not drafts):
            text["annotations"] = added
        content = [{"index": 0, "type": "text", "text": text}]
        data = {"id": message_id, "object": MESSAGE_DELTA, "delta": {"content": content}}
        drafts.append(Draft(MESSAGE_DELTA, encode(data), run.id))

    for piece in pieces:
        if piece.annotation is None:
            plain.append(piece.text)
            continue
        if plain:
            delta("".join(plain), [])
            plain = []
        delta(piece.text, [{"index": annotations, **piece.annotation}])
        annotations += 1
    if plain:
        delta("".join(plain), [])
    return drafts


def call_deltas(run: Run, step_id: str, entries: Sequence[Mapping[str, Any]]) -> list[Draft]:
    """Pieces of tool calls in as few deltas as possible: one delta has at most one entry per `index` (3.5–3.7, 3.9)."""
    groups: list[dict[int, Mapping[str, Any]]] = []
    for entry in entries:
        if not groups or entry["index"] in groups[-1]:
            groups.append({})
        groups[-1][entry["index"]] = entry
    drafts = []
    for group in groups:
        details = {"type": "tool_calls", "tool_calls": list(group.values())}
        data = {"id": step_id, "object": STEP_DELTA, "delta": {"step_details": details}}
        drafts.append(Draft(STEP_DELTA, encode(data), run.id))
    return drafts


def streamed_content(run: Run, message_id: str) -> list[dict[str, Any]]:
    """The content that the logged deltas of a message add up to: one text part, empty where nothing was streamed.

    Never the empty list: clients that saw another message in the same stream fail on it (3.9).
    """
    value: list[str] = []
    annotations: list[dict[str, Any]] = []
    for delta in logged_deltas(run, MESSAGE_DELTA, message_id):
        text = delta["content"][0]["text"]
        value.append(text["value"])
        for annotation in text.get("annotations", ()):
            annotations.append({key: item for key, item in annotation.items() if key != "index"})
    return [{"type": "text", "text": {"value": "".join(value), "annotations": annotations}}]


def streamed_calls(run: Run, step_id: str) -> list[dict[str, Any]]:
    """The calls that the logged deltas of a step add up to, as clients add them (3.9)."""
    calls: list[dict[str, Any]] = []
    for delta in logged_deltas(run, STEP_DELTA, step_id):
        add_entries(calls, delta["step_details"]["tool_calls"])
    return calls


def logged_deltas(run: Run, name: str, id: str) -> Iterator[dict[str, Any]]:
    """What the log's deltas of the message or step `id` say, in their order."""
    rows = Event.objects.filter(run_id=run.id, name=name).order_by("seq").values_list("data", flat=True)
    for row in rows.iterator():
        data = orjson.loads(row)
        if data["id"] == id:
            yield data["delta"]


def add_entries(known: list[dict[str, Any]], entries: Sequence[Mapping[str, Any]]) -> None:
    """Adds pieces of calls, or of a call's outputs, to what is `known`: each at its index, strings by appending."""
    for entry in entries:
        new = {key: value for key, value in entry.items() if key != "index"}
        if entry["index"] == len(known):
            known.append(new)
        else:
            add_up(known[entry["index"]], new)


def add_up(known: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        match value:
            case str() if key != "type":
                known[key] = known.get(key, "") + value
            case list():
                add_entries(known.setdefault(key, []), value)
            case dict():
                add_up(known.setdefault(key, {}), value)
