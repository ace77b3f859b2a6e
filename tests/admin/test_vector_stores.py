"""Vector stores in the admin: made, filled, mended, read and asked; each with the right it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from assistants import storage, stores
from assistants.admin import content, markup
from assistants.admin.passages import PASSAGES_PER_PAGE
from assistants.models import Assistant, File, Project, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice, slices
from assistants.tokens import count_tokens

from .conftest import HOSTILE, SHOWN
from .test_files import upload


@pytest.fixture
def store(dragons: Project) -> VectorStore:
    return VectorStore.objects.create(project=dragons, name="Lore")


def put(store: VectorStore, name: str, *passages: str, status: str = "completed", **more: Any) -> VectorStoreFile:
    file = storage.store_file(store.project, ContentFile(b"x"), filename=name, purpose="user_data")
    row = VectorStoreFile.objects.create(vector_store=store, file=file, status=status, **more)
    index.add_passages(row.pk, 0, map(Slice, passages))
    return row


def address(name: str, *ids: str) -> str:
    return reverse(f"admin:assistants_vectorstore_{name}", args=[quote(id) for id in ids])


def page(client: Client, store: VectorStore, **query: str) -> str:
    answer = client.get(markup.page_of(VectorStore, store.pk), query)
    assert answer.status_code == 200
    return answer.content.decode()


def act(client: Client, store: VectorStore, name: str, **data: Any) -> Any:
    return client.post(address(name, store.pk), data, follow=True)


# Made and filled ------------------------------------------------------------------------------------------------------


def test_one_is_made(root: Client, dragons: Project) -> None:
    form = {"project": dragons.pk, "name": "Handbooks", "expires_after_days": "30"}
    answer = root.post("/admin/assistants/vectorstore/add/", form)
    store = dragons.vector_stores.get()
    assert answer.headers["Location"] == markup.page_of(VectorStore, store.pk)
    assert (store.name, store.expires_after_days, store.description) == ("Handbooks", 30, None)


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "x" * 257}, {"expires_after_days": "0"}, {"project": "no"}])
def test_a_bad_form_makes_nothing(root: Client, dragons: Project, wrong: dict[str, str]) -> None:
    form = {"project": dragons.pk, "name": "Handbooks", **wrong}
    answer = root.post("/admin/assistants/vectorstore/add/", form)
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert not VectorStore.objects.exists()


def test_what_is_dropped_is_uploaded_and_attached(root: Client, store: VectorStore) -> None:
    data = {"file": [upload("one.txt", b"first"), upload("two.txt", b"second")]}
    answer = root.post(address("upload", store.pk), data, headers={"accept": "application/json"})
    assert [file["name"] for file in answer.json()["files"]] == ["one.txt", "two.txt"]
    assert sorted(store.store_files.values_list("file__filename", "status")) == [
        ("one.txt", "in_progress"),
        ("two.txt", "in_progress"),
    ]
    assert {row.file.purpose for row in store.store_files.all()} == {"assistants"}


def test_an_expired_store_takes_nothing(root: Client, store: VectorStore) -> None:
    VectorStore.objects.filter(pk=store.pk).update(expires_after_days=1, last_active_at="2020-01-01T00:00Z")
    answer = act(root, store, "upload", file=upload("one.txt", b"first"))
    assert "has expired" in answer.content.decode()
    assert not store.store_files.exists()
    assert "nothing can be put in" in page(root, store)


def test_a_file_that_is_there_is_attached_and_detached(root: Client, store: VectorStore) -> None:
    file = storage.store_file(store.project, ContentFile(b"x"), filename="lore.md", purpose="user_data")
    assert f'<option value="{file.pk}">lore.md' in page(root, store)
    act(root, store, "attach", file=f" {file.pk} ")
    assert store.store_files.get().file == file
    assert f'<option value="{file.pk}">' not in page(root, store)
    act(root, store, "detach", file=file.pk)
    assert not store.store_files.exists()
    assert File.objects.filter(pk=file.pk).exists()


@pytest.mark.parametrize("name", ["attach", "detach", "again"])
@pytest.mark.parametrize("file", ["", "file-none", HOSTILE])
def test_a_file_that_is_none_is_said_to_be_none(root: Client, store: VectorStore, name: str, file: str) -> None:
    answer = act(root, store, name, file=file)
    assert answer.status_code == 200
    shown = answer.content.decode()
    assert re.search('class="(error|warning)"', shown)
    assert HOSTILE not in shown


def test_files_of_another_project_cannot_be_attached(root: Client, store: VectorStore) -> None:
    other = Project.objects.create(name="Elves")
    foreign = storage.store_file(other, ContentFile(b"x"), filename="secret.md", purpose="user_data")
    assert "No such File object" in act(root, store, "attach", file=foreign.pk).content.decode()
    assert not store.store_files.exists()


def test_what_failed_is_read_again_with_its_own_sizes(root: Client, store: VectorStore) -> None:
    error = {"code": "server_error", "message": "Gone dark."}
    sizes = {"max_chunk_size_tokens": 300, "chunk_overlap_tokens": 100, "attributes": {"team": "north"}}
    one = put(store, "one.txt", status="failed", last_error=error, **sizes)
    two = put(store, "two.txt", status="failed", last_error=error)
    done = put(store, "done.txt", "text")
    assert "Server error: Gone dark." in page(root, store)
    act(root, store, "again", file=one.file_id)
    for row in (one, two, done):
        row.refresh_from_db()
    assert [row.status for row in (one, two, done)] == ["in_progress", "failed", "completed"]
    assert (one.max_chunk_size_tokens, one.chunk_overlap_tokens, one.attributes) == (300, 100, {"team": "north"})
    act(root, store, "again")
    two.refresh_from_db()
    assert two.status == "in_progress"


def test_the_table_alone_says_whether_something_is_under_way(root: Client, store: VectorStore) -> None:
    row = put(store, f"{HOSTILE}.txt", status="in_progress")
    shown = root.get(address("files", store.pk)).content.decode()
    assert "data-active" in shown
    assert f"{SHOWN}.txt" in shown
    assert "<html" not in shown
    VectorStoreFile.objects.filter(pk=row.pk).update(status="completed")
    assert "data-active" not in root.get(address("files", store.pk)).content.decode()


def test_files_come_in_pages_and_by_status(root: Client, store: VectorStore) -> None:
    for number in range(51):
        put(store, f"file{number}.txt", status="failed" if number == 7 else "completed")
    assert "file0.txt" not in page(root, store)
    assert "file0.txt" in page(root, store, p="2")
    failed = root.get(address("files", store.pk), {"status": "failed"}).content.decode()
    assert "file7.txt" in failed
    assert "file8.txt" not in failed
    for nonsense in ({"p": "-1"}, {"p": "x"}, {"p": "99999999"}, {"status": "x"}):
        assert root.get(address("files", store.pk), nonsense).status_code == 200


def test_the_store_of_all_files_is_only_read_again(root: Client, dragons: Project) -> None:
    store = stores.covering_store(dragons)
    row = put(store, "one.txt", status="failed")
    assert act(root, store, "detach", file=row.file_id).status_code == 403
    assert act(root, store, "upload", file=upload("a.txt", b"a")).status_code == 403
    act(root, store, "again", file=row.file_id)
    row.refresh_from_db()
    assert row.status == "in_progress"


# Read and asked -------------------------------------------------------------------------------------------------------


def test_passages_are_shown_in_order_with_their_tokens(root: Client, store: VectorStore) -> None:
    text = " ".join(f"Sentence number {number} speaks of dragons." for number in range(200))
    row = put(store, "long.txt")
    parts = list(slices(text, 100, 50))
    index.add_passages(row.pk, 0, parts)
    assert len(parts) > PASSAGES_PER_PAGE
    first = root.get(address("passages", store.pk, row.file_id)).content.decode()
    assert f"{len(parts)} passages" in first
    assert f"{count_tokens(parts[0].text.strip())} tokens" in first
    assert f'<span class="kumos-repeated">{parts[1].text[: parts[1].repeated]}</span>' in first
    assert 'id="passage-1"' in first
    assert f'id="passage-{PASSAGES_PER_PAGE + 1}"' not in first
    second = root.get(address("passages", store.pk, row.file_id), {"p": "2"}).content.decode()
    assert f'id="passage-{PASSAGES_PER_PAGE + 1}"' in second
    for nonsense in ("0", "x", "9999", "9" * 30):
        assert root.get(address("passages", store.pk, row.file_id), {"p": nonsense}).status_code == 200


def test_passages_of_a_file_that_is_not_in_the_store_are_not_found(root: Client, store: VectorStore) -> None:
    assert root.get(address("passages", store.pk, "file-none")).status_code == 404
    assert root.get(address("passages", "vs_none", "file-none")).status_code == 404


def found(client: Client, store: VectorStore, **asked: str) -> str:
    answer = client.get(address("search", store.pk), asked)
    assert answer.status_code == 200
    return answer.content.decode()


def scores(shown: str) -> list[tuple[float, float, float]]:
    """(final, text, name) of each passage, in their order."""
    values = [float(value) for value in re.findall(r"<dd><meter[^>]*></meter> <strong>([\d.]+)</strong>", shown)]
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


def test_both_rankers_say_their_scores(root: Client, store: VectorStore) -> None:
    put(store, "notes.txt", "The red kite needs a long tail.")
    put(store, "kite.txt", "Nothing of that sort in here.")
    shown = found(root, store, q="red kite")
    assert shown.find("long tail") < shown.find("Nothing of that sort")
    # The first holds both words and weighs most; the second is named by one of two words, at half its weight.
    assert scores(shown) == [(1.0, 1.0, 0.0), (0.25, 0.0, 0.25)]
    assert "100% of the words × 1.00" in shown


def test_the_threshold_is_a_line_and_what_is_below_is_still_shown(root: Client, store: VectorStore) -> None:
    put(store, "notes.txt", "The red kite needs a long tail.")
    put(store, "kite.txt", "Nothing of that sort in here.")
    shown = found(root, store, q="red kite", threshold="0.5")
    places = [shown.find(text) for text in ("long tail", "Threshold 0.5", "Nothing of that sort")]
    assert places == sorted(places)
    assert -1 not in places
    assert "kumos-threshold" not in found(root, store, q="red kite")


def test_filters_are_those_of_the_api(root: Client, store: VectorStore) -> None:
    put(store, "north.txt", "Red kites of the north.", attributes={"team": "north"})
    put(store, "south.txt", "Red kites of the south.", attributes={"team": "south"})
    shown = found(root, store, q="kite", filters='{"type": "eq", "key": "team", "value": "south"}')
    assert "of the south" in shown
    assert "of the north" not in shown


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"filters": "{"}, "not JSON"),
        ({"filters": '{"type": "like"}'}, "Invalid"),
        ({"filters": '{"type": "eq", "key": "a", "value": ' + "[" * 600 + "]" * 600 + "}"}, "nested too deeply"),
        ({"filters": r'{"type": "eq", "key": "a", "value": "\u0000"}'}, "NUL character"),
        ({"filters": "[]"}, "Invalid type"),
        ({"limit": "51"}, "integer above maximum value"),
        ({"limit": "x"}, "must be numbers"),
        ({"threshold": "2"}, "above maximum value"),
        ({"threshold": "nan"}, "Invalid|must be numbers"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(
    root: Client, store: VectorStore, asked: dict[str, str], said: str
) -> None:
    put(store, "notes.txt", "The red kite.")
    assert re.search(said, found(root, store, q="kite", **asked))


@pytest.mark.parametrize("query", ['"', "* OR NEAR(", "the", HOSTILE, "k" * 5000])
def test_any_question_has_an_answer(root: Client, store: VectorStore, query: str) -> None:
    put(store, "notes.txt", "The red kite.")
    assert HOSTILE not in found(root, store, q=query)


def test_looking_does_not_put_off_expiry(root: Client, store: VectorStore) -> None:
    put(store, "notes.txt", "The red kite.")
    found(root, store, q="kite")
    before = store.last_active_at
    store.refresh_from_db()
    assert store.last_active_at == before


# Rights and costs -----------------------------------------------------------------------------------------------------


def test_who_may_not_read_content_reads_no_passage_and_asks_nothing(
    staff: Callable[..., Client], store: VectorStore
) -> None:
    row = put(store, "notes.txt", "The red kite needs a long tail.")
    client = staff("view_vectorstore", "view_file")
    passages = client.get(address("passages", store.pk, row.file_id)).content.decode()
    for shown in (passages, found(client, store, q="kite"), page(client, store)):
        assert "long tail" not in shown
    assert content.HIDDEN in passages
    assert "1 passage" not in found(client, store, q="kite")
    reader = staff("view_vectorstore", "read_content")
    assert "long tail" in found(reader, store, q="kite")


@pytest.mark.parametrize("name", ["upload", "attach", "detach", "again"])
def test_each_change_needs_its_right(staff: Callable[..., Client], store: VectorStore, name: str) -> None:
    row = put(store, "notes.txt", status="failed")
    viewer = staff("view_vectorstore", "view_file", "read_content", "add_file")
    assert viewer.post(address(name, store.pk), {"file": row.file_id}).status_code == 403
    assert "store-action" in page(viewer, store)
    assert not re.search("Detach|Again|data-uploads", page(viewer, store))
    row.refresh_from_db()
    assert row.status == "failed"
    changer = staff("view_vectorstore", "change_vectorstore")
    assert changer.post(address(name, store.pk), {"file": row.file_id}).status_code == (
        403 if name == "upload" else 302
    )
    assert changer.get(address(name, store.pk)).status_code == 405


def test_making_one_needs_its_right(staff: Callable[..., Client], dragons: Project) -> None:
    form = {"project": dragons.pk, "name": "Handbooks"}
    assert staff("view_vectorstore").post("/admin/assistants/vectorstore/add/", form).status_code == 403
    assert not VectorStore.objects.exists()


def test_pages_cost_the_same_with_many_files(
    root: Client, dragons: Project, store: VectorStore, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(40):
        put(store, f"{number}.txt", "The red kite.")
        VectorStore.objects.create(project=dragons, name=f"Store {number}")
    Assistant.objects.create(
        project=dragons, model="scripted", tool_resources={"file_search": {"vector_store_ids": [store.pk]}}
    )
    with django_assert_max_num_queries(14):
        assert "Used by" in page(root, store)
    with django_assert_max_num_queries(12):
        found(root, store, q="red kite")
    with django_assert_max_num_queries(10):
        root.get(markup.list_of(VectorStore))
