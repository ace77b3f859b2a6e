"""A retry is a new run in the place of one that did not complete: asked the same, unless its thread went on since."""

from __future__ import annotations

from typing import Any

import pytest

from assistants.errors import ApiError
from assistants.models import Message, Project, Thread
from assistants.retrieval import conversations
from runs.models import Run, RunStatus
from runs.transitions import RETRIED_FIELDS, Ending, cancel_run, end_run, retry_run, retryable
from streaming.models import Event
from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER, Execute, ask
from tests.runs.model import Model

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN = {"code": "server_error", "message": "It broke."}


def end(run: Run, status: RunStatus = RunStatus.FAILED) -> Run:
    error = BROKEN if status == RunStatus.FAILED else None
    assert end_run(run, Ending(status, last_error=error), only_from=[RunStatus.QUEUED])
    run.refresh_from_db()
    return run


def assert_refused(run: Run, why: str) -> None:
    """It says why, leaves nothing behind, and whoever asked beforehand was told so."""
    assert not retryable(Run.objects.filter(pk=run.pk)).exists()
    runs, events = Run.objects.count(), Event.objects.count()
    active = Thread.objects.get(pk=run.thread_id).active_run_id
    with pytest.raises(ApiError, match=why):
        retry_run(run, "user 7")
    assert (Run.objects.count(), Event.objects.count()) == (runs, events)
    assert Thread.objects.get(pk=run.thread_id).active_run_id == active


def test_a_retry_asks_the_model_the_same_and_its_answer_replaces_the_half_one(
    alice: ApiClient, model: Model, execute: Execute
) -> None:
    model.will("Half a dragonfruit", finish="length")
    thread, run = ask(alice, "Hello", model="m", instructions="Be brief.")
    assert execute(run.pk).status == "incomplete"
    (half,) = Message.objects.filter(run_id=run.pk)
    model.will("A whole answer.")
    again = retry_run(run, "user 7").run
    assert execute(again.pk).status == "completed"
    first, second = model.requests
    assert first == second
    texts = [m["content"][0]["text"]["value"] for m in alice.get(f"/threads/{thread.pk}/messages").json()["data"]]
    assert texts == ["A whole answer.", "Hello"]
    assert alice.get(f"/threads/{thread.pk}/messages/{half.pk}").status_code == 200
    project = Project.objects.get(pk=thread.project_id)
    assert not conversations.search(project, "dragonfruit")
    assert list(conversations.search(project, "whole")) == [thread.pk]


def test_a_retry_has_all_that_was_asked_for_and_says_whose_it_is(alice: ApiClient) -> None:
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "tools": [GET_WEATHER],
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "top_p": 0.5,
        "response_format": {"type": "json_object"},
        "tool_choice": "required",
        "truncation_strategy": {"type": "last_messages", "last_messages": 3},
        "parallel_tool_calls": False,
        "max_prompt_tokens": 1000,
        "max_completion_tokens": 2000,
        "reasoning_effort": "low",
    }
    _, run = ask(alice, "Hello", **asked)
    end(run)
    again = retry_run(run, "user 7").run
    again.refresh_from_db()
    assert {name: getattr(again, name) for name in RETRIED_FIELDS} == {
        name: getattr(run, name) for name in RETRIED_FIELDS
    }
    assert (again.retry_of, again.made_by, again.request_id, again.status) == (run.pk, "user 7", "", "queued")
    assert again.created_at > run.created_at
    assert again.expires_at > run.expires_at
    names = Event.objects.filter(run_id=again.pk).order_by("seq").values_list("name", flat=True)
    assert list(names) == ["thread.run.created", "thread.run.queued"]
    run.refresh_from_db()
    assert (run.status, run.last_error) == ("failed", BROKEN)


def test_every_column_of_a_run_is_asked_for_or_comes_of_it() -> None:
    """A new one has to be put on one side, or retries would be asked for something else."""
    came_of_it = {
        *("id", "thread_id", "status", "created_at", "made_by", "request_id", "retry_of", "required_action"),
        *("last_error", "incomplete_reason", "usage", "expires_at", "started_at", "first_token_at", "cancelled_at"),
        *("failed_at", "completed_at", "epoch", "worker_id", "lease_until", "crash_attempts"),
    }
    assert {field.attname for field in Run._meta.concrete_fields} == came_of_it | set(RETRIED_FIELDS)


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.EXPIRED, RunStatus.INCOMPLETE, RunStatus.CANCELLED])
def test_what_did_not_complete_is_retried(alice: ApiClient, status: RunStatus) -> None:
    _, run = ask(alice, "Hello")
    end(run, status)
    assert retryable(Run.objects.all()).get() == run
    assert retry_run(run, "user 7").run.status == "queued"


def test_what_completed_or_goes_on_is_not(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    assert_refused(run, "Cannot retry run with status 'queued'")
    end(run, RunStatus.COMPLETED)
    assert_refused(run, "Cannot retry run with status 'completed'")


def test_a_thread_that_is_answered_already_is_left_alone(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    end(run)
    later = alice.make(f"/threads/{thread.pk}/runs", {"assistant_id": run.assistant_id})
    assert_refused(run, f"already has an active run {later['id']}")
    cancel_run(Run.objects.get(pk=later["id"]))
    assert_refused(run, f"run {later['id']} of its thread came after it")


def test_a_run_is_retried_once_then_its_retry_is(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello")
    end(run)
    again = end(retry_run(run, "user 7").run)
    assert_refused(run, f"run {again.pk} of its thread came after it")
    assert retry_run(again, "user 7").run.retry_of == again.pk


def test_a_message_that_was_added_since_is_not_answered_by_a_retry(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    end(run)
    alice.make(f"/threads/{thread.pk}/messages", {"role": "user", "content": "Something else"})
    assert_refused(run, "somebody has added a message since")


def test_messages_that_came_with_the_run_belong_to_it(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", additional_messages=[{"role": "user", "content": "And again"}])
    end(run)
    assert retryable(Run.objects.all()).get() == run
    assert retry_run(run, "user 7").run.status == "queued"


def test_a_run_of_a_deleted_thread_is_not_found(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    end(run)
    assert alice.delete(f"/threads/{thread.pk}").status_code == 200
    with pytest.raises(ApiError) as caught:
        retry_run(run, "user 7")
    assert caught.value.status_code == 404


def test_a_retry_that_cannot_be_made_leaves_what_was_written(alice: ApiClient, model: Model, execute: Execute) -> None:
    model.will("Half an", finish="length")
    thread, run = ask(alice, "Hello", model="m")
    execute(run.pk)
    alice.make(f"/threads/{thread.pk}/messages", {"role": "user", "content": "Go on"})
    assert_refused(run, "somebody has added a message since")
    assert not Message.objects.filter(superseded=True).exists()


def test_clients_of_the_api_have_no_retry(alice: ApiClient) -> None:
    thread, run = ask(alice, "Hello")
    end(run)
    assert alice.post(f"/threads/{thread.pk}/runs/{run.pk}/retry", {}).status_code == 404
    assert "retry_of" not in alice.get(f"/threads/{thread.pk}/runs/{run.pk}").json()
