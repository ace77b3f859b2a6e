"""What the run page tells of what happened: the steps in order with their tool calls, the axis of time they lie on, and
the events at both ends of the run's log. Who may not read content gets no arguments, outputs and passages; nobody gets
the secrets in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models.functions import Length

from assistants import clock
from assistants.admin.content import HIDDEN
from assistants.admin.lists import capped_count, spoken
from assistants.admin.markup import badge, clipped, duration, error_in_words, list_of, pretty
from assistants.masking import masked
from assistants.models import Message
from runs.models import Run, RunStatus, RunStep, StepType
from runs.recovery import STEP_ERROR
from streaming.models import Event

from .timeline_bars import Axis, Bar, Mark, Work, bars_of

STEPS_SHOWN = 200
EVENTS_SHOWN = 500
EVENTS_COUNTED = 100_000
EVENTS_READ = 20_000
MARKS_READ = 500
NAMES_SHOWN = 12
STATUSES = [f"thread.run.{status}" for status in RunStatus.values]


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
    names: Sequence[tuple[str, int]]
    """How often each name is among those shown."""


def hit_of(result: Mapping[str, Any], *, readable: bool) -> Hit:
    passage = "\n".join(part.get("text", "") for part in result.get("content") or ()) if readable else HIDDEN
    score = result.get("score")
    return Hit(
        str(result.get("file_name", "")),
        str(result.get("file_id", "")),
        f"{score:.2f}" if isinstance(score, int | float) else "–",
        clipped(masked(passage), 4000),
    )


def call_of(call: Mapping[str, Any], asked: str = "", *, readable: bool) -> Call:
    """A tool call of `step_details` (contract 2.13); unknown types are shown as they are.

    `asked` are its arguments where the wire does not show them.
    """
    id, kind = str(call.get("id", "")), call.get("type")
    if not readable:
        return hidden_call(id, call)
    if kind == "function":
        function = call["function"]
        output = function.get("output")
        return Call(
            id,
            f"Function {function.get('name')}",
            pretty(masked(function.get("arguments") or "")),
            "(no output yet)" if output is None else pretty(masked(output)),
        )
    if kind == "file_search":
        results = call["file_search"].get("results") or ()
        hits = [hit_of(result, readable=True) for result in results]
        return Call(id, searched(hits), pretty(masked(asked)) if asked else "", hits=hits)
    if kind == "code_interpreter":
        outputs = call["code_interpreter"].get("outputs") or ()
        logs = "\n".join(
            output.get("logs") or f"(image {output.get('image', {}).get('file_id')})" for output in outputs
        )
        code = call["code_interpreter"].get("input") or ""
        return Call(id, "Code interpreter", clipped(masked(code)), clipped(masked(logs)))
    return Call(id, str(kind), pretty(masked(dict(call))))


def hidden_call(id: str, call: Mapping[str, Any]) -> Call:
    if call.get("type") == "file_search":
        hits = [hit_of(result, readable=False) for result in call["file_search"].get("results") or ()]
        return Call(id, searched(hits), hits=hits)
    return Call(id, f"Function {name_of(call)}" if call.get("type") == "function" else name_of(call), HIDDEN)


def searched(hits: Sequence[Hit]) -> str:
    return f"File search, {len(hits)} passage{'s' if len(hits) != 1 else ''}" if hits else "File search"


def name_of(call: Mapping[str, Any]) -> str:
    """What a tool call is called on the axis."""
    if call.get("type") == "function":
        return str(call["function"].get("name") or "function")
    return str(call.get("type") or "tool").replace("_", " ")


def ended(step: RunStep) -> datetime | None:
    return step.completed_at or step.failed_at or step.cancelled_at or step.expired_at


def step_of(step: RunStep, *, readable: bool) -> Step:
    details = step.step_details
    message_id = details.get("message_creation", {}).get("message_id", "")
    asked = step.call_arguments
    calls = [
        call_of(call, asked.get(call.get("id", ""), ""), readable=readable) for call in details.get("tool_calls", ())
    ]
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


def steps_of(run: Run) -> list[RunStep]:
    """The first `STEPS_SHOWN` steps."""
    return list(run.steps.order_by("created_at", "id")[:STEPS_SHOWN])


def work_of(step: RunStep) -> Work:
    """A step as `timeline_bars.py` wants it."""
    calls = step.step_details.get("tool_calls") or ()
    usage = step.usage or {}
    is_tools = step.type == StepType.TOOL_CALLS
    return Work(
        step.id,
        step.created_at,
        ended(step),
        step.status,
        tuple(name_of(call) for call in calls) or (("tool",) if is_tools else ()),
        client=any(call.get("type") == "function" for call in calls),
        interrupted=step.last_error == STEP_ERROR,
        prompt=usage.get("prompt_tokens", 0),
        completion=usage.get("completion_tokens", 0),
    )


def marks_of(run: Run) -> list[Mark]:
    """When the run's status changed, as far as the first `EVENTS_READ` numbers of its log tell."""
    events = Event.objects.filter(run_id=run.id).order_by("seq")
    first = events.values_list("seq", flat=True).first()
    if first is None:
        return []
    changes = events.filter(seq__lt=first + EVENTS_READ, name__in=STATUSES)
    return [Mark(name, at) for name, at in changes.values_list("name", "created_at")[:MARKS_READ]]


@dataclass(frozen=True, slots=True)
class Row:
    """A bar with its place: `x`, `width` and `end` in percent of the axis."""

    bar: Bar
    x: float
    width: float
    after: str
    took: str


@dataclass(frozen=True, slots=True)
class Picture:
    rows: Sequence[Row]
    ticks: Sequence[tuple[float, str]]


def picture_of(run: Run, steps: Sequence[RunStep], over: datetime | None) -> Picture:
    """The run on one axis, from its creation to its end or to now."""
    moment = clock.now()
    axis = Axis(run.created_at, over or moment)
    bars = bars_of(run.created_at, marks_of(run), [work_of(step) for step in steps], over, moment)
    rows = [
        Row(bar, axis.percent(bar.began), axis.width(bar), duration(bar.began - run.created_at), duration(bar.length))
        for bar in bars
    ]
    return Picture(rows, axis.ticks())


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
        Counter(row[2] for row in (*first, *last)).most_common(NAMES_SHOWN),
    )
