"""A run on one axis of time: when it waited for a runner, for a model, for a tool and for its client.

Worked out from what is stored anyway: the run, its steps, and when its events came; no database here. Between two
events of status the run did one thing after the other, so what no step accounts for is the model's time. Where the
server's own tool begins, no event says: its bar goes from the first piece of its call to the end of its step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

RUN = "thread.run."
TICKS = 5
STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(minutes * 60 for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440)),
)
"""Seconds between two ticks, at the finest and at the coarsest."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An event of the run: its name, and when it came."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Work:
    """A step. `calls` are the names of its tools, none for a message; `client`: one of them is run by the client."""

    id: str
    began: datetime
    ended: datetime | None
    status: str
    calls: tuple[str, ...] = ()
    client: bool = False
    interrupted: bool = False
    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time. `kind`: queue, model, message, tool, client, takeover; `share` and `start` are percents."""

    kind: str
    label: str
    began: datetime
    ended: datetime
    note: str = ""
    step: str = ""
    open: bool = False
    failed: bool = False

    @property
    def length(self) -> timedelta:
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time in which the run had one status; `broken`: it then failed."""

    status: str
    began: datetime
    ended: datetime
    open: bool
    broken: bool


@dataclass(slots=True)
class Axis:
    """From the run's creation to its end, or to now."""

    began: datetime
    ended: datetime
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = max((self.ended - self.began).total_seconds(), 0.001)

    def percent(self, at: datetime) -> float:
        return round(min(max((at - self.began).total_seconds() / self.seconds, 0.0), 1.0) * 100, 3)

    def width(self, bar: Bar) -> float:
        return round(self.percent(bar.ended) - self.percent(bar.began), 3)

    def ticks(self) -> list[tuple[float, str]]:
        """Round times with their places, at most TICKS behind the zero."""
        step = tick_of(self.seconds)
        count = int(self.seconds / step)
        return [
            (round(number * step / self.seconds * 100, 3), spoken(number * step, step)) for number in range(count + 1)
        ]


def tick_of(seconds: float) -> float:
    """The smallest round time of which TICKS reach `seconds`."""
    return next((step for step in STEPS if step * TICKS >= seconds), seconds / TICKS)


def spoken(at: float, step: float) -> str:
    if step >= 60:
        return f"{round(at / 60)} min"
    if step >= 1:
        return f"{round(at)} s"
    return f"{round(at * 1000)} ms" if step < 0.1 else f"{at:.1f} s"


def stretches_of(created: datetime, marks: Sequence[Mark], ended: datetime | None, now: datetime) -> list[Stretch]:
    """One after the other, from the run's creation on; the last is open while the run is active."""
    changes = [(created, "queued")]
    for mark in marks:
        name = mark.name.removeprefix(RUN)
        if mark.name.startswith(RUN) and not name.startswith("step.") and name != "created" and name != changes[-1][1]:
            changes.append((max(mark.at, changes[-1][0]), name))
    over = ended or now
    ends = [*changes[1:], (over, "")]
    found = [
        Stretch(status, at, max(min(end, over), at), open=ended is None and not then, broken=then == "failed")
        for (at, status), (end, then) in zip(changes, ends, strict=True)
    ]
    return [one for one in found if one.status in ("queued", "in_progress", "cancelling", "requires_action")]


def bars_of(
    created: datetime, marks: Sequence[Mark], steps: Sequence[Work], ended: datetime | None, now: datetime
) -> list[Bar]:
    """What happened, in order. `steps` in order of their beginning."""
    bars: list[Bar] = []
    turn = 0
    for stretch in stretches_of(created, marks, ended, now):
        match stretch.status:
            case "queued":
                again = "Waiting for a runner again" if bars else "Waiting for a runner"
                bars.append(Bar("queue", again, stretch.began, stretch.ended, open=stretch.open))
            case "requires_action":
                label = "Waiting for the client’s outputs"
                bars.append(Bar("client", label, stretch.began, stretch.ended, open=stretch.open))
            case _:
                mine = [
                    step for step in steps if stretch.began <= step.began < stretch.ended or step_opens(step, stretch)
                ]
                for bar in worked(stretch, mine, turn):
                    turn += bar.kind == "model"
                    bars.append(bar)
    return bars


def step_opens(step: Work, stretch: Stretch) -> bool:
    """Whether it began in the very moment that the stretch, which takes no time, did."""
    return step.began == stretch.began


def worked(stretch: Stretch, steps: Sequence[Work], turns: int) -> Iterator[Bar]:
    """What a runner did in one stretch: model calls, each with the steps that came of it.

    A turn is a message, or tool calls, or both: words before calls are a step of their own. It is over with its calls.
    """
    began, turn = stretch.began, []
    for step in steps:
        turn.append(step)
        if step.calls or step.interrupted:
            turns += 1
            yield from turn_of(turns, began, turn, stretch)
            if step.interrupted and step.ended:
                note = "What was open was closed, and begins again."
                yield Bar("takeover", "Taken over by another runner", step.ended, step.ended, note)
            began, turn = end_of(step, stretch), []
    if turn or (stretch.ended > began and not (steps and steps[-1].client)):
        yield from turn_of(turns + 1, began, turn, stretch)


def turn_of(number: int, began: datetime, steps: Sequence[Work], stretch: Stretch) -> Iterator[Bar]:
    """The model's bar, then those of its steps. The model is silent once its call is complete."""
    last = steps[-1] if steps else None
    if last is None:
        ended = stretch.ended
    elif last.calls and not last.client:
        ended = last.began
    else:
        ended = end_of(last, stretch)
    is_open = stretch.open and ended == stretch.ended and (last is None or last.ended is None)
    failed = any(step.status == "failed" for step in steps) or (stretch.broken and last is None)
    yield Bar("model", f"Model call {number}", began, max(ended, began), note_of(began, steps), "", is_open, failed)
    for step in steps:
        kind = "tool" if step.calls else "message"
        label = ", ".join(dict.fromkeys(step.calls)) if step.calls else "Message"
        yield Bar(
            kind,
            label,
            step.began,
            end_of(step, stretch),
            f"{len(step.calls)} calls" if len(step.calls) > 1 else "",
            step.id,
            stretch.open and step.ended is None,
            step.status == "failed",
        )


def end_of(step: Work, stretch: Stretch) -> datetime:
    """Calls of the client stay open until it answers: their part here ends with the stretch."""
    return max(min(step.ended or stretch.ended, stretch.ended), step.began)


def note_of(began: datetime, steps: Sequence[Work]) -> str:
    """How long the first piece took, and what the call has used."""
    if not steps:
        return ""
    parts = [f"first piece after {short(steps[0].began - began)}"]
    prompt, completion = sum(step.prompt for step in steps), sum(step.completion for step in steps)
    if prompt or completion:
        parts.append(f"{prompt:,} in, {completion:,} out")
    return " · ".join(parts)


def short(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0.0)
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
