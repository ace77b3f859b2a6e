"""/vector_stores/{id}/file_batches: counts from the first answer on, lists, cancelling, and whose they are (5.4)."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from assistants.models import File, FileBatch, FileStatus, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice
from tests.conftest import ApiClient, assert_refused

NONE = {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}


@pytest.fixture
def store(alice: ApiClient) -> str:
    """The path of an empty store."""
    return f"/vector_stores/{alice.make('/vector_stores')['id']}"


def make_files(client: ApiClient, count: int) -> list[str]:
    return [client.make_file(f"{number}.txt") for number in range(count)]


def set_status(file_id: str, status: FileStatus, **fields: Any) -> None:
    assert VectorStoreFile.objects.filter(file_id=file_id, vector_store__covers_project=False).update(
        status=status, **fields
    )


def test_create(alice: ApiClient, store: str) -> None:
    file_ids = make_files(alice, 2)
    answer = alice.post(f"{store}/file_batches", {"file_ids": [*file_ids, file_ids[0]]})
    batch = answer.json()
    assert batch == {
        "id": batch["id"],
        "object": "vector_store.file_batch",
        "created_at": batch["created_at"],
        "vector_store_id": store.split("/")[2],
        "status": "in_progress",
        "file_counts": {**NONE, "in_progress": 2, "total": 2},
    }
    assert batch["id"].startswith("vsfb_")
    assert len(batch["id"]) == len("vsfb_") + 32
    assert int(answer.headers["openai-poll-after-ms"]) > 0
    read = alice.get(f"{store}/file_batches/{batch['id']}")
    assert read.json() == batch
    assert int(read.headers["openai-poll-after-ms"]) > 0
    held = alice.get(store).json()
    assert (held["status"], held["usage_bytes"], held["file_counts"]) == ("in_progress", 0, batch["file_counts"])


def test_shared_settings_go_to_every_file(alice: ApiClient, store: str) -> None:
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}
    body = {"file_ids": make_files(alice, 2), "attributes": {"team": "north"}, "chunking_strategy": strategy}
    alice.make(f"{store}/file_batches", body)
    for item in alice.get(f"{store}/files").json()["data"]:
        assert (item["attributes"], item["chunking_strategy"]) == ({"team": "north"}, strategy)


def test_files_have_settings_of_their_own(alice: ApiClient, store: str) -> None:
    one, two = make_files(alice, 2)
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}
    files = [{"file_id": one, "attributes": {"n": 1}}, {"file_id": two, "chunking_strategy": strategy}]
    ignored = {"attributes": {"x": "y"}, "chunking_strategy": strategy}
    batch = alice.make(f"{store}/file_batches", {"files": files, **ignored})
    listed = alice.get(f"{store}/file_batches/{batch['id']}/files", {"order": "asc"}).json()["data"]
    assert [(item["id"], item["attributes"]) for item in listed] == [(one, {"n": 1}), (two, {})]
    sizes = [item["chunking_strategy"]["static"]["max_chunk_size_tokens"] for item in listed]
    assert sizes == [800, 200]


def test_the_status_follows_the_files(alice: ApiClient, store: str) -> None:
    file_ids = make_files(alice, 3)
    path = f"{store}/file_batches/{alice.make(f'{store}/file_batches', {'file_ids': file_ids})['id']}"

    set_status(file_ids[0], FileStatus.COMPLETED)
    set_status(file_ids[1], FileStatus.FAILED)
    batch = alice.get(path).json()
    assert batch["status"] == "in_progress"
    assert batch["file_counts"] == {"in_progress": 1, "completed": 1, "failed": 1, "cancelled": 0, "total": 3}

    set_status(file_ids[2], FileStatus.FAILED)
    assert alice.get(path).json()["status"] == "completed"
    set_status(file_ids[0], FileStatus.FAILED)
    assert alice.get(path).json()["status"] == "failed"


def test_files_that_are_done_already_are_done_in_the_batch(alice: ApiClient, store: str) -> None:
    done, failed, new = make_files(alice, 3)
    for file_id in (done, failed):
        alice.make(f"{store}/files", {"file_id": file_id})
    set_status(done, FileStatus.COMPLETED, usage_bytes=6)
    set_status(failed, FileStatus.FAILED)
    batch = alice.make(f"{store}/file_batches", {"file_ids": [done, failed, new]})
    assert batch["file_counts"] == {**NONE, "in_progress": 2, "completed": 1, "total": 3}
    again = alice.make(f"{store}/file_batches", {"file_ids": [done]})
    assert (again["status"], again["file_counts"]) == ("completed", {**NONE, "completed": 1, "total": 1})


def test_list_and_filter(alice: ApiClient, store: str) -> None:
    file_ids = make_files(alice, 4)
    path = f"{store}/file_batches/{alice.make(f'{store}/file_batches', {'file_ids': file_ids[:3]})['id']}/files"
    alice.make(f"{store}/files", {"file_id": file_ids[3]})
    set_status(file_ids[0], FileStatus.COMPLETED)

    listed = alice.get(path).json()
    assert [item["id"] for item in listed["data"]] == file_ids[2::-1], "one call's files come back reversed (10.11)"
    assert listed["data"][0] == alice.get(f"{store}/files/{file_ids[2]}").json()
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (file_ids[2], file_ids[0], False)
    assert [item["id"] for item in alice.get(path, {"filter": "completed"}).json()["data"]] == [file_ids[0]]
    assert [item["id"] for item in alice.get(path, {"after": file_ids[1]}).json()["data"]] == [file_ids[0]]
    assert [item["id"] for item in alice.get(path, {"before": file_ids[1]}).json()["data"]] == [file_ids[2]]
    page = alice.get(path, {"limit": 1, "order": "asc", "after": file_ids[0]}).json()
    assert ([item["id"] for item in page["data"]], page["has_more"]) == ([file_ids[1]], True)
    assert alice.get(path, {"filter": "done"}).json()["error"]["message"] == (
        "Invalid value: 'done'. Supported values are: 'in_progress', 'completed', 'cancelled', and 'failed'."
    )


def test_cancel_stops_what_is_not_finished(
    alice: ApiClient, store: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    done, failed, waiting = file_ids = make_files(alice, 3)
    path = f"{store}/file_batches/{alice.make(f'{store}/file_batches', {'file_ids': file_ids})['id']}"
    set_status(done, FileStatus.COMPLETED)
    set_status(failed, FileStatus.FAILED)
    held = VectorStoreFile.objects.get(file_id=waiting, vector_store__covers_project=False)
    index.add_passages(held.pk, 0, [Slice("half of the file")])

    with django_capture_on_commit_callbacks(execute=True):
        batch = alice.make(f"{path}/cancel")
    assert batch["status"] == "cancelled"
    assert batch["file_counts"] == {"in_progress": 0, "completed": 1, "failed": 1, "cancelled": 1, "total": 3}
    assert alice.get(path).json() == batch
    assert alice.get(f"{store}/files/{waiting}").json()["status"] == "cancelled"
    assert alice.get(f"{store}/files/{done}").json()["status"] == "completed"
    assert not held.chunks.exists()
    epoch, held = held.epoch, VectorStoreFile.objects.get(pk=held.pk)
    assert held.epoch > epoch, "whoever works on it is fenced off"
    assert alice.make(f"{path}/cancel") == batch

    alice.make(f"{store}/files", {"file_id": waiting})
    assert alice.get(f"{store}/files/{waiting}").json()["status"] == "in_progress"


def test_cancelling_a_finished_batch_changes_nothing(alice: ApiClient, store: str) -> None:
    file_ids = make_files(alice, 2)
    path = f"{store}/file_batches/{alice.make(f'{store}/file_batches', {'file_ids': file_ids})['id']}"
    for file_id in file_ids:
        set_status(file_id, FileStatus.COMPLETED)
    batch = alice.get(path).json()
    answer = alice.post(f"{path}/cancel")
    assert (answer.status_code, answer.json()) == (200, batch)
    assert batch["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({}, "Missing required parameter: 'file_ids'.", "file_ids", "missing_required_parameter"),
        (
            {"file_ids": []},
            "Invalid 'file_ids': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "file_ids",
            "empty_array",
        ),
        (
            {"file_ids": ["file-x"] * 2001},
            "Invalid 'file_ids': array too long. Expected an array with maximum length 2000,"
            " but got an array with length 2001 instead.",
            "file_ids",
            "array_above_max_length",
        ),
        (
            {"file_ids": ["file-x"], "files": [{"file_id": "file-x"}]},
            "Invalid 'files': expected one of 'file_ids' or 'files', not both.",
            "files",
            "invalid_value",
        ),
        (
            {"files": [{"file_id": "file-x"}, {"attributes": {}}]},
            "Missing required parameter: 'files[1].file_id'.",
            "files[1].file_id",
            "missing_required_parameter",
        ),
        (
            {"files": [{"file_id": "x"}]},
            "Invalid 'files[0].file_id': 'x'. Expected an ID that begins with 'file'.",
            "files[0].file_id",
            "invalid_value",
        ),
        ({"file_ids": ["file-x"], "x": 1}, "Unknown parameter: 'x'.", "x", "unknown_parameter"),
    ],
)
def test_refused(alice: ApiClient, store: str, body: dict[str, Any], message: str, param: str, code: str) -> None:
    answer = alice.post(f"{store}/file_batches", body)
    assert_refused(answer, message, param, code)
    assert not FileBatch.objects.exists()


def test_one_unknown_file_and_nothing_is_done(alice: ApiClient, store: str) -> None:
    answer = alice.post(f"{store}/file_batches", {"file_ids": [alice.make_file(), "file-none"]})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "No such File object: file-none"
    assert alice.get(f"{store}/files").json()["data"] == []


def test_two_thousand_files_in_one_call(alice: ApiClient, store: str, django_assert_max_num_queries: Any) -> None:
    files = File.objects.bulk_create(
        File(project=alice.project, filename="x.txt", purpose="assistants") for _ in range(2_000)
    )
    with django_assert_max_num_queries(60):
        batch = alice.make(f"{store}/file_batches", {"file_ids": [file.pk for file in files]})
    assert batch["file_counts"]["in_progress"] == 2_000


def test_wrong_parents(alice: ApiClient, store: str) -> None:
    batch = alice.make(f"{store}/file_batches", {"file_ids": make_files(alice, 1)})
    other = f"/vector_stores/{alice.make('/vector_stores')['id']}/file_batches/{batch['id']}"
    for answer in (alice.get(other), alice.post(f"{other}/cancel"), alice.get(f"{other}/files")):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No file batch found with id '{batch['id']}'."
    for answer in (alice.get(f"{store}/file_batches"), alice.delete(f"{store}/file_batches/{batch['id']}")):
        assert answer.status_code == 405


def test_a_deleted_store_takes_its_batches_along(alice: ApiClient, store: str) -> None:
    batch = alice.make(f"{store}/file_batches", {"file_ids": make_files(alice, 1)})
    alice.delete(store)
    assert alice.get(f"{store}/file_batches/{batch['id']}").status_code == 404
    assert not FileBatch.objects.exists()


def test_nothing_can_be_put_into_an_expired_store(alice: ApiClient, store: str) -> None:
    id = store.split("/")[2]
    VectorStore.objects.filter(pk=id).update(expires_after_days=1, last_active_at="2020-01-01T00:00:00Z")
    answer = alice.post(f"{store}/file_batches", {"file_ids": make_files(alice, 1)})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"Vector store {id} has expired."


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient, store: str) -> None:
    file_ids = make_files(alice, 1)
    batch = alice.make(f"{store}/file_batches", {"file_ids": file_ids})
    path = f"{store}/file_batches/{batch['id']}"
    assert bob.get(path).json() == batch
    mine = f"/vector_stores/{charlie.make('/vector_stores')['id']}/file_batches"
    for answer in (
        charlie.get(path),
        charlie.get(f"{path}/files"),
        charlie.post(f"{path}/cancel"),
        charlie.post(f"{store}/file_batches", {"file_ids": [charlie.make_file()]}),
        charlie.post(mine, {"file_ids": file_ids}),
        charlie.get(f"{mine}/{batch['id']}"),
    ):
        assert answer.status_code == 404
    assert alice.get(path).json() == batch
