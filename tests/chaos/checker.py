"""Holds a kept history against the invariants I1 to I12. By hand: `python -m tests.chaos.checker DIRECTORY`.

I1 every accepted run is there, and has ended by `expires_at` + 15 s · I2 with one terminal event, that of its status ·
I3 the numbers of a thread's log are 1 … last_seq · I4 each subscriber saw the log's events of its run, once, in order ·
I5 deltas add up to the message, and that is what the model said · I6 nothing follows the terminal event · I7 a thread
has one active run at a time · I8 streams end with `done` or a transport error · I9 nobody wrote who had lost the run ·
I10 the upstream was called once a claim, and left alone after the end · I11 strangers saw nothing · I12 nothing leaks.

The log does not say which claim an event was written under. I9 is therefore read from the story: steps and messages
open once, one at a time, and end once; what a zombie adds to those that its successor has closed or replaced shows.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.evidence import Evidence, Line, RunStory, Subscription, decoded, text_of
from tests.chaos.report import Row, markdown, row_of
from tests.chaos.subscribers import TERMINAL
from tests.chaos.upstreams import IDLE_SECONDS, expected

LEAK = 5
"""More files or threads than this are a leak."""
MEMORY = 1.10
OPENING = {"thread.run.step.created", "thread.message.created"}
CLOSING = {
    *(f"thread.run.step.{end}" for end in ("completed", "failed", "cancelled", "expired")),
    *(f"thread.message.{end}" for end in ("completed", "incomplete")),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """`kind` is the column of the table that counts it; "" for those that have none."""

    invariant: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text:.400}"


def check(directory: Path) -> tuple[Row, list[Violation]]:
    evidence = Evidence(directory)
    violations = list(violations_of(evidence))
    counts = Counter(violation.kind for violation in violations)
    return row_of(evidence, counts, len(violations)), violations


def violations_of(evidence: Evidence) -> Iterator[Violation]:
    yield from accepted_runs(evidence)
    for run in evidence.runs.values():
        yield from end_of(evidence, run)
        yield from story_of(evidence, run)
    yield from threads(evidence)
    for subscription in evidence.subscriptions.values():
        yield from subscription_of(evidence, subscription)
    yield from told(evidence)
    yield from answers(evidence)
    yield from upstream(evidence)
    yield from owed(evidence)
    yield from cancels(evidence)
    yield from strangers(evidence)
    yield from leaks(evidence)
    for fault in evidence.faults:
        yield Violation("I1", "lost", f"the database is damaged: {fault}")


# Runs -----------------------------------------------------------------------------------------------------------------


def accepted_runs(evidence: Evidence) -> Iterator[Violation]:
    for line in evidence.lines["accepted"]:
        there = line["run"] in evidence.runs if line["run"] else bool(evidence.by_prompt(line["prompt"]))
        if not there:
            yield Violation(
                "I1", "lost", f"the run {line['run']} about '{line['prompt']}' was accepted and is not there"
            )


def end_of(evidence: Evidence, run: RunStory) -> Iterator[Violation]:
    status, names = run.row["status"], [event["name"] for event in run.terminals]
    if f"thread.run.{status}" not in TERMINAL:
        yield Violation("I1", "lost", f"{run.id} is {status} in the end")
        if names:
            yield Violation("I2", "doubled", f"{run.id} is {status}, its log says {names}")
        return
    if status not in evidence.about.ends:
        yield Violation("I1", "lost", f"{run.id} is {status}: {last_error(run)}")
    if names != [f"thread.run.{status}"]:
        yield Violation("I2", "doubled", f"{run.id} is {status}, its log says {names}")
        return
    moment, due = evidence.ended_at(run), run.row["expires_at"]
    if moment > due + evidence.about.late_seconds:
        yield Violation("I1", "lost", f"{run.id} ended {moment - due:.1f} s after its time")
    if status == "expired" and moment < due:
        yield Violation("I1", "lost", f"{run.id} expired {due - moment:.1f} s before its time")
    after = [event["name"] for event in run.events if event["seq"] > run.terminals[0]["seq"]]
    if after:
        yield Violation("I6", "stale", f"{run.id} goes on after its end: {after}")


def owed(evidence: Evidence) -> Iterator[Violation]:
    """Runs of which the test says how they must end."""
    for line in evidence.lines["owed"]:
        for run in evidence.by_prompt(line["prompt"]):
            if not run.terminals:
                continue  # `end_of` complains
            error = json.loads(run.terminals[-1]["data"]).get("last_error") or {}
            incomplete = [json.loads(e["data"]) for e in run.events if e["name"] == "thread.message.incomplete"]
            is_so = {
                "status": run.row["status"],
                "code": error.get("code"),
                "calls": evidence.about.calls.get(run.prompt, 0),
                "reason": (incomplete[-1].get("incomplete_details") or {}).get("reason") if incomplete else None,
            }
            if not any(event["name"] == "thread.message.created" for event in run.events):
                del is_so["reason"]  # its time was over before it came to speak
            wrong = {name: is_so[name] for name in is_so if name in line and line[name] != is_so[name]}
            if wrong:
                wanted = {name: line[name] for name in wrong}
                yield Violation("I2", "wrong", f"{run.id} by {run.row['model']} ended with {wrong} instead of {wanted}")


def cancels(evidence: Evidence) -> Iterator[Violation]:
    """A cancel that was accepted was the only one, and the run is cancelled; one that was refused came too late."""
    answered: dict[str, list[int]] = defaultdict(list)
    for line in evidence.lines["cancel"]:
        answered[line["run"]].append(line["status"])
    limit = evidence.about.hang_up_seconds
    for id, statuses in answered.items():
        run = evidence.runs.get(id)
        if run is None:
            continue  # `accepted_runs` complains
        if statuses.count(200) > 1:
            yield Violation("I2", "doubled", f"{statuses.count(200)} cancels of {id} were accepted")
        if 200 in statuses and run.row["status"] != "cancelled":
            yield Violation("I2", "wrong", f"a cancel of {id} was accepted, and it is {run.row['status']}")
        if statuses and 200 not in statuses and run.row["status"] == "cancelled" and set(statuses) == {400}:
            yield Violation("I2", "wrong", f"each cancel of {id} was refused, and it is cancelled")
        open_seconds = evidence.about.hung_up.get(run.prompt, 0.0) - evidence.ended_at(run) if run.terminals else 0.0
        if limit is not None and open_seconds > limit:
            yield Violation("I10", "stale", f"the call for {id} was open {open_seconds:.1f} s after it was cancelled")


def last_error(run: RunStory) -> str:
    return str(json.loads(run.terminals[-1]["data"]).get("last_error")) if run.terminals else ""


def story_of(evidence: Evidence, run: RunStory) -> Iterator[Violation]:
    """Steps and messages: opened once, one of each at a time, closed once, with the text of their deltas."""
    open_objects: dict[str, str] = {}
    closed: set[str] = set()
    said: dict[str, str] = defaultdict(str)
    final = ""
    for event in run.events:
        name, data = event["name"], json.loads(event["data"])
        kind = name.rpartition(".")[0]
        if kind not in ("thread.run.step", "thread.message"):
            continue
        id = data["id"]
        if name in OPENING:
            if kind in open_objects.values() or id in closed:
                yield Violation("I9", "stale", f"{run.id}: {id} begins while another is open")
            open_objects[id] = kind
        elif id not in open_objects:
            yield Violation("I9", "stale", f"{run.id}: {name} of {id}, which is not open")
        if name == "thread.message.delta":
            said[id] += text_of(data["delta"]["content"])
        if name in CLOSING:
            open_objects.pop(id, None)
            closed.add(id)
        if name in ("thread.message.completed", "thread.message.incomplete"):
            yield from message_of(evidence, run, data, said[id])
            final += text_of(data["content"]) if name == "thread.message.completed" else ""
    if open_objects and run.terminals:
        yield Violation("I2", "stale", f"{run.id} ended with {sorted(open_objects)} open")
    wanted = expected(run.row["model"], run.prompt)
    if run.row["status"] == "completed" and wanted is not None and final != wanted:
        yield Violation("I5", "wrong", f"{run.id} says {final!r} instead of {wanted!r}")


def message_of(evidence: Evidence, run: RunStory, data: Line, said: str) -> Iterator[Violation]:
    text = text_of(data["content"])
    if text != said and not evidence.about.compacted:
        yield Violation("I5", "wrong", f"{run.id}: the deltas of {data['id']} say {said!r}, its end says {text!r}")
    stored = evidence.messages.get(data["id"])
    if stored is None:
        yield Violation("I5", "wrong", f"{run.id}: {data['id']} is not stored")
    elif (stored["status"], text_of(decoded(stored["content"]))) != (data["status"], text):
        yield Violation("I5", "wrong", f"{run.id}: {data['id']} is stored otherwise than it was told")


def threads(evidence: Evidence) -> Iterator[Violation]:
    for thread in evidence.threads:
        log = evidence.log[thread["id"]]
        numbers = [0, *(event["seq"] for event in log)]
        gone = set(range(1, thread["last_seq"] + 1)) - set(numbers)
        if (
            (gone and not evidence.about.compacted)
            or numbers != sorted(set(numbers))
            or numbers[-1] > thread["last_seq"]
        ):
            yield Violation("I3", "gaps", f"{thread['id']} has the numbers {numbers} up to {thread['last_seq']}")
        active = ""
        for event in log:
            if event["name"] == "thread.run.created":
                if active:
                    yield Violation("I7", "doubled", f"{event['run_id']} begins while {active} is active")
                active = event["run_id"]
            elif event["name"] in TERMINAL and event["run_id"] == active:
                active = ""
        if thread["active_run_id"] and not active:
            yield Violation("I7", "lost", f"{thread['id']} is held by {thread['active_run_id']}, which has ended")


# Readers --------------------------------------------------------------------------------------------------------------


def subscription_of(evidence: Evidence, seen: Subscription) -> Iterator[Violation]:
    bad = {"clean": "ended without done", "odd": "had an odd frame"}
    bad |= {} if evidence.about.errors else {"error": "ended with an error event"}
    for how in seen.ends:
        if how in bad:
            yield Violation("I8", "", f"a stream of {seen.who} {bad[how]}")
    if not seen.run:
        return
    run = evidence.runs.get(seen.run)
    if run is None:
        return  # `accepted_runs` complains
    log = {event["seq"]: event for event in evidence.log[run.row["thread_id"]]}
    ids = [id for _, _, id, _, _ in seen.events]
    own = [event["seq"] for event in run.events]
    if not seen.terminal or seen.ends[-1] != "done":
        yield Violation("I8", "gaps", f"{seen.who} never saw the end of {run.id}")
    if missing := set(own) - set(ids):
        yield Violation("I4", "gaps", f"{seen.who} missed {sorted(missing)} of {run.id}")
    if repeated := [id for id, count in Counter(ids).items() if count > 1]:
        yield Violation("I4", "twice", f"{seen.who} saw {repeated} of {run.id} more than once")
    if ids != sorted(ids):
        yield Violation("I4", "twice", f"{seen.who} saw {ids} of {run.id}")
    for _, _, id, name, sha in seen.events:
        event = log.get(id)
        if event is None and name.endswith(".delta") and evidence.about.compacted:
            continue
        if event is None or event["name"] != name or digest(event["data"]) != sha:
            yield Violation("I4", "wrong", f"{seen.who} saw {name} as {id} of {run.id}, which the log does not have")
        elif event["run_id"] != run.id and name != "thread.created":
            yield Violation("I4", "wrong", f"{seen.who} saw {id} of {run.id}, which is of {event['run_id']}")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def told(evidence: Evidence) -> Iterator[Violation]:
    """What the drivers with the official SDK ended with."""
    for line in evidence.lines["told"]:
        run = evidence.runs.get(line["run"])
        if run is None:
            continue
        if line["status"] != run.row["status"]:
            yield Violation(
                "I2", "wrong", f"the SDK was told that {run.id} is {line['status']}: it is {run.row['status']}"
            )
        wanted = expected(run.row["model"], run.prompt)
        if run.row["status"] == "completed" and wanted is not None and line["sha"] != digest(wanted):
            yield Violation("I5", "wrong", f"the SDK was told another text of {run.id}")


def answers(evidence: Evidence) -> Iterator[Violation]:
    for line in evidence.lines["answer"]:
        if line["status"] >= 500:
            excused = line["status"] in evidence.about.refusals
            if not excused:
                yield Violation("5xx", "", f"{line['method']} {line['path']} was answered with {line['status']}")


# Around them ----------------------------------------------------------------------------------------------------------


def upstream(evidence: Evidence) -> Iterator[Violation]:
    claims: Counter[str] = Counter()
    for run in evidence.runs.values():
        claims[run.prompt] += run.row["epoch"]
    for prompt, calls in evidence.about.calls.items():
        if prompt in claims and calls > claims[prompt] * evidence.about.attempts:
            yield Violation("I10", "stale", f"the model was asked {calls} times '{prompt}', in {claims[prompt]} claims")
    if evidence.about.open_seconds > IDLE_SECONDS:
        yield Violation("I10", "stale", f"calls were still open {evidence.about.open_seconds:.1f} s after the end")


def strangers(evidence: Evidence) -> Iterator[Violation]:
    for line in evidence.lines["stranger"]:
        is_list = line["path"].count("/") == 2
        if line["status"] != (200 if is_list else 404) and line["status"] not in evidence.about.refusals:
            yield Violation("I11", "", f"a stranger was answered with {line['status']} at {line['path']}")
        if line["found"]:
            yield Violation("I11", "", f"a stranger found {line['found']} things at {line['path']}")


def leaks(evidence: Evidence) -> Iterator[Violation]:
    """Of the processes that were measured when they were warm, and again at the end."""
    warm = {(line["name"], line["pid"]): line for line in evidence.lines["process"] if line["when"] == "warm"}
    for line in evidence.lines["process"]:
        before = warm.get((line["name"], line["pid"]))
        if before is None or line["when"] != "end":
            continue
        for what in ("files", "threads"):
            if line[what] > before[what] + LEAK:
                yield Violation("I12", "", f"{line['name']} had {before[what]} {what} and has {line[what]}")
        if evidence.about.memory and line["memory"] > before["memory"] * MEMORY:
            yield Violation("I12", "", f"{line['name']} had {before['memory']} bytes and has {line['memory']}")


def main() -> int:
    row, violations = check(Path(sys.argv[1]))
    print(markdown([row]))  # noqa: T201
    for violation in violations:
        print(violation)  # noqa: T201
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
