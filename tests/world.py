"""One object of every kind in somebody's project, and the requests that are valid there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from assistants import ids
from runs import progress, queue
from runs.models import Run, RunStep, StepStatus, StepType
from runs.transitions import usage_of
from tests.conftest import ApiClient
from tests.routes import ROUTES, Ids, Route

GET_WEATHER = {"type": "function", "function": {"name": "get_weather"}}
QUESTION = {"role": "user", "content": "Hello"}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": "{}", "output": None}}


@dataclass(frozen=True)
class World:
    """`ids` by kind; those of `waiting` are of a thread whose run waits for tool outputs, the others of one at rest."""

    client: ApiClient
    ids: Ids
    waiting: Ids

    def ids_for(self, route: Route) -> Ids:
        """Ids with which `route` can succeed."""
        return self.waiting if route.action.__name__ in ("cancel", "submit_tool_outputs") else self.ids


def run_in(client: ApiClient, assistant: str) -> Run:
    thread = client.make("/threads", {"messages": [QUESTION]})["id"]
    run = client.make(f"/threads/{thread}/runs", {"assistant_id": assistant})["id"]
    return Run.objects.get(pk=run)


def world_of(client: ApiClient) -> World:
    assistant = client.make("/assistants", {"model": "scripted", "instructions": "Be brief.", "tools": [GET_WEATHER]})[
        "id"
    ]
    file = client.make_file()
    store = client.make("/vector_stores", {"file_ids": [file]})["id"]

    ended = run_in(client, assistant)
    step = RunStep.objects.create(
        run=ended,
        thread_id=ended.thread_id,
        assistant_id=assistant,
        type=StepType.TOOL_CALLS,
        status=StepStatus.COMPLETED,
        completed_at=timezone.now(),
        step_details={"type": "tool_calls", "tool_calls": [{**CALL, "id": ids.new_call_id()}]},
    )
    client.make(f"/threads/{ended.thread_id}/runs/{ended.pk}/cancel")
    message = client.get(f"/threads/{ended.thread_id}/messages").json()["first_id"]

    waiting = queue.claim_one(run_in(client, assistant), "worker_test")
    assert waiting is not None
    call_id = ids.new_call_id()
    call: dict[str, Any] = {**CALL, "id": call_id}
    opened = progress.open_tool_step(waiting, [{"index": 0, **call}])
    progress.require_action(waiting, opened, [call], {}, usage_of())

    kinds: dict[str, str] = {
        "assistant": assistant,
        "thread": ended.thread_id,
        "message": str(message),
        "run": ended.pk,
        "step": step.pk,
        "file": file,
        "vector_store": store,
        "tool_call": call_id,
        "share": client.make(f"/threads/{ended.thread_id}/shares")["id"],
    }
    if any("file_batches" in route.path for route in ROUTES):
        batch = client.make(f"/vector_stores/{store}/file_batches", {"file_ids": [file]})["id"]
        kinds["batch"] = batch
    at_work = {"thread": waiting.thread_id, "run": waiting.pk, "step": opened.pk}
    return World(client, kinds, {**kinds, **at_work})
