"""P2, P4, P5, P10 (design, section 3) by their names. P1, P3, P7, P8: tests/streaming. P6, P9: tests/e2e."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections

from assistants.clock import now
from assistants.models import Message
from runs import progress, queue, transitions
from runs.models import ACTIVE, Run
from runs.story import Piece
from streaming import journal
from streaming.models import Event
from tests.conftest import ApiClient
from tests.fold import fetched, fold
from tests.loops import PATIENCE_SECONDS
from tests.runs.conftest import GET_WEATHER, Execute, ask

pytestmark = pytest.mark.django_db(transaction=True)


def story_of(run: Run) -> list[Event]:
    return list(Event.objects.filter(run_id=run.pk).order_by("seq"))


# P2 -------------------------------------------------------------------------------------------------------------------

SCENARIOS: dict[str, dict[str, Any]] = {
    "completed": {"content": "!fast\nHello"},
    "searched": {"content": "!fast\nWhat is known?", "tools": [{"type": "file_search"}]},
    "waits for a function": {"content": "!call get_weather {}", "tools": [GET_WEATHER]},
    "failed": {"content": "!fail server_error after 3"},
    "rate limited": {"content": "!fail rate_limit_exceeded"},
    "cut by length": {"content": "!length 4"},
    "filtered": {"content": "!filter 4"},
    "a bad prompt": {"content": "!fail invalid_prompt"},
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_p2_state_and_story_agree(scenario: str, alice: ApiClient, execute: Execute) -> None:
    thread, run = ask(alice, **SCENARIOS[scenario])
    assert fold(story_of(run)) == fetched(alice, thread.pk, run.pk), "queued"

    execute(run.pk)

    assert fold(story_of(run)) == fetched(alice, thread.pk, run.pk), scenario


def test_p2_state_and_story_agree_through_outputs_cancel_and_expiry(alice: ApiClient, execute: Execute) -> None:
    thread, run = ask(alice, "!call get_weather {}", tools=[GET_WEATHER])
    path = f"/threads/{thread.pk}/runs/{run.pk}"
    execute(run.pk)
    calls = alice.get(path).json()["required_action"]["submit_tool_outputs"]["tool_calls"]
    alice.make(f"{path}/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": calls[0]["id"], "output": "rain"}]})
    assert fold(story_of(run)) == fetched(alice, thread.pk, run.pk), "outputs"

    alice.make(f"{path}/cancel")
    assert alice.get(path).json()["status"] == "cancelled"
    assert fold(story_of(run)) == fetched(alice, thread.pk, run.pk), "cancelled"

    later = alice.make(f"/threads/{thread.pk}/runs", {"assistant_id": run.assistant_id})
    Run.objects.filter(pk=later["id"]).update(expires_at=now() - timedelta(seconds=1))
    assert alice.get(f"/threads/{thread.pk}/runs/{later['id']}").json()["status"] == "expired"
    late = Run.objects.get(pk=later["id"])
    seen = fold(story_of(late))[late.pk]
    assert {**seen, "expires_at": 0} == {**fetched(alice, thread.pk, late.pk)[late.pk], "expires_at": 0}


# P4 -------------------------------------------------------------------------------------------------------------------


def test_p4_one_writer_wins(alice: ApiClient) -> None:
    """A worker that was paused beyond its lease comes back: it can do nothing of what it could before."""
    _, run = ask(alice, "Hello")
    old = queue.claim_one(run, "worker_a")
    assert old is not None
    opened = progress.open_message(old, [Piece("Once ")])
    Run.objects.filter(pk=run.pk).update(lease_until=now() - timedelta(seconds=1))
    new = queue.claim_one(Run.objects.get(pk=run.pk), "worker_b")
    assert new is not None
    state = snapshot(run)

    attempts: list[Any] = [
        lambda: progress.say(old, opened.message.pk, [Piece("upon")], first=False, annotations=0),
        lambda: progress.open_message(old, []),
        lambda: progress.open_tool_step(old, []),
        lambda: progress.finish_message(old, opened, [], transitions.usage_of()),
        lambda: progress.complete(old, opened, [], transitions.usage_of()),
        lambda: progress.fail(old, "server_error", "no"),
        lambda: progress.cancel(old),
        lambda: progress.expire(old),
        lambda: progress.stop_short(old, "max_completion_tokens", "max_tokens", None),
    ]
    for attempt in attempts:
        with pytest.raises(progress.Fenced):
            attempt()
    queue.release(old)
    assert queue.beat("worker_a", [old]) == queue.Pulse([], [run.pk], drain_asked=False)
    assert snapshot(run) == state

    second = progress.open_message(new, [Piece("Twice")])
    progress.complete(new, second, [], transitions.usage_of())
    assert Run.objects.get(pk=run.pk).status == "completed"


def snapshot(run: Run) -> tuple[Any, ...]:
    return (
        Run.objects.filter(pk=run.pk).values().get(),
        list(run.steps.values()),
        list(Message.objects.filter(run_id=run.pk).values()),
        list(Event.objects.filter(run_id=run.pk).values()),
    )


def test_p4_two_claims_of_one_run_have_one_winner(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    seen = Run.objects.get(pk=run.pk)
    winners = [queue.claim_one(seen, "worker_a"), queue.claim_one(seen, "worker_b")]
    assert [winner is not None for winner in winners] == [True, False]
    assert Event.objects.filter(run_id=run.pk, name="thread.run.in_progress").count() == 1


# P5 -------------------------------------------------------------------------------------------------------------------


def test_p5_one_active_run_per_thread(alice: ApiClient) -> None:
    """Twenty at once: one is accepted, the others get the contract's text, whatever the code looked at before."""
    assistant = alice.make("/assistants", {"model": "scripted"})
    thread = alice.make("/threads", {"messages": [{"role": "user", "content": "Hello"}]})
    gate = threading.Barrier(20, timeout=PATIENCE_SECONDS)

    def create(_: int) -> tuple[int, str]:
        gate.wait()
        try:
            response = alice.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
            body = response.json()
            return response.status_code, body["id"] if response.status_code == 200 else body["error"]["message"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(create, range(20)))

    accepted = [text for status, text in answers if status == 200]
    assert len(accepted) == 1
    refusal = (400, f"Thread {thread['id']} already has an active run {accepted[0]}.")
    assert sorted(answers) == sorted([(200, accepted[0]), *[refusal] * 19])
    assert Run.objects.filter(thread_id=thread["id"], status__in=ACTIVE).count() == 1


def test_p5_holds_in_the_database_itself(alice: ApiClient) -> None:
    ask(alice, "Hello")
    with connection.cursor() as cursor:
        columns = [str(field.column) for field in Run._meta.concrete_fields]
        others = ", ".join(column for column in columns if column != "id")
        with pytest.raises(IntegrityError, match=r"(?i)unique"):
            cursor.execute(f"INSERT INTO runs_run (id, {others}) SELECT 'run_rival', {others} FROM runs_run")


def test_p5_the_thread_is_free_again_after_every_end(alice: ApiClient, execute: Execute) -> None:
    thread, run = ask(alice, "!fail server_error")
    assert alice.post(f"/threads/{thread.pk}/messages", {"role": "user", "content": "?"}).status_code == 400
    execute(run.pk)
    assert alice.post(f"/threads/{thread.pk}/messages", {"role": "user", "content": "?"}).status_code == 200
    assert alice.post(f"/threads/{thread.pk}/runs", {"assistant_id": run.assistant_id}).status_code == 200


# P10 ------------------------------------------------------------------------------------------------------------------


def test_p10_a_key_sees_its_project_only(
    alice: ApiClient, bob: ApiClient, charlie: ApiClient, execute: Execute
) -> None:
    """Every route of runs, with every id of it foreign: the same bytes as for an id that never was."""
    thread, run = ask(alice, "!call get_weather {}", tools=[GET_WEATHER])
    execute(run.pk)
    step = run.steps.get()
    mine, other = ask(charlie, "Hello")
    before = snapshot(run), journal.last_seqs([thread.pk])

    def routes(thread_id: str, run_id: str, step_id: str, assistant_id: str) -> list[tuple[str, str, Any]]:
        path = f"/threads/{thread_id}/runs"
        return [
            ("GET", path, None),
            ("POST", path, {"assistant_id": assistant_id}),
            ("POST", "/threads/runs", {"assistant_id": assistant_id}),
            ("GET", f"{path}/{run_id}", None),
            ("POST", f"{path}/{run_id}", {"metadata": {"a": "b"}}),
            ("POST", f"{path}/{run_id}/cancel", None),
            ("POST", f"{path}/{run_id}/submit_tool_outputs", {"tool_outputs": []}),
            ("GET", f"{path}/{run_id}/steps", None),
            ("GET", f"{path}/{run_id}/steps/{step_id}", None),
        ]

    def shapes(thread_id: str, run_id: str, step_id: str, assistant_id: str) -> list[tuple[int, str]]:
        answers = []
        for method, path, body in routes(thread_id, run_id, step_id, assistant_id):
            response = charlie.get(path) if method == "GET" else charlie.post(path, body)
            text = response.content.decode()
            for id in (thread_id, run_id, step_id, assistant_id):
                text = text.replace(id, "ID")
            answers.append((response.status_code, text))
        return answers

    ghosts = "thread_missing", "run_missing", "step_missing", "asst_missing"
    foreign = thread.pk, run.pk, step.pk, run.assistant_id
    assert shapes(*foreign) == shapes(*ghosts)
    assert {status for status, _ in shapes(*foreign)} == {404}
    # Its own thread in front changes nothing.
    assert shapes(mine.pk, run.pk, step.pk, run.assistant_id)[3:] == shapes(mine.pk, *ghosts[1:])[3:]
    assert charlie.get(f"/threads/{mine.pk}/runs/{other.pk}").status_code == 200
    assert (snapshot(run), journal.last_seqs([thread.pk])) == before
    assert bob.get(f"/threads/{thread.pk}/runs/{run.pk}").status_code == 200
