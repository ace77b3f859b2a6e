"""/threads/{id}/messages: content in and out, attachments, the lock of an active run (contract 2.7, 2.10)."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from assistants import conversation
from assistants.errors import ApiError
from assistants.models import Message, MessageStatus, Role, Thread
from tests.conftest import ApiClient


@pytest.fixture
def thread_id(alice: ApiClient) -> str:
    return str(alice.make("/threads")["id"])


def test_the_object_has_every_field(alice: ApiClient, thread_id: str) -> None:
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "Hi ☂"})
    assert message["id"].startswith("msg_")
    assert message == {
        "id": message["id"],
        "object": "thread.message",
        "created_at": message["created_at"],
        "thread_id": thread_id,
        "status": "completed",
        "incomplete_details": None,
        "completed_at": message["created_at"],
        "incomplete_at": None,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "Hi ☂", "annotations": []}}],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }
    assert alice.get(f"/threads/{thread_id}/messages/{message['id']}").json() == message


def test_parts_come_back_in_the_responses_form(alice: ApiClient, thread_id: str) -> None:
    image = alice.make_file("a.png", purpose="vision")
    content = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_file", "image_file": {"file_id": image, "detail": "low"}},
    ]
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "assistant", "content": content})
    assert message["role"] == "assistant"
    assert message["content"] == [
        {"type": "text", "text": {"value": "Look:", "annotations": []}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
        {"type": "image_file", "image_file": {"file_id": image, "detail": "low"}},
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"role": "user"}, "Missing required parameter: 'content'."),
        ({"content": "x"}, "Missing required parameter: 'role'."),
        (
            {"role": "system", "content": "x"},
            "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
        ),
        (
            {"role": "user", "content": 7},
            "Invalid type for 'content': expected one of a string or array of objects, but got an integer instead.",
        ),
        (
            {"role": "user", "content": "x" * 256_001},
            "Invalid 'content': string too long. Expected a string with maximum length 256000,"
            " but got a string with length 256001 instead.",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": 5}]},
            "Invalid type for 'content[1].text': expected a string, but got an integer instead.",
        ),
        (
            {"role": "user", "content": "x", "attachments": [{"file_id": "x", "tools": []}]},
            "Invalid 'attachments[0].file_id': 'x'. Expected an ID that begins with 'file'.",
        ),
    ],
)
def test_refused(alice: ApiClient, thread_id: str, body: Any, message: str) -> None:
    answer = alice.post(f"/threads/{thread_id}/messages", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message
    assert not Message.objects.exists()


@pytest.mark.parametrize("content", ["", [], [{"type": "text", "text": ""}]])
def test_empty_content_is_refused(alice: ApiClient, thread_id: str, content: Any) -> None:
    answer = alice.post(f"/threads/{thread_id}/messages", {"role": "user", "content": content})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("empty_string", "empty_array")


def test_attachments_join_the_threads_resources(alice: ApiClient, thread_id: str) -> None:
    one, two = alice.make_file("one.txt"), alice.make_file("two.txt")
    search, code = {"type": "file_search"}, {"type": "code_interpreter"}
    attachments = [
        {"file_id": one, "tools": [search, code]},
        {"file_id": two, "tools": [search]},
        {"file_id": one, "tools": [search]},
    ]
    body = {"role": "user", "content": "x", "attachments": attachments}
    message = alice.make(f"/threads/{thread_id}/messages", body)
    assert message["attachments"] == attachments, "order and duplicates stay"
    resources = alice.get(f"/threads/{thread_id}").json()["tool_resources"]
    assert resources["code_interpreter"] == {"file_ids": [one]}
    (store_id,) = resources["file_search"]["vector_store_ids"]
    listed = alice.get(f"/vector_stores/{store_id}/files").json()["data"]
    assert [item["id"] for item in listed] == [two, one]
    assert alice.get(f"/vector_stores/{store_id}").json()["expires_after"]["days"] == 7

    three = alice.make_file("three.txt")
    alice.make(
        f"/threads/{thread_id}/messages",
        {"role": "user", "content": "y", "attachments": [{"file_id": three, "tools": [search]}]},
    )
    again = alice.get(f"/threads/{thread_id}").json()["tool_resources"]
    assert again["file_search"]["vector_store_ids"] == [store_id], "one store per thread"
    assert alice.get(f"/vector_stores/{store_id}").json()["file_counts"]["total"] == 3


def test_an_active_run_locks_the_thread(alice: ApiClient, thread_id: str) -> None:
    first = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "x"})
    Thread.objects.filter(pk=thread_id).update(active_run_id="run_1")
    answer = alice.post(f"/threads/{thread_id}/messages", {"role": "user", "content": "y"})
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": f"Can't add messages to {thread_id} while a run run_1 is active.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert Message.objects.count() == 1
    path = f"/threads/{thread_id}/messages/{first['id']}"
    assert alice.make(path, {"metadata": {"a": "b"}})["metadata"] == {"a": "b"}, "metadata stays open"
    Thread.objects.filter(pk=thread_id).update(active_run_id=None)
    alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "y"})


def test_a_thread_deleted_meanwhile_is_missing(alice: ApiClient, thread_id: str) -> None:
    thread = Thread.objects.get(pk=thread_id)
    alice.delete(f"/threads/{thread_id}")
    with pytest.raises(ApiError, match=f"No thread found with id '{thread_id}'"):
        conversation.add_message(thread, {"role": "user", "content": []})


def test_modify_takes_metadata_only(alice: ApiClient, thread_id: str) -> None:
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "x", "metadata": {"a": "1"}})
    path = f"/threads/{thread_id}/messages/{message['id']}"
    assert alice.make(path, {"metadata": {"b": "2"}}) == {**message, "metadata": {"a": "1", "b": "2"}}
    answer = alice.post(path, {"content": "y"})
    assert answer.json()["error"]["message"] == "Unknown parameter: 'content'."


def test_delete(alice: ApiClient, thread_id: str) -> None:
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "x"})
    path = f"/threads/{thread_id}/messages/{message['id']}"
    assert alice.delete(path).json() == {"id": message["id"], "object": "thread.message.deleted", "deleted": True}
    answer = alice.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"No message found with id '{message['id']}'."


def test_list_filters_by_run_and_hides_superseded_attempts(alice: ApiClient, thread_id: str) -> None:
    thread = Thread.objects.get(pk=thread_id)
    alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "x"})
    common: dict[str, Any] = {"thread": thread, "role": Role.ASSISTANT, "assistant_id": "asst_1"}
    interrupted = Message.objects.create(
        **common, run_id="run_1", status=MessageStatus.INCOMPLETE, incomplete_reason="run_failed", superseded=True
    )
    whole = Message.objects.create(**common, run_id="run_1")
    other = Message.objects.create(**common, run_id="run_2")
    path = f"/threads/{thread_id}/messages"
    of_run = alice.get(path, {"run_id": "run_1"}).json()["data"]
    assert [message["id"] for message in of_run] == [whole.id]
    everything = alice.get(path).json()["data"]
    assert [message["id"] for message in everything[:2]] == [other.id, whole.id]
    assert len(everything) == 3
    shown = alice.get(f"{path}/{interrupted.id}").json()
    assert shown["incomplete_details"] == {"reason": "run_failed"}


def test_another_threads_message_is_missing(alice: ApiClient, thread_id: str) -> None:
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "x"})
    other = alice.make("/threads")["id"]
    path = f"/threads/{other}/messages/{message['id']}"
    for answer in (alice.get(path), alice.post(path, {}), alice.delete(path)):
        assert answer.status_code == 404
    assert alice.get(f"/threads/{thread_id}/messages/{message['id']}").status_code == 200


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient, thread_id: str) -> None:
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "x"})
    path = f"/threads/{thread_id}/messages"
    assert bob.get(f"{path}/{message['id']}").json() == message
    for answer in (
        charlie.get(path),
        charlie.post(path, {"role": "user", "content": "y"}),
        charlie.get(f"{path}/{message['id']}"),
        charlie.post(f"{path}/{message['id']}", {}),
        charlie.delete(f"{path}/{message['id']}"),
        charlie.get(f"/threads/{charlie.make('/threads')['id']}/messages/{message['id']}"),
    ):
        assert answer.status_code == 404
    assert Message.objects.count() == 1


def test_foreign_files_cannot_be_attached_or_shown(alice: ApiClient, charlie: ApiClient) -> None:
    file_id = alice.make_file()
    path = f"/threads/{charlie.make('/threads')['id']}/messages"
    attached = {"role": "user", "content": "x", "attachments": [{"file_id": file_id, "tools": []}]}
    shown = {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": file_id}}]}
    for body in (attached, shown):
        answer = charlie.post(path, body)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No such File object: {file_id}"


def test_somebody_logged_in_uses_the_same_api(alice: ApiClient, thread_id: str) -> None:
    page = Client(enforce_csrf_checks=True)
    page.force_login(alice.user)
    assert page.get(f"/v1/threads/{thread_id}/messages").json()["data"] == []
    body = {"role": "user", "content": "x"}
    answer = page.post(f"/v1/threads/{thread_id}/messages", body, content_type="application/json")
    assert answer.status_code == 403, "without the page's CSRF token nothing is written"
    assert not Message.objects.exists()


# Images ---------------------------------------------------------------------------------------------------------------


def image(url: str) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url}}]


@pytest.mark.parametrize(
    "url", ["", "cat.png", "file:///etc/passwd", "ftp://example.com/a.png", "data:text/html;base64,AA==", "http://"]
)
def test_an_image_address_is_one_that_can_be_fetched(alice: ApiClient, thread_id: str, url: str) -> None:
    answer = alice.post(f"/threads/{thread_id}/messages", {"role": "user", "content": image(url)})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("content[0].image_url.url", "invalid_value")
    assert error["message"].startswith("Invalid 'content[0].image_url.url': string does not match pattern.")


def test_a_data_url_may_be_as_long_as_a_body(alice: ApiClient, thread_id: str) -> None:
    url = "data:image/png;base64," + "A" * 1_000_000
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": image(url)})
    assert message["content"] == [{"type": "image_url", "image_url": {"url": url, "detail": "auto"}}]


@pytest.mark.parametrize("detail", ["auto", "low", "high", None])
def test_detail_is_filled_in(alice: ApiClient, thread_id: str, detail: str | None) -> None:
    file_id = alice.make_file("cat.png", purpose="assistants")
    part = {"type": "image_file", "image_file": {"file_id": file_id, "detail": detail}}
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": [part]})
    assert message["content"][0]["image_file"] == {"file_id": file_id, "detail": detail or "auto"}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "audio"}, "Invalid value: 'audio'. Supported values are: 'text', 'image_url', and 'image_file'."),
        ({"text": "x"}, "Missing required parameter: 'content[0].type'."),
        ({"type": "text", "text": {"value": "x"}}, "Invalid type for 'content[0].text': expected a string"),
        ({"type": "image_url"}, "Missing required parameter: 'content[0].image_url'."),
        ({"type": "image_url", "image_url": {}}, "Missing required parameter: 'content[0].image_url.url'."),
        (
            {"type": "image_file", "image_file": {"file_id": "cat"}},
            "Invalid 'content[0].image_file.file_id': 'cat'. Expected an ID that begins with 'file'.",
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/", "detail": "huge"}},
            "Invalid value: 'huge'. Supported values are: 'auto', 'low', and 'high'.",
        ),
        ({"type": "text", "text": "x", "annotations": []}, "Unknown parameter: 'content[0].annotations'."),
    ],
)
def test_a_part_is_checked(alice: ApiClient, thread_id: str, part: dict[str, Any], message: str) -> None:
    answer = alice.post(f"/threads/{thread_id}/messages", {"role": "user", "content": [part]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)


def test_an_image_file_must_exist(alice: ApiClient, thread_id: str) -> None:
    part = {"type": "image_file", "image_file": {"file_id": "file-none"}}
    answer = alice.post(f"/threads/{thread_id}/messages", {"role": "user", "content": [part]})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "No such File object: file-none"


# Limits and order -----------------------------------------------------------------------------------------------------


def test_the_longest_texts_are_kept_whole(alice: ApiClient, thread_id: str) -> None:
    text = "ü" * 256_000
    for content in (text, [{"type": "text", "text": text}] * 3):
        message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": content})
        assert {part["text"]["value"] for part in message["content"]} == {text}
        assert alice.get(f"/threads/{thread_id}/messages/{message['id']}").json() == message
    answer = alice.post(
        f"/threads/{thread_id}/messages", {"role": "user", "content": [{"type": "text", "text": text + "x"}]}
    )
    assert answer.json()["error"] == {
        "message": "Invalid 'content[0].text': string too long. Expected a string with maximum length 256000,"
        " but got a string with length 256001 instead.",
        "type": "invalid_request_error",
        "param": "content[0].text",
        "code": "string_above_max_length",
    }


@pytest.mark.parametrize("nothing", [None, []])
def test_attachments_may_be_nothing(alice: ApiClient, thread_id: str, nothing: Any) -> None:
    body = {"role": "user", "content": "x", "attachments": nothing, "metadata": None}
    message = alice.make(f"/threads/{thread_id}/messages", body)
    assert (message["attachments"], message["metadata"]) == ([], {})
    assert alice.make(f"/threads/{thread_id}", {})["tool_resources"] == {}


def test_an_attachment_without_tools_joins_nothing(alice: ApiClient, thread_id: str) -> None:
    attachments = [{"file_id": alice.make_file()}]
    message = alice.make(f"/threads/{thread_id}/messages", {"role": "user", "content": "x", "attachments": attachments})
    assert message["attachments"] == [{**attachments[0], "tools": []}]
    assert alice.make(f"/threads/{thread_id}", {})["tool_resources"] == {}


def test_too_many_files_for_code_leave_no_message(alice: ApiClient, thread_id: str) -> None:
    code = [{"type": "code_interpreter"}]
    attachments = [{"file_id": alice.make_file(f"{number}.csv"), "tools": code} for number in range(21)]
    body = {"role": "user", "content": "x", "attachments": attachments}
    answer = alice.post(f"/threads/{thread_id}/messages", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "array_above_max_length"
    assert not Message.objects.exists()
    assert alice.make(f"/threads/{thread_id}", {})["tool_resources"] == {}
    alice.make(f"/threads/{thread_id}/messages", {**body, "attachments": attachments[:20]})


def test_an_attachment_joins_the_store_that_the_thread_was_given(alice: ApiClient) -> None:
    store = alice.make("/vector_stores", {"name": "mine"})
    resources = {"file_search": {"vector_store_ids": [store["id"]]}}
    thread = alice.make("/threads", {"tool_resources": resources})
    file_id = alice.make_file()
    attachments = [{"file_id": file_id, "tools": [{"type": "file_search"}]}]
    body = {"role": "user", "content": "x", "attachments": attachments}
    alice.make(f"/threads/{thread['id']}/messages", body)
    assert alice.get(f"/threads/{thread['id']}").json()["tool_resources"] == resources
    assert alice.get(f"/vector_stores/{store['id']}").json()["expires_after"] is None, "a store of its own stays so"
    listed = alice.get(f"/vector_stores/{store['id']}/files").json()["data"]
    assert [item["id"] for item in listed] == [file_id]


def test_many_attachments_hold_the_database_no_longer_than_few(
    alice: ApiClient, thread_id: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """Whoever writes keeps every run waiting meanwhile."""
    files = [alice.make_file(f"{number}.txt") for number in range(5)]
    search = [{"type": "file_search"}]
    attachments = [{"file_id": files[number % 5], "tools": search} for number in range(200)]
    body = {"role": "user", "content": "x", "attachments": attachments}
    with django_assert_max_num_queries(40):
        message = alice.make(f"/threads/{thread_id}/messages", body)
    assert message["attachments"] == attachments
