"""/threads/{id}/runs/{id}/steps: what steps show, to whom, in which order (contract 2.13, 10.8)."""

from __future__ import annotations

from typing import Any

import pytest

from runs import progress, queue, transitions
from runs.models import Run, RunStep
from runs.serializers import INCLUDE_CONTENT
from runs.story import Piece
from runs.transitions import usage_of
from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER, ask

pytestmark = pytest.mark.django_db

RESULT = {
    "file_id": "file-" + "a" * 22,
    "file_name": "tides.txt",
    "score": 0.75,
    "attributes": {},
    "content": [{"type": "text", "text": "High tide comes twice a day."}],
}
BARE = {key: value for key, value in RESULT.items() if key != "content"}


@pytest.fixture
def run(alice: ApiClient) -> Run:
    """A finished run: it searched, called a function, and answered."""
    _, asked = ask(alice, "Hello", tools=[{"type": "file_search"}, GET_WEATHER])
    mine = queue.claim_one(asked, "worker_a")
    assert mine is not None
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    found = {"id": "call_s", "type": "file_search", "file_search": {"ranking_options": ranking, "results": [RESULT]}}
    opening = {**found, "file_search": {"ranking_options": ranking, "results": []}}
    step = progress.open_tool_step(mine, [{"index": 0, **opening}])
    progress.finish_tool_step(mine, step, [found], {"call_s": '{"query": "tide"}'}, usage_of(10, 2))
    call = {"id": "call_f", "type": "function", "function": {"name": "get_weather", "arguments": "{}", "output": None}}
    step = progress.open_tool_step(mine, [{"index": 0, **call}])
    progress.require_action(mine, step, [call], {}, usage_of(20, 3))
    transitions.submit_tool_outputs(mine, [{"tool_call_id": "call_f", "output": "rain"}])
    mine = queue.claim_one(Run.objects.get(pk=asked.pk), "worker_a")
    assert mine is not None
    opened = progress.open_message(mine, [Piece("It rains.")])
    progress.complete(mine, opened, [{"type": "text", "text": {"value": "It rains.", "annotations": []}}], usage_of(30))
    return Run.objects.get(pk=asked.pk)


def path_of(run: Run) -> str:
    return f"/threads/{run.thread_id}/runs/{run.pk}/steps"


def test_steps_show_every_field(run: Run, alice: ApiClient) -> None:
    message, function, search = alice.get(path_of(run)).json()["data"]
    common: dict[str, Any] = {
        "object": "thread.run.step",
        "thread_id": run.thread_id,
        "run_id": run.pk,
        "assistant_id": run.assistant_id,
        "status": "completed",
        "last_error": None,
        "expires_at": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "metadata": {},
    }
    for step in (message, function, search):
        assert step["id"].startswith("step_")
        assert {key: step[key] for key in common} == common
        assert step["completed_at"] >= step["created_at"]
        own = {"id", "created_at", "completed_at", "type", "step_details", "usage"}
        assert step.keys() == common.keys() | own
    message_id = alice.get(f"/threads/{run.thread_id}/messages", {"run_id": run.pk}).json()["first_id"]
    assert message["step_details"] == {"type": "message_creation", "message_creation": {"message_id": message_id}}
    called = {"name": "get_weather", "arguments": "{}", "output": "rain"}
    assert function["step_details"] == {
        "type": "tool_calls",
        "tool_calls": [{"id": "call_f", "type": "function", "function": called}],
    }
    assert search["step_details"]["tool_calls"][0]["file_search"] == {
        "ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0},
        "results": [BARE],
    }
    assert [step["usage"] for step in (search, function, message)] == [usage_of(10, 2), usage_of(20, 3), usage_of(30)]
    assert alice.get(f"/threads/{run.thread_id}/runs/{run.pk}").json()["usage"] == usage_of(60, 5)


def test_passages_are_shown_on_request_only(run: Run, alice: ApiClient) -> None:
    step_id = run.steps.order_by("created_at").values_list("pk", flat=True)[0]

    def results(path: str, query: dict[str, Any]) -> Any:
        answer = alice.get(path, query).json()
        step = answer["data"][-1] if "data" in answer else answer
        return step["step_details"]["tool_calls"][0]["file_search"]["results"]

    for path in (path_of(run), f"{path_of(run)}/{step_id}"):
        assert results(path, {}) == [BARE]
        assert results(path, {"include[]": INCLUDE_CONTENT}) == [RESULT]
        assert results(path, {"include": INCLUDE_CONTENT}) == [RESULT]
        refused = alice.get(path, {"include[]": "all"})
        text = f"Invalid value: 'all'. Supported values are: '{INCLUDE_CONTENT}'."
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, text)


def test_steps_are_listed_page_by_page(run: Run, alice: ApiClient) -> None:
    ids = list(RunStep.objects.filter(run=run).order_by("created_at").values_list("pk", flat=True))
    newest = alice.get(path_of(run)).json()
    assert [step["id"] for step in newest["data"]] == ids[::-1]
    first = alice.get(path_of(run), {"order": "asc", "limit": 2}).json()
    assert [step["id"] for step in first["data"]] == ids[:2]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[0], ids[1], True)
    rest = alice.get(path_of(run), {"order": "asc", "after": ids[1]}).json()
    assert ([step["id"] for step in rest["data"]], rest["has_more"]) == (ids[2:], False)


def test_one_step_is_what_the_list_shows(run: Run, alice: ApiClient) -> None:
    for step in alice.get(path_of(run)).json()["data"]:
        assert alice.get(f"{path_of(run)}/{step['id']}").json() == step


def test_an_open_step_shows_the_runs_expiry_and_no_usage(alice: ApiClient) -> None:
    _, asked = ask(alice, "Hello")
    mine = queue.claim_one(asked, "worker_a")
    assert mine is not None
    opened = progress.open_message(mine, [Piece("It ")])
    step = alice.get(f"{path_of(mine)}/{opened.step.pk}").json()
    expiry = alice.get(f"/threads/{mine.thread_id}/runs/{mine.pk}").json()["expires_at"]
    assert (step["status"], step["usage"], step["expires_at"], step["completed_at"]) == (
        "in_progress", None, expiry, None
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("server_error", "server_error"),
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("invalid_prompt", "server_error"),
    ],
)
def test_a_failed_step_says_why_in_its_own_words(code: str, shown: str, alice: ApiClient) -> None:
    """Steps know fewer codes than runs."""
    _, asked = ask(alice, "Hello")
    mine = queue.claim_one(asked, "worker_a")
    assert mine is not None
    progress.open_message(mine, [Piece("It ")])
    progress.fail(mine, code, "No.")
    (step,) = alice.get(path_of(mine)).json()["data"]
    assert (step["status"], step["last_error"]) == ("failed", {"code": shown, "message": "No."})
    assert step["failed_at"] is not None
    run = alice.get(f"/threads/{mine.thread_id}/runs/{mine.pk}").json()
    assert run["last_error"] == {"code": code, "message": "No."}


def test_a_run_without_steps(alice: ApiClient) -> None:
    _, asked = ask(alice, "Hello")
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert alice.get(path_of(asked)).json() == empty


def test_unknown_steps_and_wrong_places_are_404(run: Run, alice: ApiClient, charlie: ApiClient) -> None:
    step_id = run.steps.values_list("pk", flat=True)[0]
    _, other = ask(alice, "Hello")

    def message(client: ApiClient, path: str) -> tuple[int, str]:
        response = client.get(path)
        return response.status_code, response.json()["error"]["message"]

    ghost = "step_" + "x" * 24
    assert message(alice, f"{path_of(run)}/{ghost}") == (404, f"No run step found with id '{ghost}'.")
    assert message(alice, f"{path_of(other)}/{step_id}") == (404, f"No run step found with id '{step_id}'.")
    crossed = f"/threads/{other.thread_id}/runs/{run.pk}/steps"
    assert message(alice, crossed) == (404, f"No run found with id '{run.pk}'.")
    assert message(charlie, f"{path_of(run)}/{step_id}") == (404, f"No thread found with id '{run.thread_id}'.")
