"""/vector_stores: counts, status, expiry, and whose they are (contract 5.2)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assistants import clock, stores
from assistants.models import FileStatus, VectorStore, VectorStoreFile
from tests.conftest import ApiClient

WEEK = {"anchor": "last_active_at", "days": 7}
NO_FILES = {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}


@pytest.mark.parametrize("body", [None, {}, {"name": None, "expires_after": None, "file_ids": None}])
def test_an_empty_store_is_complete(alice: ApiClient, body: dict[str, None] | None) -> None:
    store = alice.make("/vector_stores", body)
    assert store["id"].startswith("vs_")
    assert store == {
        "id": store["id"],
        "object": "vector_store",
        "created_at": store["created_at"],
        "name": None,
        "description": None,
        "usage_bytes": 0,
        "file_counts": NO_FILES,
        "status": "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": store["last_active_at"],
        "metadata": {},
    }
    assert alice.get(f"/vector_stores/{store['id']}").json() == store


def test_files_are_counted_by_status(alice: ApiClient) -> None:
    file_ids = [alice.make_file(f"{index}.txt") for index in range(4)]
    store = alice.make("/vector_stores", {"name": "S", "file_ids": [*file_ids, file_ids[0]]})
    assert store["status"] == "in_progress"
    assert store["usage_bytes"] == 0
    assert store["file_counts"] == {**NO_FILES, "in_progress": 4, "total": 4}
    held = VectorStoreFile.objects.filter(vector_store_id=store["id"])
    held.filter(file_id__in=file_ids[:2]).update(status=FileStatus.COMPLETED, usage_bytes=7)
    held.filter(file_id=file_ids[2]).update(status=FileStatus.FAILED)
    held.filter(file_id=file_ids[3]).update(status=FileStatus.CANCELLED)
    empty = alice.make("/vector_stores")
    (other, counted) = alice.get("/vector_stores").json()["data"]
    assert other["id"] == empty["id"]
    assert other["file_counts"] == NO_FILES
    assert counted["file_counts"] == {"in_progress": 0, "completed": 2, "failed": 1, "cancelled": 1, "total": 4}
    assert counted["usage_bytes"] == 14
    assert counted["status"] == "completed"


def test_files_given_together_come_back_newest_first(alice: ApiClient) -> None:
    file_ids = [alice.make_file(f"{index}.txt") for index in range(3)]
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
    store = alice.make("/vector_stores", {"file_ids": file_ids, "chunking_strategy": strategy})
    listed = alice.get(f"/vector_stores/{store['id']}/files").json()["data"]
    assert [item["id"] for item in listed] == file_ids[::-1]
    assert [item["chunking_strategy"] for item in listed] == [strategy] * 3


def test_expiry_follows_the_last_use(alice: ApiClient) -> None:
    store = alice.make("/vector_stores", {"expires_after": {"anchor": "last_active_at", "days": 1}})
    path = f"/vector_stores/{store['id']}"
    assert store["expires_at"] == store["last_active_at"] + 86400
    VectorStore.objects.filter(pk=store["id"]).update(last_active_at=clock.now() - timedelta(days=2))
    assert alice.get(path).json()["status"] == "expired"
    stores.touch([store["id"]])
    assert alice.get(path).json()["status"] == "completed"
    cleared = alice.make(path, {"expires_after": None})
    assert (cleared["expires_after"], cleared["expires_at"]) == (None, None)


def test_days_that_are_set_begin_today(alice: ApiClient) -> None:
    path = f"/vector_stores/{alice.make('/vector_stores', {'expires_after': WEEK})['id']}"
    long_ago = clock.now() - timedelta(days=30)
    VectorStore.objects.update(last_active_at=long_ago)
    assert alice.make(path, {"name": "still gone"})["status"] == "expired"
    back = alice.make(path, {"expires_after": WEEK})
    assert back["status"] == "completed"
    assert back["last_active_at"] > clock.unix(long_ago)
    assert back["expires_at"] == back["last_active_at"] + 7 * 86400


def test_nothing_can_be_put_into_an_expired_store(alice: ApiClient) -> None:
    store = alice.make("/vector_stores", {"expires_after": WEEK})
    VectorStore.objects.update(last_active_at=clock.now() - timedelta(days=30))
    answer = alice.post(f"/vector_stores/{store['id']}/files", {"file_id": alice.make_file()})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"Vector store {store['id']} has expired."


def test_a_thread_whose_store_expired_gets_a_new_one(alice: ApiClient) -> None:
    attachment = {"file_id": alice.make_file(), "tools": [{"type": "file_search"}]}
    message = {"role": "user", "content": "Read this.", "attachments": [attachment]}
    thread = alice.make("/threads", {"messages": [message]})
    expired = thread["tool_resources"]["file_search"]["vector_store_ids"]
    VectorStore.objects.filter(pk__in=expired).update(last_active_at=clock.now() - timedelta(days=8))

    alice.make(f"/threads/{thread['id']}/messages", message)

    resources = alice.get(f"/threads/{thread['id']}").json()["tool_resources"]
    (store_id,) = resources["file_search"]["vector_store_ids"]
    assert store_id not in expired
    assert alice.get(f"/vector_stores/{store_id}").json()["file_counts"]["total"] == 1


def test_modify(alice: ApiClient) -> None:
    store = alice.make("/vector_stores", {"name": "old", "metadata": {"a": "1"}})
    path = f"/vector_stores/{store['id']}"
    days = {"anchor": "last_active_at", "days": 3}
    changed = alice.make(path, {"name": "new", "expires_after": days, "metadata": {"b": "2"}})
    assert (changed["name"], changed["expires_after"]) == ("new", days)
    assert changed["metadata"] == {"a": "1", "b": "2"}
    assert alice.make(path, {}) == changed
    assert alice.make(path, {"name": None})["name"] is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"expires_after": {"anchor": "last_active_at", "days": 366}},
            "Invalid 'expires_after.days': integer above maximum value. Expected a value <= 365, but got 366 instead.",
        ),
        (
            {"expires_after": {"anchor": "created_at", "days": 1}},
            "Invalid value: 'created_at'. Supported values are: 'last_active_at'.",
        ),
        (
            {"file_ids": ["x"]},
            "Invalid 'file_ids[0]': 'x'. Expected an ID that begins with 'file'.",
        ),
        (
            {"file_ids": ["file-x"] * 501},
            "Invalid 'file_ids': array too long. Expected an array with maximum length 500,"
            " but got an array with length 501 instead.",
        ),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 101},
                }
            },
            "Invalid 'chunking_strategy.static.chunk_overlap_tokens': integer above maximum value."
            " Expected a value <= 100, but got 101 instead.",
        ),
    ],
)
def test_refused(alice: ApiClient, body: dict[str, object], message: str) -> None:
    answer = alice.post("/vector_stores", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message
    assert not VectorStore.objects.exists()


def test_deleted_is_gone_and_its_files_stay(alice: ApiClient) -> None:
    file_id = alice.make_file()
    store = alice.make("/vector_stores", {"file_ids": [file_id]})
    path = f"/vector_stores/{store['id']}"
    assert alice.delete(path).json() == {"id": store["id"], "object": "vector_store.deleted", "deleted": True}
    answer = alice.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"No vector store found with id '{store['id']}'."
    assert alice.get(f"{path}/files").status_code == 404
    assert alice.get(f"/files/{file_id}").status_code == 200


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient) -> None:
    file_id = alice.make_file()
    store = alice.make("/vector_stores", {"name": "S"})
    path = f"/vector_stores/{store['id']}"
    assert bob.get(path).json() == store
    assert charlie.get("/vector_stores").json()["data"] == []
    for answer in (charlie.get(path), charlie.post(path, {"name": "mine"}), charlie.delete(path)):
        assert answer.status_code == 404
    assert charlie.post("/vector_stores", {"file_ids": [file_id]}).status_code == 404
    assert alice.get(path).json() == store
