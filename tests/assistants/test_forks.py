"""POST /threads/{id}/fork and the family of a thread: extensions (docs/extensions.md)."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from assistants import forks
from assistants.models import Message, MessageStatus, Role, Thread
from tests.conftest import ApiClient

OWN = ("id", "thread_id", "copied_from")


def conversation(client: ApiClient, *texts: str, **fields: Any) -> tuple[str, list[str]]:
    """A thread where a person and an assistant said these in turn, and the ids of the messages."""
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    thread = client.make("/threads", {"messages": messages, **fields})["id"]
    return thread, [message["id"] for message in said(client, thread)]


def said(client: ApiClient, thread: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = client.get(f"/threads/{thread}/messages", {"order": "asc", "limit": 100}).json()[
        "data"
    ]
    return messages


def text_of(message: dict[str, Any]) -> str:
    return str(message["content"][0]["text"]["value"])


def test_a_fork_begins_as_its_thread_did(alice: ApiClient) -> None:
    file = alice.make_file()
    resources = {"code_interpreter": {"file_ids": [file]}}
    thread, ids = conversation(alice, "One?", "One.", "Two?", metadata={"title": "Counting"}, tool_resources=resources)
    run = {"run_id": "run_x", "assistant_id": "asst_x", "status": MessageStatus.INCOMPLETE}
    place = {"text": "One", "start_index": 0, "end_index": 3, "file_citation": {"file_id": file}}
    cited = [{"type": "text", "text": {"value": "One.", "annotations": [{"type": "file_citation", **place}]}}]
    attached = [{"file_id": file, "tools": [{"type": "code_interpreter"}]}]
    Message.objects.filter(pk=ids[1]).update(
        content=cited, attachments=attached, metadata={"a": "b"}, incomplete_reason="run_cancelled", **run
    )
    fork = alice.make(f"/threads/{thread}/fork", {"metadata": {"by": "me"}})
    assert fork == {
        "id": fork["id"],
        "object": "thread",
        "created_at": fork["created_at"],
        "metadata": {"title": "Counting", "by": "me"},
        "tool_resources": resources,
        "forked_from": {"thread_id": thread, "message_id": ids[2], "family": thread},
    }
    assert alice.get(f"/threads/{fork['id']}").json() == fork
    originals, copies = said(alice, thread), said(alice, fork["id"])
    assert len(copies) == 3
    for original, copy in zip(originals, copies, strict=True):
        assert copy["copied_from"] == {"thread_id": thread, "message_id": original["id"]}
        assert copy["id"] != original["id"]
        assert copy["thread_id"] == fork["id"]
        kept = {name: value for name, value in copy.items() if name not in OWN}
        assert kept == {name: value for name, value in original.items() if name not in OWN}
        assert "copied_from" not in original
        assert alice.get(f"/threads/{fork['id']}/messages/{copy['id']}").json() == copy
    assert "forked_from" not in alice.get(f"/threads/{thread}").json()
    alice.delete(f"/files/{file}")  # it leaves the fork, too
    assert alice.get(f"/threads/{fork['id']}").json()["tool_resources"] == {"code_interpreter": {"file_ids": []}}


def test_a_fork_ends_where_it_is_told_to(alice: ApiClient) -> None:
    thread, ids = conversation(alice, "One?", "One.", "Two?", "Two.")
    for body, texts in (
        ({"up_to": ids[1]}, ["One?", "One."]),
        ({"before": ids[2]}, ["One?", "One."]),
        ({"up_to": ids[3]}, ["One?", "One.", "Two?", "Two."]),
        ({"before": ids[0]}, []),
        ({"up_to": None, "before": None, "metadata": None}, ["One?", "One.", "Two?", "Two."]),
    ):
        fork = alice.make(f"/threads/{thread}/fork", body)
        assert [text_of(message) for message in said(alice, fork["id"])] == texts
        last = ids[len(texts) - 1] if texts else None
        assert fork["forked_from"] == {"thread_id": thread, "message_id": last, "family": thread}
    alice.make(f"/threads/{fork['id']}/messages", {"role": "user", "content": "Three?"})
    assert [text_of(message) for message in said(alice, fork["id"])] == ["One?", "One.", "Two?", "Two.", "Three?"]
    assert len(said(alice, thread)) == 4


def test_what_a_run_still_writes_is_left_out(alice: ApiClient) -> None:
    """A message that is being written, and an interrupted attempt that a later message replaced."""
    thread, ids = conversation(alice, "One?", "On", "One.")
    Message.objects.filter(pk=ids[1]).update(superseded=True, status=MessageStatus.INCOMPLETE)
    Message.objects.filter(pk=ids[2]).update(status=MessageStatus.IN_PROGRESS, role=Role.ASSISTANT)
    for body in ({}, {"before": ids[2]}):
        fork = alice.make(f"/threads/{thread}/fork", body)
        assert [text_of(message) for message in said(alice, fork["id"])] == ["One?"]
        assert fork["forked_from"]["message_id"] == ids[0]
    refused = alice.post(f"/threads/{thread}/fork", {"up_to": ids[2]})
    assert refused.status_code == 400
    assert Thread.objects.count() == 3


def test_forks_that_cannot_be(alice: ApiClient) -> None:
    thread, (message,) = conversation(alice, "One?")
    _, (elsewhere,) = conversation(alice, "Else?")
    path = f"/threads/{thread}/fork"
    Message.objects.filter(pk=message).update(status=MessageStatus.IN_PROGRESS, run_id="run_x")
    for body, status, text, param in (
        ({"up_to": elsewhere}, 404, f"No message found with id '{elsewhere}'.", None),
        ({"before": elsewhere}, 404, f"No message found with id '{elsewhere}'.", None),
        ({"up_to": message, "before": message}, 400, "Send either 'up_to' or 'before', not both.", "before"),
        ({"up_to": message}, 400, f"Can't fork after message {message} while the run run_x writes it.", "up_to"),
        ({"after": message}, 400, "Unknown parameter: 'after'.", "after"),
    ):
        answer = alice.post(path, body)
        assert (answer.status_code, answer.json()["error"]["message"], answer.json()["error"]["param"]) == (
            status,
            text,
            param,
        )
    assert alice.post("/threads/thread_x/fork", {}).status_code == 404
    assert Thread.objects.count() == 2


def test_one_place_has_one_name_in_the_whole_family(alice: ApiClient) -> None:
    """Wherever a fork was forked itself, it says where the messages it shares were written."""
    thread, ids = conversation(alice, "One?", "One.", "Two?")
    edited = alice.make(f"/threads/{thread}/fork", {"before": ids[2]})["id"]
    alice.make(f"/threads/{edited}/messages", {"role": "user", "content": "Three?"})
    _, again, own = (message["id"] for message in said(alice, edited))
    place = {"thread_id": thread, "message_id": ids[1], "family": thread}
    sibling = alice.make(f"/threads/{edited}/fork", {"before": own})
    deeper = alice.make(f"/threads/{edited}/fork", {"up_to": own})
    first = alice.make(f"/threads/{deeper['id']}/fork", {"before": said(alice, deeper["id"])[0]["id"]})
    assert sibling["forked_from"] == place
    assert deeper["forked_from"] == {"thread_id": edited, "message_id": own, "family": thread}
    assert first["forked_from"] == {"thread_id": thread, "message_id": None, "family": thread}
    assert [one["copied_from"]["thread_id"] for one in said(alice, deeper["id"])] == [thread, thread, edited]

    other = conversation(alice, "Else?")[0]
    alice.make(f"/threads/{other}/fork", {})
    members = [thread, edited, sibling["id"], deeper["id"], first["id"]]
    for member in members:
        page = alice.get("/threads", {"family": member, "order": "asc"}).json()
        assert [one["id"] for one in page["data"]] == members
    alice.delete(f"/threads/{thread}")
    late = alice.make(f"/threads/{edited}/fork", {"up_to": again})
    assert late["forked_from"] == place
    assert said(alice, late["id"])[1]["copied_from"] == {"thread_id": thread, "message_id": ids[1]}
    page = alice.get("/threads", {"family": thread, "order": "asc"}).json()
    assert [one["id"] for one in page["data"]] == [*members[1:], late["id"]]
    assert alice.get("/threads", {"family": "thread_x"}).json()["data"] == []


def test_a_fork_is_done_once_with_a_key(alice: ApiClient) -> None:
    thread, _ = conversation(alice, "One?")
    headers = {"Idempotency-Key": "fork-1"}
    first, second = (
        alice.client.post(f"/v1/threads/{thread}/fork", "{}", content_type="application/json", headers=headers)
        for _ in range(2)
    )
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert Thread.objects.count() == 2


def test_a_fork_is_bounded(
    alice: ApiClient, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(forks, "AT_ONCE", 10)
    thread, ids = conversation(alice, *(f"Message {number}" for number in range(25)))
    fork = alice.make(f"/threads/{thread}/fork", {})
    assert [text_of(one) for one in said(alice, fork["id"])] == [text_of(one) for one in said(alice, thread)]
    with django_assert_max_num_queries(30):
        alice.make(f"/threads/{thread}/fork", {})
    monkeypatch.setattr(forks, "COPIES_MAX", 24)
    refused = alice.post(f"/threads/{thread}/fork", {})
    text = "A fork copies at most 24 messages, and this one would copy 25."
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, text)
    assert refused.json()["error"]["code"] == "too_many_messages"
    alice.make(f"/threads/{thread}/fork", {"before": ids[-1]})
