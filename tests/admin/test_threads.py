"""A thread's page: the conversation as its people saw it, bounded, with its runs beside it."""

from __future__ import annotations

import pytest
from django.test import Client

from assistants.admin import markup
from assistants.admin.thread import MESSAGES_SHOWN
from assistants.models import File, Message, Thread
from runs.models import Run

from .conftest import Talk


def page(client: Client, thread: Thread) -> str:
    answer = client.get(markup.page_of(Thread, thread.pk))
    assert answer.status_code == 200
    return answer.content.decode()


def say(thread: Thread, text: str, **more: object) -> Message:
    part = {"type": "text", "text": {"value": text, "annotations": []}}
    return Message.objects.create(thread=thread, role="user", content=[part], **more)


def test_messages_stand_in_order_with_runs_and_chat_beside(root: Client, talk: Talk) -> None:
    shown = page(root, talk.thread)
    assert -1 < shown.find("Who?") < shown.find("The dragon.")
    assert markup.page_of(Run, talk.run.pk) in shown
    assert f'href="/chat/{talk.thread.pk}"' in shown
    assert "1,234 tokens" in shown


def test_a_citation_names_its_file(root: Client, talk: Talk) -> None:
    File.objects.create(pk="file-1", project=talk.thread.project, filename="lore.md", purpose="assistants")
    shown = page(root, talk.thread)
    assert "【0:0†source】</code> lore.md" in shown


def test_only_the_newest_are_shown_and_that_is_said(root: Client, talk: Talk) -> None:
    for number in range(MESSAGES_SHOWN):
        say(talk.thread, f"word {number}.")
    shown = page(root, talk.thread)
    assert f"The last {MESSAGES_SHOWN} messages" in shown
    assert "The dragon." not in shown
    assert shown.find("word 0.") < shown.find(f"word {MESSAGES_SHOWN - 1}.")
    assert "word 0." in shown


def test_a_replaced_attempt_is_not_part_of_the_conversation(root: Client, talk: Talk) -> None:
    draft = say(talk.thread, "half an ans", superseded=True)
    assert "half an ans" not in page(root, talk.thread)
    assert "half an ans" in root.get(markup.page_of(Message, draft.pk)).content.decode()


def test_a_cut_answer_says_why(root: Client, talk: Talk) -> None:
    say(talk.thread, "half", status="incomplete", incomplete_reason="run_cancelled")
    shown = page(root, talk.thread)
    assert "kumos-incomplete" in shown
    assert "run cancelled" in shown


def test_foreign_images_are_named_and_never_loaded(root: Client, talk: Talk) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png", "detail": "auto"}},
        {"type": "image_file", "image_file": {"file_id": "file-cat", "detail": "auto"}},
        {"type": "refusal", "refusal": "I would rather not."},
    ]
    Message.objects.create(thread=talk.thread, role="assistant", content=parts)
    shown = page(root, talk.thread)
    assert "https://example.org/cat.png" in shown
    assert "file-cat" in shown
    assert "I would rather not." in shown
    assert "<img" not in shown


@pytest.mark.parametrize("by", ["thread", "run", "answer"])
def test_messages_are_listed_when_asked_for_by_a_whole_id(root: Client, talk: Talk, by: str) -> None:
    address = markup.list_of(Message)
    assert talk.answer.pk not in root.get(address).content.decode()
    assert talk.answer.pk in root.get(address, {"q": getattr(talk, by).pk}).content.decode()


def test_an_empty_thread_has_a_page(root: Client, talk: Talk) -> None:
    assert "Nobody has said anything yet" in page(root, Thread.objects.create(project=talk.thread.project))
