"""One row for each run of a chaos test, with what was lost and doubled, and how sure that is. As JSON and as Markdown.

`python -m tests.chaos.report FILE` prints the rows of a `report.jsonl` as the table of docs/reliability.md.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tests.chaos.evidence import Evidence, RunStory

REPORT = "report.jsonl"


@dataclass(frozen=True, slots=True)
class Row:
    """Times are seconds: median, 95th percentile, longest. `bound`: how often, at most, with 95 % confidence, a run
    meets with what none of these did (the rule of three: 3/N)."""

    test: str
    database: str
    seed: int
    runs: int
    injections: int
    streams: int
    events: int
    lost: int
    doubled: int
    gaps: int
    twice: int
    wrong: int
    stale: int
    other: int
    answers_5xx: int
    take_overs: int
    take_over: tuple[float, float, float]
    stall: tuple[float, float, float]
    seconds: float
    bound: float
    cancel: tuple[float, float, float] = (0.0, 0.0, 0.0)


TITLES = {
    "test": "Test",
    "database": "Database",
    "seed": "Seed",
    "runs": "Runs",
    "injections": "Faults",
    "streams": "Streams",
    "events": "Events read",
    "lost": "Lost",
    "doubled": "Doubled ends",
    "gaps": "Gaps",
    "twice": "Events twice",
    "wrong": "Wrong texts",
    "stale": "Stale writes",
    "other": "Other faults",
    "answers_5xx": "5xx",
    "take_overs": "Take-overs",
    "take_over": "Take-over p50/p95/max (s)",
    "stall": "Stall p50/p95/max (s)",
    "seconds": "Took (s)",
    "bound": "3/N",
    "cancel": "Cancel p50/p95/max (s)",
}


def row_of(evidence: Evidence, counts: Mapping[str, int], violations: int) -> Row:
    counted = ("lost", "doubled", "gaps", "twice", "wrong", "stale")
    times = list(take_overs(evidence))
    about, runs = evidence.about, len(evidence.runs)
    return Row(
        test=about.test,
        database=about.database,
        seed=about.seed,
        runs=runs,
        injections=sum(line["what"] != "start" for line in evidence.lines["fault"]),
        streams=len(evidence.subscriptions),
        events=len(evidence.lines["event"]),
        **{name: counts.get(name, 0) for name in counted},
        other=violations - sum(counts.get(name, 0) for name in counted),
        answers_5xx=sum(line["status"] >= 500 for line in evidence.lines["answer"]),
        take_overs=sum(run.row["crash_attempts"] for run in evidence.runs.values()),
        take_over=spread(times),
        stall=spread(list(stalls(evidence))),
        seconds=round(about.seconds, 1),
        bound=round(3 / runs, 5) if runs else 1.0,
        cancel=spread(list(cancels(evidence))),
    )


def take_overs(evidence: Evidence) -> Iterable[float]:
    """For each step that was interrupted and begun again: from the run's last sign of life, or from the start of the
    server that took it over, to the event that says so."""
    starts = [line["t"] for line in evidence.lines["fault"] if line["what"] == "start"]
    for run in evidence.runs.values():
        for moment, before in interruptions(run):
            began = max((start for start in starts if start <= moment), default=moment)
            yield moment - (began if evidence.about.from_start else before)


def interruptions(run: RunStory) -> Iterable[tuple[float, float]]:
    """When an open step was closed by a successor, and when the event before that was written."""
    begun = [event["seq"] for event in run.events if event["name"] == "thread.run.step.created"]
    for event in run.events:
        if event["name"] == "thread.run.step.failed" and any(seq > event["seq"] for seq in begun):
            moment = event["created_at"]
            yield (
                moment,
                max((other["created_at"] for other in run.events if other["created_at"] < moment), default=moment),
            )


def stalls(evidence: Evidence) -> Iterable[float]:
    """For each stream, how long the slowest event took from its commit to an open connection; none by wrong clocks."""
    if not evidence.about.clocks:
        return
    for seen in evidence.subscriptions.values():
        run = evidence.runs.get(seen.run)
        if run is None:
            continue
        stored = {event["seq"]: event["created_at"] for event in run.events}
        delays = [came - stored[id] for opened, came, id, _, _ in seen.events if opened < stored.get(id, 0.0)]
        if delays:
            yield max(delays)


def cancels(evidence: Evidence) -> Iterable[float]:
    """From the answer to a cancel to the run's end, for those that were still to be ended by a worker."""
    for line in evidence.lines["cancel"]:
        run = evidence.runs.get(line["run"])
        if line["status"] == 200 and run is not None and run.terminals:
            yield max(run.terminals[-1]["created_at"] - line["t"], 0.0)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile, maximum; zeros if there are none."""
    if not values:
        return (0.0, 0.0, 0.0)
    ordered = sorted(values)
    places = (0.5, 0.95, 1.0)
    middle, high, most = (ordered[max(0, math.ceil(place * len(ordered)) - 1)] for place in places)
    return (round(middle, 2), round(high, 2), round(most, 2))


def append(row: Row, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / REPORT).open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def markdown(rows: Iterable[Row]) -> str:
    names = [field.name for field in fields(Row)]
    table = [[TITLES[name] for name in names], ["---"] * len(names)]
    table += [[cell(getattr(row, name)) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        if not any(value):
            return "–"  # nothing was measured
        return " / ".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    print(markdown(Row(**json.loads(line)) for line in Path(sys.argv[1]).read_text().splitlines()))  # noqa: T201


if __name__ == "__main__":
    main()
