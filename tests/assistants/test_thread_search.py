"""GET /threads?query=…: what of a thread can be found, by which words, and by whom (docs/extensions.md)."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import pytest
from django.apps import apps
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from assistants.models import Message, MessageStatus, Thread, ThreadText
from assistants.retrieval import conversations
from tests.conftest import ApiClient


def thread_of(client: ApiClient, *texts: str, title: str = "") -> str:
    messages = [{"role": "user", "content": text} for text in texts]
    return str(client.make("/threads", {"messages": messages, "metadata": {"title": title} if title else {}})["id"])


def found(client: ApiClient, query: str) -> list[str]:
    return [thread["id"] for thread in client.get("/threads", {"query": query}).json()["data"]]


def match(client: ApiClient, query: str) -> Any:
    (thread,) = client.get("/threads", {"query": query}).json()["data"]
    return thread["match"]


def test_threads_are_found_by_their_messages_and_titles_newest_first(alice: ApiClient) -> None:
    first = thread_of(alice, "The dragon sleeps", "and wakes up again")
    second = thread_of(alice, "Nothing to see", title="Dragons and their budget")
    thread_of(alice, "A snake")
    assert found(alice, "dragon") == [second, first]
    assert found(alice, "WAKES again") == [first]
    assert found(alice, "dragon wakes") == [], "no single text holds both"
    assert found(alice, "lion") == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Zürich has a café", "zurich CAFE"),
        ("Zurich", "Zürich"),
        ("the summarisation of reports", "summ rep"),
        ("mail to anna.smith@example.org", "smith example"),
        ("see docs/setup-guide.md", "setup guide"),
        ("it's John's", "john"),
        ("日本語 の 文章", "日本"),
        ("한국어 문장", "한국어"),
        ("x₁ = 3.14", "3 14"),
    ],
)
def test_words_are_found_by_how_they_begin_in_any_dress(alice: ApiClient, text: str, query: str) -> None:
    thread = thread_of(alice, text)
    assert found(alice, query) == [thread]


HOSTILE = [
    *(
        '"',
        "'",
        "***",
        "a AND",
        "NOT",
        "a OR b",
        "text: a",
        "(",
        "{a} : b",
        "a* b*",
        "\\",
        "a\\' | b",
        "!a & <-> b",
        "^a",
    ),
    *("NEAR(a b)", "a:*", "%", "é" * 256, " ".join("abcdefghijklmnopqrstuvwxyz"), "x" * 256, "٣", "🐉", "𝕬", "\u0301"),
]


@pytest.mark.parametrize("query", HOSTILE)
def test_any_text_is_a_legal_query(alice: ApiClient, query: str) -> None:
    thread_of(alice, "zebra")
    answer = alice.get("/threads", {"query": query})
    assert answer.status_code == 200
    assert answer.json()["data"] == []


def test_a_query_that_is_too_long_is_refused(alice: ApiClient) -> None:
    error = alice.get("/threads", {"query": "x" * 257}).json()["error"]
    assert (error["param"], error["code"]) == ("query", "string_above_max_length")


def test_without_words_the_list_is_whole(alice: ApiClient) -> None:
    thread = thread_of(alice, "one")
    (listed,) = alice.get("/threads", {"query": ""}).json()["data"]
    assert listed == alice.get(f"/threads/{thread}").json()


def test_the_match_names_the_message_and_shows_the_words_around_it(alice: ApiClient) -> None:
    thread = thread_of(alice, "before " * 60 + "the dragon【0:1†source】 sleeps " + "after " * 60, title="Beasts")
    (message,) = alice.get(f"/threads/{thread}/messages").json()["data"]
    shown = match(alice, "drag")
    assert shown["message_id"] == message["id"]
    assert shown["snippet"].startswith("…before ")
    assert "the dragon sleeps after" in shown["snippet"]
    assert shown["snippet"].endswith("after…")
    assert match(alice, "beast") == {"message_id": None, "snippet": "Beasts"}


def test_what_changes_is_found_as_it_is_now(
    alice: ApiClient, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    thread = thread_of(alice, "first words", title="Old name")
    alice.make(f"/threads/{thread}", {"metadata": {"title": "New name"}})
    assert (found(alice, "old"), found(alice, "new")) == ([], [thread])
    alice.make(f"/threads/{thread}", {"metadata": {"title": ""}})
    assert found(alice, "new") == []
    message = alice.make(f"/threads/{thread}/messages", {"role": "assistant", "content": "said later"})
    assert found(alice, "later") == [thread]
    fork = alice.make(f"/threads/{thread}/fork", {})["id"]
    assert set(found(alice, "later")) == {thread, fork}
    alice.delete(f"/threads/{thread}/messages/{message['id']}")
    assert found(alice, "later") == [fork]
    with django_capture_on_commit_callbacks(execute=True):
        alice.delete(f"/threads/{thread}")
        alice.delete(f"/threads/{fork}")
        assert found(alice, "first") == []
    assert not ThreadText.objects.exists()
    assert alice.make("/threads", {"metadata": {"title": "  "}})["id"] not in found(alice, "name")


def test_other_projects_are_not_searched(alice: ApiClient, charlie: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MATCHES_MAX", 2)  # what others say takes no place in what is looked at
    mine = thread_of(alice, "dragon", title="dragon")
    theirs = thread_of(charlie, "dragon", title="dragon")
    assert (found(alice, "dragon"), found(charlie, "dragon")) == ([mine], [theirs])


def test_messages_that_are_written_or_superseded_are_not_noted(alice: ApiClient) -> None:
    thread = Thread.objects.get(pk=thread_of(alice))
    content = [{"type": "text", "text": {"value": "dragon", "annotations": []}}]
    fields: dict[str, Any] = {"thread": thread, "role": "assistant", "content": content}
    written = Message.objects.create(status=MessageStatus.IN_PROGRESS, **fields)
    again = Message.objects.create(status=MessageStatus.INCOMPLETE, superseded=True, **fields)
    conversations.note_messages([written, again])
    assert found(alice, "dragon") == []


def test_one_search_looks_at_the_newest_texts_only(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MATCHES_MAX", 3)
    threads = [thread_of(alice, "dragon") for _ in range(4)]
    assert found(alice, "dragon") == threads[:0:-1]


def test_a_search_asks_a_few_times_however_much_it_finds(
    alice: ApiClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(20):
        thread_of(alice, "dragon", "dragon")
    with django_assert_max_num_queries(8):
        assert len(found(alice, "dragon")) == 20


def test_what_was_said_before_there_was_an_index_is_found(alice: ApiClient) -> None:
    """The migration notes what the code would have noted."""
    thread_of(alice, "the dragon 【1:2†source】", "  ", title="Beasts")
    thread_of(alice, "a snake")
    noted = {row[1:] for row in ThreadText.objects.values_list("pk", "thread_id", "message_id", "text")}
    ThreadText.objects.all().delete()
    migration = import_module("assistants.migrations.0010_thread_texts")
    migration.fill(apps, cast(Any, None))  # it only reads and writes rows
    again = {row[1:] for row in ThreadText.objects.values_list("pk", "thread_id", "message_id", "text")}
    assert again == noted
    assert len(found(alice, "dragon")) == len(found(alice, "beasts")) == 1
