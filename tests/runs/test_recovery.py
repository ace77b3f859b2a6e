"""A run changes hands: what was seen is closed, what nobody saw goes on, the story stays one (design, section 4)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from assistants.clock import now
from assistants.models import Message
from runs import progress, prompt, queue, recovery
from runs.models import Run
from runs.story import Piece
from runs.transitions import usage_of
from streaming.models import TERMINAL_RUN_EVENTS, Event
from tests.conftest import ApiClient
from tests.fold import fetched, fold
from tests.runs.conftest import GET_WEATHER, Execute, ask

CALL = {"id": "call_a", "type": "function", "function": {"name": "get_weather", "arguments": "", "output": None}}


def started(run: Run) -> Run:
    mine = queue.claim_one(Run.objects.get(pk=run.pk), "worker_a")
    assert mine is not None
    return mine


def crash(run: Run) -> None:
    """The worker is gone, and its lease has run out."""
    Run.objects.filter(pk=run.pk).update(lease_until=now() - timedelta(seconds=1))


def story(run: Run) -> list[tuple[str, dict[str, Any]]]:
    events = Event.objects.filter(run_id=run.pk).order_by("seq")
    return [(event.name, json.loads(event.data)) for event in events]


def names(run: Run) -> list[str]:
    return [name for name, _ in story(run)]


def check(client: ApiClient, run: Run) -> None:
    events = Event.objects.filter(run_id=run.pk).order_by("seq")
    assert fold(events) == fetched(client, run.thread_id, run.pk)


def content(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": {"value": text, "annotations": []}}]


@pytest.mark.django_db(transaction=True)
def test_an_empty_message_is_closed_before_the_next_attempt_calls_a_tool(alice: ApiClient, execute: Execute) -> None:
    """Steps never overlap (contract 2.13), and a run that waits for its client has no other open one."""
    _, run = ask(alice, "!call get_weather {}", tools=[GET_WEATHER])
    opened = progress.open_message(started(run), [Piece("")])
    crash(run)
    assert execute(run.pk).status == "requires_action"
    told = names(run)
    assert told.index("thread.run.step.failed") < told.index("thread.run.step.delta")
    assert [step.status for step in run.steps.order_by("created_at")] == ["failed", "in_progress"]
    assert alice.get(f"/threads/{run.thread_id}/messages/{opened.message.pk}").json()["status"] == "incomplete"
    check(alice, run)


@pytest.mark.django_db(transaction=True)
def test_a_message_that_was_seen_is_closed_and_begins_again(alice: ApiClient, execute: Execute) -> None:
    thread, run = ask(alice, "!fast !echo Hello wide world")
    first = started(run)
    opened = progress.open_message(first, [Piece("Hello "), Piece("wi")])
    progress.say(first, opened.message.pk, [Piece("de")], first=False, annotations=0)
    crash(run)
    told = len(story(run))

    assert execute(run.pk).status == "completed"

    (closed, message), (failed, step), *rest = story(run)[told:]
    assert (closed, message["id"], message["status"]) == ("thread.message.incomplete", opened.message.pk, "incomplete")
    assert message["incomplete_details"] == {"reason": "run_failed"}
    assert message["content"] == content("Hello wide")
    assert (failed, step["id"], step["last_error"]) == (
        "thread.run.step.failed", opened.step.pk, recovery.STEP_ERROR
    )  # fmt: skip
    assert [name for name, _ in rest][:4] == [
        "thread.run.step.created", "thread.run.step.in_progress", "thread.message.created", "thread.message.in_progress"
    ]  # fmt: skip
    assert rest[0][1]["id"] != opened.step.pk
    assert rest[2][1]["id"] != opened.message.pk
    assert len([name for name in names(run) if name in TERMINAL_RUN_EVENTS]) == 1

    listed = alice.get(f"/threads/{thread.pk}/messages", {"order": "asc"}).json()["data"]
    assert [one["id"] for one in listed][1:] == [rest[2][1]["id"]]
    assert listed[1]["content"] == content("Hello wide world")
    assert alice.get(f"/threads/{thread.pk}/messages/{opened.message.pk}").json() == message
    check(alice, run)


@pytest.mark.django_db
def test_the_model_is_not_told_of_the_broken_attempt(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    progress.open_message(started(run), [Piece("Broken")])
    crash(run)
    second = started(run)
    assert [one["content"] for one in prompt.build(second).request.messages] == ["Hello"]
    opened = progress.open_message(second, [Piece("Whole")])
    progress.complete(second, opened, content("Whole"), usage_of())

    later = alice.make(f"/threads/{thread.pk}/runs", {"assistant_id": run.assistant_id})
    said = prompt.build(Run.objects.get(pk=later["id"])).request.messages
    assert [one["content"] for one in said] == ["Hello", "Whole"]


@pytest.mark.django_db
def test_an_open_tool_step_is_closed(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", tools=[GET_WEATHER])
    step = progress.open_tool_step(started(run), [{"index": 0, **CALL}])
    crash(run)
    second = started(run)
    name, told = story(run)[-1]
    assert (name, told["id"], told["last_error"]) == ("thread.run.step.failed", step.pk, recovery.STEP_ERROR)
    assert [one["role"] for one in prompt.build(second).request.messages] == ["user"]
    check(alice, run)


@pytest.mark.django_db
def test_finished_steps_stay(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", tools=[{"type": "file_search"}])
    first = started(run)
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    call = {"id": "call_s", "type": "file_search", "file_search": {"ranking_options": ranking, "results": []}}
    done = progress.open_tool_step(first, [{"index": 0, **call}])
    progress.finish_tool_step(first, done, [call], {"call_s": '{"query":"tide"}'}, usage_of(1, 2))
    progress.open_message(first, [Piece("So ")])
    crash(run)
    second = started(run)
    assert [step.status for step in second.steps.order_by("created_at")] == ["completed", "failed"]
    assert [one["role"] for one in prompt.build(second).request.messages] == ["user", "assistant", "tool"]
    check(alice, run)


@pytest.mark.django_db
def test_annotations_of_a_broken_attempt_are_kept_with_its_text(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    marker = "【0:0†source】"
    annotation = {
        "type": "file_citation", "text": marker, "start_index": 3, "end_index": 3 + len(marker),
        "file_citation": {"file_id": "file-a"},
    }  # fmt: skip
    opened = progress.open_message(started(run), [Piece("So "), Piece(marker, annotation), Piece(" and")])
    crash(run)
    started(run)
    text = Message.objects.get(pk=opened.message.pk).content[0]["text"]
    assert text == {"value": f"So {marker} and", "annotations": [annotation]}
    check(alice, run)


@pytest.mark.django_db(transaction=True)
def test_crash_after_crash_is_one_story(alice: ApiClient, execute: Execute) -> None:
    thread, run = ask(alice, "!fast !echo Hello")
    for attempt in range(3):
        progress.open_message(started(run), [Piece(f"Attempt {attempt}")])
        crash(run)
    assert execute(run.pk).status == "completed"
    assert names(run).count("thread.message.incomplete") == 3
    assert len([name for name in names(run) if name in TERMINAL_RUN_EVENTS]) == 1
    seqs = Event.objects.filter(thread_id=thread.pk).order_by("seq").values_list("seq", flat=True)
    assert list(seqs) == list(range(1, len(seqs) + 1))
    listed = alice.get(f"/threads/{thread.pk}/messages", {"run_id": run.pk}).json()["data"]
    assert [one["content"] for one in listed] == [content("Hello")]
    check(alice, run)
