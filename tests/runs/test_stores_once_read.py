"""What the API tells of a store whose files the runner has read: their text, and what a search finds (5.3, 5.5)."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync

from runs.ingest import claim_files, process
from tests.conftest import ApiClient

pytestmark = pytest.mark.django_db(transaction=True)

TIDES = "High tide comes twice a day.\n\nThe harbour master keeps the tables."


@pytest.fixture
def file(transactional_db: None, alice: ApiClient) -> str:
    return alice.make_file("tides.txt", TIDES.encode())


def read_all() -> None:
    for claim in claim_files("worker-1", 10):
        async_to_sync(process)(claim)


def test_the_content_is_the_text_once_it_is_read(alice: ApiClient, file: str) -> None:
    store = alice.make("/vector_stores", {"file_ids": [file]})["id"]
    path = f"/vector_stores/{store}/files/{file}/content"
    page = {"object": "vector_store.file_content.page", "data": [], "has_more": False, "next_page": None}
    assert alice.get(path).json() == page
    read_all()
    assert alice.get(path).json() == {**page, "data": [{"type": "text", "text": TIDES}]}


def test_a_search_finds_the_passage(alice: ApiClient, file: str) -> None:
    store = alice.make("/vector_stores")["id"]
    attributes = {"kind": "table", "year": 2026.0, "wet": True}
    alice.make(f"/vector_stores/{store}/files", {"file_id": file, "attributes": attributes})
    read_all()
    found = alice.make(f"/vector_stores/{store}/search", {"query": "who keeps the tables"})
    (hit,) = found.pop("data")
    assert found == {
        "object": "vector_store.search_results.page",
        "search_query": ["who keeps the tables"],
        "has_more": False,
        "next_page": None,
    }
    assert 0 < hit.pop("score") <= 1
    assert hit == {
        "file_id": file,
        "filename": "tides.txt",
        "attributes": attributes,
        "content": [{"type": "text", "text": TIDES}],
    }
    elsewhere = {"query": "tables", "filters": {"type": "eq", "key": "kind", "value": "letter"}}
    assert alice.make(f"/vector_stores/{store}/search", elsewhere)["data"] == []
