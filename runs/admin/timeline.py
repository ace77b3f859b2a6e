"""What the run page tells: the steps in order with their tool calls, and the events at both ends of the run's log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models.functions import Length

from assistants.admin.lists import capped_count, spoken
from assistants.admin.markup import badge, clipped, duration, error_in_words, list_of, pretty
from assistants.models import Message
from runs.models import Run, RunStep
from streaming.models import Event

STEPS_SHOWN = 200
EVENTS_SHOWN = 500
EVENTS_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage file_search found. `score` is between 0 and 1."""

    filename: str
    file_id: str
    score: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call: `asked` is its arguments or code, `answer` its output, `hits` what file_search found."""

    id: str
    title: str
    asked: str = ""
    answer: str = ""
    hits: Sequence[Hit] = ()


@dataclass(frozen=True, slots=True)
class Step:
    id: str
    title: str
    state: str
    took: str
    error: str
    tokens: str
    calls: Sequence[Call]
    message_id: str = ""
    message_href: str = ""


@dataclass(frozen=True, slots=True)
class EventLine:
    id: int
    seq: int
    name: str
    size: int
    after: str
    """Time since the run was created."""


@dataclass(frozen=True, slots=True)
class Log:
    """The run's events. Between `first` and `last` some are left out if `gap`."""

    first: Sequence[EventLine]
    last: Sequence[EventLine]
    total: str
    gap: bool


def hit_of(result: Mapping[str, Any]) -> Hit:
    passage = "\n".join(part.get("text", "") for part in result.get("content") or ())
    score = result.get("score")
    return Hit(
        str(result.get("file_name", "")),
        str(result.get("file_id", "")),
        f"{score:.2f}" if isinstance(score, int | float) else "–",
        clipped(passage, 4000),
    )


def call_of(call: Mapping[str, Any]) -> Call:
    """A tool call of `step_details` (contract 2.13); unknown types are shown as they are."""
    id, kind = str(call.get("id", "")), call.get("type")
    if kind == "function":
        function = call["function"]
        output = function.get("output")
        return Call(
            id,
            f"Function {function.get('name')}",
            pretty(function.get("arguments") or ""),
            "(no output yet)" if output is None else pretty(output),
        )
    if kind == "file_search":
        return Call(id, "File search", hits=[hit_of(result) for result in call["file_search"].get("results") or ()])
    if kind == "code_interpreter":
        outputs = call["code_interpreter"].get("outputs") or ()
        logs = "\n".join(
            output.get("logs") or f"(image {output.get('image', {}).get('file_id')})" for output in outputs
        )
        return Call(id, "Code interpreter", clipped(call["code_interpreter"].get("input") or ""), clipped(logs))
    return Call(id, str(kind), pretty(dict(call)))


def ended(step: RunStep) -> datetime | None:
    return step.completed_at or step.failed_at or step.cancelled_at or step.expired_at


def step_of(step: RunStep) -> Step:
    details = step.step_details
    message_id = details.get("message_creation", {}).get("message_id", "")
    calls = [call_of(call) for call in details.get("tool_calls", ())]
    end = ended(step)
    return Step(
        step.id,
        "Message" if step.type == "message_creation" else f"{len(calls)} tool call{'s' if len(calls) != 1 else ''}",
        badge(step.status),
        duration(end - step.created_at if end else None),
        error_in_words(step.last_error),
        f"{step.usage.get('total_tokens', 0):,} tokens" if step.usage else "",
        calls,
        message_id,
        list_of(Message, q=message_id) if message_id else "",
    )


def steps_of(run: Run) -> list[Step]:
    """The first `STEPS_SHOWN` steps."""
    return [step_of(step) for step in run.steps.order_by("created_at", "id")[:STEPS_SHOWN]]


def log_of(run: Run) -> Log:
    """The first and the last `EVENTS_SHOWN` events of the run, without their data, and how many there are."""
    events = Event.objects.filter(run_id=run.id)
    lines = events.annotate(size=Length("data")).values_list("id", "seq", "name", "size", "created_at")
    first = list(lines.order_by("seq")[:EVENTS_SHOWN])
    last = []
    if len(first) == EVENTS_SHOWN:
        last = list(lines.filter(seq__gt=first[-1][1]).order_by("-seq")[:EVENTS_SHOWN])[::-1]
    total = capped_count(events, EVENTS_COUNTED) if len(last) == EVENTS_SHOWN else len(first) + len(last)

    def line(id: int, seq: int, name: str, size: int, at: datetime) -> EventLine:
        return EventLine(id, seq, name, size, duration(at - run.created_at))

    return Log(
        [line(*row) for row in first],
        [line(*row) for row in last],
        spoken(total, EVENTS_COUNTED),
        total > len(first) + len(last),
    )
