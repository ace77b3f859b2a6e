"""POST …/submit_tool_outputs: all pending outputs at once, by one of those who try (contract 2.12, 3.5)."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from runs import progress, queue
from runs.models import Run
from runs.transitions import usage_of
from streaming.models import Event
from tests.conftest import ApiClient
from tests.fold import fetched, fold
from tests.loops import PATIENCE_SECONDS
from tests.runs.conftest import GET_WEATHER, ask


def waiting(client: ApiClient, *call_ids: str) -> Run:
    """A run that waits for the outputs of these calls."""
    _, run = ask(client, "Hello", tools=[GET_WEATHER])
    mine = queue.claim_one(run, "worker_a")
    assert mine is not None
    calls: list[dict[str, Any]] = [
        {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": "{}", "output": None}}
        for id in call_ids
    ]
    step = progress.open_tool_step(mine, [{"index": index, **call} for index, call in enumerate(calls)])
    progress.require_action(mine, step, calls, {}, usage_of(3, 2))
    return Run.objects.get(pk=run.pk)


def path_of(run: Run) -> str:
    return f"/threads/{run.thread_id}/runs/{run.pk}"


def submit(client: ApiClient, run: Run, *pairs: tuple[str, str]) -> Any:
    outputs = [{"tool_call_id": id, "output": output} for id, output in pairs]
    return client.post(f"{path_of(run)}/submit_tool_outputs", {"tool_outputs": outputs})


def test_what_is_required_is_shown(alice: ApiClient) -> None:
    run = waiting(alice, "call_a", "call_b")
    shown = alice.get(path_of(run)).json()
    function = {"name": "get_weather", "arguments": "{}"}
    calls = [{"id": id, "type": "function", "function": function} for id in ("call_a", "call_b")]
    assert shown["status"] == "requires_action"
    assert shown["required_action"] == {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    assert shown["usage"] is None


def test_all_outputs_queue_the_run_again(alice: ApiClient) -> None:
    run = waiting(alice, "call_a", "call_b")
    before = alice.get(path_of(run)).json()
    response = submit(alice, run, ("call_b", "snow"), ("call_a", ""))
    answer = response.json()
    assert response.status_code == 200
    assert answer == {**before, "status": "queued", "required_action": None}
    assert answer["started_at"] is not None
    events = list(Event.objects.filter(run_id=run.pk).order_by("seq"))
    assert [event.name for event in events][-2:] == ["thread.run.step.completed", "thread.run.queued"]
    step = json.loads(events[-2].data)
    assert [call["function"]["output"] for call in step["step_details"]["tool_calls"]] == ["", "snow"]
    assert step["usage"] == usage_of(3, 2)
    assert json.loads(events[-1].data) == {**answer, "tool_resources": {"code_interpreter": {"file_ids": []}}}
    assert fold(events) == fetched(alice, run.thread_id, run.pk)


@pytest.mark.parametrize(
    "got",
    [["call_a"], [], ["call_a", "call_x"], ["call_a", "call_b", "call_x"], ["call_a", "call_a"], ["call_a"] * 3,
     ["call_a", "call_b", "call_b"], ["it's"]],
)  # fmt: skip
def test_anything_but_all_pending_ids_is_refused(got: list[str], alice: ApiClient) -> None:
    run = waiting(alice, "call_a", "call_b")
    before = alice.get(path_of(run)).json()
    told = Event.objects.filter(run_id=run.pk).count()
    response = submit(alice, run, *((id, "x") for id in got))
    text = f"Expected tool outputs for call_ids ['call_a', 'call_b'], got {got}"
    assert (response.status_code, response.json()["error"]) == (
        400,
        {"message": text, "type": "invalid_request_error", "param": None, "code": None},
    )
    assert alice.get(path_of(run)).json() == before
    assert Event.objects.filter(run_id=run.pk).count() == told
    assert submit(alice, run, ("call_a", "x"), ("call_b", "y")).status_code == 200


@pytest.mark.parametrize(
    "status", ["queued", "in_progress", "cancelling", "cancelled", "failed", "completed", "incomplete", "expired"]
)
def test_other_statuses_take_no_outputs(status: str, alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    Run.objects.filter(pk=run.pk).update(status=status)
    response = submit(alice, run, ("call_a", "x"))
    text = f'Runs in status "{status}" do not accept tool outputs.'
    assert (response.status_code, response.json()["error"]["message"]) == (400, text)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({}, "Missing required parameter: 'tool_outputs'.", "tool_outputs"),
        ({"tool_outputs": {}}, "Invalid type for 'tool_outputs': expected an array of objects, but got an object"
         " instead.", "tool_outputs"),
        ({"tool_outputs": [{"output": "x"}]}, "Missing required parameter: 'tool_outputs[0].tool_call_id'.",
         "tool_outputs[0].tool_call_id"),
        ({"tool_outputs": [{"tool_call_id": "a", "output": 5}]}, "Invalid type for 'tool_outputs[0].output': expected a"
         " string, but got an integer instead.", "tool_outputs[0].output"),
        ({"tool_outputs": [{"tool_call_id": "a", "output": "x", "error": 1}]}, "Unknown parameter:"
         " 'tool_outputs[0].error'.", "tool_outputs[0].error"),
        ({"tool_outputs": [], "outputs": []}, "Unknown parameter: 'outputs'.", "outputs"),
    ],
)  # fmt: skip
def test_bad_bodies_are_refused(body: dict[str, Any], message: str, param: str, alice: ApiClient) -> None:
    run = waiting(alice, "call_a")
    response = alice.post(f"{path_of(run)}/submit_tool_outputs", body)
    error = response.json()["error"]
    assert (response.status_code, error["message"], error["param"]) == (400, message, param)
    assert Run.objects.get(pk=run.pk).status == "requires_action"


def test_a_second_submission_comes_too_late(alice: ApiClient) -> None:
    run = waiting(alice, "call_a")
    assert submit(alice, run, ("call_a", "first")).status_code == 200
    response = submit(alice, run, ("call_a", "second"))
    assert response.json()["error"]["message"] == 'Runs in status "queued" do not accept tool outputs.'
    assert run.steps.get().step_details["tool_calls"][0]["function"]["output"] == "first"


def test_foreign_runs_are_404(alice: ApiClient, charlie: ApiClient) -> None:
    run = waiting(alice, "call_a")
    assert submit(charlie, run, ("call_a", "x")).status_code == 404
    assert Run.objects.get(pk=run.pk).status == "requires_action"


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_wins(alice: ApiClient) -> None:
    run = waiting(alice, "call_a")
    gate = threading.Barrier(6, timeout=PATIENCE_SECONDS)

    def send(number: int) -> tuple[int, str]:
        gate.wait()
        try:
            response = submit(alice, run, ("call_a", str(number)))
            return response.status_code, "" if response.status_code == 200 else response.json()["error"]["message"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))

    assert sorted(answers) == [(200, ""), *[(400, 'Runs in status "queued" do not accept tool outputs.')] * 5]
    winner = next(number for number, (status, _) in enumerate(answers) if status == 200)
    assert run.steps.get().step_details["tool_calls"][0]["function"]["output"] == str(winner)
    assert Event.objects.filter(run_id=run.pk, name="thread.run.step.completed").count() == 1
    assert Event.objects.filter(run_id=run.pk, name="thread.run.queued").count() == 2
