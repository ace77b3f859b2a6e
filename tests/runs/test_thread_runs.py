"""POST /threads/runs: thread and run in one request (contract 2.4, 2.8, 3.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assistants.models import Thread, VectorStore
from runs.models import Run
from streaming.models import Event
from tests.conftest import ApiClient

QUESTION = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def assistant_id(alice: ApiClient) -> str:
    return str(alice.make("/assistants", {"model": "scripted"})["id"])


def refused(client: ApiClient, body: dict[str, Any]) -> tuple[int, str, str | None]:
    """The error; and nothing is left behind."""
    threads, stores = Thread.objects.count(), VectorStore.objects.count()
    response = client.post("/threads/runs", body)
    assert not Run.objects.exists()
    assert (Thread.objects.count(), VectorStore.objects.count()) == (threads, stores)
    error = response.json()["error"]
    return response.status_code, error["message"], error["param"]


def test_the_story_begins_with_the_thread(alice: ApiClient, assistant_id: str) -> None:
    body = {"assistant_id": assistant_id, "thread": {**QUESTION, "metadata": {"a": "b"}}}
    run = alice.make("/threads/runs", body)
    thread = alice.get(f"/threads/{run['thread_id']}").json()
    assert thread["metadata"] == {"a": "b"}
    events = list(Event.objects.filter(thread_id=run["thread_id"]).order_by("seq"))
    assert [event.name for event in events] == ["thread.created", "thread.run.created", "thread.run.queued"]
    assert [event.seq for event in events] == [1, 2, 3]
    assert [event.run_id for event in events] == ["", run["id"], run["id"]]
    assert json.loads(events[0].data) == thread
    streamed = {**run, "tool_resources": {"code_interpreter": {"file_ids": []}}}
    assert json.loads(events[1].data) == json.loads(events[2].data) == streamed
    assert Thread.objects.get().active_run_id == run["id"]


def test_all_other_options_are_those_of_a_run(alice: ApiClient, assistant_id: str) -> None:
    said = {
        "model": "default",
        "instructions": "Be long.",
        "metadata": {"a": "b"},
        "temperature": 0.0,
        "top_p": 0.5,
        "max_prompt_tokens": 256,
        "max_completion_tokens": 300,
        "truncation_strategy": {"type": "last_messages", "last_messages": 3},
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "response_format": {"type": "text"},
        "tools": [{"type": "code_interpreter"}],
    }
    run = alice.make("/threads/runs", {"assistant_id": assistant_id, "thread": QUESTION, **said})
    assert {name: run[name] for name in said} == said


@pytest.mark.parametrize("name", ["additional_instructions", "additional_messages", "reasoning_effort"])
def test_what_only_existing_threads_need_is_unknown_here(name: str, alice: ApiClient, assistant_id: str) -> None:
    answer = refused(alice, {"assistant_id": assistant_id, "thread": QUESTION, name: None})
    assert answer == (400, f"Unknown parameter: '{name}'.", name)


def test_a_whole_thread_object_may_be_given(alice: ApiClient, assistant_id: str) -> None:
    known = alice.make("/threads", {"metadata": {"a": "b"}})
    run = alice.make("/threads/runs", {"assistant_id": assistant_id, "thread": {**known, **QUESTION}})
    assert run["thread_id"] != known["id"]
    assert Thread.objects.get(pk=run["thread_id"]).metadata == {"a": "b"}


def test_an_empty_thread_is_enough_for_an_assistant_with_instructions(alice: ApiClient) -> None:
    assistant = alice.make("/assistants", {"model": "scripted", "instructions": "Greet."})
    bodies: list[dict[str, Any]] = [{}, {"thread": None}, {"thread": {}}]
    for thread in bodies:
        run = alice.make("/threads/runs", {"assistant_id": assistant["id"], **thread})
        assert alice.get(f"/threads/{run['thread_id']}/messages").json()["data"] == []


def test_faults_inside_the_thread_are_shown_with_their_path(alice: ApiClient, assistant_id: str) -> None:
    body = {"assistant_id": assistant_id, "thread": {"messages": [{"role": "system", "content": "x"}]}}
    text = "Invalid value: 'system'. Supported values are: 'user' and 'assistant'."
    assert refused(alice, body) == (400, text, "thread.messages[0].role")
    body = {"assistant_id": assistant_id, "thread": {**QUESTION, "tool_resources": {"file_search": {"foo": 1}}}}
    path = "thread.tool_resources.file_search.foo"
    assert refused(alice, body) == (400, f"Unknown parameter: '{path}'.", path)


def test_tool_resources_of_assistant_thread_and_request_are_used_together(alice: ApiClient) -> None:
    of_assistant, of_thread, of_request = (str(alice.make("/vector_stores")["id"]) for _ in range(3))

    def searched(store_id: str) -> dict[str, Any]:
        return {"file_search": {"vector_store_ids": [store_id]}}

    assistant = alice.make("/assistants", {"model": "scripted", "tool_resources": searched(of_assistant)})
    thread = {**QUESTION, "tool_resources": searched(of_thread)}
    body = {"assistant_id": assistant["id"], "thread": thread}
    run = alice.make("/threads/runs", body)
    assert run["tool_resources"] == {}
    assert Run.objects.get(pk=run["id"]).tool_resources == {
        "file_search": {"vector_store_ids": [of_assistant, of_thread]}
    }
    run = alice.make("/threads/runs", {**body, "tool_resources": searched(of_request)})
    assert Run.objects.get(pk=run["id"]).tool_resources == {
        "file_search": {"vector_store_ids": [of_request, of_thread]}
    }


def test_a_store_for_the_thread_is_made_and_expires(alice: ApiClient, assistant_id: str) -> None:
    file_id = alice.make_file()
    resources = {"file_search": {"vector_stores": [{"file_ids": [file_id], "metadata": {"a": "b"}}]}}
    body = {"assistant_id": assistant_id, "thread": {**QUESTION, "tool_resources": resources}}
    run = alice.make("/threads/runs", body)
    shown = alice.get(f"/threads/{run['thread_id']}").json()["tool_resources"]
    store = VectorStore.objects.get(covers_project=False)
    assert shown == {"file_search": {"vector_store_ids": [store.pk]}}
    assert (store.expires_after_days, store.metadata) == (7, {"a": "b"})
    assert Run.objects.get().tool_resources == shown


def test_ids_of_another_project_are_ids_of_nothing(alice: ApiClient, charlie: ApiClient, assistant_id: str) -> None:
    file_id, store_id = charlie.make_file(), charlie.make("/vector_stores")["id"]
    foreign = charlie.make("/assistants", {"model": "scripted"})["id"]
    image = {"type": "image_file", "image_file": {"file_id": file_id}}
    attached = {"role": "user", "content": "?", "attachments": [{"file_id": file_id, "tools": []}]}
    good = {"assistant_id": assistant_id, "thread": QUESTION}
    no_file, no_store = f"No such File object: {file_id}", f"No vector store found with id '{store_id}'."
    store = {"file_search": {"vector_store_ids": [store_id]}}
    attempts: list[tuple[dict[str, Any], str]] = [
        ({"assistant_id": foreign}, f"No assistant found with id '{foreign}'."),
        ({"thread": {"messages": [{"role": "user", "content": [image]}]}}, no_file),
        ({"thread": {"messages": [attached]}}, no_file),
        ({"thread": {**QUESTION, "tool_resources": {"code_interpreter": {"file_ids": [file_id]}}}}, no_file),
        ({"thread": {**QUESTION, "tool_resources": store}}, no_store),
        ({"tool_resources": store}, no_store),
    ]
    for body, message in attempts:
        assert refused(alice, {**good, **body})[:2] == (404, message)


def test_a_refused_request_leaves_no_store_behind(alice: ApiClient, assistant_id: str) -> None:
    """Stores are asked for in the thread and beside it; then the run is refused for want of a message."""
    resources: dict[str, Any] = {"file_search": {"vector_stores": [{}]}}
    body = {"assistant_id": assistant_id, "thread": {"tool_resources": resources}, "tool_resources": resources}
    assert refused(alice, body)[0] == 400
