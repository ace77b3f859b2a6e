"""What is done to every run that a narrowing matches, some at a time: each batch is one short transaction.

An action goes on for `SECONDS` and says how far it came, so that whoever asked sees it, and no request lasts long. What
it carries from one request to the next is in `Progress`; the page that asks and shows is `actions_page.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q, QuerySet

from assistants.errors import ApiError
from assistants.rows import Vanished
from runs import budgets, queue
from runs.models import ACTIVE, Run
from runs.transitions import CANCELLED_FROM, RETRIED_FROM, cancel_runs, retry_run, retryable

from .narrowing import Narrowing

PERMISSION = "runs.change_run"
"""What it takes to do any of this, to one run or to many."""
BATCH = 50
SECONDS = 2.0


@dataclass(frozen=True)
class Done:
    """What became of some runs: it was done to `count` of them, and `untried` ones are behind where it was `stopped`,
    for a reason that concerns them as well."""

    count: int
    untried: int = 0
    stopped: str = ""


@dataclass(frozen=True)
class Action:
    """`possible` are those of some runs that it can be done to, of those in one of the statuses `concerns`."""

    name: str
    title: str
    done: str
    concerns: tuple[str, ...]
    possible: Callable[[QuerySet[Run]], QuerySet[Run]]
    act: Callable[[Sequence[str], str], Done]
    """Does it to the runs of these ids in one short transaction, on behalf of somebody."""
    why_not: str
    settle: Callable[[int], int] | None = None
    """What is left to do once it was done to all: takes how much at most, and returns how much there was."""

    def matching(self, narrowing: Narrowing) -> QuerySet[Run]:
        """What the narrowing asks for, without what was made since it asked, such as what this action makes."""
        return narrowing.exactly().filter(status__in=self.concerns, created_at__lte=narrowing.asked_at)

    def candidates(self, narrowing: Narrowing) -> QuerySet[Run]:
        return self.possible(self.matching(narrowing))


@transaction.atomic
def retry_runs(ids: Sequence[str], made_by: str) -> Done:
    """Stops where a budget is used up: that has nothing to do with the run, and whoever asked is to know it."""
    done = 0
    runs = list(Run.objects.filter(pk__in=ids).order_by("created_at", "pk"))
    for number, run in enumerate(runs):
        try:
            retry_run(run, made_by)
        except budgets.UsedUp as error:
            return Done(done, untried=len(runs) - number, stopped=str(error))
        except (ApiError, Vanished):
            continue  # its thread went on or was deleted in this moment
        done += 1
    return Done(done)


ACTIONS = {
    action.name: action
    for action in (
        Action(
            name="cancel",
            title="Cancel all that match…",
            done="Cancelled",
            concerns=ACTIVE,
            possible=lambda runs: runs.filter(status__in=CANCELLED_FROM),
            act=lambda ids, made_by: Done(cancel_runs(ids)),
            why_not="are being cancelled already",
            settle=queue.end_cancelled,
        ),
        Action(
            name="retry",
            title="Retry all that match…",
            done="Retried",
            concerns=RETRIED_FROM,
            possible=retryable,
            act=retry_runs,
            why_not="cannot be retried: their threads went on since",
        ),
    )
}


@dataclass(frozen=True)
class Progress:
    """How far an action came: `last` is the run it stopped behind, `entry` the audit log's. `stopped` says why it goes
    no further, where that is before its end."""

    total: int
    done: int = 0
    refused: int = 0
    last: tuple[datetime, str] | None = None
    entry: int | None = None
    stopped: str = ""

    @property
    def left(self) -> int:
        return max(0, self.total - self.done - self.refused)

    @property
    def in_words(self) -> str:
        """What is to be said beside how many it was done to; begins with a space, if there is anything."""
        refused = f" {self.refused:,} could not be: they changed meanwhile." if self.refused else ""
        return f"{refused} It stopped there: {self.stopped}" if self.stopped else refused

    def packed(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "last": self.last and (self.last[0].isoformat(), self.last[1])}

    @classmethod
    def unpacked(cls, packed: dict[str, Any]) -> Progress:
        last = packed["last"]
        return cls(**{**packed, "last": last and (datetime.fromisoformat(last[0]), last[1])})


def go_on(action: Action, narrowing: Narrowing, progress: Progress, user_id: int) -> tuple[Progress, bool]:
    """Does it to the next ones, and says whether that was all of them. The audit log has the same numbers."""
    enough_at = time.monotonic() + SECONDS
    finished = False
    while not finished:
        progress, finished = one_batch(action, narrowing, progress, f"user {user_id}")
        if time.monotonic() >= enough_at:
            break
    if finished and action.settle is not None:
        finished = action.settle(BATCH) < BATCH
        while not finished and time.monotonic() < enough_at:
            finished = action.settle(BATCH) < BATCH
    return note(action, narrowing, progress, user_id), finished


def one_batch(action: Action, narrowing: Narrowing, progress: Progress, made_by: str) -> tuple[Progress, bool]:
    rows = action.candidates(narrowing)
    if progress.last is not None:
        at, pk = progress.last
        rows = rows.filter(Q(created_at__gt=at) | Q(created_at=at, pk__gt=pk), created_at__gte=at)
    columns = rows.order_by("created_at", "pk").values_list("pk", "created_at", "last_error")
    batch = list(columns[:BATCH])
    chosen = [pk for pk, _, last_error in batch if narrowing.of_error(last_error)]
    done = action.act(chosen, made_by) if chosen else Done(0)
    # they ended or were deleted in this moment, or their threads went on
    refused = len(chosen) - done.count - done.untried
    came = replace(
        progress,
        done=progress.done + done.count,
        refused=progress.refused + refused,
        last=(batch[-1][1], batch[-1][0]) if batch else progress.last,
        stopped=done.stopped,
    )
    return came, bool(done.stopped) or len(batch) < BATCH


def note(action: Action, narrowing: Narrowing, progress: Progress, user_id: int) -> Progress:
    """One entry of the audit log for the whole action, which tells how far it came."""
    text = (
        f"{action.done} {progress.done:,} of {progress.total:,} runs ({', '.join(narrowing.words()) or 'no filter'})."
    )
    text += progress.in_words
    entry = LogEntry.objects.filter(pk=progress.entry, user_id=user_id) if progress.entry else LogEntry.objects.none()
    if entry.update(change_message=text):
        return progress
    made = LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(Run),
        object_repr=f"{progress.total:,} run{'' if progress.total == 1 else 's'}",
        action_flag=CHANGE,
        change_message=text,
    )
    return replace(progress, entry=made.pk)
