"""POST …/cancel in every status (contract 2.9, 2.11, 3.8)."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from assistants.clock import now
from assistants.models import Message, Thread
from runs import progress, queue
from runs.models import TERMINAL, Run
from runs.story import Piece
from runs.transitions import usage_of
from streaming.models import Event
from tests.conftest import ApiClient
from tests.fold import fetched, fold
from tests.runs.conftest import GET_WEATHER, ask, make_overdue

pytestmark = pytest.mark.django_db


def path_of(run: Run) -> str:
    return f"/threads/{run.thread_id}/runs/{run.pk}"


def names(run: Run) -> list[str]:
    return list(Event.objects.filter(run_id=run.pk).order_by("seq").values_list("name", flat=True))


def claimed(run: Run) -> Run:
    mine = queue.claim_one(Run.objects.get(pk=run.pk), "worker_a")
    assert mine is not None
    return mine


def test_a_queued_run_is_cancelled_at_once(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    response = alice.post(f"{path_of(run)}/cancel")
    answer = response.json()
    assert response.status_code == 200
    assert answer["status"] == "cancelled"
    assert answer["cancelled_at"] is not None
    assert answer["usage"]["total_tokens"] == 0
    assert "openai-poll-after-ms" in response.headers
    assert names(run)[2:] == ["thread.run.cancelling", "thread.run.cancelled"]
    assert alice.get(path_of(run)).json() == answer
    assert Thread.objects.get(pk=thread.pk).active_run_id is None
    assert alice.post(f"/threads/{thread.pk}/messages", {"role": "user", "content": "?"}).status_code == 200
    assert queue.claim("worker_a", 5) == []


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_with_and_without_a_body(body: bytes, alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    assert alice.post_raw(f"{path_of(run)}/cancel", body).json()["status"] == "cancelled"


def test_a_run_in_progress_is_cancelled_by_its_worker(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    mine = claimed(run)
    progress.open_message(mine, [Piece("Once upon ")])
    answer = alice.make(f"{path_of(run)}/cancel")
    assert (answer["status"], answer["cancelled_at"], answer["usage"]) == ("cancelling", None, None)
    with pytest.raises(progress.CancelRequested):
        progress.hold(mine)
    locked = alice.post(f"/threads/{thread.pk}/messages", {"role": "user", "content": "?"})
    assert locked.json()["error"]["message"] == f"Can't add messages to {thread.pk} while a run {run.pk} is active."

    progress.cancel(mine)

    assert names(run)[-4:] == [
        "thread.run.cancelling",
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
    ]
    (message,) = Message.objects.filter(run_id=run.pk)
    shown = alice.get(f"/threads/{thread.pk}/messages/{message.pk}").json()
    assert shown["status"] == "incomplete"
    assert shown["incomplete_details"] == {"reason": "run_cancelled"}
    assert shown["incomplete_at"] is not None
    assert shown["content"] == [{"type": "text", "text": {"value": "Once upon ", "annotations": []}}]
    (step,) = alice.get(f"{path_of(run)}/steps").json()["data"]
    assert (step["status"], step["last_error"]) == ("cancelled", None)
    assert step["cancelled_at"] is not None
    assert fold(Event.objects.filter(run_id=run.pk).order_by("seq")) == fetched(alice, thread.pk, run.pk)


def test_a_run_that_waits_for_outputs_is_cancelled_at_once(alice: ApiClient) -> None:
    _, run = ask(alice, "!call get_weather {}", tools=[GET_WEATHER])
    mine = claimed(run)
    call = {"id": "call_a", "type": "function", "function": {"name": "get_weather", "arguments": "{}", "output": None}}
    step = progress.open_tool_step(mine, [{"index": 0, **call}])
    progress.require_action(mine, step, [call], {}, usage_of())
    answer = alice.make(f"{path_of(run)}/cancel")
    assert (answer["status"], answer["required_action"]) == ("cancelled", None)
    assert names(run)[-3:] == ["thread.run.cancelling", "thread.run.step.cancelled", "thread.run.cancelled"]
    cancelling = Event.objects.get(run_id=run.pk, name="thread.run.cancelling")
    assert json.loads(cancelling.data)["required_action"] is None
    late = alice.post(
        f"{path_of(run)}/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": "call_a", "output": "x"}]}
    )
    assert late.json()["error"]["message"] == 'Runs in status "cancelled" do not accept tool outputs.'


def test_a_run_that_nobody_holds_is_cancelled_at_once(alice: ApiClient) -> None:
    """Its worker handed it back when it was drained, in the middle of an answer."""
    thread, run = ask(alice, "Hello")
    mine = claimed(run)
    progress.open_message(mine, [Piece("Once ")])
    queue.release(mine)
    assert alice.make(f"{path_of(run)}/cancel")["status"] == "cancelled"
    assert fold(Event.objects.filter(run_id=run.pk).order_by("seq")) == fetched(alice, thread.pk, run.pk)


@pytest.mark.parametrize("status", ["cancelling", *map(str, TERMINAL)])
def test_a_run_that_is_over_or_about_to_be_cannot_be_cancelled(status: str, alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    Run.objects.filter(pk=run.pk).update(status=status)
    told = names(run)
    response = alice.post(f"{path_of(run)}/cancel")
    assert (response.status_code, response.json()["error"]) == (
        400,
        {
            "message": f"Cannot cancel run with status '{status}'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
    )
    assert names(run) == told
    assert Run.objects.get(pk=run.pk).status == status


def test_an_overdue_run_has_expired_before_it_can_be_cancelled(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    make_overdue(run)
    response = alice.post(f"{path_of(run)}/cancel")
    assert response.json()["error"]["message"] == "Cannot cancel run with status 'expired'."
    assert names(run)[-1] == "thread.run.expired"


def test_a_cancelled_run_whose_worker_died_is_ended_by_the_next(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    mine = claimed(run)
    progress.open_message(mine, [Piece("Once ")])
    alice.make(f"{path_of(run)}/cancel")
    assert queue.claim("worker_b", 5) == []
    assert Run.objects.get(pk=run.pk).status == "cancelling"
    Run.objects.filter(pk=run.pk).update(lease_until=now() - timedelta(seconds=1))
    assert queue.claim("worker_b", 5) == []
    assert Run.objects.get(pk=run.pk).status == "cancelled"
    assert names(run)[-1] == "thread.run.cancelled"


def test_foreign_and_missing_runs_are_404(alice: ApiClient, charlie: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    assert charlie.post(f"{path_of(run)}/cancel").status_code == 404
    missing = alice.post(f"/threads/{thread.pk}/runs/run_x/cancel")
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "No run found with id 'run_x'.")
    assert Run.objects.get(pk=run.pk).status == "queued"
