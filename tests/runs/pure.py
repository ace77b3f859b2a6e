"""What a run may become, without a database: the model that the real functions are held against (design, section 4).

A run is its status, its epoch, its lease and what is open in it. `attempt` says what a worker's report must come to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ACTIVE = ("queued", "in_progress", "requires_action", "cancelling")
HELD = ("in_progress", "cancelling")
CRASH_CAP = 3

Outcome = Literal["done", "fenced", "cancel"]


@dataclass
class PureRun:
    thread: str
    age: int
    status: str = "queued"
    epoch: int = 0
    lease: Literal["held", "over", ""] = ""
    worker: str = ""
    crashes: int = 0
    overdue: bool = False
    said: dict[str, str] = field(default_factory=dict)
    """Message id → the text that was streamed of it."""

    def end(self, status: str) -> None:
        self.status, self.lease, self.worker = status, "", ""

    def wait(self) -> None:
        self.status, self.lease, self.worker = "requires_action", "", ""

    def attempt(self, epoch: int) -> Outcome:
        """A report of the worker that holds the run with `epoch`; one that is done renews the lease."""
        if self.epoch != epoch or self.status not in HELD:
            return "fenced"
        if self.status == "cancelling":
            return "cancel"
        self.lease = "held"
        return "done"

    @property
    def on_last_chance(self) -> bool:
        """Nobody has it, and one more crash would end it: it waits for a worker of its own."""
        abandoned = self.status == "in_progress" and self.lease != "held"
        return abandoned and self.crashes + (self.lease == "over") == CRASH_CAP - 1

    def claimed(self, worker: str, *, fail: bool) -> bool:
        """What a claim makes of it. Whether the worker has it now; `fail` is INTERRUPTED_RUN."""
        if self.overdue:
            self.end("expired")
        elif self.status == "cancelling":
            self.end("cancelled")
        else:
            crashed = self.lease == "over"
            self.epoch += 1
            self.crashes += crashed
            if self.crashes >= CRASH_CAP or (crashed and fail):
                self.end("failed")
            else:
                self.status, self.lease, self.worker = "in_progress", "held", worker
                return True
        return False

    def cancel(self) -> bool:
        """Whether it could be."""
        if self.status not in ("queued", "in_progress", "requires_action"):
            return False
        self.status = "cancelling"
        if not self.lease:
            self.end("cancelled")
        return True

    def look(self) -> None:
        """Reading or sweeping an overdue run ends it."""
        if self.overdue and self.status in ACTIVE:
            self.end("expired")
