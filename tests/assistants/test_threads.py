"""/threads: creation with messages and resources, both forms of the object, and whose it is (contract 2.6)."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from assistants.models import Message, Thread
from assistants.serializers.message import MESSAGES_MAX
from tests.conftest import ApiClient

LONG: dict[str, dict[str, list[str]]] = {"code_interpreter": {"file_ids": []}}


@pytest.mark.parametrize("body", [None, {}, {"messages": None, "metadata": None, "tool_resources": None}])
def test_a_thread_of_nothing(alice: ApiClient, body: dict[str, None] | None) -> None:
    thread = alice.make("/threads", body)
    assert thread["id"].startswith("thread_")
    assert thread == {
        "id": thread["id"],
        "object": "thread",
        "created_at": thread["created_at"],
        "metadata": {},
        "tool_resources": {},
    }
    assert alice.get(f"/threads/{thread['id']}").json() == {**thread, "tool_resources": LONG}


def test_messages_keep_their_order(alice: ApiClient) -> None:
    texts = [f"message {index}" for index in range(30)]
    messages = [{"role": "user", "content": text} for text in texts]
    thread = alice.make("/threads", {"messages": messages})
    listed = alice.get(f"/threads/{thread['id']}/messages", {"order": "asc", "limit": 100}).json()["data"]
    assert [message["content"][0]["text"]["value"] for message in listed] == texts


def test_store_of_a_thread_expires(alice: ApiClient) -> None:
    file_id = alice.make_file()
    resources = {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}
    thread = alice.make("/threads", {"tool_resources": resources})
    (store_id,) = thread["tool_resources"]["file_search"]["vector_store_ids"]
    store = alice.get(f"/vector_stores/{store_id}").json()
    assert store["expires_after"] == {"anchor": "last_active_at", "days": 7}
    assert store["expires_at"] == store["last_active_at"] + 7 * 86400


def test_a_refused_message_leaves_no_thread(alice: ApiClient) -> None:
    good = {"role": "user", "content": "x"}
    missing = {**good, "attachments": [{"file_id": "file-none", "tools": [{"type": "file_search"}]}]}
    answer = alice.post("/threads", {"messages": [good, missing]})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "No such File object: file-none"
    assert not Thread.objects.exists()
    assert not Message.objects.exists()


def test_modify(alice: ApiClient) -> None:
    file_id = alice.make_file()
    store = alice.make("/vector_stores")
    thread = alice.make(
        "/threads", {"metadata": {"a": "1"}, "tool_resources": {"code_interpreter": {"file_ids": [file_id]}}}
    )
    path = f"/threads/{thread['id']}"
    changed = alice.make(path, {"tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}}})
    assert changed["tool_resources"] == {
        "code_interpreter": {"file_ids": [file_id]},
        "file_search": {"vector_store_ids": [store["id"]]},
    }
    assert changed["metadata"] == {"a": "1"}
    assert alice.make(path, {"metadata": {"b": "2"}})["metadata"] == {"a": "1", "b": "2"}
    assert alice.make(path, {"tool_resources": None})["tool_resources"] == {}
    assert alice.post(path, {"messages": []}).json()["error"]["message"] == "Unknown parameter: 'messages'."


def test_deleted_is_gone_with_its_messages(
    alice: ApiClient, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    thread = alice.make("/threads", {"messages": [{"role": "user", "content": "x"}]})
    path = f"/threads/{thread['id']}"
    with django_capture_on_commit_callbacks(execute=True):
        assert alice.delete(path).json() == {"id": thread["id"], "object": "thread.deleted", "deleted": True}
    answer = alice.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"No thread found with id '{thread['id']}'."
    assert alice.get(f"{path}/messages").status_code == 404
    assert not Message.objects.exists()


def test_malformed_id(alice: ApiClient) -> None:
    answer = alice.get("/threads/new")
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "Invalid 'thread_id': 'new'. Expected an ID that begins with 'thread'.",
        "type": "invalid_request_error",
        "param": "thread_id",
        "code": "invalid_value",
    }


def test_list_is_the_projects(alice: ApiClient, bob: ApiClient, charlie: ApiClient) -> None:
    ids = [alice.make("/threads")["id"] for _ in range(3)]
    page = bob.get("/threads").json()
    assert [thread["id"] for thread in page["data"]] == ids[::-1]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", ids[2], ids[0], False)
    assert charlie.get("/threads").json()["data"] == []


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient) -> None:
    thread = alice.make("/threads")
    path = f"/threads/{thread['id']}"
    missing = charlie.get("/threads/thread_x").json()["error"]["message"]
    assert bob.get(path).status_code == 200
    for answer in (charlie.get(path), charlie.post(path, {"metadata": {"a": "b"}}), charlie.delete(path)):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == missing.replace("thread_x", thread["id"])
    assert alice.get(path).json()["metadata"] == {}


def test_more_messages_than_one_transaction_should_hold_are_refused(alice: ApiClient) -> None:
    said = {"role": "user", "content": "Hello"}
    several = [said] * (MESSAGES_MAX + 1)
    text = (
        f"array too long. Expected an array with maximum length {MESSAGES_MAX},"
        f" but got an array with length {MESSAGES_MAX + 1} instead."
    )
    assistant_id = alice.make("/assistants", {"model": "scripted"})["id"]
    run = {"assistant_id": assistant_id}
    thread_id = alice.make("/threads")["id"]
    for path, body, param in (
        ("/threads", {"messages": several}, "messages"),
        ("/threads/runs", {**run, "thread": {"messages": several}}, "thread.messages"),
        (
            f"/threads/{thread_id}/runs",
            {**run, "additional_messages": several},
            "additional_messages",
        ),
    ):
        refused = alice.post(path, body)
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["message"], error["code"]) == (f"Invalid '{param}': {text}", "array_above_max_length")
    assert not Message.objects.exists()
    alice.make("/threads", {"messages": [said] * MESSAGES_MAX})


def test_many_messages_are_written_together(
    alice: ApiClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    messages = [{"role": "user", "content": str(number)} for number in range(120)]
    with django_assert_max_num_queries(20):
        thread = alice.make("/threads", {"messages": messages})
    page = alice.get(f"/threads/{thread['id']}/messages", {"order": "asc", "limit": 100}).json()
    assert [message["content"][0]["text"]["value"] for message in page["data"]] == [str(n) for n in range(100)]
    assert page["has_more"] is True


def test_messages_of_a_thread_bring_their_attachments(alice: ApiClient) -> None:
    one, two = alice.make_file("one.txt"), alice.make_file("two.csv")
    search, code = {"type": "file_search"}, {"type": "code_interpreter"}
    messages = [
        {"role": "user", "content": "x", "attachments": [{"file_id": one, "tools": [search]}]},
        {"role": "user", "content": "y", "attachments": [{"file_id": two, "tools": [search, code]}]},
    ]
    resources = alice.make("/threads", {"messages": messages})["tool_resources"]
    assert resources["code_interpreter"] == {"file_ids": [two]}
    (store_id,) = resources["file_search"]["vector_store_ids"]
    assert alice.get(f"/vector_stores/{store_id}").json()["file_counts"]["total"] == 2


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
def test_an_empty_body_needs_no_content_type(alice: ApiClient, kind: str) -> None:
    """Contract 10.14."""
    answer = alice.client.generic("POST", "/v1/threads", b"", content_type=kind, CONTENT_LENGTH="0")
    assert answer.status_code == 200, answer.content
