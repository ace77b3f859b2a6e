"""A thread's page: the conversation as its people saw it, bounded, with its runs beside it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from assistants import forks, storage
from assistants.admin import content, markup
from assistants.admin.images import image_address
from assistants.admin.thread import MESSAGES_SHOWN
from assistants.conversation import ROWS_AT_FIRST, create_thread
from assistants.models import File, Message, Project, Thread
from assistants.retrieval import conversations
from runs.models import Run, RunStep
from streaming.models import Event

from .conftest import SHOWN, Talk
from .test_files import PNG


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
    assert markup.page_of(File, "file-1") in shown


def test_a_citation_unfolds_to_its_passage_and_calls_are_cards(root: Client, talk: Talk) -> None:
    shown = page(root, talk.thread)
    citations = shown[shown.find('aria-label="Citations"') :]
    assert f'<blockquote class="kumos-text">passage {SHOWN}</blockquote>' in citations
    cards = shown[shown.find("Who?") : shown.find("The dragon.")]  # before the answer they led to
    assert "File search" in cards
    assert "Function roar" in cards


def test_a_fork_shows_the_calls_of_what_was_copied(root: Client, talk: Talk) -> None:
    fork = forks.create_fork(talk.thread, {})
    shown = page(root, fork)
    assert "Function roar" in shown
    assert f'<blockquote class="kumos-text">passage {SHOWN}</blockquote>' in shown


def test_attachments_and_images_lead_to_their_files(root: Client, talk: Talk) -> None:
    project = talk.thread.project
    image = storage.store_file(project, ContentFile(PNG), filename="cat.png", purpose="vision")
    paper = storage.store_file(project, ContentFile(b"x"), filename="paper.txt", purpose="assistants")
    Message.objects.create(
        thread=talk.thread,
        role="user",
        content=[{"type": "image_file", "image_file": {"file_id": image.pk, "detail": "auto"}}],
        attachments=[
            {"file_id": paper.pk, "tools": [{"type": "file_search"}]},
            {"file_id": "file-gone", "tools": []},
        ],
    )
    shown = page(root, talk.thread)
    assert f'src="{image_address(image.pk)}" alt="cat.png"' in shown
    assert f'<a href="{markup.page_of(File, paper.pk)}">paper.txt</a>' in shown
    assert "(deleted file)" in shown


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


def listed(client: Client, **query: str) -> set[str]:
    answer = client.get(markup.list_of(Thread), query)
    assert answer.status_code == 200
    return set(re.findall(r"/admin/assistants/thread/([^/]+)/change/", answer.content.decode()))


def linked(*threads: Thread) -> set[str]:
    return {markup.page_of(Thread, thread.pk).split("/")[-3] for thread in threads}


def test_threads_are_found_by_id_and_by_their_words(root: Client, talk: Talk) -> None:
    said = create_thread(
        talk.thread.project,
        {
            "metadata": {"title": "Harbour dues"},
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": {"value": "What do kites eat?", "annotations": []}}],
                }
            ],
        },
    )
    assert listed(root, q=said.pk) == linked(said)
    for words in ("kites eat", "harbour", "KIT"):
        assert listed(root, q=words) == linked(said)
    assert listed(root, q="dragonfly") == set()
    assert "Harbour dues" in root.get(markup.list_of(Thread)).content.decode()


def test_words_are_looked_for_in_the_chosen_project(root: Client, talk: Talk) -> None:
    other = Project.objects.create(name="Elves")
    said = create_thread(other, {"metadata": {"title": "Harbour dues"}})
    assert listed(root, q="harbour") == set()
    assert listed(root, q="harbour", project=other.pk) == linked(said)
    assert listed(root, q=said.pk) == linked(said)


def test_threads_are_filtered_by_what_became_of_their_runs(root: Client, talk: Talk) -> None:
    empty = Thread.objects.create(project=talk.thread.project)
    assert listed(root, runs="none") == linked(empty)
    assert listed(root, runs="failed") == listed(root, runs="active") == set()
    Run.objects.filter(pk=talk.run.pk).update(status="failed")
    assert listed(root, runs="failed") == linked(talk.thread)
    Run.objects.filter(pk=talk.run.pk).update(status="in_progress")
    assert listed(root, runs="active") == linked(talk.thread)


def test_a_thread_goes_with_all_that_belongs_to_it(
    root: Client, talk: Talk, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    other = Thread.objects.create(project=talk.thread.project)
    say(other, "I stay.")
    for _ in range(ROWS_AT_FIRST + 1):
        say(talk.thread, "word")
    address = markup.page_of(Thread, talk.thread.pk).replace("/change/", "/delete/")
    assert "all messages, runs, steps" in root.get(address).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        root.post(address, {"post": "yes"})
    assert list(Thread._base_manager.all()) == [other]
    assert Message.objects.count() == 1
    assert not Run.objects.exists()
    assert not RunStep.objects.exists()
    assert not Event.objects.exists()
    with django_capture_on_commit_callbacks(execute=True):
        root.post(markup.list_of(Thread), {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"})
    assert not Thread._base_manager.exists()


def test_a_thread_with_an_active_run_stays(root: Client, talk: Talk) -> None:
    Thread.objects.filter(pk=talk.thread.pk).update(active_run_id=talk.run.pk)
    address = markup.page_of(Thread, talk.thread.pk).replace("/change/", "/delete/")
    assert root.post(address, {"post": "yes"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [talk.thread.pk], "post": "yes"}
    answer = root.post(markup.list_of(Thread), selected, follow=True)
    assert "cancel their active runs first" in answer.content.decode()
    assert Thread.objects.filter(pk=talk.thread.pk).exists()
    assert "cancel it before deleting" in page(root, talk.thread)


def test_deleting_needs_its_right(staff: Callable[..., Client], talk: Talk) -> None:
    address = markup.page_of(Thread, talk.thread.pk).replace("/change/", "/delete/")
    assert staff("view_thread", "change_thread").post(address, {"post": "yes"}).status_code == 403
    assert staff("view_thread", "delete_thread").post(address, {"post": "yes"}).status_code == 302


def test_who_may_not_read_content_sees_who_spoke_and_not_what(staff: Callable[..., Client], talk: Talk) -> None:
    Thread.objects.filter(pk=talk.thread.pk).update(metadata={"title": "Harbour dues", "team": "north"})
    talk.thread.refresh_from_db()
    conversations.note_title(talk.thread)
    client = staff("view_thread", "view_message", "view_run")
    shown = page(client, talk.thread)
    pages = [
        shown,
        client.get(markup.page_of(Message, talk.answer.pk)).content.decode(),
        client.get(markup.list_of(Message), {"q": talk.thread.pk}).content.decode(),
        client.get(markup.list_of(Thread)).content.decode(),
    ]
    for text in ("Who?", "The dragon.", "passage &lt;", "Harbour dues"):
        assert not any(text in one for one in pages), text
    assert content.HIDDEN in shown
    assert "Function roar" in shown
    assert "north" in shown
    assert listed(client, q="harbour") == set()
    assert listed(client, q=talk.thread.pk) == linked(talk.thread)


def test_pages_cost_the_same_with_many_rows(
    root: Client, talk: Talk, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        say(talk.thread, f"word {number}")
        Thread.objects.create(project=talk.thread.project)
    with django_assert_max_num_queries(13):
        page(root, talk.thread)
    with django_assert_max_num_queries(11):
        root.get(markup.list_of(Thread))


def test_an_empty_thread_has_a_page(root: Client, talk: Talk) -> None:
    assert "Nobody has said anything yet" in page(root, Thread.objects.create(project=talk.thread.project))
