"""/vector_stores/{id}/files: attaching, attributes, filters, detaching, and whose they are (contract 5.3)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from assistants.models import File, FileStatus, VectorStoreFile
from tests.conftest import ApiClient


@pytest.fixture
def store(alice: ApiClient) -> str:
    """The path of an empty store's files."""
    return f"/vector_stores/{alice.make('/vector_stores')['id']}/files"


def test_attach(alice: ApiClient, store: str) -> None:
    file_id = alice.make_file()
    answer = alice.post(store, {"file_id": file_id, "attributes": {"team": "north", "year": 2024, "open": True}})
    attached = answer.json()
    assert attached == {
        "id": file_id,
        "object": "vector_store.file",
        "created_at": attached["created_at"],
        "vector_store_id": store.split("/")[2],
        "status": "in_progress",
        "usage_bytes": 0,
        "last_error": None,
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        },
        "attributes": {"team": "north", "year": 2024, "open": True},
    }
    assert int(answer.headers["openai-poll-after-ms"]) > 0
    read = alice.get(f"{store}/{file_id}")
    assert read.json() == attached
    assert int(read.headers["openai-poll-after-ms"]) > 0


def test_attached_twice_is_there_once(alice: ApiClient, store: str) -> None:
    file_id = alice.make_file()
    alice.make(store, {"file_id": file_id})
    VectorStoreFile.objects.update(status=FileStatus.COMPLETED, usage_bytes=6)
    again = alice.make(store, {"file_id": file_id})
    assert (again["status"], again["usage_bytes"]) == ("completed", 6)
    assert [item["id"] for item in alice.get(store).json()["data"]] == [file_id]


@pytest.mark.parametrize("status", [FileStatus.FAILED, FileStatus.CANCELLED])
def test_attached_again_after_a_failure_starts_afresh(alice: ApiClient, store: str, status: FileStatus) -> None:
    file_id = alice.make_file()
    alice.make(store, {"file_id": file_id})
    held = VectorStoreFile.objects.filter(vector_store_id=store.split("/")[2])
    held.update(status=status, last_error={"code": "server_error", "message": "x"}, epoch=3)
    again = alice.make(store, {"file_id": file_id})
    assert (again["status"], again["last_error"]) == ("in_progress", None)
    assert held.get().epoch > 3, "whoever worked on it before is fenced off"


def test_other_chunks_start_afresh(alice: ApiClient, store: str) -> None:
    file_id = alice.make_file()
    alice.make(store, {"file_id": file_id})
    VectorStoreFile.objects.update(status=FileStatus.COMPLETED)
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    again = alice.make(store, {"file_id": file_id, "chunking_strategy": strategy})
    assert again["status"] == "in_progress"
    assert again["chunking_strategy"] == strategy


def test_attributes_are_replaced(alice: ApiClient, store: str) -> None:
    file_id = alice.make_file()
    alice.make(store, {"file_id": file_id, "attributes": {"a": "1"}})
    assert alice.make(f"{store}/{file_id}", {"attributes": {"b": 2.5}})["attributes"] == {"b": 2.5}
    assert alice.make(f"{store}/{file_id}", {"attributes": None})["attributes"] == {}
    answer = alice.post(f"{store}/{file_id}", {})
    assert answer.json()["error"]["message"] == "Missing required parameter: 'attributes'."


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"k": [1]},
            "Invalid type for 'attributes.k': expected one of a string, decimal, or boolean, but got an array instead.",
        ),
        (
            {"k": "x" * 513},
            "Invalid 'attributes.k': string too long. Expected a string with maximum length 512,"
            " but got a string with length 513 instead.",
        ),
        (
            {f"k{index}": 1 for index in range(17)},
            "Invalid 'attributes': too many properties. Expected an object with at most 16 properties,"
            " but got an object with 17 properties instead.",
        ),
    ],
)
def test_refused_attributes(alice: ApiClient, store: str, attributes: Any, message: str) -> None:
    answer = alice.post(store, {"file_id": alice.make_file(), "attributes": attributes})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message


def test_list_filters_by_status(alice: ApiClient, store: str) -> None:
    done, waiting = alice.make_file("a.txt"), alice.make_file("b.txt")
    for file_id in (done, waiting):
        alice.make(store, {"file_id": file_id})
    VectorStoreFile.objects.filter(file_id=done).update(status=FileStatus.COMPLETED)
    assert [item["id"] for item in alice.get(store, {"filter": "completed"}).json()["data"]] == [done]
    assert [item["id"] for item in alice.get(store, {"filter": "in_progress"}).json()["data"]] == [waiting]
    after_one_that_left_the_filter = alice.get(store, {"filter": "in_progress", "after": done, "order": "asc"})
    assert [item["id"] for item in after_one_that_left_the_filter.json()["data"]] == [waiting]
    answer = alice.get(store, {"filter": "x"})
    assert answer.json()["error"]["message"] == (
        "Invalid value: 'x'. Supported values are: 'in_progress', 'completed', 'cancelled', and 'failed'."
    )


def test_pages_go_by_file_id(alice: ApiClient, store: str) -> None:
    file_ids = [alice.make_file(f"{index}.txt") for index in range(5)]
    for file_id in file_ids:
        alice.make(store, {"file_id": file_id})
    first = alice.get(store, {"limit": 2}).json()
    assert (first["first_id"], first["last_id"], first["has_more"]) == (file_ids[4], file_ids[3], True)
    second = alice.get(store, {"limit": 10, "after": first["last_id"]}).json()
    assert [item["id"] for item in second["data"]] == file_ids[2::-1]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_file_that_is_deleted_beside_its_attachment_is_missing(alice: ApiClient, store: str) -> None:
    """After the row was seen to be there, and before it is read."""
    file_id = alice.make_file()
    alice.make(store, {"file_id": file_id})
    deleted: list[str] = []

    def delete_after_insert(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if sql.startswith("INSERT") and VectorStoreFile._meta.db_table in sql and not deleted:
            deleted.append(file_id)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(delete_elsewhere, file_id).result()
        return result

    with connection.execute_wrapper(delete_after_insert):
        refused = alice.post(store, {"file_id": file_id})
    assert deleted
    assert (refused.status_code, refused.json()["error"]["message"]) == (404, f"No such File object: {file_id}")


def delete_elsewhere(file_id: str) -> None:
    try:
        File.objects.filter(pk=file_id).delete()
    finally:
        connections.close_all()


def test_detach_leaves_the_file(alice: ApiClient, store: str) -> None:
    file_id = alice.make_file()
    alice.make(store, {"file_id": file_id})
    answer = alice.delete(f"{store}/{file_id}")
    assert answer.json() == {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}
    assert alice.get(f"{store}/{file_id}").status_code == 404
    assert alice.get(f"/files/{file_id}").status_code == 200


def test_wrong_parents(alice: ApiClient, store: str) -> None:
    file_id = alice.make_file()
    alice.make(store, {"file_id": file_id})
    other = alice.make("/vector_stores")["id"]
    path = f"/vector_stores/{other}/files/{file_id}"
    for answer in (alice.get(path), alice.post(path, {"attributes": {}}), alice.delete(path)):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No vector store file found with id '{file_id}'."
    answer = alice.post(store, {"file_id": "file-none"})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "No such File object: file-none"


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient, store: str) -> None:
    file_id, other = alice.make_file(), charlie.make_file()
    alice.make(store, {"file_id": file_id})
    assert bob.get(f"{store}/{file_id}").status_code == 200
    mine = f"/vector_stores/{charlie.make('/vector_stores')['id']}/files"
    for answer in (
        charlie.get(store),
        charlie.post(store, {"file_id": other}),
        charlie.get(f"{store}/{file_id}"),
        charlie.post(f"{store}/{file_id}", {"attributes": {}}),
        charlie.delete(f"{store}/{file_id}"),
        charlie.post(mine, {"file_id": file_id}),
        charlie.get(f"{mine}/{file_id}"),
    ):
        assert answer.status_code == 404
    assert alice.get(f"{store}/{file_id}").status_code == 200
