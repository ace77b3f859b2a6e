"""The checker itself: content with a history in which nothing is wrong, and it sees each thing that can be."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import check, digest
from tests.chaos.evidence import About
from tests.chaos.history import ABOUT, HISTORY, TABLES
from tests.chaos.report import markdown, spread
from tests.chaos.upstreams import ROOT
from tests.upstream import seeded_text

MODEL = "seeded:3"
Story = dict[str, Any]


def message(id: str, text: str, status: str) -> dict[str, Any]:
    return {"id": id, "status": status, "content": [{"type": "text", "text": {"value": text, "annotations": []}}]}


def delta(id: str, text: str) -> dict[str, Any]:
    return {"id": id, "delta": {"content": [{"index": 0, "type": "text", "text": {"value": text}}]}}


def attempt(number: int, said: str, status: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a step that writes a message in two deltas."""
    step, id, half = {"id": f"step_{number}"}, f"msg_{number}", len(said) // 2
    ended = "failed" if status == "incomplete" else "completed"
    return [
        ("thread.run.step.created", step),
        ("thread.message.created", message(id, "", "in_progress")),
        ("thread.message.delta", delta(id, said[:half])),
        ("thread.message.delta", delta(id, said[half:])),
        (f"thread.message.{status}", message(id, said, status)),
        (f"thread.run.step.{ended}", step),
    ]


def good() -> Story:
    """One run that was taken over once, seen by two subscribers, one of whom came back, and by a stranger in vain."""
    text = seeded_text("Hello 1", 3)
    told = [
        ("thread.run.created", {"id": "run_1"}),
        ("thread.run.in_progress", {"id": "run_1"}),
        *attempt(1, text[:6], "incomplete"),
        *attempt(2, text, "completed"),
        ("thread.run.completed", {"id": "run_1", "last_error": None}),
    ]
    common = {"thread_id": "thread_1", "run_id": "run_1"}
    events: list[dict[str, Any]] = [
        {**common, "seq": seq, "name": name, "data": json.dumps(data), "created_at": 100.0 + seq}
        for seq, (name, data) in enumerate(told, start=1)
    ]
    seen = [{"id": event["seq"], "name": event["name"], "sha": digest(event["data"])} for event in events]
    user = {"thread_id": "thread_1", "run_id": None, "role": "user", "status": "completed", "superseded": False}
    run = {"id": "run_1", "thread_id": "thread_1", "status": "completed", "model": MODEL, "epoch": 2}
    lines: list[dict[str, Any]] = [
        {"kind": "accepted", "prompt": "Hello 1", "run": "run_1", "thread": "thread_1", "model": MODEL},
        {"kind": "answer", "method": "POST", "path": "/v1/threads/runs", "status": 200, "seconds": 0.1},
        {"kind": "fault", "what": "kill", "name": "serve"},
        {"kind": "fault", "what": "start", "name": "serve"},
        {"kind": "told", "prompt": "Hello 1", "run": "run_1", "status": "completed", "sha": digest(text)},
        {"kind": "owed", "prompt": "Hello 1", "status": "completed", "code": None, "calls": 2, "reason": None},
        {"kind": "cancel", "prompt": "Hello 1", "run": "run_1", "status": 400},
        {"kind": "stranger", "path": "/v1/threads/thread_1", "status": 404, "found": 0},
        {"kind": "stranger", "path": "/v1/assistants", "status": 200, "found": 0},
        {"kind": "process", "name": "serve", "pid": 1, "when": "warm", "files": 20, "threads": 9, "memory": 100},
        {"kind": "process", "name": "serve", "pid": 1, "when": "end", "files": 22, "threads": 9, "memory": 105},
    ]
    for who in ("start:Hello 1", "cut:Hello 1"):
        parts = [seen] if who.startswith("start") else [seen[:5], seen[5:]]
        lines.append({"kind": "follows", "who": who, "run": "run_1", "thread": "thread_1", "place": who[:5]})
        for part in parts:
            after = part[0]["id"] - 1 or None
            lines.append({"kind": "open", "who": who, "after": after})
            lines += [{"kind": "event", "who": who, **event} for event in part]
            lines.append({"kind": "end", "who": who, "how": "done" if part[-1]["id"] == len(seen) else "left"})
    end = events[-1]["created_at"]
    about = About(
        "F0",
        "sqlite",
        7,
        memory=True,
        hang_up_seconds=1.0,
        calls={"Hello 1": 2},
        hung_up={"Hello 1": end + 0.5},
        open_seconds=0.1,
    )
    return {
        "about": asdict(about),
        "tables": {
            "threads": [{"id": "thread_1", "last_seq": len(events), "active_run_id": None}],
            "runs": [{**run, "crash_attempts": 1, "created_at": 100.0, "expires_at": 160.0}],
            "steps": [],
            "messages": [
                {"id": "msg_0", **user, "content": json.dumps(message("msg_0", "Hello 1", "completed")["content"])},
                {"role": "assistant", **message("msg_1", text[:6], "incomplete"), "superseded": True, **common},
                {"role": "assistant", **message("msg_2", text, "completed"), "superseded": False, **common},
            ],
            "events": events,
            "faults": [],
        },
        "lines": [{"t": 101.0 + number / 100, **line} for number, line in enumerate(lines)],
    }


def keep(story: Story, directory: Path) -> Path:
    (directory / ABOUT).write_text(json.dumps(story["about"]))
    (directory / TABLES).write_text(json.dumps(story["tables"]))
    (directory / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in story["lines"]))
    return directory


def found(story: Story, directory: Path) -> set[str]:
    return {violation.invariant for violation in check(keep(story, directory))[1]}


def events_of(story: Story, name: str) -> list[dict[str, Any]]:
    return [event for event in story["tables"]["events"] if event["name"] == name]


def lines_of(story: Story, kind: str) -> list[dict[str, Any]]:
    return [line for line in story["lines"] if line["kind"] == kind]


def drop(story: Story, line: dict[str, Any]) -> None:
    story["lines"] = [other for other in story["lines"] if other is not line]


def test_nothing_is_wrong_with_a_good_history(tmp_path: Path) -> None:
    row, violations = check(keep(good(), tmp_path))
    assert violations == []
    assert (row.runs, row.injections, row.streams, row.take_overs, row.bound) == (1, 1, 2, 1, 3.0)
    assert row.take_over == (1.0, 1.0, 1.0)
    assert "| F0 | sqlite | 7 | 1 | 1 |" in markdown([row])
    assert markdown([row]).endswith("| – |"), "no cancel was accepted, so none took 0 seconds"


# What can be wrong ----------------------------------------------------------------------------------------------------


def run_is_gone(story: Story) -> None:
    story["tables"]["runs"].clear()


def streamed_run_is_gone(story: Story) -> None:
    lines_of(story, "accepted")[0].update(run="", prompt="Never stored")


def run_never_ended(story: Story) -> None:
    story["tables"]["runs"][0]["status"] = "in_progress"


def run_ended_late(story: Story) -> None:
    story["tables"]["runs"][0]["expires_at"] = 50.0


def run_failed(story: Story) -> None:
    story["tables"]["runs"][0]["status"] = "failed"
    events_of(story, "thread.run.completed")[0]["name"] = "thread.run.failed"


def database_is_damaged(story: Story) -> None:
    story["tables"]["faults"].append("row 3 missing from index")


def status_is_another(story: Story) -> None:
    story["tables"]["runs"][0]["status"] = "cancelled"
    story["about"]["ends"] = ["completed", "cancelled"]


def append(story: Story, name: str, data: dict[str, Any]) -> None:
    """One more event at the end of the log, which everybody sees."""
    events = story["tables"]["events"]
    events.append({**events[-1], "seq": len(events) + 1, "name": name, "data": json.dumps(data)})
    story["tables"]["threads"][0]["last_seq"] += 1


def ended_twice(story: Story) -> None:
    append(story, "thread.run.completed", {"id": "run_1", "last_error": None})


def ended_otherwise(story: Story, status: str) -> None:
    story["tables"]["runs"][0]["status"] = status
    events_of(story, "thread.run.completed")[0]["name"] = f"thread.run.{status}"
    story["about"]["ends"] = [status]
    for line in [*lines_of(story, "event"), *lines_of(story, "told")]:
        line.update({"name": f"thread.run.{status}"} if line.get("name") == "thread.run.completed" else {})


def run_expired_early(story: Story) -> None:
    ended_otherwise(story, "expired")


def run_ended_with_another_error(story: Story) -> None:
    lines_of(story, "owed")[0]["code"] = "rate_limit_exceeded"


def model_was_not_asked_again(story: Story) -> None:
    lines_of(story, "owed")[0]["calls"] = 3


def message_says_another_reason(story: Story) -> None:
    lines_of(story, "owed")[0]["reason"] = "run_expired"


def cancel_did_nothing(story: Story) -> None:
    lines_of(story, "cancel")[0]["status"] = 200


def two_cancels_were_accepted(story: Story) -> None:
    ended_otherwise(story, "cancelled")
    line = lines_of(story, "cancel")[0]
    line["status"] = 200
    story["lines"].append(copy.deepcopy(line))


def cancel_was_refused_and_happened(story: Story) -> None:
    ended_otherwise(story, "cancelled")


def nobody_hung_up(story: Story) -> None:
    story["about"]["hung_up"]["Hello 1"] += 1.0


def number_is_missing(story: Story) -> None:
    for event in story["tables"]["events"][5:]:
        event["seq"] += 1
    story["tables"]["threads"][0]["last_seq"] += 1


def number_was_never_used(story: Story) -> None:
    story["tables"]["threads"][0]["last_seq"] += 1


def number_is_beyond_the_last(story: Story) -> None:
    story["tables"]["threads"][0]["last_seq"] -= 1


def event_was_missed(story: Story) -> None:
    drop(story, lines_of(story, "event")[4])


def event_came_twice(story: Story) -> None:
    event = lines_of(story, "event")[4]
    story["lines"].insert(story["lines"].index(event), copy.deepcopy(event))


def events_came_in_disorder(story: Story) -> None:
    first, second = lines_of(story, "event")[4:6]
    for name in ("id", "name", "sha"):
        first[name], second[name] = second[name], first[name]


def event_was_another(story: Story) -> None:
    lines_of(story, "event")[4]["sha"] = digest("Something else")


def event_was_taken_back(story: Story) -> None:
    event = lines_of(story, "event")[-1]
    story["lines"].insert(story["lines"].index(event), {**event, "id": 99, "name": "thread.message.delta"})


def text_is_wrong(story: Story) -> None:
    """All the same everywhere, and yet not what the model says to this prompt."""
    story["about"]["calls"] = {}
    content = story["tables"]["messages"][0]
    content["content"] = content["content"].replace("Hello 1", "Hello 2")


def delta_was_lost(story: Story) -> None:
    event = events_of(story, "thread.message.delta")[3]
    event["data"] = json.dumps(delta("msg_2", "?"))


def stored_message_is_another(story: Story) -> None:
    story["tables"]["messages"][2]["content"] = message("", "?", "")["content"]


def sdk_was_told_another_text(story: Story) -> None:
    lines_of(story, "told")[0]["sha"] = digest("?")


def something_follows_the_end(story: Story) -> None:
    append(story, "thread.run.step.delta", {"id": "step_2"})


def two_runs_at_a_time(story: Story) -> None:
    story["tables"]["events"][2].update(run_id="run_2", name="thread.run.created")


def thread_is_held_for_ever(story: Story) -> None:
    story["tables"]["threads"][0]["active_run_id"] = "run_1"


def stream_ended_without_done(story: Story) -> None:
    lines_of(story, "end")[1]["how"] = "clean"


def stream_ended_with_an_error(story: Story) -> None:
    lines_of(story, "end")[1]["how"] = "error"


def frame_was_odd(story: Story) -> None:
    lines_of(story, "end")[1]["how"] = "odd"


def end_was_never_seen(story: Story) -> None:
    drop(story, lines_of(story, "event")[-1])
    lines_of(story, "end")[-1]["how"] = "left"


def zombie_spoke(story: Story) -> None:
    """A delta of the first message, which the second worker had closed."""
    events_of(story, "thread.message.delta")[2]["data"] = json.dumps(delta("msg_1", "?"))


def zombie_opened(story: Story) -> None:
    """Two messages at a time: the first was never closed."""
    events = story["tables"]["events"]
    events[6]["name"] = events[7]["name"] = "thread.run.in_progress"


def model_was_asked_too_often(story: Story) -> None:
    story["about"]["calls"] = {"Hello 1": 3}
    lines_of(story, "owed")[0]["calls"] = 3


def call_stayed_open(story: Story) -> None:
    story["about"]["open_seconds"] = 4.0


def stranger_saw_a_thread(story: Story) -> None:
    lines_of(story, "stranger")[0]["status"] = 200


def stranger_found_something(story: Story) -> None:
    lines_of(story, "stranger")[1]["found"] = 1


def files_leak(story: Story) -> None:
    lines_of(story, "process")[1]["files"] = 40


def memory_leaks(story: Story) -> None:
    lines_of(story, "process")[1]["memory"] = 120


def request_was_answered_with_500(story: Story) -> None:
    lines_of(story, "answer")[0]["status"] = 500


@pytest.mark.parametrize(
    ("invariant", "corrupt"),
    [
        *(("I1", one) for one in (run_is_gone, streamed_run_is_gone, run_never_ended, run_ended_late, run_failed)),
        ("I1", database_is_damaged),
        ("I1", run_expired_early),
        *(("I2", one) for one in (status_is_another, ended_twice, run_ended_with_another_error)),
        *(("I2", one) for one in (model_was_not_asked_again, message_says_another_reason, cancel_did_nothing)),
        *(("I3", one) for one in (number_is_missing, number_was_never_used)),
        ("I3", number_is_beyond_the_last),
        *(("I4", one) for one in (event_was_missed, event_came_twice, events_came_in_disorder, event_was_another)),
        ("I4", event_was_taken_back),
        *(("I5", one) for one in (text_is_wrong, delta_was_lost, stored_message_is_another, sdk_was_told_another_text)),
        ("I6", something_follows_the_end),
        *(("I7", one) for one in (two_runs_at_a_time, thread_is_held_for_ever)),
        *(("I8", one) for one in (stream_ended_without_done, stream_ended_with_an_error, frame_was_odd)),
        ("I8", end_was_never_seen),
        *(("I9", one) for one in (zombie_spoke, zombie_opened)),
        *(("I10", one) for one in (model_was_asked_too_often, call_stayed_open, nobody_hung_up)),
        *(("I11", one) for one in (stranger_saw_a_thread, stranger_found_something)),
        *(("I12", one) for one in (files_leak, memory_leaks)),
        ("5xx", request_was_answered_with_500),
    ],
)
def test_the_checker_sees(invariant: str, corrupt: Callable[[Story], None], tmp_path: Path) -> None:
    story = good()
    corrupt(story)
    assert invariant in found(story, tmp_path)


@pytest.mark.parametrize(
    ("corrupt", "words"),
    [(two_cancels_were_accepted, "were accepted"), (cancel_was_refused_and_happened, "was refused")],
)
def test_the_checker_tells_of_cancels(corrupt: Callable[[Story], None], words: str, tmp_path: Path) -> None:
    """They come with an end that this history owes not, so their words are looked for."""
    story = good()
    corrupt(story)
    assert any(words in violation.text for violation in check(keep(story, tmp_path))[1])


def clock_is_an_hour_ahead(story: Story) -> None:
    for event in story["tables"]["events"]:
        event["created_at"] += 3600
    story["about"]["hung_up"] = {}


def deltas_are_gone(story: Story) -> None:
    events = story["tables"]["events"]
    story["tables"]["events"] = [event for event in events if event["name"] != "thread.message.delta"]


@pytest.mark.parametrize(
    ("excuse", "corrupt"),
    [
        ({"ends": ["completed", "failed"]}, run_failed),
        ({"errors": True}, stream_ended_with_an_error),
        ({"refusals": [500]}, request_was_answered_with_500),
        ({"attempts": 2}, model_was_asked_too_often),
        ({"memory": False}, memory_leaks),
        ({"hang_up_seconds": None}, nobody_hung_up),
        ({"late_seconds": 100.0}, run_ended_late),
        ({"clocks": False}, clock_is_an_hour_ahead),
        ({"compacted": True}, deltas_are_gone),
    ],
)
def test_what_a_plan_excuses_is_no_violation(
    excuse: dict[str, Any], corrupt: Callable[[Story], None], tmp_path: Path
) -> None:
    story = good()
    corrupt(story)
    story["about"].update(excuse)
    assert found(story, tmp_path) <= {"I4", "I2"} if corrupt is run_failed else found(story, tmp_path) == set()


def test_by_hand_it_prints_the_row_and_says_by_its_exit_code_whether_all_is_well(tmp_path: Path) -> None:
    def by_hand() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.chaos.checker", str(tmp_path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    keep(good(), tmp_path)
    assert by_hand().returncode == 0
    story = good()
    ended_twice(story)
    keep(story, tmp_path)
    verdict = by_hand()
    assert verdict.returncode == 1
    assert "I2: run_1 is completed" in verdict.stdout


def test_the_spread_of_nothing_of_one_and_of_many() -> None:
    assert spread([]) == (0.0, 0.0, 0.0)
    assert spread([2.0]) == (2.0, 2.0, 2.0)
    assert spread([float(number) for number in range(1, 101)]) == (50.0, 95.0, 100.0)
