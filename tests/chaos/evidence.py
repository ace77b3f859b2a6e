"""A kept history and the tables beside it, put in order for the checker: by thread, by run, by subscriber."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.history import ABOUT, TABLES, lines, noted
from tests.chaos.subscribers import TERMINAL

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the faults of a test excuse, and how it is to be read."""

    ends: tuple[str, ...] = ("completed",)
    """Statuses in which its runs may end."""
    refusals: tuple[int, ...] = ()
    """Answers of 5xx that its faults excuse; counted all the same."""
    errors: bool = False
    """Whether its faults excuse an `error` event at the end of a stream."""
    attempts: int = 1
    """Calls of the upstream that one claim of a run may make with the run's own prompt."""
    from_start: bool = False
    """Take-overs count from the last start of a server, not from the last sign of life of the run."""
    compacted: bool = False
    """Whether deltas may have gone from the log meanwhile."""
    late_seconds: float = 15.0
    """How long after its time a run may end (I1)."""
    hang_up_seconds: float | None = None
    """How long after the end of a run that was cancelled its call of the upstream may be open; None: not looked at."""
    clocks: bool = True
    """Whether the times in the log are right. Where a server's clock is wrong, those of the readers count."""
    memory: bool = False
    """Whether the servers lived through the test, so that their memory means something."""


@dataclass(frozen=True)
class About(Terms):
    """What a test says of itself (`about.json`)."""

    test: str
    database: str
    seed: int
    seconds: float = 0.0
    calls: Mapping[str, int] = field(default_factory=dict)
    """Calls of the upstream by prompt."""
    hung_up: Mapping[str, float] = field(default_factory=dict)
    """When the last of them ended, in seconds since the epoch."""
    open_seconds: float = 0.0
    """How long after the end calls of the upstream stayed open."""


@dataclass(slots=True)
class Subscription:
    """What one subscriber saw, over all its connections."""

    who: str
    run: str = ""
    opened: list[float] = field(default_factory=list)
    events: list[tuple[float, float, int, str, str]] = field(default_factory=list)
    """When its connection was opened, when it came, id, name, sha."""
    ends: list[str] = field(default_factory=list)

    @property
    def terminal(self) -> bool:
        return bool(self.events) and self.events[-1][3] in TERMINAL


@dataclass(slots=True)
class RunStory:
    """A run's row, the events of the log that are its own, and what it was asked."""

    row: Line
    prompt: str
    events: list[Line] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def terminals(self) -> list[Line]:
        return [event for event in self.events if event["name"] in TERMINAL]


class Evidence:
    def __init__(self, directory: Path) -> None:
        self.about = About(**noted(directory, ABOUT))
        tables = noted(directory, TABLES)
        self.threads: list[Line] = tables["threads"]
        self.messages: dict[str, Line] = {row["id"]: row for row in tables["messages"]}
        self.faults: list[str] = tables["faults"]
        self.log: dict[str, list[Line]] = defaultdict(list)
        prompts = {
            row["thread_id"]: text_of(decoded(row["content"])) for row in tables["messages"] if row["role"] == "user"
        }
        self.runs = {row["id"]: RunStory(row, prompts.get(row["thread_id"], "")) for row in tables["runs"]}
        for event in tables["events"]:
            self.log[event["thread_id"]].append(event)
            if event["run_id"] in self.runs:
                self.runs[event["run_id"]].events.append(event)
        self.lines: dict[str, list[Line]] = defaultdict(list)
        self.subscriptions: dict[str, Subscription] = {}
        for line in lines(directory):
            self.lines[line["kind"]].append(line)
            if "who" in line:
                self._subscribe(line)

    def _subscribe(self, line: Line) -> None:
        seen = self.subscriptions.setdefault(line["who"], Subscription(line["who"]))
        match line["kind"]:
            case "follows":
                seen.run = line["run"]
            case "open":
                seen.opened.append(line["t"])
                if line["after"] is None:
                    seen.events.clear()  # it begins anew
            case "event":
                seen.events.append((seen.opened[-1], line["t"], line["id"], line["name"], line["sha"]))
            case "end":
                seen.ends.append(line["how"])

    def ended_at(self, run: RunStory) -> float:
        """When the run's end was written, or, where clocks are wrong, when somebody saw it first."""
        if self.about.clocks:
            return float(run.terminals[0]["created_at"])
        seen = [
            came
            for subscription in self.subscriptions.values()
            if subscription.run == run.id
            for _, came, _, name, _ in subscription.events
            if name in TERMINAL
        ]
        return min(seen, default=run.row["expires_at"])

    def by_prompt(self, prompt: str) -> list[RunStory]:
        return [run for run in self.runs.values() if run.prompt == prompt]


def decoded(content: Any) -> Any:
    """JSON columns are text in SQLite."""
    return json.loads(content) if isinstance(content, str) else content


def text_of(content: Any) -> str:
    return "".join(part["text"]["value"] for part in content or [] if part["type"] == "text")
